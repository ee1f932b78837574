import pytest
import torch

from salcheck.network.chunks import in_chunks


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_every_job_is_done_once_and_in_order(size):
    seen = []

    def work(rows):
        seen.extend(range(rows.start, rows.stop))
        assert rows.stop - rows.start <= size
        return torch.arange(rows.start, rows.stop) ** 2

    assert in_chunks(10, size, work).tolist() == [n**2 for n in range(10)]
    assert seen == list(range(10))


def test_out_of_memory_the_chunk_halves_and_nothing_is_lost():
    sizes = []

    def work(rows):
        sizes.append(rows.stop - rows.start)
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("out of memory")
        return torch.arange(rows.start, rows.stop)

    assert in_chunks(10, 8, work).tolist() == list(range(10))
    assert sizes == [8, 4, 2, 2, 2, 2, 2]


def test_one_job_that_does_not_fit_and_other_errors_are_raised():
    def too_large(rows):
        raise torch.OutOfMemoryError("out of memory")

    def wrong(rows):
        raise RuntimeError("shape mismatch")

    with pytest.raises(torch.OutOfMemoryError):
        in_chunks(4, 4, too_large)
    with pytest.raises(RuntimeError, match="shape"):
        in_chunks(4, 4, wrong)
