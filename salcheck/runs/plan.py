"""From a request to a run: which images, which methods, and what these read."""

import dataclasses
import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from salcheck import references
from salcheck.datasets import Dataset, Item
from salcheck.diagnostics import needed
from salcheck.errors import SalcheckError
from salcheck.inputs.sample import draw, hold_out
from salcheck.inputs.truth import required
from salcheck.methods import Method, controls, fitting, parse_method, the_model, unfit_of
from salcheck.naming import registry
from salcheck.naming.files import read_file
from salcheck.network.model import Model
from salcheck.questions import Question
from salcheck.runs.run import Run


@dataclass(frozen=True)
class Request:
    """Which images a question is asked of, and how: `n` of a dataset's, drawn by the seed. reference_data: held-out
    images for methods that compare with them; without them, half of the dataset. correct_only: only those that the
    model classifies correctly are scored. command: as the user typed it.
    """

    dataset: Dataset
    n: int
    seed: int = 0
    reference_data: Dataset | None = None
    correct_only: bool = True
    allow_overlap: bool = False
    batch_size: int = 8
    command: str = ""


@dataclass(frozen=True)
class Split:
    """Images to evaluate in the seed's order, images for references, and how many of the first are both."""

    order: Sequence[Item]
    source: Dataset
    shared: int


def joined(methods: Sequence[Method], question: Question) -> list[Method]:
    """The methods, and every control and floor that is not among them with its default parameters: no report is
    without. A question of the model itself takes none of them.
    """
    if not question.roles:
        return [the_model()]
    asked = {method.key for method in methods}
    floors = [dataclasses.replace(parse_method(name), implied=True) for name in question.floors]
    return [*methods, *(method for method in (*floors, *controls()) if method.key not in asked)]


def split(request: Request) -> Split:
    """Which images are evaluated, in the seed's order, and which are for references.

    Without reference data a seeded half of the dataset is held out, whether or not a method asks for it,
    so that all methods of all runs of a seed see the same images; an image whose twin is held out is not
    evaluated. Raises SalcheckError where reference data share images with those evaluated, unless that is allowed.
    """
    dataset, seed = request.dataset, request.seed
    if request.reference_data is None:
        pool, held = hold_out(dataset.items, seed)
        source = dataclasses.replace(dataset, items=held)
        twins = set(_shared(pool, dataset, source))
        return Split([item for item in draw(pool, len(pool), seed) if item.key not in twins], source, 0)
    order = draw(dataset.items, len(dataset), seed)
    return Split(order, request.reference_data, _overlap(order, request, request.reference_data))


def _overlap(order: Sequence[Item], request: Request, references: Dataset) -> int:
    """How many images of the whole order are reference images too, so that the number does not depend on how many are
    asked for; raises SalcheckError where one that is asked for is, and that is not allowed.
    """
    shared = _shared(order, request.dataset, references)
    asked = [item.key for item in order[: request.n]]
    both = [key for key in shared if key in set(asked)]
    if both and not request.allow_overlap:
        raise SalcheckError(
            f"{len(both)} of {len(asked)} evaluated images are also reference images (first: {both[0]}): "
            "give others for reference, or say --allow-overlap and the report will too"
        )
    return len(shared)


