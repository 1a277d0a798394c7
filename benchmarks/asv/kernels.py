"""Timings of the kernels for asv, so that a regression can be bisected."""

from __future__ import annotations

import numpy as np

from benchmarks._hills import dem_of, radar_over
from sarheight.geometry import geo2rdr
from sarheight.geometry._view import view
from sarheight.geometry._visibility import light_cells
from sarheight.illumination import Muhleman
from sarheight.illumination._operator import illuminate
from sarheight.layover import mapping

SIZES = (500, 1500)
MAPS = ("EPSG:4326", "EPSG:32632")
KINDS = ("slc", "grd")


class Coordinates:
    """From heights to pixel coordinates."""

    params = (SIZES, MAPS, KINDS)
    param_names = ("size", "map", "image")

    def setup(self, size: int, crs: str, kind: str) -> None:
        """Make a DEM and an image."""
        self.dem = dem_of(size, crs)
        self.grid, self.orbit = radar_over(size, kind)
        geo2rdr(self.dem, self.grid, self.orbit)

    def time_geo2rdr(self, *_: object) -> None:
        """Locate all cells."""
        geo2rdr(self.dem, self.grid, self.orbit)


class Image:
    """From the ground to the image and back."""

    params = (SIZES, KINDS)
    param_names = ("size", "image")

    def setup(self, size: int, kind: str) -> None:
        """Light a DEM."""
        self.dem = dem_of(size, MAPS[1])
        self.grid, self.orbit = radar_over(size, kind)
        self.view = view(self.dem, self.grid, self.orbit)
        self.operator = illuminate(self.view, Muhleman())
        self.image = np.ones((*self.grid.shape, 2), dtype=np.float32)
        self.time_scatter()
        self.time_gather()

    def time_light(self, *_: object) -> None:
        """Find shadow."""
        light_cells(self.view)

    def time_scatter(self, *_: object) -> None:
        """Simulate the image."""
        self.operator.simulate()

    def time_gather(self, *_: object) -> None:
        """Collect two channels."""
        self.operator.collect(self.image)

    def time_mapping(self, *_: object) -> None:
        """Write all weights down."""
        mapping(self.dem, self.grid, self.orbit)
