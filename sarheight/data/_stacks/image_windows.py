"""Parts of images of a catalogue, on the grid of a city."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import xarray as xr
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from sarheight.data._stacks.optical import optical_band
from sarheight.errors import ProductError
from sarheight.output._grid import grid_transform

if TYPE_CHECKING:
    from sarheight.fetch import ImageItem

__all__ = ["asset_of_band", "flattened_image", "window_of"]

REMOTE = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "2",
    "GDAL_HTTP_MULTIRANGE": "YES",
}
"""How GDAL reads parts of files elsewhere: without listing their folder, and patiently."""
POLARISATIONS = ("VV", "VH")


def flattened_image(item: ImageItem, radiometry: str, grid: xr.DataArray) -> xr.Dataset:
    """Read the part of a flattened image that shows a city."""
    lower = {name.lower(): name for name in item.addresses}
    names = [name for name in POLARISATIONS if name.lower() in lower]
    if not names:
        msg = f"found the images {', '.join(item.addresses)} in {item.name}, expected vv or vh"
        raise ProductError(msg)
    layers = [window_of(item.source(lower[name.lower()]), grid, "average") for name in names]
    power = xr.concat(layers, dim=xr.Variable("polarisation", names), join="exact")
    record = {
        "start": item.time.replace(tzinfo=None).isoformat(),
        "orbit_state": str(item.properties.get("sat:orbit_state", "")).lower(),
        "polarisations": names,
    }
    return xr.Dataset(
        {radiometry: power.where(power >= 0.0)}, attrs={"acquisition": json.dumps([record])}
    )


def asset_of_band(item: ImageItem, band: str) -> str:
    """Find the image of a band by the names that catalogues give them, the finest first."""
    finest = sorted(item.addresses, key=lambda name: (len(name), name))
    for name in finest:
        if "jp2" in name.lower():
            continue
        bare = name.upper().partition("_")[0]
        if (band == "SCL" and bare == "SCL") or optical_band(name) == band:
            return name
    return band


def window_of(address: str, grid: xr.DataArray, resampling: str) -> xr.DataArray:
    """Read an image at the cells of a grid, and no more of it than that needs.

    NaN where the image has no data; codes and numbers come as float32.
    """
    transform = grid_transform(grid)
    rows, columns = grid.sizes["y"], grid.sizes["x"]
    try:
        with rasterio.Env(**REMOTE), rasterio.open(address) as image:
            finer = abs(image.transform.a) < 0.67 * abs(transform.a)
            usual = Resampling.nearest if resampling == "mode" else Resampling.bilinear
            with WarpedVRT(
                image,
                crs=grid.rio.crs,
                transform=transform,
                width=columns,
                height=rows,
                resampling=Resampling[resampling] if finer else usual,
                tolerance=0.01,
                add_alpha=image.nodata is None,
            ) as warped:
                values = warped.read(1).astype(np.float32)
                known = warped.dataset_mask() > 0
    except (RasterioError, OSError) as error:
        shown = address.partition("?")[0]
        # What follows the question mark may be a signature.
        reason = str(error).replace(address, shown)
        msg = f"'{shown}' cannot be read as raster ({reason})"
        raise ProductError(msg) from error
    layer = xr.DataArray(
        np.where(known, values, np.nan).astype(np.float32),
        dims=("y", "x"),
        coords={name: grid[name].values for name in ("y", "x")},
    )
    placed: xr.DataArray = layer.rio.write_crs(grid.rio.crs)
    return placed
