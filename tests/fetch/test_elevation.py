"""DEM tiles: which, over land and sea, across changes of their spacing, and geoid grids."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.io import MemoryFile

from sarheight.dem import open_dem, to_ellipsoidal
from sarheight.dem.tiles import columns_of_tile
from sarheight.errors import (
    ChecksumError,
    DamagedFileError,
    FetchError,
    GeoidGridMissingError,
    NotThereError,
)
from sarheight.fetch import Limits, Settings, dem, geoid
from sarheight.fetch.elevation import Tile
from sarheight.fetch.settings import DemSource, GeoidSource
from tests.dems import geoid_bytes
from tests.servers import Site, Trouble, alone, zip_of

ROWS = 60
TEMPLATE = "/dem/DSM_{ns}{lat:02d}_00_{ew}{lon:03d}_00_DEM.tif"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, site: Site) -> Settings:
    """A model with tiles of 60 rows."""
    sources = {
        "glo30": DemSource(
            url=site.url + TEMPLATE,
            list=f"{site.url}/dem/tileList.txt",
            vertical="EGM2008",
            rows=ROWS,
            land="glo90",
        ),
        "glo90": DemSource(
            url=f"{site.url}/dem90/D90_{{ns}}{{lat:02d}}_{{ew}}{{lon:03d}}.tif",
            list=f"{site.url}/dem90/tileList.txt",
            vertical="EGM2008",
            rows=20,
        ),
        "srtm": DemSource(
            url=f"{site.url}/srtm/{{ns}}{{lat:02d}}{{ew}}{{lon:03d}}.SRTMGL1.hgt.zip",
            vertical="EGM96",
            south=-56,
            north=60,
        ),
    }
    return alone(monkeypatch, tmp_path, tries=3, dem=sources)


def slope(
    longitude: npt.NDArray[np.float64], latitude: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Heights that linear interpolation gives back exactly, the same at both ends of the world."""
    return 1000.0 + 10.0 * latitude + 7.0 * ((longitude + 360.0) % 360.0)


def tile_bytes(tile: Tile) -> bytes:
    """Write a tile as the Copernicus DEM has it: cell centres on the degree lines."""
    columns = columns_of_tile(tile.latitude, ROWS)
    dy, dx = 1.0 / ROWS, 1.0 / columns
    longitude = tile.longitude + dx * np.arange(columns)
    latitude = tile.latitude + 1 - dy * np.arange(ROWS)
    heights = slope(*np.meshgrid(longitude, latitude)).astype(np.float32)
    transform = Affine(dx, 0.0, tile.longitude - dx / 2, 0.0, -dy, tile.latitude + 1 + dy / 2)
    profile = {"driver": "GTiff", "height": ROWS, "width": columns, "count": 1}
    profile |= {"dtype": "float32", "crs": "EPSG:4326", "transform": transform}
    with MemoryFile() as memory:
        with memory.open(**profile, tiled=True, blockxsize=16, blockysize=16) as sink:
            sink.write(heights, 1)
        return bytes(memory.read())


def offer(site: Site, *tiles: tuple[int, int], land: tuple[tuple[int, int], ...] = ()) -> None:
    """Put tiles on the server, and the lists of them."""
    names = []
    for corner in tiles:
        tile = Tile(*corner)
        site.add(tile.address(TEMPLATE), tile_bytes(tile), etag='"1"')
        names.append(tile.address(TEMPLATE).rpartition("/")[2].removesuffix(".tif"))
    site.add("/dem/tileList.txt", "\r\n".join(names).encode() + b"\n")
    coarse = [
        Tile(*corner).address("D90_{ns}{lat:02d}_{ew}{lon:03d}") for corner in (*tiles, *land)
    ]
    site.add("/dem90/tileList.txt", "\n".join(coarse).encode())


def opened(
    settings: Settings, bounds: tuple[float, float, float, float], **options: bool
) -> xr.DataArray:
    found = dem(bounds, settings=settings, **options)
    assert found.vertical == "EGM2008"
    return open_dem(found.paths, vertical="keep", bounds=bounds)


