"""Real Sentinel-1 pixels over hills in Morocco, brought back into radar geometry.

The amplitudes are those of two dates of an IW SLC (first and second swath, one line by four
samples averaged), which eo_tools has geocoded onto pixels of 15 m. Each pixel's intensity is put
back where `sarheight.geometry.geo2rdr` says that the radar saw it, and the pixels of the map that
fall into one pixel of the radar are averaged. So these are real pixels resampled twice, not the
image as it was delivered.

The DEM's heights are above the geoid: they agree to centimetres on average with those of the next
DEM to the west, in which the sea is zero. The geoid is taken to lie at `GEOID`. Ten metres more or
less make no difference here: the map pixels go back through the same heights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import rioxarray
import xarray as xr
from numpy.typing import NDArray

from benchmarks._mountains.scenes import data_file
from sarheight import dem as elevation
from sarheight.geometry import geo2rdr
from sarheight.scene import Scene
from sarheight.sentinel1 import read_grid, read_orbit

__all__ = ["DATES", "Explained", "Hills", "hills"]

FOLDER = "sentinel1/morocco_20230904/"
AMPLITUDES = FOLDER + "amp_coh_vv_geocoded.tif"
ANNOTATION = FOLDER + "s1a-iw1-slc-vv-20230904t063731-20230904t063756-050174-0609e3-004.xml.xz"
DEM = "dem/glo60m_morocco_haouz_burst_iw1.tif"
DATES = ("2023-09-04", "2023-09-16")
GEOID = 47.0
"""Height of the geoid above the ellipsoid in metres, roughly; see above."""
AROUND = 0.03
"""Degrees of the DEM around the pixels."""
FEWEST = 0.3
"""Part of the map pixels that a radar pixel should hold, without which it has no value."""
CORRELATED = 2.0
"""Pixels of an IW SLC that make one independent look."""
RESAMPLES = 300
"""How often blocks are drawn again for a bootstrap."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hills:
    """The hills, with an image for each date and one of the mean intensity.

    Attributes
    ----------
    scenes : dict of Scene
        By date, and "mean".
    dem : xarray.DataArray
        Heights above the ellipsoid.
    """

    scenes: dict[str, Scene]
    dem: xr.DataArray


def hills(lines: int, samples: int, folder: str | None = None) -> Hills:
    """Bring the amplitudes into radar geometry.

    Parameters
    ----------
    lines, samples : int
        Pixels of the SLC that make a pixel of the image.
    folder : str, optional
        Where the data are; see `benchmarks._mountains.scenes.data_file`.

    Returns
    -------
    Hills
    """
    amplitude = rioxarray.open_rasterio(data_file(AMPLITUDES, folder))
    if not isinstance(amplitude, xr.DataArray):
        msg = f"found {type(amplitude).__name__} in {AMPLITUDES}, expected one raster"
        raise TypeError(msg)
    west, south, east, north = amplitude.rio.bounds()
    whole = elevation.open_dem(data_file(DEM, folder), vertical=GEOID)
    dem = elevation.check_dem(whole).sel(
        x=slice(west - AROUND, east + AROUND), y=slice(north + AROUND, south - AROUND)
    )
    orbit = read_orbit(data_file(ANNOTATION, folder))
    whole_grid = read_grid(data_file(ANNOTATION, folder))
    # The second swath has the same timing: one grid goes on across both.
    wide = replace(whole_grid, samples=whole_grid.samples + 1000, bursts=())
    independent = lines * samples / CORRELATED
    grid = wide.multilook(lines, samples, looks=max(independent, 1.0))
    fine = dem.interp(x=amplitude.x, y=amplitude.y).astype(np.float32)
    seen = geo2rdr(fine.assign_attrs(dem.attrs).rio.write_crs(4326), grid, orbit)
    part = tuple(
        slice(max(int(seen[name].min()), 0), int(seen[name].max()) + 2)
        for name in ("line", "sample")
    )
    grid = grid.crop(*part)
    places = [seen[name].values - each.start for name, each in zip(seen, part, strict=True)]
    power = amplitude.values[: len(DATES)].astype(np.float64) ** 2
    images = [_binned(each, (places[0], places[1]), grid.shape) for each in power]
    images.append(np.mean(images, axis=0))
    scenes = {
        name: Scene(
            xr.DataArray(image.astype(np.float32), dims=("line", "sample")), grid, orbit, "beta0"
        )
        for name, image in zip((*DATES, "mean"), images, strict=True)
    }
    return Hills(scenes, dem)


def _binned(power: Floats, places: tuple[Floats, Floats], shape: tuple[int, int]) -> Floats:
    """Average the intensities of the map pixels that fall into each radar pixel."""
    line, sample = places
    # Zeros are no data.
    known = np.isfinite(line) & np.isfinite(sample) & (power > 0.0)
    row, column = np.rint(line[known]).astype(int), np.rint(sample[known]).astype(int)
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    index = row[inside] * shape[1] + column[inside]
    size = shape[0] * shape[1]
    count = np.bincount(index, minlength=size)
    total = np.bincount(index, power[known][inside], minlength=size)
    least = max(FEWEST * float(np.median(count[count > 0])), 1.0)
    mean = np.where(count >= least, total / np.maximum(count, 1), np.nan)
    return np.asarray(mean.reshape(shape))


@dataclass(frozen=True, eq=False)
class Explained:
    """Logarithms of measured and simulated intensity, and the block of each pixel."""

    measured: Floats
    simulated: Floats
    block: NDArray[np.int64]

    def correlation(self) -> tuple[float, float]:
        """Return the correlation, and its standard error by a bootstrap over blocks."""
        random = np.random.default_rng(0)
        names, index = np.unique(self.block, return_inverse=True)
        sums = np.array(
            [
                np.bincount(index, values)
                for values in (
                    np.ones(index.size),
                    self.measured,
                    self.simulated,
                    self.measured**2,
                    self.simulated**2,
                    self.measured * self.simulated,
                )
            ]
        )
        drawn = random.integers(0, names.size, (RESAMPLES, names.size))
        resampled = [_correlation(sums[:, each].sum(axis=1)) for each in drawn]
        return _correlation(sums.sum(axis=1)), float(np.std(resampled))


def _correlation(sums: Floats) -> float:
    """Return the correlation that follows from count, sums, squares and product."""
    count, first, second, squares, other_squares, product = sums
    covariance = product - first * second / count
    return float(
        covariance / np.sqrt((squares - first**2 / count) * (other_squares - second**2 / count))
    )
