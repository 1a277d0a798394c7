"""Scenes that are worked on part by part come out as in memory, wherever they are cut."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from sarheight_kernels.pool import limit_threads

from sarheight.errors import GeometryError
from sarheight.layover import (
    Method,
    PosteriorMean,
    Reallocation,
    _plan,
    _sampling,
    _tasks,
    reconstruct,
)
from sarheight.layover import _scene_tiles as room
from sarheight.layover._steps import support_of
from sarheight.layover.tiles import TILE, HeightRange, TilePlanner
from sarheight.scene import Scene
from tests.dems import hills
from tests.mountains import LAW, mountain, random_terrain, raster, scene_of

METHODS: list[Method] = [Reallocation(), PosteriorMean()]


def name(method: Method) -> str:
    """Name a method."""
    return type(method).__name__


SMALL = 1
"""A limit that nothing fits in: the parts are as small as they can be."""


def rugged(rows: int = 140, columns: int = 200) -> xr.DataArray:
    """Make mountains with folds and shadows everywhere."""
    heights = np.maximum(hills((rows, columns), relief=350.0, size=7.0, seed=4) - 400.0, 0.0)
    return raster(heights)


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    found = rugged()
    found[70:74, 60:90] = np.nan
    return found


@pytest.fixture(scope="module")
def scene(dem: xr.DataArray) -> Scene:
    made = scene_of(dem.fillna(0.0), lines=340, samples=540, incidence=36.0)
    image = made.image.copy()
    image[100:104, 200:320] = np.nan
    return replace(made, image=image)


@pytest.fixture(scope="module")
def whole(dem: xr.DataArray, scene: Scene) -> dict[str, xr.Dataset]:
    """Results in memory, by the name of the method."""
    return {name(method): reconstruct(scene, dem, method=method) for method in METHODS}


def lazy(scene: Scene, lines: int = 97, samples: int = 131) -> Scene:
    """Put the image into chunks of odd sizes."""
    return replace(scene, image=scene.image.chunk(line=lines, sample=samples))


def assert_same(found: xr.Dataset, expected: xr.Dataset, tolerance: float = 1e-6) -> None:
    """Compare results to a relative tolerance, codes and attributes too."""
    assert set(found.data_vars) == set(expected.data_vars)
    for key, variable in expected.data_vars.items():
        assert found[key].dims == variable.dims
        assert found[key].dtype == variable.dtype
        assert str(found[key].attrs) == str(variable.attrs)
        if np.issubdtype(variable.dtype, np.integer):
            np.testing.assert_array_equal(found[key].values, variable.values)
        else:
            scale = float(np.nanmean(np.abs(variable.values)))
            # A square, and differences of medians: rounding in single precision counts for more.
            allowed = 10.0 * tolerance if key == "gamma0_variance" else tolerance
            np.testing.assert_allclose(
                found[key].values, variable.values, rtol=allowed, atol=allowed * scale
            )
    for key in expected.coords:
        np.testing.assert_array_equal(found[key].values, expected[key].values)
    assert set(found.attrs) == set(expected.attrs)
    for key, value in expected.attrs.items():
        if key.startswith("rcs_"):
            np.testing.assert_allclose(found.attrs[key], value, rtol=tolerance)


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_parts_fit_together_without_a_seam(
    dem: xr.DataArray, scene: Scene, whole: dict[str, xr.Dataset], method: Method
) -> None:
    """Folds, shadows, voids and missing pixels across the edges of 64 x 64 cells."""
    expected = whole[name(method)]
    assert (expected["fold_count"].values == 3).sum() > 1000
    assert (expected["mask"].values == 5).sum() > 150
    found = reconstruct(lazy(scene), dem.chunk(y=41, x=77), method=method, memory_limit=SMALL)
    assert found.gamma0.chunks is not None
    assert len(found.gamma0.chunks[0]) == 3
    assert len(found.gamma0.chunks[1]) == 4
    assert_same(found.compute(), expected)


def test_a_wide_blur_leaves_no_seam_on_level_ground() -> None:
    """No fold widens what a part needs there, and the blur reaches beyond a neighbouring tile."""
    level = raster(np.full((260, 40), 500.0))
    scene = scene_of(level, lines=860, samples=170)
    method = PosteriorMean(blur=20.0, pooling=1.0)
    expected = reconstruct(scene, level, law=LAW, method=method)
    found = reconstruct(lazy(scene), level, law=LAW, method=method, memory_limit=SMALL)
    assert found.gamma0.chunks is not None
    assert len(found.gamma0.chunks[0]) == 5
    assert_same(found.compute(), expected)


@pytest.mark.parametrize("reach", [1, 6, 8, 9, 20])
def test_relief_bounds_how_much_heights_differ_nearby(reach: int) -> None:
    rng = np.random.default_rng(reach)
    heights = rng.normal(0.0, 9.0, (150, 200)).cumsum(axis=0).astype(np.float32)
    heights[rng.random(heights.shape) < 0.1] = np.nan
    heights[64:128, :64] = np.nan
    ranges = HeightRange.of(heights)
    halves = HeightRange.join([HeightRange.of(heights[:64]), HeightRange.of(heights[64:])])
    bound = ranges.relief(reach)
    np.testing.assert_array_equal(halves.relief(reach), bound)
    assert (bound <= np.nanmax(heights) - np.nanmin(heights)).all()
    for _ in range(3000):
        row, column = rng.integers(0, heights.shape[0]), rng.integers(0, heights.shape[1])
        near = heights[
            max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1
        ]
        if np.isfinite(heights[row, column]):
            difference = np.nanmax(np.abs(near - heights[row, column]))
            assert difference <= bound[row // TILE, column // TILE] * (1.0 + 1e-6)


@pytest.mark.parametrize("look_side", ["left", "right"])
def test_the_halo_is_wider_on_the_side_of_the_radar(
    look_side: Any,  # noqa: ANN401
) -> None:
    """Shadows fall away from the radar."""
    wide = raster(hills((700, 900), relief=90.0, size=40.0, seed=4) + 500.0)
    scene = scene_of(wide, lines=480, samples=760, incidence=36.0, look_side=look_side)
    plan, planner = _plan.plan_scene(
        [scene], _plan.SceneDem.of(wide), smallest_area=0.03, memory_limit=math.inf
    )
    support = support_of(PosteriorMean(), plan.scale)
    halos = []
    for row, column in np.ndindex(6, 8):
        core = 150 + 64 * row, 214 + 64 * row, 200 + 64 * column, 264 + 64 * column
        needed = planner.needed_cells(core, support)
        halos.append(np.abs(np.subtract(needed, core)))
        window = planner.tile(core, support).window
        assert (np.array(window[::2]) <= needed[::2]).all()
        assert (np.array(window[1::2]) >= needed[1::2]).all()
    above, below, west, east = np.mean(halos, axis=0)
    # An ascending orbit looks east to its right: the radar stands in the west.
    towards, away = (west, east) if look_side == "right" else (east, west)
    assert towards > 1.1 * away
    assert max(above, below) < away


def test_it_does_not_matter_what_is_lazy(
    dem: xr.DataArray, scene: Scene, whole: dict[str, xr.Dataset]
) -> None:
    for image, heights in ((lazy(scene), dem), (scene, dem.chunk(y=50, x=50))):
        found = reconstruct(image, heights, method=Reallocation())
        assert_same(found.compute(), whole["Reallocation"])


@pytest.mark.parametrize("sides", [(37, 83), (140, 65), (91, 200)])
def test_the_edges_may_lie_anywhere(
    dem: xr.DataArray,
    scene: Scene,
    whole: dict[str, xr.Dataset],
    sides: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TilePlanner, "sides", lambda *_: sides)
    found = reconstruct(lazy(scene), dem, method=Reallocation())
    assert found.gamma0.chunks[0][0] == sides[0]
    assert_same(found.compute(), whole["Reallocation"])


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_polarisations_and_passes(method: Method) -> None:
    dem = raster(random_terrain(3, 72, 80, relief=200.0))
    scenes = []
    for ascending in (True, False):
        one, other = (
            scene_of(dem, seed=seed, ascending=ascending, lines=230, samples=250) for seed in (1, 2)
        )
        image = xr.concat([one.image, 0.2 * other.image], dim="polarisation")
        image = image.assign_coords(polarisation=["VV", "VH"])
        image[1, 50:55, 60:90] = np.nan
        scenes.append(replace(one, image=image))
    expected = reconstruct(scenes, dem, method=method)
    found = reconstruct([lazy(each) for each in scenes], dem, method=method, memory_limit=SMALL)
    assert found.gamma0.dims == ("time", "polarisation", "y", "x")
    assert_same(found.compute(), expected)


@pytest.mark.parametrize(("crs", "look_side"), [("EPSG:4326", "left"), ("EPSG:3413", "right")])
def test_any_map_and_any_look(crs: str, look_side: Any) -> None:  # noqa: ANN401
    """Where range runs along columns, rows or across both."""
    latitude = 74.0 if crs == "EPSG:3413" else 46.0
    place: dict[str, Any] = {"latitude": latitude, "longitude": 16.0}
    dem = raster(random_terrain(5, 100, 110, relief=250.0), crs=crs, **place)
    scene = scene_of(dem, lines=300, samples=330, look_side=look_side, **place)
    expected = reconstruct(scene, dem, law=LAW)
    found = reconstruct(lazy(scene), dem, law=LAW, memory_limit=SMALL)
    assert_same(found.compute(), expected)


def test_tiles_beside_the_image_are_not_sampled(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They contribute to no statistic; cells there keep their masks and angles."""
    done: Counter[str] = Counter()
    replay = room._replay_tile

    def counted(*arguments: Any) -> Any:  # noqa: ANN401
        done["tiles"] += 1
        return replay(*arguments)

    monkeypatch.setattr(room, "_replay_tile", counted)
    part = slice(100, 240), slice(155, 385)
    small = replace(scene, image=scene.image[part], grid=scene.grid.crop(*part))
    wide = rugged(280, 340)
    wide[200:] = np.nan
    expected = reconstruct(small, wide)
    found = reconstruct(lazy(small), wide, memory_limit=SMALL)
    sampled = done["tiles"]
    assert_same(found.compute(), expected)
    assert np.isnan(expected.gamma0).any(), "some cells lie beside the image"
    # Law, error model and balance.
    assert 0 < sampled < 3 * (done["tiles"] - sampled)
    assert sampled % 3 == 0


