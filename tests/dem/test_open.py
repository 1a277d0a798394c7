"""Opening DEMs from files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.shutil
import rasterio.vrt
import xarray as xr
from rasterio import Affine

from sarheight.dem import (
    assume_ellipsoidal,
    check_dem,
    grid_like,
    local_posting,
    open_dem,
    open_map,
    to_ellipsoidal,
)
from sarheight.errors import DemError, GeoidGridMissingError, VerticalDatumError
from tests.conftest import shared_data

UTM = Affine(30.0, 0.0, 5e5, 0.0, -30.0, 5.2e6)


def write(
    path: Path,
    heights: np.ndarray,
    transform: Affine = UTM,
    crs: str | None = "EPSG:32632",
    *,
    tags: dict[str, str] | None = None,
    unit: str | None = None,
    scale: float | None = None,
    **profile: object,
) -> Path:
    """Write heights (y, x) or (band, y, x) as a GeoTIFF."""
    bands = heights if heights.ndim == 3 else heights[None]
    count, height, width = bands.shape
    profile |= {"driver": "GTiff", "count": count, "height": height, "width": width}
    profile |= {"dtype": heights.dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", **profile) as target:
        target.write(bands)
        target.update_tags(**(tags or {}))
        if unit is not None:
            target.set_band_unit(1, unit)
        if scale is not None:
            target.scales = [scale]
    return path


@pytest.fixture
def heights() -> np.ndarray:
    return np.arange(300, 300 + 48, dtype=np.int16).reshape(6, 8)


def test_posts_and_heights(tmp_path: Path, heights: np.ndarray):
    dem = open_dem(write(tmp_path / "dem.tif", heights))
    assert dem.dims == ("y", "x")
    assert dem.dtype == np.float32
    assert dem.rio.crs.to_epsg() == 32632
    np.testing.assert_array_equal(dem, heights)
    np.testing.assert_allclose(dem["x"], 5e5 + 15.0 + 30.0 * np.arange(8))
    np.testing.assert_allclose(dem["y"], 5.2e6 - 15.0 - 30.0 * np.arange(6))
    assert dem.attrs["units"] == "m"
    assert "vertical_datum" not in dem.attrs
    assert dem.attrs["source"] == str(tmp_path / "dem.tif")
    assert dem.attrs["history"].startswith("open_dem: ")


@pytest.mark.parametrize("kind", ["Area", "Point"])
def test_coordinates_are_pixel_centres_for_area_and_point(
    tmp_path: Path, heights: np.ndarray, kind: str
):
    dem = open_dem(write(tmp_path / "dem.tif", heights, tags={"AREA_OR_POINT": kind}))
    assert dem.attrs["AREA_OR_POINT"] == kind
    assert float(dem["x"][0]) == 5e5 + 15.0
    # Nothing stored beside the coordinates goes stale when the array is cut.
    part = dem[2:, 3:].rio.transform()
    assert (part.c, part.f) == (5e5 + 90.0, 5.2e6 - 60.0)


def test_south_up_file_of_packed_heights(tmp_path: Path, heights: np.ndarray):
    up = Affine(30.0, 0.0, 5e5, 0.0, 30.0, 5.2e6)
    dem = open_dem(write(tmp_path / "dem.tif", heights, up, scale=0.5))
    np.testing.assert_allclose(dem["y"], 5.2e6 + 15.0 + 30.0 * np.arange(6))
    np.testing.assert_allclose(dem, 0.5 * heights)


def test_nodata_becomes_void(tmp_path: Path, heights: np.ndarray):
    heights[2, 3] = -32768
    heights[0, 0] = 7
    dem = open_dem(write(tmp_path / "dem.tif", heights, nodata=-32768), nodata=7)
    assert np.argwhere(np.isnan(dem.values)).tolist() == [[0, 0], [2, 3]]
    undeclared = write(tmp_path / "dem.tif", heights)
    with pytest.raises(DemError, match=r"1 cells hold -32768.*nodata=-32768"):
        open_dem(undeclared)
    assert int(open_dem(undeclared, nodata=-32768).isnull().sum()) == 1


def test_feet_are_converted_on_request_only(tmp_path: Path, heights: np.ndarray):
    path = write(tmp_path / "dem.tif", heights, unit="ft")
    with pytest.raises(DemError, match="units='ft'"):
        open_dem(path)
    dem = open_dem(path, units="ft")
    np.testing.assert_allclose(dem, heights * 0.3048, rtol=1e-6)
    assert dem.attrs["units"] == "m"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_vertical_reference_in_the_file(tmp_path: Path, heights: np.ndarray, version: str):
    """Also in GeoTIFF 1.0, whose vertical part GDAL hides unless it is asked.

    It is converted if the geoid grid is installed, and else a clear error; never passed over.
    """
    path = write(tmp_path / "dem.tif", heights, crs="EPSG:32632+5773", GEOTIFF_VERSION=version)
    dem = open_dem(path, vertical="keep")
    assert dem.attrs["vertical_datum"] == "EGM96"
    assert dem.rio.crs.to_epsg() == 32632
    for other, message in (("EGM2008", "EGM2008"), ("ellipsoidal", "assume_ellipsoidal")):
        with pytest.raises(VerticalDatumError, match=message):
            open_dem(path, vertical=other)
    assert check_dem(open_dem(path, vertical=48.0)).attrs["undulation_m"] == 48.0
    try:
        expected = to_ellipsoidal(dem)
    except GeoidGridMissingError:
        with pytest.raises(GeoidGridMissingError, match="EGM96"):
            open_dem(path)
    else:
        np.testing.assert_array_equal(open_dem(path), expected)


@pytest.mark.parametrize(
    ("key", "value", "datum"),
    [
        ("VERTICAL_DATUM", "EGM2008", "EGM2008"),
        ("vertical_crs", "EPSG:5773", "EGM96"),
        ("VerticalDatum", "WGS84 ellipsoidal heights", "ellipsoid"),
        ("VERT_DATUM", "Earth Gravitational Model 1996 (EGM-96)", "EGM96"),
    ],
)
def test_vertical_tags(tmp_path: Path, heights: np.ndarray, key: str, value: str, datum: str):
    path = write(tmp_path / "dem.tif", heights, tags={key: value})
    assert open_dem(path, vertical="keep").attrs["vertical_datum"] == datum


def test_three_dimensional_file_is_ellipsoidal(tmp_path: Path, heights: np.ndarray):
    degrees = Affine(0.01, 0.0, 10.0, 0.0, -0.01, 47.0)
    dem = open_dem(write(tmp_path / "dem.tif", heights, degrees, "EPSG:4979"))
    assert check_dem(dem).attrs["vertical_datum"] == "ellipsoid"
    assert dem.rio.crs.to_epsg() == 4326


def test_srtm_tiles_are_egm96_by_their_format(tmp_path: Path):
    step = 1.0 / 1200.0
    heights = np.random.default_rng(0).integers(0, 3000, (1201, 1201), dtype=np.int16)
    corner = Affine(step, 0.0, 10.0 - step / 2, 0.0, -step, 47.0 + step / 2)
    tiff = write(tmp_path / "tile.tif", heights, corner, "EPSG:4326", nodata=-32768)
    rasterio.shutil.copy(tiff, tmp_path / "N46E010.hgt", driver="SRTMHGT")
    dem = open_dem(tmp_path / "N46E010.hgt", vertical="keep")
    assert dem.attrs["vertical_datum"] == "EGM96"
    assert float(dem["x"][0]) == pytest.approx(10.0, abs=1e-9)
    assert float(dem["y"][-1]) == pytest.approx(46.0, abs=1e-9)


def test_ellipsoidal_by_word(tmp_path: Path, heights: np.ndarray):
    path = write(tmp_path / "dem.tif", heights)
    by_word = open_dem(path, vertical="ellipsoidal")
    xr.testing.assert_identical(by_word, assume_ellipsoidal(open_dem(path)))
    assert check_dem(by_word).identical(by_word)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_what_is_written_is_read_back(tmp_path: Path, heights: np.ndarray):
    """Vertical datum and history survive a GeoTIFF written by rioxarray."""
    dem = open_dem(write(tmp_path / "dem.tif", heights), vertical=12.0)
    dem[1, 1] = np.nan
    dem.rio.to_raster(tmp_path / "copy.tif")
    copy = open_dem(tmp_path / "copy.tif")
    np.testing.assert_array_equal(copy, dem)
    np.testing.assert_allclose(copy["x"], dem["x"])
    assert check_dem(copy).attrs["vertical_datum"] == "ellipsoid"
    assert copy.attrs["history"].startswith(dem.attrs["history"])


def test_tiles_are_joined(tmp_path: Path, heights: np.ndarray):
    """A tile of sea may be void, but not the whole DEM."""
    east = Affine(30.0, 0.0, 5e5 + 240.0, 0.0, -30.0, 5.2e6)
    paths = [write(tmp_path / "a.tif", heights), write(tmp_path / "b.tif", heights + 1, east)]
    dem = open_dem(paths)
    np.testing.assert_array_equal(dem, np.hstack([heights, heights + 1]))
    assert dem.attrs["source"] == "; ".join(str(path) for path in paths)
    assert dem.attrs["history"].endswith("mosaic: 2 tiles")
    sea = write(paths[1], np.full_like(heights, -32768), east, nodata=-32768)
    assert int(open_dem([paths[0], sea], units="m").isnull().sum()) == 48
    with pytest.raises(DemError, match="every cell"):
        open_dem(sea)


# Bounds


@pytest.fixture
def globe(tmp_path: Path) -> Path:
    """One-degree DEM of the whole Earth whose height is 10 m per degree of longitude."""
    longitude = -179.5 + np.arange(360)
    heights = np.broadcast_to(10.0 * np.abs(longitude), (180, 360)).astype(np.float32)
    return write(
        tmp_path / "globe.tif", heights, Affine(1.0, 0.0, -180.0, 0.0, -1.0, 90.0), "EPSG:4326"
    )


@pytest.mark.parametrize(
    "bounds",
    [(178.0, 50.0, -177.0, 53.0), (178.0, 50.0, 183.0, 53.0), (-182.0, 50.0, -177.0, 53.0)],
)
def test_bounds_across_the_antimeridian(globe: Path, bounds: tuple[float, float, float, float]):
    dem = open_dem(globe, bounds=bounds)
    np.testing.assert_allclose(dem["x"], [178.5, 179.5, 180.5, 181.5, 182.5])
    np.testing.assert_allclose(dem["y"], [52.5, 51.5, 50.5])
    np.testing.assert_allclose(dem[0], [1785, 1795, 1795, 1785, 1775])


def test_bounds_take_the_cells_they_meet(globe: Path):
    """And at least two cells along each axis."""
    dem = open_dem(globe, bounds=(10.2, 45.0, 12.0, 46.9))
    np.testing.assert_allclose(dem["x"], [10.5, 11.5])
    np.testing.assert_allclose(dem["y"], [46.5, 45.5])
    for within in ((10.2, 45.1, 10.3, 45.2), (-179.9, -89.9, -179.8, -89.8)):
        assert open_dem(globe, bounds=within).shape == (2, 2)


def test_bounds_in_degrees_of_a_projected_file(tmp_path: Path):
    heights = np.random.default_rng(1).uniform(0, 900, (300, 400)).astype(np.float32)
    path = write(tmp_path / "dem.tif", heights)
    whole = open_dem(path)
    place = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    west, south = place.transform(5.03e5, 5.194e6)
    east, north = place.transform(5.06e5, 5.197e6)
    dem = open_dem(path, bounds=(west, south, east, north))
    assert dem.size < 0.2 * whole.size
    assert float(dem["x"].min()) < 5.031e5
    assert float(dem["x"].max()) > 5.059e5
    xr.testing.assert_equal(dem, whole.sel(y=dem["y"], x=dem["x"]))


# Files that are no DEM


def virtual(source: object, *, relative: int = 0, extra: str = "", band: str = "") -> str:
    """VRT of 8 x 6 cells with one source."""
    return f"""<VRTDataset rasterXSize="8" rasterYSize="6"><SRS>EPSG:32632</SRS>
