"""Files in radar geometry: lines and samples, no map grid."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from sarheight.output import open_result, save_png
from sarheight.output._atomic import staged
from sarheight.output._bands import (
    bands_of,
    decode_attributes,
    encode_attributes,
    variables_of,
)
from sarheight.output._store import write_netcdf, write_zarr

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from rasterio import DatasetReader

__all__ = ["STORES", "SUFFIXES", "holds_variables", "quiet", "read_radar", "write_radar"]

RASTERS, STORES = (".tif", ".tiff"), (".nc", ".zarr")
SUFFIXES = (*RASTERS, *STORES)
RADAR_DIMS = {"line": "y", "sample": "x"}
CREATION = {"driver": "COG", "compress": "deflate", "level": 1, "predictor": "yes"}
WHOLE_PRODUCT = (
    "is a whole product, not an image file: open it by `sarheight.product.open_product`, whose "
    "`scene()` is its calibrated image"
)


def write_radar(
    dataset: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write variables in radar geometry; the name chooses the format.

    Parameters
    ----------
    dataset : xarray.Dataset
        Variables of dims (line, sample), or (polarisation, line, sample).
    path : path-like
        ``.tif`` or ``.tiff``, ``.nc``, ``.zarr``, or ``.png`` for a picture of the first variable.
    overwrite : bool
        Whether a file that is already there may be replaced.

    Returns
    -------
    pathlib.Path
        What was written.

    Raises
    ------
    OutputError
        When the place is not fit for it or writing failed; nothing is left half-written.
    ValueError
        When a GeoTIFF cannot hold the variables side by side.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".png":
        return save_png(_picture(dataset), path, overwrite=overwrite)
    with staged(path, overwrite=overwrite) as work:
        if suffix in RASTERS:
            _write_raster(dataset, work)
        else:
            {".nc": write_netcdf, ".zarr": write_zarr}[suffix](_storable(dataset), work)
    return path


def _picture(dataset: xr.Dataset) -> Any:  # noqa: ANN401  # a figure of matplotlib
    from sarheight import plot

    first = next(iter(dataset.data_vars.values()))
    if first.dtype.kind == "f":
        return plot.backscatter(first)
    return plot.mask(first.rename(RADAR_DIMS))


def _storable(dataset: xr.Dataset) -> xr.Dataset:
    """Move nodata values from the attributes to the encoding, where xarray wants them."""
    dataset = dataset.copy()
    for variable in dataset.data_vars.values():
        nodata = variable.attrs.pop("_FillValue", None)
        variable.encoding = {} if nodata is None else {"_FillValue": nodata}
    return dataset


def _write_raster(dataset: xr.Dataset, path: Path) -> None:
    import rasterio

    flat = dataset.rename({old: new for old, new in RADAR_DIMS.items() if old in dataset.dims})
    bands = bands_of(flat)
    kinds = {(band.dtype, str(band.nodata)) for band in bands}
    if len(kinds) > 1:
        msg = (
            f"a GeoTIFF cannot hold {', '.join(map(str, dataset.data_vars))} side by side, as "
            "their number types differ; write .zarr or .nc"
        )
        raise ValueError(msg)
    values = np.stack([band.values(flat) for band in bands])
    with quiet():
        with rasterio.open(
            path,
            "w",
            count=len(bands),
            height=values.shape[1],
            width=values.shape[2],
            dtype=values.dtype,
            nodata=bands[0].nodata,
            overview_resampling="average" if values.dtype.kind == "f" else "mode",
            **CREATION,
        ) as file:
            file.write(values)
            file.update_tags(**encode_attributes(dataset.attrs))
            for index, band in enumerate(bands, start=1):
                file.set_band_description(index, band.description)
                file.update_tags(index, **band.tags(flat))
        # GDAL does not report every write that failed.
        with rasterio.open(path) as file:
            same = np.array_equal(file.read(), values, equal_nan=values.dtype.kind == "f")
    if not same:
        msg = "the file read back differs from what was written; is the disk full?"
        raise OSError(msg)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warning that there is no map grid: there is none in radar geometry."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def read_radar(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read variables in radar geometry.

    Parameters
    ----------
    path : path-like
        What `write_radar` has written, or any raster without a map grid that GDAL reads.

    Returns
    -------
    xarray.Dataset
        Variables of dims (line, sample), or (polarisation, line, sample). The bands of a raster
        of another origin are one variable, ``image``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not in radar geometry, or does not hold power.
    """
    path = Path(path)
    if not path.exists():
        msg = f"there is no '{path}'"
        raise FileNotFoundError(msg)
    suffix = path.suffix.lower()
    if suffix in {".safe", ".zip"} or (path.is_dir() and suffix != ".zarr"):
        msg = f"'{path}' {WHOLE_PRODUCT}"
        raise ValueError(msg)
    dataset = _read_store(path) if suffix in STORES else _read_raster(path)
    for name, variable in dataset.data_vars.items():
        if variable.dims[-2:] != tuple(RADAR_DIMS):
            msg = (
                f"found '{name}' of dims {variable.dims} in '{path}', expected radar geometry, "
                "(line, sample): pass the image before it was geocoded"
            )
            raise ValueError(msg)
    return dataset


