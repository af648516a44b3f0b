"""C1 and C2: raw, clean and quarantined readings, dead letters, and the flags a reading can carry."""

from collections.abc import Mapping
from datetime import timedelta

import pandera.polars as pa

from refrig_assets.contracts.base import BOOL, F64, I32, I64, STR, STRS, TS, Contract, Freshness, column
from refrig_assets.contracts.sensors import SENSORS

DUPLICATE_REMOVED = "DUPLICATE_REMOVED"
DEVICE_UNKNOWN = "DEVICE_UNKNOWN"
RANGE_VIOLATION = "RANGE_VIOLATION"
CLOCK_DRIFT = "CLOCK_DRIFT"
SENSOR_GAP = "SENSOR_GAP"
READING_GAP = "READING_GAP"
NEGATIVE_SUPERHEAT = "NEGATIVE_SUPERHEAT"
NEGATIVE_SUBCOOLING = "NEGATIVE_SUBCOOLING"
# The order is the order of the flags in a row's list.
QUALITY_FLAGS: tuple[str, ...] = (
    DUPLICATE_REMOVED,
    DEVICE_UNKNOWN,
    RANGE_VIOLATION,
    CLOCK_DRIFT,
    SENSOR_GAP,
    READING_GAP,
    NEGATIVE_SUPERHEAT,
    NEGATIVE_SUBCOOLING,
)

CLOCK_DRIFT_LIMIT = timedelta(hours=24)
DUPLICATE_HORIZON = timedelta(days=7)
READING_GAP_INTERVALS = 5
RAW_RETENTION = timedelta(days=90)
DEAD_LETTER_LIMIT = 0.001
# Of raw readings where the stream lands them.
STREAM_RAW_FRESHNESS = Freshness(timedelta(minutes=2), timedelta(minutes=2), timedelta(minutes=2))


def _sensor_columns(in_range: bool) -> Mapping[str, pa.Column]:
    return {
        s.name: column(
            BOOL if s.is_bool else F64,
            s.description,
            s.unit,
            ge=s.low if in_range else None,
            le=s.high if in_range else None,
            nullable=True,
            nan=not in_range,
        )
        for s in SENSORS
    }


RAW_READINGS = Contract(
    code="C1",
    name="raw_sensor_readings",
    title="Raw sensor readings",
    description="Every reading as it arrived: append only, nothing judged, nothing mended.",
    hour_of="timestamp_ingested",
    group="ingestion",
    freshness=Freshness(timedelta(minutes=5), timedelta(minutes=5), timedelta(minutes=15)),
    service_levels=(
        "visible within 5 minutes of timestamp_ingested (within 2 where the stream runs)",
        "at least 99.5 % of what was sent lands",
        "ordered within a _partition_key",
        "kept 90 days",
    ),
    retention=RAW_RETENTION,
    columns={
        "event_id": column(STR, "message identity given by the gateway"),
        "device_id": column(STR, "device that measured"),
        "timestamp_device": column(TS, "device clock"),
        "timestamp_ingested": column(TS, "gateway clock"),
        **_sensor_columns(in_range=False),
        "_partition_key": column(STR, "source partition key (the device)"),
        "_sequence_number": column(I64, "offset within the source partition"),
    },
)

_CLEAN_COLUMNS = {
    "event_id": column(STR, "message identity given by the gateway"),
    "device_id": column(STR, "device that measured"),
    "timestamp_utc": column(TS, "time of the reading: device clock, or gateway clock where it drifted over 24 h"),
    **_sensor_columns(in_range=True),
    "quality_flags": column(STRS, f"what is odd about the row, of {', '.join(QUALITY_FLAGS)}; empty = clean"),
    "sensor_null_count": column(I32, "sensors without a value", ge=0, le=14),
    "timestamp_ingested": column(TS, "gateway clock; its hour is the partition", extension=True),
}

CLEAN_READINGS = Contract(
    code="C2",
    name="clean_sensor_readings",
    title="Clean sensor readings",
    description="One row an event: duplicates removed, ranges enforced, time settled, oddities flagged.",
    key=("event_id",),
    hour_of="timestamp_ingested",
    group="cleansing",
    freshness=Freshness(timedelta(minutes=15), timedelta(minutes=30), timedelta(hours=1)),
    service_levels=(
        "within 15 minutes of landing",
        "at least 99.9 % of valid rows appear",
        "no value outside its range",
        "raw rows = clean + duplicates + quarantined + dead-lettered, to the row",
    ),
    columns=_CLEAN_COLUMNS,
)

QUARANTINE_READINGS = Contract(
    code="C2",
    name="quarantine_sensor_readings",
    title="Quarantined sensor readings",
    description="Readings of devices the registry does not know, kept until it does.",
    key=("event_id",),
    hour_of="timestamp_ingested",
    group="cleansing",
    columns=_CLEAN_COLUMNS,
)

DEAD_LETTER = Contract(
    code="C1",
    name="dead_letter",
    title="Dead letters",
    description="What could not be read or holds nothing: the bytes, the reason, and where they came from.",
    hour_of="timestamp_ingested",
    group="ingestion",
    service_levels=("at most 0.1 % of an hour's messages",),
    columns={
        "timestamp_ingested": column(TS, "landing hour; of rows that cleansing rejected, the gateway clock"),
        "source_partition": column(STR, "file or transport partition"),
        "source_offset": column(I64, "byte or message offset in the source partition"),
        "reason": column(STR, "why it could not land"),
        "payload": column(STR, "raw bytes as text, base64 where not UTF-8"),
        "payload_encoding": column(STR, "how payload is written", isin=("utf-8", "base64")),
        "stage": column(STR, "where it was rejected", isin=("landing", "stream", "clean")),
        "event_id": column(STR, "message identity, where it could be read", nullable=True),
        "device_id": column(STR, "device, where it could be read", nullable=True),
    },
)
