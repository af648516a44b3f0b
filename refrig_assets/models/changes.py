"""What happened to versions: who released, pinned or rolled back which, when, and why. Kept as tags of the versions."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Literal

What = Literal[
    "staged", "released", "pinned", "rolled back", "challenger", "shadow",
    "unpinned", "no longer challenger", "no longer shadow",
]  # fmt: skip

TAG = "refrig.change."


@dataclass(frozen=True)
class Change:
    what: What
    model_id: str
    version: str
    at: datetime
    by: str
    replaced: str | None = None
    """the version that scored before; of one that is unpinned, the released one that scores after"""
    reason: str | None = None
    overruled: tuple[str, ...] = ()
    """what stood against it and was overruled by the reason"""
    canary: Mapping[str, float] = field(default_factory=dict)
    """the gates' values"""
    done: bool = True
    """False for what was begun and not carried out: the process died"""

    @property
    def alias(self) -> str:
        """The alias that the version gets or loses."""
        names = {"staged": "staging", "rolled back": "pinned", "unpinned": "pinned"}
        return names.get(self.what, self.what.removeprefix("no longer "))

    @property
    def gives(self) -> bool:
        return self.what != "unpinned" and not self.what.startswith("no longer")

    @property
    def says(self) -> str:
        instead = f" in place of {self.replaced}" if self.replaced else ""
        against = f", overruling {', '.join(self.overruled)}" if self.overruled else ""
        if self.what == "unpinned" and self.replaced:
            instead, against = "", f", so that {self.replaced} scores"
        why = f": {self.reason}" if self.reason else ""
        undone = "" if self.done else " (not carried out)"
        return f"{self.model_id} {self.version} {self.what}{instead} by {self.by}{against}{why}{undone}"

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "at": self.at.isoformat()}, ensure_ascii=False)


def tag_name(number: int) -> str:
    """Names sort by number; two processes that count alike still write two tags."""
    return f"{TAG}{number:06d}-{uuid.uuid4().hex[:6]}"


def read_changes(tags: Iterable[Mapping[str, str]]) -> list[Change]:
    """The changes among the tags of versions, oldest first."""
    found = sorted((k, v) for t in tags for k, v in t.items() if k.startswith(TAG))
    changes = []
    for _, value in found:
        told = json.loads(value)
        told["at"] = datetime.fromisoformat(told["at"])
        told["overruled"] = tuple(told["overruled"])
        changes.append(Change(**told))
    return changes


def settled(changes: Sequence[Change], held: Set[tuple[str, str]]) -> list[Change]:
    """Changes as they came out. A process that died after it moved an alias could not say so: `held` are the aliases
    and versions as they are, and the last attempt at what is so now has succeeded."""
    found = []
    for number, change in enumerate(changes):
        alias = (change.alias, change.version)
        last = all((c.alias, c.version) != alias for c in changes[number + 1 :])
        found.append(replace(change, done=change.done or (last and (alias in held) == change.gives)))
    return found


def released_before(changes: Iterable[Change], version: str) -> str | None:
    """What scored before this version was let score. Rollbacks do not count: they must not lead back to the bad one."""
    for what in ("released", "pinned"):
        before = [c.replaced for c in changes if c.what == what and c.version == version and c.replaced != version]
        if before and before[-1] is not None:
            return before[-1]
    return None
