"""C3.5: rows fit to train on, put together from pinned versions of the tables, and read back as frames for models."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.contracts.base import F64S, STRS
from refrig_assets.contracts.features import DEVICE_FEATURES
from refrig_assets.contracts.modelling import LABEL_EVENTS, MAINTENANCE_EVENTS, TRAINING_DATA
from refrig_assets.contracts.registry import DEVICE_REGISTRY
from refrig_assets.contracts.trends import DEVICE_TRENDS, MODEL_ROW_FEATURES
from refrig_assets.lake import HOUR, DataFile, Lake, commits_since
from refrig_assets.pipeline.ahead import ahead
from refrig_assets.pipeline.hours import floor_hour
from refrig_assets.pipeline.labels import judge_windows
from refrig_assets.pipeline.model_rows import WINDOW_MIN, join_rows, newest_features
from refrig_assets.pipeline.stopwatch import Stopwatch
from refrig_assets.pipeline.training_sample import (
    Sample,
    SampleSettings,
    Spans,
    TrainingDataError,
    chosen_windows,
    device_table,
    in_outage,
    outages_of,
)
from refrig_assets.transforms.trends import LOOK_BACK_H

LEAST_COMPLETENESS = 0.7
LEAST_READINGS = 2 / 3  # of what the device's interval leads one to expect
MOST_FLAGS = 5
# Rows that hold no trends although a day has passed: beyond this share the trends were not made.
_WITHOUT_TRENDS = 0.10
_ROWS_A_FILE = 50_000
SNAPSHOT_KEY = "training_snapshot"
_PINNED = (DEVICE_FEATURES, DEVICE_TRENDS, DEVICE_REGISTRY, LABEL_EVENTS, MAINTENANCE_EVENTS)
_ROW_COLUMNS = ("device_id", "cohort_id", "device_age_days", "window_start", "window_end", "window_duration_minutes")


@dataclass(frozen=True)
class Snapshot:
    """What training data is a function of: versions of the tables, the end of the data, and the settings."""

    versions: dict[str, int]
    start: datetime
    end: datetime
    settings: dict[str, Any]

    @property
    def snapshot_id(self) -> int:
        return self.versions[DEVICE_FEATURES.name]

    def to_json(self) -> str:
        told = {**asdict(self), "start": self.start.isoformat(), "end": self.end.isoformat()}
        return json.dumps(told, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Snapshot":
        told = json.loads(text)
        start, end = (datetime.fromisoformat(told[k]) for k in ("start", "end"))
        return cls({k: int(v) for k, v in told["versions"].items()}, start, end, told["settings"])


@dataclass
class TrainingDataReport:
    snapshot: Snapshot
    spans: Spans
    sample: Sample
    windows_looked_at: int = 0
    by_split: dict[str, int] = field(default_factory=dict)
    by_label: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    outages: list[dict[str, Any]] = field(default_factory=list)
    devices: int = 0
    held_out_devices: int = 0
    version: int = 0
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(self.by_split.values())


def take_snapshot(
    lake: Lake, end: datetime, settings: SampleSettings | None = None, snapshot_id: int | None = None
) -> Snapshot:
    """Pin the tables as they are now, or, where rows of this snapshot were put together before, as they were then."""
    settings = settings or SampleSettings()
    versions = {c.name: lake.table(c).version for c in _PINNED}
    if snapshot_id is not None:
        versions[DEVICE_FEATURES.name] = snapshot_id
    version = versions[DEVICE_FEATURES.name]
    newest = newest_features(lake, version=version)
    if newest is None:
        raise TrainingDataError("device_features is empty: make features of some days first (job hourly)")
    end = min(floor_hour(end), newest)
    start = max(_first_hour(lake, version), end - timedelta(days=settings.history_days))
    wanted = Snapshot(versions, start, end, settings.to_dict())
    for known in _known_snapshots(lake):
        if (known.snapshot_id, known.end, known.settings) == (wanted.snapshot_id, wanted.end, wanted.settings):
            return known
    return wanted


def _first_hour(lake: Lake, version: int) -> datetime:
    """The first hour that has windows of the length that is trained on: a day's window begins at midnight before it."""
    table = lake.table(DEVICE_FEATURES)
    held = sorted((f.first, f.path, f) for f in table.files(version) if f.first is not None)
    early = [f for first, _, f in held if first < held[0][0] + timedelta(days=1)]
    trained_on = table.scan_files(early).filter(pl.col("window_duration_minutes") == WINDOW_MIN)
    first = trained_on.select(pl.col("window_start").min()).collect().item()
    return floor_hour(first or held[0][0])


