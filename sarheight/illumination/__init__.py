"""Backscatter laws and simulated radar images."""

from __future__ import annotations

from sarheight.illumination._laws import (
    BackscatterLaw,
    ConstantGamma,
    CosinePower,
    FittedLaw,
    Lambertian,
    Muhleman,
)
from sarheight.illumination.simulate import simulate

__all__ = [
    "BackscatterLaw",
    "ConstantGamma",
    "CosinePower",
    "FittedLaw",
    "Lambertian",
    "Muhleman",
    "simulate",
]
