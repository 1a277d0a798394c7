"""Timings of the kernels for asv, so that a regression can be bisected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks._hills import dem_of, radar_over
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.geometry.visibility import illuminated_cells
from sarheight.illumination import Muhleman
from sarheight.illumination.simulate import illuminate
from sarheight.layover import mapping

if TYPE_CHECKING:
    from benchmarks._hills import Kind

SIZES = (500, 1500)
MAPS = ("EPSG:4326", "EPSG:32632")
KINDS = ("slc", "grd")
TIMEOUT = 900.0
"""Seconds. The first run of a commit compiles the kernels, which counts."""


class Coordinates:
    """From heights to pixel coordinates."""

    params = (SIZES, MAPS, KINDS)
    param_names = ("size", "map", "image")
    timeout = TIMEOUT

    def setup(self, size: int, crs: str, kind: Kind) -> None:
        """Make a DEM and an image."""
        self.dem = dem_of(size, crs)
        self.grid, self.orbit = radar_over(size, kind)
        self.time_geo2rdr()

    def time_geo2rdr(self, *_: object) -> None:
        """Locate all cells."""
        geo2rdr(self.dem, self.grid, self.orbit)


class Light:
    """What the radar lights."""

    params = (SIZES, KINDS)
    param_names = ("size", "image")
    timeout = TIMEOUT

    def setup(self, size: int, kind: Kind) -> None:
        """Put a DEM under the radar."""
        self.geometry = pass_geometry(dem_of(size, MAPS[1]), *radar_over(size, kind))
        self.time_light()

    def time_light(self, *_: object) -> None:
        """Find shadow."""
        illuminated_cells(self.geometry)


class Image:
    """From the ground to the image and back."""

    params = (SIZES, KINDS)
    param_names = ("size", "image")
    timeout = TIMEOUT

    def setup(self, size: int, kind: Kind) -> None:
        """Light a DEM."""
        grid, orbit = radar_over(size, kind)
        self.operator = illuminate(pass_geometry(dem_of(size, MAPS[1]), grid, orbit), Muhleman())
        self.image = np.ones((*grid.shape, 2), dtype=np.float32)
        self.time_scatter()
        self.time_gather()

    def time_scatter(self, *_: object) -> None:
        """Simulate the image."""
        self.operator.simulate()

    def time_gather(self, *_: object) -> None:
        """Collect two channels."""
        self.operator.adjoint(self.image)


class Weights:
    """The explicit mapping."""

    params = (SIZES, KINDS)
    param_names = ("size", "image")
    timeout = TIMEOUT

    def setup(self, size: int, kind: Kind) -> None:
        """Make a DEM and an image."""
        self.dem = dem_of(size, MAPS[1])
        self.grid, self.orbit = radar_over(size, kind)
        self.time_mapping()

    def time_mapping(self, *_: object) -> None:
        """Write all weights down."""
        mapping(self.dem, self.grid, self.orbit)
