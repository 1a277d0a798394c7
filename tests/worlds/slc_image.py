r"""The single-look complex image of point scatterers, and what a processor averages from it.

Bandwidths, windows and sampling are those of Sentinel-1 IW. A scatterer adds its impulse response
where it appears; thermal noise passes the same filters; intensities are averaged in windows around
the pixels that are wanted.

Left out are what changes neither intensity nor its statistics: the carrier's phase
:math:`4\pi R/\lambda` (scatterers have random phases as it is), and the Doppler centroid of TOPS
bursts (a phase ramp of the impulse response).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from sarheight.grid import RadarGrid
from tests.worlds.scatterer_geometry import JIT, Path, ellipsoid_points

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

SPEED_OF_LIGHT = 299_792_458.0

REACH = 16
"""Samples to either side to which a response reaches. Beyond lie 0.3 to 0.4 % of its energy
(the window is 0.4 to 0.5 at the edge of the band, so side lobes fall as 1/x)."""
STRIP = 64
"""Lines of the image that one thread owns; more than `REACH`."""
DETECTED_LINES = 256
"""Lines that are averaged at a time."""


@dataclass(frozen=True)
class Instrument:
    """What a radar and its processor make of a point.

    Bandwidths, windows and sampling of Sentinel-1 IW are those that its annotations state under
    ``swathProcParamsList`` (`processingBandwidth`, `windowCoefficient`) and ``imageInformation``:
    here S1A of 2023-09-04 (IW1, IW2) and 2022-09-18 (IW3).
    """

    range_bandwidth: float = 56.5e6  # processed bandwidths in hertz
    azimuth_bandwidth: float = 327.0
    range_window: float = 0.75  # coefficients a of the Hamming windows a + (1 - a) cos(2 π f / B)
    azimuth_window: float = 0.70
    range_rate: float = 64.345_238_125_714_28e6  # sampling rate of slant range in hertz
    line_interval: float = 2.055_556_3e-3  # seconds between lines
    # Noise-equivalent sigma0, linear power. Sentinel-1 IW is specified to -22 dB (Torres, R. et
    # al. (2012). GMES Sentinel-1 mission. Remote Sensing of Environment 120, 9-24).
    noise: float = 10.0**-2.2

    @property
    def range_spacing(self) -> float:
        """Metres of slant range between samples."""
        return SPEED_OF_LIGHT / (2.0 * self.range_rate)


IW1 = Instrument()
IW2 = Instrument(range_bandwidth=48.3e6, azimuth_bandwidth=313.0, azimuth_window=0.75)
IW3 = Instrument(range_bandwidth=42.79e6, azimuth_bandwidth=314.0, azimuth_window=0.75)
"""The three sub-swaths of Sentinel-1's interferometric wide swath."""


@dataclass(frozen=True)
class SlcGrid:
    """The sampling of a single-look complex image."""

    first_time: float  # zero-Doppler time of line 0 and time between lines, in seconds
    line_interval: float
    near_range: float  # slant range of sample 0 and distance between samples, in metres
    range_spacing: float
    lines: int  # size
    samples: int

    def pixels(self, time: Floats, slant: Floats) -> tuple[Floats, Floats]:
        """Return fractional lines and samples of zero-Doppler times and slant ranges."""
        line = (time - self.first_time) / self.line_interval
        return line, (slant - self.near_range) / self.range_spacing


