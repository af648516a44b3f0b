"""`refrig import`: its options, and the report in words and tables. The import itself is `pipeline/importing.py`."""

from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refrig_assets.cli.common import (
    debug_option,
    json_option,
    lake_option,
    landing_option,
    now,
    open_lake,
    print_json,
    print_table,
    progress_bar,
    registry_option,
)

if TYPE_CHECKING:
    from refrig_assets.pipeline.importing import ImportSummary
    from refrig_assets.transforms.mapping_report import MappingReport, SensorReport

_SHOWN = 10
_ODD_HOURS = {
    "hours_in_the_future": "lie in the future: check timezone and format",
    "hours_before_first_partition": "lie before the first partition: set REFRIG_FIRST_DAY",
}


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--map", "map_file", type=click.Path(path_type=Path), required=True, metavar="MAPPING.toml",
              help="What the file's columns mean (docs/import.md).")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only look: what maps, what does not, what is out of range.")
@click.option("--register", is_flag=True, help="Add devices the registry does not know, by [device.defaults].")
@click.option("--materialize", is_flag=True, help="Then make raw, clean and features of the hours it touched.")
@landing_option
@lake_option
@registry_option
@json_option
@debug_option
def import_(
    file: Path, map_file: Path, dry_run: bool, register: bool, materialize: bool, landing: Path, lake_uri: str,
    registry: Path, as_json: bool,
) -> None:  # fmt: skip
    """Bring a plant's own export: columns, units and times mapped to the contract, hour by hour into landing.

    Importing the same file again changes nothing. FILE is CSV, NDJSON (both also gzip) or Parquet.

    \b
    Examples:
      refrig import export.csv --map mapping.toml --dry-run
      refrig import export.csv.gz --map mapping.toml --register --materialize
    """
    from refrig_assets.pipeline.importing import import_file, read_mapping
    from refrig_assets.pipeline.registering import check_defaults, register_devices, unknown_devices

    mapping = read_mapping(map_file)
    if register:
        check_defaults(mapping)
    at = now()
    with progress_bar(f"Reading {file.name}", of_bytes=True) as progress:
        summary = import_file(file, mapping, landing, dry_run=dry_run, progress=progress, now=at)
    lake = open_lake(lake_uri)
    document = _document(summary, mapping.interval_s)
    if register and not dry_run:
        document["registered"] = asdict(register_devices(registry, lake, mapping, summary.report.devices, at))
    document["unknown_devices"] = unknown_devices(registry, lake, summary.report.devices)
    if not as_json:
        _show(summary, document)
    if materialize and not dry_run:
        document["materialized"] = _materialize(lake_uri, landing, registry, summary, at)
    if as_json:
        print_json(document)
    elif not dry_run:
        _tell_next(document, summary, materialize)


def _document(summary: "ImportSummary", interval_s: int) -> dict[str, Any]:
    return {
        "source": summary.source, "identity": summary.identity, "dry_run": summary.dry_run, "rows": summary.rows,
        "rejected": summary.rejected, "unreadable_lines": summary.unreadable_lines,
        "files": [str(f) for f in summary.files], "files_unchanged": summary.unchanged,
        "hours": len(summary.hours), "partitions": [_partition(a, b) for a, b in _ranges(summary.hours)],
        "hours_in_the_future": [_hour(h) for h in summary.future_hours],
        "hours_before_first_partition": [_hour(h) for h in _too_early(summary.hours)],
        "interval_s": interval_s, "report": summary.report.as_dict(),
    }  # fmt: skip


def _materialize(
    lake_uri: str, landing: Path, registry: Path, summary: "ImportSummary", at: datetime
) -> dict[str, Any]:  # fmt: skip
    """Run the assets over the hours the import touched."""
    from refrig_assets.cli.materialize import materialize

    early = set(_too_early(summary.hours))
    hours = [h for h in summary.hours if h <= at and h not in early]
    failed = materialize(lake_uri, landing, registry, _ranges(hours))
    return {"partitions": [_partition(a, b) for a, b in _ranges(hours)], "failed_checks": failed}


# -- showing -----------------------------------------------------------------------------------------------------


def _show(summary: "ImportSummary", document: dict[str, Any]) -> None:
    report = summary.report
    _show_sensors(report)
    _show_hints(report)
    _show_unused(report)
    _show_rows(summary)
    unknown = document["unknown_devices"]
    if unknown:
        told = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "")
        click.echo(f"! {len(unknown):,} of {len(report.devices):,} devices are not in the registry and would be "
                   f"quarantined: {told}; add them with --register")  # fmt: skip
    for note in report.notes:
        click.echo(f"! {note}")
    for key, why in _ODD_HOURS.items():
        if document[key]:
            click.echo(f"! {len(document[key]):,} hours {why} ({document[key][0]} …)")


