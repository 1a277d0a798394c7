"""Plan of a scene: what all tiles have in common, and what one tile reads and observes.

A scene in memory is a plan with one tile: the whole DEM and the whole images. Of lazy images or
DEMs the tiles are those of the tile planner; each is read and computed within a task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.models import GroundModel
from sarheight_kernels.tiles import TILE, tile_bounds, tile_count

from sarheight.dem import check_dem
from sarheight.dem.checked import CheckedDem, north_up
from sarheight.dem.layout import check_layout, require_heights
from sarheight.geometry.pass_geometry import (
    PassGeometry,
    PixelAreas,
    pixel_areas_of,
    require_overlap,
)
from sarheight.geometry.tables import ground_model, radar_model
from sarheight.geometry.visibility import (
    FORESHORTENING_THRESHOLD,
    ProfileLayout,
    classify_cells,
    illuminated_cells,
    profile_layout,
)
from sarheight.illumination import ConstantGamma
from sarheight.illumination.simulate import illuminate, is_illuminated
from sarheight.layover._input import require_small_cells
from sarheight.layover._sampling import choose_sample
from sarheight.layover._tasks import FILE_CACHE, load, slim
from sarheight.layover.allocation import Observation, PassTile, intensities
from sarheight.layover.facets import divide_heights, facet_places, facets_of
from sarheight.layover.tiles import (
    CACHED_SHARE,
    HeightRange,
    TilePlanner,
    grid_scale,
)

if TYPE_CHECKING:
    from sarheight_kernels.models import RadarModel

    from sarheight.grid import RadarGrid
    from sarheight.layover.tiles import Box, GridScale, Tile
    from sarheight.scene import Scene

STRIP_CELLS = 1 << 22
"""Cells of a lazy DEM whose heights are checked at a time."""
FILE_BLOCK = 256
"""Rows of the blocks that most files have: strips of whole ones read none of them twice."""


@dataclass(frozen=True, eq=False)
class SceneDem:
    """A DEM that was checked where it entered, with rows from north to south.

    One in memory holds float32 heights above the ellipsoid. Of a lazy one the layout is checked
    at once and the heights strip by strip; each window is converted when it is read. Kernel tiles
    and profiles are counted from the first cell, so one order of storage makes one result.
    """

    array: xr.DataArray  # dims (y, x), north-up
    grid: xr.DataArray  # coordinates and horizontal CRS of the DEM; without heights where lazy
    heights: HeightRange
    stored: xr.DataArray  # the DEM in the order in which it is stored

    @classmethod
    def of(cls, dem: xr.DataArray | CheckedDem, file_cache: int = FILE_CACHE) -> SceneDem:
        """Check a DEM."""
        if isinstance(dem, CheckedDem) or not is_lazy(dem):
            checked = CheckedDem.of(dem)
            array = checked.north_up().array
            return cls(array, array, HeightRange.of(_contiguous(array)), checked.array)
        stored = check_layout(dem)
        array = north_up(stored)
        heights = _height_range(array, file_cache)
        require_heights(heights.lowest)
        return cls(array, _without_heights(array, file_cache), heights, stored)

    def window(self, box: Box) -> xr.DataArray:
        """Return the DEM in a window, not loaded yet where it is lazy."""
        part = self.array.isel(y=slice(box[0], box[1]), x=slice(box[2], box[3]))
        return part.copy(data=slim(part.data)) if is_lazy(part) else part

    def ground(self, facets: int = 1) -> GroundModel:
        """Find the positions of the cells, or of so many facets along a side of each."""
        x, y = (
            _facet_coordinates(self.grid[name].values.astype(np.float64), facets)
            for name in ("x", "y")
        )
        return ground_model(x, y, pyproj.CRS.from_user_input(self.grid.rio.crs))


def _facet_coordinates(centres: NDArray[np.float64], facets: int) -> NDArray[np.float64]:
    """Divide the coordinates of cells along an axis into those of their facets."""
    if facets == 1:
        return centres
    step = (centres[-1] - centres[0]) / max(centres.size - 1, 1)
    return np.asarray(centres[0] + step * facet_places(centres.size, facets))


def is_lazy(*arrays: xr.DataArray) -> bool:
    """Tell whether any of several arrays is dask-backed."""
    return any(getattr(array, "chunks", None) is not None for array in arrays)


def _contiguous(dem: xr.DataArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(dem.values, dtype=np.float32)


def _loaded(dem: xr.DataArray, file_cache: int) -> xr.DataArray:
    """Load a window of a DEM, and convert its heights where it was lazy."""
    if not is_lazy(dem):
        return dem
    return check_dem(dem.copy(data=load(dem.data, file_cache)), void_allowed=True)


def _height_range(dem: xr.DataArray, file_cache: int) -> HeightRange:
    """Check the heights of a lazy DEM strip by strip, and find their range."""
    rows, columns = dem.shape
    step = max(STRIP_CELLS // columns // TILE, 1) * TILE
    step -= step % FILE_BLOCK if step > FILE_BLOCK else 0
    # A single row is no DEM.
    edges = [row for row in range(0, rows, step) if rows - row > 1] + [rows]
    strips = [
        HeightRange.of(_contiguous(_loaded(dem.isel(y=slice(first, end)), file_cache)))
        for first, end in pairwise(edges)
    ]
    return HeightRange.join(strips)


def _without_heights(dem: xr.DataArray, file_cache: int) -> xr.DataArray:
    """Return a lazy DEM's grid with the CRS that its checked heights have."""
    corner = _loaded(dem.isel(y=slice(0, 2), x=slice(0, 2)), file_cache)
    scalars = {name: value for name, value in corner.coords.items() if not value.dims}
    nothing = np.broadcast_to(np.float32(np.nan), dem.shape)
    grid = xr.DataArray(nothing, dims=("y", "x"), coords={"y": dem.y, "x": dem.x, **scalars})
    placed: xr.DataArray = grid if grid.rio.crs else grid.rio.write_crs(corner.rio.crs)
    return placed


