"""A core and its doubt: how odd a row is, less where one family of sensors alone says so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refrig_assets.models.base import F32, F64, I64, Bools, Roles
from refrig_assets.models.calibration import Calibration
from refrig_assets.models.core import Core
from refrig_assets.models.corroboration import Corroboration, shrunk_precision

# How rare a row may count at most, for how rare it is with its loudest family of sensors set aside.
_GAIN, _GRACE = 2.0, 0.5
Part = Callable[[str], dict[str, npt.NDArray[Any]]]


@dataclass(frozen=True)
class Judge:
    """Without families of sensors, just the core."""

    core: Core
    doubt: Corroboration | None = None
    full: Calibration | None = None
    without: Calibration | None = None

    @classmethod
    def fit(
        cls, core_type: type[Core], z: F32, cohort: I64, unit: I64, sound: Bools, roles: Roles,
        settings: Mapping[str, Any], seed: int,
    ) -> "Judge":  # fmt: skip
        judge = cls(core_type.fit(z[sound], cohort[sound], settings, seed))
        families = settings.get("families")
        if not families or len(roles.features) < 2:
            return judge
        doubt = Corroboration.fit(shrunk_precision(z[sound]), roles.features, families)
        return replace(judge, doubt=doubt).compared(z[sound], cohort[sound], unit[sound])

    def compared(self, z: F32, cohort: I64, unit: I64) -> "Judge":
        """The same, what is rare learnt from these rows."""
        if self.doubt is None:
            return self
        full, without = self._both(z, cohort)
        return replace(self, full=Calibration.fit(full, unit), without=Calibration.fit(without, unit))

    def raw(self, z: F32, cohort: I64) -> F64:
        if self.full is None or self.without is None:
            return self.core.raw(z, cohort)
        full, without = self._both(z, cohort)
        limit = _GAIN * self.without.rarity_of(without) + _GRACE
        return np.minimum(self.full.rarity_of(full), limit)

    def _both(self, z: F32, cohort: I64) -> tuple[F64, F64]:
        assert self.doubt is not None
        return self.core.raw(z, cohort), self.core.raw(self.doubt.without_the_loudest(z), cohort)

    def arrays(self) -> dict[str, Mapping[str, npt.NDArray[Any]]]:
        if self.doubt is None or self.full is None or self.without is None:
            return {}
        return {"doubt": self.doubt.arrays(), "full": self.full.arrays(), "without": self.without.arrays()}

    @classmethod
    def restore(cls, core: Core, part: Part) -> "Judge":
        if not part("doubt"):
            return cls(core)
        tails = (Calibration.restore(part("full")), Calibration.restore(part("without")))
        return cls(core, Corroboration.restore(part("doubt")), *tails)
