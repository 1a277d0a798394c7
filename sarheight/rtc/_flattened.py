"""The dataset that all flattened images become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
import xarray as xr

from sarheight.errors import ProductError
from sarheight.layover import FLAGS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "NO_DATA",
    "Radiometry",
    "Scale",
    "flattened",
    "power",
    "relabelled",
    "written_out",
]

Radiometry = Literal["gamma0", "sigma0"]
Scale = Literal["power", "amplitude", "decibel"]

NO_DATA = 255
FREQUENCY = 5.405
"""Centre frequency of Sentinel-1 in GHz."""
ORDER = ("VV", "VH", "HH", "HV")
LARGEST_SHIFT = 0.01
"""By how much of a cell grids may differ that are one."""


def power(image: xr.DataArray, scale: Scale = "power") -> xr.DataArray:
    """Turn stored values into linear power.

    Parameters
    ----------
    image : xarray.DataArray
        Dims (y, x), as stored.
    scale : {"power", "amplitude", "decibel"}
        What the values are.

    Returns
    -------
    xarray.DataArray
        float32. NaN where the nodata value of the file stands, or what no radar measures: values
        that are not finite, and power or amplitude below zero.
    """
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


def relabelled(codes: xr.DataArray, table: NDArray[np.uint8]) -> xr.DataArray:
    """Translate the codes of a mask into those of `sarheight.layover.masks`.

    Parameters
    ----------
    codes : xarray.DataArray
        Dims (y, x), uint8.
    table : array, shape (256,)
        The new code of each old one; 255 is no data.

    Returns
    -------
    xarray.DataArray
        uint8, with CF ``flag_values`` and ``flag_meanings``.
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


def flattened(
    images: Mapping[str, xr.DataArray],
    layers: Mapping[str, xr.DataArray],
    *,
    radiometry: Radiometry,
    source: str,
    product_name: str,
    acquisition: Mapping[str, Any],
    attributes: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Put images and layers together.

    Parameters
    ----------
    images : mapping
        By polarisation linear power, dims (y, x).
    layers : mapping
        By name other variables of dims (y, x), with their attributes.
    radiometry : {"gamma0", "sigma0"}
        What the power is divided by.
    source : str
        Whose product it is.
    product_name : str
        Its name.
    acquisition : mapping
        What is known of how it was taken: ``mission``, ``mode``, ``start``, ``end`` and others
        of `sarheight._acquisition.acquisition_record`.
    attributes : mapping, optional
        More attributes.

    Returns
    -------
    xarray.Dataset
        Dims (polarisation, y, x) and (y, x).

    Raises
    ------
    ProductError
        If there is no image, or the grids differ.
    """
    if not images:
        msg = f"found no image in '{product_name}', expected one for each polarisation"
        raise ProductError(msg)
    names = sorted(images, key=ORDER.index)
    first = images[names[0]]
    crs, transform = first.rio.crs, first.rio.transform()
    if crs is None:
        msg = f"found no coordinate reference system in '{product_name}', expected a map grid"
        raise ProductError(msg)
    for name, other in {**images, **layers}.items():
        apart = np.abs(np.subtract(other.rio.transform()[:6], transform[:6])).max()
        if other.shape != first.shape or apart > LARGEST_SHIFT * abs(transform.a):
            msg = (
                f"found '{name}' of '{product_name}' on a grid of {other.shape} cells that is not "
                f"that of {names[0]}, {first.shape}; expected files of one product"
            )
            raise ProductError(msg)
    grid = {"y": first["y"].values, "x": first["x"].values}
    plain = [
        images[name].drop_vars(list(images[name].coords)).assign_coords(grid) for name in names
    ]
    stack = xr.concat(plain, dim="polarisation").assign_coords(polarisation=names)
    stack.attrs = {
        "long_name": f"{radiometry}, terrain-flattened",
        "units": "1",
        "terrain_flattened": True,
        "source": source,
    }
    dataset = stack.to_dataset(name=radiometry)
    for name, layer in layers.items():
        dataset[name] = (("y", "x"), layer.variable.data, layer.attrs)
    dataset.attrs = {
        "title": f"Terrain-flattened {radiometry} of {source}",
        "calibration": radiometry,
        "terrain_flattened": True,
        "source": source,
        "product_name": product_name,
        "acquisition": json.dumps([_record(names, acquisition)]),
        **(attributes or {}),
    }
    placed: xr.Dataset = dataset.rio.write_crs(crs)
    return placed


def _record(polarisations: list[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Complete what is known of the acquisition by what holds for all of Sentinel-1."""
    record = {
        "mode": "IW",
        "product": "RTC",
        "look_side": "right",
        "center_frequency": FREQUENCY,
        "polarisations": polarisations,
    }
    return record | {name: value for name, value in known.items() if value not in {None, ""}}


def written_out(time: str) -> str:
    """Write a time of a file name, such as ``20230115T013456``, as ISO 8601 in UTC."""
    return f"{time[:4]}-{time[4:6]}-{time[6:11]}:{time[11:13]}:{time[13:15]}Z"
