"""What a diagnostic is: maps in, per-image scores out. It never touches SQL.

A diagnostic file has `score(view, classes, maps, *, parameter=default, ...) -> Scores`: maps (B, M, h, w) or at pixel
resolution (B, M, H, W) that one method made for classes (B, M), one for each role of the question. It is called for
one method after another with the same view. The engine fills in keywords of these names that have no default:

    explain     the method itself, `explain(view, classes) -> maps`, for other images
    told        what the method says, `told(name, view, classes) -> (B, M) or None`: its `total`, its `distance`
    truth       `salcheck.inputs.truth.Truth` of these images: where objects and parts are
    subjects    the same images as other models see them, in the order of `subjects(...)` below: `Seen`
    following   `following()`: a view of the next image of the run's order for each of these images, None where there is
                no other; it does not depend on the batch
    example     `example(u)`: the first image of the dataset that shows class u, (3, H, W) as the model is fed it, with
                its Truth; None where there is none
    memory      `salcheck.perturb.answers.Memory` of this view: what the model answers to changed images, and what else
                is the same for all methods, is kept in it from one method to the next

It may have

    check(**parameters)    raises SalcheckError for values that make no sense
    roles(**parameters)    the classes that each method explains, where they depend on the parameters
    roles_for(N, **parameters)
                           the same for a model of N classes, where they depend on that too; raises SalcheckError where
                           it has too few
    prepare(dataset, model, n, seed, batch_size, cache, progress, **parameters) -> Dataset
                           the images that are asked about, n at most, made of a dataset's: as a dataset of its own
    subjects(model, **parameters) -> {name: Model}
                           other models that the images are shown to, each with references of its own; the names are
                           those of the levels 1, 2, ...
    level_names(**parameters) -> names of the levels 1, 2, ... of a diagnostic without subjects
    KNOWS = "parts"        of what a dataset knows, it reads the parts; with `truth` and without this, the regions
    CONFIDENT = True       it reads confidences, which a model whose outputs are values has not, also where it has no
                           parameter `output` that says so
    IMAGES = False         it reads the maps alone, and images need not be read where the maps are stored

The first line of its docstring is its help. Every score is of one image: no mean, no test, no rank is taken here.

A map that ranks nothing (not finite, constant, no positive value) gets no score. Sets of the most salient pixels that a
claim is on (`overlap`, `confidence-drop`, `contrastive`) want as many positive pixels. Diagnostics that go through all
pixels (`road`, `deletion`, `insertion`) rank those at and below zero too, equal ones at random: else a curve would be
of other images at every level.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from salcheck.maps.notes import Kind, Note
from salcheck.network.view import View

# keywords that the engine fills in
GIVEN = ("explain", "told", "truth", "subjects", "following", "example", "memory")


def needed(diagnostic: ModuleType) -> str:
    """What a dataset must know for a diagnostic: `regions`, `parts` or, where it asks for no truth, nothing."""
    return getattr(diagnostic, "KNOWS", "regions") if "truth" in inspect.signature(diagnostic.score).parameters else ""


NOT_FINITE = Note(Kind.FAILED, "the model's scores of a changed image are not finite")
GAP = Note(Kind.UNDEFINED, "undefined for this image")


@dataclass(frozen=True)
class Seen:
    """The run's images as another model sees them. `explain(view, classes)` makes the method's maps with references
    of that model, `frozen(view, classes)` with those of the run's own model: the same function where it reads none.
    """

    name: str
    view: View
    explain: Callable[[View, Tensor], Tensor]
    frozen: Callable[[View, Tensor], Tensor]


@dataclass(frozen=True)
class Scores:
    """Numbers for B images: by metric, (B,), or (B, L) over `levels`, the metric's own axis: a percentage, a step.

    `notes` says for each image why it has none, or is None. A single NaN of an image without a note is stored with
    the words of `gap`. Values are on any device, in single or double precision.
    """

    values: Mapping[str, Tensor]
    notes: Sequence[Note | None]
    levels: Sequence[float] = ()
    gap: Note = GAP


def scored(
    values: Mapping[str, Tensor],
    notes: Sequence[Note | None],
    levels: Sequence[float] = (),
    gap: Note = GAP,
    answers: Tensor | None = None,
) -> Scores:
    """Scores that are NaN for every image with a note. answers: (B, ...), what the model said of the changed images;
    an image of which not all are finite is noted.
    """
    if answers is not None:
        finite = answers.isfinite().reshape(len(notes), -1).all(dim=1).tolist()
        notes = [note or (None if sound else NOT_FINITE) for note, sound in zip(notes, finite, strict=True)]
    noted = torch.tensor([note is not None for note in notes])
    told = {
        name: value.masked_fill(noted.to(value.device).view(-1, *[1] * (value.dim() - 1)), torch.nan)
        for name, value in values.items()
    }
    return Scores(told, notes, levels, gap)
