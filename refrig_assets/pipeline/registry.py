"""The device registry: read from CSV or Parquet, validated as a whole, and written only if all of it is right."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from refrig_assets.contracts import ContractError
from refrig_assets.contracts.base import STRS, TS
from refrig_assets.contracts.readings import QUARANTINE_READINGS
from refrig_assets.contracts.registry import DEVICE_REGISTRY, REGISTRY_DEFAULTS
from refrig_assets.contracts.sensors import SENSOR_NAMES
from refrig_assets.lake import Lake

# ISO 8601, with an offset or in UTC, or a day.
_TIME_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
# A file that lacks more of the known devices than both was probably cut short, and would end their alerts.
_MAY_LACK, _MAY_LACK_SHARE = 10, 0.1


class RegistryError(ValueError):
    """A registry file that cannot be taken; the message says what is wrong with which devices."""


@dataclass(frozen=True)
class RegistryChange:
    devices: int
    added: int
    removed: int
    changed: int
    version: int


def read_registry(path: Path) -> pl.DataFrame:
    """A registry file as its contract wants it: types read, unset values given their defaults, everything validated."""
    frame = _read_file(path)
    unknown = [c for c in frame.columns if c not in DEVICE_REGISTRY.columns]
    if unknown:
        raise RegistryError(
            f"{path.name}: unknown columns {', '.join(unknown)}; known are {', '.join(DEVICE_REGISTRY.columns)}"
        )
    try:
        typed = _convert(frame, path.name)
        for name, default in REGISTRY_DEFAULTS.items():
            given = pl.col(name) if name in typed.columns else pl.lit(None)
            typed = typed.with_columns(pl.coalesce(given, pl.lit(default)).alias(name))
        sensors = pl.col("expected_sensors") if "expected_sensors" in typed.columns else pl.lit(None, dtype=STRS)
        typed = typed.with_columns(sensors.fill_null(list(SENSOR_NAMES)).alias("expected_sensors"))
        registry = DEVICE_REGISTRY.validate(DEVICE_REGISTRY.conform(typed)).sort("device_id")
    except (ContractError, pl.exceptions.PolarsError) as error:
        raise RegistryError(f"{path.name}: {_explain(error)}") from error
    strange = registry.explode("expected_sensors").filter(~pl.col("expected_sensors").is_in(SENSOR_NAMES))
    if strange.height:
        names = ", ".join(strange["expected_sensors"].unique().sort().to_list()[:5])
        raise RegistryError(f"{path.name}: {strange.height} expected_sensors are none of the 14: {names}")
    if registry.is_empty():
        raise RegistryError(f"{path.name} holds no devices")
    return registry


def write_registry(lake: Lake, registry: pl.DataFrame, *, allow_removal: bool = False) -> RegistryChange:
    """Put the registry in the place of the one before; nothing is written where nothing changed."""
    table = lake.table(DEVICE_REGISTRY)
    before = table.read().sort("device_id")
    added = registry.join(before, on="device_id", how="anti").height
    gone = before.join(registry, on="device_id", how="anti")["device_id"]
    if not allow_removal and len(gone) > max(_MAY_LACK, _MAY_LACK_SHARE * before.height):
        raise RegistryError(
            f"the registry lacks {len(gone):,} of the {before.height:,} devices known ({', '.join(gone[:3])} …), "
            "which would end their alerts. Give those that are gone the status retired, or, where it is meant, "
            "launch the asset with the config allow_removal: true"
        )
    common = registry.join(before, on="device_id", how="semi")
    same = common.join(before, on=registry.columns, how="semi", nulls_equal=True).height
    version = table.version if registry.equals(before) else table.replace_all(registry).version
    return RegistryChange(registry.height, added, len(gone), common.height - same, version)


def hours_to_release(lake: Lake) -> dict[datetime, int]:
    """Hours with quarantined rows of devices that the registry knows by now."""
    known = lake.table(DEVICE_REGISTRY).scan().select("device_id")
    waiting = (
        lake.table(QUARANTINE_READINGS)
        .scan()
        .select("device_id", pl.col("timestamp_ingested").dt.truncate("1h").alias("hour"))
        .join(known, on="device_id", how="semi")
        .group_by("hour")
        .len()
        .collect()
    )
    return dict(waiting.sort("hour").iter_rows())


def _read_file(path: Path) -> pl.DataFrame:
    try:
        if path.suffix.lower() == ".csv":
            return pl.read_csv(path, infer_schema=False, null_values=[""])
        if path.suffix.lower() in (".parquet", ".pq"):
            return pl.read_parquet(path)
    except FileNotFoundError as error:
        raise RegistryError(f"{path}: there is no such file; set REFRIG_REGISTRY or put the registry there") from error
    except pl.exceptions.PolarsError as error:
        raise RegistryError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from error
    raise RegistryError(f"{path.name}: a registry is a .csv or a .parquet file")


def _convert(frame: pl.DataFrame, file: str) -> pl.DataFrame:
    """Every column in the contract's type, or an error that names the column."""
    columns = []
    for name in frame.columns:
        try:
            column = frame.select(_typed(frame, name))[name]
        except pl.exceptions.PolarsError as error:
            raise RegistryError(f"{file}: {name}: {str(error).splitlines()[0]}") from error
        if frame.schema[name].is_float() and column.dtype.is_integer():
            broken = frame.filter(column != pl.col(name))
            if broken.height:
                raise RegistryError(f"{file}: {name}: {broken.height} values are not whole, e.g. {broken[name][0]}")
        unread = frame.filter(column.is_null() & pl.col(name).is_not_null())
        if unread.height:
            raise RegistryError(f"{file}: {name}: {unread.height} values are not times, e.g. {unread[name][0]!r}")
        columns.append(column)
    return pl.DataFrame(columns)


def _typed(frame: pl.DataFrame, name: str) -> pl.Expr:
    """A column in the contract's type; text of a CSV is parsed, lists are separated by spaces, commas or semicolons."""
    wanted, given = DEVICE_REGISTRY.dtypes[name], frame.schema[name]
    if given != pl.String or wanted == pl.String:
        return pl.col(name).cast(wanted)
    if wanted == STRS:
        return (
            pl.col(name)
            .str.replace_all(r"[;,|]", " ")
            .str.split(" ")
            .list.eval(pl.element().filter(pl.element() != ""))
        )
    if wanted == TS:
        text = pl.col(name).str.strip_chars().str.replace(" ", "T")
        return pl.coalesce(
            text.str.to_datetime(f, time_unit="us", time_zone="UTC", strict=False) for f in _TIME_FORMATS
        )
    return pl.col(name).str.strip_chars().cast(wanted)


def _explain(error: Exception) -> str:
    if not isinstance(error, ContractError):
        return str(error).splitlines()[0]
    return "; ".join(
        f"{v.column}: {v.check}, {v.rows} rows" + (f", e.g. {v.sample[0]}" if v.sample else "")
        for v in error.violations[:5]
    )
