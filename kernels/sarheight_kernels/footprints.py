r"""Footprints: how a cell's energy is shared among radar pixels.

A cell is the part of the surface nearer to its post than to any other: four quarters, one in
each of the four facets around the post. In radar geometry a quarter is nearly a parallelogram
with edges :math:`(l_u, s_u)` and :math:`(l_v, s_v)` in lines and samples. Its energy is spread over
a rectangle with the same centre and the same variance along either axis,

.. math:: w_l = \sqrt{l_u^2 + l_v^2}, \qquad w_s = \sqrt{s_u^2 + s_v^2},

and shared among the pixels by overlap. A parallelogram that is sheared by more than a pixel is
cut into smaller ones first.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit

__all__ = ["add_quarter", "cell_window", "growing_window", "quarter_box"]

Box = tuple[float, float, float, float, float, float]

THINNEST = 1e-6
"""Smallest width of a rectangle in pixels, so that shares stay finite."""
MOST_CUTS = 4


@njit
def quarter_box(
    line: NDArray[np.float64], across: NDArray[np.float64], i: int, j: int, di: int, dj: int
) -> Box:
    """Centre and edges of a quarter of a cell in radar coordinates.

    Parameters
    ----------
    line, across : array
        Radar coordinates of the posts.
    i, j : int
        Index of the cell's post.
    di, dj : int
        +1 or -1: which quarter.

    Returns
    -------
    tuple of float
        Line and sample of the centre; then the edge along rows (line, sample) and the edge along
        columns (line, sample).
    """
    here_l, here_s = line[i, j], across[i, j]
    row_l, row_s = line[i + di, j], across[i + di, j]
    column_l, column_s = line[i, j + dj], across[i, j + dj]
    far_l, far_s = line[i + di, j + dj], across[i + di, j + dj]
    centre_l = (9.0 * here_l + 3.0 * (row_l + column_l) + far_l) * 0.0625
    centre_s = (9.0 * here_s + 3.0 * (row_s + column_s) + far_s) * 0.0625
    u_l = 0.375 * (row_l - here_l) + 0.125 * (far_l - column_l)
    u_s = 0.375 * (row_s - here_s) + 0.125 * (far_s - column_s)
    v_l = 0.375 * (column_l - here_l) + 0.125 * (far_l - row_l)
    v_s = 0.375 * (column_s - here_s) + 0.125 * (far_s - row_s)
    return centre_l, centre_s, u_l, u_s, v_l, v_s


@njit
def _cuts(u_l: float, u_s: float, v_l: float, v_s: float) -> int:
    """Into how many pieces along each edge a sheared quarter is cut."""
    shear = min(abs(u_l), abs(u_s)) + min(abs(v_l), abs(v_s))
    return max(1, min(math.ceil(shear), MOST_CUTS))


@njit
def _spread(
    centre_l: float,
    centre_s: float,
    width_l: float,
    width_s: float,
    energy: float,
    first_line: int,
    first_sample: int,
    image: NDArray[np.float64],
) -> float:
    """Add a rectangle's energy to the pixels of a window by overlap; return the part within."""
    # Edges in units of the window's pixels, counted from the first one's outer edge.
    low_l, low_s = centre_l - 0.5 * width_l + 0.5 - first_line, centre_s - 0.5 * width_s + 0.5
    low_s -= first_sample
    high_l, high_s = low_l + width_l, low_s + width_s
    density = energy / (width_l * width_s)
    lines, samples = image.shape
    if not (low_l >= 0.0 and low_s >= 0.0 and high_l < lines and high_s < samples):
        low_l, high_l = max(low_l, 0.0), min(high_l, float(lines))
        low_s, high_s = max(low_s, 0.0), min(high_s, float(samples))
        if not (low_l < high_l and low_s < high_s):
            return 0.0
    top, left = int(low_l), int(low_s)
    bottom, right = min(int(high_l), lines - 1), min(int(high_s), samples - 1)
    # The first pixel of a row takes what lies before its end, the last what is left.
    at_left = min(left + 1.0, high_s) - low_s
    at_right = high_s - right
    for line in range(top, bottom + 1):
        height = density * (min(line + 1.0, high_l) - max(float(line), low_l))
        image[line, left] += height * at_left
        for sample in range(left + 1, right):
            image[line, sample] += height
        if right > left:
            image[line, right] += height * at_right
    return density * (high_l - low_l) * (high_s - low_s)


@njit
def add_quarter(
    box: Box,
    energy: float,
    first_line: int,
    first_sample: int,
    image: NDArray[np.float64],
) -> float:
    """Share the energy of a quarter of a cell among the pixels of a window.

    Parameters
    ----------
    box : tuple of float
        Centre and edges from `quarter_box`.
    energy : float
        Energy of the quarter.
    first_line, first_sample : int
        Pixel of the image that is the window's first.
    image : array, shape (lines, samples)
        The window; the shares are added to it.

    Returns
    -------
    float
        The part of the energy that fell into the window.
    """
    centre_l, centre_s, u_l, u_s, v_l, v_s = box
    cuts = _cuts(u_l, u_s, v_l, v_s)
    piece = 1.0 / cuts
    width_l = max(math.sqrt(u_l * u_l + v_l * v_l) * piece, THINNEST)
    width_s = max(math.sqrt(u_s * u_s + v_s * v_s) * piece, THINNEST)
    part = energy * piece * piece
    if cuts == 1:
        return _spread(centre_l, centre_s, width_l, width_s, part, first_line, first_sample, image)
    within = 0.0
    for a in range(cuts):
        u = (a + 0.5) * piece - 0.5
        for b in range(cuts):
            v = (b + 0.5) * piece - 0.5
            within += _spread(
                centre_l + u * u_l + v * v_l,
                centre_s + u * u_s + v * v_s,
                width_l,
                width_s,
                part,
                first_line,
                first_sample,
                image,
            )
    return within


