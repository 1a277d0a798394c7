"""Elevation models and known elevations of workflows, and the one default of the map grid."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sarheight.errors import DemError, OptionError, VerticalDatumError
from sarheight.workflow.config import ClipConfig, DemConfig, GridConfig, ImageConfig
from sarheight.workflow.images import ImageSource, is_store, map_source
from sarheight.workflow.options import AUTO
from sarheight.workflow.words import OF_DEM

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from sarheight.geometry.placement import Bounds
    from sarheight.workflow.images import Reporter


DATUMS = (
    "ellipsoidal",
    "EGM96 (SRTM, NASADEM)",
    "EGM2008 (Copernicus DEM)",
    "the geoid's height in metres",
)
GEOJSON, GEOJSON_CRS = (".json", ".geojson"), "EPSG:4326"
"""Names of files of GeoJSON, and its reference system (RFC 7946)."""
EDGE_POINTS = 64
"""Points along an edge of an elevation model, which is curved in another reference system."""
DEM_MARGIN = 0.02
"""Degrees of elevation model beyond the footprint of a product."""
EXTENSION = 3
"""Cells by which an elevation model is continued: cubic convolution reaches two cells, and the
middle of a cell that its edge crosses lies less than one beyond it."""


def read_dem(
    config: DemConfig,
    paths: Sequence[Path] | None = None,
    vertical: str | float | None = None,
    bounds: Bounds | None = None,
) -> xr.DataArray:
    """Open an elevation model as a configuration says; other paths and datum for a fetched one.

    Dims (y, x), metres above the ellipsoid.
    """
    from sarheight.dem import condition, open_dem

    if not config.dem:
        msg = "it is missing, and has no default"
        raise OptionError(msg, option="dem")
    dem = open_dem(
        [Path(path) for path in config.dem] if paths is None else paths,
        vertical=config.vertical if vertical is None else vertical,
        units=config.units,
        nodata=config.nodata,
        bounds=bounds,
    )
    if dem.attrs.get("vertical_datum") is None:
        found = f"{', '.join(config.dem)} does not state the vertical reference of its heights"
        advice = f"pass vertical= with {', '.join(DATUMS[:-1])} or {DATUMS[-1]}"
        raise VerticalDatumError(found, advice, options={"vertical": DATUMS})
    return dem if config.condition is None else condition(dem, config.condition)


def open_elevations(
    config: DemConfig,
    source: ImageSource | None,
    reporter: Reporter,
    bounds: Bounds | None = None,
) -> tuple[xr.DataArray, dict[str, Path]]:
    """Open the elevation model, fetched first if its name is "auto"; return it and fetched files.

    The image says where it lies, and which part of it is wanted, unless bounds are given.
    """
    if bounds is None:
        bounds = config.bounds if isinstance(config, ImageConfig) else None
    if config.dem != (AUTO,):
        return read_dem(config, bounds=bounds), {}
    reporter.stage("fetch the elevation model")
    paths, vertical = _fetch_dem(config, bounds, source, reporter)
    heights = read_dem(config, paths, vertical, bounds)
    return heights, {f"dem {number}": path for number, path in enumerate(paths, 1)}


def _fetch_dem(
    config: DemConfig, bounds: Bounds | None, source: ImageSource | None, reporter: Reporter
) -> tuple[list[Path], str | float | None]:
    """Fetch the tiles for the bounds or the footprint of the image; return them and the datum."""
    from sarheight import fetch
    from sarheight.geometry.placement import bounds_of_corners

    windows = bounds is not None
    if bounds is None:
        corners = None if source is None else source.footprint()
        if corners is None:
            msg = "the location of the image is not known: pass --bounds, or the whole product"
            raise OptionError(msg, option="dem")
        bounds = bounds_of_corners(corners, DEM_MARGIN)
    with reporter.downloading() as report:
        tiles = fetch.dem(bounds, windows=windows, progress=report)
        vertical = tiles.vertical if config.vertical is None else config.vertical
        if vertical in {"EGM96", "EGM2008"}:
            fetch.geoid(str(vertical), progress=report)
    if tiles.sea:
        reporter.say(f"assumed at sea level, without land: {', '.join(tiles.sea)}")
    return list(tiles.paths), vertical


def place_on_grid(
    heights: xr.DataArray, config: GridConfig, reporter: Reporter, *, factor: int = 1
) -> xr.DataArray:
    """Resample an elevation model to the grid of the result, if that is another one.

    Where the result has several cells in one of the elevation model, `factor` along each axis, its
    cells are so many times as wide as those of the grid, and begin at the same corner. Those that
    its edge crosses then get the height at which its slope continues: parts of them lie within.
    """
    from sarheight.dem import to_grid
    from sarheight.dem.grids import middle_tile

    grid = choose_grid(heights, config, factor=factor)
    if grid is None:
        return heights
    wide = heights if factor == 1 else _continued(heights)
    try:
        placed = to_grid(wide, _with_cells(grid, Fraction(1, factor)))
    except DemError as error:
        if config.mgrs is None or "does not meet" not in str(error):
            raise
        msg = (
            f"the elevation model does not reach the tile {config.mgrs}: its middle lies in the "
            f"tile {middle_tile(heights)}"
        )
        raise DemError(msg) from error
    say_grid(grid, placed, reporter)
    return placed


def _continued(heights: xr.DataArray) -> xr.DataArray:
    """Continue an elevation model beyond its edges, by its mirror image about the height there."""
    from sarheight.dem.layout import HIGHEST, LOWEST

    cells = {name: min(EXTENSION, heights.sizes[name] - 1) for name in ("y", "x")}
    wide = heights.pad(cells, mode="reflect", reflect_type="odd", keep_attrs=True)
    # What is continued is not refused as implausible, and what the model itself has is.
    low, high = min(float(heights.min()), LOWEST), max(float(heights.max()), HIGHEST)
    wide = wide.clip(low, high, keep_attrs=True)
    if heights.rio.crs.is_geographic:
        wide = wide.isel(y=abs(wide["y"].values) < 90.0)
    return wide


def say_grid(grid: GeoBox, placed: xr.DataArray, reporter: Reporter) -> None:
    """Tell the grid of a result, on which heights were placed."""
    from sarheight.dem.grids import grid_record

    described = grid_record(placed) or {}
    unit = {"metre": " m", "degree": "°"}.get(placed.rio.crs.units_factor[0], "")
    reporter.say(
        f"the result has {grid.shape[0]} x {grid.shape[1]} cells of {grid.affine.a:g}{unit} in "
        f"{described['crs'].partition('[')[0]}; --crs dem keeps the grid of the elevation model"
    )


def choose_grid(
    heights: xr.DataArray, config: GridConfig, *, factor: int = 1, resolution: float | None = None
) -> GeoBox | None:
    """Choose the grid of a result; None where that is the grid of the elevation model.

    It is that of a raster on a map grid that the configuration names; else what it says of the
    grid; else that of the elevation model if it is projected, and the UTM zone of one in degrees.
    The size of cells is `resolution` where the configuration has none, and that of the elevation
    model over `factor` where there is neither.
    """
    from sarheight.dem import map_grid, mgrs_grid

    stated = stated_grid(config, resolution)
    if stated is not None:
        return stated
    size = config.resolution or resolution
    if config.mgrs is not None:
        return mgrs_grid(config.mgrs, map_grid(heights).resolution.x / factor)
    own = not heights.rio.crs.is_geographic and config.crs is None and config.align is None
    if config.crs == OF_DEM or (own and size is None):
        return None
    grid = map_grid(heights, config.crs, size, align=config.align or 0.0)
    return grid if size is not None else _with_cells(grid, Fraction(factor))


def stated_grid(config: GridConfig, resolution: float | None = None) -> GeoBox | None:
    """Return the grid of a result that a configuration says all of; None where it needs heights."""
    from sarheight.dem import extent_grid, grid_like, mgrs_grid
    from sarheight.output import open_result
    from sarheight.sentinel1.cslc import burst_grid, is_burst

    like = map_source(config.like)
    if like is not None:
        if config.states_grid:
            msg = (
                f"'{like}' has a grid: omit --crs, --resolution, --align, --mgrs and --extent, or "
                "--like"
            )
            raise OptionError(msg, option="like")
        if is_burst(like):
            return burst_grid(like)
        return grid_like(open_result(like, chunks={}) if is_store(like) else like)
    size = config.resolution or resolution
    if size is None:
        return None
    if config.extent is not None and config.crs is not None:
        return extent_grid(config.extent, config.crs, size)
    return None if config.mgrs is None else mgrs_grid(config.mgrs, size)


def _with_cells(grid: GeoBox, factor: Fraction) -> GeoBox:
    """Return a grid of `factor` times as many cells along each axis, from the same corner."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    rows, columns = (ceil(count * factor) for count in grid.shape)
    return GeoBox((rows, columns), grid.affine @ Affine.scale(float(1 / factor)), grid.crs)


