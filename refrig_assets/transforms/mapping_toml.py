"""Reading a mapping.toml: every key checked, every error naming the key and what is allowed. No files here."""

import math
import re
import tomllib
from typing import Any, cast
from zoneinfo import ZoneInfo

from refrig_assets.contracts.registry import DEFAULT_INTERVAL_S, DEVICE_REGISTRY
from refrig_assets.contracts.sensors import SENSOR_NAMES, Sensor
from refrig_assets.transforms.mapping import (
    EPOCH_FORMATS,
    NULL_MARKERS,
    LongLayout,
    Mapping,
    MappingError,
    RepeatedHour,
    SensorSource,
    SourceFormat,
    TimeSource,
    nearest,
)
from refrig_assets.transforms.toml_table import TomlTable
from refrig_assets.transforms.units import BY_SENSOR, Circumstances, UnitError, parse_unit

REPEATED_HOUR: tuple[RepeatedHour, ...] = ("order", "first", "second", "reject")
_OFFSET = re.compile(r"[+-]\d\d:\d\d")
# Set by the import itself, from what the file holds.
_NOT_A_DEFAULT = ("device_id", "expected_sensors", "expected_interval_s", "install_date", "thresholds_updated_at")


def parse_mapping(text: str, name: str = "mapping") -> Mapping:
    """Read and validate the text of a mapping.toml."""
    try:
        found = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"{name} is not valid TOML: {error}") from error
    try:
        return _mapping(_Table("", found))
    except (MappingError, UnitError) as error:
        raise MappingError(f"{name}: {error}") from error


class _Table(TomlTable):
    error = MappingError

    def number(self, key: str, default: float | None = None) -> float | None:
        value = self.get(key, (int, float), default)
        if value is not None and not math.isfinite(value):
            raise MappingError(f"{self.where(key)} must be a finite number, not {value!r}")
        return None if value is None else float(value)

    def count(self, key: str, default: int = 0, least: int = 0) -> int:
        value = self.get(key, int, default)
        if value < least:
            raise MappingError(f"{self.where(key)} must be at least {least}, not {value!r}")
        return int(value)

    def text(self, key: str) -> str | None:
        return cast("str | None", self.get(key, str))

    def texts(self, key: str) -> tuple[str, ...] | None:
        value = self.get(key, list)
        return None if value is None else tuple(str(v) for v in value)

    def table(self, key: str) -> "_Table | None":
        self.known.append(key)
        inner = f"{self.path}.{key}" if self.path else key
        return _Table(inner, self.values[key]) if key in self.values else None


def _mapping(top: _Table) -> Mapping:
    plant = _plant(top.table("plant"))
    long = _long(top.table("long"))
    interval_s = top.count("interval_s", DEFAULT_INTERVAL_S, 1)
    timestamp = _time(top.table("timestamp"))
    if timestamp is None:
        raise MappingError("[timestamp] is missing: it says which column holds the time")
    ingested = _time(top.table("timestamp_ingested"))
    event = top.table("event_id")
    event_column = event.text("column") if event else None
    if long and (ingested or event_column):
        # Several rows make one reading there: which of their ids and arrivals should it have?
        raise MappingError("a long file cannot bring [event_id] or [timestamp_ingested]: several rows make one reading")
    device = _device(top.table("device"))
    sensors = _sensors(top.table("sensors"), plant, long)
    source = _source(top.table("source"))
    for table in (top, event):
        if table:
            table.done()
    return Mapping(
        timestamp=timestamp,
        sensors=sensors,
        ingested=ingested,
        event_id_column=event_column,
        long=long,
        source=source,
        plant=plant,
        interval_s=interval_s,
        **device,
    )


def _plant(table: _Table | None) -> Circumstances:
    if table is None:
        return Circumstances()
    pressure = table.number("atmospheric_kpa", Circumstances().atmospheric_kpa)
    phases = table.get("phases", int)
    found = Circumstances(float(pressure or 0), table.number("voltage_v"), table.number("power_factor"), phases)
    table.done()
    if not 50 <= found.atmospheric_kpa <= 110:
        raise MappingError(f"atmospheric_kpa of [plant] must be from 50 to 110 kPa, not {found.atmospheric_kpa}")
    return found


def _long(table: _Table | None) -> LongLayout | None:
    if table is None:
        return None
    point, value, unit = (table.text(k) for k in ("sensor_column", "value_column", "unit_column"))
    table.done()
    if not point or not value:
        raise MappingError("[long] needs sensor_column and value_column (and may have unit_column)")
    return LongLayout(point, value, unit)


