r"""Ratios of an image and its simulation, weighed by how sure the simulation is.

Image and simulation S are both smoothed by the same kernel. Where the simulated RCS changes
quickly along range, an error of the DEM changes it much: by :math:`\partial \ln S / \partial s` for
each sample of displacement. Half the difference of the neighbours' logarithms is taken by their
difference over their sum, its hyperbolic tangent, which also bounds it at the border of what is
simulated. The weight of a pixel is the inverse of the variance of its ratio up to a factor,
:math:`1 / (f + q)` with the square q of that change.

An image is worked on in blocks of `STRIP` lines and `CHUNK` samples, which the caches hold, and
only as far as something is simulated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import ONE, ZERO, njit
from sarheight_kernels.pool import spread_over
from sarheight_kernels.radiometry import locate_line

STRIP, CHUNK = 64, 512
"""Lines and samples of a block."""


@njit
def _simulated_samples(simulated: NDArray[np.float32], first: int, end: int) -> tuple[int, int]:
    """Find the first and the end of the samples in which some lines have simulated RCS."""
    left, right = simulated.shape[1], 0
    for line in range(first, end):
        row = simulated[line]
        j = 0
        while j < left and not row[j] > ZERO:
            j += 1
        left = min(left, j)
        j = row.size
        while j > right and not row[j - 1] > ZERO:
            j -= 1
        right = max(right, j)
    return left, right


@njit
def _copy_line(
    simulated: NDArray[np.float32],
    image: NDArray[np.float32],
    begin: int,
    padded: NDArray[np.float32],
) -> None:
    """Copy a part of a line, from sample `begin`: simulated RCS, and the image where there is some.

    `padded`, shape (1 + polarisations, n), becomes 0 beyond the line and where there is no data.
    """
    first, end = max(-begin, 0), min(simulated.size - begin, padded.shape[1])
    padded[:, :first] = ZERO
    padded[:, end:] = ZERO
    here = simulated[begin + first : begin + end]
    expected = padded[0, first:end]
    expected[:] = here
    for p in range(image.shape[0]):
        values, parts = image[p, begin + first : begin + end], padded[1 + p, first:end]
        for j in range(here.size):
            # Where there is no data, nothing is simulated.
            parts[j] = values[j] if here[j] > ZERO else ZERO


@njit
def _smooth_across(
    padded: NDArray[np.float32], kernel: NDArray[np.float32], smooth: NDArray[np.float32]
) -> None:
    """Smooth values along a line by a symmetric kernel; `padded` has its reach on both sides."""
    reach, size = kernel.size // 2, smooth.size
    middle, values = kernel[reach], padded[reach : reach + size]
    for j in range(size):
        smooth[j] = middle * values[j]
    for k in range(reach):
        weight, before = kernel[k], padded[k : k + size]
        after = padded[kernel.size - 1 - k : kernel.size - 1 - k + size]
        for j in range(size):
            smooth[j] += weight * (before[j] + after[j])


@njit
def _smooth_down(
    lines: NDArray[np.float32], first: int, kernel: NDArray[np.float32],
    smooth: NDArray[np.float32],
) -> None:  # fmt: skip
    """Smooth lines by a symmetric kernel that begins at line `first`."""
    reach, last = kernel.size // 2, first + kernel.size - 1
    middle, values = kernel[reach], lines[first + reach]
    for j in range(smooth.size):
        smooth[j] = middle * values[j]
    for k in range(reach):
        weight, before, after = kernel[k], lines[first + k], lines[last - k]
        for j in range(smooth.size):
            smooth[j] += weight * (before[j] + after[j])


@njit
def _write_weights(
    expected: NDArray[np.float32],
    simulated: NDArray[np.float32],
    floor: np.float32,
    weight: NDArray[np.float32],
) -> None:
    """Write the weights of pixels; `expected` has one sample more at both ends."""
    before, here, after = expected[:-2], expected[1:-1], expected[2:]
    for j in range(weight.size):
        total = before[j] + after[j]
        change = (after[j] - before[j]) / (total if total > ZERO else ONE)
        valid = (simulated[j] > ZERO) & (here[j] > ZERO)
        weight[j] = ONE / (floor + change * change) if valid else ZERO


@njit
def _write_ratios(
    smooth: NDArray[np.float32],
    expected: NDArray[np.float32],
    weight: NDArray[np.float32],
    areas: tuple[NDArray[np.float32], NDArray[np.float32], np.float32],
    ratio: NDArray[np.float32],
) -> None:
    """Write weight times ratio of pixels: smoothed intensity times area over simulated RCS."""
    begin, end, fraction = areas
    for j in range(ratio.size):
        area = begin[j] + fraction * (end[j] - begin[j])
        valid = weight[j] > ZERO
        scaled = weight[j] * area * smooth[j] / (expected[j] if valid else ONE)
        ratio[j] = scaled if valid else ZERO


@njit
def _interleave(
    ratios: NDArray[np.float32], weight: NDArray[np.float32], channels: NDArray[np.float32]
) -> None:
    """Write ratios, shape (k, n), and weights of pixels side by side: shape (n, k + 1)."""
    if ratios.shape[0] == 1:
        only = ratios[0]
        for j in range(weight.size):
            channels[j, 0] = only[j]
            channels[j, 1] = weight[j]
        return
    for p in range(ratios.shape[0]):
        channels[:, p] = ratios[p]
    channels[:, ratios.shape[0]] = weight


@njit
def _weigh_block(
    image: NDArray[np.float32],
    area_lines: NDArray[np.float64],
    areas: NDArray[np.float32],
    simulated: NDArray[np.float32],
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    floor: np.float32,
    block: tuple[int, int, int, int],
    channels: NDArray[np.float32],
) -> None:
    """Do the work of `weigh_ratios` for a block of lines and samples."""
    first, end, left, right = block
    polarisations, samples = channels.shape[2] - 1, right - left
    high, reach = down.size // 2, across.size // 2
    # One sample more at both ends, from which the change is found.
    lines = np.zeros((1 + polarisations, end - first + 2 * high, samples + 2), np.float32)
    padded = np.empty((1 + polarisations, samples + 2 + 2 * reach), np.float32)
    for line in range(max(first - high, 0), min(end + high, simulated.shape[0])):
        _copy_line(simulated[line], image[:polarisations, line], left - 1 - reach, padded)
        for index in range(1 + polarisations):
            _smooth_across(padded[index], across, lines[index, line - first + high])
    smooth = np.empty((1 + polarisations, samples + 2), np.float32)
    ratios, weight = np.empty((polarisations, samples), np.float32), np.empty(samples, np.float32)
    for line in range(first, end):
        for index in range(1 + polarisations):
            _smooth_down(lines[index], line - first, down, smooth[index])
        expected = smooth[0]
        # At the border of the image the sample itself takes the place of its neighbour.
        if left == 0:
            expected[0] = expected[1]
        if right == simulated.shape[1]:
            expected[samples + 1] = expected[samples]
        _write_weights(expected, simulated[line, left:right], floor, weight)
        knot, fraction = locate_line(area_lines, float(line))
        table = areas[knot, left:right], areas[knot + 1, left:right], np.float32(fraction)
        for p in range(polarisations):
            _write_ratios(smooth[1 + p, 1:-1], expected[1:-1], weight, table, ratios[p])
        _interleave(ratios, weight, channels[line, left:right])


@spread_over("simulated", block=STRIP)
@njit
def weigh_ratios(
    begin: int,
    end: int,
    image: NDArray[np.float32],
    area_lines: NDArray[np.float64],
    areas: NDArray[np.float64],
    simulated: NDArray[np.float32],
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    floor: float,
    channels: NDArray[np.float32],
) -> None:
    r"""Compare an image with its simulation, and weigh each pixel, see the head of this module.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity.
    area_lines, areas : array, shape (k,), (k, samples)
        Areas to which intensities refer, in square metres, see
        `sarheight_kernels.radiometry.areas_of_line`.
    simulated : array, shape (lines, samples)
        Simulated RCS; 0 where a polarisation has no data.
    down, across : array, shape (2 n + 1,), (2 m + 1,)
        Symmetric kernel in lines and samples.
    floor : float
        Variance f of a ratio where nothing changes, in units of that which a change of 1 causes.
    channels : array, shape (lines, samples, polarisations + 1) or (lines, samples, 1)
        Receives weight times ratio of image and simulation, if there is room for it, and the
        weight; 0 where there is no data.
    """
    table = areas.astype(np.float32)
    for first in range(begin, end, STRIP):
        last = min(first + STRIP, end)
        left, right = _simulated_samples(simulated, first, last)
        channels[first:last, :left] = ZERO
        channels[first:last, max(left, right) :] = ZERO
        for sample in range(left, right, CHUNK):
            block = first, last, sample, min(sample + CHUNK, right)
            _weigh_block(
                image, area_lines, table, simulated, down, across, np.float32(floor), block,
                channels,
            )  # fmt: skip
