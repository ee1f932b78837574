"""The lists that `salcheck methods` and `salcheck questions` print."""

import textwrap
from collections.abc import Iterable, Sequence

from salcheck.diagnostics import GIVEN
from salcheck.methods import Method
from salcheck.naming import parameters, registry
from salcheck.questions import Question
from salcheck.screen.costs import cost_words
from salcheck.screen.terminal import stdout


def print_methods(methods: Sequence[Method]) -> None:
    """What each method is, what it costs, where it comes from and what can be set."""
    _wrapped(
        "Cost is for one image and M classes, beyond the one forward that all methods share; C channels on an h x w "
        "grid. Quick methods cost next to nothing beyond it; write `quick` or `all` in place of their names.",
        indent=0,
    )
    groups = {
        "Quick methods": [m for m in methods if m.quick and not m.control],
        "Methods that run the network, or its head, many times": [m for m in methods if not m.quick and not m.control],
        "Controls, which a method must beat": [m for m in methods if m.control],
    }
    for heading, members in groups.items():
        stdout.print(f"\n{heading}", style="bold")
        for method in members:
            _wrapped(f"{method.name}: {method.help}", indent=2)
            _wrapped(_about(method), indent=4)
            if method.options:
                _wrapped(", ".join(method.options), indent=4)


def _about(method: Method) -> str:
    """Cost and source, which another's method need not state."""
    cost = "not stated" if method.cost is None else cost_words(method.cost)
    return f"cost {cost}; {getattr(method.module, 'SOURCE', 'not stated') or 'salcheck'}"


def print_questions(questions: Iterable[Question]) -> None:
    """What each question asks, what is claimed and from where, what can be set, and what `--variants` changes."""
    for question in questions:
        _wrapped(f"{question.name}: {question.title}", indent=2)
        claim = question.claim or "no claim"
        claim += "" if question.threshold is None else f", threshold={question.threshold:g}"
        _wrapped(f"{question.metric}; {claim}; {question.source}", indent=4)
        there = parameters.known(registry.load("diagnostics", question.diagnostic).score, but=GIVEN)
        _wrapped(", ".join(parameters.option(name, parameter) for name, parameter in there.items()), indent=4)
        changes = [
            f"{name}={parameters.write(value)}" for change in question.variants for name, value in change.items()
        ]
        _wrapped(f"variants: {', '.join(changes)}", indent=4)


def _wrapped(text: str, indent: int) -> None:
    if not text:
        return
    first, later = " " * indent, " " * min(4, indent + 2)
    lines = textwrap.wrap(text, stdout.width - 1, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
    stdout.print("\n".join(lines), soft_wrap=True)
