"""What the operators of one worker process share: the lake, the transport, the fleet, the counts. Judges nothing."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import polars as pl

from refrig_assets.contracts.base import F64
from refrig_assets.contracts.operations import ALERT_MUTES
from refrig_assets.contracts.readings import RAW_READINGS
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.lake import OUTSIDE_ERRORS, Lake, Table
from streaming.counts import Counts
from streaming.fleet import RULE_COLUMNS, Fleet
from streaming.lander import Lander
from streaming.rebuild import Rebuilder
from streaming.settings import StreamSettings
from streaming.transports.base import Transport
from streaming.transports.opening import open_transport

_LOG = logging.getLogger(__name__)
RULE_SCHEMA = {name: RAW_READINGS.dtypes.get(name, F64) for name in RULE_COLUMNS}


T = TypeVar("T")


class TableWatch(Generic[T]):
    """What a table tells, read anew when the table changes."""

    def __init__(self, table: Table, made_of: Callable[[pl.DataFrame], T], every_s: float) -> None:
        self._table = table
        self._made_of = made_of
        self._every_s = every_s
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()
        self.version = self._table.version
        self._told = made_of(self._table.read(version=self.version))

    def now(self) -> T:
        """The newest; looks for changes now and then. A lake that cannot be read leaves it as it is."""
        with self._lock:
            if time.monotonic() - self._looked_at >= self._every_s:
                self._looked_at = time.monotonic()
                name = self._table.contract.name
                try:
                    version = self._table.version
                    if version != self.version:
                        self._told = self._made_of(self._table.read(version=version))
                        _LOG.info("%s changed: version %s", name, version)
                        self.version = version
                except OUTSIDE_ERRORS as error:
                    _LOG.warning("%s cannot be read, what is known of it stays as it is: %s", name, error)
            return self._told


class FleetWatch(TableWatch[Fleet]):
    """The fleet as the registry tells of it."""

    def __init__(self, lake: Lake, shards: int, every_s: float) -> None:
        super().__init__(lake.table(DEVICE_REGISTRY), lambda rows: Fleet.of(rows, shards), every_s)


@dataclass
class Process:
    """Made once a worker process, before the dataflow."""

    settings: StreamSettings
    lake: Lake
    transport: Transport
    lander: Lander
    fleet: FleetWatch
    mutes: TableWatch[pl.DataFrame]
    counts: Counts
    rebuilder: Rebuilder
    stopping: threading.Event

    @classmethod
    def start(cls, settings: StreamSettings, raw_version: int, counts: Counts, stopping: threading.Event) -> "Process":
        """`raw_version` is the raw table as it was before any process of this start landed anything."""
        lake = Lake(settings.lake, settings.storage_options)
        fleet = FleetWatch(lake, settings.shards, settings.registry_every_s)
        return cls(
            settings=settings,
            lake=lake,
            transport=open_transport(settings.source, settings.source_options),
            lander=Lander(lake, settings.source_name, settings.commit_rows, counts, stopping),
            fleet=fleet,
            mutes=TableWatch(lake.table(ALERT_MUTES), lambda rows: rows, settings.registry_every_s),
            counts=counts,
            rebuilder=Rebuilder(lake, fleet.now(), raw_version),
            stopping=stopping,
        )


def no_rows() -> pl.DataFrame:
    return pl.DataFrame(schema=RULE_SCHEMA)
