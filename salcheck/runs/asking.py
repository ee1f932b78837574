"""From what a user asks to questions, and one after another to their answers."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from salcheck.diagnostics import GIVEN
from salcheck.errors import SalcheckError
from salcheck.methods import Method, UnfitError, without
from salcheck.naming import parameters, registry
from salcheck.naming.words import one_line
from salcheck.network.model import Model
from salcheck.questions import Question, find
from salcheck.runs.evaluate import doubts, evaluate, summary
from salcheck.runs.plan import Request, fitted, make_run
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


class Screen(Protocol):
    """Where a person is told how far the work is; `salcheck.screen.terminal` is one."""

    def progress(self, what: str, unit: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """Opens a bar; what it gives is called with (done, total)."""

    def say(self, line: str) -> None: ...


@dataclass(frozen=True)
class Asked:
    """A question as it is put: to which model, and whether that is cut where the user did not ask for it."""

    question: Question
    model: Model
    elsewhere: bool = False

    def __str__(self) -> str:
        return f"{self.question.name} at {self.model.layer}" if self.elsewhere else self.question.name


@dataclass(frozen=True)
class Answers:
    """The ids of the runs, and the methods that were named and could not be used for every question, as typed."""

    runs: Sequence[int]
    left_out: Sequence[str]


def ask(
    questions: Sequence[Question],
    model: Model,
    methods: Sequence[Method],
    request: Request,
    store: Store,
    cache: Path,
    screen: Screen,
    with_variants: bool = False,
) -> Answers:
    """Asks one question after another, with its variants where they are wanted, and stores every score. A method that
    cannot be used is left out, with its reason. The first error is raised when all have been asked.
    """
    missing: dict[str, None] = {}

    def answer(asked: Asked) -> int:
        named = [dataclasses.replace(method, implied=method.implied or asked.elsewhere) for method in methods]
        while True:
            try:
                return once(asked, named)
            except UnfitError as error:
                unfit, named = without(named, error)
                screen.say(f"{asked}: {unfit.typed} is left out: {error.reason}")
                missing.update({} if unfit.implied else {unfit.typed: None})

    def once(asked: Asked, named: Sequence[Method]) -> int:
        with screen.progress("reference", "images") as show:
            run = make_run(asked.question, asked.model, named, request, cache, show)
        for note in run.notes:
            screen.say(note)
        with screen.progress(asked.question.name, "images") as show:
            number = evaluate(run, store, cache, lambda done: show(done, len(run.items)))
        for line in (summary(store, run, number), *doubts(store, number)):
            screen.say(line)
        return number

    work = [Asked(question, model) for question in questions]
    if with_variants:
        work = [one for own in questions for one in (Asked(own, model), *_readings(own, model, screen.say))]
    return Answers(answer_all(work, answer, screen.say), list(missing))


def answer_all(work: Sequence[Asked], answer: Callable[[Asked], int], say: Callable[[str], None]) -> list[int]:
    """The answers in turn. What goes wrong with one keeps no other from its answers: it is said, and the first error is
    raised at the end.
    """
    answers, errors = [], list[Exception]()
    for asked in work:
        try:
            answers.append(answer(asked))
        except Exception as error:
            if errors or len(work) > 1:
                say(f"salcheck: {asked} has no answer: {one_line(error)}")
            errors.append(error)
    if errors:
        raise errors[0]
    return answers


def _readings(question: Question, model: Model, say: Callable[[str], None]) -> Iterator[Asked]:
    """The question's variants, each with the model as that cuts it; a layer that the model does not have is said."""
    for reading, layer in variants(question):
        try:
            subject = model.at(layer) if layer else model
            fitted(reading, subject)
        except SalcheckError as error:
            where = f"at layer={layer}" if layer else "under another reading"
            say(f"{question.name} is not asked {where}: {error}")
            continue
        if not layer or subject.layer != model.layer:
            yield Asked(reading, subject, bool(layer))
