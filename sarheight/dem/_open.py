"""Reading elevation models from raster files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from sarheight.dem._bounds import Span, bounds_spans
from sarheight.dem._ellipsoidal import assume_ellipsoidal, to_ellipsoidal
from sarheight.dem._layout import require_north_up
from sarheight.dem._mosaic import mosaic
from sarheight.dem._record import build
from sarheight.dem._values import accept, converted
from sarheight.dem._vertical import ELLIPSOID, datum_of_attrs, datum_of_text, stated_datum
from sarheight.errors import DemError, VerticalDatumError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import xarray as xr
    from rasterio import DatasetReader

    from sarheight.dem._geoid import Geoid

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
        return dem if stated in (None, ELLIPSOID) else to_ellipsoidal(dem)
    if isinstance(vertical, str) and vertical == KEEP:
        return dem
    named = datum_of_text(vertical) if isinstance(vertical, str) else None
    if named != ELLIPSOID:
        return to_ellipsoidal(dem, vertical)
    if stated not in (None, ELLIPSOID):
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
