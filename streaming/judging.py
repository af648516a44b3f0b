"""A shard's rows, judged in their order: findings, each an alert or a repetition of one. What fires is rules.py."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.contracts.alerts import STREAM_RULES, SUPPRESSION_WINDOW
from refrig_assets.contracts.base import BOOL, F64, STR, TS
from refrig_assets.contracts.readings import CLOCK_DRIFT_LIMIT
from refrig_assets.contracts.sensors import NUMERIC_SENSORS
from streaming import rules
from streaming.fleet import I64, Positions, Thresholds
from streaming.rules import Readings, Verdict
from streaming.state import BUCKETS, F32, MINUTE, NO_PRESSURE, NO_TEMPERATURE, SECOND, Array, Bools, State, bucket_width

FINDINGS: dict[str, pl.DataType] = {
    "device_id": STR,
    "rule": STR,
    "event_time": TS,
    "since": TS,
    "measured": F64,
    "limit": F64,
    "reference": F64,
    "first_moment": TS,
    "suppressed": BOOL,
    "suppressed_by_time": TS,
    "arrived_at": F64,
}
DISORDER = 2 * MINUTE
# A message cannot have been measured after it arrived: a clock so far ahead is wrong, and following it would leave
# the device unjudged once it is put right.
CLOCK_AHEAD = 5 * MINUTE
QUIET = 10 * MINUTE  # false (or silent) for so long, a rule that is true again has become true
_REPEAT = int(SUPPRESSION_WINDOW.total_seconds()) * SECOND
_DRIFT = int(CLOCK_DRIFT_LIMIT.total_seconds()) * SECOND
_RANGES = {s.name: (s.low, s.high) for s in NUMERIC_SENSORS}


@dataclass(frozen=True)
class _Found:
    """What a round found, in arrays by finding. Times in µs, 0 = none."""

    row: I64
    device: I64
    rule: int
    time: I64
    since: I64
    first: I64
    measured: npt.NDArray[np.floating]
    limit: npt.NDArray[np.floating]
    reference: npt.NDArray[np.floating]
    suppressed_by: I64


class ShardJudge:
    """Remembers the devices of one shard and judges their rows. How rows are cut into batches changes nothing."""

    def __init__(self, thresholds: Thresholds, saved: Mapping[str, Array | list[str]] | None = None) -> None:
        self._state = State.empty(len(thresholds.device_ids)) if saved is None else State.restored(saved, thresholds)
        self._use(thresholds)

    def _use(self, thresholds: Thresholds) -> None:
        self._limits = thresholds
        self._positions = Positions(thresholds.device_ids)
        self._width = bucket_width(thresholds.interval_us)

    def reload(self, thresholds: Thresholds) -> None:
        """The registry has changed: the state moves with its devices."""
        before = self._limits
        self._state = self._state.moved(before.device_ids, before.interval_us, thresholds)
        self._use(thresholds)

    def saved(self) -> dict[str, Array | list[str]]:
        """Plain arrays from which another judge goes on."""
        return self._state.saved(self._limits)

    def judge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """FINDINGS of rows with RULE_COLUMNS, in the order of the rows. Rows of other shards' devices are left out."""
        device = self._positions.find(rows["device_id"])
        known: Bools = device >= 0
        if not known.all():
            rows, device = rows.filter(pl.Series(known, dtype=pl.Boolean)), device[known]
        readings = _readings(rows, device, self._limits)
        found = [finding for part in _rounds(readings) for finding in self._round(part)]
        return self._told(found, rows["arrived_at"]) if found else pl.DataFrame(schema=FINDINGS)

    def _round(self, readings: Readings) -> Iterator[_Found]:
        """Readings of distinct devices."""
        state = self._state
        newest = state.newest[readings.device]
        late = readings.time < newest - DISORDER
        slot = readings.time // self._width[readings.device] % BUCKETS
        known = (readings.time == newest) | (state.time[readings.device, slot] == readings.time)
        if late.any():
            self._count_vibration(readings.take(late & ~known))
        fresh = ~(late | known)
        if not fresh.all():
            readings, newest = readings.take(fresh), newest[fresh]
        if not len(readings.row):
            return
        pressure = self._remember(readings, newest)
        ordered = readings.time > newest
        comparable = replace(readings, pressure=pressure)
        yield from self._judge_each(comparable)
        if not ordered.all():
            yield from self._judge_again(comparable.take(~ordered))

    def _remember(self, readings: Readings, newest: I64) -> F32:
        """The readings enter the state; returns their pressures as far as they may be compared."""
        state, device, time = self._state, readings.device, readings.time
        silent = np.maximum(rules.START_GAP, rules.GAP_INTERVALS * self._limits.interval_us[device])
        back = (newest > 0) & (time - newest > silent)
        unsteady = back | readings.defrosting | readings.standing
        if unsteady.any():
            who = device[unsteady]
            state.unsteady_at[who] = np.maximum(state.unsteady_at[who], time[unsteady])
        if readings.defrosting.any():
            who = device[readings.defrosting]
            state.defrost_at[who] = np.maximum(state.defrost_at[who], time[readings.defrosting])
        pressure = rules.comparable_pressure(readings, state)
        state.put(device, self._width[device], time, pressure, readings.temperature)
        ordered = time > newest
        state.newest[device] = np.where(ordered, time, newest)
        state.newest_pressure[device] = np.where(ordered, pressure, state.newest_pressure[device])
        return pressure

    def _judge_each(self, readings: Readings) -> Iterator[_Found]:
        limits, state = self._limits, self._state
        state.open_hours(readings.device, readings.time)
        yield from self._episodes(readings, rules.compressor_overload(readings, limits))
        yield from self._episodes(readings, rules.vibration_spike(readings, limits, state))
        yield from self._episodes(readings, rules.acute_pressure_loss(readings, limits, state))
        yield from self._episodes(readings, rules.total_cooling_loss(readings, limits, state))
        self._count_vibration(readings)

    def _judge_again(self, overtaken: Readings) -> Iterator[_Found]:
        """A reading that came after a newer one fills the newer one's past: what looks back is judged again from it."""
        state, device = self._state, overtaken.device
        newest = state.newest[device]
        slot = newest // self._width[device] % BUCKETS
        here = state.time[device, slot] == newest
        temperature = np.where(here, state.temperature[device, slot], np.float32(NO_TEMPERATURE))
        again = replace(overtaken, time=newest, pressure=state.newest_pressure[device], temperature=temperature)
        yield from self._episodes(again, rules.acute_pressure_loss(again, self._limits, state))
        yield from self._episodes(again, rules.total_cooling_loss(again, self._limits, state))

    def _count_vibration(self, readings: Readings) -> None:
        """Of running machines alone: those that stand would make the mean small and every start a spike."""
        counts = (readings.vibration >= 0) & ~readings.standing
        if not counts.all():
            readings = readings.take(counts)
        self._state.count_vibration(readings.device, readings.time, readings.vibration)

    def _episodes(self, readings: Readings, verdict: Verdict) -> Iterator[_Found]:
        """A rule that becomes true is told, as a repetition where the last alert is not four hours old; while it stays
        true it is told again every four hours."""
        if not len(verdict.at):
            return
        state, rule = self._state, verdict.rule
        device, time = readings.device[verdict.at], readings.time[verdict.at]
        last_true, last_alert = state.last_true[device, rule], state.last_alert[device, rule]
        quiet = np.maximum(QUIET, rules.GAP_INTERVALS * self._limits.interval_us[device])
        became = time - last_true >= quiet
        due = time - last_alert >= _REPEAT
        first = np.where(became, time, state.since[device, rule])
        state.since[device, rule] = first
        state.last_true[device, rule] = np.maximum(last_true, time)
        state.last_alert[device, rule] = np.where(due, time, last_alert)
        told = became | due
        if told.any():
            yield _Found(
                row=readings.row[verdict.at][told],
                device=device[told],
                rule=rule,
                time=time[told],
                since=np.where(became, verdict.began, first)[told],
                first=first[told],
                measured=verdict.measured[told],
                limit=verdict.limit[told],
                reference=verdict.reference[told],
                suppressed_by=np.where(due, 0, last_alert)[told],
            )

    def _told(self, found: list[_Found], arrived_at: pl.Series) -> pl.DataFrame:
        def joined(name: str) -> Array:
            return np.concatenate([getattr(f, name) for f in found])

        rule = np.repeat([f.rule for f in found], [len(f.row) for f in found])
        row, time, by = joined("row"), joined("time"), joined("suppressed_by")
        frame = pl.DataFrame(
            {
                "device_id": [self._limits.device_ids[d] for d in joined("device").tolist()],
                "rule": [STREAM_RULES[r] for r in rule.tolist()],
                "event_time": pl.Series(time).cast(TS),
                "since": pl.Series(joined("since")).cast(TS),
                "measured": joined("measured").astype(np.float64),
                "limit": joined("limit").astype(np.float64),
                "reference": pl.Series(joined("reference").astype(np.float64), nan_to_null=True),
                "first_moment": pl.Series(joined("first")).cast(TS),
                "suppressed": by > 0,
                "suppressed_by_time": pl.Series(by).cast(TS).set(pl.Series(by == 0), None),
                "arrived_at": arrived_at.gather(row),
            },
            schema=FINDINGS,
        )
        return frame[np.lexsort((rule, time, row))]


