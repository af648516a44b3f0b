"""One Delta table of the lake: pruned reads, exactly-once appends, atomic replacement of hours.

Rows are written by Polars and committed as add and remove actions, which replaces an hour without scanning it.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from refrig_assets.contracts.base import PARTITION_DATE, Contract
from refrig_assets.lake import growth
from refrig_assets.lake.files import DataFile, write_data_file
from refrig_assets.lake.handles import HANDLES
from refrig_assets.lake.table_files import TableFile, files_of

HOUR = timedelta(hours=1)
COMMIT_ATTEMPTS = 20
_AS_OTHERS_WRITE = pl.ScanCastOptions(
    integer_cast="upcast", float_cast="upcast", datetime_cast=["nanosecond-downcast", "convert-timezone"]
)


class MarkTakenError(CommitFailedError):
    """Another writer has committed what stands behind a mark: look at the marks again before writing."""


@dataclass(frozen=True)
class Commit:
    version: int
    rows: int
    bytes: int
    files: int


class Table:
    """A lake table. Every operation sees the newest version; `open` gives a handle that nobody else uses."""

    def __init__(self, contract: Contract, uri: str, storage_options: dict[str, str]) -> None:
        self.contract = contract
        self.uri = uri
        self.storage_options = storage_options

    def open(self, version: int | None = None) -> DeltaTable:
        return DeltaTable(self.uri, version=version, storage_options=self.storage_options or None)

    def newest(self) -> AbstractContextManager[DeltaTable]:
        """A handle at the newest version, to be used within the block only."""
        return HANDLES.newest(self.uri, self.open)

    @property
    def version(self) -> int:
        with self.newest() as table:
            return table.version()

    @cached_property
    def _hour_column(self) -> str:
        if self.contract.hour_of is None:
            raise ValueError(f"{self.contract.name} has no hours")
        return self.contract.hour_of

    def columns(self) -> dict[str, pl.DataType]:
        """The table's own columns as readers see them, whoever made or changed it; without the physical partition."""
        schema = pl.scan_delta(self.uri, storage_options=self.storage_options or None).collect_schema()
        return {name: dtype for name, dtype in schema.items() if name != PARTITION_DATE}

    # -- reading -------------------------------------------------------------------------------------------------

    def files(
        self,
        version: int | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        column: str | None = None,
    ) -> list[TableFile]:
        """Files of a snapshot in the order of their names; with start and end, those that may hold that range.

        The range is of `column`, by default the column whose hour is the partition.
        """
        column = column or self.contract.hour_of
        if version is not None:
            return files_of(self.open(version), start, end, column)
        with self.newest() as table:
            return files_of(table, start, end, column)

    def scan(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        column: str | None = None,
        version: int | None = None,
    ) -> pl.LazyFrame:
        """Rows of [start, end) by the hour column (or another time column), files pruned by their bounds."""
        files = self.files(version, start=start, end=end, column=column)
        frame = self.scan_files(files)
        by_hour = column is None or column == self.contract.hour_of
        if start is None or end is None or (by_hour and all(f.lies_within(start, end) for f in files)):
            return frame
        time_column = pl.col(column or self._hour_column)
        return frame.filter((time_column >= start) & (time_column < end))

    def scan_files(self, files: Sequence[TableFile]) -> pl.LazyFrame:
        if not files:
            return self.contract.empty().lazy()
        return pl.scan_parquet(
            [f"{self.uri.rstrip('/')}/{f.path}" for f in files],
            schema=self.contract.dtypes,
            missing_columns="insert",  # written before the contract had them
            extra_columns="ignore",
            cast_options=_AS_OTHERS_WRITE,
            storage_options=self.storage_options or None,
            hive_partitioning=False,
            glob=False,
        )

    def read(self, start: datetime | None = None, end: datetime | None = None, **options: Any) -> pl.DataFrame:
        return self.scan(start, end, **options).collect(engine="in-memory")

    def transaction_version(self, app_id: str) -> int | None:
        with self.newest() as table:
            return table.transaction_version(app_id)

    # -- writing -------------------------------------------------------------------------------------------------

    def write_files(self, frame: pl.DataFrame, tag: str = "part") -> list[DataFile]:
        """Validate and write a frame, one file a day; nothing is visible until committed."""
        if frame.is_empty():
            return []
        self.contract.validate(frame)
        if not self.contract.partitioned:
            return [
                write_data_file(self.uri, frame, tag=tag, partition_date=None, storage_options=self.storage_options)
            ]
        day = frame[self._hour_column].dt.date()
        days = sorted(day.unique())
        return [
            write_data_file(
                self.uri,
                frame if len(days) == 1 else frame.filter(day == one),
                tag=tag,
                partition_date=one,
                storage_options=self.storage_options,
            )
            for one in days
        ]

    def append(
        self,
        frame: pl.DataFrame,
        *,
        transactions: Sequence[tuple[str, int]] = (),
        metadata: dict[str, str] | None = None,
        tag: str = "part",
    ) -> Commit:
        """Append rows; with transactions (app id, version), in the same commit as these marks."""
        return self.append_files(self.write_files(frame, tag), transactions=transactions, metadata=metadata)

    def append_files(
        self,
        added: list[DataFile],
        *,
        transactions: Sequence[tuple[str, int]] = (),
        metadata: dict[str, str] | None = None,
    ) -> Commit:
        return self._commit(lambda _table: (added, []), transactions, metadata)

    def replace_hour(self, hour: datetime, files: Iterable[DataFile], metadata: dict[str, str] | None = None) -> Commit:
        return self.replace_range(hour, hour + HOUR, list(files), metadata)

    def replace_range(
        self,
        start: datetime,
        end: datetime,
        added: list[DataFile],
        metadata: dict[str, str] | None = None,
        keep: pl.Expr | None = None,
        untouched: Callable[[TableFile], bool] | None = None,
    ) -> Commit:
        """Put the files in the place of every row of [start, end), in one commit.

        Rows for which `keep` is true stay. Rows of other hours that share a file with replaced ones are carried over.
        A file whose rows all stay is not written anew; if `untouched` knows that of it, it is not read either.
        """
        mine = {f.action.path for f in added}
        time_column = pl.col(self._hour_column)
        stays = (time_column < start) | (time_column >= end)
        stays = stays if keep is None else stays | keep

        def plan(table: DeltaTable) -> tuple[list[DataFile], list[TableFile]]:
            carried: list[DataFile] = []
            gone: list[TableFile] = []
            for file in files_of(table, start, end, self._hour_column):
                if file.path in mine or (untouched is not None and untouched(file)):
                    continue
                if file.lies_within(start, end) and keep is None:
                    gone.append(file)
                    continue
                rest = self.scan_files([file]).filter(stays).collect(engine="in-memory")
                if not 0 < file.rows == rest.height:  # others' files may not say how many rows they hold
                    gone.append(file)
                    carried += self.write_files(rest, "kept")
            return [*added, *carried], gone

        return self._commit(plan, (), metadata)

    def replace_all(
        self,
        frame: pl.DataFrame,
        metadata: dict[str, str] | None = None,
        transactions: Sequence[tuple[str, int]] = (),
    ) -> Commit:
        return self.replace_with(self.write_files(frame), metadata, transactions)

    def replace_with(
        self,
        added: list[DataFile],
        metadata: dict[str, str] | None = None,
        transactions: Sequence[tuple[str, int]] = (),
    ) -> Commit:
        """Put files, written part by part, in the place of all rows, in one commit with these marks."""
        mine = {f.action.path for f in added}
        return self._commit(
            lambda table: (added, [f for f in files_of(table, None, None, None) if f.path not in mine]),
            transactions,
            metadata,
        )

    def replace_changed_days(
        self, frame: pl.DataFrame, replaced: pl.Expr, mark: tuple[str, int], metadata: dict[str, str]
    ) -> Commit:
        """Put these rows in the place of those for which `replaced` is true.

        Days without such rows are not read; days that hold just what they should, in the order of hour and key, are
        left alone.
        """
        hour = self._hour_column
        order = [hour, *self.contract.key]

        def plan(table: DeltaTable) -> tuple[list[DataFile], list[TableFile]]:
            old = files_of(table, None, None, hour)
            gone = self.scan_files(old).filter(replaced).select(hour).collect(engine="in-memory")
            added: list[DataFile] = []
            removed: list[TableFile] = []
            for day in pl.concat([gone[hour], frame[hour]]).dt.date().unique().sort():
                mine = [f for f in old if f.partition_date == str(day)]
                had = self.scan_files(mine).collect(engine="in-memory")
                new = frame.filter(pl.col(hour).dt.date() == day)
                have = pl.concat([had.filter(~replaced), new]).sort(order)
                if not had.equals(have):
                    added += self.write_files(have)
                    removed += mine
            return added, removed

        return self._commit(plan, (mark,), metadata)

    def _commit(
        self,
        plan: Callable[[DeltaTable], tuple[list[DataFile], list[TableFile]]],
        transactions: Sequence[tuple[str, int]],
        metadata: dict[str, str] | None,
    ) -> Commit:
        """Commit what the plan says of the newest snapshot; a conflict means looking again."""
        for attempt in range(COMMIT_ATTEMPTS):
            try:
                with self.newest() as table:
                    return self._commit_once(table, plan, transactions, metadata)
            except CommitFailedError as error:
                if attempt == COMMIT_ATTEMPTS - 1 or isinstance(error, MarkTakenError):
                    raise
                time.sleep(0.05 * (attempt + 1))
        raise AssertionError("unreachable")

    def _commit_once(
        self,
        table: DeltaTable,
        plan: Callable[[DeltaTable], tuple[list[DataFile], list[TableFile]]],
        transactions: Sequence[tuple[str, int]],
        metadata: dict[str, str] | None,
    ) -> Commit:
        # Compaction keeps the columns that the table has: it has to have those of the rows.
        table = growth.add_columns(table, self.open, self.contract)
        for app, version in transactions:  # Delta keeps marks but does not compare them
            if (table.transaction_version(app) or 0) >= version:
                raise MarkTakenError(f"{self.contract.name}: {app} stands at {version} or beyond already")
        added, removed = plan(table)
        if not added and not removed and not transactions:
            return Commit(table.version(), 0, 0, 0)
        self._write_actions(table, added, removed, transactions, metadata)
        table.update_incremental()
        return Commit(table.version(), sum(f.rows for f in added), sum(f.size for f in added), len(added))

    def _write_actions(
        self,
        table: DeltaTable,
        added: list[DataFile],
        removed: list[TableFile],
        transactions: Sequence[tuple[str, int]],
        metadata: dict[str, str] | None,
    ) -> None:
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        actions: list[AddAction | RemoveAction] = [f.action for f in added]
        actions += [
            RemoveAction(
                path=f.path,
                data_change=True,
                deletion_timestamp=now_ms,
                size=f.size,
                partition_values={PARTITION_DATE: f.partition_date} if f.partition_date else {},
            )
            for f in removed
        ]
        table.create_write_transaction(
            actions,
            mode="append",
            schema=table.schema(),
            partition_by=[PARTITION_DATE] if self.contract.partitioned else [],
            commit_properties=CommitProperties(
                custom_metadata=metadata, app_transactions=[Transaction(a, v) for a, v in transactions]
            ),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=True),
        )
