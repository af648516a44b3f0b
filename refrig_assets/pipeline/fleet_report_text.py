"""The fleet's hour as Markdown with pictures: a report in, text out. Decides nothing, reads nothing."""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from refrig_assets.alerting.standing import BREACHED
from refrig_assets.alerting.summary import WORST_FIRST, by_deadline, by_severity
from refrig_assets.alerting.wording import clock, hours_text, listed, plain, span_text
from refrig_assets.contracts.readings import QUALITY_FLAGS
from refrig_assets.pipeline.fleet_report import DAY, FleetReport
from refrig_assets.pipeline.fleet_report_pictures import board_picture, hours_left_picture, sparklines

_NONE = "None."


def compose(report: FleetReport) -> str:
    """The whole report."""
    return "\n\n".join(part for part in _parts(report) if part) + "\n"


def _parts(report: FleetReport) -> Iterable[str]:
    yield f"# Fleet health, {report.hour:%Y-%m-%d %H:00} UTC"
    if report.as_of < report.hour.replace(minute=59):
        yield f"*The hour is still running: as of {clock(report.as_of)}.*"
    yield _verdict(report)
    yield _fleet(report)
    yield "## Alerts"
    yield _alerts(report)
    yield from _expected(report)
    yield "## Sites that need somebody most"
    yield markdown_table(report.sites) if report.sites.height else _NONE
    yield from _top(report)
    yield "## Data"
    yield _data(report)
    yield "## Models"
    yield _models(report)
    if report.stream is not None:
        yield "## Stream"
        yield f"{mark(report.stream.passed, report.stream.severe)} {report.stream.says}"


def mark(passed: bool, severe: bool = True) -> str:
    return "✅" if passed else "❌" if severe else "⚠️"


def _verdict(report: FleetReport) -> str:
    """What whoever reads no further should know."""
    stands = report.stands
    critical = stands.filter(pl.col("severity") == "CRITICAL").height
    high = stands.filter(pl.col("severity") == "HIGH").height
    late = by_deadline(stands, report.as_of).filter(pl.col("deadline") == BREACHED)["all"][0]
    said = f"**{critical} CRITICAL and {high} HIGH alerts stand**" if critical or high else "**Nothing urgent stands**"
    if late:
        said += f", {count(late, 'alert is', 'alerts are')} past the deadline"
    if report.expected.height:
        soonest = report.expected.row(0, named=True)
        said += f"; the next failure is expected of {soonest['device_id']} in {span_text(soonest['left'])}"
    return f"{said}."


def _fleet(report: FleetReport) -> str:
    fleet = report.fleet
    if not fleet.active:
        return "There is no device registry yet: the job `registry` reads it."
    silent = f" Silent: {listed(fleet.silent, 12)}." if fleet.silent else ""
    share = 100 * fleet.reporting / fleet.active
    return (
        f"{fleet.active:,} active devices at {count(fleet.sites, 'site', 'sites')}; {fleet.reporting:,} reported "
        f"({share:.1f} %).{silent}"
    )


def _alerts(report: FleetReport) -> str:
    loud = report.created.filter(~pl.col("suppressed"))
    new = loud["severity"].value_counts()
    by = dict(new.iter_rows())
    told = ", ".join(f"{by[s]} {s}" for s in WORST_FIRST if s in by) or "none"
    wrong = report.closed.filter(pl.col("status") == "FALSE_POSITIVE").height
    quiet = report.created.height - loud.height
    parts = [
        f"New this hour: {told}" + (f" (and {quiet} suppressed)" if quiet else "")
        + f". Closed: {report.closed.height}" + (f", {wrong} of them false" if wrong else "")
        + f". Standing: {report.stands.height:,}."
    ]  # fmt: skip
    if report.stands.height:
        parts += [board_picture(report.stands, report.as_of), markdown_table(by_severity(report.stands))]
        urgent = report.urgent.select("severity", "device", "what", "hours_left", "due", "level")
        parts += ["### Most urgent", markdown_table(urgent)]
    return "\n\n".join(parts)


