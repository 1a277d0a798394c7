"""Back-projection of a coarse DEM, and its alignment to known elevations."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter, zoom
from scipy.spatial import cKDTree
from scipy.special import logsumexp

from sarheight.dem import fill_voids, local_posting, reproject
from sarheight.dem.layout import build_dem, cell_steps, check_layout, same_grid, with_history
from sarheight.errors import DemError
from sarheight.terrain.rasters import CellLocator, require_inside

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.terrain.elevations import KnownElevations

Floats = NDArray[np.float64]

# Back-projection.

TOLERANCE, MOST_ROUNDS = 0.01, 30
"""Metres to which the means of a back-projected surface agree with the coarse cells, and the limit
of corrections. Each takes off half of the difference at the Nyquist wavelength of the coarse cells,
and more of it at all others."""


def back_project(
    dem: xr.DataArray, like: xr.DataArray | None = None, *, factor: int | None = None
) -> xr.DataArray:
    r"""Interpolate a coarse DEM by a smooth surface that reproduces its cells as means.

    The height of a coarse cell is the mean over its area, not the height of its centre. A surface
    interpolated through the centres therefore cuts ridges and fills valleys. Back-projection adds
    to the interpolation :math:`U` of a DEM :math:`c` the interpolated differences between the DEM
    and the means :math:`A h` of the surface, until these vanish:

    .. math:: h_0 = U c, \qquad h_{k+1} = h_k + U (c - A h_k)

    :math:`U` is interpolation by cubic splines. Voids are interpolated first.

    Parameters
    ----------
    dem : xarray.DataArray
        Coarse DEM, dims (y, x).
    like : xarray.DataArray, optional
        A variable on the target grid. If this grid divides the cells of the DEM, the means are
        exact to a centimetre; otherwise the DEM is divided into cells of about the target's size,
        which are then resampled by cubic convolution. Give this or `factor`.
    factor : int, optional
        Number of cells into which each cell of the DEM is divided, along each axis.

    Returns
    -------
    xarray.DataArray
        float32 metres, dims (y, x), above the same vertical datum. NaN outside of the DEM.

    Raises
    ------
    DemError
        If the DEM has no regular grid or no reference system, or voids that cannot be filled.
    ValueError
        If not exactly one of `like` and `factor` is given, or `factor` is below 1.

    References
    ----------
    Irani, M., Peleg, S. (1991). Improving resolution by image registration. CVGIP: Graphical
    Models and Image Processing 53(3), 231-239. Tobler, W. R. (1979). Smooth pycnophylactic
    interpolation for geographical regions. JASA 74(367), 519-530.
    """
    if (like is None) == (factor is None) or (factor is not None and not factor >= 1):
        msg = f"found like={'given' if like is not None else None} and factor={factor}, expected "
        msg += "one of the two, and a whole number from 1"
        raise ValueError(msg)
    dem = filled(check_layout(dem))
    if factor is None:
        assert like is not None  # noqa: S101  # for the type checker
        ratio = np.array(local_posting(dem)) / np.array(local_posting(like))
        factor = max(round(float(np.sqrt(ratio.prod()))), 1)
    surface = _divided(dem, factor)
    if like is None:
        return surface
    if same_grid(surface, like):
        # Coordinates that differ in their last bit are others to xarray, which aligns by them.
        return surface.assign_coords({n: (n, like[n].values, like[n].attrs) for n in ("y", "x")})
    # Cubic convolution leaves the margin of its support empty: nearest neighbours fill it.
    nearest = reproject(surface, like=like, resampling="nearest")
    return reproject(surface, like=like, resampling="cubic").fillna(nearest)


def filled(dem: xr.DataArray) -> xr.DataArray:
    """Fill the voids of a DEM, whatever their size, from the heights around them."""
    void = ~np.isfinite(dem.values)
    if not void.any():
        return dem
    if void.all():
        msg = "every cell of the DEM is void: check that the area it was cropped to overlaps it"
        raise DemError(msg)
    diagonal = max(local_posting(dem)) * float(np.hypot(dem.sizes["y"], dem.sizes["x"]))
    return fill_voids(dem, max_distance=diagonal)


def _divided(dem: xr.DataArray, factor: int) -> xr.DataArray:
    """Divide the cells of a DEM without voids by back-projection."""
    heights = dem.values.astype(np.float64)
    rows, columns = heights.shape
    base = float(heights.mean())
    target = heights - base

    def upsample(values: Floats) -> Floats:
        found = zoom(values, factor, order=3, mode="nearest", grid_mode=True)
        return np.asarray(found)

    def means(values: Floats) -> Floats:
        found: Floats = values.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
        return found

    surface = upsample(target)
    if factor > 1:
        for _ in range(MOST_ROUNDS):
            missing = target - means(surface)
            if np.abs(missing).max() < TOLERANCE:
                break
            surface += upsample(missing)
    y, x = (
        float(dem[name][0]) + step * ((np.arange(dem.sizes[name] * factor) + 0.5) / factor - 0.5)
        for name, step in zip(("y", "x"), cell_steps(dem), strict=True)
    )
    found = build_dem(surface + base, y, x, dem.rio.crs, dem.attrs)
    return with_history(found, f"back_project: cells divided by {factor}, their means kept")


# Alignment to known elevations.

GROUPS: dict[str, tuple[str, ...]] = {
    "offset": ("offset",),
    "tilt": ("tilt_east", "tilt_north"),
    "shift": ("east", "north"),
}
"""Parameters that are estimated together or not at all."""
PARAMETERS = tuple(chain.from_iterable(GROUPS.values()))
PRIOR_PROBABILITY = {"offset": 0.1, "tilt": 0.05, "shift": 0.1}
"""How often a DEM is displaced in such a way, before any point is seen."""
LEAST_PROBABILITY = 0.2
"""Probability from which a displacement is corrected, by its mean over all models: few points leave
open whether there is one, and half a correction then costs less than a wrong decision."""
PRIOR_STD = {"offset": 30.0, "tilt_east": 5.0, "tilt_north": 5.0, "east": 0.5, "north": 0.5}
"""Standard deviations of the displacements: metres, metres at the edge, coarse cells."""
NOISE = np.geomspace(0.3, 60.0, 28)
NOISE_MEDIAN, NOISE_SPREAD = 4.0, 1.0
"""Standard deviations of the other errors that are tried, in metres; median of their log-normal
prior, and its standard deviation."""
HUBER = 5.0
"""Residuals beyond this many standard deviations lose weight. Relief within cells has long tails:
what lies nearer counts in full, or noise would be underestimated and chance taken for shifts."""
ROUNDS = 6
CORRELATED = 2.0
"""Coarse cells within which points count as one: errors of DEMs are correlated there."""
DIVISION, MOST_CELLS = 3, 40_000_000
"""Cells into which those of the DEM are divided by back-projection, so that points are compared
with a surface and not with means; only up to a size."""


@dataclass(frozen=True)
class Alignment:
    """How a DEM must be moved to fit known elevations.

    What the points do not support is 0, with an uncertainty of 0. What they leave open, from a
    probability of 0.2 on, is corrected by its mean over the models with and without it.

    Attributes
    ----------
    offset : float
        Metres to be added to the heights.
    tilt_east, tilt_north : float
        Metres to be added at the eastern and at the northern edge, falling linearly to the centre.
    east, north : float
        Metres by which the DEM must be moved.
    offset_error, tilt_east_error, tilt_north_error, east_error, north_error : float
        Standard errors.
    noise : float
        Standard deviation of the differences that remain, in metres.
    points : int
        Number of known elevations that were used.
    """

    offset: float = 0.0
    tilt_east: float = 0.0
    tilt_north: float = 0.0
    east: float = 0.0
    north: float = 0.0
    offset_error: float = 0.0
    tilt_east_error: float = 0.0
    tilt_north_error: float = 0.0
    east_error: float = 0.0
    north_error: float = 0.0
    noise: float = math.nan
    points: int = 0

    @property
    def found(self) -> bool:
        """Whether the DEM is displaced at all."""
        return any(getattr(self, name) != 0.0 for name in PARAMETERS)

    @property
    def parameters(self) -> int:
        """Number of parameters that were fitted to the known elevations."""
        return sum(getattr(self, name) != 0.0 for name in PARAMETERS)

    def attributes(self) -> dict[str, Any]:
        """Return the numbers for the attributes of a result; those that are not known are None."""
        return {
            name: value if math.isfinite(value) else None for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        """Say in a line what was found."""
        if not self.found:
            return f"no displacement is supported by {self.points} known elevations"
        labels = {
            "offset": "m offset",
            "tilt_east": "m tilt to the eastern edge",
            "tilt_north": "m tilt to the northern edge",
            "east": "m east",
            "north": "m north",
        }
        parts = [
            f"{getattr(self, name):+.1f} ± {getattr(self, name + '_error'):.1f} {label}"
            for name, label in labels.items()
            if getattr(self, name) != 0.0
        ]
        return f"the coarse DEM is corrected by {', '.join(parts)} ({self.points} known elevations)"


def estimate_alignment(dem: xr.DataArray, known: KnownElevations) -> Alignment:
    r"""Estimate offset, tilt and shift of a DEM against known elevations.

    A known height :math:`z_i` at :math:`x_i` is compared with the DEM :math:`h`, back-projected:

    .. math:: z_i = h(x_i - s) + c + t \cdot u_i + e_i
        \approx h(x_i - s_0) - \nabla h \cdot (s - s_0) + c + t \cdot u_i + e_i

    with the shift :math:`s`, the offset :math:`c` and the tilt :math:`t` over the relative position
    :math:`u_i`: the linear form of Nuth and Kaeaeb's relation between slope, aspect and height
    difference. Points that lie far off lose weight (Huber), points closer than two cells of the DEM
    count as one. Models with and without offset, tilt and shift are averaged, weighted by their
    evidence (Hoeting et al.).

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid, dims (y, x).
    known : KnownElevations
        Known elevations. Those outside the DEM and in its voids are not used.

    Returns
    -------
    Alignment

    Raises
    ------
    DemError
        If the DEM has no regular grid or no reference system.
    KnownElevationsError
        If no point lies on the DEM; see `require_inside`.

    References
    ----------
    Nuth, C., Kaeaeb, A. (2011). Co-registration and bias corrections of satellite elevation data
    sets for quantifying glacier thickness change. The Cryosphere 5, 271-290. Hoeting, J. A.,
    Madigan, D., Raftery, A. E., Volinsky, C. T. (1999). Bayesian Model Averaging: A Tutorial.
    Statistical Science 14, 382-417.
    """
    dem = check_layout(dem)
    require_inside(known, dem)
    locator = CellLocator.of(dem)
    row, column, inside = locator.locate(known)
    at = np.floor(np.stack([row, column]) + 0.5).astype(int)
    at = np.clip(at, 0, np.array(dem.shape)[:, None] - 1)
    inside &= np.isfinite(dem.values[tuple(at)])
    if not inside.any():
        return Alignment()
    row, column = row[inside], column[inside]
    height, sigma = known.height[inside], known.sigma[inside]
    posting = locator.posting
    factor = DIVISION if dem.size * DIVISION**2 <= MOST_CELLS else 1
    surface = _Spline.of(dem, factor)
    positions = locator.metres(row, column)
    close = np.asarray(
        cKDTree(positions).query_ball_point(
            positions, CORRELATED * max(posting), return_length=True
        ),
        dtype=np.float64,
    )
    # Signs that turn rows and columns into north and east.
    signs = np.sign(cell_steps(dem))
    half = 0.5 * np.maximum(np.array(dem.shape) - 1.0, 1.0)
    tilt = np.stack([signs[1] * (column / half[1] - 1), signs[0] * (row / half[0] - 1)], axis=1)
    scale = {**PRIOR_STD, "east": 0.5 * posting[1], "north": 0.5 * posting[0]}
    shift = np.zeros(2)
    best = _Fit({}, {}, math.nan)
    for _ in range(ROUNDS):
        moved = (
            row - signs[0] * shift[1] / posting[0],
            column - signs[1] * shift[0] / posting[1],
        )
        found, south, right = surface.at(*moved)
        gradient = np.stack([signs[1] * right / posting[1], signs[0] * south / posting[0]], axis=1)
        columns = {
            "offset": np.ones(row.size),
            "tilt_east": tilt[:, 0],
            "tilt_north": tilt[:, 1],
            "east": -gradient[:, 0],
            "north": -gradient[:, 1],
        }
        difference = height - found - gradient @ shift
        best = _averaged_model(columns, difference, sigma, 1.0 / close, scale)
        before, shift = shift, np.array([best.mean.get("east", 0.0), best.mean.get("north", 0.0)])
        if np.abs(shift - before).max() < 0.1:
            break
    return Alignment(
        **best.mean,
        **{f"{name}_error": value for name, value in best.error.items()},
        noise=best.noise,
        points=int(row.size),
    )


def apply_alignment(dem: xr.DataArray, alignment: Alignment) -> xr.DataArray:
    """Move a DEM by an alignment.

    A shift moves the coordinates, so that no height is resampled.

    Parameters
    ----------
    dem : xarray.DataArray
        The DEM that was aligned, dims (y, x).
    alignment : Alignment
        From `estimate_alignment`.

    Returns
    -------
    xarray.DataArray
        The DEM on moved coordinates, with corrected heights.
    """
    dem = check_layout(dem)
    if not alignment.found:
        return dem
    dy, dx = cell_steps(dem)
    posting = local_posting(dem)
    rows, columns = dem.shape
    south, right = (np.linspace(-1.0, 1.0, size) for size in (rows, columns))
    correction = (
        alignment.offset
        + alignment.tilt_north * np.sign(dy) * south[:, None]
        + alignment.tilt_east * np.sign(dx) * right
    )
    # Metres on the ground at the centre, in units of the reference system.
    north, east = alignment.north * abs(dy) / posting[0], alignment.east * abs(dx) / posting[1]
    moved = dem.copy(data=(dem.values + correction).astype(np.float32))
    moved = moved.assign_coords(y=dem["y"] + north, x=dem["x"] + east)
    return with_history(moved, f"apply_alignment: {alignment}")


def alignment_sigma(baseline: xr.DataArray, alignment: Alignment) -> Floats:
    """Return what the uncertainty of an alignment leaves in heights: standard deviations, m."""
    down, right = local_posting(baseline)
    heights = baseline.values.astype(np.float64)
    if min(heights.shape) < 2:
        return np.full(heights.shape, alignment.offset_error)
    slopes = np.nan_to_num(np.gradient(heights, down, right))
    # The tilt's error is that at the edge; over a scene its mean square is a third of it.
    tilt = (alignment.tilt_east_error**2 + alignment.tilt_north_error**2) / 3.0
    return np.asarray(
        np.sqrt(
            alignment.offset_error**2
            + tilt
            + (slopes[0] * alignment.north_error) ** 2
            + (slopes[1] * alignment.east_error) ** 2
        )
    )


@dataclass(frozen=True, eq=False)
class _Spline:
    """A DEM as a cubic spline, in rows and columns of its cells."""

    coefficients: Floats
    factor: int  # cells of the spline in one of the DEM

    @classmethod
    def of(cls, dem: xr.DataArray, factor: int) -> _Spline:
        surface = _divided(filled(dem), factor).values.astype(np.float64)
        return cls(np.asarray(spline_filter(surface, mode="nearest")), factor)

    def at(self, row: Floats, column: Floats) -> tuple[Floats, Floats, Floats]:
        """Return heights at positions, and their differences per row and per column."""
        offset = 0.5 * (self.factor - 1)
        place = np.stack([row, column]) * self.factor + offset

        def height(down: float, right: float) -> Floats:
            moved = place + np.array([[down], [right]])
            return np.asarray(
                map_coordinates(self.coefficients, moved, prefilter=False, mode="nearest")
            )

        return (
            height(0.0, 0.0),
            self.factor * (height(0.5, 0.0) - height(-0.5, 0.0)),
            self.factor * (height(0.0, 0.5) - height(0.0, -0.5)),
        )


@dataclass(frozen=True)
class _Fit:
    """Posterior of the parameters of a model."""

    mean: dict[str, float]
    error: dict[str, float]
    noise: float


def _averaged_model(
    columns: dict[str, Floats],
    difference: Floats,
    sigma: Floats,
    weight: Floats,
    scale: dict[str, float],
) -> _Fit:
    """Fit all models, and return their mean, weighted by their probabilities."""
    robust = weight * _huber_weights(columns, difference, weight)
    models = [groups for size in range(len(GROUPS) + 1) for groups in combinations(GROUPS, size)]
    logs, fits = [], []
    for groups in models:
        names = tuple(chain.from_iterable(GROUPS[group] for group in groups))
        prior = sum(
            math.log(share if group in groups else 1.0 - share)
            for group, share in PRIOR_PROBABILITY.items()
        )
        evidence, fit = _fit(names, columns, difference, sigma, robust, scale)
        logs.append(evidence + prior)
        fits.append(fit)
    shares = np.exp(np.array(logs) - logsumexp(logs))
    mean, error = {}, {}
    for group, names in GROUPS.items():
        if sum(share for share, groups in zip(shares, models, strict=True) if group in groups) < (
            LEAST_PROBABILITY
        ):
            continue
        for name in names:
            means, errors = (
                np.array([getattr(fit, kind).get(name, 0.0) for fit in fits])
                for kind in ("mean", "error")
            )
            mean[name] = float(shares @ means)
            error[name] = float(np.sqrt(shares @ (errors**2 + (means - mean[name]) ** 2)))
    noise = float(np.exp(shares @ np.log([fit.noise for fit in fits])))
    return _Fit(mean, error, noise)


def _huber_weights(columns: dict[str, Floats], difference: Floats, weight: Floats) -> Floats:
    """Weights of points in a robust fit of all parameters, or of the median if there are few."""
    robust = np.ones(difference.size)
    matrix = np.stack(list(columns.values()), axis=1)
    few = weight.sum() < 2 * len(columns)
    for step in range(10):
        # The first weights are those of the median: a fit would follow the outliers.
        if few or step == 0:
            residual = difference - np.median(difference)
        else:
            root = np.sqrt(weight * robust)
            solution = np.linalg.lstsq(matrix * root[:, None], difference * root, rcond=None)[0]
            residual = difference - matrix @ solution
        # 1.4826 times the median absolute deviation is the standard deviation of normal errors.
        spread = max(1.4826 * float(np.median(np.abs(residual))), 0.1)
        robust = np.minimum(1.0, HUBER * spread / np.maximum(np.abs(residual), 1e-9)) ** 2
        if few:
            # A shift makes large differences on few steep points, which are no outliers.
            return np.minimum(1.0, 4.0 * robust)
    return np.asarray(robust)


def _fit(
    names: tuple[str, ...],
    columns: dict[str, Floats],
    difference: Floats,
    sigma: Floats,
    weight: Floats,
    scale: dict[str, float],
) -> tuple[float, _Fit]:
    """Return the logarithm of a model's evidence and its posterior, over all sizes of the noise.

    Differences are normal with the covariance D + X P X', where D is the diagonal of noise and of
    the points' own errors. Its inverse and determinant are those of M = P^-1 + X' D^-1 X.
    """
    matrix = np.stack([columns[name] for name in names], axis=1) if names else None
    precision = np.array([scale[name] ** -2 for name in names])
    logs, fits = [], []
    for noise in NOISE:
        # A point with weight w is worth w points: its share of the sum of squares and of the
        # number of observations.
        diagonal = (noise**2 + sigma**2) / weight
        inverse = 1.0 / diagonal
        log = -0.5 * float(
            np.sum(weight * np.log(2.0 * np.pi * (noise**2 + sigma**2)))
            + np.sum(inverse * difference**2)
        )
        mean, covariance = np.zeros(0), np.zeros((0, 0))
        if matrix is not None:
            normal = np.diag(precision) + matrix.T @ (inverse[:, None] * matrix)
            right = matrix.T @ (inverse * difference)
            covariance = np.linalg.inv(normal)
            mean = covariance @ right
            log += 0.5 * float(right @ mean - np.linalg.slogdet(normal)[1])
            log += 0.5 * float(np.log(precision).sum())
        log -= 0.5 * (math.log(noise / NOISE_MEDIAN) / NOISE_SPREAD) ** 2
        logs.append(log)
        fits.append((mean, covariance))
    evidence = float(logsumexp(logs))
    share = np.exp(np.array(logs) - evidence)
    mean = sum((s * each for s, (each, _) in zip(share, fits, strict=True)), np.zeros(len(names)))
    variance = sum(
        (
            s * (np.diag(cov) + (each - mean) ** 2)
            for s, (each, cov) in zip(share, fits, strict=True)
        ),
        np.zeros(len(names)),
    )
    return evidence, _Fit(
        {name: float(value) for name, value in zip(names, mean, strict=True)},
        {name: float(value) for name, value in zip(names, np.sqrt(variance), strict=True)},
        float(np.exp(share @ np.log(NOISE))),
    )
