r"""How far a place reaches: which other places can share its pixels, or put it in shadow.

Two places share a pixel where their slant ranges agree. If their heights differ by :math:`H`, they
lie at most :math:`H / \tan\theta` apart on the ground, with the incidence angle
:math:`\theta`. One throws its shadow on the other over at most :math:`H \tan\theta`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.models import ground_block, ground_position, locate_cell
from sarheight_kernels.orbit import evaluate_orbit

from sarheight.layover._methods import Reallocation
from sarheight.layover._posterior import PRIOR_DISTANCE, VARIANCE_POOLING

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

    from sarheight.layover._frame import Core, Frame
    from sarheight.layover._methods import Method

__all__ = ["Needs", "needs_of", "reach_of"]

SLACK = 1.05
"""By how much more than the geometry of a plane demands is taken along."""
BORDER = 3.0
"""Rows and columns more, for the footprints of neighbouring cells and for the profiles."""
STEEPEST, FLATTEST = math.radians(3.0), math.radians(85.0)
"""Incidence angles beyond which no radar images."""


@dataclass(frozen=True)
class Needs:
    """What a method asks of the surroundings of a cell.

    Attributes
    ----------
    folds : int
        How often energy is shared among the cells of a pixel, each time on what came before.
    pixels : tuple of float
        Lines and samples by which an image is smoothed to either side, in all.
    rows, columns : float
        Cells over which values are pooled to either side, in all.
    """

    folds: int
    pixels: tuple[float, float]
    rows: float
    columns: float


def needs_of(method: Method, frame: Frame) -> Needs:
    """Add up what a method asks of the surroundings of a cell."""
    if isinstance(method, Reallocation):
        down, across = (each.size // 2 for each in frame.pooling(VARIANCE_POOLING))
        return Needs(1, (0.0, 0.0), down, across)
    near = [each.size // 2 for each in frame.pooling(method.pooling)]
    far = [each.size // 2 for each in frame.pooling(PRIOR_DISTANCE * method.pooling)]
    steps = method.steps
    pixels = (0.0, 0.0)
    for index in range(len(frame.cell_sizes)):
        blur = frame.blur(method.blur, index)
        if blur is not None:
            pixels = (
                max(pixels[0], steps * (blur[0].size // 2)),
                max(pixels[1], steps * (blur[1].size // 2)),
            )
    # The prior's own variance is pooled once more than its mean.
    rows, columns = ((steps + 1) * a + (steps - 1) * b for a, b in zip(near, far, strict=True))
    return Needs(steps, pixels, rows, columns)


def _direction(
    ground: GroundModel, row: float, column: float, height: float, radar: RadarModel
) -> tuple[float, NDArray[np.float64]]:
    """Incidence at a place, and rows and columns that lie in a metre of ground range."""
    down, across = ground_block(ground, row, column)
    here = np.array(ground_position(ground, down, across, row, column))
    below = np.array(ground_position(ground, down, across, row + 1.0, column))
    right = np.array(ground_position(ground, down, across, row, column + 1.0))
    normal = here[3:]
    place = here[:3] + height * normal
    _, _, time, _ = locate_cell(ground, radar, row, column, height, radar.line_zero_time)
    satellite = np.array(
        evaluate_orbit(time, radar.orbit_start, radar.orbit_coefficients)[:3], dtype=np.float64
    )
    sight = satellite - place
    sight /= np.linalg.norm(sight)
    cosine = float(np.clip(sight @ normal, -1.0, 1.0))
    level = sight - cosine * normal
    level /= max(float(np.linalg.norm(level)), 1e-9)
    steps = np.stack((below[:3] - here[:3], right[:3] - here[:3]), axis=1)
    cells, *_ = np.linalg.lstsq(steps, level, rcond=None)
    return math.acos(cosine), np.abs(cells)


def reach_of(
    ground: GroundModel,
    radars: tuple[RadarModel, ...],
    frame: Frame,
    needs: Needs,
    part: Core,
    lowest: float,
    highest: float,
) -> tuple[int, int]:
    """Find how many rows and columns around a part of a DEM its result depends on.

    Parameters
    ----------
    ground : GroundModel
        Positions of the whole DEM.
    radars : tuple of RadarModel
        The radars of all passes.
    frame : Frame
        Measures of the whole DEM.
    needs : Needs
        What the method asks.
    part : tuple of int
        First row, end row, first column, end column.
    lowest, highest : float
        Heights between which the terrain there and around lies, in metres.

    Returns
    -------
    rows, columns : int
        To either side.
    """
    relief = highest - lowest
    rows = columns = 0.0
    middle = 0.5 * (part[0] + part[1]), 0.5 * (part[2] + part[3])
    places = [(row, column) for row in part[:2] for column in part[2:]] + [middle]
    for radar, sizes in zip(radars, frame.cell_sizes, strict=True):
        # Pixels and what they are smoothed by, in cells.
        footprint = max(
            (needs.folds + pixels) / size for pixels, size in zip(needs.pixels, sizes, strict=True)
        )
        for row, column in places:
            for height in (lowest, highest):
                angle, cells = _direction(ground, row, column, height, radar)
                angle = min(max(angle, STEEPEST), FLATTEST)
                metres = relief * (needs.folds / math.tan(angle) + math.tan(angle))
                down, across = SLACK * metres * cells
                rows, columns = max(rows, down + footprint), max(columns, across + footprint)
    border = BORDER * (needs.folds + 1)
    return (
        math.ceil(rows + needs.rows + border),
        math.ceil(columns + needs.columns + border),
    )