def fit_to_grid(
    result: xr.Dataset, config: GridConfig, heights: xr.DataArray, factor: int
) -> xr.Dataset:
    """Fit heights with `factor` cells in one of the placed elevation model to the chosen grid.

    They get its coordinates, bit by bit, and are missing where the elevation model, `heights` as
    it was opened, does not reach.
    """
    import numpy as np
    import xarray as xr
    from rasterio.features import geometry_mask

    grid = choose_grid(heights, config, factor=factor)
    if grid is None:
        return result
    (rows, columns), place = grid.shape, grid.affine
    part = result.isel(y=slice(rows), x=slice(columns))
    result = part.assign_coords(
        y=("y", place.f + place.e * (np.arange(rows) + 0.5), part["y"].attrs),
        x=("x", place.c + place.a * (np.arange(columns) + 0.5), part["x"].attrs),
    )
    shape = result.sizes["y"], result.sizes["x"]
    outline = _outline(heights, result.rio.crs)
    outside = geometry_mask([outline], shape, result.rio.transform(recalc=True))
    if not outside.any():
        return result
    keep = xr.DataArray(~outside, dims=("y", "x"))
    return result.assign(
        {
            name: layer.where(keep).assign_attrs(layer.attrs)
            for name, layer in result.data_vars.items()
            if layer.dtype.kind == "f"
        }
    )


