r"""Ratios of an image and its simulation, weighed by how sure the simulation is.

Image and simulation S are both smoothed by the same kernel. Where the simulated RCS changes
quickly along range, an error of the DEM changes it much: by :math:`\partial \ln S / \partial s` for
each sample of displacement. Half the difference of the neighbours' logarithms is taken by their
difference over their sum, its hyperbolic tangent, which also bounds it at the border of what is
simulated. The weight of a pixel is the inverse of the variance of its ratio up to a factor,
:math:`1 / (f + q)` with the square q of that change.

In plain radiometric terrain correction no pixel is weighed. The ratio is

.. math:: \frac{\sum_k g_k I_{p+k}}{\sum_k g_k S_{p+k}}

with a separable kernel g over lines and samples; sums run over the pixels that have data.

An image is worked on in blocks of `STRIP` lines and `CHUNK` samples, which the caches hold, and
only as far as something is simulated.
"""

from __future__ import annotations

import numpy as np

from sarheight_kernels._numba import F4, F8, ONE, ZERO, njit
from sarheight_kernels.pool import spread_over
from sarheight_kernels.radiometry import locate_line
from sarheight_kernels.smoothing import smooth_across, smooth_down

STRIP, CHUNK = 64, 512
"""Lines and samples of a block."""


@njit
def _simulated_samples(simulated: F4, first: int, end: int) -> tuple[int, int]:
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
def _copy_line(simulated: F4, image: F4, begin: int, padded: F4) -> None:
    """Copy a part of a line, from sample `begin`: simulated RCS, and the image where there is some.

    `padded`, shape (1 + polarisations, n), becomes 0 beyond the line and where there is no data.
    """
    first, end = max(-begin, 0), min(simulated.size - begin, padded.shape[1])
    padded[:, :first] = ZERO
    padded[:, end:] = ZERO
    here = simulated[begin + first : begin + end]
    expected = padded[0, first:end]
    for j in range(here.size):
        expected[j] = here[j]
    for p in range(image.shape[0]):
        values, parts = image[p, begin + first : begin + end], padded[1 + p, first:end]
        for j in range(here.size):
            # Where there is no data, nothing is simulated.
            parts[j] = values[j] if here[j] > ZERO else ZERO


@njit
def _write_weights(expected: F4, simulated: F4, floor: np.float32, weight: F4) -> None:
    """Write the weights of pixels; `expected` has one sample more at both ends."""
    before, here, after = expected[:-2], expected[1:-1], expected[2:]
    for j in range(weight.size):
        total = before[j] + after[j]
        change = (after[j] - before[j]) / (total if total > ZERO else ONE)
        valid = (simulated[j] > ZERO) & (here[j] > ZERO)
        weight[j] = ONE / (floor + change * change) if valid else ZERO


@njit
def _write_changes(expected: F4, simulated: F4, squared: F4) -> None:
    """Write the squared changes of pixels, see `_write_weights`."""
    before, here, after = expected[:-2], expected[1:-1], expected[2:]
    for j in range(squared.size):
        total = before[j] + after[j]
        change = (after[j] - before[j]) / (total if total > ZERO else ONE)
        valid = (simulated[j] > ZERO) & (here[j] > ZERO)
        squared[j] = change * change if valid else ZERO


@njit
def _write_ratios(
    smooth: F4, expected: F4, weight: F4, areas: tuple[F4, F4, np.float32], ratio: F4
) -> None:
    """Write weight times ratio of pixels: smoothed intensity times area over simulated RCS."""
    begin, end, fraction = areas
    for j in range(ratio.size):
        area = begin[j] + fraction * (end[j] - begin[j])
        valid = weight[j] > ZERO
        scaled = weight[j] * area * smooth[j] / (expected[j] if valid else ONE)
        ratio[j] = scaled if valid else ZERO


@njit
def _interleave(ratio: F4, weight: F4, pairs: F4) -> None:
    """Write ratios and weights of pixels side by side, shape (n, 2)."""
    for j in range(weight.size):
        pairs[j, 0] = ratio[j]
        pairs[j, 1] = weight[j]


