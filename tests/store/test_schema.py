import ast
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from salcheck.store.results import Store
from salcheck.store.schema import metadata

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def alembic_config(connection):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def describe(engine):
    """Everything that can be known of the tables, in comparable form."""
    inspector = sa.inspect(engine)

    def ordered(found):
        return sorted(found, key=lambda entry: entry["name"])

    return {
        table: {
            "columns": [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)],
            "primary": inspector.get_pk_constraint(table),
            "unique": ordered(inspector.get_unique_constraints(table)),
            "foreign": ordered(inspector.get_foreign_keys(table)),
            "indexes": ordered(inspector.get_indexes(table)),
            "options": inspector.get_table_options(table),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


@pytest.fixture
def migrated(tmp_path):
    file = tmp_path / "migrated.db"
    Store(str(file)).close()
    return sa.create_engine(f"sqlite:///{file}")


def test_alembic_finds_no_difference_between_migrations_and_schema(migrated):
    with migrated.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []


def test_migrations_make_every_column_key_name_and_option_of_the_schema(migrated, tmp_path):
    direct = sa.create_engine(f"sqlite:///{tmp_path / 'direct.db'}")
    metadata.create_all(direct)
    assert describe(migrated) == describe(direct)


def test_every_constraint_of_the_migrated_database_has_a_name(migrated):
    for table in describe(migrated).values():
        assert table["primary"]["name"]
        assert all(constraint["name"] for constraint in table["unique"] + table["foreign"])


def test_down_and_up_again_comes_to_the_same_tables(migrated):
    before = describe(migrated)
    with migrated.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    assert describe(migrated) == {}
    with migrated.begin() as connection:
        command.upgrade(alembic_config(connection), "head")
    assert describe(migrated) == before


def test_migrations_import_nothing_of_salcheck():
    files = [MIGRATIONS / "env.py", *(MIGRATIONS / "versions").glob("*.py")]
    assert len(files) >= 2
    for file in files:
        nodes = list(ast.walk(ast.parse(file.read_text())))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
        assert names
        assert not [name for name in names if name.startswith(("salcheck", "."))], file


def test_revisions_are_numbered_in_the_order_of_their_chain():
    """`store` takes the last file name for the newest revision."""
    with sa.create_engine("sqlite://").connect() as connection:
        from alembic.script import ScriptDirectory

        chain = [step.revision for step in ScriptDirectory.from_config(alembic_config(connection)).walk_revisions()]
    files = sorted(file.name.split("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    assert chain[::-1] == files
