"""Freshness checks: one a table with a promise, judged by the newest data in it; and that alerts judge new scores."""

from datetime import datetime

import dagster as dg

from refrig_assets.contracts import CLEAN_READINGS, DEVICE_ALERTS, DEVICE_FEATURES, RAW_READINGS, Contract
from refrig_assets.defs.metadata import check_result
from refrig_assets.defs.resources import ClockResource, LakeResource
from refrig_assets.lake import Lake
from refrig_assets.monitoring.findings import Finding
from refrig_assets.monitoring.freshness import describe, judge_age
from refrig_assets.pipeline.alert_checks import judged_finding
from refrig_assets.pipeline.judged import waiting_scores
from refrig_assets.pipeline.status import newest_moment

JUDGED = "judged"
WATCHED: tuple[Contract, ...] = (RAW_READINGS, CLEAN_READINGS, DEVICE_FEATURES)


def freshness_finding(lake: Lake, contract: Contract, now: datetime) -> Finding:
    age = judge_age(contract, newest_moment(contract, lake.table(contract).files()), now)
    promise = contract.freshness
    limits = ""
    if promise is not None:
        told = (("promised", promise.service_level), ("warns at", promise.warn), ("fails at", promise.error))
        limits = ", ".join(f"{what} {describe(span)}" for what, span in told)
    counts = {"age_seconds": round(age.age.total_seconds(), 1)} if age.age is not None else {}
    return Finding(
        "freshness", age.level in ("ok", "late"), f"{age.says}; {limits}", counts, severe=age.level != "warn"
    )


def _check(contract: Contract) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=contract.name, name="freshness", description="The newest data is as young as the contract promises."
    )
    def freshness(lake: LakeResource, clock: ClockResource) -> dg.AssetCheckResult:
        return check_result(freshness_finding(lake.lake, contract, clock.now), contract.name)

    return freshness


# Not in a run of alerts or of the board: that no such run comes through any more is what it is to find.
@dg.asset_check(
    asset=DEVICE_ALERTS.name,
    name=JUDGED,
    description="Scores of live hours are judged within 5 minutes, alerts or none; 15 warn, 30 fail.",
)
def judged(lake: LakeResource, clock: ClockResource) -> dg.AssetCheckResult:
    return check_result(judged_finding(waiting_scores(lake.lake, clock.now), clock.now), DEVICE_ALERTS.name)


checks = [*(_check(contract) for contract in WATCHED), judged]