<GeoTransform>5e5, 30, 0, 5.2e6, 0, -30</GeoTransform>{extra}
<VRTRasterBand dataType="Int16" band="1" {band}><SimpleSource>
<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename><SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""


def cut_short(folder: Path) -> Path:
    path = write(folder / "cut.tif", np.ones((400, 400), dtype=np.float32))
    path.write_bytes(path.read_bytes()[:3000])
    return path


def text(folder: Path, name: str = "notes.txt", content: str = "heights: high") -> Path:
    (folder / name).write_text(content)
    return folder / name


def bands(folder: Path, dtype: str = "int16", count: int = 2, **profile: Any) -> Path:  # noqa: ANN401
    return write(folder / "bands.tif", np.zeros((count, 6, 8), dtype), **profile)


def external(folder: Path) -> Path:
    """Make a NetCDF file with pixels in another file."""
    (folder / "private.txt").write_text("private text " * 9)
    with h5py.File(folder / "dem.nc", "w") as file:
        place = [(str(folder / "private.txt"), 0, 25)]
        file.create_dataset("z", shape=(5, 5), dtype="i1", external=place)
    return folder / "dem.nc"


ENTITY = '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda folder: folder / "no.tif", {}, FileNotFoundError, r"no\.tif does not exist"),
        (text, {}, DemError, r"notes\.txt is not a raster"),
        (lambda folder: text(folder, "a.vrt", "<VRTDataset"), {}, DemError, "not a VRT"),
        (lambda folder: text(folder, "a.vrt", ENTITY), {}, DemError, "not a VRT"),
        (lambda folder: text(folder, "N46E010.tif", virtual("a.tif")), {}, DemError, "suffix .vrt"),
        (lambda _: virtual("a.tif"), {}, FileNotFoundError, "does not exist"),
        (lambda _: [], {}, DemError, "no DEM file"),
        (cut_short, {}, DemError, "damaged"),
        (lambda folder: bands(folder, "uint8", 3, photometric="RGB"), {}, DemError, "colour pict"),
        (bands, {}, DemError, "band=1"),
        (bands, {"band": 3}, DemError, "bands 1 to 2"),
        (lambda folder: bands(folder, "complex64", 1), {}, DemError, "complex"),
        (external, {}, DemError, "from another file"),
        (lambda _: "/vsicurl/http://127.0.0.1:1/dem.vrt", {}, DemError, "external_sources"),
        *(
            (lambda folder: bands(folder, count=1), {"bounds": bounds}, DemError, message)
            for bounds, message in (
                ((120.0, 30.0, 121.0, 31.0), "none of the 1 DEM files meets"),
                ((10.0, 50.0, 11.0, 40.0), "west, south, east, north"),
                ((10.0, 40.0, 11.0, 95.0), "west, south, east, north"),
                ((5e5, 40.0, 5e5, 41.0), "west, south, east, north"),
            )
        ),
    ],
)
def test_files_that_are_no_dem(
    tmp_path: Path,
    make: Callable[[Path], Any],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
):
    with pytest.raises(error, match=message):
        open_dem(make(tmp_path), **options)


