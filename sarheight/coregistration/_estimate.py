"""The shift between a radar image and what orbit and DEM let expect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sarheight._multilook import ground_sample_spacing, looks_for_spacing
from sarheight.coregistration._correlate import correlation, moments, peak_of, significance
from sarheight.coregistration._pool import CLOSE, Compared, Pool
from sarheight.coregistration._shift import Shift
from sarheight.coregistration._windows import (
    SMALLEST,
    Looked,
    Window,
    choose_windows,
    compare,
    largest_window,
)
from sarheight.dem import check_dem, local_posting

if TYPE_CHECKING:
    from sarheight.illumination import BackscatterLaw
    from sarheight.scene import Scene

__all__ = ["estimate_shift"]

SEARCH = 200.0
"""Largest shift that is looked for, in metres: that of a geoid of 100 m that was forgotten."""
WINDOWS = 24
FEW = 9
"""With fewer windows than these, smaller ones are tried: some are needed to disagree."""
FINER = 0.35
"""Averaged pixels are about that many postings of the DEM wide."""
CHANCE = 10
"""Averaged pixels beyond the search, at which correlation is that of chance."""
LEAST_CONTRAST = 0.03
"""Standard deviation of simulated log-intensity below which a window tells nothing."""
LEAST_SIGNIFICANCE = 5.0
"""Peaks of chance rise 1 to 4 standard deviations above their surroundings."""
LARGEST_ERROR = 1.0
"""Standard error in averaged pixels above which the windows do not agree."""

FLAT = "the terrain is flat, or too little of it lies in the image"
NO_DATA = "in no window do image and terrain both have enough data"
NO_CONTRAST = "the terrain is too flat: its simulation has no contrast to compare with"


def estimate_shift(
    scene: Scene,
    dem: xr.DataArray,
    *,
    law: BackscatterLaw | None = None,
    search: float = SEARCH,
    windows: int = WINDOWS,
) -> Shift:
    """Estimate how far a radar image lies from where orbit and DEM say that it should.

    Windows of the image with the strongest relief are averaged to a third of the DEM's posting and
    compared with their simulation: by the correlation of log-intensity, pooled over the windows,
    whose peak is found to a fraction of a pixel. The windows are then simulated with that shift
    and compared again; those that disagree with the others are set aside. The standard error is
    that of the jackknife over windows, or that of white noise where it is larger.

    A height that is wrong everywhere, such as a geoid that was forgotten, looks like a shift
    across the track: by the height over the tangent of incidence.

    Parameters
    ----------
    scene : Scene
        The image. Only the chosen windows are read. Of several polarisations the logarithms are
        averaged.
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    law : callable, optional
        Backscatter law; `Muhleman` by default. It need not be right: contrast is what counts.
    search : float
        Largest shift to look for, in metres on the ground.
    windows : int
        How many windows to compare at most, which bounds the cost whatever the size of the image.

    Returns
    -------
    Shift
        Where nothing can be said, it says why: flat terrain, too few data, no likeness between
        image and simulation, a shift at the limit of the search, windows that disagree.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If a setting or the DEM is not what it should be.

    References
    ----------
    Padfield, D. (2012). Masked object registration in the Fourier domain. IEEE TIP 21(5),
    2706-2718.
    Efron, B. (1982). The jackknife, the bootstrap and other resampling plans. SIAM.
    """
    from sarheight.illumination import Muhleman

    if not (math.isfinite(search) and search > 0.0) or windows < 1:
        msg = (
            f"found search={search!r} and windows={windows!r}, expected metres above zero and at "
            "least one window"
        )
        raise ValueError(msg)
    law = Muhleman() if law is None else law
    dem = check_dem(dem)
    image = _looked(scene, dem)
    limit = [max(math.ceil(search / each), 2) for each in _spacing(image)]
    reach = max(limit) + CHANCE
    size = largest_window(image)
    while True:
        chosen = choose_windows(dem, image, windows, reach, size)
        seen = _compare(chosen, dem, image, law, reach)
        if len(seen) >= min(FEW, windows) or size < 2 * SMALLEST:
            break
        size //= 2
    if not seen:
        return Shift(reason=NO_DATA if chosen else FLAT)
    seen = [each for each in seen if each.contrast >= LEAST_CONTRAST]
    if not seen:
        return Shift(reason=NO_CONTRAST)
    surface = correlation([each.moments for each in seen])
    line, sample, inside = peak_of(surface, (limit[0], limit[1]))
    height = significance(surface, line, sample)
    reason = _doubt(surface, height, search, inside=inside)
    if reason:
        return Shift(
            reason=reason,
            correlation_before=float(surface[reach, reach]),
            significance=height,
        )
    again = _compare(
        [each.window for each in seen], dem, image, law, CLOSE + 1, shift=(line, sample)
    )
    if not again:
        return Shift(reason=NO_DATA)
    pool = Pool.of(again)
    used = [each.window for each, good in zip(again, pool.used, strict=True) if good]
    before = correlation([each.moments for each in seen if each.window in used])[reach, reach]
    windows_seen = [each.window for each in again]
    return _shift(image, windows_seen, pool, (line, sample), float(before), height)


def _looked(scene: Scene, dem: xr.DataArray) -> Looked:
    posting = float(np.sqrt(np.prod(local_posting(dem))))
    looks = looks_for_spacing(scene.grid, scene.orbit, FINER * posting)
    looks = (min(looks[0], scene.grid.lines), min(looks[1], scene.grid.samples))
    return Looked(scene, looks, scene.grid.multilook(*looks))


def _spacing(image: Looked) -> tuple[float, float]:
    """Return the metres on the ground between averaged lines, and samples."""
    grid, orbit = image.grid, image.scene.orbit
    return grid.line_spacing(orbit), ground_sample_spacing(grid, orbit)


def _compare(
    windows: Sequence[Window],
    dem: xr.DataArray,
    image: Looked,
    law: BackscatterLaw,
    reach: int,
    shift: tuple[float, float] = (0.0, 0.0),
) -> list[Compared]:
    """Compare windows with their simulations, but for those that lack too much of either."""
    compared = []
    for window in windows:
        pair = compare(window, dem, image, law, reach, shift)
        if pair is not None:
            _, valid, simulated, known = pair
            contrast = float(simulated[known].std())
            compared.append(Compared(window, moments(*pair), int(valid.sum()), contrast))
    return compared


def _doubt(surface: np.ndarray, height: float, search: float, *, inside: bool) -> str:
    """Say why a peak is not to be trusted; nothing where it is."""
    if height < LEAST_SIGNIFICANCE:
        return (
            f"the image does not look like its simulation: the correlation's peak of "
            f"{surface.max():.2f} rises {height:.1f} standard deviations above its surroundings, "
            f"expected {LEAST_SIGNIFICANCE:g}. The DEM may be of another place, or its slopes too "
            "gentle to outweigh the patterns of the ground"
        )
    if not inside:
        return (
            f"the best match lies at the limit of the search, {search:g} m: search farther, and "
            "check the orbit and what the DEM's heights are measured from"
        )
    return ""


def _shift(
    image: Looked,
    windows: Sequence[Window],
    pool: Pool,
    first: tuple[float, float],
    before: float,
    height: float,
) -> Shift:
    """Put together what was found, in pixels of the image and in metres."""
    looks, metres = np.array(image.looks), np.array(_spacing(image))
    own = (pool.own + first) * looks
    middles = np.array([(each.line, each.sample) for each in windows]) + 0.5 * windows[0].size
    places = middles * looks - 0.5
    table = xr.Dataset(
        {
            "line": ("window", places[:, 0]),
            "sample": ("window", places[:, 1]),
            "line_shift": ("window", own[:, 0]),
            "sample_shift": ("window", own[:, 1]),
            "correlation": ("window", pool.alone),
            "used": ("window", pool.used),
        }
    )
    error = pool.error
    if not (error < LARGEST_ERROR).all():
        return Shift(
            reason=(
                f"the windows disagree: by {error[0] * metres[0]:.0f} m along and "
                f"{error[1] * metres[1]:.0f} m across the track"
            ),
            correlation_before=before,
            significance=height,
            windows=table,
        )
    shift = np.add(first, pool.shift)
    pixels, pixel_error = shift * looks, error * looks
    ground, ground_error = shift * metres, error * metres
    return Shift(
        line=float(pixels[0]),
        sample=float(pixels[1]),
        line_error=float(pixel_error[0]),
        sample_error=float(pixel_error[1]),
        along_track=float(ground[0]),
        across_track=float(ground[1]),
        along_track_error=float(ground_error[0]),
        across_track_error=float(ground_error[1]),
        correlation_before=before,
        correlation_after=float(pool.surface.max()),
        significance=height,
        windows=table,
    )
