"""How often devices really report, counted over chunks of a source. Knows devices and times only."""

from typing import TYPE_CHECKING

import polars as pl

from refrig_assets.contracts.base import TS

if TYPE_CHECKING:
    from refrig_assets.transforms.mapping_report import MappingReport

_LAST = {"device_id": pl.String(), "timestamp_device": TS}
_COUNTS = {"device_id": pl.String(), "interval_s": pl.Float64(), "len": pl.UInt32()}
_TOLERANCE = 0.2
_COMPACT_ROWS = 1_000_000


class IntervalCounter:
    """A histogram of intervals a device; the last time of each device bridges chunks."""

    def __init__(self) -> None:
        self._last = pl.DataFrame(schema=_LAST)
        self._counts = pl.DataFrame(schema=_COUNTS)
        self._devices = pl.Series("device_id", [], dtype=pl.String)

    def add(self, rows: pl.DataFrame) -> None:
        """Times of devices in the order of the source."""
        ordered = pl.concat([self._last, rows]).sort("device_id", "timestamp_device")
        steps = ordered.with_columns(
            (pl.col("timestamp_device").diff().over("device_id").dt.total_milliseconds() / 1000).alias("interval_s")
        )
        counts = steps.filter(pl.col("interval_s") > 0).group_by("device_id", "interval_s").len()
        self._counts = pl.concat([self._counts, counts])
        if self._counts.height > _COMPACT_ROWS:
            self._counts = self._summed()
        self._last = rows.group_by("device_id").last()
        self._devices = pl.concat([self._devices, rows["device_id"]]).unique()

    def _summed(self) -> pl.DataFrame:
        return self._counts.group_by("device_id", "interval_s").agg(pl.col("len").sum())

    def finish(self, report: "MappingReport") -> None:
        """Put devices, the median of their median intervals, and those that differ from what is declared."""
        report.devices = self._devices.sort().to_list()
        ordered = self._summed().sort("device_id", "interval_s")
        if ordered.is_empty():
            return
        running = ordered.with_columns(
            pl.col("len").cum_sum().over("device_id").alias("so_far"),
            pl.col("len").sum().over("device_id").alias("all"),
        )
        median = (
            running.filter(pl.col("so_far") * 2 >= pl.col("all")).group_by("device_id", maintain_order=True).first()
        )
        report.median_interval_s = float(median["interval_s"].median())  # type: ignore[arg-type]
        off = median.filter((pl.col("interval_s") / report.declared_interval_s - 1).abs() > _TOLERANCE)
        report.off_interval = dict(off.select("device_id", "interval_s").iter_rows())
