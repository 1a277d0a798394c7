"""Reference systems of DEMs: coordinates, vertical datums, and geoid models."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pyproj import CRS, Geod, Transformer
from pyproj.crs import CompoundCRS
from pyproj.datadir import get_user_data_dir  # type: ignore[attr-defined]
from pyproj.exceptions import CRSError, ProjError
from pyproj.transformer import AreaOfInterest, TransformerGroup
from rasterio.errors import CRSError as RasterioCRSError

from sarheight._files import resolve_links
from sarheight._runtime import cached_geoid
from sarheight.ellipsoid import EQUATORIAL_RADIUS
from sarheight.errors import DemError, GeoidGridMissingError, VerticalDatumError

if TYPE_CHECKING:
    import xarray as xr

GEOGRAPHIC = CRS.from_epsg(4326)
WGS84 = Geod(ellps="WGS84")
FULL_TURN, POLE = 360.0, 90.0
"""Degrees of longitude around the Earth, and latitude of the north pole."""

SAME_BODY = 0.01
"""Part by which equatorial radii of ellipsoids and spheres of the Earth differ, at most."""

_POINTS_PER_SIDE = 101
_HEIGHT_AXIS = 2

WRITE_CRS = "write the right one, e.g. rio edit-info --crs EPSG:4326 dem.tif"
"""Advice for a file whose reference system is missing or wrong."""

Extent: TypeAlias = tuple[float, float, float, float]
"""Box (west, south, east, north) in degrees or map coordinates."""


def stated_crs(dem: xr.DataArray | xr.Dataset) -> CRS:
    """Read the reference system that a DEM states, vertical part included."""
    try:
        found = dem.rio.crs
        crs = None if found is None else _crs_of(found.to_wkt(version="WKT2_2019"))
    except (CRSError, RasterioCRSError) as error:
        msg = f"the DEM's coordinate reference system cannot be understood ({error})"
        advice = 'write a known one, e.g. dem.rio.write_crs("EPSG:4326")'
        raise DemError(msg, advice, file_advice=WRITE_CRS) from error
    if crs is None:
        msg = "the DEM has no coordinate reference system"
        advice = 'write the right one, e.g. dem.rio.write_crs("EPSG:4326")'
        raise DemError(msg, advice, file_advice=WRITE_CRS)
    return crs


@lru_cache(maxsize=32)
def _crs_of(wkt: str) -> CRS:
    """Parse and check a reference system, which takes as long as to classify 10,000 cells."""
    return require_horizontal(CRS.from_wkt(wkt))


def require_horizontal(crs: CRS) -> CRS:
    """Return `crs` if its horizontal part is geographic in degrees, or projected, on the Earth."""
    horizontal = crs.to_2d()
    body = horizontal.ellipsoid
    if body is not None and abs(body.semi_major_metre / EQUATORIAL_RADIUS - 1.0) > SAME_BODY:
        msg = (
            f"the coordinate reference system {crs.name!r} is that of a body with a radius of "
            f"{body.semi_major_metre / 1000.0:.0f} km, expected one of the Earth"
        )
        raise DemError(msg)
    if not (horizontal.is_geographic or horizontal.is_projected):
        msg = (
            f"the coordinate reference system {crs.name!r} ({crs.type_name}) is neither geographic "
            "nor projected; write the one that the coordinates x and y belong to"
        )
        raise DemError(msg)
    if horizontal.is_geographic and horizontal.axis_info[0].unit_name != "degree":
        msg = (
            f"the coordinate reference system {crs.name!r} is in "
            f"{horizontal.axis_info[0].unit_name}, not in degrees; reproject the DEM first, e.g. "
            "gdalwarp -t_srs EPSG:4326 in.tif out.tif"
        )
        raise DemError(msg)
    return crs


def parse_crs(crs: str | int | CRS) -> CRS:
    """Return the horizontal `pyproj.CRS` that a code, a name or WKT stands for."""
    try:
        return require_horizontal(CRS.from_user_input(crs)).to_2d()
    except CRSError as error:
        msg = f'{crs!r} is not a coordinate reference system that PROJ knows, such as "EPSG:32632"'
        raise DemError(msg) from error


def vertical_unit(crs: CRS) -> str | None:
    """Name the unit of the third axis of a reference system; None if it has no such axis."""
    axes = crs.axis_info
    return axes[_HEIGHT_AXIS].unit_name if len(axes) > _HEIGHT_AXIS else None


def to_degrees(crs: CRS) -> Transformer:
    """Return the transformation from (x, y) of `crs` to WGS84 (longitude, latitude) in degrees."""
    return Transformer.from_crs(crs, GEOGRAPHIC, always_xy=True)


def unwrap_longitude(longitude: npt.ArrayLike, centre: float) -> npt.NDArray[np.float64]:
    """Move longitudes by multiples of 360 degrees to within 180 degrees of `centre`."""
    return centre + (np.asarray(longitude, dtype=np.float64) - centre + 180.0) % 360.0 - 180.0


def sample_extent(
    extent: Extent, source: CRS, target: CRS
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Transform a mesh of 101 x 101 points over a box, whose sides may become curves: (x, y).

    The mesh includes the interior: the extremes of a box around a pole lie there.
    """
    west, south, east, north = extent
    along = np.linspace(0.0, 1.0, _POINTS_PER_SIDE)
    x, y = np.meshgrid(west + (east - west) * along, south + (north - south) * along)
    x, y = Transformer.from_crs(source, target, always_xy=True).transform(x, y)
    return x, y


