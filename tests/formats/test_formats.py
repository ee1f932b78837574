import csv
import io
import json

import pandas as pd
import pytest

from salcheck import folder
from salcheck.report import make_report
from salcheck.store import Store
from tests.databases import add_maps, add_run

NASTY = "a|b`c<d>\ne*f*[g](h)\\|"
LONG = "case:contrast=explicit,against=n02123045,k=3"
BLANK = "blank: no positive pixel"


@pytest.fixture
def report(tmp_path):
    """Two runs: one with every kind of line, one unfinished and with hostile names."""
    with Store(str(tmp_path / "salcheck.db")) as store:
        scores = {
            "case": [10.0, 20.0, 30.0, 35.0, 12.0, 22.5],
            LONG: [11.0, 21.0, 31.0, 36.0, 13.0, 23.0],
            "gradcam": [90.0, 80.0, 70.0, 60.0, 50.0, BLANK],
            "layercam": [BLANK] * 6,
            "random": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            "center": [100.0] * 6,
        }
        number = add_run(store, scores)
        add_maps(store, number, "case", [0.1] * 6)
        add_maps(store, number, LONG, [0.1] * 6)
        add_run(store, {NASTY: [50.0], "random": ["=cmd|' /C calc'!A0"]}, arch="=1+1\n| x |", reference=NASTY, drawn=9)
        yield make_report(store)


@pytest.fixture
def empty(tmp_path):
    with Store(str(tmp_path / "empty.db")) as store:
        add_run(store, {"case": ["blank: constant"] * 3}, drawn=5)
        yield make_report(store)


def render(name, report):
    return folder.load("formats", name).render(report)


def cells(row):
    """A row of a Markdown table, as GitHub's grammar splits it: at every | that no backslash precedes."""
    assert "\\" not in row  # the formats write no backslash, so that every | is a border
    assert row.startswith("| ")
    assert row.endswith(" |")
    return [cell.strip() for cell in row[1:-1].split("|")]


@pytest.mark.parametrize("name", folder.names("formats"))
def test_no_format_writes_none_or_nan_and_each_ends_with_one_newline(name, report, empty):
    for given in (report, empty):
        text = render(name, given)
        assert "None" not in text
        assert "nan" not in text.lower().replace("inception", "")
        assert text.endswith("\n")
        assert not text.endswith("\n\n\n")


def test_every_markdown_table_has_rows_of_one_length(report):
    tables = [block for block in render("md", report).split("\n\n") if block.startswith("| method")]
    assert len(tables) == 2
    for table in tables:
        head, rule, *rows = (cells(row) for row in table.splitlines())
        assert set("".join(rule)) == {"-", ":"}
        assert rows
        assert {len(row) for row in [rule, *rows]} == {len(head)}


def test_markdown_has_the_figures_of_the_lines(report):
    table = next(block for block in render("md", report).split("\n\n") if block.startswith("| method"))
    head, _, *rows = (cells(row) for row in table.splitlines())
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    case, gradcam, layercam = found["case"], found["gradcam"], found["layercam"]
    assert (case["N"], case["mean"], case["median"], case["< 50"], case["p"]) == ("6", "21.6", "21.2", "100 %", ".0156")
    assert (gradcam["N"], gradcam["median"], gradcam["SD"], gradcam["blank"]) == ("5", "70.0", "15.8", "1")
    assert (layercam["N"], layercam["mean"], layercam["p"], layercam["95 % CI"]) == ("0", "", "", "")
    assert (layercam["blank"], layercam["verdict"]) == ("6", "no scores")
    assert found["*random*"]["p Holm"] == ""
    assert case["verdict"] == "no evidence (random passes too)"


def test_markdown_lets_no_name_become_markup(report):
    text = render("md", report)
    assert "`" not in text
    assert "<d" not in text.replace("| < 50 |", "")
    assert "](h)" not in text
    assert "| x |" not in text
    assert "a&#124;b'c&#60;d&#62; e&#42;f&#42;&#91;g&#93;(h)&#92;&#124;" in text


def test_csv_reads_back_by_the_csv_module_and_by_pandas(report):
    text = render("csv", report)
    records = list(csv.DictReader(io.StringIO(text)))
    table = pd.read_csv(io.StringIO(text))
    lines = [line for section in report.sections for line in section.lines]
    assert len(records) == len(table) == len(lines) == 8
    for record, (_, row), line in zip(records, table.iterrows(), lines, strict=True):
        assert record["method"] == row["method"] == line.method
        assert int(record["n"]) == row["n"] == line.summary.n
        for name in ("mean", "median", "wilcoxon", "low", "sd"):
            value = getattr(line.summary, name)
            assert (record[name] == "") == pd.isna(row[name]) == (value is None)
            assert value is None or float(record[name]) == row[name] == value
    assert {record["threshold"] for record in records} == {"50.0"}
    assert all(None not in record for record in records)


def test_csv_has_nothing_that_a_spreadsheet_would_run(report):
    for row in csv.reader(io.StringIO(render("csv", report))):
        assert not [cell for cell in row if cell.startswith(("=", "+", "@", "\t", "\r", "\n"))]
        for cell in row:
            assert not cell.startswith("-") or float(cell) < 0


def test_json_has_one_object_per_line_with_every_figure_in_full(report):
    records = json.loads(render("json", report), parse_constant=pytest.fail)
    lines = [line for section in report.sections for line in section.lines]
    assert [record["method"] for record in records] == [line.method for line in lines]
    for record, line in zip(records, lines, strict=True):
        assert {"question", "arch", "method", "n", "mean", "median", "verdict", "run"} <= set(record)
        assert record == {**record, **line.values}
        assert record["percent"] == 5
    assert records[3]["mean"] is None
    assert records[1]["same_as"] == "case"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_is_no_wider_than_the_terminal_and_breaks_no_word(report, empty, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    for given in (report, empty):
        assert max(len(line) for line in render("text", given).splitlines()) <= width
    words = render("text", report).replace("\n", " ").split()
    for word in ("evidence", "(random", "control:", "resamples.", "UNFINISHED:"):
        assert word in words


def test_text_has_all_columns_where_there_is_room_and_always_the_median_and_p(report, monkeypatch):
    heads = {}
    for width in (40, 60, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        heads[width] = next(line for line in render("text", report).splitlines() if line.startswith(" method"))
    assert heads[120].split() == ["method", "N", "median", "95", "%", "CI", "<50", "p", "Holm", "verdict"]
    for head in heads.values():
        assert "median" in head
        assert "p Holm" in head


def test_text_lines_up_its_columns(report, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    lines = render("text", report).splitlines()
    head = next(line for line in lines if line.startswith(" method"))
    case, random = (next(line for line in lines if line.startswith(f" {name} ")) for name in ("case", "random"))
    end = head.index("median") + len("median")
    assert case[:end].endswith(" 21.2")
    assert random[:end].endswith(" 2.5")
    assert case[head.index("verdict") :] == "no evidence (random passes too)"


def test_text_counts_blank_maps(report):
    assert "blank map: gradcam 1, layercam 6." in " ".join(render("text", report).split())


def test_text_has_no_colours_whatever_the_terminal(report, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in render("text", report)
