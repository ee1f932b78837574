"""What a method is, and how a user names one.

A method file has `saliency(view, classes, *, parameter=default, ...) -> maps`: classes (B, M) of class
indices, maps (B, M, h, w) or at pixel resolution (B, M, H, W), float32, raw (no min-max, no resize). It says

    SOURCE   where it was published
    COST     what it takes for one image and M classes beyond the one forward that all methods share, as a
             `salcheck.methods._cost.Cost`: `Cost(forwards=C)`, `Cost(backwards=parameter("steps") * M)`, `Cost()`

A method that decides things on the way has `decide(view, classes, *, parameter=default, ...) -> (maps, facts)` as well:
facts is {name: (B, M)}, what it decided for each map, for the report (bools are counted, numbers get a median and a
range, NaN is left out). The parameters then stand in `decide`, and `saliency(view, classes, **parameters)` is its maps.

A method file may have
    needs(**parameters)    {name: parameters} of references, which `saliency` then takes as `reference`, and of `seed`
                           if it draws anything
    total(view, classes, ...)  (B, M), what it says that its maps sum to: `completeness` holds it to that
    distance(view, classes, ...)  (B, M), how far the images are from what it compares them with, 0 or more
    confident(**parameters)   whether it reads confidences, which a model whose outputs are values has not
    paired(**parameters)   whether a map depends on which two classes are asked for together
    named(**parameters)    the classes that its parameters name, as texts: which classes these are makes its maps
    unfit(model)           why it cannot explain this model, or None
    VALUES                 {parameter: which values it takes}, for those that are free text
    FALLBACK               what it does where there are no references; without one it needs them
    BLIND = True           its map is the same for every class
    HEAD = False           it reads no class score, and works for models without classes
    CONTROL = True         it knows nothing of the class: what a method must beat; ALWAYS = True, it joins every run

The first line of its docstring is its help.
"""

import dataclasses
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from torch import Tensor

from salcheck.datasets import Dataset
from salcheck.errors import SalcheckError
from salcheck.methods import _model
from salcheck.methods._cost import Cost
from salcheck.naming import parameters, registry
from salcheck.network.labels import Labels
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.references import Need, UnbuiltError

NAME_LENGTH = 60


class UnfitError(SalcheckError):
    """One method that cannot be used: what is wrong is with it alone, and others can be used without it.

    key: of the method. reason: why, without the method's name.
    """

    def __init__(self, line: str, key: str, reason: str):
        super().__init__(line)
        self.args = (line, key, reason)  # of which another process makes it again
        self.key, self.reason = key, reason

    def __str__(self) -> str:
        return self.args[0]


THE_MODEL = "model"
VALUES = "this model's outputs are values"


