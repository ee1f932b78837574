"""The results store: connect, migrate, write in bulk, query. SQLite by default, PostgreSQL by its URL."""

import contextlib
import datetime
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError

from salcheck.errors import SalcheckError
from salcheck.folder import PACKAGE


class Store:
    """An open results database, brought up to today's schema.

    `db` is a file (SQLite) or an SQLAlchemy URL. `create` false wants a database that is there already.
    Raises SalcheckError, in one line, for whatever is wrong with the database, now or later.
    """

    def __init__(self, db: str, *, create: bool = True):
        self.db = db
        self._engine = _engine(db, write=create)
        file = self._engine.url.database if self._engine.dialect.name == "sqlite" else None
        if file and not create and not file.startswith("file:") and not Path(file).exists():
            raise SalcheckError(f"no database '{file}': run `salcheck eval` first, or name one with --db")
        with self._one_line():
            _migrate(self._engine, db)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: all of it is in the database afterwards, or nothing."""
        with self._one_line(), self._engine.begin() as connection:
            yield connection

    def identify(self, table: sa.Table, values: Mapping[str, Any], unique: Sequence[str]) -> int:
        """The id of the row whose `unique` columns have these values, inserted if it is not there."""
        where = [table.c[name] == values[name] for name in unique]
        with self.transaction() as connection:
            connection.execute(self._insert(table).values(**values).on_conflict_do_nothing())
            return connection.execute(sa.select(table.c.id).where(*where)).scalar_one()

    def put(self, connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], replace: bool) -> None:
        """Rows in bulk; where a key is there already, the old row stays, or gives way with `replace`."""
        if not rows:
            return
        insert = self._insert(table)
        if not replace:
            connection.execute(insert.on_conflict_do_nothing(), rows)
            return
        keys = [column.name for column in table.primary_key]
        new = {column.name: insert.excluded[column.name] for column in table.c if column.name not in keys}
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=new), rows)

    def query(self, sql: str, **values: Any) -> pd.DataFrame:
        """The rows of one SELECT, `:name` in it bound to values; a list binds as `IN :name`."""
        lists: list[Any] = [
            sa.bindparam(name, expanding=True) for name, value in values.items() if isinstance(value, list)
        ]
        with self._one_line(), self._engine.connect() as connection:
            result = connection.execute(sa.text(sql).bindparams(*lists), values)
            return pd.DataFrame([tuple(row) for row in result], columns=list(result.keys()))

    def _insert(self, table: sa.Table) -> Any:
        dialect = {"sqlite": sqlite, "postgresql": postgresql}[self._engine.dialect.name]
        return dialect.insert(table)

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            raise SalcheckError(_explain(self.db, error)) from error


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def to_json(value: Any) -> str:
    """JSON with sorted keys: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def default_db() -> str:
    """`SALCHECK_DB`, else salcheck.db in the working folder."""
    return os.environ.get("SALCHECK_DB") or "salcheck.db"


def _engine(db: str, write: bool) -> Engine:
    try:
        url = sa.make_url(db if "://" in db else f"sqlite:///{db}")
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise SalcheckError(f"--db '{db}': salcheck stores in SQLite (a file) or PostgreSQL (postgresql://…)")
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url)
    except (ArgumentError, NoSuchModuleError) as error:
        raise SalcheckError(f"--db '{db}' is neither a file nor a database URL: {error}") from error
    except ModuleNotFoundError as error:
        raise SalcheckError("PostgreSQL needs psycopg: pip install 'salcheck[postgres]'") from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, write)
    return engine


def _prepare_sqlite(engine: Engine, write: bool) -> None:
    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would leave CREATE TABLE outside
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute("PRAGMA foreign_keys = ON")
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")


def _migrations() -> Path:
    inside = PACKAGE / "migrations"  # in a wheel
    return inside if inside.is_dir() else PACKAGE.parent / "migrations"


def _known_revisions() -> list[str]:
    return sorted(file.name.split("_")[0] for file in (_migrations() / "versions").glob("[0-9]*.py"))


def _migrate(engine: Engine, db: str) -> None:
    """Runs the pending migrations; alembic is only imported where there are any."""
    known = _known_revisions()
    with engine.connect() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        current = _revision(connection) if "alembic_version" in tables else None
    if current == known[-1]:
        return
    if current is None and tables - {"alembic_version"}:
        raise SalcheckError(f"database '{db}' belongs to another program: name another file with --db")
    if current is not None and current not in known:
        raise SalcheckError(
            f"database '{db}' was made by a newer salcheck (schema {current}, this one knows {known[-1]}): "
            "pip install --upgrade salcheck"
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _explain(db: str, error: DatabaseError) -> str:
    reason = str(error.orig).strip().splitlines()[0] if isinstance(error, DBAPIError) and error.orig else str(error)
    advice = {
        "readonly": "is read-only: make it writable or name another with --db",
        "unable to open": "cannot be opened: its folder is missing or not writable; name another with --db",
        "not a database": "is no SQLite database: name another file with --db",
        "locked": "is being written by another process: try again when that is done",
        "full": "cannot grow: the disk is full",
        "malformed": "is damaged: restore a copy or name another file with --db",
    }
    for sign, words in advice.items():
        if sign in reason:
            return f"database '{db}' {words}"
    return f"database '{db}' answers: {reason}"


def chunks_of(values: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    """`values`, `size` at a time: databases limit the parameters of one statement."""
    return (values[start : start + size] for start in range(0, len(values), size))
