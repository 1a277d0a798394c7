r"""The refined Lee filter: speckle is averaged along edges, not across them.

Each pixel is estimated from a window of 7 x 7 around it.

1. The means of nine blocks of 3 x 3, two pixels apart, form a coarse image of the window. Four
   gradients are taken of it: across, down, and along both diagonals. The largest is the edge.
2. Of the two halves of the window beside the edge, the one is chosen whose outer block resembles
   the middle block more. Both halves hold the line through the middle: 28 pixels.
3. The chosen half gives a mean :math:`\bar z` and a variance :math:`v_z`. Speckle of :math:`L`
   looks has the variance :math:`1/L` about a reflectivity of one, so that of the reflectivity is

   .. math:: v_x = \max\left(\frac{v_z - \bar z^2 / L}{1 + 1 / L}, 0\right)

4. The best linear estimate of the reflectivity under the pixel :math:`z` is

   .. math:: \hat x = \bar z + \frac{v_x}{v_z} (z - \bar z)

Pixels that are not finite, and those beyond the border, count in no sum: every mean is over what is
there. A block without any takes the mean of the middle block, so that missing data look like no
edge. A half with a single pixel gives that pixel. Where the pixel itself is not finite the result
is NaN, and everywhere else it is finite. Of equal gradients the first in the order above is taken,
of equal halves the first of left, upper, upper right and upper left.

Every sum is made anew of at most seven numbers along a row and then down the rows, in one order:
no running sums that drift, and the same bits however the image is cut up.

References
----------
Lee, J.-S. (1981). Refined filtering of image noise using local statistics. Computer Graphics and
Image Processing 15, 380-389.
"""

from __future__ import annotations

import math

import numpy as np

from sarheight_kernels._numba import F4, I4, NAN, ONE, ZERO, njit
from sarheight_kernels.pool import spread_over

__all__ = ["refined_lee"]

WINDOW = 7
REACH = WINDOW // 2
HALF = np.float32(28.0)
"""Pixels in a half of the window."""
STRIP = 64
WIDTH = 256
"""Rows and columns filtered at a time: the sums of 7 rows stay in the first-level cache."""
LEFT, RIGHT, UP, DOWN, UPPER_RIGHT, LOWER_LEFT, UPPER_LEFT, LOWER_RIGHT = range(8)
VALUE, SQUARE, COUNT = range(3)

Floats = F4
Codes = I4


@njit
def _load(
    image: Floats, row: int, column: int, values: Floats, squares: Floats, counts: Floats
) -> bool:
    """Load a row: values, squares and ones where there are data, zeros where not.

    Returns whether it is complete.
    """
    rows, columns = image.shape
    begin, end = max(-column, 0), min(columns - column, values.size)
    if not 0 <= row < rows:
        begin = end = 0
    for part in (values, squares, counts):
        part[:begin] = 0.0
        part[end:] = 0.0
    source = image[max(min(row, rows - 1), 0), column + begin : column + end]
    missing = values.size - source.size
    values, squares, counts = values[begin:end], squares[begin:end], counts[begin:end]
    for j in range(source.size):
        valid = math.isfinite(source[j])
        value = source[j] if valid else ZERO
        values[j] = value
        squares[j] = value * value
        counts[j] = ONE if valid else ZERO
        missing += 0 if valid else 1
    return missing == 0


@njit
def _sum_along(sums: Floats) -> None:
    """Sum 2 to 7 pixels along a row: ``sums[k, j]`` holds those from j to j + k."""
    width = sums.shape[1]
    for k in range(1, WINDOW):
        before, pixel, after = sums[k - 1], sums[0, k:], sums[k]
        for j in range(width - k):
            after[j] = before[j] + pixel[j]


