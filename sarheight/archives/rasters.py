"""Rasters of archives: found in folders and zips, opened, and converted to our units and codes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from rasterio.errors import RasterioError

from sarheight import _rasters
from sarheight.errors import ProductError
from sarheight.layover import FLAGS

if TYPE_CHECKING:
    import re

    from numpy.typing import NDArray

    from sarheight.fetch.remote import RemoteImage

Scale = Literal["power", "amplitude", "decibel"]
NO_DATA = 255
"""Code of a mask where nothing is known."""
PathLike = str | os.PathLike[str]
Source = PathLike | Sequence[PathLike]
"""A folder, a zip, a file, or several files."""


def find_files(source: Source) -> dict[str, str]:
    """Find the files of a product without unpacking any."""
    if not isinstance(source, str | os.PathLike):
        return {name: path for each in source for name, path in find_files(each).items()}
    path = Path(source)
    if not path.exists():
        msg = f"there is no '{path}'"
        raise FileNotFoundError(msg)
    if path.is_dir():
        return {file.name: str(file) for file in sorted(path.rglob("*")) if file.is_file()}
    if path.suffix.lower() != ".zip":
        return {path.name: str(path)}
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        msg = f"'{path}' is no zip, or it was cut short ({error}); fetch it again"
        raise ProductError(msg) from error
    return {
        PurePosixPath(name).name: f"/vsizip/{{{path}}}/{name}"
        for name in names
        if not name.endswith("/")
    }


def read_text(path: str) -> str:
    """Read a text file found by `find_files`."""
    if not path.startswith("/vsizip/{"):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    archive, _, name = path.removeprefix("/vsizip/{").partition("}/")
    with zipfile.ZipFile(archive) as opened:
        return opened.read(name).decode("utf-8", errors="replace")


def open_raster(source: str | RemoteImage, chunks: Any) -> xr.DataArray:  # noqa: ANN401  # as xarray
    """Open a raster of one band: a file, or an image on a server."""
    image = open_bands(source, chunks)
    if image.sizes["band"] != 1:
        msg = f"found several bands in '{source}', expected one"
        raise ProductError(msg)
    return image.isel(band=0, drop=True)


def open_bands(source: str | RemoteImage, chunks: Any = None) -> xr.DataArray:  # noqa: ANN401
    """Open all bands of a raster, dims (band, y, x): a GeoTIFF, a JPEG 2000, or one on a server."""
    path, opener = (source, None) if isinstance(source, str) else (source.name, source)
    # Other drivers, such as that of VRT, read the files and addresses that a file names.
    driver = "JP2OpenJPEG" if path.lower().endswith(".jp2") else "GTiff"
    try:
        return _rasters.open_bands(
            path, ProductError, driver, opener=opener, chunks=chunks, shown=str(source)
        )
    except (RasterioError, OSError) as error:
        if opener is not None and opener.failures:
            raise opener.failures[0] from None
        msg = f"'{source}' is no raster that GDAL can read, or it is damaged ({error})"
        raise ProductError(msg) from error


# Values of rasters.


def power(image: xr.DataArray, scale: Scale = "power") -> xr.DataArray:
    """Convert stored values to linear power."""
    nodata = image.rio.nodata
    values = image.astype(np.float32)
    known = np.isfinite(values)
    if nodata is not None and np.isfinite(nodata):
        known &= values != np.float32(nodata)
    if scale == "decibel":
        linear = np.float32(10.0) ** (values / np.float32(10.0))
    else:
        known &= values >= 0.0
        linear = values**2 if scale == "amplitude" else values
    found: xr.DataArray = linear.where(known)
    return found


def relabel(codes: xr.DataArray, table: NDArray[np.uint8]) -> xr.DataArray:
    """Translate the codes of a mask to those of `sarheight.layover.masks`.

    Shapes: `table` (256,).
    """
    found: xr.DataArray = xr.apply_ufunc(
        table.__getitem__,
        codes.fillna(NO_DATA).astype(np.uint8),
        dask="parallelized",
        output_dtypes=[np.uint8],
    )
    found.attrs = {
        "long_name": "layover and shadow",
        "flag_values": np.array(list(FLAGS.values()), dtype=np.uint8),
        "flag_meanings": " ".join(FLAGS),
        "_FillValue": np.uint8(NO_DATA),
    }
    return found


# What archives write: layers, and what their files are called.


@dataclass(frozen=True)
class Layer:
    """A layer beside the images of a product."""

    name: str
    long_name: str = ""
    units: str = ""
    factor: float = 1.0  # to these units
    flags: NDArray[np.uint8] | None = None  # of a mask: our flag for each code, (256,)
    signed: bool = False

    def converted(self, stored: xr.DataArray) -> xr.DataArray:
        """Return the layer in its units, NaN where it is not known; a mask in our codes."""
        if self.flags is not None:
            return relabel(stored, self.flags)
        values = stored if self.signed else power(stored)
        if self.factor != 1.0:
            values = values * np.float32(self.factor)
        return values.assign_attrs(long_name=self.long_name, units=self.units)


@dataclass(frozen=True)
class Archive:
    """What an archive calls its products and their layers."""

    title: str
    pattern: re.Pattern[str]  # of a product's name
    layers: Mapping[str, Layer]  # by the ending of a file's name; longer endings first

    def open_layers(self, files: Mapping[str, str], chunks: Any) -> dict[str, xr.DataArray]:  # noqa: ANN401
        """Open the layers among GeoTIFFs."""
        layers: dict[str, xr.DataArray] = {}
        for name, path in files.items():
            stem, _, suffix = name.rpartition(".")
            row = next((row for end, row in self.layers.items() if stem.endswith(end)), None)
            if row is not None and suffix.lower() in {"tif", "tiff"} and row.name not in layers:
                layers[row.name] = row.converted(open_raster(path, chunks))
        return layers


def mask_flags(meanings: Mapping[int, str]) -> NDArray[np.uint8]:
    """Return our flag for each code of a mask, shape (256,)."""
    table = np.full(256, NO_DATA, dtype=np.uint8)
    for code, meaning in meanings.items():
        table[code] = FLAGS[meaning]
    return table