def test_one_of_several_bands(tmp_path: Path, heights: np.ndarray):
    stack = write(tmp_path / "stack.tif", np.stack([heights, heights + 100]))
    np.testing.assert_array_equal(open_dem(stack, band=2), heights + 100)


MOON = "+proj=longlat +R=1737400"
DEGREES = Affine(0.01, 0.0, 10.0, 0.0, -0.01, 46.0)


@pytest.mark.parametrize("bounds", [None, (8.0, 46.0, 9.5, 47.5)])
@pytest.mark.parametrize(
    ("transform", "crs", "message"),
    [
        (UTM, None, "no coordinate reference system"),
        (Affine(29.5, 5.2, 5e5, 5.2, -29.5, 5.2e6), "EPSG:32632", "rotated or sheared.*gdalwarp"),
        (Affine.identity(), "EPSG:32632", "no georeference.*gdal_translate -a_ullr"),
        (Affine.identity(), "EPSG:4326", "no georeference.*counted from 0.5"),
        (DEGREES, MOON, "a radius of 1737 km, expected one of the Earth"),
        (UTM, "+proj=stere +lat_0=46 +R=1737400", "expected one of the Earth"),
        (DEGREES, "+proj=longlat +a=3396190 +b=3376200", "a radius of 3396 km, expected"),
    ],
)
@pytest.mark.filterwarnings("ignore:The given matrix")
def test_files_without_a_place_on_earth(
    tmp_path: Path,
    heights: np.ndarray,
    transform: Affine,
    crs: str | None,
    message: str,
    bounds: tuple[float, float, float, float] | None,
):
    path = write(tmp_path / "dem.tif", heights, transform, crs)
    with pytest.raises(DemError, match=message):
        open_dem(path, bounds=bounds)
    for function in (open_map, grid_like):
        with pytest.raises(DemError, match=message):
            function(path)


