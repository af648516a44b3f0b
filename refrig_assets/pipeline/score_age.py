"""How old the newest scores are, and what alerts may rest on because of it (the fallback table). `now` is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import polars as pl

from refrig_assets.contracts.modelling import MODEL_SCORES
from refrig_assets.contracts.scoring import (
    DETECTORS,
    EXPIRED_AFTER,
    HOURLY_DETECTORS,
    STALE_AFTER,
    USE_BY,
    VERY_STALE_AFTER,
)
from refrig_assets.lake import HOUR, Lake
from refrig_assets.monitoring.freshness import describe
from refrig_assets.pipeline.hours import floor_hour

Status = Literal["fresh", "stale", "very_stale", "expired"]
Use = Literal["scores", "rules", "stream"]
_USE: Mapping[Status, Use] = {"fresh": "scores", "stale": "scores", "very_stale": "rules", "expired": "stream"}
_SAYS: Mapping[Status, str] = {
    "fresh": "as they should be",
    "stale": "stale: shown with a warning",
    "very_stale": "very stale: alerts come from the rules on features",
    "expired": "expired: no longer shown as current, the stream alone alerts",
}
# Beyond this a model's last scores are of no use to anybody.
LOOK_BACK = timedelta(hours=30)


@dataclass(frozen=True)
class ScoreAge:
    """The end of the newest window that each model has scored as champion, and what follows at a moment."""

    at: datetime
    newest: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def age(self) -> timedelta | None:
        """Of the newest scores of any model; None where there are none."""
        return self.at - max(self.newest.values()) if self.newest else None

    @property
    def status(self) -> Status:
        age = self.age
        if age is None or age > EXPIRED_AFTER:
            return "expired"
        if age < STALE_AFTER:
            return "fresh"
        return "stale" if age < VERY_STALE_AFTER else "very_stale"

    @property
    def use(self) -> Use:
        """What alerts rest on."""
        return _USE[self.status]

    @property
    def failing(self) -> dict[str, timedelta | None]:
        """Hourly models whose last good scores are too old to stand in, or that have none, with their age."""
        ages = {m: self.at - self.newest[m] if m in self.newest else None for m in HOURLY_DETECTORS}
        return {m: age for m, age in ages.items() if age is None or age > USE_BY}

    @property
    def says(self) -> str:
        age = self.age
        if age is None:
            return f"no scores of the last {describe(LOOK_BACK)}: the stream alone alerts"
        told = f"the newest scores are {describe(age)} old, {_SAYS[self.status]}"
        if not self.failing or self.use != "scores":
            return told
        return f"{told}; without {', '.join(self.failing)}, whose last good scores are past their use-by"


def score_age(lake: Lake, now: datetime) -> ScoreAge:
    """What model_scores holds of the detectors by now, hour by hour back until every one of them is found."""
    table = lake.table(MODEL_SCORES)
    newest: dict[str, datetime] = {}
    hour = floor_hour(now)
    files = table.files(start=hour - LOOK_BACK, end=hour + HOUR)
    while hour > now - LOOK_BACK and len(newest) < len(DETECTORS):
        held = [f for f in files if f.touches(hour, hour + HOUR - timedelta(microseconds=1))]
        if held:
            mine = pl.col("model_id").is_in(DETECTORS) & (pl.col("deployment_role") == "champion")
            this_hour = pl.col("window_start").is_between(hour, hour + HOUR, closed="left")
            found = (
                table.scan_files(held)
                .filter(mine & this_hour & (pl.col("window_end") <= now))
                .group_by("model_id")
                .agg(pl.col("window_end").max())
                .collect()
            )
            newest = dict(found.iter_rows()) | newest
        hour -= HOUR
    return ScoreAge(now, dict(sorted(newest.items())))
