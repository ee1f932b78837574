"""The store on PostgreSQL: a server of the tests' own, on a socket in a folder that is thrown away."""

import os
import shutil
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.naming import registry
from salcheck.report.build import make_report
from salcheck.store import results, schema
from salcheck.store.results import Store
from tests.databases import add_facts, add_maps, add_run
from tests.elsewhere import run_together
from tests.store.test_schema import describe

psycopg = pytest.importorskip("psycopg", reason="needs psycopg: pip install 'salcheck[postgres]'")


def binaries():
    """The folder of initdb and pg_ctl, the newest first; None where there is none."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = shutil.which("pg_ctl")
    places = [*([Path(found).parent] if found else []), *reversed(installed)]
    return next((place for place in places if (place / "initdb").exists()), None)


def unprivileged():
    """PostgreSQL refuses to run as root: who runs it instead."""
    import pwd

    if os.geteuid() != 0:
        return {}
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def server():
    """The folder of the socket of a running server."""
    place = binaries()
    if place is None:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl: apt-get install postgresql")
    with TemporaryDirectory() as name:
        who = unprivileged()
        if who:
            os.chown(name, who["user"], who["group"])

        def call(program, *arguments):
            subprocess.run([place / program, "-D", f"{name}/data", *arguments], check=True, cwd=name, **who, **quiet)

        with Path(name, "output").open("w") as output:
            quiet = {"stdout": output, "stderr": output}
            call("initdb", "--username=salcheck", "--auth=trust", "--encoding=UTF8", "--no-sync", "--no-locale")
            settings = f"-c listen_addresses='' -c unix_socket_directories='{name}' -c fsync=off"
            call("pg_ctl", "start", "--wait", "--log", f"{name}/log", "--options", settings)
            try:
                yield name
            finally:
                call("pg_ctl", "stop", "--mode=immediate")


@pytest.fixture
def url(server):
    """The URL of an empty database."""
    name = f"db{uuid.uuid4().hex}"
    with psycopg.connect(f"host={server} user=salcheck dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://salcheck@/{name}?host={server}"


def connect(url):
    return sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)


def fill(opened):
    """The same rows in any database: two runs, with twins, facts, ties, blanks and a failure."""
    third = [100 / 3 + place for place in range(20)]
    number = add_run(
        opened,
        {
            "case": [*third, Note(Kind.EXCLUDED, "not correctly classified")],
            "gradcam": [*[value + 40 for value in third], Note(Kind.BLANK, "no positive pixel")],
            "hirescam": [*[value + 40 for value in third], Note(Kind.BLANK, "no positive pixel")],
            "random": [*third[::-1], "cannot read ü.jpg: 100% truncated"],
        },
        tied={"gradcam": 3},
    )
    for method in ("gradcam", "hirescam"):
        add_maps(opened, number, method, [*third, None])
    add_facts(opened, number, "case", "rival_in_contrast", [place % 2 == 0 for place in range(21)])
    add_run(opened, {"case": [1.0], "random": [60.0]}, arch="vgg", drawn=4)
    add_run(opened, {"model": [[0.5], [0.7]]}, question="channels", metric="active", named=["stem"], levels=[1.0])


def test_migrations_make_the_schema_here_too(url):
    Store(url).close()
    with connect(url).connect() as connection:
        assert (
            compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), schema.metadata) == []
        )
    migrated = describe(connect(url))
    with connect(url).begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
        schema.metadata.create_all(connection)
    assert migrated == describe(connect(url))


def test_every_table_and_every_report_is_the_same_as_on_sqlite(url, tmp_path):
    with Store(url) as postgres, Store(str(tmp_path / "same.db")) as sqlite:
        fill(postgres)
        fill(sqlite)
        for table in schema.metadata.sorted_tables:
            keys = ", ".join(f'"{column.name}"' for column in table.primary_key)
            both = [opened.query(f"SELECT * FROM {table.name} ORDER BY {keys}") for opened in (postgres, sqlite)]
            assert len(both[0]) or table.name in ("predictions", "attempts", "run_methods")
            booleans = {c.name: bool for c in table.c if isinstance(c.type, sa.Boolean)}  # SQLite has 0 and 1
            assert both[0].astype(booleans).to_csv() == both[1].astype(booleans).to_csv()
        reports = [make_report(opened) for opened in (postgres, sqlite)]
    assert reports[0].sections[0].lines[0].summary.n == 20
    for name in registry.names("formats"):
        texts = [registry.load("formats", name).render(report, {}) for report in reports]
        assert texts[0] == texts[1]


def test_keys_refuse_doubles_and_foreign_keys_strangers(url):
    with Store(url) as opened:
        fill(opened)
        before = opened.query("SELECT * FROM scores ORDER BY 1, 2, 3, 4, 5")
        rows = before.astype(object).where(before.notna(), None).to_dict("records")
        with opened.transaction() as connection:
            opened.put(connection, schema.scores, [{**row, "value": 1.0} for row in rows], replace=False)
        assert opened.query("SELECT * FROM scores ORDER BY 1, 2, 3, 4, 5").equals(before)
        add_maps(opened, 1, "gradcam", [0.5] * 21)
        assert set(opened.query("SELECT signature FROM maps WHERE method_id = 2")["signature"]) == {0.5}
        with pytest.raises(SalcheckError, match="foreign key"), opened.transaction() as connection:
            opened.put(connection, schema.scores, [{**rows[0], "image_id": 999}], replace=False)
        with pytest.raises(ValueError, match="NaN"), opened.transaction() as connection:
            opened.put(connection, schema.scores, [{**rows[0], "value": float("nan")}], replace=False)


def test_a_transaction_is_all_or_nothing(url):
    with Store(url) as opened:
        fill(opened)
        with pytest.raises(RuntimeError), opened.transaction() as connection:
            connection.execute(sa.delete(schema.scores))
            raise RuntimeError
        assert not opened.query("SELECT * FROM scores").empty


def test_processes_that_open_one_new_database_at_once_all_succeed(url):
    code = "import sys, alembic.command; from salcheck.store.results import Store; input(); Store(sys.argv[1]).close()"
    assert run_together([code] * 3, url) == [(0, "", "")] * 3
    with connect(url).connect() as connection:
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
    assert found == [results._known_revisions()[-1]]


def test_identify_gives_one_id_and_wastes_none(url):
    with Store(url) as opened:
        values = {"digest": "d", "name": "n", "root": "r", "size": 1}
        with ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(lambda _: opened.identify(schema.datasets, values, ["digest"]), range(40)))
        assert len(ids) == 1
        before = opened.identify(schema.datasets, {**values, "digest": "e"}, ["digest"])
        for _ in range(5):
            opened.identify(schema.datasets, values, ["digest"])
        assert opened.identify(schema.datasets, {**values, "digest": "f"}, ["digest"]) == before + 1


def test_a_newer_or_foreign_database_is_refused(url):
    Store(url).close()
    with connect(url).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SalcheckError, match="newer salcheck"):
        Store(url)
    with connect(url).begin() as connection:
        connection.execute(sa.text("DROP TABLE scores CASCADE"))
    with pytest.raises(SalcheckError, match="another program"):
        Store(url)


def test_a_server_or_database_that_is_not_there_is_one_line_without_the_password(url, tmp_path):
    for wrong in (
        url.replace("/db", "/none"),
        f"postgresql://me:secret@/x?host={tmp_path}",
        "postgres://me:secret@localhost:1/x",
    ):
        with pytest.raises(SalcheckError) as error:
            Store(wrong)
        assert "\n" not in str(error.value)
        assert "secret" not in str(error.value)
