"""The measured pieces of the batch benchmark, each run in a process of its own: simulate, ours, the limit."""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from benchmarks.measure import own_peak_bytes
from refrig_assets.contracts import CLEAN_READINGS, DEVICE_REGISTRY, RAW_READINGS
from refrig_assets.lake import Lake

HOUR = datetime(2026, 11, 20, 10, tzinfo=UTC)
NOW = HOUR + timedelta(hours=1, minutes=5)
SEED = 20


def simulate(lake_uri: str, devices: int) -> dict[str, Any]:
    """An hour of a fleet with its usual faults and mess, in the raw table of a fresh lake, in order of arrival."""
    from refrig_assets.simulator import Mess, make_fleet, plan_faults, raw_hour

    start, end = HOUR - timedelta(days=2), HOUR + timedelta(days=1)
    fleet = make_fleet(devices, SEED, start)
    raw = raw_hour(fleet, plan_faults(fleet, start, end, SEED, kinds="usual"), HOUR, mess=Mess.usual())
    lake = Lake(lake_uri).create()
    lake.table(DEVICE_REGISTRY).replace_all(fleet.registry)
    # Devices report side by side: the order of arrival is the order a landing or a stream gives.
    lake.table(RAW_READINGS).append(raw.sort("timestamp_ingested", "device_id"))
    return {"rows": raw.height}


def ours(lake_uri: str, _: str) -> dict[str, Any]:
    """Raw table to committed clean, quarantine, dead-letter and features tables."""
    from refrig_assets.pipeline.clean import clean_hour
    from refrig_assets.pipeline.features import feature_hour

    lake = Lake(lake_uri)
    began, cpu = time.perf_counter(), time.process_time()
    cleaned = clean_hour(lake, HOUR)
    featured = feature_hour(lake, HOUR, NOW)
    done = time.perf_counter()
    stages = {f"clean_{name}": seconds for name, seconds in cleaned.seconds.items()}
    stages |= {f"features_{name}": seconds for name, seconds in featured.seconds.items()}
    return {
        "seconds": done - began,
        "cpu_s": time.process_time() - cpu,
        "stages": stages,
        "accounts": cleaned.accounts,
        "feature_rows": featured.rows,
        "bytes_written": cleaned.bytes + featured.bytes,
    }


def limit(lake_uri: str, target: str) -> dict[str, Any]:
    """Read the raw files once and write a file of clean's columns once: what no implementation can go below.

    Reads the columns that ours reads (`_partition_key` is never needed); Polars' default compression, as the lake's.
    """
    files = raw_files(lake_uri)
    wanted = [name for name in RAW_READINGS.columns if name != "_partition_key"]
    began, cpu = time.perf_counter(), time.process_time()
    raw = pl.read_parquet(files, columns=wanted, hive_partitioning=False)
    filled = {
        "quality_flags": pl.lit([], dtype=CLEAN_READINGS.dtypes["quality_flags"]),
        "sensor_null_count": pl.lit(0, dtype=pl.Int32),
    }
    raw.with_columns(pl.col("timestamp_device").alias("timestamp_utc"), **filled).select(
        list(CLEAN_READINGS.columns)
    ).write_parquet(target)
    return {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


def raw_files(lake_uri: str) -> list[str]:
    return table_files(lake_uri, RAW_READINGS.name)


def table_files(lake_uri: str, table: str) -> list[str]:
    found = Lake(lake_uri).table(table)
    return [f"{found.uri}/{file.path}" for file in found.files()]


STAGES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "simulate": lambda lake_uri, devices: simulate(lake_uri, int(devices)),
    "ours": ours,
    "limit": limit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("lake")
    parser.add_argument("extra", nargs="?", default="", help="devices to simulate, or the limit's file")
    arguments = parser.parse_args()
    began = time.perf_counter()
    found = STAGES[arguments.stage](arguments.lake, arguments.extra)
    found["process_s"] = time.perf_counter() - began
    found["peak_bytes"] = own_peak_bytes()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