def assemble_training_data(
    lake: Lake, end: datetime, settings: SampleSettings | None = None, *, snapshot_id: int | None = None
) -> TrainingDataReport:
    """Put the rows of the time up to `end` together and write them in the place of those before.

    Everything rests on what was known by the end of the data; the same snapshot gives the same bytes.
    """
    settings = settings or SampleSettings()
    watch = Stopwatch()
    snapshot = take_snapshot(lake, end, settings, snapshot_id)
    spans = Spans.of(snapshot.start, snapshot.end, settings.validation_share)
    registry = lake.table(DEVICE_REGISTRY).read(version=snapshot.versions[DEVICE_REGISTRY.name])
    devices = device_table(registry, settings.held_out_share)
    sample = Sample.plan(spans, devices.height, settings)
    report = TrainingDataReport(snapshot, spans, sample)
    read = _Reading(lake, snapshot, spans, sample, devices, registry, report)
    rows = read.all_rows()
    watch.lap("read")
    rows = _without_outages(rows, read.heard(), devices, settings, report)
    rows = _judged(lake, rows, snapshot, report)
    if "train" not in rows["split"] or "validation" not in rows["split"]:
        raise TrainingDataError(
            f"no windows are fit to train on between {spans.start:%Y-%m-%d %H}:00 and {spans.end:%Y-%m-%d %H}:00: "
            f"{report.windows_looked_at:,} looked at, left out: {report.left_out}"
        )
    rows = rows.sort("device_id", "window_start")
    watch.lap("rules")
    _write(lake, rows, report)
    watch.lap("write")
    report.seconds = watch.laps
    return report


class _Reading:
    """The sampled windows of the snapshot, hour by hour, filtered as the contract says."""

    def __init__(
        self,
        lake: Lake,
        snapshot: Snapshot,
        spans: Spans,
        sample: Sample,
        devices: pl.DataFrame,
        registry: pl.DataFrame,
        report: TrainingDataReport,
    ) -> None:
        self.features, self.trends = lake.table(DEVICE_FEATURES), lake.table(DEVICE_TRENDS)
        self.snapshot, self.spans, self.sample = snapshot, spans, sample
        self.devices, self.registry, self.report = devices, registry, report
        self._heard: list[pl.DataFrame] = []
        self._due, self._with_trends = 0, 0

    def heard(self) -> pl.DataFrame:
        """Devices heard by hour and site."""
        return pl.concat(self._heard)

    def all_rows(self) -> pl.DataFrame:
        parts = list(ahead(self._hours()))
        if self._due and self._with_trends < (1 - _WITHOUT_TRENDS) * self._due:
            raise TrainingDataError(
                f"{self._due - self._with_trends:,} of {self._due:,} sampled windows have no trends: make "
                f"device_trends of {self.spans.start:%Y-%m-%d %H}:00 to {self.spans.end:%Y-%m-%d %H}:00 first"
            )
        if not parts:
            raise TrainingDataError("there are no features in the hours to train on")
        return pl.concat(parts)

    def _hours(self) -> Iterator[pl.DataFrame]:
        version = self.snapshot.versions[DEVICE_FEATURES.name]
        trends_version = self.snapshot.versions[DEVICE_TRENDS.name]
        files = self.features.files(version, start=self.spans.start, end=self.spans.end)
        trend_files = self.trends.files(trends_version, start=self.spans.start, end=self.spans.end)
        for hour, number in self.sample.hours:
            end = hour + HOUR
            windows = self.features.scan_files([f for f in files if f.touches(hour, end)]).filter(
                pl.col("window_start").is_between(hour, end, closed="left")
                & (pl.col("window_duration_minutes") == WINDOW_MIN)
            )
            self._listen(windows, hour)
            rows = self._chosen(windows, hour, number)
            if rows.is_empty():
                continue
            trends = self.trends.scan_files([f for f in trend_files if f.touches(hour, end)]).filter(
                (pl.col("window_start") == hour) & pl.col("device_id").is_in(rows["device_id"].unique().implode())
            )
            yield self._joined(rows, trends.collect(engine="in-memory"), hour)

    def _listen(self, windows: pl.LazyFrame, hour: datetime) -> None:
        names = windows.select("device_id").collect(engine="in-memory")
        self.report.windows_looked_at += names.height
        by_site = names.unique().join(self.devices.select("device_id", "site_id"), on="device_id").group_by("site_id")
        self._heard.append(by_site.len("devices").with_columns(pl.lit(hour).alias("hour"), pl.col("devices").cast(int)))

    def _chosen(self, windows: pl.LazyFrame, hour: datetime, number: int) -> pl.DataFrame:
        validation = hour >= self.spans.validation_start
        mine = chosen_windows(self.devices, hour, number, self.sample, validation)
        asked = [
            (pl.col("window_start") == start) & pl.col("device_id").is_in(names.implode())
            for start, names in mine.items()
            if len(names)
        ]
        if not asked:
            return DEVICE_FEATURES.empty()
        return windows.filter(pl.any_horizontal(asked)).collect(engine="in-memory")

    def _joined(self, rows: pl.DataFrame, trends: pl.DataFrame, hour: datetime) -> pl.DataFrame:
        if hour - self.spans.start >= LOOK_BACK_H * HOUR:
            self._due += rows.height
            self._with_trends += rows.join(trends, on="device_id", how="semi").height
        expected = WINDOW_MIN * 60 / pl.col("expected_interval_s")
        known = join_rows(rows, trends, self.registry).join(self.devices, on="device_id", how="left")
        tests = {
            "completeness": pl.col("sensor_completeness") < LEAST_COMPLETENESS,
            "readings": pl.col("reading_count") < expected * LEAST_READINGS,
            "quality_flags": pl.col("quality_flag_count") > MOST_FLAGS,
        }
        for why, test in tests.items():
            before = known.height
            known = known.filter(~test)
            self.report.left_out[why] = self.report.left_out.get(why, 0) + before - known.height
        later = "validation" if hour >= self.spans.validation_start else "train"
        split = pl.when("held_out").then(pl.lit("held_out")).otherwise(pl.lit(later)).alias("split")
        return known.select(*_ROW_COLUMNS, "site_id", split, *MODEL_ROW_FEATURES, "sensor_completeness")


