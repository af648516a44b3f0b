"""The stream's four rules as a Flink SQL job: the peer our stream is measured against.

Run by the interpreter of Flink's own environment; needs nothing of ours but the files. What is simpler than our rules
is simpler in Flink's favour: nothing is said of a start's or a defrost's aftermath, of late messages or of storms, and
the limits of a device are looked up for readings alone that break the loosest limit of the fleet.

Rows and alerts go to CSV files: Flink writes Parquet only with flink-sql-parquet, a JAR that PyPI does not have.
"""

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

SENSORS = (
    ("temperature_evaporator", "DOUBLE"),
    ("temperature_condenser", "DOUBLE"),
    ("temperature_ambient", "DOUBLE"),
    ("temperature_discharge", "DOUBLE"),
    ("temperature_suction", "DOUBLE"),
    ("pressure_high_side", "DOUBLE"),
    ("pressure_low_side", "DOUBLE"),
    ("current_compressor", "DOUBLE"),
    ("vibration_compressor", "DOUBLE"),
    ("humidity", "DOUBLE"),
    ("door_open_close", "BOOLEAN"),
    ("defrost_cycle", "BOOLEAN"),
    ("superheat", "DOUBLE"),
    ("subcooling", "DOUBLE"),
)
_NAMES = ", ".join(name for name, _ in SENSORS)
_TYPED = ", ".join(f"{name} {kind}" for name, kind in SENSORS)

