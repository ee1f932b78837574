"""Jobs that are many times the batch, in chunks that fit into memory."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_chunks(count: int, size: int, work: Callable[[slice], Tensor]) -> Tensor:
    """`work(rows)`, a tensor (rows, ...), over `count` > 0 jobs, `size` at a time, as one tensor (count, ...).

    Out of memory, the chunk halves and the work goes on; raises what torch raised where one job does not fit.
    """
    done: list[Tensor] = []
    start = 0
    while start < count:
        rows = slice(start, min(start + size, count))
        try:
            done.append(work(rows))
        except RuntimeError as error:
            if not out_of_memory(error) or size == 1:
                raise
            size = (size + 1) // 2
            continue
        start = rows.stop
    return torch.cat(done)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an accelerator or the main memory ran out."""
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in words or "can't allocate memory" in words
