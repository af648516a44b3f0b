"""What is known of a plant's export: which columns hold what, in which units. No files here.

Reading it from TOML is `mapping_toml.py`, applying it `mapped.py`.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from refrig_assets.contracts.registry import DEFAULT_INTERVAL_S
from refrig_assets.contracts.sensors import Sensor
from refrig_assets.transforms.units import Circumstances, Unit

RepeatedHour = Literal["order", "first", "second", "reject"]
NULL_MARKERS: tuple[str, ...] = ("", "null", "none", "nan", "n/a", "na", "#n/a", "-", "--", "---", "?")
EPOCH_FORMATS: dict[str, int] = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}


class MappingError(ValueError):
    """A mapping that cannot be used; the message names what is wrong and what there is instead."""


@dataclass(frozen=True)
class SourceFormat:
    """How the file is written."""

    kind: str | None = None
    delimiter: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"
    skip_rows: int = 0
    skip_rows_after_header: int = 0
    null_values: tuple[str, ...] = NULL_MARKERS


@dataclass(frozen=True)
class TimeSource:
    """Where a time comes from. Several columns are joined with a blank before they are read."""

    columns: tuple[str, ...]
    format: str = "iso"
    timezone: str = "UTC"
    repeated_hour: RepeatedHour = "order"


@dataclass(frozen=True)
class SensorSource:
    """Where a sensor comes from: a column, or in a long file the name of a point."""

    sensor: Sensor
    source: str
    unit: Unit | None = None
    unit_text: str = ""
    scale: float = 1.0
    offset: float = 0.0
    true_values: tuple[str, ...] | None = None
    false_values: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LongLayout:
    """One row a device, time and point."""

    point: str
    value: str
    unit: str | None = None


@dataclass(frozen=True)
class Mapping:
    timestamp: TimeSource
    sensors: tuple[SensorSource, ...]
    device_column: str | None = None
    device_constant: str | None = None
    device_prefix: str = ""
    device_names: dict[str, str] = field(default_factory=dict)
    device_defaults: dict[str, Any] = field(default_factory=dict)
    ingested: TimeSource | None = None
    event_id_column: str | None = None
    long: LongLayout | None = None
    source: SourceFormat = field(default_factory=SourceFormat)
    plant: Circumstances = field(default_factory=Circumstances)
    interval_s: int = DEFAULT_INTERVAL_S

    @property
    def columns(self) -> tuple[str, ...]:
        """Every source column the mapping needs, in order."""
        times = [*self.timestamp.columns, *(self.ingested.columns if self.ingested else ())]
        others = [c for c in (self.device_column, self.event_id_column) if c]
        layout = [c for c in (self.long.point, self.long.value, self.long.unit) if c] if self.long else []
        sensors = [] if self.long else [s.source for s in self.sensors]
        return tuple(dict.fromkeys([*others, *times, *layout, *sensors]))

    def check_columns(self, available: Sequence[str]) -> None:
        """A MappingError where the source lacks a column, with the nearest one it has."""
        lacking = [c for c in self.columns if c not in available]
        if not lacking:
            return
        told = "; ".join(f"column {c!r} is not in the file{nearest(c, available)}" for c in lacking)
        hint = (
            " (� in a name: the file is not UTF-8, declare encoding under [source])"
            if "�" in "".join(available)
            else ""
        )
        raise MappingError(f"{told}. The file has: {', '.join(repr(c) for c in available)}{hint}")


def nearest(name: str, among: Iterable[str]) -> str:
    by_lower = {a.lower().strip(): a for a in among}
    close = difflib.get_close_matches(name.lower().strip(), by_lower, n=1, cutoff=0.5)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""
