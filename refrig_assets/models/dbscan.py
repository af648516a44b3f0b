"""DBSCAN: the dense regions where the machines of a cohort live, and how far from the nearest a row is."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from refrig_assets.models.core import F32, F64, I64, Arrays, by_cohort, some_rows
from refrig_assets.models.dbscan_space import Region

FLEET = -1


class DbscanCore:
    """Regions of the fleet, and of each cohort with rows enough to have its own."""

    model_id: ClassVar[str] = "dbscan_cohort"
    granularity: ClassVar[str] = "cohort"
    defaults: ClassVar[Mapping[str, Any]] = {
        "variance": 0.9,  # share of it that the reduced space keeps
        "most_dimensions": 8,
        "fit_rows": 5000,  # a cohort's rows, drawn at random, that the regions are made of
        "all_rows": 100_000,  # the same over all cohorts
        "cohort_rows": 50,
        "neighbours": 10,
        "trim": 0.05,  # share of the rows at most that may lie in small regions, which are left out
    }

    def __init__(self, regions: Mapping[int, Region]) -> None:
        self.regions = dict(regions)

    @classmethod
    def fit(cls, z: F32, cohort: I64, settings: Mapping[str, Any], seed: int) -> Self:
        s = {**cls.defaults, **settings}
        rng = np.random.default_rng(seed)
        codes, sizes = np.unique(cohort[cohort >= 0], return_counts=True)
        codes = codes[sizes >= int(s["cohort_rows"])]
        most = min(int(s["fit_rows"]), max(500, int(s["all_rows"]) // (1 + len(codes))))
        regions = {FLEET: Region.fit(z[some_rows(len(z), most, rng)], s)}
        for code in codes:
            mine = np.flatnonzero(cohort == code)
            regions[int(code)] = Region.fit(z[mine[some_rows(len(mine), most, rng)]], s)
        return cls(regions)

    def raw(self, z: F32, cohort: I64) -> F64:
        """Distance to the nearest core point, in radii of the density."""
        out = np.zeros(len(z))
        for code, rows in by_cohort(cohort, self.regions, FLEET):
            out[rows] = self.regions[code].distance(z[rows])
        return out

    def contributions(self, z: F32, cohort: I64) -> F64:
        out = np.zeros(z.shape)
        for code, rows in by_cohort(cohort, self.regions, FLEET):
            out[rows] = self.regions[code].reasons(z[rows])
        return out

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        found: dict[str, npt.NDArray[Any]] = {"cohorts": np.array(sorted(self.regions), dtype=np.int64)}
        for code, region in self.regions.items():
            found |= {f"{name}.{code}": array for name, array in region.arrays().items()}
        return found

    @classmethod
    def restore(cls, arrays: Arrays, settings: Mapping[str, Any]) -> Self:
        def region(code: int) -> Region:
            mine = f".{code}"
            return Region.restore({n.removesuffix(mine): a for n, a in arrays.items() if n.endswith(mine)})

        return cls({int(code): region(int(code)) for code in arrays["cohorts"]})
