"""Which database a user means, and what of it may be shown: all but passwords."""

import os
import re
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from salcheck.errors import SalcheckError

FORM = "postgresql://user@host:port/name"
SECRETS = ("password", "sslpassword", "oauth_client_secret")  # of libpq's parameters
CREDENTIALS = re.compile(r"[^:/]*(:[^@]*)?@")  # as SQLAlchemy divides a URL after its ://
SETTINGS = re.compile(r"[?&]\w+=[^&]*")
# A server that is written otherwise than as a URL: libpq's keywords, or a URL without its slashes.
KEYWORDS = re.compile(r"(^|\s)(host|hostaddr|port|dbname|user|password|passfile|service)\s*=")
ADDRESS = re.compile(r"(?![A-Za-z]:[\\/]).*:.*@", re.DOTALL)  # C:\ is a file


def parse(db: str) -> sa.URL:
    """The URL of a database that is given as a file or as a URL; raises SalcheckError for anything else.

    No error shows or carries what was given where it could hold a password that cannot be told from the rest.
    """
    if "://" not in db:
        if KEYWORDS.search(db) or ADDRESS.match(db):
            raise SalcheckError(f"--db names a server, and not by its URL: write {FORM}")
        return sa.URL.create("sqlite", database=db)
    scheme, rest = db.split("://", maxsplit=1)
    try:
        url = sa.make_url(db)
    except (ArgumentError, ValueError):
        raise SalcheckError(f"--db '{scheme}://…' is neither a file nor a database URL: write {FORM}") from None
    if "@" in SETTINGS.sub("", CREDENTIALS.sub("", rest, count=1)) and url.get_backend_name() != "sqlite":
        raise SalcheckError(f"--db '{scheme}://…' has more than one @: write %40 for one in a name or password")
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise SalcheckError(f"--db '{shown(db)}': salcheck stores in SQLite (a file) or PostgreSQL ({FORM})")
    return url


def shown(db: str) -> str:
    """The database as a user wrote it, without passwords and without the settings of a server's URL but where it is."""
    if "://" not in db:
        return db
    url = sa.make_url(db)
    if url.drivername.startswith("sqlite"):
        return db
    where = {name: value for name, value in url.query.items() if name in ("host", "port", "dbname", "user")}
    return url.set(query=where).render_as_string(hide_password=True)


def sqlite_url(url: sa.URL, create: bool) -> sa.URL:
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
