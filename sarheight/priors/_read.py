"""Reading sparse heights from tables and vector files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from sarheight._extras import require
from sarheight.dem._geoid import Geoid, undulations_at
from sarheight.dem._vertical import ELLIPSOID, datum_of_crs, datum_of_text
from sarheight.errors import PriorError, VerticalDatumError
from sarheight.priors._points import SparseHeights

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["read_heights"]

TABLES = (".csv", ".txt", ".csv.gz")
VECTORS = (".gpkg", ".parquet", ".geoparquet", ".geojson", ".json", ".shp", ".fgb")
X_NAMES = ("longitude", "lon", "easting", "x")
Y_NAMES = ("latitude", "lat", "northing", "y")
HEIGHT_NAMES = ("height", "h", "elevation", "h_li", "h_te_best_fit", "z", "altitude")
SIGMA_NAMES = ("sigma", "height_sigma", "h_li_sigma", "h_te_uncertainty", "std")
DEGREES = ("longitude", "lon", "latitude", "lat")


def read_heights(
    path: str | os.PathLike[str],
    *,
    vertical: Geoid | None = None,
    x: str | None = None,
    y: str | None = None,
    height: str | None = None,
    sigma: str | float | None = None,
    crs: Any = None,  # noqa: ANN401  # whatever pyproj takes
    layer: str | None = None,
) -> SparseHeights:
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
    SparseHeights
        Rows without a place or a height are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    PriorError
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
        raise PriorError(msg)
    heights = _numbers(table, _named(table, height, HEIGHT_NAMES, "heights", path), path)
    spread = _spread(table, sigma, path)
    places = table["x of the point"].to_numpy(float), table["y of the point"].to_numpy(float)
    whole = np.isfinite(heights) & np.isfinite(places[0]) & np.isfinite(places[1])
    if not whole.any():
        msg = f"found no row with a place and a height in '{path}', expected one at least"
        raise PriorError(msg)
    points = SparseHeights(
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
        raise PriorError(msg) from error
    names = _named(table, x, X_NAMES, "x", path), _named(table, y, Y_NAMES, "y", path)
    if crs is None:
        if not all(name.lower() in DEGREES for name in names):
            msg = (
                f"found places in the columns {names[0]!r} and {names[1]!r} of '{path}', which do "
                "not say their reference system: pass crs, such as 'EPSG:32632'"
            )
            raise PriorError(msg)
        crs = 4326
    for kind, name in zip("xy", names, strict=True):
        table[f"{kind} of the point"] = _numbers(table, name, path)
    return table, CRS.from_user_input(crs)


def _vector(path: Path, crs: Any, layer: str | None) -> tuple[pd.DataFrame, CRS]:  # noqa: ANN401
    """Read the points of a vector file."""
    if crs is not None:
        msg = f"found crs={crs!r} for '{path}', expected none: a vector file states its own"
        raise PriorError(msg)
    require("geopandas", "pyarrow", extra="vector")
    import geopandas

    if path.suffix.lower() in {".parquet", ".geoparquet"}:
        frame = geopandas.read_parquet(path)
    else:
        frame = geopandas.read_file(path, **({} if layer is None else {"layer": layer}))
    if frame.crs is None:
        msg = f"'{path}' does not state a reference system: write it with one"
        raise PriorError(msg)
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].explode(ignore_index=True)
    kinds = sorted(set(frame.geom_type))
    if kinds != ["Point"]:
        msg = f"found geometries of the kinds {kinds} in '{path}', expected points"
        raise PriorError(msg)
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
    raise PriorError(msg)


def _numbers(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    try:
        return np.asarray(table[name].to_numpy(dtype=float, na_value=np.nan))
    except (TypeError, ValueError) as error:
        msg = f"found words in the column {name!r} of '{path}' ({error}), expected numbers"
        raise PriorError(msg) from error


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


def _ellipsoidal(points: SparseHeights, datum: Geoid) -> SparseHeights:
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
    return points.raised(undulation)
