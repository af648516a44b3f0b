"""What one may expect of rows: from the statistical champion of each device; where there is none, from baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from refrig_assets.contracts.base import F64
from refrig_assets.contracts.features import FEATURE_BASELINES
from refrig_assets.contracts.scoring import NEW_DEVICE_DAYS
from refrig_assets.lake import Lake
from refrig_assets.models import Model
from refrig_assets.models.base import Residuals
from refrig_assets.models.normals import CLIP
from refrig_assets.models.serving import ServingPlan
from refrig_assets.pipeline.model_input import REGION, without_young
from refrig_assets.pipeline.scoring import CHAMPION, ModelSource

MODEL = "statistical_baseline"
BASELINES, NOTHING = "baselines", "nothing"
# From the middle half of normally distributed values to their spread.
_HALF_TO_SPREAD = 1.349


@dataclass
class Expectations:
    """Who is expected to do what: models by version, which version is whose, and baselines for the others."""

    models: Mapping[str, Model]
    version_of: pl.DataFrame
    """device_id, version (null: none is in charge)"""
    baselines: pl.DataFrame
    broken: dict[str, str] = field(default_factory=dict)
    """what could not be read of those in charge, and why"""

    def of(self, rows: pl.DataFrame, features: Sequence[str]) -> tuple[Residuals, pl.Series]:
        """Residuals of these features row by row, and where each row's come from."""
        mine = rows.select("device_id").join(self.version_of, on="device_id", how="left", maintain_order="left")
        mine = mine.with_columns(at=pl.int_range(pl.len(), dtype=pl.Int64))
        parts: list[tuple[pl.Series, Residuals, str]] = []
        for version, model in self.models.items():
            at = mine.filter(pl.col("version") == version)["at"]
            if len(at):
                found = model.residuals(without_young(_with_columns(rows[at], model), model.info.roles.device))
                parts.append((at, found, CHAMPION))
        bare = mine.filter(pl.col("version").is_null())["at"]
        if len(bare):
            source = BASELINES if self.baselines.height else NOTHING
            parts.append((bare, by_baselines(rows[bare], self.baselines, features), source))
        return _together(parts, features, rows.height)


def expectations(lake: Lake, registry: ModelSource, devices: pl.DataFrame, features: Sequence[str]) -> Expectations:
    """`devices`: device_id, cohort_id, region. A champion that cannot be loaded is told, and baselines stand in."""
    heads = devices.select("cohort_id", REGION).unique()
    models: dict[str, Model] = {}
    broken: dict[str, str] = {}
    champions: list[str | None] = [None] * heads.height
    # Alerts must not wait for a registry or a model to be mended: what is wrong is told as evidence,
    # by its kind alone: paths and addresses are nothing for those who read alerts.
    try:
        champions = _champions(registry.plan(MODEL), heads)
    except Exception as error:
        broken["registry"] = type(error).__name__
    for version in dict.fromkeys(v for v in champions if v is not None):
        try:
            models[version] = registry.load(MODEL, version)[0]
        except Exception as error:
            broken[f"version {version}"] = type(error).__name__
    usable = [v if v in models else None for v in champions]
    served = heads.with_columns(pl.Series("version", usable, dtype=pl.String))
    version_of = devices.join(served, on=["cohort_id", REGION], how="left", nulls_equal=True)
    bare = version_of.filter(pl.col("version").is_null())
    return Expectations(
        models, version_of.select("device_id", "version"), _baselines(lake, bare, features), broken
    )  # fmt: skip


def _champions(plan: ServingPlan, heads: pl.DataFrame) -> list[str | None]:
    served = [plan.of(cohort=cohort, region=region) for cohort, region in heads.iter_rows()]
    return [next((s.version for s in of if s.role == CHAMPION), None) for of in served]


def _with_columns(rows: pl.DataFrame, model: Model) -> pl.DataFrame:
    """The rows with every column the model looks at: what rows never had is not known."""
    lacks = [c for c in model.info.roles.columns if c not in rows.columns]
    return rows.with_columns(pl.lit(None, dtype=F64).alias(c) for c in lacks)


