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
__dir__ = __all__.copy  # `dir` lists the public names
