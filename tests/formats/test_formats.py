import csv
import dataclasses
import io
import json

import numpy as np
import pandas as pd
import pytest

from salcheck.formats._verdicts import words
from salcheck.maps.notes import Kind, Note
from salcheck.naming import registry
from salcheck.report.build import make_report
from salcheck.store.results import Store
from tests.databases import add_maps, add_metric, add_run

NASTY = "a|b`c<d>\ne*f*[g](h)\\|"
LONG = "case:contrast=explicit,against=n02123045,k=3"
BLANK = Note(Kind.BLANK, "no positive pixel")
CONTROLS = ("random", "center", "edges")


@pytest.fixture
def report(tmp_path):
    """Two runs: one with every kind of line, one unfinished and with hostile names."""
    with Store(str(tmp_path / "salcheck.db")) as store:
        scores = {
            "case": [10.0, 20.0, 30.0, 35.0, 12.0, 22.5],
            LONG: [10.0, 20.0, 30.0, 35.0, 12.0, 22.5],
            "gradcam": [90.0, 80.0, 70.0, 60.0, 50.0, BLANK],
            "layercam": [BLANK] * 6,
            "random": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            "center": [100.0] * 6,
            "edges": [100.0] * 6,
        }
        number = add_run(store, scores)
        add_maps(store, number, "case", [0.1] * 6)
        add_maps(store, number, LONG, [0.1] * 6)
        add_run(store, {NASTY: [50.0], "random": ["=cmd|' /C calc'!A0"]}, arch="=1+1\n| x |", reference=NASTY, drawn=9)
        yield make_report(store)


@pytest.fixture
def empty(tmp_path):
    with Store(str(tmp_path / "empty.db")) as store:
        add_run(store, {"case": [Note(Kind.BLANK, "constant")] * 3}, drawn=5)
        yield make_report(store)


def render(name, report):
    return registry.load("formats", name).render(report, {})


def cells(row):
    """A row of a Markdown table, as GitHub's grammar splits it: at every | that no backslash precedes."""
    assert "\\" not in row  # the formats write no backslash, so that every | is a border
    assert row.startswith("| ")
    assert row.endswith(" |")
    return [cell.strip() for cell in row[1:-1].split("|")]


@pytest.mark.parametrize("name", registry.names("formats"))
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
    assert len(records) == len(table)
    claims = [pair for pair in zip(records, table.iterrows(), strict=True) if pair[0]["table"] == "claim"]
    assert len(claims) == len(lines) == 9
    for (record, (_, row)), line in zip(claims, lines, strict=True):
        assert record["method"] == row["method"] == line.method
        assert int(record["n"]) == row["n"] == line.summary.n
        for name in ("mean", "median", "wilcoxon", "low", "sd"):
            value = getattr(line.summary, name)
            assert (record[name] == "") == pd.isna(row[name]) == (value is None)
            assert value is None or float(record[name]) == row[name] == value
        assert record["verdict"] == words(line.verdict)
        assert record["verdict_kind"] == line.verdict.kind.value
    assert {record["threshold"] for record in records} == {"50.0"}
    assert all(None not in record for record in records)


def test_csv_has_nothing_that_a_spreadsheet_would_run(report):
    for row in csv.reader(io.StringIO(render("csv", report))):
        assert not [cell for cell in row if cell.startswith(("=", "+", "@", "\t", "\r", "\n"))]
        for cell in row:
            assert not cell.startswith("-") or float(cell) < 0


