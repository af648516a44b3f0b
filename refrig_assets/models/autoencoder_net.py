"""A small undercomplete network: trained by torch (imported only then), used by NumPy alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from refrig_assets.models.core import F32, F64, Arrays

if TYPE_CHECKING:
    import torch

SQUASH = (
    5.0  # the network sees a residual of 20 as hardly more than 5, so one wild column does not carry the others off
)
NAMES = (
    *("in_weight", "in_bias", "code_weight", "code_bias", "code_direct"),
    *("out_weight", "out_bias", "back_weight", "back_bias", "back_direct"),
)


@dataclass(frozen=True)
class Net:
    """columns -> code -> columns, each way directly and through a hidden layer of tanh."""

    layers: tuple[F64, ...]

    @classmethod
    def start(cls, z: F32, hidden: int, code: int, rng: np.random.Generator) -> Self:
        """The direct ways are the rows' principal directions, so learning starts from the best there is without it."""
        low, high = np.quantile(z, [0.01, 0.99], axis=0)
        near = np.clip(z, low, high).astype(np.float64)
        main = np.linalg.eigh(near.T @ near)[1][:, ::-1][:, :code].copy(order="C")
        columns = z.shape[1]
        first = rng.standard_normal((columns, hidden)) / np.sqrt(columns)
        third = rng.standard_normal((code, hidden)) / np.sqrt(code)
        into = (first, np.zeros(hidden), np.zeros((hidden, code)), np.zeros(code), main)
        back = (third, np.zeros(hidden), np.zeros((hidden, columns)), np.zeros(columns), main.T.copy())
        return cls((*into, *back))

    def encode(self, z: F64) -> tuple[F64, F64]:
        """The hidden layer and the code."""
        w1, b1, w2, b2, direct = self.layers[:5]
        seen = np.tanh(z / SQUASH) * SQUASH
        hidden = np.tanh(seen @ w1 + b1)
        return hidden, hidden @ w2 + b2 + seen @ direct

    def decode(self, code: F64) -> F64:
        w3, b3, w4, b4, direct = self.layers[5:]
        return np.asarray(np.tanh(code @ w3 + b3) @ w4 + b4 + code @ direct, dtype=np.float64)

    def slope(self, z: F64, hidden: F64, by_code: F64) -> F64:
        """The derivative by the columns of what has the derivative `by_code` by the code."""
        w1, w2, direct = self.layers[0], self.layers[2], self.layers[4]
        inner = (by_code @ w2.T * (1 - hidden**2)) @ w1.T + by_code @ direct.T
        return np.asarray(inner * (1 - np.tanh(z / SQUASH) ** 2), dtype=np.float64)

    def arrays(self) -> dict[str, F64]:
        return dict(zip(NAMES, self.layers, strict=True))

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        return cls(tuple(np.asarray(arrays[name], dtype=np.float64) for name in NAMES))


def train(net: Net, z: F32, steps: int, settings: Mapping[str, Any], rng: np.random.Generator) -> Net:
    """Better weights for the rows. The last rows are held back whole, and the weights that do best there are kept."""
    import torch

    held = max(1, round(len(z) * float(settings["held_back"])))
    fit, check = (z[:-held], z[-held:]) if len(z) >= 10 else (z, z)
    with _deterministic():
        dice = torch.Generator().manual_seed(int(rng.integers(2**31)))
        layers = [torch.tensor(layer, dtype=torch.float32, requires_grad=True) for layer in net.layers]
        best = _descend(layers, torch.from_numpy(fit.copy()), torch.from_numpy(check.copy()), steps, settings, dice)
    return Net(tuple(best))


def _descend(
    layers: "list[torch.Tensor]",
    fit: "torch.Tensor",
    check: "torch.Tensor",
    steps: int,
    settings: Mapping[str, Any],
    dice: "torch.Generator",
) -> list[F64]:
    """Columns swapped in from other rows teach the network to tell each column from the rest, not to copy it."""
    import torch

    rate = float(settings["learning_rate"])
    adam = torch.optim.AdamW(layers, lr=rate, weight_decay=float(settings["weight_decay"]))
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps), eta_min=rate / 20)
    batch = min(int(settings["batch"]), len(fit))
    look = max(1, steps // 25)
    best, least, waited = [layer.detach().clone() for layer in layers], float("inf"), 0
    for step in range(1, steps + 1):
        rows = fit[torch.randint(len(fit), (batch,), generator=dice)]
        others = fit[torch.randint(len(fit), (batch,), generator=dice)]
        swap = torch.rand(rows.shape, generator=dice) < float(settings["swapped"])
        adam.zero_grad()
        _loss(layers, torch.where(swap, others, rows), rows).backward()  # type: ignore[no-untyped-call]
        adam.step()
        slower.step()
        if step % look == 0:
            with torch.no_grad():
                loss = float(_loss(layers, check, check))
            waited = 0 if loss < least else waited + 1
            if loss < least:
                best, least = [layer.detach().clone() for layer in layers], loss
            if waited >= int(settings["patience"]):
                break
    return [layer.numpy().astype(np.float64) for layer in best]


def _loss(layers: "Sequence[torch.Tensor]", shown: "torch.Tensor", wanted: "torch.Tensor") -> "torch.Tensor":
    import torch

    w1, b1, w2, b2, into, w3, b3, w4, b4, back = layers
    seen = torch.tanh(shown / SQUASH) * SQUASH
    code = torch.tanh(seen @ w1 + b1) @ w2 + b2 + seen @ into
    told = torch.tanh(code @ w3 + b3) @ w4 + b4 + code @ back
    return torch.nn.functional.huber_loss(told, wanted, delta=1.0)


@contextmanager
def _deterministic() -> Iterator[None]:
    """One thread and deterministic algorithms, and afterwards whatever the process had before."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        torch.set_num_threads(threads)
