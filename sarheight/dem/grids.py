"""Map grids of results: chosen by reference system and resolution, by a raster, or an MGRS tile.

A grid is an `odc.geo.geobox.GeoBox`. Edges of cells lie at whole multiples of the resolution, so
that results of neighbouring scenes have the same cells and are put together without resampling.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine
from pyproj import CRS, Transformer

from sarheight._rasters import open_raster
from sarheight.dem._open import grid_crs
from sarheight.dem._resample import Method, _equivalent_posting, _extent_in, reproject
from sarheight.dem.checked import CheckedDem
from sarheight.dem.datum import parse_crs, stated_crs
from sarheight.dem.layout import (
    cell_steps,
    check_layout,
    longitude_shift,
    outer_edges,
    require_map_grid,
)
from sarheight.errors import DemError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

MAP_GRID = "map_grid"
"""Attribute of a DEM that was resampled to a grid."""
ARC_SECOND = 1.0 / 3600.0
METRES_PER_ARC_SECOND = 30.0
"""By convention, DEMs of one second are called those of 30 m, of three seconds those of 90 m."""
FINEST = 4.0
"""Ratio of posting and resolution beyond which a grid only interpolates the DEM."""
WRONG_UNIT = 1000.0
"""Ratio of resolution and posting from which one is taken to be in another unit."""
COARSER = 2.0
"""Ratio of resolution and posting from which heights are averaged, not interpolated."""


def map_grid(
    dem: xr.DataArray | CheckedDem,
    crs: str | int | CRS | None = None,
    resolution: float | None = None,
    *,
    align: float = 0.0,
) -> GeoBox:
    """Choose a grid that covers a DEM.

    Parameters
    ----------
    dem : DataArray or CheckedDem
        DEM with dims (y, x).
    crs : str, int or CRS, optional
        Reference system of the grid. By default that of the DEM if it is projected, and else the
        UTM zone of its middle, with the exceptions for Norway and Svalbard.
    resolution : float, optional
        Size of the cells in units of `crs`. By default the posting of the DEM. Of a geographic DEM
        on a projected grid that is 30 m for each second of arc along the meridian, whatever the
        latitude, so that neighbouring scenes have the same.
    align : float, optional
        Edges of cells lie at this plus whole multiples of the resolution. The grids of Landsat, for
        example, have 15 m at a resolution of 30 m.

    Returns
    -------
    GeoBox
        The grid, north up, with square cells.

    Raises
    ------
    DemError
        If the reference system is not known, the DEM cannot be mapped to it, the middle of the DEM
        has no UTM zone, or the resolution is not above zero or in another unit.
    """
    stored = check_layout(dem.array if isinstance(dem, CheckedDem) else dem)
    own = stated_crs(stored).to_2d()
    if crs is None:
        target = utm_zone(*_middle(stored)) if own.is_geographic else own
    else:
        target = parse_crs(crs)
    size = _default_resolution(stored, own, target) if resolution is None else float(resolution)
    if not (np.isfinite(size) and size > 0.0 and np.isfinite(align)):
        msg = (
            f"found a resolution of {size} aligned to {align}, expected numbers, the first above 0"
        )
        raise DemError(msg)
    west, south, east, north = _extent_in(stored, target)
    if target.is_geographic:
        shift = longitude_shift(west, size)
        west, east = west + shift, east + shift
    _require_resolution(stored, target, size, 0.5 * (west + east), 0.5 * (south + north))
    (left, columns), (bottom, rows) = (
        _whole_cells(low - align, high - align, size)
        for low, high in ((west, east), (south, north))
    )
    top = (bottom + rows) * size + align
    return _geobox(rows, columns, Affine(size, 0.0, left * size + align, 0.0, -size, top), target)


def mgrs_grid(tile: str, resolution: float) -> GeoBox:
    """Return the grid of a tile of Sentinel-2, named by its square in the MGRS.

    A tile is larger than its square of 100 km: it begins at the north-western corner of the square,
    moved outwards to a whole multiple of 60 m from the equator and the origin of eastings, and is
    109.8 km wide.

    Parameters
    ----------
    tile : str
        Name such as "32TPT" or "T32TPT".
    resolution : float
        Size of the cells in metres, of which a whole number fits into 109,800: 10, 20, 30, 60, 90.

    Returns
    -------
    GeoBox
        The grid in the UTM zone of the tile.

    Raises
    ------
    DemError
        If there is no such tile, or the resolution does not fit.

    References
    ----------
    ESA. Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD: tiling grid.
    """
    crs, west, south = _mgrs_square(tile)
    size = float(resolution)
    cells = MGRS_SIDE / size if size > 0.0 else 0.0
    if not (cells >= 2.0 and abs(cells - round(cells)) < 1e-6 * cells):
        msg = (
            f"found a resolution of {resolution} m, expected one of which a whole number fits into "
            f"the {MGRS_SIDE:.0f} m of an MGRS tile: 10, 20, 30, 60 or 90"
        )
        raise DemError(msg)
    equator = FALSE_NORTHING if str(crs.utm_zone).endswith("S") else 0.0
    left = np.floor(west / MGRS_STEP) * MGRS_STEP
    top = np.ceil((south + MGRS_SQUARE - equator) / MGRS_STEP) * MGRS_STEP + equator
    count = round(cells)
    return _geobox(count, count, Affine(size, 0.0, left, 0.0, -size, top), crs)


def extent_grid(
    extent: tuple[float, float, float, float], crs: str | int | CRS, resolution: float
) -> GeoBox:
    """Return the grid of square cells between edges.

    Parameters
    ----------
    extent : tuple of float
        Left, bottom, right and top edge in units of `crs`, a whole number of cells apart.
    crs : str, int or CRS
        Reference system of the grid.
    resolution : float
        Size of the cells in units of `crs`.

    Returns
    -------
    GeoBox
        The grid, north up.

    Raises
    ------
    DemError
        If the reference system is not known, or edges and resolution do not fit together.
    """
    left, bottom, right, top = (float(edge) for edge in extent)
    size = float(resolution)
    counts = np.array([top - bottom, right - left]) / size if size > 0.0 else np.zeros(2)
    whole = np.rint(counts)
    if (
        not (np.isfinite(counts).all() and (whole >= 2).all())
        or (np.abs(counts - whole) > WHOLE * whole).any()
    ):
        msg = (
            f"found the edges {extent} (left, bottom, right, top) and a resolution of "
            f"{resolution}, expected edges a whole number of cells apart, two at least"
        )
        raise DemError(msg)
    rows, columns = (int(count) for count in whole)
    if max(rows, columns) > LONGEST_SIDE:
        msg = (
            f"found a grid of {rows} x {columns} cells, expected at most {LONGEST_SIDE} along a "
            "side: check the edges, the resolution and their unit"
        )
        raise DemError(msg)
    return _geobox(rows, columns, Affine(size, 0.0, left, 0.0, -size, top), parse_crs(crs))


LONGEST_SIDE = 1_000_000
"""Cells: those of 40 m around the Earth."""
WHOLE = 1e-6
"""Part of a number of cells by which it may differ from a whole one."""
FALSE_NORTHING = 1e7
"""Northing of the equator in southern zones, in metres."""
MGRS_SQUARE, MGRS_SIDE, MGRS_STEP = 1e5, 109_800.0, 60.0
"""Metres: side of a square, side of a tile of Sentinel-2, multiple of its corner."""
BANDS = "CDEFGHJKLMNPQRSTUVWX"
"""Letters of bands of 8 degrees of latitude from -80 on; the last has 12."""
COLUMNS, ROWS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ"), "ABCDEFGHJKLMNPQRSTUV"
"""Letters of squares: along the eastings of a zone, in three sets; along its northings, in turn."""


def _mgrs_square(tile: str) -> tuple[CRS, float, float]:
    """Return the UTM zone of an MGRS square, and its western and southern edge in metres.

    Reference: Defense Mapping Agency (1989). The Universal Grids, DMA TM 8358.1, chapter 3.
    """
    msg = (
        f"found no MGRS tile {tile!r}, expected a zone, the letter of its band and two letters of "
        "the square, such as '32TPT'"
    )
    parts = re.fullmatch(
        r"T?(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])", tile.strip().upper()
    )
    zone = 0 if parts is None else int(parts[1])
    if parts is None or not 1 <= zone <= 60 or parts[3] not in COLUMNS[(zone - 1) % 3]:
        raise DemError(msg)
    band = BANDS.index(parts[2])
    crs = _utm(zone, south=band < BANDS.index("N"))
    west = (COLUMNS[(zone - 1) % 3].index(parts[3]) + 1) * MGRS_SQUARE
    # Letters of rows repeat every 2000 km: the square is the one that meets the band.
    first = (ROWS.index(parts[4]) - _first_row(zone)) % len(ROWS) * MGRS_SQUARE
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    steps = np.linspace(1.0, MGRS_SQUARE - 1.0, 3)
    for south in np.arange(first, FALSE_NORTHING, len(ROWS) * MGRS_SQUARE):
        _, latitude = to_degrees.transform(*np.meshgrid(west + steps, south + steps))
        if (_band(latitude) == band).any():
            return crs, west, float(south)
    raise DemError(msg)


def _utm(zone: int, *, south: bool) -> CRS:
    return CRS.from_epsg((32700 if south else 32600) + zone)


def _first_row(zone: int) -> int:
    """Return the place in the alphabet of the row at the equator: even zones begin with F."""
    return 0 if zone % 2 else ROWS.index("F")


def _band(latitude: Any) -> Any:  # noqa: ANN401  # arrays of float and of int, or both scalar
    return np.clip((latitude - LIMITS[0]) // 8.0, 0, len(BANDS) - 1).astype(int)


LIMITS = -80.0, 84.0
"""Latitudes between which there are UTM zones, in degrees."""


def _zone(longitude: float, latitude: float) -> int:
    """Return the number of a UTM zone, with those of Norway and Svalbard; 0 at the poles."""
    if not LIMITS[0] <= latitude < LIMITS[1]:
        return 0
    if 56.0 <= latitude < 64.0 and 3.0 <= longitude < 12.0:
        return 32
    if latitude >= 72.0 and 0.0 <= longitude < 42.0:
        return 31 + 2 * int((longitude + 3.0) // 12.0)
    return int((longitude + 180.0) // 6.0) + 1


def mgrs_tile(longitude: float, latitude: float) -> str:
    """Return the name of the MGRS square of a place; "" near the poles, where zones end.

    Parameters
    ----------
    longitude, latitude : float
        In degrees.

    Returns
    -------
    str
        Such as "32TPT".
    """
    longitude = (longitude + 180.0) % 360.0 - 180.0
    zone = _zone(longitude, latitude)
    if zone == 0:
        return ""
    to_utm = Transformer.from_crs("EPSG:4326", _utm(zone, south=latitude < 0.0), always_xy=True)
    easting, northing = to_utm.transform(longitude, latitude)
    column = COLUMNS[(zone - 1) % 3][int(easting // MGRS_SQUARE) - 1]
    row = ROWS[(int(northing // MGRS_SQUARE) + _first_row(zone)) % len(ROWS)]
    return f"{zone:02d}{BANDS[int(_band(np.float64(latitude)))]}{column}{row}"


def utm_zone(longitude: float, latitude: float) -> CRS:
    """Return the UTM zone of a place, with the exceptions for Norway and Svalbard.

    Parameters
    ----------
    longitude, latitude : float
        In degrees.

    Returns
    -------
    pyproj.CRS
        EPSG:326xx or EPSG:327xx.

    Raises
    ------
    DemError
        If the place is north of 84 or south of 80 degrees, where there are no zones.
    """
    zone = _zone((longitude + 180.0) % 360.0 - 180.0, latitude)
    if zone == 0:
        msg = (
            f"there is no UTM zone at latitude {latitude:.2f}: pass a reference system, such as "
            "EPSG:3413 in the Arctic or EPSG:3031 in the Antarctic"
        )
        raise DemError(msg)
    return _utm(zone, south=latitude < 0.0)


def grid_like(raster: str | os.PathLike[str] | xr.DataArray | xr.Dataset) -> GeoBox:
    """Return the grid of a raster.

    Parameters
    ----------
    raster : path-like, DataArray or Dataset
        A file as for `open_map`, or an array with dims (..., y, x) and a reference system.

    Returns
    -------
    GeoBox
        Its grid.

    Raises
    ------
    DemError
        If it has no reference system, is rotated, or cannot be read.
    """
    if isinstance(raster, xr.DataArray | xr.Dataset):
        transform = raster.rio.transform(recalc=True)
        rows, columns, name = raster.sizes["y"], raster.sizes["x"], "the raster"
        crs = stated_crs(raster).to_2d()
        require_map_grid(transform, name)
    else:
        name = os.fspath(raster)
        with open_raster(name) as file:
            crs, transform, (rows, columns) = grid_crs(file, name), file.transform, file.shape
    if transform.a < 0.0 or transform.e > 0.0:
        msg = f"the grid of {name} is mirrored, expected one with north up"
        raise DemError(msg)
    return _geobox(rows, columns, transform, crs)


def to_grid(
    dem: xr.DataArray | CheckedDem, grid: GeoBox, *, resampling: Method | None = None
) -> xr.DataArray:
    """Resample a DEM to a grid, in one step.

    Parameters
    ----------
    dem : DataArray or CheckedDem
        DEM with dims (y, x).
    grid : GeoBox
        Grid with north up, as `map_grid`, `grid_like` and `mgrs_grid` return it.
    resampling : str, optional
        See `reproject`. By default cubic convolution, which keeps slopes; and the mean over each
        cell if the cells are at least twice as large as those of the DEM.

    Returns
    -------
    DataArray
        The DEM with the coordinates of the grid, void where it does not reach; lazy where the DEM
        is. Its attribute ``map_grid`` describes the grid and the DEM, as JSON.

    Raises
    ------
    DemError
        If DEM and grid do not meet, the grid is rotated or has fewer than 2 x 2 cells, or its
        resolution is in another unit.

    Warns
    -----
    UserWarning
        If the cells are smaller than those of the DEM by more than 4 times.
    """
    require_geobox(grid)
    stored = dem.array if isinstance(dem, CheckedDem) else check_layout(dem)
    target, transform = parse_crs(str(grid.crs)), grid.affine
    if not grid.axis_aligned or transform.e >= 0.0 or min(grid.shape) < 2:
        msg = f"found the grid {grid}, expected one with north up of at least 2 x 2 cells"
        raise DemError(msg)
    like = cells_of(grid)
    x, y = (float(like[name][like.sizes[name] // 2]) for name in ("x", "y"))
    ratio = _require_resolution(stored, target, transform.a, x, y)
    kind = resampling or ("average" if ratio >= COARSER else "cubic")
    placed = reproject(stored, like=like, resampling=kind)
    return placed.assign_attrs({MAP_GRID: json.dumps(_describe(stored, grid, kind))})


def cells_of(grid: GeoBox) -> xr.DataArray:
    """Return the cells of a grid with north up: coordinates and reference system, no values."""
    (rows, columns), transform = grid.shape, grid.affine
    coords = {
        "y": transform.f + transform.e * (np.arange(rows) + 0.5),
        "x": transform.c + transform.a * (np.arange(columns) + 0.5),
    }
    # The values are never read, and take no memory.
    nothing = np.broadcast_to(np.float32(0.0), (rows, columns))
    cells: xr.DataArray = xr.DataArray(nothing, coords, ("y", "x")).rio.write_crs(
        parse_crs(str(grid.crs))
    )
    return cells


def crop_to_cells(dem: xr.DataArray, rows: slice, columns: slice) -> xr.DataArray:
    """Cut a DEM to some rows and columns, and what describes its grid."""
    part = dem.isel(y=rows, x=columns)
    described = grid_record(dem)
    if described is None:
        return part
    described |= {"bounds": list(outer_edges(part)), "shape": list(part.shape)}
    return part.assign_attrs({MAP_GRID: json.dumps(described)})


def grid_record(dem: xr.DataArray) -> dict[str, Any] | None:
    """Return the description of the grid to which a DEM was resampled; None if it was not."""
    text = dem.attrs.get(MAP_GRID)
    return None if text is None else dict(json.loads(text))


def _describe(dem: xr.DataArray, grid: GeoBox, resampling: str) -> dict[str, Any]:
    """Describe a grid and the DEM that was resampled to it, for the provenance."""
    own = stated_crs(dem)
    bounds = grid.boundingbox
    return {
        "crs": _name(parse_crs(str(grid.crs))),
        "resolution": [abs(grid.affine.e), abs(grid.affine.a)],
        "bounds": [bounds.left, bounds.bottom, bounds.right, bounds.top],
        "shape": list(grid.shape),
        "dem_crs": _name(own),
        "dem_posting": [abs(step) for step in cell_steps(dem)],
        "resampling": resampling,
    }


def require_geobox(grid: object) -> None:
    """Refuse an object that is no grid."""
    from odc.geo.geobox import GeoBox

    if not isinstance(grid, GeoBox):
        msg = (
            f"found a grid of type {type(grid).__name__}, expected a GeoBox: see "
            "sarheight.dem.map_grid, grid_like and mgrs_grid"
        )
        raise TypeError(msg)


def _name(crs: CRS) -> str:
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.to_wkt()


def _geobox(rows: int, columns: int, transform: Affine, crs: CRS) -> GeoBox:
    from odc.geo.geobox import GeoBox

    return GeoBox((rows, columns), transform, crs.to_wkt())


def _middle(dem: xr.DataArray) -> tuple[float, float]:
    """Return the longitude and latitude of the middle of a DEM."""
    west, south, east, north = outer_edges(dem)
    to_degrees = Transformer.from_crs(stated_crs(dem), "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(0.5 * (west + east), 0.5 * (south + north))
    return float(longitude), float(latitude)


def middle_tile(dem: xr.DataArray) -> str:
    """Return the MGRS tile of the middle of a DEM."""
    return mgrs_tile(*_middle(dem))


def _default_resolution(dem: xr.DataArray, own: CRS, target: CRS) -> float:
    """Return the posting of a DEM in units of a reference system, as a round number."""
    step = float(np.sqrt(np.prod(np.abs(cell_steps(dem)))))
    if own.is_geographic and target.is_geographic:
        return step
    if own.is_geographic:
        down = abs(cell_steps(dem)[0])
        return float(f"{METRES_PER_ARC_SECOND * down / ARC_SECOND:.3g}")
    if target.is_geographic:
        return float(f"{step / METRES_PER_ARC_SECOND:.3g}") * ARC_SECOND
    if own == target:
        return step
    west, south, east, north = _extent_in(dem, target)
    posting = _equivalent_posting(dem, target, 0.5 * (west + east), 0.5 * (south + north))
    # The scale of a projection makes 30 m into 29.9 or 30.2 m.
    return float(f"{posting[0]:.2g}")


def _require_resolution(dem: xr.DataArray, crs: CRS, size: float, x: float, y: float) -> float:
    """Check the resolution of a grid; return its ratio to the DEM's posting."""
    posting = float(np.sqrt(np.prod(_equivalent_posting(dem, crs, x, y))))
    ratio = size / posting
    unit = crs.axis_info[0].unit_name
    if not 1.0 / WRONG_UNIT <= ratio <= WRONG_UNIT:  # nor where the projection is not defined
        msg = (
            f"found a resolution of {size:g}, expected it in units of {crs.name!r} ({unit}), where "
            f"the DEM's posting is {posting:.3g}"
        )
        raise DemError(msg)
    if ratio * FINEST < 1.0 - 1e-9:
        warnings.warn(
            f"the grid's resolution of {size:g} is {1.0 / ratio:.1f} times finer than the DEM's "
            f"posting of {posting:.3g} ({unit}): the DEM has no such detail",
            stacklevel=3,
        )
    return ratio


def _whole_cells(low: float, high: float, size: float) -> tuple[int, int]:
    """Return the first of the cells that cover [low, high], and their number."""
    first = int(np.floor(low / size + 1e-6))
    return first, max(int(np.ceil(high / size - 1e-6)) - first, 2)
