"""Settings of training runs and their checks, and batches: what needs no Lightning.

Networks are described by these and predict with them; Lightning, which takes as long to load as
PyTorch, is for training alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from sarheight._files import JsonSettings
from sarheight.output.atomic import write_json

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Optimiser = Literal["adamw", "adam", "nadam"]
Schedule = Literal["one_cycle", "cosine", "trapezoid", "constant", "plateau"]
Keep = Literal["best", "last"]

PLATEAU_FACTOR = 0.1
"""Factor of the learning rate at a plateau."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(JsonSettings):
    """Settings of every training run.

    Parameters
    ----------
    batch : int
        Samples in a batch.
    epochs : int
        Largest number of epochs.
    patience : int
        Epochs without improvement of the validation after which training stops.
    keep : {"best", "last"}
        Weights that are kept: those of the best epoch at validation, or the last ones.
    optimiser : {"adamw", "adam", "nadam"}
        Adam with decoupled weight decay, Adam as published, or Adam with Nesterov momentum and
        decoupled weight decay.
    rate : float
        Highest learning rate.
    schedule : {"one_cycle", "cosine", "trapezoid", "constant", "plateau"}
        Of the learning rate. ``one_cycle`` rises as a cosine over the share `warm_up` of all steps
        and falls as a cosine to zero; ``cosine`` is half a cosine over all steps, times a linear
        rise over that share; ``trapezoid`` rises and falls linearly over the shares `warm_up` and
        `cool_down`; ``plateau`` divides the rate by ten after `plateau` epochs without a
        better validation, down to `least_rate`.
    warm_up : float
        Share of all steps over which the rate rises.
    cool_down : float
        Share of all steps over which the rate of a trapezoid falls to zero.
    plateau : int
        See `schedule`.
    least_rate : float
        See `schedule`.
    decay : float
        Weight decay.
    clip : float or None
        Norm to which a larger gradient is scaled; None switches clipping off.
    precision : {"32-true", "bf16-mixed", "16-mixed"}
        Of the arithmetic. On a CPU bf16-mixed takes about half of the time.
    threads : int
        Threads of PyTorch; 0 leaves them as they are. Sums of several threads have other last
        bits: the same seed gives the same weights for the same number of threads.
    workers : int
        Processes that prepare samples.
    seed : int
        Seed of weights, samples and their order.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of its range.
    """

    batch: int = 8
    epochs: int = 60
    patience: int = 15
    keep: Keep = "best"
    optimiser: Optimiser = "adamw"
    rate: float = 1e-3
    schedule: Schedule = "one_cycle"
    warm_up: float = 0.1
    cool_down: float = 0.0
    plateau: int = 10
    least_rate: float = 0.0
    decay: float = 1e-4
    clip: float | None = 1.0
    precision: Precision = "bf16-mixed"
    threads: int = 0
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        names = {"keep": Keep, "optimiser": Optimiser, "schedule": Schedule, "precision": Precision}
        for name, expected in names.items():
            require_one_of(name, getattr(self, name), get_args(expected))
        limits = () if self.clip is None else ("clip",)
        require_positive(self, ("batch", "epochs", "patience", "rate", "plateau", *limits))
        for name in ("decay", "least_rate", "threads", "workers"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not float(value) >= 0.0:
                msg = f"found {name}={value!r}, expected a number from 0"
                raise ValueError(msg)
        if min(self.warm_up, self.cool_down) < 0.0 or not self.warm_up + self.cool_down < 1.0:
            msg = f"found warm_up={self.warm_up} and cool_down={self.cool_down}, expected shares "
            msg += "from 0 whose sum is below 1"
            raise ValueError(msg)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the settings as JSON, whole or not at all."""
        write_json(asdict(self), Path(path))


def require_one_of(name: str, found: str, expected: Sequence[str]) -> None:
    """Raise if a name is not among those expected."""
    if found not in expected:
        msg = f"found {name} {found!r}, expected one of {', '.join(expected)}"
        raise ValueError(msg)


def require_positive(settings: RunSettings, names: Sequence[str]) -> None:
    """Raise if one of the named settings is not a number above 0."""
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, Real) or not float(value) > 0.0:
            msg = f"found {name}={value!r}, expected a number above 0"
            raise ValueError(msg)


def split_batches(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Split an order into batches; one more joins the last, so that none has a single sample.

    Batch normalisation has no statistics of a single sample.
    """
    starts = list(range(0, order.size, size))
    if len(starts) > 1 and order.size - starts[-1] == 1:
        starts.pop()
    return np.split(order, starts[1:])