def _without_outages(
    rows: pl.DataFrame, heard: pl.DataFrame, devices: pl.DataFrame, settings: SampleSettings, report: TrainingDataReport
) -> pl.DataFrame:
    found = outages_of(heard, settings)
    bad = in_outage(rows, found, settings.outages)
    report.left_out["outage"] = int(bad.sum())
    report.outages = found.with_columns(pl.col("site_id").fill_null("the fleet")).to_dicts()
    report.held_out_devices = int(devices["held_out"].sum())
    return rows.filter(~bad)


def _judged(lake: Lake, rows: pl.DataFrame, snapshot: Snapshot, report: TrainingDataReport) -> pl.DataFrame:
    """The rows with their labels, without those that labels and maintenance forbid."""
    labels = lake.table(LABEL_EVENTS).read(version=snapshot.versions[LABEL_EVENTS.name])
    work = lake.table(MAINTENANCE_EVENTS).read(version=snapshot.versions[MAINTENANCE_EVENTS.name])
    judged = judge_windows(rows, labels, work, snapshot.end)
    for why, count in judged.drop_nulls("left_out")["left_out"].value_counts().sort("left_out").iter_rows():
        report.left_out[why] = count
    rows = rows.with_columns(judged["label"], judged["label_source"]).filter(judged["left_out"].is_null())
    report.by_split = dict(rows["split"].value_counts().sort("split").iter_rows())
    report.by_label = dict(rows["label"].fill_null("unlabelled").value_counts().sort("label").iter_rows())
    report.devices = rows["device_id"].n_unique()
    return rows


def _write(lake: Lake, rows: pl.DataFrame, report: TrainingDataReport) -> None:
    """Names of features are the same on every row: a share of the rows at a time, so that they are held only once."""
    table = lake.table(TRAINING_DATA)
    files: list[DataFile] = []
    for part in rows.iter_slices(_ROWS_A_FILE):
        frame = part.with_columns(
            _vectors(part),
            pl.lit(list(MODEL_ROW_FEATURES), dtype=STRS).alias("feature_names"),
            pl.lit(report.snapshot.snapshot_id).alias("snapshot_id"),
            pl.lit(report.snapshot.end).alias("assembled_at"),
        )
        files += table.write_files(TRAINING_DATA.conform(frame), f"rows-{len(files):03d}")
    commit = table.replace_with(files, {SNAPSHOT_KEY: report.snapshot.to_json()})
    report.version, report.bytes = commit.version, commit.bytes


def _vectors(rows: pl.DataFrame) -> pl.Series:
    """The features of each row as a list; what is not known is null. Eight times as fast as lists of columns."""
    values = rows.select(pl.col(MODEL_ROW_FEATURES).fill_null(float("nan"))).to_numpy(order="c")
    flat = pl.Series("feature_vector", values.reshape(-1)).fill_nan(None)
    return flat.reshape((rows.height, len(MODEL_ROW_FEATURES))).arr.to_list().cast(F64S)


def _known_snapshots(lake: Lake) -> list[Snapshot]:
    return [snapshot for _, snapshot in _noted(lake)]


def _noted(lake: Lake) -> list[tuple[int, Snapshot]]:
    """Versions of the training data with the snapshot that each holds, newest first; those the log still tells of."""
    table = lake.table(TRAINING_DATA)
    notes = commits_since(table, -1, [SNAPSHOT_KEY], limit=table.version + 1).commits
    return [(n.version, Snapshot.from_json(n.metadata[SNAPSHOT_KEY])) for n in reversed(notes)]
