"""Tables the pipeline keeps about its own work: landed files, event ids, devices by hour, refreshes, daily quality."""

from refrig_assets.contracts.base import DATE, F64, I32, I64, STR, TS, Contract, column
from refrig_assets.contracts.readings import DUPLICATE_HORIZON, QUALITY_FLAGS
from refrig_assets.contracts.sensors import SENSOR_NAMES

LANDING_OUTCOMES = ("landed", "same_content", "unreadable")

LANDING_LOG = Contract(
    code="-",
    name="landing_log",
    title="Landing log",
    description="Every landing file that was taken, with what became of its messages.",
    hour_of="landing_hour",
    group="ingestion",
    columns={
        "landing_hour": column(TS, "hour of the landing folder"),
        "path": column(STR, "file, relative to the landing directory"),
        "sha256": column(STR, "content taken"),
        "bytes": column(I64, "bytes taken", "B", ge=0),
        "outcome": column(STR, "what became of the file", isin=LANDING_OUTCOMES),
        "messages": column(I64, "messages in the file", ge=0),
        "rows_landed": column(I64, "raw rows written", ge=0),
        "messages_joined": column(I64, "narrow messages that joined another's row", ge=0),
        "dead_letters": column(I64, "messages rejected", ge=0),
        "unknown_fields": column(I64, "messages with a field we do not know", ge=0),
        "detail": column(STR, "reason or other file's name", nullable=True),
        "landed_at": column(TS, "when it was taken"),
    },
)

EVENT_INDEX = Contract(
    code="-",
    name="event_index",
    title="Event index",
    description="64-bit hashes of the event ids of each raw hour, sorted: what finds duplicates days apart.",
    hour_of="hour",
    group="cleansing",
    retention=2 * DUPLICATE_HORIZON,
    columns={
        "hour": column(TS, "hour of timestamp_ingested"),
        "event_hash": column(I64, "hash of event_id"),
    },
)

DEVICE_HOURS = Contract(
    code="-",
    name="device_hours",
    title="Devices by hour",
    description="When a device was heard in a clean hour and which sensors it reported: what finds gaps.",
    key=("hour", "device_id"),
    hour_of="hour",
    group="cleansing",
    columns={
        "hour": column(TS, "hour of timestamp_ingested"),
        "device_id": column(STR, "device"),
        "first_reading": column(TS, "earliest timestamp_utc"),
        "last_reading": column(TS, "latest timestamp_utc"),
        "sensors_reported": column(I32, "bit set of sensors reported, in the order of the sensors", ge=0),
    },
)

HOUR_ACCOUNTS = Contract(
    code="-",
    name="hour_accounts",
    title="Accounts of hours",
    description="Where every row of an hour went, by table, and which other hours it drew on; shows what is stale.",
    hour_of="hour",
    group="operations",
    columns={
        "hour": column(TS, "hour of the table's partition"),
        "table": column(STR, "table the account is of"),
        "account": column(STR, "what is counted"),
        "other_hour": column(TS, "the other hour, for what an hour shares with others", nullable=True),
        "rows": column(I64, "rows", ge=0),
    },
)

DATA_QUALITY_DAILY = Contract(
    code="-",
    name="data_quality_daily",
    title="Daily data quality",
    description="One row a day: what arrived, what became of it, how complete it was.",
    key=("day",),
    group="quality",
    columns={
        "day": column(DATE, "UTC day of timestamp_ingested"),
        "messages": column(I64, "messages taken from files", ge=0),
        "raw_rows": column(I64, "raw rows", ge=0),
        "clean_rows": column(I64, "clean rows", ge=0),
        "duplicate_rows": column(I64, "duplicates removed", ge=0),
        "quarantined_rows": column(I64, "rows of unknown devices", ge=0),
        "dead_letters": column(I64, "messages and rows dead-lettered", ge=0),
        "late_rows": column(I64, "rows whose event hour is not their ingestion hour", ge=0),
        "landed_fraction": column(F64, "landed and accounted / sent", "fraction", ge=0, le=1),
        "devices_reporting": column(I64, "devices heard", ge=0),
        "devices_active": column(I64, "active devices in the registry", ge=0),
        "completeness": column(F64, "readings / readings the registry leads one to expect", "fraction", ge=0),
        **{f"flag_{f.lower()}": column(I64, f"rows flagged {f}", ge=0) for f in QUALITY_FLAGS},
        **{f"null_rate_{s}": column(F64, f"share of rows without {s}", "fraction", ge=0, le=1) for s in SENSOR_NAMES},
        "hours_present": column(I32, "hours of the day with clean rows", ge=0, le=24),
    },
)
