"""The detectors as their users see them: fit on rows, score rows, say why. Conditioning and calibration are shared."""

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from refrig_assets.models.base import DEFAULT_THRESHOLD, F32, F64, I64, Bools, ModelInfo, Names, Residuals, Roles
from refrig_assets.models.blocks import last_part, turns
from refrig_assets.models.calibration import PROMISED, Calibration, healthy
from refrig_assets.models.conditioning import Conditioner, Table
from refrig_assets.models.core import Core
from refrig_assets.models.drift import wandered
from refrig_assets.models.imputation import Imputation
from refrig_assets.models.judge import Judge

Reasons = Literal["flagged", "all", "none"]
TOP = 5
_TINY = 1e-12
_VALIDATION_SHARE = 0.3
_FEWEST_TO_SPLIT = 4000
SHARED_SETTINGS: Mapping[str, Any] = {
    "families": None,  # {sensor: its columns}: one of them alone is doubted
    "together": None,  # lists of columns that stay unknown where all of the list are
    "flag_rate": None,  # share of held-out rows to flag; without it the threshold is the default
    "allowance": 0.0,  # how much farther than held-out rows those of later weeks may stray in health
}


class Model(ABC):
    """A fitted detector. Same version and same row: same score, whatever else is in the frame."""

    core_type: ClassVar[type[Core]]

    def __init__(
        self, info: ModelInfo, conditioner: Conditioner, imputation: Imputation, judge: Judge, scale: Calibration
    ) -> None:
        self.info = info
        self.conditioner = conditioner
        self.imputation = imputation
        self.judge = judge
        self.scale = scale

    @classmethod
    def fit(
        cls,
        rows: pl.DataFrame,
        roles: Roles,
        *,
        validation: pl.DataFrame | None = None,
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Self:
        """Learn what is normal from rows that may hold some faults, and calibrate on rows of another time.

        Without `validation` the last part of the time is held out; where there are few rows, each block of time is
        judged by what was learnt from the others.
        """
        _check(rows, roles)
        chosen = {**SHARED_SETTINGS, **cls.core_type.defaults, **(settings or {})}
        if validation is None and rows.height >= _FEWEST_TO_SPLIT:
            before, after = _split(rows, roles)
            if before.any() and after.any():
                rows, validation = rows.filter(pl.Series(before)), rows.filter(pl.Series(after))
        conditioner, z, block = Conditioner.fit(rows, roles)
        z = wandered(z, conditioner.wander, seed)
        table = conditioner.table(rows)
        unit = _units(table.device, block)
        sound = healthy(np.sqrt((z.astype(np.float64) ** 2).mean(axis=1)), unit)
        by_index = _by_index(chosen, roles)
        imputation = Imputation.fit(z[sound], table.missing[sound], by_index["together"])
        z = imputation.filled(z, table.missing)
        judge = Judge.fit(cls.core_type, z, table.cohort, unit, sound, roles, by_index, seed)
        if validation is not None and validation.height:
            later = conditioner.table(validation)
            z_later = wandered(conditioner.residuals_of(later), conditioner.wander, seed + 1)
            z_later = imputation.filled(z_later, later.missing)
            z_later = z_later * np.float32(1 + float(chosen["allowance"]))
            held_out = _units(later.device, np.zeros(len(z_later), dtype=np.int64))
            judge = judge.compared(z_later, later.cohort, held_out)
            raw = judge.raw(z_later, later.cohort)
            # What was held out has done its work: the levels of devices now follow the newest rows, too.
            both = [rows.select(roles.columns), validation.select(roles.columns)]
            everything = pl.concat(both, how="vertical_relaxed")
            conditioner = conditioner.refreshed(everything)
        else:
            held_out = unit
            raw = _held_out_by_block(cls.core_type, z, table.cohort, block, unit, sound, roles, by_index, seed)
        scale = Calibration.fit(raw, held_out)
        scores = scale.score(raw)
        threshold = _threshold(scores, chosen["flag_rate"])
        info = ModelInfo(
            model_id=cls.core_type.model_id,
            granularity=cls.core_type.granularity,
            roles=roles,
            threshold=threshold,
            settings=chosen,
            trained=_trained(rows, validation, roles, sound, scores, threshold),
        )
        return cls(info, conditioner, imputation, judge, scale)

    def refreshed(self, rows: pl.DataFrame) -> Self:
        """The same model, what is normal for each device learnt from these rows, also for devices it did not know.

        A device that has no rows among them keeps no normal of its own. Judge a model before: afterwards nothing of
        these rows is unseen.
        """
        return type(self)(self.info, self.conditioner.refreshed(rows), self.imputation, self.judge, self.scale)

    def score(self, rows: pl.DataFrame, *, reasons: Reasons = "flagged") -> pl.DataFrame:
        """One row a row, in their order; see the contract of model scores. Null where a row holds nothing to judge."""
        table = self.conditioner.table(rows)
        z = self._told(table)
        scores = self.scale.score(self.judge.raw(z, table.cohort))
        if np.isnan(scores).any():
            raise ValueError(f"{self.info.model_id} gave NaN for {int(np.isnan(scores).sum()):,} of {len(z):,} rows")
        judged = np.asarray(~table.missing.all(axis=1), dtype=np.bool_)
        flags = np.logical_and(scores > self.info.threshold, judged)
        names, sizes = self._reasons(z, table, _wanted(reasons, flags, judged))
        granularity = np.full(len(z), self.info.granularity)
        if self.info.granularity == "device":
            granularity = np.where(table.device >= 0, "device", np.where(table.cohort >= 0, "cohort", "fleet"))
        found = pl.DataFrame(
            {
                "anomaly_score": scores,
                "anomaly_flag": flags,
                "threshold_used": np.full(len(z), self.info.threshold),
                "granularity": granularity.astype(str),
                "top_contributors": names,
                "contributor_scores": sizes,
            }
        )
        return found.with_columns(anomaly_score=pl.when(pl.Series(judged)).then("anomaly_score"))

    def explain(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The five columns that weigh most in every row, flagged or not, with the sign and size of their part."""
        return self.score(rows, reasons="all").select("top_contributors", "contributor_scores")

    def residuals(self, rows: pl.DataFrame) -> Residuals:
        """Row by row, how far each feature is from what was expected of this machine under its conditions."""
        away, z = self.conditioner.deviations(rows)
        names = list(self.info.roles.features)
        deviation = pl.DataFrame(away, schema=names).fill_nan(None)
        known = pl.DataFrame(z.astype(np.float64), schema=names)
        return Residuals(deviation, known.select(pl.when(deviation[n].is_not_null()).then(n).alias(n) for n in names))

    def raw(self, rows: pl.DataFrame) -> F64:
        """The oddity before calibration: finer than the score among rows that are all usual."""
        table = self.conditioner.table(rows)
        return self.judge.raw(self._told(table), table.cohort)

    def _told(self, table: Table) -> F32:
        return self.imputation.filled(self.conditioner.residuals_of(table), table.missing)

    def _reasons(self, z: F32, table: Table, wanted: Bools) -> tuple[pl.Series, pl.Series]:
        names: list[list[str] | None] = [None] * len(z)
        sizes: list[list[float] | None] = [None] * len(z)
        at = np.flatnonzero(wanted)
        if len(at):
            # What was not measured is no reason, whatever the others let one expect of it.
            parts = np.where(table.missing[at], 0.0, self.judge.core.contributions(z[at], table.cohort[at]))
            parts /= np.maximum(np.abs(parts).sum(axis=1, keepdims=True), _TINY)
            order = np.argsort(-np.abs(parts), axis=1, kind="stable")[:, :TOP]
            columns = np.array(self.info.roles.features, dtype=object)
            top = np.round(np.take_along_axis(parts, order, axis=1), 4)
            for row, which, size in zip(at.tolist(), columns[order].tolist(), top.tolist(), strict=True):
                names[row], sizes[row] = which, size
        return (
            pl.Series("top_contributors", names, dtype=pl.List(pl.String)),
            pl.Series("contributor_scores", sizes, dtype=pl.List(pl.Float64)),
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        parts: dict[str, Mapping[str, npt.NDArray[Any]]] = {
            "conditioner": self.conditioner.arrays(),
            "imputation": self.imputation.arrays(),
            "core": self.judge.core.arrays(),
            "scale": self.scale.arrays(),
            **self.judge.arrays(),
        }
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    @classmethod
    def restore(cls, info: ModelInfo, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        def part(name: str) -> dict[str, npt.NDArray[Any]]:
            return {k.removeprefix(f"{name}."): v for k, v in arrays.items() if k.startswith(f"{name}.")}

        return cls(
            info,
            Conditioner.restore(info.roles, part("conditioner")),
            Imputation.restore(part("imputation")),
            Judge.restore(cls.core_type.restore(part("core"), info.settings), part),
            Calibration.restore(part("scale")),
        )


def _wanted(reasons: Reasons, flags: Bools, judged: Bools) -> Bools:
    return {"flagged": flags, "all": judged, "none": np.zeros_like(flags)}[reasons]


def _check(rows: pl.DataFrame, roles: Roles) -> None:
    roles.check(rows.columns)
    if not rows.height:
        raise ValueError("there are no rows to learn from")
    if roles.time is not None and (lost := rows[roles.time].null_count()):
        raise ValueError(
            f"{lost:,} of {rows.height:,} rows have no {roles.time}: leave them out, or learn without a time column"
        )


def _split(rows: pl.DataFrame, roles: Roles) -> tuple[Bools, Bools]:
    if roles.time is not None:
        time = rows[roles.time].cast(pl.Datetime("us")).dt.epoch("us").to_numpy()
        return last_part(time.astype(np.float64), _VALIDATION_SHARE)
    device = Names.of(rows[roles.device] if roles.device else None).codes(rows, roles.device)
    return last_part(turns(device), _VALIDATION_SHARE)


def _units(device: I64, block: I64) -> I64:
    """What is healthy or ill as a whole: a device, or a stretch of time where devices are not told apart."""
    return np.where(device >= 0, device, -1 - block)


def _by_index(settings: Mapping[str, Any], roles: Roles) -> dict[str, Any]:
    """Columns in groups and directions of faults by their places rather than names."""
    place = {c: i for i, c in enumerate(roles.features)}

    def grouped(name: str) -> list[list[int]]:
        found = [[place[c] for c in group if c in place] for group in settings.get(name) or []]
        return [g for g in found if g]

    def placed(faults: Mapping[str, Mapping[str, float]] | None) -> dict[str, dict[int, float]]:
        return {
            name: {place[c]: float(sign) for c, sign in signs.items() if c in place}
            for name, signs in (faults or {}).items()
        }

    return {
        **settings,
        "groups": grouped("groups") or None,
        "together": grouped("together"),
        "faults": placed(settings.get("faults")),
        "coming": placed(settings.get("coming")),
    }


def _held_out_by_block(
    core_type: type[Core], z: F32, cohort: I64, block: I64, unit: I64, sound: Bools, roles: Roles,
    settings: Mapping[str, Any], seed: int,
) -> F64:  # fmt: skip
    """Each block of time as judged by what was learnt from the others."""
    raw = np.empty(len(z))
    for b in np.unique(block):
        mine = block == b
        others = ~mine if (~mine & sound).any() else np.ones_like(mine)
        judge = Judge.fit(core_type, z[others], cohort[others], unit[others], sound[others], roles, settings, seed)
        raw[mine] = judge.raw(z[mine], cohort[mine])
    return raw


def _threshold(scores: F64, flag_rate: float | None) -> float:
    """The default, or the one that flags this share of held-out rows."""
    if flag_rate is None:
        return DEFAULT_THRESHOLD
    if not 0 < flag_rate < 1:
        raise ValueError(f"flag_rate must lie between 0 and 1, not {flag_rate}")
    return float(np.quantile(scores, 1 - flag_rate, method="higher"))


def _trained(
    rows: pl.DataFrame, validation: pl.DataFrame | None, roles: Roles, sound: Bools, scores: F64, threshold: float
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "rows": rows.height,
        "rows_left_out_as_ill": int((~sound).sum()),
        "held_out_rows": validation.height if validation is not None else rows.height,
        "held_out_flag_rate": round(float((scores > threshold).mean()), 6),
        "held_out_above": {str(limit): round(float((scores > limit).mean()), 8) for limit in PROMISED},
    }
    if roles.device:
        told["devices"] = rows[roles.device].n_unique()
    if roles.time and rows.height:
        told["from"], told["to"] = str(rows[roles.time].min()), str(rows[roles.time].max())
    return told
