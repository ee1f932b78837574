"""View: what a model saw for one batch, cut open at a layer."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.network.chunks import in_chunks
from salcheck.network.grid import Layout, layout_of
from salcheck.network.labels import NO_CLASSES, Labels
from salcheck.network.outputs import SOFTMAX, Outputs

KEPT = 4  # gradients that are kept for other methods
FEATURES = "features"  # the seam between timm's forward_features and forward_head


@dataclass(frozen=True)
class _Pass:
    """One forward: the layer's own output and its layout, the leaf cut from it as (B, C, h, w), and the scores with
    their graph.
    """

    raw: Tensor
    layout: Layout
    leaf: Tensor
    scores: Tensor


class View:
    """One forward pass of B images, and everything after the layer ready to be differentiated or run again.

    images: (B, 3, H, W), or (B, 1, H, W) for a model that is fed grey. acts: (B, C, h, w) at the layer, cut from all
    that comes before. logits: (B, N). seeds: one int per image, for what is drawn at random per image and must be
    the same in every run. size: (H, W). Images are loaded and the forward is run when first asked for, once.
    batch_size: how many images a forward of changed images takes at a time. amp: the type of autocast, None for
    plain float32. normalisation: mean and standard deviation of a colour, by which images were shifted and divided.
    outputs: how the network's outputs become scores of the N classes.

    The cut: the layer's output is replaced by a copy of a new leaf, so nothing before it is differentiated
    and no later in-place operation overwrites what is kept. Weights never get gradients.
    Raises SalcheckError, at the forward, where the layer cannot be cut.
    """

    def __init__(
        self,
        net: Any,
        layer: str,
        load: Callable[[], Tensor],
        size: tuple[int, int],
        seeds: Sequence[int],
        labels: Labels,
        batch_size: int = 8,
        amp: torch.dtype | None = None,
        normalisation: tuple[Sequence[float], Sequence[float]] = ((0.0,), (1.0,)),
        outputs: Outputs = SOFTMAX,
    ):
        self.size = size
        self.seeds = list(seeds)
        self.labels = labels
        self.batch_size = batch_size
        self.net = net
        self.outputs = outputs
        self._layer = layer
        self._load = load
        self._amp = amp
        self._normalisation = normalisation
        self._whole: tuple[View, list[int]] | None = None  # the view that this one is a part of, and which images
        self._grads: dict[bytes, Tensor] = {}
        self._pixel_grads: dict[bytes, Tensor] = {}

    def __len__(self) -> int:
        return len(self.seeds)

    @cached_property
    def images(self) -> Tensor:
        """(B, 3, H, W), as the transform leaves them."""
        return self._load()

    @property
    def acts(self) -> Tensor:
        """(B, C, h, w) at the layer, signed where the layer is."""
        return self._pass.leaf.detach()

    @property
    def prefix(self) -> Tensor:
        """Tokens that come before the grid at the layer (B, P, C), a class token first; P = 0 for feature maps."""
        raw, layout = self._pass.raw, self._pass.layout
        if layout.kind == "tokens":
            return raw[:, : layout.prefix].float()
        return self.acts.new_empty(len(self), 0, self.acts.shape[1])

    @cached_property
    def logits(self) -> Tensor:
        """(B, N) class scores before softmax; raises SalcheckError for a model that has no classes."""
        if self.net.num_classes < 1:
            raise SalcheckError(NO_CLASSES)
        if self._whole:
            view, rows = self._whole
            return view.logits[rows]
        return self._pass.scores.detach().float()

    @cached_property
    def confidences(self) -> Tensor:
        """(B, N) in 0...1, softmax or sigmoid as the model is read; raises SalcheckError for values."""
        return self.outputs.confidences(self.logits)

    def grads(self, classes: Tensor) -> Tensor:
        """d logit / d acts for classes (B, M): (B, M, C, h, w)."""
        return self.vjp(torch.nn.functional.one_hot(classes, self.logits.shape[1]))

    def vjp(self, weights: Tensor) -> Tensor:
        """d (sum of weights * logits) / d acts for weights (B, M, N): (B, M, C, h, w), M backwards of the head.

        Asked again with the same weights soon after, it is free: most methods ask for the same gradients.
        """
        scores, leaf = self._pass.scores, self._pass.leaf
        outputs = weights.to(scores).transpose(0, 1)
        key = weights.float().cpu().numpy().tobytes()
        if key not in self._grads:
            grads = None
            if scores.requires_grad:
                (grads,) = torch.autograd.grad(
                    scores, leaf, outputs, retain_graph=True, is_grads_batched=True, allow_unused=True
                )
            if grads is None:
                raise SalcheckError(f"no logit depends on layer '{self._layer}': name another --layer")
            while len(self._grads) >= KEPT:
                self._grads.pop(next(iter(self._grads)))
            self._grads[key] = grads.transpose(0, 1)
        return self._grads[key]

    @property
    def has_head(self) -> bool:
        """Whether what follows the layer runs by itself; else `head` runs a whole forward."""
        return self._layer == FEATURES

    def head(self, acts: Tensor, of: Tensor | None = None) -> Tensor:
        """Logits (J, N) of the part after the layer alone, for acts (J, C, h, w).

        `of` (J,) says which image of the batch each row belongs to; the default is one row per image.
        At the `features` seam only the head runs; at a module inside, the forward is run with the
        layer's output replaced. Differentiable where the acts given require it.
        """
        of = (torch.arange(len(self)) if of is None else of).to(acts.device)
        with torch.set_grad_enabled(acts.requires_grad), self._autocast():
            changed = self._pass.layout.ungrid(acts, self._pass.raw[of])
            if self._layer == FEATURES:
                return self.outputs.scores(self.net.forward_head(changed).float())
            same = len(of) > 1 and not acts.requires_grad and bool((of == of[0]).all())
            alone = same and self._fans_out
            images = self.images[of[:1]] if alone else self.images[of]
            return self.outputs.scores(self._hooked(images, lambda out: changed).float())

    @cached_property
    def _fans_out(self) -> bool:
        """Whether the layer's output may have more rows than the images before it: what goes around the layer is
        then broadcast, and the part before the layer runs once for many changed activations. Found by trying.
        """
        raw = self._pass.raw[:1]
        changed = torch.cat([raw, raw.roll(1, dims=1), 0.5 * raw])
        with torch.no_grad():
            expected = self._hooked(self.images[:1].repeat(len(changed), 1, 1, 1), lambda out: changed.clone())
            try:
                scores = self._hooked(self.images[:1], lambda out: changed.clone())
            except Exception:  # networks raise all sorts where they meet two sizes of a batch
                return False
        same = scores.shape == expected.shape and scores.allclose(expected, atol=1e-4 * float(expected.abs().max()))
        return bool(same)

    @cached_property
    def affine(self) -> bool:
        """Whether the logits are an affine function of the acts, found by trying: then gradients do not depend
        on the image, and leaving out a channel costs its part of gradient times activation, exactly.
        """
        acts = self.acts[:1]
        noise = torch.randn(acts.shape, generator=torch.Generator().manual_seed(0)).to(acts) * acts.std()
        rows = torch.cat([torch.zeros_like(acts), acts, noise, acts + noise, acts - 2 * noise])
        zero, own, strange, total, apart = self.head(rows, torch.zeros(len(rows), dtype=torch.long)).cpu().double()
        error = (total - own - strange + zero).abs().max() + (apart - own + 2 * (strange - zero)).abs().max()
        tolerance = 1e-4 if self._amp is None else 8 * torch.finfo(self._amp).eps
        return bool(error < tolerance * (own - zero).abs().max())

    def forward(self, images: Tensor) -> Tensor:
        """Logits (J, N) of other images (J, 3, H, W): one whole forward each, nothing to differentiate."""
        with torch.no_grad(), self._autocast():
            return self.outputs.scores(self.net(images).float())

    def again(self, images: Tensor, of: Tensor) -> "View":
        """A view of other images (J, 3, H, W) through the same cut; `of` (J,) says whose seeds they have."""
        seeds = [self.seeds[index] for index in of.tolist()]
        return self._like(lambda: images, seeds)

    def part(self, rows: Sequence[int]) -> "View":
        """The view of some of its images; what the model said of them is kept, and not asked again."""
        if list(rows) == list(range(len(self))):
            return self
        part = self._like(lambda: self.images[list(rows)], [self.seeds[row] for row in rows])
        part._whole = (self, list(rows))
        return part

    def grey(self, brightness: float) -> Tensor:
        """A grey of brightness 0 (black) to 1 (white) as the model is fed it, (3, 1, 1), or (1, 1, 1) for one."""
        mean, deviation = (self.images.new_tensor(part).view(-1, 1, 1) for part in self._normalisation)
        return (brightness - mean) / deviation

    def _like(self, load: Callable[[], Tensor], seeds: Sequence[int]) -> "View":
        """A view of other images, all else being the same."""
        rest = (self.labels, self.batch_size, self._amp, self._normalisation, self.outputs)
        return View(self.net, self._layer, load, self.size, seeds, *rest)

    def pixel_grads(self, classes: Tensor, images: Tensor | None = None) -> Tensor:
        """d logit / d image for classes (J, M): (J, M, 3, H, W), of the view's own images or of others.

        One whole forward for all classes of an image and one whole backward for each. For the view's own
        images it is free when asked again.
        """
        if images is not None:
            return self._differentiate(images, classes)
        key = classes.cpu().numpy().tobytes()
        if key not in self._pixel_grads:
            self._pixel_grads[key] = self._differentiate(self.images, classes)
        return self._pixel_grads[key]

    def chunks(self, count: int, work: Callable[[slice], Tensor]) -> Tensor:
        """`work(rows)` over `count` jobs, `batch_size` at a time, as one tensor (count, ...)."""
        return in_chunks(count, self.batch_size, work)

    def uniform(self, classes: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Seeded noise in [0, 1), (B, M, *shape): the same for an image and class in any batch and any run."""
        draws = [
            torch.rand(shape, generator=torch.Generator().manual_seed((seed * 1_000_003 + u) % 2**63))
            for seed, row in zip(self.seeds, classes.tolist(), strict=True)
            for u in row
        ]
        return torch.stack(draws).reshape(*classes.shape, *shape).to(classes.device)

    def generators(self) -> list[torch.Generator]:
        """A fresh source of random numbers for each image, the same in any batch and any run."""
        return [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def _differentiate(self, images: Tensor, classes: Tensor) -> Tensor:
        with torch.enable_grad(), self._autocast():
            leaf = images.detach().clone().requires_grad_()
            scores = self.outputs.scores(self.net(leaf))
        grads = [
            torch.autograd.grad(scores.gather(1, column[:, None]).sum(), leaf, retain_graph=True)[0]
            for column in classes.T
        ]
        return torch.stack(grads, dim=1).float()

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.images.device.type, self._amp, enabled=self._amp is not None)

    @cached_property
    def _pass(self) -> _Pass:
        kept: list[tuple[Tensor, Layout, Tensor]] = []

        def cut(out: Any) -> Tensor:
            if kept:
                raise SalcheckError(f"layer '{self._layer}' runs more than once in a forward: name another --layer")
            batch = isinstance(out, Tensor) and out.dim() > 0 and len(out) == len(self)
            layout = layout_of(out.shape, self.size, self.net) if batch else None
            if layout is None:
                raise self._no_maps(out)
            leaf = layout.grid(out.detach().float()).requires_grad_()
            kept.append((out.detach(), layout, leaf))
            return layout.ungrid(leaf, out.detach())

        with self._autocast():
            if self._layer == FEATURES:
                with torch.no_grad():
                    features = self.net.forward_features(self.images)
                with torch.enable_grad():
                    leaf = cut(features)
                    scores = self.net.forward_head(leaf) if self.net.num_classes else leaf  # encoders have no head
            else:
                with torch.enable_grad():
                    scores = self._hooked(self.images, cut)
        if not kept:
            raise SalcheckError(f"layer '{self._layer}' does not run in this model's forward: name another --layer")
        with torch.enable_grad():
            return _Pass(*kept[0], self.outputs.scores(scores))

    def _hooked(self, images: Tensor, replace: Callable[[Any], Tensor]) -> Tensor:
        """The forward with the layer's output replaced; the hook is gone afterwards, whatever happens."""
        module = self.net.get_submodule(self._layer)
        hook = module.register_forward_hook(lambda module, args, out: replace(out))
        try:
            return self.net(images)
        finally:
            hook.remove()

    def _no_maps(self, found: Any) -> SalcheckError:
        shape = getattr(found, "shape", found)
        given = tuple(shape) if isinstance(shape, torch.Size) else f"a {type(found).__name__}"
        there = ", ".join(name for name, _ in self.net.named_children())
        return SalcheckError(
            f"layer '{self._layer}' gives {given}, no feature maps: name another --layer, a module of {there}"
        )