def test_json_has_one_object_per_line_with_every_figure_in_full(report):
    every = json.loads(render("json", report), parse_constant=pytest.fail)
    records = [record for record in every if record["table"] == "claim"]
    lines = [line for section in report.sections for line in section.lines]
    assert [record["method"] for record in records] == [line.method for line in lines]
    for record, line in zip(records, lines, strict=True):
        assert {"question", "arch", "method", "n", "mean", "median", "verdict", "run"} <= set(record)
        assert record == {**record, **dataclasses.asdict(line.summary)}
        for name in (
            "run",
            "arch",
            "method",
            "control",
            "floor",
            "metric",
            "level",
            "holm",
            "blank",
            "failed",
            "same_as",
        ):
            assert record[name] == getattr(line, name)
        assert (record["verdict"], record["verdict_kind"]) == (words(line.verdict), line.verdict.kind)
        assert record["percent"] == 5
    assert records[3]["mean"] is None
    assert records[1]["same_as"] == "case"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_is_no_wider_than_the_terminal_and_breaks_no_word(report, empty, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    for given in (report, empty):
        assert max(len(line) for line in render("text", given).splitlines()) <= width
    pieces = render("text", report).replace("\n", " ").split()
    for word in ("evidence", "(random", "control:", "resamples.", "UNFINISHED:"):
        assert word in pieces


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


# Questions that compare methods


@pytest.fixture
def paired(tmp_path):
    """rq2 at two levels, and the same under two other readings."""
    rng = np.random.default_rng(0)
    with Store(str(tmp_path / "paired.db")) as store:
        for fill, shift in (("mean", 0.0), ("blur", 0.1), ("zero", -0.2)):
            scores = {
                name: (rng.uniform(0, 0.2, (20, 2)) + np.array([best, best + 0.1]) + shift).tolist()
                for name, best in (
                    ("gradcam", 0.5),
                    ("case", 0.4),
                    (NASTY, 0.45),
                    ("random", 0.1),
                    ("center", 0.2),
                    ("edges", 0.1),
                )
            }
            parameters = {"fill": fill, "percent": [5.0, 50.0], "output": "softmax"}
            add_run(store, scores, question="rq2", metric="drop", levels=(5.0, 50.0), **parameters)
        yield make_report(store)


def test_markdown_of_a_paired_question_has_levels_differences_and_a_cross_check(paired):
    text = render("md", paired)
    tables = [block for block in text.split("\n\n") if block.startswith("| ")]
    for table in tables:
        assert len({len(cells(row)) for row in table.splitlines()}) == 1
    claims, pairs, check = tables
    head, _, *rows = (cells(row) for row in claims.splitlines())
    assert head[:3] == ["% removed", "method", "N"]
    assert [row[0] for row in rows] == ["5"] * 6 + ["50"] * 6
    line = next(line for line in paired.sections[0].lines if (line.method, line.level) == ("gradcam", 50.0))
    row = next(row for row in rows if row[:2] == ["50", "gradcam"])
    assert row[3] == f"{line.summary.mean:.3f}"
    assert row[head.index("beside case")] == f"{line.anchor.comparison.difference:+.3f}"
    assert row[head.index("beside the hardest control")] == f"{line.hardest.comparison.difference:+.3f} (center)"
    assert row[-1] == "better than every control"
    assert len(pairs.splitlines()) == 2 + 2 * (3 * 3 + 2)
    assert "rq2 under other readings" in text
    assert [cells(row)[0] for row in check.splitlines()[2:]] == ["as above", "fill=blur", "fill=zero"]


def test_markdown_shows_the_pictures_that_it_is_given(paired):
    text = registry.load("formats", "md").render(paired, {(1, "drop"): "r-run1-drop.png", (9, "drop"): "other.png"})
    assert "](r-run1-drop.png)" in text
    assert "other.png" not in text


def test_records_hold_claims_means_pairs_and_readings(paired):
    records = json.loads(render("json", paired), parse_constant=pytest.fail)
    counts = pd.Series([record["table"] for record in records]).value_counts().to_dict()
    assert counts == {"claim": 12, "mean": 12, "pair": 22, "cross-check": 3}
    pair = next(record for record in records if record["table"] == "pair")
    assert {"method", "against", "level", "difference", "effect", "wilcoxon", "holm", "t", "welch"} <= set(pair)


@pytest.mark.parametrize("width", [60, 100])
def test_text_of_a_paired_question_fits_and_says_where_the_rest_is(paired, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    text = render("text", paired)
    assert max(len(line) for line in text.splitlines()) <= width
    assert " 5 % removed" in text
    assert "higher is" in text
    assert "report.md" in text
    assert "fill=blur" in text


# Floors, levels with names, questions of the model, places


@pytest.fixture
def many(tmp_path):
    """rq1 and where its maps lie, a curve over named levels, a question of the model and one with plants."""
    rng = np.random.default_rng(0)
    with Store(str(tmp_path / "many.db")) as store:
        add_run(store, {"case": [10.0] * 8, "gradcam": [20.0] * 8, **dict.fromkeys(CONTROLS, [90.0] * 8)})
        own = {"case": [0.9, 0.8] * 4, "lafam": [0.3, 0.2] * 4, **dict.fromkeys(CONTROLS, [0.2, 0.3] * 4)}
        add_run(store, own, question="mosaic", metric="own", levels=(0.0,), grid=3)
        layers = {name: rng.uniform(0, 100, (8, 2)).tolist() for name in ("gradcam", "random")}
        add_run(
            store,
            layers,
            question="layers",
            metric="overlap",
            levels=(1.0, 2.0),
            named=["a|b", "conv1"],
            threshold=50.0,
        )
        active = rng.uniform(0, 1, (8, 2)).tolist()
        add_run(
            store, {"model": active}, question="channels", metric="active", levels=(1.0, 2.0), named=["a|b", "conv1"]
        )
        plants = {"diffcam": [0.5] * 8, "random": [0.1] * 8}
        number = add_run(store, plants, question="intraclass", metric="auprc", levels=(0.0,))
        add_metric(store, number, "diffcam", "distance_planted", [4.0, 5.0, 6.0, 7.0] * 2)
        add_metric(store, number, "diffcam", "distance_clean", [0.0, 1.0, 2.0, 4.5] * 2)
        yield make_report(store)


def sections_of(text):
    return {block.split(":")[0]: block for block in text.split("## ")[1:]}


def table_of(section):
    """The first table of a section: its head and its rows."""
    table = next(block for block in section.split("\n\n") if block.startswith("| "))
    head, _, *rows = (cells(row) for row in table.splitlines())
    return head, rows


def test_every_markdown_table_of_every_kind_has_rows_of_one_length(many):
    tables = [block for block in render("md", many).split("\n\n") if block.startswith("| ")]
    assert len(tables) >= 9
    for table in tables:
        assert len({len(cells(row)) for row in table.strip().splitlines()}) == 1


def test_markdown_marks_floors_and_has_where_the_maps_lie(many):
    found = sections_of(render("md", many))
    head, rows = table_of(found["mosaic"])
    assert [row[0] for row in rows] == ["case", "*lafam* (floor)", *(f"*{name}*" for name in CONTROLS)]
    assert "beside the hardest control or floor" in head
    head, rows = table_of(found["rq1"])
    place = head.index("mosaic: own cell (chance 0.11)")
    assert rows[0][place].startswith("0.85 [0.8")
    assert (rows[1][place], rows[1][-1]) == ("", "class-distinct")
    assert rows[0][-1] == "class-distinct"


def test_markdown_of_the_model_itself_has_no_method_no_test_and_no_verdict(many):
    head, rows = table_of(sections_of(render("md", many))["channels"])
    assert head == ["layer", "N", "mean", "95 % CI", "median", "SD"]
    assert [row[0] for row in rows] == ["a&#124;b", "conv1"]
    assert all(all(row) for row in rows)


def test_names_of_levels_stand_where_their_numbers_would(many):
    head, rows = table_of(sections_of(render("md", many))["layers"])
    assert head[:2] == ["layer", "method"]
    assert [row[0] for row in rows] == ["a&#124;b", "a&#124;b", "conv1", "conv1"]
    records = json.loads(render("json", many))
    named = {(one["table"], one["level"], one["level_name"]) for one in records if one["question"] == "layers"}
    assert named == {(table, *level) for table in ("claim", "mean") for level in ((1.0, "a|b"), (2.0, "conv1"))} | {
        ("mean", 1.0, "a|b")
    }
    assert {one["level_name"] for one in records if one["question"] == "rq1" and one["table"] == "claim"} == {"5"}


def test_records_have_floors_areas_and_places(many):
    records = json.loads(render("json", many), parse_constant=pytest.fail)
    assert {one["method"] for one in records if one.get("floor")} == {"lafam"}
    (area,) = [one for one in records if one["table"] == "auroc"]
    assert (area["method"], area["question"], area["n"], area["value"]) == ("diffcam", "intraclass", 8, 60 / 64)
    case = next(one for one in records if (one["question"], one["method"], one["table"]) == ("rq1", "case", "claim"))
    assert (case["mosaic"], case["mosaic_chance"]) == (pytest.approx(0.85), pytest.approx(1 / 9))
    rows = list(csv.DictReader(io.StringIO(render("csv", many))))
    assert {row["table"] for row in rows} == {"claim", "mean", "pair", "auroc"}
    assert "0.938" in render("md", many)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_text_of_every_kind_fits_and_keeps_its_verdicts(many, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    text = render("text", many)
    assert max(len(line) for line in text.splitlines()) <= width
    lines = text.splitlines()
    assert any("layer conv1" in line and "verdict" in line for line in lines)
    model = lines[next(i for i, line in enumerate(lines) if line.startswith("channels")) :]
    head = next(line for line in model if line.startswith(" layer"))
    assert head.split()[:3] == ["layer", "N", "median"]
    assert "verdict" not in head
    first = next(line for line in lines if line.startswith(" method"))
    assert ("own cell" in first) == (width >= 80)
    row = next(line for line in lines if line.startswith(" case"))
    assert "class-distinct" in row
    assert ("0.85" in row) == (width >= 80)


@pytest.mark.parametrize("name", registry.names("formats"))
def test_no_format_lets_a_terminal_obey_a_name(tmp_path, name):
    """Escape sequences, 8-bit controls, a changed direction of writing and half a sign, in every name that there is."""
    evil = "a\x1b[31m\x07\x9b2J\x7f\u202e\r\nb\ud800"
    stored = evil.encode("utf-8", "backslashreplace").decode()  # no database takes half a sign
    with Store(str(tmp_path / "evil.db")) as store:
        noted = Note(Kind.FAILED, stored)
        add_run(store, {stored: [1.0, 2.0, noted], "random": [1.0, 2.0, 3.0]}, arch=stored, reference=stored)
        text = render(name, make_report(store))
    assert text
    assert not [c for c in text if not c.isprintable() and c != "\n"]
