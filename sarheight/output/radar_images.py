"""Radar images on file, with the sampling and orbit that place them on the ground.

An image in radar geometry has no map grid. What places it goes into its attributes as JSON: the
fields of the `RadarGrid` and the state vectors of the `Orbit`, exact to the last bit.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import xarray as xr

from sarheight._runtime import ignore_missing_georeference
from sarheight.grid import Burst, RadarGrid
from sarheight.ground_range import GroundRange
from sarheight.orbit import Orbit
from sarheight.output import open_result, save_png
from sarheight.output._geotiff import bands_of, decode_attributes, encode_attributes, variables_of
from sarheight.output.atomic import atomic_write
from sarheight.output.write import write_netcdf, write_zarr
from sarheight.product import is_product, open_product
from sarheight.scene import Calibration, Scene
from sarheight.sentinel1 import read_grid, read_orbit

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from rasterio import DatasetReader

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
    """Write variables in radar geometry; the name chooses the format."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".png":
        return save_png(_picture(dataset), path, overwrite=overwrite)
    with atomic_write(path, overwrite=overwrite) as work:
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
    with ignore_missing_georeference():
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


def read_radar(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read variables in radar geometry."""
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
        with ignore_missing_georeference(), rasterio.open(path) as file:
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


def raster_geometry(path: str | os.PathLike[str]) -> Literal["radar", "map", ""]:
    """Tell whether a raster was written by this package, and on which kind of grid."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with ignore_missing_georeference(), rasterio.open(path) as file:
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


# Radar images on file, with the sampling and the orbit that place them on the ground.

GRID, ORBIT, CALIBRATION = "radar_grid", "orbit_state_vectors", "calibration"


def grid_to_json(grid: RadarGrid) -> str:
    """Write a grid as JSON."""
    return json.dumps(_plain(grid))


def grid_from_json(text: str) -> RadarGrid:
    """Make the grid that `grid_to_json` has written."""
    try:
        values = json.loads(text)
        records = values.pop("ground_range")
        bursts = tuple(
            Burst(**{name: _tuple(value) for name, value in burst.items()})
            for burst in values.pop("bursts")
        )
        return RadarGrid(
            epoch=np.datetime64(values.pop("epoch")),
            ground_range=None if records is None else GroundRange(**records),
            bursts=bursts,
            **{name: _tuple(value) for name, value in values.items()},
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(_unreadable("radar grid", error)) from error


def orbit_to_json(orbit: Orbit) -> str:
    """Write an orbit as JSON: epoch, state vectors and source."""
    return json.dumps(_plain(orbit))


def orbit_from_json(text: str) -> Orbit:
    """Make the orbit that `orbit_to_json` has written."""
    try:
        values = json.loads(text)
        return Orbit(epoch=np.datetime64(values.pop("epoch")), **values)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(_unreadable("orbit", error)) from error


def _unreadable(what: str, error: Exception) -> str:
    return (
        f"the file's {what} cannot be read ({error}); expected one written by this version: write "
        "the file again, or pass the annotation"
    )


def _plain(value: object) -> Any:  # noqa: ANN401  # JSON has no type
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _tuple(value: object) -> Any:  # noqa: ANN401
    return tuple(value) if isinstance(value, list) else value


def add_grid_and_orbit(dataset: xr.Dataset, grid: RadarGrid, orbit: Orbit) -> xr.Dataset:
    """Add to a dataset what places it on the ground."""
    orbit = orbit.with_epoch(grid.epoch).cropped(grid.first_time, grid.last_time)
    return dataset.assign_attrs({GRID: grid_to_json(grid), ORBIT: orbit_to_json(orbit)})


def has_grid_and_orbit(attributes: Mapping[Any, Any]) -> bool:
    """Tell whether a file's attributes place it on the ground."""
    return GRID in attributes and ORBIT in attributes


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
) -> Scene:
    """Read an image and what places it on the ground."""
    image, attributes = read_image(path, polarisations)
    if has_grid_and_orbit(attributes):
        geometry = grid_from_json(attributes[GRID]), orbit_from_json(attributes[ORBIT])
    if geometry is None:
        msg = (
            f"found '{path}' without sampling and orbit; expected a file written by `sarheight "
            "simulate`, or the annotation of the image: pass it by --like"
        )
        raise ValueError(msg)
    if calibration is None:
        found = attributes.get(CALIBRATION, image.name)
        if found not in get_args(Calibration):
            msg = (
                f"'{path}' does not say what its image is calibrated to; pass --calibration "
                f"{', '.join(get_args(Calibration))}"
            )
            raise ValueError(msg)
        calibration = cast("Calibration", found)
    return Scene(image, *geometry, calibration)


def read_image(
    path: str | os.PathLike[str], polarisations: Sequence[str] = ()
) -> tuple[xr.DataArray, dict[str, Any]]:
    """Read an image in radar geometry and the attributes of its file."""
    dataset = read_radar(path)
    named = [name for name in get_args(Calibration) if name in dataset]
    names = named or list(dataset.data_vars)
    if len(names) != 1:
        msg = (
            f"found variables {', '.join(map(str, dataset.data_vars))} in '{path}', expected one "
            "image, called beta0, sigma0 or gamma0"
        )
        raise ValueError(msg)
    return _chosen(dataset[names[0]], polarisations, path), dict(dataset.attrs)


def _chosen(
    image: xr.DataArray, polarisations: Sequence[str], path: str | os.PathLike[str]
) -> xr.DataArray:
    """Choose polarisations, or name them where the file does not."""
    if not polarisations or "polarisation" not in image.dims:
        return image
    if "polarisation" not in image.coords:
        if len(polarisations) != image.sizes["polarisation"]:
            msg = (
                f"found {image.sizes['polarisation']} bands without names in '{path}' and "
                f"{len(polarisations)} polarisations ({', '.join(polarisations)}); expected one "
                "for each band"
            )
            raise ValueError(msg)
        return image.assign_coords(polarisation=list(polarisations))
    present = [str(name) for name in image["polarisation"].values]
    missing = [name for name in polarisations if name not in present]
    if missing:
        msg = f"found no {', '.join(missing)} in '{path}', only {', '.join(present)}"
        raise ValueError(msg)
    return image.isel(polarisation=[present.index(name) for name in polarisations])


def read_grid_and_orbit(path: str | os.PathLike[str]) -> tuple[RadarGrid, Orbit]:
    """Read sampling and orbit of an annotation, a product, or what `write_scene` has written."""
    if is_product(path):
        return open_product(path).grid_and_orbit()
    if str(path).lower().endswith(SUFFIXES):
        _, attributes = read_image(path)
        if not has_grid_and_orbit(attributes):
            msg = f"'{path}' holds no sampling and no orbit; expected an annotation or a scene"
            raise ValueError(msg)
        return grid_from_json(attributes[GRID]), orbit_from_json(attributes[ORBIT])
    return read_grid(path), read_orbit(path)
