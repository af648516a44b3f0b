"""The journal's file: its tables, durable transactions, one connection a thread. Knows nothing of what is told."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_BUSY_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS seen (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (subject TEXT, event TEXT, PRIMARY KEY (subject, event)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS matters (matter_id TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
  matter_id TEXT, channel TEXT, recipient TEXT, subject TEXT NOT NULL, due TEXT NOT NULL, planned_at TEXT NOT NULL,
  collected INTEGER NOT NULL, state TEXT NOT NULL, notice_id TEXT, PRIMARY KEY (matter_id, channel, recipient));
CREATE INDEX IF NOT EXISTS deliveries_state ON deliveries (state);
CREATE INDEX IF NOT EXISTS deliveries_subject ON deliveries (subject);
CREATE INDEX IF NOT EXISTS deliveries_notice ON deliveries (notice_id);
CREATE TABLE IF NOT EXISTS messages (
  number INTEGER PRIMARY KEY AUTOINCREMENT, notice_id TEXT NOT NULL, channel TEXT NOT NULL, recipient TEXT NOT NULL,
  shape TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, severity TEXT NOT NULL, rank INTEGER NOT NULL,
  site_id TEXT, incident TEXT, title TEXT NOT NULL, text TEXT NOT NULL, markdown TEXT NOT NULL,
  alert_ids TEXT NOT NULL, tells TEXT NOT NULL, occurred_at TEXT NOT NULL, formed_at TEXT NOT NULL,
  state TEXT NOT NULL, attempts INTEGER NOT NULL, last_at TEXT NOT NULL, next_at TEXT NOT NULL,
  UNIQUE (notice_id, channel, recipient));
CREATE INDEX IF NOT EXISTS messages_state ON messages (state);
CREATE INDEX IF NOT EXISTS messages_formed ON messages (formed_at);
CREATE TABLE IF NOT EXISTS attempts (number INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS standing (subject TEXT PRIMARY KEY, content TEXT NOT NULL);
"""
# A journal of before said "withdrawn" also of what newer news had replaced: nobody is owed that.
_ONE_WORD_FOR_BOTH = "UPDATE deliveries SET state = 'replaced' WHERE state = 'withdrawn'"
_VERSION = 1


class Journal:
    """SQLite with every commit on disk before it returns: what it says happened has happened, also after kill -9."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._local = threading.local()
        with self.transaction() as rows:
            for statement in _TABLES.split(";"):
                rows.execute(statement)
            if rows.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
                rows.execute(_ONE_WORD_FOR_BOTH)
                rows.execute(f"PRAGMA user_version = {_VERSION}")

    @property
    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            found.row_factory = sqlite3.Row
            found.execute("PRAGMA journal_mode=WAL")
            found.execute("PRAGMA synchronous=FULL")
            self._local.connection = found
        return found

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; writers wait for each other."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk may have ended it already
                connection.execute("ROLLBACK")
            raise

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """This thread's connection."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is not None:
            found.close()
            del self._local.connection


def as_json(value: Any) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return stamp(value)
    raise TypeError(f"{type(value).__name__} has no place in the journal")


def stamp(moment: datetime) -> str:
    """A moment as text that sorts as time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
