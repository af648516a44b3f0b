"""The outbox: what must be told, to whom, and what became of it. The journal decides; the lake's table tells of it.

Anybody may put something in; only the holder of the lease plans from the alert log, forms messages and sends.
"""

import json
import random
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from refrig_assets.notify import outbox_rows as entries
from refrig_assets.notify import outbox_withdrawal as leaving
from refrig_assets.notify.forming import Draft, form
from refrig_assets.notify.journal import Journal, moment, stamp
from refrig_assets.notify.matters import Matter, Told, held_events, told_of
from refrig_assets.notify.outbox_rows import Addressed
from refrig_assets.notify.pacing import is_due, is_given_up, next_try
from refrig_assets.notify.routing import Channel
from refrig_assets.notify.sending import Letter, Outcome
from refrig_assets.notify.wording import Words

NOBODY = "none"
"""the channel of what reached no channel"""
_KEPT_MESSAGES = 100_000
_ASKED_AT_ONCE = 500
INTERRUPTED = "the notifier ended while it was sending; the next attempt may be a repeat, under the same identity"
LOST = "the thread that was sending ended; the next attempt may be a repeat, under the same identity"


@dataclass(frozen=True)
class Taken:
    """A message that is being sent: nobody else sends it."""

    number: int
    letter: Letter
    recipient: dict[str, str]


