"""The model card: what a version learnt from what, how well its scores keep their promise, and how to read them."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from refrig_assets.models.base import ModelInfo
from refrig_assets.models.calibration import PROMISED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CARD_FILE = "card.md"
SCORES_PICTURE, TAIL_PICTURE = "scores.png", "tail.png"
_BLUE, _RED, _GREY = "#3b6ea5", "#b5493b", "#8a8a8a"
_SHOWN = 160
# Below this chance that a model which keeps its promise shows so many rows, the promise counts as broken.
_BEYOND_CHANCE = 0.01
# So many rows must be promised above a limit for their absence to mean anything (a chance of 5 % to see none).
_TELLING = 3.0

WHAT_IT_DOES: Mapping[str, str] = {
    "statistical_baseline": "It learns for each device, cohort and the fleet what is usual under the conditions of the "
    "moment, and scores how far a window lies from that: each feature alone, all of them together, and along the "
    "directions in which known faults push a machine.",
    "isolation_forest": "It cuts the fleet's windows apart at random; a window that few cuts set apart is odd.",
    "autoencoder": "A small network learns to say a cohort's windows again through a narrow middle; a window that it "
    "says badly has features that do not go together as they usually do.",
    "dbscan_cohort": "It finds the dense part of a cohort's windows; the farther a window lies from it, the odder.",
}
_LIMITS = (
    "It tells that a machine is unlike what is usual, not which fault it has; the contributors are a hint.",
    "What was already wrong with a machine all through the training window is taken for its normal.",
    "A device without history of its own is judged by its cohort and the fleet, which sees small changes late.",
    "Windows of one device resemble each other: shares of held-out rows are less certain than the number of rows says.",
)


@dataclass(frozen=True)
class Card:
    text: str
    images: Mapping[str, bytes] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        return {CARD_FILE: self.text.encode(), **self.images}

    @property
    def embedded(self) -> str:
        """The text with its pictures in it, for where there are no files: the UI."""

        def inline(found: re.Match[str]) -> str:
            image = self.images.get(found[2])
            if image is None:
                return found[0]
            return f"![{found[1]}](data:image/png;base64,{base64.b64encode(image).decode()})"

        return re.sub(r"!\[([^\]]*)\]\(([^)]+)\)", inline, self.text)

    @classmethod
    def of_files(cls, files: Mapping[str, bytes]) -> "Card":
        """A card as the registry keeps it."""
        return cls(files.get(CARD_FILE, b"").decode(), {n: b for n, b in files.items() if n != CARD_FILE})


@dataclass(frozen=True)
class Promise:
    """How a limit's promise held on rows that were not fitted."""

    limit: float
    promised: float
    rows: int
    above: int

    @property
    def share(self) -> float:
        return self.above / self.rows if self.rows else 0.0

    @property
    def verdict(self) -> str:
        expected = self.promised * self.rows
        if self.above > expected and _chance_of_at_least(self.above, expected) < _BEYOND_CHANCE:
            return "broken"
        if expected < _TELLING:
            return f"too few rows to tell (it takes {_TELLING / self.promised:,.0f})"
        return "kept" if self.above <= expected else "kept, within chance"


def promises(scores: npt.NDArray[np.float64]) -> list[Promise]:
    """The four promises against held-out scores (of healthy rows, where they are known to be)."""
    known = scores[np.isfinite(scores)]
    return [Promise(limit, share, len(known), int((known > limit).sum())) for limit, share in PROMISED.items()]


def model_card(
    info: ModelInfo,
    *,
    held_out: npt.NDArray[np.float64] | None = None,
    proxies: Mapping[str, float] | None = None,
    data: Mapping[str, Any] | None = None,
    limits: Sequence[str] = (),
) -> Card:
    """A card from a model's metadata.

    `held_out` are its scores of rows it was not fitted on; `proxies` figures that stand in for labels; `data` says what
    it was trained on beyond what the model knows (snapshots, what was left out); `limits` what else to beware of.
    """
    scores = None if held_out is None else np.asarray(held_out, dtype=np.float64)
    told = promises(scores) if scores is not None and np.isfinite(scores).any() else []
    parts = [
        f"# {info.model_id}",
        WHAT_IT_DOES.get(info.model_id, ""),
        f"Granularity: {info.granularity}. A window is flagged where its score exceeds **{info.threshold:g}**.",
        "## Data and window",
        _table(("what", "value"), [(_words(k), _value(v)) for k, v in {**info.trained, **(data or {})}.items()]),
        "## Do its scores keep their promise?",
        _calibration(told, info),
        "## Proxy metrics",
        _table(("what", "value"), [(_words(k), _value(v)) for k, v in (proxies or {}).items()]),
        "## Features",
        _features(info),
        "## Hyperparameters",
        _table(("name", "value"), [(f"`{k}`", _value(v)) for k, v in info.settings.items()]),
        "## Limits",
        "\n".join(f"- {limit}" for limit in (*_LIMITS, *limits)),
        "## How to read it",
        _HOW_TO_READ,
    ]
    images = {SCORES_PICTURE: _scores_picture(scores, info.threshold), TAIL_PICTURE: _tail_picture(scores, told)} if (
        scores is not None and told
    ) else {}  # fmt: skip
    return Card("\n\n".join(p for p in parts if p) + "\n", images)


