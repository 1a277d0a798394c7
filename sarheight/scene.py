"""A radar image together with its sampling and its orbit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from sarheight._radar_grid import Burst, GroundRange, RadarGrid
from sarheight._viewing import LookSide

if TYPE_CHECKING:
    import xarray

    from sarheight.orbit import Orbit

__all__ = [
    "Burst",
    "Calibration",
    "GroundRange",
    "LookSide",
    "RadarGrid",
    "Scene",
    "require_unflattened",
]

Calibration = Literal["beta0", "sigma0", "gamma0"]
"""What a radar cross-section is divided by: slant-range, ellipsoid or perpendicular area."""

IMAGE_DIMS = ("line", "sample")


def require_unflattened(image: xarray.DataArray | xarray.Dataset) -> None:
    """Refuse an image whose layover was spread over a map already.

    Parameters
    ----------
    image : xarray.DataArray or xarray.Dataset
        Any image. Those of `sarheight.rtc` say what they are by the attribute
        ``terrain_flattened``.

    Raises
    ------
    ValueError
        If it is terrain-flattened.
    """
    if not image.attrs.get("terrain_flattened"):
        return
    msg = (
        f"found an image that is terrain-flattened already ({image.attrs.get('source', 'RTC')}) "
        "and on a map grid, expected one in radar geometry. In layover its cells hold averages of "
        "pixels: how much of their energy came from where is lost, and nothing is left to "
        "reallocate. Pass the GRD or SLC that it was made from; as it is, it can be an input to "
        "a network"
    )
    raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Scene:
    """A radar image with everything needed to place it on the ground.

    Parameters
    ----------
    image : xarray.DataArray
        Intensity (linear power, never dB) on dims (line, sample), or (polarisation, line,
        sample). NaN where there is no data.
    grid : RadarGrid
        The sampling of the image.
    orbit : Orbit
        The orbit, which must cover the image.
    calibration : {"beta0", "sigma0", "gamma0"}
        What the image is normalised to, by the ellipsoid.

    Raises
    ------
    ValueError
        If the image does not fit the grid, is complex or in decibels, or the calibration is none
        of these.
    OrbitCoverageError
        If the orbit does not cover the image.
    """

    image: xarray.DataArray
    grid: RadarGrid
    orbit: Orbit
    calibration: Calibration

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        if self.calibration not in get_args(Calibration):
            msg = (
                f"found calibration {self.calibration!r}, expected one of "
                f"{', '.join(get_args(Calibration))}: say what the image is normalised to"
            )
            raise ValueError(msg)
        require_unflattened(self.image)
        dims = self.image.dims
        if dims not in {IMAGE_DIMS, ("polarisation", *IMAGE_DIMS)}:
            msg = (
                f"found an image on dims {dims}, expected ('line', 'sample') with azimuth as "
                "'line', or ('polarisation', 'line', 'sample'): rename or transpose it"
            )
            raise ValueError(msg)
        shape = self.image.shape[-2:]
        if shape != self.grid.shape:
            swapped = ": it looks transposed" if shape[::-1] == self.grid.shape else ""
            msg = (
                f"found an image of {shape[0]} x {shape[1]} pixels and a grid of {self.grid.lines} "
                f"lines x {self.grid.samples} samples{swapped}; expected the same of both: crop "
                "or multilook the grid as the image was"
            )
            raise ValueError(msg)
        units = str(self.image.attrs.get("units", "")).strip().lower()
        if np.iscomplexobj(self.image) or units in {"db", "decibel"}:
            found = units or f"{self.image.dtype} numbers"
            msg = (
                f"found an image in {found}, expected intensity in linear power: pass the squared "
                "magnitude of a complex image, 10**(decibels / 10) of one in decibels"
            )
            raise ValueError(msg)
        self.orbit.with_epoch(self.grid.epoch).require_cover(
            self.grid.first_time, self.grid.last_time
        )
