"""What may not go out any more: matters of alerts that were closed or suppressed leave their messages."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from refrig_assets.notify import outbox_rows as entries
from refrig_assets.notify.forming import Draft, in_order
from refrig_assets.notify.wording import Words

MEANWHILE = "closed or suppressed while it was being sent, and not accepted"
_MINE = "notice_id = ? AND channel = ? AND recipient = ?"
_LEAVES = (
    "UPDATE deliveries SET state = 'leaving' WHERE subject = ? AND state = 'formed' AND EXISTS ("
    "SELECT 1 FROM messages m WHERE m.notice_id = deliveries.notice_id AND m.channel = deliveries.channel "
    "AND m.recipient = deliveries.recipient AND m.state IN ('waiting', 'changed', 'sending'))"
)
_LEFT = (
    "SELECT DISTINCT m.* FROM deliveries d JOIN messages m USING (notice_id, channel, recipient) "
    "WHERE d.state = 'leaving' AND m.state IN ('waiting', 'changed')"
)


def withdraw(rows: sqlite3.Connection, reasons: Mapping[str, str], now: datetime) -> None:
    """Nothing more of these subjects: they leave what waits. What is being sent they leave if it is not accepted."""
    for subject, why in reasons.items():
        waiting = rows.execute("SELECT * FROM deliveries WHERE subject = ? AND state = 'waiting'", (subject,))
        for row in waiting.fetchall():
            _log_held(rows, row, why, now)
        rows.execute("UPDATE deliveries SET state = 'withdrawn' WHERE subject = ? AND state = 'waiting'", (subject,))
        rows.execute(_LEAVES, (subject,))
    for message in rows.execute(_LEFT).fetchall():
        _let_go(rows, message, reasons, now)
    rows.executemany(  # what nobody was told may be told another time
        "DELETE FROM told WHERE subject = ?1 AND NOT EXISTS "
        "(SELECT 1 FROM deliveries WHERE subject = ?1 AND state IN ('formed', 'leaving'))",
        [(subject,) for subject in reasons],
    )


def stay(rows: sqlite3.Connection, subjects: Iterable[str]) -> None:
    """They stand again: what is being sent may be tried again."""
    rows.executemany(
        "UPDATE deliveries SET state = 'formed' WHERE subject = ? AND state = 'leaving'", [(one,) for one in subjects]
    )


def settled(rows: sqlite3.Connection, message: sqlite3.Row, again: bool, now: datetime) -> None:
    """After an attempt: where there will be another one, what was to leave leaves."""
    if again:
        _let_go(rows, message, {}, now)
    else:
        mine = (message["notice_id"], message["channel"], message["recipient"])
        rows.execute(f"UPDATE deliveries SET state = 'formed' WHERE state = 'leaving' AND {_MINE}", mine)


def _let_go(rows: sqlite3.Connection, message: sqlite3.Row, reasons: Mapping[str, str], now: datetime) -> None:
    """Take what leaves out of a message that is not being sent; without anything left, it is withdrawn."""
    mine = (message["notice_id"], message["channel"], message["recipient"])
    leaving = rows.execute(f"SELECT * FROM deliveries WHERE state = 'leaving' AND {_MINE}", mine).fetchall()
    if not leaving:
        return
    rows.execute(f"UPDATE deliveries SET state = 'withdrawn' WHERE state = 'leaving' AND {_MINE}", mine)
    why = {row["matter_id"]: reasons.get(row["subject"], MEANWHILE) for row in leaving}
    if rows.execute(f"SELECT 1 FROM deliveries WHERE state = 'formed' AND {_MINE} LIMIT 1", mine).fetchone():
        for row in leaving:
            _log_held(rows, row, why[row["matter_id"]], now)
        rows.execute("UPDATE messages SET state = 'changed' WHERE number = ?", (message["number"],))
    else:
        said = "; ".join(dict.fromkeys(why.values()))
        entries.log(rows, entries.attempt_row(message, message["attempts"] + 1, "held", said, now))
        rows.execute("UPDATE messages SET state = 'withdrawn' WHERE number = ?", (message["number"],))


def _log_held(rows: sqlite3.Connection, delivery: sqlite3.Row, why: str, now: datetime) -> None:
    found = rows.execute("SELECT content FROM matters WHERE matter_id = ?", (delivery["matter_id"],)).fetchone()
    if found is not None:
        entries.log(rows, entries.held_row([entries.matter_of(found)], delivery["channel"], why, now))


def reword(rows: sqlite3.Connection, words: Callable[[Draft, str], Words]) -> None:
    """Messages that something has left tell of the rest, under the same identity: a repeat can still be known."""
    for message in rows.execute("SELECT * FROM messages WHERE state = 'changed'").fetchall():
        mine = (message["notice_id"], message["channel"], message["recipient"])
        left = rows.execute(
            f"SELECT content FROM deliveries LEFT JOIN matters USING (matter_id) WHERE state = 'formed' AND {_MINE}",
            mine,
        ).fetchall()
        if all(row["content"] is not None for row in left):
            matters = in_order(entries.matter_of(row) for row in left)
            draft = Draft(message["shape"], message["channel"], message["recipient"], matters, message["incident"])
            content = entries.content_of(draft, message["notice_id"], words(draft, message["notice_id"]))
            names = ", ".join(f"{name} = ?" for name in content)
            rows.execute(f"UPDATE messages SET {names} WHERE number = ?", (*content.values(), message["number"]))
        rows.execute("UPDATE messages SET state = 'waiting' WHERE number = ?", (message["number"],))
