"""What the channels of a network's input are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = ["Channel", "Transform"]

Transform = Literal["none", "decibel", "log"]
"""How a physical value enters a network: as it is, as 10 log10, or as log(1 + value)."""

LEAST_POWER = 1e-6


@dataclass(frozen=True)
class Channel:
    """One channel of a network's input: a physical quantity and how it is normalised.

    The network sees ``(transform(value) - mean) / std``; where a value is missing it sees 0.

    Parameters
    ----------
    name : str
        Such as "gamma0_vv".
    units : str
        Of the value before the transform, such as "1" for linear power, or "m".
    transform : {"none", "decibel", "log"}
        Taken before normalising. Power enters in decibels, and no less than -60 dB.
    mean, std : float
        Of the transformed values.

    Raises
    ------
    ValueError
        If the transform is none of these, or `std` is not positive.
    """

    name: str
    units: str
    transform: Transform = "none"
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.transform not in get_args(Transform):
            expected = ", ".join(get_args(Transform))
            msg = f"found transform {self.transform!r} of {self.name}, expected one of {expected}"
            raise ValueError(msg)
        if not self.std > 0.0:
            msg = f"found std={self.std} of {self.name}, expected a number above 0"
            raise ValueError(msg)

    def transformed(self, value: Tensor) -> Tensor:
        """Return transformed values, before they are normalised, shape as came in."""
        if self.transform == "decibel":
            # A comparison keeps what is missing, NaN, missing.
            return 10.0 * torch.log10(torch.where(value < LEAST_POWER, LEAST_POWER, value))
        if self.transform == "log":
            return torch.log1p(value)
        return value

    def normalised(self, value: Tensor) -> Tensor:
        """Return what the network sees, shape as came in; 0 where a value is missing."""
        scaled = (self.transformed(value) - self.mean) / self.std
        return torch.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)

    def as_dict(self) -> dict[str, object]:
        """Return the fields, as they are written to a configuration."""
        return asdict(self)
