"""DEMs from raster files: opened, cropped, joined, with their vertical datum; other maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import rasterio
import xarray as xr
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from sarheight._rasters import open_raster, read_masked
from sarheight.dem._cells import mosaic
from sarheight.dem.checked import add_undulations, assume_ellipsoidal
from sarheight.dem.datum import (
    ELLIPSOID,
    FULL_TURN,
    GEOGRAPHIC,
    POLE,
    WRITE_CRS,
    datum_of_attrs,
    datum_of_text,
    parse_crs,
    sample_extent,
    stated_datum,
)
from sarheight.dem.layout import (
    build_dem,
    longitude_shift,
    normalise,
    require_map_grid,
    to_metres,
)
from sarheight.errors import DemError, VerticalDatumError

if TYPE_CHECKING:
    import numpy.typing as npt
    import rasterio.crs
    from affine import Affine
    from pyproj import CRS
    from rasterio.io import DatasetReader

    from sarheight.dem.datum import Extent, Geoid

RasterPath: TypeAlias = str | os.PathLike[str]

_KEEP = "keep"
"""Value of `vertical` that leaves the heights as they are stored."""

_FORMAT_DATUM = {"SRTMHGT": "EGM96"}
RADAR_GRID = "radar_grid"
"""End of the name of a tag that images in radar geometry have."""


def open_dem(
    paths: RasterPath | Sequence[RasterPath],
    *,
    vertical: Geoid | None = None,
    units: str | None = None,
    nodata: float | None = None,
    bounds: Extent | None = None,
    band: int | None = None,
    external_sources: bool = False,
) -> xr.DataArray:
    """Open a DEM: one raster file, or several tiles as one.

    The height of a cell belongs to its centre, which the coordinates `y` and `x` give, for files
    with ``AREA_OR_POINT=Area`` and with ``=Point``: GDAL moves the corner of the latter by half a
    pixel.

    Parameters
    ----------
    paths : str, path, or sequence of them
        Files in a raster format that holds its own pixels (GeoTIFF, SRTMHGT, DTED, ENVI, netCDF
        and others), or GDAL's virtual rasters under the name ``*.vrt``. Tiles must share reference
        system and posting.
    vertical : str, path, CRS or float, optional
        Vertical datum of the stored heights:

        - None: the one that the file states (compound reference system, vertical tags, or the
          format, as SRTM's .hgt). Heights above a geoid are converted. If the file states none,
          the DEM has no attribute `vertical_datum`, and functions that need it raise an error.
        - "ellipsoidal": above the WGS84 ellipsoid already.
        - anything that `to_ellipsoidal` takes: "EGM96", "EGM2008", "EPSG:5703", a grid, or one
          undulation in metres. The heights are converted to ellipsoidal ones.
        - "keep": do not convert.
    units : str, optional
        Unit of the stored heights, "m", "ft" or "us-ft", where the file does not state it or to
        confirm that it is not metres; heights are converted to metres.
    nodata : float, optional
        Stored value that marks voids, in addition to the one that the file declares.
    bounds : tuple of float, optional
        (west, south, east, north) in degrees, whatever the reference system of the file: read only
        the cells that meet this box. Across the antimeridian, either west > east or east > 180.
    band : int, optional
        Band with the heights, from 1; needed only if there are several.
    external_sources : bool
        Whether a VRT may refer to anything that GDAL opens: files outside its own folder, other
        VRTs, and addresses. By default its sources are raster files in or below its folder.

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
        If a file is not a raster, has no usable grid, holds no heights or impossible ones, does
        not meet `bounds`, or is a VRT with external sources; or if tiles do not fit together.
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
        tile if units is None else to_metres(tile, units, void_allowed=True)
        for path in paths
        for tile in _read_blocks(os.fspath(path), band, nodata, bounds, external=external_sources)
    ]
    if not tiles:
        msg = (
            f"none of the {len(paths)} DEM files meets the bounds {bounds} (west, south, east, "
            "north in degrees); check their order and the extent of the DEM"
        )
        raise DemError(msg)
    return _convert_to_ellipsoid(mosaic(tiles) if len(tiles) > 1 else normalise(tiles[0]), vertical)


def _convert_to_ellipsoid(dem: xr.DataArray, vertical: Geoid | None) -> xr.DataArray:
    """Convert the heights to ellipsoidal ones if their vertical datum is given or stated."""
    stated = stated_datum(dem)
    if vertical is None:
        return dem if stated in (None, ELLIPSOID) else add_undulations(dem, None)
    if isinstance(vertical, str) and vertical == _KEEP:
        return dem
    named = datum_of_text(vertical) if isinstance(vertical, str) else None
    if named != ELLIPSOID:
        return add_undulations(dem, vertical)
    if stated not in (None, ELLIPSOID):
        msg = (
            f"the file states that its heights are above {stated}, and {vertical!r} means that "
            "they are ellipsoidal"
        )
        advice = (
            "leave vertical out to use the stated datum, or overrule it by "
            'assume_ellipsoidal(open_dem(..., vertical="keep"))'
        )
        raise VerticalDatumError(msg, advice, options={"vertical": None})
    return assume_ellipsoidal(dem)


