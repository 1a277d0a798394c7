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
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import HALF, ONE, ZERO, njit

Floats = NDArray[np.float32]
Corners = tuple[np.float32, np.float32, np.float32, np.float32]


@njit
def _corners(values: Floats, row: int, column: int) -> Corners:
    """Values of the four posts of a facet: upper left, upper right, lower left, lower right."""
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
def scatter_facets(line: Floats, sample: Floats, rcs: Floats, parts: int, image: Floats) -> None:
    """Sum the radar cross-sections of facets in pixels.

    Parameters
    ----------
    line, sample : array of float32, shape (rows, columns)
        Fractional pixel coordinates of the posts.
    rcs : array of float32, shape (rows - 1, columns - 1)
        Radar cross-sections of the facets in square metres; those that are 0 or NaN are skipped.
    parts : int
        Parts of a facet along each of its sides.
    image : array of float32, shape (lines, samples)
        Receives the radar cross-section of each pixel in square metres.
    """
    lines, samples = image.shape
    image[:] = ZERO
    step = ONE / np.float32(parts)
    for i in range(rcs.shape[0]):
        for j in range(rcs.shape[1]):
            part = rcs[i, j] * step * step
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
                    image[m, n] += part * (ONE - f) * (ONE - g)
                    image[m, n + 1] += part * (ONE - f) * g
                    image[m + 1, n] += part * f * (ONE - g)
                    image[m + 1, n + 1] += part * f * g


@njit
def scatter_change(
    line: Floats,
    sample: Floats,
    rcs: Floats,
    line_change: Floats,
    sample_change: Floats,
    rcs_change: Floats,
    parts: int,
    image: Floats,
) -> None:
    """Apply the derivative of `scatter_facets` to a change of positions and cross-sections.

    Parameters
    ----------
    line, sample, rcs, parts
        As in `scatter_facets`: where the derivative is taken.
    line_change, sample_change : array of float32, shape (rows, columns)
        Change of the posts' pixel coordinates.
    rcs_change : array of float32, shape (rows - 1, columns - 1)
        Change of the facets' radar cross-sections in square metres.
    image : array of float32, shape (lines, samples)
        Receives the change of each pixel in square metres, to first order.
    """
    lines, samples = image.shape
    image[:] = ZERO
    step = ONE / np.float32(parts)
    for i in range(rcs.shape[0]):
        for j in range(rcs.shape[1]):
            part = rcs[i, j] * step * step
            if not part > ZERO:
                continue
            brighter = rcs_change[i, j] * step * step
            at_line, at_sample = _corners(line, i, j), _corners(sample, i, j)
            by_line, by_sample = _corners(line_change, i, j), _corners(sample_change, i, j)
            for p in range(parts):
                down = (np.float32(p) + HALF) * step
                for q in range(parts):
                    right = (np.float32(q) + HALF) * step
                    u, v = _between(at_line, down, right), _between(at_sample, down, right)
                    m, n = int(np.floor(u)), int(np.floor(v))
                    if not (0 <= m < lines - 1 and 0 <= n < samples - 1):
                        continue
                    du = part * _between(by_line, down, right)
                    dv = part * _between(by_sample, down, right)
                    f, g = u - np.float32(m), v - np.float32(n)
                    # With brighter = dR, the change of R (1 - f) (1 - g) and of its neighbours.
                    upper, lower = brighter * (ONE - f) - du, brighter * f + du
                    image[m, n] += upper * (ONE - g) - dv * (ONE - f)
                    image[m, n + 1] += upper * g + dv * (ONE - f)
                    image[m + 1, n] += lower * (ONE - g) - dv * f
                    image[m + 1, n + 1] += lower * g + dv * f