def _baselines(lake: Lake, devices: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
    """The newest baselines of these features for these devices, their cohorts and the fleet."""
    if devices.is_empty():
        return FEATURE_BASELINES.empty()
    whose = (
        (pl.col("granularity") == "fleet")
        | ((pl.col("granularity") == "cohort") & pl.col("cohort_id").is_in(devices["cohort_id"].unique().to_list()))
        | ((pl.col("granularity") == "device") & pl.col("device_id").is_in(devices["device_id"].to_list()))
    )
    rows = lake.table(FEATURE_BASELINES).scan().filter(pl.col("feature_name").is_in(list(features)) & whose).collect()
    return rows.filter(pl.col("computed_at") == pl.col("computed_at").max())


def by_baselines(rows: pl.DataFrame, baselines: pl.DataFrame, features: Sequence[str]) -> Residuals:
    """Residuals against the median and the spread of the middle half: the device's, else its cohort's, else all's.

    Conditions are not taken out, which their spread makes up for. A device younger than 30 days has none of its own.
    """
    young = (pl.col("device_age_days") < NEW_DEVICE_DAYS).fill_null(value=False)
    keys = rows.select(pl.when(~young).then("device_id").alias("device_id"), "cohort_id")
    spread = ((pl.col("baseline_p75") - pl.col("baseline_p25")) / _HALF_TO_SPREAD).alias("spread")
    told = baselines.select(
        "feature_name", "granularity", "cohort_id", "device_id", pl.col("baseline_p50").alias("middle"), spread
    ).filter(pl.col("spread") > 0)
    deviations, residuals = [], []
    for name in features:
        middle, width = _of_scopes(keys, told.filter(pl.col("feature_name") == name))
        value = rows[name] if name in rows.columns else pl.Series(name, [None] * rows.height, dtype=F64)
        off = value.cast(F64) - middle
        deviations.append(off.alias(name))
        residuals.append((off / width).clip(-CLIP, CLIP).alias(name))
    return Residuals(pl.DataFrame(deviations), pl.DataFrame(residuals))


def _of_scopes(keys: pl.DataFrame, told: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    found = keys
    for scope, on in (("device", ["device_id"]), ("cohort", ["cohort_id"])):
        mine = told.filter(pl.col("granularity") == scope).select(
            *on, pl.col("middle").alias(f"middle_{scope}"), pl.col("spread").alias(f"spread_{scope}")
        )
        found = found.join(mine, on=on, how="left", maintain_order="left")
    fleet = told.filter(pl.col("granularity") == "fleet")
    last = {c: fleet[c][0] if fleet.height else None for c in ("middle", "spread")}
    coalesced = found.select(
        pl.coalesce(f"{c}_device", f"{c}_cohort", pl.lit(last[c], dtype=F64)).alias(c) for c in ("middle", "spread")
    )
    return coalesced["middle"], coalesced["spread"]


def _together(
    parts: Sequence[tuple[pl.Series, Residuals, str]], features: Sequence[str], height: int
) -> tuple[Residuals, pl.Series]:
    """The parts in the order of the rows, with the columns asked for."""
    if not height:
        empty = pl.DataFrame(schema=dict.fromkeys(features, F64))
        return Residuals(empty, empty), pl.Series("expected_from", [], dtype=pl.String)
    order = pl.concat([at for at, _, _ in parts]).arg_sort()
    source = pl.concat([pl.repeat(said, len(at), dtype=pl.String, eager=True) for at, _, said in parts])[order]

    def column(frame: pl.DataFrame, name: str) -> pl.Expr:
        return pl.col(name) if name in frame.columns else pl.lit(None, dtype=F64).alias(name)

    def joined(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        return pl.concat([f.select(column(f, name) for name in features) for f in frames])[order]

    found = Residuals(joined([r.deviation for _, r, _ in parts]), joined([r.z for _, r, _ in parts]))
    return found, source.alias("expected_from")
