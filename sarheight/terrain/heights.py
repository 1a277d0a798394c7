"""Heights of terrain from an image, a coarse DEM and known elevations, never worse than without."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree
from scipy.special import logsumexp
from scipy.stats import t as student

from sarheight.coregistration import Shift, apply_shift, estimate_shift
from sarheight.dem import check_dem, coarsen, local_posting, reproject
from sarheight.geometry.placement import crop_scene_to_dem
from sarheight.terrain.baselines import (
    Alignment,
    alignment_sigma,
    apply_alignment,
    back_project,
    estimate_alignment,
    filled,
)
from sarheight.terrain.scenes import prepare_scene
from sarheight.terrain.surfaces import krige_residuals, rasterise_elevations, require_inside

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.learning.tiles import Tiling
    from sarheight.scene import Scene
    from sarheight.terrain.elevations import KnownElevations
    from sarheight.terrain.networks import HeightEstimator

Floats = NDArray[np.float64]

USUAL_ERROR, USUAL_SPREAD, STATED_SPREAD = 4.0, 1.0, 0.3
"""RMS error of a coarse DEM in metres of which nothing is known, as of global DEMs in mountains;
the standard deviation of its logarithm, and that where the error is stated."""
ERRORS = np.geomspace(0.1, 60.0, 60)
"""RMS errors of the coarse DEM that are tried, in metres."""
FREEDOM = 10.0
"""Degrees of freedom of the distribution of errors, which has longer tails than a normal one."""
CORRELATION = 2.5
"""Coarse cells over which errors of a coarse DEM are correlated."""
STRENGTH_SPREAD = 0.5
"""Standard deviation of the share of a network's correction that is right, around 0: points must
show that it helps. On ground that it was not trained on it made heights worse as well as better."""
SHOWN = 1.0
"""Standard deviations by which that share must exceed 0."""
TAPER = 6.0
"""Cells over which a network's correction fades out towards cells without an image."""
ROUGHNESS = 4.0
"""Coarse cells over which roughness is averaged."""
USUAL_RATIO, RATIOS = 0.35, (0.15, 0.7)
"""Relief within cells against that within cells three times as large, where it cannot be measured,
and its limits."""
ANISOTROPIC = 1.2
"""Ratio of postings along y and x from which a grid in metres is made instead."""
FLAGS = {"no_image": 1, "void": 2, "incidence": 4, "coarse_error": 8, "no_network": 16}
"""Bits of the layer `out_of_range`."""


