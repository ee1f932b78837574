"""The wheel in an environment of its own: what it depends on is borrowed, this checkout is not there."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def call(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    status, _, err = call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    assert status == 0, err
    (file,) = folder.glob("salcheck-*.whl")
    return file


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory):
    """Programs of an environment that holds the wheel and, after it, the packages of this one."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, with_pip=False)
    (packages,) = place.glob("[Ll]ib/**/site-packages")
    # A .pth file inside a folder that a .pth file names is not read: the editable install stays out.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    status, _, err = call(
        sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--force-reinstall", wheel
    )
    assert status == 0, err
    return python.parent


def clean():
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SALCHECK_DB")}


def test_the_wheel_holds_all_that_runs_and_no_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    needed = {"migrations/env.py", "py.typed", "cli.py", "assets/scenes/config.json", "assets/scenes/model.safetensors"}
    assert {f"salcheck/{name}" for name in needed} <= names
    own = {f"salcheck/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "migrations" / "versions").glob("*.py")}
    assert own
    assert own <= names
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "salcheck").rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"salcheck"}
    assert not [name for name in names if "test" in name or name.endswith((".pyc", ".db"))]


def test_the_wheel_is_small_and_carries_the_licence(wheel):
    assert wheel.stat().st_size < 4_000_000
    assert any(name.endswith("LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_salcheck_of_the_wheel_makes_and_reads_a_database(bin_folder, tmp_path):
    code = "import salcheck.store.results as s; s.Store('new.db').close(); print(s.__file__); print(s._migrations())"
    status, out, err = call(bin_folder / "python", "-c", code, cwd=tmp_path, env=clean())
    assert (status, err) == (0, "")
    for path in map(Path, out.splitlines()):
        assert path.is_relative_to(bin_folder.parent)
        assert not path.is_relative_to(ROOT)
    status, out, err = call(bin_folder / "salcheck", "report", "--db", "new.db", cwd=tmp_path, env=clean())
    assert (status, out) == (2, "")
    assert err == "salcheck: no scores yet: run `salcheck eval rq1` first"


def test_the_program_of_the_wheel_says_its_version_and_help(bin_folder, tmp_path):
    assert call(bin_folder / "salcheck", "--version", cwd=tmp_path, env=clean())[:2] == (0, "salcheck 0.1.0")
    status, out, _ = call(bin_folder / "salcheck", "--help", cwd=tmp_path, env=clean())
    assert status == 0
    assert "report" in out
