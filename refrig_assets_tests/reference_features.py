"""The features of C3 once more: slow, window by window, in plain Python, written from the contract."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from refrig_assets.contracts.sensors import SENSORS

Row = Mapping[str, Any]
Values = list[float]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# As the contract lists them.
_WANTED = {
    "temperature_evaporator": ("temp_evaporator", "mean std min max slope"),
    "temperature_condenser": ("temp_condenser", "mean std min max slope"),
    "temperature_ambient": ("temp_ambient", "mean std"),
    "temperature_discharge": ("temp_discharge", "mean std max"),
    "temperature_suction": ("temp_suction", "mean std"),
    "pressure_high_side": ("pressure_high", "mean std max"),
    "pressure_low_side": ("pressure_low", "mean std min"),
    "current_compressor": ("current_compressor", "mean std max"),
    "vibration_compressor": ("vibration_compressor", "mean std max p95"),
    "humidity": ("humidity", "mean std"),
    "superheat": ("superheat", "mean std"),
    "subcooling": ("subcooling", "mean std"),
}


def features_of(clean: Sequence[Row], minutes: int) -> list[dict[str, Any]]:
    """Every window of that length that holds a reading."""
    length = timedelta(minutes=minutes)
    windows: dict[tuple[str, datetime], list[Row]] = defaultdict(list)
    for row in clean:
        number = (row["timestamp_utc"] - _EPOCH) // length
        windows[row["device_id"], _EPOCH + number * length].append(row)
    return [_window(device, start, minutes, rows) for (device, start), rows in windows.items()]


def _window(device: str, start: datetime, minutes: int, rows: Sequence[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "device_id": device,
        "window_start": start,
        "window_end": start + timedelta(minutes=minutes),
        "window_duration_minutes": minutes,
        "reading_count": len(rows),
    }
    for sensor, (short, wanted) in _WANTED.items():
        points = [
            ((r["timestamp_utc"] - start) / timedelta(minutes=1), r[sensor]) for r in rows if r[sensor] is not None
        ]
        for name in wanted.split():
            found[f"{short}_{name}"] = _statistic(name, points) if points else None
    for sensor, name in (("door_open_close", "door_open_fraction"), ("defrost_cycle", "defrost_active_fraction")):
        told = [r[sensor] for r in rows if r[sensor] is not None]
        found[name] = sum(told) / len(told) if told else None
    found["pressure_ratio"] = _ratio(found["pressure_high_mean"], found["pressure_low_mean"])
    found["temp_spread_evap_cond"] = _minus(found["temp_condenser_mean"], found["temp_evaporator_mean"])
    found["temp_spread_discharge_suction"] = _minus(found["temp_discharge_mean"], found["temp_suction_mean"])
    found["current_per_temp_spread"] = _ratio(found["current_compressor_mean"], found["temp_spread_evap_cond"])
    there = sum(r[s.name] is not None for r in rows for s in SENSORS)
    found["sensor_completeness"] = there / (14 * len(rows))
    found["quality_flag_count"] = sum(len(r["quality_flags"]) for r in rows)
    return found


def _statistic(name: str, points: Sequence[tuple[float, float]]) -> float | None:
    values = [v for _, v in points]
    if name == "mean":
        return math.fsum(values) / len(values)
    if name == "std":
        return statistics.stdev(values) if len(values) > 1 else None
    if name == "slope":
        return _slope(points)
    if name == "p95":
        return _quantile(sorted(values), 0.95)
    return min(values) if name == "min" else max(values)


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    t = math.fsum(p[0] for p in points) / len(points)
    v = math.fsum(p[1] for p in points) / len(points)
    across = math.fsum((p[0] - t) ** 2 for p in points)
    if len({p[0] for p in points}) < 2:
        return None
    return math.fsum((p[0] - t) * (p[1] - v) for p in points) / across


def _quantile(values: Values, share: float) -> float:
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None or below == 0 else above / below


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
