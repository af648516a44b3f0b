"""What can be set of the stream, in one place, and what follows from it. No I/O, no clock."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from refrig_assets.lake import Lake
from refrig_assets.pipeline.stream_reports import stream_home

# Changes when what is kept between runs changes its shape: an older store is set aside and made anew from the lake.
STATE_FORMAT = 1


@dataclass(frozen=True)
class StreamSettings:
    """Everything a worker needs to know; it travels to the worker processes as JSON."""

    lake: str
    source: str
    storage_options: Mapping[str, str] = field(default_factory=dict)
    source_options: Mapping[str, str] = field(default_factory=dict)
    state_dir: str = ""
    """where the lock, the recovery store and the heartbeat live; by default beside the lake's tables"""
    processes: int = 1
    workers: int = 1
    """threads a process; more processes are better than more threads"""
    slots: int = 16
    """partitions of the transport share this many; fixed for the life of a recovery store"""
    shards: int = 8
    """devices are judged in this many groups; fixed for the life of a recovery store"""
    commit_every_s: float = 15.0
    """how often rows and offsets are committed and state is kept"""
    commit_rows: int = 600_000
    """rows of one worker process that are committed without waiting"""
    poll_every_s: float = 0.5
    block_bytes: int = 32 * 1024 * 1024
    hold_s: float = 1.0
    """how long the row of a narrow message waits for more of its messages"""
    registry_every_s: float = 15.0
    until_eof: bool = False

    @property
    def home(self) -> Path:
        """The state directory."""
        return stream_home(Lake(self.lake, self.storage_options), self.state_dir)

    @property
    def recovery_dir(self) -> Path:
        return self.home / f"recovery-{STATE_FORMAT}-{self.slots}-{self.shards}"

    @property
    def source_name(self) -> str:
        """What offsets are kept under: the same wherever a spool is moved or a broker is reached."""
        return self.source.partition(":")[0] if ":" in self.source else "spool"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "StreamSettings":
        return cls(**json.loads(text))


def slot_of(partition: str, slots: int) -> int:
    """The slot of a partition: by its trailing number, so that neighbours are spread, whatever comes or goes."""
    digits = partition[len(partition.rstrip("0123456789")) :]
    number = int(digits) if digits else int.from_bytes(hashlib.sha256(partition.encode()).digest()[:4])
    return number % slots


def slot_name(slot: int) -> str:
    return f"slot-{slot:03d}"


def shard_name(shard: int) -> str:
    return f"shard-{shard:03d}"
