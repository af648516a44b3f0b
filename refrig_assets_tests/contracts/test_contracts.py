"""The contracts: two judges that agree, errors that name what is wrong, tables and a page made from one declaration."""

import math
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandera.errors
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refrig_assets.contracts import BY_NAME, CLEAN_READINGS, CONTRACTS, DEVICE_REGISTRY, Contract, ContractError
from refrig_assets.contracts.base import BOOL, DATE, F64, F64S, I32, I64, PARTITION_DATE, SAMPLE_ROWS, STR, STRS, TS
from refrig_assets.contracts.document import main, markdown
from refrig_assets.lake import Lake
from refrig_assets_tests.builders import HOUR

ROWS = 3
_GOOD: dict[Any, list[Any]] = {
    STR: ["a", "b", ""],
    F64: [-1e9, -1.0, 0.0, 0.5, 1e9, math.inf],
    I32: [-7, 0, 1, 15],
    I64: [-7, 0, 1, 15],
    BOOL: [True, False],
    TS: [HOUR, HOUR + timedelta(microseconds=1)],
    DATE: [date(2026, 3, 2)],
    STRS: [[], ["a"], ["a", "b"]],
    F64S: [[], [1.0, 2.0]],
}
every_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)


def _values(contract: Contract, name: str) -> tuple[list[Any], list[Any]]:
    """Values that a column may hold, and values that it may not."""
    column, dtype = contract.columns[name], contract.dtypes[name]
    limits = column.metadata
    good = list(_GOOD[dtype])
    bad: list[Any] = []
    if limits["isin"] is not None:
        good, bad = list(limits["isin"]), ["something else", ""]
    for key, step in (("ge", -1), ("gt", -1), ("le", 1)):
        limit = limits[key]
        if limit is None:
            continue
        edge = limit + step if dtype != F64 else math.nextafter(limit, step * math.inf)
        bad += [edge] + ([limit] if key == "gt" else [])
        good = [v for v in good if (v <= limit if key == "le" else v >= limit)]
        good += [limit] if key != "gt" else [limit + 1]
    for low, high in ((limits["ge"], limits["le"]),):
        good = (
            [v for v in good if (low is None or v >= low) and (high is None or v <= high)]
            if low is not None or high is not None
            else good
        )
    if limits["gt"] is not None:
        good = [v for v in good if v > limits["gt"]]
        if limits["le"] is not None:
            good = [v for v in good if v <= limits["le"]]
    if dtype == F64:
        (good if limits["nan"] else bad).append(math.nan)
    (good if column.nullable else bad).append(None)
    return good, bad


@st.composite
def _frames(draw: st.DrawFn, contract: Contract) -> tuple[pl.DataFrame, set[str]]:
    """A frame, and the columns that hold something wrong."""
    spoilt = set(draw(st.lists(st.sampled_from(list(contract.columns)), max_size=2)))
    columns, wrong = {}, set()
    for name, dtype in contract.dtypes.items():
        good, bad = _values(contract, name)
        values = draw(st.lists(st.sampled_from(good), min_size=ROWS, max_size=ROWS))
        if name in spoilt and bad:
            values[draw(st.integers(0, ROWS - 1))] = draw(st.sampled_from(bad))
            wrong.add(name)
        columns[name] = pl.Series(name, values, dtype=dtype)
    return pl.DataFrame(columns), wrong


def _accepted_by_pandera(contract: Contract, frame: pl.DataFrame) -> set[str]:
    """The columns that Pandera, given the contract's own schema, finds wrong."""
    try:
        contract.schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as found:
        return {str(e["schema"].name) if hasattr(e, "keys") else str(e.schema.name) for e in found.schema_errors}
    return set()


@every_contract
def test_pandera_and_the_compiled_tests_judge_alike(contract: Contract) -> None:
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(_frames(contract))
    def judge(given_frame: tuple[pl.DataFrame, set[str]]) -> None:
        frame, wrong = given_frame
        assert {v.column for v in contract.bad_values(frame.lazy())} == wrong
        assert _accepted_by_pandera(contract, frame) == wrong
        broken = [v for v in contract.violations(frame) if v.check != "key is not unique"]
        assert bool(broken) == bool(wrong)

    judge()


@every_contract
def test_a_wrong_type_or_column_is_found_by_both(contract: Contract) -> None:
    name, dtype = next(iter(contract.dtypes.items()))
    other = pl.Int64() if dtype != I64 else pl.String()
    for frame in (
        contract.empty().with_columns(pl.col(name).cast(other)) if dtype not in (STRS, F64S) else contract.empty(),
        contract.empty().drop(name),
        contract.empty().with_columns(stranger=pl.lit(1)),
    ):
        assert contract.violations(frame)
        with pytest.raises(pandera.errors.SchemaErrors):
            contract.schema.validate(frame, lazy=True)
    assert contract.violations(contract.empty()) == []
    contract.schema.validate(contract.empty(), lazy=True)