@njit
def _halves(ring: Floats, first: int, halves: Floats) -> None:
    """Sum over the eight halves of the windows around a row of pixels.

    `ring` is a circular buffer of the sums along seven rows, the topmost at `first`. The half
    ``halves[RIGHT]`` is left out: it is ``halves[LEFT]`` three columns on.
    """
    n = halves.shape[1] - REACH
    a, b, c, d = first, (first + 1) % 7, (first + 2) % 7, (first + 3) % 7
    e, f, g = (first + 4) % 7, (first + 5) % 7, (first + 6) % 7
    left, up, down = halves[LEFT], halves[UP], halves[DOWN]
    for j in range(n + REACH):
        top = (ring[a, 3, j] + ring[b, 3, j]) + (ring[c, 3, j] + ring[d, 3, j])
        left[j] = top + ((ring[e, 3, j] + ring[f, 3, j]) + ring[g, 3, j])
    for j in range(n):
        up[j] = (ring[a, 6, j] + ring[b, 6, j]) + (ring[c, 6, j] + ring[d, 6, j])
    for j in range(n):
        down[j] = (ring[d, 6, j] + ring[e, 6, j]) + (ring[f, 6, j] + ring[g, 6, j])
    upper_right, lower_left = halves[UPPER_RIGHT], halves[LOWER_LEFT]
    for j in range(n):
        top = (ring[a, 6, j] + ring[b, 5, j + 1]) + (ring[c, 4, j + 2] + ring[d, 3, j + 3])
        upper_right[j] = top + ((ring[e, 2, j + 4] + ring[f, 1, j + 5]) + ring[g, 0, j + 6])
    for j in range(n):
        top = (ring[a, 0, j] + ring[b, 1, j]) + (ring[c, 2, j] + ring[d, 3, j])
        lower_left[j] = top + ((ring[e, 4, j] + ring[f, 5, j]) + ring[g, 6, j])
    upper_left, lower_right = halves[UPPER_LEFT], halves[LOWER_RIGHT]
    for j in range(n):
        top = (ring[a, 6, j] + ring[b, 5, j]) + (ring[c, 4, j] + ring[d, 3, j])
        upper_left[j] = top + ((ring[e, 2, j] + ring[f, 1, j]) + ring[g, 0, j])
    for j in range(n):
        top = (ring[a, 0, j + 6] + ring[b, 1, j + 5]) + (ring[c, 2, j + 4] + ring[d, 3, j + 3])
        lower_right[j] = top + ((ring[e, 4, j + 2] + ring[f, 5, j + 1]) + ring[g, 6, j])


@njit
def _block_means(rings: Floats, first: int, full: bool, means: Floats) -> None:  # noqa: FBT001
    """Take the means of the blocks of 3 x 3; NaN where one holds nothing."""
    values, counts = rings[VALUE], rings[COUNT]
    for block in range(3):
        a = (first + 2 * block) % 7
        b, c = (a + 1) % 7, (a + 2) % 7
        mean = means[block]
        for j in range(mean.size):
            mean[j] = values[a, 2, j] + values[b, 2, j] + values[c, 2, j]
        if full:
            for j in range(mean.size):
                mean[j] /= np.float32(9.0)
        else:
            for j in range(mean.size):
                mean[j] /= counts[a, 2, j] + counts[b, 2, j] + counts[c, 2, j]


@njit
def _directions(upper: Floats, middle: Floats, lower: Floats, codes: Codes) -> None:
    """Choose the half of each window, by the means of its blocks.

    Blocks are a b c / d mean e / f g h. The gradients are (c + e + h) - (a + d + f) across,
    (a + b + c) - (f + g + h) down, and (b + c + e) - (d + f + g), (a + b + d) - (e + g + h)
    along the diagonals.
    """
    for j in range(codes.size):
        mean = middle[j + 2]
        a, b, c = upper[j], upper[j + 2], upper[j + 4]
        d, e = middle[j], middle[j + 4]
        f, g, h = lower[j], lower[j + 2], lower[j + 4]
        a = a if a == a else mean  # noqa: PLR0124
        b = b if b == b else mean  # noqa: PLR0124
        c = c if c == c else mean  # noqa: PLR0124
        d = d if d == d else mean  # noqa: PLR0124
        e = e if e == e else mean  # noqa: PLR0124
        f = f if f == f else mean  # noqa: PLR0124
        g = g if g == g else mean  # noqa: PLR0124
        h = h if h == h else mean  # noqa: PLR0124
        largest = abs((c + e + h) - (a + d + f))
        code = LEFT if abs(d - mean) <= abs(e - mean) else RIGHT
        gradient = abs((a + b + c) - (f + g + h))
        other = UP if abs(b - mean) <= abs(g - mean) else DOWN
        code = other if gradient > largest else code
        largest = gradient if gradient > largest else largest
        gradient = abs((b + c + e) - (d + f + g))
        other = UPPER_RIGHT if abs(c - mean) <= abs(f - mean) else LOWER_LEFT
        code = other if gradient > largest else code
        largest = gradient if gradient > largest else largest
        gradient = abs((a + b + d) - (e + g + h))
        other = UPPER_LEFT if abs(a - mean) <= abs(h - mean) else LOWER_RIGHT
        codes[j] = other if gradient > largest else code


