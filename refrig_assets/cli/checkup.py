"""The examinations behind `refrig doctor`: each looks at one thing and says what it found and what to do."""

import importlib
import os
import re
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refrig_assets.lake import Lake
    from refrig_assets.models.registry import Registry

MIN_MEMORY_GB, MIN_DISK_GB, FULL_DISK_GB = 4.0, 5.0, 0.5
PYTHONS = ((3, 11), (3, 13))
_SKEW_WARN_S, _SKEW_ERROR_S = 5.0, 300.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PIN = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*==\s*([^\s;#]+)")


@dataclass(frozen=True)
class Finding:
    name: str
    level: str
    found: str
    remedy: str = ""


def examine(
    lake: "Lake", registry: "Registry", landing: Path, devices_file: Path, port: int, now: datetime
) -> list[Finding]:
    """Every examination, in the order one would put things right."""
    of_lake = lake_findings(lake)
    return [
        python_version(),
        package_versions(_constraints_file()),
        *of_lake,
        *([] if any(f.level == "error" for f in of_lake) else device_registry(lake, devices_file)),
        landing_directory(landing),
        model_registry(registry),
        torch_version(),
        notifications(lake),
        dagster_home(),
        port_free(port),
        memory(),
        disk(lake),
        cpus(),
        clock(lake, now),
    ]


def python_version() -> Finding:
    have = sys.version_info[:2]
    told = f"Python {sys.version.split()[0]}"
    if PYTHONS[0] <= have < PYTHONS[1]:
        return Finding("python", "ok", told)
    low, high = (".".join(map(str, v)) for v in PYTHONS)
    return Finding("python", "error", told, f"use Python {low} or newer, before {high}")


def _constraints_file() -> Path | None:
    places = (Path.cwd(), Path(__file__).resolve().parents[2])
    return next((p / "constraints.txt" for p in places if (p / "constraints.txt").is_file()), None)


def package_versions(constraints: Path | None) -> Finding:
    """Installed packages against those this release was tested with."""
    if constraints is None:
        versions = ", ".join(f"{n} {metadata.version(n)}" for n in ("polars", "deltalake", "dagster"))
        return Finding("packages", "ok", f"{versions} (no constraints.txt here to compare with)")
    pins = [m.groups() for line in constraints.read_text().splitlines() if (m := _PIN.match(line))]
    other, absent = [], []
    for name, wanted in pins:
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if have.partition("+")[0] != wanted.partition("+")[0]:  # torch 2.13.0+cpu is torch 2.13.0
            other.append(f"{name} {have} instead of {wanted}")
    if other:
        told = f"{len(other)} of {len(pins)} differ from {constraints.name}: {', '.join(other[:5])}"
        return Finding("packages", "warn", told, f"pip install -c {constraints} -e .")
    extra = f", {len(absent)} of them not installed (extras)" if absent else ""
    return Finding("packages", "ok", f"{len(pins)} as in {constraints.name}{extra}")


def lake_findings(lake: "Lake") -> list[Finding]:
    """Whether the lake can be written, or reached, and has its tables."""
    from refrig_assets.lake.files import is_local

    if is_local(lake.uri):
        problem = _unwritable(Path(lake.uri))
        if problem:
            remedy = "correct its permissions, or point --lake or REFRIG_LAKE to another place"
            return [Finding("lake", "error", f"{lake.uri} is not writable: {problem}", remedy)]
    try:
        missing = lake.missing_tables()
        older = lake.outgrown_tables()
    except Exception as error:  # object stores raise their own kinds
        first = " ".join(_COLOURS.sub("", str(error)).split())
        remedy = "check the URI, the network and REFRIG_STORAGE_OPTIONS (credentials, endpoint)"
        return [Finding("lake", "error", f"{lake.uri} cannot be reached: {first[:200]}", remedy)]
    reached = Finding("lake", "ok", f"{lake.uri} is {'writable' if is_local(lake.uri) else 'reachable'}")
    if missing:
        remedy = "refrig doctor --create"
        return [reached, Finding("tables", "warn", f"{len(missing)} missing: {', '.join(missing[:4])} …", remedy)]
    if older:
        name, lacking = next(iter(older.items()))
        told = f"{len(older)} made by an earlier version: {name} lacks {', '.join(lacking[:3])} …"
        return [reached, Finding("tables", "warn", told, "refrig doctor --create adds it; rows stay as they are")]
    return [reached, Finding("tables", "ok", "all there")]


def _unwritable(path: Path) -> str | None:
    """Why nothing can be written there, tried with a file; a folder not there yet is judged by the one above it."""
    place = path.absolute()
    try:
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            return f"{place} is a file"
        with tempfile.NamedTemporaryFile(dir=place, prefix=".refrig-doctor-") as probe:
            probe.write(b"ok")
            probe.flush()
    except OSError as error:
        return error.strerror or str(error)
    return None


def device_registry(lake: "Lake", file: Path) -> list[Finding]:
    """Whether devices are registered: stream and pipeline know no others. Nothing where the lake lacks the table."""
    from refrig_assets.contracts.registry import DEVICE_REGISTRY
    from refrig_assets.pipeline.registry import RegistryError, read_registry

    if not lake.has(DEVICE_REGISTRY):
        return []
    known = lake.table(DEVICE_REGISTRY).read().sort("device_id")
    told = f"{known.height:,} devices" if known.height else "no device is registered: no alert is raised of any"
    try:
        same = read_registry(file).equals(known) if file.exists() else None
    except RegistryError as error:
        return [Finding("devices", "warn", f"{told}; {error}", "correct the file: as it is, it is not taken")]
    if same is None:
        remedy = f"put the registry there, or name it by REFRIG_REGISTRY{'' if known.height else '; then --create'}"
        return [Finding("devices", "warn", f"{told}; {file} is not there", remedy)]
    if not known.height:
        return [Finding("devices", "warn", f"{told}; {file} waits", "refrig doctor --create takes it, or job registry")]
    if not same:
        remedy = "the job registry takes it (the sensor registry_changed launches it)"
        return [Finding("devices", "warn", f"{told}; {file} says otherwise", remedy)]
    return [Finding("devices", "ok", f"{told}, as in {file}")]


def landing_directory(landing: Path) -> Finding:
    if not landing.exists():
        remedy = "create it, or name it by --landing or REFRIG_LANDING; simulate and import create it, too"
        return Finding("landing", "warn", f"{landing} is not there", remedy)
    try:
        days = sum(1 for entry in landing.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        remedy = "name a readable folder by --landing or REFRIG_LANDING"
        return Finding("landing", "error", f"{landing} cannot be read: {error.strerror}", remedy)
    return Finding("landing", "ok", f"{landing} is readable, {days} days")


def model_registry(registry: "Registry") -> Finding:
    """Whether models can be read, new ones written where the registry is a file, and whether its routes are right.

    One that is not there yet is not made: the first training does that.
    """
    from refrig_assets.models.registry import RegistryUnavailableError, RoutesError
    from refrig_assets.pipeline.model_status import registry_file, registry_missing

    file = registry_file(registry)
    problem = _unwritable(file.parent) if file is not None else None
    if file is not None and problem is None and file.exists() and not os.access(file, os.W_OK):
        problem = "the file is read-only"
    elsewhere = "correct its permissions, or point REFRIG_MODELS to another place"
    if registry_missing(registry):
        if problem:
            return Finding("models", "error", f"none at {registry.shown}, nor can one be made: {problem}", elsewhere)
        return Finding("models", "ok", f"none yet at {registry.shown}: the first training makes the registry")
    try:
        released = [m for m in registry.models() if registry.plan(m).champion]
    except RegistryUnavailableError as error:
        return Finding("models", "error", str(error), "without it nothing is trained and nothing scored by a model")
    except RoutesError as error:
        return Finding("models", "error", str(error), f"correct {registry.routes_file}: what it names does not score")
    if problem:
        told = f"{registry.shown} is not writable ({problem}): scoring goes on, training and releasing fail"
        return Finding("models", "warn", told, elsewhere)
    how = "answers" if file is None else "is readable and writable"
    return Finding("models", "ok", f"{registry.shown} {how}; {len(released)} models released")


def notifications(lake: "Lake") -> Finding:
    """Whether anybody is notified: the routing file, and the variables that it refers to."""
    from refrig_assets.notify.routes_toml import routes_file
    from refrig_assets.notify.state import notify_state

    state = notify_state(lake, routes_file(), os.environ)
    return Finding("notify", state.level, state.says, state.remedy)


def torch_version() -> Finding:
    """Torch trains the autoencoder; nothing else needs it, scoring neither."""
    try:
        version = importlib.import_module("torch").__version__
    except (ImportError, OSError) as error:  # a library that it links to may be missing
        why = (str(error).splitlines() or [""])[0]
        told = f"cannot be imported ({why}): no autoencoder can be trained; all else works"
        return Finding("torch", "warn", told, "install it as the README says")
    return Finding("torch", "ok", f"torch {version}, for training the autoencoder")


def dagster_home() -> Finding:
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        return Finding("dagster home", "warn", "DAGSTER_HOME is not set: runs are forgotten when the UI stops",
                       "export DAGSTER_HOME=$PWD/data/dagster (make dev does)")  # fmt: skip
    if not Path(home).is_absolute():
        return Finding("dagster home", "error", f"DAGSTER_HOME {home!r} is not absolute", "give a full path")
    problem = _unwritable(Path(home))
    if problem:
        return Finding("dagster home", "error", f"{home} is not writable: {problem}", "correct its permissions")
    settings = Path(home) / "dagster.yaml"
    renewed = f"cp dagster.yaml {home}/ (or put into yours what it says more)"
    if not settings.is_file():
        told = f"{home} has no dagster.yaml: telemetry is on, pools are unlimited, killed runs stay"
        return Finding("dagster home", "warn", told, renewed)
    lacking = _lacking(settings)
    if lacking:
        return Finding("dagster home", "warn", f"{settings} lacks {' and '.join(lacking)}", renewed)
    return Finding("dagster home", "ok", f"{home}, with dagster.yaml")


def _lacking(settings: Path) -> list[str]:
    """What a dagster.yaml does not switch on that the pipeline rests on."""
    import yaml

    try:
        told = yaml.safe_load(settings.read_text()) or {}
    except yaml.YAMLError as error:
        return [f"sense: {str(error).splitlines()[0]}"]
    needed = {
        "run_monitoring (a killed run would hold its pool for ever)": ("run_monitoring", "enabled"),
        "run_retries (a killed run would not be made again)": ("run_retries", "enabled"),
        "pools of one (two runs could write one table)": ("concurrency", "pools", "default_limit"),
    }
    lacking = []
    for name, path in needed.items():
        found = told
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if not found:
            lacking.append(name)
    return lacking


def port_free(port: int) -> Finding:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            told = f"{port} is taken or not allowed ({error.strerror}): the UI may be running already"
            return Finding("port", "warn", told, "stop what listens there, or choose another with --port")
    return Finding("port", "ok", f"{port} is free")


def memory() -> Finding:
    import psutil

    found = psutil.virtual_memory()
    told = f"{found.available / 1e9:.1f} GB of {found.total / 1e9:.1f} GB available"
    if found.available >= MIN_MEMORY_GB * 1e9:
        return Finding("memory", "ok", told)
    return Finding(
        "memory", "warn", told, f"an hour of 100,000 devices needs {MIN_MEMORY_GB:.0f} GB; smaller fleets less"
    )


def disk(lake: "Lake") -> Finding:
    from refrig_assets.lake.files import is_local

    place = Path(lake.uri).absolute() if is_local(lake.uri) else Path.cwd()
    while not place.is_dir():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    level = "ok" if free >= MIN_DISK_GB else "warn" if free >= FULL_DISK_GB else "error"
    remedy = "free space: a day of 100,000 devices takes tens of gigabytes"
    return Finding("disk", level, f"{free:.1f} GB free at {place}", remedy)


def cpus() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("cpu", "ok" if usable > 1 else "warn", f"{usable} usable", "two or more keep a large fleet up")


def clock(lake: "Lake", now: datetime) -> Finding:
    """The clock against the file system's, which another machine may keep."""
    from refrig_assets.lake.files import is_local

    place = Path(lake.uri) if is_local(lake.uri) and Path(lake.uri).is_dir() else None
    before = datetime.now(UTC)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".refrig-doctor-") as probe:
            written = datetime.fromtimestamp(os.stat(probe.name).st_mtime, UTC)
    except OSError:
        return Finding("clock", "warn", f"{now:%Y-%m-%d %H:%M:%S} UTC, nothing to compare with")
    skew = abs((written - before).total_seconds())
    told = f"{now:%Y-%m-%d %H:%M:%S} UTC, {skew:.1f} s from the file system's"
    remedy = "synchronise the clocks (NTP): freshness and landing go by them"
    level = "error" if skew > _SKEW_ERROR_S or now.year < 2024 else "warn" if skew > _SKEW_WARN_S else "ok"
    return Finding("clock", level, told, remedy)
