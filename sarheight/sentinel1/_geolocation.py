"""The geolocation grid of an annotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sarheight._annotation_xml import read_annotation
from sarheight._constants import SPEED_OF_LIGHT
from sarheight.errors import AnnotationError

if TYPE_CHECKING:
    import xarray

    from sarheight._xml import XmlSource

__all__ = ["geolocation_grid"]


def geolocation_grid(source: XmlSource) -> xarray.Dataset:
    """Read ESA's geolocation grid from an annotation.

    The grid ties some 200 pixels of an image to places on the ground. It is far too coarse for
    geocoding in mountains, and the best check there is of a geometry.

    Parameters
    ----------
    source : str, path or bytes
        Path of an annotation XML of a GRD or SLC, plain or compressed with xz, or its contents.

    Returns
    -------
    xarray.Dataset
        On dims (line, pixel), whose coordinates are the lines and pixels of the image file: in
        an IW or EW SLC the bursts stand one after the other in the file, so its lines are not
        those of a radar grid.

        ``latitude``, ``longitude``
            In degrees.
        ``height``
            In metres above the WGS84 ellipsoid.
        ``azimuth_time``
            Zero-Doppler time in UTC.
        ``slant_range``
            One-way, in metres.
        ``incidence_angle``, ``elevation_angle``
            In degrees.

    Raises
    ------
    AnnotationError
        If the file is cut short, foreign, unsafe, or lacks something.
    OSError
        If the file cannot be read.
    """
    import xarray

    annotation = read_annotation(source)
    points = annotation.geolocation
    lines, row = np.unique(points.line, return_inverse=True)
    pixels, column = np.unique(points.pixel, return_inverse=True)
    if (
        lines.size * pixels.size != points.line.size
        or np.unique(row * pixels.size + column).size != points.line.size
    ):
        msg = (
            f"{annotation.name}: found a geolocation grid of {points.line.size} points on "
            f"{lines.size} lines and {pixels.size} pixels, expected one point for each pair; "
            "the file is damaged, fetch it again from the archive"
        )
        raise AnnotationError(msg)

    variables = {
        "latitude": (points.latitude, "Geodetic latitude", "degrees_north"),
        "longitude": (points.longitude, "Geodetic longitude", "degrees_east"),
        "height": (points.height, "Height above the WGS84 ellipsoid", "m"),
        "azimuth_time": (points.azimuth_time, "Zero-Doppler time (UTC)", None),
        "slant_range": (SPEED_OF_LIGHT / 2 * points.slant_range_time, "Slant range", "m"),
        "incidence_angle": (points.incidence_angle, "Incidence angle on the ellipsoid", "degree"),
        "elevation_angle": (points.elevation_angle, "Elevation angle of the antenna", "degree"),
    }
    grid = xarray.Dataset(coords={"line": lines, "pixel": pixels})
    for name, (flat, long_name, units) in variables.items():
        values = np.empty((lines.size, pixels.size), dtype=flat.dtype)
        values[row, column] = flat
        attributes = {"long_name": long_name} | ({} if units is None else {"units": units})
        grid[name] = (("line", "pixel"), values, attributes)
    return grid