@dataclass(frozen=True, eq=False)
class PassPlan:
    """One pass over the whole scene."""

    grid: RadarGrid
    radar: RadarModel
    profiles: ProfileLayout  # those through the whole DEM
    areas: PixelAreas  # areas of pixels to which the image's calibration refers
    ellipsoid_areas: PixelAreas  # areas of pixels to which sigma0 on the ellipsoid refers


@dataclass(frozen=True, eq=False)
class FacetPlan:
    """The facets of the whole DEM, where a cell has more than one."""

    ground: GroundModel  # their positions
    profiles: tuple[ProfileLayout, ...]  # those through them, for each pass
    heights: HeightRange  # of each kernel tile and those around it, to which facets are limited


@dataclass(frozen=True, eq=False)
class ScenePlan:
    """What all tiles of a scene have in common."""

    passes: tuple[PassPlan, ...]
    ground: GroundModel
    scale: GridScale
    foreshortening: float  # threshold, see `sarheight.layover.masks`
    smallest_area: float  # part of a cell below which it has no value
    facets: FacetPlan | None = None  # none where each cell is one facet
    memory_limit: float = math.inf  # bytes that the process may hold
    file_cache: int = FILE_CACHE  # bytes of file blocks that may be cached, which are among them
    kinds: NDArray[np.uint8] | None = None  # kind of ground of each cell of the DEM; 0 for none

    @property
    def least_area(self) -> float:
        """Return the illuminated area in m2 below which a cell has no value."""
        return self.smallest_area * self.scale.cell_area


def plan_scene(
    scenes: Sequence[Scene],
    dem: SceneDem,
    *,
    smallest_area: float,
    memory_limit: float,
    foreshortening: float = FORESHORTENING_THRESHOLD,
    facets: int | None = None,
) -> tuple[ScenePlan, TilePlanner]:
    """Measure what all tiles have in common; see `reconstruct` for the settings.

    Raises
    ------
    GeometryError
        If DEM and an image do not overlap, or cells are far larger than an image.
    """
    ground = dem.ground()
    height = dem.heights.middle
    radars = tuple(radar_model(scene.grid, scene.orbit) for scene in scenes)
    scale = grid_scale(dem.grid, ground, radars, height)
    facets = facets_of(scale.cell_sizes) if facets is None else facets
    scale = replace(scale, facets=facets)
    images = tuple((scene.grid.lines, scene.grid.samples) for scene in scenes)
    planner = TilePlanner.over(ground, radars, images, scale, dem.heights)
    for scene, radar, bounds in zip(scenes, radars, planner.bounds, strict=True):
        require_overlap(dem.grid, scene.grid, radar, bounds.reshape(-1, 4))
    require_small_cells(scale, scenes, smallest_area)
    parts, stride = choose_sample(planner.covered_cells())
    scale = replace(scale, sampled_parts=parts, sampled_stride=stride)
    planner = replace(planner, scale=scale)
    passes = tuple(
        PassPlan(
            scene.grid,
            radar,
            _profile_layout(dem, scene.grid, ground, radar),
            *pixel_areas_of(scene.grid, radar, scene.calibration, "sigma0"),
        )
        for scene, radar in zip(scenes, radars, strict=True)
    )
    cache = file_cache_of(memory_limit)
    facet_plan = _facet_plan(dem, facets, passes) if facets > 1 else None
    return (
        ScenePlan(
            passes,
            ground,
            scale,
            foreshortening,
            smallest_area,
            facet_plan,
            memory_limit,
            cache,
        ),
        planner,
    )