def _read_store(path: Path) -> xr.Dataset:
    try:
        return open_result(path)
    except (OSError, KeyError) as error:
        msg = f"'{path}' cannot be read, or is damaged ({error})"
        raise ValueError(msg) from error


def _read_raster(path: Path) -> xr.Dataset:
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with quiet(), rasterio.open(path) as file:
            _require_radar_geometry(file, path)
            tags = [file.tags(index) for index in file.indexes]
            values = file.read()
            nodata, names = file.nodata, file.descriptions
            attributes = decode_attributes(file.tags())
    except RasterioError as error:
        msg = f"'{path}' is not a raster that GDAL can read, or it is damaged ({error})"
        raise ValueError(msg) from error
    attributes.pop("AREA_OR_POINT", None)
    image = xr.DataArray(values, dims=("band", "y", "x"))
    back = {new: old for old, new in RADAR_DIMS.items()}
    if all("BAND_VARIABLE" in tag for tag in tags):
        found = xr.Dataset(variables_of(image, tags))
    else:
        found = _bands_of_power(image, nodata, names, path).to_dataset(name="image")
    return found.rename(back).assign_attrs(attributes)


def holds_variables(path: str | os.PathLike[str]) -> Literal["radar", "map", ""]:
    """Tell whether a raster was written by this package, and on which kind of grid.

    Parameters
    ----------
    path : path-like
        Any file.

    Returns
    -------
    {"radar", "map", ""}
        Empty for files of another origin, and for what is no raster.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with quiet(), rasterio.open(path) as file:
            if "BAND_VARIABLE" not in file.tags(1):
                return ""
            return "radar" if file.crs is None else "map"
    except RasterioError:
        return ""


def _require_radar_geometry(file: DatasetReader, path: Path) -> None:
    if file.crs is not None and not file.transform.is_identity:
        msg = (
            f"'{path}' has a map grid ({file.crs.to_string()}); expected radar geometry, lines "
            "along azimuth and samples along range: pass the image before it was geocoded"
        )
        raise ValueError(msg)


def _bands_of_power(
    image: xr.DataArray, nodata: float | None, names: tuple[str | None, ...], path: Path
) -> xr.DataArray:
    """Make one image of the bands of a raster."""
    if image.dtype.kind != "f":
        msg = (
            f"found {image.dtype} numbers in '{path}', expected calibrated power in floating "
            "point: the numbers of a measurement file must be calibrated first"
        )
        raise ValueError(msg)
    power = image.astype(np.float32)
    if nodata is not None:
        power = power.where(image != nodata)
    if image.sizes["band"] == 1:
        return power.isel(band=0, drop=True)
    power = power.rename(band="polarisation")
    if all(names):
        power = power.assign_coords(polarisation=list(names))
    return power
