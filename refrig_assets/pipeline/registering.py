"""Adding devices that an import brought to the registry: to its file, which is the authority, and to the lake."""

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from refrig_assets.contracts.base import STRS, TS
from refrig_assets.contracts.registry import DEVICE_REGISTRY, REGISTRY_DEFAULTS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.registry import RegistryError, read_registry, write_registry
from refrig_assets.transforms.mapping import Mapping, MappingError

REQUIRED = tuple(
    n for n, c in DEVICE_REGISTRY.columns.items()
    if not c.nullable and n not in REGISTRY_DEFAULTS and n not in ("device_id", "expected_sensors")
)  # fmt: skip


@dataclass(frozen=True)
class Registered:
    """What registering did, or would do."""

    known: int
    added: list[str]
    registry_file: str


def register_first(lake: Lake, registry_file: Path) -> None:
    """The registry's file into a table that is still empty; a file that is absent or wrong leaves it so."""
    if registry_file.exists() and not lake.table(DEVICE_REGISTRY).files():
        with suppress(RegistryError):
            write_registry(lake, read_registry(registry_file))


def unknown_devices(registry_file: Path, lake: Lake, devices: list[str]) -> list[str]:
    """Of these devices, those the registry does not know."""
    known = set(_current(registry_file, lake)["device_id"])
    return [d for d in devices if d not in known]


def check_defaults(mapping: Mapping) -> None:
    """A MappingError where new devices could not be described."""
    lacking = [n for n in REQUIRED if n not in mapping.device_defaults]
    if lacking:
        raise MappingError(f"registering devices needs {' and '.join(lacking)} under [device.defaults] of the mapping")


def register_devices(
    registry_file: Path, lake: Lake, mapping: Mapping, devices: list[str], now: datetime
) -> Registered:
    """Add the unknown ones with the mapping's defaults. Devices that are known stay as they are."""
    check_defaults(mapping)
    current = _current(registry_file, lake)
    added = [d for d in devices if d not in set(current["device_id"])]
    if added:
        registry = DEVICE_REGISTRY.validate(pl.concat([current, _rows(mapping, added, now)]).sort("device_id"))
        lake.create()
        _write_file(registry_file, registry, added)
        write_registry(lake, registry)
    return Registered(len(devices) - len(added), added, str(registry_file))


def _current(registry_file: Path, lake: Lake) -> pl.DataFrame:
    """The file where there is one, as the registry asset reads it; else what the lake holds."""
    if registry_file.exists():
        return read_registry(registry_file)
    return lake.table(DEVICE_REGISTRY).read() if lake.exists() else DEVICE_REGISTRY.empty()


def _rows(mapping: Mapping, devices: list[str], now: datetime) -> pl.DataFrame:
    sensors = [s.sensor.name for s in mapping.sensors]
    known = REGISTRY_DEFAULTS | mapping.device_defaults
    known |= {"expected_interval_s": mapping.interval_s, "thresholds_updated_at": now}
    columns = [pl.lit(value).alias(name) for name, value in known.items()]
    frame = pl.DataFrame({"device_id": devices}).with_columns(
        *columns, pl.Series("expected_sensors", [sensors] * len(devices), dtype=STRS)
    )
    return DEVICE_REGISTRY.conform(frame)


def _write_file(path: Path, registry: pl.DataFrame, added: list[str]) -> None:
    """The whole file anew, put in place at once. A CSV keeps its rows as they were written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".tmp-{path.name}")
    if path.suffix == ".csv":
        new = _as_text(registry.filter(pl.col("device_id").is_in(added)))
        before = pl.read_csv(path, infer_schema=False, null_values=[""]) if path.exists() else new.head(0)
        pl.concat([before, new], how="diagonal").write_csv(half)
    elif path.suffix in (".parquet", ".pq"):
        registry.write_parquet(half)
    else:
        raise RegistryError(f"{path.name}: a registry is a .csv or a .parquet file")
    os.replace(half, path)


def _as_text(rows: pl.DataFrame) -> pl.DataFrame:
    texts = []
    for name, dtype in rows.schema.items():
        if dtype == STRS:
            texts.append(pl.col(name).list.join(" "))
        elif dtype == TS:
            texts.append(pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        else:
            texts.append(pl.col(name).cast(pl.String))
    return rows.select(texts)
