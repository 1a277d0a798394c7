"""Correlation of an image with its simulation, and one shift from many windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FLOOR = 0.05
"""Part of the median that is added before the logarithm: shadow and noise weigh little."""
FINE_SIGMA, COARSE_SIGMA = 0.7, 8.0
"""Standard deviations in pixels of the Gaussians between which bandpass lies."""
LOBE_RADIUS = 6
"""Pixels from its peak within which a correlation is not yet that of chance."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of a window of an image and its simulation, at each shift.

    The sums are over the pixels that both have, of deviations from their means, shape
    (2 reach + 1, 2 reach + 1); the middle is no shift.
    """

    product: Floats  # sums of image times simulation
    image: Floats  # sums of the squared image
    simulation: Floats  # sums of the squared simulation
    pixels: int  # pixels of the window with data


def bandpass(values: Floats, valid: Mask) -> Floats:
    """Filter out all but the variation over a few pixels, in single precision.

    Shapes: `values` (lines, samples); returns (lines, samples).
    """
    from sarheight_kernels.estimation import pool

    known, weight = values.astype(np.float32), valid.astype(np.float32)
    means = np.empty((2, *values.shape), np.float32)
    for taps, mean in zip(TAPS, means, strict=True):
        pool(known, weight, taps, taps, mean)
    return np.where(valid, means[0] - means[1], 0.0).astype(np.float64)


def _gaussian(width: float) -> NDArray[np.float32]:
    """Sample a Gaussian out to four standard deviations, with a sum of 1."""
    reach = round(4.0 * width)
    taps: Floats = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    return np.asarray(taps / taps.sum(), dtype=np.float32)


TAPS = _gaussian(FINE_SIGMA), _gaussian(COARSE_SIGMA)


def log_bandpass(power: Floats, valid: Mask) -> Floats:
    """Filter out all but the variation over a few pixels of the logarithm of an intensity.

    Shapes: `power` (lines, samples); returns (lines, samples).
    """
    median = float(np.median(power[valid])) if valid.any() else 0.0
    if median <= 0.0:
        return np.zeros(power.shape)
    floored = np.maximum(np.where(valid, power / median, 1.0), 0.0) + FLOOR
    return bandpass(np.log(floored), valid)


def moments(image: Floats, image_valid: Mask, simulation: Floats, simulated: Mask) -> Moments:
    """Sum the second moments of a window and its simulation at each shift, by Fourier transforms.

    Shapes: `image` (lines, samples), `simulation` (lines + 2 reach, samples + 2 reach).
    Source: Padfield, D. (2012). Masked object registration in the Fourier domain. IEEE TIP 21(5),
    2706-2718, equation 23.
    """
    from scipy.fft import irfftn, next_fast_len, rfftn

    sizes = list(zip(image.shape, simulation.shape, strict=True))
    padded = [next_fast_len(small + large - 1, real=True) for small, large in sizes]
    valid = tuple(slice(small - 1, large) for small, large in sizes)
    if image_valid.all() and simulated.all():
        # Only one of the sums is no sum over a box.
        spectrum = rfftn(simulation, padded) * rfftn(image[::-1, ::-1], padded)
        product = irfftn(spectrum, padded)[valid][::-1, ::-1]
        return _moments_of_all(image, simulation, product)
    ours, theirs = image_valid.astype(np.float64), simulated.astype(np.float64)
    image, simulation = image * ours, simulation * theirs
    # The spectra of each mask, its values and their squares serve several correlations.
    here = [rfftn(each[::-1, ::-1], padded) for each in (ours, image, image**2)]
    there = [rfftn(each, padded) for each in (theirs, simulation, simulation**2)]

    def summed(power: int, other: int) -> Floats:
        """Sum the product of powers of image and simulation at each shift."""
        # Sliding the window over the simulation counts shifts the other way round.
        found: Floats = irfftn(there[other] * here[power], padded)[valid][::-1, ::-1]
        return found

    count = np.maximum(summed(0, 0), 1.0)
    image_sum, simulation_sum = summed(1, 0), summed(0, 1)
    return Moments(
        product=summed(1, 1) - image_sum * simulation_sum / count,
        image=np.maximum(summed(2, 0) - image_sum**2 / count, 0.0),
        simulation=np.maximum(summed(0, 2) - simulation_sum**2 / count, 0.0),
        pixels=int(image_valid.sum()),
    )


def _moments_of_all(image: Floats, simulation: Floats, product: Floats) -> Moments:
    """Sum the second moments where no pixel is missing, given the sums of products."""

    def over_boxes(values: Floats) -> Floats:
        """Sum over the window at each shift, by sums from the first corner."""
        total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
        np.cumsum(values, axis=0, out=total[1:, 1:])
        np.cumsum(total[1:, 1:], axis=1, out=total[1:, 1:])
        down, across = image.shape
        strips = total[down:] - total[:-down]
        sums: Floats = strips[:, across:] - strips[:, :-across]
        # Sliding the window over the simulation counts shifts the other way round.
        return sums[::-1, ::-1]

    first, sums = float(image.sum()), over_boxes(simulation)
    square = max(float((image**2).sum()) - first**2 / image.size, 0.0)
    return Moments(
        product=product - first * sums / image.size,
        image=np.full(product.shape, square),
        simulation=np.maximum(over_boxes(simulation**2) - sums**2 / image.size, 0.0),
        pixels=image.size,
    )


def correlation(windows: Sequence[Moments]) -> Floats:
    """Correlate several windows together, each about its own mean.

    Returns shape (2 reach + 1, 2 reach + 1).
    """
    product, image, simulation = (
        np.sum([getattr(window, name) for window in windows], axis=0)
        for name in ("product", "image", "simulation")
    )
    norm = np.sqrt(image * simulation)
    coefficient = np.zeros(product.shape)
    np.divide(product, norm, out=coefficient, where=norm > 1e-12 * norm.max())
    return coefficient


def peak_of(surface: Floats, limit: tuple[int, int]) -> tuple[float, float, bool]:
    """Find the peak of a correlation, to a fraction of a pixel.

    Shapes: `surface` (2 reach + 1, 2 reach + 1).
    """
    middle = surface.shape[0] // 2
    part = surface[
        middle - limit[0] : middle + limit[0] + 1, middle - limit[1] : middle + limit[1] + 1
    ]
    top = np.unravel_index(int(np.argmax(part)), part.shape)
    line, sample = int(top[0]) - limit[0], int(top[1]) - limit[1]
    inside = abs(line) < limit[0] and abs(sample) < limit[1]
    row, column = middle + line, middle + sample
    if not (0 < row < surface.shape[0] - 1 and 0 < column < surface.shape[1] - 1):
        return float(line), float(sample), False
    near = surface[row - 1 : row + 2, column - 1 : column + 2]
    offset = _vertex(near)
    return line + offset[0], sample + offset[1], inside


def _vertex(near: Floats) -> tuple[float, float]:
    """Fit a paraboloid to 3 x 3 values; return its vertex within a pixel of the middle one."""
    step = np.array([-1.0, 0.0, 1.0])
    slope_line = float((near * step[:, None]).sum()) / 6.0
    slope_sample = float((near * step).sum()) / 6.0
    bend = step**2 - 2.0 / 3.0
    bend_line = float((near * bend[:, None]).sum())
    bend_sample = float((near * bend).sum())
    twist = float((near * step[:, None] * step).sum()) / 4.0
    determinant = bend_line * bend_sample - twist**2
    if determinant <= 0.0 or bend_line >= 0.0:
        return 0.0, 0.0
    line = (twist * slope_sample - bend_sample * slope_line) / determinant
    sample = (twist * slope_line - bend_line * slope_sample) / determinant
    return float(np.clip(line, -1.0, 1.0)), float(np.clip(sample, -1.0, 1.0))


def significance(surface: Floats, line: float, sample: float) -> float:
    """Return by how many standard deviations a peak rises above its surroundings."""
    middle = surface.shape[0] // 2
    row, column = np.indices(surface.shape) - middle
    around = surface[np.hypot(row - line, column - sample) > LOBE_RADIUS]
    spread = float(around.std())
    height = float(surface[round(line) + middle, round(sample) + middle])
    return (height - float(around.mean())) / spread if spread > 0.0 else 0.0


CLOSE = 4
"""Averaged pixels around the common shift within which a window's own shift is searched."""
OUTLIER = 4.0
"""Robust standard deviations beyond which the shift of a window is an outlier."""
NEAR = 1.0
"""Averaged pixels from the median within which a shift is no outlier."""
FEWEST_FOR_OUTLIERS = 5
FEWEST_FOR_JACKKNIFE = 4


