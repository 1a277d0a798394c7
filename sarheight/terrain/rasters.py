"""Known elevations on rasters: cells, distances, a surface through them, windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from sarheight.dem import local_posting
from sarheight.dem.layout import cell_steps, check_layout
from sarheight.errors import KnownElevationsError

if TYPE_CHECKING:
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

MIN_POINTS_OF_PLANE = 3
MAX_POINTS_OF_SYSTEM = 400
"""Number of points up to which one system is solved for all; with more, each position is
interpolated from its nearest ones."""
NEIGHBOURS = 64
IDW_NEIGHBOURS, IDW_POWER = 12, 2.0
COLLINEAR = 1e-6
"""Largest deviation of collinear points from their line, relative to their extent."""
BLOCK_CELLS = 262_144


def interpolate_elevations(known: KnownElevations, like: xr.DataArray) -> xr.DataArray:
    r"""Interpolate a thin plate through known elevations: the baseline that needs no radar.

    The surface of least bending energy through the points, a sum of :math:`r^2 \log r` and a plane.
    Points with a standard deviation are smoothed by a ridge of :math:`\sigma_i^2` on the diagonal
    of the system, in units of the variance of the heights. With more than 400 points the 64 nearest
    are used at each position. Fewer than three points, or collinear ones, do not determine a plane:
    the mean of the 12 nearest heights, weighted by the inverse squared distance, replaces it.

    Parameters
    ----------
    known : KnownElevations
        Known elevations; those outside the raster are used as well.
    like : xarray.DataArray
        A variable on the target grid, dims (y, x), with a reference system.

    Returns
    -------
    xarray.DataArray
        float32 metres above the ellipsoid, dims (y, x). The attribute ``method`` is "thin_plate",
        or "idw" where the points do not determine a plane.

    Raises
    ------
    KnownElevationsError
        If there is no point.
    DemError
        If the raster has no regular grid or no reference system.

    References
    ----------
    Duchon, J. (1977). Splines minimizing rotation-invariant semi-norms in Sobolev spaces. In:
    Constructive Theory of Functions of Several Variables, Springer, 85-100.
    """
    if len(known) == 0:
        msg = "found no known elevation, expected one at least: use a coarse DEM instead"
        raise KnownElevationsError(msg)
    cells = CellLocator.of(like)
    row, column, _ = cells.locate(known)
    surface, used = fit_surface(cells.metres(row, column), known.height, known.sigma)
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


def fit_surface(positions: Floats, height: Floats, sigma: Floats) -> tuple[Surface, str]:
    """Fit a surface to points, `positions` (n, 2) in metres; return it and the method used."""
    positions, height, sigma = _merge_duplicates(positions, height, sigma)
    if _are_collinear(positions):
        return _inverse_distance(positions, height), "idw"
    return _thin_plate(positions, height, sigma), "thin_plate"


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


def _inverse_distance(positions: Floats, height: Floats) -> Surface:
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


# Windows of a large raster.


@dataclass(frozen=True, eq=False)
class LocatedElevations:
    """Known elevations in the cells of a raster, for reading it window by window."""

    row: NDArray[np.int64]  # row, column: (n,): cells of the elevations inside the raster
    column: NDArray[np.int64]
    height: Floats  # (n,): metres
    posting: tuple[float, float]  # metres between rows and between columns
    tree: cKDTree | None  # the cells in metres; None if no elevation is known
    outside: int  # number of elevations outside the raster

    @classmethod
    def on(cls, like: xr.DataArray, known: KnownElevations | None) -> LocatedElevations:
        """Locate known elevations on a raster."""
        cells = CellLocator.of(like)
        if known is None or not len(known):
            nothing = np.empty(0, dtype=np.int64)
            return cls(nothing, nothing, np.empty(0), cells.posting, None, 0)
        row, column, inside = cells.locate(known)
        positions = cells.metres(row, column)
        cell = np.floor(np.stack([row[inside], column[inside]], axis=-1) + 0.5).astype(np.int64)
        # If all lie outside, distances are those to their exact positions.
        tree = cKDTree((cell * np.array(cells.posting)) if len(cell) else positions)
        outside = int(np.size(inside) - inside.sum())
        height = known.height[inside]
        return cls(cell[:, 0], cell[:, 1], height, cells.posting, tree, outside)

    def window(self, row: int, column: int, size: int) -> dict[str, NDArray[np.float32]]:
        """Return ``known`` and ``distance`` of a window, shape (size, size)."""
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
        distance = np.full(shape, np.inf)
        if self.tree is not None:
            rows, columns = np.mgrid[row : row + size, column : column + size]
            cells = np.stack([rows.ravel(), columns.ravel()], axis=-1) * np.array(self.posting)
            distance = np.asarray(self.tree.query(cells)[0]).reshape(shape)
        return {"known": known, "distance": distance.astype(np.float32)}
