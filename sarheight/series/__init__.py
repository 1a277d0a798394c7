"""Series: many dates of one track on one grid.

A stack is a Zarr store with dims (time, polarisation, y, x). Masks and angles of incidence are
computed once, for a reference pass, and used for all dates; the reconstruction of a date then takes
little longer than its reading. New dates are appended without touching old ones::

    from sarheight import series

    series.build_stack(sorted(track.glob("*.zip")), dem, "stack.zarr")
    series.build_stack(["S1A_IW_GRDH_….zip"], None, "stack.zarr")  # one more
    stack = series.open_stack("stack.zarr")

Ascending and descending passes over the same ground are two tracks, and make two stacks. The mean
of each track in radar geometry is one image with little speckle, for the refinement of heights::

    passes = [series.mean_scene(track, dem) for track in (ascending, descending)]
    heights = terrain.refine(passes, dem)
"""

from __future__ import annotations

from sarheight.series._build import Report, build_stack
from sarheight.series._dates import find_dates
from sarheight.series._filter import speckle_filter
from sarheight.series._mean import mean_scene
from sarheight.series._store import open_stack

__all__ = ["Report", "build_stack", "find_dates", "mean_scene", "open_stack", "speckle_filter"]
__dir__ = __all__.copy  # `dir` lists the public names
