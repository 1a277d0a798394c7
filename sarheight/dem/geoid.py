"""Geoid models, and the conversion of heights above sea level to heights above the ellipsoid."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from pyproj import CRS, Transformer
from pyproj.crs import CompoundCRS
from pyproj.datadir import get_user_data_dir  # type: ignore[attr-defined]
from pyproj.exceptions import CRSError, ProjError
from pyproj.transformer import AreaOfInterest, TransformerGroup

from sarheight._runtime import cached_geoid
from sarheight.dem.datum import (
    ELLIPSOID_VERTICAL,
    GEOGRAPHIC,
    GEOIDS,
    UNSTATED_ADVICE,
    datum_of_crs,
    datum_of_text,
    stated_crs,
    stated_datum,
    to_degrees,
    unwrapped,
    with_datum,
)
from sarheight.dem.layout import accept, with_history
from sarheight.errors import DemError, GeoidGridMissingError, VerticalDatumError

if TYPE_CHECKING:
    import xarray as xr

Geoid: TypeAlias = str | os.PathLike[str] | CRS | float
"""A geoid model by name, a vertical reference system, a grid, or one undulation in metres."""

Undulation: TypeAlias = Callable[
    [npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.float64]
]
"""Height of the geoid above the ellipsoid (m) at longitudes and latitudes in degrees."""

Outline: TypeAlias = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Longitudes and latitudes in degrees of places all around an area."""

_BLOCK_CELLS = 1_000_000
FETCHED = {"EGM96", "EGM2008"}
"""Geoids that `sarheight fetch geoid` brings by their names."""
_GRID_SUFFIXES = (".gtx", ".tif", ".tiff", ".gtg", ".byn")


def undulations(
    geoid: Geoid, dem: xr.DataArray
) -> tuple[str, Iterator[tuple[slice, npt.NDArray[np.float64]]]]:
    """Name a geoid, and give its height at every cell of a DEM by blocks of rows.

    Cells that the geoid's grid does not cover are infinite.
    """
    undulation, name = _undulation(geoid, _extent(dem))
    return name, _by_blocks(dem, undulation)


