"""Raw readings in a lake, and what it takes to bring the lake up to date: for tests of clean and features."""

import random
import shutil
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.contracts import DEVICE_HOURS, DEVICE_REGISTRY, RAW_READINGS
from refrig_assets.contracts.registry import REGISTRY_DEFAULTS
from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_BIT
from refrig_assets.lake import Lake
from refrig_assets.pipeline.clean import clean_hour
from refrig_assets.pipeline.features import feature_day, feature_hour
from refrig_assets.pipeline.landing import count_raw
from refrig_assets.pipeline.pending import stale, stale_days
from refrig_assets.pipeline.registry import write_registry
from refrig_assets_tests.builders import HEALTHY, HOUR, NOTHING, ONE_HOUR, everything, raw_rows
from refrig_assets_tests.reference_clean import Device, Heard

NAN, INF = float("nan"), float("inf")
MADE = (
    "clean_sensor_readings",
    "quarantine_sensor_readings",
    "dead_letter",
    "device_hours",
    "event_index",
    "device_features",
    "hour_accounts",
)
FLEET: Mapping[str, Device] = {
    "dev-a": Device(),
    "dev-b": Device(expected=["temperature_evaporator", "humidity"]),
    "dev-c": Device(expected=[], interval_s=300),
}


def registry_frame(devices: Mapping[str, Device]) -> pl.DataFrame:
    rows = [
        {"device_id": name, "expected_sensors": list(d.expected), "expected_interval_s": d.interval_s}
        for name, d in devices.items()
    ]
    types = {n: DEVICE_REGISTRY.dtypes[n] for n in ("device_id", "expected_sensors", "expected_interval_s")}
    others = {k: pl.lit(v) for k, v in REGISTRY_DEFAULTS.items() if k not in types}
    return DEVICE_REGISTRY.conform(
        pl.DataFrame(rows, schema=types).with_columns(site_id=pl.lit("s"), cohort_id=pl.lit("c"), **others)
    )


def history_frame(history: Iterable[Heard]) -> pl.DataFrame:
    rows = [(h.hour, h.device, h.first, h.last, sum(SENSOR_BIT[s] for s in h.sensors)) for h in history]
    return pl.DataFrame(rows, schema=DEVICE_HOURS.dtypes, orient="row")


def land(lake: Lake, raw: pl.DataFrame, files: int = 1) -> list[datetime]:
    """Append raw rows in several commits and count them, as landing does; the hours they arrived in."""
    size = max(1, -(-raw.height // files))
    for start in range(0, raw.height, size):
        lake.table(RAW_READINGS).append(raw[start : start + size])
    hours = sorted(raw["timestamp_ingested"].dt.truncate("1h").unique())
    count_raw(lake, hours)
    return hours


def stocked(lake: Lake, devices: Mapping[str, Device] = FLEET) -> Lake:
    write_registry(lake, registry_frame(devices).sort("device_id"))
    return lake


def twin(lake: Lake) -> Lake:
    """A lake that holds the same."""
    return Lake(shutil.copytree(lake.uri, f"{lake.uri}-twin-{uuid.uuid4().hex[:6]}"))


def make(lake: Lake, hours: Iterable[datetime], now: datetime | None = None) -> None:
    """Clean and compute each of the hours, in the order given."""
    for hour in hours:
        clean_hour(lake, hour)
    for hour in hours:
        feature_hour(lake, hour, now or hour + ONE_HOUR)


def refresh(lake: Lake, now: datetime) -> tuple[set[datetime], set[datetime], set[datetime]]:
    """Make again what is stale, until nothing is: the clean hours, feature hours and days that were."""
    done: tuple[set[datetime], set[datetime], set[datetime]] = (set(), set(), set())
    for _ in range(5):
        clean = stale(lake, now)[0].hours
        for hour in sorted(clean):
            clean_hour(lake, hour)
        features, days = stale(lake, now)[1].hours, stale_days(lake, now).hours
        for hour in sorted(features):
            feature_hour(lake, hour, now)
        for day in sorted(days):
            feature_day(lake, day)
        if not clean and not features and not days:
            return done
        for names, found in zip(done, (clean, features, days), strict=True):
            names.update(found)
    raise AssertionError(f"still stale after five rounds: {stale(lake, now)}, {stale_days(lake, now)}")


def state(lake: Lake, tables: Collection[str] = MADE) -> dict[str, pl.DataFrame]:
    """What the tables hold, in an order of its own."""
    return {t: everything(lake, t) for t in tables}


def differences(one: Mapping[str, pl.DataFrame], other: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """The tables that are not equal, with the rows that only one of them has."""
    found = {}
    for table in one:
        if not one[table].equals(other[table]):
            a, b = (frame.with_columns(frame.hash_rows().alias("_h")) for frame in (one[table], other[table]))
            only = [x.join(y, on="_h", how="anti").drop("_h").head(3).to_dicts() for x, y in ((a, b), (b, a))]
            found[table] = {"rows": (a.height, b.height), "only in the one": only[0], "only in the other": only[1]}
    return found


def ugly_rows(seed: int, rows: int, hours: Sequence[datetime], devices: Sequence[str] = ()) -> pl.DataFrame:
    """Raw rows that break every rule now and then, many of them in several hours."""
    rng = random.Random(seed)
    devices = devices or [*FLEET, "ghost"]
    sent: list[dict[str, Any]] = []
    for number in range(rows):
        arrived = rng.choice(hours) + timedelta(
            minutes=rng.choice([0, 1, 2, 7, 14, 15, 30, 45, 59.9, rng.random() * 60])
        )
        if sent and rng.random() < 0.15:
            again = dict(rng.choice(sent))
            sent.append(again | {"timestamp_ingested": arrived, "_sequence_number": rng.choice([number, number, 0])})
            continue
        late = rng.choice([0, 0, 0, 0, 0.03, 5, 20, 130, -1, -70, 24 * 60, 24 * 60 + 1e-4, -24 * 60, -25 * 60])
        device = rng.choice(devices)
        values: dict[str, Any] = {
            n: v + rng.random() if isinstance(v, float) else rng.random() < 0.3 for n, v in HEALTHY.items()
        }
        if rng.random() < 0.05:
            values = dict(NOTHING)
        for sensor in rng.sample(NUMERIC_SENSORS, rng.choice([0, 0, 1, 2])):
            values[sensor.name] = rng.choice([None, None, NAN, INF, -INF, sensor.low, sensor.high, -1.0, 1e6])
        sent.append(
            {
                "event_id": f"event-{seed}-{number}",
                "device_id": device,
                "timestamp_device": arrived - timedelta(minutes=late),
                "timestamp_ingested": arrived,
                **values,
                "_partition_key": device,
                "_sequence_number": number,
            }
        )
    return raw_rows(sent)


def steady_rows(devices: Sequence[str], hours: Sequence[datetime], every_min: int = 5, **changes: Any) -> pl.DataFrame:
    """A reading of every device each so many minutes of the hours, slightly different each time."""
    rows = []
    for hour in hours:
        for device in devices:
            for minute in range(0, 60, every_min):
                number = len(rows)
                event = f"{device}@{hour:%m-%d %H}:{minute:02d}"
                wobble = {n: v + (number * 7 % 11) * 0.13 for n, v in HEALTHY.items() if isinstance(v, float)}
                rows.append(
                    {"event_id": event, "device_id": device, "hour": hour, "minute": minute, **wobble, **changes}
                    | {"_sequence_number": int((hour - HOUR).total_seconds()) * 1000 + number}
                )
    return raw_rows(rows)