def test_arrays_without_a_place_on_earth(heights: np.ndarray):
    pixels = {"y": 0.5 + np.arange(6), "x": 0.5 + np.arange(8)}
    dem = xr.DataArray(heights, pixels, ("y", "x")).rio.write_crs("EPSG:32632")
    with pytest.raises(DemError, match="no georeference"):
        check_dem(dem)
    with pytest.raises(DemError, match="expected one of the Earth"):
        check_dem(dem.assign_coords(x=pixels["x"] + 7.0).rio.write_crs(MOON))


@pytest.mark.parametrize("function", [open_dem, open_map, grid_like])
def test_a_pipe_is_refused_at_once(tmp_path: Path, function: Callable[[Path], object]):
    os.mkfifo(tmp_path / "dem.tif")
    with pytest.raises(DemError, match="is a pipe or a device"):
        function(tmp_path / "dem.tif")


# Real files


@pytest.mark.parametrize(
    ("name", "posting", "voids"),
    [
        ("srtm_garda_arco_webmerc.tif", 23.4, 0),
        ("npi20m_svalbard_longyearbyen_1995.tif", 20.0, 0),
        ("srtm1_bigtujunga_30m.tif", 30.0, 0),
        ("srtm3_bernese_alps_N46_E008.tif", 92.6, 103_743),
        ("dem1s_leh_ladakh_30m.tif", 30.8, 0),
    ],
)
def test_real_elevation(name: str, posting: float, voids: int):
    path = shared_data("dem", name)
    dem = open_dem(path)
    assert local_posting(dem)[0] == pytest.approx(posting, rel=5e-3)
    assert int(dem.isnull().sum()) == voids
    with pytest.raises(VerticalDatumError, match="EGM96"):
        check_dem(dem)
    check_dem(open_dem(path, vertical="ellipsoidal"))


