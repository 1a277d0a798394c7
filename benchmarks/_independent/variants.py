"""Ground, DEMs and images other than those of the places, on which intervals are tested.

A variant changes one thing of an image of the independent test: the texture or the patches of the
ground, the error of the DEM, or the looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.worlds.scattering_ground import KINDS, GroundSettings

__all__ = ["VARIANTS", "Variant"]


@dataclass(frozen=True)
class Variant:
    """A variant of an image."""

    title: str  # As in tables
    settings: GroundSettings = field(default_factory=GroundSettings)  # What the ground is like
    error: float | None = None  # Standard deviation in metres of the DEM's error, if not the usual
    looks: tuple[int, int] = (1, 5)  # Lines and samples of the complex image that are averaged
    dates: int = 1  # Dates that are averaged


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
"""By name; the first is the image itself."""
