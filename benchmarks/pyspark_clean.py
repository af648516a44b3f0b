"""The rules of C2 in PySpark: raw rows of one hour in, judged rows out. Runs in Spark's own environment.

The sensors and limits are written out again on purpose: the peer shares no code with what it is compared to.
"""

from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812  (the name everybody gives it)

RANGES: dict[str, tuple[float, float] | None] = {
    "temperature_evaporator": (-60, 30),
    "temperature_condenser": (20, 80),
    "temperature_ambient": (-40, 60),
    "temperature_discharge": (30, 150),
    "temperature_suction": (-40, 30),
    "pressure_high_side": (500, 3500),
    "pressure_low_side": (50, 800),
    "current_compressor": (0, 50),
    "vibration_compressor": (0, 100),
    "humidity": (0, 100),
    "door_open_close": None,
    "defrost_cycle": None,
    "superheat": (-5, 50),
    "subcooling": (-5, 30),
}
SENSORS = list(RANGES)
BIT = {sensor: 1 << i for i, sensor in enumerate(SENSORS)}
ALL_BITS = sum(BIT.values())
DEFAULT_INTERVAL_S = 60
GAP_INTERVALS = 5
DRIFT_LIMIT_US = 24 * 3600 * 1_000_000
CLEAN_COLUMNS = [
    "event_id",
    "device_id",
    "timestamp_utc",
    *SENSORS,
    "quality_flags",
    "sensor_null_count",
    "timestamp_ingested",
]
CLEAN, QUARANTINE, DEAD = "clean", "quarantine", "dead"


def judge(
    raw: DataFrame,
    registry: DataFrame,
    history: DataFrame | None = None,
    seen_before: DataFrame | None = None,
    seen_later: DataFrame | None = None,
) -> DataFrame:
    """Every row that stays, with the contract's columns and the `destination` it belongs to."""
    rows = _without_duplicates(raw, seen_before, seen_later)
    rows = _with_time(rows).join(F.broadcast(_devices(registry, history)), "device_id", "left")
    rows = _with_gaps(rows.withColumn("reported", _reported_bits()))
    mended, violated = _ranges()
    rows = rows.withColumn("violated", violated).withColumns(mended)
    destination = F.when(F.col("registered").isNull(), QUARANTINE).when(F.col("reported") == 0, DEAD).otherwise(CLEAN)
    nulls = sum((F.col(s).isNull().cast("int") for s in SENSORS), F.lit(0))
    return rows.withColumns({"quality_flags": _flags(), "sensor_null_count": nulls, "destination": destination}).select(
        *CLEAN_COLUMNS, "destination"
    )


def _without_duplicates(raw: DataFrame, seen_before: DataFrame | None, seen_later: DataFrame | None) -> DataFrame:
    """The first row of each event; `repeated` where it had others, in this hour or another.

    Duplicates are few, so they are found by a hash of the event alone and broadcast: the wide rows are not shuffled
    for them. A hash that two events share only adds candidates.
    """
    # A row's place in its file settles what the four columns of the rule leave open.
    place = F.struct(F.col("_metadata.file_path").alias("file"), F.col("_metadata.row_index").alias("row"))
    raw = raw.withColumn("place", place)
    event = F.xxhash64("event_id").alias("event")
    twice = raw.select(event).groupBy("event").count().filter("count > 1")
    rank = F.struct("_sequence_number", "timestamp_ingested", "timestamp_device", "device_id", "place")
    first = (
        raw.join(F.broadcast(twice), event == twice["event"], "left_semi")
        .groupBy("event_id")
        .agg(F.min(rank).alias("first"), F.count("*").alias("copies"))
        .filter("copies > 1")
        .drop("copies")
    )
    rows = (
        raw.join(F.broadcast(first), "event_id", "left")
        .filter(F.col("first").isNull() | (F.col("first.place") == F.col("place")))
        .withColumn("repeated", F.col("first").isNotNull())
        .drop("place", "first", "_partition_key")
    )
    if seen_before is not None:
        rows = rows.join(F.broadcast(seen_before.select("event_id").distinct()), "event_id", "left_anti")
    if seen_later is not None:
        later = seen_later.select("event_id").distinct().withColumn("later", F.lit(True))
        rows = rows.join(F.broadcast(later), "event_id", "left")
        rows = rows.withColumn("repeated", F.col("repeated") | F.col("later").isNotNull()).drop("later")
    return rows