def _facet_plan(dem: SceneDem, facets: int, passes: Sequence[PassPlan]) -> FacetPlan:
    """Measure what the facets of all tiles have in common."""
    ground = dem.ground(facets)
    layouts = tuple(
        _profile_layout(dem, whole.grid, ground, whole.radar, facets) for whole in passes
    )
    return FacetPlan(ground, layouts, dem.heights.with_neighbours())


def _profile_layout(
    dem: SceneDem, grid: RadarGrid, ground: GroundModel, radar: RadarModel, facets: int = 1
) -> ProfileLayout:
    """Lay out profiles through the whole DEM, or through its facets; heights do not matter."""
    rows, columns = dem.grid.shape
    nothing = np.broadcast_to(np.float32(np.nan), (rows * facets, columns * facets))
    geometry = PassGeometry(dem.grid, grid, nothing, ground, radar, np.empty((0, 4)))
    return profile_layout(geometry, dem.heights.middle)


def file_cache_of(memory_limit: float) -> int:
    """Return the bytes of a memory limit that cached file blocks may take."""
    return (
        FILE_CACHE
        if math.isinf(memory_limit)
        else max(int(CACHED_SHARE * memory_limit), FILE_CACHE)
    )


@dataclass(frozen=True, eq=False)
class TileInput:
    """A tile with its part of the DEM and of the images, not loaded yet where they are lazy."""

    tile: Tile
    dem: xr.DataArray  # the DEM in the window
    images: tuple[Any, ...]  # the image of each pass in the tile's pixels
    need: float = 0.0  # bytes that the work on it takes, its input included

    @property
    def bytes_beside(self) -> float:
        """Return the bytes that the work takes beside its input, once that is loaded."""
        return self.need - float(sum(each.nbytes for each in (self.dem, *self.images)))


def tile_input(scenes: Sequence[Scene], dem: SceneDem, tile: Tile, need: float = 0.0) -> TileInput:
    """Cut out the input of a tile, without loading it."""
    images = []
    for scene, pixels in zip(scenes, tile.pixels, strict=True):
        data = scene.image.data[..., pixels[0] : pixels[1], pixels[2] : pixels[3]]
        images.append(slim(data) if is_lazy(scene.image) else data)
    return TileInput(tile, dem.window(tile.window), tuple(images), need)


def read_tile(plan: ScenePlan, source: TileInput) -> TileInput:
    """Load DEM and images of a tile, in the form that the kernels take."""
    images = tuple(intensities(load(image, plan.file_cache)) for image in source.images)
    return replace(source, dem=_loaded(source.dem, plan.file_cache), images=images)


def observe(plan: ScenePlan, loaded: TileInput) -> list[Observation]:
    """Find what the passes observe in a tile that was read: layover, shadow, illuminated cells."""
    window, core = loaded.tile.window, loaded.tile.core
    row, column = window[0], window[2]
    inner = (core[0] - row, core[1] - row, core[2] - column, core[3] - column)
    heights = _contiguous(loaded.dem)
    ground = _window_ground(plan.ground, window, plan.scale.shape)
    kinds = None if plan.kinds is None else plan.kinds[window[0] : window[1], window[2] : window[3]]
    facets = None
    if plan.facets is not None:
        facets = _facet_window(plan, plan.facets, window, loaded.dem, heights)
    observations = []
    passes = zip(plan.passes, loaded.tile.pixels, loaded.images, strict=True)
    for index, (whole, pixels, image) in enumerate(passes):
        geometry = pass_view(whole, pixels, loaded.dem, heights, ground)
        category, fold_count = classify_cells(geometry, plan.foreshortening, whole.profiles)
        operator = illuminate(geometry, ConstantGamma(1.0), is_illuminated(category))
        areas = window_areas(whole.areas, pixels)
        tile = PassTile(image, areas, operator, inner)
        if plan.facets is not None and facets is not None:
            view = pass_view(whole, pixels, *facets)
            lit = illuminated_cells(view, plan.facets.profiles[index])
            tile = tile.divided(illuminate(view, ConstantGamma(1.0), lit), plan.scale.facets)
        observations.append(
            Observation(
                tile,
                category,
                fold_count,
                window_areas(whole.ellipsoid_areas, pixels),
                (row, column),
                kinds,
            )
        )
    return observations