class Outbox:
    def __init__(self, home: Path, chance: random.Random | None = None) -> None:
        self.journal = Journal(home / "outbox.sqlite")
        self._chance = chance or random.Random()

    @property
    def name(self) -> str:
        """This journal's own name: its attempts are numbered under it."""
        return self.meta("name", lambda: str(uuid.uuid4()))

    def meta(self, name: str, make: Callable[[], str]) -> str:
        with self.journal.transaction() as rows:
            rows.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, make()))
            return str(rows.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])

    def keep(self, name: str, value: str) -> None:
        if self.kept(name) != value:
            with self.journal.transaction() as rows:
                rows.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def kept(self, name: str) -> str | None:
        found = self.journal.rows("SELECT value FROM meta WHERE name = ?", (name,))
        return str(found[0]["value"]) if found else None

    def remember(self, told: Sequence[tuple[str, str]]) -> int:
        """Take as told what was told by another journal."""
        with self.journal.transaction() as rows:
            rows.executemany("INSERT OR IGNORE INTO told VALUES (?, ?)", told)
            rows.execute("INSERT OR REPLACE INTO meta VALUES ('restored', 'yes')")
        return len(told)

    # -- planning ------------------------------------------------------------------------------------------------

    def seen_files(self) -> set[str]:
        return {row["path"] for row in self.journal.rows("SELECT path FROM seen")}

    def told(self, alerts: Sequence[str]) -> dict[str, Told]:
        """What was told of these alerts, or is on its way."""
        told = self._of(alerts, "SELECT subject, event FROM told WHERE")
        owed = self._of(alerts, "SELECT DISTINCT subject FROM deliveries WHERE state = 'withdrawn' AND")
        return told_of([(r["subject"], r["event"]) for r in told], {r["subject"] for r in owed})

    def _of(self, alerts: Sequence[str], query: str) -> list[sqlite3.Row]:
        found: list[sqlite3.Row] = []
        for start in range(0, len(alerts), _ASKED_AT_ONCE):
            some = tuple(alerts[start : start + _ASKED_AT_ONCE])
            found += self.journal.rows(f"{query} subject IN ({','.join('?' * len(some))})", some)
        return found

    def channels_told(self, subject: str) -> set[str]:
        """Channels to which something of the subject went, or is about to go."""
        return self._channels(subject, "'formed', 'leaving'")

    def channels_owed(self, subject: str) -> set[str]:
        """Channels from which something of the subject was withdrawn, and nothing newer was meant for them."""
        return self._channels(subject, "'withdrawn'")

    def _channels(self, subject: str, states: str) -> set[str]:
        query = f"SELECT DISTINCT channel FROM deliveries WHERE subject = ? AND state IN ({states})"
        return {row["channel"] for row in self.journal.rows(query, (subject,))}

    def put(
        self,
        planned: Iterable[tuple[Matter, Sequence[Addressed]]],
        now: datetime,
        *,
        held: Sequence[dict[str, Any]] = (),
        known: Iterable[Matter] = (),
        withdrawn: Mapping[str, str] | None = None,
        stands: Iterable[str] = (),
        files: Sequence[str] | None = None,
        standing: tuple[str, str | None, str] | None = None,
    ) -> bool:
        """Write down what must be told, and from what it was known, in one transaction.

        `known` are matters that are told to nobody, `held` rows that say so; `withdrawn` alerts of which nothing may go
        out any more, `stands` those of which it may; `files` those of the alert log that have been read now; `standing`
        of a condition what was said of it before, and now: where somebody else has said something since, nothing is
        written down.
        """
        with self.journal.transaction() as rows:
            if standing is not None and not _still(rows, standing[0], standing[1]):
                return False
            leaving.withdraw(rows, withdrawn or {}, now)
            leaving.stay(rows, stands)
            for matter, deliveries in planned:
                entries.tell(rows, matter)
                entries.put(rows, matter, deliveries, now)
            for matter in known:
                entries.tell(rows, matter, held_events(*matter.severities))
            for row in held:
                entries.log(rows, row)
            if files is not None:
                rows.execute("CREATE TEMP TABLE IF NOT EXISTS there (path TEXT PRIMARY KEY)")
                rows.execute("DELETE FROM there")
                rows.executemany("INSERT OR IGNORE INTO there VALUES (?)", [(f,) for f in files])
                rows.execute("DELETE FROM seen WHERE path NOT IN (SELECT path FROM there)")
                rows.execute("INSERT OR IGNORE INTO seen SELECT path FROM there")
            if standing is not None:
                rows.execute("INSERT OR REPLACE INTO standing VALUES (?, ?)", (standing[0], standing[2]))
        return True

    def standing(self, subject: str) -> str | None:
        found = self.journal.rows("SELECT content FROM standing WHERE subject = ?", (subject,))
        return str(found[0]["content"]) if found else None

    # -- forming -------------------------------------------------------------------------------------------------

    def form(self, now: datetime, storm_above: int, words: Callable[[Draft, str], Words]) -> int:
        """Make messages of what is due; how many. Those that something was withdrawn from say what is left."""
        if not self.journal.rows(
            "SELECT 1 FROM deliveries WHERE state = 'waiting' UNION ALL "
            "SELECT 1 FROM messages WHERE state = 'changed' LIMIT 1"
        ):
            return 0
        with self.journal.transaction() as rows:
            leaving.reword(rows, words)
            drafts = form(entries.waiting(rows), entries.recent(rows, now), now, storm_above)
            for draft in drafts:
                entries.make(rows, draft, now, words)
            if drafts:
                entries.forget_matters(rows)
                rows.execute(
                    "DELETE FROM messages WHERE state NOT IN ('waiting', 'changed', 'sending') AND number <= "
                    "(SELECT MAX(number) FROM messages) - ?",
                    (_KEPT_MESSAGES,),
                )
        return len(drafts)

    # -- sending -------------------------------------------------------------------------------------------------

    def recover(self, now: datetime, why: str = INTERRUPTED, busy: Sequence[str] = ()) -> int:
        """Of messages that nobody is sending any more nobody knows whether they arrived: they are sent again.

        `busy` are channels that are being served.
        """
        marks = ",".join("?" * len(busy))
        lost = f"SELECT * FROM messages WHERE state = 'sending' AND channel NOT IN ({marks})"
        if not self.journal.rows(f"{lost} LIMIT 1", tuple(busy)):
            return 0
        with self.journal.transaction() as rows:
            found = rows.execute(lost, tuple(busy)).fetchall()
            for row in found:
                entries.log(rows, entries.attempt_row(row, row["attempts"], "failed", why, now))
                due = now if why == INTERRUPTED else next_try(row["attempts"], now, self._chance)
                rows.execute(
                    "UPDATE messages SET state = 'waiting', next_at = ? WHERE number = ?", (stamp(due), row["number"])
                )
                leaving.settled(rows, row, True, now)
        return len(found)

    def channels_due(self, now: datetime) -> set[str]:
        rows = self.journal.rows("SELECT channel, last_at, next_at FROM messages WHERE state = 'waiting'")
        return {r["channel"] for r in rows if is_due(moment(r["next_at"]), moment(r["last_at"]), now)}

    def take(self, channel: str, now: datetime) -> Taken | None:
        """The channel's most urgent message that is due, marked as being sent."""
        query = "SELECT * FROM messages WHERE state = 'waiting' AND channel = ? ORDER BY rank DESC, number"
        with self.journal.transaction() as rows:
            for row in rows.execute(query, (channel,)):
                if is_due(moment(row["next_at"]), moment(row["last_at"]), now):
                    break
            else:
                return None
            attempt = row["attempts"] + 1
            rows.execute(
                "UPDATE messages SET state = 'sending', attempts = ?, last_at = ? WHERE number = ?",
                (attempt, stamp(now), row["number"]),
            )
        letter = Letter(row["notice_id"], row["title"], row["text"], row["markdown"], row["severity"], attempt)
        return Taken(row["number"], letter, json.loads(row["recipient"]))

    def settle(self, taken: Taken, outcome: Outcome, channel: Channel, now: datetime) -> None:
        """Write down what became of an attempt."""
        attempt = taken.letter.attempt
        over = is_given_up(attempt, channel.give_up)
        state = "sent" if outcome.accepted else "gave_up" if over else "waiting"
        result = "failed" if state == "waiting" else state
        with self.journal.transaction() as rows:
            row = rows.execute("SELECT * FROM messages WHERE number = ?", (taken.number,)).fetchone()
            rows.execute(
                "UPDATE messages SET state = ?, last_at = ?, next_at = ? WHERE number = ?",
                (state, stamp(now), stamp(next_try(attempt, now, self._chance)), taken.number),
            )
            detail = outcome.detail or (row["tells"] if outcome.accepted else None)
            entries.log(rows, entries.attempt_row(row, attempt, result, detail, now))
            leaving.settled(rows, row, state == "waiting", now)

    def give_up(self, channels: Iterable[str], why: str, now: datetime) -> int:
        """Give up what waits for channels that there are no more."""
        names = tuple(channels)
        marks = ",".join("?" * len(names))
        with self.journal.transaction() as rows:
            found = rows.execute(
                f"SELECT * FROM messages WHERE state = 'waiting' AND channel NOT IN ({marks})", names
            ).fetchall()
            for row in found:
                rows.execute("UPDATE messages SET state = 'gave_up' WHERE number = ?", (row["number"],))
                entries.log(rows, entries.attempt_row(row, row["attempts"] + 1, "gave_up", why, now))
        return len(found)

    # -- what became of it ---------------------------------------------------------------------------------------

    def unrecorded(self, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Attempts that the lake's table does not tell of yet, oldest first."""
        rows = self.journal.rows("SELECT * FROM attempts ORDER BY number LIMIT ?", (limit,))
        return [(row["number"], json.loads(row["content"])) for row in rows]

    def recorded(self, upto: int) -> None:
        with self.journal.transaction() as rows:
            rows.execute("DELETE FROM attempts WHERE number <= ?", (upto,))

    def counts(self) -> dict[str, int]:
        """Messages by state, and matters that wait for their time."""
        states = "SELECT REPLACE(state, 'changed', 'waiting') state, COUNT(*) n FROM messages GROUP BY 1"
        found = {row["state"]: row["n"] for row in self.journal.rows(states)}
        (collected,) = self.journal.rows("SELECT COUNT(*) n FROM deliveries WHERE state = 'waiting'")
        return {**found, "collected": collected["n"]}


def _still(rows: sqlite3.Connection, subject: str, before: str | None) -> bool:
    found = rows.execute("SELECT content FROM standing WHERE subject = ?", (subject,)).fetchone()
    return (found[0] if found else None) == before
