"""Elevation models from files: opened, cropped, joined, filled, checked."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import rasterio
import rasterio.crs
from pyproj import CRS, Transformer
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.fill import fillnodata
from rasterio.windows import Window

from sarheight.dem.datum import (
    ELLIPSOID_VERTICAL,
    GEOGRAPHIC,
    UNSTATED_ADVICE,
    datum_of_attrs,
    datum_of_text,
    stated_crs,
    stated_datum,
)
from sarheight.dem.geoid import assume_ellipsoidal, to_ellipsoidal
from sarheight.dem.layout import (
    accept,
    build,
    cell_steps,
    converted,
    history,
    local_posting,
    require_heights,
    require_north_up,
    whole_turns,
    with_history,
)
from sarheight.errors import DemError, VerticalDatumError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import xarray as xr
    from affine import Affine
    from rasterio import DatasetReader

    from sarheight.dem.geoid import Geoid

_POINTS_PER_SIDE = 101
_FULL_TURN, _POLE = 360.0, 90.0


@dataclass(frozen=True)
class Span:
    """A block of a raster's cells, moved by whole turns of longitude if need be."""

    transform: Affine
    row: int
    rows: int
    column: int
    columns: int
    turn: float = 0.0

    @classmethod
    def whole(cls, transform: Affine, shape: tuple[int, int]) -> Span:
        """All the cells of a raster."""
        return cls(transform, 0, shape[0], 0, shape[1])

    def y(self) -> npt.NDArray[np.float64]:
        """Positions of the pixel centres of the rows."""
        rows = self.row + np.arange(self.rows) + 0.5
        return np.asarray(self.transform.f + self.transform.e * rows)

    def x(self) -> npt.NDArray[np.float64]:
        """Positions of the pixel centres of the columns."""
        columns = self.column + np.arange(self.columns) + 0.5
        return np.asarray(self.transform.c + self.transform.a * columns + self.turn)


def bounds_spans(
    bounds: tuple[float, float, float, float],
    crs: rasterio.crs.CRS | None,
    transform: Affine,
    shape: tuple[int, int],
) -> list[Span]:
    """Blocks of a raster that meet a box: none, one, or two at the antimeridian."""
    west, south, east, north = _checked(bounds)
    if crs is None:
        msg = "the DEM has no coordinate reference system, so no bounds can be found in it"
        raise DemError(msg)
    horizontal = CRS.from_wkt(crs.to_wkt(version="WKT2_2019")).to_2d()
    if not horizontal.is_geographic:
        box = _projected(horizontal, west, south, east, north)
        return _blocks(transform, shape, box, (0.0,))
    turns = tuple(_FULL_TURN * turn for turn in (-2, -1, 0, 1, 2))
    return _blocks(transform, shape, (west, south, east, north), turns)


