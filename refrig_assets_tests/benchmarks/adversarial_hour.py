"""One small hour in which every rule of clean and features is at work, with its history. Deterministic."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.contracts import DEVICE_HOURS, DEVICE_REGISTRY, RAW_READINGS
from refrig_assets.contracts.sensors import SENSOR_BIT, SENSOR_NAMES, SENSORS

HOUR = datetime(2026, 11, 20, 10, tzinfo=UTC)
NAN, INF = float("nan"), float("inf")
ALL_BITS = sum(SENSOR_BIT.values())
_HEALTHY: dict[str, Any] = {
    "temperature_evaporator": -25.0,
    "temperature_condenser": 40.0,
    "temperature_ambient": 22.0,
    "temperature_discharge": 70.0,
    "temperature_suction": -10.0,
    "pressure_high_side": 1500.0,
    "pressure_low_side": 200.0,
    "current_compressor": 12.0,
    "vibration_compressor": 3.0,
    "humidity": 45.0,
    "door_open_close": False,
    "defrost_cycle": True,
    "superheat": 8.0,
    "subcooling": 5.0,
}
NOTHING = dict.fromkeys(SENSOR_NAMES)


@dataclass
class Story:
    """Rows of devices as they are told, one after another."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    registry: list[dict[str, Any]] = field(default_factory=list)
    history: list[tuple[datetime, str, datetime, datetime, int]] = field(default_factory=list)
    seen_before: list[str] = field(default_factory=list)
    seen_later: list[str] = field(default_factory=list)

    def device(self, name: str, expected: list[str] | None = None, interval_s: int = 60) -> str:
        sensors = list(SENSOR_NAMES) if expected is None else expected
        self.registry.append({"device_id": name, "expected_sensors": sensors, "expected_interval_s": interval_s})
        return name

    def hears(self, device: str, minute: float, *, event: str = "", sequence: int | None = None, **changed: Any) -> str:
        """A reading `minute` minutes into the hour; `arrives` (minutes) is when it came in, else 2 s later."""
        arrives = changed.pop("arrives", None)
        number = len(self.rows)
        event = event or f"event-{number:05d}"
        wobble = {n: v + (number * 7 % 11) * 0.13 for n, v in _HEALTHY.items() if isinstance(v, float)}
        measured = HOUR + timedelta(minutes=minute)
        self.rows.append(
            {
                "event_id": event,
                "device_id": device,
                "timestamp_device": measured,
                "timestamp_ingested": measured + timedelta(seconds=2)
                if arrives is None
                else HOUR + timedelta(minutes=arrives),
                **_HEALTHY,
                **wobble,
                **changed,
                "_partition_key": device,
                "_sequence_number": number if sequence is None else sequence,
            }
        )
        return event

    def was_heard(self, device: str, hours_ago: int, first: float, last: float, bits: int = ALL_BITS) -> None:
        """In the hour that many hours ago, from minute `first` to `last` of this hour's clock (so below 0)."""
        begin, end = HOUR + timedelta(minutes=first), HOUR + timedelta(minutes=last)
        self.history.append((HOUR - timedelta(hours=hours_ago), device, begin, end, bits))

    def frames(self) -> dict[str, pl.DataFrame]:
        registry = pl.DataFrame(self.registry, schema_overrides={"expected_interval_s": pl.Int32}).with_columns(
            pl.lit("site").alias("site_id"),
            pl.lit("cohort").alias("cohort_id"),
            pl.lit("active").alias("status"),
            pl.lit(40.0).alias("current_threshold_a"),
            pl.lit(0.3).alias("pressure_drop_fraction"),
            pl.lit(2.0).alias("temperature_rise_c_per_min"),
        )
        raw = pl.DataFrame(self.rows, schema=RAW_READINGS.dtypes)
        return {
            "raw": raw.sort("timestamp_ingested", "event_id", maintain_order=True),
            "registry": DEVICE_REGISTRY.conform(registry),
            "history": pl.DataFrame(self.history, schema=DEVICE_HOURS.dtypes, orient="row"),
            "seen_before": pl.DataFrame({"event_id": self.seen_before}, schema={"event_id": pl.String}),
            "seen_later": pl.DataFrame({"event_id": self.seen_later}, schema={"event_id": pl.String}),
        }


