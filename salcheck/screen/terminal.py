"""The terminal: progress and remarks on stderr, results on stdout."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from salcheck.naming.words import one_line

# File and class names are not ours: nothing in them is markup.
stdout = Console(highlight=False, markup=False, emoji=False)
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)


class Speed(ProgressColumn):
    """Things a second."""

    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} {self.unit}/s" if task.speed else "")


@contextlib.contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told (done, total); shown only where stderr is a terminal, and only while there is work."""
    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), Speed(unit), TimeRemainingColumn()]
    hidden = not stderr.is_terminal
    # What is printed belongs on stdout, which may be a file, also while the bar is shown.
    with Progress(*columns, console=stderr, disable=hidden, transient=True, redirect_stdout=False) as bar:
        tasks: list[Any] = []

        def show(done: int, total: int) -> None:
            if not tasks:
                tasks.append(bar.add_task(what, total=total))
            bar.start()
            bar.update(tasks[0], completed=done, total=total)
            if done >= total:
                bar.stop()

        yield show


def say(line: str) -> None:
    """A remark for the person, not for a program: on stderr. A name in it may have any sign."""
    stderr.print("\n".join(map(one_line, line.split("\n"))), soft_wrap=True)
