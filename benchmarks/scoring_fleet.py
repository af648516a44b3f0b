"""The scoring benchmark's lake: a large fleet's registry, features, trends and training rows, tiled from a few.

Days of 100,000 devices would take hours to simulate and say nothing more of scoring. Some 1,500 are simulated; each
device of the large fleet takes the windows of one of them of its cohort, every number moved by the device's own share
(of the number's spread), so that no two machines are alike and each has a normal of its own.
"""

from datetime import UTC, datetime
from zlib import crc32

import numpy as np
import polars as pl

from refrig_assets.contracts import DEVICE_FEATURES, DEVICE_REGISTRY, DEVICE_TRENDS, TRAINING_DATA
from refrig_assets.contracts.base import F64S, STRS
from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES
from refrig_assets.contracts.trends import CHANGE_H, HORIZONS_H, MODEL_ROW_FEATURES
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.model_rows import join_rows
from refrig_assets.pipeline.training_data import SNAPSHOT_KEY, Snapshot
from refrig_assets.pipeline.training_sample import SampleSettings
from refrig_assets.simulator import FaultPlan, Fleet, make_fleet, plan_faults
from refrig_assets.simulator.measure import hour_frame, stuck_values
from refrig_assets.transforms.features import window_features
from refrig_assets.transforms.trends import HourOfWindows, trend_rows

SEED = 31
# Trends look back a day, changes three more; training rows come from the hours after that, which have both.
TRAINED_H = 48
HISTORY_H = max(HORIZONS_H) + CHANGE_H + TRAINED_H
SCORED = datetime(2026, 11, 20, 1, tzinfo=UTC)  # the hour that is scored; training ends where it begins
START = SCORED - HISTORY_H * HOUR
VALIDATION_FROM = SCORED - 12 * HOUR
HELD_OUT = 10  # one device in so many
_MOVED = 0.05  # of a number's spread
_WHOLE = ("reading_count", "window_duration_minutes", "quality_flag_count", "hours_present")


def make_lake(uri: str, devices: int, donors: int, training_rows: int) -> dict[str, int]:
    """Write the lake; returns how many rows of what."""
    lake = Lake(uri).create()
    fleet = make_fleet(devices, SEED, START)
    few = make_fleet(min(donors, devices), SEED, START)
    lake.table(DEVICE_REGISTRY).replace_all(fleet.registry)
    windows, trends = simulated(few, plan_faults(few, START, SCORED + HOUR, SEED, "usual"))
    donor = _donors(fleet, few)
    shares = np.random.default_rng(SEED)
    counts = {"windows": 0, "training_rows": 0}
    # The hours before are there to fill gaps from.
    for hour in (SCORED - 2 * HOUR, SCORED - HOUR, SCORED):
        now = windows.filter(pl.col("window_start").is_between(hour, hour + HOUR, closed="left"))
        counts["windows"] = _append(lake, DEVICE_FEATURES.name, _tiled(now, fleet, donor))
    _append(lake, DEVICE_TRENDS.name, _tiled(trends.filter(pl.col("window_start") == SCORED), fleet, donor))
    rows = join_rows(windows.filter(pl.col("window_duration_minutes") == 15), trends, few.registry)
    counts["training_rows"] = _write_training(lake, rows, fleet, donor, training_rows, shares)
    return counts


def simulated(few: Fleet, plan: FaultPlan) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Windows of 15 and 60 minutes and trends of the simulated devices, made by the product's own transforms."""
    stuck, found = stuck_values(few, plan), []
    held: dict[datetime, HourOfWindows] = {}
    trends: dict[datetime, pl.DataFrame] = {}
    for number in range(HISTORY_H + 1):
        hour = START + number * HOUR
        rows = _cleaned(hour_frame(few, plan, hour, few.devices.index, stuck))
        windows = window_features(rows, (15, 60)).filter(
            pl.col("window_start").is_between(hour, hour + HOUR, closed="left")
        )
        trends[hour] = trend_rows(held, hour, trends.get(hour - CHANGE_H * HOUR))
        held[hour] = HourOfWindows.of(windows.filter(pl.col("window_duration_minutes") == 60))
        if hour >= SCORED - TRAINED_H * HOUR:
            found.append(windows)
    return pl.concat(found), pl.concat(t for h, t in trends.items() if h >= SCORED - TRAINED_H * HOUR)


def _cleaned(rows: pl.DataFrame) -> pl.DataFrame:
    """What cleansing makes of messages without mess, as far as features look at it."""
    inside = [
        pl.when(pl.col(s.name).is_between(s.low, s.high)).then(pl.col(s.name)).alias(s.name) for s in NUMERIC_SENSORS
    ]
    return rows.with_columns(inside).select(
        "device_id",
        pl.col("timestamp_ingested").alias("timestamp_utc"),
        *SENSOR_NAMES,
        pl.lit([], dtype=STRS).alias("quality_flags"),
        pl.sum_horizontal(pl.col(s).is_null() for s in SENSOR_NAMES).cast(pl.Int32).alias("sensor_null_count"),
    )


