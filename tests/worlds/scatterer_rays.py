r"""Point scatterers on a smooth surface: how strongly each answers, and what hides it.

*Shadow.* From each scatterer a straight line towards the satellite, which lies in its
zero-Doppler plane, is followed over the surface in steps of half a cell. *Layover.* From each
cell's middle the surface is followed in that plane, away from the radar and towards it.

Random numbers come from a counter, so that those of a scatterer do not depend on which thread, or
which block of rows, it is drawn in.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

from tests.worlds.scatterer_geometry import (
    BLOCK,
    JIT,
    PAD,
    level_course,
    surface_frame,
    surface_height,
    zero_doppler,
)

__all__ = ["draw_scatterers", "fold_cells"]

Floats = NDArray[np.float64]

STEP = 0.5
"""Cells from one point of a ray, or of a profile, to the next."""


@numba.njit(**JIT)
def _hidden(
    coefficients: Floats,
    ceiling: Floats,
    row: float,
    column: float,
    radius: float,
    course: tuple[float, float, float],
) -> bool:
    r"""Tell whether terrain lies on the straight line from a point towards the satellite.

    After s metres, with the line's upward part :math:`c` and :math:`R` the distance from the
    Earth's centre, the line has risen by :math:`c s + (1 - c^2) s^2 / 2R` (the Earth curves away
    below it) and has run over the ground as if it were shorter by
    :math:`R / (R + c s)`.
    """
    rows, columns = coefficients.shape[0] - 2 * PAD, coefficients.shape[1] - 2 * PAD
    down, across, upward = course
    step = STEP / math.hypot(down, across)
    start = surface_height(coefficients, row, column)[0]
    length = 0.0
    while True:
        length += step
        rise = upward * length + (1.0 - upward**2) * length**2 / (2.0 * radius)
        run = length * radius / (radius + upward * length)
        i, j = row + down * run, column + across * run
        if i < -0.5 or j < -0.5 or i > rows - 0.5 or j > columns - 0.5:
            return False
        block_row = min(max(int(i), 0), rows - 1) // BLOCK
        block_column = min(max(int(j), 0), columns - 1) // BLOCK
        if start + rise > ceiling[block_row, block_column]:
            # Nothing reaches the line within a block's length from here.
            length += (BLOCK / STEP - 1.0) * step
        elif surface_height(coefficients, i, j)[0] > start + rise:
            return True


@numba.njit(**JIT)
def _random(key: int, counter: int) -> float:
    """Return the uniform number in (0, 1) of a counter: SplitMix64, started at any place.

    Steele, G. L., Lea, D., Flood, C. H. (2014). Fast splittable pseudorandom number generators.
    OOPSLA '14, 453-472.
    """
    z = np.uint64(key) + (np.uint64(counter) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (float(z >> np.uint64(12)) + 0.5) * 2.0**-52


@numba.njit(**JIT)
def _gamma0(table: Floats, level: float, slope: float, cosine: float, turn: Floats) -> float:
    """Linear gamma0 of a law at a cosine of incidence; `turn` is (steepest, flattest, about)."""
    angle = math.degrees(math.acos(min(cosine, 1.0)))
    place = angle / 90.0 * (table.size - 1)
    i = min(int(place), table.size - 2)
    decibels = table[i] + (place - i) * (table[i + 1] - table[i])
    tilt = slope * (min(max(angle, turn[0]), turn[1]) - turn[2])
    return float(10.0 ** (0.1 * (decibels + level + tilt)))


@numba.njit(parallel=True, **JIT)
def draw_scatterers(
    coefficients: Floats,
    level: Floats,
    ceiling: Floats,
    polynomial: Floats,
    middle: float,
    half: float,
    first_row: int,
    kind: NDArray[np.uint8],
    gain: Floats,
    slope: Floats,
    tables: Floats,
    turn: Floats,
    key: int,
    time: Floats,
    slant_range: Floats,
    variance: Floats,
    amplitude: NDArray[np.complex128],
    area: Floats,
) -> None:
    r"""Draw the point scatterers of some rows of cells.

    Each cell is divided into n × n parts with one scatterer each, at a random place of its part.
    It stands for the surface :math:`|P_r \times P_c| / n^2` and is given a complex circular
    Gaussian amplitude, whose variance is gamma0 times that surface as the radar sees it,
    :math:`\gamma^0(\theta) \, \cos\theta \, |P_r \times P_c| / n^2`, in square metres.

    Parameters
    ----------
    coefficients, level, ceiling
        As in `Surface`.
    polynomial, middle, half
        As in `Path`.
    first_row : int
        Row of the DEM that is the first of the arrays below.
    kind, gain, slope : array, shape (block, columns)
        Index of the law, dB that are added to it, and dB per degree.
    tables : array, shape (kinds, n)
        Laws: gamma0 in dB at incidence angles from 0 to 90 degrees.
    turn : array, shape (3,)
        Degrees between which a slope acts, and about which it turns.
    key : int
        Key of the random numbers, 63 bits.
    time, slant_range : array, shape (block, columns, n * n)
        Receive zero-Doppler times in seconds and slant ranges in metres.
    variance : array, shape (block, columns, n * n)
        Receives variances in square metres, 0 in shadow.
    amplitude : array, shape (block, columns, n * n)
        Receives complex amplitudes in metres, 0 in shadow.
    area : array, shape (block, columns, n * n)
        Receives areas projected along the line of sight in square metres, 0 in shadow.
    """
    columns, parts = time.shape[1], time.shape[2]
    side = round(math.sqrt(parts))
    for local in prange(time.shape[0]):
        frame, state, sight, facet = np.empty((4, 3)), np.empty((3, 3)), np.empty(3), np.empty(3)
        guess = middle
        for column in range(columns):
            for part in range(parts):
                counter = (((first_row + local) * columns + column) * parts + part) * 4
                v = first_row + local - 0.5 + (part // side + _random(key, counter)) / side
                u = column - 0.5 + (part % side + _random(key, counter + 1)) / side
                per_row, per_column = surface_frame(coefficients, level, v, u, frame)
                guess, distance = zero_doppler(polynomial, middle, half, frame[0], guess, state)
                time[local, column, part], slant_range[local, column, part] = guess, distance
                radius = 0.0
                for axis in range(3):
                    sight[axis] = (state[0, axis] - frame[0, axis]) / distance
                    radius += frame[0, axis] ** 2
                # The normal of the surface, its length the area of a cell.
                seen, square, upwards = 0.0, 0.0, 0.0
                for axis in range(3):
                    y, z = (axis + 1) % 3, (axis + 2) % 3
                    row_y = frame[1, y] + per_row * frame[3, y]
                    row_z = frame[1, z] + per_row * frame[3, z]
                    column_y = frame[2, y] + per_column * frame[3, y]
                    column_z = frame[2, z] + per_column * frame[3, z]
                    facet[axis] = row_y * column_z - row_z * column_y
                    square += facet[axis] ** 2
                    seen += facet[axis] * sight[axis]
                    upwards += facet[axis] * frame[3, axis]
                # Rows may run either way: the normal is the one that points upwards.
                seen = seen if upwards > 0.0 else -seen
                course = level_course(frame, sight)
                if seen <= 0.0 or _hidden(coefficients, ceiling, v, u, math.sqrt(radius), course):
                    variance[local, column, part] = 0.0
                    amplitude[local, column, part] = 0.0
                    area[local, column, part] = 0.0
                    continue
                gamma = _gamma0(
                    tables[kind[local, column]],
                    gain[local, column],
                    slope[local, column],
                    seen / math.sqrt(square),
                    turn,
                )
                area[local, column, part] = seen / parts
                variance[local, column, part] = gamma * seen / parts
                # Exponential power and uniform phase make a circular Gaussian.
                size = math.sqrt(-gamma * seen / parts * math.log(_random(key, counter + 2)))
                phase = 2.0 * math.pi * _random(key, counter + 3)
                amplitude[local, column, part] = size * complex(math.cos(phase), math.sin(phase))


@numba.njit(parallel=True, **JIT)
def fold_cells(
    coefficients: Floats,
    level: Floats,
    polynomial: Floats,
    middle: float,
    half: float,
    lowest: float,
    highest: float,
    folded: NDArray[np.bool_],
) -> None:
    """Find the cells that share their slant range with other ground in their zero-Doppler plane.

    From each cell's middle the ground is followed in the plane away from the radar, and towards
    it. Where ground farther out is nearer to the radar, or ground farther in is farther away, the
    slant range takes the cell's value once more in between.

    Parameters
    ----------
    coefficients, level
        As in `Surface`.
    polynomial, middle, half
        As in `Path`.
    lowest, highest : float
        Heights in metres between which the surface lies.
    folded : array, shape (rows, columns)
        Receives whether a cell is in layover, in shadow or not.
    """
    rows, columns = folded.shape
    for row in prange(rows):
        frame, there = np.empty((4, 3)), np.empty((4, 3))
        state, sight = np.empty((3, 3)), np.empty(3)
        guess = middle
        for column in range(columns):
            surface_frame(coefficients, level, float(row), float(column), frame)
            guess, distance = zero_doppler(polynomial, middle, half, frame[0], guess, state)
            for axis in range(3):
                sight[axis] = (state[0, axis] - frame[0, axis]) / distance
            down, across, upward = level_course(frame, sight)
            height = surface_height(coefficients, float(row), float(column))[0]
            # A step is counted in metres along the line of sight: over ground it is less by the
            # sine of incidence.
            sine = math.sqrt(1.0 - upward**2)
            step = STEP / math.hypot(down, across)
            found = False
            for sign in (-1.0, 1.0):
                # Ground at the distance d differs in slant range by d sin - dh cos: beyond
                # dh cot even the highest, or lowest, ground cannot be as near, or as far. A tenth
                # more allows for the Earth's curvature.
                relief = highest - height if sign < 0.0 else height - lowest
                reach = 1.1 * relief * upward / sine**2 + 2.0 * step
                count = int(reach / step)
                for k in range(1, count + 1):
                    i, j = row + sign * k * step * down, column + sign * k * step * across
                    if i < -0.5 or j < -0.5 or i > rows - 0.5 or j > columns - 0.5:
                        break
                    surface_frame(coefficients, level, i, j, there)
                    square = 0.0
                    for axis in range(3):
                        square += (there[0, axis] - state[0, axis]) ** 2
                    if sign * (math.sqrt(square) - distance) > 0.0:
                        found = True
                        break
                if found:
                    break
            folded[row, column] = found
