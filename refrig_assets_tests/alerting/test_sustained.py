"""What is made of a LOW that lasts: told once a failure has a name, or once it has lasted long."""

import polars as pl
import pytest

from refrig_assets.alerting.sustained import named

HOURS = 4  # windows


@pytest.mark.parametrize(
    ("severity", "confirmed", "mode", "run", "believed"),
    [
        ("LOW", "MEDIUM", "refrigerant_leak", HOURS, "MEDIUM"),
        ("LOW", "MEDIUM", "unknown", HOURS, "LOW"),
        ("LOW", "MEDIUM", None, HOURS, "LOW"),
        ("LOW", "MEDIUM", "unknown", 4 * HOURS - 1, "LOW"),
        ("LOW", "MEDIUM", "unknown", 4 * HOURS, "MEDIUM"),
        ("MEDIUM", "MEDIUM", "unknown", HOURS, "MEDIUM"),  # by what the scores say, not by how long
        ("HIGH", "MEDIUM", "unknown", 1, "MEDIUM"),
        ("CRITICAL", "CRITICAL", "unknown", 1, "CRITICAL"),
        ("LOW", "LOW", None, 2, "LOW"),
    ],
)
def test_what_has_no_name_is_told_later(
    severity: str, confirmed: str, mode: str | None, run: int, believed: str
) -> None:
    hit = pl.DataFrame(
        [(severity, confirmed, mode, run)],
        schema={"severity": pl.String, "confirmed": pl.String, "failure_mode": pl.String, "run": pl.Int32},
        orient="row",
    )
    assert named(hit)["confirmed"].to_list() == [believed]