@njit
def _choose(codes: Codes, halves: Floats, chosen: Floats) -> None:
    """Take the sum of the half that was chosen for each pixel."""
    n = chosen.size
    left, right, up, down = halves[LEFT], halves[LEFT, REACH:], halves[UP], halves[DOWN]
    for j in range(n):
        code = codes[j]
        upright = left[j] if code == LEFT else right[j]
        level = up[j] if code == UP else down[j]
        chosen[j] = upright if code < UP else level
    for_right, for_left = halves[UPPER_RIGHT], halves[LOWER_LEFT]
    from_left, from_right = halves[UPPER_LEFT], halves[LOWER_RIGHT]
    for j in range(n):
        code = codes[j]
        rising = for_right[j] if code == UPPER_RIGHT else for_left[j]
        falling = from_left[j] if code == UPPER_LEFT else from_right[j]
        slanted = rising if code < UPPER_LEFT else falling
        chosen[j] = slanted if code >= UPPER_RIGHT else chosen[j]


@njit
def _estimate(pixels: Floats, chosen: Floats, noise: np.float32, result: Floats) -> None:
    """Estimate the reflectivity from the moments of the chosen halves."""
    # Steps 3 and 4 of the module's docstring; `noise` is 1 / L.
    values, squares, counts = chosen[VALUE], chosen[SQUARE], chosen[COUNT]
    for j in range(result.size):
        count = counts[j]
        mean = values[j] / count
        others = count - ONE if count > ONE else ONE
        variance = (squares[j] - values[j] * mean) / others
        reflectivity = (variance - mean * mean * noise) / (ONE + noise)
        weight = reflectivity / variance if reflectivity > ZERO else ZERO
        estimate = mean + weight * (pixels[j] - mean)
        estimate = estimate if count > ONE else pixels[j]
        result[j] = estimate if math.isfinite(pixels[j]) else NAN


@njit
def _filter_box(
    image: Floats, noise: np.float32, box: tuple[int, int, int, int], result: Floats
) -> None:
    """Filter rows and columns from `box`: first row, end, first column, end."""
    begin, end, column, last = box
    n = last - column
    rings = np.empty((3, WINDOW, WINDOW, n + 2 * REACH), np.float32)
    halves = np.empty((8, n + REACH), np.float32)
    chosen = np.empty((3, n), np.float32)
    means = np.empty((3, n + 4), np.float32)
    codes = np.empty(n, np.int32)
    complete = np.zeros(WINDOW, np.bool_)
    for row in range(begin - REACH, end + REACH):
        place = (row + WINDOW) % WINDOW
        into = rings[VALUE, place, 0], rings[SQUARE, place, 0], rings[COUNT, place, 0]
        complete[place] = _load(image, row, column - REACH, *into)
        for quantity in range(3):
            _sum_along(rings[quantity, place])
        if row < begin + REACH:
            continue
        full = bool(complete.all())
        first = (place + 1) % WINDOW
        _block_means(rings, first, full, means)
        _directions(means[0], means[1], means[2], codes)
        for quantity in range(COUNT if full else COUNT + 1):
            _halves(rings[quantity], first, halves)
            _choose(codes, halves, chosen[quantity])
        if full:
            chosen[COUNT] = HALF
        centre = row - REACH
        _estimate(image[centre, column:last], chosen, noise, result[centre, column:last])


@spread_over("image", block=STRIP)
@njit
def refined_lee(begin: int, end: int, image: Floats, looks: float, result: Floats) -> None:
    """Filter an image of power.

    Parameters
    ----------
    image : array, shape (rows, columns)
        Linear power; not finite where there are no data.
    looks : float
        Its equivalent number of looks.
    result : array, shape (rows, columns)
        Receives the filtered power; NaN where there are no data.
    """
    noise, columns = np.float32(1.0 / looks), image.shape[1]
    for row in range(begin, end, STRIP):
        for column in range(0, columns, WIDTH):
            box = row, min(row + STRIP, end), column, min(column + WIDTH, columns)
            _filter_box(image, noise, box, result)