@njit
def gather_change(
    line: Floats,
    sample: Floats,
    rcs: Floats,
    image: Floats,
    parts: int,
    by_line: Floats,
    by_sample: Floats,
    by_rcs: Floats,
) -> None:
    """Apply the adjoint of `scatter_change` to an image.

    Parameters
    ----------
    line, sample, rcs, parts
        As in `scatter_facets`: where the derivative is taken.
    image : array of float32, shape (lines, samples)
        Derivatives of some number by the pixels.
    by_line, by_sample : array of float32, shape (rows, columns)
        Receive its derivatives by the posts' pixel coordinates.
    by_rcs : array of float32, shape (rows - 1, columns - 1)
        Receives its derivatives by the facets' radar cross-sections; 0 for those that are skipped.
    """
    lines, samples = image.shape
    by_line[:], by_sample[:], by_rcs[:] = ZERO, ZERO, ZERO
    step = ONE / np.float32(parts)
    for i in range(rcs.shape[0]):
        for j in range(rcs.shape[1]):
            part = rcs[i, j] * step * step
            if not part > ZERO:
                continue
            at_line, at_sample = _corners(line, i, j), _corners(sample, i, j)
            total = ZERO
            for p in range(parts):
                down = (np.float32(p) + HALF) * step
                for q in range(parts):
                    right = (np.float32(q) + HALF) * step
                    u, v = _between(at_line, down, right), _between(at_sample, down, right)
                    m, n = int(np.floor(u)), int(np.floor(v))
                    if not (0 <= m < lines - 1 and 0 <= n < samples - 1):
                        continue
                    f, g = u - np.float32(m), v - np.float32(n)
                    a, b, c, d = image[m, n], image[m, n + 1], image[m + 1, n], image[m + 1, n + 1]
                    upper, lower = a + g * (b - a), c + g * (d - c)
                    total += upper + f * (lower - upper)
                    du = part * (lower - upper)
                    dv = part * ((ONE - f) * (b - a) + f * (d - c))
                    # Each post moves a part by its bilinear weight.
                    left, up = ONE - right, ONE - down
                    by_line[i, j] += du * up * left
                    by_line[i, j + 1] += du * up * right
                    by_line[i + 1, j] += du * down * left
                    by_line[i + 1, j + 1] += du * down * right
                    by_sample[i, j] += dv * up * left
                    by_sample[i, j + 1] += dv * up * right
                    by_sample[i + 1, j] += dv * down * left
                    by_sample[i + 1, j + 1] += dv * down * right
            by_rcs[i, j] = total * step * step


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
def relative_change(
    change: Floats, factors: Floats, per_metre: tuple[float, float], result: Floats
) -> None:
    """Add to facets the change of the logarithm of their cross-section with the posts' heights.

    Parameters
    ----------
    change : array of float32, shape (rows, columns)
        Change of the posts' heights in metres.
    factors : array of float32, shape (2, rows - 1, columns - 1)
        Derivatives of the logarithm by the slopes along rows and columns.
    per_metre : pair of float
        As in `facet_geometry`.
    result : array of float32, shape (rows - 1, columns - 1)
        What it is added to.
    """
    down, right = np.float32(0.5 * per_metre[0]), np.float32(0.5 * per_metre[1])
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            a, b, c, d = _corners(change, i, j)
            result[i, j] += factors[0, i, j] * (down * ((c - a) + (d - b)))
            result[i, j] += factors[1, i, j] * (right * ((b - a) + (d - c)))


@njit
def relative_change_adjoint(
    change: Floats, factors: Floats, per_metre: tuple[float, float], result: Floats
) -> None:
    """Add the adjoint of `relative_change`: from facets, `change`, to posts, `result`."""
    down, right = np.float32(0.5 * per_metre[0]), np.float32(0.5 * per_metre[1])
    for i in range(change.shape[0]):
        for j in range(change.shape[1]):
            p = change[i, j] * factors[0, i, j] * down
            q = change[i, j] * factors[1, i, j] * right
            result[i, j] -= p + q
            result[i, j + 1] += q - p
            result[i + 1, j] += p - q
            result[i + 1, j + 1] += p + q
