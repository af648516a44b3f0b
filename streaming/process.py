"""What the operators of one worker process share: the lake, the transport, the fleet, the counts. Judges nothing."""

import logging
import threading
import time
from dataclasses import dataclass

import polars as pl

from refrig_assets.contracts.base import F64
from refrig_assets.contracts.readings import RAW_READINGS
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.lake import OUTSIDE_ERRORS, Lake
from streaming.counts import Counts
from streaming.fleet import RULE_COLUMNS, Fleet
from streaming.lander import Lander
from streaming.rebuild import Rebuilder
from streaming.settings import StreamSettings
from streaming.transports.base import Transport
from streaming.transports.opening import open_transport

_LOG = logging.getLogger(__name__)
RULE_SCHEMA = {name: RAW_READINGS.dtypes.get(name, F64) for name in RULE_COLUMNS}


class FleetWatch:
    """The fleet as the registry tells of it, loaded anew when the registry changes."""

    def __init__(self, lake: Lake, shards: int, every_s: float) -> None:
        self._table = lake.table(DEVICE_REGISTRY)
        self._shards = shards
        self._every_s = every_s
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()
        self.version = self._table.version
        self._fleet = Fleet.of(self._table.read(version=self.version), shards)

    def now(self) -> Fleet:
        """The newest fleet; looks for changes now and then. A lake that cannot be read leaves it as it is."""
        with self._lock:
            if time.monotonic() - self._looked_at >= self._every_s:
                self._looked_at = time.monotonic()
                try:
                    version = self._table.version
                    if version != self.version:
                        self._fleet = Fleet.of(self._table.read(version=version), self._shards)
                        _LOG.info("the registry changed: version %s, %s devices", version, self._fleet.active.height)
                        self.version = version
                except OUTSIDE_ERRORS as error:
                    _LOG.warning("the registry cannot be read, the thresholds stay as they are: %s", error)
            return self._fleet


@dataclass
class Process:
    """Made once a worker process, before the dataflow."""

    settings: StreamSettings
    lake: Lake
    transport: Transport
    lander: Lander
    fleet: FleetWatch
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
            counts=counts,
            rebuilder=Rebuilder(lake, fleet.now(), raw_version),
            stopping=stopping,
        )


def no_rows() -> pl.DataFrame:
    return pl.DataFrame(schema=RULE_SCHEMA)
