"""A dataset from outside is held to the contract when it is opened."""

import re

import pytest

from salcheck.datasets._contract import check_dataset
from salcheck.errors import SalcheckError
from salcheck.naming import registry
from salcheck.network.labels import Labels

LIARS = {
    "return [Item('a')]": "open_dataset gave a list: it gives a salcheck.datasets.Dataset",
    "return Dataset('mine', '', ['a'], read)": "one of its items is a str",
    "return Dataset('mine', '', [Item('a'), Item('b'), Item('a')], read)": "two of its items have the key 'a'",
    "return Dataset('mine', '', [Item('a')], lambda item: read(item).convert('L'))": "an image of mode L",
    "return Dataset('mine', '', [Item('a')], lambda item: item.key)": "read gave str",
}
HEAD = """
from PIL import Image
from salcheck.datasets import Dataset, Item


def read(item):
    return Image.new("RGB", (8, 8))


def open_dataset(root, labels, seed):
    """


def opened(tmp_path, body):
    (tmp_path / "mine.py").write_text(HEAD + body)
    module = registry.load("datasets", str(tmp_path / "mine.py"))
    return check_dataset("mine", module.open_dataset(None, Labels(["kind"]), 0))


@pytest.mark.parametrize("body", LIARS)
def test_a_dataset_that_breaks_the_contract_is_one_line(tmp_path, body):
    with pytest.raises(SalcheckError, match=re.escape(LIARS[body])) as caught:
        opened(tmp_path, body)
    assert "\n" not in str(caught.value)


def test_an_honest_dataset_passes(tmp_path):
    assert len(opened(tmp_path, "return Dataset('mine', '', [Item('a'), Item('b', (0,))], read)")) == 2