def _checked(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    west, south, east, north = (float(limit) for limit in bounds)
    east = east + _FULL_TURN if east < west else east
    turn = whole_turns(west, 0.0) if abs(west) <= _FULL_TURN else 0.0
    west, east = west + turn, east + turn
    ordered = -_POLE <= south < north <= _POLE and west < east <= west + _FULL_TURN
    if not (ordered and abs(west) <= _FULL_TURN):
        msg = (
            f"bounds are (west, south, east, north) in degrees, and these are {bounds}; latitudes "
            "lie between -90 and 90, south below north, and the box spans at most 360 degrees"
        )
        raise DemError(msg)
    return west, south, east, north


def _projected(
    crs: CRS, west: float, south: float, east: float, north: float
) -> tuple[float, float, float, float]:
    """Box in map coordinates around a box in degrees, whose sides may become curves."""
    along = np.linspace(0.0, 1.0, _POINTS_PER_SIDE)
    longitude, latitude = np.meshgrid(west + (east - west) * along, south + (north - south) * along)
    x, y = Transformer.from_crs(GEOGRAPHIC, crs, always_xy=True).transform(longitude, latitude)
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        msg = f"no part of the bounds lies where the DEM's reference system {crs.name!r} is defined"
        raise DemError(msg)
    x, y = x[known], y[known]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _blocks(
    transform: Affine,
    shape: tuple[int, int],
    box: tuple[float, float, float, float],
    turns: tuple[float, ...],
) -> list[Span]:
    west, south, east, north = box
    row, rows = _cells(transform.f, transform.e, shape[0], south, north)
    spans = []
    for turn in turns:
        column, columns = _cells(transform.c + turn, transform.a, shape[1], west, east)
        if rows and columns:
            spans.append(Span(transform, row, rows, column, columns, turn))
    return spans


def _cells(origin: float, step: float, count: int, low: float, high: float) -> tuple[int, int]:
    """First cell that meets the interval [low, high], and how many do (at least two if any)."""
    ends = sorted(((low - origin) / step, (high - origin) / step))
    first = max(0, int(np.floor(ends[0] + 1e-9)))
    stop = min(count, int(np.ceil(ends[1] - 1e-9)))
    if stop <= first:
        return first, 0
    if stop - first == 1:
        first, stop = max(0, first - 1), min(count, max(stop, 2))
    return first, stop - first


# Joining tiles of one elevation model.

LARGEST_MISFIT = 0.02
"""How far, in cells, a tile may lie off the grid of the others."""

_FULL_TURN_MOSAIC = 360.0

REPROJECT = "bring them to one grid first: reproject(tile, like=...)"
WARP = "bring them to one grid first, e.g. rio warp tile.tif same.tif --like other.tif"


def mosaic(dems: Iterable[xr.DataArray]) -> xr.DataArray:
    """Join the tiles of one elevation model on their common grid.

    Nothing is resampled. Where tiles overlap, the first one that is not void counts; where there
    is no tile the result is void. Tiles on the two sides of the antimeridian are joined there, with
    longitudes that rise beyond 180.

    Parameters
    ----------
    dems : iterable of DataArray
        Tiles with dims (y, x), all of one reference system, vertical datum, posting and phase.

    Returns
    -------
    DataArray
        One DEM, northern row first, western column first (float32 metres).

    Raises
    ------
    DemError
        If there is no tile, or they differ in reference system, posting, or phase.
    VerticalDatumError
        If their heights are measured from different things.
    """
    tiles = [_north_up(accept(dem, void_allowed=True)) for dem in dems]
    if not tiles:
        msg = "there are no DEM tiles to join"
        raise DemError(msg)
    crs = stated_crs(tiles[0])
    _require_alike(tiles)
    columns = [tile["x"].values for tile in tiles]
    if crs.is_geographic:
        columns = _side_by_side(columns)
    rows = [tile["y"].values for tile in tiles]
    dy, dx = cell_steps(tiles[0])
    top, left = max(float(y[0]) for y in rows), min(float(x[0]) for x in columns)
    first_rows = [_cell(float(y[0]), top, dy) for y in rows]
    first_columns = [_cell(float(x[0]), left, dx) for x in columns]
    shape = (
        max(row + y.size for row, y in zip(first_rows, rows, strict=True)),
        max(column + x.size for column, x in zip(first_columns, columns, strict=True)),
    )
    heights = np.full(shape, np.nan, dtype=np.float32)
    for tile, row, column in zip(tiles, first_rows, first_columns, strict=True):
        part = heights[row : row + tile.shape[0], column : column + tile.shape[1]]
        np.copyto(part, tile.values, where=np.isnan(part))
    require_heights(heights)
    y, x = top + dy * np.arange(shape[0]), left + dx * np.arange(shape[1])
    return build(heights, y, x, crs, _joint_attrs(tiles))


def _north_up(dem: xr.DataArray) -> xr.DataArray:
    dy, dx = cell_steps(dem)
    return dem.isel(
        y=slice(None, None, -1 if dy > 0 else 1), x=slice(None, None, 1 if dx > 0 else -1)
    )


def _require_alike(tiles: list[xr.DataArray]) -> None:
    first = tiles[0]
    crs, datum, steps = stated_crs(first), stated_datum(first), cell_steps(first)
    for tile in tiles[1:]:
        if stated_crs(tile) != crs:
            msg = (
                f"the tiles have different reference systems ({crs.name!r} and "
                f"{stated_crs(tile).name!r})"
            )
            raise DemError(msg, REPROJECT, file_advice=WARP)
        if stated_datum(tile) != datum:
            msg = (
                f"the tiles' heights are measured from different things ({datum or 'unstated'} and "
                f"{stated_datum(tile) or 'unstated'})"
            )
            advice = "convert each by to_ellipsoidal first"
            alike = "give only those that are measured from the same"
            raise VerticalDatumError(msg, advice, file_advice=alike)
        stretch = [
            abs(mine / theirs - 1.0) * size
            for mine, theirs, size in zip(cell_steps(tile), steps, tile.shape, strict=True)
        ]
        if max(stretch) > LARGEST_MISFIT:
            msg = f"the tiles have different postings, (dy, dx) = {steps} and {cell_steps(tile)}"
            raise DemError(msg, REPROJECT, file_advice=WARP)


def _side_by_side(columns: list[npt.NDArray[np.float64]]) -> list[npt.NDArray[np.float64]]:
    """Move tiles by whole turns so that together they span the least longitude."""
    west = np.array([x[0] for x in columns])
    width = np.array([x[-1] - x[0] for x in columns])
    best, least = west, float((west + width).max() - west.min())
    for start in west:
        moved = start + (west - start) % _FULL_TURN_MOSAIC
        span = float((moved + width).max() - moved.min())
        if span < least - 1e-6:
            best, least = moved, span
    if best is west:
        return columns
    slack = abs(float(columns[0][1] - columns[0][0]))
    best = best + whole_turns(float(best.min()), slack)
    return [x + (new - old) for x, new, old in zip(columns, best, west, strict=True)]


def _cell(position: float, origin: float, step: float) -> int:
    cells = (position - origin) / step
    if abs(cells - round(cells)) > LARGEST_MISFIT:
        msg = f"a tile lies {abs(cells - round(cells)):.2f} cells off the grid of the others"
        raise DemError(msg, REPROJECT, file_advice=WARP)
    return round(cells)


def _joint_attrs(tiles: list[xr.DataArray]) -> dict[str, str]:
    attrs = dict(tiles[0].attrs)
    lines = dict.fromkeys(line for tile in tiles for line in history(tile))
    sources = dict.fromkeys(str(tile.attrs["source"]) for tile in tiles if "source" in tile.attrs)
    if sources:
        attrs["source"] = "; ".join(sources)
    attrs["history"] = "\n".join([*lines, f"mosaic: {len(tiles)} tiles"])
    return attrs


# Filling the voids of an elevation model from their surroundings.


def fill_voids(
    dem: xr.DataArray, *, max_distance: float = 1000.0, smoothing: int = 0
) -> xr.DataArray:
    """Fill voids by interpolating between the heights around them.

    Every void cell becomes the mean, weighted by inverse distance, of the nearest heights found in
    several directions (GDAL's fillnodata). Heights that are there are not touched, and filled ones
    are guesses: the farther from data, the worse.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    max_distance : float
        How far from a height a void is still filled, in metres. Where the posting differs along y
        and x, the coarser one counts, and less far is reached along the other.
    smoothing : int
        Passes of a 3 x 3 mean over the filled cells.

    Returns
    -------
    DataArray
        The DEM with filled voids. The attributes `voids_filled` and `voids_left` count cells, and
        the history says the same.

    Raises
    ------
    DemError
        If the distance is shorter than one posting, or the DEM is not usable.
    """
    dem = accept(dem)
    reach = max_distance / max(local_posting(dem))
    if reach < 1.0:
        msg = (
            f"max_distance is {max_distance:g} m, shorter than the DEM's posting of "
            f"{max(local_posting(dem)):.4g} m: no void could be filled"
        )
        raise DemError(msg)
    known = np.isfinite(dem.values)
    guessed = fillnodata(
        np.where(known, dem.values, np.nan),
        mask=known.astype(np.uint8),
        max_search_distance=reach,
        smoothing_iterations=smoothing,
    )
    filled = dem.copy(data=np.where(known, dem.values, guessed))
    left = int(np.count_nonzero(np.isnan(filled.values)))
    count = int(np.count_nonzero(~known)) - left
    filled.attrs = {**dem.attrs, "voids_filled": count, "voids_left": left}
    return with_history(
        filled, f"fill_voids: {count} void cells filled within {max_distance:g} m, {left} left"
    )


# Reading elevation models from raster files.

RasterPath: TypeAlias = str | os.PathLike[str]
Bounds: TypeAlias = tuple[float, float, float, float]

KEEP = "keep"
"""Value of `vertical` that leaves the heights as they are stored."""

_REPORT_VERTICAL = {"GTIFF_REPORT_COMPD_CS": True}
_FORMAT_DATUM = {"SRTMHGT": "EGM96"}


def open_dem(
    paths: RasterPath | Sequence[RasterPath],
    *,
    vertical: Geoid | None = None,
    units: str | None = None,
    nodata: float | None = None,
    bounds: Bounds | None = None,
    band: int | None = None,
) -> xr.DataArray:
    """Open an elevation model: one raster file, or several tiles as one.

    The coordinates `y` and `x` are those of the pixel centres, and the height of a cell belongs
    there. That holds for files of either kind, ``AREA_OR_POINT=Area`` and ``=Point``: GDAL moves
    the corner of the latter by half a pixel when it reads them.

    Parameters
    ----------
    paths : str, path, or sequence of them
        Files in any format that GDAL reads. Tiles must share reference system and posting.
    vertical : str, path, CRS or float, optional
        What the stored heights are measured from:

        - None: what the file itself says (compound reference system, vertical tags, or the format,
          as SRTM's .hgt). Heights above a geoid are converted; if the file says nothing, the DEM
          is returned without the attribute `vertical_datum`, and the functions that need to know
          will ask.
        - "ellipsoidal": above the WGS84 ellipsoid already.
        - anything that `to_ellipsoidal` takes: "EGM96", "EGM2008", "EPSG:5703", a grid, or one
          undulation in metres. The heights are converted to ellipsoidal ones.
        - "keep": do not convert, whatever the file says.
    units : str, optional
        Unit of the stored heights, "m", "ft" or "us-ft", where the file does not say it or to
        confirm that it is not metres; heights are converted to metres.
    nodata : float, optional
        Stored value that marks voids, beside the one that the file declares.
    bounds : tuple of float, optional
        (west, south, east, north) in degrees, whatever the reference system of the file: read only
        the cells that meet this box. Across the antimeridian, either west > east or east > 180.
    band : int, optional
        Band with the heights, from 1; needed only if there are several.

    Returns
    -------
    DataArray
        float32 heights in metres, dims (y, x), in the file's own horizontal reference system,
        NaN for voids. Attributes: `units`, `vertical_datum` where known, `source`, `history`. A
        geographic DEM across the antimeridian has longitudes that rise beyond 180.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    DemError
        If a file is not a raster, has no usable grid, holds no heights or impossible ones, or does
        not meet `bounds`; or if tiles do not fit together.
    VerticalDatumError
        If `vertical` contradicts the file.
    GeoidGridMissingError
        If the geoid grid for the conversion is not installed.
    """
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not paths:
        msg = "no DEM file was given"
        raise DemError(msg)
    tiles = [
        tile if units is None else converted(tile, units, void_allowed=True)
        for path in paths
        for tile in _read(os.fspath(path), band, nodata, bounds)
    ]
    if not tiles:
        msg = (
            f"none of the {len(paths)} DEM files meets the bounds {bounds} (west, south, east, "
            "north in degrees); check their order and the DEM's place"
        )
        raise DemError(msg)
    return _referred(mosaic(tiles) if len(tiles) > 1 else accept(tiles[0]), vertical)


def _referred(dem: xr.DataArray, vertical: Geoid | None) -> xr.DataArray:
    """Bring the heights to the ellipsoid as far as that is asked for or stated."""
    stated = stated_datum(dem)
    if vertical is None:
        return dem if stated in (None, ELLIPSOID_VERTICAL) else to_ellipsoidal(dem)
    if isinstance(vertical, str) and vertical == KEEP:
        return dem
    named = datum_of_text(vertical) if isinstance(vertical, str) else None
    if named != ELLIPSOID_VERTICAL:
        return to_ellipsoidal(dem, vertical)
    if stated not in (None, ELLIPSOID_VERTICAL):
        msg = (
            f"the file says that its heights are above {stated}, and {vertical!r} that they are "
            "ellipsoidal"
        )
        advice = (
            "leave vertical out to follow the file, or overrule it by "
            'assume_ellipsoidal(open_dem(..., vertical="keep"))'
        )
        raise VerticalDatumError(msg, advice, options={"vertical": None})
    return assume_ellipsoidal(dem)


def _read(
    path: str, band: int | None, nodata: float | None, bounds: Bounds | None
) -> list[xr.DataArray]:
    """Read the parts of one file that meet the bounds: none, one, or two at the antimeridian."""
    with _opened(path) as source:
        require_north_up(source.transform)
        chosen = _height_band(source, path, band)
        spans: Iterable[Span] = [Span.whole(source.transform, source.shape)]
        if bounds is not None:
            spans = bounds_spans(bounds, source.crs, source.transform, source.shape)
        attrs = _stated(source, chosen, path)
        return [
            build(_heights(source, chosen, span, nodata), span.y(), span.x(), source.crs, attrs)
            for span in spans
        ]


@contextmanager
def _opened(path: str) -> Iterator[DatasetReader]:
    try:
        with warnings.catch_warnings(), rasterio.Env(**_REPORT_VERTICAL):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                yield source
    except RasterioError as error:
        if "://" not in path and not path.startswith("/vsi") and not Path(path).exists():
            msg = f"the DEM file {path} does not exist"
            raise FileNotFoundError(msg) from error
        msg = f"{path} is not a raster that GDAL can read, or it is damaged ({error})"
        raise DemError(msg) from error


def _height_band(source: DatasetReader, path: str, band: int | None) -> int:
    if band is None and source.count > 1:
        picture = ColorInterp.red in source.colorinterp
        kind = "a colour picture, not heights" if picture else "several bands"
        msg = f"{path} holds {kind} ({source.count} bands)"
        taken = "take out the one with the heights, e.g. rio stack --bidx 1 in.tif heights.tif"
        raise DemError(msg, "name the one with the heights: band=1", file_advice=taken)
    chosen = 1 if band is None else band
    if not 1 <= chosen <= source.count:
        msg = f"{path} has bands 1 to {source.count}, and band {chosen} was asked for"
        raise DemError(msg)
    return chosen


def _heights(
    source: DatasetReader, band: int, span: Span, nodata: float | None
) -> npt.NDArray[np.float32]:
    window = Window(span.column, span.row, span.columns, span.rows)
    stored = source.read(band, window=window, masked=True)
    void = np.ma.getmaskarray(stored)
    if nodata is not None:
        void = void | (stored.data == nodata)
    if stored.dtype.kind not in "iuf":
        msg = f"heights are real numbers, and band {band} of {source.name} holds {stored.dtype}"
        raise DemError(msg)
    scale, offset = source.scales[band - 1], source.offsets[band - 1]
    heights = np.asarray(stored.data, dtype=np.float32)
    if (scale, offset) != (1.0, 0.0):
        heights = np.asarray(stored.data * np.float64(scale) + offset, dtype=np.float32)
    heights[void] = np.nan
    return heights


def _stated(source: DatasetReader, band: int, path: str) -> dict[str, Any]:
    """Attributes from what the file says about its heights."""
    tags = {**source.tags(), **source.tags(band)}
    earlier = str(tags.get("history", "")).splitlines()
    attrs: dict[str, Any] = {"source": path, "history": "\n".join([*earlier, f"open_dem: {path}"])}
    unit = source.units[band - 1]
    if unit:
        attrs["units"] = unit
    if "AREA_OR_POINT" in tags:
        attrs["AREA_OR_POINT"] = tags["AREA_OR_POINT"]
    datum = datum_of_attrs(tags) or _FORMAT_DATUM.get(source.driver)
    if datum is not None:
        attrs["vertical_datum"] = datum
    return attrs


# The gate through which a user's elevation model enters.


def check_dem(dem: xr.DataArray, *, void_allowed: bool = False) -> xr.DataArray:
    """Check a DEM and bring it into the form that the geometry needs.

    What can be put right without a guess is put right: a `band` dimension of length one, integer
    heights, declared nodata, longitudes that jump at the antimeridian, a vertical reference that
    is part of the CRS, and heights above a geoid that the DEM states.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x), coordinates at the pixel centres, a CRS known to rioxarray, and a
        stated vertical datum.
    void_allowed : bool
        Whether all of it may be void, as a part of a larger DEM may.

    Returns
    -------
    DataArray
        float32 metres above the WGS84 ellipsoid, NaN for voids, horizontal CRS, attributes
        ``units="m"`` and ``vertical_datum="ellipsoid"``.

    Raises
    ------
    TypeError
        If `dem` is not a DataArray.
    DemError
        If the grid is transposed, irregular, rotated or without a reference system; if there are
        no heights, heights in feet, undeclared nodata, or heights that no place on land has.
    VerticalDatumError
        If nothing says what the heights are measured from.
    GeoidGridMissingError
        If the heights are above a geoid whose grid is not installed.
    """
    dem = accept(dem, void_allowed=void_allowed)
    stated = stated_datum(dem)
    if stated == ELLIPSOID_VERTICAL:
        return dem
    if stated is None:
        written = dem.attrs.get("vertical_datum")
        found = "does not say" if written is None else f"says {written!r}, which is not clear about"
        msg = f"the DEM {found} what its heights are measured from: {UNSTATED_ADVICE}"
        raise VerticalDatumError(msg)
    return to_ellipsoidal(dem)
