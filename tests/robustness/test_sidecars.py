"""Files that GDAL looks for beside a raster: they change nothing, and no request goes out."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

import sarheight
from sarheight import output
from sarheight._rasters import ALONE, DRIVERS, open_alone, open_raster, read_masked
from sarheight.archives import open_rtc
from sarheight.buildings import stack_from_folder
from sarheight.buildings.items import read_window
from sarheight.dem import grid_like, open_dem, open_map
from sarheight.dem.tiles import open_tile
from sarheight.errors import DemError
from sarheight.output import open_result
from sarheight.output.radar_images import read_scene, write_scene
from sarheight.scene import Scene
from sarheight.view._layers import ResultView
from sarheight.workflow.images import is_map
from sarheight.zones.sources import read_stack
from tests.cities import grid_of
from tests.cli.commands import run
from tests.flattened_products import HYP3
from tests.results import result_of
from tests.servers import Site, running
from tests.synthetic import synthetic_grid

CODE = Path(sarheight.__file__).parent
SIZE = 64
TRANSFORM = Affine(10.0, 0.0, 628_000.0, 0.0, -10.0, 5_804_000.0)
HEIGHTS = np.arange(SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE) / 10.0
SECRET = 777.0


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as server:
        yield server


def raster(path: Path, values: NDArray[Any], **options: Any) -> Path:  # noqa: ANN401
    """Write a GeoTIFF of 640 m, or another format from it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile: dict[str, Any] = {"driver": "GTiff", "count": 1, "crs": "EPSG:32631"}
    rows, columns = values.shape
    placed = TRANSFORM @ Affine.scale(SIZE / columns, SIZE / rows)
    profile |= {"height": rows, "width": columns, "dtype": values.dtype, "transform": placed}
    with rasterio.open(path, "w", **profile | options) as file:
        file.write(values, 1)
    return path


def virtual(source: str, size: int, kind: str, metadata: str = "") -> str:
    """Describe a virtual raster with one band of another file or address."""
    return (
        f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}">{metadata}'
        f'<VRTRasterBand dataType="{kind}" band="1"><SimpleSource><SourceFilename '
        f'relativeToVRT="0">{escape(source)}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )


