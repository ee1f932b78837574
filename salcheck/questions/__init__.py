"""Table of questions: what is measured, what is claimed of it, and when the claim holds."""

from salcheck.errors import SalcheckError
from salcheck.naming import registry
from salcheck.naming.roles import LABEL1, LABEL2, RANDOM, TOP1, TOP2, Role, against
from salcheck.naming.words import unknown
from salcheck.questions import faithfulness, ground_truth, soundness
from salcheck.questions._row import BETTER, HIGHER, LOWER, NEITHER, Metric, Question

__all__ = [
    "BETTER",
    "HIGHER",
    "LABEL1",
    "LABEL2",
    "LOWER",
    "NEITHER",
    "QUESTIONS",
    "RANDOM",
    "TOP1",
    "TOP2",
    "Metric",
    "Question",
    "Role",
    "against",
    "find",
    "known",
    "names",
]

QUESTIONS = {question.name: question for question in (*soundness.ROWS, *faithfulness.ROWS, *ground_truth.ROWS)}


def names() -> list[str]:
    """The names of all questions: salcheck's own in their order, then what others brought. Imports none of theirs.

    Raises SalcheckError where one of theirs is called as one of salcheck's own.
    """
    theirs = registry.brought_to("questions")
    for name in theirs.keys() & QUESTIONS:
        raise SalcheckError(
            f"two questions are called {name}: salcheck's own and {theirs[name].words}; rename yours, or leave it out"
        )
    return [*QUESTIONS, *sorted(theirs)]


def find(name: str) -> Question:
    """The row of this name, or of this file (`./mine.py`), which is added.

    Raises SalcheckError with the nearest names, and for a row of others that cannot be used.
    """
    key = registry.canonical("questions", name) if name.endswith(".py") else name.strip().lower()
    if key not in names():
        raise SalcheckError(unknown("question", name.strip(), names()))
    return QUESTIONS[key] if key in QUESTIONS else _theirs(key)


def known() -> dict[str, Question]:
    """All rows by name. Imports what others brought; raises SalcheckError for a row of theirs that cannot be used."""
    return {name: find(name) for name in names()}


def _theirs(name: str) -> Question:
    """The row that another's module brings: named as its file, and with itself or a known diagnostic."""
    words = registry.brought_to("questions")[name].words
    row = getattr(registry.load("questions", name), "QUESTION", None)
    if not isinstance(row, Question):
        raise SalcheckError(f"QUESTION of {words} is no salcheck.questions.Question")
    if row.name != name:
        raise SalcheckError(f"QUESTION of {words} is named '{row.name}': name it '{name}', as its file is")
    registry.canonical("diagnostics", row.diagnostic)
    strange = [role for role in row.roles if not isinstance(role, Role)]
    if strange:
        raise SalcheckError(f"QUESTION of {words}: role {strange[0]!r} is no salcheck.questions.Role; TOP1 is one")
    if row.metric not in row.metrics:
        raise SalcheckError(f"QUESTION of {words}: its metric '{row.metric}' is not one of its metrics")
    return row
