"""Cells are divided into facets: their heights, and the RCS that they share."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from sarheight.illumination import ConstantGamma, simulate
from sarheight.layover import RTC, Method, PosteriorMean, Reallocation, reconstruct
from sarheight.layover.facets import (
    divide_heights,
    facet_places,
    facets_of,
    repeat_cells,
    sum_facets,
)
from sarheight.layover.tiles import HeightRange
from tests.dems import dem_around, hills
from tests.layover.test_tiles import assert_same
from tests.mountains import LAW, look, raster, scene_of

Floats = NDArray[np.float64]

BY_NAME = {"ids": lambda method: type(method).__name__}
POSTING = 90.0


def places(shape: tuple[int, int], facets: int) -> tuple[Floats, Floats]:
    """Rows and columns of facets, in cells."""
    row, column = np.meshgrid(*(facet_places(cells, facets) for cells in shape), indexing="ij")
    return row, column


def rugged(rows: int = 70, columns: int = 80, seed: int = 4) -> xr.DataArray:
    """Make mountains with layover and shadow, in cells of 90 m."""
    heights = hills((rows, columns), relief=350.0, size=5.0, seed=seed)
    return raster(np.maximum(heights - 400.0, 0.0), posting=POSTING)


def block_mean(values: Floats, facets: int) -> Floats:
    """Average the facets of each cell."""
    rows, columns = values.shape
    blocks = values.reshape(rows // facets, facets, columns // facets, facets)
    return np.asarray(blocks.mean(axis=(1, 3)))


# Heights of facets.


@pytest.mark.parametrize("facets", [2, 3])
def test_planes_come_back_up_to_the_border_and_around_voids(facets: int) -> None:
    row, column = np.mgrid[:12, :15]
    plane = (4000.0 + 31.0 * row - 17.0 * column).astype(np.float32)
    plane[5, 6], plane[0, 3], plane[8:10, 8:12] = np.nan, np.nan, np.nan
    found = divide_heights(plane, facets)
    down, across = places(plane.shape, facets)
    void = repeat_cells(np.isnan(plane), facets)
    np.testing.assert_array_equal(np.isnan(found), void)
    expected = 4000.0 + 31.0 * down - 17.0 * across
    np.testing.assert_allclose(found[~void], expected[~void], atol=2e-3)


@pytest.mark.parametrize("facets", [2, 3])
def test_quadratics_come_back_inside(facets: int) -> None:
    """Cubic convolution is exact for them (Keys 1981, section IV)."""
    row, column = np.mgrid[:12, :15].astype(np.float64)

    def surface(row: Floats, column: Floats) -> Floats:
        return 500.0 - 3.0 * (row - 5.0) ** 2 + 2.0 * row * column - (column - 7.3) ** 2

    found = divide_heights(surface(row, column).astype(np.float32), facets)
    expected = surface(*places(row.shape, facets))
    inside = (slice(2 * facets, -2 * facets),) * 2
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-3)


def test_a_height_reaches_two_cells_and_no_farther() -> None:
    heights = hills((20, 24), relief=200.0, size=4.0, seed=1).astype(np.float32)
    changed = heights.copy()
    changed[9, 11] += 100.0
    moved = divide_heights(changed, 3) != divide_heights(heights, 3)
    rows, columns = np.nonzero(moved)
    assert (rows.min() // 3, rows.max() // 3) == (7, 11)
    assert (columns.min() // 3, columns.max() // 3) == (9, 13)
    part = divide_heights(heights[4:16, 5:20], 3)
    whole = divide_heights(heights, 3)[12:48, 15:60]
    np.testing.assert_array_equal(part[6:-6, 6:-6], whole[6:-6, 6:-6])


def test_facets_stay_within_the_range_of_heights_around_their_block() -> None:
    """The tile planner finds from these ranges the pixels that a block can illuminate."""
    heights = hills((150, 90), relief=600.0, size=1.0, seed=2).astype(np.float32)
    ranges = HeightRange.of(heights).with_neighbours()
    free, limited = divide_heights(heights, 2), divide_heights(heights, 2, ranges)
    assert free.max() > heights.max()
    highest = repeat_cells(ranges.highest, 128)[:300, :180]
    lowest = repeat_cells(ranges.lowest, 128)[:300, :180]
    np.testing.assert_array_equal(limited, np.clip(free, lowest, highest))
    np.testing.assert_array_equal(limited[256:], divide_heights(heights, 2, ranges)[256:])


def test_facets_are_summed_to_cells_and_cells_repeated() -> None:
    values = np.random.default_rng(0).uniform(size=(2, 12, 18))
    for facets in (1, 2, 3):
        expected = facets**2 * np.stack([block_mean(one, facets) for one in values])
        np.testing.assert_allclose(sum_facets(values, facets), expected, rtol=1e-12)
        repeated = repeat_cells(values, facets)
        np.testing.assert_allclose(sum_facets(repeated, facets), facets**2 * values, rtol=1e-12)


def test_small_cells_are_one_facet_and_large_ones_three_a_side() -> None:
    assert facets_of([(3.0, 3.0)]) == 1
    assert facets_of([(2.1, 7.2)]) == 1
    assert facets_of([(6.0, 6.0)]) == 2
    assert facets_of([(3.0, 3.0), (9.0, 9.0)]) == 3
    assert facets_of([(30.0, 30.0)]) == 3
    assert facets_of([(np.nan, np.nan)]) == 1


# Reconstruction on facets.


@pytest.mark.parametrize("facets", [2, 3])
def test_rcs_is_conserved(facets: int) -> None:
    """By each method, and by two passes that share their facets."""
    dem = rugged(50, 60)
    dem[20:23, 30:34] = np.nan
    ways = [
        scene_of(dem.fillna(0.0), lines=500, samples=560, ascending=way) for way in (True, False)
    ]
    methods = Reallocation(), RTC(), PosteriorMean()
    for method, scenes in (*((each, ways[:1]) for each in methods), (PosteriorMean(), ways)):
        found = reconstruct(scenes, dem, method=method, facets=facets)
        explained = found.attrs["rcs_explained"][0]
        given = found.attrs["rcs_cells"][0] + found.attrs["rcs_withheld"][0]
        assert given == pytest.approx(explained, rel=1e-6)
        assert found.gamma0.sizes.get("time", 1) == len(scenes)
        assert json.loads(found.attrs["parameters"])["facets"] == facets
        if len(scenes) == 1:
            held = float((found.gamma0.astype(np.float64) * found.projected_area).sum())
            assert held == pytest.approx(found.attrs["rcs_cells"][0], rel=1e-5)
    for other in (0, 4, 1.5):
        with pytest.raises(ValueError, match="expected 1 to 3"):
            reconstruct(ways[0], dem, facets=other)  # type: ignore[arg-type]


def test_masks_and_angles_are_those_of_cells() -> None:
    dem = rugged()
    scene = scene_of(dem, lines=600, samples=700, incidence=36.0)
    one, three = (reconstruct(scene, dem, law=LAW, method=Reallocation(), facets=n) for n in (1, 3))
    for name in ("mask", "fold_count", "local_incidence", "sigma0_geocoded"):
        np.testing.assert_array_equal(three[name], one[name])
    total = float(one.projected_area.sum())
    assert float(three.projected_area.sum()) == pytest.approx(total, rel=0.02)
    share = three.contribution_share.values
    assert (share[np.isfinite(share)] > 0.0).all()
    np.testing.assert_array_equal(np.isfinite(share), np.isfinite(three.gamma0))


def test_a_plane_has_the_same_gamma0_however_it_is_divided() -> None:
    row, column = np.mgrid[:40, :44]
    dem = raster(500.0 + 12.0 * row - 15.0 * column, posting=POSTING)
    scene = scene_of(dem, lines=480, samples=560)
    results = [reconstruct(scene, dem, method=RTC(blur=0.0), facets=n) for n in (1, 3)]
    areas = [found.projected_area.values for found in results]
    # Cells on the image's edge are seen in part, and those of the DEM's border are half a cell.
    whole = areas[0] > 0.99 * np.median(areas[0])
    whole[[0, 1, -2, -1]] = whole[:, [0, 1, -2, -1]] = False
    assert whole.mean() > 0.7
    np.testing.assert_allclose(areas[1][whole], areas[0][whole], rtol=1e-3)
    one, three = (found.gamma0.values[whole] for found in results)
    np.testing.assert_allclose(three, one, rtol=0.02)


@pytest.mark.parametrize("method", [RTC(), PosteriorMean()], **BY_NAME)
def test_ground_of_constant_gamma0_comes_back(method: Method) -> None:
    """The image of the facets' own surface is explained without a rest."""
    dem = rugged()
    fine = divided(dem, 3)
    grid, orbit = look(lines=600, samples=700, incidence=36.0)
    scene = simulate(fine, grid, orbit, law=ConstantGamma(0.3))
    law = None if isinstance(method, RTC) else ConstantGamma(1.0)
    found = reconstruct(scene, dem, method=method, law=law, facets=3).gamma0.values[2:-2, 2:-2]
    assert np.isfinite(found).mean() > 0.7
    np.testing.assert_allclose(found[np.isfinite(found)], 0.3, rtol=2e-3)


