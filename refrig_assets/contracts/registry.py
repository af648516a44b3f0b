"""C0 device_registry: the reference data about devices and their sites."""

from refrig_assets.contracts.base import F64, I32, STR, STRS, TS, Contract, column

DEFAULT_CURRENT_THRESHOLD_A = 40.0
DEFAULT_PRESSURE_DROP_FRACTION = 0.30
DEFAULT_TEMPERATURE_RISE_C_PER_MIN = 2.0
DEFAULT_INTERVAL_S = 60

DEVICE_REGISTRY = Contract(
    code="C0",
    name="device_registry",
    title="Device registry",
    description="Every device, where it stands, what it can measure, and its streaming thresholds.",
    key=("device_id",),
    columns={
        "device_id": column(STR, "device identity"),
        "site_id": column(STR, "site the device stands in"),
        "site_name": column(STR, "site's name", nullable=True),
        "region": column(STR, "region of the site", nullable=True),
        "climate_zone": column(STR, "climate zone of the site", nullable=True),
        "model": column(STR, "manufacturer's model", nullable=True),
        "cohort_id": column(STR, "devices alike in model and duty, compared with each other"),
        "install_date": column(TS, "when the device was installed", nullable=True),
        "firmware_version": column(STR, "controller firmware", nullable=True),
        "expected_sensors": column(STRS, "sensors this device is expected to report"),
        "expected_interval_s": column(I32, "expected time between readings", "s", gt=0),
        "status": column(STR, "active or retired", isin=("active", "retired")),
        "current_threshold_a": column(F64, "compressor overload limit", "A", gt=0),
        "vibration_baseline_mm_s": column(F64, "vibration baseline of the device", "mm/s RMS", ge=0, nullable=True),
        "pressure_drop_fraction": column(F64, "fall of low-side pressure in 5 min that alarms", "fraction", gt=0, le=1),
        "temperature_rise_c_per_min": column(F64, "evaporator rise that alarms", "°C/min", gt=0),
        "thresholds_updated_at": column(TS, "when the thresholds were last set", nullable=True),
        "site_manager": column(STR, "who runs the site (notification routing)", nullable=True),
        "maintenance_contact": column(STR, "who repairs at the site (notification routing)", nullable=True),
    },
)

# What an unset value means, applied when a registry is read.
REGISTRY_DEFAULTS: dict[str, object] = {
    "expected_interval_s": DEFAULT_INTERVAL_S,
    "status": "active",
    "current_threshold_a": DEFAULT_CURRENT_THRESHOLD_A,
    "pressure_drop_fraction": DEFAULT_PRESSURE_DROP_FRACTION,
    "temperature_rise_c_per_min": DEFAULT_TEMPERATURE_RISE_C_PER_MIN,
}