def test_statistics_of_areas_are_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large scene samples the same cells whether it is in memory or computed by areas."""
    wide = raster(hills((210, 300), relief=90.0, size=8.0, seed=4))
    scene = scene_of(wide, lines=500, samples=800, incidence=36.0)
    everywhere = reconstruct(scene, wide)
    monkeypatch.setattr(_sampling, "AREA_CELLS", 15_000)
    monkeypatch.setattr(_sampling, "AREA", 64)
    cores: list[tuple[int, ...]] = []
    areas = TilePlanner.areas

    def noted(*arguments: Any) -> Any:  # noqa: ANN401
        found = areas(*arguments)
        cores.extend(tile.core for tile in found)
        return found

    monkeypatch.setattr(TilePlanner, "areas", noted)
    expected = reconstruct(scene, wide)
    assert not cores
    found = reconstruct(lazy(scene), wide, memory_limit=SMALL)
    assert cores
    cells = {core: (core[1] - core[0]) * (core[3] - core[2]) for core in cores}
    assert 0.15 * wide.size < sum(cells.values()) < 0.6 * wide.size
    assert_same(found.compute(), expected)
    assert not np.array_equal(expected.gamma0, everywhere.gamma0, equal_nan=True)


def test_neither_threads_nor_what_is_kept_between_passes_change_a_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads of the kernels and of dask; what is kept in a scratch file is else computed again."""
    # Wide, as few of its tiles lie beside the image.
    dem = rugged(150, 210)
    scene = scene_of(dem, lines=400, samples=620, incidence=36.0)
    dem[70:74, 60:90] = np.nan
    observed: Counter[str] = Counter()
    observe = room.observe

    def counted(*arguments: Any) -> Any:  # noqa: ANN401
        observed["tiles"] += 1
        return observe(*arguments)

    monkeypatch.setattr(room, "observe", counted)
    with dask.config.set(scheduler="synchronous"), limit_threads(1):
        kept = reconstruct(lazy(scene), dem, memory_limit=SMALL)
        statistics = observed["tiles"]
        first = kept.compute()
    beside = observed["tiles"] - statistics
    assert beside < 0.2 * statistics / 3, "only tiles beside the image, which no statistic needs"
    with dask.config.set(scheduler="threads", num_workers=2), limit_threads(3):
        together = kept.compute()
        before = observed["tiles"]
        monkeypatch.setattr(_tasks, "unnamed_file", lambda *_: None)
        again = reconstruct(lazy(scene), dem, memory_limit=SMALL).compute()
    assert observed["tiles"] - before > 1.2 * statistics
    for key, variable in first.data_vars.items():
        np.testing.assert_array_equal(together[key].values, variable.values)
        np.testing.assert_array_equal(again[key].values, variable.values)


