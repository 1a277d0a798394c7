"""Checks of the images that a user brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.radiometry import image_sums

from sarheight.errors import GeometryError
from sarheight.scene import Calibration, Scene, require_unflattened

if TYPE_CHECKING:
    from sarheight.geometry.pass_geometry import PixelAreas
    from sarheight.grid import RadarGrid
    from sarheight.layover._frame import Frame
    from sarheight.orbit import Orbit

__all__ = ["check_intensity", "check_sums", "require_small_cells", "scenes_of"]

MOST_NEGATIVE = 0.1
"""Largest part of the power that may be negative, as noise removal leaves some."""


def check_intensity(image: NDArray[np.floating], areas: PixelAreas) -> NDArray[np.float64]:
    """Check that an image holds linear power, and sum up its energy.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        The image.
    areas : PixelAreas
        Areas to which it refers.

    Returns
    -------
    array, shape (polarisations,)
        Energy in square metres of the pixels that are finite in all polarisations.

    Raises
    ------
    ValueError
        If it has no data, or so much negative power that it must be in decibels.
    """
    sums = np.empty((*image.shape[:2], 5))
    image_sums(image, areas.lines, areas.areas, sums)
    return check_sums(sums, image.shape)


def check_sums(sums: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Check from the sums of its lines that an image holds linear power.

    Parameters
    ----------
    sums : array, shape (polarisations, lines, 5)
        From `sarheight_kernels.radiometry.image_sums`, for lines or larger parts of the image.
    shape : tuple of int
        Shape of the image, for messages.

    Returns
    -------
    array, shape (polarisations,)
        As `check_intensity`.

    Raises
    ------
    ValueError
        As `check_intensity`.
    """
    finite, negative, positive = sums[..., :3].sum(axis=(0, 1))
    if finite == 0:
        msg = (
            f"found an image of {shape} without a single finite value (in all its "
            "polarisations), expected linear power: check the file, its nodata value and the part "
            "that was read"
        )
        raise ValueError(msg)
    if -negative > MOST_NEGATIVE * positive:
        msg = (
            f"found an image whose values lie between {sums[..., 3].min():g} and "
            f"{sums[..., 4].max():g}, most of them negative; expected linear power. If it is in "
            "decibels, convert it first: 10 ** (image / 10)"
        )
        raise ValueError(msg)
    if positive == 0.0:
        msg = "found an image that is zero everywhere, expected linear power: check what was read"
        raise ValueError(msg)
    energy: NDArray[np.float64] = sums[..., 1:3].sum(axis=(1, 2))
    return energy


def scenes_of(
    image: Scene | xr.DataArray | Sequence[Scene],
    grid: RadarGrid | None,
    orbit: Orbit | None,
    calibration: Calibration,
) -> list[Scene]:
    """Gather what the user passed into a list of scenes.

    Parameters
    ----------
    image, grid, orbit, calibration
        As in `sarheight.layover.reconstruct`.

    Returns
    -------
    list of Scene
        At least one, all with the same polarisations.

    Raises
    ------
    TypeError
        If an image comes without grid and orbit, or a scene with them.
    ValueError
        If there is no scene, polarisations differ, or an image is terrain-flattened.
    """
    if isinstance(image, xr.DataArray | xr.Dataset):
        require_unflattened(image)
    if isinstance(image, xr.DataArray):
        if grid is None or orbit is None:
            missing = [name for name, value in (("grid", grid), ("orbit", orbit)) if value is None]
            msg = (
                f"found an image without {' and '.join(missing)}; expected both, or a Scene, "
                "which holds them"
            )
            raise TypeError(msg)
        scenes = [Scene(image, grid, orbit, calibration)]
    elif grid is not None or orbit is not None:
        msg = "found grid or orbit beside a Scene, which has its own; pass one or the other"
        raise TypeError(msg)
    elif isinstance(image, Sequence):
        scenes = list(image)
    else:
        scenes = [image]
    things: list[object] = [*scenes]
    strangers = [type(thing).__name__ for thing in things if not isinstance(thing, Scene)]
    if strangers or not scenes:
        found = ", ".join(strangers) or "an empty sequence"
        msg = f"found {found}, expected a DataArray, a Scene, or several Scenes"
        raise TypeError(msg)
    kinds = [_polarisations(scene) for scene in scenes]
    if any(kind != kinds[0] for kind in kinds):
        msg = (
            f"found scenes with polarisations {' and '.join(map(str, kinds))}, expected the same "
            "in all: select the common ones"
        )
        raise ValueError(msg)
    return scenes


def _polarisations(scene: Scene) -> tuple[object, ...]:
    """Names of a scene's polarisations, or their numbers where they have no names."""
    if "polarisation" not in scene.image.dims:
        return ()
    return tuple(scene.image["polarisation"].values.tolist())


def require_small_cells(frame: Frame, scenes: Sequence[Scene], part: float) -> None:
    """Refuse a DEM none of whose cells can lie in an image as far as it must.

    Parameters
    ----------
    frame : Frame
        Measures of the DEM.
    scenes : sequence of Scene
        The images.
    part : float
        Part of a cell below which it has no value.

    Raises
    ------
    GeometryError
        If a cell is so much larger than an image.
    """
    for scene, (lines, samples) in zip(scenes, frame.cell_sizes, strict=True):
        grid = scene.grid
        inside = min(grid.lines / lines, 1.0) * min(grid.samples / samples, 1.0)
        if inside < part:
            msg = (
                f"found cells of {lines:.0f} lines by {samples:.0f} samples over an image of "
                f"{grid.lines} by {grid.samples}: it shows no more than {100.0 * inside:.2g} % of "
                f"any of them, expected {100.0 * part:.3g} % at least. Pass a DEM whose cells are "
                "small beside the image."
            )
            raise GeometryError(msg)