def _outline(heights: xr.DataArray, crs: Any) -> dict[str, Any]:  # noqa: ANN401  # of rasterio
    """Return the outer edges of an elevation model as a polygon in another reference system."""
    import numpy as np
    from rasterio.warp import transform_geom

    from sarheight.dem.layout import outer_edges

    west, south, east, north = outer_edges(heights)
    across, along = np.linspace(west, east, EDGE_POINTS), np.linspace(south, north, EDGE_POINTS)
    ring = [(x, south) for x in across] + [(east, y) for y in along]
    ring += [(x, north) for x in across[::-1]] + [(west, y) for y in along[::-1]]
    polygon: dict[str, Any] = transform_geom(
        heights.rio.crs, crs, {"type": "Polygon", "coordinates": [ring]}
    )
    return polygon


def clip(result: xr.Dataset, config: ClipConfig) -> xr.Dataset:
    """Cut a result to the polygons of a configuration: missing outside, and without empty borders.

    What is inside keeps its values. A cell is inside where its centre is.
    """
    if config.clip is None:
        return result
    import numpy as np
    import xarray as xr
    from rasterio.features import geometry_mask
    from rasterio.warp import transform_geom

    from sarheight._files import file_errors
    from sarheight._runtime import nodata_value

    polygons, crs = read_polygons(config.clip)
    grid = result.rio.crs
    with file_errors(config.clip, f"a file of polygons that {grid} can show"):
        placed = [transform_geom(crs, grid, each) for each in polygons]
    shape = result.sizes["y"], result.sizes["x"]
    inside = geometry_mask(placed, shape, result.rio.transform(recalc=True), invert=True)
    if not inside.any():
        msg = f"'{config.clip}' does not meet the result: expected polygons around cells of it"
        raise OptionError(msg, option="clip")
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    part = {"y": slice(rows[0], rows[-1] + 1), "x": slice(columns[0], columns[-1] + 1)}
    keep = xr.DataArray(inside, dims=("y", "x")).isel(part)
    cut = result.isel(part)
    clipped = {
        name: layer.where(keep, nodata_value(layer)).assign_attrs(layer.attrs)
        for name, layer in cut.data_vars.items()
        if {"y", "x"} <= set(layer.dims)
    }
    return cut.assign(clipped)


def read_polygons(path: Path) -> tuple[list[dict[str, Any]], Any]:
    """Read polygons as GeoJSON has them, and their reference system."""
    from sarheight._files import read_json, read_vector

    if path.suffix.lower() in GEOJSON:
        found = read_json(path)
        entries = found.get("features", [found])
        entries = entries if isinstance(entries, list) else []
        shapes = [each.get("geometry", each) for each in entries if isinstance(each, dict)]
        crs: Any = GEOJSON_CRS
    else:
        table = read_vector(path)
        shapes, crs = [each.__geo_interface__ for each in table.geometry.dropna()], table.crs
    kinds = [each.get("type") if isinstance(each, dict) else None for each in shapes]
    if crs is None or not shapes or not set(kinds) <= {"Polygon", "MultiPolygon"}:
        found_kinds = ", ".join(sorted(set(map(str, kinds)))) or "nothing"
        lacking = " without a reference system" if crs is None else ""
        msg = f"found {found_kinds} in '{path}'{lacking}, expected polygons in a reference system"
        raise OptionError(msg, option="clip")
    return shapes, crs if isinstance(crs, str) else crs.to_wkt()