def _expected(report: FleetReport) -> Iterable[str]:
    yield "## Failures expected, the soonest first"
    if report.expected.is_empty():
        yield "None: of no standing alert does the trend say when it ends."
        return
    yield hours_left_picture(report.expected)
    rows = [
        {
            "hours left": hours_text(row["left"], row["low"], row["high"]),
            "device": row["device_id"],
            "site": row["site_id"],
            "severity": row["severity"],
            "probably": plain(row["failure_mode"] or "unknown"),
            "check first": row["first_check"] or "",
        }
        for row in report.expected.iter_rows(named=True)
    ]
    yield markdown_table(pl.DataFrame(rows))


def _top(report: FleetReport) -> Iterable[str]:
    yield "## Highest scores"
    if report.top.is_empty():
        yield "No window of this hour has been scored."
        return
    severity = dict(report.top.select("device_id", "severity").iter_rows())
    rows = [(device, severity[device] or "", scores) for device, scores in report.series.items()]
    yield sparklines(rows, report.as_of - DAY, report.as_of)
    told = report.top.select(
        device="device_id", site="site", score=pl.col("anomaly_score").round(3), model="model_id", because="because",
        alert=pl.col("severity").fill_null("none"),
    )  # fmt: skip
    yield markdown_table(told)


def _data(report: FleetReport) -> str:
    quality = report.quality
    dead = sum(quality.dead.values())
    lines = [f"- {quality.raw:,} messages landed" + ("" if quality.clean is not None else "; not cleaned yet")]
    if quality.clean is not None:
        counts = quality.counts
        lines.append(
            f"- {quality.clean:,} clean, {counts.get('duplicate', 0):,} duplicates, "
            f"{counts.get('quarantined', 0):,} of unknown devices"
        )
        flags = {f: counts.get(f"flag:{f}", 0) for f in QUALITY_FLAGS}
        told = ", ".join(f"{n:,} {plain(f.lower())}" for f, n in flags.items() if n)
        lines.append(f"- Flags: {told or 'none'}")
    share = f" ({dead / (quality.raw + dead):.3%})" if dead else ""
    lines.append(
        f"- Dead letters: {dead:,}{share}" + "".join(f"\n  - {n:,} {literal(why)}" for why, n in quality.dead.items())
    )
    return "\n".join(lines)


def _models(report: FleetReport) -> str:
    parts = []
    if report.models_problem:
        parts.append(f"⚠️ {report.models_problem}")
    if report.models is not None and report.models.models:
        age = report.models.scores
        parts.append(f"{mark(age.use == 'scores' and not age.failing, severe=age.use == 'stream')} Scores: {age.says}")
    rows = _model_rows(report)
    return "\n\n".join([*parts, markdown_table(pl.DataFrame(rows))]) if rows else "\n\n".join(parts) or _NONE


def _model_rows(report: FleetReport) -> list[dict[str, Any]]:
    flagged = {row["model_id"]: row for row in report.flagged.iter_rows(named=True)}
    status = {m.model_id: m for m in report.models.models} if report.models is not None else {}
    rows = []
    for name in sorted(flagged.keys() | status.keys()):
        one, found = status.get(name), flagged.get(name)
        rows.append(
            {
                "model": name,
                "version": (one.champion or "none released") if one else "",
                "newest scores": one.says if one else "",
                "windows": f"{found['windows']:,}" if found else "0",
                "% flagged": f"{100 * found['flag_rate']:.2f}" if found else "",
                "p99": f"{found['score_p99']:.2f}" if found and found["score_p99"] is not None else "",
            }
        )
    return rows


def count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def markdown_table(frame: pl.DataFrame) -> str:
    """A frame as a Markdown table; numbers to the right, nothing for null."""
    numbers = [dtype.is_numeric() for dtype in frame.dtypes]
    rows = [
        _line([name.replace("_", " ") for name in frame.columns]),
        _line(["---:" if number else "---" for number in numbers]),
        *(_line([_cell(value) for value in row]) for row in frame.iter_rows()),
    ]
    return "\n".join(rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else literal(str(value)).replace("|", "\\|").replace("\n", " ")


def literal(text: str) -> str:
    """Text that somebody else wrote, so that none of it is taken for a tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
