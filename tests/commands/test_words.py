import pytest

from salcheck.commands._words import joined


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("x.jpg --mean .485 0.456 4.06e-1 --std 1 1 1", "x.jpg --mean .485,0.456,4.06e-1 --std 1,1,1"),
        ("--mean .5 .5 .5 x.jpg", "--mean .5,.5,.5 x.jpg"),
        ("--mean .5 x.jpg", "--mean .5 x.jpg"),
        ("--mean .5 7", "--mean .5 7"),
        ("--mean .5,.5,.5 1 2", "--mean .5,.5,.5 1 2"),
        ("--mean .5 .5 .5 1", "--mean .5,.5,.5 1"),
        ("--mean -.5 .5 .5", "--mean -.5,.5,.5"),
        ("--model-kwargs a=1 b=2 x.jpg", "--model-kwargs a=1,b=2 x.jpg"),
        ("--model-kwargs a=1", "--model-kwargs a=1"),
        ("-n 1 2 3", "-n 1 2 3"),
        ("-- --mean 1 2 3", "-- --mean 1 2 3"),
        ("--mean", "--mean"),
        ("", ""),
    ],
)
def test_three_numbers_are_one_value(given, expected):
    assert joined(given.split()) == expected.split()