def surround(path: Path, address: str | None = None) -> None:
    """Put overviews, a mask and metadata beside a raster: of secret files, or of an address."""
    with rasterio.open(path) as file:
        size = file.width
    secret = path.parent / "secret"
    small = raster(secret / "small.tif", np.full((size // 2,) * 2, SECRET, np.float32))
    nothing = raster(secret / "nothing.tif", np.zeros((size, size), np.uint8))
    mask = "<Metadata><MDI key='INTERNAL_MASK_FLAGS_1'>2</MDI></Metadata>"
    beside = {
        ".ovr": virtual(address or str(small), size // 2, "Float32"),
        ".msk": virtual(address or str(nothing), size, "Byte", mask),
        ".aux.xml": "<PAMDataset><Metadata><MDI key='secret'>1</MDI></Metadata>"
        f"<Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>{address or small}</MDI>"
        "</Metadata><PAMRasterBand band='1'><NoDataValue>5</NoDataValue><Offset>100</Offset>"
        "<Scale>3</Scale><UnitType>ft</UnitType></PAMRasterBand></PAMDataset>",
    }
    for end, text in beside.items():
        path.with_name(path.name + end).write_text(text)


def numbers(found: xr.DataArray | xr.Dataset) -> Any:  # noqa: ANN401
    """Return all numbers and attributes of what was read."""
    dataset = found if isinstance(found, xr.Dataset) else found.to_dataset(name="values")
    marks = ("units", "_FillValue")
    return {
        name: (item.values.tobytes(), *(str(item.attrs.get(mark)) for mark in marks))
        for name, item in dataset.variables.items()
    }


# --- every way to read a raster ----------------------------------------------------------------


OPERA = "OPERA_L2_RTC-S1_T047-100908-IW3_20200702T000000Z_20230101T100506Z_S1B_30_v1.0_VV"


def named(name: str) -> Callable[[Path], Path]:
    """Return a function that writes the heights as a GeoTIFF of this name."""
    return lambda folder: raster(folder / "of one" / f"{name}.tif", HEIGHTS)


dem_file = named("dem")


def vrt_file(folder: Path) -> Path:
    path = dem_file(folder)
    path.with_suffix(".vrt").write_text(
        f'<VRTDataset rasterXSize="{SIZE // 2}" rasterYSize="{SIZE // 2}"><SRS>EPSG:32631</SRS>'
        "<GeoTransform>628000, 20, 0, 5804000, 0, -20</GeoTransform>"
        '<VRTRasterBand dataType="Float32" band="1"><ComplexSource><SourceFilename '
        'relativeToVRT="1">dem.tif</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="{SIZE}" ySize="{SIZE}"/>'
        f'<DstRect xOff="0" yOff="0" xSize="{SIZE // 2}" ySize="{SIZE // 2}"/>'
        "<UseMaskBand>true</UseMaskBand></ComplexSource></VRTRasterBand></VRTDataset>"
    )
    return path


def result_file(folder: Path) -> Path:
    return output.write(result_of(polarisations=1), folder / "result.tif")


def layers(folder: Path) -> Path:
    made = output.write(result_of(polarisations=1), folder / "layers")
    return next(made.glob("*gamma0_vv.tif"))


def image_file(folder: Path) -> Path:
    grid, orbit = synthetic_grid(lines=SIZE, samples=SIZE)
    image = xr.DataArray(1.0 + HEIGHTS, dims=("line", "sample"))
    return write_scene(Scene(image, grid, orbit, "sigma0"), folder / "image.tif")


def read_cells(path: Path) -> xr.DataArray:
    """Read an image at cells of 20 m, for which GDAL prefers overviews."""
    return read_window(path, grid_of(32, 32, posting=20.0), "average")


def read_page(path: Path) -> xr.DataArray:
    """Read a tile of the page as the browser shows it from afar."""
    view = ResultView.open(path)
    rows, columns = (slice(0, size) for size in view.shape)
    return xr.DataArray(view.reader.read("gamma0", {}, rows, columns, 2))


def read_half(opened: Any) -> xr.DataArray:  # noqa: ANN401  # of rasterio
    """Read a raster after it was opened, reduced and masked."""
    with opened as file:
        half = file.read(1, out_shape=(file.height // 2, file.width // 2), masked=True)
        return xr.DataArray(half.filled(-1.0), attrs={"units": file.units[0]})


WAYS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "open_dem": (dem_file, lambda path: open_dem(path, vertical="ellipsoidal")),
    "open_dem of a VRT": (vrt_file, lambda path: open_dem(path.with_suffix(".vrt"))),
    "open_map": (dem_file, open_map),
    "grid_like": (dem_file, lambda path: xr.DataArray(str(grid_like(path)))),
    "is_map": (dem_file, lambda path: xr.DataArray(is_map(path))),
    "info": (dem_file, lambda path: xr.DataArray(run("info", str(path)).output)),
    "open_tile": (dem_file, lambda path: read_half(open_tile(path))),
    "open_alone": (dem_file, lambda path: read_half(open_alone(path))),
    "open_rtc": (named(OPERA), lambda path: open_rtc(path.parent)),
    "open_rtc, lazily": (
        named(f"{HYP3.format('gp')}_VV"),
        lambda path: open_rtc(path.parent, chunks={"x": 16}),
    ),
    "city": (named("S1_20210104_VV_asc"), lambda path: stack_from_folder(path.parent)),
    "item": (dem_file, read_cells),
    "result": (result_file, open_result),
    "layers": (layers, lambda path: open_result(path.parent)),
    "view": (result_file, read_page),
    "view of layers": (layers, lambda path: read_page(path.parent)),
    "image": (image_file, lambda path: read_scene(path).image),
    "zones": (dem_file, read_stack),
}


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("way", WAYS)
def test_files_beside_a_raster_change_nothing(tmp_path: Path, site: Site, way: str) -> None:
    make, read = WAYS[way]
    (tmp_path / "whole").mkdir()
    made = make(tmp_path / "whole").relative_to(tmp_path / "whole")
    for name in ("alone", "file", "address"):
        shutil.copytree(tmp_path / "whole", tmp_path / name)
    expected = numbers(read(tmp_path / "alone" / made))
    for name, address in (("file", None), ("address", f"/vsicurl/{site.url}/secret.tif")):
        path = tmp_path / name / made
        surround(path, address)
        found = numbers(read(path))
        if "info" in way:
            assert len(found) == len(expected)
        else:
            assert found == expected
    assert site.requests == []


def test_gdal_would_read_them(tmp_path: Path, site: Site) -> None:
    """The tests above can fail: GDAL by itself reads each of these files, and asks the address."""
    path = dem_file(tmp_path)
    surround(path)
    with rasterio.open(path) as file:
        assert (file.read(1, out_shape=(SIZE // 2, SIZE // 2)) == SECRET).all()
        assert file.read(1, masked=True).mask.all()
        assert (file.nodata, file.offsets[0], file.tags()["secret"]) == (5.0, 100.0, "1")
    surround(path, f"/vsicurl/{site.url}/secret.tif")
    with rasterio.open(path) as file, pytest.raises(rasterio.errors.RasterioError):
        file.read(1, out_shape=(SIZE // 2, SIZE // 2))
    assert site.requests != []


# --- every format of an elevation model --------------------------------------------------------

FORMATS = {
    "GTiff": "tif", "JP2OpenJPEG": "jp2", "NITF": "ntf", "PNG": "png", "ENVI": "img", "EHdr": "bil",
    "AAIGrid": "asc", "netCDF": "nc", "HFA": "img", "SAGA": "sdat", "RST": "rst", "ISCE": "dem",
    "XYZ": "xyz", "GS7BG": "grd", "GSAG": "grd", "BT": "bt", "HF2": "hf2", "SIGDEM": "sigdem",
}  # fmt: skip
"""Formats of `DRIVERS` that GDAL writes, of rasters of this size."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("driver", FORMATS)
def test_no_format_takes_values_from_files_beside_it(
    tmp_path: Path, site: Site, driver: str
) -> None:
    whole = driver in {"PNG", "JP2OpenJPEG"}
    source = raster(tmp_path / "source.tif", HEIGHTS.astype(np.uint16) if whole else HEIGHTS)
    path = tmp_path / driver / f"dem.{FORMATS[driver]}"
    path.parent.mkdir()
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
    rasterio.shutil.copy(str(source), str(path), driver=driver, **lossless)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)

    def read() -> Any:  # noqa: ANN401
        with open_raster(path) as file:
            assert file.driver == driver
            values = read_masked(file, 1).filled(-1.0)
            return values.tobytes(), file.tags(), file.units, file.nodata, file.scales, file.offsets

    expected = read()
    for address in (None, f"/vsicurl/{site.url}/secret.tif"):
        surround(path, address)
        assert read() == expected
    assert site.requests == []
    assert set(FORMATS) <= set(DRIVERS)
    assert set(ALONE) <= set(FORMATS)


def test_a_vrt_of_a_format_that_reads_what_lies_beside_it_is_refused(tmp_path: Path) -> None:
    """Its sources are opened by GDAL, which cannot be told to leave these files alone."""
    source = raster(tmp_path / "source.tif", HEIGHTS)
    rasterio.shutil.copy(str(source), str(tmp_path / "dem.img"), driver="HFA")
    (tmp_path / "dem.vrt").write_text(virtual(str(tmp_path / "dem.img"), SIZE, "Float32"))
    (tmp_path / "dem.img.aux.xml").unlink(missing_ok=True)
    with open_raster(tmp_path / "dem.vrt") as file:
        np.testing.assert_array_equal(file.read(1), HEIGHTS)
    surround(tmp_path / "dem.img")
    with pytest.raises(DemError, match=r"beside which lies 'dem\.img\.ovr'"):
        open_raster(tmp_path / "dem.vrt").__enter__()


def test_a_source_of_a_vrt_that_gdal_takes_for_a_vrt_is_refused(tmp_path: Path) -> None:
    """GDAL finds the name of a virtual raster anywhere in the first kilobyte of a file."""
    polyglot = tmp_path / "both.asc"
    polyglot.write_text(
        "ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\n<VRTDataset/>\n1 2\n3 4\n"
    )
    (tmp_path / "dem.vrt").write_text(virtual(str(polyglot), 2, "Float32"))
    with pytest.raises(DemError, match="which is a VRT or no raster"):
        open_dem(tmp_path / "dem.vrt")


# --- no other way ------------------------------------------------------------------------------

OPENERS = {"rasterio.open", "rioxarray.open_rasterio", "rasterio.io.DatasetReader"}
WRITING = {"w", "r+", "w+"}


def openings(path: Path) -> Iterator[tuple[int, str]]:
    """Find calls that open rasters, HDF5 or NetCDF for reading, and unnamed engines of xarray."""
    tree = ast.parse(path.read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    own = {
        name.name for node in imports if "rasterio" in str(node.module) for name in node.names
    } & {"DatasetReader", "open"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        modes = {each.value for each in node.args[1:2] if isinstance(each, ast.Constant)}
        if (called in OPENERS | own or called.endswith("open_rasterio")) and not modes & WRITING:
            yield node.lineno, "raster"
        if called in {"h5py.File", "netCDF4.Dataset"} and not modes & WRITING:
            yield node.lineno, "HDF5"
        if called.split(".")[-1] in {"open_dataset", "open_dataarray", "open_mfdataset"}:
            engines = [ast.unparse(each.value) for each in node.keywords if each.arg == "engine"]
            yield (
                node.lineno,
                "HDF5" if engines in (["'netcdf4'"], ["'h5netcdf'"]) else str(engines),
            )


@cache
def kinds_of_openings() -> dict[Path, set[str]]:
    return {path: {kind for _, kind in openings(path)} for path in CODE.rglob("*.py")}


def test_rasters_are_opened_by_one_module() -> None:
    opening = {path for path, kinds in kinds_of_openings().items() if "raster" in kinds}
    assert opening == {CODE / "_rasters.py"}


def test_hdf5_is_opened_where_references_to_other_files_are_refused() -> None:
    for path, kinds in kinds_of_openings().items():
        assert kinds <= {"raster", "HDF5", "[\"'zarr'\"]"}, path
        if "HDF5" in kinds:
            text = path.read_text("utf-8")
            checks = "check_hdf5(", "refuse_other_files(", "check_product("
            assert any(check in text for check in checks), path


def test_the_search_finds_an_opening(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text(
        "rasterio.open(path)\nrasterio.open(path, 'w')\nrioxarray.open_rasterio(path)\n"
        "h5py.File(path)\nxr.open_dataset(path)\n"
    )
    assert list(openings(code)) == [(1, "raster"), (3, "raster"), (4, "HDF5"), (5, "[]")]
