"""How often a network runs and is differentiated while a method makes its maps, however the method asks for it."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import pytest
import torch

from salcheck.methods._cost import Cost
from salcheck.network.view import View
from tests.nets import make_view

KINDS = ("forwards", "backwards", "head_forwards", "head_backwards")


class Meter:
    """Passes by kind, each image of a batch and each row of a batched backward being one."""

    def __init__(self):
        self.spent = dict.fromkeys(KINDS, 0)
        self._inside = False  # a pass that runs within another is a part of it
        self._together = 1  # backwards that one call of the engine does

    def counted(self, run: Callable, forwards: str, backwards: str) -> Callable:
        """`run`, whose scores (J, N) are J passes forwards, and J backwards whenever a gradient comes through them."""

        @functools.wraps(run)
        def wrapped(*args, **named):
            if self._inside:
                return run(*args, **named)
            self._inside = True
            try:
                found = run(*args, **named)
            finally:
                self._inside = False
            scores = getattr(found, "scores", found)
            self.spent[forwards] += len(scores)
            if scores.requires_grad:
                scores.register_hook(lambda grad: self._add(backwards, len(scores)))
            return found

        return wrapped

    def engine(self, grad: Callable) -> Callable:
        """`torch.autograd.grad`, which with `is_grads_batched` does many backwards in one."""

        @functools.wraps(grad)
        def wrapped(outputs, inputs, grad_outputs=None, *args, is_grads_batched=False, **named):
            first = grad_outputs[0] if isinstance(grad_outputs, tuple | list) else grad_outputs
            self._together = len(first) if is_grads_batched else 1
            try:
                return grad(outputs, inputs, grad_outputs, *args, is_grads_batched=is_grads_batched, **named)
            finally:
                self._together = 1

        return wrapped

    def _add(self, kind: str, rows: int) -> None:
        self.spent[kind] += rows * self._together


@contextmanager
def metered(net) -> Iterator[Meter]:
    """A meter for all that is done to this network, through a view or past it."""
    meter = Meter()
    one_pass = cached_property(meter.counted(View.__dict__["_pass"].func, "forwards", "head_backwards"))
    one_pass.__set_name__(View, "_pass")
    own = {
        "forward": meter.counted(net.forward, "forwards", "backwards"),
        "forward_features": meter.counted(net.forward_features, "forwards", "backwards"),
        "forward_head": meter.counted(net.forward_head, "head_forwards", "head_backwards"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "grad", meter.engine(torch.autograd.grad))
        patch.setattr(View, "_pass", one_pass)
        patch.setattr(View, "head", meter.counted(View.head, "head_forwards", "head_backwards"))
        vars(net).update(own)
        try:
            yield meter
        finally:
            for name in own:
                del vars(net)[name]


def check_cost(cut, cost: Cost, parameters: dict, run: Callable[[View], object]) -> None:
    """Raises AssertionError where `run(view)`, for one image and three classes, takes more passes than `cost` states,
    or far fewer of the whole network.
    """
    view = make_view(cut.net, cut.images[:1], cut.layer)
    with metered(cut.net) as meter:
        C, h, w = view.acts.shape[1:]
        _ = view.affine  # found once for all methods
        meter.spent = dict.fromkeys(KINDS, 0)
        run(view)
    stated = cost.passes(**parameters, M=3, C=C, h=h, w=w)
    for kind, spent in meter.spent.items():
        most = stated.get(kind, 0)
        assert spent <= most, f"{kind}: spent {spent}, stated {most}"
        if kind in ("forwards", "backwards"):  # dead channels and windows beyond the border are left out
            assert spent >= 0.7 * most, f"{kind}: spent {spent}, stated {most}"
