"""What is known of windows, as of a moment: labels of people and systems, repairs. Frames in, frames out.

| said | of which windows | what becomes of them |
|---|---|---|
| failure_confirmed | the 7 days before the failure | pre_failure |
| failure_confirmed | from the failure to the repair, at most 7 days | left out (broken) |
| anomaly_confirmed | the 24 h before it | anomaly_confirmed |
| false_positive | the 24 h before it | false_positive |
| normal_operation | the 24 h before it | normal |
| planned_maintenance, completed maintenance | the 48 h after it | left out (maintenance) |

A window is labelled only if it ended 24 h before the label was given; an ill one nearer to it is left out (label_buffer).
Where several speak of a window the worse is believed, then the surer, then the later; of what was said of one alert,
the last. Who is less sure than 0.5 is not heard.
"""  # noqa: E501

from datetime import datetime, timedelta

import polars as pl

from refrig_assets.alerting.labelling import TAKEN_BACK
from refrig_assets.contracts.base import STR, TS

LABEL_DELAY_BUFFER = timedelta(hours=24)
BEFORE_FAILURE = timedelta(days=7)
AFTER_FAILURE = timedelta(days=7)
BEFORE_SAID = timedelta(hours=24)
AFTER_MAINTENANCE = timedelta(hours=48)
LEAST_CONFIDENCE = 0.5

# label_type: (label, how far back it reaches, rank among labels, whether the windows are ill)
_MEANS = {
    "failure_confirmed": ("pre_failure", BEFORE_FAILURE, 4, True),
    "anomaly_confirmed": ("anomaly_confirmed", BEFORE_SAID, 3, True),
    "false_positive": ("false_positive", BEFORE_SAID, 2, False),
    "normal_operation": ("normal", BEFORE_SAID, 1, False),
}
_WINDOW = ["device_id", "window_start", "window_end"]


def known_labels(labels: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """The labels that had been given by then, the last of each alert, of those who are sure enough.

    A confidence of 0 takes back what was said of the alert before.
    """
    confidence = pl.col("label_confidence")
    heard = (confidence >= LEAST_CONFIDENCE) | (confidence == TAKEN_BACK)
    said = labels.filter((pl.col("labeled_at") <= as_of) & heard)
    order = ["device_id", "labeled_at", "event_timestamp", "label_type"]
    said = said.sort(order).with_row_index("said")
    last = pl.col("said") == pl.col("said").max().over("device_id", "alert_id")
    last_word = said.filter(pl.col("alert_id").is_null() | last).drop("said")
    return last_word.filter(confidence >= LEAST_CONFIDENCE)


def judge_windows(
    windows: pl.DataFrame, labels: pl.DataFrame, maintenance: pl.DataFrame, as_of: datetime
) -> pl.DataFrame:
    """Each window's key with label, label_source and left_out (why it must not be trained on); one row a window."""
    keys = windows.select(_WINDOW)
    said = known_labels(labels, as_of)
    done = maintenance.filter(pl.col("completed_date") <= as_of).select("device_id", at="completed_date")
    label = _labels(keys, said)
    out = _left_out(keys, said, done)
    found = keys.join(label, on=_WINDOW, how="left", maintain_order="left")
    found = found.join(out, on=_WINDOW, how="left", maintain_order="left")
    return found.with_columns(left_out=pl.coalesce("left_out", "near_label")).drop("near_label")


def _labels(keys: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """The label of each window that has one; `near_label` where it is ill and the label came too soon after it."""
    means = pl.DataFrame(
        [(kind, *meaning) for kind, meaning in _MEANS.items()],
        schema={"label_type": STR, "label": STR, "reach": pl.Duration("us"), "rank": pl.Int64(), "ill": pl.Boolean()},
        orient="row",
    )
    spoken = said.join(means, on="label_type", how="inner").select(
        "device_id",
        "event_timestamp",
        "labeled_at",
        "label_confidence",
        "label_source",
        "label",
        "reach",
        "rank",
        "ill",
    )
    end = pl.col("window_end")
    about = keys.join(spoken, on="device_id", how="inner").filter(
        (end > pl.col("event_timestamp") - pl.col("reach")) & (end <= pl.col("event_timestamp"))
    )
    early = end <= pl.col("labeled_at") - LABEL_DELAY_BUFFER
    about = about.filter(early | pl.col("ill")).with_columns(early=early)
    best = about.sort(
        [*_WINDOW, "rank", "label_confidence", "labeled_at", "event_timestamp"],
        descending=[False] * len(_WINDOW) + [True] * 4,
    ).unique(_WINDOW, keep="first", maintain_order=True)
    return best.select(
        *_WINDOW,
        label=pl.when("early").then("label"),
        label_source=pl.when("early").then("label_source"),
        near_label=pl.when(~pl.col("early")).then(pl.lit("label_buffer")),
    )


def _left_out(keys: pl.DataFrame, said: pl.DataFrame, done: pl.DataFrame) -> pl.DataFrame:
    """The windows in which the device was broken or had just been worked on."""
    spans = pl.concat(
        [
            _broken(said.filter(pl.col("label_type") == "failure_confirmed"), done),
            _span(done, pl.col("at"), pl.col("at") + AFTER_MAINTENANCE, "maintenance"),
            _span(
                said.filter(pl.col("label_type") == "planned_maintenance"),
                pl.col("event_timestamp"),
                pl.col("event_timestamp") + AFTER_MAINTENANCE,
                "maintenance",
            ),
        ]
    )
    inside = keys.join(spans, on="device_id", how="inner").filter(
        (pl.col("window_end") > pl.col("from")) & (pl.col("window_start") < pl.col("to"))
    )
    return inside.group_by(_WINDOW).agg(pl.col("left_out").max())


def _broken(failures: pl.DataFrame, done: pl.DataFrame) -> pl.DataFrame:
    """From each failure to the first repair after it, or for as long as a failure is taken to last."""
    repaired = (
        failures.select("device_id", "event_timestamp")
        .join(done, on="device_id", how="inner")
        .filter(pl.col("at") >= pl.col("event_timestamp"))
        .group_by("device_id", "event_timestamp")
        .agg(pl.col("at").min())
    )
    longest = pl.col("event_timestamp") + AFTER_FAILURE
    failures = failures.select("device_id", "event_timestamp").join(
        repaired, on=["device_id", "event_timestamp"], how="left"
    )
    return _span(failures, pl.col("event_timestamp"), pl.min_horizontal("at", longest), "broken")


def _span(frame: pl.DataFrame, start: pl.Expr, end: pl.Expr, why: str) -> pl.DataFrame:
    return frame.select("device_id", start.cast(TS).alias("from"), end.cast(TS).alias("to"), left_out=pl.lit(why))