# Virtual rasters


@pytest.fixture
def private(tmp_path: Path, heights: np.ndarray) -> Path:
    """File of the user outside the folder of a VRT."""
    return write(tmp_path / "private.tif", heights)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "downloaded").mkdir()
    return tmp_path / "downloaded"


@pytest.mark.parametrize(
    "source",
    [
        *("{private}", "../private.tif", "/vsicurl/http://127.0.0.1:1/a.tif", "link.tif"),
        *("http://127.0.0.1:1/a.tif", "GTIFF_DIR:1:{private}", "inner.vrt", "inner.tif", ""),
        "wms.xml",
    ],
)
def test_vrt_with_external_sources_is_refused(
    folder: Path, private: Path, heights: np.ndarray, source: str
):
    write(folder / "tile.tif", heights)
    (folder / "link.tif").symlink_to(private)
    for name in ("inner.vrt", "inner.tif"):
        (folder / name).write_text(virtual(private))
    service = '<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:1/</ServerUrl></Service>'
    (folder / "wms.xml").write_text(f"{service}</GDAL_WMS>")
    path = folder / "dem.vrt"
    for relative in (0, 1):
        path.write_text(virtual(source.format(private=private), relative=relative))
        with pytest.raises(DemError, match=r"dem\.vrt"):
            open_dem(path)


