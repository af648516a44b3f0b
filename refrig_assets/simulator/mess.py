"""The mess of real telemetry: which message suffers what, at rates that can be set. Neither frames nor bytes here."""

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from refrig_assets.simulator import noise
from refrig_assets.simulator.noise import I64, Bools

DAY_MIN = 1440
OUTAGE_MIN, OUTAGE_MAX = 60, 360  # minutes
FAR_MIN, FAR_MAX = 60, 3 * DAY_MIN
MOST_MESSY = 0.9  # of all messages, however often the rates are multiplied


class Kind(IntEnum):
    """What is odd about a message: at most one thing, so that accounts add up."""

    NORMAL = 0
    OUT_OF_ORDER = 1
    ALL_NULL = 2
    NAN = 3
    OUT_OF_RANGE = 4
    UNKNOWN_FIELDS = 5
    BROKEN_JSON = 6
    NON_UTF8 = 7
    NO_IDENTITY = 8
    NARROW = 9
    LATE = 10
    NEAR_DUPLICATE = 11
    FAR_DUPLICATE = 12
    UNKNOWN_DEVICE = 13


@dataclass(frozen=True)
class Mess:
    """Shares of messages, unless said otherwise. `nan_token` is how a NaN is written: Python's bare NaN by default."""

    near_duplicates: float = 0.0
    far_duplicates: float = 0.0
    unknown_device: float = 0.0
    out_of_order: float = 0.0
    all_null: float = 0.0
    nan: float = 0.0
    out_of_range: float = 0.0
    unknown_fields: float = 0.0
    broken_json: float = 0.0
    non_utf8: float = 0.0
    no_identity: float = 0.0
    narrow_devices: float = 0.0  # share of devices
    outages: float = 0.0  # a device and day
    nan_token: str = "NaN"

    def __post_init__(self) -> None:
        for name, rate in self.rates().items():
            if not 0 <= rate <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {rate}")

    @classmethod
    def none(cls) -> "Mess":
        return cls()

    @classmethod
    def usual(cls) -> "Mess":
        """What a decent plant sees; dead letters stay below the contract's 0.1 %."""
        return cls(
            near_duplicates=0.002,
            far_duplicates=0.0005,
            unknown_device=0.0005,
            out_of_order=0.002,
            all_null=0.0002,
            nan=0.0005,
            out_of_range=0.001,
            unknown_fields=0.002,
            broken_json=0.0002,
            non_utf8=0.00005,
            no_identity=0.00005,
            narrow_devices=0.005,
            outages=0.02,
        )

    def times(self, factor: float) -> "Mess":
        """All rates multiplied, each held at 1 and the exclusive ones together at most at 0.9."""
        raised = {name: min(rate * factor, 1.0) for name, rate in self.rates().items()}
        total = sum(raised[_FIELD[k]] for k in PER_MESSAGE)
        if total > MOST_MESSY:
            raised |= {_FIELD[k]: raised[_FIELD[k]] * MOST_MESSY / total for k in PER_MESSAGE}
        return Mess(**raised, nan_token=self.nan_token)

    def rates(self) -> dict[str, float]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "nan_token"}


# The kinds of which a message has one, drawn from one random number.
PER_MESSAGE: tuple[Kind, ...] = (
    Kind.OUT_OF_ORDER,
    Kind.ALL_NULL,
    Kind.NAN,
    Kind.OUT_OF_RANGE,
    Kind.UNKNOWN_FIELDS,
    Kind.BROKEN_JSON,
    Kind.NON_UTF8,
    Kind.NO_IDENTITY,
)
_FIELD: dict[Kind, str] = {k: k.name.lower() for k in PER_MESSAGE}
# Mess of bytes, which a table of rows cannot show.
OF_BYTES: tuple[Kind, ...] = (Kind.BROKEN_JSON, Kind.NON_UTF8, Kind.NO_IDENTITY, Kind.UNKNOWN_FIELDS)


def kinds(mess: Mess, seed: int, device: I64, minute: I64) -> npt.NDArray[np.int8]:
    """What happens to the messages of these devices at these minutes."""
    edges = np.cumsum([getattr(mess, _FIELD[k]) for k in PER_MESSAGE])
    draw = noise.uniform(seed, "mess/kind", device, minute)
    found = np.zeros(draw.shape, dtype=np.int8)
    messy = np.flatnonzero(draw < edges[-1])
    found[messy] = np.array(PER_MESSAGE, dtype=np.int8)[np.searchsorted(edges, draw[messy], side="right")]
    found[narrow(mess, seed, device)] = Kind.NARROW
    if mess.outages:
        found[reconnects(mess, seed, device, minute) >= 0] = Kind.LATE
    return found


def narrow(mess: Mess, seed: int, device: I64) -> Bools:
    """Old devices, spread evenly over the fleet: half a percent of 200 devices is one."""
    shift = float(noise.uniform(seed, "mess/narrow", np.zeros(1, np.int64))[0])
    turns = (device.astype(np.float64) * 0.6180339887498949 + shift) % 1.0
    return turns < mess.narrow_devices


def outage(mess: Mess, seed: int, device: I64, day: I64) -> tuple[Bools, I64, I64]:
    """Whether an outage begins on this day, its first minute, and the minute of reconnecting."""
    happens = noise.uniform(seed, "mess/outage", device, day) < mess.outages
    begin = day * DAY_MIN + (noise.uniform(seed, "mess/outage/begin", device, day) * DAY_MIN).astype(np.int64)
    length = OUTAGE_MIN + noise.uniform(seed, "mess/outage/length", device, day) * (OUTAGE_MAX - OUTAGE_MIN)
    return happens, begin, begin + length.astype(np.int64)


def reconnects(mess: Mess, seed: int, device: I64, minute: I64) -> I64:
    """The minute at which a message measured now is delivered at last; -1 where the device is online."""
    found = np.full(minute.shape, -1, dtype=np.int64)
    day = minute // DAY_MIN
    for begun in (day - 1, day):
        happens, begin, end = outage(mess, seed, device, begun)
        found = np.where(happens & (minute >= begin) & (minute < end), end, found)
    return found


def chosen(rate: float, seed: int, purpose: str, device: I64, minute: I64) -> Bools:
    return noise.uniform(seed, f"mess/{purpose}", device, minute) < rate
