"""Named automation policies. Off until the automation sensor is switched on."""

import dagster as dg


def when_inputs_change() -> dg.AutomationCondition:  # type: ignore[type-arg]
    """Once all inputs are there and newer, and none of their blocking checks failed.

    `eager` alone asks for an asset even after a failed blocking check of its input.
    """
    return (dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()).with_label(
        "when inputs change and their blocking checks pass"
    )


def when_some_inputs_change() -> dg.AutomationCondition:  # type: ignore[type-arg]
    """The same, where not all of the inputs need be there: a look-back over partitions a young plant has not."""
    some = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
    return (some & dg.AutomationCondition.all_deps_blocking_checks_passed()).with_label(
        "when inputs change and their blocking checks pass, even if some are missing"
    )


def each_hour() -> dg.AutomationCondition:  # type: ignore[type-arg]
    """A few minutes after each hour."""
    return dg.AutomationCondition.on_cron("3 * * * *").with_label("hourly, at minute 3")


def each_day() -> dg.AutomationCondition:  # type: ignore[type-arg]
    """After midnight, when the last hour of the day has been made."""
    return dg.AutomationCondition.on_cron("30 0 * * *").with_label("daily at 00:30 UTC")
