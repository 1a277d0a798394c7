"""Known elevations on rasters: cells, distances, surfaces through them, kriged residuals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, RBFInterpolator
from scipy.ndimage import distance_transform_edt
from scipy.optimize import minimize
from scipy.spatial import QhullError, cKDTree

from sarheight._runtime import library
from sarheight.dem import local_posting
from sarheight.dem.layout import cell_steps, check_layout
from sarheight.errors import KnownElevationsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from sarheight.terrain.elevations import KnownElevations

Floats = NDArray[np.float64]
Surface = Callable[[Floats], Floats]
"""Heights at positions, shape (n, 2) in metres southwards and eastwards."""


@dataclass(frozen=True, eq=False)
class CellLocator:
    """The cells of a raster, and their size in metres."""

    like: xr.DataArray  # the raster, dims (y, x)
    posting: tuple[float, float]  # metres between rows and between columns, at the raster's centre

    @classmethod
    def of(cls, like: xr.DataArray) -> CellLocator:
        """Return the cells of a raster with a regular grid."""
        import rioxarray  # noqa: F401  # registers the accessor

        raster = check_layout(like)
        return cls(raster, local_posting(raster))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.like.sizes["y"], self.like.sizes["x"]

    def locate(self, known: KnownElevations) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return fractional rows and columns of points, and whether they lie in a cell.

        Whole numbers are cell centres. Shapes (n,).
        """
        known = known.to_crs(self.like.rio.crs)
        x, y = known.x, known.y
        dy, dx = cell_steps(self.like)
        first_y, first_x = float(self.like["y"].values[0]), float(self.like["x"].values[0])
        rows, columns = self.shape
        if known.crs.is_geographic:
            # A meridian has several longitudes: take the one that is nearest to the raster.
            centre = first_x + 0.5 * dx * (columns - 1)
            x = x - 360.0 * np.round((x - centre) / 360.0)
        row, column = (y - first_y) / dy, (x - first_x) / dx
        inside = (row >= -0.5) & (row < rows - 0.5) & (column >= -0.5) & (column < columns - 0.5)
        return row, column, inside

    def metres(self, row: Floats, column: Floats) -> Floats:
        """Convert rows and columns to metres from the first cell, shape (n, 2)."""
        return np.stack([row * self.posting[0], column * self.posting[1]], axis=-1)

    def variable(self, values: NDArray[Any], **attributes: Any) -> xr.DataArray:  # noqa: ANN401
        """Return values on the raster's coordinates and reference system."""
        import xarray

        kept = {"y", "x", "spatial_ref"}
        coordinates = {name: self.like[name] for name in self.like.coords if name in kept}
        result = xarray.DataArray(values, coords=coordinates, dims=("y", "x"))
        result.attrs = {**attributes, "grid_mapping": "spatial_ref"}
        if "spatial_ref" not in coordinates:
            result = result.rio.write_crs(self.like.rio.crs)
        return result


def rasterise_elevations(known: KnownElevations, like: xr.DataArray) -> xr.Dataset:
    r"""Average known elevations in the cells of a raster.

    Several heights in one cell are averaged with the weights :math:`1/\sigma_i^2`, so that the
    standard deviation of their mean is :math:`(\sum 1/\sigma_i^2)^{-1/2}`. Heights with
    :math:`\sigma = 0` are exact: where a cell has one, those with errors have no weight. Points
    outside the raster are left out, and counted.

    Parameters
    ----------
    known : KnownElevations
        In any reference system; may be empty.
    like : xarray.DataArray
        A variable on the target grid, dims (y, x), with a reference system.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``height`` and ``sigma`` in metres, NaN in cells without known elevations;
        ``count``, the number of heights in the cell; ``known``, whether there is one. The
        attribute ``elevations_outside`` is the number of points left out.

    Raises
    ------
    DemError
        If the raster has no regular grid or no reference system.
    """
    import xarray

    cells = CellLocator.of(like)
    row, column, inside = cells.locate(known)
    cell = np.ravel_multi_index(
        (np.floor(row[inside] + 0.5).astype(int), np.floor(column[inside] + 0.5).astype(int)),
        cells.shape,
    )
    height, sigma = known.height[inside], known.sigma[inside]

    def total(weights: NDArray[Any] | None = None) -> NDArray[Any]:
        size = cells.shape[0] * cells.shape[1]
        return np.bincount(cell, weights, size).reshape(cells.shape)

    count, exact = total(), total(sigma == 0.0) > 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        # Exact heights have equal weights, of any size.
        weight = np.where(sigma == 0.0, 1.0, np.where(exact.ravel()[cell], 0.0, sigma**-2.0))
        sum_of_weights = total(weight)
        mean = total(weight * height) / sum_of_weights
        spread = np.where(exact, 0.0, sum_of_weights**-0.5)
    filled = count > 0
    mean, spread = (np.where(filled, each, np.nan).astype(np.float32) for each in (mean, spread))
    return xarray.Dataset(
        {
            "height": cells.variable(
                mean, long_name="known height above the WGS84 ellipsoid", units="m"
            ),
            "sigma": cells.variable(
                spread, long_name="standard deviation of the known height", units="m"
            ),
            "count": cells.variable(count.astype(np.int32), long_name="known heights in the cell"),
            "known": cells.variable(filled, long_name="a height is known here"),
        },
        attrs={"elevations_outside": int(np.size(inside) - inside.sum())},
    )


