"""Simulated regions: each is built, lit, grown over and calibrated in its own way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Region", "draw_region"]

Floats = NDArray[np.float64]
COVERS, ROOFS, MATERIALS, BANDS = 7, 3, 10, 10


@dataclass(frozen=True, eq=False)
class Region:
    """What is common to all patches of a city.

    Attributes
    ----------
    density, pitch, storeys : float
        Factors of the share of ground under buildings, of their distance and of their height.
    roofs, cover : array
        How much the region favours each kind of roof and of cover.
    palette : array, shape (materials, bands)
        Factors of the reflectances.
    season : float
        From 0, dry or leafless, to 1, green.
    sun : float
        Elevation of the sun in degrees.
    haze : array, shape (bands,)
        Reflectance that the air adds.
    gain : array, shape (bands,)
        Error of the optical calibration and of the correction for the air, as factors.
    radar_gain : array, shape (2,)
        Error of the radar's calibration of VV and VH, as factors of power.
    moisture : float
        Factor of what bare ground and plants scatter.
    look : float
        Direction in which the radar looks, in radians.
    classes : array, shape (17,)
        Share of each zone among the patches.
    """

    density: float
    pitch: float
    storeys: float
    roofs: Floats
    cover: Floats
    palette: Floats
    season: float
    sun: float
    haze: Floats
    gain: Floats
    radar_gain: Floats
    moisture: float
    look: float
    classes: Floats


def draw_region(random: np.random.Generator, classes: int, shift: float) -> Region:
    """Draw a region.

    Parameters
    ----------
    random : numpy.random.Generator
        Draws it.
    classes : int
        Number of zones.
    shift : float
        How far regions are from each other: 0 for all alike.
    """
    haze = shift * random.uniform(0.0, 0.03) * np.array([1.0, 0.8, 0.6, 0.5, 0.4, 0.35, *[0.2] * 4])
    return Region(
        density=random.lognormal(0.0, 0.15 * shift),
        pitch=random.lognormal(0.0, 0.20 * shift),
        storeys=random.lognormal(0.0, 0.20 * shift),
        roofs=random.lognormal(0.0, 0.8 * shift, ROOFS),
        cover=random.lognormal(0.0, 0.4 * shift, COVERS),
        palette=random.lognormal(0.0, 0.20 * shift, (MATERIALS, 1))
        * random.lognormal(0.0, 0.10 * shift, (MATERIALS, BANDS)),
        season=float(np.clip(0.65 + 0.35 * shift * random.uniform(-1.5, 1.0), 0.0, 1.0)),
        sun=float(50.0 + 18.0 * shift * random.uniform(-1.0, 1.0)),
        haze=haze,
        gain=random.lognormal(0.0, 0.05 * shift, BANDS),
        radar_gain=random.lognormal(0.0, 0.12 * shift, 2),
        moisture=random.lognormal(0.0, 0.30 * shift),
        look=float(random.choice([np.radians(78.0), np.radians(282.0)])),
        classes=random.dirichlet(np.full(classes, 3.0)),
    )