def metres_per_unit(crs: CRS, x: float, y: float, reach: float) -> tuple[float, float]:
    """Measure ground metres per unit of y and of x at a point, by geodesics of length 2 `reach`."""
    longitude, latitude = to_degrees(crs).transform(
        [x, x, x - reach, x + reach], [y - reach, y + reach, y, y]
    )
    _, _, length = WGS84.inv(longitude[::2], latitude[::2], longitude[1::2], latitude[1::2])
    per_y, per_x = (float(metres) / (2.0 * reach) for metres in length)
    return per_y, per_x


# Vertical datums that files and arrays state.

ELLIPSOID = "ellipsoid"
"""The value of `vertical_datum` for heights above the ellipsoid."""

GEOID_EPSG = {"EGM84": 5798, "EGM96": 5773, "EGM2008": 3855}
"""Global geoid models by name, with the EPSG code of the heights above each."""

_GEOID_SPELLINGS = {
    **dict.fromkeys(("egm84", "egm1984"), "EGM84"),
    **dict.fromkeys(("egm96", "egm1996"), "EGM96"),
    **dict.fromkeys(("egm08", "egm2008"), "EGM2008"),
}
_DTED_EGM96 = "e96"


def datum_of_crs(crs: CRS) -> str | None:
    """Name the vertical datum that a reference system states."""
    if crs.is_compound:
        return _vertical_name(crs.sub_crs_list[1])
    if crs.is_vertical:
        return _vertical_name(crs)
    return None if vertical_unit(crs) is None else ELLIPSOID


@lru_cache(64)  # a word that is no reference system is sought in all of the PROJ database
def datum_of_text(text: str) -> str | None:
    """Name the vertical datum that a text stands for, or None if it stands for none.

    Accepted: "ellipsoid" in any form, the EGM geoids in the usual spellings, and reference systems
    with a vertical part, e.g. "EPSG:5703". "WGS84" alone is ambiguous: it is written for both.
    """
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    geoids = {
        name for word, name in _GEOID_SPELLINGS.items() if re.search(rf"{word}(?![0-9])", plain)
    }
    if geoids or "ellipsoid" in plain:
        names = geoids | ({ELLIPSOID} if "ellipsoid" in plain else set())
        return names.pop() if len(names) == 1 else None
    if plain == _DTED_EGM96:
        return "EGM96"
    try:
        return datum_of_crs(CRS.from_user_input(text))
    except CRSError:
        return None


def datum_of_attrs(attrs: Mapping[Any, Any]) -> str | None:
    """Name the vertical datum that attributes or file tags state, under any usual key."""
    for key, value in attrs.items():
        plain = re.sub(r"[^a-z]", "", str(key).lower())
        if re.search(r"vert(ical)?(datum|crs|reference|referencesystem)$", plain):
            name = datum_of_text(str(value))
            if name is not None:
                return name
    return None


