"""A plant whose notifications can be seen arriving."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from refrig_assets.lake import Lake
from refrig_assets_tests.notify.makers import Plant
from refrig_assets_tests.notify.receivers import Hook, MailServer, mail_server, web_hook


@pytest.fixture
def plant(tmp_path: Path, lake: Lake) -> Plant:
    return Plant(tmp_path, lake)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def hook() -> Iterator[Hook]:
    with web_hook() as server:
        yield server
