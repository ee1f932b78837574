"""One question asked of many images: from what the user asked for to a run, and from a run to stored rows."""

import dataclasses
import functools
import hashlib
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from salcheck import references
from salcheck.datasets import Dataset, Item
from salcheck.datasets._contract import check_dataset
from salcheck.diagnostics import GIVEN, needed
from salcheck.errors import SalcheckError
from salcheck.inputs.loader import ahead
from salcheck.inputs.sample import draw, hold_out
from salcheck.inputs.truth import required
from salcheck.methods import Method, controls, fitting, parse_method, the_model
from salcheck.naming import parameters, registry
from salcheck.network.loading import Model
from salcheck.questions import Question, find
from salcheck.runs.run import Run
from salcheck.runs.shard import Shard
from salcheck.store import schema
from salcheck.store.results import Store


def parse_question(text: str) -> Question:
    """`rq1` or `rq1:percent=10,threshold=70`: the row of `questions`, with all parameters of its diagnostic.

    Raises SalcheckError with the nearest names, or for values that make no sense.
    """
    typed, (name, rest) = text.strip(), parameters.divide(text)
    question = find(name)
    there = parameters.known(registry.load("diagnostics", question.diagnostic).score, but=GIVEN)
    defaults = {key: parameter.default for key, parameter in there.items()} | dict(question.parameters)
    if question.threshold is not None:
        there["threshold"] = inspect.Parameter("threshold", inspect.Parameter.KEYWORD_ONLY, annotation=float)
    return _with(question, defaults | parameters.parse(question.name, rest, there, typed))


def variants(question: Question) -> list[tuple[Question, str]]:
    """The question under the field's differing readings, one setting changed in each, and the layer or "". A reading
    that does not go with the question's own parameters is left out.
    """
    found = []
    for change in question.variants:
        rest = {name: value for name, value in change.items() if name != "layer"}
        try:
            reading = _with(question, {**question.parameters, **rest})
        except SalcheckError:
            continue
        if "layer" in change or reading != question:
            found.append((reading, change.get("layer", "")))
    return found


def _with(question: Question, values: Mapping[str, Any]) -> Question:
    rest = dict(values)
    threshold = rest.pop("threshold", question.threshold)
    diagnostic = registry.load("diagnostics", question.diagnostic)
    if hasattr(diagnostic, "check"):
        diagnostic.check(**rest)
    roles = diagnostic.roles(**rest) if hasattr(diagnostic, "roles") else question.roles
    return dataclasses.replace(question, parameters=rest, threshold=threshold, roles=roles)


def open_data(dataset: str, data: Path | None, model: Model, seed: int) -> Dataset:
    """The dataset of this name in `data`, its labels as indices of the model's classes."""
    opened = registry.load("datasets", dataset).open_dataset(data, model.labels, seed)
    theirs = registry.canonical("datasets", dataset) in registry.brought_to("datasets")
    return check_dataset(dataset, opened) if theirs else opened


def choose_data(dataset: str | None, data: Path | None, model: Model) -> str:
    """The dataset's name where the user gave none: a built-in model's own, a folder for --data, else imagenette."""
    if dataset is not None:
        return registry.canonical("datasets", dataset)
    if data is not None:
        return "folder"
    return model.arch if model.arch in registry.names("datasets") else "imagenette"


def joined(methods: Sequence[Method], question: Question) -> list[Method]:
    """The methods, and every control and floor that is not among them: no report is without. A question of the model
    itself takes none of them.
    """
    if not question.roles:
        return [the_model()]
    asked = {method.name for method in methods}
    floors = [dataclasses.replace(parse_method(name), implied=True) for name in question.floors]
    return [*methods, *(method for method in (*floors, *controls()) if method.name not in asked)]


