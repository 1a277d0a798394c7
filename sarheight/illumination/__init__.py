"""Backscatter laws and simulated radar images."""

from __future__ import annotations

from sarheight.illumination._laws import (
    ANGLE_UNIT,
    MIDDLE_ANGLE,
    BackscatterLaw,
    ConstantGamma,
    CosinePower,
    FittedLaw,
    Lambertian,
    LocalLaw,
    Muhleman,
)
from sarheight.illumination.simulate import simulate

__all__ = [
    "ANGLE_UNIT",
    "MIDDLE_ANGLE",
    "BackscatterLaw",
    "ConstantGamma",
    "CosinePower",
    "FittedLaw",
    "Lambertian",
    "LocalLaw",
    "Muhleman",
    "simulate",
]


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