def adversarial_hour() -> dict[str, pl.DataFrame]:
    """raw, registry, history, seen_before and seen_later."""
    story = Story()
    for tell in (_duplicates, _places, _values, _clocks, _reading_gaps, _late_rows, _sensor_gaps, _windows):
        tell(story)
    return story.frames()


def _duplicates(story: Story) -> None:
    device = story.device("duplicates")
    for minute in range(3):
        story.hears(device, minute)
    story.hears(device, 4, event="twice", sequence=5001, humidity=50.0)
    story.hears(device, 4, event="twice", sequence=5000, humidity=51.0)
    story.hears(device, 5, event="tie-arrival", sequence=6000, arrives=6, humidity=52.0)
    story.hears(device, 5, event="tie-arrival", sequence=6000, arrives=5.5, humidity=53.0)
    story.hears(device, 7.5, event="tie-clock", sequence=6001, arrives=8, humidity=54.0)
    story.hears(device, 7.0, event="tie-clock", sequence=6001, arrives=8, humidity=55.0)
    other = story.device("duplicates-other")
    story.hears(other, 9, event="tie-device", sequence=6002, arrives=9.5)
    story.hears(device, 9, event="tie-device", sequence=6002, arrives=9.5)
    for copy in range(4):
        story.hears(device, 10, event="four times", sequence=7000 - copy)
    story.seen_before.append(story.hears(device, 11, event="held by an earlier hour"))
    story.hears(device, 11.5, event="twice here, and earlier")
    story.seen_before.append(story.hears(device, 11.5, event="twice here, and earlier"))
    story.seen_later.append(story.hears(device, 12, event="comes again later"))
    story.hears(device, 13, event="twice here, and later")
    story.seen_later.append(story.hears(device, 13, event="twice here, and later"))
    story.seen_later.append("an event nobody sent")
    story.hears("nobody's", 14, event="duplicate of an unknown device")
    story.hears("nobody's", 14, event="duplicate of an unknown device")


def _places(story: Story) -> None:
    """Unknown devices, rows without any value, and both at once."""
    device = story.device("places")
    for minute in (0, 1, 20, 30):
        story.hears("ghost", minute, humidity=None if minute == 20 else 40.0)
    story.hears("ghost", 31, **NOTHING)
    story.hears("ghost", 31.5, superheat=-1.0, current_compressor=99.0)
    story.was_heard("ghost-with-a-past", 2, -120, -100)
    story.hears("ghost-with-a-past", 1, vibration_compressor=None)
    story.hears(device, 0)
    story.hears(device, 1, **NOTHING)
    story.hears(device, 2, **(NOTHING | {"humidity": NAN}))
    story.hears(device, 3, **(NOTHING | {"humidity": -1.0}))
    story.hears(story.device("silent"), 5, **NOTHING)


def _values(story: Story) -> None:
    """Each sensor at, just inside and just outside its limits, and with what is no number."""
    device = story.device("values")
    minute = 0.0
    for sensor in SENSORS:
        if sensor.low is None or sensor.high is None:
            continue
        for value in (sensor.low, sensor.high, sensor.low - 1e-9, sensor.high + 1e-9, NAN, INF, -INF, -0.0, None):
            minute += 0.4
            story.hears(device, minute, **{sensor.name: value})


def _clocks(story: Story) -> None:
    """A device clock a day off either way, at the limit and beyond it."""
    device = story.device("clocks")
    day = 24 * 60
    for offset in (-day, day, -day - 1e-6, day + 1e-6, -10 * day, 10 * day, -day + 1, day - 1):
        story.hears(device, 30 + offset, arrives=30)
    for minute in (31, 32):
        story.hears(device, minute)