@dataclass(frozen=True, eq=False)
class Pool:
    """The common shift of several windows, in averaged lines and samples."""

    used: NDArray[np.bool_]  # (windows,): false for outliers
    window_shifts: Floats  # (windows, 2): the shift of each window by itself
    window_correlations: Floats  # (windows,): the correlation of each window at no shift
    surface: Floats  # (2 reach + 1, 2 reach + 1): correlation of all windows that are used
    shift: Floats  # (2,)
    error: Floats  # (2,): standard errors of the shift

    @classmethod
    def of(cls, windows: Sequence[Moments]) -> Pool:
        """Pool windows, one at least."""
        surfaces = [correlation([window]) for window in windows]
        shifts = np.array([_shift(surface) for surface in surfaces])
        used = ~_outliers(shifts)
        kept = [window for window, good in zip(windows, used, strict=True) if good]
        surface = correlation(kept)
        middle = surface.shape[0] // 2
        return cls(
            used=used,
            window_shifts=shifts,
            window_correlations=np.array([each[middle, middle] for each in surfaces]),
            surface=surface,
            shift=np.array(_shift(surface)),
            error=_error(kept, surface),
        )


def _shift(surface: Floats) -> tuple[float, float]:
    """Find the peak of a correlation near its middle, in averaged lines and samples."""
    line, sample, _ = peak_of(surface, (CLOSE, CLOSE))
    return line, sample


