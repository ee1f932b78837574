"""The options of a model are the same for every command that takes one."""

import inspect

import pytest

from salcheck.commands._model import ModelOptions, takes_model
from salcheck.naming import registry


@pytest.mark.parametrize("name", ["eval", "explain"])
def test_each_field_is_an_option(name):
    parameters = inspect.signature(registry.load("commands", name).command).parameters
    assert set(inspect.signature(ModelOptions).parameters) < set(parameters)
    assert "model" not in parameters


def test_the_command_gets_them_as_one():
    given = {}

    @takes_model
    def command(first: int, model: ModelOptions, last: int = 2) -> None:
        given.update(first=first, model=model, last=last)

    defaults = {name: p.default for name, p in inspect.signature(ModelOptions).parameters.items()}
    command(**defaults | {"first": 1, "last": 3, "layer": "layer4"})
    assert given == {"first": 1, "model": ModelOptions(layer="layer4"), "last": 3}
