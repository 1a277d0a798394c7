"""What a training run is made of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from sarheight.models._heights import NETWORKS, Reference

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ["Precision", "RunSettings", "TerrainSettings", "require_one_of", "require_positive"]

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Loss = Literal["l1", "l2"]


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


@dataclass(frozen=True, kw_only=True)
class TerrainSettings(RunSettings):
    """Settings of a training run for terrain heights.

    Parameters
    ----------
    channels : tuple of str
        Variables of the scenes that make the image. Names that begin with gamma0, sigma0 or beta0
        are power, and enter in decibels.
    network, options, reference, surfaces, uncertainty, height_std, output_std
        See `sarheight.models.HeightEstimator`.
    loss : {"l1", "l2"}
        Of the heights, in units of `output_std`: absolute or squared errors.
    size, stride : int
        Of the patches, in cells.
    known : tuple of int
        Fewest and most known elevations in a patch.
    error : float
        Standard deviation of their errors in metres.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`. The optimiser is AdamW, whose rate rises over the first twentieth of
        the steps, and falls as a cosine to nothing.

    Raises
    ------
    ValueError
        If a name is not known or a number makes no sense.
    """

    channels: tuple[str, ...] = (
        "gamma0_posterior_unflattened",
        "local_incidence",
        "contribution_share",
    )
    network: str = "ask_unet"
    options: dict[str, Any] = field(default_factory=lambda: {"width": 32, "depth": 4})
    reference: Reference = "prompt"
    surfaces: tuple[str, ...] = ()
    uncertainty: bool = True
    height_std: float = 100.0
    output_std: float | None = 10.0
    loss: Loss = "l2"
    size: int = 128
    stride: int = 64
    known: tuple[int, int] = (4, 64)
    error: float = 0.0

    def __post_init__(self) -> None:
        """Check the values; lists, as JSON has them, become tuples."""
        for name in ("channels", "surfaces", "known"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        require_one_of("network", self.network, tuple(NETWORKS))
        require_one_of("reference", self.reference, get_args(Reference))
        require_one_of("loss", self.loss, get_args(Loss))
        require_positive(self, ("size", "stride", "height_std"))
        if not self.channels:
            msg = "found no channels, expected one at least: a network needs something to see"
            raise ValueError(msg)

    @property
    def seen(self) -> set[str]:
        """Surfaces that the network sees."""
        return {*self.surfaces, self.reference} - {"mean"}
