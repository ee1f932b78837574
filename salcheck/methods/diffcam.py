"""DiffCAM: the direction that best parts the image's features from those of reference images.

Li, Zhao, Bisht, Uddin, Kim, Zhang and Xu, CVPR 2025, equations 4 to 7. With z the features of the image (the mean
of A over positions), z_i those of n references, mu their mean and S = sum over i of (z_i - mu)(z_i - mu)':

    w = (S + lambda I)^-1 (z - mu)
    map[i, j] = sum over k of w[k] * A[k, i, j]

w maximises the ratio of equation 5, and w'(z - mu) = D^2 is a squared Mahalanobis distance. No class score is read and
nothing is differentiated, but w is half the gradient of D^2: the map is Grad-CAM of that distance. The class only
chooses the references. The map therefore explains the features, not the decision.

Departures and readings, where the paper is silent:
- lambda = alpha tr(S) / C, free of the features' scale; the paper gives no value.
- Neighbours are the class means nearest to z by Euclidean distance, without the mean of the explained class; where
  no held-out image has a known class, the nearest images. k is cut to what there is.
- Vision transformers: z is the class token of the layer, and w is applied to its patch tokens. D^2 is then no
  mean of the map, and no gradient of the map's tokens. `--layer norm` reads the tokens after the final norm.
- One reference, or copies of one, have no scatter: w = z - mu. A class that no held-out image shows has no map (NaN).
- All in double precision, by Cholesky factors, of the n x n inner products where n <= C (Woodbury).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.maps.channels import weighted_sum
from salcheck.methods._cost import Cost
from salcheck.methods._discriminant import Few, Many, Matrix, discriminant
from salcheck.methods._rivals import rivals
from salcheck.network.labels import Labels
from salcheck.network.view import View
from salcheck.references import Features, Reading, read

SOURCE = "Li et al., CVPR 2025"
COST = Cost()
HEAD = False

VALUES = {"group": "others, same, pair, class:NAME (several joined by +), images:DIR"}
TOGETHER = 2**23  # numbers of neighbours' features that are in memory at a time


@dataclass(frozen=True)
class Comparison:
    """What an image is compared with, and how: the parameters of `decide` that have these names."""

    group: str
    k: int
    own: bool
    metric: Literal["l2", "cosine"]
    matrix: Matrix
    alpha: float
    z: Reading


def saliency(view: View, classes: Tensor, **parameters: Any) -> Tensor:
    """DiffCAM maps (B, M, h, w), signed, for classes (B, M), with the parameters of `decide`."""
    return decide(view, classes, **parameters)[0]


def decide(
    view: View,
    classes: Tensor,
    *,
    group: str = "knn",
    k: int = 100,
    own: bool = False,
    metric: Literal["l2", "cosine"] = "l2",
    matrix: Matrix = "full",
    alpha: float = 1e-3,
    z: Reading = "auto",
    centred: bool = False,
    relu: bool = False,
    reference: Mapping[str, Any],
) -> tuple[Tensor, dict[str, Tensor]]:
    """DiffCAM maps (B, M, h, w), signed, for classes (B, M) (-1 for a model without classes), and what shows a map to
    be hollow, (B, M).

    group: the references. `knn`, the k class means nearest to z by `metric`, that of the class itself only with
    `own`; `others`, all held-out images but those of the class; `same`, those of the class; `pair`, those of its rival,
    the other one of two classes asked for (else the likeliest other class): the paper's "why not"; `class:NAME`, those
    of this class; `images:DIR`, all images of a folder. With the last two the map is the same for every class.
    matrix: what stands for S. `full`; `diagonal`, its diagonal; `identity`, none, w = z - mu; `ledoitwolf`, with
    alpha by Ledoit and Wolf's shrinkage; `projected`, the limit lambda = 0 for no more references than channels.
    z: the features, as in `salcheck/references/features.py`. centred: A - mu for A, so that the mean of the map is
    D^2. relu: the positive part only. Raises SalcheckError where these do not fit the model or its references.

    Decided: `squared_distance`, D^2; `references`, how many; `top_channel_share`, of the sum of |w z|, that of the
    largest channel; `effective_rank` of S, tr(S)^2 / tr(S^2); `negative_share` of the map's mass, before a ReLU.
    """
    asked = Comparison(group, k, own, metric, matrix, alpha, z)
    found, features = _directions(view, classes, asked, reference["features"]), _features(view, z)
    maps, parts = _maps(view, found, centred), (found.weights * features).abs()
    facts = {
        "squared_distance": _squared_distance(found, features),
        "references": found.references,
        "top_channel_share": parts.amax(-1) / parts.sum(-1),
        "effective_rank": found.rank,
        "negative_share": maps.clamp(max=0).abs().sum((-2, -1)) / maps.abs().sum((-2, -1)),
    }
    return maps.clamp(min=0) if relu else maps, facts


def distance(
    view: View, classes: Tensor, *, centred: bool, relu: bool, reference: Mapping[str, Any], **parameters: Any
) -> Tensor:
    """D^2 = w'(z - mu), (B, M), how far the images are from their references; NaN for a class without any."""
    found = _directions(view, classes, Comparison(**parameters), reference["features"])
    return _squared_distance(found, _features(view, parameters["z"]))


