"""Rasters of others: opened by drivers of GDAL for files that hold their own pixels, and alone.

GDAL looks for overviews, masks and metadata beside a raster (``.ovr``, ``.msk``, ``.aux.xml``), and
opens them by any driver. One of a virtual raster then makes pixels of any file or address. So does
a virtual raster under another name. What is read here is the file itself, and the parts that its
format divides among several files.
"""

from __future__ import annotations

import os
import warnings
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4
from xml.etree.ElementTree import Element, ParseError, tostring

import defusedxml.ElementTree
import numpy as np
import rasterio
from defusedxml.common import DefusedXmlException
from rasterio.env import ensure_env_with_credentials
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile

from sarheight._files import LARGEST_RATIO, LARGEST_SMALL, reason, require_file, resolve_links
from sarheight._hdf5 import check_hdf5, refuse_other_files
from sarheight._windows import Windowed, lazy_array
from sarheight.errors import DemError, SarheightError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import xarray as xr
    from numpy.typing import NDArray
    from rasterio.windows import Window

    from sarheight._windows import Span

GEOTIFF = ("GTiff",)
ALONE = (*GEOTIFF, "JP2OpenJPEG", "NITF", "PNG")
"""Drivers that look for no file beside a raster where they are told that there is none."""
DRIVERS = (
    *("AAIGrid", "ACE2", "AIG", "BT", "DTED", "EHdr", "ENVI", "GRASSASCIIGrid", "GRIB", "GS7BG"),
    *("GSAG", "GSBG", "GTiff", "HF2", "HFA", "ISCE", "JDEM", "JP2OpenJPEG", "NITF", "PNG"),
    *("ROI_PAC", "RST", "SAGA", "SIGDEM", "SRTMHGT", "Terragen", "USGSDEM", "XYZ", "netCDF"),
)
"""GDAL drivers of raster formats that hold their own pixels.

Others, such as VRT, WMS, GTI or STACTA, read the files and addresses that a file names: a file
from elsewhere could open any file of the user, or send requests to servers of the local network.
"""
HDF5 = b"\x89HDF\r\n"
"""The first bytes of HDF5, in which netCDF 4 is written."""
VRT = b"<VRTDataset"
"""Where GDAL finds it among the first bytes of a file, it takes that for a virtual raster."""

NO_SIDECARS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # .ovr and .msk
    "GDAL_PAM_ENABLED": "NO",  # .aux.xml
}
NO_REQUESTS = {"CPL_VSIL_CURL_ALLOWED_FILENAME": "none"}
"""GDAL sends no requests to servers."""
OPTIONS = {
    "GDAL_PAM_ENABLED": "NO",
    # Read the vertical part of the reference system from GeoTIFF 1.0 too.
    "GTIFF_REPORT_COMPD_CS": True,
    # Python code in a VRT is never run; its raw sources are checked here.
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE": "ALL",
}
SIDECARS = (".ovr", ".msk", ".aux")
"""Ends of the names of files that GDAL looks for beside a raster of any format."""


class Opener(Protocol):
    """What rasterio opens a raster by that is no file: an image on a server."""

    def __call__(self, path: str, **options: Any) -> Any:  # noqa: ANN401  # of rasterio
        """Open what GDAL asks for in place of a file."""

    def open(self) -> AbstractContextManager[DatasetReader]:
        """Open the raster, until the context ends."""


def open_alone(
    path: str | os.PathLike[str],
    drivers: Sequence[str] = GEOTIFF,
    opener: Callable[..., Any] | None = None,
    **options: Any,  # noqa: ANN401  # of rasterio
) -> DatasetReader:
    """Open a raster by one of the drivers of `ALONE`, and nothing beside it.

    `opener` opens what GDAL asks for in place of files, see `rasterio.open`. RasterioError where
    the file is no such raster.
    """
    given = options if opener is None else {"opener": opener, **options}
    with rasterio.Env(**NO_SIDECARS, **NO_REQUESTS):
        if len(drivers) == 1:
            return rasterio.open(path, driver=drivers[0], **given)
        return _open_by(os.fspath(path), drivers)


@ensure_env_with_credentials  # type: ignore[untyped-decorator]
def _open_by(path: str, drivers: Sequence[str]) -> DatasetReader:
    """Open a raster by one of several drivers; `rasterio.open` takes a single one."""
    return DatasetReader(path, driver=list(drivers))


