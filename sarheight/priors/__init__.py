"""Sparse elevations: where a few heights are known, and what can be made of them alone.

A few known heights tie an estimate from radar to the ground. They come from a table, a vector
file, a laser altimeter's track, or are drawn from an elevation model to try things out. On the
grid of an image they become a raster of heights, the distance to the nearest of them, and an
interpolated surface: the baseline that every better estimate must beat.
"""

from __future__ import annotations

from sarheight.priors._draw import draw_points, draw_tracks
from sarheight.priors._interpolate import METHODS, interpolate
from sarheight.priors._points import SparseHeights
from sarheight.priors._raster import distance_map, rasterise
from sarheight.priors._read import read_heights

__all__ = [
    "METHODS",
    "SparseHeights",
    "distance_map",
    "draw_points",
    "draw_tracks",
    "interpolate",
    "rasterise",
    "read_heights",
]
