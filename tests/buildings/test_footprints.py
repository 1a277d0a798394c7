"""Heights of buildings from outlines and rasters: areas, units, and files of several kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from sarheight.buildings import (
    Buildings,
    check_stack,
    city_stack,
    heights_from_raster,
    heights_of_outlines,
    rasterise_buildings,
    read_buildings,
)
from sarheight.errors import StackError
from tests.cities import EPSG, NORTH, WEST, boxes, grid_of, images_of, write_3d_bag, write_buildings

shapely = pytest.importorskip("shapely")

GRID = grid_of(20, 24)


def test_a_building_over_whole_cells_keeps_its_height_and_area() -> None:
    found = rasterise_buildings(boxes((50, 100, 120, 40, 9.0)), GRID)
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[4:10, 5:12] = True
    np.testing.assert_array_equal(found["height"], np.where(inside, 9.0, 0.0).astype(np.float32))
    np.testing.assert_array_equal(found["footprint"], inside.astype(np.float32))
    assert found.attrs["buildings"] == 1


def test_heights_in_a_cell_are_weighed_by_area() -> None:
    # One cell: 30 % of it at 10 m, 20 % at 40 m, the rest open.
    found = rasterise_buildings(boxes((0, 10, 3, 0, 10.0), (5, 10, 7, 0, 40.0)), GRID)
    assert float(found["footprint"][0, 0]) == pytest.approx(0.5)
    assert float(found["height"][0, 0]) == pytest.approx((0.3 * 10.0 + 0.2 * 40.0) / 0.5)


def test_where_two_overlap_the_higher_one_counts() -> None:
    for order in (1, -1):
        rows = [(0.0, 10.0, 10.0, 0.0, 30.0), (0.0, 10.0, 10.0, 5.0, 5.0)][::order]
        assert float(rasterise_buildings(boxes(*rows), GRID)["height"][0, 0]) == 30.0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(5, 15))
def test_the_built_area_is_that_of_the_outlines(seed: int, subdivision: int) -> None:
    random = np.random.default_rng(seed)
    shape = shapely.Point(WEST + 120.0, NORTH - 100.0).buffer(random.uniform(20.0, 90.0))
    turned = shapely.affinity.scale(shape, 1.0, random.uniform(0.5, 1.0))
    building = Buildings([turned], np.array([7.0]), CRS.from_epsg(EPSG))
    found = rasterise_buildings(building, GRID, subdivision=subdivision)
    area = 100.0 * float(found["footprint"].sum())
    # Along the edge a fine cell is counted or not: each errs by its area times a number that is
    # spread evenly over one, whose variance is 1 / 12. Four standard deviations of their sum.
    cell = 10.0 / subdivision
    spread = cell**2 * np.sqrt(turned.length / cell / 12.0)
    assert area == pytest.approx(turned.area, abs=4.0 * spread)
    volume = 100.0 * float((found["height"] * found["footprint"]).sum())
    assert volume == pytest.approx(7.0 * area, rel=1e-4)


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    from sarheight.buildings import _footprints

    buildings = boxes((33, 151, 177, 22, 12.0), (90, 60, 231, 44, 21.0))
    whole = rasterise_buildings(buildings, GRID)
    monkeypatch.setattr(_footprints, "STRIP_CELLS", 10_000)
    stripped = rasterise_buildings(buildings, GRID)
    for name in ("height", "footprint"):
        np.testing.assert_array_equal(stripped[name], whole[name])


def test_outlines_in_another_projection_land_at_the_same_place() -> None:
    import geopandas

    near = boxes((50, 100, 120, 40, 9.0))
    moved = geopandas.GeoSeries(near.outlines, crs=EPSG).to_crs(28992)
    far = Buildings(list(moved), near.heights, CRS.from_epsg(28992))
    shares = [rasterise_buildings(each, GRID)["footprint"].values for each in (near, far)]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.05)


def test_a_city_with_no_buildings_is_open_ground() -> None:
    far_away = rasterise_buildings(boxes((5000, 5100, 5100, 5000, 9.0)), GRID)
    none = rasterise_buildings(Buildings([], np.empty(0), CRS.from_epsg(EPSG)), GRID)
    for found in (far_away, none):
        assert found.attrs["buildings"] == 0
        assert (found["height"] == 0.0).all()
        assert (found["footprint"] == 0.0).all()
        images = images_of(GRID, "sar_band", ["vv_ascending"], months=1)
        check_stack(city_stack(sar=images, layers={str(n): found[n] for n in found}))


# --- rasters -----------------------------------------------------------------------------------


def test_a_finer_raster_of_heights_gives_height_and_share() -> None:
    fine = grid_of(80, 96, posting=2.5, value=0.0)
    fine[:4, :2] = 12.0
    fine[:4, 4:8] = [[3.0] * 4, [3.0] * 4, [9.0] * 4, [9.0] * 4]
    found = heights_from_raster(fine, GRID)
    assert float(found["footprint"][0, 0]) == pytest.approx(0.5)
    assert float(found["height"][0, 0]) == pytest.approx(12.0)
    assert float(found["height"][0, 1]) == pytest.approx(6.0)
    assert float(found["footprint"][5, 5]) == 0.0
    # Unknown cells stay unknown.
    known = found["height"].copy()
    known[:, :3] = np.nan
    again = heights_from_raster(known)
    np.testing.assert_array_equal(again["height"], known.values)
    np.testing.assert_array_equal(np.isnan(again["footprint"]), np.isnan(known))


# --- vector files ------------------------------------------------------------------------------

BOX = (WEST + 50, NORTH - 100, WEST + 120, NORTH - 40)


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet", ".geojson"])
def test_buildings_come_from_vector_files(tmp_path: Path, suffix: str) -> None:
    path = write_buildings(tmp_path / f"city{suffix}", [(BOX, {"Height": 9.0, "storeys": 3})])
    found = read_buildings(path)
    assert found.heights.tolist() == [9.0]
    assert read_buildings(path, height="storeys").heights.tolist() == [3.0]
    share = rasterise_buildings(found, GRID)["footprint"]
    assert float(share.sum()) == pytest.approx(42.0, abs=0.3)


def test_3d_bag_s_roofs_are_measured_from_the_ground(tmp_path: Path) -> None:
    rows = [
        (BOX, {"b3_h_dak_50p": 11.5, "b3_h_maaiveld": -1.0}),
        (BOX, {"b3_h_dak_50p": None, "b3_h_maaiveld": 1.0}),
        (BOX, {"b3_h_dak_50p": 0.9, "b3_h_maaiveld": 1.0}),
    ]
    path = write_buildings(tmp_path / "bag.gpkg", rows)
    # The second was not seen; the third is as low as the ground.
    assert read_buildings(path).heights.tolist() == pytest.approx([12.5, 0.0])


@pytest.mark.parametrize("name", ["9-444-728.gpkg", "9-444-728.gpkg.gz"])
def test_tiles_of_3d_bag_have_the_ground_in_another_layer(tmp_path: Path, name: str) -> None:
    path = write_3d_bag(tmp_path / name, [(BOX, 11.5, -1.0), (BOX, 0.9, 1.0), (BOX, 8.0, np.nan)])
    found = read_buildings(path)
    # The second is as low as the ground, that of the third is unknown.
    assert found.heights.tolist() == pytest.approx([12.5, 0.0])
    assert read_buildings(path, layer="lod12_2d", ground="b3_dd_id").heights[0] == 11.5
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(StackError, match="9-444-728"):
        read_buildings(path)


def test_outlines_get_the_mean_of_their_cells_and_the_largest_novelty(tmp_path: Path) -> None:
    heights = grid_of(20, 24, value=5.0)
    heights[:, 6:] = 15.0
    heights[0, 0] = np.nan
    result = xr.Dataset({"height": heights, "novelty": 0.1 * heights})
    rows = [(0, 100, 120, 40), (0, 10, 10, 0), (9000, 9100, 9100, 9000), (30, 60, 37.5, 50)]
    outlines = [
        ((WEST + west, NORTH - south, WEST + east, NORTH - north), {"name": str(number)})
        for number, (west, south, east, north) in enumerate(rows)
    ]
    table = heights_of_outlines(result, write_buildings(tmp_path / "outlines.gpkg", outlines))
    # Half of the first lies on either side, the second on a gap, the third elsewhere.
    assert table["name"].tolist() == ["0", "1", "2", "3"]
    np.testing.assert_allclose(table["height"], [10.0, np.nan, np.nan, 5.0], rtol=0.03)
    np.testing.assert_allclose(table["novelty"], [1.5, np.nan, np.nan, 0.5], rtol=1e-6)
    assert "height_sigma" not in table
    with pytest.raises(StackError, match=r"found 1 polygons .* none of which covers a cell"):
        heights_of_outlines(result, write_buildings(tmp_path / "far.gpkg", outlines[2:3]))