def _with_time(rows: DataFrame) -> DataFrame:
    apart = F.abs(F.unix_micros("timestamp_device") - F.unix_micros("timestamp_ingested")) > DRIFT_LIMIT_US
    return (
        rows.withColumn("drifted", apart)
        .withColumn("timestamp_utc", F.when(apart, F.col("timestamp_ingested")).otherwise(F.col("timestamp_device")))
        .drop("timestamp_device")
    )


def _devices(registry: DataFrame, history: DataFrame | None) -> DataFrame:
    """What is expected of each device, and where history is given, what it reported and when it was heard."""
    expected = sum((F.array_contains("expected_sensors", s).cast("int") * bit for s, bit in BIT.items()), F.lit(0))
    devices = registry.select(
        "device_id", "expected_interval_s", expected.alias("expected_bits"), F.lit(True).alias("registered")
    )
    if history is None:
        return devices
    past = history.groupBy("device_id").agg(
        F.bit_or("sensors_reported").alias("past_bits"),
        F.max("last_reading").alias("last_heard"),
        F.collect_list(F.struct("first_reading", "last_reading")).alias("heard"),
    )
    return devices.join(past, "device_id", "full").withColumn(
        "expected_bits", _or_zero("expected_bits").bitwiseOR(_or_zero("past_bits"))
    )


def _or_zero(column: str) -> Column:
    return F.coalesce(column, F.lit(0))


def _reported_bits() -> Column:
    return sum((F.col(s).isNotNull().cast("int") * bit for s, bit in BIT.items()), F.lit(0))


def _with_gaps(rows: DataFrame) -> DataFrame:
    """READING_GAP and SENSOR_GAP look back over the device's rows in the order of their time."""
    by_time = Window.partitionBy("device_id").orderBy("timestamp_utc", "_sequence_number", "event_id")
    earlier = by_time.rowsBetween(Window.unboundedPreceding, -1)
    rows = rows.withColumns(
        {"previous": F.lag("timestamp_utc").over(by_time), "earlier_bits": F.bit_or("reported").over(earlier)}
    )
    before = F.greatest("previous", _heard_before()) if "heard" in rows.columns else F.col("previous")
    waited_us = F.unix_micros("timestamp_utc") - F.unix_micros(before)
    limit_us = F.coalesce("expected_interval_s", F.lit(DEFAULT_INTERVAL_S)).cast("long") * (GAP_INTERVALS * 1_000_000)
    awaited = _or_zero("expected_bits").bitwiseOR(_or_zero("earlier_bits"))
    missing = F.lit(ALL_BITS) - F.col("reported")
    return rows.withColumns(
        {
            "reading_gap": F.coalesce(waited_us > limit_us, F.lit(False)),
            "sensor_gap": missing.bitwiseAND(awaited) != 0,
        }
    )


def _heard_before() -> Column:
    """The latest moment before the row that history knows of; only late rows need more than the last of all."""
    now = F.col("timestamp_utc")

    def latest_of(hour: Column) -> Column:
        return F.when(hour["last_reading"] < now, hour["last_reading"]).when(
            hour["first_reading"] < now, hour["first_reading"]
        )

    of_late_rows = F.array_max(F.transform("heard", latest_of))
    return F.when(F.col("last_heard") < now, F.col("last_heard")).otherwise(of_late_rows)


def _ranges() -> tuple[dict[str, Column], Column]:
    """Sensors with values out of range made null, and whether the row had one. NaN compares above every number."""
    mended, violated = {}, F.lit(False)
    for sensor, limits in RANGES.items():
        if limits is not None:
            inside = F.col(sensor).between(*limits)
            mended[sensor] = F.when(inside, F.col(sensor))
            violated = violated | F.coalesce(~inside, F.lit(False))
    return mended, violated


def _flags() -> Column:
    """The names of the flags that hold, in the contract's order. Most rows have none and skip the list's making."""
    holds = {
        "DUPLICATE_REMOVED": F.col("repeated"),
        "DEVICE_UNKNOWN": F.col("registered").isNull(),
        "RANGE_VIOLATION": F.col("violated"),
        "CLOCK_DRIFT": F.col("drifted"),
        "SENSOR_GAP": F.col("sensor_gap"),
        "READING_GAP": F.col("reading_gap"),
        "NEGATIVE_SUPERHEAT": F.coalesce(F.col("superheat") < 0, F.lit(False)),
        "NEGATIVE_SUBCOOLING": F.coalesce(F.col("subcooling") < 0, F.lit(False)),
    }
    some = reduce(or_, holds.values())
    names = F.array_compact(F.array(*[F.when(flag, F.lit(name)) for name, flag in holds.items()]))
    return F.when(some, names).otherwise(F.array().cast("array<string>"))
