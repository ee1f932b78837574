import errno
import os

import numpy as np
import pytest

from salcheck.errors import SalcheckError
from salcheck.store.cache import MapFile, atomic_write, cache_folder, checksum_of
from tests.elsewhere import DROP_RIGHTS, open_folder, run, run_together

ROWS = [7, 2, 9]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "maps" / "case-top1.npy"


def random_maps(n, size=(7, 7), seed=0):
    return np.random.default_rng(seed).normal(size=(n, *size)).astype(np.float32)


@pytest.fixture
def written(file):
    maps = random_maps(3)
    return maps, MapFile(file, 10).write(ROWS, maps)


def test_maps_come_back_bit_for_bit_in_the_order_that_is_asked_for(file, written):
    maps, checksums = written
    again = MapFile(file, 10)
    assert again.read(ROWS, checksums).tobytes() == maps.tobytes()
    assert again.read([9, 7], [checksums[2], checksums[0]]).tobytes() == maps[[2, 0]].tobytes()


def test_nan_infinity_and_signed_zero_come_back_bit_for_bit(file):
    maps = np.array([[[np.nan, np.inf], [-0.0, -np.inf]]], dtype=np.float32)
    checksums = MapFile(file, 1).write([0], maps)
    assert MapFile(file, 1).read([0], checksums).tobytes() == maps.tobytes()


def test_the_file_is_a_plain_npy_of_all_images(file, written):
    array = np.load(file)
    assert array.shape == (10, 7, 7)
    assert array.dtype == np.float32
    assert (array[ROWS] == written[0]).all()
    assert not np.delete(array, ROWS, axis=0).any()


def test_a_missing_file_or_checksum_is_no_map(file, written):
    assert MapFile(file.with_name("other.npy"), 10).read(ROWS, written[1]) is None
    assert MapFile(file, 10).read(ROWS, [None, *written[1][1:]]) is None
    assert not file.with_name("other.npy").exists()


def test_a_wrong_checksum_is_no_map(file, written):
    _, (first, second, third) = written
    assert MapFile(file, 10).read(ROWS, [first, third, second]) is None
    assert MapFile(file, 10).read([7], [first + 1]) is None


def test_every_single_altered_byte_of_a_map_is_found(file, written):
    maps, checksums = written
    start = file.stat().st_size - 10 * 7 * 7 * 4 + 7 * 49 * 4  # where row 7 begins
    whole = file.read_bytes()
    assert whole[start : start + 196] == maps[0].tobytes()
    for place in range(start, start + 196):
        torn = bytearray(whole)
        torn[place] ^= 1
        file.write_bytes(torn)
        assert MapFile(file, 10).read([7], checksums[:1]) is None
        assert MapFile(file, 10).read([2], checksums[1:2]) is not None


@pytest.mark.parametrize("change", [0x01, 0x20, 0xFF])
def test_whatever_byte_of_the_header_is_altered_no_wrong_map_comes_back(file, written, change):
    maps, checksums = written
    whole = file.read_bytes()
    for place in range(128):
        torn = bytearray(whole)
        torn[place] ^= change
        file.write_bytes(torn)
        found = MapFile(file, 10).read(ROWS, checksums)
        assert found is None or found.tobytes() == maps.tobytes()


@pytest.mark.parametrize("size", [0, 1, 60, 128, 128 + 7 * 196 + 100])
def test_a_torn_file_is_no_map_and_is_laid_out_anew(file, written, size):
    maps, checksums = written
    os.truncate(file, size)
    torn = MapFile(file, 10)
    assert torn.read(ROWS, checksums) is None
    assert torn.write(ROWS, maps) == checksums
    assert MapFile(file, 10).read(ROWS, checksums).tobytes() == maps.tobytes()


