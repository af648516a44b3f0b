"""The only place that opens Delta tables. Knows contracts; knows nothing of Dagster or of what rows mean."""

from refrig_assets.lake.files import DataFile
from refrig_assets.lake.lake import DEFAULT_LAKE, OUTSIDE_ERRORS, PASSING_ERRORS, Lake, LakeUnavailableError
from refrig_assets.lake.table import HOUR, Commit, Table, TableFile

__all__ = [
    "DEFAULT_LAKE",
    "HOUR",
    "OUTSIDE_ERRORS",
    "PASSING_ERRORS",
    "Commit",
    "DataFile",
    "Lake",
    "LakeUnavailableError",
    "Table",
    "TableFile",
]
