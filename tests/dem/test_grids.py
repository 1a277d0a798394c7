"""Map grids: their edges, names and zones, and DEMs that are resampled to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from sarheight import dem, layover
from sarheight.dem import _resample
from sarheight.dem.grids import mgrs_tile
from sarheight.errors import DemError, GeometryError
from tests.mountains import LAW
from tests.results import dem_of, scene


def hills(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Heights of smooth hills, 2 km from crest to crest."""
    east, north = longitude * 111e3 * np.cos(np.radians(46.0)), latitude * 111e3
    return 1000.0 + 150.0 * np.sin(2e-3 * np.pi * (0.5 * east)) * np.cos(1e-3 * np.pi * north)


def geographic(step: float = 1.0, longitude: float = 10.0, latitude: float = 46.0) -> xr.DataArray:
    """Make a DEM of these hills in degrees, with a posting in seconds of arc."""
    count = round(300 / step)
    x = longitude + (np.arange(count) + 0.5) * step / 3600.0
    y = latitude - (np.arange(count) + 0.5) * step / 3600.0
    heights = hills(*np.meshgrid(x, y)).astype(np.float32)
    raster = xr.DataArray(heights, coords={"y": y, "x": x}, dims=("y", "x"))
    return dem.assume_ellipsoidal(raster.rio.write_crs("EPSG:4326"))


@given(
    latitude=st.floats(-70.0, 70.0),
    longitude=st.floats(-179.0, 179.0),
    step=st.sampled_from([1.0, 2.0, 3.0]),
)
def test_default_grids_of_one_zone_share_their_cells(
    latitude: float, longitude: float, step: float
) -> None:
    grid = dem.map_grid(geographic(step, longitude, latitude))
    assert grid.crs is not None
    assert grid.crs.epsg in range(32601, 32761)
    size = 30.0 * step
    np.testing.assert_allclose([grid.resolution.x, -grid.resolution.y], size)
    corner = np.array(grid.boundingbox.bbox) / size
    np.testing.assert_allclose(corner, np.round(corner), atol=1e-9)


def test_a_grid_covers_its_dem() -> None:
    source = geographic()
    grid = dem.map_grid(source, "EPSG:3035", 25.0)
    to_map = Transformer.from_crs(4326, 3035, always_xy=True)
    x, y = to_map.transform(*np.meshgrid(source.x.values, source.y.values))
    box = grid.boundingbox
    assert box.left <= x.min() < box.left + 50.0
    assert box.top - 50.0 < y.max() <= box.top
    assert grid.resolution.x == 25.0
    aligned = np.array(dem.map_grid(source, resolution=30.0, align=15.0).boundingbox.bbox)
    np.testing.assert_allclose((aligned - 15.0) % 30.0, 0.0, atol=1e-6)


def test_a_projected_dem_keeps_reference_system_and_posting() -> None:
    source = dem_of()
    grid = dem.map_grid(source)
    assert grid.crs == "EPSG:32632"
    assert grid.resolution.x == pytest.approx(30.0)
    assert dem.map_grid(source, 3035).resolution.x == pytest.approx(30.0)
    assert dem.map_grid(source, 4326).resolution.x == pytest.approx(1.0 / 3600.0)


@pytest.mark.parametrize(
    ("longitude", "latitude", "code"),
    [
        (10.5, 46.5, 32632),
        (5.3, 60.4, 32632),  # Bergen: the zone is widened to the west
        (8.0, 78.0, 32631),
        (10.0, 78.0, 32633),  # Svalbard has odd zones only
        (-70.0, -33.0, 32719),
        (190.0, 65.0, 32602),
    ],
)
def test_utm_zones(longitude: float, latitude: float, code: int) -> None:
    assert dem.utm_zone(longitude, latitude).to_epsg() == code


