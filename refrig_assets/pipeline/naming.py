"""Names that people write, held against the registry: an unknown device or site is an error of typing."""

from collections.abc import Collection

from refrig_assets.alerting.naming import unknown
from refrig_assets.contracts import DEVICE_REGISTRY
from refrig_assets.lake import Lake


def registered(lake: Lake, column: str) -> set[str]:
    """The devices, sites, models … of the registry."""
    rows = lake.table(DEVICE_REGISTRY).scan().select(column).collect(engine="in-memory")
    return set(rows[column].drop_nulls())


def check_device(lake: Lake, device_id: str) -> None:
    check_known(device_id, registered(lake, "device_id"), "device")


def check_site(lake: Lake, site_id: str) -> None:
    check_known(site_id, registered(lake, "site_id"), "site")


def check_known(name: str, names: Collection[str], what: str) -> None:
    """Without a registry every name may be right."""
    if names and name not in names:
        raise unknown(name, names, what)