def estimate_heights(
    image: Scene,
    dem: xr.DataArray,
    known: KnownElevations | None = None,
    *,
    estimator: HeightEstimator | None = None,
    posting: float | None = None,
    like: xr.DataArray | None = None,
    dem_error: float | None = None,
    coregister: bool = True,
    tiling: Tiling | None = None,
    device: str = "auto",
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Estimate the heights of terrain from an image and a coarse DEM.

    The coarse DEM is aligned to the known elevations (offset, tilt, shift), and the image is
    co-registered with it. The DEM, back-projected to the posting for which the network was trained,
    is the baseline. The network corrects it if the data lie in the range of its training: posting,
    size of the coarse cells, error of the coarse DEM, and if the known elevations show that it
    helps, applied without them; they also say how much of the correction is kept. Elsewhere the
    baseline stays. Their residuals are kriged last. They calibrate the uncertainty as well: those
    of the heights that the network estimates without them, where it is used.

    Parameters
    ----------
    image : Scene
        The image, linear power.
    dem : xarray.DataArray
        Coarse DEM, heights above the ellipsoid, dims (y, x). Voids are filled and flagged.
    known : KnownElevations, optional
        Known elevations.
    estimator : HeightEstimator, optional
        A trained network. None gives the baseline.
    posting : float, optional
        Posting of the heights in metres, in the UTM zone of the DEM. Default: the cells of the DEM,
        divided so that they lie in the range of the network.
    like : xarray.DataArray, optional
        A variable on the grid of the heights, instead of `posting`.
    dem_error : float, optional
        RMS error of the coarse DEM's cells in metres, as far as it is known: 4 m by default. The
        known elevations improve it.
    coregister : bool
        Whether the image is moved by its shift against its simulation. False trusts its timing.
    tiling : Tiling, optional
        Size and overlap of the network's tiles.
    device : str
        Of the network: "auto", "cpu", "cuda", "mps".
    report : callable, optional
        Called with the completed fraction.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``height`` in metres above the ellipsoid; ``height_sigma``, the standard
        deviation of its error (see `height_interval`); ``baseline``, the heights without an image
        and without kriging; ``network_share``, 0 where the baseline stays to 1 where the network's
        correction is added in full; ``out_of_range``, bits that say why the network may not apply:
        1 no image, 2 void of the coarse DEM, 4 incidence, 8 error of the coarse DEM, 16 network not
        used; ``mask`` of layover and shadow where the image was reconstructed. Attributes hold the
        alignment, the shift, the error of the coarse DEM, the numbers of kriging, the number of
        known elevations, and under ``notes`` what a user must know.

    Raises
    ------
    GeometryError
        If image and DEM do not overlap.
    DemError
        If the DEM is not usable.
    KnownElevationsError
        If all known elevations lie outside the DEM.
    ValueError
        If the posting lies outside the range of the network, `posting` and `like` are both given,
        or a number is not positive.
    MissingLibraryError
        If scikit-learn is not installed.
    """
    for name, value in (("posting", posting), ("dem_error", dem_error)):
        if value is not None and not value > 0.0:
            msg = f"found {name}={value:g}, expected metres above 0"
            raise ValueError(msg)
    if posting is not None and like is not None:
        msg = "found both posting and like, expected one of the two: each states the grid"
        raise ValueError(msg)
    dem = check_dem(dem)
    known = None if known is None or not len(known) else known
    plan = _plan(dem, estimator, posting, like)
    alignment = Alignment() if known is None else estimate_alignment(dem, known)
    dem = apply_alignment(dem, alignment)
    baseline = back_project(dem, plan.like)
    detail = detail_sigma(dem, plan.like)
    error, error_low, error_high = _coarse_error(baseline, detail, known, dem_error)
    _judge(plan, estimator, error, error_low, known)
    cropped = crop_scene_to_dem(image, dem)
    shift = Shift(reason="not estimated")
    if coregister and plan.network:
        shift = estimate_shift(cropped, dem)
        if shift.found:
            cropped = apply_shift(cropped, shift)
        else:
            plan.refuse(
                f"the image cannot be placed on the coarse DEM ({shift.reason}): check orbit, DEM "
                "and vertical datum, or trust the image's timing (coregister=False)"
            )
    moved = alignment_sigma(baseline, alignment)
    sigma = np.sqrt(detail**2 + error**2 + moved**2)
    length = CORRELATION * max(local_posting(dem))
    share = correction = unseen = np.zeros(plan.like.shape)
    flags, extras = _void_flags(dem, plan.like), {}
    if plan.network:
        assert estimator is not None  # noqa: S101  # for the type checker
        assert known is not None  # noqa: S101
        scene = prepare_scene(cropped, dem, plan.like)
        flags |= _flags(scene, estimator.training_range)
        share, correction, unseen = _contribution(
            partial(_correction, estimator, scene, error, tiling=tiling, device=device),
            plan,
            flags,
            baseline,
            known,
            sigma,
            length,
            report,
        )
        extras["mask"] = scene["mask"]
    else:
        flags |= FLAGS["no_network"]
    krige = partial(_assembled, baseline, sigma, known, alignment.parameters, length)
    result = krige(share * correction)
    if share.any():
        # What a network made of elevations errs less there than elsewhere: the errors of heights
        # that it estimates without them calibrate the standard deviation.
        checked = krige(share * unseen)
        result["height_sigma"] = checked["height_sigma"]
        result.attrs["kriging"]["scale"] = checked.attrs["kriging"]["scale"]
    _add_layers(result, baseline, share, flags)
    result.update(extras)
    result.attrs |= {
        "alignment": alignment.attributes(),
        "shift": shift.attributes(),
        "coarse_error": error,
        "coarse_error_interval": [error_low, error_high],
        "known_elevations": 0 if known is None else require_inside(known, dem),
        "notes": plan.notes,
    }
    return result


def height_interval(result: xr.Dataset, level: float = 0.8) -> xr.Dataset:
    r"""Return the interval that holds the true height of a cell with a given probability.

    The errors of heights, in units of their standard deviations, follow a distribution with longer
    tails than the normal one, Student's t with 10 degrees of freedom.

    Parameters
    ----------
    result : xarray.Dataset
        As `estimate_heights` or `refine` returns it.
    level : float
        Probability between 0 and 1.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``low`` and ``high`` in metres.

    Raises
    ------
    ValueError
        If the level is not a probability, or the result has no uncertainty.
    """
    if not 0.0 < level < 1.0 or "height_sigma" not in result:
        msg = f"found level={level} and {', '.join(map(str, result.data_vars))}, expected a "
        msg += "probability between 0 and 1, and height_sigma in the result"
        raise ValueError(msg)
    half = interval_factor(level) * result["height_sigma"]
    return (result["height"] - half).to_dataset(name="low").assign(high=result["height"] + half)


def interval_factor(level: float) -> float:
    """Half width of an interval in standard deviations."""
    scale = math.sqrt((FREEDOM - 2.0) / FREEDOM)  # of a distribution with a variance of 1
    return float(student.ppf(0.5 * (1.0 + level), FREEDOM)) * scale


def detail_sigma(dem: xr.DataArray, like: xr.DataArray) -> Floats:
    """Estimate what back-projection misses: the relief within the cells of a coarse DEM.

    The DEM is coarsened once more and back-projected to its own cells, where the error is known.
    Roughness falls from scale to scale by about the same factor, which is measured with one scale
    more. Returns standard deviations in metres on the grid of `like`.
    """
    posting = np.array(local_posting(dem))
    ratio = float(np.sqrt(np.prod(posting / np.array(local_posting(like)))))
    factor = round(ratio)
    if factor < 2:
        return np.full(like.shape, 1e-3)
    heights = filled(dem)
    first = _missed(heights, factor)
    if first is None:
        return np.full(like.shape, 1e-3)
    falls = USUAL_RATIO
    step = [factor * float(abs(heights[name][1] - heights[name][0])) for name in ("y", "x")]
    if min(heights.shape) >= 3 * factor**2:
        second = _missed(coarsen(heights, (step[0], step[1]), units="crs"), factor)
        if second is not None:
            falls = float(np.sqrt(np.mean(first.values**2) / np.mean(second.values**2)))
    falls = float(np.clip(falls, *RATIOS))
    width = ROUGHNESS * factor
    local = first.copy(
        data=np.sqrt(gaussian_filter(first.values.astype(np.float64) ** 2, width)).astype(
            np.float32
        )
    )
    there = reproject(local, like=like, resampling="bilinear")
    mean = float(np.sqrt(np.mean(first.values**2)))
    return np.maximum(falls * np.nan_to_num(there.values.astype(np.float64), nan=mean), 1e-3)


def _missed(dem: xr.DataArray, factor: int) -> xr.DataArray | None:
    """Return the error of back-projection from cells `factor` times larger; None if too few."""
    rows, columns = (size - size % factor for size in dem.shape)
    if min(rows, columns) < 4 * factor:
        return None
    part = dem.isel(y=slice(rows), x=slice(columns))
    step = [factor * float(abs(dem[name][1] - dem[name][0])) for name in ("y", "x")]
    return part - back_project(coarsen(part, (step[0], step[1]), units="crs"), part).values


# What the network applies to.


@dataclass(eq=False)
class _Plan:
    """The grid of a result, whether a network is used, and what a user must know."""

    like: xr.DataArray
    network: bool
    notes: list[str] = field(default_factory=list)

    def refuse(self, reason: str) -> None:
        """Do without the network, and say why."""
        self.network = False
        self.notes.append(f"the network is not used: {reason}")


def within(value: float, limits: tuple[float, ...] | list[float], slack: float = 1.1) -> bool:
    """Tell whether a value lies in a range of training, with some slack."""
    return limits[0] / slack <= value <= limits[-1] * slack


def _plan(
    dem: xr.DataArray,
    estimator: HeightEstimator | None,
    posting: float | None,
    like: xr.DataArray | None,
) -> _Plan:
    """Choose the grid: that of the DEM, divided, or one in metres."""
    down, right = local_posting(dem)
    coarse = math.sqrt(down * right)
    stated: Mapping[str, list[float]] = {} if estimator is None else estimator.training_range
    postings = stated.get("posting")
    if like is not None:
        posting = math.sqrt(math.prod(local_posting(like)))
    if posting is not None:
        if postings is not None and not within(posting, postings):
            msg = (
                f"found a posting of {posting:g} m, and the network was trained at "
                f"{postings[0]:.0f} to {postings[-1]:.0f} m: choose one of these"
            )
            raise ValueError(msg)
        grid = _metric(dem, posting) if like is None else like
        return _with_cells(dem, grid, coarse / posting, estimator)
    if postings is None:
        return _with_cells(dem, dem, 1.0, estimator)
    middle = math.sqrt(postings[0] * postings[-1])
    factor = max(round(coarse / middle), 1)
    isotropic = max(down, right) / min(down, right) < ANISOTROPIC
    if isotropic and within(coarse / factor, postings, 1.0):
        return _with_cells(dem, back_project(dem, factor=factor), float(factor), estimator)
    return _with_cells(dem, _metric(dem, middle), coarse / middle, estimator)


def _metric(dem: xr.DataArray, posting: float) -> xr.DataArray:
    """Make a grid in metres, in the UTM zone of a DEM."""
    return reproject(filled(dem), dem.rio.estimate_utm_crs().to_wkt(), posting)


def _with_cells(
    dem: xr.DataArray, like: xr.DataArray, ratio: float, estimator: HeightEstimator | None
) -> _Plan:
    """Check the size of the coarse cells against the range of the network."""
    plan = _Plan(like, estimator is not None)
    if estimator is None:
        return plan
    cells = estimator.training_range.get("cells")
    if "posting" not in estimator.training_range:
        plan.refuse("it does not state for which posting it was trained: train it again")
    elif cells is not None and not within(ratio, cells):
        side = math.sqrt(math.prod(local_posting(dem)))
        plan.refuse(
            f"cells of the coarse DEM of {side:.0f} m are {ratio:.1f} times the posting, and it "
            f"was trained with {cells[0]:g} to {cells[-1]:g} times"
        )
    return plan


def _judge(
    plan: _Plan,
    estimator: HeightEstimator | None,
    error: float,
    low: float,
    known: KnownElevations | None,
) -> None:
    """Do without the network where no point can show that it helps, or errors are out of range."""
    if not plan.network or estimator is None:
        return
    if known is None:
        plan.refuse("whether it helps shows at known elevations: pass some")
        return
    limits = estimator.training_range.get("coarse_error")
    if limits is not None and error < limits[0]:
        plan.refuse(
            f"the coarse DEM errs by {error:.1f} m, and the network is not shown to help below "
            f"{limits[0]:g} m"
        )
    elif limits is not None and low > limits[-1]:
        plan.refuse(
            f"the coarse DEM errs by {error:.1f} m, and the network was trained with up to "
            f"{limits[-1]:.0f} m"
        )


def _coarse_error(
    baseline: xr.DataArray,
    detail: Floats,
    known: KnownElevations | None,
    stated: float | None,
) -> tuple[float, float, float]:
    """Estimate the RMS error of the coarse cells: root mean square and 80 % interval."""
    centre = USUAL_ERROR if stated is None else stated
    spread = USUAL_SPREAD if stated is None else STATED_SPREAD
    logs = -0.5 * (np.log(ERRORS / centre) / spread) ** 2
    if known is not None:
        raster = rasterise_elevations(known, baseline)
        at = raster["known"].values & np.isfinite(baseline.values)
        residual = raster["height"].values[at] - baseline.values[at]
        own = raster["sigma"].values[at] ** 2 + detail[at] ** 2
        unit = math.sqrt((FREEDOM - 2.0) / FREEDOM)
        for index, error in enumerate(ERRORS):
            scale = unit * np.sqrt(own + error**2)
            logs[index] += float(student.logpdf(residual / scale, FREEDOM).sum())
            logs[index] -= float(np.log(scale).sum())
    share = np.exp(logs - logsumexp(logs))
    low, high = (float(np.interp(p, np.cumsum(share), ERRORS)) for p in (0.1, 0.9))
    return float(np.sqrt(share @ ERRORS**2)), low, high


def _void_flags(dem: xr.DataArray, like: xr.DataArray) -> NDArray[np.uint8]:
    """Flag cells in which the coarse DEM has a void."""
    void = dem.copy(data=np.where(np.isfinite(dem.values), 0.0, 1.0).astype(np.float32))
    there = reproject(void, like=like, resampling="nearest").values == 1.0
    return np.where(there, FLAGS["void"], 0).astype(np.uint8)


def _flags(scene: xr.Dataset, stated: Mapping[str, list[float]]) -> NDArray[np.uint8]:
    """Flag cells without an image, and those outside the range of incidence."""
    observed = np.isfinite(scene["gamma0_geocoded"].values)
    while observed.ndim > 2:
        observed = observed.any(axis=0)
    flags = np.where(observed, 0, FLAGS["no_image"])
    limits = stated.get("incidence")
    if limits is not None:
        angle = scene["ellipsoid_incidence"].values
        flags |= np.where((angle < limits[0]) | (angle > limits[-1]), FLAGS["incidence"], 0)
    return flags.astype(np.uint8)


def _fade(flags: NDArray[np.uint8]) -> Floats:
    """Return 1 where a network applies, falling to 0 at cells without image and at voids."""
    bad = (flags & (FLAGS["no_image"] | FLAGS["void"])) > 0
    if not bad.any():
        return np.ones(flags.shape)
    if bad.all():
        return np.zeros(flags.shape)
    return np.asarray(np.clip(distance_transform_edt(~bad) / TAPER, 0.0, 1.0))


# Network, kriging, layers.


def _correction(
    estimator: HeightEstimator,
    scene: xr.Dataset,
    error: float,
    known: KnownElevations | None,
    *,
    tiling: Tiling | None,
    device: str,
    report: Callable[[float], None] | None,
) -> Floats:
    """Apply the network: its correction of the baseline in metres, 0 where it has none."""
    from sarheight.terrain.predict import predict_heights

    found = predict_heights(
        estimator,
        scene,
        known,
        coarse_error=error,
        tiling=tiling,
        device=device,
        report=report,
    )
    correction = (found["height"] - scene["coarse_height"]).values.astype(np.float64)
    return np.nan_to_num(correction)


def _strength(
    correction: Floats,
    baseline: xr.DataArray,
    known: KnownElevations,
    sigma: Floats,
    length: float,
) -> float:
    """Estimate the share of a network's correction that known elevations support.

    Regression of the baseline's residuals on the correction, with a normal prior around 0. Errors
    of neighbours are alike: elevations within a correlation length of each other, as along the
    tracks of an altimeter, count as one.
    """
    raster = rasterise_elevations(known, baseline)
    at = raster["known"].values & np.isfinite(baseline.values)
    residual = raster["height"].values[at] - baseline.values[at]
    weight = 1.0 / (sigma[at] ** 2 + raster["sigma"].values[at] ** 2)
    places = np.argwhere(at) * np.array(local_posting(baseline))
    weight /= cKDTree(places).query_ball_point(places, length, return_length=True)
    step = correction[at]
    prior = STRENGTH_SPREAD**-2
    precision = float(weight @ step**2) + prior
    share = float(weight @ (step * residual)) / precision
    return min(share, 1.0) if share > SHOWN * precision**-0.5 else 0.0


def _contribution(
    correct: Callable[..., Floats],
    plan: _Plan,
    flags: NDArray[np.uint8],
    baseline: xr.DataArray,
    known: KnownElevations,
    sigma: Floats,
    length: float,
    report: Callable[[float], None] | None,
) -> tuple[Floats, Floats, Floats]:
    """Return a network's share, its correction, and that without known elevations."""

    def half(number: int) -> Callable[[float], None] | None:
        return None if report is None else lambda done: report(0.5 * (number + done))

    # The standard deviation stays that of the baseline: the network's own one does not know coarse
    # DEMs of other errors, and its gain is smaller than the uncertainty of both. A network errs
    # less at elevations that it is given than elsewhere: whether it helps is asked without them.
    unseen = correct(None, report=half(0))
    strength = _strength(unseen, baseline, known, sigma, length)
    if strength > 0.0:
        correction = correct(known, report=half(1))
    else:
        correction = np.zeros_like(unseen)
        plan.refuse("the known elevations do not show that it helps")
        flags |= FLAGS["no_network"]
        if report is not None:
            report(1.0)
    return strength * _fade(flags), correction, unseen


def _assembled(
    baseline: xr.DataArray,
    sigma: Floats,
    known: KnownElevations | None,
    parameters: int,
    length: float,
    correction: Floats,
) -> xr.Dataset:
    """Correct the baseline, krige the residuals, and make the result."""
    surface = baseline.copy(data=(baseline.values + correction).astype(np.float32))
    if known is None:
        result = surface.to_dataset(name="height")
        result["height_sigma"] = surface.copy(data=sigma.astype(np.float32))
        result.attrs = {"sill": None, "nugget": None, "length": None, "points": 0}
    else:
        result = krige_residuals(
            surface, known, sigma=surface.copy(data=sigma), length=length, parameters=parameters
        )
    result["height"].attrs = {
        "long_name": "estimated height above the WGS84 ellipsoid",
        "standard_name": "height_above_reference_ellipsoid",
        "units": "m",
        "vertical_datum": "ellipsoid",
        "grid_mapping": "spatial_ref",
    }
    result["height_sigma"].attrs = {
        "long_name": "standard deviation of the height",
        "units": "m",
        "grid_mapping": "spatial_ref",
    }
    result.attrs = {"kriging": dict(result.attrs)}
    return result


def _add_layers(
    result: xr.Dataset, baseline: xr.DataArray, share: Floats, flags: NDArray[np.uint8]
) -> None:
    """Add the baseline, the network's share, and the flags."""

    def add(name: str, values: Any, **attributes: Any) -> None:  # noqa: ANN401  # an array
        result[name] = (("y", "x"), values, {**attributes, "grid_mapping": "spatial_ref"})

    add(
        "baseline",
        baseline.values.astype(np.float32),
        long_name="height of the aligned and back-projected coarse DEM",
        units="m",
        vertical_datum="ellipsoid",
    )
    add(
        "network_share",
        share.astype(np.float32),
        long_name="share of the network's correction in the height",
        units="1",
    )
    add(
        "out_of_range",
        flags,
        long_name="why the network may not apply",
        flag_masks=np.array(list(FLAGS.values()), dtype=np.uint8),
        flag_meanings=" ".join(FLAGS),
    )
