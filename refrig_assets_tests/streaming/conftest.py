"""What the tests of the stream share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from refrig_assets_tests.streaming.broker import Broker, running_broker


@pytest.fixture
def kafka_broker() -> Iterator[Broker]:
    """A broker of the test's own, without topics."""
    with running_broker() as broker:
        yield broker


@pytest.fixture
def partition(tmp_path: Path) -> Path:
    """An empty partition of a spool."""
    path = tmp_path / "spool" / "gw-1"
    path.mkdir(parents=True)
    return path
