"""The words of a message: one line of title, a body as plain text and as Markdown. Decides nothing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from refrig_assets.alerting.wording import clock, hours_text, listed
from refrig_assets.notify.forming import Draft
from refrig_assets.notify.matters import Matter

LISTED_AT_MOST = 50
_TITLE = 160
_MORE = "there were many within a minute; what follows is told together, once a minute"
_ENDED = {"FALSE_POSITIVE": "False alarm"}
_MARKDOWN = re.compile(r"([\\`*_\[\]#|])")

Line = tuple[str, str | Sequence[str]]
"""what, and one or more sentences about it"""


@dataclass(frozen=True)
class Words:
    title: str
    text: str
    markdown: str


def words(draft: Draft, notice_id: str, ui: str | None) -> Words:
    """What the message says. `ui` is where the Dagster UI is, if anybody knows."""
    first = draft.matters[0]
    if draft.shape == "single" or (draft.shape == "storm" and len(draft.matters) == 1):
        title, lines = _title(first), _lines(first, ui)
        lines += [("More", _MORE)] if draft.shape == "storm" else []
    else:
        title, lines = _headline(draft), _list(draft.matters, ui)
    lines.append(("Notice", notice_id))
    return Words(one_line(title), _text(lines), _marked(lines))


def one_line(text: str) -> str:
    short = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return short if len(short) <= _TITLE else f"{short[: _TITLE - 1]}…"


def _title(matter: Matter) -> str:
    facts = matter.facts
    if matter.about.closing:
        return f"{_ENDED.get(facts['status'], 'Resolved')}: {facts['title']}"
    if any(e.startswith("level:") for e in matter.events):
        return f"{matter.about.severity}, now with {matter.about.level}: {facts['title']}"
    if matter.about.kind == "device_alert":
        return f"{matter.about.severity}: {facts['title']}"
    return str(facts["title"])


def _lines(matter: Matter, ui: str | None) -> list[Line]:
    facts = matter.facts
    if matter.about.kind != "device_alert":
        return [(str(what), said) for what, said in facts["lines"]]
    lines: list[Line] = [("What", facts["description"] or facts["title"])]
    where = _named(facts["device_id"], facts["model"]), f"site {_named(facts['site_id'], facts['site_name'])}"
    lines.append(("Where", ", ".join([*where, *([facts["region"]] if facts["region"] else [])])))
    lines += [
        (label, str(facts[name]))
        for label, name in (("Repairs", "maintenance_contact"), ("Site manager", "site_manager"))
        if facts[name]
    ]
    lines.append(("Since", clock(_moment(facts["first_detected_at"]))))
    if facts["evidence"]:
        lines.append(("Evidence", list(facts["evidence"])))
    left = hours_text(*(facts[name] for name in ("hours_left", "hours_left_low", "hours_left_high")))
    lines += [("Time left", left)] if left else []
    if matter.about.closing:
        return [*lines, *_closing(facts), *_link(ui, "/assets/alert_board")]
    lines += [("First check", facts["first_check"])] if facts["first_check"] else []
    lines.append(("Take it by", f"{clock(_moment(facts['sla_deadline']))}, {facts['escalation_level']} has it"))
    lines.append(("Acknowledge", f"refrig alerts ack {facts['alert_id']}"))
    return [*lines, *_link(ui, "/assets/alert_board")]


def _closing(facts: Mapping[str, Any]) -> list[Line]:
    when = f" at {clock(_moment(facts['resolved_at']))}" if facts["resolved_at"] else ""
    lines: list[Line] = [("Closed", f"{facts['actor'] or 'somebody'}{when}")]
    return [*lines, ("Note", facts["note"])] if facts["note"] else lines


def _headline(draft: Draft) -> str:
    matters = draft.matters
    counts: dict[str, int] = {}
    for matter in matters:
        counts[matter.about.severity] = counts.get(matter.about.severity, 0) + 1
    told = ", ".join(f"{n} {severity}" for severity, n in counts.items())
    sites = list(dict.fromkeys(m.about.site_id for m in matters if m.about.site_id))
    where = f" at {listed(sites, 3)}" if sites else ""
    if draft.shape == "incident":
        closed = "closed: " if matters[0].about.closing else ""
        devices = len({m.facts["device_id"] for m in matters})
        several = "s" if devices > 1 else ""
        return f"Incident{where}, {closed}{devices} device{several} ({told}): {matters[0].facts['title']}"
    if draft.shape == "storm":
        return f"{len(matters)} within a minute{where} ({told})"
    return f"{len(matters)} to look into{where} ({told})"


def _list(matters: Sequence[Matter], ui: str | None) -> list[Line]:
    lines: list[Line] = [("In short", [_entry(m) for m in matters[:LISTED_AT_MOST]])]
    more = len(matters) - LISTED_AT_MOST
    if more > 0:
        lines.append(("And more", f"{more}; refrig alerts list shows all that stand"))
    firsts = list(dict.fromkeys(m.facts["first_check"] for m in matters if m.facts.get("first_check")))
    lines += [("First check", firsts[:3])] if firsts else []
    taken = [f"refrig alerts ack {m.subject}" for m in _to_take(matters)]
    lines += [("Acknowledge", taken[:LISTED_AT_MOST])] if taken else []
    return [*lines, *_link(ui, "/assets/alert_board" if taken else "/overview/activity")]


def _to_take(matters: Iterable[Matter]) -> list[Matter]:
    return [m for m in matters if m.about.kind == "device_alert" and not m.about.closing]


def _entry(matter: Matter) -> str:
    facts = matter.facts
    if matter.about.kind != "device_alert":
        return f"{matter.about.severity}: {facts['title']}"
    left = hours_text(facts["hours_left"])
    ends = f", {left} left" if left else ""
    return f"{_title(matter)} ({facts['device_id']}, since {clock(_moment(facts['first_detected_at']))}{ends})"


def _link(ui: str | None, path: str) -> list[Line]:
    return [("In the UI", f"{ui.rstrip('/')}{path}")] if ui else []


def _named(name: str, more: str | None) -> str:
    return f"{name} ({more})" if more else name


def _moment(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _text(lines: Iterable[Line]) -> str:
    parts = []
    for what, said in lines:
        if isinstance(said, str):
            parts.append(f"{what}: {said}")
        else:
            parts.append("\n".join([f"{what}:", *(f"  - {one}" for one in said)]))
    return "\n".join(parts) + "\n"


def _marked(lines: Iterable[Line]) -> str:
    """What devices and people wrote is shown as they wrote it: none of it is markup."""
    parts = []
    for what, said in lines:
        if not isinstance(said, str):
            parts.append("\n".join([f"**{what}**", "", *(f"- {_verbatim(what, one)}" for one in said)]))
        elif what == "In the UI":
            parts.append(f"**{what}** <{said}>")
        else:
            parts.append(f"**{what}** {_verbatim(what, said)}")
    return "\n\n".join(parts) + "\n"


def _verbatim(what: str, said: str) -> str:
    flat = " ".join(said.split())
    if what == "Acknowledge":
        return f"`{flat}`"
    return _MARKDOWN.sub(r"\\\1", escape(flat, quote=False))
