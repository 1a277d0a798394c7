"""Known elevations on rasters: cells, distances, a surface through them, windows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
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

    def metres(self, row: NDArray[Any], column: NDArray[Any]) -> Floats:
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


@dataclass(frozen=True, eq=False)
class CellElevations:
    """Known elevations in the cells of a raster, one in each of them.

    Several heights in a cell are averaged, see `rasterise_elevations`.
    """

    cells: CellLocator
    row: NDArray[np.int64]  # row, column: (n,), ascending
    column: NDArray[np.int64]
    height: NDArray[np.float32]  # (n,): metres
    sigma: NDArray[np.float32]  # (n,): their standard deviations
    count: NDArray[np.int64]  # (n,): heights in the cell
    outside: int  # number of elevations outside the raster

    @classmethod
    def on(cls, like: xr.DataArray, known: KnownElevations | None) -> CellElevations:
        """Average known elevations in the cells of a raster; those outside are left out."""
        cells = CellLocator.of(like)
        if known is None or not len(known):
            nothing, none = np.empty(0, np.int64), np.empty(0, np.float32)
            return cls(cells, nothing, nothing, none, none, nothing, 0)
        row, column, inside = cells.locate(known)
        places = [np.floor(each[inside] + 0.5).astype(np.int64) for each in (row, column)]
        cell, member = np.unique(
            np.ravel_multi_index((places[0], places[1]), cells.shape), return_inverse=True
        )
        height, sigma = known.height[inside], known.sigma[inside]
        exact = np.bincount(member, sigma == 0.0) > 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            # Exact heights have equal weights, of any size.
            weight = np.where(sigma == 0.0, 1.0, np.where(exact[member], 0.0, sigma**-2.0))
            total = np.bincount(member, weight)
            mean = np.bincount(member, weight * height) / total
            spread = np.where(exact, 0.0, total**-0.5)
        down, right = np.unravel_index(cell, cells.shape)
        return cls(
            cells,
            down,
            right,
            mean.astype(np.float32),
            spread.astype(np.float32),
            np.bincount(member),
            int(np.size(inside) - inside.sum()),
        )

    @cached_property
    def tree(self) -> cKDTree:
        """The cells in metres."""
        return cKDTree(self.cells.metres(self.row, self.column))

    def window(self, row: int, column: int, size: int) -> dict[str, NDArray[np.float32]]:
        """Return ``known`` and ``distance`` of a window, shape (size, size)."""
        known = np.full((size, size), np.nan, dtype=np.float32)
        down, right = self.row - row, self.column - column
        inside = (down >= 0) & (down < size) & (right >= 0) & (right < size)
        known[down[inside], right[inside]] = self.height[inside]
        distance = np.full((size, size), np.inf, dtype=np.float32)
        if self.row.size:
            rows, columns = np.mgrid[row : row + size, column : column + size]
            distance[:] = self.tree.query(self.cells.metres(rows, columns))[0]
        return {"known": known, "distance": distance}


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

    found = CellElevations.on(like, known)

    def layer(values: Any, empty: Any, dtype: type, text: str, **units: str) -> xr.DataArray:  # noqa: ANN401
        raster: NDArray[Any] = np.full(found.cells.shape, empty, dtype=dtype)
        raster[found.row, found.column] = values
        return found.cells.variable(raster, long_name=text, **units)

    height = "known height above the WGS84 ellipsoid"
    spread = "standard deviation of the known height"
    return xarray.Dataset(
        {
            "height": layer(found.height, np.nan, np.float32, height, units="m"),
            "sigma": layer(found.sigma, np.nan, np.float32, spread, units="m"),
            "count": layer(found.count, 0, np.int32, "known heights in the cell"),
            "known": layer(True, False, np.bool_, "a height is known here"),  # noqa: FBT003
        },
        attrs={"elevations_outside": found.outside},
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
    if known.crs.is_geographic and (np.abs(known.x) <= 90.0).all():
        turned = replace(known, x=known.y, y=known.x)
        count = int(locator.locate(turned)[2].sum())
        if count:
            msg = (
                f"found all {len(known)} known elevations outside the scene, and {count} inside "
                "with latitude and longitude exchanged: x is longitude, y is latitude"
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
MAX_POINTS_OF_SYSTEM, NEIGHBOURS = 400, 64
"""Points up to which one system is solved for all; with more, each position is interpolated from
some nearest ones."""
COLLINEAR = 1e-6
"""Largest deviation of collinear points from their line, relative to their extent."""
BLOCK_CELLS = 262_144


def interpolate_elevations(known: KnownElevations, like: xr.DataArray) -> xr.DataArray:
    r"""Interpolate a thin plate through known elevations: the baseline that needs no radar.

    The surface of least bending energy through the points, a sum of :math:`r^2 \log r` and a plane.
    Points with a standard deviation are smoothed by a ridge of :math:`\sigma_i^2` on the diagonal
    of the system, in units of the variance of the heights. With more than 400 points the 64 nearest
    are used at each position. Fewer than three points, or collinear ones, do not determine a plane:
    a constant and a sum of :math:`r` replace it.

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
        or "linear" where the points do not determine a plane.

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
    positions, height, sigma = _merge_duplicates(
        cells.metres(row, column), known.height, known.sigma
    )
    thin_plate = not _are_collinear(positions)
    # In units of the points' extent and variance the ridge has the same meaning everywhere.
    extent, variance = float(np.ptp(positions, axis=0).max()) or 1.0, float(height.var()) or 1.0
    surface = RBFInterpolator(
        positions / extent,
        height,
        kernel="thin_plate_spline" if thin_plate else "linear",
        degree=1 if thin_plate else 0,
        smoothing=sigma**2 / variance,
        neighbors=NEIGHBOURS if len(positions) > MAX_POINTS_OF_SYSTEM else None,
    )
    rows, columns = cells.shape
    values = np.empty(cells.shape, dtype=np.float32)
    step = max(1, BLOCK_CELLS // columns)
    for first in range(0, rows, step):
        block = np.mgrid[first : min(first + step, rows), 0:columns].astype(np.float64)
        heights = surface(cells.metres(block[0].ravel(), block[1].ravel()) / extent)
        values[first : first + step] = heights.reshape(block[0].shape)
    return cells.variable(
        values,
        long_name="interpolated height above the WGS84 ellipsoid",
        units="m",
        vertical_datum="ellipsoid",
        method="thin_plate" if thin_plate else "linear",
        known_elevations=len(known),
    )


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
