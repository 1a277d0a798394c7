"""Known elevations: points with heights, read, drawn from a DEM, and on rasters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from scipy.ndimage import distance_transform_edt

from sarheight._runtime import require
from sarheight.dem import check_dem, local_posting
from sarheight.dem.datum import ELLIPSOID_VERTICAL, datum_of_crs, datum_of_text
from sarheight.dem.geoid import Geoid, undulations_at
from sarheight.dem.layout import accept_layout, cell_steps
from sarheight.errors import KnownElevationsError, VerticalDatumError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import xarray as xr

LOWEST, HIGHEST = -600.0, 9200.0
"""Ellipsoidal heights of land in metres lie between these: from the Dead Sea to the Himalaya."""


def _column(name: str, values: ArrayLike) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        msg = f"found {name} of shape {column.shape}, expected one value for each point"
        raise KnownElevationsError(msg)
    return column


@dataclass(frozen=True, eq=False, init=False)
class KnownElevations:
    """Known heights at a few places.

    Parameters
    ----------
    x, y : array, shape (n,)
        Places in `crs`: longitude and latitude in degrees where it is geographic.
    height : array, shape (n,)
        Metres above the WGS84 ellipsoid.
    sigma : array, shape (n,), or float
        Standard deviation of each height in metres; 0 where it is taken for exact.
    crs : str, int or pyproj.CRS
        Horizontal reference system of the places.

    Raises
    ------
    KnownElevationsError
        If the columns differ in length, a value is not finite, a height is none of the Earth's
        land, or a standard deviation is negative.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    height: NDArray[np.float64]
    sigma: NDArray[np.float64]
    crs: CRS

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        height: ArrayLike,
        sigma: ArrayLike = 0.0,
        crs: Any = 4326,  # noqa: ANN401  # whatever pyproj takes
    ) -> None:
        """Check the columns, and keep copies."""
        columns = {"x": _column("x", x), "y": _column("y", y), "height": _column("height", height)}
        count = columns["height"].size
        spread = np.asarray(sigma, dtype=np.float64)
        columns["sigma"] = _column("sigma", np.full(count, spread) if spread.ndim == 0 else spread)
        sizes = {name: column.size for name, column in columns.items()}
        if len(set(sizes.values())) > 1:
            msg = f"found columns of {sizes} values, expected the same number in each"
            raise KnownElevationsError(msg)
        for name, column in columns.items():
            _require_finite(name, column)
        _require_heights(columns["height"])
        if (columns["sigma"] < 0.0).any():
            msg = (
                f"found standard deviations down to {columns['sigma'].min():g} m, expected none "
                "below 0: check the column"
            )
            raise KnownElevationsError(msg)
        for name, column in columns.items():
            object.__setattr__(self, name, column.copy())
        object.__setattr__(self, "crs", _horizontal(crs))

    def __len__(self) -> int:
        """Return the number of points."""
        return int(self.height.size)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> KnownElevations:
        """Return some of the points, chosen by a slice, a mask or their numbers."""
        return KnownElevations(
            self.x[chosen], self.y[chosen], self.height[chosen], self.sigma[chosen], self.crs
        )

    @classmethod
    def concatenate(cls, parts: Sequence[KnownElevations]) -> KnownElevations:
        """Put points of several sources together, in the reference system of the first.

        Raises
        ------
        KnownElevationsError
            If there is no part.
        """
        if not parts:
            msg = "found no points to join, expected one set at least"
            raise KnownElevationsError(msg)
        moved = [part.to_crs(parts[0].crs) for part in parts]
        return cls(
            np.concatenate([part.x for part in moved]),
            np.concatenate([part.y for part in moved]),
            np.concatenate([part.height for part in moved]),
            np.concatenate([part.sigma for part in moved]),
            parts[0].crs,
        )

    def to_crs(self, crs: Any) -> KnownElevations:  # noqa: ANN401  # whatever pyproj takes
        """Return the same points in another horizontal reference system."""
        wanted = _horizontal(crs)
        if wanted == self.crs:
            return self
        x, y = Transformer.from_crs(self.crs, wanted, always_xy=True).transform(self.x, self.y)
        return KnownElevations(x, y, self.height, self.sigma, wanted)

    def raised(self, metres: ArrayLike) -> KnownElevations:
        """Return the same points with heights that are larger by some metres."""
        height = self.height + np.asarray(metres, dtype=np.float64)
        return KnownElevations(self.x, self.y, height, self.sigma, self.crs)