def _show_sensors(report: "MappingReport") -> None:
    rows = [
        (
            s.sensor, s.source, f"{s.unit} → {s.contract_unit}" if s.unit else s.contract_unit, f"{s.values:,}",
            f"{s.nulls:,}", f"{s.unconvertible:,}" if s.unconvertible else "", _outside(s), _span(s),
        )
        for s in report.sensors
    ]  # fmt: skip
    headers = ("sensor", "from", "unit", "values", "null", "unreadable", "out of range", "min … max (range)")
    print_table("What maps", headers, rows, right=(3, 4, 5, 6))


def _outside(sensor: "SensorReport") -> str:
    return f"{sensor.outside:,} ({sensor.outside_share:.1%})" if sensor.outside else ""


def _span(sensor: "SensorReport") -> str:
    if sensor.minimum is None or sensor.maximum is None:
        return ""
    return f"{sensor.minimum:.1f} … {sensor.maximum:.1f} ({sensor.low:g} … {sensor.high:g})"


def _show_hints(report: "MappingReport") -> None:
    for s in report.sensors:
        if s.hint:
            click.echo(f"! {s.sensor} from {s.source!r} as {s.unit}: {s.hint}")
        if s.unconvertible:
            samples = ", ".join(repr(v) for v in s.unconvertible_sample)
            click.echo(f"! {s.sensor}: {s.unconvertible:,} values are unreadable, for example {samples}")


def _show_unused(report: "MappingReport") -> None:
    if report.missing_sensors:
        click.echo(f"Not in the mapping: {', '.join(report.missing_sensors)}")
    if report.unused_columns:
        click.echo(f"Columns not used: {', '.join(repr(c) for c in report.unused_columns)}")
    if report.unread_points:
        points = sorted(report.unread_points.items(), key=lambda p: -p[1])
        told = ", ".join(f"{name!r} ({rows:,})" for name, rows in points[:_SHOWN])
        click.echo(f"Points not used: {told}{' …' if len(points) > _SHOWN else ''}")


def _show_rows(summary: "ImportSummary") -> None:
    r = summary.report
    rows: list[tuple[str, str]] = [
        ("rows in the file", f"{r.source_rows:,}"),
        ("readings", f"{summary.rows:,}"),
        ("lines that cannot be read", f"{summary.unreadable_lines:,}"),
        ("rows without a device", f"{r.without_device:,}"),
        ("rows without a readable time", f"{r.without_time:,}"),
        ("readings with no value at all", f"{r.all_null:,}"),
        ("devices", f"{len(r.devices):,}"),
        ("from … to (UTC)", f"{r.first:%Y-%m-%d %H:%M:%S} … {r.last:%Y-%m-%d %H:%M:%S}" if r.first and r.last else ""),
        ("interval, median (declared)", f"{r.median_interval_s or 0:g} s ({r.declared_interval_s} s)"),
    ]
    kept = {"rows in the file", "readings", "devices"}
    print_table("What it holds", ("", ""), [row for row in rows if row[1] != "0" or row[0] in kept], right=(1,))


def _tell_next(document: dict[str, Any], summary: "ImportSummary", materialized: bool) -> None:
    new = len(summary.files) - summary.unchanged
    click.echo(f"{len(summary.files):,} landing files ({new:,} new) for {len(summary.hours):,} hours, "
               f"{summary.rows:,} readings, {summary.rejected:,} rows that landing will set aside")  # fmt: skip
    if "registered" in document:
        added = document["registered"]["added"]
        click.echo(f"{len(added):,} devices added to {document['registered']['registry_file']}")
    if materialized:
        made = document["materialized"]
        click.echo(f"Made raw, clean and features of {', '.join(made['partitions']) or 'no hours'}")
        for failed in made["failed_checks"]:
            click.echo(f"! check {failed}")
        return
    click.echo("Next, materialise raw_sensor_readings, clean_sensor_readings and device_features of these partitions "
               "(or run again with --materialize):")  # fmt: skip
    for told in document["partitions"][:_SHOWN]:
        click.echo(f"  {told}")
    if len(document["partitions"]) > _SHOWN:
        click.echo(f"  … and {len(document['partitions']) - _SHOWN:,} more ranges")


# -- hours -------------------------------------------------------------------------------------------------------


def _ranges(hours: list[datetime]) -> list[tuple[datetime, datetime]]:
    """Neighbouring hours joined: first and last of each range."""
    found: list[tuple[datetime, datetime]] = []
    for hour in hours:
        if found and hour - found[-1][1] == timedelta(hours=1):
            found[-1] = (found[-1][0], hour)
        else:
            found.append((hour, hour))
    return found


def _hour(hour: datetime) -> str:
    """As partitions are named in the UI."""
    return f"{hour:%Y-%m-%d-%H:%M}"


def _partition(first: datetime, last: datetime) -> str:
    return _hour(first) if first == last else f"{_hour(first)}...{_hour(last)}"


def _too_early(hours: list[datetime]) -> list[datetime]:
    from refrig_assets.defs.partitions import hourly

    return [h for h in hours if h < hourly.start]