@pytest.mark.parametrize(
    ("tile", "code", "corner"),
    [
        # Corners of tiles as the metadata of Sentinel-2 products state them.
        ("32TPT", 32632, (600000.0, 5300040.0)),
        ("T31TCJ", 32631, (300000.0, 4900020.0)),
        ("33XVG", 32633, (399960.0, 8700000.0)),
        ("19HCD", 32719, (300000.0, 6400000.0)),
        ("53JNM", 32753, (499980.0, 7200040.0)),
    ],
)
def test_mgrs_tiles_are_those_of_sentinel_2(
    tile: str, code: int, corner: tuple[float, float]
) -> None:
    for resolution in (10.0, 30.0, 60.0):
        grid = dem.mgrs_grid(tile, resolution)
        assert grid.crs == f"EPSG:{code}"
        assert (grid.affine.c, grid.affine.f) == corner
        assert grid.shape == (109800 / resolution,) * 2
    square = grid.boundingbox
    to_degrees = Transformer.from_crs(code, 4326, always_xy=True)
    place = to_degrees.transform(square.left + 6e4, square.top - 6e4)
    assert mgrs_tile(*place) == tile.removeprefix("T")


@given(longitude=st.floats(-180.0, 179.999), latitude=st.floats(-80.0, 83.999))
@example(longitude=5.0, latitude=60.0)
@example(longitude=33.0, latitude=72.0)
@example(longitude=-177.0, latitude=-79.99)
def test_squares_are_those_of_another_implementation(longitude: float, latitude: float) -> None:
    mgrs = pytest.importorskip("mgrs")
    name = mgrs.MGRS().toMGRS(latitude, longitude, MGRSPrecision=0)
    found = mgrs_tile(longitude, latitude)
    # Places within a millimetre of an edge may fall on either side.
    moved = [
        mgrs_tile(longitude + east * 1e-8, latitude + north * 1e-8)
        for east, north in ((1, 1), (-1, -1), (1, -1), (-1, 1))
        if abs(latitude + north * 1e-8) <= 80.0
    ]
    assert name in {found, *moved}
    zone = int(found[:2])
    assert dem.utm_zone(longitude, latitude).to_epsg() == (32700 if latitude < 0 else 32600) + zone
    # The square contains the place.
    grid = dem.mgrs_grid(found, 60.0)
    to_utm = Transformer.from_crs(4326, grid.crs.to_epsg(), always_xy=True)
    x, y = to_utm.transform(longitude, latitude)
    box = grid.boundingbox
    assert box.left <= x <= box.right
    assert box.bottom <= y <= box.top


ZONE = r"'WGS 84 / UTM zone 32N' \(metre\)"
TILE = r"no MGRS tile .* such as '32TPT'"
NORTH_UP = "north up of at least 2 x 2 cells"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dem.utm_zone(10.0, 86.0), r"no UTM zone at latitude 86.00.*EPSG:3413"),
        *(
            (lambda tile=tile: dem.mgrs_grid(tile, 10.0), TILE)
            for tile in ("32T", "99TPT", "32TIO", "", "32TPT12", "TPT")
        ),
        *(
            (lambda size=size: dem.mgrs_grid("32TPT", size), "10, 20, 30, 60 or 90")
            for size in (0.0, -10.0, 7.0, 1e6)
        ),
        (lambda: dem.map_grid(geographic(), 32632, 1 / 3600), rf"0.000277.*in units of {ZONE}"),
        (lambda: dem.map_grid(geographic(), 4326, 30.0), r"it in units of 'WGS 84' \(degree\)"),
        *(
            (lambda size=size: dem.map_grid(geographic(), 32632, size), "the first above 0")
            for size in (0.0, -1.0, np.nan)
        ),
        (
            lambda: dem.to_grid(geographic(), dem.mgrs_grid("33TVN", 30.0)),
            r"does not meet the target grid in 'WGS 84 / UTM zone 33N'",
        ),
        (lambda: dem.to_grid(geographic(), dem.map_grid(geographic())[:1]), NORTH_UP),
        (lambda: dem.to_grid(geographic(), dem.map_grid(geographic()).rotate(20.0)), NORTH_UP),
        (
            lambda: dem.grid_like(dem_of().drop_vars("spatial_ref").drop_attrs()),
            "no coordinate reference system",
        ),
        (lambda: dem.grid_like(dem_of().isel(y=slice(None, None, -1))), "mirrored"),
    ],
)
def test_grids_that_are_none(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DemError, match=message):
        call()


