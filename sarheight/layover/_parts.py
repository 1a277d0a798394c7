"""A DEM cut into parts, each with what it must know of its surroundings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.models import GroundModel
from sarheight_kernels.tiles import TILE, tile_bounds, tile_count

from sarheight.dem import check_dem
from sarheight.geometry.pass_geometry import PassGeometry, PixelAreas
from sarheight.geometry.visibility import ProfileLayout, classify_cells
from sarheight.illumination import ConstantGamma
from sarheight.illumination.simulate import illuminate, is_illuminated
from sarheight.layover._conversation import Answer, Conversation, ask, conclude
from sarheight.layover._fit import Look
from sarheight.layover._memory import make_room
from sarheight.layover._passes import Pass, intensities
from sarheight.layover._tasks import load
from sarheight.layover._unfold import Settings, Values, unfold

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from sarheight_kernels.models import RadarModel

    from sarheight.grid import RadarGrid
    from sarheight.layover._frame import Core, Frame

__all__ = ["Part", "Plan", "Radar", "ask_part", "heights_of", "read_part", "unfold_part"]


@dataclass(frozen=True, eq=False)
class Radar:
    """What the parts of a scene know of one pass.

    Attributes
    ----------
    grid : RadarGrid
        Sampling of the whole image.
    model : RadarModel
        Its tables.
    scan : ProfileLayout
        The profiles through the whole DEM.
    measured, ellipsoid : PixelAreas
        Areas of pixels to which the image's calibration, and sigma0 on the ellipsoid, refer.
    """

    grid: RadarGrid
    model: RadarModel
    scan: ProfileLayout
    measured: PixelAreas
    ellipsoid: PixelAreas


@dataclass(frozen=True, eq=False)
class Plan:
    """What all parts of a scene have in common.

    Attributes
    ----------
    radars : tuple of Radar
        The passes.
    ground : GroundModel
        Positions of the cells of the whole DEM.
    frame : Frame
        Measures of the whole DEM.
    settings : Settings
        What the user has chosen.
    memory_limit : float
        Bytes that the process may hold.
    file_cache : int
        Bytes of files that may be kept in memory, which are among them.
    """

    radars: tuple[Radar, ...]
    ground: GroundModel
    frame: Frame
    settings: Settings
    memory_limit: float
    file_cache: int


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a DEM.

    Attributes
    ----------
    core : tuple of int
        First row, end row, first column, end column of the cells that it is to unfold.
    window : tuple of int
        The same of the cells that it must look at for that.
    dem : xarray.DataArray
        The DEM in the window, see `read_part`.
    images : tuple
        For each pass first line, end line, first sample, end sample of the pixels that the
        window can light, and the image there, shape (..., lines, samples), see `read_part`.
    need : float
        Bytes that the work on it takes, what is read included.
    """

    core: Core
    window: Core
    dem: xr.DataArray
    images: tuple[tuple[Core, Any], ...]
    need: float


def heights_of(dem: xr.DataArray, file_cache: int) -> xr.DataArray:
    """Load a part of a DEM and bring it into the form that the geometry needs."""
    return check_dem(dem.copy(data=load(dem.data, file_cache)), void_allowed=True)


def read_part(plan: Plan, part: Part) -> Part:
    """Load DEM and images of a part, and bring them into the form that the work on it needs."""
    images = tuple(
        (pixels, intensities(load(image, plan.file_cache))) for pixels, image in part.images
    )
    return replace(part, dem=heights_of(part.dem, plan.file_cache), images=images)


