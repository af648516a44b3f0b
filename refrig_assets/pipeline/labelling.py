"""Label events in the lake (C7): what closing actions say, and what people say besides; each once. No Dagster here."""

import random
import time
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from refrig_assets.alerting.fold import fold
from refrig_assets.alerting.labelling import LABEL_KEY, ROLES, label_row, labels_of, unsaid
from refrig_assets.contracts import LABEL_EVENTS
from refrig_assets.contracts.alerts import FAILURE_MODES
from refrig_assets.lake import Lake, MarkTakenError
from refrig_assets.pipeline.alert_reading import history, verdicts
from refrig_assets.pipeline.naming import check_device

# One mark for all labels: people give them, and few at once.
_LOCK = "labels"
_ATTEMPTS = 50


class LabelError(ValueError):
    """A label that cannot be; the message says why."""


@dataclass(frozen=True)
class Labelled:
    """Labels written, and those that had been said already."""

    written: int
    known: int


def settle_labels(lake: Lake) -> Labelled:
    """Write the labels that closed alerts ask for and that are not there yet.

    The log is the truth and a label follows from it. Whoever was killed between closing an alert and writing its label
    has lost nothing: the next to close one, and every publishing of the board, settle it, with the time it was said.
    """
    said = verdicts(lake)
    labels = lake.table(LABEL_EVENTS).read()
    closing = said.filter(pl.col("change") != "reopened")
    # Verdicts on an alert at one moment differ by more than their kind only where one took another back.
    known = labels.drop_nulls("alert_id").select("alert_id", changed_at="labeled_at")
    missing = said.join(known, on=["alert_id", "changed_at"], how="anti")["alert_id"].unique()
    missing = missing.filter(missing.is_in(closing["alert_id"].implode()))
    if missing.is_empty():
        return Labelled(0, closing.height)
    log = history(lake, missing.to_list())
    return write_labels(lake, labels_of(log, fold(log)))


def write_labels(lake: Lake, labels: pl.DataFrame) -> Labelled:
    """Append the labels that nobody has said before.

    Writers move one mark: of two at once one is refused, looks again and finds what the other has said. The table has
    no key; this is what keeps a label from being there twice.
    """
    table = lake.table(LABEL_EVENTS)
    for attempt in range(_ATTEMPTS):
        mark = table.transaction_version(_LOCK) or 0
        fresh = unsaid(labels, table.read())
        if fresh.is_empty():
            return Labelled(0, labels.height)
        try:
            table.append(fresh, transactions=[(_LOCK, mark + 1)], tag="labels")
        except MarkTakenError:
            time.sleep(random.uniform(0.005, 0.05) * min(attempt + 1, 10))
            continue
        return Labelled(fresh.height, labels.height - fresh.height)
    raise MarkTakenError(f"{LABEL_EVENTS.name}: other writers were first {_ATTEMPTS} times")


def add_label(
    lake: Lake,
    device_id: str,
    label_type: str,
    *,
    event: datetime,
    said_at: datetime,
    role: str = "field_engineer",
    confidence: float | None = None,
    failure_mode: str | None = None,
    notes: str | None = None,
) -> Labelled:
    """What somebody says of a device, without an alert. Said again it is known."""
    allowed = LABEL_EVENTS.columns["label_type"].metadata["isin"]
    if label_type not in allowed:
        raise LabelError(f"{label_type!r} is no label; there are {', '.join(allowed)}")
    if role not in ROLES:
        raise LabelError(f"{role!r} is no role; there are {', '.join(ROLES)}")
    if failure_mode is not None and failure_mode not in FAILURE_MODES:
        raise LabelError(f"{failure_mode!r} is no failure mode; there are {', '.join(FAILURE_MODES)}")
    if event > said_at:
        raise LabelError(f"it is said to have happened at {event:%Y-%m-%d %H:%M} UTC, which is yet to come")
    check_device(lake, device_id)
    more = {} if confidence is None else {"label_confidence": confidence}
    row = label_row(device_id, label_type, event, said_at, role, failure_mode=failure_mode, notes=notes, **more)
    return write_labels(lake, pl.DataFrame([row], schema=LABEL_EVENTS.dtypes, orient="row"))


def read_labels(lake: Lake) -> pl.DataFrame:
    """All labels, the last said first."""
    return lake.table(LABEL_EVENTS).read().sort("labeled_at", *LABEL_KEY[:1], descending=True)