def stated_datum(dem: xr.DataArray) -> str | None:
    """Name the vertical datum that a DEM states by its reference system or its attributes."""
    by_crs, by_attrs = datum_of_crs(stated_crs(dem)), datum_of_attrs(dem.attrs)
    if by_crs and by_attrs and by_crs != by_attrs:
        msg = (
            f"the DEM's reference system says that heights are above {by_crs}, and its attributes "
            f"say {by_attrs}"
        )
        advice = (
            "remove the wrong one (dem.attrs, or dem.rio.write_crs with a horizontal reference "
            "system)"
        )
        edited = (
            "if its reference system is wrong write a horizontal one, e.g. rio edit-info --crs "
            "EPSG:4326 dem.tif, else remove the tag"
        )
        raise VerticalDatumError(msg, advice, file_advice=edited)
    return by_attrs or by_crs


def with_datum(dem: xr.DataArray, datum: str | None) -> xr.DataArray:
    """Move the vertical reference from the CRS into the attribute `vertical_datum`."""
    crs = stated_crs(dem)
    flat = dem.copy(deep=False) if vertical_unit(crs) is None else dem.rio.write_crs(crs.to_2d())
    flat.attrs = dict(dem.attrs)
    if datum is not None:
        flat.attrs["vertical_datum"] = datum
    if datum == ELLIPSOID:
        flat.attrs["standard_name"] = "height_above_reference_ellipsoid"
    return flat


def _vertical_name(crs: CRS) -> str:
    """Name a vertical reference system: a known geoid, the ellipsoid, or its code."""
    words = f"{crs.name} {crs.datum.name if crs.datum else ''}".lower()
    code = crs.to_epsg()
    for name, known in GEOID_EPSG.items():
        if code == known or name.lower() in words:
            return name
    if "ellipsoid" in words or re.search(r"\bd?_?wgs[ _]?(19)?84\b", words):
        return ELLIPSOID
    return f"EPSG:{code}" if code else crs.to_wkt()


# Geoid models: the height of the geoid above the ellipsoid (undulation) at given positions.

Geoid: TypeAlias = str | os.PathLike[str] | CRS | float
"""A geoid model by name, a vertical reference system, a grid, or one undulation in metres."""

Undulation: TypeAlias = Callable[
    [npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.float64]
]
"""Height of the geoid above the ellipsoid (m) at longitudes and latitudes in degrees."""

Positions: TypeAlias = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Longitudes and latitudes in degrees."""

_BLOCK_CELLS = 1_000_000
_DOWNLOADABLE = {"EGM96", "EGM2008"}
"""Geoids that `sarheight fetch geoid` downloads."""
_GRID_SUFFIXES = (".gtx", ".tif", ".tiff", ".gtg", ".byn")


def undulations(
    geoid: Geoid, dem: xr.DataArray
) -> tuple[str, Iterator[tuple[slice, npt.NDArray[np.float64]]]]:
    """Return the name of a geoid, and its undulation at the cells of a DEM in blocks of rows.

    Cells outside the geoid's grid are infinite.
    """
    undulation, name = _select_geoid(geoid, _corners(dem))
    return name, _row_blocks(dem, undulation)


def undulations_at(
    geoid: Geoid, longitude: npt.NDArray[np.float64], latitude: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Evaluate the undulation of a geoid at positions (n,); infinite outside its grid."""
    undulation, _ = _select_geoid(geoid, (longitude, latitude))
    return undulation(longitude, latitude)


def is_grid_file(geoid: object) -> bool:
    """Tell whether a geoid is given by the name or path of a grid."""
    return isinstance(geoid, Path) or str(geoid).lower().endswith(_GRID_SUFFIXES)


def _select_geoid(geoid: Geoid, positions: Positions) -> tuple[Undulation, str]:
    """Return the undulation as a function of longitude and latitude, and the geoid's name."""
    if isinstance(geoid, Real):
        metres = float(geoid)
        return lambda longitude, _latitude: np.full_like(longitude, metres), "constant"
    if is_grid_file(geoid):
        path = Path(str(geoid))
        name = str(resolve_links(path)) if path.is_file() else str(geoid)
        return _evaluator(_grid_transformer(name)), f"grid {path.name}"
    return _model_undulation(str(geoid), positions)


