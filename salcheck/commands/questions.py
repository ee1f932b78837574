"""`salcheck questions`: the list of questions."""

from salcheck.questions import QUESTIONS


def command() -> None:
    """List the questions. What each asks and claims, where it comes from, what can be set."""
    from salcheck.screen.listing import print_questions

    print_questions(QUESTIONS.values())
