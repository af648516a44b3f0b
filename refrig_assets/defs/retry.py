"""Retries where they make sense: for what another moment may mend, never for wrong data or wrong code."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from refrig_assets.lake import PASSING_ERRORS

ATTEMPTS = 3
WAIT_SECONDS = 15


@contextmanager
def retried_if_transient(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Ask Dagster to run the step again, a few times and each time later, after an error of the outside world."""
    try:
        yield
    except PASSING_ERRORS as error:
        context.log.warning(f"{type(error).__name__}: {error}; will try again")
        raise dg.RetryRequested(ATTEMPTS, seconds_to_wait=WAIT_SECONDS * (context.retry_number + 1)) from error
