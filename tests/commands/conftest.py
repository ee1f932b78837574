"""A tiny model and a few images, shared by the tests of the commands."""

import pytest

from tests.makers import save_images, save_model


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("toy"), side=96)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"))