def test_the_key_is_unique_or_counted() -> None:
    one = pl.DataFrame({"device_id": ["a", "b", "a", "a"], "site_id": "s", "cohort_id": "c"})
    frame = DEVICE_REGISTRY.conform(
        one.with_columns(
            expected_sensors=pl.lit([], dtype=STRS),
            expected_interval_s=60,
            status=pl.lit("active"),
            current_threshold_a=40.0,
            pressure_drop_fraction=0.3,
            temperature_rise_c_per_min=2.0,
        )
    )
    (found,) = DEVICE_REGISTRY.violations(frame)
    assert (found.column, found.check, found.rows) == ("device_id", "key is not unique", 3)
    assert found.sample == [{"device_id": "a"}] * 3
    assert DEVICE_REGISTRY.violations(frame.unique("device_id")) == []


def test_an_error_names_counts_and_a_bounded_sample() -> None:
    rows = 1000
    frame = CLEAN_READINGS.empty().with_columns().clear()
    frame = CLEAN_READINGS.conform(
        pl.DataFrame({"event_id": [f"e{n}" for n in range(rows)]}).with_columns(
            device_id=pl.lit("d"),
            timestamp_utc=pl.lit(HOUR),
            timestamp_ingested=pl.lit(HOUR),
            humidity=pl.lit(101.0),
            quality_flags=pl.lit([], dtype=STRS),
            sensor_null_count=pl.lit(15),
        )
    )
    with pytest.raises(ContractError) as raised:
        CLEAN_READINGS.validate(frame)
    told = str(raised.value)
    assert "clean_sensor_readings" in told
    assert "humidity: above 100 (1,000 rows)" in told
    assert "sensor_null_count: above 14 (1,000 rows)" in told
    for violation in raised.value.violations:
        assert violation.rows == rows
        assert len(violation.sample) == SAMPLE_ROWS
        assert set(violation.sample[0]) == {"event_id", violation.column}
    fine = frame.with_columns(pl.lit(50.0).alias("humidity"), pl.lit(13, dtype=I32).alias("sensor_null_count"))
    assert CLEAN_READINGS.validate(fine) is fine


def test_conform_orders_casts_and_fills() -> None:
    frame = pl.DataFrame({"device_id": ["a"], "event_id": ["e"], "junk": [1]}).with_columns(
        timestamp_utc=pl.lit(HOUR).cast(pl.Datetime("ms", "UTC")),
        timestamp_ingested=pl.lit(HOUR),
        quality_flags=pl.lit([], dtype=STRS),
        sensor_null_count=pl.lit(14, dtype=pl.Int64),
        humidity=pl.lit(3, dtype=pl.Int32),
    )
    found = CLEAN_READINGS.conform(frame)
    assert dict(found.schema) == CLEAN_READINGS.dtypes
    assert list(found.columns) == list(CLEAN_READINGS.columns)
    assert found["humidity"].to_list() == [3.0]
    assert found["superheat"].to_list() == [None]
    with pytest.raises(ContractError, match="device_id: column is missing"):
        CLEAN_READINGS.conform(frame.drop("device_id"))


@every_contract
def test_the_created_table_has_the_types_of_its_contract(contract: Contract, empty_lake: Path) -> None:
    table = Lake(str(empty_lake)).table(contract)
    stored = dict(pl.scan_delta(table.uri).collect_schema())
    if contract.partitioned:
        assert stored.pop(PARTITION_DATE) == pl.Date
    assert stored == contract.dtypes
    assert list(stored) == list(contract.columns)
    fields = {f.name: f for f in table.open().schema().fields}
    for name, column in contract.columns.items():
        assert fields[name].nullable == column.nullable
        assert column.description in fields[name].metadata["comment"]


@every_contract
def test_every_column_is_described(contract: Contract) -> None:
    assert contract.title
    assert contract.description
    assert [n for n, c in contract.columns.items() if not c.description] == []
    assert set(contract.key) <= set(contract.columns)
    assert contract.hour_of is None or contract.dtypes[contract.hour_of] == TS


def test_names_are_unique_and_snake_case() -> None:
    assert len(BY_NAME) == len(CONTRACTS)
    names = {n for c in CONTRACTS for n in (c.name, *c.columns)}
    assert [n for n in names if n != n.lower() or " " in n or "-" in n] == []


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "contracts.md"
    assert page.read_text(encoding="utf-8") == markdown(), "run: python -m refrig_assets.contracts.document"


def test_the_page_tells_of_every_table_and_column(tmp_path: Path) -> None:
    main([str(tmp_path / "page.md")])
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in text.split("\n## ")}
    for contract in CONTRACTS:
        section = sections[contract.name]
        for name, column in contract.columns.items():
            (line,) = [x for x in section.splitlines() if x.startswith(f"| `{name}`")]
            assert column.description in line
            assert contract.unit(name) in line
            assert ("| yes |" in line) == column.nullable
        for level in contract.service_levels:
            assert level in section
    assert "- Kept: 90 days" in sections["raw_sensor_readings"]
    assert "promised 15 min, warns after 30 min, fails after 1 h" in sections["clean_sensor_readings"]
    assert "| `humidity` | f64 | %RH | 0 … 100 | yes |" in sections["clean_sensor_readings"]


def test_moments_of_the_contract_are_in_utc() -> None:
    frame = pl.DataFrame({"landing_hour": [datetime(2026, 3, 2, 10)]})  # noqa: DTZ001
    assert BY_NAME["landing_log"].violations(frame)
