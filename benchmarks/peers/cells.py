"""The cells and the orbit that all peers are given, in a file that needs NumPy alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

__all__ = ["save_cells"]


def save_cells(path: Path, dem: xr.DataArray, grid: RadarGrid, orbit: Orbit) -> None:
    """Save a geographic DEM, an image's sampling and its orbit.

    Parameters
    ----------
    path : Path
        An .npz file.
    dem : xarray.DataArray
        The DEM, in degrees.
    grid, orbit : RadarGrid, Orbit
        The image and its orbit.
    """
    orbit = orbit.with_epoch(grid.epoch)
    np.savez(
        path,
        heights=dem.values,
        longitude=dem.x.values,
        latitude=dem.y.values,
        epoch=np.datetime64(grid.epoch, "ns").astype(np.int64),
        time=orbit.time,
        position=orbit.position,
        velocity=orbit.velocity,
        line_zero_time=grid.line_zero_time,
        line_interval=grid.line_interval,
        near_range=grid.near_range,
        sample_spacing=grid.sample_spacing,
    )
