"""What tests share: the built-in model, tiny models, and the real weights and photographs where they lie."""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch starts: on tiny tensors threads cost far more than they save

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def pytest_collection_modifyitems(items):
    """Slow tests first: one that starts last keeps a worker busy while the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Every test has its own cache, database and working folder, no network, and no plugins."""
    monkeypatch.setattr("salcheck.naming.registry._added", {})
    monkeypatch.delenv("SALCHECK_PLUGINS", raising=False)
    monkeypatch.setenv("SALCHECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SALCHECK_DB", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def scenes_model():
    """The built-in model: trained, small, with a pooled linear head."""
    from salcheck.network.loading import load_model

    return load_model("scenes", device="cpu")


@pytest.fixture(scope="session")
def shared():
    """The folder of real weights and photographs; tests that need it are skipped where it is not there."""
    if not SHARED.is_dir():
        pytest.skip("needs the shared weights and photographs beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def resnet50(shared):
    from salcheck.network.loading import load_model

    return load_model(f"local-dir:{shared / 'models' / 'resnet50.pqf_in1k'}", device="cpu")


@pytest.fixture(autouse=True)
def files_as_they_are():
    """Digests of code read files once in a process; tests write some anew."""
    from salcheck.store import provenance

    provenance._bytes.cache_clear()


@pytest.fixture(scope="session")
def postgres():
    """A running PostgreSQL server; tests that need it are skipped where its binaries are not installed."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'salcheck[postgres]'")
    from tests.postgres import binaries, running

    place = binaries()
    if place is None:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl: apt-get install postgresql")
    with running(place) as server:
        yield server


@pytest.fixture
def postgres_url(postgres):
    """The URL of an empty database on it."""
    return postgres.create()