def _outliers(shifts: Floats) -> NDArray[np.bool_]:
    """Mark the shifts of windows, shape (windows, 2), that lie far from their median."""
    if len(shifts) < FEWEST_FOR_OUTLIERS:
        return np.zeros(len(shifts), dtype=bool)
    away = np.abs(shifts - np.median(shifts, axis=0))
    # The factor makes the median deviation a standard deviation where errors are normal.
    scale = 1.4826 * np.median(away, axis=0)
    return np.asarray((away > np.maximum(OUTLIER * scale, NEAR)).any(axis=1))


def _error(used: Sequence[Moments], surface: Floats) -> Floats:
    """Estimate the standard errors of a pooled shift in averaged pixels, shape (2,)."""
    white = _error_of_white_noise(surface, sum(each.pixels for each in used))
    if len(used) < FEWEST_FOR_JACKKNIFE:
        return white
    without = np.array(
        [_shift(correlation([other for other in used if other is not each])) for each in used]
    )
    jackknife: Floats = np.sqrt((len(used) - 1) * without.var(axis=0))
    return np.fmax(white, jackknife)


def _error_of_white_noise(surface: Floats, pixels: int) -> Floats:
    r"""Return the standard errors that noise independent from pixel to pixel would leave.

    With the correlation :math:`\rho` at the peak and its second derivative,
    :math:`\sigma^2 = (1 - \rho^2) / (-n \rho \rho'')`: the bound of Cramér and Rao for the delay
    of a known signal.
    """
    middle = surface.shape[0] // 2
    row, column = (middle + int(np.rint(each)) for each in _shift(surface))
    top = surface[row, column]
    bends = 2.0 * top - np.array(
        [
            surface[row - 1, column] + surface[row + 1, column],
            surface[row, column - 1] + surface[row, column + 1],
        ]
    )
    if top <= 0.0 or not (bends > 0.0).all():
        return np.full(2, np.inf)
    error: Floats = np.sqrt((1.0 - top**2) / (pixels * top * bends))
    return error