def require_inside(known: KnownElevations, like: xr.DataArray) -> int:
    """Raise if all known elevations lie outside a raster; return the number of those inside.

    Parameters
    ----------
    known : KnownElevations
        Known elevations; may be empty.
    like : xarray.DataArray
        A variable on the raster, dims (y, x).

    Raises
    ------
    KnownElevationsError
        If there are points and none lies inside. The message says how far away they are, and
        whether they would lie inside with latitude and longitude exchanged.
    """
    if not len(known):
        return 0
    locator = CellLocator.of(like)
    row, column, inside = locator.locate(known)
    if inside.any():
        return int(inside.sum())
    if known.crs.is_geographic:
        exchanged = known.exchanged()
        if exchanged is not None and locator.locate(exchanged)[2].any():
            msg = (
                f"found all {len(known)} known elevations outside the scene, and "
                f"{int(locator.locate(exchanged)[2].sum())} inside with latitude and longitude "
                "exchanged: x is longitude, y is latitude"
            )
            raise KnownElevationsError(msg)
    rows, columns = locator.shape
    outside = np.stack(
        [np.clip(row, 0, rows - 1) - row, np.clip(column, 0, columns - 1) - column], axis=-1
    )
    distance = np.hypot(*(outside * np.array(locator.posting)).T)
    finite = distance[np.isfinite(distance)]
    nearest = f", the nearest {finite.min() / 1e3:.3g} km away" if finite.size else ""
    msg = (
        f"found all {len(known)} known elevations outside the scene{nearest}; expected some "
        "inside: check their reference system, or leave them out"
    )
    raise KnownElevationsError(msg)


def distance_to_known(known: xr.DataArray) -> xr.DataArray:
    """Compute the distance from each cell to the nearest known elevation.

    Distances are Euclidean, between cell centres, in metres on the ground; rows and columns may
    have different spacing. The posting is that of the raster's centre: over a geographic raster
    with a large range of latitudes, distances along rows are those of its middle.

    Parameters
    ----------
    known : xarray.DataArray
        Whether a height is known, boolean, dims (y, x), such as the variable ``known`` of
        `rasterise_elevations`.

    Returns
    -------
    xarray.DataArray
        float32 metres, dims (y, x); infinite if no height is known.

    Raises
    ------
    KnownElevationsError
        If `known` is not boolean.
    DemError
        If it has no regular grid or no reference system.
    """
    if known.dtype != np.bool_:
        msg = (
            f"found {known.dtype} numbers, expected a boolean mask of the cells whose height is "
            "known: pass rasterise_elevations(known, like)['known']"
        )
        raise KnownElevationsError(msg)
    cells = CellLocator.of(known)
    return cells.variable(
        distance_transform(known.values, cells.posting),
        long_name="distance to the nearest known height",
        units="m",
    )


def distance_transform(
    known: NDArray[np.bool_], posting: tuple[float, float]
) -> NDArray[np.float32]:
    """Return the distance to the nearest known cell in metres, infinite if there is none."""
    if not known.any():
        return np.full(known.shape, np.inf, dtype=np.float32)
    return np.asarray(distance_transform_edt(~known, sampling=posting), dtype=np.float32)


# Interpolation.

Interpolation = Literal["thin_plate", "linear", "nearest", "idw"]
INTERPOLATION_METHODS: tuple[str, ...] = get_args(Interpolation)
"""Methods of `interpolate_elevations`."""

MIN_POINTS_OF_PLANE = 3
MAX_POINTS_OF_SYSTEM = 400
"""Number of points up to which one system is solved for all; with more, each position is
interpolated from its nearest ones."""
NEIGHBOURS = 64
IDW_NEIGHBOURS, IDW_POWER = 12, 2.0
COLLINEAR = 1e-6
"""Largest deviation of collinear points from their line, relative to their extent."""
BLOCK_CELLS = 262_144