def _reading_gaps(story: Story) -> None:
    steady = story.device("gaps")
    for minute in (0, 1, 6, 11.0001, 12, 20):  # exactly five intervals is no gap
        story.hears(steady, minute)
    slow = story.device("gaps-slow", interval_s=300)
    for minute in (0, 20, 45, 59):
        story.hears(slow, minute)
    for name, last in (("gaps-after-long", -30), ("gaps-after-short", -2), ("gaps-at-limit", -5)):
        device = story.device(name)
        story.was_heard(device, 5, -290, -250)
        story.was_heard(device, 1, -59, last)
        story.hears(device, 0)
        story.hears(device, 1)
    tied = story.device("gaps-tied")
    for event in ("zz", "aa", "mm"):
        story.hears(tied, 3, event=f"tied-{event}", sequence=9000, arrives=4, vibration_compressor=None)


def _late_rows(story: Story) -> None:
    """Rows of earlier hours that arrive now, before, between and after what history holds."""
    device = story.device("late")
    story.was_heard(device, 3, -180, -150)
    story.was_heard(device, 2, -110, -90)
    story.was_heard(device, 1, -50, -1)
    for minute in (-200, -180, -170, -149, -140, -120, -100, -89, -80, -20, -1, 0, 2):
        story.hears(device, minute, arrives=10)
    fresh = story.device("late-without-history")
    for minute in (-300, -299, -100, 1):
        story.hears(fresh, minute, arrives=11)


def _sensor_gaps(story: Story) -> None:
    old = story.device("old-firmware", expected=[n for n in SENSOR_NAMES if n != "vibration_compressor"])
    for minute, vibration in enumerate((None, None, 3.0, None, NAN, None)):
        story.hears(old, minute, vibration_compressor=vibration)
    nothing = story.device("nothing-expected", expected=[])
    for minute, gone in enumerate(({}, {"humidity": None}, NOTHING, {"humidity": 1.0}, {"door_open_close": None})):
        story.hears(nothing, minute, **gone)
    known = story.device("known-from-history", expected=["humidity"])
    story.was_heard(known, 4, -240, -200, SENSOR_BIT["superheat"])
    story.was_heard(known, 1, -50, -1, SENSOR_BIT["humidity"])
    for minute in range(3):
        story.hears(known, minute, **(NOTHING | {"humidity": 40.0, "subcooling": -0.5}))
    tied = story.device("vanishes-within-a-tie", expected=[])
    story.hears(tied, 5, event="vanish-b", sequence=1, arrives=6, humidity=None)
    story.hears(tied, 5, event="vanish-a", sequence=1, arrives=6)
    story.hears(tied, 5, event="vanish-c", sequence=0, arrives=6, superheat=None)


def _windows(story: Story) -> None:
    """Windows with one reading, with constant or no values, at their borders, and with one instant only."""
    single = story.device("windows-single")
    for minute in (0, 15, 59.99):
        story.hears(single, minute)
    constant = story.device("windows-constant")
    for minute in range(60):
        story.hears(constant, minute, **_HEALTHY)
    blind = story.device("windows-blind")
    for minute in range(30):
        story.hears(
            blind, minute, temperature_evaporator=None, vibration_compressor=None if minute < 15 else 4.0 + minute
        )
    instant = story.device("windows-instant")
    for value in (1.0, 2.0, 4.0):
        story.hears(instant, 20, temperature_evaporator=value)
    zero = story.device("windows-zero-divisor")
    for minute in range(4):
        story.hears(zero, minute, temperature_evaporator=25.0, temperature_condenser=25.0)
    large = story.device("windows-small-swing")
    for minute in range(20):
        story.hears(large, minute, pressure_high_side=3000.0 + minute % 2 * 1e-3)