def split(
    dataset: Dataset, reference_data: Dataset | None, n: int, seed: int, allow_overlap: bool
) -> tuple[list[Item], Dataset, int]:
    """Images to evaluate, images for references, and how many are both.

    Without reference data a seeded half of the dataset is held out, whether or not a method asks for it,
    so that all methods of all runs of a seed see the same images; an image whose twin is held out is not
    evaluated. Raises SalcheckError where reference data share images with those evaluated, unless that is allowed.
    """
    if reference_data is None:
        pool, held = hold_out(dataset.items, seed)
        source = dataclasses.replace(dataset, items=held)
        items = draw(pool, n, seed)
        twins = set(_shared(items, dataset, source))
        return [item for item in items if item.key not in twins], source, 0
    items = draw(dataset.items, n, seed)
    return items, reference_data, _overlap(items, dataset, reference_data, allow_overlap)


def _overlap(items: Sequence[Item], dataset: Dataset, references: Dataset, allowed: bool) -> int:
    """How many of the items are reference images too; raises SalcheckError where any is and that is not allowed."""
    shared = _shared(items, dataset, references)
    if shared and not allowed:
        raise SalcheckError(
            f"{len(shared)} of {len(items)} evaluated images are also reference images (first: {shared[0]}): "
            "give others for reference, or say --allow-overlap and the report will too"
        )
    return len(shared)


