"""Calls of the command line: in this process, or as the program of its own that a user starts."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from salcheck.cli import make_app
from salcheck.errors import SalcheckError


def run(*arguments, code=0):
    """What the command printed, after it ended with this exit code."""
    result = CliRunner().invoke(make_app(), [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def refused(*arguments):
    """The one line that a user's mistake ends in."""
    with pytest.raises(SalcheckError) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def salcheck(*arguments, **environment):
    command = [sys.executable, "-m", "salcheck", *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
