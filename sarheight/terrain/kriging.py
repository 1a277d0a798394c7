"""Kriging of what known elevations say of a surface, and the intervals of heights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.special import stdtrit

from sarheight._runtime import library
from sarheight.terrain.rasters import CellElevations, CellLocator, require_inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from sarheight.terrain.elevations import KnownElevations

Floats = NDArray[np.float64]

# Intervals.

ERROR_FREEDOM = 10.0
"""Degrees of freedom of the distribution of the errors of heights."""


def height_interval(result: xr.Dataset, level: float = 0.8) -> xr.Dataset:
    r"""Return the interval that holds the true height of a cell with a given probability.

    The errors of heights, in units of their standard deviations, follow a distribution with longer
    tails than the normal one, Student's t with 10 degrees of freedom.

    Parameters
    ----------
    result : xarray.Dataset
        As `refine` returns it.
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
    """Return the half width of an interval in standard deviations."""
    # Of a distribution with a variance of 1.
    scale = math.sqrt((ERROR_FREEDOM - 2.0) / ERROR_FREEDOM)
    return float(stdtrit(ERROR_FREEDOM, 0.5 * (1.0 + level))) * scale


# Kriging of residuals.

SHARE_SPREAD, LENGTH_SPREAD = 1.0, 0.5
"""Standard deviations of the logarithms of variances and of the length in their priors."""
DEFAULT_SIGMA = 5.0
DEFAULT_LENGTH = 6.0
"""Metres, and cells of the surface."""
MOST_FITTED, MOST_NEAR = 800, 200
"""Points that the covariance is estimated from, and points that a block of cells is kriged from."""
REACH = 4.0
"""Correlation lengths beyond which a point has no weight: the correlation is 0.8 % there."""
BLOCK = 64
RIDGE = 1e-6
"""Variance added to that of the points, relative to that of the surface."""
LEAST_CHECKED, PRIOR_POINTS = 6, 4.0
"""Points from which each is predicted by the others, and points that a scale of 1 counts as."""
LEVEL, LEAST_FACTOR = 0.8, 0.1
"""Level at which intervals are calibrated, and least scale of standard deviations."""


