"""Settings that every training run has."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, get_args

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings that every training run has.

    Parameters
    ----------
    batch : int
        Samples in a step.
    epochs : int
        At most.
    patience : int
        Epochs without a better validation after which training stops.
    rate : float
        Learning rate at its highest.
    decay : float
        Weight decay.
    clip : float or None
        Largest norm of a step's gradient; a longer one is shortened to it. None limits nothing.
    precision : {"32-true", "bf16-mixed", "16-mixed"}
        Of the arithmetic. On a CPU bf16-mixed takes about half the time.
    workers : int
        Processes that prepare samples.
    seed : int
        Of weights, samples and their order.

    Raises
    ------
    ValueError
        If a name is not known or a number makes no sense.
    """

    batch: int = 8
    epochs: int = 60
    patience: int = 15
    rate: float = 1e-3
    decay: float = 1e-4
    clip: float | None = 1.0
    precision: Precision = "bf16-mixed"
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        require_one_of("precision", self.precision, get_args(Precision))
        limits = () if self.clip is None else ("clip",)
        require_positive(self, ("batch", "epochs", "patience", "rate", *limits))
        if not self.decay >= 0.0 or not self.workers >= 0:
            msg = f"found decay={self.decay} and workers={self.workers}, expected 0 or more of both"
            raise ValueError(msg)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the settings as JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read settings from JSON; what is left out has its usual value.

        Raises
        ------
        ValueError
            If the file is no JSON, or holds something that is no setting.
        OSError
            If it cannot be read.
        """
        found = json.loads(Path(path).read_text("utf-8"))
        known = {each.name for each in fields(cls)}
        if not isinstance(found, dict) or set(found) - known:
            strange = ", ".join(sorted(set(found) - known)) if isinstance(found, dict) else "a list"
            msg = f"found {strange} in '{path}', expected settings: {', '.join(sorted(known))}"
            raise ValueError(msg)
        return cls(**found)


def require_one_of(name: str, found: str, expected: Sequence[str]) -> None:
    """Refuse a name that is not among those expected.

    Raises
    ------
    ValueError
    """
    if found not in expected:
        msg = f"found {name} {found!r}, expected one of {', '.join(expected)}"
        raise ValueError(msg)


def require_positive(settings: RunSettings, names: Sequence[str]) -> None:
    """Refuse settings that are no numbers above 0.

    Raises
    ------
    ValueError
    """
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, Real) or not float(value) > 0.0:
            msg = f"found {name}={value!r}, expected a number above 0"
            raise ValueError(msg)
