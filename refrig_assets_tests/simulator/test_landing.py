"""Landing files: the same bytes for the same seed, an account that a recount confirms, and no truth in the data."""

import gzip
import hashlib
import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from refrig_assets.contracts import DEVICE_REGISTRY, RAW_READINGS
from refrig_assets.contracts.sensors import NUMERIC_SENSORS, SENSOR_NAMES
from refrig_assets.simulator import (
    FleetSpec,
    LandingSummary,
    Mess,
    make_fleet,
    no_faults,
    plan_faults,
    raw_hour,
    simulate_hour,
    write_landing,
)

from .helpers import HOUR, START

DEVICES, HOURS = 120, 10
MESS = Mess.usual().times(10)


def _spec(**changes: Any) -> FleetSpec:
    fleet = make_fleet(DEVICES, 7, START)
    plan = plan_faults(fleet, START, START + HOUR * HOURS, 3)
    return FleetSpec(**({"devices": DEVICES, "seed": 7, "start": START, "hours": HOURS, "faults": plan, "mess": MESS}
                        | changes))  # fmt: skip


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> LandingSummary:
    return write_landing(_spec(), tmp_path_factory.mktemp("landing"))


def _lines(out: Path) -> list[tuple[Path, bytes]]:
    return [
        (path, line) for path in sorted(out.glob("landing/*/*/*.ndjson")) for line in path.read_bytes().splitlines()
    ]


def _digest(out: Path) -> dict[str, str]:
    files = sorted(p for p in out.rglob("*") if p.is_file())
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_same_seed_gives_the_same_bytes(landed: LandingSummary, tmp_path: Path) -> None:
    again = write_landing(_spec(), tmp_path / "again")
    assert _digest(again.out) == _digest(landed.out)
    assert again.account == landed.account
    other = write_landing(_spec(seed=8, hours=1, faults=None), tmp_path / "other")
    name = "landing/2026-03-02/00/gateway-00.ndjson"
    assert _digest(other.out)[name] != _digest(landed.out)[name]


def _recount(out: Path, registry: pl.DataFrame) -> Counter[str]:
    """Classify every line by what it looks like, knowing nothing of how it was made."""
    count: Counter[str] = Counter()
    known, seen, narrow = set(registry["device_id"]), Counter[bytes](), set()
    for _, line in _lines(out):
        count["lines"] += 1
        try:
            message = json.loads(line)
        except UnicodeDecodeError:
            count["non_utf8"] += 1
            continue
        except json.JSONDecodeError:
            count["broken_json"] += 1
            continue
        if "device_id" not in message or "timestamp" not in message:
            count["no_identity"] += 1
        elif "sensor_type" in message:
            count["narrow_rows"] += 1
            count["narrow_rows_without_identity"] += "event_id" not in message
            narrow.add((message["device_id"], message["timestamp"]))
        elif message["device_id"] not in known:
            count["unknown_device"] += 1
        elif not any(v is not None for v in message["readings"].values()):
            count["all_null"] += 1
        elif seen[key := _without_arrival(line)]:
            count["duplicates"] += 1
        else:
            seen[key] += 1
            count["unknown_fields"] += "rssi_dbm" in message
            count["nan"] += any(v != v for v in message["readings"].values())
    count["narrow_messages"] = len(narrow)
    return count


def _without_arrival(line: bytes) -> bytes:
    before, _, rest = line.partition(b'"timestamp_ingested":"')
    return before + rest.partition(b'"')[2]


def test_the_account_is_what_a_recount_finds(landed: LandingSummary) -> None:
    account = json.loads((landed.out / "mess.json").read_text())
    assert account == landed.account
    found = _recount(landed.out, pl.read_parquet(landed.out / "registry.parquet"))
    for name in ("lines", "non_utf8", "broken_json", "no_identity", "narrow_rows", "narrow_messages", "unknown_device",
                 "narrow_rows_without_identity", "all_null", "unknown_fields", "nan"):  # fmt: skip
        assert found[name] == account[name] > 0, name
    assert found["duplicates"] == account["near_duplicates"] + account["far_duplicates"]
    kinds = ["normal", "near_duplicates", "far_duplicates", "unknown_device", "out_of_order", "all_null", "nan"]
    kinds += ["out_of_range", "unknown_fields", "broken_json", "non_utf8", "no_identity", "narrow_rows", "late"]
    assert all(account[k] > 0 for k in kinds), account
    assert sum(account[k] for k in kinds) == account["lines"]


def test_files_hold_their_hour_and_a_device_has_one_gateway(landed: LandingSummary) -> None:
    gateways: dict[str, set[str]] = {}
    for path, line in _lines(landed.out):
        if b"\xff" in line or not line.endswith(b"}"):
            continue
        message = json.loads(line)
        if "timestamp_ingested" in message:
            arrived = datetime.fromisoformat(message["timestamp_ingested"])
            assert f"{arrived:%Y-%m-%d/%H}" == f"{path.parts[-3]}/{path.parts[-2]}"
        if "device_id" in message:
            gateways.setdefault(message["device_id"], set()).add(path.name)
    assert {len(names) for names in gateways.values()} == {1}
    assert len(set.union(*gateways.values())) == 2
    assert not list(landed.out.rglob("*.tmp"))