def krige_residuals(
    surface: xr.DataArray,
    known: KnownElevations,
    *,
    sigma: xr.DataArray | float | None = None,
    length: float | None = None,
    parameters: int = 0,
) -> xr.Dataset:
    r"""Correct a surface by the kriged differences to known elevations.

    The error of the surface at :math:`x` is :math:`\sigma(x) z(x)`, where :math:`z` has zero mean
    and the covariance :math:`a^2 \rho(d / L) + \tau^2 \delta(d)`, :math:`\rho` that of Matern
    with :math:`\nu = 3/2`. Sill :math:`a^2`, nugget :math:`\tau^2` and length :math:`L` are
    estimated from the differences by maximum a posteriori. Simple kriging: far from the points the
    surface stays as it is, and its standard deviation is :math:`\sigma \sqrt{a^2 + \tau^2}`,
    which the differences have calibrated.

    Each point is also predicted by all others. If that makes the differences larger, by more than
    the standard error of the comparison, nothing is corrected. The standard deviation is scaled so
    that the interval of 80 % holds as many of these predictions as it must (n + 1 rule of conformal
    prediction, interpolated between ranks).

    Parameters
    ----------
    surface : xarray.DataArray
        Heights above the ellipsoid, dims (y, x), without offset or tilt (`estimate_alignment`).
    known : KnownElevations
        Known elevations with their own standard deviations, which may be large; may be empty.
    sigma : xarray.DataArray or float, optional
        Standard deviation of the surface's errors as far as it is known without points, in metres;
        5 by default.
    length : float, optional
        Median of the correlation length's prior in metres; six cells by default. Errors of a
        coarse DEM are correlated over two to three of its cells.
    parameters : int
        Number of parameters of the surface that were fitted to the same elevations, as of an
        alignment: their residuals are smaller than errors elsewhere.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``height`` in metres; ``height_sigma``, the standard deviation of its error.
        Attributes: ``sill``, ``nugget`` (relative to the variance without points), ``length`` in
        metres, ``points``, ``helps`` (0 if nothing was corrected), ``scale`` of the deviations.

    Raises
    ------
    KnownElevationsError
        If there are points and none lies on the surface.
    ValueError
        If `sigma` or `length` is not positive.
    MissingLibraryError
        If scikit-learn is not installed.

    References
    ----------
    Cressie, N. (1993). Statistics for Spatial Data. Wiley, chapter 3. Rasmussen, C. E., Williams,
    C. K. I. (2006). Gaussian Processes for Machine Learning. MIT Press, chapters 2 and 5. Vovk, V.,
    Gammerman, A., Shafer, G. (2005). Algorithmic Learning in a Random World. Springer, chapter 2.
    """
    locator = CellLocator.of(surface)
    first_length = DEFAULT_LENGTH * max(locator.posting) if length is None else float(length)
    spread = np.broadcast_to(
        np.asarray(DEFAULT_SIGMA if sigma is None else sigma, dtype=np.float64), surface.shape
    )
    if not first_length > 0.0 or not np.nanmin(spread) > 0.0:
        msg = f"found sigma from {np.nanmin(spread):g} and length={first_length:g}, expected metres"
        raise ValueError(msg + " above 0")
    require_inside(known, surface)
    points = CellElevations.on(surface, known)
    unit = spread[points.row, points.column]
    residual = (points.height - surface.values[points.row, points.column]) / unit
    kept = np.isfinite(residual)
    residual, own = residual[kept], (points.sigma / unit)[kept] ** 2
    positions = locator.metres(points.row, points.column)[kept]
    process = _Residuals.fit(positions, residual, own, first_length)
    test = process.leave_one_out(parameters)
    change, deviation = process.over(locator)
    change = change if test.helps else np.zeros_like(change)
    if not test.helps:
        deviation = np.full_like(deviation, math.sqrt(process.sill + process.nugget))
    deviation = test.scale * deviation
    result = surface.astype(np.float32).to_dataset(name="height")
    result["height"] = surface.copy(data=(surface.values + spread * change).astype(np.float32))
    result["height_sigma"] = locator.variable(
        (spread * deviation).astype(np.float32),
        long_name="standard deviation of the height",
        units="m",
    )
    result.attrs = {
        "sill": process.sill,
        "nugget": process.nugget,
        "length": process.length,
        "points": int(residual.size),
        "helps": int(test.helps),
        "scale": test.scale,
    }
    return result


@dataclass(frozen=True)
class _Check:
    """What the prediction of each point by all others shows."""

    helps: bool  # kriging does not make the differences larger
    scale: float  # of the standard deviations