@contextmanager
def open_raster(
    path: str | os.PathLike[str],
    *,
    external: bool = False,
    error: type[SarheightError] = DemError,
) -> Iterator[DatasetReader]:
    """Open a raster that holds its own pixels, of any format of `DRIVERS`, or a VRT.

    The bands of a format that is not in `ALONE` are to be read by `read_masked` or without masks.

    Parameters
    ----------
    path : path-like
        A file; or an address or a path of GDAL, which sends requests to it then.
    external : bool
        Whether a VRT may refer to anything that GDAL opens, by default to raster files in or below
        its folder.
    error : type
        The error of what is no raster, or a damaged one.

    Yields
    ------
    DatasetReader
        The raster.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    path = os.fspath(path)
    is_vrt = path.lower().endswith(".vrt")
    local = "://" not in path and not path.startswith("/vsi")
    if local:
        require_file(path, error)
    try:
        with warnings.catch_warnings(), rasterio.Env(**OPTIONS):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            if is_vrt and not external:
                with _open_vrt(path) as source:
                    yield source
                return
            if not is_vrt and local and _first_bytes(path).startswith(HDF5):
                check_hdf5(path, "a netCDF file", error)
            quiet = NO_REQUESTS if local and not is_vrt else {}
            with rasterio.Env(**quiet), _open_any(path, with_vrt=is_vrt) as source:
                # The classic format has no references to other files.
                is_netcdf4 = source.driver == "netCDF" and _first_bytes(path)[:3] != b"CDF"
                if is_netcdf4 and not external:
                    refuse_other_files(path, "a netCDF file", error)
                yield source
    except SarheightError:
        raise
    # GDAL, PROJ and parsers raise errors of many kinds.
    except Exception as cause:
        if local and not Path(path).exists():
            msg = f"the file {path} does not exist"
            raise FileNotFoundError(msg) from cause
        is_file = local and Path(path).is_file()
        if is_file and not is_vrt and VRT in _first_bytes(path):
            msg = f"{path} is a VRT, which reads the files that it names, under another name"
            advice = "if its origin is known, give it the suffix .vrt"
            raise error(msg, advice, file_advice=advice) from cause
        msg = f"{path} is not a raster in a supported format, or it is damaged ({reason(cause)})"
        raise error(msg) from cause


def _open_any(path: str, *, with_vrt: bool = False) -> DatasetReader:
    """Open a raster by a driver of `DRIVERS`: alone where its format lies in one file."""
    try:
        with rasterio.Env(**NO_SIDECARS):
            return _open_by(path, ALONE)
    except RasterioError:
        return _open_by(path, [*DRIVERS, "VRT"] if with_vrt else DRIVERS)


def read_masked(
    source: DatasetReader, band: int, window: Window | None = None
) -> np.ma.MaskedArray[Any, Any]:
    """Read a band of a raster, with what marks no data in the raster itself."""
    if source.driver in {*ALONE, "VRT"}:
        found: np.ma.MaskedArray[Any, Any] = source.read(band, window=window, masked=True)
        return found
    # Other drivers would look for a mask beside the file.
    stored = source.read(band, window=window)
    nodata = source.nodatavals[band - 1]
    void = False if nodata is None else np.isnan(stored) if nodata != nodata else stored == nodata  # noqa: PLR0124
    return np.ma.masked_array(stored, void)


def read_bands(path: str | os.PathLike[str], error: type[SarheightError]) -> xr.DataArray:
    """Read all bands of a raster of any format; see `open_bands` and `open_raster`."""
    with open_raster(path, error=error) as source:
        return open_bands(source.name, error, source.driver, shown=os.fspath(path))


def open_bands(
    path: str,
    error: type[SarheightError],
    driver: str = GEOTIFF[0],
    *,
    opener: Opener | None = None,
    chunks: Any = None,  # noqa: ANN401  # as xarray
    shown: str = "",
) -> xr.DataArray:
    """Open all bands of a raster as rioxarray does, dims (band, y, x); in memory without chunks.

    Nothing stays open: a lazy raster is opened for each window, in the thread that reads it, since
    rasterio lets no other close what an `opener` opened. Raises `error` where there are several
    rasters, or more pixels than the file can hold.
    """
    import rioxarray
    import xarray as xr

    shown = shown or path
    given: dict[str, Any] = {} if opener is None else {"opener": opener}
    with rasterio.Env(**(NO_SIDECARS if driver in ALONE else {}), **NO_REQUESTS):
        image = rioxarray.open_rasterio(path, chunks=chunks, driver=driver, **given)
        if not isinstance(image, xr.DataArray):
            msg = f"'{shown}' holds several rasters, expected one"
            raise error(msg)
        with closing(image):
            _require_plausible(path, image, error)
            if chunks is None:
                return image.load()
            reopen = partial(open_alone, path, (driver,)) if opener is None else opener.open
            bands = Windowed(image.shape, partial(_read_bands, reopen), image.dtype)
            lazy = lazy_array(bands, image.chunks, f"raster-{uuid4()}")
    return image.copy(data=lazy)


def _read_bands(
    reopen: Callable[[], AbstractContextManager[DatasetReader]], bands: Span, *window: Span
) -> NDArray[Any]:
    """Read a window of bands of a raster, which is opened for it: whenever dask reads."""
    with reopen() as file:
        found: NDArray[Any] = file.read(list(range(bands[0] + 1, bands[1] + 1)), window=window)
    return found


def _require_plausible(path: str, image: xr.DataArray, error: type[SarheightError]) -> None:
    """Raise where a file claims far more pixels than its bytes can hold, as damaged ones may."""
    file = Path(path.removeprefix("/vsizip/{").partition("}/")[0])
    if not file.is_file():
        return
    stat = file.stat()
    # Of a sparse file, which may claim any size, what the disk holds counts.
    size = min(stat.st_size, 512 * getattr(stat, "st_blocks", stat.st_size))
    if image.nbytes > max(LARGEST_SMALL, LARGEST_RATIO * size):
        rows, columns = image.sizes["y"], image.sizes["x"]
        msg = (
            f"found {rows} x {columns} pixels claimed by '{path}', a file of {size} bytes: it is "
            "damaged; fetch it again"
        )
        raise error(msg)


def _first_bytes(path: str) -> bytes:
    """Read the first kilobyte of a file, in which GDAL looks for the name of a format."""
    with Path(path).open("rb") as file:
        return file.read(1024)


# Sources of a VRT. GDAL ignores the case of its tags, and so does this.

_SOURCE_TAGS = {"sourcefilename", "sourcedataset"}
_REFERRING = ("filename", "dataset", "path", "array")
"""Parts of the names of other elements, metadata items and arguments that refer to files."""


@contextmanager
def _open_vrt(path: str) -> Iterator[DatasetReader]:
    """Open a VRT whose sources are raster files in or below its folder."""
    text, drivers = _resolve_vrt(path)
    options = NO_SIDECARS if drivers <= set(ALONE) else {}
    with (
        rasterio.Env(**options, **NO_REQUESTS),
        MemoryFile(text, ext=".vrt") as memory,
        memory.open(driver="VRT") as source,
    ):
        yield source


def _resolve_vrt(path: str) -> tuple[bytes, set[str]]:
    """Return the XML of a VRT with absolute paths of its checked sources, and their drivers.

    GDAL opens this text in place of the file, so it reads what was checked, and nothing else.
    """
    file = Path(path)
    if "://" in path or path.startswith("/vsi"):
        raise _external_source_error(path, "is not a local file, and may refer to any other")
    try:
        root = defusedxml.ElementTree.fromstring(file.read_bytes(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        msg = f"{path} is not a VRT, or it is damaged ({error})"
        raise DemError(msg) from error
    folder = resolve_links(file).parent
    raw = {
        child
        for band in root.iter("VRTRasterBand")
        if band.get("subClass") == "VRTRawRasterBand"
        for child in band
    }
    drivers: set[str] = set()
    for element in root.iter():
        name = element.tag.lower()
        if name in _SOURCE_TAGS:
            source = _resolve_source(element, folder, path)
            if element not in raw:
                drivers.add(_driver_of(source, path))
            continue
        attributes = {key.lower(): value for key, value in element.items()}
        label = f"{name} {attributes.get('key', '')} {attributes.get('name', '')}".strip()
        if element is not root and any(part in label.lower() for part in _REFERRING):
            raise _external_source_error(path, f"may refer to other files by {label!r}")
    text: bytes = tostring(root)
    return text, drivers


def _resolve_source(element: Element, folder: Path, path: str) -> Path:
    """Replace the source that an element names by its absolute path, and return that."""
    stated = (element.text or "").strip()
    attributes = {name.lower(): value for name, value in element.items()}
    source = Path(stated) if attributes.get("relativetovrt") != "1" else folder / stated
    source = resolve_links(source)
    if not stated or len(element) or not source.is_relative_to(folder):
        raise _external_source_error(path, f"refers to {stated!r}, outside its folder")
    if not source.is_file():
        msg = f"{path} refers to {stated!r}, which is not a file in {folder}"
        raise DemError(msg)
    element.text = str(source)
    element.attrib = {"relativeToVRT": "0"}
    return source


def _driver_of(source: Path, path: str) -> str:
    """Return the driver of a source of a VRT, for which GDAL asks all drivers.

    The pixels of a raw source have no header, so its format cannot be checked.
    """
    name = str(source)
    first = _first_bytes(name)
    found = f"refers to {source.name!r}, which is a VRT or no raster in a supported format"
    if VRT in first:
        raise _external_source_error(path, found)
    try:
        with _open_any(name) as raster:
            driver = str(raster.driver)
    except RasterioError as error:
        raise _external_source_error(path, found) from error
    if first.startswith(HDF5):
        check_hdf5(name, "a netCDF file", DemError)
    beside = [f"{source.name}{end}" for end in SIDECARS if Path(f"{name}{end}").exists()]
    if driver not in ALONE and beside:
        msg = f"{path} refers to {source.name!r}, beside which lies {beside[0]!r}"
        raise DemError(msg, file_advice=f"move {beside[0]!r} elsewhere: it is not read")
    return driver


def _external_source_error(path: str, found: str) -> DemError:
    return DemError(
        f"{path} {found}; by default a VRT may refer to raster files in or below its own folder",
        "if its origin is known, pass open_dem(..., external_sources=True)",
        file_advice="if its origin is known, copy it, e.g. gdal_translate in.vrt dem.tif",
    )
