"""Masks of a whole DEM, against a search along rays and arcs in space by pyproj alone."""

from __future__ import annotations

import itertools

import numpy as np
import pyproj
import pytest
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.orbit import zero_doppler_time
from sarheight_kernels.profiles import (
    ACTIVE_LAYOVER,
    ACTIVE_SHADOW,
    LAYOVER_AND_SHADOW,
    NO_DATA,
    PASSIVE_LAYOVER,
    PASSIVE_SHADOW,
)
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import binary_erosion, map_coordinates

from sarheight.ellipsoid import LookSide
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import PassGeometry, pass_geometry
from sarheight.geometry.visibility import classify_cells, classify_pixels, terrain_profiles
from sarheight.orbit import Orbit
from tests.dems import PLACES, dem_around, hills, positions
from tests.synthetic import synthetic_grid

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

TO_GEODETIC = pyproj.Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)


def is_layover(category: NDArray[np.uint8]) -> Booleans:
    return np.isin(category, (ACTIVE_LAYOVER, PASSIVE_LAYOVER, LAYOVER_AND_SHADOW))


def is_shadow(category: NDArray[np.uint8]) -> Booleans:
    return np.isin(category, (ACTIVE_SHADOW, PASSIVE_SHADOW, LAYOVER_AND_SHADOW))


class Space:
    """The air above a DEM: how high a point stands over the terrain."""

    def __init__(self, dem: xr.DataArray) -> None:
        self.to_map = pyproj.Transformer.from_crs("EPSG:4326", dem.rio.crs, always_xy=True)
        self.terrain = RegularGridInterpolator(
            (-dem.y.values, dem.x.values), dem.values.astype(float), bounds_error=False
        )

    def clearance(self, points: Floats) -> Floats:
        """Height above the terrain in metres, shape (...); NaN beyond the DEM."""
        longitude, latitude, height = TO_GEODETIC.transform(*np.moveaxis(points, -1, 0))
        x, y = self.to_map.transform(longitude, latitude)
        result: Floats = height - self.terrain(np.stack((-y, x), axis=-1))
        return result


def searched(dem: xr.DataArray, orbit: Orbit) -> tuple[Booleans, Booleans]:
    """Layover and shadow of each cell: what else lies on its arc, and what stands on its ray."""
    space = Space(dem)
    cells = positions(dem).reshape(-1, 3)
    time = np.array(
        [zero_doppler_time(*cell, 0.0, orbit.start, orbit.coefficients) for cell in cells]
    )
    satellite, velocity = orbit.state(time)
    sight = cells - satellite
    reach = float(np.ptp(dem.values)) * 3.0 + 100.0

    # Towards the satellite, until no terrain is as high; the first posting aside.
    steps = np.arange(25.0, reach, 10.0)
    towards = -sight / np.linalg.norm(sight, axis=1)[:, None]
    ray = cells[:, None, :] + steps[None, :, None] * towards[:, None, :]
    with np.errstate(invalid="ignore"):
        shadow = (space.clearance(ray) < 0.0).any(axis=1)

    # Around the satellite in the plane of zero Doppler: up and down from the cell.
    axis = velocity / np.linalg.norm(velocity, axis=1)[:, None]
    across = np.cross(axis, sight)
    offsets = np.arange(-reach, reach + 1.0, 10.0)
    angle = offsets / np.linalg.norm(sight, axis=1)[:, None]
    arc = (
        satellite[:, None, :]
        + np.cos(angle)[..., None] * sight[:, None, :]
        + np.sin(angle)[..., None] * across[:, None, :]
    )
    clearance = space.clearance(arc)
    # The cell itself is one crossing between air and ground; any beyond a posting is layover.
    above = clearance > 0.0
    crossing = (above[:, 1:] != above[:, :-1]) & np.isfinite(clearance[:, 1:] + clearance[:, :-1])
    elsewhere = np.abs(0.5 * (offsets[1:] + offsets[:-1])) > 25.0
    layover = (crossing & elsewhere).any(axis=1)
    return layover.reshape(dem.shape), shadow.reshape(dem.shape)


def inland(classes: Booleans, cells: int = 1) -> Booleans:
    """Cells that are further than so many cells from a border of a class, and from the DEM's."""
    square = np.ones((3, 3), bool)
    result: Booleans = binary_erosion(classes, square, cells) | binary_erosion(
        ~classes, square, cells
    )
    return result