def make_run(
    question: Question,
    model: Model,
    methods: Sequence[Method],
    request: Request,
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Run:
    """Everything a run needs, references built where a method reads them (progress: images done, of all).

    Raises SalcheckError for too few classes or images, UnfitError for a named method that cannot be used, or whose
    references cannot be built.
    """
    question = fitted(question, model)
    diagnostic = registry.load("diagnostics", question.diagnostic)
    images = split(request)
    if not images.order[: request.n]:
        there = f"{request.dataset.name} has {len(request.dataset)}, and half of it is held out"
        raise SalcheckError(f"no images to evaluate: {there}")
    others = diagnostic.subjects(model, **question.parameters) if hasattr(diagnostic, "subjects") else {}
    methods, notes = _fitting_all(joined(methods, question), [model, *others.values()], images.source)
    shared = max([images.shared, *(_own_overlap(method, model, images.order, request) for method in methods)])
    dataset, items, rest = _images(question, model, request, images.order, cache, progress)
    if needed(diagnostic):
        required(dataset, needed(diagnostic))
    build = functools.partial(_build, methods, images.source, request, cache, progress)
    built = build(model=model)
    named = diagnostic.level_names(**question.parameters) if hasattr(diagnostic, "level_names") else list(others)
    return Run(
        question=question,
        model=model,
        dataset=dataset,
        items=items,
        methods=methods,
        references=built,
        reference_key=images.source.digest,
        reference_source=_source(images.source, request.reference_data is None, shared, built.unread),
        seed=request.seed,
        correct_only=request.correct_only,
        batch_size=request.batch_size,
        command=request.command,
        notes=notes,
        subjects={name: (other, build(model=other)) for name, other in others.items()},
        levels=named,
        rest=rest,
    )


def _build(
    methods: Sequence[Method],
    source: Dataset,
    request: Request,
    cache: Path,
    progress: Callable[[int, int], None],
    model: Model,
) -> references.References:
    """What the methods read of held-out images; raises UnfitError for one whose references cannot be built."""
    try:
        needs = [need for method in methods for need in method.needs]
        return references.build(needs, model, source, cache, request.batch_size, progress)
    except references.UnbuiltError as error:
        raise unfit_of(methods, error) from error


def _own_overlap(method: Method, model: Model, order: Sequence[Item], request: Request) -> int:
    """How many images of the order are among those that the method names itself, as `_overlap` counts and refuses."""
    try:
        owns = [own for need in method.needs if (own := references.own_images(need, model))]
        return max([_overlap(order, request, own) for own in owns], default=0)
    except SalcheckError as error:
        raise method.cannot(str(error)) from error


def _images(
    question: Question,
    model: Model,
    request: Request,
    order: Sequence[Item],
    cache: Path,
    progress: Callable[[int, int], None],
) -> tuple[Dataset, Sequence[Item], Sequence[Item]]:
    """The dataset and its first n images, made of others where the diagnostic makes them, and the images after these in
    the order.
    """
    diagnostic, n = registry.load("diagnostics", question.diagnostic), request.n
    if not hasattr(diagnostic, "prepare"):
        return request.dataset, order[:n], order[n:]
    pool = dataclasses.replace(request.dataset, items=order)
    settings = (n, request.seed, request.batch_size, cache, progress)
    made = diagnostic.prepare(pool, model, *settings, **question.parameters)
    return made, list(made.items), []


def fitted(question: Question, model: Model) -> Question:
    """The question with the classes that it explains of this model; raises SalcheckError where that has too few, or no
    confidences where the question reads them.
    """
    diagnostic, output = registry.load("diagnostics", question.diagnostic), question.parameters.get("output")
    if model.outputs.kind == "value" and (output == "softmax" or getattr(diagnostic, "CONFIDENT", False)):
        instead = f": {question.name}:output=logit reads the values" if output else ""
        raise SalcheckError(f"{question.name} reads confidences, and this model's outputs are values{instead}")
    if hasattr(diagnostic, "roles_for"):
        return dataclasses.replace(question, roles=diagnostic.roles_for(len(model.labels), **question.parameters))
    if len(model.labels) < len(question.roles):
        raise SalcheckError(
            f"{question.name} explains {len(question.roles)} class(es) of each image and this model has "
            f"{len(model.labels)}"
        )
    return question


def _fitting_all(
    methods: Sequence[Method], models: Sequence[Model], held: Dataset
) -> tuple[Sequence[Method], list[str]]:
    """The methods that each of the models can be explained with, and a note on each one that is left out."""
    notes: list[str] = []
    for model in models:
        methods, more = fitting(methods, model, held)
        notes += more
    return methods, notes


def _source(source: Dataset, half: bool, shared: int, unread: int) -> str:
    """Where references come from, in words."""
    words = [f"seeded half of {source.name} held out" if half else source.root]
    words += [f"{len(source)} images", f"digest {source.digest[:16]}"]
    words += [f"{shared} of its images EVALUATED TOO"] if shared else []
    words += [f"{unread} of its images could not be read"] if unread else []
    return ", ".join(words)


def _shared(items: Sequence[Item], dataset: Dataset, other: Dataset) -> list[str]:
    """Keys of items whose very bytes are also in `other`; only files of equal size are read."""
    by_size: dict[str, list[Item]] = defaultdict(list)
    for item in other.items:
        by_size[item.fingerprint].append(item)

    def content(source: Dataset, item: Item) -> bytes | None:
        path = source.path(item)
        if path is None:
            return None
        try:
            return hashlib.sha256(read_file(path)).digest()
        except OSError:  # what cannot be read is noted where it is to be seen
            return None

    def is_shared(item: Item) -> bool:
        twins = by_size.get(item.fingerprint, [])
        own = content(dataset, item) if twins else None
        return own is not None and any(content(other, twin) == own for twin in twins)

    return [item.key for item in items if is_shared(item)]
