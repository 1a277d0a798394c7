r"""The radar image of a surface, its derivatives by the surface's posts, and their adjoint.

Four posts span a facet, which carries a radar cross-section. Its position in the image is bilinear
between those of its posts; it is divided into parts, and each part is shared among the four pixels
around it by bilinear weights. With the line :math:`l` and sample :math:`s` of part k of facet f,

.. math:: S_q = \sum_{f,k} \frac{R_f}{n} \, \Lambda(l_{fk} - q_l) \, \Lambda(s_{fk} - q_s),
          \qquad \Lambda(t) = \max(1 - |t|, 0)

which is continuous in the posts' positions and in the cross-sections, and differentiable but for
the moments at which a part passes a pixel's centre. A change of the posts thus changes the image
by the derivative of the weights (footprint and position) and by that of the cross-section. Parts
beyond the image are dropped. `footprints` distributes the same cross-section by exact overlap,
which is more accurate for a known surface and has no such derivative.

A linear problem applies the derivatives some dozens of times. They are therefore stored: for each
facet the window of pixels that it reaches, and for each pixel of the window four derivatives, by
the logarithm of the cross-section, and by the mean and the two differences of the heights of the
facet's posts. The twist of a facet, the difference of its diagonals, moves no part by more than a
ninth of itself and is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import B1, F4, HALF, ONE, ZERO, njit

Floats = F4
Windows = NDArray[np.uint16]
Corners = tuple[np.float32, np.float32, np.float32, np.float32]

QUARTER = np.float32(0.25)


@njit
def _corners(values: Floats, row: int, column: int) -> Corners:
    """Read the four posts of a facet: upper left, upper right, lower left, lower right."""
    return (
        values[row, column],
        values[row, column + 1],
        values[row + 1, column],
        values[row + 1, column + 1],
    )


@njit
def _between(corners: Corners, down: np.float32, right: np.float32) -> np.float32:
    """Interpolate bilinearly between the four posts of a facet."""
    upper = corners[0] + right * (corners[1] - corners[0])
    lower = corners[2] + right * (corners[3] - corners[2])
    return upper + down * (lower - upper)


@njit
def scatter_facets(
    line: Floats,
    sample: Floats,
    rcs: Floats,
    area: Floats,
    parts: int,
    image: Floats,
    covered: Floats,
) -> None:
    """Sum the radar cross-sections of facets, and their areas, in pixels.

    Parameters
    ----------
    line, sample : array of float32, shape (rows, columns)
        Fractional pixel coordinates of the posts.
    rcs, area : array of float32, shape (rows - 1, columns - 1)
        Radar cross-sections and projected areas of the facets in square metres; facets whose
        cross-section is 0 or NaN are skipped.
    parts : int
        Parts of a facet along each of its sides.
    image, covered : array of float32, shape (lines, samples)
        Receive the radar cross-section and the area of each pixel in square metres.
    """
    lines, samples = image.shape
    image[:], covered[:] = ZERO, ZERO
    step = ONE / np.float32(parts)
    for i in range(rcs.shape[0]):
        for j in range(rcs.shape[1]):
            part, flat = rcs[i, j] * step * step, area[i, j] * step * step
            if not part > ZERO:
                continue
            at_line, at_sample = _corners(line, i, j), _corners(sample, i, j)
            for p in range(parts):
                down = (np.float32(p) + HALF) * step
                for q in range(parts):
                    right = (np.float32(q) + HALF) * step
                    u, v = _between(at_line, down, right), _between(at_sample, down, right)
                    m, n = int(np.floor(u)), int(np.floor(v))
                    if not (0 <= m < lines - 1 and 0 <= n < samples - 1):
                        continue
                    f, g = u - np.float32(m), v - np.float32(n)
                    a, b, c, d = (ONE - f) * (ONE - g), (ONE - f) * g, f * (ONE - g), f * g
                    image[m, n] += part * a
                    image[m, n + 1] += part * b
                    image[m + 1, n] += part * c
                    image[m + 1, n + 1] += part * d
                    covered[m, n] += flat * a
                    covered[m, n + 1] += flat * b
                    covered[m + 1, n] += flat * c
                    covered[m + 1, n + 1] += flat * d


@njit
def average_pixels(
    line: Floats, sample: Floats, image: Floats, counts: B1, parts: int, result: Floats
) -> None:
    """Average an image over the pixels of each facet, by the facet's share in them.

    Parameters
    ----------
    line, sample, parts
        As in `scatter_facets`.
    image : array of float32, shape (lines, samples)
        Values of the pixels.
    counts : array of bool, shape (lines, samples)
        The pixels that count.
    result : array of float32, shape (rows - 1, columns - 1)
        Receives the averages; NaN where less than half of a facet lies in pixels that count.
    """
    lines, samples = image.shape
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            at_line, at_sample = _corners(line, i, j), _corners(sample, i, j)
            total, weight = ZERO, ZERO
            for p in range(parts):
                down = (np.float32(p) + HALF) / np.float32(parts)
                for q in range(parts):
                    right = (np.float32(q) + HALF) / np.float32(parts)
                    u, v = _between(at_line, down, right), _between(at_sample, down, right)
                    m, n = int(np.floor(u)), int(np.floor(v))
                    if not (0 <= m < lines - 1 and 0 <= n < samples - 1):
                        continue
                    for x in range(2):
                        f = np.abs(np.float32(1 - x) - (u - np.float32(m)))
                        for y in range(2):
                            if counts[m + x, n + y]:
                                g = np.abs(np.float32(1 - y) - (v - np.float32(n)))
                                total += f * g * image[m + x, n + y]
                                weight += f * g
            enough = weight > HALF * np.float32(parts * parts)
            result[i, j] = total / weight if enough else np.nan


@njit
def facet_geometry(
    heights: Floats,
    sight: Floats,
    per_metre: tuple[float, float],
    seen: Floats,
    cosine: Floats,
    slopes: Floats,
) -> None:
    r"""Compute the projected areas and incidence angles of facets, by the area of a map cell.

    With the mean slopes :math:`p, q` along rows and columns and the unit vector L to the radar,

    .. math:: \frac{A \cdot L}{A_0} = L_z - p L_r - q L_c, \qquad
              \cos\theta = \frac{A \cdot L}{A_0 \sqrt{1 + p^2 + q^2}}.

    Parameters
    ----------
    heights : array of float32, shape (rows, columns)
        Heights of the posts in metres.
    sight : array of float32, shape (3, rows - 1, columns - 1)
        L along rows, along columns and up.
    per_metre : pair of float
        1 / distance of rows, and of columns, in 1/m.
    seen, cosine : array of float32, shape (rows - 1, columns - 1)
        Receive the projected area by the area on the map, negative where a facet faces away, and
        the cosine of the local incidence angle.
    slopes : array of float32, shape (2, rows - 1, columns - 1)
        Receives the slopes along rows and columns.
    """
    down, right = np.float32(0.5 * per_metre[0]), np.float32(0.5 * per_metre[1])
    for i in range(seen.shape[0]):
        for j in range(seen.shape[1]):
            a, b, c, d = _corners(heights, i, j)
            p, q = down * ((c - a) + (d - b)), right * ((b - a) + (d - c))
            seen[i, j] = sight[2, i, j] - p * sight[0, i, j] - q * sight[1, i, j]
            cosine[i, j] = seen[i, j] / np.sqrt(ONE + p * p + q * q)
            slopes[0, i, j], slopes[1, i, j] = p, q


@njit
def facet_windows(
    line: Floats, sample: Floats, rcs: Floats, parts: int, shape: tuple[int, int], windows: Windows
) -> int:
    """Find the window of pixels that each facet reaches.

    Parameters
    ----------
    line, sample, rcs, parts
        As in `scatter_facets`.
    shape : pair of int
        Lines and samples of the image.
    windows : array of uint16, shape (rows - 1, columns - 1, 4)
        Receives the first line, the first sample, and the numbers of lines and samples; 0 for
        facets that are skipped or beside the image.

    Returns
    -------
    int
        Number of pixels in all windows.
    """
    outermost = HALF / np.float32(parts)
    total = 0
    for i in range(rcs.shape[0]):
        for j in range(rcs.shape[1]):
            windows[i, j, :] = 0
            if not rcs[i, j] > ZERO:
                continue
            at_line, at_sample = _corners(line, i, j), _corners(sample, i, j)
            # A bilinear function has its extremes over the parts at the outermost ones.
            top = left = np.float32(np.inf)
            bottom = right = np.float32(-np.inf)
            for down in (outermost, ONE - outermost):
                for along in (outermost, ONE - outermost):
                    u, v = _between(at_line, down, along), _between(at_sample, down, along)
                    top, bottom = min(top, u), max(bottom, u)
                    left, right = min(left, v), max(right, v)
            if not (bottom >= ZERO and right >= ZERO and top < shape[0] and left < shape[1]):
                continue
            first = max(int(np.floor(top)), 0), max(int(np.floor(left)), 0)
            lines = min(int(np.floor(bottom)) + 2, shape[0]) - first[0]
            samples = min(int(np.floor(right)) + 2, shape[1]) - first[1]
            if lines < 2 or samples < 2:
                continue
            windows[i, j, 0], windows[i, j, 1] = first
            windows[i, j, 2], windows[i, j, 3] = lines, samples
            total += lines * samples
    return total


@njit
def facet_derivatives(
    line: Floats,
    sample: Floats,
    rcs: Floats,
    rates: tuple[Floats, Floats],
    factors: Floats,
    per_metre: tuple[float, float],
    simulated: Floats,
    parts: int,
    windows: Windows,
    derivatives: Floats,
) -> None:
    """Compute the derivatives of the logarithm of an image by its facets.

    Parameters
    ----------
    line, sample, rcs, parts
        As in `scatter_facets`.
    rates : pair of array of float32, shape (rows, columns)
        Change of the posts' lines and samples with their heights, in pixels a metre.
    factors : array of float32, shape (2, rows - 1, columns - 1)
        Derivatives of ln(rcs) by the slopes along rows and columns.
    per_metre : pair of float
        As in `facet_geometry`.
    simulated : array of float32, shape (lines, samples)
        The image, above 0.
    windows : array of uint16, shape (rows - 1, columns - 1, 4)
        From `facet_windows`.
    derivatives : array of float32, shape (pixels, 4)
        Receives, window by window, the derivatives by ln(rcs), by the mean height of the posts, and
        by their differences along rows and along columns.
    """
    lines, samples = simulated.shape
    step = ONE / np.float32(parts)
    rows, columns = np.float32(per_metre[0]), np.float32(per_metre[1])
    derivatives[:] = ZERO
    begin = 0
    for i in range(rcs.shape[0]):
        for j in range(rcs.shape[1]):
            first_line, first_sample = np.int64(windows[i, j, 0]), np.int64(windows[i, j, 1])
            high, wide = np.int64(windows[i, j, 2]), np.int64(windows[i, j, 3])
            if high == 0:
                continue
            at_line, at_sample = _corners(line, i, j), _corners(sample, i, j)
            by_line = _between(_corners(rates[0], i, j), HALF, HALF)
            by_sample = _between(_corners(rates[1], i, j), HALF, HALF)
            for p in range(parts):
                down = (np.float32(p) + HALF) * step
                for q in range(parts):
                    right = (np.float32(q) + HALF) * step
                    u, v = _between(at_line, down, right), _between(at_sample, down, right)
                    m, n = int(np.floor(u)), int(np.floor(v))
                    if not (0 <= m < lines - 1 and 0 <= n < samples - 1):
                        continue
                    f, g = u - np.float32(m), v - np.float32(n)
                    pixel = begin + (m - first_line) * wide + (n - first_sample)
                    for x in range(2):
                        across = f if x else ONE - f
                        for y in range(2):
                            along = g if y else ONE - g
                            # The weight across · along falls or grows as the part moves on.
                            moved = by_line * (along if x else -along)
                            moved += by_sample * (across if y else -across)
                            at = pixel + x * wide + y
                            derivatives[at, 0] += across * along
                            derivatives[at, 1] += moved
                            derivatives[at, 2] += moved * (down - HALF)
                            derivatives[at, 3] += moved * (right - HALF)
            scale = rcs[i, j] * step * step
            for m in range(high):
                for n in range(wide):
                    share = scale / simulated[first_line + m, first_sample + n]
                    at = begin + m * wide + n
                    weight = share * derivatives[at, 0]
                    derivatives[at, 0] = weight
                    derivatives[at, 1] *= share
                    # A slope is a difference by the posting.
                    derivatives[at, 2] = (
                        share * derivatives[at, 2] + rows * factors[0, i, j] * weight
                    )
                    derivatives[at, 3] = (
                        share * derivatives[at, 3] + columns * factors[1, i, j] * weight
                    )
            begin += int(high * wide)


@njit
def change_image(
    windows: Windows, derivatives: Floats, heights: Floats, logarithm: Floats, image: Floats
) -> None:
    """Apply the derivatives of an image to a change of heights and cross-sections.

    Parameters
    ----------
    windows, derivatives
        From `facet_windows` and `facet_derivatives`.
    heights : array of float32, shape (rows, columns)
        Change of the posts' heights in metres.
    logarithm : array of float32, shape (rows - 1, columns - 1)
        Change of the logarithm of the facets' cross-sections, beside that by their slopes.
    image : array of float32, shape (lines, samples)
        Receives the change of the image's logarithm, to first order.
    """
    image[:] = ZERO
    at = np.uintp(0)
    for i in range(logarithm.shape[0]):
        for j in range(logarithm.shape[1]):
            high, wide = np.uintp(windows[i, j, 2]), np.uintp(windows[i, j, 3])
            if high == 0:
                continue
            top, left = np.uintp(windows[i, j, 0]), np.uintp(windows[i, j, 1])
            a, b, c, d = _corners(heights, i, j)
            level, mean = logarithm[i, j], QUARTER * ((a + b) + (c + d))
            down, right = HALF * ((c - a) + (d - b)), HALF * ((b - a) + (d - c))
            for m in range(top, top + high):
                for n in range(left, left + wide):
                    change = derivatives[at, 0] * level + derivatives[at, 1] * mean
                    image[m, n] += change + (derivatives[at, 2] * down + derivatives[at, 3] * right)
                    at += np.uintp(1)


@njit
def change_image_adjoint(
    windows: Windows, derivatives: Floats, image: Floats, heights: Floats, logarithm: Floats
) -> None:
    """Apply the adjoint of `change_image`: from an image to `heights` and `logarithm`."""
    heights[:] = ZERO
    at = np.uintp(0)
    for i in range(logarithm.shape[0]):
        for j in range(logarithm.shape[1]):
            high, wide = np.uintp(windows[i, j, 2]), np.uintp(windows[i, j, 3])
            top, left = np.uintp(windows[i, j, 0]), np.uintp(windows[i, j, 1])
            level, mean, down, right = ZERO, ZERO, ZERO, ZERO
            for m in range(top, top + high):
                for n in range(left, left + wide):
                    value = image[m, n]
                    level += value * derivatives[at, 0]
                    mean += value * derivatives[at, 1]
                    down += value * derivatives[at, 2]
                    right += value * derivatives[at, 3]
                    at += np.uintp(1)
            logarithm[i, j] = level
            mean *= QUARTER
            both, apart = HALF * (down + right), HALF * (down - right)
            heights[i, j] += mean - both
            heights[i, j + 1] += mean - apart
            heights[i + 1, j] += mean + apart
            heights[i + 1, j + 1] += mean + both
