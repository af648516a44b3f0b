"""Labelled plant data unlike the simulator's, for the detectors: a pump rig, a chiller, a bearing, and odd channels."""

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
Floats = npt.NDArray[np.float64]
_LATE = 8  # no event in a pump's first rows of test


def smooth_noise(rng: np.random.Generator, rows: int, memory: float = 0.9) -> Floats:
    """Autocorrelated noise of unit spread."""
    out, value = np.empty(rows), rng.normal()
    for row, step in enumerate(rng.normal(size=rows) * np.sqrt(1 - memory**2)):
        value = memory * value + step
        out[row] = value
    return out


def _frame(group: str, split: list[str], label: Floats, step_s: float, channels: dict[str, Floats]) -> pl.DataFrame:
    times = [START + timedelta(seconds=step_s * row) for row in range(len(label))]
    return pl.DataFrame(
        {"time": times, "group": [group] * len(label), "split": split, "label": label.astype(np.int64), **channels}
    )


def pump_rig(groups: int, seed: int, rows: int = 1100, train: int = 400) -> pl.DataFrame:
    """Short runs at 1 Hz, each at its own set-up: valve closings, cavitation, leaks; two channels warm up in health."""
    rng = np.random.default_rng(seed)
    runs = []
    for number in range(groups):
        label = np.zeros(rows)
        kind = number % 3
        for _ in range(2):
            start = int(rng.integers(train + _LATE, rows - 150))
            label[start : start + int(rng.integers(80, 150))] = 1
        flow_level, pressure_level = rng.uniform(25, 130), rng.uniform(0.1, 2.0)
        strength = rng.uniform(0.5, 1.2) * label
        drift = np.linspace(0, 1, rows)
        flow = flow_level + 0.5 * smooth_noise(rng, rows) - (strength * 2.5 if kind != 1 else 0)
        pressure = pressure_level + np.round(rng.normal(0, 0.25, rows), 1) + (0.6 * strength if kind == 0 else 0)
        shake = 0.03 * (1 + (1.2 * strength if kind == 1 else 0.3 * strength))
        channels = {
            "vibration_1": shake * (1 + 0.05 * smooth_noise(rng, rows)) + 0.002 * rng.normal(size=rows),
            "vibration_2": 0.04 + (shake - 0.03) * 0.6 + 0.002 * smooth_noise(rng, rows, 0.5),
            "current": rng.uniform(0.9, 2.5)
            + 0.08 * smooth_noise(rng, rows, 0.7)
            + (0.2 * strength if kind == 0 else 0),
            "pressure": pressure,
            "temperature": 65 + rng.uniform(2, 8) * (1 - np.exp(-2 * drift)) + 0.1 * smooth_noise(rng, rows),
            "thermocouple": 24 + rng.uniform(0.5, 3) * drift + 0.05 * smooth_noise(rng, rows, 0.98),
            "voltage": 230 + 8 * smooth_noise(rng, rows, 0.8),
            "flow": flow,
        }
        runs.append(_frame(f"run-{number}", ["train"] * train + ["test"] * (rows - train), label, 1.0, channels))
    return pl.concat(runs)


