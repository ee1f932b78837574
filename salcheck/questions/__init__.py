"""Table of questions: what is measured, what is claimed of it, and when the claim holds."""

from salcheck.questions import faithfulness, ground_truth, soundness
from salcheck.questions._roles import LABEL1, LABEL2, RANDOM, TOP1, TOP2, Role, against
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
]

QUESTIONS = {question.name: question for question in (*soundness.ROWS, *faithfulness.ROWS, *ground_truth.ROWS)}