def _horizontal(crs: Any) -> CRS:  # noqa: ANN401  # whatever pyproj takes
    try:
        return CRS.from_user_input(crs).to_2d()
    except CRSError as error:
        msg = f"found the reference system {crs!r}, which PROJ does not know ({error})"
        raise KnownElevationsError(msg) from error


def _require_finite(name: str, column: NDArray[np.float64]) -> None:
    bad = np.flatnonzero(~np.isfinite(column))
    if bad.size:
        msg = (
            f"found {bad.size} of {column.size} values of {name} that are not finite, the first at "
            f"point {bad[0]}: leave those points out"
        )
        raise KnownElevationsError(msg)


def _require_heights(height: NDArray[np.float64]) -> None:
    bad = np.flatnonzero((height < LOWEST) | (height > HIGHEST))
    if bad.size:
        msg = (
            f"found {bad.size} of {height.size} heights outside {LOWEST:g} to {HIGHEST:g} m, such "
            f"as {height[bad[0]]:g} at point {bad[0]}: no land lies there; check unit and nodata "
            "value"
        )
        raise KnownElevationsError(msg)


# Points on the grid of a raster.

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """The cells of a raster, and their size in metres."""

    like: xr.DataArray  # the raster, dims (y, x)
    posting: tuple[float, float]  # metres between rows and between columns, at the raster's centre

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.like.sizes["y"], self.like.sizes["x"]

    def places(self, points: KnownElevations) -> tuple[Floats, Floats]:
        """Return fractional rows and columns of points; whole numbers are cell centres."""
        moved = points.to_crs(self.like.rio.crs)
        x, y = moved.x, moved.y
        dy, dx = cell_steps(self.like)
        first_y, first_x = float(self.like["y"].values[0]), float(self.like["x"].values[0])
        if moved.crs.is_geographic:
            # The same meridian has several longitudes: take the one next to the raster.
            middle = first_x + 0.5 * dx * (self.shape[1] - 1)
            x = x - 360.0 * np.round((x - middle) / 360.0)
        return (y - first_y) / dy, (x - first_x) / dx

    def inside(self, row: Floats, column: Floats) -> NDArray[np.bool_]:
        """Tell which places lie in a cell of the raster."""
        rows, columns = self.shape
        within: NDArray[np.bool_] = (
            (row >= -0.5) & (row < rows - 0.5) & (column >= -0.5) & (column < columns - 0.5)
        )
        return within

    def metres(self, row: Floats, column: Floats) -> Floats:
        """Return places in metres southwards and eastwards of the first cell, shape (n, 2)."""
        return np.stack([row * self.posting[0], column * self.posting[1]], axis=-1)

    def variable(self, values: NDArray[Any], attributes: Mapping[str, Any]) -> xr.DataArray:
        """Put values on the grid."""
        import xarray

        # The reference system travels as a coordinate; nothing else of the raster does.
        kept = {"y", "x", "spatial_ref"}
        coordinates = {name: self.like[name] for name in self.like.coords if name in kept}
        placed = xarray.DataArray(values, coords=coordinates, dims=("y", "x"))
        placed.attrs = {**attributes, "grid_mapping": "spatial_ref"}
        if "spatial_ref" in placed.coords:
            return placed
        stated: xr.DataArray = placed.rio.write_crs(self.like.rio.crs)
        return stated


def grid_of(like: xr.DataArray) -> Grid:
    """Take the grid of a raster."""
    import rioxarray  # noqa: F401  # registers the accessor

    raster = accept_layout(like)
    return Grid(raster, local_posting(raster))


# Reading sparse heights from tables and vector files.