def _read_blocks(
    path: str, band: int | None, nodata: float | None, bounds: Extent | None, *, external: bool
) -> list[xr.DataArray]:
    """Read the parts of one file that meet the bounds: none, one, or two at the antimeridian."""
    with open_raster(path, external=external) as source:
        if source.crs is not None:
            require_map_grid(source.transform, path)
        elif any(name.endswith(RADAR_GRID) for name in source.tags()):
            msg = (
                f"{path} is an image in radar geometry, with the sampling of its pixels, expected "
                "an elevation model"
            )
            advice = "pass a raster of heights on a map grid that covers the image"
            raise DemError(msg, advice, file_advice=advice)
        band = _band(source, path, band)
        blocks = [CellBlock.whole(source.transform, source.shape)]
        if bounds is not None:
            blocks = blocks_within(bounds, source.crs, source.transform, source.shape)
        attrs = _file_attrs(source, band, path)
        return [
            build_dem(
                _read_values(source, band, block, nodata, path),
                block.y(),
                block.x(),
                source.crs,
                attrs,
            )
            for block in blocks
        ]


def open_map(path: RasterPath, *, band: int | None = None) -> xr.DataArray:
    """Open a map that is no DEM: land cover, an optical image, or a mean over dates.

    Files are opened as by `open_dem`: only formats that hold their own pixels, or ``*.vrt`` with
    sources in or below its folder.

    Parameters
    ----------
    path : str or path
        A raster on a map grid.
    band : int, optional
        Band to read, from 1; needed only if there are several.

    Returns
    -------
    DataArray
        float32, dims (y, x), coordinates at the pixel centres, in the file's own reference system;
        NaN where the file marks no data.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    DemError
        If it is no raster, has no map grid or a rotated one, or has several bands or complex ones.
    """
    name = os.fspath(path)
    with open_raster(name) as source:
        grid_crs(source, name)
        whole = CellBlock.whole(source.transform, source.shape)
        values = _read_values(source, _band(source, name, band), whole, None, name)
        coords = {"y": whole.y(), "x": whole.x()}
        placed: xr.DataArray = xr.DataArray(values, coords, ("y", "x")).rio.write_crs(source.crs)
        return placed


def grid_crs(source: DatasetReader, name: str) -> CRS:
    """Return the horizontal reference system of a raster, which must lie on a map grid."""
    if source.crs is None:
        msg = f"{name} has no coordinate reference system, expected a raster on a map grid"
        raise DemError(msg, file_advice=WRITE_CRS)
    require_map_grid(source.transform, name)
    return parse_crs(source.crs.to_wkt(version="WKT2_2019"))


def _band(source: DatasetReader, path: str, band: int | None) -> int:
    """Choose a band with real numbers, which must be named where there are several."""
    if band is None and source.count > 1:
        picture = ColorInterp.red in source.colorinterp
        kind = "a colour picture, not heights" if picture else "several bands"
        msg = f"{path} holds {kind} ({source.count} bands), expected one band"
        extract = "extract one, e.g. rio stack --bidx 1 in.tif one.tif"
        raise DemError(msg, "name one: band=1", file_advice=extract)
    chosen = 1 if band is None else band
    if not 1 <= chosen <= source.count:
        msg = f"{path} has bands 1 to {source.count}, and not band {chosen}"
        raise DemError(msg)
    return chosen


def _read_values(
    source: DatasetReader, band: int, block: CellBlock, nodata: float | None, path: str
) -> npt.NDArray[np.float32]:
    """Read a block of a band, unpacked to its unit, with NaN where there is no data."""
    window = Window(block.column, block.row, block.columns, block.rows)
    stored = read_masked(source, band, window)
    void = np.ma.getmaskarray(stored)
    if nodata is not None:
        void = void | (stored.data == nodata)
    if stored.dtype.kind not in "iuf":
        msg = f"expected real numbers, and band {band} of {path} holds {stored.dtype}"
        raise DemError(msg)
    scale, offset = source.scales[band - 1], source.offsets[band - 1]
    values = np.asarray(stored.data, dtype=np.float32)
    if (scale, offset) != (1.0, 0.0):
        values = np.asarray(stored.data * np.float64(scale) + offset, dtype=np.float32)
    values[void] = np.nan
    return values


