"""What messages say: everything somebody who is woken needs, on one line of title, and no markup of others."""

from refrig_assets.notify.forming import Draft, Shape
from refrig_assets.notify.matters import Matter
from refrig_assets.notify.wording import Words, words
from refrig_assets_tests.builders import HOUR, at
from refrig_assets_tests.notify.makers import matter

UI = "https://refrig.example.org/"


def said(*matters: Matter, shape: Shape = "single", ui: str | None = UI) -> Words:
    return words(Draft(shape, "hook", "{}", matters, "i-1" if shape == "incident" else None), "notice-1", ui)


FULL = matter(
    "a1", "HIGH", site_name="Harbour", model="F1", region="north", maintenance_contact="fix@example.org",
    description="High side pressure climbs", evidence=["subcooling fell by 4 K", "superheat rose"], hours_left=30.0,
    hours_left_low=20.0, hours_left_high=44.0, first_check="Look for oil at the joints",
)  # fmt: skip


def test_an_alert_says_what_where_since_when_why_and_what_to_do() -> None:
    found = said(FULL)
    assert found.title == "HIGH: dev-a1: compressor draws 55 A"
    for part in (
        "What: High side pressure climbs",
        "Where: dev-a1 (F1), site site-1 (Harbour), north",
        "Repairs: fix@example.org",
        "Since: 2026-03-02 10:00 UTC",
        "Evidence:\n  - subcooling fell by 4 K\n  - superheat rose",
        "Time left: 30 h (20 to 44)",
        "First check: Look for oil at the joints",
        "Take it by: 2026-03-02 10:30 UTC, L1 has it",
        "Acknowledge: refrig alerts ack a1",
        "In the UI: https://refrig.example.org/assets/alert_board",
        "Notice: notice-1",
    ):
        assert part in found.text
    assert "In the UI" not in said(FULL, ui=None).text


def test_a_title_is_one_line() -> None:
    long = said(matter("a", title="two\r\nlines \x00" + "x" * 300)).title
    assert long.startswith("CRITICAL: two lines xxx")
    assert len(long) <= 160


def test_what_others_wrote_is_no_markup() -> None:
    marked = said(matter("a", description="<script>x</script> **bold** [a](http://evil)")).markdown
    assert "&lt;script&gt;" in marked
    assert r"\*\*bold\*\* \[a\]" in marked
    assert "look_for" not in said(matter("a", first_check="look_for oil")).markdown.replace("look\\_for", "")


def test_levels_and_endings_are_in_the_title() -> None:
    assert said(matter("a", events=("level:L2",), about={"level": "L2"})).title.startswith("CRITICAL, now with L2: ")
    closed = said(
        matter("a", events=("closed",), status="RESOLVED", actor="operator:ann", resolved_at=at(9), note="belt")
    )
    assert closed.title.startswith("Resolved: ")
    assert "Closed: operator:ann at 2026-03-02 10:09 UTC" in closed.text
    assert "Acknowledge" not in closed.text
    assert said(matter("a", events=("closed",), status="FALSE_POSITIVE")).title.startswith("False alarm: ")


def test_messages_about_many_count_and_list_them() -> None:
    many = [matter(f"m{n}", "CRITICAL" if n < 2 else "HIGH") for n in range(60)]
    storm = said(*many, shape="storm")
    assert storm.title == "60 within a minute at site-1 (2 CRITICAL, 58 HIGH)"
    assert "CRITICAL: dev-m0: compressor draws 55 A (dev-m0, since 2026-03-02 10:00 UTC)" in storm.text
    assert "And more: 10; refrig alerts list shows all that stand" in storm.text
    assert storm.text.count("refrig alerts ack") == 50
    assert said(*many[:3], shape="incident").title == (
        "Incident at site-1, 3 devices (2 CRITICAL, 1 HIGH): dev-m0: compressor draws 55 A"
    )
    assert said(*many[:3], shape="digest").title == "3 to look into at site-1 (2 CRITICAL, 1 HIGH)"


def test_facts_that_went_through_the_journal_read_the_same() -> None:
    stored = matter("a", first_detected_at=HOUR.isoformat(), sla_deadline=at(30).isoformat())
    assert said(stored) == said(matter("a"))