def _shifts(
    offset: int, cells: int, block: int, half: float, blocks: int, degree: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find for each tile along an axis of a window its block, and how powers move to its centre.

    The matrices turn coefficients of powers about the centre of the block into those about the
    centre of the tile, shape (tiles, degree, degree).
    """
    tile = np.arange(-(-cells // TILE))
    place: NDArray[np.int64] = np.minimum((offset + tile * TILE) // block, blocks - 1)
    # Cells count from 0, so that the centre of cells 0 to 63 is 31.5.
    middle = offset + tile * TILE + 0.5 * (TILE - 1)
    moved = (middle - ((place + 0.5) * block - 0.5)) / half
    power = np.arange(degree)
    difference = power[:, None] - power[None, :]
    binomial = np.array([[math.comb(i, j) for j in range(degree)] for i in range(degree)])
    matrices = binomial * np.where(
        difference >= 0, moved[:, None, None] ** np.maximum(difference, 0), 0.0
    )
    return place, np.asarray(matrices, dtype=np.float64)


def _cut_ground(ground: GroundModel, window: Core) -> GroundModel:
    """Cut the polynomials of a window out of those of a DEM.

    They are the same polynomials, and not new ones: the cells of a window lie to the last digits
    where they lie in the whole DEM.
    """
    blocks_down, blocks_across, degree = ground.coefficients.shape[:3]
    down, by_row = _shifts(
        window[0], window[1] - window[0], ground.block_rows, ground.half_rows, blocks_down, degree
    )
    across, by_column = _shifts(
        window[2],
        window[3] - window[2],
        ground.block_columns,
        ground.half_columns,
        blocks_across,
        degree,
    )
    coefficients = np.einsum(
        "aim,bjn,abijk->abmnk",
        by_row,
        by_column,
        ground.coefficients[down[:, None], across[None, :]],
        optimize=True,
    )
    return GroundModel(
        TILE, TILE, ground.half_rows, ground.half_columns, np.ascontiguousarray(coefficients)
    )


def shifted(bounds: NDArray[np.float64], pixels: Core) -> NDArray[np.float64]:
    """Count the bounds of tiles from the first pixel of a window."""
    return bounds - np.array([pixels[0], pixels[0], pixels[2], pixels[2]], dtype=np.float64)


def _moved(radar: RadarModel, pixels: Core) -> RadarModel:
    """Count lines and samples from the first pixel of a window."""
    coefficients = radar.coefficients.copy()
    coefficients[:, 0] -= pixels[2]
    return radar._replace(
        line_zero_time=radar.line_zero_time + pixels[0] * radar.line_interval,
        coefficients=coefficients,
    )


def _cut(areas: PixelAreas, pixels: Core) -> PixelAreas:
    """Cut the areas of a window's pixels out of those of an image."""
    return PixelAreas(
        areas.lines - pixels[0], np.ascontiguousarray(areas.areas[:, pixels[2] : pixels[3]])
    )


def _looks(plan: Plan, part: Part) -> tuple[list[Look], list[PixelAreas]]:
    """Look at a part that has been read through all radars."""
    here = part.dem.nbytes + sum(image.nbytes for _, image in part.images)
    make_room(part.need - here, plan.memory_limit)
    heights = np.ascontiguousarray(part.dem.values, dtype=np.float32)
    ground = _cut_ground(plan.ground, part.window)
    row, column = part.window[0], part.window[2]
    core = (
        part.core[0] - row,
        part.core[1] - row,
        part.core[2] - column,
        part.core[3] - column,
    )
    looks, areas = [], []
    for radar, (pixels, image) in zip(plan.radars, part.images, strict=True):
        bounds = np.empty((tile_count(heights), 4))
        tile_bounds(ground, radar.model, heights, bounds)
        grid = replace(
            radar.grid, lines=pixels[1] - pixels[0], samples=pixels[3] - pixels[2], bursts=()
        )
        model = _moved(radar.model, pixels)
        seen = PassGeometry(part.dem, grid, heights, ground, model, shifted(bounds, pixels))
        category, fold_count = classify_cells(seen, plan.settings.compression, radar.scan)
        operator = illuminate(seen, ConstantGamma(1.0), is_illuminated(category))
        flat = Pass(image, _cut(radar.measured, pixels), operator, core)
        looks.append(Look(flat, category, fold_count, (row, column)))
        areas.append(_cut(radar.ellipsoid, pixels))
    return looks, areas


def _conversation(plan: Plan, part: Part) -> Conversation[list[Values]]:
    looks, areas = _looks(plan, part)
    return unfold(looks, areas, plan.frame, plan.settings)


def ask_part(
    plan: Plan, part: Part, told: Sequence[Any]
) -> tuple[Answer, Callable[[Answer], Any], bool]:
    """Ask a part that has been read what follows what it has been told, see `ask`."""
    return ask(_conversation(plan, part), told)


def unfold_part(plan: Plan, part: Part, told: Sequence[Any]) -> list[Values]:
    """Unfold a part that has been read.

    Returns
    -------
    list of dict
        For each pass the values of all variables in the core, shape (polarisations, rows,
        columns) or (rows, columns).
    """
    first, end = part.core[0] - part.window[0], part.core[1] - part.window[0]
    left, right = part.core[2] - part.window[2], part.core[3] - part.window[2]
    return [
        {
            name: np.ascontiguousarray(values[..., first:end, left:right])
            for name, values in one.items()
        }
        for one in conclude(_conversation(plan, part), told)
    ]