TABLES = (".csv", ".txt", ".csv.gz")
VECTORS = (".gpkg", ".parquet", ".geoparquet", ".geojson", ".json", ".shp", ".fgb")
X_NAMES = ("longitude", "lon", "easting", "x")
Y_NAMES = ("latitude", "lat", "northing", "y")
HEIGHT_NAMES = ("height", "h", "elevation", "h_li", "h_te_best_fit", "z", "altitude")
SIGMA_NAMES = ("sigma", "height_sigma", "h_li_sigma", "h_te_uncertainty", "std")
DEGREES = ("longitude", "lon", "latitude", "lat")


def read_known_elevations(
    path: str | os.PathLike[str],
    *,
    vertical: Geoid | None = None,
    x: str | None = None,
    y: str | None = None,
    height: str | None = None,
    sigma: str | float | None = None,
    crs: Any = None,  # noqa: ANN401  # whatever pyproj takes
    layer: str | None = None,
) -> KnownElevations:
    """Read sparse heights from a file.

    Parameters
    ----------
    path : str or path
        A table with a header (``.csv``, ``.txt``, ``.csv.gz``; commas, semicolons, tabs or
        blanks), or points in a vector file (``.gpkg``, ``.parquet``, ``.geojson``, ``.shp``,
        ``.fgb``), for which the extra ``vector`` must be installed.
    vertical : str, path, CRS or float, optional
        What the heights are measured from: "ellipsoidal" (as ICESat-2's are), or anything that
        `sarheight.dem.to_ellipsoidal` takes, such as "EGM96" or one undulation in metres. Needed
        unless the reference system of a vector file says it.
    x, y : str, optional
        Columns of a table with the places. By default the first that is there of ``longitude``,
        ``lon``, ``easting``, ``x`` and of ``latitude``, ``lat``, ``northing``, ``y``; in any case
        of letters.
    height : str, optional
        Column with the heights in metres. By default the first of ``height``, ``h``,
        ``elevation``, ``h_li`` (ATL06), ``h_te_best_fit`` (ATL08), ``z``, ``altitude``; of a
        vector file without any, the third coordinate of its points.
    sigma : str or float, optional
        Column with the standard deviations, or one for all. By default the first of ``sigma``,
        ``height_sigma``, ``h_li_sigma``, ``h_te_uncertainty``, ``std``; 0 where there is none.
    crs : str, int or pyproj.CRS, optional
        Reference system of a table's places. Left out where the columns are called longitude and
        latitude. Of a vector file it is the file's own.
    layer : str, optional
        Layer of a vector file that has several.

    Returns
    -------
    KnownElevations
        Rows without a place or a height are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KnownElevationsError
        If a column is missing, holds no numbers, or nothing says what the places refer to.
    VerticalDatumError
        If nothing says what the heights are measured from, or two things are said.
    MissingLibraryError
        If the libraries for vector files are not installed.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"there is no file '{path}'"
        raise FileNotFoundError(msg)
    name = path.name.lower()
    if name.endswith(TABLES):
        table, system = _table(path, x, y, crs)
    elif name.endswith(VECTORS):
        table, system = _vector(path, crs, layer)
    else:
        msg = f"found '{path}', expected one of {', '.join(TABLES + VECTORS)}"
        raise KnownElevationsError(msg)
    heights = _numbers(table, _named(table, height, HEIGHT_NAMES, "heights", path), path)
    spread = _spread(table, sigma, path)
    places = table["x of the point"].to_numpy(float), table["y of the point"].to_numpy(float)
    whole = np.isfinite(heights) & np.isfinite(places[0]) & np.isfinite(places[1])
    if not whole.any():
        msg = f"found no row with a place and a height in '{path}', expected one at least"
        raise KnownElevationsError(msg)
    points = KnownElevations(
        places[0][whole], places[1][whole], heights[whole], spread[whole], crs=system
    )
    return _ellipsoidal(points, _datum(system, vertical, path))


def _table(path: Path, x: str | None, y: str | None, crs: Any) -> tuple[pd.DataFrame, CRS]:  # noqa: ANN401
    """Read a table with its places."""
    import csv

    import pandas as pd

    try:
        table = pd.read_csv(path, sep=None, engine="python", skipinitialspace=True)
    except (ValueError, OSError, csv.Error) as error:
        msg = f"'{path}' is not a table with a header ({error})"
        raise KnownElevationsError(msg) from error
    names = _named(table, x, X_NAMES, "x", path), _named(table, y, Y_NAMES, "y", path)
    if crs is None:
        if not all(name.lower() in DEGREES for name in names):
            msg = (
                f"found places in the columns {names[0]!r} and {names[1]!r} of '{path}', which do "
                "not say their reference system: pass crs, such as 'EPSG:32632'"
            )
            raise KnownElevationsError(msg)
        crs = 4326
    for kind, name in zip("xy", names, strict=True):
        table[f"{kind} of the point"] = _numbers(table, name, path)
    return table, CRS.from_user_input(crs)


def _vector(path: Path, crs: Any, layer: str | None) -> tuple[pd.DataFrame, CRS]:  # noqa: ANN401
    """Read the points of a vector file."""
    if crs is not None:
        msg = f"found crs={crs!r} for '{path}', expected none: a vector file states its own"
        raise KnownElevationsError(msg)
    require("geopandas", "pyarrow", extra="vector")
    import geopandas

    if path.suffix.lower() in {".parquet", ".geoparquet"}:
        frame = geopandas.read_parquet(path)
    else:
        frame = geopandas.read_file(path, **({} if layer is None else {"layer": layer}))
    if frame.crs is None:
        msg = f"'{path}' does not state a reference system: write it with one"
        raise KnownElevationsError(msg)
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].explode(ignore_index=True)
    kinds = sorted(set(frame.geom_type))
    if kinds != ["Point"]:
        msg = f"found geometries of the kinds {kinds} in '{path}', expected points"
        raise KnownElevationsError(msg)
    table = frame.drop(columns=frame.geometry.name)
    table["x of the point"], table["y of the point"] = frame.geometry.x, frame.geometry.y
    if frame.has_z.any() and not any(str(name).lower() in HEIGHT_NAMES for name in table):
        table["z"] = frame.geometry.z
    return table, CRS.from_user_input(frame.crs)


def _named(
    table: pd.DataFrame, wanted: str | None, usual: Sequence[str], what: str, path: Path
) -> str:
    """Find the column that holds something."""
    columns = [str(name) for name in table.columns]
    if wanted is not None and wanted in columns:
        return wanted
    if wanted is None:
        lower = {name.lower().strip(): name for name in reversed(columns)}
        for name in usual:
            if name in lower:
                return lower[name]
    expected = repr(wanted) if wanted is not None else f"one of {', '.join(usual)}"
    msg = f"found the columns {', '.join(columns)} in '{path}', expected {expected} with the {what}"
    raise KnownElevationsError(msg)


def _numbers(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    try:
        return np.asarray(table[name].to_numpy(dtype=float, na_value=np.nan))
    except (TypeError, ValueError) as error:
        msg = f"found words in the column {name!r} of '{path}' ({error}), expected numbers"
        raise KnownElevationsError(msg) from error


def _spread(table: pd.DataFrame, sigma: str | float | None, path: Path) -> NDArray[np.float64]:
    """Return the standard deviations of all rows."""
    if sigma is None and not any(str(name).lower() in SIGMA_NAMES for name in table.columns):
        sigma = 0.0
    if isinstance(sigma, float | int):
        return np.full(len(table), float(sigma))
    return _numbers(table, _named(table, sigma, SIGMA_NAMES, "standard deviations", path), path)


def _datum(system: CRS, vertical: Geoid | None, path: Path) -> Geoid:
    """Settle what the heights are measured from."""
    stated = datum_of_crs(system)
    if vertical is None:
        if stated is None:
            msg = f"'{path}' does not say what its heights are measured from"
            advice = (
                'pass vertical="ellipsoidal" (laser altimeters), a geoid such as "EGM96", or its '
                "height in metres"
            )
            ways = ("ellipsoidal (laser altimeters)", "EGM96", "EGM2008", "the geoid's height")
            raise VerticalDatumError(msg, advice, options={"vertical": ways})
        return stated
    named = datum_of_text(vertical) if isinstance(vertical, str) else None
    if stated is not None and named is not None and named != stated:
        msg = f"'{path}' states heights above {stated}, and what was passed is {named}"
        advice = "leave vertical out to follow the file"
        raise VerticalDatumError(msg, advice, options={"vertical": None})
    return named if named is not None else vertical


def _ellipsoidal(points: KnownElevations, datum: Geoid) -> KnownElevations:
    if isinstance(datum, str) and datum == ELLIPSOID_VERTICAL:
        return points
    longitude, latitude = Transformer.from_crs(points.crs, 4326, always_xy=True).transform(
        points.x, points.y
    )
    undulation = undulations_at(datum, np.asarray(longitude), np.asarray(latitude))
    outside = ~np.isfinite(undulation)
    if outside.any():
        msg = (
            f"the geoid {datum!r} does not cover {outside.sum()} of {len(points)} points; use a "
            "global one such as EGM2008"
        )
        raise VerticalDatumError(msg)
    return points.raised(undulation)


# Drawing sparse heights from an elevation model.

Pattern = Literal["random", "stratified"]
"""How places are chosen."""

SQUARE_KILOMETRE = 1e6


def draw_known_elevations(
    dem: xr.DataArray,
    count: int | None = None,
    *,
    density: float | None = None,
    pattern: Pattern = "random",
    sigma: float = 0.0,
    seed: int = 0,
) -> KnownElevations:
    """Draw heights at cells of an elevation model.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x). Voids are never drawn.
    count : int, optional
        How many; either this or `density`. No cell is drawn twice.
    density : float, optional
        How many on a square kilometre.
    pattern : {"random", "stratified"}
        ``random``: every cell is equally likely. ``stratified``: the raster is divided into as
        many boxes, nearly square on the ground, as points are wanted, and one cell is drawn in
        each; what voids and the division leave over is drawn at random.
    sigma : float
        Standard deviation of a normal error that is added to each height, in metres; the points
        carry it as their `sigma`.
    seed : int
        Of the random numbers. The same seed draws the same points.

    Returns
    -------
    KnownElevations
        In the elevation model's reference system.

    Raises
    ------
    KnownElevationsError
        If not exactly one of `count` and `density` is given, a value is negative, or there are
        fewer cells with heights than points wanted.
    DemError
        If the elevation model is not usable.
    """
    if pattern not in get_args(Pattern):
        msg = f"found the pattern {pattern!r}, expected one of {', '.join(get_args(Pattern))}"
        raise KnownElevationsError(msg)
    dem = check_dem(dem)
    grid = grid_of(dem)
    heights = dem.values
    number = _wanted(grid, heights, count, density)
    _require_not_negative("sigma", sigma)
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(np.isfinite(heights))
    boxes = number if pattern == "stratified" else 0
    chosen = _one_in_each(grid, heights, boxes, rng)
    others = np.setdiff1d(known, chosen, assume_unique=True)
    rest = rng.choice(others, number - chosen.size, replace=False)
    row, column = np.unravel_index(np.concatenate([chosen, rest]), heights.shape)
    return _points(dem, row, column, heights[row, column], sigma, rng)


def draw_altimeter_tracks(
    dem: xr.DataArray,
    *,
    spacing: float,
    interval: float,
    azimuth: float = 8.0,
    sigma: float = 0.0,
    seed: int = 0,
) -> KnownElevations:
    """Draw heights along parallel lines, as a laser altimeter measures them.

    The heights are interpolated bilinearly between the cells. The first line lies at random.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x). Where a line crosses voids there are
        no points.
    spacing : float
        Metres between lines.
    interval : float
        Metres between points of a line.
    azimuth : float
        Direction of the lines in degrees, clockwise from the raster's columns. ICESat-2's lines
        stray from the meridian by some 8 degrees at middle latitudes.
    sigma : float
        Standard deviation of a normal error that is added to each height, in metres.
    seed : int
        Of the random numbers.

    Returns
    -------
    KnownElevations
        In the elevation model's reference system, line after line.

    Raises
    ------
    KnownElevationsError
        If a distance is not positive, or the lines miss the heights altogether.
    DemError
        If the elevation model is not usable.
    """
    from scipy.ndimage import map_coordinates

    for name, value in (("spacing", spacing), ("interval", interval)):
        if not value > 0.0:
            msg = f"found {name}={value:g}, expected a distance in metres above 0"
            raise KnownElevationsError(msg)
    _require_not_negative("sigma", sigma)
    dem = check_dem(dem)
    grid = grid_of(dem)
    rng = np.random.default_rng(seed)
    extent = np.array(grid.posting) * (np.array(grid.shape) - 1.0)
    reach = float(np.hypot(*extent))
    across = np.arange(-reach / 2 + rng.uniform(0.0, spacing), reach / 2, spacing)
    along = np.arange(-reach / 2 + rng.uniform(0.0, interval), reach / 2, interval)
    turn = np.radians(azimuth)
    # Rows grow downwards whichever way y does: a line's direction is the same on the map.
    up = -1.0 if dem["y"].values[0] > dem["y"].values[-1] else 1.0
    right = 1.0 if dem["x"].values[-1] > dem["x"].values[0] else -1.0
    offset, distance = (part.ravel() for part in np.meshgrid(across, along, indexing="ij"))
    down = up * (distance * np.cos(turn) - offset * np.sin(turn)) + extent[0] / 2
    east = right * (distance * np.sin(turn) + offset * np.cos(turn)) + extent[1] / 2
    row, column = down / grid.posting[0], east / grid.posting[1]
    within = (row >= 0) & (row <= grid.shape[0] - 1) & (column >= 0) & (column <= grid.shape[1] - 1)
    row, column = row[within], column[within]
    heights = map_coordinates(dem.values.astype(np.float64), [row, column], order=1, mode="nearest")
    seen = np.isfinite(heights)
    if not seen.any():
        msg = (
            f"found no height under lines {spacing:g} m apart, expected some: take a smaller "
            "spacing, or an elevation model with fewer voids"
        )
        raise KnownElevationsError(msg)
    return _points(dem, row[seen], column[seen], heights[seen], sigma, rng)


def _wanted(
    grid: Grid, heights: NDArray[np.float32], count: int | None, density: float | None
) -> int:
    """Return how many points are wanted."""
    if (count is None) == (density is None):
        msg = f"found count={count} and density={density}, expected one of the two"
        raise KnownElevationsError(msg)
    known = int(np.isfinite(heights).sum())
    if count is None:
        _require_not_negative("density", density or 0.0)
        area = known * grid.posting[0] * grid.posting[1] / SQUARE_KILOMETRE
        count = round((density or 0.0) * area)
    if count != int(count) or not 0 <= count <= known:
        msg = (
            f"found {count} points wanted of {known} cells with heights, expected a whole number "
            "up to that"
        )
        raise KnownElevationsError(msg)
    return int(count)


def _require_not_negative(name: str, value: float) -> None:
    if not value >= 0.0:
        msg = f"found {name}={value:g}, expected none below 0"
        raise KnownElevationsError(msg)


def _one_in_each(
    grid: Grid, heights: NDArray[np.float32], number: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw one cell in each box of a division of the raster into at most `number` boxes."""
    rows, columns = grid.shape
    if number == 0:
        return np.empty(0, dtype=np.int64)
    height, width = rows * grid.posting[0], columns * grid.posting[1]
    down = int(np.clip(round(np.sqrt(number * height / width)), 1, min(number, rows)))
    across = min(number // down, columns)
    chosen = []
    for block in np.array_split(np.arange(rows), down):
        for part in np.array_split(np.arange(columns), across):
            cells = np.ix_(block, part)
            known = np.flatnonzero(np.isfinite(heights[cells]))
            if known.size:
                row, column = np.unravel_index(rng.choice(known), (block.size, part.size))
                chosen.append((block[row]) * columns + part[column])
    return np.array(chosen, dtype=np.int64)


def _points(
    dem: xr.DataArray,
    row: NDArray[np.floating] | NDArray[np.integer],
    column: NDArray[np.floating] | NDArray[np.integer],
    heights: NDArray[np.floating],
    sigma: float,
    rng: np.random.Generator,
) -> KnownElevations:
    y, x = (
        np.interp(place, np.arange(dem.sizes[name]), dem[name].values)
        for name, place in (("y", row), ("x", column))
    )
    found = np.asarray(heights, dtype=np.float64)
    return KnownElevations(
        x, y, found + sigma * rng.standard_normal(found.size), sigma, crs=dem.rio.crs
    )


# Sparse heights as rasters: the heights themselves, and the distance to them.

NO_SIGMA = 1.0
"""Weight of heights that are taken for exact, where they meet in one cell."""


def rasterise_elevations(points: KnownElevations, like: xr.DataArray) -> xr.Dataset:
    r"""Put sparse heights into the cells of a raster.

    Several heights in one cell are averaged with the weights :math:`1/\sigma_i^2`, so that the
    standard deviation of their mean is :math:`(\sum 1/\sigma_i^2)^{-1/2}`; heights with
    :math:`\sigma = 0` are exact, and where one lies in a cell those with errors do not count.
    Points outside the raster are left out, and counted.

    Parameters
    ----------
    points : KnownElevations
        Known heights, in any reference system. There may be none.
    like : xarray.DataArray
        A variable on the wanted grid, dims (y, x), with a reference system.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``height`` and ``sigma`` in metres, NaN where nothing is known; ``count``,
        the number of heights in the cell; ``known``, whether there is one. The attribute
        ``points_outside`` says how many were left out.

    Raises
    ------
    DemError
        If the raster has no regular grid or no reference system.
    """
    import xarray

    grid = grid_of(like)
    row, column = grid.places(points)
    inside = grid.inside(row, column)
    cell = np.ravel_multi_index(
        (np.floor(row[inside] + 0.5).astype(int), np.floor(column[inside] + 0.5).astype(int)),
        grid.shape,
    )
    height, sigma = points.height[inside], points.sigma[inside]
    size = grid.shape[0] * grid.shape[1]
    count = np.bincount(cell, minlength=size)
    exact = np.bincount(cell, weights=sigma == 0.0, minlength=size) > 0.0
    with np.errstate(divide="ignore"):
        weight = np.where(sigma == 0.0, NO_SIGMA, np.where(exact[cell], 0.0, sigma**-2.0))
    total = np.bincount(cell, weights=weight, minlength=size)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(cell, weights=weight * height, minlength=size) / total
        spread = np.where(exact, 0.0, total**-0.5)
    known = count > 0

    def shaped(values: np.ndarray) -> np.ndarray:
        return values.reshape(grid.shape)

    return xarray.Dataset(
        {
            "height": grid.variable(
                shaped(np.where(known, mean, np.nan)).astype(np.float32),
                {"long_name": "known height above the WGS84 ellipsoid", "units": "m"},
            ),
            "sigma": grid.variable(
                shaped(np.where(known, spread, np.nan)).astype(np.float32),
                {"long_name": "standard deviation of the known height", "units": "m"},
            ),
            "count": grid.variable(
                shaped(count).astype(np.int32), {"long_name": "known heights in the cell"}
            ),
            "known": grid.variable(shaped(known), {"long_name": "a height is known here"}),
        },
        attrs={"points_outside": int(np.size(inside) - inside.sum())},
    )


def distance_to_known(known: xr.DataArray) -> xr.DataArray:
    """Measure the distance from each cell to the nearest known height.

    Distances are Euclidean, from cell centre to cell centre, in metres on the ground; rows and
    columns may be spaced differently. The posting is that of the raster's centre, so over a
    geographic raster that is tall in degrees the distances along rows are those of its middle.

    Parameters
    ----------
    known : xarray.DataArray
        Where a height is known, boolean, dims (y, x), such as the variable ``known``
        of `rasterise_elevations`.

    Returns
    -------
    xarray.DataArray
        float32 metres, dims (y, x); infinite everywhere where nothing is known.

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
            "known: pass rasterise_elevations(points, like)['known']"
        )
        raise KnownElevationsError(msg)
    grid = grid_of(known)
    mask = known.values
    distance = (
        distance_transform_edt(~mask, sampling=grid.posting)
        if mask.any()
        else np.full(grid.shape, np.inf)
    )
    return grid.variable(
        np.asarray(distance, dtype=np.float32),
        {"long_name": "distance to the nearest known height", "units": "m"},
    )
