"""The contracts as a page for people: `python -m refrig_assets.contracts.document` writes docs/contracts.md."""

import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from refrig_assets.contracts import CONTRACTS
from refrig_assets.contracts.base import BOOL, DATE, F64, F64S, I32, I64, STR, STRS, TS, Contract
from refrig_assets.contracts.readings import QUALITY_FLAGS
from refrig_assets.contracts.sensors import SENSORS

PAGE = Path("docs/contracts.md")
_TYPES = (
    (STR, "str"),
    (F64, "f64"),
    (I32, "i32"),
    (I64, "i64"),
    (BOOL, "bool"),
    (DATE, "date"),
    (TS, "ts"),
    (STRS, "list[str]"),
    (F64S, "list[f64]"),
)
_HEAD = """# The data contracts

Generated from `refrig_assets/contracts` by `python -m refrig_assets.contracts.document`; a test keeps it current. Do not edit.

Names are `snake_case`. Every timestamp (`ts`) is UTC, in microseconds, with its time zone. A range binds the values that are there; NaN is in no range. Columns marked + are ours, beyond the agreed ones.
"""  # noqa: E501


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD, _overview(), _sensors(), *(_section(c) for c in CONTRACTS)]
    return "\n".join(parts)


def _overview() -> str:
    rows = [
        (c.code, f"[{c.name}](#{c.name})", c.group, c.hour_of or "", _span(c.retention) if c.retention else "for ever")
        for c in CONTRACTS
    ]
    return "## Tables\n\n" + _table(("contract", "table", "group", "partitioned by the hour of", "kept"), rows)


def _sensors() -> str:
    rows = [(s.name, s.unit, "" if s.is_bool else f"{s.low:g} … {s.high:g}", s.short, s.description) for s in SENSORS]
    flags = ", ".join(f"`{flag}`" for flag in QUALITY_FLAGS)
    table = _table(("sensor", "unit", "valid range", "short name in features", "what it is"), rows)
    return f"## Sensors\n\n{table}\nQuality flags, in the order in which a row lists them: {flags}.\n"


def _section(contract: Contract) -> str:
    facts = [f"- Key: {', '.join(f'`{k}`' for k in contract.key) if contract.key else 'none'}"]
    if contract.hour_of:
        facts.append(f"- Partition: the hour of `{contract.hour_of}`")
    facts.append(f"- Kept: {_span(contract.retention) if contract.retention else 'for ever'}")
    if contract.freshness:
        f = contract.freshness
        facts.append(
            f"- Freshness: promised {_span(f.service_level)}, warns after {_span(f.warn)}, fails after {_span(f.error)}"
        )
    facts += [f"- Service level: {level}" for level in contract.service_levels]
    facts += [f"- Rule: {rule}" for rule in contract.rules]
    rows = [_column_row(contract, name) for name in contract.columns]
    return "\n".join(
        [
            f"## {contract.name}",
            "",
            f"{contract.code + ': ' if contract.code != '-' else ''}{contract.title}. {contract.description}",
            "",
            *facts,
            "",
            _table(("column", "type", "unit", "range", "nullable", "what it is"), rows),
        ]
    )


def _column_row(contract: Contract, name: str) -> tuple[str, ...]:
    column = contract.columns[name]
    mark = " +" if (column.metadata or {}).get("extension") else ""
    return (
        f"`{name}`{mark}",
        next(label for dtype, label in _TYPES if dtype == contract.dtypes[name]),
        contract.unit(name),
        _range(contract, name),
        "yes" if column.nullable else "",
        column.description or "",
    )


def _range(contract: Contract, name: str) -> str:
    limits = contract.columns[name].metadata or {}
    if limits.get("isin") is not None:
        return ", ".join(str(value) for value in limits["isin"])
    low, high = limits.get("ge"), limits.get("le")
    if low is not None and high is not None:
        return f"{low:g} … {high:g}"
    told = [f"{sign} {limits[k]:g}" for k, sign in (("gt", ">"), ("ge", "≥"), ("le", "≤")) if limits.get(k) is not None]
    return ", ".join(told) + (" (NaN stands)" if limits.get("nan") else "")


def _span(span: timedelta) -> str:
    for unit, one in (("days", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if span >= one and not span % one:
            return f"{span // one} {unit}"
    return f"{span.total_seconds():g} s"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Write the page to the path given, by default docs/contracts.md."""
    path = Path(arguments[0]) if arguments else PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(markdown(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
