"""The only place that opens Delta tables. Knows contracts; knows nothing of Dagster or of what rows mean."""

from refrig_assets.lake.commits import CommitNote, CommitNotes, commits_since
from refrig_assets.lake.files import DataFile
from refrig_assets.lake.growth import OutgrownError
from refrig_assets.lake.lake import DEFAULT_LAKE, OUTSIDE_ERRORS, PASSING_ERRORS, Lake, LakeUnavailableError
from refrig_assets.lake.table import HOUR, Commit, MarkTakenError, Table
from refrig_assets.lake.table_files import TableFile

__all__ = [
    "DEFAULT_LAKE",
    "HOUR",
    "OUTSIDE_ERRORS",
    "PASSING_ERRORS",
    "Commit",
    "CommitNote",
    "CommitNotes",
    "DataFile",
    "Lake",
    "LakeUnavailableError",
    "MarkTakenError",
    "OutgrownError",
    "Table",
    "TableFile",
    "commits_since",
]