def test_lines_are_ordered_by_arrival_but_for_what_is_out_of_order(landed: LandingSummary) -> None:
    for path in landed.out.glob("landing/*/05/*.ndjson"):
        arrivals = [json.loads(line).get("timestamp_ingested", "") for line in path.read_bytes().splitlines()
                    if line.endswith(b"}") and b"\xff" not in line and b"sensor_type" not in line]  # fmt: skip
        latest, behind = "", 0
        for arrival in arrivals:
            behind += arrival < latest
            latest = max(latest, arrival)
        assert 0 < behind < 0.05 * len(arrivals)


def test_the_truth_is_beside_the_data_never_in_it(landed: LandingSummary) -> None:
    assert DEVICE_REGISTRY.validate(pl.read_parquet(landed.out / "registry.parquet")).height == DEVICES
    truth = pl.read_parquet(landed.out / "truth.parquet")
    assert truth.height > 0
    text = b"".join(p.read_bytes() for p in landed.out.rglob("*.ndjson"))
    for word in (*truth["fault"].unique().to_list(), "severity", "onset", "_kind", "fault"):
        assert word.encode() not in text


def test_without_mess_every_reading_lands_once(tmp_path: Path) -> None:
    fleet = make_fleet(30, 7, START)
    done: list[tuple[int, int]] = []
    spec = FleetSpec(30, 7, START, 2, mess=Mess.none())
    summary = write_landing(spec, tmp_path, lambda a, b: done.append((a, b)), compress=True)
    assert done == [(1, 2), (2, 2)]
    lines = b"".join(gzip.decompress(p.read_bytes()) for p in sorted(tmp_path.rglob("*.ndjson.gz"))).splitlines()
    sent = pl.concat([simulate_hour(fleet, no_faults(fleet), START + HOUR * h) for h in range(2)])
    sent = sent.filter(pl.col("timestamp_ingested") < START + HOUR * 2)
    assert summary.account["normal"] == summary.account["lines"] == len(lines) == sent.height
    by_id = {m["event_id"]: m for m in map(json.loads, lines)}
    for row in sent.sample(50, seed=1).iter_rows(named=True):
        message = by_id[row["event_id"]]
        assert message["readings"] == {n: row[n] for n in SENSOR_NAMES if row[n] is not None}
        assert datetime.fromisoformat(message["timestamp"]) == row["timestamp_device"]


def test_raw_hour_keeps_the_contract_and_is_what_lands(landed: LandingSummary) -> None:
    spec = _spec()
    fleet = spec.fleet()
    rows = pl.concat([raw_hour(fleet, spec.faults, START + HOUR * h, spec.mess) for h in range(HOURS)])
    RAW_READINGS.validate(rows)
    assert rows.height == landed.account["lines"]
    assert rows.select("_partition_key", "_sequence_number").is_unique().all()
    assert rows["event_id"].is_duplicated().sum() >= landed.account["near_duplicates"]
    nothing = pl.all_horizontal(pl.col(SENSOR_NAMES).is_null())
    assert rows.filter(nothing).height == landed.account["all_null"]
    outside = [(pl.col(s.name) < s.low) | (pl.col(s.name) > s.high) | pl.col(s.name).is_nan() for s in NUMERIC_SENSORS]
    spoilt = landed.account["out_of_range"] + landed.account["nan"]
    assert rows.filter(pl.any_horizontal(outside)).height >= landed.account["rows_outside_range"] >= spoilt


def test_late_replays_come_in_a_burst_after_an_outage() -> None:
    fleet = make_fleet(100, 7, START)
    mess = Mess(outages=0.5)
    rows = pl.concat([raw_hour(fleet, no_faults(fleet), START + HOUR * h, mess) for h in range(36)])
    assert rows["event_id"].is_unique().all()
    delay = rows["timestamp_ingested"] - rows["timestamp_device"]
    late = rows.filter(delay > timedelta(minutes=5))
    assert late.height > 1000
    assert delay.max() < timedelta(hours=24)
    a_burst = late.filter(pl.col("device_id") == late["device_id"][0]).sort("timestamp_ingested").tail(10)
    assert a_burst["timestamp_ingested"].max() - a_burst["timestamp_ingested"].min() < timedelta(minutes=1)
    # Nothing is lost but what is still under way.
    sent = pl.concat([simulate_hour(fleet, no_faults(fleet), START + HOUR * h) for h in range(28)])
    missing = sent.join(rows, on="event_id", how="anti")
    assert missing.filter(pl.col("timestamp_device") < START + HOUR * 28).is_empty()


def test_rates_are_checked_and_multiplied() -> None:
    with pytest.raises(ValueError, match="nan must be from 0 to 1"):
        Mess(nan=1.5)
    assert Mess.usual().times(10).near_duplicates == pytest.approx(0.02)
    wild = Mess.usual().times(10_000)
    assert wild.broken_json + wild.nan + wild.out_of_range + wild.out_of_order + wild.unknown_fields < 0.91
    usual = Mess.usual()
    assert usual.broken_json + usual.non_utf8 + usual.no_identity + usual.all_null < 0.001


def test_a_plan_for_another_fleet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="planned for 120 devices, not 50"):
        write_landing(_spec(devices=50), tmp_path)
