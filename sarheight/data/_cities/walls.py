"""The outer walls of a simulated city."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sarheight.data._cities.plan import Boxes
    from sarheight.data._cities.raster import Raster

__all__ = ["Walls", "walls_of"]

STEP = 2.5
"""Metres between the points of a wall."""
LEAST_RISE = 1.0
"""Metres by which a wall must rise above what is before it."""


@dataclass(frozen=True, eq=False)
class Walls:
    """Points along the outer walls of a city's buildings.

    Attributes
    ----------
    x, y : array, shape (n,)
        Foot of the wall in metres, eastwards and northwards.
    length : array, shape (n,)
        Metres of wall for which the point stands.
    height : array, shape (n,)
        Metres from the foot to the top.
    normal : array, shape (n,)
        Direction that the wall faces, radians counterclockwise from east.
    building : array, shape (n,)
        Index of the building.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    length: NDArray[np.float64]
    height: NDArray[np.float64]
    normal: NDArray[np.float64]
    building: NDArray[np.int64]


def walls_of(
    boxes: Boxes, built: NDArray[np.bool_], raster: Raster, building: NDArray[np.floating]
) -> Walls:
    """Set points along all walls, and keep what rises above the place before it.

    Parameters
    ----------
    boxes : Boxes
        The buildings.
    built : array, shape (n,)
        Which of them there are.
    raster : Raster
        The raster of the city.
    building : array, shape (rows, columns)
        Heights of buildings in metres; 0 where there is none.

    Returns
    -------
    Walls
    """
    sides = [np.empty((6, 0))]
    for number in np.flatnonzero(built).tolist():
        x, y, length, width, angle, height, _ = (float(column[number]) for column in boxes)
        for quarter in range(4):
            side, depth = (length, width) if quarter % 2 else (width, length)
            normal = angle + 0.5 * math.pi * quarter
            count = max(round(side / STEP), 1)
            along = ((np.arange(count) + 0.5) / count - 0.5) * side
            one = np.ones(count)
            places = (
                x + 0.5 * depth * math.cos(normal) - along * math.sin(normal),
                y + 0.5 * depth * math.sin(normal) + along * math.cos(normal),
            )
            rest = (side / count * one, height * one, normal * one, number * one)
            sides.append(np.stack([*places, *rest]))
    x, y, piece, top, normal, owner = np.concatenate(sides, axis=1)
    away = raster.posting * np.stack([np.cos(normal), np.sin(normal)])
    rise = top - raster.values_at(building, x + away[0], y + away[1])
    kept = rise > LEAST_RISE
    return Walls(
        x[kept], y[kept], piece[kept], rise[kept], normal[kept], owner[kept].astype(np.int64)
    )