def require_slope(heights: xr.DataArray, tolerance: float = 1e-3) -> None:
    expected = slope(*np.meshgrid(heights["x"], heights["y"]))
    # A turn of the globe is a turn of the slope.
    np.testing.assert_allclose(heights, expected, atol=tolerance)


# --- tiles -----------------------------------------------------------------------------


def test_tiles_are_downloaded_and_fit_together(site: Site, quick: Settings) -> None:
    offer(site, (45, 7), (45, 8), (46, 7), (46, 8))
    site.document("/dem/DSM_N45_00_E007_00_DEM.tif").troubles = [Trouble(drop_after=2000)]
    bounds = (7.6, 45.7, 8.3, 46.4)
    require_slope(opened(quick, bounds))
    assert dem(bounds, settings=quick).sea == ()
    count = len(site.requests)
    dem(bounds, settings=replace(quick, offline=True))
    assert len(site.requests) == count


@pytest.mark.parametrize(("south", "fewer"), [(50, 40), (60, 30), (70, 20), (80, 12), (85, 6)])
def test_tiles_with_fewer_columns_are_interpolated_to_fit(
    site: Site, quick: Settings, south: int, fewer: int
) -> None:
    offer(site, (south - 1, 8), (south, 8), (south - 1, 9), (south, 9))
    found = dem((8.2, south - 0.5, 9.8, south + 0.5), settings=quick)
    heights = open_dem(found.paths, vertical="keep")
    assert not heights.isnull().any()
    error = np.abs(heights - slope(*np.meshgrid(heights["x"], heights["y"])))
    # Beyond the last cell of the last tile its value goes on, up to the edge of that tile.
    assert float(error.where(heights["x"] <= 10.0 - 1.0 / fewer + 1e-9).max()) < 2e-3
    assert float(error.max()) <= 7.0 / fewer


def test_the_sea_is_level_and_said_so(site: Site, quick: Settings) -> None:
    offer(site, (45, 7))
    found = dem((7.5, 45.2, 8.5, 45.8), settings=quick)
    assert found.sea == ("N45E008",)
    heights = open_dem(found.paths, vertical="keep", bounds=(7.5, 45.2, 8.5, 45.8))
    assert not heights.isnull().any()
    assert float(np.abs(heights.where(heights["x"] > 8.0)).max()) == 0.0
    require_slope(heights.sel(x=slice(7.5, 7.99)))
    open_sea = dem((-30.5, 30.5, -30.4, 30.6), settings=quick)
    assert open_sea.sea == ("N30W031",)
    assert float(open_dem(open_sea.paths, vertical="keep").max()) == 0.0


def test_land_that_is_withheld_is_not_taken_for_sea(site: Site, quick: Settings) -> None:
    offer(site, (40, 44), land=((40, 45),))
    with pytest.raises(NotThereError, match=r"withholds N40E045.*use glo90"):
        dem((44.5, 40.2, 45.5, 40.8), settings=quick)


@pytest.mark.parametrize("windows", [False, True])
def test_a_tile_that_is_listed_and_not_there_is_said_so(
    site: Site, quick: Settings, *, windows: bool
) -> None:
    offer(site, (45, 7), (45, 8))
    del site.pages["/dem/DSM_N45_00_E008_00_DEM.tif"]
    found = dem((7.5, 45.2, 8.5, 45.8), windows=windows, settings=quick)
    assert found.missing == ("N45E008",)
    assert len(found.paths) == 1


def test_a_list_that_is_empty_is_not_kept(site: Site, quick: Settings, tmp_path: Path) -> None:
    site.add("/dem/tileList.txt", b"")
    with pytest.raises(FetchError, match="lists no tiles"):
        dem((7.5, 45.2, 7.6, 45.3), settings=quick)
    assert not list((tmp_path / "cache" / "dem").glob("*-tiles.txt"))


