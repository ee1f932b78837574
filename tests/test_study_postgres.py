"""Every question and every method, asked once into SQLite and once into PostgreSQL: the same rows and reports."""

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from salcheck.cli import make_app
from salcheck.naming import registry
from salcheck.network.loading import load_model
from salcheck.questions import QUESTIONS
from salcheck.store import schema
from salcheck.store.results import Store

# What takes long, in a short form.
SHORT = {
    "rise": "rise:masks=4",
    "integratedgradients": "integratedgradients:steps=2",
    "smoothgrad": "smoothgrad:samples=2",
    "smoothgradcampp": "smoothgradcampp:samples=2",
    "occlusion": "occlusion:cells=2",
    "sanity": "sanity:parts=2",
}
OF_PUPPETS = ("counterfactual",)  # all other questions are asked of scenes
ONE = "case"  # decides things about its maps, and is held to every question; all methods are held to rq1


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """Two pictures of each class for references, by dataset: half of the dataset would take a minute."""
    folder = tmp_path_factory.mktemp("held-out")
    for name in ("scenes", "puppets"):
        model = load_model(name, device="cpu")
        dataset = registry.load("datasets", name).open_dataset(None, model.labels, 99)
        for u in range(len(model.labels)):
            place = folder / name / str(u)
            place.mkdir(parents=True)
            for item in [item for item in dataset.items[:100] if u in item.labels][:2]:
                dataset.read(item).save(place / f"{item.key}.png")
    return folder


def calls(held_out):
    """The commands of the study, without the database."""
    methods = ",".join(SHORT.get(name, name) for name in registry.names("methods"))
    rest = " ".join(SHORT.get(name, name) for name in QUESTIONS if name not in ("rq1", *OF_PUPPETS))
    of = {name: f"--arch {name} --dataset {name} --reference {held_out / name}" for name in ("scenes", "puppets")}
    return [
        f"eval rq1 {of['scenes']} -n 2 --all-images -m {methods}",
        f"eval {rest} {of['scenes']} -n 2 --all-images -m {ONE}",
        f"eval {' '.join(OF_PUPPETS)} {of['puppets']} -n 2 -m {ONE}",
    ]


def run(call):
    result = CliRunner().invoke(make_app(), call.split())
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def rows(db, table):
    with Store(db) as opened:
        frame = opened.query(f"SELECT * FROM {table}")
    there = schema.metadata.tables.get(table)
    booleans = {c.name for c in there.c if isinstance(c.type, sa.Boolean)} if there is not None else {"flag", "control"}
    frame = frame.astype({name: bool for name in booleans if name in frame})  # SQLite has 0 and 1
    return frame.sort_values(list(frame), key=lambda column: column.astype(str), ignore_index=True)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute and a half on one core, more beside other work
def test_every_question_and_method_gives_sqlites_rows_and_reports(postgres, held_out, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["salcheck", "eval"])
    monkeypatch.setattr("salcheck.runs.ledger.now", lambda: "2026-01-01T00:00:00+00:00")
    url = postgres.create("TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")  # b before C, unlike SQLite
    for db in ("same.db", url):
        for call in calls(held_out):
            run(f"{call} --db {db}")
    for table in [*(table.name for table in schema.metadata.sorted_tables), *schema.VIEWS]:
        ours, theirs = rows(url, table), rows("same.db", table)
        assert len(ours)
        assert ours.to_csv() == theirs.to_csv(), table
    with Store("same.db") as opened:
        assert set(opened.query("SELECT question FROM runs")["question"]) == set(QUESTIONS)
        methods = opened.query("SELECT name FROM methods WHERE id IN (SELECT method_id FROM scores)")["name"]
    assert set(methods) == {*registry.names("methods"), "model"}
    for name in registry.names("formats"):
        assert run(f"report --format {name} --db {url}") == run(f"report --format {name} --db same.db")
