"""Elevation models and known elevations of workflows, and the one default of the map grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sarheight.errors import DemError, OptionError, VerticalDatumError
from sarheight.workflow.config import OF_DEM, DemConfig, GridConfig, ImageConfig
from sarheight.workflow.images import ImageSource, is_map, is_store
from sarheight.workflow.options import AUTO

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.geometry.placement import Bounds
    from sarheight.workflow.images import Reporter

__all__ = ["open_elevations", "place_on_grid", "read_dem"]

DATUMS = (
    "ellipsoidal",
    "EGM96 (SRTM, NASADEM)",
    "EGM2008 (Copernicus DEM)",
    "the geoid's height in metres",
)
DEM_MARGIN = 0.02
"""Degrees of elevation model beyond the footprint of a product."""


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
    config: GridConfig, source: ImageSource | None, reporter: Reporter
) -> tuple[xr.DataArray, dict[str, Path]]:
    """Open the elevation model, fetched first if its name is "auto"; return it and fetched files.

    The image says where it lies, and which part of it is wanted.
    """
    bounds = config.bounds if isinstance(config, ImageConfig) else None
    if config.dem != (AUTO,):
        return read_dem(config, bounds=bounds), {}
    reporter.stage("fetch the elevation model")
    paths, vertical = _fetch_dem(config, bounds, source, reporter)
    heights = read_dem(config, paths, vertical, bounds)
    return heights, {f"dem {number}": path for number, path in enumerate(paths, 1)}


def _fetch_dem(
    config: GridConfig, bounds: Bounds | None, source: ImageSource | None, reporter: Reporter
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
    heights: xr.DataArray, config: GridConfig, like: Path | None, reporter: Reporter
) -> xr.DataArray:
    """Resample an elevation model to the grid of the result, if that is another one.

    The grid is that of `like` if it is a raster on a map grid; else what the configuration says;
    else that of the elevation model if it is projected, and the UTM zone of one in degrees.
    """
    from sarheight.dem import grid_like, map_grid, mgrs_grid, to_grid
    from sarheight.dem.grids import grid_record, middle_tile
    from sarheight.output import open_result

    if like is not None and is_map(like):
        if any(each is not None for each in config.grid):
            msg = f"'{like}' has a grid: omit --crs, --resolution, --align and --mgrs, or --like"
            raise OptionError(msg, option="like")
        grid = grid_like(open_result(like, chunks={}) if is_store(like) else like)
    elif config.mgrs is not None:
        resolution = config.resolution or map_grid(heights).resolution.x
        grid = mgrs_grid(config.mgrs, resolution)
    elif config.crs == OF_DEM or (
        all(each is None for each in config.grid) and not heights.rio.crs.is_geographic
    ):
        return heights
    else:
        grid = map_grid(heights, config.crs, config.resolution, align=config.align or 0.0)
    try:
        placed = to_grid(heights, grid)
    except DemError as error:
        if config.mgrs is None or "does not meet" not in str(error):
            raise
        msg = (
            f"the elevation model does not reach the tile {config.mgrs}: its middle lies in the "
            f"tile {middle_tile(heights)}"
        )
        raise DemError(msg) from error
    rows, columns = placed.shape
    described = grid_record(placed) or {}
    unit = {"metre": " m", "degree": "°"}.get(placed.rio.crs.units_factor[0], "")
    reporter.say(
        f"the result has {rows} x {columns} cells of {described['resolution'][1]:g}{unit} in "
        f"{described['crs'].partition('[')[0]}; --crs dem keeps the grid of the elevation model"
    )
    return placed
