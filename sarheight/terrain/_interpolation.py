"""Surfaces through known elevations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, RBFInterpolator
from scipy.spatial import QhullError, cKDTree

from sarheight.errors import KnownElevationsError
from sarheight.terrain.elevations import grid_of

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.terrain.elevations import KnownElevations

Interpolation = Literal["thin_plate", "linear", "nearest", "idw"]
"""A way to lay a surface through points."""
INTERPOLATION_METHODS: tuple[str, ...] = get_args(Interpolation)
"""The names of the ways to lay a surface through points."""

Floats = NDArray[np.float64]
Surface = Callable[[Floats], Floats]
"""Heights at places, shape (n, 2) in metres."""

PLANE = 3
"""Points that determine a plane."""
MOST_AT_ONCE = 400
"""More points than this are not solved together: each place then takes its nearest ones."""
NEIGHBOURS = 64
IDW_NEIGHBOURS, IDW_POWER = 12, 2.0
FLAT = 1e-6
"""Points that stray from a line by less than this part of their extent lie on it."""
BLOCK_CELLS = 262_144


def interpolate_elevations(
    points: KnownElevations, like: xr.DataArray, method: Interpolation = "thin_plate"
) -> xr.DataArray:
    r"""Lay a surface through sparse heights: the baseline that needs no radar.

    Parameters
    ----------
    points : KnownElevations
        Known heights. Points outside the raster count as well.
    like : xarray.DataArray
        A variable on the wanted grid, dims (y, x), with a reference system.
    method : {"thin_plate", "linear", "nearest", "idw"}
        ``thin_plate``: the surface of least bending through the points, a sum of
        :math:`r^2 \log r` and a plane. Where points have a standard deviation, it passes them by
        with the ridge :math:`\sigma_i^2` on the diagonal of the system, in units of the variance
        of the heights. Of more than 400 points each place takes the 64 nearest. Fewer than three
        points, or points on one line, determine no plane: ``idw`` takes their place then.
        ``linear``: planes between the corners of the Delaunay triangulation; outside it, and
        where there is no triangle, ``nearest``.
        ``nearest``: the height of the nearest point.
        ``idw``: the mean of the 12 nearest heights, weighted by the inverse squared distance.

    Returns
    -------
    xarray.DataArray
        float32 metres above the ellipsoid, dims (y, x). The attribute ``method`` names the way
        that was taken.

    Raises
    ------
    KnownElevationsError
        If there is no point, or the method is none of these.
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
    if len(points) == 0:
        msg = (
            "found no known height, expected one at least: without any there is no surface; take "
            "a coarse elevation model instead"
        )
        raise KnownElevationsError(msg)
    grid = grid_of(like)
    places = grid.metres(*grid.places(points))
    surface, taken = fit_surface(places, points.height, points.sigma, method)
    rows, columns = grid.shape
    values = np.empty(grid.shape, dtype=np.float32)
    step = max(1, BLOCK_CELLS // columns)
    for first in range(0, rows, step):
        row, column = np.mgrid[first : min(first + step, rows), 0:columns].astype(np.float64)
        wanted = grid.metres(row.ravel(), column.ravel())
        values[first : first + step] = surface(wanted).reshape(row.shape)
    return grid.variable(
        values,
        {
            "long_name": "interpolated height above the WGS84 ellipsoid",
            "units": "m",
            "vertical_datum": "ellipsoid",
            "method": taken,
            "points": len(points),
        },
    )


def fit_surface(
    places: Floats, height: Floats, sigma: Floats, method: Interpolation
) -> tuple[Surface, str]:
    """Lay a surface through points.

    Shapes: `places` (n, 2), `height, sigma` (n,).
    """
    places, height, sigma = _merged(places, height, sigma)
    taken = "idw" if method == "thin_plate" and _on_a_line(places) else method
    make = {
        "thin_plate": _thin_plate,
        "linear": _linear,
        "nearest": _nearest,
        "idw": _inverse_distance,
    }[taken]
    return make(places, height, sigma), taken


def _merged(places: Floats, height: Floats, sigma: Floats) -> tuple[Floats, Floats, Floats]:
    """Average the heights of points at one place: a surface has one height there."""
    unique, member = np.unique(places, axis=0, return_inverse=True)
    if len(unique) == len(places):
        return places, height, sigma
    member = member.ravel()
    count = np.bincount(member)
    mean = np.bincount(member, weights=height) / count
    spread = np.sqrt(np.bincount(member, weights=sigma**2)) / count
    return unique, mean, spread


def _on_a_line(places: Floats) -> bool:
    if len(places) < PLANE:
        return True
    lengths = np.linalg.svd(places - places.mean(axis=0), compute_uv=False)
    return bool(lengths[1] <= FLAT * lengths[0])


def _thin_plate(places: Floats, height: Floats, sigma: Floats) -> Surface:
    # In units of the points' own extent and spread the ridge means the same everywhere.
    variance = float(height.var())
    ridge = sigma**2 / variance if variance > 0.0 else np.zeros_like(sigma)
    extent = float(np.ptp(places, axis=0).max())
    surface = RBFInterpolator(
        places / extent,
        height,
        kernel="thin_plate_spline",
        smoothing=ridge,
        neighbors=NEIGHBOURS if len(places) > MOST_AT_ONCE else None,
    )
    return lambda wanted: np.asarray(surface(wanted / extent))


def _nearest(places: Floats, height: Floats, _sigma: Floats) -> Surface:
    tree = cKDTree(places)
    return lambda wanted: height[tree.query(wanted)[1]]


def _linear(places: Floats, height: Floats, sigma: Floats) -> Surface:
    outside = _nearest(places, height, sigma)
    try:
        inside = LinearNDInterpolator(places, height)
    except (QhullError, ValueError):
        # Qhull finds no triangle in fewer than three points, or in points on a line.
        return outside

    def surface(wanted: Floats) -> Floats:
        values = inside(wanted)
        return np.where(np.isnan(values), outside(wanted), values)

    return surface


def _inverse_distance(places: Floats, height: Floats, _sigma: Floats) -> Surface:
    tree = cKDTree(places)
    neighbours = np.arange(1, min(IDW_NEIGHBOURS, len(places)) + 1)

    def surface(wanted: Floats) -> Floats:
        found = tree.query(wanted, k=neighbours)
        distance, index = np.asarray(found[0]), np.asarray(found[1])
        at = distance[:, :1] == 0.0
        weight = np.where(at, distance == 0.0, np.maximum(distance, 1e-9) ** -IDW_POWER)
        mean: Floats = (weight * height[index]).sum(axis=1) / weight.sum(axis=1)
        return mean

    return surface


# Known elevations anywhere in a scene, a window at a time.

KnownFloats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Known:
    """Known elevations on a raster."""

    row: NDArray[np.int64]  # row, column: (n,): cells of the elevations inside the raster
    column: NDArray[np.int64]
    height: NDArray[np.float64]  # (n,): metres
    posting: tuple[float, float]  # metres between rows and between columns
    tree: cKDTree | None  # the cells in metres; None where nothing is known
    # The surface interpolated between all elevations, also those outside the raster
    surface: Surface | None
    outside: int  # how many lie outside the raster

    def window(self, row: int, column: int, size: int) -> dict[str, KnownFloats]:
        """Return prior, distance and prefill of a square window, shape (size, size) each."""
        prior = np.full((size, size), np.nan, dtype=np.float32)
        down, right = self.row - row, self.column - column
        inside = (down >= 0) & (down < size) & (right >= 0) & (right < size)
        # Of several elevations in a cell the mean counts.
        cell = down[inside] * size + right[inside]
        count = np.bincount(cell, minlength=size * size)
        total = np.bincount(cell, weights=self.height[inside], minlength=size * size)
        known = count > 0
        prior.ravel()[known] = total[known] / count[known]
        if self.tree is None or self.surface is None:
            return {
                "known": prior,
                "distance": np.full_like(prior, np.inf),
                "interpolated": np.full_like(prior, np.nan),
            }
        rows, columns = np.mgrid[row : row + size, column : column + size]
        places = np.stack([rows.ravel(), columns.ravel()], axis=-1) * np.array(self.posting)
        distance = np.asarray(self.tree.query(places)[0])
        return {
            "known": prior,
            "distance": distance.reshape(size, size).astype(np.float32),
            "interpolated": self.surface(places).reshape(size, size).astype(np.float32),
        }


def locate_known(
    points: KnownElevations | None, like: xr.DataArray, method: Interpolation = "thin_plate"
) -> Known:
    """Place known elevations on a raster."""
    grid = grid_of(like)
    if points is None or not len(points):
        nothing = np.empty(0, dtype=np.int64)
        return Known(nothing, nothing, np.empty(0), grid.posting, None, None, 0)
    row, column = grid.places(points)
    inside = grid.inside(row, column)
    surface, _ = fit_surface(grid.metres(row, column), points.height, points.sigma, method)
    cells = np.floor(np.stack([row[inside], column[inside]], axis=-1) + 0.5).astype(np.int64)
    # Where all lie outside, the nearest of them is still the nearest.
    near = cells if len(cells) else np.stack([row, column], axis=-1)
    return Known(
        cells[:, 0],
        cells[:, 1],
        points.height[inside],
        grid.posting,
        cKDTree(near * np.array(grid.posting)),
        surface,
        int(np.size(inside) - inside.sum()),
    )