def undulations_at(
    geoid: Geoid, longitude: npt.NDArray[np.float64], latitude: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Give a geoid's height at places; infinite where its grid does not cover them.

    Shapes: `longitude, latitude` (n,).
    """
    undulation, _ = _undulation(geoid, (longitude, latitude))
    return undulation(longitude, latitude)


def is_grid(geoid: object) -> bool:
    """Tell whether a geoid is given by the name or path of a grid."""
    return isinstance(geoid, Path) or str(geoid).lower().endswith(_GRID_SUFFIXES)


def _undulation(geoid: Geoid, outline: Outline) -> tuple[Undulation, str]:
    """Undulation as a function of place, and what to call it."""
    if isinstance(geoid, Real):
        metres = float(geoid)
        return lambda longitude, _latitude: np.full_like(longitude, metres), "constant"
    if is_grid(geoid):
        path = Path(str(geoid))
        name = str(path.resolve()) if path.is_file() else str(geoid)
        return _height_by(_grid_transformer(name)), f"grid {path.name}"
    return _model_undulation(str(geoid), outline)


def _grid_transformer(name: str) -> Transformer:
    try:
        return Transformer.from_pipeline(
            "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad "
            f'+step +proj=vgridshift +grids="{name}" +multiplier=1'
        )
    except ProjError as error:
        raise _missing(name, f"PROJ says: {error}") from error


def _model_undulation(name: str, outline: Outline) -> tuple[Undulation, str]:
    try:
        vertical = CRS.from_user_input(GEOIDS.get(name, name))
    except CRSError as error:
        msg = (
            f"the geoid {name!r} is not known: give one of {', '.join(GEOIDS)}, a vertical "
            'reference system such as "EPSG:5703", the path of a grid, or a number in metres'
        )
        raise VerticalDatumError(msg) from error
    if vertical.is_compound:
        vertical = vertical.sub_crs_list[1]
    if not vertical.is_vertical:
        msg = f"the reference system {name!r} has no vertical part, so it names no geoid"
        raise VerticalDatumError(msg)
    source = CompoundCRS(f"WGS 84 + {vertical.name}", [GEOGRAPHIC, vertical])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        group = TransformerGroup(
            source,
            "EPSG:4979",
            always_xy=True,
            allow_ballpark=False,
            area_of_interest=_area(*outline),
        )
    if not group.transformers:
        grids = [grid.short_name for way in group.unavailable_operations for grid in way.grids]
        fetched = cached_geoid(grids[0]) if grids else None
        if fetched is not None and vertical.to_epsg() in GEOIDS.values():
            return _height_by(_grid_transformer(str(fetched))), name
        raise _missing(grids[0] if grids else name, f"needed for {name}", name)
    return _height_by(group.transformers[0]), name


def _height_by(transformer: Transformer) -> Undulation:
    def height(
        longitude: npt.NDArray[np.float64], latitude: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        turned = transformer.transform(longitude, latitude, np.zeros_like(longitude))
        return np.asarray(turned[2], dtype=np.float64)

    return height


def _by_blocks(
    dem: xr.DataArray, undulation: Undulation
) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    rows = max(1, _BLOCK_CELLS // dem.shape[1])
    crs = stated_crs(dem)
    transformer = None if crs == GEOGRAPHIC else to_degrees(crs)
    for first in range(0, dem.shape[0], rows):
        block = slice(first, first + rows)
        x, y = np.meshgrid(dem["x"].values, dem["y"].values[block])
        longitude, latitude = (x, y) if transformer is None else transformer.transform(x, y)
        yield block, undulation(longitude, latitude)


def _extent(dem: xr.DataArray) -> Outline:
    """Return the corners of a DEM in degrees."""
    longitude, latitude = to_degrees(stated_crs(dem)).transform(
        *np.meshgrid(dem["x"].values[[0, -1]], dem["y"].values[[0, -1]])
    )
    return np.ravel(longitude), np.ravel(latitude)


def _area(longitude: npt.NDArray[np.float64], latitude: npt.NDArray[np.float64]) -> AreaOfInterest:
    """Give an extent to PROJ, which prefers operations made for it."""
    longitude = unwrapped(longitude, float(longitude[0]))
    west, east = ((limit + 180.0) % 360.0 - 180.0 for limit in (longitude.min(), longitude.max()))
    return AreaOfInterest(west, float(latitude.min()), east, float(latitude.max()))


def _missing(grid: str, reason: str, name: str = "") -> GeoidGridMissingError:
    synced = f"`pyproj sync --file {grid}`"
    fetched = f"`sarheight fetch geoid {name}`" if name in FETCHED else synced
    return GeoidGridMissingError(
        f"the geoid grid {grid} is not installed ({reason})",
        "do one of: run `sarheight fetch geoid` with EGM96 or EGM2008, which downloads it; run "
        f"{synced} (or projsync), which downloads it; copy it from elsewhere into "
        f"{get_user_data_dir()}; install the package proj-data (conda); let PROJ fetch what it "
        "needs by pyproj.network.set_network_enabled(True); pass the path of a grid (.gtx, .tif), "
        "or one undulation in metres, as the geoid; or, if the heights are above the ellipsoid "
        "already, say so by assume_ellipsoidal(dem)",
        options={"vertical": ("the path of a grid", "the geoid's height in metres")},
        file_advice=f"run {fetched}, which downloads it",
    )


# From heights above sea level to heights above the ellipsoid.

LARGEST_UNDULATION = 120.0
"""The geoid stays within this many metres of the ellipsoid everywhere on Earth."""


def to_ellipsoidal(dem: xr.DataArray, geoid: Geoid | None = None) -> xr.DataArray:
    """Turn heights above sea level into heights above the WGS84 ellipsoid.

    h = H + N: the ellipsoidal height is the orthometric one plus the height of the geoid above
    the ellipsoid (its undulation), evaluated at every cell.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x), heights above a geoid.
    geoid : str, path, CRS or float, optional
        What the heights are measured from:

        - a model by name: "EGM96", "EGM2008" or "EGM84";
        - a vertical or compound reference system, e.g. "EPSG:5703" (NAVD88);
        - the name or path of a geoid grid that PROJ can read (.gtx or GeoTIFF);
        - a number: one undulation in metres for the whole DEM.

        By default, what the DEM itself states.

    Returns
    -------
    DataArray
        The DEM with ellipsoidal heights (float32 metres) and attribute
        ``vertical_datum="ellipsoid"``. A constant undulation is kept in the attribute
        `undulation_m`.

    Raises
    ------
    GeoidGridMissingError
        If the grid is not installed.
    VerticalDatumError
        If the heights are ellipsoidal already, the DEM states another datum than `geoid`, or
        neither says anything.
    DemError
        If the grid does not cover the DEM, or the DEM is not usable.

    References
    ----------
    Hofmann-Wellenhof & Moritz, Physical Geodesy, 2nd ed., Springer, 2006.
    """
    dem = accept(dem)
    geoid = _agreed(stated_datum(dem), geoid)
    name, blocks = undulations(geoid, dem)
    low, high = np.inf, -np.inf
    heights = np.empty(dem.shape, dtype=np.float32)
    for rows, height_of_geoid in blocks:
        orthometric = dem.values[rows]
        inside = height_of_geoid[np.isfinite(orthometric)]
        if inside.size:
            low, high = min(low, inside.min()), max(high, inside.max())
        heights[rows] = orthometric + height_of_geoid
    _require_undulations(low, high, name)
    ellipsoidal = with_datum(dem.copy(data=heights), ELLIPSOID_VERTICAL)
    if isinstance(geoid, Real):
        ellipsoidal.attrs["undulation_m"] = float(geoid)
    return with_history(
        ellipsoidal, f"to_ellipsoidal: {name}, undulation {low:.2f} to {high:.2f} m"
    )


def assume_ellipsoidal(dem: xr.DataArray) -> xr.DataArray:
    """Declare that the heights of a DEM are above the WGS84 ellipsoid already.

    Nothing is computed. Whatever the DEM says about its vertical datum is overruled, and that is
    noted in its history.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).

    Returns
    -------
    DataArray
        The same heights (float32 metres) with attribute ``vertical_datum="ellipsoid"``.

    Raises
    ------
    DemError
        If the DEM is not usable.
    """
    dem = accept(dem)
    stated = stated_datum(dem)
    overruled = f" (it said {stated})" if stated not in (None, ELLIPSOID_VERTICAL) else ""
    return with_history(
        with_datum(dem, ELLIPSOID_VERTICAL), f"assume_ellipsoidal: declared{overruled}"
    )


def _agreed(stated: str | None, geoid: Geoid | None) -> Geoid:
    """Settle what the heights are measured from."""
    if stated == ELLIPSOID_VERTICAL:
        msg = (
            "the DEM's heights are above the ellipsoid already (vertical_datum); converting them "
            "again would shift them by the geoid twice"
        )
        raise VerticalDatumError(msg, options={"vertical": None})
    if geoid is None:
        if stated is None:
            msg = f"the DEM does not say what its heights are measured from: {UNSTATED_ADVICE}"
            raise VerticalDatumError(msg)
        return stated
    named = _datum_named(geoid)
    if named == ELLIPSOID_VERTICAL:
        msg = "the ellipsoid is no geoid; for heights above it use assume_ellipsoidal(dem)"
        raise VerticalDatumError(msg)
    if stated is not None and named is not None and named != stated:
        msg = f"the DEM states heights above {stated}, and the geoid asked for is {named}"
        advice = (
            "leave the geoid out to use what is stated, or remove dem.attrs['vertical_datum'] if "
            "it is wrong"
        )
        raise VerticalDatumError(msg, advice, options={"vertical": None})
    return named if named is not None else geoid


def _datum_named(geoid: Geoid) -> str | None:
    """Name of the datum that `geoid` stands for; None for a grid or a number."""
    if isinstance(geoid, CRS):
        return datum_of_crs(geoid)
    if isinstance(geoid, str) and not is_grid(geoid):
        return datum_of_text(geoid)
    return None


def _require_undulations(low: float, high: float, name: str) -> None:
    if not np.isfinite([low, high]).all():
        msg = f"the geoid ({name}) does not cover the whole DEM; use a global one such as EGM2008"
        raise DemError(msg)
    if max(-low, high) > LARGEST_UNDULATION:
        msg = (
            f"undulations of {low:.6g} to {high:.6g} m ({name}) are none of the Earth's geoid, "
            f"which stays within {LARGEST_UNDULATION:g} m of the ellipsoid; check grid and unit"
        )
        raise DemError(msg)
