"""By what alerts are told apart or taken together: the failure mode, else the sensor that weighs most. Expressions."""

import polars as pl

from refrig_assets.contracts.alerts import MODE_OF_RULE
from refrig_assets.contracts.trends import MODEL_ROW_FEATURES, sensor_of

UNKNOWN = "unknown"
_SENSOR_OF = {feature: sensor_of(feature) for feature in MODEL_ROW_FEATURES}


def first_sensor(contributors: str = "top_contributors") -> pl.Expr:
    """The sensor behind the first contributor; null where there is none."""
    return pl.col(contributors).list.first().replace(_SENSOR_OF)


def known_mode(mode: str = "failure_mode") -> pl.Expr:
    """The diagnosed failure mode; null where nobody knows."""
    return pl.when(pl.col(mode) != UNKNOWN).then(pl.col(mode))


def mode_or_rules() -> pl.Expr:
    """The diagnosed failure mode, else what the alert's streaming rule stands for; null where nobody knows."""
    by_rule = pl.col("rule").replace_strict(MODE_OF_RULE, default=None, return_dtype=pl.String())
    return pl.coalesce(known_mode(), by_rule)


def sign() -> pl.Expr:
    """What an alert shows: its failure mode if it is known, else the sensor behind its first contributor."""
    return pl.coalesce(known_mode(), first_sensor())
