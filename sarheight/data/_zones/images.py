"""How a patch of simulated ground looks to Sentinel-2 and to Sentinel-1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

if TYPE_CHECKING:
    from sarheight.data._zones.regions import Region
    from sarheight.data._zones.surfaces import Ground

__all__ = ["backscatter", "complex_speckle", "reflectances"]

Floats = NDArray[np.float64]
Random = np.random.Generator

SPECTRA = 0.01 * np.array([
    #  B2    B3    B4    B5    B6    B7    B8   B8A   B11   B12
    [16.0, 18.0, 20.0, 21.0, 22.0, 23.0, 24.0, 24.5, 27.0, 26.0],  # concrete
    [8.0, 11.0, 19.0, 22.0, 24.0, 25.0, 26.0, 27.0, 32.0, 29.0],  # tiles
    [26.0, 27.0, 28.0, 28.5, 29.0, 29.5, 30.0, 30.0, 30.0, 28.0],  # metal
    [8.0, 9.0, 10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 15.0, 14.0],  # asphalt
    [3.5, 7.0, 4.5, 11.0, 27.0, 33.0, 35.0, 37.0, 22.0, 12.0],  # grass, green
    [2.0, 4.0, 2.5, 6.5, 20.0, 25.0, 27.0, 28.0, 13.0, 6.0],  # trees, green
    [4.0, 6.5, 6.0, 11.0, 19.0, 22.0, 24.0, 25.0, 22.0, 14.0],  # scrub, green
    [10.0, 14.0, 19.0, 21.0, 23.0, 24.5, 26.0, 27.5, 36.0, 33.0],  # soil
    [14.0, 16.0, 18.0, 19.0, 20.0, 20.5, 21.0, 21.5, 23.0, 21.0],  # rock
    [6.0, 5.5, 3.5, 3.0, 2.0, 1.8, 1.5, 1.2, 0.6, 0.4],  # water
])  # fmt: skip
"""Reflectances of the materials, green plants among them."""
DRY = 0.01 * np.array([9.0, 12.0, 16.0, 19.0, 22.0, 23.5, 25.0, 26.5, 32.0, 25.0])
"""Plants out of season."""
PLANTS = (4, 5, 6)
COARSE = slice(3, 10)
"""Bands of 20 m among those of 10 m, but for B8."""
FINE_BAND = 6
POWER = np.array([
    #  VV     VH   of area without walls
    [0.080, 0.012],
    [0.070, 0.012],
    [0.060, 0.008],
    [0.020, 0.0025],
    [0.070, 0.014],
    [0.130, 0.040],
    [0.090, 0.022],
    [0.060, 0.008],
    [0.110, 0.016],
    [0.010, 0.0006],
])  # fmt: skip
"""Backscatter of the materials."""
CORRELATION = np.array([0.15, 0.15, 0.15, 0.1, 0.05, 0.0, 0.05, 0.1, 0.1, 0.05])
"""Size of the correlation between VV and VH."""
WALL_POWER, WALL_CROSS, WALL_CORRELATION = 0.25, 0.10, 0.45
"""Of walls as high as a cell is wide that face the radar; VH as part of VV."""
GROUND_MATERIALS = (4, 6, 7)


def reflectances(
    ground: Ground, region: Region, posting: float, random: Random
) -> NDArray[np.float32]:
    """Picture the ground in the ten bands of Sentinel-2.

    Parameters
    ----------
    ground : Ground
        The patch.
    region : Region
        Its sun, season, air and palette.
    posting : float
        Metres from cell to cell.
    random : numpy.random.Generator
        Draws mixtures and noise.

    Returns
    -------
    array of float32, shape (rows, columns, 10)
        Reflectance.
    """
    spectra = SPECTRA.copy()
    for plant, lag in zip(PLANTS, (0.0, 0.25, 0.15), strict=True):
        green = np.clip(region.season + lag + 0.1 * random.normal(), 0.0, 1.0)
        spectra[plant] = green * SPECTRA[plant] + (1.0 - green) * DRY
    spectra *= region.palette
    seen = spectra[ground.material]
    seen *= random.lognormal(0.0, 0.12, (*ground.material.shape, 1))
    lit = np.where(_shaded(ground, region, posting, random), 0.35, 1.0)
    seen *= lit[..., None]
    for band in range(seen.shape[-1]):
        coarse = band in range(COARSE.start, COARSE.stop) and band != FINE_BAND
        seen[..., band] = gaussian_filter(seen[..., band], 0.9 if coarse else 0.45)
    brightness = random.lognormal(0.0, 0.05)
    found = brightness * region.gain * seen + region.haze
    found += random.normal(0.0, 0.004, found.shape)
    return np.maximum(found, 1e-4).astype(np.float32)


def _shaded(ground: Ground, region: Region, posting: float, random: Random) -> NDArray[np.bool_]:
    """Tell which cells lie in the shadow of something to their south."""
    azimuth = np.radians(random.normal(160.0, 10.0))
    slope = np.tan(np.radians(region.sun))
    shaded = np.zeros(ground.height.shape, dtype=bool)
    for step in range(1, 6):
        away = step * np.array([np.cos(azimuth), -np.sin(azimuth)])
        higher = shift(ground.height, away, order=0, mode="nearest")
        shaded |= higher - ground.height > step * posting * slope
    return shaded


def backscatter(
    ground: Ground, region: Region, posting: float, random: Random
) -> tuple[Floats, Floats, NDArray[np.complex128]]:
    """Work out what the ground scatters in two polarisations.

    Walls that face the radar answer twice, by way of the street before them, and more so where
    streets run along the track.

    Parameters
    ----------
    ground, region, posting, random
        See `reflectances`.

    Returns
    -------
    vv, vh : array, shape (rows, columns)
        Power.
    both : array of complex128, shape (rows, columns)
        Covariance of VH with the conjugate of VV.
    """
    power = POWER[ground.material]
    soft = np.isin(ground.material, GROUND_MATERIALS)
    power = power * np.where(soft, region.moisture, 1.0)[..., None]
    step = np.round([-np.cos(region.look), np.sin(region.look)]).astype(int)
    before = np.roll(ground.height, tuple(step), axis=(0, 1))
    is_roof = ground.material < 3
    wall = np.where(is_roof, np.maximum(ground.height - before, 0.0), 0.0) / posting
    facing = 0.25 + np.cos(2.0 * (ground.turn - region.look)) ** 8
    walls = WALL_POWER * wall * facing * random.lognormal(0.0, 0.8, wall.shape)
    vv = power[..., 0] + walls
    vh = power[..., 1] + WALL_CROSS * walls
    phase = 2.0 * ground.turn
    both = CORRELATION[ground.material] * np.sqrt(power[..., 0] * power[..., 1]) + (
        WALL_CORRELATION * np.sqrt(WALL_CROSS) * walls * np.exp(1j * phase)
    )
    gain = region.radar_gain
    level = random.lognormal(0.0, 0.10)
    return gain[0] * level * vv, gain[1] * level * vh, np.sqrt(gain[0] * gain[1]) * level * both


def complex_speckle(
    vv: Floats, vh: Floats, both: NDArray[np.complex128], random: Random
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    r"""Draw fully developed speckle: circular complex Gaussian numbers with a given covariance.

    .. math::
        s_{VV} = \sqrt{C_{VV}}\, n_1, \quad
        s_{VH} = \frac{C_{VH,VV}}{\sqrt{C_{VV}}}\, n_1
            + \sqrt{C_{VH} - |C_{VH,VV}|^2 / C_{VV}}\, n_2

    with :math:`n_1, n_2` of mean power 1.

    Parameters
    ----------
    vv, vh : array
        Power.
    both : array of complex
        Covariance of VH with the conjugate of VV.
    random : numpy.random.Generator
        Draws it.

    Returns
    -------
    vv, vh : array of complex64
        Single-look images.

    References
    ----------
    Goodman, N. R. (1963). Statistical analysis based on a certain multivariate complex Gaussian
    distribution. Annals of Mathematical Statistics 34, 152-177.
    """
    parts = random.normal(0.0, np.sqrt(0.5), (4, *vv.shape))
    one, two = parts[0] + 1j * parts[1], parts[2] + 1j * parts[3]
    rest = np.maximum(vh - np.abs(both) ** 2 / vv, 0.0)
    first = np.sqrt(vv) * one
    second = both / np.sqrt(vv) * one + np.sqrt(rest) * two
    return first.astype(np.complex64), second.astype(np.complex64)
