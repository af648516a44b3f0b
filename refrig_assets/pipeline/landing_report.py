"""What a landing run did: the account of each file, and of the hour it was found in. No I/O."""

from dataclasses import dataclass, field
from datetime import datetime

from refrig_assets.pipeline.sources import Content
from refrig_assets.transforms.landing import Landed


@dataclass
class FileAccount:
    """What became of one file."""

    path: str
    content: Content
    outcome: str = "landed"
    detail: str | None = None
    messages: int = 0
    rows: int = 0
    joined: int = 0
    dead: int = 0
    unknown_fields: int = 0

    def add(self, part: Landed) -> None:
        self.messages += part.messages
        self.rows += part.raw.height
        self.joined += part.joined
        self.dead += part.dead.height
        self.unknown_fields += part.unknown_fields


@dataclass
class LandingReport:
    """What a landing run did. `rows_by_hour` counts rows by the hour they belong to, which need not be the folder's."""

    hour: datetime
    files: list[FileAccount] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    rows_by_hour: dict[datetime, int] = field(default_factory=dict)
    bytes: int = 0

    @property
    def rows(self) -> int:
        return sum(f.rows for f in self.files)

    @property
    def dead(self) -> int:
        return sum(f.dead for f in self.files)

    @property
    def messages(self) -> int:
        return sum(f.messages for f in self.files)
