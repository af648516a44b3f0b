"""The test message of `refrig notify test`: made here, sent as every other message is."""

import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from refrig_assets.notify.address import AddressError, open_address
from refrig_assets.notify.routing import Routing
from refrig_assets.notify.secrets import Scrubber
from refrig_assets.notify.sending import Letter, send


def try_channels(
    routing: Routing, names: Sequence[str], contacts: Mapping[str, str], dry_run: bool, now: datetime
) -> list[dict[str, Any]]:
    """Of each channel the result: sent, failed, skipped (an address of contacts that were not given), or would send."""
    scrub = Scrubber.of([c.url for c in routing.channels.values()], os.environ)
    scrub.guard_logs()
    results = []
    for name in names:
        channel = routing.channels[name]
        missing = [c for c in channel.contacts if c not in contacts]
        if missing:
            said = f"its address is of each site's {missing[0]}; give --contact {missing[0]}=VALUE to try it"
            results.append({"channel": name, "result": "skipped", "says": said})
            continue
        given = {c: contacts[c] for c in channel.contacts}
        letter = _letter(name, now)
        if dry_run:
            try:
                plugin = open_address(channel, given, os.environ)
            except AddressError as error:
                results.append({"channel": name, "result": "failed", "says": scrub(str(error))})
                continue
            said = f"would send {letter.title!r} by {plugin.service_name}"
            results.append({"channel": name, "result": "would send", "says": said})
            continue
        outcome = send(channel, given, letter, os.environ, scrub)
        result = "sent" if outcome.accepted else "failed"
        results.append({"channel": name, "result": result, "says": outcome.detail or "accepted by the service"})
    return results


def _letter(channel: str, now: datetime) -> Letter:
    said = f"This is a test of the channel {channel}, sent at {now:%Y-%m-%d %H:%M:%S} UTC. Nothing is wrong."
    return Letter(str(uuid.uuid4()), f"Test of {channel}: nothing is wrong", f"{said}\n", f"{said}\n", "LOW")