def _grid_transformer(name: str) -> Transformer:
    """Make the transformer of a geoid grid that PROJ finds by its name."""
    try:
        return Transformer.from_pipeline(
            "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad "
            f'+step +proj=vgridshift +grids="{name}" +multiplier=1'
        )
    except ProjError as error:
        raise _missing_grid_error(name, f"PROJ says: {error}") from error


def _model_undulation(name: str, positions: Positions) -> tuple[Undulation, str]:
    """Find the undulation of a vertical reference system at positions, and its name."""
    try:
        vertical = CRS.from_user_input(GEOID_EPSG.get(name, name))
    except CRSError as error:
        msg = (
            f"the geoid {name!r} is not known: give one of {', '.join(GEOID_EPSG)}, a vertical "
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
            area_of_interest=_area_of_interest(*positions),
        )
    if not group.transformers:
        grids = [grid.short_name for step in group.unavailable_operations for grid in step.grids]
        downloaded = cached_geoid(grids[0]) if grids else None
        if downloaded is not None and vertical.to_epsg() in GEOID_EPSG.values():
            return _evaluator(_grid_transformer(str(downloaded))), name
        if not grids:
            raise _unknown_here_error(vertical, name, positions)
        raise _missing_grid_error(grids[0], f"needed for {name}", name)
    return _evaluator(group.transformers[0]), name


def _evaluator(transformer: Transformer) -> Undulation:
    def height(
        longitude: npt.NDArray[np.float64], latitude: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        _, _, undulation = transformer.transform(longitude, latitude, np.zeros_like(longitude))
        return np.asarray(undulation, dtype=np.float64)

    return height


def _row_blocks(
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


def _corners(dem: xr.DataArray) -> Positions:
    """Return the corners of a DEM in degrees."""
    longitude, latitude = to_degrees(stated_crs(dem)).transform(
        *np.meshgrid(dem["x"].values[[0, -1]], dem["y"].values[[0, -1]])
    )
    return np.ravel(longitude), np.ravel(latitude)


def _area_of_interest(
    longitude: npt.NDArray[np.float64], latitude: npt.NDArray[np.float64]
) -> AreaOfInterest:
    """Find the bounding box of positions; PROJ prefers the operations made for it."""
    longitude = unwrap_longitude(longitude, float(longitude[0]))
    west, east = ((limit + 180.0) % 360.0 - 180.0 for limit in (longitude.min(), longitude.max()))
    return AreaOfInterest(west, float(latitude.min()), east, float(latitude.max()))


def _unknown_here_error(vertical: CRS, name: str, positions: Positions) -> VerticalDatumError:
    """Make the error of a vertical reference that is not used where the DEM lies."""
    longitude, latitude = (float(np.mean(axis)) for axis in positions)
    area = vertical.area_of_use
    used = "another area" if area is None else " ".join(area.name.split())
    return VerticalDatumError(
        f"{vertical.name} ({name}) has no known geoid at longitude {longitude:.1f}, latitude "
        f"{latitude:.1f}: it is used in {used}",
        "give the vertical reference of this DEM, the path of a grid, or one undulation in metres",
        options={"vertical": ("EGM96", "EGM2008", "the path of a grid", "the geoid's height")},
    )


def _missing_grid_error(grid: str, reason: str, name: str = "") -> GeoidGridMissingError:
    sync = f"`pyproj sync --file {grid}`"
    download = f"`sarheight fetch geoid {name}`" if name in _DOWNLOADABLE else sync
    return GeoidGridMissingError(
        f"the geoid grid {grid} is not installed ({reason})",
        "do one of: run `sarheight fetch geoid` with EGM96 or EGM2008, which downloads it; run "
        f"{sync} (or projsync), which downloads it; copy it from elsewhere into "
        f"{get_user_data_dir()}; install the package proj-data (conda); let PROJ fetch what it "
        "needs by pyproj.network.set_network_enabled(True); pass the path of a grid (.gtx, .tif), "
        "or one undulation in metres, as the geoid; or, if the heights are above the ellipsoid "
        "already, say so by assume_ellipsoidal(dem)",
        options={"vertical": ("the path of a grid", "the geoid's height in metres")},
        file_advice=f"run {download}, which downloads it",
    )