def scene(
    place: str = "utm",
    *,
    relief: float = 250.0,
    seed: int = 0,
    incidence: float = 34.0,
    look_side: LookSide = "right",
    ascending: bool = True,
    shape: tuple[int, int] = (60, 60),
) -> tuple[PassGeometry, Orbit]:
    crs, latitude, longitude = PLACES[place]
    grid, orbit = synthetic_grid(
        latitude,
        longitude,
        incidence=incidence,
        look_side=look_side,
        ascending=ascending,
        height=1000.0,
        lines=500,
        samples=600,
    )
    heights = hills(shape, relief=relief, size=4.0, seed=seed)
    return pass_geometry(dem_around(latitude, longitude, heights, crs=crs), grid, orbit), orbit


@pytest.mark.parametrize(
    ("place", "look_side", "ascending", "incidence", "relief"),
    [
        ("utm", "right", True, 34.0, 250.0),
        ("geographic", "left", False, 25.0, 200.0),
        ("turned", "left", True, 45.0, 400.0),
        ("polar-south", "right", True, 40.0, 350.0),
    ],
)
def test_masks_agree_with_a_search_in_space(
    place: str, look_side: LookSide, incidence: float, relief: float, *, ascending: bool
) -> None:
    seen, orbit = scene(
        place,
        look_side=look_side,
        ascending=ascending,
        incidence=incidence,
        relief=relief,
        shape=(48, 48),
    )
    category, _ = classify_cells(seen)
    layover, shadow = searched(seen.dem, orbit)
    assert layover.mean() > 0.1
    for found, expected in ((is_layover(category), layover), (is_shadow(category), shadow)):
        assert (found == expected)[inland(expected)].mean() > 0.99
        assert (found == expected).mean() > 0.93


def bumps(x: Floats, y: Floats) -> Floats:
    """Heights as a function of UTM coordinates, the same on any raster."""
    random = np.random.default_rng(11)
    middle = np.array(
        pyproj.Transformer.from_crs(4326, 32632, always_xy=True).transform(10.0, 46.0)
    )
    heights = np.full(x.shape, 800.0)
    for east, north, height in random.uniform((-1500, -1500, 100), (1500, 1500, 500), (25, 3)):
        square = (x - middle[0] - east) ** 2 + (y - middle[1] - north) ** 2
        heights += height * np.exp(-square / (2 * 180.0**2))
    return heights


def test_a_dem_whose_rows_run_along_range_gives_the_same_masks() -> None:
    grid, orbit = synthetic_grid(height=1000.0, lines=500, samples=600)
    found = {}
    for place, shape in (("utm", (100, 100)), ("turned", (130, 130))):
        crs = PLACES[place][0]
        dem = dem_around(46.0, 10.0, np.zeros(shape), crs=crs, posting=25.0)
        x, y = np.meshgrid(dem.x.values, dem.y.values)
        to_utm = pyproj.Transformer.from_crs(crs, 32632, always_xy=True)
        dem = dem.copy(data=bumps(*to_utm.transform(x, y)).astype(np.float32))
        seen = pass_geometry(dem, grid, orbit)
        found[place] = (seen, *classify_cells(seen))
    assert not terrain_profiles(found["utm"][0])[1].transposed
    assert terrain_profiles(found["turned"][0])[1].transposed

    dem, other = found["utm"][0].dem, found["turned"][0].dem
    x, y = np.meshgrid(dem.x.values, dem.y.values)
    there = pyproj.Transformer.from_crs(32632, PLACES["turned"][0], always_xy=True).transform(x, y)
    row = (there[1] - other.y.values[0]) / (other.y.values[1] - other.y.values[0])
    column = (there[0] - other.x.values[0]) / (other.x.values[1] - other.x.values[0])
    # The margins, where terrain beyond the raster would matter, aside.
    core = np.zeros(dem.shape, bool)
    core[15:-15, 15:-15] = True
    for select in (is_layover, is_shadow):
        one = select(found["utm"][1])
        two = map_coordinates(
            select(found["turned"][1]).astype(float), (row, column), order=0, mode="nearest"
        ).astype(bool)
        settled = core & inland(one, 2)
        assert one[core].mean() > 0.02
        assert (one == two)[settled].mean() > 0.995


def test_no_data_is_where_there_is_no_terrain_and_nowhere_else() -> None:
    seen, _ = scene()
    for category in (classify_cells(seen)[0], classify_cells(seen)[1]):
        assert (category != NO_DATA).all()
    dem = seen.dem.copy()
    dem.values[20:25, 10:40] = np.nan
    dem.values[40, :] = np.nan
    dem.values[:, 50] = np.nan
    dem.values[10, 10] = np.nan
    void = np.isnan(dem.values)
    _, orbit = scene()
    category, fold_count = classify_cells(pass_geometry(dem, seen.grid, orbit))
    assert np.array_equal(category == NO_DATA, void)
    assert np.array_equal(fold_count == NO_DATA, void)
    whole, _ = classify_cells(seen)
    # A hole changes its surroundings only as far as it hides what casts or folds.
    assert (category == whole)[~void].mean() > 0.9


