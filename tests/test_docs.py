"""The pages name everything that a user can name: README.md and docs/*.md together."""

from pathlib import Path

import pytest

from salcheck.naming import registry

ROOT = Path(__file__).parents[1]
PAGES = "".join(page.read_text() for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
SHELVES = {"methods": "--method", "datasets": "--dataset", "formats": "--format"}


@pytest.mark.parametrize("word", [f"{shelf}/{name}" for shelf in SHELVES for name in registry.names(shelf)])
def test_every_word_of_a_shelf_is_named(word):
    shelf, name = word.split("/")
    said = f"`{name}`", f"{SHELVES[shelf]} {name} ", f"{SHELVES[shelf]} {name}\n"
    assert any(one in PAGES for one in said), f"README.md and docs/*.md do not name {word}: write `{name}`"
