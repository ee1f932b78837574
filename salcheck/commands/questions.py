"""`salcheck questions`: the list of questions."""

from salcheck.commands._options import Plugins


def command(plugin: Plugins = []) -> None:  # noqa: B006
    """List the questions. What each asks and claims, where it comes from, what can be set."""
    from salcheck.questions import known
    from salcheck.screen.listing import print_questions

    print_questions(known().values())
