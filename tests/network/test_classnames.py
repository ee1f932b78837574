import json
import pickle

import pytest

from salcheck.errors import SalcheckError
from salcheck.network.classnames import given_names, read_names
from salcheck.network.labels import in_order


def names_in(path, text, count=3):
    path.write_text(text, encoding="utf-8")
    return in_order(read_names(path), count)


@pytest.mark.oracle
def test_a_file_of_lines_is_what_timm_reads(tmp_path):
    from timm.data.readers.class_map import load_class_map

    file = tmp_path / "map.txt"
    assert names_in(file, "bird\n car \ndog, wild\n") == ["bird", "car", "dog, wild"]
    assert load_class_map(str(file)) == {"bird": 0, "car": 1, "dog, wild": 2}


@pytest.mark.parametrize(
    "text",
    [
        "dog 2\nbird 0\ncar 1",
        "dog,2\nbird,0\ncar,1\n\n",
        "name,index\r\ndog,2\r\nbird,0\r\ncar,1\r\n",
        "2\tdog\n0\tbird\n1\tcar",
        "\ufeff0, bird\n1, car\n2, dog",
    ],
)
def test_names_with_numbers_go_by_these(tmp_path, text):
    assert names_in(tmp_path / "map.csv", text) == ["bird", "car", "dog"]


@pytest.mark.parametrize("names", [["type 0", "type 1", "type 2"], ["3", "1", "2"], ["7 up", "8 up", "9 up"]])
def test_numbers_in_names_are_no_classes(tmp_path, names):
    assert names_in(tmp_path / "map.txt", "\n".join(names)) == names


@pytest.mark.parametrize(
    "held", [["bird", "car", "dog"], {"bird": 0, "dog": 2, "car": 1}, {"1": "car", "2": "dog", "0": "bird"}]
)
def test_json_holds_a_list_or_a_dict_either_way(tmp_path, held):
    assert names_in(tmp_path / "map.json", json.dumps(held)) == ["bird", "car", "dog"]


def test_a_pickle_is_refused_unread(tmp_path):
    (tmp_path / "map.pkl").write_bytes(pickle.dumps({"bird": 0}))
    with pytest.raises(SalcheckError, match=r"is a pickle, which may run code"):
        read_names(tmp_path / "map.pkl")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("map.txt", b"", "names no class"),
        ("map.txt", b"\xff\xfe\x00", "cannot read"),
        ("map.json", b"{", "is no JSON"),
        ("map.json", b"[" * 99_999, "is no JSON"),
        ("map.json", b"7", "holds a int"),
        ("map.json", b"[]", "names no class"),
    ],
)
def test_another_file_is_one_line(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SalcheckError, match=says):
        read_names(tmp_path / name)
    with pytest.raises(SalcheckError, match="no file"):
        read_names(tmp_path)


def test_names_are_a_list_or_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("bird\ncar")
    assert given_names("bird, car ,dog", None) == ["bird", "car", "dog"]
    assert given_names("names.txt", None) == given_names(None, tmp_path / "names.txt") == ["bird", "car"]
    assert given_names(None, None) is None
    for names in ("", " , "):
        with pytest.raises(SalcheckError, match="--class-names is empty"):
            given_names(names, None)
    assert given_names("a\0b" * 9999, None)
    with pytest.raises(SalcheckError, match="give one of them"):
        given_names("a,b", tmp_path / "names.txt")