# A device's clock that is wrong is not followed, else it would take the watermark along.
LINES = f"""
CREATE TABLE lines (
  event_id STRING, device_id STRING, `timestamp` TIMESTAMP_LTZ(6), timestamp_ingested TIMESTAMP_LTZ(6),
  readings ROW<{_TYPED}>,
  event_time AS CAST(CASE
    WHEN `timestamp` IS NULL THEN timestamp_ingested
    WHEN TIMESTAMPDIFF(MINUTE, timestamp_ingested, `timestamp`) >= 5 THEN timestamp_ingested
    WHEN TIMESTAMPDIFF(HOUR, `timestamp`, timestamp_ingested) >= 24 THEN timestamp_ingested
    ELSE `timestamp` END AS TIMESTAMP_LTZ(3)),
  WATERMARK FOR event_time AS event_time - INTERVAL '2' MINUTE
) WITH ('connector' = 'filesystem', 'path' = '{{lines}}', 'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601', 'json.ignore-parse-errors' = 'true')
"""
REGISTRY = """
CREATE TABLE registry (
  device_id STRING, current_threshold_a DOUBLE, vibration_baseline_mm_s DOUBLE, pressure_drop_fraction DOUBLE,
  temperature_rise_c_per_min DOUBLE,
  known_since AS TO_TIMESTAMP_LTZ(0, 3), WATERMARK FOR known_since AS known_since,
  PRIMARY KEY (device_id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = '{registry}', 'format' = 'csv', 'csv.null-literal' = 'null')
"""
ROWS = f"""
CREATE TABLE landed (
  event_id STRING, device_id STRING, `timestamp` TIMESTAMP_LTZ(6), timestamp_ingested TIMESTAMP_LTZ(6), {_TYPED}
) WITH ('connector' = 'filesystem', 'path' = '{{out}}/rows', 'format' = 'csv')
"""
ALERTS = """
CREATE TABLE alerts (device_id STRING, rule STRING, event_time TIMESTAMP_LTZ(3), measured DOUBLE)
WITH ('connector' = 'filesystem', 'path' = '{out}/alerts', 'format' = 'csv')
"""
# Each view looks back over one window, as Flink wants it: steps, five minutes, a day.
STEPS = """
CREATE TEMPORARY VIEW steps AS
SELECT *, LAG(evaporator, 1) OVER w AS evaporator_1, LAG(evaporator, 2) OVER w AS evaporator_2,
  LAG(evaporator, 3) OVER w AS evaporator_3, LAG(at_s, 1) OVER w AS at_1, LAG(at_s, 2) OVER w AS at_2,
  LAG(at_s, 3) OVER w AS at_3
FROM (
  SELECT device_id, event_time, readings.current_compressor AS amperes, readings.vibration_compressor AS vibration,
    readings.pressure_low_side AS pressure, readings.temperature_evaporator AS evaporator,
    COALESCE(readings.current_compressor, 10) > 1 AS turning, readings.defrost_cycle AS defrosting,
    TIMESTAMPDIFF(SECOND, TO_TIMESTAMP_LTZ(0, 3), event_time) AS at_s
  FROM `lines` WHERE device_id IS NOT NULL AND `timestamp` IS NOT NULL
) WINDOW w AS (PARTITION BY device_id ORDER BY event_time)
"""
RECENT = """
CREATE TEMPORARY VIEW recent AS
SELECT *, MAX(pressure) OVER w AS highest, MAX(CASE WHEN turning AND NOT COALESCE(defrosting, FALSE) THEN 0 ELSE 1 END)
  OVER w AS unsteady
FROM steps WINDOW w AS (
  PARTITION BY device_id ORDER BY event_time RANGE BETWEEN INTERVAL '5' MINUTE PRECEDING AND CURRENT ROW)
"""
DAY = """
CREATE TEMPORARY VIEW a_day AS
SELECT *, SUM(shaking) OVER w AS shaken, COUNT(shaking) OVER w AS shakes
FROM (SELECT *, CASE WHEN turning THEN vibration END AS shaking FROM recent) WINDOW w AS (
  PARTITION BY device_id ORDER BY event_time RANGE BETWEEN INTERVAL '24' HOUR PRECEDING AND CURRENT ROW)
"""
# `usual` is the mean of the readings before this one, or null where they are less than an hour's.
JUDGED = """
CREATE TEMPORARY VIEW judged AS
SELECT c.device_id, c.event_time, c.amperes, c.vibration, c.pressure, c.evaporator,
  c.amperes > r.current_threshold_a AS overload,
  c.shaking >= 1 AND c.shaking > 3 * COALESCE(c.usual, r.vibration_baseline_mm_s) AS spike,
  c.unsteady = 0 AND c.pressure < (1 - r.pressure_drop_fraction) * c.highest AS loss,
  c.unsteady = 0 AND c.rise_1 > r.temperature_rise_c_per_min AND c.rise_2 > r.temperature_rise_c_per_min
    AND c.rise_3 > r.temperature_rise_c_per_min AND c.at_s - c.at_3 >= 170 AS warm
FROM (
  SELECT *, CASE WHEN shakes > 60 THEN (shaken - shaking) / (shakes - 1) END AS usual,
    (evaporator - evaporator_1) * 60 / (at_s - at_1) AS rise_1,
    (evaporator_1 - evaporator_2) * 60 / (at_1 - at_2) AS rise_2,
    (evaporator_2 - evaporator_3) * 60 / (at_2 - at_3) AS rise_3
  FROM a_day
  WHERE (at_1 IS NULL OR at_s > at_1) AND (at_2 IS NULL OR at_1 > at_2) AND (at_3 IS NULL OR at_2 > at_3)
) AS c JOIN registry FOR SYSTEM_TIME AS OF c.event_time AS r ON c.device_id = r.device_id
WHERE c.amperes > {least_current} OR c.shaking > 3 * COALESCE(c.usual, {least_vibration})
  OR c.pressure < (1 - {least_drop}) * c.highest OR c.rise_1 > {least_rise}
"""
_RULES = {
    "compressor_overload": ("overload", "amperes"),
    "vibration_spike": ("spike", "vibration"),
    "acute_pressure_loss": ("loss", "pressure"),
    "total_cooling_loss": ("warm", "evaporator"),
}
_FIRED = " UNION ALL ".join(
    f"SELECT device_id, '{rule}' AS rule, event_time, {value} AS measured FROM judged WHERE {fired}"
    for rule, (fired, value) in _RULES.items()
)
INTO_ALERTS = f"""
INSERT INTO alerts SELECT device_id, rule, event_time, measured FROM (
  SELECT *, LAG(event_time) OVER (PARTITION BY device_id, rule ORDER BY event_time) AS before FROM ({_FIRED})
) WHERE before IS NULL OR TIMESTAMPDIFF(MINUTE, before, event_time) >= 10
"""
INTO_ROWS = f"""
INSERT INTO landed SELECT event_id, device_id, `timestamp`, timestamp_ingested,
  {", ".join(f"readings.{name}" for name, _ in SENSORS)}
FROM `lines` WHERE device_id IS NOT NULL AND `timestamp` IS NOT NULL
"""


