"""The demo's event log: Dagster's own storage has to read what it wrote as if it had written it itself."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from refrig_assets.cli.demo_books import BATCH_SIZE, quick_instance
from refrig_assets.defs.home import prepare_home

LETTERS = dg.StaticPartitionsDefinition(list("abcdef"))


@dg.multi_asset(
    specs=[dg.AssetSpec("rows"), dg.AssetSpec("rest")],
    check_specs=[dg.AssetCheckSpec("whole", asset="rows")],
    partitions_def=LETTERS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def made(context: dg.AssetExecutionContext) -> Any:
    for number, key in enumerate(context.partition_keys):
        context.add_asset_metadata({"number": number}, asset_key="rows", partition_key=key)
        context.log.info(f"made {key}")
    result = dg.AssetCheckResult(check_name="whole", passed=False, severity=dg.AssetCheckSeverity.WARN)
    yield dg.MaterializeResult(asset_key="rows", check_results=[result])
    yield dg.MaterializeResult(asset_key="rest")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(*next(iter(BATCH_SIZE.items())))
    return prepare_home(tmp_path / "home")


def run(instance: dg.DagsterInstance, first: str, last: str) -> str:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    result = dg.materialize([made], instance=instance, tags=tags)
    assert result.success
    return result.run_id


def told(home: Path, run_id: str) -> dict[str, Any]:
    """What Dagster's own storage says of a run and of its assets."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        latest = instance.get_latest_materialization_event(dg.AssetKey("rows"))
        assert latest is not None
        assert latest.asset_materialization is not None
        keys = [dg.AssetKey("rest"), dg.AssetKey("rows")]
        assets = instance.get_asset_records(keys)
        return {
            "events": sorted(str(e.dagster_event_type or e.user_message) for e in instance.all_logs(run_id)),
            "partitions": {k.to_user_string(): sorted(instance.get_materialized_partitions(k)) for k in keys},
            "counts": instance.get_status_by_partition(keys[0], list("abcdef"), LETTERS),
            "newest": (latest.run_id == run_id, sorted(latest.asset_materialization.metadata)),
            "kept": [_newest_is_kept(instance, a) for a in assets],
            "last_run": [a.asset_entry.last_run_id == run_id for a in assets],
            "checks": [
                (r.status.value, r.event is not None)
                for key in (spec.key for spec in made.check_specs)
                for r in instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
            ],
        }


def _newest_is_kept(instance: dg.DagsterInstance, asset: Any) -> bool:
    """What is told of the asset as its newest is the last of its events."""
    last = instance.fetch_materializations(asset.asset_entry.asset_key, limit=1).records[0]
    known = asset.asset_entry.last_materialization_record
    return bool(known is not None and known.storage_id == last.storage_id)


def test_dagster_reads_the_quick_log_as_its_own(home: Path, tmp_path: Path) -> None:
    other = prepare_home(tmp_path / "other")
    with quick_instance(home) as quick, dg.DagsterInstance.from_config(str(other)) as plain:
        ours = [run(quick, "a", "d"), run(quick, "c", "e")]
        theirs = [run(plain, "a", "d"), run(plain, "c", "e")]
    assert told(home, ours[1]) == told(other, theirs[1])
    assert told(home, ours[1])["partitions"] == {"rest": list("abcde"), "rows": list("abcde")}
    assert told(home, ours[1])["newest"][0]
    assert told(home, ours[1])["kept"] == [True, True]


def test_more_runs_than_stay_open_are_kept_apart(home: Path) -> None:
    with quick_instance(home) as quick:
        runs = [run(quick, key, key) for key in "abcdef"]
        events = [sum(e.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION for e in quick.all_logs(r))
                  for r in runs]  # fmt: skip
    assert events == [2] * 6
