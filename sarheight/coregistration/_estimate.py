"""The shift between a radar image and what orbit and DEM predict."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sarheight.coregistration._correlation import (
    CLOSE,
    Moments,
    Pool,
    correlation,
    log_bandpass,
    moments,
    peak_of,
    significance,
)
from sarheight.coregistration._windows import (
    LEAST_COVERAGE,
    SMALLEST,
    Comparison,
    MultilookedImage,
    Window,
)
from sarheight.dem.checked import CheckedDem

if TYPE_CHECKING:
    from sarheight.illumination import BackscatterLaw
    from sarheight.scene import Scene


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift:
    """The shift of a radar image against its simulation.

    A point that orbit and DEM place at (line, sample) is imaged at (line + `line`, sample +
    `sample`). Where no shift could be estimated it is NaN, and `reason` says why.

    Attributes
    ----------
    line, sample : float
        The shift in pixels of the image.
    line_error, sample_error : float
        Its standard errors in pixels.
    along_track, across_track : float
        The same in metres on the ground: in the direction of flight, and away from the track.
    along_track_error, across_track_error : float
        Standard errors in metres.
    correlation_before, correlation_after : float
        Correlation of measured and simulated log-intensity before and after the shift is
        removed, both high-pass filtered at a few cells of the DEM.
    significance : float
        Height of the correlation's peak above its surroundings, in their standard deviations.
    windows : xarray.Dataset
        The compared windows, dim ``window``: ``line`` and ``sample`` of their centres,
        their own ``line_shift`` and ``sample_shift`` in pixels, their ``correlation`` with the
        common shift taken out, and whether each was ``used`` or set aside as an outlier.
    reason : str
        Why no shift could be estimated; empty otherwise.
    """

    line: float = math.nan
    sample: float = math.nan
    line_error: float = math.nan
    sample_error: float = math.nan
    along_track: float = math.nan
    across_track: float = math.nan
    along_track_error: float = math.nan
    across_track_error: float = math.nan
    correlation_before: float = math.nan
    correlation_after: float = math.nan
    significance: float = math.nan
    windows: xr.Dataset = field(default_factory=xr.Dataset)
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether a shift was estimated."""
        return not self.reason

    @property
    def windows_used(self) -> int:
        """Number of windows on which the shift rests."""
        return int(self.windows["used"].sum()) if "used" in self.windows else 0

    def attributes(self) -> dict[str, Any]:
        """Return the numbers for the attributes of a result; those that are not known are None."""
        names = (
            *("line", "sample", "line_error", "sample_error"),
            *("along_track", "across_track", "along_track_error", "across_track_error"),
            *("correlation_before", "correlation_after", "significance"),
        )
        values = {name: getattr(self, name) for name in names}
        return {
            "found": self.found,
            "reason": self.reason,
            **{name: value if math.isfinite(value) else None for name, value in values.items()},
            "windows_used": self.windows_used,
            "windows_compared": int(self.windows.sizes.get("window", 0)),
        }

    def to_json(self) -> str:
        """Return the attributes as JSON."""
        return json.dumps(self.attributes())

    @classmethod
    def from_json(cls, text: str) -> Shift:
        """Return the shift of which `to_json` wrote the attributes, without values of windows."""
        stored: dict[str, Any] = json.loads(text)
        names = {each.name for each in fields(cls)} - {"windows"}
        # JSON has no NaN: unknown numbers are null.
        kept: dict[str, Any] = {
            name: math.nan if stored[name] is None else stored[name] for name in names
        }
        used = np.arange(stored["windows_compared"]) < stored["windows_used"]
        return cls(**kept, windows=xr.Dataset({"used": ("window", used)}))

    def __str__(self) -> str:
        """Describe the shift, or why there is none, in a line."""
        if not self.found:
            return f"no shift could be estimated: {self.reason}"
        windows = "1 window" if self.windows_used == 1 else f"{self.windows_used} windows"
        return (
            f"the image lies {self.along_track:+.1f} ± {self.along_track_error:.1f} m along and "
            f"{self.across_track:+.1f} ± {self.across_track_error:.1f} m across the track from its "
            f"simulation ({self.line:+.2f} ± {self.line_error:.2f} lines, {self.sample:+.2f} ± "
            f"{self.sample_error:.2f} samples; {windows}, correlation "
            f"{self.correlation_before:.2f}, {self.correlation_after:.2f} with the shift taken out)"
        )


def apply_shift(scene: Scene, shift: Shift) -> Scene:
    """Correct the timing of a scene by a shift.

    The pixels stay as they are. The times of the lines and the ranges of the samples change: the
    time of the first line and the near range, or the origin of ground range.

    Parameters
    ----------
    scene : Scene
        The image, or any other one of the same timing.
    shift : Shift
        From `estimate_shift`.

    Returns
    -------
    Scene
        The same image on the corrected grid.

    Raises
    ------
    ValueError
        If no shift was estimated.
    OrbitCoverageError
        If the orbit does not cover the corrected times.
    """
    if not shift.found:
        msg = (
            f"found no shift ({shift.reason}), expected one that could be estimated: use the "
            "scene as it is"
        )
        raise ValueError(msg)
    return replace(scene, grid=scene.grid.shift(shift.line, shift.sample))


