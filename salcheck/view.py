"""View: what a model saw for one batch, cut open at a layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.labels import Labels

FEATURES = "features"  # the seam between timm's forward_features and forward_head


@dataclass(frozen=True)
class _Pass:
    """One forward: the layer's own output, the leaf cut from it as (B, C, h, w), and the scores with their graph."""

    raw: Tensor
    leaf: Tensor
    scores: Tensor


class View:
    """One forward pass of B images, and everything after the layer ready to be differentiated or run again.

    images: (B, 3, H, W). acts: (B, C, h, w) at the layer, cut from all that comes before. logits: (B, N).
    seeds: one int per image, for whatever must be random per image and the same in every run.
    size: (H, W). Images are loaded and the forward is run when first asked for, once.

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
    ):
        self.size = size
        self.seeds = list(seeds)
        self.labels = labels
        self._net = net
        self._layer = layer
        self._load = load
        self._grads: dict[bytes, Tensor] = {}

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

    @cached_property
    def logits(self) -> Tensor:
        """(B, N) class scores before softmax."""
        return self._pass.scores.detach().float()

    def grads(self, classes: Tensor) -> Tensor:
        """d logit / d acts for classes (B, M): (B, M, C, h, w)."""
        return self.vjp(torch.nn.functional.one_hot(classes, self.logits.shape[1]))

    def vjp(self, weights: Tensor) -> Tensor:
        """d (sum of weights * logits) / d acts for weights (B, M, N): (B, M, C, h, w), M backwards of the head.

        Asked again with the same weights, it is free: most methods ask for the same gradients.
        """
        scores, leaf = self._pass.scores, self._pass.leaf
        outputs = weights.to(scores).transpose(0, 1)
        key = outputs.cpu().numpy().tobytes()
        if key not in self._grads:
            grads = None
            if scores.requires_grad:
                (grads,) = torch.autograd.grad(
                    scores, leaf, outputs, retain_graph=True, is_grads_batched=True, allow_unused=True
                )
            if grads is None:
                raise SalcheckError(f"no logit depends on layer '{self._layer}': name another --layer")
            self._grads[key] = grads.transpose(0, 1)
        return self._grads[key]

    def head(self, acts: Tensor, of: Tensor | None = None) -> Tensor:
        """Logits (J, N) of the part after the layer alone, for acts (J, C, h, w).

        `of` (J,) says which image of the batch each row belongs to; the default is one row per image.
        At the `features` seam only the head runs; at a module inside, the forward is run with the
        layer's output replaced.
        """
        of = torch.arange(len(self), device=acts.device) if of is None else of
        with torch.no_grad():
            changed = self._ungrid(acts, self._pass.raw[of])
            if self._layer == FEATURES:
                return self._net.forward_head(changed).float()
            return self._hooked(self.images[of], lambda out: changed).float()

    def uniform(self, classes: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Seeded noise in [0, 1), (B, M, *shape): the same for an image and class in any batch and any run."""
        draws = [
            torch.rand(shape, generator=torch.Generator().manual_seed((seed * 1_000_003 + u) % 2**63))
            for seed, row in zip(self.seeds, classes.tolist(), strict=True)
            for u in row
        ]
        return torch.stack(draws).reshape(*classes.shape, *shape).to(classes.device)

    @cached_property
    def _pass(self) -> _Pass:
        kept: list[tuple[Tensor, Tensor]] = []

        def cut(out: Any) -> Tensor:
            if kept:
                raise SalcheckError(f"layer '{self._layer}' runs more than once in a forward: name another --layer")
            if not isinstance(out, Tensor) or out.dim() not in (3, 4):
                raise SalcheckError(f"layer '{self._layer}' gives no feature maps: name another --layer")
            leaf = self._grid(out.detach()).requires_grad_()
            kept.append((out.detach(), leaf))
            return self._ungrid(leaf, out.detach())

        if self._layer == FEATURES:
            with torch.no_grad():
                features = self._net.forward_features(self.images)
            with torch.enable_grad():
                scores = self._net.forward_head(cut(features))
        else:
            with torch.enable_grad():
                scores = self._hooked(self.images, cut)
        if not kept:
            raise SalcheckError(f"layer '{self._layer}' does not run in this model's forward: name another --layer")
        return _Pass(*kept[0], scores)

    def _hooked(self, images: Tensor, replace: Callable[[Any], Tensor]) -> Tensor:
        """The forward with the layer's output replaced; the hook is gone afterwards, whatever happens."""
        module = self._net.get_submodule(self._layer)
        hook = module.register_forward_hook(lambda module, args, out: replace(out))
        try:
            return self._net(images)
        finally:
            hook.remove()

    def _grid(self, raw: Tensor) -> Tensor:
        """A layer's output as (B, C, h, w): as it is, channels last, or tokens without their prefix."""
        if raw.dim() == 4:
            return raw.permute(0, 3, 1, 2) if self._channels_last(raw.shape) else raw.view_as(raw)
        prefix, (h, w) = self._tokens(raw)
        return raw[:, prefix:].transpose(1, 2).unflatten(2, (h, w))

    def _ungrid(self, acts: Tensor, raw: Tensor) -> Tensor:
        """The inverse of `_grid`, always in new memory, with the prefix tokens of `raw`."""
        if raw.dim() == 4:
            return (acts.permute(0, 2, 3, 1) if self._channels_last(raw.shape) else acts).clone()
        prefix, _ = self._tokens(raw)
        return torch.cat([raw[:, :prefix], acts.flatten(2).transpose(1, 2)], dim=1)

    def _channels_last(self, shape: torch.Size) -> bool:
        """Which of (B, C, h, w) and (B, h, w, C) a shape is: the one whose h and w are shaped like the images.

        Where both are, the net's own `output_fmt` decides; raises SalcheckError where neither is.
        """
        H, W = self.size
        first, last = (abs(h * W / H - w) < 1 for h, w in (shape[2:], shape[1:3]))
        if not first and not last:
            raise SalcheckError(f"layer '{self._layer}' gives {tuple(shape)}, no feature maps: name another --layer")
        return last and (not first or str(getattr(self._net, "output_fmt", "NCHW")).endswith("NHWC"))

    def _tokens(self, raw: Tensor) -> tuple[int, tuple[int, int]]:
        """How many tokens come before the grid, and the grid's size."""
        prefix = getattr(self._net, "num_prefix_tokens", 0)
        h, w = getattr(getattr(self._net, "patch_embed", None), "grid_size", (0, 0))
        if raw.shape[1] != prefix + h * w:
            shape = tuple(raw.shape)
            raise SalcheckError(f"layer '{self._layer}' gives {shape}, no grid of tokens: name another --layer")
        return prefix, (h, w)
