"""The digest of a day: what failed and who was warned, how alerts were worked with. Gathered, and in words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.alerting.ended import (
    WARNED_WITHIN,
    by_hour,
    deadlines_kept,
    failures,
    handling,
    noisiest,
    predictions_ended,
    within,
)
from refrig_assets.alerting.incidents import incidents
from refrig_assets.alerting.labelling import TAKEN_BACK
from refrig_assets.alerting.summary import WORST_FIRST, board_at, by_severity, standing
from refrig_assets.alerting.wording import clock, plain, span_text
from refrig_assets.contracts import DEVICE_REGISTRY, LABEL_EVENTS
from refrig_assets.lake import Lake
from refrig_assets.pipeline.alert_living import living_log
from refrig_assets.pipeline.fleet_report_pictures import days_picture
from refrig_assets.pipeline.fleet_report_text import count, markdown_table

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Digest:
    day: datetime
    as_of: datetime
    by_hour: pl.DataFrame
    stands: pl.DataFrame
    failures: pl.DataFrame
    predictions: pl.DataFrame
    handling: Mapping[str, float | int | None]
    deadlines: pl.DataFrame
    devices: pl.DataFrame
    models: pl.DataFrame
    incidents: pl.DataFrame
    labels: pl.DataFrame


def daily_digest(lake: Lake, day: datetime, now: datetime) -> Digest:
    """Gather a day's digest; of the running day, as far as it has come."""
    end = day + DAY
    as_of = min(end, max(now, day))
    log = living_log(lake, day - WARNED_WITHIN)
    log = log.filter(pl.col("changed_at") < as_of)
    board = board_at(log, as_of)
    labels = lake.table(LABEL_EVENTS).read()
    said = labels.filter(within("labeled_at", day, end) & (pl.col("label_confidence") > TAKEN_BACK))
    found = incidents(board, lake.table(DEVICE_REGISTRY).read())
    return Digest(
        day,
        as_of,
        by_hour=by_hour(board, day, end),
        stands=standing(board),
        failures=failures(board, labels.filter(pl.col("labeled_at") < as_of), day, end),
        predictions=predictions_ended(board, day, end),
        handling=handling(log, board, day, end),
        deadlines=deadlines_kept(log, board, day, as_of),
        devices=noisiest(board, "device_id", day, end),
        models=noisiest(board, "model_id", day, end),
        incidents=found.filter(within("opened_at", day, end)),
        labels=said.group_by("label_type", "label_source").agg(labels=pl.len()).sort("label_type", "label_source"),
    )


def compose(digest: Digest) -> str:
    """The whole digest as Markdown."""
    return "\n\n".join(part for part in _parts(digest) if part) + "\n"


def _parts(digest: Digest) -> Iterable[str]:
    yield f"# Daily digest, {digest.day:%Y-%m-%d}"
    if digest.as_of < digest.day + DAY:
        yield f"*The day is still running: as of {clock(digest.as_of)}.*"
    yield _verdict(digest)
    yield "## Acute failures, and who was warned"
    yield _failures(digest)
    yield from _predictions(digest)
    yield "## Alerts"
    if digest.by_hour.select(WORST_FIRST).sum_horizontal().sum():
        yield days_picture(digest.by_hour)
    yield f"Standing at the end: {digest.stands.height:,}."
    yield markdown_table(by_severity(digest.stands)) if digest.stands.height else ""
    yield from _incidents(digest)
    yield "## Work"
    yield _work(digest)
    yield "### Deadlines"
    yield markdown_table(digest.deadlines)
    yield "## Who is noisy"
    noisy = [markdown_table(rows) for rows in (digest.devices, digest.models) if rows.height]
    yield "\n\n".join(noisy) or "No alert was made."
    yield "## Labels given"
    yield markdown_table(digest.labels) if digest.labels.height else "None."


def _verdict(digest: Digest) -> str:
    failed, warned = digest.failures.height, digest.failures["warned_at"].count()
    new = int(digest.by_hour.select(WORST_FIRST).sum_horizontal().sum())
    wrong = digest.handling["false_share"]
    said = f"**{count(failed, 'device', 'devices')} failed, {warned} of them with a warning before**" if failed else (
        "**No device failed**"
    )  # fmt: skip
    said += f"; {count(new, 'new alert', 'new alerts')}"
    return said + (f", {100 * wrong:.0f} % of what people closed was false." if wrong is not None else ".")


def _failures(digest: Digest) -> str:
    if digest.failures.is_empty():
        return "None."
    rows = [
        {
            "device": row["device_id"],
            "failed": f"{row['at']:%H:%M}",
            "what": plain(row["what"]),
            "said by": plain(row["said_by"]),
            "outcome": _outcome(row),
        }
        for row in digest.failures.iter_rows(named=True)
    ]
    return markdown_table(pl.DataFrame(rows))


def _outcome(failure: Mapping[str, Any]) -> str:
    if failure["warned_at"] is None:
        return "missed: no warning before"
    warned = f"{span_text(failure['hours_before'])} before ({failure['warned_as']})"
    if failure["warned_of"] == failure["what"]:
        return f"found early, {warned}"
    return f"warned {warned} of {plain(failure['warned_of']).replace('unknown', 'something unknown')}"


def _predictions(digest: Digest) -> Iterable[str]:
    if digest.predictions.is_empty():
        return
    yield "### Predictions that ended"
    ended = {"RESOLVED": "closed before it was expected to fail", "FALSE_POSITIVE": "called false"}
    yield markdown_table(
        digest.predictions.select(
            device="device_id",
            severity="severity",
            probably=pl.col("failure_mode").fill_null("unknown").str.replace_all("_", " "),
            closed=pl.col("resolved_at").dt.strftime("%H:%M"),
            was_expected=pl.col("expected_at").dt.strftime("%Y-%m-%d %H:%M"),
            outcome=pl.when((pl.col("status") == "RESOLVED") & (pl.col("resolved_at") > pl.col("expected_at")))
            .then(pl.lit("closed after it was expected to fail"))
            .otherwise(pl.col("status").replace(ended)),
        )
    )


def _incidents(digest: Digest) -> Iterable[str]:
    if digest.incidents.is_empty():
        return
    yield "### Incidents"
    yield markdown_table(digest.incidents.select("title", "severity", "status", devices="device_count"))


def _work(digest: Digest) -> str:
    done = digest.handling
    lines = []
    for number, hours, what in (
        (done["taken"], done["hours_to_take"], "taken"),
        (done["closed"], done["hours_to_close"], "closed"),
    ):
        mean = f", on average {hours:.1f} h after they were raised" if hours is not None else ""
        lines.append(f"- {number} alerts {what} by people{mean}")
    if done["false_share"] is not None:
        lines.append(f"- {done['false_positives']} of those closed were false ({100 * done['false_share']:.0f} %)")
    return "\n".join(lines)
