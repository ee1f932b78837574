"""The results store: connect, migrate, write in bulk, query. SQLite by default, PostgreSQL by its URL."""

import contextlib
import datetime
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from salcheck.errors import SalcheckError
from salcheck.naming.registry import PACKAGE

PATIENCE = 30  # seconds to wait for another process that writes
LOCK = 0x5A1C8ECC  # PostgreSQL's advisory lock while migrating: any number that no other program takes


class Store:
    """An open results database, brought up to today's schema.

    `db` is a file (SQLite) or an SQLAlchemy URL. `create` false wants a database that is there already.
    Raises SalcheckError, in one line, for whatever is wrong with the database, now or later.
    """

    def __init__(self, db: str, *, create: bool = True):
        url = _url(db)
        self.name = db if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
        if url.get_backend_name() == "sqlite":
            url = _sqlite_url(url, create)
        self._engine = _engine(url, create)
        with self._one_line():
            _migrate(self._engine, self.name)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: all of it is in the database afterwards, or nothing."""
        with self._one_line(), self._engine.execution_options(writes=True).begin() as connection:
            yield connection

    def identify(self, table: sa.Table, values: Mapping[str, Any], unique: Sequence[str]) -> int:
        """The id of the row whose `unique` columns have these values, inserted if it is not there."""
        find = sa.select(table.c.id).where(*(table.c[name] == values[name] for name in unique))
        with self.transaction() as connection:
            known = connection.execute(find).scalar()
            if known is not None:
                return known
            # Another machine may be first: its row counts then.
            connection.execute(self._insert(table).values(**values).on_conflict_do_nothing())
            return connection.execute(find).scalar_one()

    def put(self, connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], replace: bool) -> None:
        """Rows in bulk; where a key is there already, the old row stays, or gives way with `replace`.

        Raises ValueError for a NaN: SQLite would store NULL and PostgreSQL a NaN, neither with a word on why.
        """
        if not rows:
            return
        for name in (column.name for column in table.c if isinstance(column.type, sa.Float)):
            if any(row.get(name) != row.get(name) for row in rows):
                raise ValueError(f"NaN for {table.name}.{name}: store None, and a note that says why")
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
            return pd.DataFrame([tuple(row) for row in result.fetchall()], columns=list(result.keys()))

    def _insert(self, table: sa.Table) -> Any:
        dialect = {"sqlite": sqlite, "postgresql": postgresql}[self._engine.dialect.name]
        return dialect.insert(table)

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise SalcheckError(_explain(self.name, error)) from error


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def to_json(value: Any) -> str:
    """JSON with sorted keys: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def default_db() -> str:
    """`SALCHECK_DB`, else salcheck.db in the working folder."""
    return os.environ.get("SALCHECK_DB") or "salcheck.db"


def _url(db: str) -> sa.URL:
    """The URL of a database that is given as a file or as a URL."""
    if "://" not in db:
        return sa.URL.create("sqlite", database=db)
    try:
        url = sa.make_url(db)
    except (ArgumentError, ValueError) as error:
        shown = re.sub(r"//.*@", "//***@", db)
        raise SalcheckError(f"--db '{shown}' is neither a file nor a database URL") from error
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise SalcheckError(f"--db '{url}': salcheck stores in SQLite (a file) or PostgreSQL (postgresql://…)")
    return url


def _sqlite_url(url: sa.URL, create: bool) -> sa.URL:
    """The URL to open; raises SalcheckError where there is no such file."""
    if not url.database or url.database.startswith((":", "file:")):
        return url
    file = Path(url.database)
    if file.is_dir():
        raise SalcheckError(f"'{file}' is a folder: name a database file with --db")
    if file.exists() and not file.is_file():
        raise SalcheckError(f"'{file}' is a pipe or a device: name a database file with --db")
    if create:
        return url
    if not file.exists():
        raise SalcheckError(f"no database '{file}': run `salcheck eval` first, or name one with --db")
    if not os.access(file.parent, os.W_OK) and not Path(f"{file}-wal").exists():
        # Even to read, WAL wants a file of its own beside the database, unless that is said never to change.
        fixed = quote(str(file.resolve()))
        return url.set(database=f"file:{fixed}", query={"immutable": "1", "uri": "true"})
    return url


def _engine(url: sa.URL, create: bool) -> Engine:
    try:
        engine = sa.create_engine(url)
    except (ArgumentError, NoSuchModuleError) as error:
        raise SalcheckError(f"--db '{url}' cannot be opened: {error}") from error
    except ModuleNotFoundError as error:
        raise SalcheckError(f"--db '{url}' needs {error.name}: pip install 'salcheck[postgres]'") from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, create)
    return engine


def _prepare_sqlite(engine: Engine, create: bool) -> None:
    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would leave CREATE TABLE outside
        connection.execute(f"PRAGMA busy_timeout = {1000 * PATIENCE}")
        if create:
            _set_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        # Foreign keys can only be turned on and off between transactions.
        migrates = bool(options.get("migrates"))
        connection.exec_driver_sql(f"PRAGMA foreign_keys = {'OFF' if migrates else 'ON'}")
        # Else a table that a view reads could not be made anew.
        connection.exec_driver_sql(f"PRAGMA legacy_alter_table = {'ON' if migrates else 'OFF'}")
        # A transaction that reads before it writes would be thrown out where another has written in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")


def _set_wal(connection: Any) -> None:
    """Write-ahead log. SQLite does not wait here while another process opens the same new file, so we do."""
    last = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > last:
                raise
        time.sleep(0.02)


def _migrations() -> Path:
    inside = PACKAGE / "migrations"  # in a wheel
    return inside if inside.is_dir() else PACKAGE.parent / "migrations"


def _known_revisions() -> list[str]:
    return sorted(file.name.split("_")[0] for file in (_migrations() / "versions").glob("[0-9]*.py"))


def _migrate(engine: Engine, name: str) -> None:
    """Runs the pending migrations, all or none; alembic is only imported where there are any."""
    known = _known_revisions()
    current = _revision(engine, name)
    if current == known[-1]:
        return
    if current is not None and current not in known:
        raise SalcheckError(
            f"database '{name}' was made by a newer salcheck (schema {current}, this one knows {known[-1]}): "
            "pip install --upgrade salcheck"
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    # SQLite alters a table by making it anew, which must not take along the rows that refer to it.
    with engine.execution_options(writes=True, migrates=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")  # reads the revision again: another process may have been first
        if engine.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise SalcheckError(f"database '{name}' is damaged: some of its rows refer to rows that are not there")


def _revision(engine: Engine, name: str) -> str | None:
    """The database's schema version, None for an empty one; raises SalcheckError for another program's."""
    with engine.connect() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        versioned = "alembic_version" in tables
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() if versioned else None
    ours = versioned and {"runs", "scores"} <= tables
    if not ours and (found or tables - {"alembic_version"}):
        raise SalcheckError(f"database '{name}' belongs to another program: name another with --db")
    return found


def _explain(name: str, error: DBAPIError) -> str:
    reason = next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
    advice = {
        "readonly": "is read-only: make it writable or name another with --db",
        "unable to open": "cannot be opened: its folder is missing or not writable; name another with --db",
        "not a database": "is no SQLite database: name another file with --db",
        "locked": "is being written by another process: try again when that is done",
        "disk is full": "cannot grow: the disk is full",
        "malformed": "is damaged: restore a copy or name another file with --db",
    }
    for sign, words in advice.items():
        if sign in reason:
            return f"database '{name}' {words}"
    return f"database '{name}' answers: {reason}"
