"""Table of questions: what is measured, what is claimed of it, and when the claim holds."""

from salcheck.questions import faithfulness, ground_truth, soundness
from salcheck.questions._row import BETTER, HIGHER, LOWER, NEITHER, Metric, Question

__all__ = ["BETTER", "HIGHER", "LOWER", "NEITHER", "QUESTIONS", "Metric", "Question"]

QUESTIONS = {question.name: question for question in (*soundness.ROWS, *faithfulness.ROWS, *ground_truth.ROWS)}
