"""The store on PostgreSQL."""

import lzma
import math
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.naming import registry
from salcheck.report.build import make_report
from salcheck.store import results, schema
from salcheck.store.results import Store
from tests.databases import add_facts, add_maps, add_metric, add_run
from tests.elsewhere import run_together
from tests.store.test_results import STUDY
from tests.store.test_schema import describe


@pytest.fixture
def url(postgres_url):
    return postgres_url


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


def test_old_databases_are_migrated_and_taken_back_as_on_sqlite(url, tmp_path):
    """The same rows at the first schema, at today's, at the first again and at today's again."""
    both = [connect(url), sa.create_engine(f"sqlite:///{tmp_path / 'same.db'}")]
    old = tmp_path / "old.db"
    old.write_bytes(lzma.decompress(STUDY.read_bytes()))
    for engine in both:
        migrate(engine, "0001")
        copy(sa.create_engine(f"sqlite:///{old}"), engine)
    for revision in ("head", "0001", "head", "base", "head"):
        for engine in both:
            migrate(engine, revision)
        ours, theirs = (everything(engine) for engine in both)
        assert ours.keys() == theirs.keys()
        for table, rows in ours.items():
            assert rows == theirs[table], (revision, table)
    assert set(ours) == {table.name for table in schema.metadata.sorted_tables} | {"alembic_version"}


def migrate(engine, revision):
    config = Config()
    config.set_main_option("script_location", str(results._migrations()))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        known = connection.dialect.has_table(connection, "runs")
        (command.downgrade if known and revision != "head" else command.upgrade)(config, revision)


def copy(source, target):
    """The rows of one database into the tables of another, of the same schema."""
    tables = sa.MetaData()
    with source.connect() as old, target.begin() as new:
        tables.reflect(new)
        for table in tables.sorted_tables:
            rows = [dict(row) for row in old.execute(sa.select(table)).mappings()]
            if table.name != "alembic_version" and rows:
                new.execute(table.insert(), rows)


def everything(engine):
    """All rows of all tables, in order."""
    tables = sa.MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(*sorted(table.c, key=lambda c: c.name)))))
            for table in tables.sorted_tables
        }


def test_text_of_any_kind_is_stored_and_read_as_on_sqlite(url, tmp_path):
    strange = ["with\0nul", "half a surrogate \udc80", "ü and 猫", "quote ' and % and :name and \\"]
    read = []
    for db in (url, str(tmp_path / "same.db")):
        with Store(db) as opened:
            add_run(opened, {"case": strange}, dataset=strange[0], arch=strange[1])
            notes = opened.query("SELECT note FROM scores ORDER BY image_id")["note"]
            read.append([*notes, *opened.query("SELECT name FROM datasets")["name"]])
    assert read[0] == read[1] == ["with\\x00nul", "half a surrogate \\udc80", *strange[2:], "with\\x00nul"]


def test_numbers_of_numpy_are_numbers_in_either_database(url, tmp_path):
    for db in (url, str(tmp_path / "same.db")):
        with Store(db) as opened:
            values = [np.float32(0.5), np.int64(3), np.bool_(True)]
            number = add_run(opened, {"case": values}, levels=[np.int64(7)])
            scores = opened.query("SELECT level, value FROM scores WHERE metric = 'overlap' ORDER BY image_id")
            assert scores.to_numpy().tolist() == [[7.0, 0.5], [7.0, 3.0], [7.0, 1.0]]
            add_facts(opened, number, "case", "rivals", [np.float32(2.0)])


@pytest.mark.parametrize(
    ("column", "value"), [("metric", "m" * 33), ("kind", "k" * 17), ("image_id", 2**31), ("value", math.nan)]
)
def test_what_one_database_refuses_the_other_refuses_too(url, tmp_path, column, value):
    for db in (url, str(tmp_path / "same.db")):
        with Store(db) as opened:
            add_run(opened, {"case": [1.0]})
            row = {"run_id": 1, "method_id": 1, "metric": "x", "level": 0.0, "image_id": 1, "value": 1.0, column: value}
            with pytest.raises((ValueError, SalcheckError), match=column), opened.transaction() as connection:
                opened.put(connection, schema.scores, [row], replace=False)


def test_writers_with_rows_in_any_order_never_wait_for_each_other_for_ever(url):
    with Store(url) as opened:
        run = add_run(opened, {"case": [1.0] * 200})
        image_ids = [int(id) for id in opened.query("SELECT id FROM images")["id"]]

        def write(seed):
            order = random.Random(seed).sample(image_ids, len(image_ids))
            rows = [
                {"model_id": 1, "method_id": 1, "role": "top1", "image_id": image, "checksum": 1} for image in order
            ]
            with opened.transaction() as connection:
                opened.put(connection, schema.maps, rows, replace=True)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(60)))
        assert run == 1
        assert len(opened.query("SELECT * FROM maps")) == 200


def test_a_connection_that_was_cut_is_made_anew(postgres, url):
    with Store(url) as opened:
        add_run(opened, {"case": [1.0]})
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'db%'")
        assert len(opened.query("SELECT * FROM scores")) == 2
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'db%'")
        add_run(opened, {"case": [1.0]}, arch="vgg")
        assert len(opened.query("SELECT * FROM scores")) == 4


def test_every_bit_of_a_number_comes_back_whatever_the_role_is_set_to(postgres, url):
    postgres.execute(f"ALTER DATABASE {sa.make_url(url).database} SET extra_float_digits = -3")
    values = [0.1 + 0.2, 1 / 3, 1e300 / 7, 5e-324, -0.0, math.inf]
    with Store(url) as opened:
        add_run(opened, {"case": values})
        found = opened.query("SELECT value FROM scores WHERE metric = 'overlap' ORDER BY image_id")["value"].tolist()
    assert [value.hex() for value in found] == [value.hex() for value in values]


def test_a_database_without_an_encoding_holds_any_text_and_one_of_few_letters_is_refused(postgres):
    plain = "TEMPLATE template0 LOCALE 'C' ENCODING "
    with Store(postgres.create(f"{plain} 'SQL_ASCII'")) as opened:  # what Debian makes where no locale is set
        add_run(opened, {"case": ["cannot read 猫.jpg"]})
        assert opened.query("SELECT note FROM scores")["note"].tolist() == ["cannot read 猫.jpg"]
    with pytest.raises(SalcheckError, match=r"encoding LATIN1.*ENCODING 'UTF8'"):
        Store(postgres.create(f"{plain} 'LATIN1'"))


def test_the_same_order_under_any_collation(postgres, tmp_path):
    """A dictionary has b before C, and bytes have C before b."""
    options = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    texts = []
    for db in (postgres.create(options), str(tmp_path / "same.db")):
        with Store(db) as opened:
            run = add_run(opened, {"case": [1.0, "b", "C"], "B": [1.0, "b", "C"], "a": [1.0, "b", "C"]})
            asked = [{"run_id": run, "method_id": method, "asked": method == 1} for method in (1, 2, 3)]
            for spec in ("a", "B", "case"):
                add_metric(opened, run, spec, "overlap", [2.0, "C", "b"], code="newer")
            newer = opened.query("SELECT id FROM methods WHERE code = 'newer' ORDER BY id")["id"]
            asked = [{"run_id": run, "method_id": int(id), "asked": 1} for id in newer]
            with opened.transaction() as connection:
                opened.put(connection, schema.run_methods, asked, replace=True)
            report = make_report(opened)
            texts.append([registry.load("formats", name).render(report, {}) for name in registry.names("formats")])
    assert texts[0] == texts[1]


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