# DEMs on grids.


@pytest.mark.parametrize(("resolution", "largest"), [(10.0, 0.05), (30.0, 0.3), (90.0, 1.5)])
def test_heights_are_those_of_the_ground(resolution: float, largest: float) -> None:
    source = geographic()
    placed = dem.to_grid(source, dem.map_grid(source, resolution=resolution))
    assert placed.attrs["vertical_datum"] == "ellipsoid"
    to_degrees = Transformer.from_crs(placed.rio.crs, 4326, always_xy=True)
    place = to_degrees.transform(*np.meshgrid(placed.x.values, placed.y.values))
    # The kernel of the interpolation reaches two cells of the coarser grid to each side.
    margin = 3.0 * max(resolution / 30.0, 1.0) / 3600.0
    inside = np.all(
        [
            (part > source[name].min().item() + margin)
            & (part < source[name].max().item() - margin)
            for name, part in zip(("x", "y"), place, strict=True)
        ],
        axis=0,
    )
    assert inside.mean() > 0.7
    assert np.abs(placed.values - hills(*place))[inside].max() < largest
    kind = "average" if resolution == 90.0 else "cubic"
    assert json.loads(placed.attrs["map_grid"])["resampling"] == kind


def test_the_cells_are_exactly_those_of_the_grid() -> None:
    source = geographic()
    grid = dem.map_grid(source, 32632, 20.0)
    placed = dem.to_grid(source, grid)
    assert placed.shape == grid.shape
    assert dem.grid_like(placed) == grid
    assert (placed.x.values[0] - 10.0, placed.y.values[0] + 10.0) == (grid.affine.c, grid.affine.f)


def test_a_grid_is_taken_from_files_and_arrays(tmp_path: Path) -> None:
    source = dem_of()
    source.rio.to_raster(tmp_path / "dem.tif")
    assert dem.grid_like(tmp_path / "dem.tif") == dem.grid_like(source)
    with pytest.raises(FileNotFoundError, match=r"nothing\.tif does not exist"):
        dem.grid_like(tmp_path / "nothing.tif")
    with pytest.raises(TypeError, match="found a grid of type str, expected a GeoBox"):
        dem.to_grid(source, "EPSG:32632")  # type: ignore[arg-type]


def test_a_resolution_far_finer_than_the_dem_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"5.\d times finer than the DEM's posting"):
        grid = dem.map_grid(geographic(3.0), resolution=15.0)
    with pytest.warns(UserWarning, match="times finer"):
        dem.to_grid(geographic(3.0), grid)
    dem.map_grid(geographic(3.0), resolution=25.0)


@pytest.mark.parametrize(
    ("code", "resolution", "resampling"),
    [
        (32632, 35.0, "lanczos"),
        (3035, 80.0, "average"),
        (3413, 50.0, "cubic"),
        (4326, 5e-4, "bilinear"),
        (32630, 40.0, "nearest"),
    ],
)
def test_blocks_have_the_heights_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    resolution: float,
    resampling: Any,  # noqa: ANN401
) -> None:
    source = geographic()
    grid = dem.map_grid(source, code, resolution)
    whole = dem.to_grid(source, grid, resampling=resampling)
    monkeypatch.setattr(_resample, "_BLOCK", 67)
    blocks = dem.to_grid(source, grid, resampling=resampling)
    lazy = dem.to_grid(source.chunk(90), grid, resampling=resampling)
    assert lazy.chunks is not None
    assert lazy.attrs["map_grid"] == blocks.attrs["map_grid"]
    np.testing.assert_array_equal(lazy, blocks)
    # Positions are those of the whole to a thousandth of a cell, so a nearest cell may be another.
    both = np.isfinite(whole) & np.isfinite(blocks)
    differences = np.abs(whole - blocks).values[both]
    assert np.mean(np.isfinite(whole) == np.isfinite(blocks)) > 0.999
    assert np.quantile(differences, 0.99) < 0.05
    assert resampling == "nearest" or differences.max() < 0.5