VRT = """<VRTDataset rasterXSize="60" rasterYSize="60"><SRS>EPSG:4326</SRS>
<GeoTransform>7, 0.01666667, 0, 46, 0, -0.01666667</GeoTransform>
<VRTRasterBand dataType="Float32" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">{path}</SourceFilename><SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("windows", [False, True])
def test_a_tile_that_is_really_a_vrt_reads_no_local_file(
    site: Site, quick: Settings, tmp_path: Path, *, windows: bool
) -> None:
    offer(site, (45, 7))
    (tmp_path / "private.tif").write_bytes(tile_bytes(Tile(45, 7)))
    body = VRT.format(path=tmp_path / "private.tif").encode()
    site.add("/dem/DSM_N45_00_E007_00_DEM.tif", body)
    message = "could not be read in part" if windows else "is not a GeoTIFF"
    with pytest.raises(FetchError, match=message):
        dem((7.5, 45.2, 7.6, 45.3), windows=windows, settings=quick)
    assert not list((tmp_path / "cache" / "dem" / "glo30").glob("*.tif"))
    # Nor one that an earlier version left in the cache.
    path = tmp_path / "cache" / "dem" / "glo30" / "DSM_N45_00_E007_00_DEM.tif"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(body)
    with pytest.raises(DamagedFileError, match="is not a GeoTIFF: remove it"):
        dem((7.5, 45.2, 7.6, 45.3), settings=quick)


def test_srtm_of_another_size_or_too_large_is_refused(site: Site, quick: Settings) -> None:
    body = zip_of({"N45E007.hgt": bytes(1_000_000)}, zipfile.ZIP_DEFLATED)
    site.add("/srtm/N45E007.SRTMGL1.hgt.zip", body)
    place = (7.5, 45.2, 7.6, 45.3)
    with pytest.raises(ChecksumError, match="no heights of SRTM, by its size"):
        dem(place, model="srtm", settings=quick)
    small = replace(quick, limits=Limits(unpacked_bytes=1000))
    with pytest.raises(FetchError, match="exceeds unpacked_bytes = 1000"):
        dem(place, model="srtm", settings=small)


# --- parts of tiles ----------------------------------------------------------------------------


def test_windows_download_only_what_is_needed(site: Site, quick: Settings, tmp_path: Path) -> None:
    offer(site, (45, 7), (45, 8))
    bounds = (7.9, 45.4, 8.1, 45.5)
    require_slope(opened(quick, bounds, windows=True))
    for path in (tmp_path / "cache" / "dem" / "glo30").glob("*.tif"):
        with rasterio.open(path) as part:
            assert part.width < 12
            assert part.height < 12
    asked = [request for request in site.requests if request.path.endswith("E007_00_DEM.tif")]
    assert all("Range" in request.headers for request in asked if request.method == "GET")
    count = len(site.requests)
    opened(quick, bounds, windows=True)
    assert len(site.requests) == count


def test_across_the_antimeridian(site: Site, quick: Settings) -> None:
    offer(site, (10, 179), (10, -180))
    require_slope(opened(quick, (179.9, 10.4, -179.9, 10.5), windows=True))
    heights = opened(quick, (179.5, 10.2, -179.5, 10.8))
    assert float(heights["x"][0]) < 179.6
    assert float(heights["x"][-1]) > 180.4
    require_slope(heights)


# --- other models ------------------------------------------------------------------------------


def test_srtm_is_unpacked_and_missing_tiles_are_listed(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    heights = np.full((3601, 3601), 250, dtype=">i2").tobytes()
    body = zip_of({"N45E007.hgt": heights}, zipfile.ZIP_DEFLATED)
    site.add("/srtm/N45E007.SRTMGL1.hgt.zip", body)
    found = dem((7.5, 45.2, 8.5, 45.3), model="srtm", settings=quick)
    assert found.vertical == "EGM96"
    assert found.missing == ("N45E008",)
    assert found.paths == (tmp_path / "cache" / "dem" / "srtm" / "N45E007.hgt",)
    opened_dem = open_dem(found.paths, vertical="keep", bounds=(7.5, 45.2, 7.6, 45.3))
    assert float(opened_dem.max()) == 250.0
    with pytest.raises(ValueError, match="use glo30"):
        dem((7.5, 61.0, 7.6, 61.1), model="srtm", settings=quick)
    with pytest.raises(NotThereError, match="has no tile there"):
        dem((100.0, 45.0, 100.1, 45.1), model="srtm", settings=quick)


def test_an_address_of_the_users_own(site: Site, quick: Settings, tmp_path: Path) -> None:
    site.add("/own/N45/E007/dem.tif", tile_bytes(Tile(45, 7)))
    site.add("/own/N45/E008/dem.tif", tile_bytes(Tile(45, 8)))
    own = f"{site.url}/own/{{ns}}{{lat:02d}}/{{ew}}{{lon:03d}}/dem.tif"
    bounds = (7.5, 45.2, 8.5, 45.8)
    found = dem(bounds, tmp_path / "here", model=own, settings=quick)
    assert [path.name for path in found.paths] == ["N45E007_dem.tif", "N45E008_dem.tif"]
    assert found.vertical is None
    require_slope(open_dem(found.paths, vertical="keep", bounds=bounds))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"model": "alos"}, "no DEM named 'alos'"),
        ({"model": "https://example.org/{lat.__class__}.tif"}, "holds the fields"),
        ({"model": "https://example.org/{x}{y}.tif"}, "holds the fields"),
        ({"bounds": (0.0, 0.0, 60.0, 60.0)}, "3600 tiles"),
        ({"bounds": (0.0, 10.0, 1.0, 5.0)}, "south before north"),
    ],
)
def test_a_request_without_sense_is_refused(
    quick: Settings, site: Site, choice: dict[str, str], message: str
) -> None:
    question = {"bounds": (7.5, 45.2, 7.6, 45.3)} | choice
    with pytest.raises(ValueError, match=message):
        dem(**question, settings=quick)
    assert site.requests == []


# --- geoids ------------------------------------------------------------------------------------


def offer_geoid(site: Site, quick: Settings, body: bytes, announced: bytes) -> Settings:
    entry = {"name": "us_nga_egm96_15.tif", "file_size": len(announced)}
    entry["sha256sum"] = hashlib.sha256(announced).hexdigest()
    listing = {"features": [{"properties": {"name": "other.tif"}}, {"properties": entry}]}
    site.add("/proj/files.geojson", json.dumps(listing).encode())
    site.add("/proj/us_nga_egm96_15.tif", body)
    source = GeoidSource(url=f"{site.url}/proj", list=f"{site.url}/proj/files.geojson")
    return replace(quick, geoid={"proj": source})


def test_a_downloaded_geoid_is_found_by_its_name(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    offer(site, (45, 7))
    heights = open_dem(dem((7.5, 45.2, 7.6, 45.3), settings=quick).paths, vertical="keep")
    try:
        to_ellipsoidal(heights, "EGM96")
    except GeoidGridMissingError as error:
        assert "sarheight fetch geoid" in str(error)  # noqa: PT017
    else:
        pytest.skip("this user has installed geoid grids")
    body = geoid_bytes(42.0)
    path = geoid("EGM96", settings=offer_geoid(site, quick, body, body))
    assert path == tmp_path / "cache" / "geoid" / "us_nga_egm96_15.tif"
    for name in ("EGM96", "EPSG:5773"):
        lifted = to_ellipsoidal(heights, name)
        np.testing.assert_allclose(lifted - heights, 42.0, atol=1e-3)
    count = len(site.requests)
    assert geoid("egm96", settings=replace(quick, geoid={"proj": GeoidSource("", "")})) == path
    assert len(site.requests) == count


@pytest.mark.parametrize(
    ("body", "announced", "message"),
    [
        (geoid_bytes(42.0), geoid_bytes(41.0), "sha256"),
        (VRT.encode(), VRT.encode(), "is not a GeoTIFF"),
    ],
    ids=["another grid than is listed", "really a VRT"],
)
def test_a_file_that_is_no_geoid_is_not_kept(
    site: Site, quick: Settings, tmp_path: Path, body: bytes, announced: bytes, message: str
) -> None:
    with pytest.raises(ChecksumError, match=message):
        geoid("EGM96", settings=offer_geoid(site, quick, body, announced))
    assert not list((tmp_path / "cache" / "geoid").glob("*.tif"))


def test_a_geoid_that_nobody_offers_is_refused(site: Site, quick: Settings) -> None:
    known = offer_geoid(site, quick, b"", b"")
    with pytest.raises(ValueError, match=r"there is no grid 'moon\.tif'"):
        geoid("moon.tif", settings=known)
    site.add("/proj/files.geojson", b"[]")
    with pytest.raises(FetchError, match="not a list of grids"):
        geoid("EGM96", settings=known)
