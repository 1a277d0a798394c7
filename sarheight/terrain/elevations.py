"""Known elevations: sparse points with heights, read from files or drawn from a DEM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from sarheight._files import file_reader, read_vector
from sarheight.dem import check_dem, local_posting
from sarheight.dem.datum import ELLIPSOID, Geoid, datum_of_crs, datum_of_text, undulations_at
from sarheight.errors import KnownElevationsError, VerticalDatumError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    import xarray as xr

Floats = NDArray[np.float64]

LOWEST, HIGHEST = -600.0, 9200.0
"""Bounds of ellipsoidal heights on land in metres: the Dead Sea's shore lies at about -410, Mount
Everest's summit at 8820."""


@dataclass(frozen=True, eq=False, init=False)
class KnownElevations:
    """Points with known heights.

    Parameters
    ----------
    x, y : array, shape (n,)
        Positions in `crs`: longitude and latitude in degrees if it is geographic.
    height : array, shape (n,)
        Metres above the WGS84 ellipsoid.
    sigma : array, shape (n,), or float
        Standard deviation of each height in metres; 0 for exact heights.
    crs : str, int or pyproj.CRS
        Horizontal reference system of the positions.

    Raises
    ------
    KnownElevationsError
        If the columns differ in length, a value is not finite, a height is outside the range of
        land on Earth, or a standard deviation is negative.
    """

    x: Floats
    y: Floats
    height: Floats
    sigma: Floats
    crs: CRS

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        height: ArrayLike,
        sigma: ArrayLike = 0.0,
        crs: Any = 4326,  # noqa: ANN401  # whatever pyproj takes
    ) -> None:
        """Check the columns and copy them."""
        columns = {name: _column(name, v) for name, v in (("x", x), ("y", y), ("height", height))}
        spread = np.asarray(sigma, dtype=np.float64)
        if spread.ndim == 0:
            spread = np.full(columns["height"].size, spread)
        columns["sigma"] = _column("sigma", spread)
        sizes = {name: column.size for name, column in columns.items()}
        if len(set(sizes.values())) > 1:
            msg = f"found columns of {sizes} values, expected the same number in each"
            raise KnownElevationsError(msg)
        for name, column in columns.items():
            _refuse(~np.isfinite(column), name, column, "finite values: leave those points out")
            object.__setattr__(self, name, column)
        _refuse(
            (self.height < LOWEST) | (self.height > HIGHEST),
            "height",
            self.height,
            f"{LOWEST:g} to {HIGHEST:g} m, as no land lies elsewhere: check unit and nodata value",
        )
        _refuse(self.sigma < 0.0, "sigma", self.sigma, "none below 0: check the column")
        object.__setattr__(self, "crs", _horizontal_crs(crs))
        if self.crs.is_geographic:
            limits = "latitudes from -90 to 90: x is longitude, y is latitude, in degrees"
            if (np.abs(self.y) > 90.0).any() and (np.abs(self.x) <= 90.0).all():
                limits += "; here they seem to be exchanged"
            _refuse(np.abs(self.y) > 90.0, "y", self.y, limits)

    def __len__(self) -> int:
        """Return the number of points."""
        return int(self.height.size)

    def __getitem__(self, selection: slice | NDArray[Any]) -> KnownElevations:
        """Return the points that a slice, a mask or indices select."""
        x, y, height, sigma = (
            column[selection] for column in (self.x, self.y, self.height, self.sigma)
        )
        return KnownElevations(x, y, height, sigma, self.crs)

    def to_crs(self, crs: Any) -> KnownElevations:  # noqa: ANN401  # whatever pyproj takes
        """Return the points in another horizontal reference system."""
        target = _horizontal_crs(crs)
        if target == self.crs:
            return self
        x, y = Transformer.from_crs(self.crs, target, always_xy=True).transform(self.x, self.y)
        return KnownElevations(x, y, self.height, self.sigma, target)


def _column(name: str, values: ArrayLike) -> Floats:
    """Copy a column, shape (n,)."""
    column = np.array(values, dtype=np.float64)
    if column.ndim != 1:
        msg = f"found {name} of shape {column.shape}, expected one value for each point"
        raise KnownElevationsError(msg)
    return column


def _horizontal_crs(crs: Any) -> CRS:  # noqa: ANN401  # whatever pyproj takes
    try:
        return CRS.from_user_input(crs).to_2d()
    except CRSError as error:
        msg = f"found the reference system {crs!r}, which PROJ does not know ({error})"
        raise KnownElevationsError(msg) from error