def test_folds_are_counted_inside_the_image_only() -> None:
    crs, latitude, longitude = PLACES["utm"]
    grid, orbit = synthetic_grid(latitude, longitude, height=1000.0, lines=90, samples=110)
    dem = dem_around(latitude, longitude, hills((80, 90), relief=100.0), crs=crs)
    seen = pass_geometry(dem, grid, orbit)
    category, fold_count = classify_cells(seen)
    assert (category != NO_DATA).all()
    coordinates = geo2rdr(dem, grid, orbit)
    beyond = np.maximum(
        np.abs(coordinates.line.values - 44.5) - 45.0,
        np.abs(coordinates["sample"].values - 54.5) - 55.0,
    )
    # Cells are given the nearest profile's values, which is off by half a row at most.
    assert (fold_count[beyond > 3.0] == NO_DATA).all()
    assert (fold_count[beyond < -3.0] != NO_DATA).all()


def test_a_ridge_has_fold_counts_of_one_and_three() -> None:
    """A ridge along the track: one sheet beside it, three where it lies over, as in a cut."""

    def ridge(x: Floats, y: Floats) -> Floats:
        # The track of an ascending orbit runs some 12 degrees west of north.
        across = x * np.cos(np.radians(12.0)) + y * np.sin(np.radians(12.0))
        heights: Floats = 800.0 + np.maximum(0.0, 300.0 - np.tan(np.radians(50.0)) * np.abs(across))
        return heights

    crs, latitude, longitude = PLACES["utm"]
    grid, orbit = synthetic_grid(latitude, longitude, height=1000.0, lines=500, samples=600)
    seen = pass_geometry(
        dem_around(latitude, longitude, ridge, crs=crs, posting=20.0, shape=(90, 110)), grid, orbit
    )
    category, fold_count = classify_cells(seen)
    inner = np.s_[25:-25]
    assert set(np.unique(fold_count[inner])) <= {1, 2, 3}
    folded = is_layover(category)
    settled = inland(folded)
    settled[:25] = settled[-25:] = False
    assert (fold_count == 3)[settled & folded].mean() > 0.95
    assert (fold_count == 1)[settled & ~folded].mean() > 0.99
    # Every row crosses foot, face and back: near passive, active, far passive layover.
    for row in range(30, 60, 5):
        codes = [code for code in category[row] if code in (ACTIVE_LAYOVER, PASSIVE_LAYOVER)]
        changes = [code for code, _ in itertools.groupby(codes)]
        assert changes == [PASSIVE_LAYOVER, ACTIVE_LAYOVER, PASSIVE_LAYOVER]
    pixels, folds = classify_pixels(seen)
    line = np.round(geo2rdr(seen.dem, grid, orbit).line.values[45, 55]).astype(int)
    assert set(np.unique(folds[line])) - {0, NO_DATA} <= {1, 2, 3}
    assert (folds[line] == 3).sum() > 5
    assert (pixels[line][folds[line] == 3] == ACTIVE_LAYOVER).mean() > 0.9


@pytest.mark.parametrize("look_side", ["right", "left"])
def test_the_image_and_the_ground_agree(look_side: LookSide) -> None:
    # So gentle that hardly anything is in shadow, where the two differ: a fold needs lit sheets.
    seen, orbit = scene(look_side=look_side, relief=100.0)
    category, fold_count = classify_cells(seen)
    pixels, folds = classify_pixels(seen)
    coordinates = geo2rdr(seen.dem, seen.grid, orbit)
    line = np.round(coordinates.line.values).astype(int)
    sample = np.round(coordinates["sample"].values).astype(int)
    lit = ~is_shadow(category)
    folded = is_layover(category)
    # A row of the DEM is three lines, so borders differ; away from them nothing does.
    core = inland(folded, 2) & inland(is_layover(pixels), 2)[line, sample] & lit
    assert core.mean() > 0.3
    assert (core & folded).sum() > 30
    assert (is_layover(pixels[line, sample]) == folded)[core].mean() > 0.99
    assert (folds[line, sample] == fold_count)[core & ~folded].mean() > 0.98
    # Where no cell of the DEM falls there is no data, and never is it 0.
    holds = np.zeros(pixels.shape, bool)
    holds[line[1:-1, 1:-1], sample[1:-1, 1:-1]] = True
    assert (pixels != NO_DATA)[holds].mean() > 0.99
    assert (pixels[:5] == NO_DATA).all()
    assert np.array_equal(pixels == NO_DATA, folds == NO_DATA)
    assert (is_shadow(pixels) == (folds == 0)).all()
