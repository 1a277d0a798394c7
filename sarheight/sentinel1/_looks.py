"""How many independent looks a window of correlated pixels is worth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight._constants import SPEED_OF_LIGHT

if TYPE_CHECKING:
    from sarheight._annotation import Annotation, Spectrum
    from sarheight.scene import RadarGrid

__all__ = ["equivalent_looks", "independent_pixels"]


def equivalent_looks(
    annotations: Iterable[Annotation], grid: RadarGrid, lines: int, samples: int
) -> float:
    """Return the equivalent number of looks of a mean over a window of a Sentinel-1 image.

    An IW SLC is sampled at 1.1 to 1.6 times its bandwidth, and its spectrum is weighted: what a
    pixel sees is wider than the spacing, and a large window is worth 0.30 to 0.38 looks a pixel.

    Parameters
    ----------
    annotations : iterable of Annotation
        Of the swaths in the image. Of several, the one with the fewest looks counts.
    grid : RadarGrid
        The sampling of the image as it was read, before any averaging.
    lines, samples : int
        Size of the window in pixels.

    Returns
    -------
    float
        Where the annotations do not say how the image was focused, that of the image times the
        pixels of a window.

    See Also
    --------
    independent_pixels : the formula.

    Notes
    -----
    Bandwidths and weights are those of ``swathProcParams`` in the annotation (``lookBandwidth``,
    ``windowType``, ``windowCoefficient``). In the range of a GRD, whose pixels are means of looks
    at neighbouring parts of the spectrum, a look's own spectrum is taken: it decides over what
    distance pixels are correlated.

    References
    ----------
    Sentinel-1 Product Specification, S1-RS-MDA-52-7441: swathProcParams.
    """
    processing = [swath for annotation in annotations for swath in annotation.processing]
    if not processing:
        return grid.looks * lines * samples
    line, sample = (grid.lines - 1) / 2, (grid.samples - 1) / 2
    near, far = grid.slant_range(line, [sample - 0.5, sample + 0.5])
    range_rate = SPEED_OF_LIGHT / (2.0 * float(far - near))
    return grid.looks * min(
        independent_pixels(lines, 1.0 / grid.line_interval, swath.azimuth)
        * independent_pixels(samples, range_rate, swath.range)
        for swath in processing
    )


def independent_pixels(count: int, rate: float, spectrum: Spectrum) -> float:
    r"""Return how many independent pixels have a mean as steady as that of a row of pixels.

    Parameters
    ----------
    count : int
        Pixels in the row.
    rate : float
        Pixels per second along the row, in hertz.
    spectrum : Spectrum
        Bandwidth and weighting along the row.

    Returns
    -------
    float
        From 1 to `count`.

    Notes
    -----
    Speckle of rough ground is a circular Gaussian process. Intensities of pixels that are k
    apart are correlated by :math:`|\rho_k|^2`, where :math:`\rho` is the Fourier transform of
    the power spectrum. The variance of a mean of n of them is that of one times
    :math:`\sum_{|k|<n} (n - |k|) |\rho_k|^2 / n^2`.

    References
    ----------
    Oliver, C. and Quegan, S. (2004). Understanding Synthetic Aperture Radar Images, SciTech,
    section 4.3 and 4.4.
    """
    apart = np.arange(1 - count, count, dtype=np.float64)
    correlated = _correlation(apart * spectrum.bandwidth / rate, spectrum.window) ** 2
    return float(count**2 / np.sum((count - np.abs(apart)) * correlated))


def _correlation(distance: NDArray[np.float64], window: float) -> NDArray[np.float64]:
    """Correlate amplitudes at distances in units of 1 / bandwidth, of a Hamming window."""
    side = 1.0 - window
    # The squared window is a sum of cosines, whose transforms are shifted sinc functions.
    cosines = (window**2 + side**2 / 2.0, window * side, side**2 / 4.0)
    total: NDArray[np.float64] = np.sinc(distance) * cosines[0]
    for order in (1, 2):
        total += cosines[order] * (np.sinc(distance - order) + np.sinc(distance + order))
    return total / cosines[0]