def test_a_lazy_dem_is_read_where_it_is_needed() -> None:
    source = geographic()
    read: list[int] = []

    def load(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        read.append(1)
        return block

    lazy = source.chunk(20)
    lazy = lazy.copy(data=lazy.data.map_blocks(load, dtype=np.float32, meta=np.empty((0, 0))))
    read.clear()
    grid = dem.map_grid(source)
    placed = dem.to_grid(lazy, grid)
    assert read == []
    np.testing.assert_array_equal(placed, dem.to_grid(source, grid))
    undeclared = source.where(source.x > source.x[5], -32768.0).chunk(40)
    with pytest.raises(DemError, match="-32768"):
        dem.to_grid(undeclared, grid).compute()
    with pytest.raises(DemError, match="does not meet"):
        dem.to_grid(lazy, dem.mgrs_grid("33TVN", 30.0))


# Reconstructions on grids.


def test_a_reconstruction_runs_on_the_grid() -> None:
    source = dem_of("EPSG:4326")
    grid = dem.map_grid(source, resolution=30.0)
    one = scene("EPSG:4326")
    found = layover.reconstruct(one, source, grid=grid, law=LAW)
    assert dem.grid_like(found) == grid
    lazy = layover.reconstruct(one, source.chunk(16), grid=grid, law=LAW)
    assert lazy["gamma0"].chunks is not None
    np.testing.assert_array_equal(found["gamma0"], lazy["gamma0"])
    # Once resampled: the same as with the DEM on that grid.
    again = layover.reconstruct(one, dem.to_grid(source, grid), law=LAW)
    np.testing.assert_array_equal(found["gamma0"], again["gamma0"])
    record = json.loads(found.attrs["parameters"])["grid"]
    assert record["crs"] == "EPSG:32632"
    assert record["dem_crs"] == "EPSG:4326"
    assert record["resolution"] == [30.0, 30.0]
    assert record["shape"] == list(grid.shape)
    assert record["resampling"] == "cubic"


def test_neighbouring_scenes_mosaic_without_resampling() -> None:
    """Two DEMs that overlap give grids whose common cells are the same, to the last bit."""
    source = dem_of("EPSG:4326")
    columns = source.sizes["x"]
    parts = [source.isel(x=slice(0, 28)), source.isel(x=slice(12, columns))]
    one = scene("EPSG:4326")
    results = [
        layover.reconstruct(one, part, grid=dem.map_grid(part, resolution=30.0), law=LAW)
        for part in parts
    ]
    left, right = (set(result.x.values) for result in results)
    assert len(left & right) > 5
    assert left - right
    assert right - left
    mosaic = results[0]["ellipsoid_incidence"].combine_first(results[1]["ellipsoid_incidence"])
    assert mosaic.sizes["x"] == len(left | right)
    whole = dem.map_grid(source, resolution=30.0)
    mosaic = mosaic.sortby("y", ascending=False).rio.write_crs(32632)
    assert dem.grid_like(mosaic) == whole
    # In the common cells both have the same geometry, away from the edges of the DEMs.
    common = [result["ellipsoid_incidence"] for result in results]
    both = xr.align(*common, join="inner")
    difference = np.abs(both[0] - both[1]).values
    assert np.nanmax(difference) < 1e-3


def test_a_grid_that_no_image_covers_is_refused() -> None:
    source = dem_of()
    far = GeoBox((40, 40), dem.grid_like(source).affine, "EPSG:32632")
    away = far.translate_pix(4000, 0)
    with pytest.raises(DemError, match="does not meet the target grid"):
        layover.reconstruct(scene(), source, grid=away, law=LAW)
    elsewhere = source.assign_coords(x=source.x + 2e5)
    with pytest.raises(GeometryError):
        layover.reconstruct(scene(), elsewhere, grid=dem.map_grid(elsewhere), law=LAW)
