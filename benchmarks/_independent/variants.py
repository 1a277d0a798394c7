"""Ground, DEMs and images other than those of the places: what intervals and edges are tested on.

A variant changes one thing of an image of the independent test: the texture or the patches of the
ground, the error of the DEM, or the looks. Two more show the same ground again, on another date and
in another polarisation.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tests.worlds.scattering_ground import (
    KINDS,
    CosineLaw,
    GroundSettings,
    draw_texture,
    law_tables,
)

if TYPE_CHECKING:
    from tests.worlds.scattering_ground import Ground

__all__ = ["EVERY", "VARIANTS", "Variant", "cross_polarised"]


@dataclass(frozen=True)
class Variant:
    """A variant of an image.

    Attributes
    ----------
    title : str
        As in tables.
    settings : GroundSettings
        What the ground is like.
    error : float, optional
        Standard deviation in metres of the DEM's error, if another than usual.
    looks : pair of int
        Lines and samples of the complex image that are averaged.
    dates : int
        Dates that are averaged.
    later : int
        How much later the first of them is: another seed of scatterers and noise.
    cross : bool
        Whether it is the other polarisation.
    """

    title: str
    settings: GroundSettings = field(default_factory=GroundSettings)
    error: float | None = None
    looks: tuple[int, int] = (1, 5)
    dates: int = 1
    later: int = 0
    cross: bool = False


def _textured(decibels: float) -> GroundSettings:
    """Let all kinds of ground have one texture."""
    return GroundSettings(kinds=tuple(replace(kind, texture=decibels) for kind in KINDS))


VARIANTS = {
    "": Variant("as they are"),
    "error_2": Variant("DEM error 2 m", error=2.0),
    "error_9": Variant("DEM error 9 m", error=9.0),
    "texture_0": Variant("no texture", _textured(0.0)),
    "texture_2": Variant("texture of 2 dB", _textured(2.0)),
    "patches_200": Variant("patches of 200 to 300 m", GroundSettings(patch=(200.0, 300.0))),
    "patches_2000": Variant("patches of 1.5 to 2 km", GroundSettings(patch=(1500.0, 2000.0))),
    "looks_1": Variant("one look", looks=(1, 1)),
    "looks_20": Variant("five dates averaged", dates=5),
}
"""Variants on which intervals are tested, by name; the first is the image itself."""
OTHERS = {
    "date": Variant("another date", later=100),
    "cross": Variant("the other polarisation", later=200, cross=True),
}
"""The same ground again."""
EVERY = VARIANTS | OTHERS

CROSS_LAWS = (
    CosineLaw(-18.0, 1.0),
    CosineLaw(-13.0, 1.0),
    CosineLaw(-16.0, 0.6),
    CosineLaw(-12.5, 0.2),
)
"""Laws of the kinds of ground in the other polarisation: volumes are brighter than surfaces."""
CORRELATION = 0.7
"""Of levels and textures of both polarisations, in dB."""
LEVEL_SPREAD = 1.5
"""Standard deviation in dB of the level of patches in the other polarisation."""


def cross_polarised(ground: Ground, gain: float = 6.0) -> Ground:
    """See ground in the other polarisation: the same patches and kinds, levels that correlate.

    Bright squares are brighter by `gain` dB in both.
    """
    random = np.random.default_rng([ground.seed, 77])
    squares = np.kron(ground.targets > 0, np.ones((3, 3))) * gain
    texture = np.array([kind.texture for kind in KINDS])[ground.kind]
    own = LEVEL_SPREAD * random.standard_normal(ground.patch.max() + 1)[ground.patch]
    own += draw_texture(random, ground.kind.shape, 1.0, texture)
    level = CORRELATION * (ground.level - squares) + np.sqrt(1.0 - CORRELATION**2) * own + squares
    return replace(ground, level=level, tables=law_tables(CROSS_LAWS))