@dataclass(frozen=True, eq=False)
class _Residuals:
    """A stationary random field of residuals, and where it is known."""

    positions: Floats  # (n, 2): metres
    values: Floats  # (n,)
    own: Floats  # (n,): variances of the points' own errors
    sill: float
    nugget: float
    length: float  # metres

    @classmethod
    def fit(cls, positions: Floats, values: Floats, own: Floats, length: float) -> _Residuals:
        """Estimate the covariance by maximum a posteriori."""
        # Sill and nugget share the variance of 1 that the surface's sigma states.
        centre = np.log([0.5, length, 0.5])
        spread = np.array([SHARE_SPREAD, LENGTH_SPREAD, SHARE_SPREAD])
        theta = centre
        if values.size:
            chosen = np.random.default_rng(0).permutation(values.size)[:MOST_FITTED]

            def penalised(
                likelihood: Callable[[Floats], tuple[float, Floats]], _start: Floats, bounds: Floats
            ) -> tuple[Floats, float]:
                def objective(theta: Floats) -> tuple[float, Floats]:
                    value, gradient = likelihood(theta)
                    away = (theta - centre) / spread
                    return value + 0.5 * float(away @ away), gradient + away / spread

                found = minimize(
                    objective, centre, jac=True, method="L-BFGS-B", bounds=[*map(tuple, bounds)]
                )
                return np.asarray(found.x), float(found.fun)

            model = _process(centre, own[chosen], optimizer=penalised)
            model.fit(positions[chosen], values[chosen])
            theta = model.kernel_.theta
        sill, reach, nugget = np.exp(theta)
        return cls(positions, values, own, float(sill), float(nugget), float(reach))

    def leave_one_out(self, parameters: int) -> _Check:
        """Predict each point by all others (Rasmussen and Williams 2006, equations 5.10-5.12)."""
        count = min(self.values.size, MOST_FITTED)
        if count < LEAST_CHECKED:
            return _Check(helps=True, scale=1.0)
        chosen = np.random.default_rng(0).permutation(self.values.size)[:count]
        positions, values, own = self.positions[chosen], self.values[chosen], self.own[chosen]
        theta = np.log([self.sill, self.length, self.nugget])
        covariance = _process(theta, own, optimizer=None).kernel(positions)
        inverse = np.linalg.inv(covariance + np.diag(own + RIDGE))
        missed = (inverse @ values) / np.diag(inverse)
        loss = missed**2 - values**2
        error = float(loss.std(ddof=1)) / math.sqrt(count)
        helps = float(loss.mean()) <= error
        if helps:
            standard = np.abs(missed) * np.sqrt(np.diag(inverse))
        else:
            standard = np.abs(values) / np.sqrt(self.sill + self.nugget + own)
        # The n + 1 rule: the interval that ends at the k-th smallest of n errors holds k / (n + 1)
        # of others. Interpolated: with few errors, rounding up would make intervals too wide.
        found = float(np.interp(LEVEL * (count + 1), np.arange(1, count + 1), np.sort(standard)))
        # What is fitted to n points errs less there than elsewhere.
        found *= math.sqrt(count / max(count - parameters, 1))
        # A few points tell little of their own quantile: they count beside those of the prior.
        weight = count / (count + PRIOR_POINTS)
        return _Check(helps, max(found / interval_factor(LEVEL), LEAST_FACTOR) ** weight)

    def over(self, locator: CellLocator) -> tuple[Floats, Floats]:
        """Krige the cells of a raster, block by block: mean and standard deviation."""
        rows, columns = locator.shape
        mean = np.zeros(locator.shape)
        deviation = np.full(locator.shape, math.sqrt(self.sill + self.nugget))
        if not self.values.size:
            return mean, deviation
        tree = cKDTree(self.positions)
        theta = np.log([self.sill, self.length, self.nugget])
        for block in _blocks(rows, columns):
            row, column = (axis.ravel().astype(np.float64) for axis in np.mgrid[block])
            cells = locator.metres(row, column)
            centre, extent = cells.mean(axis=0), np.ptp(cells, axis=0)
            radius = REACH * self.length + 0.5 * float(np.hypot(*extent))
            distance, near = tree.query(centre, k=min(MOST_NEAR, self.values.size))
            near = np.atleast_1d(near)[np.atleast_1d(distance) <= radius]
            if not near.size:
                continue
            model = _process(theta, self.own[near], optimizer=None)
            model.fit(self.positions[near], self.values[near])
            found, spread = model.predict(cells, return_std=True)
            mean[block] = found.reshape(mean[block].shape)
            deviation[block] = spread.reshape(mean[block].shape)
        return mean, deviation


def _process(theta: Floats, own: Floats, optimizer: Any) -> Any:  # noqa: ANN401  # of scikit-learn
    """Make a Gaussian process with the covariance of residuals; `theta` holds its logarithms."""
    gaussian = library("sklearn.gaussian_process")
    kernels = gaussian.kernels
    sill, length, nugget = np.exp(theta)
    # The priors keep the parameters in place; scikit-learn wants bounds, and warns at them.
    wide = 1e-12, 1e12
    kernel = kernels.ConstantKernel(sill, wide) * kernels.Matern(length, wide, nu=1.5)
    kernel += kernels.WhiteKernel(nugget, wide)
    return gaussian.GaussianProcessRegressor(kernel, alpha=own + RIDGE, optimizer=optimizer)


def _blocks(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, rows, BLOCK):
        for column in range(0, columns, BLOCK):
            yield (
                slice(row, min(row + BLOCK, rows)),
                slice(column, min(column + BLOCK, columns)),
            )
