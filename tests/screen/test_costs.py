import pytest

from salcheck.methods._cost import C, Cost, M, either, h, parameter, w
from salcheck.screen.costs import cost_words

steps, tries = parameter("steps"), parameter("tries")


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (Cost(), "nothing"),
        (Cost(forwards=C + 1), "C + 1 forwards"),
        (Cost(forwards=steps, backwards=M * steps), "steps forwards, steps × M backwards"),
        (Cost(head_forwards=1, head_backwards=1 + M * 2), "1 head forwards, 2 × M + 1 head backwards"),
        (Cost(forwards=(1 + (steps - 1) * w) ** 2), "((steps - 1) × w + 1)² forwards"),
        (Cost(head_forwards=w * h * either(tries, h * w)), "(tries or h × w) × h × w head forwards"),
    ],
)
def test_words_are_in_one_order_however_the_cost_is_written(cost, words):
    assert cost_words(cost) == words
