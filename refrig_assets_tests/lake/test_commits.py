"""What commits say: each once, in order, across stretches, with others committing meanwhile."""

from pathlib import Path

import pytest

from refrig_assets.contracts import RAW_READINGS
from refrig_assets.lake import Lake, Table, commits_since
from refrig_assets_tests.builders import raw_rows


@pytest.fixture
def raw(lake: Lake) -> Table:
    return lake.table(RAW_READINGS)


def append(raw: Table, number: int, **metadata: str) -> int:
    return raw.append(raw_rows([{"event_id": f"e{number}"}]), metadata=metadata or None).version


def test_each_commit_that_says_something_is_told_once_and_in_order(raw: Table) -> None:
    begun = raw.version
    assert commits_since(raw, 0, ["stream"]).commits == []
    said = {append(raw, n, stream=f'{{"n": {n}}}', other="x"): n for n in range(3)}
    append(raw, 3)
    append(raw, 4, other="only")
    notes = commits_since(raw, begun, ["stream", "stream_alerts"])
    assert [(c.version, c.metadata) for c in notes.commits] == [
        (v, {"stream": f'{{"n": {n}}}'}) for v, n in said.items()
    ]
    assert notes.upto == raw.version
    assert notes.commits[0].at <= notes.commits[-1].at
    assert commits_since(raw, notes.upto, ["stream"]).commits == []
    assert commits_since(raw, begun, ["other"]).commits[-1].metadata == {"other": "only"}
    later = append(raw, 5, stream="more")
    again = commits_since(raw, notes.upto, ["stream"])
    assert ([c.version for c in again.commits], again.upto) == ([later], later)


def test_a_long_log_is_read_a_piece_at_a_time(raw: Table) -> None:
    versions = [append(raw, n, stream=str(n)) for n in range(230)]
    seen, upto = [], 0
    while True:
        notes = commits_since(raw, upto, ["stream"], limit=70)
        if notes.upto == upto:
            break
        assert notes.upto - upto <= 70
        seen += [c.version for c in notes.commits]
        upto = notes.upto
    assert seen == versions
    assert upto == raw.version


def test_commits_older_than_the_logs_retention_are_passed_over(raw: Table) -> None:
    versions = [append(raw, n, stream=str(n)) for n in range(60)]  # the log has a checkpoint by now
    for version in range(20):
        Path(f"{raw.uri}/_delta_log/{version:020d}.json").unlink()
    notes = commits_since(raw, 0, ["stream"])
    assert [c.version for c in notes.commits] == [v for v in versions if v >= 20]
    assert notes.upto == versions[-1]


def test_a_table_made_anew_begins_again(raw: Table) -> None:
    version = append(raw, 0, stream="first")
    notes = commits_since(raw, version + 40, ["stream"])
    assert [c.version for c in notes.commits] == [version]
    assert notes.upto == version
