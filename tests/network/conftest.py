"""What tests of models share: a tiny model in a folder."""

import pytest

from tests.makers import save_model


@pytest.fixture(scope="package")
def toy(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("toy"))