def chiller(seed: int, healthy: int = 12, faulty: int = 8, rows: int = 300) -> pl.DataFrame:
    """Steady runs of one machine at changing load and set temperatures; whole runs are train or test, day to day apart.

    Of the faulty runs half are severe, half slight: undercharge, condenser fouling, less water, oil.
    """
    rng = np.random.default_rng(seed)
    runs = []
    for number in range(healthy + faulty):
        fault = number - healthy
        size = 0.0 if fault < 0 else (1.0 if fault % 2 == 0 else 0.25)
        kind = fault // 2 % 4
        load = np.repeat(rng.uniform(30, 100, 10), rows // 10)[:rows] + rng.normal(0, 0.5, rows)
        entering = np.repeat(rng.uniform(16, 30, 5), rows // 5)[:rows] + rng.normal(0, 0.1, rows)
        leaving = np.repeat(rng.uniform(4.5, 10, 5), rows // 5)[:rows] + rng.normal(0, 0.05, rows)
        day = rng.normal(size=5)  # what this day's calibration and weather do to each channel
        fouling, leak, water, oil = (size * (kind == k) for k in range(4))
        approach_c = 0.9 + 0.018 * load + 1.6 * fouling + 0.1 * day[0] + 0.05 * rng.normal(size=rows)
        approach_e = 1.4 + 0.021 * load + 1.2 * leak + 0.12 * day[1] + 0.05 * rng.normal(size=rows)
        rise = load * 0.062 * (1 + 0.35 * water)
        condensing = entering + rise + approach_c
        evaporating = leaving - approach_e
        lift = condensing - evaporating
        power = 12 + load * (0.14 + 0.0085 * lift) * (1 + 0.08 * oil) + 0.4 * day[2] + 0.3 * rng.normal(size=rows)
        channels = {
            "load": load,
            "entering": entering,
            "leaving": leaving,
            "condensing": condensing,
            "evaporating": evaporating,
            "condenser_leaving": entering + rise + 0.05 * rng.normal(size=rows),
            "power": power,
            "subcooling": 4 + 0.03 * load - 2.2 * leak + 0.9 * fouling + 0.2 * day[3] + 0.1 * rng.normal(size=rows),
            "oil_pressure": 160 - 0.1 * load - 9 * oil + 1.5 * day[4] + 0.8 * rng.normal(size=rows),
        }
        test = fault >= 0 or number >= healthy * 2 // 3
        label = np.full(rows, float(fault >= 0))
        runs.append(_frame(f"day-{number:02d}", ["test" if test else "train"] * rows, label, 60.0, channels))
    return pl.concat(runs)


def bearing(groups: int, seed: int, rows: int = 1500, train: int = 500) -> pl.DataFrame:
    """Bearings at changing speed until they break: what grows exponentially near the end is the anomaly."""
    rng = np.random.default_rng(seed)
    runs = []
    for number in range(groups):
        speed = 1500 + 400 * np.sin(np.arange(rows) / 60 + rng.uniform(0, 6)) + 30 * smooth_noise(rng, rows)
        onset = int(rng.integers(rows * 6 // 10, rows * 8 // 10)) if number % 4 else rows
        grown = np.exp(np.maximum(np.arange(rows) - onset, 0) / (rows / 8)) - 1
        base = (speed / 1500) ** 2
        channels = {
            "speed": speed,
            "rms": base * (1 + 0.06 * smooth_noise(rng, rows)) * rng.uniform(0.5, 2) + 0.25 * grown,
            "kurtosis": 3 + 0.15 * smooth_noise(rng, rows, 0.6) + 0.8 * grown,
            "peak": base * 4 * np.exp(0.08 * rng.normal(size=rows)) + 1.5 * grown,
            "band_high": 0.2 * base + 0.02 * smooth_noise(rng, rows) + 0.1 * grown,
            "temperature": 45 + 4 * smooth_noise(rng, rows, 0.995) + 0.6 * grown,
        }
        label = (np.arange(rows) >= onset).astype(float)
        runs.append(_frame(f"b{number}", ["train"] * train + ["test"] * (rows - train), label, 600.0, channels))
    return pl.concat(runs)


def odd_channels(seed: int, rows: int = 2000, train: int = 800) -> pl.DataFrame:
    """What plants record: switches, constants, a counter, a channel whose unit changed, gaps, a dead one."""
    rng = np.random.default_rng(seed)
    label = np.zeros(rows)
    label[1300:1400] = label[1700:1850] = 1
    running = (smooth_noise(rng, rows, 0.97) > -0.8).astype(float)
    level = 5 + 2 * running + 0.3 * smooth_noise(rng, rows) + 2.0 * label
    celsius = 20 + 3 * smooth_noise(rng, rows, 0.98)
    channels = {
        "running": running,
        "constant": np.full(rows, 7.0),
        "alarm_lamp": (np.arange(rows) == 1350).astype(float),
        "counter": np.cumsum(running),
        "temperature": np.where(np.arange(rows) > 1500, celsius * 1.8 + 32, celsius),
        "level": np.where(rng.random(rows) < 0.1, np.nan, level),
        "flow": np.where(running > 0, 30 + smooth_noise(rng, rows) - 4 * label, 0.0),
        "dead": np.full(rows, np.nan),
    }
    return _frame("plant", ["train"] * train + ["test"] * (rows - train), label, 30.0, channels).with_columns(
        pl.col("level", "dead").fill_nan(None)
    )