def make_run(
    question: Question,
    model: Model,
    dataset: Dataset,
    methods: Sequence[Method],
    *,
    reference_data: Dataset | None = None,
    n: int,
    seed: int,
    correct_only: bool,
    allow_overlap: bool = False,
    batch_size: int,
    command: str,
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Run:
    """Everything a run needs, references built where a method reads them (progress: images done, of all).

    Raises SalcheckError for too few classes or images, and for references that cannot be built.
    """
    if len(model.labels) < len(question.roles):
        raise SalcheckError(
            f"{question.name} explains {len(question.roles)} class(es) of each image and this model has "
            f"{len(model.labels)}"
        )
    diagnostic = registry.load("diagnostics", question.diagnostic)
    made = hasattr(diagnostic, "prepare")
    items, source, shared = split(dataset, reference_data, len(dataset) if made else n, seed, allow_overlap)
    if not items:
        raise SalcheckError(f"no images to evaluate: {dataset.name} has {len(dataset)}, and half of it is held out")
    others = diagnostic.subjects(model, **question.parameters) if hasattr(diagnostic, "subjects") else {}
    methods, notes = fitting(joined(methods, question), model, source)
    for other in others.values():
        methods, more = fitting(methods, other, source)
        notes += more
    needs = [need for method in methods for need in method.needs]
    for own in filter(None, (references.own_images(need, model) for need in needs)):
        shared = max(shared, _overlap(items, dataset, own, allow_overlap))
    if made:
        pool = dataclasses.replace(dataset, items=items)
        dataset = diagnostic.prepare(pool, model, n, seed, batch_size, cache, progress, **question.parameters)
        items = list(dataset.items)
    build = functools.partial(references.build, needs, dataset=source, cache=cache, batch_size=batch_size)
    if needed(diagnostic):
        required(dataset, needed(diagnostic))
    built = build(model=model, progress=progress)
    named = diagnostic.level_names(**question.parameters) if hasattr(diagnostic, "level_names") else list(others)
    return Run(
        question=question,
        model=model,
        dataset=dataset,
        items=items,
        methods=methods,
        references=built,
        reference_key=f"{source.digest} {shared} {built.unread}",
        reference_source=_source(source, reference_data is None, shared, built.unread),
        seed=seed,
        correct_only=correct_only,
        batch_size=batch_size,
        command=command,
        notes=notes,
        subjects={name: (other, build(model=other, progress=progress)) for name, other in others.items()},
        levels=named,
    )


def _source(source: Dataset, half: bool, shared: int, unread: int) -> str:
    """Where references come from, in words."""
    words = [f"seeded half of {source.name} held out" if half else source.root]
    words += [f"{len(source)} images", f"digest {source.digest[:16]}"]
    words += [f"{shared} of its images EVALUATED TOO"] if shared else []
    words += [f"{unread} of its images could not be read"] if unread else []
    return ", ".join(words)


def evaluate(run: Run, store: Store, cache: Path, progress: Callable[[int], None] = lambda stop: None) -> int:
    """Asks the run's question of all its images and stores every score; returns the run's id.

    One transaction per chunk: killed at any moment, the same command goes on where it stopped and ends
    with the same rows. progress is called with the number of images that are done. Raises SalcheckError for
    images without labels where correctness is asked for, a layer or parameters that do not fit the model, and
    whatever is wrong with the database or the cache.
    """
    if run.correct_only and not any(item.labels for item in run.items):
        raise SalcheckError("these images have no labels, so none counts as correctly classified: add --all-images")
    shard = Shard(run, store, cache)
    plans = shard.plans()
    for plan, chunk in ahead(run.model, run.dataset, ((plan, shard.unread(plan)) for plan in plans)):
        if plan.todo:
            rows = shard.score(plan, chunk)
            with store.transaction() as connection:
                store.put(connection, schema.predictions, rows.predictions, replace=False)
                store.put(connection, schema.maps, rows.maps, replace=True)
                store.put(connection, schema.facts, rows.facts, replace=True)
                store.put(connection, schema.scores, rows.scores, replace=False)
        progress(plan.stop)
    return shard.run_id


def ask_all(
    questions: Sequence[Question],
    model: Model,
    with_variants: bool,
    ask: Callable[[Question, Model, bool], None],
    say: Callable[[str], None],
) -> None:
    """Asks one question after another, with its variants where they are wanted. What goes wrong with one keeps no
    other from its answers: it is said, and the first error is raised at the end.

    ask(question, model, elsewhere): elsewhere, the model is cut where the user did not ask for it.
    """
    work = [(question, model, False) for question in questions]
    if with_variants:
        work = [one for own in questions for one in [(own, model, False), *_readings(own, model, say)]]
    errors: list[Exception] = []
    for question, subject, elsewhere in work:
        try:
            ask(question, subject, elsewhere)
        except Exception as error:
            if errors or len(work) > 1:
                where = f"{question.name} at {subject.layer}" if elsewhere else question.name
                say(f"salcheck: {where} has no answer: {registry.one_line(error)}")
            errors.append(error)
    if errors:
        raise errors[0]


def _readings(question: Question, model: Model, say: Callable[[str], None]) -> Iterator[tuple[Question, Model, bool]]:
    """The question's variants, each with the model as that cuts it; a layer that the model does not have is said."""
    for reading, layer in variants(question):
        try:
            subject = model.at(layer) if layer else model
        except SalcheckError as error:
            say(f"{question.name} is not asked at layer={layer}: {error}")
            continue
        if not layer or subject.layer != model.layer:
            yield reading, subject, bool(layer)


def _shared(items: Sequence[Item], dataset: Dataset, other: Dataset) -> list[str]:
    """Keys of items whose very bytes are also in `other`; only files of equal size are read."""
    by_size: dict[str, list[Item]] = defaultdict(list)
    for item in other.items:
        by_size[item.fingerprint].append(item)

    def content(source: Dataset, item: Item) -> bytes | None:
        path = source.path(item)
        return hashlib.sha256(path.read_bytes()).digest() if path else None

    def is_shared(item: Item) -> bool:
        twins = by_size.get(item.fingerprint, [])
        own = content(dataset, item) if twins else None
        return own is not None and any(content(other, twin) == own for twin in twins)

    return [item.key for item in items if is_shared(item)]


def summary(store: Store, run: Run, run_id: int) -> str:
    """One line on what the run holds, and which command shows it."""
    notes = store.query(
        "SELECT note, COUNT(DISTINCT image_id) AS n FROM scores WHERE run_id = :run AND metric = :metric"
        " AND note IS NOT NULL AND note NOT LIKE 'blank%' GROUP BY note"
        " HAVING COUNT(DISTINCT method_id) = :methods ORDER BY n DESC",
        **{"run": run_id, "metric": run.question.metric, "methods": len(run.methods)},
    )
    left_out = "; ".join(f"{n} {note}" for note, n in notes.itertuples(index=False))
    return (
        f"run {run_id}: {len(run.items)} images, {len(run.methods)} methods{f' ({left_out})' if left_out else ''}. "
        f"Next: salcheck report --run {run_id}"
    )