@njit
def _weigh_block(
    image: F4,
    area_lines: F8,
    areas: F4,
    simulated: F4,
    down: F4,
    across: F4,
    floor: np.float32,
    block: tuple[int, int, int, int],
    pairs: F4,
    changes: F4,
) -> None:
    """Weigh the ratios of a block of lines and samples."""
    first, end, left, right = block
    polarisations, samples = image.shape[0], right - left
    high, reach = down.size // 2, across.size // 2
    # One sample more at both ends, from which the change is found.
    lines = np.zeros((1 + polarisations, end - first + 2 * high, samples + 2), np.float32)
    padded = np.empty((1 + polarisations, samples + 2 + 2 * reach), np.float32)
    for line in range(max(first - high, 0), min(end + high, simulated.shape[0])):
        _copy_line(simulated[line], image[:, line], left - 1 - reach, padded)
        for index in range(1 + polarisations):
            smooth_across(padded[index], across, lines[index, line - first + high])
    smooth = np.empty((1 + polarisations, samples + 2), np.float32)
    ratio, weight = np.empty(samples, np.float32), np.empty(samples, np.float32)
    for line in range(first, end):
        for index in range(1 + polarisations):
            smooth_down(lines[index], line - first, down, smooth[index])
        expected = smooth[0]
        # At the border of the image the sample itself takes the place of its neighbour.
        if left == 0:
            expected[0] = expected[1]
        if right == simulated.shape[1]:
            expected[samples + 1] = expected[samples]
        if polarisations == 0:
            _write_changes(expected, simulated[line, left:right], changes[line, left:right])
            continue
        _write_weights(expected, simulated[line, left:right], floor, weight)
        knot, fraction = locate_line(area_lines, float(line))
        table = areas[knot, left:right], areas[knot + 1, left:right], np.float32(fraction)
        for p in range(polarisations):
            _write_ratios(smooth[1 + p, 1:-1], expected[1:-1], weight, table, ratio)
            _interleave(ratio, weight, pairs[p, line, left:right])


@spread_over("simulated", block=STRIP)
@njit
def weigh_ratios(
    begin: int,
    end: int,
    image: F4,
    area_lines: F8,
    areas: F8,
    simulated: F4,
    down: F4,
    across: F4,
    floor: float,
    pairs: F4,
    changes: F4,
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
    pairs : array, shape (polarisations, lines, samples, 2)
        Receives weight times ratio of image and simulation, and the weight; 0 where there is no
        data.
    changes : array, shape (lines, samples) or (0, 0)
        Receives the squared change q of an image without polarisations, of which no ratio is
        wanted; 0 where there is no data.
    """
    table = areas.astype(np.float32)
    for first in range(begin, end, STRIP):
        last = min(first + STRIP, end)
        left, right = _simulated_samples(simulated, first, last)
        pairs[:, first:last, :left] = ZERO
        pairs[:, first:last, max(left, right) :] = ZERO
        changes[first:last, :left] = ZERO
        changes[first:last, max(left, right) :] = ZERO
        for sample in range(left, right, CHUNK):
            block = first, last, sample, min(sample + CHUNK, right)
            _weigh_block(
                image, area_lines, table, simulated, down, across, np.float32(floor), block,
                pairs, changes,
            )  # fmt: skip


@njit
def _mask_row(values: F4, simulated: F4, masked: F4) -> None:
    """Copy values of a line where anything is simulated; 0 elsewhere."""
    for j in range(values.size):
        masked[j] = values[j] if simulated[j] > ZERO else ZERO


@spread_over("simulated", block=STRIP)
@njit
def smooth_by_simulation(
    begin: int, end: int, image: F4, simulated: F4, down: F4, across: F4, smoothed: F4
) -> None:
    """Smooth the ratio of an image and its simulation, and multiply it by the simulation again.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity I; finite where anything is simulated.
    simulated : array, shape (lines, samples)
        Simulated RCS S; 0 where a polarisation has no data.
    down, across : array, shape (2 n + 1,), (2 m + 1,)
        Symmetric kernel in lines and samples.
    smoothed : array, shape (polarisations, lines, samples)
        Receives S times the ratio of the smoothed images; 0 where there is no data.

    References
    ----------
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093.
    """
    polarisations, lines, samples = image.shape
    high, reach = down.size // 2, across.size // 2
    for first in range(begin, end, STRIP):
        last = min(first + STRIP, end)
        # Smoothed along lines; nothing beyond the border of the image.
        along = np.zeros((polarisations + 1, last - first + 2 * high, samples), np.float32)
        padded = np.zeros(samples + 2 * reach, np.float32)
        inner = padded[reach : reach + samples]
        for line in range(max(first - high, 0), min(last + high, lines)):
            for p in range(polarisations + 1):
                values = image[p, line] if p < polarisations else simulated[line]
                _mask_row(values, simulated[line], inner)
                smooth_across(padded, across, along[p, line - first + high])
        total, expected = np.empty(samples, np.float32), np.empty(samples, np.float32)
        for line in range(first, last):
            smooth_down(along[polarisations], line - first, down, expected)
            here = simulated[line]
            for p in range(polarisations):
                smooth_down(along[p], line - first, down, total)
                row = smoothed[p, line]
                for j in range(samples):
                    valid = (here[j] > ZERO) & (expected[j] > ZERO)
                    ratio = total[j] / (expected[j] if valid else ONE)
                    row[j] = ratio * here[j] if valid else ZERO
