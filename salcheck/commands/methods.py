"""`salcheck methods`: the list of methods."""

from salcheck.commands._options import Plugins


def command(plugin: Plugins = []) -> None:  # noqa: B006
    """List the methods. What each map is, what it costs, where it was published, what can be set."""
    from salcheck.methods import every
    from salcheck.screen.listing import print_methods

    print_methods(every())
