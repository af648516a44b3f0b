"""The live feed: the same bytes whatever the steps, the truth beside it, laps for load, and its pace."""

import itertools
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.contracts.alerts import STREAM_RULES
from refrig_assets.simulator import Mess, make_fleet, no_faults, plan_faults, raw_hour
from refrig_assets.simulator.acute import ACUTE_RULES, LIVE_TRUTH_SCHEMA, Acute, Injector
from refrig_assets.simulator.crossings import crossings
from refrig_assets.simulator.kafka_writer import parse_address
from refrig_assets.simulator.laps import Laps
from refrig_assets.simulator.live import MINUTE_US, Batch, Feed, acute_fleet, partition_name, partition_of
from refrig_assets.simulator.pace import Pacer
from streaming.fleet import RULE_COLUMNS
from streaming.fleet import Fleet as Judged
from streaming.judging import ShardJudge

from .helpers import HOUR, START, simulate
from .rules import fired

MINUTE = timedelta(minutes=1)
BEGIN = START + timedelta(hours=7, minutes=13)


def feed(start: datetime = BEGIN, devices: int = 60, mess: Mess | None = None, per_hour: float = 0.0,
         partitions: int = 3, seed: int = 7) -> Feed:  # fmt: skip
    fleet = make_fleet(devices, seed, start.replace(minute=0))
    plan = plan_faults(fleet, fleet.start, fleet.start + HOUR * 24, 5, "usual")
    return Feed(Injector(fleet, plan, seed, start, per_hour=per_hour), mess or Mess.none(), start, partitions)


