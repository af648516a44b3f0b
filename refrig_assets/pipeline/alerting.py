"""An hour's alerts: the scores in charge, judged beside the alerts that stand, become changes of the log."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.judging import Fleet, Span, judge
from refrig_assets.alerting.known import BELIEVED_FALSE, SETTLING
from refrig_assets.alerting.lifecycle import DIAGNOSIS
from refrig_assets.alerting.mutes import mute_row, muted
from refrig_assets.alerting.settling import QUIET_FOR
from refrig_assets.alerting.severity import severities, with_last_good
from refrig_assets.alerting.sustained import LOOK_BACK, MEDIUM, named, rank, sustained
from refrig_assets.contracts import ALERT_MUTES, DEVICE_ALERTS, DEVICE_REGISTRY, MAINTENANCE_EVENTS, MODEL_SCORES
from refrig_assets.contracts.alerts import CLOSED_STATUSES
from refrig_assets.contracts.base import TS
from refrig_assets.contracts.scoring import DETECTORS, EXPIRED_AFTER, RULES_FALLBACK, USE_BY
from refrig_assets.lake import HOUR, Lake
from refrig_assets.pipeline.alert_living import living_log
from refrig_assets.pipeline.alert_log import AlertLog
from refrig_assets.pipeline.diagnosing import diagnose
from refrig_assets.pipeline.mutes import read_mutes
from refrig_assets.pipeline.score_age import score_age
from refrig_assets.pipeline.scoring import ModelSource
from refrig_assets.pipeline.stopwatch import Stopwatch

# An hour that ended longer ago is history: its alerts are told as of its end, and nobody is woken by them.
LIVE_FOR = timedelta(hours=6)
JUDGED_AFTER = timedelta(minutes=5)
# In a storm the highest scores are diagnosed; the rest says which sensors, not what is wrong.
MOST_DIAGNOSED = 2000
_FACTS = ("device_id", "site_id", "site_name", "model", "maintenance_contact")
_SCORES = (
    "device_id", "window_start", "window_end", "model_id", "model_version", "deployment_role", "anomaly_score",
    "anomaly_flag", "top_contributors", "contributor_scores", "scored_at",
)  # fmt: skip
_ODD = 0.6


@dataclass
class AlertReport:
    hour: datetime
    judged_at: datetime
    source: str = "batch"
    """batch, or fallback where the models are silent; stream where nothing but the stream may speak"""
    devices: int = 0
    windows: int = 0
    hits: int = 0
    diagnosed: int = 0
    muted: int = 0
    by_change: dict[str, int] = field(default_factory=dict)
    by_severity: dict[str, int] = field(default_factory=dict)
    """new alerts that somebody is asked to look at"""
    newest_score: datetime | None = None
    written: int = 0
    known: int = 0
    version: int = 0
    created: list[str] = field(default_factory=list)
    """alerts that are new and not suppressed"""
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Held:
    """What was read of the log: its version, and from when on it is whole."""

    version: int
    since: datetime
    log: pl.DataFrame


class Alerting:
    """Judges hours in order. Kept from hour to hour it reads of the log what others have written meanwhile, not all."""

    def __init__(self, lake: Lake, registry: ModelSource) -> None:
        self.lake, self.registry = lake, registry
        self._log = AlertLog(lake)
        self._held: _Held | None = None

    def hour(self, hour: datetime, now: datetime) -> AlertReport:
        """Judge the hour's windows that have closed by now, and write what they change. Repeating it changes nothing.

        Hours are judged in order, since repetitions and what is sustained look back.
        """
        watch = Stopwatch()
        end = min(now, hour + HOUR)
        judged_at = now if now - (hour + HOUR) < LIVE_FOR else hour + HOUR + JUDGED_AFTER
        report = AlertReport(hour, judged_at)
        log = self._read(hour)
        board = fold(log)
        watch.lap("board")
        models, report.source = self._who_speaks(hour, now)
        if not models:
            return report
        facts = self._facts()
        standing = board.filter(~pl.col("status").is_in(list(CLOSED_STATUSES)))["device_id"]
        windows = self._windows(hour, end, models, standing, facts, report)
        watch.lap("scores")
        hits = self._hits(windows, hour, end, facts, report, watch)
        fleet = self._fleet(facts, board, hits, judged_at)
        span = Span(hour, end, judged_at, clock=now, by_models=report.source == "batch")
        changes = judge(windows, hits, log, fleet, span)
        watch.lap("judge")
        self._write(changes, report)
        watch.lap("write")
        report.seconds = watch.laps
        return report

    def _who_speaks(self, hour: datetime, now: datetime) -> tuple[tuple[str, ...], str]:
        """The models whose scores count, by the age of the newest ones; of hours long past, those that scored them."""
        if now - hour >= EXPIRED_AFTER + HOUR:
            return DETECTORS, "batch"
        use = score_age(self.lake, now).use
        return {"scores": (DETECTORS, "batch"), "rules": ((RULES_FALLBACK,), "fallback"), "stream": ((), "stream")}[use]

    def _facts(self) -> pl.DataFrame:
        registry = self.lake.table(DEVICE_REGISTRY).read()
        return registry.filter(pl.col("status") == "active").select(_FACTS)

    def _windows(
        self, hour: datetime, end: datetime, models: tuple[str, ...], standing: pl.Series, facts: pl.DataFrame,
        report: AlertReport,
    ) -> pl.DataFrame:  # fmt: skip
        """The windows of the last hours of devices that stood out in them, or have an alert, as `sustained` tells."""
        start = hour - QUIET_FOR
        scores = self.lake.table(MODEL_SCORES).scan(start - USE_BY, end).select(_SCORES)
        mine = (pl.col("deployment_role") == "champion") & pl.col("model_id").is_in(list(models))
        found = scores.filter(mine & (pl.col("window_end") <= end)).collect(engine="in-memory")
        now = found.filter(pl.col("window_end") > hour)
        report.windows, report.devices = now.height, now["device_id"].n_unique()
        report.newest_score = now["scored_at"].max()  # type: ignore[assignment]
        odd = found.filter(
            (pl.col("window_end") > hour - LOOK_BACK) & (pl.col("anomaly_flag") | (pl.col("anomaly_score") > _ODD))
        )
        named = pl.concat([odd["device_id"].unique(), standing]).unique()
        mine_too = found.join(named.to_frame(), on="device_id", how="semi").join(facts, on="device_id", how="semi")
        if RULES_FALLBACK not in models:
            mine_too = with_last_good(mine_too, start, end)
        return sustained(severities(mine_too, models=models))

    def _hits(
        self, windows: pl.DataFrame, hour: datetime, end: datetime, facts: pl.DataFrame, report: AlertReport,
        watch: Stopwatch,
    ) -> pl.DataFrame:  # fmt: skip
        """The hour's windows that make or keep an alert, with facts, mutes and diagnoses."""
        this_hour = pl.col("window_end").is_between(hour, end, closed="right")
        hits = windows.filter(this_hour & pl.col("confirmed").is_not_null())
        hits = hits.join(facts, on="device_id", how="left").with_columns(source=pl.lit(report.source))
        hits = muted(hits.with_columns(moment="window_end"), self._mutes(hour, end)).drop("moment")
        # One window speaks for its device's hour; what is muted, as a machine that has just been repaired, does not.
        worst = hits.filter(rank("confirmed") >= MEDIUM).sort(
            pl.col("mute_id").is_not_null(), rank("confirmed"), "window_end", "device_id",
            descending=[False, True, True, False],
        )  # fmt: skip
        asked = worst.unique("device_id", keep="first", maintain_order=True).head(MOST_DIAGNOSED)
        said = diagnose(self.lake, self.registry, asked).select("device_id", *DIAGNOSIS)
        report.hits, report.diagnosed = hits.height, said.height
        report.muted = int(hits["mute_id"].is_not_null().sum())
        watch.lap("diagnose")
        return named(hits.join(said, on="device_id", how="left")).sort("device_id", "window_end")

    def _fleet(self, facts: pl.DataFrame, board: pl.DataFrame, hits: pl.DataFrame, at: datetime) -> Fleet:
        """Who is active, how large sites are, and which devices with an alert, old or new, are under a mute then."""
        sizes = dict(facts.group_by("site_id").len().iter_rows())
        standing = board.filter(~pl.col("suppressed") & ~pl.col("status").is_in(list(CLOSED_STATUSES)))
        devices = pl.concat([standing.select("device_id"), hits.select("device_id")]).unique()
        asked = devices.join(facts.select("device_id", "site_id"), on="device_id")
        told = muted(asked.with_columns(moment=pl.lit(at, dtype=TS)), self._mutes(at, at)).drop_nulls("mute_id")
        under = {d: (m, why) for d, m, why in told.select("device_id", "mute_id", "mute_reason").iter_rows()}
        # A registry without any device was lost, rather than the fleet: no alert ends by it.
        active = facts if facts.height else board
        return Fleet(set(active["device_id"]), sizes, under)

    def _mutes(self, hour: datetime, end: datetime) -> pl.DataFrame:
        """The mutes, and machines that have just been worked on: for two hours they settle."""
        done = self.lake.table(MAINTENANCE_EVENTS).read()
        done = done.filter(pl.col("completed_date").is_between(hour - SETTLING, end))
        settling = [
            mute_row(
                mute_id=f"settling-{event}", device_id=device, starts_at=at, ends_at=at + SETTLING, made_at=at,
                made_by="maintenance", reason="settles after maintenance",
            )
            for event, device, at in done.select("event_id", "device_id", "completed_date").iter_rows()
        ]  # fmt: skip
        return pl.concat([read_mutes(self.lake), pl.DataFrame(settling, schema=ALERT_MUTES.dtypes, orient="row")])

    def _read(self, hour: datetime) -> pl.DataFrame:
        """The log, but for the alerts that were over before the hour could have anything to do with them."""
        version = self.lake.table(DEVICE_ALERTS).version
        since = hour - QUIET_FOR - BELIEVED_FALSE - HOUR
        if self._held is None or self._held.version != version or since < self._held.since:
            self._held = _Held(version, since, living_log(self.lake, since, version))
        return self._held.log

    def _write(self, changes: pl.DataFrame, report: AlertReport) -> None:
        before = self._held
        done = self._log.append(changes) if changes.height else None
        if done is not None:
            report.written, report.known, report.version = done.written, done.known, done.version
            if before is not None and done.written == changes.height and done.version == before.version + 1:
                self._held = _Held(done.version, before.since, pl.concat([before.log, changes]))
        else:
            report.version = before.version if before else 0
        new = changes.filter((pl.col("change") == "created") & ~pl.col("suppressed"))
        report.by_change = _counts(changes["change"])
        report.by_severity = _counts(new["severity"])
        report.created = new["alert_id"].to_list()


def alert_hour(lake: Lake, registry: ModelSource, hour: datetime, now: datetime) -> AlertReport:
    """The alerts of one hour. Who judges several keeps an Alerting instead."""
    return Alerting(lake, registry).hour(hour, now)


def alerts_of(lake: Lake, report: AlertReport, most: int = 20) -> pl.DataFrame:
    """The new alerts of a judgement as somebody would read them, the most severe first."""
    columns = ("severity", "device_id", "site_id", "title", "failure_mode", "hours_left", "anomaly_score")
    if not report.created:
        return pl.DataFrame(schema={name: DEVICE_ALERTS.dtypes[name] for name in columns})
    told = lake.table(DEVICE_ALERTS).scan(report.judged_at, report.judged_at + HOUR)
    rows = told.filter(pl.col("alert_id").is_in(report.created) & (pl.col("change") == "created")).collect()
    order = [rank().alias("_rank"), "anomaly_score", "device_id"]
    return rows.sort(order, descending=[True, True, False]).head(most).select(columns)


def _counts(values: pl.Series) -> dict[str, int]:
    return dict(values.value_counts().sort(values.name).iter_rows())