def _source(table: _Table | None) -> SourceFormat:
    if table is None:
        return SourceFormat()
    null_values = table.texts("null_values") or ()
    found = SourceFormat(
        kind=table.text("kind"),
        delimiter=table.text("delimiter"),
        decimal=table.text("decimal") or ".",
        encoding=table.text("encoding") or "utf-8",
        skip_rows=table.count("skip_rows"),
        skip_rows_after_header=table.count("skip_rows_after_header"),
        null_values=tuple(dict.fromkeys([*NULL_MARKERS, *(v.strip().lower() for v in null_values)])),
    )
    table.done()
    if found.kind not in (None, "csv", "parquet", "ndjson"):
        raise MappingError(f"kind of [source] must be csv, parquet or ndjson, not {found.kind!r}")
    if found.delimiter is not None and len(found.delimiter.encode()) != 1:
        raise MappingError(f"delimiter of [source] must be one character, not {found.delimiter!r}")
    if found.decimal not in (".", ","):
        raise MappingError(f"decimal of [source] must be '.' or ',', not {found.decimal!r}")
    _check_encoding(found.encoding)
    return found


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)
    except LookupError:
        raise MappingError(
            f"encoding of [source] {encoding!r} is unknown; common are utf-8, cp1252, latin-1, utf-16"
        ) from None


def _device(table: _Table | None) -> dict[str, Any]:
    if table is None:
        raise MappingError("[device] is missing: it says which column names the device, or gives a constant")
    column, constant, prefix = (table.text(k) for k in ("column", "constant", "prefix"))
    names, defaults = table.table("names"), table.table("defaults")
    table.done()
    if bool(column) == bool(constant):
        raise MappingError("[device] needs either column (which names the device) or constant (one device in the file)")
    return {
        "device_column": column or None,
        "device_constant": constant or None,
        "device_prefix": prefix or "",
        "device_names": {str(k): str(v) for k, v in names.values.items()} if names else {},
        "device_defaults": _defaults(defaults) if defaults else {},
    }


def _defaults(table: _Table) -> dict[str, Any]:
    """What the registry shall say of devices it does not know yet."""
    found = {}
    for name, dtype in DEVICE_REGISTRY.dtypes.items():
        if name not in _NOT_A_DEFAULT:
            found[name] = table.get(name, (int, float) if dtype.is_numeric() else str)
    table.done()
    return {name: value for name, value in found.items() if value is not None}


def _time(table: _Table | None) -> TimeSource | None:
    if table is None:
        return None
    column, columns = table.text("column"), table.texts("columns")
    found = TimeSource(
        columns or ((column,) if column else ()),
        table.text("format") or "iso",
        table.text("timezone") or "UTC",
        table.get("repeated_hour", str, "order"),
    )
    table.done()
    if bool(column) == bool(columns):
        raise MappingError(f"[{table.path}] needs either column or columns (a list, joined with a blank)")
    if found.repeated_hour not in REPEATED_HOUR:
        raise MappingError(f"repeated_hour of [{table.path}] must be one of {', '.join(REPEATED_HOUR)}")
    _check_zone(table.path, found.timezone)
    _check_format(table.path, found.format)
    return found


def _check_zone(path: str, zone: str) -> None:
    if _OFFSET.fullmatch(zone):
        return
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise MappingError(
            f"timezone of [{path}] {zone!r} is unknown; give an IANA name (America/Chicago, Europe/Berlin, UTC) "
            "or an offset (-06:00)"
        ) from None


def _check_format(path: str, text: str) -> None:
    if text in ("iso", "excel", *EPOCH_FORMATS):
        return
    if "%" not in text:
        raise MappingError(
            f"format of [{path}] {text!r} is unknown; give iso, {', '.join(EPOCH_FORMATS)}, excel "
            "or a pattern like %m/%d/%Y %H:%M:%S"
        )


def _sensors(table: _Table | None, plant: Circumstances, long: LongLayout | None) -> tuple[SensorSource, ...]:
    if table is None or not table.values:
        raise MappingError("[sensors] is missing or empty: it says which column holds which sensor, and its unit")
    for name in table.values:
        if name not in BY_SENSOR:
            raise MappingError(
                f"sensor {name!r} is unknown{nearest(name, SENSOR_NAMES)}; known are: {', '.join(SENSOR_NAMES)}"
            )
    found = []
    for name in SENSOR_NAMES:
        inner = table.table(name)
        if inner:
            found.append(_sensor(inner, BY_SENSOR[name], plant, long))
    if long and len({s.source for s in found}) < len(found):
        raise MappingError("two sensors of [sensors] have the same name in the file")
    return tuple(found)


def _sensor(table: _Table, sensor: Sensor, plant: Circumstances, long: LongLayout | None) -> SensorSource:
    source, unit = table.text("name" if long else "column"), table.text("unit")
    scale, offset = table.number("scale", 1.0), table.number("offset", 0.0)
    true_values, false_values = table.texts("true_values"), table.texts("false_values")
    table.done()
    if not source:
        what = "name (of the point in the file)" if long else "column"
        raise MappingError(f"[{table.path}] needs {what}")
    if not sensor.is_bool and unit is None and not (long and long.unit):
        raise MappingError(f"[{table.path}] needs unit; the contract's is {sensor.unit}")
    if not sensor.is_bool and (true_values or false_values):
        raise MappingError(f"[{table.path}] is a number: true_values and false_values are for contacts")
    if scale == 0:
        raise MappingError(f"scale of [{table.path}] must not be 0")
    return SensorSource(
        sensor,
        source,
        parse_unit(sensor, unit, plant) if unit is not None else None,
        unit or "",
        float(scale or 1.0),
        float(offset or 0.0),
        true_values,
        false_values,
    )