def environment(parallelism: int, checkpoint_s: int, checkpoints: Path) -> TableEnvironment:
    """One process, state on the heap, kept (in files) and rows committed as often as our stream does."""
    settings = Configuration()
    for key, value in {
        "parallelism.default": str(parallelism),
        "execution.checkpointing.interval": f"{checkpoint_s} s",
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.dir": checkpoints.resolve().as_uri(),
        "restart-strategy.type": "none",
        "pipeline.object-reuse": "true",
        "table.local-time-zone": "UTC",
        "taskmanager.numberOfTaskSlots": str(parallelism),
        "taskmanager.memory.network.max": "256m",
    }.items():
        settings.set_string(key, value)
    return TableEnvironment.create(
        EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(settings).build()
    )


def loosest(registry: Path) -> dict[str, float]:
    """The limits that no reading keeps which breaks its own device's."""
    rows = [line.split(",") for line in registry.read_text().splitlines()]
    current, vibration, drop, rise = (
        min((float(row[column]) for row in rows if row[column] != "null"), default=1e9) for column in range(1, 5)
    )
    return {"least_current": current, "least_vibration": vibration, "least_drop": drop, "least_rise": rise}


def run(tables: TableEnvironment, lines: Path, registry: Path, out: Path) -> dict[str, float]:
    places = {"lines": lines, "registry": registry, "out": out}
    for table in (LINES, REGISTRY, ROWS, ALERTS):
        tables.execute_sql(table.format(**places))
    for view in (STEPS, RECENT, DAY, JUDGED.format(**loosest(registry))):
        tables.execute_sql(view)
    both = tables.create_statement_set()
    both.add_insert_sql(INTO_ROWS)
    both.add_insert_sql(INTO_ALERTS)
    client = both.execute().get_job_client()
    assert client is not None
    result = client.get_job_execution_result().result()
    return {"seconds": result.get_net_runtime() / 1000}


def _cpu_s() -> float:
    """Processor time of the JVM so far."""
    from pyflink.java_gateway import get_gateway

    pid = get_gateway().jvm.java.lang.ProcessHandle.current().pid()
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _give_up_after(seconds: float) -> None:
    def give_up() -> None:
        print(f"not done after {seconds:g} s", file=sys.stderr, flush=True)
        os._exit(1)  # the JVM ends when its standard input does

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=Path, required=True, help="folder of NDJSON files, as many as --parallelism")
    parser.add_argument("--registry", type=Path, required=True, help="CSV: device and its limits")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parallelism", type=int, default=2)
    parser.add_argument("--checkpoint-s", type=int, default=15)
    parser.add_argument("--at-most-s", type=float, default=900, help="give up after so long")
    given = parser.parse_args()
    _give_up_after(given.at_most_s)
    began = time.perf_counter()
    tables = environment(given.parallelism, given.checkpoint_s, given.out / "checkpoints")
    found = run(tables, given.lines, given.registry, given.out)
    found["with_start_s"] = time.perf_counter() - began
    found["cpu_s"] = _cpu_s()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
