"""A PostgreSQL cluster of a test's own on loopback, from the system's binaries; run as nobody's superuser."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from refrig_assets_tests.deploy.processes import free_port

USER, PASSWORD = "refrig", "a-secret-of-the-test"


def binaries() -> Path | None:
    """Where initdb and pg_ctl lie. Debian keeps them out of the path."""
    places = [Path(found).resolve().parent] if (found := shutil.which("initdb")) else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in places if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)


@dataclass(frozen=True)
class Cluster:
    port: int

    def create_database(self, name: str) -> None:
        connection = psycopg2.connect(**self.address("postgres"))
        try:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE {name}")
        finally:
            connection.close()

    def address(self, database: str) -> dict[str, str | int]:
        return {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD, "dbname": database}

    def ask(self, database: str, query: str) -> list[tuple[object, ...]]:
        connection = psycopg2.connect(**self.address(database))
        try:
            cursor = connection.cursor()
            cursor.execute(query)
            return cursor.fetchall()
        finally:
            connection.close()


@contextmanager
def running(bin_directory: Path) -> Iterator[Cluster]:
    """PostgreSQL refuses to run as root: there, it runs as the user that its package made, or as nobody."""
    owner = _owner()
    home = Path(tempfile.mkdtemp(prefix="refrig-pg-"))
    try:
        (home / "password").write_text(PASSWORD)
        if owner is not None:
            for path in (home, home / "password"):
                os.chown(path, owner, -1)
        port = free_port()

        def run(*command: str) -> None:
            subprocess.run(
                [str(bin_directory / command[0]), *command[1:]], cwd=home, user=owner, check=True,
                stdout=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            )  # fmt: skip

        data = str(home / "data")
        run("initdb", "-D", data, "-U", USER, "--auth=scram-sha-256", "--pwfile", str(home / "password"), "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home} -c fsync=off"
        run("pg_ctl", "start", "-w", "-D", data, "-o", options, "-l", str(home / "log"))
        try:
            yield Cluster(port)
        finally:
            run("pg_ctl", "stop", "-w", "-D", data, "-m", "fast")
    finally:
        shutil.rmtree(home)


def _owner() -> int | None:
    if os.getuid() != 0:
        return None
    users = {u.pw_name: u.pw_uid for u in pwd.getpwall()}
    return users.get("postgres", users["nobody"])
