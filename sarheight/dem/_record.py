"""Building a DEM array and writing down where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import rasterio.crs
    from pyproj import CRS


def build(
    values: npt.ArrayLike,
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    crs: CRS | rasterio.crs.CRS | None,
    attrs: Mapping[str, Any],
) -> xr.DataArray:
    """Make the DEM array of this package: float32, dims (y, x), pixel-centre coordinates.

    No `GeoTransform` is stored beside the CRS: it would go stale as soon as the array is sliced,
    while the coordinates do not.
    """
    dem = xr.DataArray(
        np.asarray(values, dtype=np.float32),
        dims=("y", "x"),
        coords={"y": np.asarray(y, dtype=np.float64), "x": np.asarray(x, dtype=np.float64)},
        attrs={"long_name": "height", **attrs},
        name="height",
    )
    dem = dem if crs is None else dem.rio.write_crs(crs)
    dem.encoding["_FillValue"] = np.float32(np.nan)
    return dem


def with_history(dem: xr.DataArray, line: str) -> xr.DataArray:
    """Append one line to the `history` attribute of a copy that shares the heights."""
    noted = dem.copy(deep=False)
    noted.attrs = {**dem.attrs, "history": "\n".join([*history(dem), line])}
    return noted


def history(dem: xr.DataArray) -> list[str]:
    """Split the attribute `history` into its lines."""
    return str(dem.attrs.get("history", "")).splitlines()