def joined(batches: Iterator[Batch]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for batch in batches:
        for lines in batch.lines:
            found[lines.partition] = found.get(lines.partition, b"") + bytes(lines.data)
    return found


def test_the_same_seed_gives_the_same_bytes_whatever_the_steps() -> None:
    mess = Mess.usual().times(20)
    whole = joined(feed(mess=mess, per_hour=30).batches(90, step=90))
    assert joined(feed(mess=mess, per_hour=30).batches(90)) == whole
    assert joined(feed(mess=mess, per_hour=30).batches(90, step=7)) == whole
    assert joined(feed(mess=mess, per_hour=30, seed=8).batches(90)) != whole


def test_what_is_fed_is_what_the_fleet_sends() -> None:
    """The rows of raw_hour, each once, in the partition of its device, in order of arrival."""
    mess = Mess(near_duplicates=0.01, narrow_devices=0.1, unknown_device=0.01, outages=0.3)
    source = feed(START + HOUR * 7, mess=mess)
    rows = raw_hour(source.fleet, source.injector.plan, START + HOUR * 7, mess)
    sent: Counter[tuple[str, str]] = Counter()
    for number, lines in joined(source.batches(60)).items():
        latest = ""
        for line in lines.splitlines():
            message = json.loads(line)
            assert partition_of(message["device_id"], 3) == number == zlib.crc32(message["device_id"].encode()) % 3
            arrived = message.get("timestamp_ingested", latest)
            assert arrived >= latest
            latest = arrived
            sent[(message["device_id"], message["timestamp"])] += 1
    stamp = pl.col("timestamp_device").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    assert sent == Counter(rows.select("device_id", stamp).rows())


def test_batches_say_where_lines_end_and_when_they_arrive() -> None:
    for batch in feed(mess=Mess.usual().times(10)).batches(20, step=5):
        orders = sorted(itertools.chain.from_iterable(lines.order.tolist() for lines in batch.lines))
        assert orders == list(range(batch.messages))
        for lines in batch.lines:
            assert (lines.at_us >= batch.begin_us).all()
            assert (lines.at_us < batch.end_us).all()
            assert bytes(lines.part(0, len(lines.ends))) == lines.data
            assert bytes(lines.part(2, 3)) == lines.data.splitlines(keepends=True)[2]


# -- acute faults and their truth -------------------------------------------------------------------------------------


def judge(registry: pl.DataFrame, messages: dict[str, bytes]) -> pl.DataFrame:
    """First time each rule of the stream fires, by device."""
    rows = []
    for line in b"".join(messages.values()).splitlines():
        message: dict[str, Any] = json.loads(line)
        values = [message["readings"].get(name) for name in RULE_COLUMNS[3:-1]]
        stamps = [datetime.fromisoformat(message[name]) for name in ("timestamp", "timestamp_ingested")]
        rows.append((message["device_id"], *stamps, *values, 0.0))
    time = pl.Datetime("us", "UTC")
    types = [pl.String(), time, time, *[pl.Float64()] * 4, pl.Boolean(), pl.Float64()]
    frame = pl.DataFrame(rows, schema=dict(zip(RULE_COLUMNS, types, strict=True)), orient="row")
    fleet = Judged.of(registry, 2)
    found = pl.concat([ShardJudge(fleet.thresholds(n)).judge(part) for n, part in fleet.split(frame).items()])
    return found.group_by("device_id", "rule").agg(pl.col("event_time").min())


@pytest.mark.parametrize(("devices", "seed", "minutes", "faults"), [(100, 7, 60, 12), (150, 5, 80, 24)])
def test_the_truth_says_when_the_streams_own_rules_fire(devices: int, seed: int, minutes: int, faults: int) -> None:
    registry, messages, truth = acute_fleet(devices, seed, BEGIN, minutes, faults)
    crossed = truth.drop_nulls("rule").select("device_id", "rule", pl.col("crossed_at").alias("event_time"))
    by = ["device_id", "rule"]
    assert judge(registry, messages).sort(by).rows() == crossed.sort(by).rows()
    assert set(crossed["rule"]) == set(STREAM_RULES)
    assert truth["device_id"].n_unique() == faults
    # Each fault crosses the limit it is made for.
    meant = truth.with_columns(meant=pl.col("fault").replace_strict(ACUTE_RULES))
    assert meant.filter(pl.col("rule") == pl.col("meant"))["device_id"].n_unique() == faults


def test_a_small_acute_fleet_is_complete() -> None:
    registry, messages, truth = acute_fleet(20, 3, BEGIN, 25, 4, partitions=2)
    DEVICE_REGISTRY.validate(registry)
    assert registry.height == 20
    assert list(messages) == [partition_name(0), partition_name(1)]
    assert dict(truth.schema) == LIVE_TRUTH_SCHEMA
    assert set(truth["rule"]) == set(STREAM_RULES)
    text = b"".join(messages.values())
    assert not any(word.encode() in text for word in (*ACUTE_RULES, "severity", "onset", "crossed"))


def test_bearings_break_up_before_they_fail_and_every_failure_loses_cooling() -> None:
    fleet = make_fleet(800, 7, START)
    for kind, rule in (("bearing_wear", "vibration_spike"), ("condenser_fouling", "total_cooling_loss"),
                       ("refrigerant_leak_slow", "total_cooling_loss")):  # fmt: skip
        plan = plan_faults(fleet, START, START + HOUR * 24 * 8, 5, {kind: 0.02})
        found = crossings(fleet, plan, START, START + HOUR * 24 * 9).filter(pl.col("rule") == rule)
        late = found.join(plan.truth, on="device_id").select(pl.col("crossed_at") - pl.col("failure_time")).to_series()
        assert len(late) >= 0.7 * plan.truth.height, kind  # the others lack the probe, defrost or report each 5 minutes
        assert late.is_between(timedelta(minutes=-10), timedelta(minutes=5)).all()


def test_crossings_agree_with_the_plain_rules() -> None:
    """The contracts' table, written plainly for one device, fires at the same reading or is held back by more care."""
    fleet = make_fleet(160, 7, START)
    plan = plan_faults(fleet, START + HOUR * 4, START + HOUR * 6, 5, {"compressor_overload": 0.15})
    found = crossings(fleet, plan, START, START + HOUR * 8).filter(pl.col("rule") == "compressor_overload")
    assert found.height >= 0.9 * plan.truth.height
    seen = simulate(fleet, plan, START, 8)
    limits = dict(fleet.registry.select("device_id", "current_threshold_a").iter_rows())
    for device, _, crossed in found.iter_rows():
        mine = seen.filter(pl.col("device_id") == device).sort("timestamp_device")
        until = mine.filter(pl.col("timestamp_device") <= crossed)
        assert fired(until, limits[device])["compressor_overload"] == 1


def test_faults_come_at_their_rate_on_machines_that_show_them() -> None:
    fleet = make_fleet(300, 7, START)
    injector = Injector(fleet, no_faults(fleet), 3, START, per_hour=12)
    early = injector.until(START + HOUR)
    assert len(early.device) in (11, 12)
    first = injector.truth
    plan = injector.until(START + HOUR * 10)
    assert 118 <= len(plan.device) <= 120
    assert injector.added == len(plan.device) == len(set(plan.device.tolist()))
    assert injector.truth.join(first, on=first.columns, how="semi", nulls_equal=True).height == first.height
    again = Injector(fleet, no_faults(fleet), 3, START, per_hour=12)
    again.until(START + HOUR * 10)
    assert again.truth.equals(injector.truth)
    meant = injector.truth.with_columns(meant=pl.col("fault").replace_strict(ACUTE_RULES))
    shown = meant.filter(pl.col("rule") == pl.col("meant"))["device_id"].n_unique()
    assert shown >= 0.97 * injector.added
    active = injector.active(START + HOUR * 5)
    assert 0 < len(active) < injector.added


def test_faults_are_injected_where_and_when_told() -> None:
    given = [Acute("power_loss", BEGIN + MINUTE * 8, "RF-000011"), Acute("compressor_seizure", BEGIN + MINUTE * 3)]
    _, _, truth = acute_fleet(40, 7, BEGIN, 20, given)
    assert truth.filter(pl.col("device_id") == "RF-000011")["onset"].to_list() == [BEGIN + MINUTE * 8]
    assert truth.filter(fault="compressor_seizure")["onset"].unique().to_list() == [BEGIN + MINUTE * 3]
    with pytest.raises(ValueError, match="there is no device RF-9"):
        acute_fleet(5, 7, BEGIN, 20, [Acute("power_loss", BEGIN + MINUTE, "RF-9")])
    with pytest.raises(ValueError, match="unknown acute fault 'gremlins'; known are: compressor_seizure"):
        Acute("gremlins", BEGIN)


def test_a_gradual_fault_planned_before_is_in_the_truth_when_it_fails() -> None:
    fleet = make_fleet(200, 7, START)
    plan = plan_faults(fleet, START, START + HOUR * 24 * 8, 5, "bearing_wear=0.05")
    failing = plan.truth.sort("failure_time").row(0, named=True)
    start = failing["failure_time"].replace(second=0) - MINUTE * 20
    injector = Injector(fleet, plan, 1, start, start + HOUR, known_since=START)
    mine = injector.truth.filter(pl.col("device_id") == failing["device_id"])
    assert mine["crossed_at"].is_between(start, start + HOUR).any()


# -- laps and pace ----------------------------------------------------------------------------------------------------


def test_laps_are_later_and_have_identities_of_their_own() -> None:
    batch = next(feed(mess=Mess.usual().times(10), per_hour=60).batches(30, step=30))
    laps = Laps(batch)
    assert joined(iter([laps.lap(0)])) == joined(iter([batch]))
    seen: set[str] = set()
    for number in (1, 2, 300):
        lap = laps.lap(number)
        assert lap.begin_us == batch.begin_us + number * 30 * MINUTE_US
        identities, devices = set(), 0
        for old, new in zip(batch.lines, lap.lines, strict=True):
            assert (new.at_us - old.at_us == number * 30 * MINUTE_US).all()
            for before, after in zip(old.data.splitlines(), new.data.splitlines(), strict=True):
                try:
                    was, now = json.loads(before), json.loads(after)
                except ValueError:
                    continue
                devices += was.get("device_id") == now.get("device_id")
                assert was.get("readings") == now.get("readings") or "NaN" in str(was)
                for name in ("timestamp", "timestamp_ingested"):
                    if name in was:
                        later = datetime.fromisoformat(now[name]) - datetime.fromisoformat(was[name])
                        assert later == MINUTE * 30 * number
                if "event_id" in was:
                    assert now["event_id"] != was["event_id"]
                    identities.add(now["event_id"])
        assert devices
        assert not identities & seen
        seen |= identities


class Clock:
    """A clock that goes on only when somebody waits."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


class Kept:
    """Keeps what is sent, and when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lines: dict[str, bytes] = {}
        self.at: list[tuple[float, str]] = []

    def write(self, partition: str, lines: bytes | memoryview) -> None:
        self.lines[partition] = self.lines.get(partition, b"") + bytes(lines)
        self.at += [(self.clock(), json.loads(line)["timestamp_ingested"]) for line in bytes(lines).splitlines()]

    def close(self) -> None: ...


def paced(clock: Clock) -> tuple[Pacer, Kept]:
    kept = Kept(clock)
    return Pacer(kept, clock, clock.wait), kept


def test_in_real_time_each_message_is_sent_as_it_arrives() -> None:
    clock = Clock(BEGIN.timestamp())
    pacer, kept = paced(clock)
    sent = pacer.by_clock(feed().batches(12), 1.0)
    assert kept.lines == {partition_name(n): lines for n, lines in joined(feed().batches(12)).items()}
    waits = [at - datetime.fromisoformat(arrived).timestamp() for at, arrived in kept.at]
    assert min(waits) >= -1e-6
    assert max(waits) < 0.2
    assert sent.messages == len(kept.at)
    assert sent.reached_us == int((BEGIN + MINUTE * 12).timestamp() * 1e6)
    middle = BEGIN + MINUTE * 6
    assert abs((sent.sent_at(int(middle.timestamp() * 1e6)) or 0) - middle.timestamp()) < 5
    assert sent.sent_at(int((BEGIN + HOUR).timestamp() * 1e6)) is None


def test_faster_than_time_it_catches_up_and_never_passes_the_clock() -> None:
    behind = MINUTE * 30
    clock = Clock((BEGIN + behind).timestamp())
    pacer, kept = paced(clock)
    pacer.by_clock(feed().batches(40), 60.0)
    ahead = [datetime.fromisoformat(arrived).timestamp() - at for at, arrived in kept.at]
    assert max(ahead) <= 1e-6
    assert clock.now - (BEGIN + behind).timestamp() < 11 * 60  # the last ten minutes in real time
    clock = Clock((BEGIN + HOUR).timestamp())
    pacer, _ = paced(clock)
    pacer.by_clock(feed().batches(40), float("inf"))
    assert clock.now == (BEGIN + HOUR).timestamp()


def test_a_rate_is_kept_whatever_the_messages_times_are() -> None:
    laps = Laps(next(feed().batches(10, step=10)))
    for rate in (100.0, 100_000.0):
        clock = Clock(BEGIN.timestamp())
        pacer, kept = paced(clock)
        sent = pacer.by_rate(map(laps.lap, itertools.count()), rate, 2000)
        assert sent.messages == len(kept.at) == 2000
        assert 2000 / rate - 0.1 < clock.now - BEGIN.timestamp() < 2000 / rate + 0.1
    assert sum(lines.count(b"\n") for lines in kept.lines.values()) == 2000


def test_a_stopped_feed_ends_at_a_whole_message() -> None:
    clock = Clock(BEGIN.timestamp())
    kept = Kept(clock)
    pacer = Pacer(kept, clock, clock.wait, stopped=lambda: clock.now > BEGIN.timestamp() + 90)
    sent = pacer.by_clock(feed().batches(), 1.0)
    assert sent.seconds < 95
    assert all(lines.endswith(b"}\n") for lines in kept.lines.values())


@pytest.mark.parametrize("text", ["kafka://host:9092", "http://host/topic", "kafka:///topic", "kafka://h:1/a,b"])
def test_wrong_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address like kafka://localhost:9092/readings"):
        parse_address(text)


def test_addresses_carry_properties() -> None:
    found = parse_address("kafka://a:9093,b:9093/readings?security.protocol=SASL_SSL&sasl.password=x+y")
    assert found == ("a:9093,b:9093", "readings", {"security.protocol": "SASL_SSL", "sasl.password": "x+y"})