def _refuse(bad: NDArray[np.bool_], name: str, column: Floats, expected: str) -> None:
    """Raise if a value of a column is bad."""
    first = np.flatnonzero(bad)[:1]
    if first.size:
        msg = (
            f"found {bad.sum()} of {column.size} values of {name} such as {column[first[0]]:g}, at "
            f"point {first[0]}; expected {expected}"
        )
        raise KnownElevationsError(msg)


# Tables and vector files.

TABLES = (".csv", ".txt", ".csv.gz")
VECTORS = (".gpkg", ".parquet", ".geoparquet", ".geojson", ".json", ".shp", ".fgb")
X_NAMES = ("longitude", "lon", "easting", "x")
Y_NAMES = ("latitude", "lat", "northing", "y")
HEIGHT_NAMES = ("height", "h", "elevation", "h_li", "h_te_best_fit", "z", "altitude")
SIGMA_NAMES = ("sigma", "height_sigma", "h_li_sigma", "h_te_uncertainty", "std")
DEGREES = ("longitude", "lon", "latitude", "lat")


@file_reader("a file of known elevations", KnownElevationsError)
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
    """Read known elevations from a file.

    Parameters
    ----------
    path : str or path
        A table with a header (``.csv``, ``.txt``, ``.csv.gz``; separated by commas, semicolons,
        tabs or blanks), or points in a vector file (``.gpkg``, ``.parquet``, ``.geojson``,
        ``.shp``, ``.fgb``), which needs the extra ``vector``.
    vertical : str, path, CRS or float, optional
        Vertical reference of the heights: "ellipsoidal" (such as those of ICESat-2), or anything
        that `sarheight.dem.to_ellipsoidal` takes, such as "EGM96" or one undulation in metres.
        Needed unless the reference system of a vector file states it.
    x, y : str, optional
        Columns of a table with the positions. By default the first that exists of ``longitude``,
        ``lon``, ``easting``, ``x`` and of ``latitude``, ``lat``, ``northing``, ``y``, in upper or
        lower case.
    height : str, optional
        Column with the heights in metres. By default the first of ``height``, ``h``,
        ``elevation``, ``h_li`` (ATL06), ``h_te_best_fit`` (ATL08), ``z``, ``altitude``; in a
        vector file without these, the third coordinate of the points.
    sigma : str or float, optional
        Column with the standard deviations, or one value for all. By default the first of
        ``sigma``, ``height_sigma``, ``h_li_sigma``, ``h_te_uncertainty``, ``std``; 0 if there is
        none.
    crs : str, int or pyproj.CRS, optional
        Reference system of a table's positions; not needed for columns called longitude and
        latitude. A vector file has its own.
    layer : str, optional
        Layer of a vector file that has several.

    Returns
    -------
    KnownElevations
        Rows without a position or a height are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KnownElevationsError
        If a column is missing or holds no numbers, a standard deviation in a column is not above
        0, or the reference system of the positions is not stated.
    VerticalDatumError
        If the vertical reference is not stated, or stated in two ways.
    MissingLibraryError
        If the libraries for vector files are not installed.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"there is no file '{path}'"
        raise FileNotFoundError(msg)
    name = path.name.lower()
    if name.endswith(TABLES):
        table, position, system = _read_table(path, x, y, crs)
    elif name.endswith(VECTORS):
        table, position, system = _read_vector(path, crs, layer)
    else:
        msg = f"found '{path}', expected one of {', '.join(TABLES + VECTORS)}"
        raise KnownElevationsError(msg)
    heights = _numbers(table, _column_name(table, height, HEIGHT_NAMES, "heights", path), path)
    if sigma is None and not any(str(each).lower() in SIGMA_NAMES for each in table.columns):
        sigma = 0.0
    if isinstance(sigma, float | int):
        spread = np.full(len(table), float(sigma))
    else:
        column = _column_name(table, sigma, SIGMA_NAMES, "standard deviations", path)
        spread = _numbers(table, column, path)
        unknown = np.isfinite(spread) & (spread <= 0.0)
        if unknown.any():
            msg = (
                f"found {unknown.sum()} of {spread.size} standard deviations of 0 or less in the "
                f"column {column!r} of '{path}', expected metres above 0: leave those rows out, or "
                "pass one sigma for all"
            )
            raise KnownElevationsError(msg)
    valid = np.isfinite(np.stack([*position, heights])).all(axis=0)
    if not valid.any():
        msg = f"found no row with a position and a height in '{path}', expected one at least"
        raise KnownElevationsError(msg)
    known = KnownElevations(
        position[0][valid], position[1][valid], heights[valid], spread[valid], system
    )
    return _to_ellipsoidal(known, _datum(system, vertical, path))


def _read_table(
    path: Path,
    x: str | None,
    y: str | None,
    crs: Any,  # noqa: ANN401
) -> tuple[pd.DataFrame, tuple[Floats, Floats], CRS]:
    """Read a table, its positions (x, y) and their reference system."""
    import csv

    import pandas as pd

    try:
        table = pd.read_csv(path, sep=None, engine="python", skipinitialspace=True)
    except (ValueError, OSError, csv.Error) as error:
        msg = f"'{path}' is not a table with a header ({error})"
        raise KnownElevationsError(msg) from error
    names = _column_name(table, x, X_NAMES, "x", path), _column_name(table, y, Y_NAMES, "y", path)
    if crs is None:
        if not all(name.lower() in DEGREES for name in names):
            msg = (
                f"found positions in the columns {names[0]!r} and {names[1]!r} of '{path}' without "
                "a reference system"
            )
            advice = "pass crs, such as 'EPSG:32632'"
            raise KnownElevationsError(msg, advice, options={"crs": "EPSG:32632"})
        crs = 4326
    position = _numbers(table, names[0], path), _numbers(table, names[1], path)
    return table, position, CRS.from_user_input(crs)


def _read_vector(
    path: Path,
    crs: Any,  # noqa: ANN401
    layer: str | None,
) -> tuple[pd.DataFrame, tuple[Floats, Floats], CRS]:
    """Read the points of a vector file: attributes, positions (x, y) and reference system."""
    if crs is not None:
        msg = f"found crs={crs!r} for '{path}', expected none: a vector file states its own"
        raise KnownElevationsError(msg)
    frame = read_vector(path, KnownElevationsError, layer=layer)
    if frame.crs is None:
        msg = f"'{path}' does not state a reference system: write it with one"
        raise KnownElevationsError(msg)
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].explode(ignore_index=True)
    kinds = sorted(set(frame.geom_type))
    if kinds != ["Point"]:
        msg = f"found geometries of the kinds {kinds} in '{path}', expected points"
        raise KnownElevationsError(msg)
    table = frame.drop(columns=frame.geometry.name)
    if frame.has_z.any() and not any(str(name).lower() in HEIGHT_NAMES for name in table):
        table["z"] = frame.geometry.z
    position = frame.geometry.x.to_numpy(float), frame.geometry.y.to_numpy(float)
    return table, position, CRS.from_user_input(frame.crs)


def _column_name(
    table: pd.DataFrame, name: str | None, usual: Sequence[str], content: str, path: Path
) -> str:
    """Return the name of the column with some content: the given one, or a usual one."""
    columns = [str(each) for each in table.columns]
    if name is not None and name in columns:
        return name
    if name is None:
        by_lower_case = {each.lower().strip(): each for each in reversed(columns)}
        for each in usual:
            if each in by_lower_case:
                return by_lower_case[each]
    expected = repr(name) if name is not None else f"one of {', '.join(usual)}"
    msg = (
        f"found the columns {', '.join(columns)} in '{path}', expected {expected} with the "
        f"{content}"
    )
    raise KnownElevationsError(msg)


def _numbers(table: pd.DataFrame, name: str, path: Path) -> Floats:
    try:
        return np.asarray(table[name].to_numpy(dtype=float, na_value=np.nan))
    except (TypeError, ValueError) as error:
        msg = f"found words in the column {name!r} of '{path}' ({error}), expected numbers"
        raise KnownElevationsError(msg) from error


def _datum(system: CRS, vertical: Geoid | None, path: Path) -> Geoid:
    """Return the vertical reference, stated by the file or given by the user, but not by both."""
    stated = datum_of_crs(system)
    if vertical is None:
        if stated is None:
            msg = f"'{path}' does not state what its heights are measured from"
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


def _to_ellipsoidal(points: KnownElevations, datum: Geoid) -> KnownElevations:
    """Add the geoid's undulation to heights above it."""
    if isinstance(datum, str) and datum == ELLIPSOID:
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
    height = points.height + undulation
    return KnownElevations(points.x, points.y, height, points.sigma, points.crs)


