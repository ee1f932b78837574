"""Options whose values timm's tools take as several words."""

import re
from collections.abc import Sequence

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?"
PAIR = r"[A-Za-z_]\w*=.*"
CHANNELS = 3
# The words that may follow the first one as a part of the value, and how many.
SEVERAL = {"--mean": (NUMBER, CHANNELS), "--std": (NUMBER, CHANNELS), "--model-kwargs": (PAIR, None)}


def joined(args: Sequence[str]) -> list[str]:
    """The words of a command with `--mean .4 .5 .6` as `--mean .4,.5,.6`, likewise --std and --model-kwargs.

    Three numbers in a row are taken for those of three colours; fewer are not: the second may be an image's name.
    """
    done: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        done.append(word)
        if word == "--":
            return [*done, *rest]
        pattern, count = SEVERAL.get(word, ("", 0))
        words = 0
        while pattern and words < len(rest) and words != count and re.fullmatch(pattern, rest[words], re.IGNORECASE):
            words += 1
        if words > 1 and count in (None, words):
            done.append(",".join(rest[:words]))
            del rest[:words]
    return done