def prepare_window(
    plan: ScenePlan, window: Box, source: xr.DataArray
) -> tuple[xr.DataArray, NDArray[np.float32], GroundModel]:
    """Load a window of a DEM and divide it into facets: their DEM, heights and positions."""
    dem = _loaded(source, plan.file_cache)
    heights = _contiguous(dem)
    if plan.facets is None:
        return dem, heights, _window_ground(plan.ground, window, plan.scale.shape)
    return _facet_window(plan, plan.facets, window, dem, heights)


def _facet_window(
    plan: ScenePlan,
    facets: FacetPlan,
    window: Box,
    source: xr.DataArray,
    heights: NDArray[np.float32],
) -> tuple[xr.DataArray, NDArray[np.float32], GroundModel]:
    """Divide the cells of a window into facets: their DEM, heights and positions."""
    n = plan.scale.facets
    fine = divide_heights(heights, n, facets.heights, (window[0], window[2]))
    coordinates = {
        name: _facet_coordinates(source[name].values.astype(np.float64), n) for name in ("y", "x")
    }
    dem = xr.DataArray(fine, dims=("y", "x"), coords=coordinates)
    first, end, left, right = window
    box = (first * n, end * n, left * n, right * n)
    shape = (plan.scale.shape[0] * n, plan.scale.shape[1] * n)
    return dem, fine, _window_ground(facets.ground, box, shape)


def pass_view(
    whole: PassPlan,
    pixels: Box,
    dem: xr.DataArray,
    heights: NDArray[np.float32],
    ground: GroundModel,
) -> PassGeometry:
    """Return the geometry of a pass over a window, in lines and samples of its pixels."""
    bounds = np.empty((tile_count(heights), 4))
    tile_bounds(ground, whole.radar, heights, bounds)
    bounds -= np.array([pixels[0], pixels[0], pixels[2], pixels[2]], dtype=np.float64)
    grid = replace(
        whole.grid, lines=pixels[1] - pixels[0], samples=pixels[3] - pixels[2], bursts=()
    )
    return PassGeometry(dem, grid, heights, ground, _window_radar(whole.radar, pixels), bounds)


def _window_radar(radar: RadarModel, pixels: Box) -> RadarModel:
    """Count lines and samples from the first pixel of a window."""
    coefficients = radar.coefficients.copy()
    coefficients[:, 0] -= pixels[2]
    return radar._replace(
        line_zero_time=radar.line_zero_time + pixels[0] * radar.line_interval,
        coefficients=coefficients,
    )


def window_areas(areas: PixelAreas, pixels: Box) -> PixelAreas:
    """Cut the areas of a window's pixels out of those of an image."""
    return PixelAreas(
        areas.lines - pixels[0], np.ascontiguousarray(areas.areas[:, pixels[2] : pixels[3]])
    )


def _window_ground(ground: GroundModel, window: Box, shape: tuple[int, int]) -> GroundModel:
    """Cut the polynomials of a window out of those of a DEM.

    They are the same polynomials, about other centres, and not new ones: a cell lies in the window
    to the last digits where it lies in the whole DEM.
    """
    if window == (0, shape[0], 0, shape[1]):
        return ground
    patchs_down, patchs_across, terms = ground.coefficients.shape[:3]
    rows, columns = window[1] - window[0], window[3] - window[2]
    down, by_row = _shifts(window[0], rows, ground.patch_rows, ground.half_rows, patchs_down, terms)
    across, by_column = _shifts(
        window[2], columns, ground.patch_columns, ground.half_columns, patchs_across, terms
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


def _shifts(
    offset: int, cells: int, patch: int, half: float, patchs: int, terms: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find for each kernel tile along an axis its patch, and how powers move to its centre.

    The matrices, shape (tiles, terms, terms), turn coefficients of powers about the centre of the
    patch into those about the centre of the tile: (u + d)^i = sum_j binomial(i, j) d^(i-j) u^j.
    """
    tile = np.arange(-(-cells // TILE))
    place: NDArray[np.int64] = np.minimum((offset + tile * TILE) // patch, patchs - 1)
    # Cells count from 0, so that the centre of cells 0 to 63 is 31.5.
    middle = offset + tile * TILE + 0.5 * (TILE - 1)
    moved = (middle - ((place + 0.5) * patch - 0.5)) / half
    power = np.arange(terms)
    difference = power[:, None] - power[None, :]
    binomial = np.array([[math.comb(i, j) for j in range(terms)] for i in range(terms)])
    matrices = binomial * np.where(
        difference >= 0, moved[:, None, None] ** np.maximum(difference, 0), 0.0
    )
    return place, np.asarray(matrices, dtype=np.float64)