def _donors(fleet: Fleet, few: Fleet) -> pl.DataFrame:
    """For each device of the fleet one of the few of its cohort: itself, where it is among them."""
    cohort, of_few = fleet.devices.cohort, few.devices.cohort
    chosen = np.arange(fleet.size) % few.size
    for one in np.unique(cohort):
        mine, candidates = np.flatnonzero(cohort == one), np.flatnonzero(of_few == one)
        if len(candidates):
            chosen[mine] = candidates[np.arange(len(mine)) % len(candidates)]
    return pl.DataFrame({"device_id": fleet.device_ids, "donor": few.device_ids.gather(chosen)})


def _tiled(rows: pl.DataFrame, fleet: Fleet, donor: pl.DataFrame) -> pl.DataFrame:
    wide = donor.join(rows.rename({"device_id": "donor"}), on="donor", how="inner", maintain_order="left").drop("donor")
    return _moved(wide, fleet).select(rows.columns)


def _moved(rows: pl.DataFrame, fleet: Fleet) -> pl.DataFrame:
    """Each device's numbers moved by its own share of their spread; what cannot be below 0 is not."""
    device = fleet.device_ids.search_sorted(rows["device_id"]).to_numpy()
    moved = []
    for name, dtype in rows.schema.items():
        if dtype == pl.Float64 and name not in _WHOLE and not name.endswith(("_std", "_fraction", "completeness")):
            own = np.random.default_rng([SEED, crc32(name.encode())]).standard_normal(fleet.size)
            spread = float(rows[name].std() or 0.0)  # type: ignore[arg-type]
            bounds = DEVICE_FEATURES.columns[name].metadata if name in DEVICE_FEATURES.columns else None
            values = rows[name] + _MOVED * spread * own[device]
            moved.append(values.clip((bounds or {}).get("ge"), (bounds or {}).get("le")).alias(name))
    return rows.with_columns(moved)


def _append(lake: Lake, table: str, rows: pl.DataFrame) -> int:
    from refrig_assets.contracts import BY_NAME

    lake.table(BY_NAME[table]).append(rows)
    return rows.height


def _write_training(
    lake: Lake, rows: pl.DataFrame, fleet: Fleet, donor: pl.DataFrame, count: int, shares: np.random.Generator
) -> int:  # fmt: skip
    """As many rows as asked for, the same number of each device, at times spread over the hours they come from."""
    rows = rows.filter(pl.col("window_start") < SCORED).sort("device_id", "window_start")
    first = rows.select(pl.col("device_id").rle_id().alias("run")).with_row_index().group_by("run").agg(
        pl.col("index").min(), pl.len().alias("windows")
    )  # fmt: skip
    lies = dict(zip(rows["device_id"].unique(maintain_order=True), first.sort("run").rows(), strict=True))
    each = -(-count // fleet.size)
    at, whose = [], []
    for device, one in donor.rows():
        if one in lies:
            _, begin, windows = lies[one]
            at.append(
                begin + (np.arange(each) * windows // each + shares.integers(0, max(windows // each, 1))) % windows
            )
            whose += [device] * each
    taken = rows[np.concatenate(at)[:count]].with_columns(pl.Series("device_id", whose[:count], dtype=pl.String))
    taken = _moved(taken, fleet)
    held_out = pl.col("device_id").str.slice(-4).cast(pl.Int64) % HELD_OUT == 0
    split = (
        pl.when(held_out)
        .then(pl.lit("held_out"))
        .when(pl.col("window_start") >= VALIDATION_FROM)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )
    table = lake.table(TRAINING_DATA)
    version = lake.table(DEVICE_FEATURES).version
    snapshot = Snapshot({DEVICE_FEATURES.name: version}, START, SCORED, SampleSettings().to_dict())
    files = []
    for part in taken.with_columns(split.alias("split")).sort("device_id", "window_start").iter_slices(50_000):
        frame = part.with_columns(
            pl.concat_list(MODEL_ROW_FEATURES).cast(F64S).alias("feature_vector"),
            pl.lit(list(MODEL_ROW_FEATURES), dtype=STRS).alias("feature_names"),
            pl.lit(None, dtype=pl.String).alias("label"),
            pl.lit(None, dtype=pl.String).alias("label_source"),
            pl.lit(version).alias("snapshot_id"),
            pl.lit(SCORED).alias("assembled_at"),
        )
        files += table.write_files(TRAINING_DATA.conform(frame), f"rows-{len(files):03d}")
    table.replace_with(files, {SNAPSHOT_KEY: snapshot.to_json()})
    return taken.height


__all__ = ["HISTORY_H", "SCORED", "START", "make_lake", "simulated"]