@dataclass(frozen=True)
class Method:
    """A method with its parameters, all of them filled in. `typed` is how the user wrote it; `implied`, that it
    was not named but came with a word such as `all`.
    """

    name: str
    parameters: Mapping[str, Any]
    typed: str
    implied: bool = False

    @cached_property
    def module(self) -> ModuleType:
        return _model if self.name == THE_MODEL else registry.load("methods", self.name)

    def __getstate__(self) -> dict[str, Any]:
        """To another process without the module, which is found there by its name."""
        return {name: value for name, value in vars(self).items() if name != "module"}

    @property
    def outside(self) -> bool:
        """Whether its file is not salcheck's own: it is then held to the contract when it is first used."""
        return self.name in registry.brought_to("methods")

    @property
    def control(self) -> bool:
        return getattr(self.module, "CONTROL", False)

    @property
    def always(self) -> bool:
        """Whether it joins every run."""
        return getattr(self.module, "ALWAYS", False)

    @property
    def quick(self) -> bool:
        """Whether it costs next to nothing beyond the forward that all methods share, on any model."""
        return self.cost is not None and self.cost.quick

    @property
    def cost(self) -> Cost | None:
        """How often the network runs for one image, over its parameters and M, C, h, w; None where it does not say."""
        return getattr(self.module, "COST", None)

    @property
    def needs(self) -> tuple[Need, ...]:
        """The references that this method reads beside the image with these parameters."""
        return tuple(need for need in self._reads if need.name != "seed")

    @property
    def seeded(self) -> bool:
        """Whether its maps depend on the run's seed."""
        return any(need.name == "seed" for need in self._reads)

    def named(self, labels: Labels) -> list[int]:
        """The classes that its parameters name; raises SalcheckError for one that the model does not have."""
        texts = self.module.named(**self.parameters) if len(labels) and hasattr(self.module, "named") else []
        return [labels.resolve(text) for text in texts]

    @property
    def paired(self) -> bool:
        """Whether a map depends on which two classes are asked for together."""
        return hasattr(self.module, "paired") and self.module.paired(**self.parameters)

    @property
    def _reads(self) -> tuple[Need, ...]:
        named = self.module.needs(**self.parameters) if hasattr(self.module, "needs") else {}
        return tuple(Need(name, parameters) for name, parameters in named.items())

    def unfit(self, model: Model, held: Dataset | None) -> str | None:
        """Why it cannot be used on this model with these held-out images, or none; None where it can."""
        if len(model.labels) < 1 and getattr(self.module, "HEAD", True):
            return "it explains the score of a class, and this model has no classes"
        own = self.module.unfit(model) if hasattr(self.module, "unfit") else None
        if own:
            return str(own)
        values = model.outputs.kind == "value"
        if values and hasattr(self.module, "confident") and self.module.confident(**self.parameters):
            return f"it reads confidences, and {VALUES}"
        missing = [need for need in self.needs if "images" not in need.parameters]
        if missing and held is None and not hasattr(self.module, "FALLBACK"):
            return "it compares with held-out images: give some with --reference DIR"
        unlabelled = held is not None and not any(item.labels for item in held.items)
        if unlabelled and any(need.module.LABELS for need in missing):
            why = held.notes[0] if held and held.notes else "give --reference DIR with class folders"
            return f"it needs held-out images with known classes: {VALUES if values else why}"
        return None

    def cannot(self, reason: str) -> UnfitError:
        """The error that it cannot be used, for this reason."""
        return UnfitError(f"cannot use {self.typed}: {reason}", self.key, reason)

    @property
    def help(self) -> str:
        """What its map is, in one line."""
        return (self.module.__doc__ or "no docstring says").strip().splitlines()[0]

    @property
    def options(self) -> list[str]:
        """Its parameters with their defaults, and the other values where these are words: `k=1`."""
        words = getattr(self.module, "VALUES", {})
        there = _known(self.module)
        return [parameters.option(name, parameter, words.get(name, "")) for name, parameter in there.items()]

    @property
    def spec(self) -> str:
        """The shortest way to write it, the same for every way it may have been typed."""
        return parameters.spell(self.name, self.parameters, _known(self.module))

    @property
    def key(self) -> str:
        """Name and all parameters as JSON: its identity in the database and the cache."""
        return json.dumps([self.name, dict(sorted(self.parameters.items()))], separators=(",", ":"))

    @property
    def file_name(self) -> str:
        """The name as part of a file name on any system, short, and no other method's."""
        spelled = re.sub(r"[^A-Za-z0-9=+.-]+", "-", self.spec)
        if len(spelled) <= NAME_LENGTH and re.fullmatch(r"[\w=+.,:-]*", self.spec):
            return spelled
        return f"{spelled[:NAME_LENGTH]}-{hashlib.sha256(self.key.encode()).hexdigest()[:8]}"

    def saliency(self, view: View, classes: Tensor, references: Mapping[str, Any] | None = None) -> Tensor:
        """Maps (B, M, h, w) or (B, M, H, W) for classes (B, M); references by their keys."""
        return self.module.saliency(view, classes, **self._arguments(references)).float()

    def decide(
        self, view: View, classes: Tensor, references: Mapping[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The maps of `saliency`, and what the method decided for each, by name, each (B, M): nothing for most."""
        if not hasattr(self.module, "decide"):
            return self.saliency(view, classes, references), {}
        maps, facts = self.module.decide(view, classes, **self._arguments(references))
        return maps.float(), facts

    def told(
        self, name: str, view: View, classes: Tensor, references: Mapping[str, Any] | None = None
    ) -> Tensor | None:
        """What the method's file says under this name, `total` or `distance`: (B, M), None where it says nothing."""
        if not hasattr(self.module, name):
            return None
        return getattr(self.module, name)(view, classes, **self._arguments(references))

    def _arguments(self, references: Mapping[str, Any] | None) -> dict[str, Any]:
        if "reference" not in inspect.signature(_declared(self.module)).parameters:
            return dict(self.parameters)
        known = references or {}
        return {**self.parameters, "reference": {n.name: known[n.key] for n in self.needs if n.key in known}}


def parse_method(text: str) -> Method:
    """`case` or `case:contrast=logits,k=3`; raises SalcheckError with the nearest names."""
    typed, (name, rest) = text.strip(), parameters.divide(text)
    name = registry.canonical("methods", name)
    there = _known(registry.load("methods", name))
    given = parameters.parse(name, rest, there, typed)
    return Method(name, {k: given.get(k, p.default) for k, p in there.items()}, typed)


def parse_methods(texts: Sequence[str]) -> list[Method]:
    """Methods of one or more lists, each once; `all` is every method, `quick` those that cost next to nothing beyond
    the forward that all share.

    In a list a comma before `key=` continues the parameters of the method before it.
    """
    words: list[str] = []
    for piece in (piece.strip() for text in texts for piece in text.split(",")):
        if words and re.match(r"[A-Za-z_]\w*=", piece):
            words[-1] += ("," if ":" in words[-1] else ":") + piece
        elif piece:
            words.append(piece)
    if not words:
        there = ", ".join([*registry.names("methods"), *GROUPS])
        raise SalcheckError(f"no method named: give one or more of {there}")
    methods: dict[str, Method] = {}
    for word in words:
        for method in GROUPS[word.lower()]() if word.lower() in GROUPS else [parse_method(word)]:
            if method.key not in methods or methods[method.key].implied:
                methods[method.key] = method
    return list(methods.values())


def usual(model: Model) -> tuple[list[Method], list[str]]:
    """The method where a user names none: `case`, or `gradcam` with a note where that does not fit the model."""
    case = parse_method("case")
    reason = case.unfit(model, None)
    if reason is None:
        return [case], []
    return [parse_method("gradcam")], [f"gradcam, for case does not fit this model: {reason}"]


def every() -> list[Method]:
    """Every method, with its defaults."""
    return [dataclasses.replace(parse_method(name), implied=True) for name in registry.names("methods")]


def quick() -> list[Method]:
    """Those that cost next to nothing; of the controls, those that join every run."""
    return [method for method in every() if method.quick and (not method.control or method.always)]


def the_model() -> Method:
    """What stands in a method's place where a question is asked of the model itself."""
    return Method(THE_MODEL, {}, THE_MODEL)


GROUPS = {"all": every, "quick": quick}


def fitting(methods: Sequence[Method], model: Model, held: Dataset | None) -> tuple[list[Method], list[str]]:
    """The methods that this model can be explained with, given held-out images or none, and a note on each other
    one that came with `all`.

    Raises UnfitError for one that was named and cannot be used.
    """
    kept, notes = [], []
    for method in methods:
        reason = method.unfit(model, held)
        if reason and not method.implied:
            raise method.cannot(reason)
        if reason:
            notes.append(f"{method.name} is left out: {reason}")
        else:
            kept.append(method)
    return kept, notes


def without(methods: Sequence[Method], unfit: UnfitError) -> tuple[Method, list[Method]]:
    """The unfit one of the methods, and the others; raises it where it is none of them or there is no other."""
    found = [method for method in methods if method.key == unfit.key]
    rest = [method for method in methods if method.key != unfit.key]
    if not found or not rest:
        raise unfit
    return found[0], rest


def unfit_of(methods: Sequence[Method], error: UnbuiltError) -> UnfitError:
    """The first of the methods that reads the reference that cannot be built, as one that cannot be used."""
    return next(method for method in methods if error.need in method.needs).cannot(str(error))


def controls() -> list[Method]:
    """The controls that no report is without, with their defaults."""
    return [method for method in every() if method.always]


def _declared(module: ModuleType) -> Callable[..., Any]:
    """The function of a method file that has its parameters."""
    return getattr(module, "decide", module.saliency)


def _known(module: ModuleType) -> dict[str, inspect.Parameter]:
    return parameters.known(_declared(module), but=("reference",))
