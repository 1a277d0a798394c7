"""Files in radar geometry: images with their sampling and orbit, and masks of their pixels.

Such a file has no map grid. The fields of the `RadarGrid` and the state vectors of the `Orbit` are
JSON in its attributes, exact to the last bit.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import xarray as xr

from sarheight._files import file_errors
from sarheight._rasters import open_alone
from sarheight._runtime import ignore_missing_georeference
from sarheight.acquisition import grid_from_json, grid_to_json, orbit_from_json, orbit_to_json
from sarheight.errors import DamagedFileError
from sarheight.output import open_result, save_png
from sarheight.output._bands import list_bands, list_stored, read_bands, share_type
from sarheight.output._geotiff import write_bands
from sarheight.output.atomic import atomic_write, require_path
from sarheight.output.files import FORMATS
from sarheight.output.stores import write_zarr
from sarheight.product import is_product, open_product
from sarheight.scene import Calibration, Scene
from sarheight.sentinel1 import read_grid, read_orbit
from sarheight.sentinel1.cslc import burst_geometry, is_burst

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

RASTERS, STORES = (".tif", ".tiff"), (".nc", ".zarr")
SUFFIXES = (*RASTERS, *STORES)
NAMES_OF_POLARISATIONS = ("VV", "VH", "HH", "HV")
RADAR_DIMS = {"line": "y", "sample": "x"}
WHOLE_PRODUCT = (
    "is a whole product, not an image file: open it by `sarheight.product.open_product`, whose "
    "`scene()` is its calibrated image"
)


def write_radar(
    dataset: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write variables in radar geometry; the name chooses the format."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".png":
        return save_png(_quick_look(dataset), path, overwrite=overwrite)
    with atomic_write(path, overwrite=overwrite) as work:
        if suffix in RASTERS:
            _write_raster(dataset, work)
        else:
            dataset = dataset.copy()
            for variable in dataset.data_vars.values():
                # xarray reads the nodata value from the encoding.
                nodata = variable.attrs.pop("_FillValue", None)
                variable.encoding = {} if nodata is None else {"_FillValue": nodata}
            # On no map there are no overviews.
            write = write_zarr if suffix == ".zarr" else FORMATS[suffix].write
            assert write is not None  # noqa: S101  # of NetCDF, as the suffix was checked
            write(dataset, work)
    return path


def _quick_look(dataset: xr.Dataset) -> Figure:
    from sarheight import plot

    first = next(iter(dataset.data_vars.values()))
    if first.dtype.kind == "f":
        return plot.backscatter(first)
    return plot.mask(first.rename(RADAR_DIMS))


def _write_raster(dataset: xr.Dataset, path: Path) -> None:
    """Write a GeoTIFF without georeference, whose bands must be of one type."""
    flat = dataset.rename({old: new for old, new in RADAR_DIMS.items() if old in dataset.dims})
    if not share_type(list_bands(flat)):
        msg = (
            f"a GeoTIFF cannot hold {', '.join(map(str, dataset.data_vars))} side by side, as "
            "their number types differ; write .zarr or .nc"
        )
        raise ValueError(msg)
    with ignore_missing_georeference():
        write_bands(flat, path, None)


def read_radar(path: str | os.PathLike[str], *, lazy: bool = False) -> xr.Dataset:
    """Read variables in radar geometry; of NetCDF and Zarr, if `lazy`, parts when computed."""
    path = require_path(path)
    suffix = path.suffix.lower()
    if suffix in {".safe", ".zip"} or (path.is_dir() and suffix != ".zarr"):
        msg = f"'{path}' {WHOLE_PRODUCT}"
        raise DamagedFileError(msg)
    if suffix in STORES:
        dataset = open_result(path, chunks={} if lazy else None)
    else:
        dataset = _read_raster(path)
    for name, variable in dataset.data_vars.items():
        if variable.dims[-2:] != tuple(RADAR_DIMS):
            msg = (
                f"found '{name}' of dims {variable.dims} in '{path}', expected radar geometry, "
                "(line, sample): pass the image before it was geocoded"
            )
            raise DamagedFileError(msg)
    return dataset


def _read_raster(path: Path) -> xr.Dataset:
    with file_errors(path, "a GeoTIFF"), ignore_missing_georeference():
        bands, grid, tags = list_stored(path)
        if grid is not None and not grid.transform.is_identity:
            msg = (
                f"'{path}' has a map grid ({grid.crs.to_string()}); expected radar geometry, lines "
                "along azimuth and samples along range: pass the image before it was geocoded"
            )
            raise DamagedFileError(msg)
        if bands:
            dataset = read_bands(bands, None, tags, None)
        else:
            with open_alone(path) as file:
                image = xr.DataArray(file.read(), dims=("band", *RADAR_DIMS.values()))
                image = _image_of_bands(image, file.nodata, file.descriptions, path)
            dataset = image.to_dataset(name="image")
        return dataset.rename({old: new for new, old in RADAR_DIMS.items()})


def raster_geometry(path: str | os.PathLike[str]) -> Literal["radar", "map", ""]:
    """Return the geometry of a GeoTIFF that this package has written; "" for any other file."""
    try:
        with ignore_missing_georeference(), open_alone(path) as file:
            if "BAND_VARIABLE" not in file.tags(1):
                return ""
            return "radar" if file.crs is None else "map"
    except Exception:  # noqa: BLE001  # whatever GDAL and rasterio say of other files
        return ""


def _uncalibrated(image: xr.DataArray, path: str | os.PathLike[str]) -> str:
    return (
        f"found {image.dtype} numbers in '{path}', expected calibrated power in floating point: "
        "the numbers of a measurement file must be calibrated first"
    )


def _image_of_bands(
    image: xr.DataArray, nodata: float | None, names: tuple[str | None, ...], path: Path
) -> xr.DataArray:
    """Join the bands of a raster of calibrated power to one image."""
    if image.dtype.kind != "f":
        raise DamagedFileError(_uncalibrated(image, path))
    power = image.astype(np.float32)
    if nodata is not None:
        power = power.where(image != nodata)
    if image.sizes["band"] == 1:
        return power.isel(band=0, drop=True)
    power = power.rename(band="polarisation")
    if all(names):
        power = power.assign_coords(polarisation=list(names))
    return power


# Images with their sampling and orbit.

GRID, ORBIT, CALIBRATION = "radar_grid", "orbit_state_vectors", "calibration"
CHECKSUM = "geometry_crc32"
"""The attribute with the CRC-32 of sampling and orbit: formats have no checksum of attributes."""


def add_grid_and_orbit(dataset: xr.Dataset, grid: RadarGrid, orbit: Orbit) -> xr.Dataset:
    """Return a dataset with its sampling and orbit, cropped to its time span, in the attributes."""
    orbit = orbit.with_epoch(grid.epoch).crop(grid.first_time, grid.last_time)
    texts = {GRID: grid_to_json(grid), ORBIT: orbit_to_json(orbit)}
    return dataset.assign_attrs({**texts, CHECKSUM: _checksum(texts)})


def _checksum(attributes: Mapping[Any, Any]) -> str:
    """Return the CRC-32 of sampling and orbit as text."""
    return f"{zlib.crc32(f'{attributes[GRID]}{attributes[ORBIT]}'.encode()):08x}"


def has_grid_and_orbit(attributes: Mapping[Any, Any]) -> bool:
    """Tell whether the attributes of a file hold sampling and orbit."""
    return GRID in attributes and ORBIT in attributes


def _grid_and_orbit(attributes: Mapping[Any, Any]) -> tuple[RadarGrid, Orbit]:
    if attributes.get(CHECKSUM) not in {None, _checksum(attributes)}:
        msg = (
            "the file's sampling or orbit differs from its checksum, so it is damaged: copy the "
            "file again from where it was whole, or pass the annotation"
        )
        raise DamagedFileError(msg)
    return grid_from_json(attributes[GRID]), orbit_from_json(attributes[ORBIT])


def write_scene(
    scene: Scene,
    path: str | os.PathLike[str],
    *,
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a scene; the name chooses the format."""
    dataset = scene.image.to_dataset(name=scene.calibration)
    dataset = add_grid_and_orbit(dataset, scene.grid, scene.orbit).assign_attrs(
        {CALIBRATION: scene.calibration, **(attributes or {})}
    )
    return write_radar(dataset, path, overwrite=overwrite)


