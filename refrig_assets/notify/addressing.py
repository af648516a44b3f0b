"""From a matter to the channels that are told of it, and to the rows that say why somebody is not. Pure."""

from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from typing import Any

from refrig_assets.notify.matters import RANK, Matter
from refrig_assets.notify.outbox import NOBODY
from refrig_assets.notify.outbox_rows import Addressed, held_row
from refrig_assets.notify.routing import Routing

# From here on somebody has to be told; of what is less urgent a plant may well want to hear nothing.
_MUST_REACH = RANK["HIGH"]


def address(
    routing: Routing, matter: Matter, heard: AbstractSet[str] | None, now: datetime
) -> tuple[list[Addressed], list[dict[str, Any]]]:
    """Whom to tell, each channel once, and what is held. `heard` limits it to channels that were told before."""
    found: dict[str, Addressed] = {}
    held: list[dict[str, Any]] = []
    site = {name: matter.facts.get(name) for name in ("site_manager", "maintenance_contact")}
    site["site_id"] = matter.about.site_id
    for delivery in routing.deliveries(matter.about, now):
        usable = routing.recipient(delivery.channel, site)
        if usable is None:
            needs = " or ".join(routing.channels[delivery.channel].contacts)
            why = f"no contact: the registry has no {needs} for site {matter.about.site_id}, and there is no fallback"
            held.append(held_row([matter], delivery.channel, why, now))
            continue
        name, recipient = usable
        if heard is not None and name not in heard:
            continue
        if name not in found or delivery.due < found[name].delivery.due:
            found[name] = Addressed(replace(delivery, channel=name), recipient)
    if not found and not held and heard is None and matter.rank >= _MUST_REACH:
        held.append(held_row([matter], NOBODY, "no route tells anybody of it at this hour", now))
    return list(found.values()), held
