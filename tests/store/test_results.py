import lzma
import shutil
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from salcheck.errors import SalcheckError
from salcheck.formats._verdicts import words
from salcheck.maps.notes import Kind, Note
from salcheck.report.build import make_report
from salcheck.store import results, schema
from salcheck.store.results import Store
from tests.databases import add_facts, add_maps, add_run
from tests.elsewhere import DROP_RIGHTS, open_folder, run, run_together

OLD = Path(__file__).parents[1] / "assets" / "revision_0001.sql"
STUDY = OLD.with_name("study_0001.db.xz")
OPEN = "import sys; from salcheck.store.results import Store; Store(sys.argv[1]).close(); print('opened')"
IMPORTS = """
import sys
from salcheck.report.build import make_report
from salcheck.store.results import Store
"""
REPORT = """
with Store(sys.argv[1], create=False) as store:
    print(len(make_report(store).sections), 'section')
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "salcheck.db"


@pytest.fixture
def filled(file):
    with Store(str(file)) as opened:
        add_run(opened, {"case": [10.0, 20.0, Note(Kind.BLANK, "no pixel")], "random": [60.0, 70.0, 80.0]})
    return file


def tables(file):
    with sqlite3.connect(file) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def revision(file):
    with sqlite3.connect(file) as connection:
        return connection.execute("SELECT version_num FROM alembic_version").fetchall()


def text_of(opened, table):
    return opened.query(f"SELECT * FROM {table}").to_csv()


@pytest.fixture
def step(tmp_path, monkeypatch):
    """One more migration, whose `upgrade` has the given body."""

    def make(body):
        folder = tmp_path / "migrations"
        shutil.copytree(results._migrations(), folder, ignore=shutil.ignore_patterns("__pycache__"))
        last = results._known_revisions()[-1]
        head = f"import sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision = '9000', '{last}'\n"
        text = f"{head}\ndef upgrade():\n" + "".join(f"    {line}\n" for line in body)
        (folder / "versions" / "9000_test.py").write_text(text)
        monkeypatch.setattr(results, "_migrations", lambda: folder)
        return folder

    return make


# Opening


def test_a_new_database_has_wal_foreign_keys_and_the_newest_revision(file):
    with Store(str(file)) as opened, opened.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    assert revision(file) == [(results._known_revisions()[-1],)]


def test_opening_again_changes_nothing_and_does_not_need_alembic(filled):
    before = filled.read_bytes()
    code = OPEN.replace("print(", "assert 'alembic' not in sys.modules; print(")
    assert run(code, filled) == (0, "opened", "")
    assert filled.read_bytes() == before


def test_processes_that_open_one_new_database_at_once_all_succeed(file):
    code = f"import sys, salcheck.store.results, alembic.command; input()\n{OPEN}"
    assert run_together([code] * 3, file) == [(0, "opened", "")] * 3
    assert revision(file) == [(results._known_revisions()[-1],)]


def test_a_database_is_where_its_name_says_whatever_is_in_the_name(tmp_path):
    for name in ("a b.db", "what?.db", "100%.db", "#1.db", "ü.db"):
        Store(str(tmp_path / name)).close()
        assert (tmp_path / name).is_file()


def test_reading_wants_a_database_that_is_there_and_makes_none(file):
    with pytest.raises(SalcheckError, match=r"no database .* run `salcheck eval` first"):
        Store(str(file), create=False)
    assert not file.exists()


def test_the_database_of_a_newer_version_says_upgrade_and_stays_as_it_is(filled):
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for create in (True, False):
        with pytest.raises(SalcheckError, match=r"newer salcheck .*9999.* pip install --upgrade salcheck"):
            Store(str(filled), create=create)
    assert revision(filled) == [("9999",)]


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('Dirge')",
        "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('0001');"
        "CREATE TABLE songs (title TEXT)",
        "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('ae1027a6acf')",
    ],
    ids=["plain", "alembic too, same number", "alembic too, empty"],
)
def test_the_database_of_another_program_is_refused_and_untouched(file, script):
    with sqlite3.connect(file) as connection:
        connection.executescript(script)
    before = tables(file)
    for create in (True, False):
        with pytest.raises(SalcheckError, match="belongs to another program"):
            Store(str(file), create=create)
    assert tables(file) == before


def test_a_file_that_is_no_database_is_refused_and_untouched(file):
    file.write_text("These are my notes, " * 100)
    for create in (True, False):
        with pytest.raises(SalcheckError, match="is no SQLite database"):
            Store(str(file), create=create)
    assert file.read_text() == "These are my notes, " * 100


def test_a_folder_is_called_a_folder(tmp_path):
    for create in (True, False):
        with pytest.raises(SalcheckError, match="is a folder"):
            Store(str(tmp_path), create=create)


def test_a_missing_folder_is_said_to_be_missing(tmp_path):
    with pytest.raises(SalcheckError, match="folder is missing or not writable"):
        Store(str(tmp_path / "none" / "a.db"))


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "postgresql://u:secret@h:port/d", "sqlite+nonsense:///a.db"])
def test_a_url_that_will_not_do_is_one_line_without_its_password(url):
    with pytest.raises(SalcheckError) as error:
        Store(url)
    assert "--db" in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


# Read-only


def test_a_database_opened_read_only_is_read_but_not_written(filled):
    url = f"sqlite:///file:{filled}?mode=ro&uri=true"
    with Store(url, create=False) as opened:
        assert len(make_report(opened).sections) == 1
        with pytest.raises(SalcheckError, match="is read-only: make it writable"), opened.transaction() as connection:
            connection.execute(sa.delete(schema.scores))
    with pytest.raises(SalcheckError, match="is read-only"), Store(url) as opened:
        add_run(opened, {"case": [1.0]}, arch="other")


def test_a_report_needs_no_right_to_write():
    with open_folder() as folder:
        file = folder / "salcheck.db"
        with Store(str(file)) as opened:
            add_run(opened, {"case": [10.0]})
        file.chmod(0o444)
        folder.chmod(0o555)
        code = f"{IMPORTS}{DROP_RIGHTS}{REPORT}"
        assert run(code, file) == (0, "1 section", "")


def test_without_the_right_to_write_an_evaluation_says_read_only():
    with open_folder() as folder:
        file = folder / "salcheck.db"
        Store(str(file)).close()
        file.chmod(0o444)
        folder.chmod(0o555)
        code = f"import sys, salcheck.store.schema; from salcheck.store.results import Store{DROP_RIGHTS}"
        code += "with Store(sys.argv[1]) as s:\n s.identify(salcheck.store.schema.datasets,"
        code += " {'digest': 'd', 'name': 'n', 'root': 'r', 'size': 1}, ['digest'])"
        status, _, err = run(code, file)
    last = err.splitlines()[-1]
    assert status == 1
    assert last.startswith("salcheck.errors.SalcheckError")
    assert "is read-only" in last or "not writable" in last


# Migrating


def test_a_database_of_the_first_migration_is_upgraded_and_used(file):
    with sqlite3.connect(file) as connection:
        connection.executescript(OLD.read_text())
    assert revision(file) == [("0001",)]
    with Store(str(file)) as opened:
        lines = {line.method: line for line in make_report(opened).sections[0].lines}
        assert (lines["case"].summary.n, lines["case"].summary.median) == (4, 25.0)
        assert (lines["case"].blank, lines["case"].excluded, lines["case"].tied) == (1, 1, 1)
        assert words(lines["case"].verdict) == "not class-distinct"  # one-sided p of four is 1/16
        assert lines["gradcam"].summary.mean == 75.0
        assert words(lines["random"].verdict) == "control: passes"
        add_run(opened, {"case": [1.0] * 3}, arch="vgg")
        assert len(make_report(opened).sections) == 2
    assert revision(file) == [(results._known_revisions()[-1],)]


def test_a_study_of_the_first_schema_is_reported_and_never_continued(file):
    file.write_bytes(lzma.decompress(STUDY.read_bytes()))
    with sqlite3.connect(file) as connection:
        scores = connection.execute("SELECT * FROM scores ORDER BY 1, 2, 3, 4, 5").fetchall()
        facts = connection.execute("SELECT DISTINCT name FROM facts ORDER BY 1").fetchall()
        noted = dict(connection.execute("SELECT note, COUNT(*) FROM scores WHERE note IS NOT NULL GROUP BY note"))
    with Store(str(file)) as opened:
        now = opened.query("SELECT * FROM scores ORDER BY run_id, method_id, metric, level, image_id")
        values = now["value"].astype(object).where(now["value"].notna(), None)
        assert values.tolist() == [row[5] for row in scores]
        kinds = opened.query("SELECT kind, note, COUNT(*) AS n FROM scores WHERE kind IS NOT NULL GROUP BY kind, note")
        assert {(str(Note(Kind(k), why)), n) for k, why, n in kinds.itertuples(index=False)} == {
            (note.removeprefix("undefined: "), n) for note, n in noted.items()
        }
        assert set(kinds["kind"]) == {"blank", "undefined"}
        flags = opened.query("SELECT DISTINCT name, flag FROM facts ORDER BY name")
        assert {f"{n}{'' if flag else ' ='}" for n, flag in flags.itertuples(index=False)} == {n for (n,) in facts}
        attempts = opened.query("SELECT run_id, batch_size, device, versions FROM attempts")
        assert sorted(attempts["run_id"]) == sorted(opened.query("SELECT id FROM runs")["id"])
        assert set(attempts["batch_size"]) == {4} and set(attempts["device"]) == {"cpu"}
        assert set(opened.query("SELECT DISTINCT code FROM runs")["code"]) == {""}  # no run of today has none
        assert len(make_report(opened).sections) == 38
        for view, table in (("scores", "scores"), ("maps", "maps"), ("facts", "facts"), ("predictions", "predictions")):
            counts = opened.query(f"SELECT (SELECT COUNT(*) FROM all_{view}), (SELECT COUNT(*) FROM {table})").iloc[0]
            assert counts.iloc[0] == counts.iloc[1] > 0


def test_a_migration_that_fails_leaves_nothing_half_made(filled, step):
    before, before_revision = tables(filled), revision(filled)
    step(["op.create_table('halves', sa.Column('id', sa.Integer))", "op.execute('DELETE FROM scores')", "1 / 0"])
    with pytest.raises(ZeroDivisionError):
        Store(str(filled))
    assert tables(filled) == before
    assert revision(filled) == before_revision
    with sqlite3.connect(filled) as connection:
        assert connection.execute("SELECT COUNT(*) FROM scores").fetchone() == (11,)


def test_a_first_opening_that_fails_leaves_an_empty_file(file, step):
    step(["1 / 0"])
    with pytest.raises(ZeroDivisionError):
        Store(str(file))
    assert tables(file) == set()


def test_a_process_killed_while_it_migrates_leaves_nothing_half_made(filled, step, monkeypatch):
    before = tables(filled)
    folder = step(["op.create_table('halves', sa.Column('id', sa.Integer))", "import os; os.kill(os.getpid(), 9)"])
    code = "import sys, pathlib; from salcheck.store import results;"
    code += " results._migrations = lambda: pathlib.Path(sys.argv[2])"
    status, _, _ = run(f"{code}\nresults.Store(sys.argv[1])", filled, folder)
    assert status == -9
    monkeypatch.undo()
    with Store(str(filled)) as opened:
        assert len(make_report(opened).sections) == 1
    assert tables(filled) == before


def test_a_table_that_others_refer_to_can_be_made_anew(filled, step):
    step(
        [
            "with op.batch_alter_table('models', recreate='always') as table:",
            "    table.add_column(sa.Column('colour', sa.Text))",
        ]
    )
    with Store(str(filled)) as opened:
        assert len(make_report(opened).sections) == 1
        assert list(opened.query("SELECT arch, colour FROM models").iloc[0]) == ["resnet", None]
        with pytest.raises(SalcheckError, match="FOREIGN KEY"), opened.transaction() as connection:
            connection.execute(sa.delete(schema.models))


def test_a_migration_that_orphans_rows_is_taken_back(filled, step):
    step(["op.execute('DELETE FROM images')"])
    with pytest.raises(SalcheckError, match="refer to rows that are not there"):
        Store(str(filled))
    with sqlite3.connect(filled) as connection:
        assert connection.execute("SELECT COUNT(*) FROM images").fetchone() == (3,)


# Writing


def test_a_transaction_is_all_or_nothing(filled):
    with Store(str(filled)) as opened:
        before = text_of(opened, "scores")
        with pytest.raises(RuntimeError), opened.transaction() as connection:
            connection.execute(sa.delete(schema.scores))
            connection.execute(sa.delete(schema.run_images))
            raise RuntimeError
        assert text_of(opened, "scores") == before
        assert len(opened.query("SELECT * FROM run_images")) == 3


def test_a_row_that_refers_to_nothing_is_refused_with_all_its_transaction(filled):
    with Store(str(filled)) as opened:
        good = {"run_id": 1, "method_id": 1, "metric": "m", "level": 5.0, "image_id": 1, "value": 1.0, "note": None}
        with pytest.raises(SalcheckError, match="FOREIGN KEY"), opened.transaction() as connection:
            opened.put(connection, schema.scores, [good, {**good, "image_id": 999}], replace=False)
        assert opened.query("SELECT * FROM scores WHERE metric = 'm'").empty


def test_scores_put_twice_are_there_once_and_the_first_stay(filled):
    with Store(str(filled)) as opened:
        before = text_of(opened, "scores")
        rows = opened.query("SELECT * FROM scores")
        changed = [{**row, "value": 99.0} for row in rows.astype(object).where(rows.notna(), None).to_dict("records")]
        with opened.transaction() as connection:
            opened.put(connection, schema.scores, changed, replace=False)
        assert text_of(opened, "scores") == before


def test_maps_put_again_with_replace_give_way(filled):
    with Store(str(filled)) as opened:
        add_maps(opened, 1, "case", [0.1, 0.2, None])
        add_maps(opened, 1, "case", [0.7, None, 0.9])
        signatures = opened.query("SELECT signature FROM maps ORDER BY image_id")["signature"]
    assert signatures[0] == 0.7
    assert signatures[2] == 0.9
    assert signatures.isna().tolist() == [False, True, False]


def test_nan_is_refused_and_infinity_and_none_are_kept(filled):
    with Store(str(filled)) as opened:
        score = {"run_id": 1, "method_id": 1, "metric": "m", "level": 5.0, "image_id": 1, "note": None}
        with pytest.raises(ValueError, match=r"NaN for scores\.value"), opened.transaction() as connection:
            opened.put(connection, schema.scores, [{**score, "value": float("nan")}], replace=False)
        with pytest.raises(ValueError, match=r"NaN for facts\.value"):
            add_facts(opened, 1, "case", "negative_dot", [float("nan")])
        with opened.transaction() as connection:
            new = [{**score, "value": float("inf")}, {**score, "image_id": 2, "value": None}]
            opened.put(connection, schema.scores, new, replace=False)
        stored = opened.query("SELECT value FROM scores WHERE metric = 'm' ORDER BY image_id")["value"]
        assert stored[0] == float("inf")
        assert stored.isna()[1]


def test_doubles_come_back_bit_for_bit(filled):
    values = [0.1 + 0.2, 1e-300, 2.0**53 + 2, 100 / 3]
    with Store(str(filled)) as opened:
        number = add_run(opened, {"case": values}, arch="exact")
        found = opened.query(
            "SELECT value FROM scores WHERE run_id = :run AND metric = 'overlap' ORDER BY image_id", run=number
        )
    assert [float(value).hex() for value in found["value"]] == [value.hex() for value in values]


def test_identify_gives_one_id_to_one_row_also_from_two_processes(filled):
    values = "{'digest': 'x', 'name': 'n', 'root': 'r', 'size': 1}"
    code = "import sys; from salcheck.store import schema; from salcheck.store.results import Store\n"
    code += f"s = Store(sys.argv[1]); input(); print(s.identify(schema.datasets, {values}, ['digest']))"
    ended = run_together([code] * 3, filled)
    assert [status for status, *_ in ended] == [0] * 3
    assert len({out for _, out, _ in ended}) == 1


def test_a_writer_waits_for_another_and_a_reader_does_not(filled, monkeypatch):
    with Store(str(filled)) as opened, opened.transaction() as connection:
        connection.execute(sa.delete(schema.scores))
        with Store(str(filled), create=False) as other:
            assert len(other.query("SELECT * FROM scores")) == 11
        monkeypatch.setattr(results, "PATIENCE", 0.1)
        with Store(str(filled)) as other, pytest.raises(SalcheckError, match="being written by another process"):
            add_run(other, {"case": [1.0]}, arch="late")


# Reading


def test_query_binds_values_and_lists(filled):
    with Store(str(filled), create=False) as opened:
        found = opened.query("SELECT name FROM methods WHERE name IN :names", names=["case", "x'; DROP TABLE scores"])
        assert list(found["name"]) == ["case"]
        assert list(opened.query("SELECT id, key FROM models WHERE arch = :a", a="none").columns) == ["id", "key"]


def test_the_database_is_named_by_its_variable_else_lies_in_the_working_folder(monkeypatch):
    assert results.default_db() == "salcheck.db"
    monkeypatch.setenv("SALCHECK_DB", "postgresql://host/db")
    assert results.default_db() == "postgresql://host/db"
