"""Parameters as they are typed, of questions and methods alike."""

from typing import Literal

import pytest

from salcheck.errors import SalcheckError
from salcheck.naming import parameters


def subject(
    first,
    *,
    share: float = 0.5,
    percent: tuple[float, ...] = (5.0, 50.0),
    fill: Literal["mean", "blur"] = "mean",
    steps: int = 20,
    soft: bool = False,
    given: object = None,
):
    pass


THERE = parameters.known(subject, but="given")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("share=0.25", {"share": 0.25}),
        ("percent=5+10.5+50", {"percent": (5.0, 10.5, 50.0)}),
        ("percent=5", {"percent": (5.0,)}),
        ("fill=blur, steps=3,soft=yes", {"fill": "blur", "steps": 3, "soft": True}),
    ],
)
def test_what_is_typed_is_read_by_its_annotation(text, found):
    assert parameters.parse("subject", text, THERE, text) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("share=much", "subject:share=much: it takes float values"),
        ("share=inf", "it takes finite numbers"),
        ("percent=5+nan", "it takes finite numbers"),
        ("percent=5++6", "it takes float values"),
        ("fill=red", "it is one of mean, blur"),
        ("steps=1.5", "it takes int values"),
        ("soft=perhaps", "it is true or false"),
        ("shar=1", "unknown parameter of subject 'shar': did you mean share"),
        ("given=1", "unknown parameter of subject 'given'"),
        ("share", "'share' in 'share' is no parameter: write subject:key=value"),
    ],
)
def test_what_cannot_be_read_is_one_line(text, says):
    with pytest.raises(SalcheckError, match=says.replace("(", r"\(")) as error:
        parameters.parse("subject", text, THERE, text)
    assert "\n" not in str(error.value)


def test_the_shortest_way_to_write_it_reads_back():
    values = {"share": 0.1, "percent": (1.0, 2.5), "fill": "mean", "steps": 20, "soft": True}
    spelt = parameters.spell("subject", values, THERE)
    assert spelt == "subject:percent=1+2.5,share=0.1,soft=true"
    defaults = {name: parameter.default for name, parameter in THERE.items()}
    assert defaults | parameters.parse("subject", spelt.partition(":")[2], THERE, spelt) == values


@pytest.mark.parametrize("number", [1 / 3, 1e-7, 123456789.125, 0.1 + 0.2])
def test_no_digit_is_lost(number):
    assert float(parameters.write(number)) == number
