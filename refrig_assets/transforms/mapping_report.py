"""What a mapping makes of a source, counted chunk by chunk: what maps, what does not, what looks wrong. Frames only."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from refrig_assets.contracts.sensors import SENSORS
from refrig_assets.transforms.cells import Cells
from refrig_assets.transforms.intervals import IntervalCounter
from refrig_assets.transforms.mapped import ROW, Mapped, Memory, map_chunk, scaled_reading
from refrig_assets.transforms.mapping import Mapping, SensorSource
from refrig_assets.transforms.units import OFTEN_GAUGE, units_of

PLAUSIBLE = 0.95
_SAMPLE_EVERY = 16  # of the rows that other units are tried on, after the first ones
_SAMPLE_FIRST = 20_000
_SHOWN = 3


@dataclass
class SensorReport:
    """How one sensor of the contract came out."""

    sensor: str
    source: str
    unit: str
    contract_unit: str
    low: float | None
    high: float | None
    values: int = 0
    nulls: int = 0
    unconvertible: int = 0
    unconvertible_sample: list[str] = field(default_factory=list)
    outside: int = 0
    minimum: float | None = None
    maximum: float | None = None
    hint: str | None = None

    @property
    def outside_share(self) -> float:
        return self.outside / self.values if self.values else 0.0


@dataclass
class MappingReport:
    """What an import would bring, or has brought."""

    columns: list[str]
    unused_columns: list[str]
    sensors: list[SensorReport]
    missing_sensors: list[str]
    source_rows: int = 0
    readings: int = 0
    without_device: int = 0
    without_time: int = 0
    skipped_hour: int = 0
    implausible_time: int = 0
    all_null: int = 0
    repeated: int = 0
    unread_points: dict[str, int] = field(default_factory=dict)
    first: datetime | None = None
    last: datetime | None = None
    devices: list[str] = field(default_factory=list)
    declared_interval_s: int = 0
    median_interval_s: float | None = None
    off_interval: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        sensors = [asdict(s) | {"outside_share": s.outside_share} for s in self.sensors]
        return asdict(self) | {"sensors": sensors}


def map_frame(frame: pl.DataFrame, mapping: Mapping) -> tuple[pl.DataFrame, MappingReport]:
    """A whole source in one frame: its readings, and the report."""
    builder = ReportBuilder(mapping, frame.columns)
    mapped = map_chunk(frame, mapping, Memory())
    builder.add(mapped)
    return mapped.rows.drop(ROW), builder.finish()


class ReportBuilder:
    """Adds up chunks. Holds a few numbers a sensor, and a hash a row to find rows that come twice."""

    def __init__(self, mapping: Mapping, columns: list[str]) -> None:
        self.mapping = mapping
        used = set(mapping.columns)
        mapped = {s.sensor.name for s in mapping.sensors}
        self.report = MappingReport(
            columns=list(columns),
            unused_columns=[c for c in columns if c not in used],
            sensors=[_sensor_report(s) for s in mapping.sensors],
            missing_sensors=[s.name for s in SENSORS if s.name not in mapped],
            declared_interval_s=mapping.interval_s,
        )
        self._intervals = IntervalCounter()
        self._rejected = 0
        self._hashes: list[pl.Series] = []
        self._tried: dict[str, dict[str, int]] = {s.sensor.name: {} for s in mapping.sensors}
        self._tried_rows: dict[str, int] = dict.fromkeys(self._tried, 0)

    def add(self, mapped: Mapped) -> None:
        report, rows = self.report, mapped.rows
        report.source_rows += mapped.source_rows
        report.skipped_hour += mapped.skipped_hour
        report.implausible_time += mapped.implausible_time
        for point, count in mapped.unread_points.items():
            report.unread_points[point] = report.unread_points.get(point, 0) + count
        report.without_device += rows["device_id"].null_count()
        report.without_time += rows["timestamp_device"].null_count()
        whole = rows.filter(pl.col("device_id").is_not_null() & pl.col("timestamp_device").is_not_null())
        names = [s.sensor.name for s in self.mapping.sensors]
        self._rejected += rows.height - whole.height
        report.all_null += int(whole.select(pl.all_horizontal(pl.col(names).is_null()).sum()).item()) if names else 0
        self._add_times(whole)
        for sensor, source, cells in zip(report.sensors, self.mapping.sensors, mapped.cells, strict=True):
            self._add_values(sensor, source, cells, whole[sensor.sensor])

    @property
    def rejected(self) -> int:
        """Rows that lack a device or a time."""
        return self._rejected

    def _add_times(self, whole: pl.DataFrame) -> None:
        if whole.is_empty():
            return
        report = self.report
        ends = whole.select(first=pl.col("timestamp_device").min(), last=pl.col("timestamp_device").max()).row(0)
        report.first = min(report.first or ends[0], ends[0])
        report.last = max(report.last or ends[1], ends[1])
        self._intervals.add(whole.select("device_id", "timestamp_device"))
        by = ["event_id"] if self.mapping.event_id_column else ["device_id", "timestamp_device"]
        self._hashes.append(whole.select(by).hash_rows(seed=0))

    def _add_values(self, sensor: SensorReport, source: SensorSource, cells: Cells, value: pl.Series) -> None:
        sensor.values += value.count()
        sensor.nulls += value.null_count()
        sensor.unconvertible += cells.bad
        sensor.unconvertible_sample = list(dict.fromkeys([*sensor.unconvertible_sample, *cells.sample]))[:_SHOWN]
        if source.sensor.low is None or source.sensor.high is None or not value.count():
            return
        inside = value.is_between(source.sensor.low, source.sensor.high) & value.is_not_nan()
        sensor.outside += int((~inside).sum())
        finite = value.filter(value.is_finite().fill_null(False))
        if len(finite):
            low, high = float(finite.min()), float(finite.max())  # type: ignore[arg-type]
            sensor.minimum = low if sensor.minimum is None else min(sensor.minimum, low)
            sensor.maximum = high if sensor.maximum is None else max(sensor.maximum, high)
        self._try_other_units(source, cells.values)

    def _try_other_units(self, source: SensorSource, read: pl.Series) -> None:
        """How many of a sample's values would lie in range if they were in another unit."""
        if source.unit is None:
            return
        sample = read.drop_nulls()
        if len(sample) > _SAMPLE_FIRST:
            sample = sample.gather_every(_SAMPLE_EVERY)
        scaled = pl.DataFrame({"read": sample}).select(scaled_reading(pl.col("read"), source))
        self._tried_rows[source.sensor.name] += scaled.height
        tried = self._tried[source.sensor.name]
        low, high = source.sensor.low, source.sensor.high
        for unit in units_of(source.sensor, self.mapping.plant):
            converted = scaled.select(unit.to_contract(pl.col("read")).is_between(low, high).sum()).item()
            tried[unit.name] = tried.get(unit.name, 0) + int(converted)

    def finish(self) -> MappingReport:
        report = self.report
        if self._hashes:
            hashes = pl.concat(self._hashes).sort()
            different = len(hashes) - int((hashes == hashes.shift(1)).sum())
            report.repeated = 0 if self.mapping.long else len(hashes) - different
            report.readings = different if self.mapping.long else len(hashes)
        self._intervals.finish(report)
        for sensor, source in zip(report.sensors, self.mapping.sensors, strict=True):
            sensor.hint = self._hint(sensor, source)
            if self.mapping.long:  # points of one reading may lie chunks apart
                sensor.nulls = max(report.readings - sensor.values, 0)
        report.notes = _notes(report, self.mapping)
        return report

    def _hint(self, sensor: SensorReport, source: SensorSource) -> str | None:
        rows = self._tried_rows[sensor.sensor]
        if source.unit is None or not rows or 1 - sensor.outside_share >= PLAUSIBLE:
            return None
        shares = {u: n / rows for u, n in self._tried[sensor.sensor].items() if u != source.unit.name}
        best = max(shares.values(), default=0.0)
        if best < PLAUSIBLE:
            return "no unit we know would put these values in range: is it the right column, or is scale missing?"
        likely = [u for u, share in shares.items() if share >= best - 0.01]
        return f"values look like {' or '.join(likely)}: {best:.0%} of them would lie in range"