def _file_attrs(source: DatasetReader, band: int, path: str) -> dict[str, Any]:
    """Derive the attributes of a DEM from the tags of its file."""
    tags = {**source.tags(), **source.tags(band)}
    history = [*str(tags.get("history", "")).splitlines(), f"open_dem: {path}"]
    attrs: dict[str, Any] = {"source": path, "history": "\n".join(history)}
    if unit := source.units[band - 1]:
        attrs["units"] = unit
    if "AREA_OR_POINT" in tags:
        attrs["AREA_OR_POINT"] = tags["AREA_OR_POINT"]
    datum = datum_of_attrs(tags) or _FORMAT_DATUM.get(source.driver)
    if datum is not None:
        attrs["vertical_datum"] = datum
    return attrs


# Blocks of cells within bounds.


@dataclass(frozen=True)
class CellBlock:
    """A block of a raster's cells; `shift` is a multiple of 360 degrees of longitude."""

    transform: Affine
    row: int
    rows: int
    column: int
    columns: int
    shift: float = 0.0

    @classmethod
    def whole(cls, transform: Affine, shape: tuple[int, int]) -> CellBlock:
        """Make the block of all cells of a raster."""
        return cls(transform, 0, shape[0], 0, shape[1])

    def y(self) -> npt.NDArray[np.float64]:
        """Return the coordinates of the rows' centres."""
        rows = self.row + np.arange(self.rows) + 0.5
        return np.asarray(self.transform.f + self.transform.e * rows)

    def x(self) -> npt.NDArray[np.float64]:
        """Return the coordinates of the columns' centres."""
        columns = self.column + np.arange(self.columns) + 0.5
        return np.asarray(self.transform.c + self.transform.a * columns + self.shift)


def blocks_within(
    bounds: Extent, crs: rasterio.crs.CRS | None, transform: Affine, shape: tuple[int, int]
) -> list[CellBlock]:
    """Find the blocks of a raster in a box in degrees: none, one, or two at the antimeridian."""
    box = _normalise_bounds(bounds)
    if crs is None:
        msg = "the DEM has no coordinate reference system, so no bounds can be found in it"
        raise DemError(msg)
    horizontal = parse_crs(crs.to_wkt(version="WKT2_2019"))
    shifts = [0.0]
    if horizontal.is_geographic:
        shifts = [FULL_TURN * turns for turns in (-2, -1, 0, 1, 2)]
    else:
        box = _project_bounds(horizontal, box)
    west, south, east, north = box
    row, rows = _cell_range(transform.f, transform.e, shape[0], south, north)
    blocks = []
    for shift in shifts:
        column, columns = _cell_range(transform.c + shift, transform.a, shape[1], west, east)
        if rows and columns:
            blocks.append(CellBlock(transform, row, rows, column, columns, shift))
    return blocks


def _normalise_bounds(bounds: Extent) -> Extent:
    """Check a box in degrees; its western side moves into [-180, 180), its eastern beyond that."""
    west, south, east, north = (float(limit) for limit in bounds)
    east = east + FULL_TURN if east < west else east
    shift = longitude_shift(west, 0.0) if abs(west) <= FULL_TURN else 0.0
    west, east = west + shift, east + shift
    ordered = -POLE <= south < north <= POLE and west < east <= west + FULL_TURN
    if not (ordered and abs(west) <= FULL_TURN):
        msg = (
            f"bounds are (west, south, east, north) in degrees, and these are {bounds}; latitudes "
            "lie between -90 and 90, south below north, and the box spans at most 360 degrees"
        )
        raise DemError(msg)
    return west, south, east, north


def _project_bounds(crs: CRS, box: Extent) -> Extent:
    """Find the box in map coordinates around a box in degrees."""
    x, y = sample_extent(box, GEOGRAPHIC, crs)
    defined = np.isfinite(x) & np.isfinite(y)
    if not defined.any():
        msg = f"no part of the bounds lies where the DEM's reference system {crs.name!r} is defined"
        raise DemError(msg)
    x, y = x[defined], y[defined]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _cell_range(origin: float, step: float, count: int, low: float, high: float) -> tuple[int, int]:
    """Return the first cell that meets the interval [low, high], and the number of such cells.

    It is zero, or at least two, as a DEM has two cells along each axis.
    """
    ends = sorted(((low - origin) / step, (high - origin) / step))
    # A tolerance of 1e-9 cells excludes neighbours that only touch the interval.
    first = max(0, int(np.floor(ends[0] + 1e-9)))
    stop = min(count, int(np.ceil(ends[1] - 1e-9)))
    if stop <= first:
        return first, 0
    if stop - first == 1:
        first, stop = max(0, first - 1), min(count, max(stop, 2))
    return first, stop - first