@pytest.mark.parametrize("content", [b"PK\x03\x04 no zip", b"\x80\x04.", b"notes", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_a_foreign_file_is_no_map_and_is_laid_out_anew(file, content):
    maps = random_maps(1)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert MapFile(file, 10).read([0], [checksum_of(maps[0])]) is None
    checksums = MapFile(file, 10).write([0], maps)
    assert MapFile(file, 10).read([0], checksums).tobytes() == maps.tobytes()


@pytest.mark.parametrize("shape", [(10, 49), (9, 7, 7), (10, 14, 14)])
def test_a_file_of_another_shape_gives_way_and_its_old_rows_do_not_count(file, written, shape):
    np.save(file, np.ones(shape, dtype=np.float32))
    fresh = random_maps(1, seed=1)
    store = MapFile(file, 10)
    assert store.read(ROWS, written[1]) is None
    new = store.write([0], fresh)
    assert store.read([0], new).tobytes() == fresh.tobytes()
    assert store.read(ROWS, written[1]) is None


def test_maps_of_another_grid_replace_the_file(file, written):
    store = MapFile(file, 10)
    assert store.read(ROWS, written[1]) is not None
    wide = random_maps(1, size=(5, 9))
    checksums = store.write([3], wide)
    assert store.read([3], checksums).tobytes() == wide.tobytes()
    assert store.read(ROWS, written[1]) is None


def test_maps_are_on_the_disk_before_their_checksums_are_known(file, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: file.exists() and flushed.append(np.load(file)))
    maps = random_maps(3)
    MapFile(file, 10).write(ROWS, maps)
    assert (flushed[-1][ROWS] == maps).all()


def test_fifty_thousand_maps_are_ten_megabytes_and_take_room_as_they_come(file):
    MapFile(file, 50_000).write([49_999], random_maps(1))
    assert file.stat().st_size == 128 + 50_000 * 7 * 7 * 4
    assert file.stat().st_blocks * 512 < 100_000


def test_a_full_disk_is_one_line(file, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SalcheckError, match=r"No space left.*SALCHECK_CACHE"):
        MapFile(file, 10).write(ROWS, random_maps(3))


def test_what_checksums_vouch_for_is_right_where_two_processes_write(tmp_path):
    code = """
import sys, numpy as np
from salcheck.store.cache import MapFile
half = [{half}]
maps = np.random.default_rng({half}).normal(size=(500, 7, 7)).astype(np.float32)
input()
file, rows = MapFile(__import__('pathlib').Path(sys.argv[1]), 1000), list(range({half}, 1000, 2))
for start in range(0, 500, 10):
    part = slice(start, start + 10)
    print(*file.write(rows[part], maps[part]))
"""
    for attempt in range(3):
        file = tmp_path / f"{attempt}.npy"
        ended = run_together([code.format(half=half) for half in (0, 1)], file)
        found = 0
        for half, (status, out, err) in enumerate(ended):
            assert (status, err) == (0, "")
            maps = np.random.default_rng(half).normal(size=(500, 7, 7)).astype(np.float32)
            for index, checksum in enumerate(map(int, out.split())):
                read = MapFile(file, 1000).read([half + 2 * index], [checksum])
                assert read is None or read.tobytes() == maps[index].tobytes()
                found += read is not None
        assert found >= 500  # at worst one of them wrote to a file that the other has replaced


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "report.md"
    atomic_write(file, lambda out: out.write(b"old"))

    def fail(out):
        out.write(b"new")
        out.flush()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(file, fail)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_first_write_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        atomic_write(tmp_path / "new" / "a.npy", lambda out: 1 / 0)
    assert list((tmp_path / "new").iterdir()) == []


def test_the_cache_lies_where_its_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("SALCHECK_CACHE", str(tmp_path / "a" / "b"))
    assert cache_folder() == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_cache_folder_that_cannot_be_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "cache"):
        monkeypatch.setenv("SALCHECK_CACHE", str(folder))
        with pytest.raises(SalcheckError, match=r"is not writable .*: point SALCHECK_CACHE") as error:
            cache_folder()
        assert "\n" not in str(error.value)


def test_a_cache_folder_without_the_right_to_write_is_one_line(monkeypatch):
    with open_folder() as folder:
        folder.chmod(0o555)
        monkeypatch.setenv("SALCHECK_CACHE", str(folder))
        status, _, err = run(f"import salcheck.store.cache{DROP_RIGHTS}salcheck.store.cache.cache_folder()")
    assert status == 1
    assert "SalcheckError: cache folder" in err.splitlines()[-1]
    assert "Permission denied" in err.splitlines()[-1]