# Drawing from a DEM.


def draw_known_elevations(
    dem: xr.DataArray, count: int, *, sigma: float = 0.0, seed: int = 0
) -> KnownElevations:
    """Draw known elevations at random cells of a DEM.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x). Voids are never drawn.
    count : int
        Number of points. No cell is drawn twice.
    sigma : float
        Standard deviation of a normal error that is added to each height, in metres; it becomes
        the `sigma` of the points.
    seed : int
        Of the random numbers. The same seed draws the same points.

    Returns
    -------
    KnownElevations
        In the DEM's reference system.

    Raises
    ------
    KnownElevationsError
        If a value is negative, or there are fewer cells with heights than points.
    DemError
        If the DEM is not usable.
    """
    dem = check_dem(dem)
    heights = dem.values
    valid = np.flatnonzero(np.isfinite(heights))
    if count != int(count) or not 0 <= count <= valid.size:
        msg = f"found count={count}, expected a whole number up to that of {valid.size} cells with "
        msg += "heights"
        raise KnownElevationsError(msg)
    _require_not_negative("sigma", sigma)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(valid, int(count), replace=False)
    row, column = np.unravel_index(drawn, heights.shape)
    return _points_at(dem, row, column, heights[row, column], sigma, rng)


def draw_altimeter_tracks(
    dem: xr.DataArray,
    *,
    spacing: float,
    interval: float,
    azimuth: float = 8.0,
    sigma: float = 0.0,
    seed: int = 0,
) -> KnownElevations:
    """Draw known elevations along parallel lines, as a laser altimeter measures them.

    Heights are interpolated bilinearly between the cells. The position of the first line is
    random.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x). There are no points in voids.
    spacing : float
        Metres between lines.
    interval : float
        Metres between points of a line.
    azimuth : float
        Direction of the lines in degrees, clockwise from the raster's columns. ICESat-2's ground
        tracks deviate from the meridian by about 8 degrees at middle latitudes.
    sigma : float
        Standard deviation of a normal error that is added to each height, in metres.
    seed : int
        Of the random numbers.

    Returns
    -------
    KnownElevations
        In the DEM's reference system, line by line.

    Raises
    ------
    KnownElevationsError
        If a distance is not positive, or no line crosses a cell with a height.
    DemError
        If the DEM is not usable.
    """
    from scipy.ndimage import map_coordinates

    for name, value in (("spacing", spacing), ("interval", interval)):
        if not value > 0.0:
            msg = f"found {name}={value:g}, expected a distance in metres above 0"
            raise KnownElevationsError(msg)
    _require_not_negative("sigma", sigma)
    dem = check_dem(dem)
    posting, shape = local_posting(dem), dem.shape
    rng = np.random.default_rng(seed)
    # Lines in a square around the raster, whose side is the raster's diagonal.
    extent = np.array(posting) * (np.array(shape) - 1.0)
    reach = float(np.hypot(*extent))
    across = np.arange(-reach / 2 + rng.uniform(0.0, spacing), reach / 2, spacing)
    along = np.arange(-reach / 2 + rng.uniform(0.0, interval), reach / 2, interval)
    turn = np.radians(azimuth)
    # The signs keep a line's direction on the map whichever way y and x run.
    up = -1.0 if dem["y"].values[0] > dem["y"].values[-1] else 1.0
    right = 1.0 if dem["x"].values[-1] > dem["x"].values[0] else -1.0
    offset, distance = (part.ravel() for part in np.meshgrid(across, along, indexing="ij"))
    down = up * (distance * np.cos(turn) - offset * np.sin(turn)) + extent[0] / 2
    east = right * (distance * np.sin(turn) + offset * np.cos(turn)) + extent[1] / 2
    row, column = down / posting[0], east / posting[1]
    inside = (row >= 0) & (row <= shape[0] - 1) & (column >= 0) & (column <= shape[1] - 1)
    row, column = row[inside], column[inside]
    heights = map_coordinates(dem.values.astype(np.float64), [row, column], order=1, mode="nearest")
    valid = np.isfinite(heights)
    if not valid.any():
        msg = (
            f"found no height under lines {spacing:g} m apart, expected some: choose a smaller "
            "spacing, or a DEM with fewer voids"
        )
        raise KnownElevationsError(msg)
    return _points_at(dem, row[valid], column[valid], heights[valid], sigma, rng)


def _require_not_negative(name: str, value: float) -> None:
    if not value >= 0.0:
        msg = f"found {name}={value:g}, expected none below 0"
        raise KnownElevationsError(msg)


def _points_at(
    dem: xr.DataArray,
    row: NDArray[np.floating] | NDArray[np.integer],
    column: NDArray[np.floating] | NDArray[np.integer],
    heights: NDArray[np.floating],
    sigma: float,
    rng: np.random.Generator,
) -> KnownElevations:
    """Return points at fractional rows and columns, with errors of their heights."""
    y, x = (
        np.interp(index, np.arange(dem.sizes[name]), dem[name].values)
        for name, index in (("y", row), ("x", column))
    )
    exact = np.asarray(heights, dtype=np.float64)
    noisy = exact + sigma * rng.standard_normal(exact.size)
    return KnownElevations(x, y, noisy, sigma, crs=dem.rio.crs)