SEARCH = 200.0
"""Largest shift that is searched for, in metres: that of a missing geoid of 100 m."""
MAX_WINDOWS = 24
FEW_WINDOWS = 9
"""With fewer windows than these, others and smaller ones are tried, so that outliers can be
found."""
NOISE_MARGIN = 10
"""Averaged pixels beyond the search, in which the correlation is due to chance."""
LEAST_CONTRAST = 0.03
"""Standard deviation of simulated log-intensity below which a window is not used."""
LEAST_SIGNIFICANCE = 5.0
"""Peaks of chance rise 1 to 4 standard deviations above their surroundings."""
LARGEST_ERROR = 1.0
"""Standard error in averaged pixels above which the windows do not agree."""

FLAT = "the terrain is flat, or too little of it lies in the image"
NO_DATA = "in no window do image and terrain both have enough data"
NO_CONTRAST = "the terrain is too flat: its simulation has no contrast to compare with"


def estimate_shift(
    scene: Scene,
    dem: xr.DataArray | CheckedDem,
    *,
    law: BackscatterLaw | None = None,
    reflectivity: xr.DataArray | None = None,
    search: float = SEARCH,
    windows: int = MAX_WINDOWS,
) -> Shift:
    """Estimate the shift of a radar image against its simulation from orbit and DEM.

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
    reflectivity : xarray.DataArray, dims (y, x), optional
        Brightness of each cell of the DEM relative to the law, such as that of another date, so
        that patterns of the ground contribute to the estimate. 1 by default; the median where it
        is NaN.
    search : float
        Largest shift to look for, in metres on the ground.
    windows : int
        How many windows to compare at most, which bounds the cost whatever the size of the image.

    Returns
    -------
    Shift
        Where no shift could be estimated, `reason` says why: flat terrain, too few data, no match
        of image and simulation, a shift at the limit of the search, windows that disagree.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If an option has an impossible value, or the DEM is not usable.

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
    heights = CheckedDem.of(dem).array
    comparison = Comparison(
        MultilookedImage.of(scene, heights),
        heights,
        Muhleman() if law is None else law,
        _known_reflectivity(reflectivity, heights),
    )
    limit = [max(math.ceil(search / each), 2) for each in comparison.image.spacing]
    reach = max(limit) + NOISE_MARGIN
    size = comparison.largest_window
    enough = min(FEW_WINDOWS, windows)
    while True:
        chosen = comparison.select(windows, reach, size)
        pairs = comparison.pairs(chosen, reach, most=windows, enough=enough)
        if len(pairs) >= enough or size < 2 * SMALLEST:
            break
        size //= 2
    if not pairs:
        return Shift(reason=NO_DATA if chosen else FLAT)
    pairs = [pair for pair in pairs if pair.contrast >= LEAST_CONTRAST]
    if not pairs:
        return Shift(reason=NO_CONTRAST)
    surface = correlation([pair.moments for pair in pairs])
    line, sample, inside = peak_of(surface, (limit[0], limit[1]))
    height = significance(surface, line, sample)
    reason = _rejection_reason(surface, height, search, inside=inside)
    if reason:
        return Shift(
            reason=reason,
            correlation_before=float(surface[reach, reach]),
            significance=height,
        )
    again = comparison.pairs(
        [pair.window for pair in pairs],
        CLOSE + 1,
        shift=(line, sample),
        images=[pair.image for pair in pairs],
    )
    if not again:
        return Shift(reason=NO_DATA)
    pool = Pool.of([pair.moments for pair in again])
    used = [pair.window for pair, good in zip(again, pool.used, strict=True) if good]
    before = correlation([pair.moments for pair in pairs if pair.window in used])[reach, reach]
    places = [pair.window for pair in again]
    return _shift_of(comparison.image, places, pool, (line, sample), float(before), height)


def estimate_shift_between(images: NDArray[Any], references: NDArray[Any]) -> Shift:
    """Estimate the shift of an image against another one of the same sampling, in windows.

    The correlation of log-intensity is pooled over windows, and the standard error is that of the
    jackknife, as in `estimate_shift`.

    Parameters
    ----------
    images : array, shape (windows, lines, samples)
        Intensity; NaN where there is no data.
    references : array, shape (windows, lines + 2 r, samples + 2 r)
        The other image in the same windows with r pixels around them. Shifts of up to r - 10
        pixels are searched.

    Returns
    -------
    Shift
        In pixels; fields in metres are NaN. A point that `references` show at (line,
        sample) is imaged at (line + `line`, sample + `sample`).
    """
    reach = (references.shape[-1] - images.shape[-1]) // 2
    compared: list[Moments] = []
    for image, reference in zip(images, references, strict=True):
        valid, known = np.isfinite(image), np.isfinite(reference)
        if min(valid.mean(), known.mean()) < LEAST_COVERAGE:
            continue
        found, other = (
            log_bandpass(power.astype(np.float64), where)
            for power, where in ((image, valid), (reference, known))
        )
        compared.append(moments(found, valid, other, known))
    if not compared:
        return Shift(reason="in no window do both images have enough data")
    pool = Pool.of(compared)
    line, sample, inside = peak_of(pool.surface, (reach - NOISE_MARGIN,) * 2)
    height = significance(pool.surface, line, sample)
    before = float(pool.surface[reach, reach])
    if height < LEAST_SIGNIFICANCE or not inside or not (pool.error < LARGEST_ERROR).all():
        reason = "the images do not look alike, or lie farther apart than the search"
        return Shift(reason=reason, correlation_before=before, significance=height)
    return Shift(
        line=line,
        sample=sample,
        line_error=float(pool.error[0]),
        sample_error=float(pool.error[1]),
        correlation_before=before,
        correlation_after=float(pool.surface.max()),
        significance=height,
        windows=xr.Dataset({"used": ("window", pool.used)}),
    )


def _known_reflectivity(
    reflectivity: xr.DataArray | None, dem: xr.DataArray
) -> NDArray[np.float32] | None:
    """Return a reflectivity, shape (rows, columns), with its median where it is unknown."""
    if reflectivity is None:
        return None
    if reflectivity.dims != ("y", "x") or reflectivity.shape != dem.shape:
        msg = (
            f"found reflectivity with dims {reflectivity.dims} and shape {reflectivity.shape}, "
            f"expected ('y', 'x') and that of the DEM, {dem.shape}"
        )
        raise ValueError(msg)
    values = np.asarray(reflectivity.values, dtype=np.float32)
    known = values > 0.0
    if known.all():
        return values
    return np.where(known, values, np.median(values[known]) if known.any() else np.float32(1.0))


def _rejection_reason(surface: np.ndarray, height: float, search: float, *, inside: bool) -> str:
    """Say why the peak of a correlation is no match; "" where it is one."""
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


def _shift_of(
    image: MultilookedImage,
    windows: Sequence[Window],
    pool: Pool,
    first: tuple[float, float],
    before: float,
    height: float,
) -> Shift:
    """Return a pooled shift in pixels of the image and in metres.

    `first` is the shift of the simulation, `before` the correlation without it.
    """
    looks, metres = np.array(image.looks), np.array(image.spacing)
    shifts = (pool.window_shifts + first) * looks
    middles = np.array([(each.line, each.sample) for each in windows]) + 0.5 * windows[0].size
    places = middles * looks - 0.5
    table = xr.Dataset(
        {
            "line": ("window", places[:, 0]),
            "sample": ("window", places[:, 1]),
            "line_shift": ("window", shifts[:, 0]),
            "sample_shift": ("window", shifts[:, 1]),
            "correlation": ("window", pool.window_correlations),
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


# Policies for shifts: one threshold for all workflows.

Policy = Literal["report", "correct", "none"]
"""`report` a shift, `correct` the timing by a significant one, or `none`: estimate no shift."""
SIGNIFICANT_ERRORS = 4.0
"""Standard errors that a significant shift exceeds along an axis."""
SIGNIFICANT_PIXELS = 0.5
"""Pixels that a significant shift exceeds along the same axis: a coarse DEM, and delays in the
atmosphere, cause smaller ones."""


def is_significant(shift: Shift) -> bool:
    """Return whether a shift is significant: along lines or samples, by error and by size.

    Parameters
    ----------
    shift : Shift
        The shift of an image.

    Returns
    -------
    bool
        True if the shift was found and exceeds, along one axis at least, both four standard errors
        and half a pixel.
    """
    pairs = ((shift.line, shift.line_error), (shift.sample, shift.sample_error))
    return shift.found and any(
        abs(value) > max(SIGNIFICANT_ERRORS * error, SIGNIFICANT_PIXELS) for value, error in pairs
    )


def coregister(
    scene: Scene,
    dem: xr.DataArray | CheckedDem,
    policy: Policy = "report",
    **options: Any,  # noqa: ANN401  # of estimate_shift
) -> tuple[Scene, Shift | None]:
    """Compare an image with its simulation, and correct its timing where the policy says so.

    Parameters
    ----------
    scene : Scene
        The image.
    dem : DataArray or CheckedDem
        Elevation model, dims (y, x), metres above the ellipsoid.
    policy : {"report", "correct", "none"}
        Whether a shift is only estimated, is removed where it `is_significant`, or neither.
    **options
        Of `estimate_shift`.

    Returns
    -------
    scene : Scene
        The image; another object if its timing was corrected.
    shift : Shift or None
        The shift before the correction; None under the policy "none".

    Raises
    ------
    ValueError
        If there is no such policy.
    GeometryError, VerticalDatumError
        As for `estimate_shift`.
    """
    if policy not in get_args(Policy):
        names = ", ".join(map(repr, get_args(Policy)))
        msg = f"found coregister={policy!r}, expected one of {names}"
        raise ValueError(msg)
    if policy == "none":
        return scene, None
    shift = estimate_shift(scene, dem, **options)
    corrected = policy == "correct" and is_significant(shift)
    return apply_shift(scene, shift) if corrected else scene, shift
