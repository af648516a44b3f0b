"""How often devices really report, counted over chunks of a source. Knows devices and times only."""

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from refrig_assets.transforms.mapping_report import MappingReport

_LAST = {"key": pl.UInt64(), "at": pl.Int64()}
_COUNTS = {"key": pl.UInt64(), "step": pl.Int64(), "len": pl.UInt32()}
_TOLERANCE = 0.2
_COMPACT_ROWS = 1_000_000


class IntervalCounter:
    """A histogram of intervals a device, in milliseconds; the last time of each device bridges chunks."""

    def __init__(self) -> None:
        self._last = pl.DataFrame(schema=_LAST)
        self._counts = pl.DataFrame(schema=_COUNTS)
        self._names = pl.DataFrame(schema={"key": pl.UInt64(), "device_id": pl.String()})

    def add(self, rows: pl.DataFrame) -> None:
        """Times of devices in the order of the source."""
        keyed = rows.select("device_id", key=pl.col("device_id").hash(), at=pl.col("timestamp_device").dt.epoch("ms"))
        ordered = pl.concat([self._last, keyed.select("key", "at")]).sort("key", "at")
        steps = ordered.select("key", step=pl.when(pl.col("key") == pl.col("key").shift(1)).then(pl.col("at").diff()))
        self._counts = pl.concat([self._counts, steps.filter(pl.col("step") > 0).group_by("key", "step").len()])
        if self._counts.height > _COMPACT_ROWS:
            self._counts = self._summed()
        # A device that this chunk lacks keeps the time of an earlier one.
        self._last = pl.concat([self._last, keyed.select("key", "at")]).group_by("key").last()
        self._names = pl.concat([self._names, keyed.select("key", "device_id").unique("key")]).unique("key")

    def _summed(self) -> pl.DataFrame:
        return self._counts.group_by("key", "step").agg(pl.col("len").sum())

    def finish(self, report: "MappingReport") -> None:
        """Put devices, the median of their median intervals, and those that differ from what is declared."""
        report.devices = self._names["device_id"].sort().to_list()
        ordered = self._summed().sort("key", "step")
        if ordered.is_empty():
            return
        running = ordered.with_columns(
            so_far=pl.col("len").cum_sum().over("key"), all=pl.col("len").sum().over("key"),
            interval_s=pl.col("step") / 1000,
        )  # fmt: skip
        median = running.filter(pl.col("so_far") * 2 >= pl.col("all")).group_by("key", maintain_order=True).first()
        report.median_interval_s = float(median["interval_s"].median())  # type: ignore[arg-type]
        off = median.filter((pl.col("interval_s") / report.declared_interval_s - 1).abs() > _TOLERANCE)
        off = off.join(self._names, on="key").sort("device_id")
        report.off_interval = dict(off.select("device_id", "interval_s").iter_rows())