def total(view: View, classes: Tensor, *, centred: bool, relu: bool, **parameters: Any) -> Tensor | None:
    """What centred maps sum to (B, M): h * w times D^2, where z is the mean over positions; None for all others.

    The paper claims no sum: it follows from its equations 6 and 7.
    """
    if relu or not centred or not read(view, parameters["z"]).equal(view.acts.mean(dim=(-2, -1))):
        return None
    return view.acts[0, 0].numel() * distance(view, classes, centred=centred, relu=relu, **parameters)


def named(*, group: str, **_: Any) -> list[str]:
    """The classes that the parameters name."""
    kind, names = group.partition(":")[::2]
    return [name for name in names.split("+") if name.strip()] if kind == "class" else []


def needs(*, group: str, z: Reading, **_: Any) -> dict[str, dict[str, Any]]:
    """The features of the held-out images, or of those in a folder that `group` names."""
    kind, name = _parsed(group)
    reading = {} if z == "auto" else {"z": z}
    return {"features": reading | ({"images": name} if kind == "images" else {})}


def paired(*, group: str, **_: Any) -> bool:
    """Whether a map depends on which two classes are asked for together."""
    return group == "pair"


class _Directions(NamedTuple):
    """w and mu (B, M, D), how many references and the effective rank of their scatter (B, M); NaN where none."""

    weights: Tensor
    mean: Tensor
    references: Tensor
    rank: Tensor


def _features(view: View, z: Reading) -> Tensor:
    """z (B, 1, D) on the CPU, in double precision."""
    return read(view, z).cpu().double()[:, None]


def _squared_distance(found: _Directions, features: Tensor) -> Tensor:
    """D^2 (B, M) for features (B, 1, D)."""
    return (found.weights * (features - found.mean)).sum(-1)


def _maps(view: View, found: _Directions, centred: bool) -> Tensor:
    C = view.acts.shape[1]
    weights, mean = found.weights[..., -C:], found.mean[..., -C:]  # of `both` tokens, the part of the patches
    maps = weighted_sum(weights.to(view.acts), view.acts)
    return maps - (weights * mean).sum(-1).to(maps)[..., None, None] if centred else maps


def _directions(view: View, classes: Tensor, asked: Comparison, features: Features) -> _Directions:
    """On the CPU, in double precision."""
    if asked.k < 1 or not 0 < asked.alpha < torch.inf:
        given = f"diffcam:k={asked.k},alpha={asked.alpha:g}"
        raise SalcheckError(f"{given} does not fit: k is at least 1, alpha positive and finite")
    if not len(features):
        raise SalcheckError("diffcam compares with reference images, and none of them could be read")
    if not features.mean.isfinite().all():
        raise SalcheckError("diffcam: features of reference images are not finite: are the weights sound? try no --amp")
    z, (kind, name) = read(view, asked.z).cpu(), _parsed(asked.group)
    if kind == "knn":
        return _from_nearest(z, classes.cpu(), asked, features)
    if kind == "pair":
        classes, kind = _rivals(view, classes), "same"
    found = _empty(classes, z)
    for where, rows in _groups(features, classes.cpu(), kind, name, view.labels):
        targets = z[where.nonzero()[:, 0]].double()
        if len(rows):
            _put(found, where, _from_rows(targets, features, rows, asked.matrix, asked.alpha))
    return found


