"""From a run to stored rows: images are read ahead, scored chunk by chunk, and stored."""

from collections.abc import Callable
from pathlib import Path

from salcheck.errors import SalcheckError
from salcheck.inputs.loader import Chunk, ahead, batches
from salcheck.maps.notes import Kind, Note
from salcheck.runs.ledger import Ledger
from salcheck.runs.maps import RunMaps
from salcheck.runs.rows import Maps, Task
from salcheck.runs.run import Run
from salcheck.runs.shard import score_shard
from salcheck.store.results import Store

REASONS = 4  # that are told one by one


def evaluate(run: Run, store: Store, cache: Path, progress: Callable[[int], None] = lambda stop: None) -> int:
    """Asks the run's question of all its images and stores every score; returns the run's id.

    One transaction per chunk: killed at any moment, the same command goes on where it stopped and ends
    with the same rows. progress is called with the number of images that are done. Raises SalcheckError for
    images without labels where correctness is asked for, a layer or parameters that do not fit the model, and
    whatever is wrong with the database or the cache.
    """
    if run.correct_only and not any(item.labels for item in run.items):
        raise SalcheckError("these images have no labels, so none counts as correctly classified: add --all-images")
    ledger, maps = Ledger(run, store), RunMaps(run, cache)
    for plan, chunk in ahead(run.model, run.dataset, ((plan, ledger.unread(plan)) for plan in ledger.plans())):
        task = plan.task
        if task.todo:
            stored = maps.read(task.todo, task.items, plan.checksums)
            images = chunk if chunk.items else _images(run, task, stored)
            rows = score_shard(run, task, images, stored)
            ledger.enter(plan, rows, maps.write(rows.maps))
        progress(plan.stop)
    return ledger.run_id


def _images(run: Run, task: Task, stored: Maps) -> Chunk:
    """Images that need not be read for maps that are stored; where some are torn or gone, they are read after all."""
    if all((method.key, item.key) in stored for method in task.todo for item in task.items):
        return Chunk(task.items, list(task.items), [], [], {})
    return next(batches(run.model, run.dataset, task.items, len(task.items)))


def summary(store: Store, run: Run, run_id: int) -> str:
    """One line on what the run holds, and which command shows it."""
    notes = store.query(
        "SELECT kind, note, COUNT(DISTINCT image_id) AS n FROM scores WHERE run_id = :run AND metric = :metric"
        " AND kind IS NOT NULL AND kind <> :blank GROUP BY kind, note"
        " HAVING COUNT(DISTINCT method_id) >= :methods ORDER BY n DESC",
        **{"run": run_id, "metric": run.question.metric, "blank": Kind.BLANK.value, "methods": len(run.methods)},
    )
    counted = [f"{n} {Note(Kind(kind), note)}" for kind, note, n in notes[:REASONS].itertuples(index=False)]
    others = int(notes["n"][REASONS:].sum())
    left_out = "; ".join([*counted, *([f"{others} for {len(notes) - REASONS} other reasons"] if others else [])])
    return (
        f"run {run_id}: {len(run.items)} images, {len(run.methods)} methods{f' ({left_out})' if left_out else ''}. "
        f"Next: salcheck report --run {run_id}"
    )
