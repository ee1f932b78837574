import pytest

from salcheck.methods._cost import C, Cost, M, either, h, parameter, w


@pytest.mark.parametrize(
    ("cost", "quick"),
    [
        (Cost(), True),
        (Cost(head_forwards=3, head_backwards=2 * M + 1), True),
        (Cost(head_backwards=parameter("samples") * M), True),
        (Cost(forwards=1), False),
        (Cost(backwards=M), False),
        (Cost(head_forwards=C), False),
        (Cost(head_backwards=M * h), False),
        (Cost(head_forwards=1, head_backwards=w), False),
    ],
)
def test_quick_is_no_pass_of_the_network_and_none_of_the_head_for_each_channel_or_place(cost, quick):
    assert cost.quick == quick


def test_passes_are_numbers_for_the_values_of_one_call():
    steps, tries = parameter("steps"), parameter("tries")
    cost = Cost(forwards=(steps - 1) ** 2, backwards=M * C, head_forwards=either(tries, h * w))
    sizes = {"M": 3, "C": 5, "h": 2, "w": 4, "steps": 7, "unread": "mean"}
    assert cost.passes(tries=6, **sizes) == {"forwards": 36, "backwards": 15, "head_forwards": 6}
    assert cost.passes(tries=0, **sizes)["head_forwards"] == 8
