"""The mapping to hold in the hand: the same weights as those of the simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sarheight.errors import GeometryError
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.illumination import ConstantGamma, CosinePower
from sarheight.illumination.simulate import illuminate
from sarheight.layover import Mapping, in_shadow, mapping, masks, reconstruct
from sarheight.output import open_result, write
from tests.mountains import look, mountain, raster, scene_of

LINES, SAMPLES = 120, 150


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    heights = mountain(40, 50, 700.0)
    heights[5:8, 5:9] = np.nan
    return raster(heights)


@pytest.fixture(scope="module")
def held(dem: xr.DataArray) -> Mapping:
    return mapping(dem, *look(lines=LINES, samples=SAMPLES))


@pytest.mark.parametrize("law", [None, CosinePower(0.2, 1.7)])
@pytest.mark.parametrize("look_side", ["right", "left"])
def test_it_agrees_with_the_implicit_path(
    dem: xr.DataArray, law: CosinePower | None, look_side: str
) -> None:
    """Forward and back, to 1e-6."""
    grid, orbit = look(lines=LINES, samples=SAMPLES, look_side=look_side)  # type: ignore[arg-type]
    matrix = mapping(dem, grid, orbit, law=law).matrix
    operator = illuminate(pass_geometry(dem, grid, orbit), law or ConstantGamma(1.0))
    random = np.random.default_rng(0)
    ground = random.random(dem.shape).astype(np.float32)
    image = random.random((1, LINES, SAMPLES)).astype(np.float32)
    forward = (matrix @ ground.ravel().astype(np.float64)).reshape(LINES, SAMPLES)
    back = (matrix.T @ image.ravel().astype(np.float64)).reshape(dem.shape)
    scale = forward.max()
    np.testing.assert_allclose(forward, operator.simulate(ground), rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(
        back, operator.adjoint(image).linear[0], rtol=1e-6, atol=1e-6 * scale
    )


def test_cells_and_pixels_list_the_same_weights(dem: xr.DataArray, held: Mapping) -> None:
    line, sample = np.divmod(int(held.matrix.sum(axis=1).argmax()), SAMPLES)
    cells = held.cells_of(line, sample)
    assert cells.sizes["cell"] > 1
    for index in range(cells.sizes["cell"]):
        cell = cells.isel(cell=index)
        pixels = held.pixels_of(int(cell.row), int(cell.column))
        here = (pixels.line == line) & (pixels["sample"] == sample)
        assert int(here.sum()) == 1
        assert float(pixels.weight[here][0]) == float(cell.weight)
        assert float(held.cells.x[int(cell.column)]) == float(cell.x)
        assert float(held.cells.y[int(cell.row)]) == float(cell.y)
    # A folded pixel mixes places that are far apart.
    grid, orbit = look(lines=LINES, samples=SAMPLES)
    folds = masks(dem, grid, orbit, geometry="radar").fold_count.values
    cells = held.cells_of(*(int(index) for index in np.argwhere(folds == 3)[0]))
    assert float(np.hypot(cells.x - cells.x.mean(), cells.y - cells.y.mean()).max()) > 100.0


def test_ratios_sum_to_one_and_fall(held: Mapping) -> None:
    by_pixel = held.matrix.sum(axis=1).reshape(LINES, SAMPLES)
    for line, sample in np.argwhere(by_pixel > 0.0)[::400]:
        cells = held.cells_of(int(line), int(sample))
        assert float(cells.ratio.sum()) == pytest.approx(1.0)
        assert (np.diff(cells.ratio) <= 0.0).all()
        assert float(cells.weight.sum()) == pytest.approx(by_pixel[line, sample])
    by_cell = held.matrix.sum(axis=0).reshape(40, 50)
    for row, column in np.argwhere(by_cell > 0.0)[::100]:
        pixels = held.pixels_of(int(row), int(column))
        assert float(pixels.ratio.sum()) == pytest.approx(1.0)
        assert (np.diff(pixels.ratio) <= 0.0).all()


def test_pixels_lie_where_the_cell_is_seen(dem: xr.DataArray, held: Mapping) -> None:
    where = geo2rdr(dem, *look(lines=LINES, samples=SAMPLES))
    for row, column in ((20, 25), (12, 30), (30, 10)):
        pixels = held.pixels_of(row, column)
        if pixels.sizes["pixel"] == 0:
            continue
        line = float((pixels.ratio * pixels.line).sum())
        sample = float((pixels.ratio * pixels["sample"]).sum())
        assert line == pytest.approx(float(where.line[row, column]), abs=1.5)
        assert sample == pytest.approx(float(where["sample"][row, column]), abs=3.0)


def test_cells_in_shadow_and_voids_light_nothing() -> None:
    heights = mountain(40, 50, 900.0)
    heights[5:8, 5:9] = np.nan
    dem = raster(heights)
    grid, orbit = look(lines=LINES, samples=SAMPLES, incidence=44.0)
    held = mapping(dem, grid, orbit)
    dark = in_shadow(masks(dem, grid, orbit)["mask"]).values
    by_cell = held.matrix.sum(axis=0).reshape(dem.shape)
    assert dark.sum() > 50
    assert (by_cell[dark | np.isnan(heights)] == 0.0).all()
    assert held.pixels_of(6, 6).sizes["pixel"] == 0


@pytest.mark.parametrize("name", [None, "weights.zarr", "weights.nc"])
def test_what_is_saved_is_loaded_again(held: Mapping, tmp_path: Path, name: str | None) -> None:
    dataset = held.to_dataset()
    again = Mapping.from_dataset(open_result(write(dataset, tmp_path / name)) if name else dataset)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(again.matrix, part), getattr(held.matrix, part))
    assert again.matrix.shape == held.matrix.shape
    assert again.image_shape == held.image_shape
    assert again.ground_shape == held.ground_shape
    np.testing.assert_array_equal(again.cells.x, held.cells.x)
    np.testing.assert_array_equal(again.cells.y, held.cells.y)
    assert again.cells.rio.crs == held.cells.rio.crs
    xr.testing.assert_identical(again.cells_of(60, 75), held.cells_of(60, 75))


def test_what_is_not_there_or_does_not_belong_together_is_refused(
    dem: xr.DataArray, held: Mapping
) -> None:
    for place in ((-1, 0), (0, -1), (LINES, 0), (0, SAMPLES)):
        with pytest.raises(IndexError, match="found pixel"):
            held.cells_of(*place)
        with pytest.raises(IndexError, match="found cell"):
            held.pixels_of(*place)
    with pytest.raises(ValueError, match=r"made by Mapping\.to_dataset"):
        Mapping.from_dataset(held.to_dataset().drop_vars("start"))
    with pytest.raises(ValueError, match="without lines and samples"):
        Mapping.from_dataset(held.to_dataset().drop_attrs(deep=False))
    beside = raster(mountain(60, 60)).pipe(lambda d: d.assign_coords(x=d.x + 1200, y=d.y + 1200))
    with pytest.raises(GeometryError, match="lies beside the image"):
        mapping(beside, *look(lines=60, samples=60))
    large, _ = look(lines=60_000, samples=40_000, line_spacing=1.0, sample_spacing=1.0)
    with pytest.raises(ValueError, match="crop the grid"):
        mapping(dem, large, look()[1])


def test_cells_that_share_pixels_have_the_share_of_the_definition(held: Mapping) -> None:
    """Against sums over the lists of cells and pixels, in layover."""
    by_cell = np.diff(held.matrix.indptr).reshape(40, 50)
    random = np.random.default_rng(3).random((40, 50))
    random[20:23] = np.nan
    for row, column in np.argwhere(by_cell > 3)[::211]:
        for reflectivity in (None, random):
            expected: dict[tuple[int, int], float] = {}
            pixels = held.pixels_of(int(row), int(column))
            weights = 0.0
            for line, sample, ratio in zip(
                pixels.line.values, pixels["sample"].values, pixels.ratio.values, strict=True
            ):
                cells = held.cells_of(int(line), int(sample))
                brightness = np.ones(cells.sizes["cell"])
                if reflectivity is not None:
                    brightness = np.nan_to_num(reflectivity[cells.row, cells.column])
                rcs = cells.weight.values * brightness
                if not rcs.sum() > 0.0:
                    continue
                weights += float(ratio)
                for place, part in zip(
                    zip(cells.row.values, cells.column.values, strict=True),
                    rcs / rcs.sum(),
                    strict=True,
                ):
                    expected[place] = expected.get(place, 0.0) + float(ratio * part)
            found = held.sharing(int(row), int(column), reflectivity)
            assert float(found.share.sum()) == pytest.approx(1.0)
            assert (np.diff(found.share) <= 0.0).all()
            for place in zip(found.row.values, found.column.values, strict=True):
                index = int(np.flatnonzero((found.row == place[0]) & (found.column == place[1]))[0])
                assert float(found.share[index]) == pytest.approx(expected[place] / weights)
            assert sum(part > 0.0 for part in expected.values()) == found.sizes["cell"]


def test_the_share_of_a_cell_itself_is_its_contribution_share(dem: xr.DataArray) -> None:
    scene = scene_of(dem, lines=LINES, samples=SAMPLES)
    result = reconstruct(scene, dem, law=ConstantGamma(1.0), facets=1)
    held = mapping(dem, scene.grid, scene.orbit)
    share = result["contribution_share"].values
    for row, column in np.argwhere(np.isfinite(share))[::97]:
        found = held.sharing(int(row), int(column))
        own = found.share[(found.row == row) & (found.column == column)]
        assert float(own[0]) == pytest.approx(share[row, column], abs=2e-5)


def test_shadows_can_come_from_a_mask_of_a_larger_dem(dem: xr.DataArray) -> None:
    """A strip of the DEM has the same weights where the mask of all of it tells the shadows."""
    grid, orbit = look(lines=LINES, samples=SAMPLES, incidence=60.0)
    mask = masks(dem, grid, orbit)["mask"]
    lit, inside = ~in_shadow(mask), (mask != mask.attrs["_FillValue"]).values.ravel()
    assert 0.0 < float(lit.mean()) < 0.99
    whole = mapping(dem, grid, orbit)
    again = mapping(dem, grid, orbit, illuminated=lit)
    found, expected = again.matrix[:, inside], whole.matrix[:, inside]
    assert (abs(found - expected) > 1e-5 * abs(expected)).nnz == 0
    flipped = mapping(dem[::-1], grid, orbit, illuminated=lit[::-1])
    assert flipped.matrix.nnz == again.matrix.nnz
    with pytest.raises(ValueError, match="illuminated cells of shape"):
        mapping(dem, grid, orbit, illuminated=lit[1:])