def read_scene(
    path: str | os.PathLike[str],
    *,
    geometry: tuple[RadarGrid, Orbit] | None = None,
    calibration: Calibration | None = None,
    polarisations: Sequence[str] = (),
    lazy: bool = False,
) -> Scene:
    """Read an image with its sampling and orbit; `geometry` is used where the file has none.

    If `lazy`, images in NetCDF and Zarr are read in parts, when they are computed.
    """
    image, attributes = _read_image(path, polarisations, lazy=lazy)
    if has_grid_and_orbit(attributes):
        geometry = _grid_and_orbit(attributes)
    if geometry is None:
        msg = (
            f"found '{path}' without sampling and orbit; expected a file written by `sarheight "
            "simulate`, or the annotation of the image: pass it by --like"
        )
        raise DamagedFileError(msg)
    if calibration is None:
        name = attributes.get(CALIBRATION, image.name)
        if name not in get_args(Calibration):
            msg = (
                f"'{path}' does not say what its image is calibrated to; pass --calibration "
                f"{', '.join(get_args(Calibration))}"
            )
            raise DamagedFileError(msg)
        calibration = cast("Calibration", name)
    return Scene(image, *geometry, calibration)


def _read_image(
    path: str | os.PathLike[str], polarisations: Sequence[str] = (), *, lazy: bool = False
) -> tuple[xr.DataArray, dict[str, Any]]:
    """Read an image in radar geometry and the attributes of its file."""
    dataset = read_radar(path, lazy=lazy)
    named = [name for name in get_args(Calibration) if name in dataset]
    names = named or list(dataset.data_vars)
    if len(names) != 1:
        msg = (
            f"found variables {', '.join(map(str, dataset.data_vars))} in '{path}', expected one "
            "image, called beta0, sigma0 or gamma0"
        )
        raise DamagedFileError(msg)
    image = dataset[names[0]]
    if image.dtype.kind not in "fc":
        raise DamagedFileError(_uncalibrated(image, path))
    known = (
        str(image["polarisation"].values) if image.coords.get("polarisation") is not None else ""
    )
    if not known and GRID in dataset.attrs:
        known = ", ".join(grid_from_json(dataset.attrs[GRID]).polarisations)
    return _select_polarisations(image, polarisations, path, known), dict(dataset.attrs)