def _sensor_report(source: SensorSource) -> SensorReport:
    s = source.sensor
    unit = source.unit.name if source.unit else ("" if s.is_bool else "as the file says")
    return SensorReport(s.name, source.source, unit, s.unit, s.low, s.high)


def _notes(report: MappingReport, mapping: Mapping) -> list[str]:
    """What an operator should look at, in words."""
    notes = []
    for s in mapping.sensors:
        if s.unit is not None and s.unit.name in OFTEN_GAUGE:
            notes.append(f"{s.sensor.name}: {s.unit.name} is read as absolute; if the gauge shows 0 when open, "
                         f"write {s.unit.name}g")  # fmt: skip
    if report.repeated:
        notes.append(f"{report.repeated:,} rows repeat an event: cleaning keeps the first of each")
    if report.skipped_hour:
        notes.append(f"{report.skipped_hour:,} local times do not exist in {mapping.timestamp.timezone} (clocks go "
                     "forward then): does the controller keep to one offset all year?")  # fmt: skip
    if report.implausible_time:
        notes.append(f"{report.implausible_time:,} times lie before 2000: the clock was not set")
    if report.off_interval:
        notes.append(f"{len(report.off_interval):,} devices report at another interval than interval_s = "
                     f"{report.declared_interval_s}")  # fmt: skip
    return notes