def _readings(rows: pl.DataFrame, device: I64, limits: Thresholds) -> Readings:
    """The rows as arrays, with their event times; values outside their ranges are none."""
    measured = _micros(rows, "timestamp_device")
    ingested = _micros(rows, "timestamp_ingested")
    ahead = measured - ingested
    time = np.where((ahead > CLOCK_AHEAD) | (ahead < -_DRIFT), ingested, measured)
    current = _values(rows, "current_compressor")
    pressure = _values(rows, "pressure_low_side").astype(np.float32)
    temperature = _values(rows, "temperature_evaporator").astype(np.float32)
    return Readings(
        row=np.arange(rows.height, dtype=np.int64),
        device=device,
        time=time,
        current=current,
        vibration=_values(rows, "vibration_compressor"),
        pressure=np.where(np.isnan(pressure), np.float32(NO_PRESSURE), pressure),
        temperature=np.where(np.isnan(temperature), np.float32(NO_TEMPERATURE), temperature),
        defrosting=rows["defrost_cycle"].fill_null(value=False).to_numpy(),
        standing=rules.standing(current, device, limits),
    )


def _micros(rows: pl.DataFrame, name: str) -> I64:
    return np.asarray(rows[name].to_physical().to_numpy(), dtype=np.int64)


def _values(rows: pl.DataFrame, name: str) -> npt.NDArray[np.float64]:
    low, high = _RANGES[name]
    value = rows[name].to_numpy()
    return np.where((value >= low) & (value <= high), value, np.nan)


def _rounds(readings: Readings) -> Iterator[Readings]:
    """The first readings of all devices, then the second ones, and so on."""
    device = readings.device
    if not len(device):
        return
    by_device = np.argsort(device, kind="stable")
    ordered = device[by_device]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[begins, len(ordered)])
    if counts.max() == 1:
        yield readings
        return
    nth = np.empty(len(device), dtype=np.int64)
    nth[by_device] = np.arange(len(device)) - np.repeat(begins, counts)
    by_round = readings.take(np.argsort(nth, kind="stable"))
    end = 0
    for size in np.bincount(nth).tolist():
        begin, end = end, end + size
        yield by_round.take(slice(begin, end))