def _select_polarisations(
    image: xr.DataArray, polarisations: Sequence[str], path: str | os.PathLike[str], known: str = ""
) -> xr.DataArray:
    """Select polarisations by name, or name them where the file does not.

    `known` is the polarisation of an image that has no dimension of that name.
    """
    if not polarisations:
        return image
    if "polarisation" not in image.dims:
        only = (known,) if known else NAMES_OF_POLARISATIONS
        if len(polarisations) != 1 or polarisations[0] not in only:
            msg = (
                f"found one image in '{path}', of polarisation {' or '.join(only)}, and the "
                f"polarisations {', '.join(polarisations)}; expected one of these, or none"
            )
            raise DamagedFileError(msg)
        return image
    if "polarisation" not in image.coords:
        if len(polarisations) != image.sizes["polarisation"]:
            msg = (
                f"found {image.sizes['polarisation']} bands without names in '{path}' and "
                f"{len(polarisations)} polarisations ({', '.join(polarisations)}); expected one "
                "for each band"
            )
            raise DamagedFileError(msg)
        return image.assign_coords(polarisation=list(polarisations))
    present = [str(name) for name in image["polarisation"].values]
    missing = [name for name in polarisations if name not in present]
    if missing:
        msg = f"found no {', '.join(missing)} in '{path}', only {', '.join(present)}"
        raise DamagedFileError(msg)
    return image.isel(polarisation=[present.index(name) for name in polarisations])


def read_grid_and_orbit(path: str | os.PathLike[str]) -> tuple[RadarGrid, Orbit]:
    """Read sampling and orbit of an annotation, a product, a burst, or what `write_scene` made."""
    if is_burst(path):
        return burst_geometry(path)
    if is_product(path):
        return open_product(path).grid_and_orbit()
    if str(path).lower().endswith(SUFFIXES):
        _, attributes = _read_image(path)
        if not has_grid_and_orbit(attributes):
            msg = f"'{path}' holds no sampling and no orbit; expected an annotation or a scene"
            raise DamagedFileError(msg)
        return _grid_and_orbit(attributes)
    return read_grid(path), read_orbit(path)
