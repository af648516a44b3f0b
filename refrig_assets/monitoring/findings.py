"""What a check finds: whether it holds, how many rows break it, and a few of them. Frames in, findings out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from refrig_assets.contracts.base import SAMPLE_ROWS, Contract


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. `severe` says whether a failure is an error or a warning."""

    check: str
    passed: bool
    says: str
    counts: Mapping[str, int | float] = field(default_factory=dict)
    sample: Sequence[Mapping[str, Any]] = ()
    severe: bool = True


def schema_finding(contract: Contract, columns: Mapping[str, pl.DataType]) -> Finding:
    """The table has the contract's columns with its types, whoever made it."""
    wrong = {n: str(columns.get(n, "missing")) for n, t in contract.dtypes.items() if columns.get(n) != t}
    extra = [n for n in columns if n not in contract.dtypes]
    told = [f"{n} is {t}, not {contract.dtypes[n]}" for n, t in wrong.items()] + [f"{n} is unknown" for n in extra]
    return Finding(
        "schema",
        not told,
        "; ".join(told) if told else f"{len(contract.dtypes)} columns as agreed",
        {"columns": len(columns), "wrong": len(wrong), "unknown": len(extra)},
    )


def range_finding(contract: Contract, rows: pl.LazyFrame, *, severe: bool = True) -> Finding:
    """No value is null that must not be, or outside its range. Reads each column once."""
    found = contract.bad_values(rows)
    counts = {f"{v.column} {v.check}": v.rows for v in found}
    says = "; ".join(f"{name}: {n:,} rows" for name, n in counts.items()) if found else "every value in its range"
    sample = [row for v in found for row in v.sample][:SAMPLE_ROWS]
    return Finding("ranges", not found, says, counts, sample, severe)


def key_finding(contract: Contract, rows: pl.LazyFrame) -> Finding:
    """The key is unique in the rows."""
    keys = rows.select(contract.key).collect()
    identity = pl.col(contract.key[0]) if len(contract.key) == 1 else pl.struct(contract.key)
    repeated = 0
    sample: list[dict[str, Any]] = []
    if keys.select(identity.hash().n_unique()).item() < keys.height:
        again = keys.group_by(contract.key).len("rows").filter(pl.col("rows") > 1).sort(contract.key)
        repeated, sample = int((again["rows"] - 1).sum() or 0), again.head(SAMPLE_ROWS).to_dicts()
    says = f"{repeated:,} rows repeat a key" if repeated else f"{keys.height:,} rows, each key once"
    return Finding("key", not repeated, says, {"rows": keys.height, "repeated": repeated}, sample)


def conservation_finding(accounts: Mapping[str, Mapping[str, int]]) -> Finding:
    """Hour by hour: raw rows = clean + duplicates + quarantined + dead-lettered, counted from the tables."""
    parts = ("clean", "duplicate", "quarantined", "dead_letter")
    off: list[dict[str, Any]] = [
        {"hour": hour, "raw": a["raw"], **{p: a[p] for p in parts}, "missing": a["raw"] - sum(a[p] for p in parts)}
        for hour, a in accounts.items()
        if a["raw"] != sum(a[p] for p in parts)
    ]
    total = {name: sum(a[name] for a in accounts.values()) for name in ("raw", *parts)}
    says = (
        f"{len(off)} hours do not add up, off by {sum(abs(o['missing']) for o in off):,} rows"
        if off
        else " + ".join(f"{total[p]:,} {p}" for p in parts) + f" = {total['raw']:,} raw"
    )
    return Finding("conservation", not off, says, total, off[:SAMPLE_ROWS])


def alignment_finding(features: pl.LazyFrame) -> Finding:
    """Windows start on the clock's multiples of their length and last exactly that long."""
    length = pl.col("window_duration_minutes").cast(pl.Int64) * 60_000_000
    start = pl.col("window_start").dt.epoch("us")
    off = (start % length != 0) | (pl.col("window_end").dt.epoch("us") - start != length)
    bad = features.filter(off).select("device_id", "window_start", "window_end", "window_duration_minutes").collect()
    says = f"{bad.height:,} windows are not aligned" if bad.height else "every window is aligned to the clock"
    return Finding(
        "window_alignment", not bad.height, says, {"misaligned": bad.height}, bad.head(SAMPLE_ROWS).to_dicts()
    )


def flag_rule_finding(scores: pl.LazyFrame) -> Finding:
    """A window is flagged exactly if its score is above the threshold of its run."""
    off = pl.col("anomaly_flag") != (pl.col("anomaly_score") > pl.col("threshold_used"))
    shown = ("device_id", "window_end", "model_version", "anomaly_score", "threshold_used", "anomaly_flag")
    bad = scores.filter(off).select(shown).collect()
    says = (
        f"{bad.height:,} flags do not follow from score and threshold" if bad.height else "every flag as it should be"
    )
    return Finding("flag_rule", not bad.height, says, {"wrong": bad.height}, bad.head(SAMPLE_ROWS).to_dicts())


def rate_finding(
    check: str,
    part: int,
    whole: int,
    limit: float,
    of: str,
    *,
    sample: Sequence[Mapping[str, Any]] = (),
    severe: bool = True,
) -> Finding:
    """A share that must not pass a limit."""
    rate = part / whole if whole else 0.0
    says = f"{part:,} of {whole:,} {of} ({rate:.3%}; limit {limit:.1%})"
    passed = rate <= limit
    return Finding(check, passed, says, {"part": part, "whole": whole, "rate": rate}, () if passed else sample, severe)


def completeness_finding(
    check: str, found: Mapping[str, int], expected: int, level: float, of: str, *, severe: bool = False
) -> Finding:
    """At least a level of what is expected is there, in each of the parts."""
    short = [{"part": k, "found": n, "share": round(n / expected, 4)} for k, n in found.items() if n < level * expected]
    least = min(found.values(), default=0)
    share = least / expected if expected else 1.0
    says = f"at least {least:,} of {expected:,} {of} ({share:.2%}; promised {level:.1%})"
    passed = not expected or (bool(found) and not short)
    return Finding(
        check, passed, says, {"least": least, "expected": expected, "short": len(short)}, short[:SAMPLE_ROWS], severe
    )


def presence_finding(rows: Mapping[str, int], expected: bool) -> Finding:
    """A run that wrote no rows where rows are expected is not a success."""
    empty = [hour for hour, n in rows.items() if not n]
    total = sum(rows.values())
    passed = not (empty and expected)
    says = f"no rows for {', '.join(empty[:5])}{' …' if len(empty) > 5 else ''}" if empty else f"{total:,} rows"
    return Finding(
        "zero_rows",
        passed,
        says,
        {"rows": total, "empty_partitions": len(empty)},
        [{"partition": h} for h in empty[:SAMPLE_ROWS]],
    )
