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

    settings: GroundSettings = field(default_factory=GroundSettings)  # What the ground is like
    error: float | None = None  # Standard deviation in metres of the DEM's error, if not the usual
    looks: tuple[int, int] = (1, 5)  # Lines and samples of the complex image that are averaged
    dates: int = 1  # Dates that are averaged


def _textured(decibels: float) -> GroundSettings:
    """Let all kinds of ground have one texture."""
    return GroundSettings(kinds=tuple(replace(kind, texture=decibels) for kind in KINDS))


VARIANTS = {
    "": Variant(),
    "error_2": Variant(error=2.0),
    "error_9": Variant(error=9.0),
    "texture_0": Variant(_textured(0.0)),
    "texture_2": Variant(_textured(2.0)),
    "patches_200": Variant(GroundSettings(patch=(200.0, 300.0))),
    "patches_2000": Variant(GroundSettings(patch=(1500.0, 2000.0))),
    "looks_1": Variant(looks=(1, 1)),
    "looks_20": Variant(dates=5),
}
"""By name; the first is the image itself."""
