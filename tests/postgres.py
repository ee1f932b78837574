"""A PostgreSQL server of the tests' own, in a folder that is thrown away, on the loopback interface alone."""

import os
import pwd
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


@dataclass(frozen=True)
class Server:
    """A running server on a port of 127.0.0.1; its superuser salcheck needs no password."""

    port: int

    def create(self, options: str = "") -> str:
        """The URL of a new, empty database, made with these options of CREATE DATABASE."""
        name = f"db{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return f"postgresql://salcheck@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str) -> None:
        """Runs a statement as the superuser, outside of any transaction."""
        import psycopg

        where = f"host=127.0.0.1 port={self.port} user=salcheck dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(statement)


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl, the newest first; None where there is none."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = shutil.which("pg_ctl")
    places = [*([Path(found).resolve().parent] if found else []), *reversed(installed)]
    return next((place for place in places if (place / "initdb").exists()), None)


@contextmanager
def running(place: Path) -> Iterator[Server]:
    """A server started from these binaries; it writes nothing through to the disk."""
    with TemporaryDirectory() as name:
        who = _unprivileged()
        if who:
            os.chown(name, who["user"], who["group"])
        with Path(name, "output").open("w") as output:

            def call(program: str, *arguments: str) -> None:
                command = [place / program, "-D", f"{name}/data", *arguments]
                subprocess.run(command, check=True, cwd=name, stdout=output, stderr=output, **who)

            call("initdb", "--username=salcheck", "--auth=trust", "--encoding=UTF8", "--no-sync", "--no-locale")
            port = _free_port()
            settings = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='{name}' -c fsync=off"
            call("pg_ctl", "start", "--wait", "--log", f"{name}/log", "--options", settings)
            try:
                yield Server(port)
            finally:
                call("pg_ctl", "stop", "--mode=immediate")


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: who runs it instead."""
    if os.geteuid() != 0:
        return {}
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