@pytest.mark.parametrize(
    "element",
    [
        '<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">{private}</MDI></Metadata>',
        '<Argument name="gain_dataset_filename_1">{private}</Argument>',
        "<RPCTransformer><demPath>{private}</demPath></RPCTransformer>",
        "<Overview><sourcefilename>{private}</sourcefilename></Overview>",
    ],
)
def test_other_elements_of_a_vrt_refer_to_no_file(
    folder: Path, private: Path, heights: np.ndarray, element: str
):
    write(folder / "tile.tif", heights)
    extra = element.format(private=private)
    path = text(folder, "dem.vrt", virtual("tile.tif", relative=1, extra=extra))
    with pytest.raises(DemError, match="external_sources"):
        open_dem(path)


def test_gdal_reads_the_sources_that_were_checked(folder: Path, private: Path, heights: np.ndarray):
    """GDAL ends the name of a source at a comment, and the parser of the check does not."""
    write(folder / "tile.tif", heights + 1)
    path = text(folder, "dem.vrt", virtual(f"{private}<!-- -->/../downloaded/tile.tif"))
    np.testing.assert_array_equal(open_dem(path), heights + 1)


def test_raw_pixels_in_the_folder_of_a_vrt(folder: Path, private: Path, heights: np.ndarray):
    (folder / "dem.raw").write_bytes(heights.tobytes())

    def raw(source: object, relative: int) -> Path:
        xml = virtual(source, relative=relative, band='subClass="VRTRawRasterBand"')
        xml = xml.replace("<SimpleSource>", "").replace("</SimpleSource>", "")
        xml = xml.replace("<SourceBand>1</SourceBand>", "<ByteOrder>LSB</ByteOrder>")
        return text(folder, "dem.vrt", xml)

    np.testing.assert_array_equal(open_dem(raw("dem.raw", 1)), heights)
    with pytest.raises(DemError, match="outside its folder"):
        open_dem(raw(private, 0))


def test_vrt_of_tiles_in_its_folder(folder: Path, heights: np.ndarray):
    (folder / "tiles").mkdir()
    tile = write(folder / "tiles/tile.tif", heights, crs="EPSG:32632+5773")
    for source, relative in (("tiles/tile.tif", 1), (tile, 0)):
        (folder / "dem.vrt").write_text(virtual(source, relative=relative))
        np.testing.assert_array_equal(open_dem(folder / "dem.vrt"), heights)
    rasterio.shutil.copy(tile, folder / "copy.vrt", driver="VRT")
    copy = open_dem(folder / "copy.vrt", vertical="keep")
    np.testing.assert_array_equal(copy, heights)
    assert copy.attrs["vertical_datum"] == "EGM96"
    assert copy.attrs["source"] == str(folder / "copy.vrt")
    with rasterio.open(tile) as source, rasterio.vrt.WarpedVRT(source, crs="EPSG:3035") as warped:
        rasterio.shutil.copy(warped, folder / "dem.vrt", driver="VRT")
        expected = warped.read(1)
    warped_dem = open_dem(folder / "dem.vrt", vertical="keep", nodata=0)
    np.testing.assert_array_equal(warped_dem.fillna(0), expected)


def test_external_sources_on_request(folder: Path, private: Path, heights: np.ndarray):
    (folder / "dem.vrt").write_text(virtual(private))
    (folder / "outer.vrt").write_text(virtual("dem.vrt", relative=1))
    for name in ("dem.vrt", "outer.vrt"):
        np.testing.assert_array_equal(open_dem(folder / name, external_sources=True), heights)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_netcdf_with_its_own_pixels(tmp_path: Path, heights: np.ndarray, kind: str):
    dem = open_dem(write(tmp_path / "dem.tif", heights), vertical=12.0)
    dem.attrs.pop("grid_mapping", None)
    dem.encoding["grid_mapping"] = "spatial_ref"
    dem.to_netcdf(tmp_path / "lost.nc", format=kind, engine="netcdf4")
    with pytest.raises(DemError, match=r"no georeference.*dem\.rio\.write_transform"):
        open_dem(tmp_path / "lost.nc")
    dem.rio.write_transform().to_netcdf(tmp_path / "dem.nc", format=kind, engine="netcdf4")
    xr.testing.assert_equal(open_dem(tmp_path / "dem.nc").sortby("y"), dem.sortby("y"))
