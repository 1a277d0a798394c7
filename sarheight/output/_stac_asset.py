"""The file of a result as asset of a STAC item, with its bands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.output._grid import grid_transform, nodata_value
from sarheight.output._provenance import file_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pystac
    import xarray as xr

__all__ = ["asset_of", "known", "multihash"]

MEDIA_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".tiff": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".nc": "application/netcdf",
    ".zarr": "application/vnd.zarr; version=2",
}
STATISTICS = {
    "minimum": "STATISTICS_MINIMUM",
    "maximum": "STATISTICS_MAXIMUM",
    "mean": "STATISTICS_MEAN",
    "stddev": "STATISTICS_STDDEV",
    "valid_percent": "STATISTICS_VALID_PERCENT",
}
"""The tags of a band, by the names that STAC has for them."""


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not known."""
    return {name: value for name, value in values.items() if value is not None}


def multihash(sha256: str) -> str:
    """Write a SHA-256 as multihash: its kind and its length go first."""
    return f"1220{sha256}"


def asset_of(dataset: xr.Dataset, href: str, file: Path | None) -> pystac.Asset:
    """Describe the file of a result.

    Parameters
    ----------
    dataset : xarray.Dataset
        The result.
    href : str
        How the item shall name the file.
    file : pathlib.Path or None
        The file, where it is on this machine.
    """
    import pystac

    suffix = Path(href).suffix.lower()
    if file is not None and suffix in {".tif", ".tiff"}:
        bands = _bands_of_file(file)
    else:
        bands = _bands_of_variables(dataset)
    extra: dict[str, Any] = {
        "bands": bands,
        "raster:sampling": "area",
        "raster:spatial_resolution": _resolution(dataset),
    }
    if file is not None and file.is_file():
        extra["file:size"] = file.stat().st_size
        extra["file:checksum"] = multihash(file_digest(file))
    return pystac.Asset(
        href,
        title=str(dataset.attrs.get("title", "")) or None,
        media_type=MEDIA_TYPES.get(suffix),
        roles=["data"],
        extra_fields=extra,
    )


def _bands_of_file(file: Path) -> list[dict[str, Any]]:
    """Describe the bands of a GeoTIFF from what is in it."""
    import rasterio

    bands = []
    with rasterio.open(file) as source:
        for index in source.indexes:
            tags = source.tags(index)
            found = {name: float(tags[tag]) for name, tag in STATISTICS.items() if tag in tags}
            bands.append(
                known(
                    {
                        "name": source.descriptions[index - 1],
                        "description": tags.get("long_name"),
                        "data_type": source.dtypes[index - 1],
                        "nodata": _nodata(source.nodatavals[index - 1]),
                        "unit": source.units[index - 1] or None,
                        "statistics": found or None,
                    }
                )
            )
    return bands


def _bands_of_variables(dataset: xr.Dataset) -> list[dict[str, Any]]:
    return [
        known(
            {
                "name": str(name),
                "description": variable.attrs.get("long_name"),
                "data_type": str(variable.dtype),
                "nodata": _nodata(nodata_value(variable)),
                "unit": variable.attrs.get("units"),
            }
        )
        for name, variable in dataset.data_vars.items()
    ]


def _nodata(value: Any) -> float | int | str | None:  # noqa: ANN401  # of the band's type
    if value is None:
        return None
    number = float(value)
    if np.isnan(number):
        return "nan"
    return int(number) if number.is_integer() else number


def _resolution(dataset: xr.Dataset) -> float:
    """Measure the posting on the ground in metres, the mean of both directions."""
    from pyproj import CRS

    from sarheight.dem._crs import metres_per_unit

    steps = grid_transform(dataset)
    x, y = (float(dataset[name][[0, -1]].mean()) for name in ("x", "y"))
    crs = CRS.from_wkt(dataset.rio.crs.to_wkt())
    per_y, per_x = metres_per_unit(crs, x, y, 0.5 * (abs(steps.a) + abs(steps.e)))
    return round(0.5 * (per_x * abs(steps.a) + per_y * abs(steps.e)), 3)
