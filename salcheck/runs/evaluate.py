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
from salcheck.store.accuracy import accuracy
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
        known = "name the model's classes as the folders are, or " if run.dataset.notes else ""
        raise SalcheckError(f"these images have no labels, so none counts as correctly classified: {known}--all-images")
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
        " HAVING COUNT(DISTINCT method_id) >= :methods",
        **{"run": run_id, "metric": run.question.metric, "blank": Kind.BLANK.value, "methods": len(run.methods)},
    )
    most = sorted(notes.itertuples(index=False), key=lambda row: (-row.n, row.kind, row.note))  # alike in any database
    counted = [f"{n} {Note(Kind(kind), note)}" for kind, note, n in most[:REASONS]]
    others = sum(int(row.n) for row in most[REASONS:])
    left_out = "; ".join([*counted, *([f"{others} for {len(most) - REASONS} other reasons"] if others else [])])
    seen = accuracy(store, run_id)
    right = f", {seen}" if seen.of and seen.chance < 1 else ""
    return (
        f"run {run_id}: {len(run.items)} images{right}, {len(run.methods)} methods"
        f"{f' ({left_out})' if left_out else ''}. Next: salcheck report --run {run_id}"
    )


def doubts(store: Store, run_id: int) -> list[str]:
    """A line where the model classifies the run's images no better than by guessing."""
    seen = accuracy(store, run_id)
    if not seen.no_better_than_chance:
        return []
    return [
        f"WARNING: {seen}, which chance alone ({seen.chance:.0%}) could give: are the classes in the right order "
        "(--class-names)? is the preprocessing right (--mean, --std, --img-size)?"
    ]
