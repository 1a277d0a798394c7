"""What can be wrong when an image is reconstructed, one thing at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks._mountains.scenes import COARSER
from benchmarks._mountains.truth import HEIGHT_ERROR
from sarheight import dem as elevation
from sarheight.coregistration import apply_shift, estimate_shift

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.orbit import Orbit
    from sarheight.scene import Scene

__all__ = ["CASES", "COARSE", "Case", "Given"]

Given = tuple["Scene", "xr.DataArray"]
Wrong = Callable[["Scene", "xr.DataArray"], Given]


@dataclass(frozen=True)
class Case:
    """Something that is wrong.

    Attributes
    ----------
    what : str
        What it is, as in the figures' keys.
    amount : float
        By how much.
    unit : str
        Of the amount.
    wrong : callable
        From the scene and the DEM as they should be to those that are given.
    error : float
        Standard deviation of the height error of the coarse DEM, in postings of the fine one.
    """

    what: str
    amount: float
    unit: str
    wrong: Wrong
    error: float = HEIGHT_ERROR

    @property
    def key(self) -> str:
        """Name in the figures."""
        amount = f"{self.amount:g}".replace(".", "_")
        return (
            f"accuracy.{self.what}.{amount}_{self.unit}" if self.unit else f"accuracy.{self.what}"
        )


def as_it_is(scene: Scene, dem: xr.DataArray) -> Given:
    """Change nothing."""
    return scene, dem


def _raised(dem: xr.DataArray, metres: float) -> xr.DataArray:
    return dem.copy(data=dem.values + np.float32(metres))


def bias(metres: float) -> Wrong:
    """Raise the heights."""
    return lambda scene, dem: (scene, _raised(dem, metres))


def smooth(factor: int) -> Wrong:
    """Coarsen the DEM, and bring it back to its own posting by straight lines."""

    def wrong(scene: Scene, dem: xr.DataArray) -> Given:
        step = [factor * float(abs(dem[name][1] - dem[name][0])) for name in ("y", "x")]
        coarse = elevation.coarsen(dem, (step[0], step[1]), units="crs")
        back = coarse.interp(y=dem.y, x=dem.x, kwargs={"fill_value": "extrapolate"})
        return scene, dem.copy(data=back.values.astype(np.float32))

    return wrong


def orbit_error(metres: float, *, along: bool) -> Wrong:
    """Displace the orbit, along the flight or sideways."""

    def wrong(scene: Scene, dem: xr.DataArray) -> Given:
        orbit: Orbit = scene.orbit
        forward = orbit.velocity / np.linalg.norm(orbit.velocity, axis=1)[:, None]
        up = orbit.position / np.linalg.norm(orbit.position, axis=1)[:, None]
        aside = np.cross(forward, up)
        aside /= np.linalg.norm(aside, axis=1)[:, None]
        position = orbit.position + metres * (forward if along else aside)
        return replace(scene, orbit=replace(orbit, position=position)), dem

    return wrong


def displaced(line: float, sample: float) -> Wrong:
    """Displace the image."""
    return lambda scene, dem: (replace(scene, grid=scene.grid.shift(-line, -sample)), dem)


def nearest_records(scene: Scene, dem: xr.DataArray) -> Given:
    """Take the nearest record of ground range in place of a mean of two."""
    return replace(scene, grid=scene.grid.with_range_interpolation("nearest")), dem


def co_registered(wrong: Wrong) -> Wrong:
    """Correct the shift, where one is found."""

    def right(scene: Scene, dem: xr.DataArray) -> Given:
        scene, dem = wrong(scene, dem)
        shift = estimate_shift(scene, dem)
        return (apply_shift(scene, shift) if shift.found else scene), dem

    return right


ORBIT_ERRORS = (0.05, 0.5, 5.0)
BIASES = (10.0, 20.0, 50.0)
HEIGHT_ERRORS = (0.0, 4.0, 8.0, 16.0)
SMOOTHER = (2, 4)
SHIFTS = (0.5, 1.0, 2.0, 3.0)
FINE, COARSE = 30.0, 30.0 * COARSER
CASES = (
    Case("nothing_wrong", 0.0, "", as_it_is),
    *(Case("orbit_along", m, "m", orbit_error(m, along=True)) for m in ORBIT_ERRORS),
    *(Case("orbit_across", m, "m", orbit_error(m, along=False)) for m in ORBIT_ERRORS),
    *(Case("height_bias", m, "m", bias(m)) for m in BIASES),
    Case("height_bias_corrected", 50.0, "m", co_registered(bias(50.0))),
    *(Case("height_error", m, "m", as_it_is, m / FINE) for m in HEIGHT_ERRORS),
    *(Case("dem_resolution", COARSE * each, "m", smooth(each)) for each in SMOOTHER),
    *(Case("shift_along", each, "pixels", displaced(each, 0.0)) for each in SHIFTS),
    *(Case("shift_across", each, "pixels", displaced(0.0, each)) for each in SHIFTS),
    Case("shift_across_corrected", 3.0, "pixels", co_registered(displaced(0.0, 3.0))),
    Case("nearest_records", 0.0, "", nearest_records),
)