def _from_nearest(z: Tensor, classes: Tensor, asked: Comparison, features: Features) -> _Directions:
    """Directions against the nearest class means, for z (B, D) and classes (B, M)."""
    found, k = _empty(classes, z), asked.k
    for images in torch.arange(len(z)).split(max(1, TOGETHER // (min(k, len(features)) * z.shape[1]))):
        rows, there = features.nearest(z[images], classes[images], k, asked.own, asked.metric == "cosine")
        _put(found, images, _from_neighbours(z[images].double(), rows, there, asked.matrix, asked.alpha))
    return found


def _empty(classes: Tensor, z: Tensor) -> _Directions:
    """No directions for classes (B, M) and z (B, D): NaN, to be filled in."""
    none = torch.full((*classes.shape, z.shape[1]), torch.nan, dtype=torch.float64)
    return _Directions(none, none.clone(), torch.zeros_like(classes, device="cpu"), none[..., 0].clone())


def _put(found: _Directions, where: Tensor, made: _Directions) -> None:
    for whole, part in zip(found, made, strict=True):
        whole[where] = part


def _from_neighbours(z: Tensor, rows: Tensor, there: Tensor, matrix: Matrix, alpha: float) -> _Directions:
    """Directions (B, M, ...) for z (B, D), whose classes share rows (B, K, D); `there` (B, M, K) says which."""
    center = rows.mean(1, keepdim=True)
    rows = rows - center
    group = Few(rows, center, rows @ rows.mT, there)
    weights = discriminant(group, (z[:, None] - group.mean)[:, :, None], matrix, alpha)[:, :, 0]
    alone = (group.count == 0)[..., None]
    return _Directions(weights.masked_fill(alone, torch.nan), group.mean, group.count, group.rank)


def _from_rows(z: Tensor, features: Features, rows: Tensor, matrix: Matrix, alpha: float) -> _Directions:
    """Directions (T, ...) for z (T, D) against the same images, given by their indices."""
    count = torch.tensor(len(rows))
    if len(rows) <= z.shape[1]:
        near, products = features.deviations(rows)
        every = torch.ones(1, 1, len(rows), dtype=torch.bool)
        few = Few(near[None], features.mean[None, None], products[None], every)
        weights = discriminant(few, z - few.mean[:, :, None], matrix, alpha)[0, 0]
        return _Directions(weights, few.mean[0, 0], count, few.rank[0, 0])
    mean, scatter = features.scatter(rows)
    many = Many(scatter, mean, count, features.fourth(rows, mean) if matrix == "ledoitwolf" else count)
    return _Directions(discriminant(many, z - mean, matrix, alpha), mean, count, many.rank)


def _groups(
    features: Features, classes: Tensor, kind: str, name: str, labels: Labels
) -> Iterator[tuple[Tensor, Tensor]]:
    """Which maps (B, M) share which references (indices), each group once."""
    every = torch.ones_like(classes, dtype=torch.bool)
    if kind == "images":
        yield every, torch.arange(len(features))
    elif kind == "class":
        if not len(labels):
            raise SalcheckError("diffcam:group=class names a class, and this model has none: take knn or images:DIR")
        rows = features.rows([labels.resolve(one) for one in named(group=f"class:{name}")])
        if not len(rows):
            raise SalcheckError(f"diffcam:group=class:{name}: no held-out image shows it; name another class")
        yield every, rows
    else:
        if kind == "same" and not (features.labels >= 0).any():
            raise SalcheckError("diffcam:group=same or pair needs held-out images with known classes: take knn")
        for u in classes.unique().tolist():
            yield classes == u, features.rows([u], shown=kind == "same")


def _rivals(view: View, classes: Tensor) -> Tensor:
    if len(view.labels) < 2:
        raise SalcheckError("diffcam:group=pair compares two classes, and this model has fewer: take knn or images:DIR")
    return rivals(view, classes)


def _parsed(group: str) -> tuple[str, str]:
    """`knn` or `class:NAME` as its kind and the name."""
    kind, _, name = group.partition(":")
    named = kind in ("class", "images") and name.strip()
    if named or group in ("knn", "others", "same", "pair"):
        return kind, name
    raise SalcheckError(f"diffcam:group={group}: it is one of knn, {VALUES['group']}")
