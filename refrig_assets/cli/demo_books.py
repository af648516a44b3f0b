"""Dagster's event log as the demo's helpers write it: the same databases, kept open, and a run's many events together.

Dagster opens a database anew for each event and looks its tables up again, which takes longer than making an hour's
rows of a few hundred machines. What is written is the same, so the UI reads it as any other.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import DagsterEventType, EventLogEntry
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, CursorResult, Engine, create_engine, event

if TYPE_CHECKING:
    import dagster as dg

# Dagster's own switch for sending events of a run's partitions together.
BATCH_SIZE = {"DAGSTER_EVENT_BATCH_SIZE": "500"}
_BUSY_SECONDS = 60
_KEPT = 4  # the index, the run that writes, and some


def quick_instance(home: Path) -> "dg.DagsterInstance":
    """The home's instance as its dagster.yaml has it, but for how events get into its databases."""
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    log = {
        "module": QuickEventLog.__module__,
        "class": QuickEventLog.__name__,
        "config": {"base_dir": str(home / "history" / "runs")},
    }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides={"event_log_storage": log}))


def quick_books() -> None:
    """Let Dagster's SQLite not wait for the disk at each event: should the power fail, the demo is made anew."""

    @event.listens_for(Engine, "connect")
    def _no_waiting(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")


class QuickEventLog(SqliteEventLogStorage):
    """Dagster's SQLite event log that opens each database once and writes a batch of events in one transaction."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "QuickEventLog":
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def _engine(self, shard: str) -> Engine:
        engine = self._engines.pop(shard, None)
        if engine is None:
            url = create_db_conn_string(self._base_dir, shard)
            engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
        self._engines[shard] = engine
        while len(self._engines) > _KEPT:
            self._engines.popitem(last=False)[1].dispose()
        return engine

    def dispose(self) -> None:
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        return True  # of databases that this version of Dagster has made

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Events of one run: those of assets in one transaction a database, the few others one by one."""
        of_assets = [e for e in events if e.dagster_event_type in ASSET_EVENTS]
        for entry in events:
            if entry.dagster_event_type not in ASSET_EVENTS:
                self.store_event(entry)
        if not of_assets:
            return
        rows = [self.prepare_insert_event(e) for e in of_assets]
        with self.run_connection(of_assets[0].run_id) as connection:
            for row in rows:
                connection.execute(row)
        with self.index_connection() as connection:
            ids = [_number(connection.execute(row)) for row in rows]
            self._store_asset_event_tags(connection, of_assets, ids)
            for entry, number in _newest(of_assets, ids):
                self._store_asset_event(connection, entry, number)


def _number(inserted: CursorResult[Any]) -> int:
    key = inserted.inserted_primary_key
    if key is None:
        raise RuntimeError("the event log gave an event no number")
    return int(key[0])


def _newest(events: Sequence[EventLogEntry], ids: Sequence[int]) -> list[tuple[EventLogEntry, int]]:
    """The last event of each type of each asset, with its number."""
    last: dict[tuple[str, DagsterEventType | None], tuple[EventLogEntry, int]] = {}
    for entry, number in zip(events, ids, strict=True):
        key = entry.get_dagster_event().asset_key
        last[key.to_string() if key else "", entry.dagster_event_type] = entry, number
    return list(last.values())