@njit
def _reach(box: Box) -> tuple[float, float]:
    """Half the size of the rectangle that holds all pieces of a quarter."""
    _, _, u_l, u_s, v_l, v_s = box
    return 0.5 * (abs(u_l) + abs(v_l)) + 1e-3, 0.5 * (abs(u_s) + abs(v_s)) + 1e-3


@njit
def cell_window(
    line: NDArray[np.float64],
    across: NDArray[np.float64],
    energy: NDArray[np.float64],
    projected: NDArray[np.float64],
    i: int,
    j: int,
    lines: int,
    samples: int,
    buffer: NDArray[np.float64],
) -> tuple[int, int, int, int, float]:
    """Share the energy of one cell among the pixels around it.

    Parameters
    ----------
    line, across : array, shape (rows + 1, columns + 1)
        Radar coordinates of the posts of a tile.
    energy, projected : array, shape (rows, columns)
        Radar cross-sections and projected areas of the facets between the posts.
    i, j : int
        Index of the cell's post; it has a neighbour on each side.
    lines, samples : int
        Size of the image.
    buffer : array, shape (n,)
        Receives the cell's energy in each pixel of the window, line after line.

    Returns
    -------
    first_line, first_sample : int
        The window's first pixel.
    window_lines, window_samples : int
        Size of the window; zero where the cell lights no pixel of the image, and negative lines
        where `buffer` is too small: minus the size that is needed.
    projected_within : float
        Projected area of the cell that falls into the image, in square metres.
    """
    low_l, high_l, low_s, high_s = math.inf, -math.inf, math.inf, -math.inf
    for quarter in range(4):
        di, dj = 2 * (quarter // 2) - 1, 2 * (quarter % 2) - 1
        if energy[i + (di - 1) // 2, j + (dj - 1) // 2] > 0.0:
            box = quarter_box(line, across, i, j, di, dj)
            reach_l, reach_s = _reach(box)
            low_l, high_l = min(low_l, box[0] - reach_l), max(high_l, box[0] + reach_l)
            low_s, high_s = min(low_s, box[1] - reach_s), max(high_s, box[1] + reach_s)
    if not (high_l > -0.5 and low_l < lines - 0.5 and high_s > -0.5 and low_s < samples - 0.5):
        return 0, 0, 0, 0, 0.0
    first_line = max(math.floor(low_l + 0.5), 0)
    first_sample = max(math.floor(low_s + 0.5), 0)
    window_lines = min(math.floor(high_l + 0.5), lines - 1) - first_line + 1
    window_samples = min(math.floor(high_s + 0.5), samples - 1) - first_sample + 1
    size = window_lines * window_samples
    if size > buffer.size:
        return first_line, first_sample, -size, window_samples, 0.0
    buffer[:size] = 0.0
    window = buffer[:size].reshape(window_lines, window_samples)
    projected_within = 0.0
    for quarter in range(4):
        di, dj = 2 * (quarter // 2) - 1, 2 * (quarter % 2) - 1
        facet_i, facet_j = i + (di - 1) // 2, j + (dj - 1) // 2
        if energy[facet_i, facet_j] > 0.0:
            box = quarter_box(line, across, i, j, di, dj)
            quarter_energy = 0.25 * energy[facet_i, facet_j]
            within = add_quarter(box, quarter_energy, first_line, first_sample, window)
            projected_within += 0.25 * projected[facet_i, facet_j] * within / quarter_energy
    return first_line, first_sample, window_lines, window_samples, projected_within


@njit
def growing_window(
    line: NDArray[np.float64],
    across: NDArray[np.float64],
    energy: NDArray[np.float64],
    projected: NDArray[np.float64],
    i: int,
    j: int,
    lines: int,
    samples: int,
    buffer: NDArray[np.float64],
) -> tuple[int, int, int, int, float, NDArray[np.float64]]:
    """Share the energy of one cell as `cell_window` does, in a larger buffer if need be.

    Parameters
    ----------
    line, across, energy, projected, i, j, lines, samples, buffer
        As in `cell_window`.

    Returns
    -------
    first_line, first_sample, window_lines, window_samples, projected_within
        As in `cell_window`.
    buffer : array
        The buffer that was filled, to be passed on to the next call.
    """
    first_line, first_sample, high, wide, area = cell_window(
        line, across, energy, projected, i, j, lines, samples, buffer
    )
    if high < 0:
        buffer = np.empty(-high)
        first_line, first_sample, high, wide, area = cell_window(
            line, across, energy, projected, i, j, lines, samples, buffer
        )
    return first_line, first_sample, high, wide, area, buffer