@numba.njit(**JIT)
def _fill_taps(taps: Floats, offset: float, band: float, window: float) -> None:
    r"""Fill the samples of an impulse response whose centre lies `offset` samples off the middle.

    The response of a Hamming-weighted band, B / (sampling rate) = `band` wide, is

    .. math:: a \, \mathrm{sinc}(x) + \tfrac{1 - a}{2} (\mathrm{sinc}(x-1) + \mathrm{sinc}(x+1)),

    x in units of 1 / B, which is :math:`\sin(\pi x)/\pi \, (a/x - (1 - a) \, x / (x^2 - 1))`.
    Samples are scaled to a sum of squares of 1.
    """
    # From one sample to the next the sine's argument grows by a constant.
    turn_cosine, turn_sine = math.cos(math.pi * band), math.sin(math.pi * band)
    x = -band * ((taps.size - 1) // 2 + offset)
    sine, cosine = math.sin(math.pi * x), math.cos(math.pi * x)
    energy = 0.0
    for k in range(taps.size):
        square = x * x
        if square < 1e-12:
            value = window
        elif abs(square - 1.0) < 1e-6:
            value = 0.5 * (1.0 - window)
        else:
            value = sine / math.pi * (window / x - (1.0 - window) * x / (square - 1.0))
        taps[k] = value
        energy += value * value
        x += band
        sine, cosine = (
            sine * turn_cosine + cosine * turn_sine,
            cosine * turn_cosine - sine * turn_sine,
        )
    scale = 1.0 / math.sqrt(energy)
    for k in range(taps.size):
        taps[k] *= scale


def impulse_response(offset: float, band: float, window: float) -> Floats:
    """Return samples of an impulse response with a sum of squares of 1, shape (33,).

    Its centre lies `offset` samples, -0.5 to 0.5, from the middle one; `band` is bandwidth by
    sampling rate, `window` the coefficient of the Hamming window.
    """
    taps = np.empty(2 * REACH + 1)
    _fill_taps(taps, offset, band, window)
    return taps


@numba.njit(parallel=True, **JIT)
def _add_responses(
    line: Floats,
    sample: Floats,
    amplitude: Complex,
    order: NDArray[np.int64],
    begin: NDArray[np.int64],
    bands: tuple[float, float],
    windows: tuple[float, float],
    slc: Complex,
) -> None:
    """Add impulse responses to an image; each iteration owns a strip of its lines.

    `order` sorts scatterers by strip and `begin` says where each strip's begin in it; the strips
    before the first and after the last are counted. Within a strip they are added in this order,
    whichever thread does it.
    """
    lines, samples = slc.shape
    for strip in prange((lines + STRIP - 1) // STRIP):
        down, across = np.empty(2 * REACH + 1), np.empty(2 * REACH + 1)
        first, last = strip * STRIP, min((strip + 1) * STRIP, lines)
        # Two real sums keep to the processor's vector units, where a complex one does not.
        real, imaginary = np.zeros((last - first, samples)), np.zeros((last - first, samples))
        # Responses reach into a strip from the ones before and after, which is from
        # begin[strip] to begin[strip + 3], as the one before the first is number 0.
        for place in range(begin[strip], begin[strip + 3]):
            k = order[place]
            i, j = int(np.floor(line[k] + 0.5)), int(np.floor(sample[k] + 0.5))
            top, bottom = max(i - REACH, first), min(i + REACH + 1, last)
            left, right = max(j - REACH, 0), min(j + REACH + 1, samples)
            if top >= bottom or left >= right:
                continue
            _fill_taps(down, line[k] - i, bands[0], windows[0])
            _fill_taps(across, sample[k] - j, bands[1], windows[1])
            taps = across[left - j + REACH : right - j + REACH]
            for m in range(top, bottom):
                factor = amplitude[k] * down[m - i + REACH]
                real_part, imaginary_part = factor.real, factor.imag
                real_line = real[m - first, left:right]
                imaginary_line = imaginary[m - first, left:right]
                for n in range(taps.size):
                    real_line[n] += real_part * taps[n]
                    imaginary_line[n] += imaginary_part * taps[n]
        slc[first:last] += real + 1j * imaginary


def bands_of(instrument: Instrument) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return bandwidths by sampling rate, and coefficients of the Hamming windows.

    Both are pairs, of azimuth and range.
    """
    bands = (
        instrument.azimuth_bandwidth * instrument.line_interval,
        instrument.range_bandwidth / instrument.range_rate,
    )
    return bands, (instrument.azimuth_window, instrument.range_window)


def focus(
    line: Floats, sample: Floats, amplitude: Complex, instrument: Instrument, slc: Complex
) -> None:
    """Add the impulse responses of scatterers to a single-look complex image.

    `line` and `sample`, shape (n,), are fractional pixels and may lie beyond the image. Amplitudes
    are in metres: their squared magnitude is the radar cross-section, which a response adds to
    the image's sum of squared magnitudes.
    """
    strips = -(-slc.shape[0] // STRIP)
    seen = np.flatnonzero(amplitude)
    strip = np.clip(np.floor(line[seen] / STRIP), -1, strips).astype(np.int64) + 1
    order = seen[np.argsort(strip, kind="stable")]
    begin = np.concatenate([[0], np.cumsum(np.bincount(strip, minlength=strips + 2))])
    bands, windows = bands_of(instrument)
    _add_responses(line, sample, amplitude, order, begin, bands, windows, slc)


def equivalent_looks(instrument: Instrument, looks: tuple[int, int]) -> float:
    r"""Return the equivalent number of looks of a mean over a window of the complex image.

    Intensities k samples apart are correlated by :math:`|\rho_k|^2`, with the autocorrelation
    :math:`\rho` of the impulse response; a mean of n has the variance
    :math:`\sum_k (n - |k|) |\rho_k|^2 / n^2` of one. `looks` are lines and samples of the window.
    """
    result = 1.0
    for count, band, window in zip(looks, *bands_of(instrument), strict=True):
        taps = impulse_response(0.0, band, window)
        correlation = np.correlate(taps, taps, mode="full") ** 2
        lag = np.arange(correlation.size) - correlation.size // 2
        weight = np.clip(count - np.abs(lag), 0, None) / count**2
        result /= float(np.sum(weight * correlation))
    return result


def slc_grid_for(grid: RadarGrid, instrument: Instrument, looks: tuple[int, int]) -> SlcGrid:
    """Lay the complex image from which a grid's pixels are averaged.

    Its samples are aligned with pixel (0, 0) such that, where the grid's spacing is a multiple of
    the complex image's, whole samples are averaged. It has a margin for the impulse response.
    """
    line, sample = np.meshgrid([0, grid.lines - 1], np.arange(grid.samples), indexing="ij")
    slant = grid.slant_range(line, sample)
    time = grid.azimuth_time(line, slant)
    margin = [each // 2 + REACH for each in looks]
    # The middle of a window of an even number of samples lies between two of them.
    half = [0.5 * (1 - each % 2) for each in looks]
    dt, dr = instrument.line_interval, instrument.range_spacing
    first = float(time[0, 0]) - (margin[0] + half[0]) * dt
    near = float(slant[0, 0]) - (margin[1] + half[1]) * dr
    # Lines of one range, or ranges of one sample, may begin earlier than those of pixel (0, 0).
    first -= np.ceil((float(time[0, 0]) - float(time.min())) / dt) * dt
    near -= np.ceil((float(slant[0, 0]) - float(slant.min())) / dr) * dr
    lines = int(np.ceil((float(time.max()) - first) / dt)) + margin[0] + 2
    samples = int(np.ceil((float(slant.max()) - near) / dr)) + margin[1] + 2
    return SlcGrid(first, dt, near, dr, lines, samples)


def pixel_areas(slc: SlcGrid, path: Path, side: float) -> tuple[Floats, Floats]:
    """Return the area to which beta0 refers in square metres, and the sine of incidence.

    The area of a pixel is its side across the track in slant range times its side along the track
    on the ellipsoid, in the middle line; incidence is that on the ellipsoid. Both have the shape
    (samples,). `side` is 1 where the radar looks to the right, -1 to the left.
    """
    slant = slc.near_range + slc.range_spacing * np.arange(slc.samples)
    time = np.full(slc.samples, slc.first_time + 0.5 * (slc.lines - 1) * slc.line_interval)
    step = 0.5 * slc.line_interval
    along = ellipsoid_points(path, time + step, slant, side) - ellipsoid_points(
        path, time - step, slant, side
    )
    across = ellipsoid_points(path, time, slant + 0.5 * slc.range_spacing, side)
    across -= ellipsoid_points(path, time, slant - 0.5 * slc.range_spacing, side)
    sine = slc.range_spacing / np.linalg.norm(across, axis=1)
    return np.linalg.norm(np.cross(along, across), axis=1) * sine, sine


def add_noise(
    slc: Complex, power: Floats, instrument: Instrument, random: np.random.Generator
) -> None:
    """Add thermal noise that has passed the same filters as the echoes.

    `power`, shape (samples,), is its mean in the units of the image's squared magnitude.
    """
    bands, windows = bands_of(instrument)
    down, across = (impulse_response(0.0, *each) for each in zip(bands, windows, strict=True))
    deviation = np.sqrt(0.5 * power)
    for part in (slc.real, slc.imag):
        noise = convolve1d(random.standard_normal(slc.shape), down, axis=0, mode="wrap")
        np.add(part, deviation * convolve1d(noise, across, axis=1, mode="wrap"), out=part)


def detect(
    intensity: Floats, slc: SlcGrid, grid: RadarGrid, looks: tuple[int, int]
) -> NDArray[np.float32]:
    """Average intensities of a complex image, shape (lines, samples), around the pixels of a grid.

    Windows of `looks` lines and samples may begin and end within a sample: the sum over a window is
    a difference of the summed area, linear in between.
    """
    summed = np.zeros((slc.lines + 1, slc.samples + 1))
    np.cumsum(intensity, axis=0, out=summed[1:, 1:])
    np.cumsum(summed[1:, 1:], axis=1, out=summed[1:, 1:])
    image = np.empty(grid.shape, dtype=np.float32)

    def corner(line: Floats, sample: Floats) -> Floats:
        i = np.clip(np.floor(line).astype(int), 0, slc.lines - 1)
        j = np.clip(np.floor(sample).astype(int), 0, slc.samples - 1)
        t, u = line - i, sample - j
        low = summed[i, j] + u * (summed[i, j + 1] - summed[i, j])
        high = summed[i + 1, j] + u * (summed[i + 1, j + 1] - summed[i + 1, j])
        value: Floats = low + t * (high - low)
        return value

    for first in range(0, grid.lines, DETECTED_LINES):
        block = slice(first, min(first + DETECTED_LINES, grid.lines))
        line, sample = np.meshgrid(
            np.arange(block.start, block.stop), np.arange(grid.samples), indexing="ij"
        )
        slant = grid.slant_range(line, sample)
        # A sample reaches half a sample to either side, so its middle is at + 0.5 of the sums.
        down = (grid.azimuth_time(line, slant) - slc.first_time) / slc.line_interval + 0.5
        across = (slant - slc.near_range) / slc.range_spacing + 0.5
        top, bottom = down - 0.5 * looks[0], down + 0.5 * looks[0]
        left, right = across - 0.5 * looks[1], across + 0.5 * looks[1]
        total = corner(bottom, right) - corner(top, right)
        total -= corner(bottom, left) - corner(top, left)
        image[block] = total / (looks[0] * looks[1])
    return image
