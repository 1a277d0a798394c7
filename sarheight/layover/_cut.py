"""How a DEM is cut into parts that fit in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.models import cell_on_look_side, locate_cell
from sarheight_kernels.tiles import TILE, meets_image

from sarheight.layover._methods import Reallocation
from sarheight.layover._reach import Needs, reach_of

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

    from sarheight.layover._frame import Core, Frame
    from sarheight.layover._methods import Method

__all__ = ["CACHED_SHARE", "Cutter", "Relief", "room_within"]

PROCESS = 700 << 20
"""Bytes that Python, its libraries and what waits to be written take."""
CACHED_SHARE = 1.0 / 16.0
"""Part of a memory limit that what is kept of files may take; it counts as the process's own."""
LEAST_SHARE = 0.2
"""Part of a memory limit that arrays may take at least."""
SIDES = (64, 128, 256, 512, 1024, 2048, 3072, 4096, 6144, 8192)
PROBES = 5
"""Places along each side of a window that are looked at."""
SLACK = 3.0
"""Lines and samples around the box of these places, for the bend between them."""


@dataclass(frozen=True, eq=False)
class Relief:
    """Lowest and highest height of each tile of a DEM; NaN where void.

    Attributes
    ----------
    lowest, highest : array, shape (tiles down, tiles across)
        Heights in metres.
    """

    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]

    def within(self, part: Core) -> tuple[float, float]:
        """Lowest and highest height of the tiles that a part touches; 0 and 0 if all is void."""
        rows = slice(part[0] // TILE, -(-part[1] // TILE))
        columns = slice(part[2] // TILE, -(-part[3] // TILE))
        lowest, highest = self.lowest[rows, columns], self.highest[rows, columns]
        if not np.isfinite(lowest).any():
            return 0.0, 0.0
        return float(np.nanmin(lowest)), float(np.nanmax(highest))


@dataclass(frozen=True, eq=False)
class Cutter:
    """What the windows around the parts of a DEM depend on.

    Attributes
    ----------
    ground : GroundModel
        Positions of the whole DEM.
    radars : tuple of RadarModel
        The radars of all passes.
    images : tuple of tuple of int
        Lines and samples of the images.
    frame : Frame
        Measures of the whole DEM.
    relief : Relief
        Heights.
    needs : Needs
        What the method asks of the surroundings of a cell.
    """

    ground: GroundModel
    radars: tuple[RadarModel, ...]
    images: tuple[tuple[int, int], ...]
    frame: Frame
    relief: Relief
    needs: Needs

    def window(self, core: Core) -> Core:
        """Find the cells on which the result in a part depends."""
        window = core
        # Heights far off do not count: look at all of them first, then at those within reach.
        lowest, highest = self.relief.within((0, self.frame.shape[0], 0, self.frame.shape[1]))
        for _ in range(2):
            down, across = reach_of(
                self.ground, self.radars, self.frame, self.needs, core, lowest, highest
            )
            window = self._around(core, down, across)
            lowest, highest = self.relief.within(window)
        return window

    def _around(self, core: Core, down: int, across: int) -> Core:
        """Widen a part to whole tiles, and so far that the posts around each of them are there.

        A tile whose neighbours' heights are missing would be fitted by other polynomials.
        """
        rows, columns = self.frame.shape
        return (
            max((core[0] - down) // TILE - 1, 0) * TILE,
            min(-(-(core[1] + down) // TILE) * TILE + 1, rows),
            max((core[2] - across) // TILE - 1, 0) * TILE,
            min(-(-(core[3] + across) // TILE) * TILE + 1, columns),
        )

    def bounds(self, window: Core, index: int) -> tuple[float, float, float, float]:
        """Find the least and greatest line, least and greatest sample that a window can light.

        They are -inf, inf, inf and -inf where it lies on the side to which no radar looks.
        """
        radar = self.radars[index]
        places = [
            locate_cell(self.ground, radar, row, column, height, radar.line_zero_time)[:2]
            for row in np.linspace(window[0] - 1.0, window[1], PROBES)
            for column in np.linspace(window[2] - 1.0, window[3], PROBES)
            if cell_on_look_side(self.ground, radar, row, column)
            for height in self.relief.within(window)
        ]
        if not places:
            return -math.inf, math.inf, math.inf, -math.inf
        first, last = np.min(places, axis=0) - SLACK, np.max(places, axis=0) + SLACK
        return float(first[0]), float(last[0]), float(first[1]), float(last[1])

    def lights(self, window: Core) -> bool:
        """Tell whether a window can light a pixel of any image."""
        return any(
            meets_image(np.array(self.bounds(window, index)), *shape)
            for index, shape in enumerate(self.images)
        )

    def pixels(self, window: Core, index: int) -> Core:
        """Find the part of an image that a window can light; one pixel if it lies outside."""
        lines, samples = self.images[index]
        first_line, last_line, first_sample, last_sample = self.bounds(window, index)
        if first_sample > last_sample:
            return 0, 1, 0, 1
        return (
            *_clipped(first_line, last_line, lines),
            *_clipped(first_sample, last_sample, samples),
        )

    def bytes_of(self, core: Core, method: Method, polarisations: int) -> float:
        """Estimate the memory that the work on a part takes, while the next one is read."""
        window = self.window(core)
        cells = (window[1] - window[0]) * (window[3] - window[2])
        simple = isinstance(method, Reallocation)
        by_cell = (40 if simple else 52) + (16 if simple else 48) * polarisations
        by_pixel = 12 + (8 if simple else 12) * polarisations
        total = 12.0 * cells
        for index in range(len(self.radars)):
            lines = self.pixels(window, index)
            pixels = (lines[1] - lines[0]) * (lines[3] - lines[2])
            total += by_cell * cells + by_pixel * pixels
        inside = (core[1] - core[0]) * (core[3] - core[2])
        return total + (22 + 16 * polarisations) * len(self.radars) * inside

    def sides(self, limit: float, method: Method, polarisations: int) -> tuple[int, int]:
        """Choose rows and columns of parts, for the least work that fits in memory.

        Parameters
        ----------
        limit : float
            Bytes that the whole process may take.
        method : Reallocation or PosteriorMean
            How energy is given back.
        polarisations : int
            Polarisations of the images.
        """
        room = room_within(limit)
        rows, columns = self.frame.shape
        best, most = (min(SIDES[0], rows), min(SIDES[0], columns)), math.inf
        for high in SIDES:
            for wide in SIDES:
                size = min(high, rows), min(wide, columns)
                top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
                core = (top, top + size[0], left, left + size[1])
                if self.bytes_of(core, method, polarisations) > room:
                    continue
                window = self.window(core)
                work = (window[1] - window[0]) * (window[3] - window[2]) / (size[0] * size[1])
                if work < 0.98 * most:
                    best, most = size, work
        return best

    def cores(self, sides: tuple[int, int]) -> list[list[Core]]:
        """Cut the DEM into rows of parts."""
        rows, columns = self.frame.shape
        return [
            [
                (row, min(row + sides[0], rows), column, min(column + sides[1], columns))
                for column in range(0, columns, sides[1])
            ]
            for row in range(0, rows, sides[0])
        ]


def room_within(limit: float) -> float:
    """Return how many bytes of a memory limit arrays may take."""
    return max(limit - PROCESS, LEAST_SHARE * limit)


def _clipped(first: float, last: float, size: int) -> tuple[int, int]:
    """Clip a span of pixels to an image, leaving one at least."""
    begin = min(max(math.floor(first), 0), size - 1)
    return begin, max(min(math.ceil(last) + 1, size), begin + 1)