def interpolate_elevations(
    known: KnownElevations, like: xr.DataArray, method: Interpolation = "thin_plate"
) -> xr.DataArray:
    r"""Interpolate a surface through known elevations: the baseline that needs no radar.

    Parameters
    ----------
    known : KnownElevations
        Known elevations; those outside the raster are used as well.
    like : xarray.DataArray
        A variable on the target grid, dims (y, x), with a reference system.
    method : {"thin_plate", "linear", "nearest", "idw"}
        ``thin_plate``: the surface of least bending energy through the points, a sum of
        :math:`r^2 \log r` and a plane. Points with a standard deviation are smoothed by a ridge
        of :math:`\sigma_i^2` on the diagonal of the system, in units of the variance of the
        heights. With more than 400 points the 64 nearest are used at each position. Fewer than
        three points, or collinear ones, do not determine a plane: ``idw`` is used instead.
        ``linear``: planes in the triangles of the Delaunay triangulation; outside it, and where
        there is no triangle, ``nearest``.
        ``nearest``: the height of the nearest point.
        ``idw``: the mean of the 12 nearest heights, weighted by the inverse squared distance.

    Returns
    -------
    xarray.DataArray
        float32 metres above the ellipsoid, dims (y, x). The attribute ``method`` is the method
        that was used.

    Raises
    ------
    KnownElevationsError
        If there is no point, or the method is unknown.
    DemError
        If the raster has no regular grid or no reference system.

    References
    ----------
    Duchon, J. (1977). Splines minimizing rotation-invariant semi-norms in Sobolev spaces. In:
    Constructive Theory of Functions of Several Variables, Springer, 85-100.
    """
    if method not in INTERPOLATION_METHODS:
        msg = f"found the method {method!r}, expected one of {', '.join(INTERPOLATION_METHODS)}"
        raise KnownElevationsError(msg)
    if len(known) == 0:
        msg = "found no known elevation, expected one at least: use a coarse DEM instead"
        raise KnownElevationsError(msg)
    cells = CellLocator.of(like)
    row, column, _ = cells.locate(known)
    surface, used = fit_surface(cells.metres(row, column), known.height, known.sigma, method)
    rows, columns = cells.shape
    values = np.empty(cells.shape, dtype=np.float32)
    step = max(1, BLOCK_CELLS // columns)
    for first in range(0, rows, step):
        block = np.mgrid[first : min(first + step, rows), 0:columns].astype(np.float64)
        heights = surface(cells.metres(block[0].ravel(), block[1].ravel()))
        values[first : first + step] = heights.reshape(block[0].shape)
    return cells.variable(
        values,
        long_name="interpolated height above the WGS84 ellipsoid",
        units="m",
        vertical_datum="ellipsoid",
        method=used,
        known_elevations=len(known),
    )


def fit_surface(
    positions: Floats, height: Floats, sigma: Floats, method: Interpolation
) -> tuple[Surface, str]:
    """Fit a surface to points, `positions` (n, 2) in metres; return it and the method used."""
    positions, height, sigma = _merge_duplicates(positions, height, sigma)
    used = "idw" if method == "thin_plate" and _are_collinear(positions) else method
    fit = {
        "thin_plate": _thin_plate,
        "linear": _linear,
        "nearest": _nearest,
        "idw": _inverse_distance,
    }[used]
    return fit(positions, height, sigma), used


def _merge_duplicates(
    positions: Floats, height: Floats, sigma: Floats
) -> tuple[Floats, Floats, Floats]:
    """Average the heights at equal positions, as a surface has one height there."""
    unique, member = np.unique(positions, axis=0, return_inverse=True)
    if len(unique) == len(positions):
        return positions, height, sigma
    member = member.ravel()
    count = np.bincount(member)
    mean = np.bincount(member, weights=height) / count
    # Standard deviation of a mean of independent values: sqrt(sum of squares) / n.
    spread = np.sqrt(np.bincount(member, weights=sigma**2)) / count
    return unique, mean, spread


def _are_collinear(positions: Floats) -> bool:
    if len(positions) < MIN_POINTS_OF_PLANE:
        return True
    extents = np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)
    return bool(extents[1] <= COLLINEAR * extents[0])


def _thin_plate(positions: Floats, height: Floats, sigma: Floats) -> Surface:
    # In units of the points' extent and variance the ridge has the same meaning everywhere.
    variance = float(height.var())
    ridge = sigma**2 / variance if variance > 0.0 else np.zeros_like(sigma)
    extent = float(np.ptp(positions, axis=0).max())
    surface = RBFInterpolator(
        positions / extent,
        height,
        kernel="thin_plate_spline",
        smoothing=ridge,
        neighbors=NEIGHBOURS if len(positions) > MAX_POINTS_OF_SYSTEM else None,
    )
    return lambda target: np.asarray(surface(target / extent))


def _nearest(positions: Floats, height: Floats, _sigma: Floats) -> Surface:
    tree = cKDTree(positions)
    return lambda target: height[tree.query(target)[1]]