def divided(dem: xr.DataArray, facets: int) -> xr.DataArray:
    """Divide a DEM into facets, as a DEM."""
    known = dem.values.astype(np.float32)
    heights = divide_heights(known, facets, HeightRange.of(known).with_neighbours())
    return dem_around(46.0, 10.0, heights, crs="EPSG:32632", posting=POSTING / facets)


def test_tiles_fit_together_without_a_seam() -> None:
    """With voids, missing pixels and layover across the edges of 64 x 64 cells."""
    dem = rugged(140, 76)
    dem[62:66, 60:70] = np.nan
    one = scene_of(dem.fillna(0.0), lines=1260, samples=700, incidence=36.0)
    image = one.image.copy()
    image[500:504, 200:320] = np.nan
    scene = replace(one, image=image)
    expected = reconstruct(scene, dem)
    assert json.loads(expected.attrs["parameters"])["facets"] == 3
    lazy = replace(scene, image=image.chunk(line=311, sample=257))
    found = reconstruct(lazy, dem.chunk(y=41, x=77), memory_limit=1)
    assert found.gamma0.chunks is not None
    assert len(found.gamma0.chunks[0]) == 3
    assert_same(found.compute(), expected, 1.5e-6)


def test_facets_simulate_a_finer_surface_better_than_cells() -> None:
    """Of rough ground, its block means are known; its image has the finer cells' detail."""
    heights = hills((150, 165), relief=150.0, size=6.0, seed=7)
    fine = raster(heights, posting=POSTING / 3)
    coarse = raster(block_mean(heights, 3), posting=POSTING)
    grid, orbit = look(lines=520, samples=560)
    law = ConstantGamma(0.3)
    truth, cells, facets = (
        simulate(dem, grid, orbit, law=law).image.values
        for dem in (fine, coarse, divided(coarse, 3))
    )
    inner = (truth > 0.0) & (cells > 0.0) & (facets > 0.0)
    agreement = [
        np.corrcoef(np.log(image[inner]), np.log(truth[inner]))[0, 1] for image in (cells, facets)
    ]
    assert 1.0 - agreement[1] < 0.8 * (1.0 - agreement[0])