_HOW_TO_READ = (
    "A score means the same for every model: of healthy windows at most "
    + ", ".join(f"{share:g} score above {limit:g}" for limit, share in PROMISED.items())
    + ". A score of 0.7 is not \"70 % ill\": it is as rare as one healthy window in a thousand. The contributors of a "
    "flagged window say which features made it odd: + is above what was expected of this machine under the conditions "
    "of the moment, − below, and the sizes are shares of the evidence. One model alone never "
    "makes a HIGH alert; a score above 0.95 is CRITICAL whoever gives it."
)  # fmt: skip


def _calibration(told: Sequence[Promise], info: ModelInfo) -> str:
    if not told:
        return "No held-out scores were given, so it is not known."
    rows = [
        (f"{p.limit:g}", f"{p.promised:g}", f"{p.promised * p.rows:,.1f}", f"{p.above:,}", f"{p.share:.2g}", p.verdict)
        for p in told
    ]
    head = ("score above", "promised share", "rows promised at most", "rows found", "share found", "verdict")
    return "\n\n".join(
        (
            f"On {told[0].rows:,} held-out rows, of time or machines that were not fitted:",
            _table(head, rows),
            f"![Held-out scores]({SCORES_PICTURE})",
            f"![Promised and observed exceedance]({TAIL_PICTURE})",
        )
    )


def _features(info: ModelInfo) -> str:
    roles = info.roles
    lines = [f"{len(roles.features)} features are scored: {', '.join(f'`{f}`' for f in roles.features)}."]
    if roles.context:
        lines.append(f"Conditions, allowed for and never scored: {', '.join(f'`{c}`' for c in roles.context)}.")
    own = [f"{what} by `{c}`" for what, c in (("device", roles.device), ("cohort", roles.cohort)) if c]
    if own:
        lines.append(f"What is usual is learnt for each {' and '.join(own)}.")
    return "\n\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "None."
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", r"\|") for c in line) + " |" for line in lines)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if isfinite(value) else "not known"
    if isinstance(value, bool) or not isinstance(value, int):
        said = ", ".join(f"{k}: {_value(v)}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
        return said if len(said) <= _SHOWN else said[:_SHOWN].rsplit(" ", 1)[0] + " …"
    return f"{value:,}"


def _chance_of_at_least(count: int, expected: float) -> float:
    """Poisson: the chance of so many or more where so many are expected."""
    if expected > 500:  # the normal curve will do, and the sum below would be long
        from math import erfc, sqrt

        return 0.5 * erfc((count - 0.5 - expected) / sqrt(2 * expected))
    term = total = exp(-expected)
    for k in range(1, count):
        term *= expected / k
        total += term
    return max(0.0, 1.0 - total)


# -- pictures ----------------------------------------------------------------------------------------------------


def _scores_picture(scores: npt.NDArray[np.float64], threshold: float) -> bytes:
    def draw(axes: "Axes") -> None:
        axes.hist(scores[np.isfinite(scores)], bins=50, range=(0, 1), color=_BLUE, log=True)
        for limit in sorted({*PROMISED, threshold}):
            at_threshold = limit == threshold
            axes.axvline(limit, color=_RED if at_threshold else _GREY, linewidth=1.4 if at_threshold else 0.8)
        axes.set_title(f"Held-out scores (red: flagged above {threshold:g})", fontsize=9)
        axes.set_xlabel("score", fontsize=7)
        axes.set_ylabel("rows", fontsize=7)

    return _picture(draw)


def _tail_picture(scores: npt.NDArray[np.float64], told: Sequence[Promise]) -> bytes:
    known = np.sort(scores[np.isfinite(scores)])

    def draw(axes: "Axes") -> None:
        above = 1 - np.arange(1, len(known) + 1) / len(known)
        seen = above > 0
        axes.step(known[seen], above[seen], where="post", color=_BLUE, label="found")
        axes.plot([p.limit for p in told], [p.promised for p in told], "v--", color=_RED, label="promised at most")
        axes.set_yscale("log")
        axes.set_xlim(0.4, 1)
        axes.set_title("Share of held-out rows above a score", fontsize=9)
        axes.set_xlabel("score", fontsize=7)
        axes.set_ylabel("share", fontsize=7)
        axes.legend(fontsize=7, frameon=False)

    return _picture(draw)


def _picture(draw: Any) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), dpi=72)
    axes = figure.add_axes((0.1, 0.18, 0.87, 0.7))
    draw(axes)
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()