def _linear(positions: Floats, height: Floats, sigma: Floats) -> Surface:
    outside = _nearest(positions, height, sigma)
    try:
        inside = LinearNDInterpolator(positions, height)
    except (QhullError, ValueError):
        # Qhull finds no triangle in fewer than three points, or in collinear ones.
        return outside

    def surface(target: Floats) -> Floats:
        values = inside(target)
        return np.where(np.isnan(values), outside(target), values)

    return surface


def _inverse_distance(positions: Floats, height: Floats, _sigma: Floats) -> Surface:
    tree = cKDTree(positions)
    neighbours = np.arange(1, min(IDW_NEIGHBOURS, len(positions)) + 1)

    def surface(target: Floats) -> Floats:
        found = tree.query(target, k=neighbours)
        distance, index = np.asarray(found[0]), np.asarray(found[1])
        at_point = distance[:, :1] == 0.0
        weight = np.where(at_point, distance == 0.0, np.maximum(distance, 1e-9) ** -IDW_POWER)
        mean: Floats = (weight * height[index]).sum(axis=1) / weight.sum(axis=1)
        return mean

    return surface


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
LEVEL, LEVEL_FACTOR, LEAST_FACTOR = 0.8, 1.2273, 0.1
"""Level at which intervals are calibrated; its half width in standard deviations, of Student's t
with 10 degrees of freedom and a variance of 1 (`height_interval`); least scale."""


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
    raster = rasterise_elevations(known, surface)
    at = raster["known"].values & np.isfinite(surface.values) & np.isfinite(spread)
    row, column = np.nonzero(at)
    unit = spread[at]
    residual = (raster["height"].values[at] - surface.values[at]) / unit
    own = (raster["sigma"].values[at] / unit) ** 2
    positions = locator.metres(row.astype(np.float64), column.astype(np.float64))
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
        "points": int(row.size),
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
        return _Check(helps, max(found / LEVEL_FACTOR, LEAST_FACTOR) ** weight)

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
    gaussian = library("sklearn.gaussian_process", extra="learn")
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


# Windows of a large raster.


@dataclass(frozen=True, eq=False)
class LocatedElevations:
    """Known elevations in the cells of a raster, for reading it window by window."""

    row: NDArray[np.int64]  # row, column: (n,): cells of the elevations inside the raster
    column: NDArray[np.int64]
    height: Floats  # (n,): metres
    posting: tuple[float, float]  # metres between rows and between columns
    tree: cKDTree | None  # the cells in metres; None if no elevation is known
    surface: Surface | None  # through all elevations, also those outside the raster
    outside: int  # number of elevations outside the raster

    @classmethod
    def on(cls, like: xr.DataArray, known: KnownElevations | None) -> LocatedElevations:
        """Locate known elevations on a raster, and fit a thin plate to them."""
        cells = CellLocator.of(like)
        if known is None or not len(known):
            nothing = np.empty(0, dtype=np.int64)
            return cls(nothing, nothing, np.empty(0), cells.posting, None, None, 0)
        row, column, inside = cells.locate(known)
        positions = cells.metres(row, column)
        surface, _ = fit_surface(positions, known.height, known.sigma, "thin_plate")
        cell = np.floor(np.stack([row[inside], column[inside]], axis=-1) + 0.5).astype(np.int64)
        # If all lie outside, distances are those to their exact positions.
        tree = cKDTree((cell * np.array(cells.posting)) if len(cell) else positions)
        outside = int(np.size(inside) - inside.sum())
        height = known.height[inside]
        return cls(cell[:, 0], cell[:, 1], height, cells.posting, tree, surface, outside)

    def window(self, row: int, column: int, size: int) -> dict[str, NDArray[np.float32]]:
        """Return ``known``, ``distance`` and ``interpolated`` of a window, shape (size, size)."""
        shape = size, size
        known = np.full(shape, np.nan, dtype=np.float32)
        down, right = self.row - row, self.column - column
        inside = (down >= 0) & (down < size) & (right >= 0) & (right < size)
        # Several elevations in a cell are averaged.
        cell = down[inside] * size + right[inside]
        count = np.bincount(cell, minlength=size * size)
        total = np.bincount(cell, weights=self.height[inside], minlength=size * size)
        filled = count > 0
        known.ravel()[filled] = total[filled] / count[filled]
        if self.tree is None or self.surface is None:
            distance, heights = np.full(shape, np.inf), np.full(shape, np.nan)
        else:
            rows, columns = np.mgrid[row : row + size, column : column + size]
            cells = np.stack([rows.ravel(), columns.ravel()], axis=-1) * np.array(self.posting)
            distance, heights = np.asarray(self.tree.query(cells)[0]), self.surface(cells)
        return {
            "known": known,
            "distance": distance.reshape(shape).astype(np.float32),
            "interpolated": heights.reshape(shape).astype(np.float32),
        }
