"""One hour of readings, raw to clean to features, as a PySpark job: the peer our pipeline is measured against.

Run by the interpreter of Spark's own environment; needs nothing of ours but the files.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark_clean import CLEAN, judge
from pyspark_features import window_features

WINDOWS_MIN = (15, 60)


@dataclass(frozen=True)
class Hour:
    """The files of one hour and where its tables go. Optional ones are None where there is nothing."""

    raw: list[str]
    registry: str
    out: str
    hour: str | None = None
    history: str | None = None
    seen_before: str | None = None
    seen_later: str | None = None


def session(master: str, memory: str, jvm_options: str = "") -> SparkSession:
    """Two cores, one process: few partitions, the default columnar codecs, adaptive execution."""
    spark = (
        SparkSession.builder.master(master)
        .appName("refrigeration hour")
        .config("spark.driver.memory", memory)
        .config("spark.driver.extraJavaOptions", f"-XX:+UseParallelGC {jvm_options}")  # throughput, not short pauses
        .config("spark.sql.shuffle.partitions", 8)
        .config("spark.sql.adaptive.enabled", True)
        .config("spark.sql.autoBroadcastJoinThreshold", "64MB")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        # The three destinations are written in one pass without sorting by destination first.
        .config("spark.sql.maxConcurrentOutputFileWriters", 4)
        # Each task sees tens of thousands of windows: above the default of 128 groups percentiles would sort.
        .config("spark.sql.objectHashAggregate.sortBased.fallbackThreshold", 1_000_000)
        .config("spark.ui.enabled", False)
        .config("spark.ui.showConsoleProgress", False)
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def run(spark: SparkSession, hour: Hour) -> dict[str, float]:
    """Write the hour's tables; seconds by stage. Clean is read back for features, as it is in the lake."""
    began, cpu = time.perf_counter(), _cpu_s(spark)
    judged = judge(
        spark.read.parquet(*hour.raw),
        spark.read.parquet(hour.registry),
        _optional(spark, hour.history),
        _optional(spark, hour.seen_before),
        _optional(spark, hour.seen_later),
    )
    judged.write.partitionBy("destination").mode("overwrite").parquet(f"{hour.out}/judged")
    cleaned = time.perf_counter()
    clean = spark.read.schema(judged.drop("destination").schema).parquet(f"{hour.out}/judged/destination={CLEAN}")
    features = window_features(_of_hour(clean, hour.hour), WINDOWS_MIN)
    features.write.mode("overwrite").parquet(f"{hour.out}/features")
    done = time.perf_counter()
    return {
        "clean_s": cleaned - began,
        "features_s": done - cleaned,
        "total_s": done - began,
        "cpu_s": _cpu_s(spark) - cpu,
    }


def _cpu_s(spark: SparkSession) -> float:
    """Processor time of the JVM so far; what a busy machine disturbs less than the clock on the wall."""
    try:
        status = Path(f"/proc/{spark._jvm.java.lang.ProcessHandle.current().pid()}/stat").read_text()
    except OSError:
        return float("nan")
    user, system = status.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _optional(spark: SparkSession, path: str | None) -> DataFrame | None:
    return spark.read.parquet(path) if path else None


def _of_hour(clean: DataFrame, hour: str | None) -> DataFrame:
    if hour is None:
        return clean
    start = datetime.fromisoformat(hour)
    at = F.col("timestamp_utc")
    return clean.filter((at >= F.lit(start)) & (at < F.lit(start + timedelta(hours=1))))


def _warm_up(spark: SparkSession) -> None:
    spark.range(1000).groupBy((F.col("id") % 7).alias("k")).count().collect()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", nargs="+", help="Parquet files of the hour's raw readings")
    parser.add_argument("--registry", help="Parquet file of the device registry")
    parser.add_argument("--out", help="directory for judged/destination=… and features")
    parser.add_argument("--hour", help="ISO 8601: features of this hour's windows only")
    parser.add_argument("--history", help="Parquet file of device_hours before this hour")
    parser.add_argument("--seen-before", help="Parquet file with the event_id of events an earlier hour holds")
    parser.add_argument("--seen-later", help="Parquet file with the event_id of events a later hour holds again")
    parser.add_argument("--hours", type=Path, help="JSON list of objects with the fields above: several in one session")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--memory", default="6g")
    parser.add_argument("--jvm-options", default="", help="further options of the JVM")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.hours and not (arguments.raw and arguments.registry and arguments.out):
        parser.error("--raw, --registry and --out are needed, or --hours")
    return arguments


def _hours(arguments: argparse.Namespace) -> list[Hour]:
    if arguments.hours:
        return [Hour(**fields) for fields in json.loads(arguments.hours.read_text())]
    return [Hour(**{name: getattr(arguments, name) for name in Hour.__dataclass_fields__})]


def main() -> None:
    arguments = _arguments()
    began = time.perf_counter()
    spark = session(arguments.master, arguments.memory, arguments.jvm_options)
    _warm_up(spark)
    started = time.perf_counter() - began
    results = []
    for hour in _hours(arguments):
        seconds = run(spark, hour)
        seconds["with_start_s"] = seconds["total_s"] + started
        results.append({"hour": asdict(hour), "seconds": seconds})
    spark.stop()
    for result in results:
        told = ", ".join(f"{name} {value:.2f}" for name, value in result["seconds"].items())
        print(json.dumps(result) if arguments.json else f"{result['hour']['out']}: {told}")


if __name__ == "__main__":
    main()
