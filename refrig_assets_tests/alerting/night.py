"""A night of windows for tests: what is seen when, judged hour by hour as the pipeline does, the log kept in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.judging import Fleet, Span, judge
from refrig_assets.alerting.lifecycle import DIAGNOSIS
from refrig_assets.alerting.mutes import muted
from refrig_assets.alerting.severity import SEVERITY_SCHEMA
from refrig_assets.alerting.sustained import WINDOW, sustained
from refrig_assets.contracts import ALERT_MUTES, DEVICE_ALERTS
from refrig_assets.contracts.base import STR, TS
from refrig_assets_tests.builders import HOUR

SCORES = {"LOW": 0.65, "MEDIUM": 0.75, "HIGH": 0.9, "CRITICAL": 0.97}
ONE_HOUR = timedelta(hours=1)
_NUMBERS = ("diagnosis_confidence", "hours_left", "hours_left_low", "hours_left_high")


def window(
    at: float, severity: str | None = None, device: str = "dev-1", *, contributor: str = "superheat_mean", **more: Any
) -> dict[str, Any]:
    """A window that ends so many minutes after the first hour began."""
    score = SCORES.get(severity or "", 0.2)
    row: dict[str, Any] = {
        "device_id": device,
        "window_end": HOUR + timedelta(minutes=at),
        "severity": severity,
        "anomaly_score": score,
        "model_id": "statistical_baseline",
        "models_flagging": 2 if severity in ("HIGH", "CRITICAL") else int(severity is not None),
        "models_scoring": 2,
        "flagging": [more.get("model_id", "statistical_baseline")] if severity else [],
        "top_contributors": [contributor] if severity else None,
        "contributor_scores": [1.0] if severity else None,
        "carried": False,
    }
    return row | more


def quarters(
    start: float, stop: float, severity: str | None = None, device: str = "dev-1", **more: Any
) -> list[dict[str, Any]]:
    """Windows that end at each quarter of an hour from `start` to `stop` minutes."""
    return [window(at, severity, device, **more) for at in range(int(start), int(stop) + 1, 15)]


@dataclass
class Night:
    """The windows there are, what people and systems say, and the log so far."""

    windows: list[dict[str, Any]] = field(default_factory=list)
    diagnoses: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """by device"""
    mutes: Sequence[Mapping[str, Any]] = ()
    sites: Mapping[str, str] = field(default_factory=dict)
    retired: Sequence[str] = ()
    source: str = "batch"
    log: pl.DataFrame = field(default_factory=DEVICE_ALERTS.empty)

    def judge(self, hour: int, until: float | None = None, now: datetime | None = None) -> pl.DataFrame:
        """Judge an hour (0 is the first), or its windows up to some minutes after its start; returns what was new."""
        start = HOUR + hour * ONE_HOUR
        end = start + (ONE_HOUR if until is None else timedelta(minutes=until))
        rows = pl.DataFrame(self.windows, schema=SEVERITY_SCHEMA, orient="row").filter(
            (pl.col("window_end") <= end) & (pl.col("window_end") > start - 4 * ONE_HOUR)
        )
        told = sustained(rows)
        hits = self._hits(told.filter((pl.col("window_end") > start) & pl.col("confirmed").is_not_null()))
        sizes: dict[str, int] = {}
        for device in {w["device_id"] for w in self.windows}:
            site = self.sites.get(device, "site-1")
            sizes[site] = sizes.get(site, 0) + 1
        active = {w["device_id"] for w in self.windows} - set(self.retired) | set(self.board["device_id"]) - set(
            self.retired
        )
        span = Span(start, end, now or end + timedelta(minutes=5), by_models=self.source == "batch")
        changes = judge(told, hits, self.log, Fleet(active, sizes, self._muted(end, hits)), span)
        return self.add(changes)

    def judge_all(self, hours: int) -> "Night":
        for hour in range(hours):
            self.judge(hour)
        return self

    def add(self, changes: pl.DataFrame) -> pl.DataFrame:
        """Append what the log does not hold yet, as the alert log does."""
        new = changes.unique("change_id", keep="first", maintain_order=True).join(
            self.log.select("change_id"), on="change_id", how="anti"
        )
        self.log = pl.concat([self.log, new])
        return new

    @property
    def board(self) -> pl.DataFrame:
        return fold(self.log)

    @property
    def told(self) -> pl.DataFrame:
        """The alerts that are not suppressed."""
        return self.board.filter(~pl.col("suppressed"))

    def _hits(self, rows: pl.DataFrame) -> pl.DataFrame:
        modes = [self.diagnoses.get(d, ("unknown", 0.0)) for d in rows["device_id"]]
        sites = [self.sites.get(d, "site-1") for d in rows["device_id"]]
        empty = {name: DEVICE_ALERTS.dtypes[name] for name in DIAGNOSIS}
        found = rows.with_columns(
            pl.Series("site_id", sites, dtype=STR),
            *(pl.lit(None, dtype=STR).alias(n) for n in ("site_name", "model", "maintenance_contact")),
            *(pl.lit(None, dtype=t).alias(n) for n, t in empty.items()),
            source=pl.lit(self.source),
        ).with_columns(
            pl.Series("failure_mode", [m for m, _ in modes], dtype=STR),
            pl.Series("diagnosis_confidence", [c for _, c in modes], dtype=pl.Float64),
        )
        return muted(found.with_columns(moment="window_end"), self._mutes).drop("moment")

    @property
    def _mutes(self) -> pl.DataFrame:
        return pl.DataFrame(list(self.mutes), schema=ALERT_MUTES.dtypes, orient="row")

    def _muted(self, end: datetime, hits: pl.DataFrame) -> dict[str, tuple[str, str | None]]:
        asked_for = sorted({*self.board["device_id"], *hits["device_id"]})
        devices = pl.DataFrame({"device_id": asked_for}, schema={"device_id": STR})
        sites = [self.sites.get(d, "site-1") for d in devices["device_id"]]
        asked = devices.with_columns(pl.Series("site_id", sites, dtype=STR), moment=pl.lit(end, dtype=TS))
        told = muted(asked, self._mutes).drop_nulls("mute_id")
        return {d: (m, why) for d, m, why in told.select("device_id", "mute_id", "mute_reason").iter_rows()}


assert timedelta(minutes=15) == WINDOW
