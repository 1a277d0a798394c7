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

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import rioxarray
import xarray as xr
from numpy.typing import NDArray

from benchmarks._mountains.scenes import data_file
from sarheight import dem as elevation
from sarheight.coregistration import estimate_shift
from sarheight.geometry import geo2rdr
from sarheight.illumination import BackscatterLaw, ConstantGamma, simulate
from sarheight.layover import fit_law
from sarheight.scene import Scene, ground_sample_spacing
from sarheight.sentinel1 import read_grid, read_orbit

if TYPE_CHECKING:
    from benchmarks._figures import Value

__all__ = ["Explained", "Hills", "blocks", "explain", "hills", "measure"]

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
PIXEL = 4, 15
"""Lines and samples of the SLC that make a pixel of 56 x 59 m, about the DEM's posting."""
BLOCK = 1500.0
"""Width of a block in metres."""
SEARCH = 300.0
"""Metres: four pixels of this size are not much."""
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


def blocks(scene: Scene, width: float) -> NDArray[np.int64]:
    """Give each pixel the number of its block, `width` metres wide; parities as on a chessboard."""
    line, sample = np.indices(scene.grid.shape)
    row = (line * scene.grid.line_spacing(scene.orbit) // width).astype(np.int64)
    spacing = ground_sample_spacing(scene.grid, scene.orbit)
    column = (sample * spacing // width).astype(np.int64)
    columns = int(column.max()) + 1
    # With an odd number of columns, neighbours above and beside differ in parity.
    return np.asarray(row * (columns + 1 - columns % 2) + column)


def _predicted(scene: Scene, place: Hills, law: BackscatterLaw) -> Floats:
    """Simulate an image of what a law lets expect; NaN where it expects nothing."""
    image = simulate(place.dem, scene.grid, scene.orbit, law=law).image.values.astype(np.float64)
    return np.where(image > 0.0, image, np.nan)


Maker = Callable[[Scene, xr.DataArray], BackscatterLaw]
LAWS: dict[str, Maker] = {
    "safe.morocco.mean.area_alone": lambda _scene, _dem: ConstantGamma(),
    "safe.morocco_log_intensity_correlation": fit_law,
}
"""By the key of the figure, what makes a law of an image and a DEM."""


def explain(scene: Scene, place: Hills, make: Maker) -> Explained:
    """Explain each half of the blocks of an image by a law that is made of the other half."""
    block = blocks(scene, BLOCK)
    halves = [
        _predicted(
            scene,
            place,
            make(replace(scene, image=scene.image.where(block % 2 != parity)), place.dem),
        )
        for parity in (0, 1)
    ]
    expected = np.where(block % 2 == 0, *halves)
    measured = scene.image.values.astype(np.float64)
    good = np.isfinite(measured) & (measured > 0.0) & np.isfinite(expected)
    return Explained(np.log(measured[good]), np.log(expected[good]), block[good])


def measure(folder: str | None = None) -> dict[str, Value]:
    """Measure the correlation under each law, and the shift, of the mean of both dates."""
    place = hills(*PIXEL, folder)
    scene = place.scenes["mean"]
    figures: dict[str, Value] = {
        name: explain(scene, place, make).correlation() for name, make in LAWS.items()
    }
    shift = estimate_shift(scene, place.dem, law=fit_law(scene, place.dem), search=SEARCH)
    if shift.found:
        figures["safe.morocco.shift_along"] = (shift.along_track, shift.along_track_error)
        figures["safe.morocco.shift_across"] = (shift.across_track, shift.across_track_error)
    return figures