def test_variables_that_are_asked_for(dem: xr.DataArray, scene: Scene) -> None:
    some = ("mask", "gamma0")
    found = reconstruct(lazy(scene), dem, law=LAW, variables=some)
    assert set(found.data_vars) == set(some)
    assert_same(found.compute(), reconstruct(scene, dem, law=LAW, variables=some))


def test_the_limit_of_memory_chooses_the_parts(
    dem: xr.DataArray, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reconstruct(lazy(scene), dem, law=LAW, method=Reallocation())
    assert whole.gamma0.data.npartitions == 1
    # In memory, too: a script does not fail once its images are lazy.
    monkeypatch.undo()
    for image in (scene, lazy(scene)):
        with pytest.raises(ValueError, match="found a memory limit of '10 MiB', expected 875 MiB"):
            reconstruct(image, dem, memory_limit="10 MiB")


def test_no_size_of_tiles_is_tried_twice(
    dem: xr.DataArray, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    def counted(self: TilePlanner, core: Any, support: Any) -> Any:  # noqa: ANN401
        tried.append(core)
        return tile(self, core, support)

    tile = TilePlanner.tile
    monkeypatch.setattr(TilePlanner, "tile", counted)
    reconstruct(lazy(scene), dem, law=LAW)
    assert len(set(tried)) > 10
    assert max(Counter(tried).values()) <= 2  # the one that is chosen is made, too


def test_what_is_wrong_is_said_at_once(dem: xr.DataArray, scene: Scene) -> None:
    """Not when the result is computed."""
    few = xr.full_like(scene.image, np.nan)
    few[0, 0] = 1.0
    for image, error, message in (
        (scene.image - 40.0, ValueError, "decibels"),
        (xr.full_like(scene.image, np.nan), ValueError, "without a single finite value"),
        (xr.zeros_like(scene.image), ValueError, "zero everywhere"),
        (few, GeometryError, "least two classes to fit a backscatter law"),
    ):
        with pytest.raises(error, match=message):
            reconstruct(lazy(replace(scene, image=image)), dem)
    elsewhere, void = raster(mountain(), latitude=47.5), xr.full_like(dem, np.nan)
    given: tuple[tuple[type[Exception], str, dict[str, Any]], ...] = (
        (GeometryError, "No cell of the DEM falls into the image", {"dem": elsewhere}),
        (ValueError, "every cell of the DEM is void", {"dem": void}),
        *(
            (ValueError, "a memory limit of", {"memory_limit": limit})
            for limit in (0, -5.0, "much")
        ),
        (ValueError, "found variables 'gamma', expected 'all', 'main'", {"variables": ["gamma"]}),
        (ValueError, "or some of gamma0", {"variables": "gamma0"}),
    )
    for kind, message, change in given:
        with pytest.raises(kind, match=message):
            reconstruct(lazy(scene), **({"dem": dem} | change))
