"""Buildings as outlines, and as rasters of height and built share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from sarheight._files import file_reader, read_vector, unpacked, vector_layers
from sarheight.buildings._images import resample_image
from sarheight.buildings.stack import check_heights, on_grid_of, require_grid
from sarheight.errors import StackError

if TYPE_CHECKING:
    import geopandas as gpd

HEIGHTS = ("height", "building_height", "measuredheight", "h_mean", "b3_h_dak_50p", "b3_h_50p")
"""Usual names of the attribute with the height, in lower case; the last two are of 3D BAG."""
ROOFS, BUILDINGS, IDENTIFIER = "lod12_2d", "pand", "identificatie"
"""Layers in a GeoPackage of 3D BAG of roofs and of whole buildings, and what joins them."""
GROUND = "b3_h_maaiveld"
"""Height of the ground at a building of 3D BAG above NAP, as its roofs are."""
MAX_BELOW_GROUND = 1.0
"""Metres by which noise of the laser may set a roof below the ground; its height becomes 0."""


@dataclass(frozen=True, eq=False)
class Buildings:
    """Outlines and heights of buildings.

    Attributes
    ----------
    outlines : sequence of shapely geometries
        Polygons or multipolygons.
    heights : array, shape (buildings,)
        Metres above the ground.
    crs : pyproj.CRS
        Reference system of the outlines.
    """

    outlines: Sequence[Any]
    heights: NDArray[np.float64]
    crs: CRS

    def __len__(self) -> int:
        """Return the number of buildings."""
        return len(self.outlines)


def read_buildings(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    height: str | None = None,
    ground: str | None = None,
    layer: str | None = None,
    crs: Any = None,  # noqa: ANN401  # whatever pyproj takes
) -> Buildings:
    """Read buildings that have an attribute with the height.

    Parameters
    ----------
    source : path-like, or sequence of them
        GeoPackage, GeoParquet, GeoJSON, shapefile or FlatGeobuf, also with gzip (``.gz``). Of a
        GeoPackage of 3D BAG the roofs (``lod12_2d``) are read, with the ground of their buildings
        (``pand``). Of several files, such as the tiles of a city, those without buildings are
        ignored.
    height : str, optional
        Attribute with the height in metres. By default the first of ``height``,
        ``building_height``, ``measuredHeight``, ``h_mean``, ``b3_h_dak_50p`` and ``b3_h_50p``
        (medians of the roof in 3D BAG), in upper or lower case.
    ground : str, optional
        Attribute with the height of the ground, where `height` is that of the roof above some
        datum; by default ``b3_h_maaiveld`` beside the roofs of 3D BAG.
    layer : str, optional
        Layer of a file that has several.
    crs : optional
        Reference system of files that state none.

    Returns
    -------
    Buildings
        Those without a height or an outline are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StackError
        If the file is damaged or has no buildings, an attribute or the reference system is
        missing, or heights are not in metres above the ground.
    MissingLibraryError
        If the libraries for vector files are not installed.
    """
    paths = [source] if isinstance(source, str | os.PathLike) else source
    read = [_read_file(Path(path), height, ground, layer, crs) for path in paths]
    parts = [part for part in read if part is not None]
    if not parts:
        names = ", ".join(f"'{path}'" for path in paths)
        msg = f"found no polygon with a height in {names}, expected at least one"
        raise StackError(msg)
    return parts[0] if len(paths) == 1 else _concatenate(parts)


@file_reader("a file of building outlines", StackError)
def _read_file(
    path: Path,
    height: str | None,
    ground: str | None,
    layer: str | None,
    crs: Any,  # noqa: ANN401  # whatever pyproj takes
) -> Buildings | None:
    """Read the buildings of one file, None where it has none with a height."""
    if not path.is_file():
        msg = f"there is no file '{path}'"
        raise FileNotFoundError(msg)
    table = _read_table(path, layer, crs)
    if not len(table):
        return None
    roofs, name = _column(table, height, HEIGHTS, path)
    if ground is None and name.lower().startswith("b3_h_") and name.lower() != GROUND:
        ground = GROUND
    if ground is not None:
        roofs = roofs - _column(table, ground, (ground,), path)[0]
    outlines = table.geometry
    usable = np.isfinite(roofs) & ~np.asarray(outlines.isna() | outlines.is_empty)
    usable &= np.asarray(outlines.geom_type.isin(["Polygon", "MultiPolygon"]))
    if not usable.any():
        return None
    heights = np.asarray(roofs[usable], dtype=np.float64)
    if ground is not None:
        heights = np.where((heights < 0.0) & (heights > -MAX_BELOW_GROUND), 0.0, heights)
    check_heights(heights, f"'{path.name}'")
    return Buildings(list(outlines[usable]), heights, CRS.from_user_input(table.crs))


def _concatenate(parts: Sequence[Buildings]) -> Buildings:
    """Join the buildings of several files, in the reference system of the first."""
    import geopandas

    crs = parts[0].crs
    outlines = [geopandas.GeoSeries(part.outlines, crs=part.crs).to_crs(crs) for part in parts]
    heights = np.concatenate([part.heights for part in parts])
    return Buildings([shape for series in outlines for shape in series], heights, crs)


def _read_table(path: Path, layer: str | None, crs: Any) -> gpd.GeoDataFrame:  # noqa: ANN401
    """Read the outlines and their attributes, with a reference system."""
    with unpacked(path, StackError) as plain:
        if layer is None and {ROOFS, BUILDINGS} <= set(vector_layers(plain, StackError)):
            table = read_vector(plain, StackError, layer=ROOFS)
            if GROUND not in table:
                buildings = read_vector(plain, StackError, layer=BUILDINGS)
                grounds = buildings[[IDENTIFIER, GROUND]].drop_duplicates(IDENTIFIER)
                table = table.merge(grounds, on=IDENTIFIER, how="left")
        else:
            table = read_vector(plain, StackError, layer=layer)
    if table.crs is not None:
        return table
    if crs is None:
        msg = f"'{path}' states no reference system: pass crs, such as 'EPSG:28992'"
        raise StackError(msg)
    return table.set_crs(CRS.from_user_input(crs))


def _column(
    table: gpd.GeoDataFrame, attribute: str | None, usual: Sequence[str], path: Path
) -> tuple[NDArray[np.float64], str]:
    """Return an attribute as numbers, and its name."""
    # Of names that differ only by case, the first column is taken.
    columns = {str(name).lower(): str(name) for name in reversed(list(table.columns))}
    names = [attribute] if attribute is not None else list(usual)
    name = next((columns[each.lower()] for each in names if each.lower() in columns), None)
    if name is None:
        found = ", ".join(str(each) for each in table.columns if each != table.geometry.name)
        msg = f"found the attributes {found} in '{path}', expected {' or '.join(names)}"
        raise StackError(msg)
    try:
        return table[name].to_numpy(dtype=float, na_value=np.nan), name
    except (TypeError, ValueError) as error:
        msg = f"found text in the attribute {name!r} of '{path}' ({error}), expected metres"
        raise StackError(msg) from error


# Heights of outlines, from a map of heights.

PARTS = 4
"""Parts along each side of a cell of which each belongs to one outline at most."""


def heights_of_outlines(
    result: xr.Dataset,
    source: str | os.PathLike[str],
    *,
    layer: str | None = None,
    crs: Any = None,  # noqa: ANN401  # whatever pyproj takes
) -> gpd.GeoDataFrame:
    """Assign estimated heights to building outlines.

    Parameters
    ----------
    result : xarray.Dataset
        As `sarheight.buildings.predict_buildings` returns it.
    source : path-like
        GeoPackage, GeoParquet, GeoJSON, shapefile or FlatGeobuf with polygons.
    layer : str, optional
        Layer of a file that has several.
    crs : optional
        Reference system of a file that states none.

    Returns
    -------
    geopandas.GeoDataFrame
        The outlines with their attributes, in the reference system of the result; ``height``, the
        mean over the cells that an outline covers, weighted by area; where the result has them
        ``height_sigma``, likewise a mean (errors of neighbouring cells are alike, so that many are
        not more certain than one), and ``novelty``, the largest. NaN for outlines that cover no
        cell with an estimate.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StackError
        If the file cannot be read, or none of its polygons covers the result.
    MissingLibraryError
        If the libraries for vector files are not installed.
    """
    import pandas as pd
    from rasterio.features import rasterize

    path = Path(source)
    if not path.is_file():
        msg = f"there is no file '{path}'"
        raise FileNotFoundError(msg)
    table = _read_table(path, layer, crs).to_crs(result.rio.crs)
    transform = require_grid(result, "the heights")[0]
    rows, columns = result.sizes["y"], result.sizes["x"]
    usable = np.flatnonzero(
        np.asarray(table.geometry.geom_type.isin(["Polygon", "MultiPolygon"]))
        & ~np.asarray(table.geometry.is_empty)
    )
    # Number 0 is no outline.
    shapes = [(table.geometry.iloc[index], index + 1) for index in usable.tolist()]
    owner = np.zeros((rows * PARTS, columns * PARTS), dtype=np.int32)
    if shapes:
        owner = rasterize(
            shapes,
            out_shape=owner.shape,
            transform=transform @ Affine.scale(1.0 / PARTS),
            dtype=np.int32,
        )
    if not owner.any():
        msg = (
            f"found {usable.size} polygons in '{path}', none of which covers a cell of the heights:"
            " check the reference system of the file"
        )
        raise StackError(msg)
    for name, how in (("height", "mean"), ("height_sigma", "mean"), ("novelty", "max")):
        if name in result:
            fine = np.kron(result[name].values, np.ones((PARTS, PARTS)))
            found = pd.Series(fine.ravel()).groupby(owner.ravel()).agg(how)
            table[name] = found.reindex(range(1, len(table) + 1)).to_numpy()
    return table


# Rasters of height and built share.

STRIP_CELLS = 4_000_000
"""Fine cells that are rasterised at a time."""


def rasterise_buildings(
    buildings: Buildings, like: xr.DataArray | xr.Dataset, *, subdivision: int = 10
) -> xr.Dataset:
    r"""Rasterise buildings: their mean height by area, and the built share of each cell.

    Each cell is divided into `subdivision` × `subdivision` finer ones, each of which belongs to
    the building that contains its centre (the higher one where two overlap). With
    :math:`n = s^2` fine cells, of which those in the set :math:`B` are built, the share is
    :math:`|B| / n` and the height :math:`\sum_{i \in B} h_i / |B|`. The standard error of the
    share is about :math:`0.5 / s^{1.5}` for a straight edge that crosses the cell: 1.6 % for ten.

    Parameters
    ----------
    buildings : Buildings
        In any reference system.
    like : xarray.DataArray or xarray.Dataset
        On the target grid.
    subdivision : int
        Fine cells along each side of a cell.

    Returns
    -------
    xarray.Dataset
        Dims (y, x), float32: ``height`` in metres, the mean over the built part, 0 where nothing
        is built; ``footprint``, the built share. The attribute ``buildings`` is the number that
        intersect the grid: a city without any has zeros.

    Raises
    ------
    StackError
        If the grid is not regular or has no reference system, or `subdivision` is not 1 to 100.
    """
    if not 1 <= subdivision <= 100:
        msg = f"found subdivision={subdivision}, expected 1 to 100"
        raise StackError(msg)
    from rasterio.features import rasterize

    transform = require_grid(like, "the grid")[0]
    rows, columns = like.sizes["y"], like.sizes["x"]
    outlines, heights = _on_map(buildings, like)
    bounds = np.array([outline.bounds for outline in outlines]).reshape(-1, 4)
    fine_x, fine_y = transform.a / subdivision, transform.e / subdivision
    built = np.zeros((rows, columns), dtype=np.float32)
    total = np.zeros((rows, columns), dtype=np.float32)
    intersecting = np.zeros(len(outlines), dtype=bool)
    # Strips of rows bound the memory of the fine cells.
    strip = max(STRIP_CELLS // (columns * subdivision**2), 1)
    west, east = sorted((transform.c, transform.c + columns * transform.a))
    for row in range(0, rows, strip):
        count = min(strip, rows - row)
        top = transform.f + row * transform.e
        south, north = sorted((top, top + count * transform.e))
        inside = (bounds[:, 0] < east) & (bounds[:, 2] > west)
        inside &= (bounds[:, 1] < north) & (bounds[:, 3] > south)
        chosen = np.flatnonzero(inside)
        if not chosen.size:
            continue
        intersecting[chosen] = True
        # The last one burnt stays, and heights rise: the higher building wins.
        burnt = rasterize(
            ((outlines[index], heights[index]) for index in chosen),
            out_shape=(count * subdivision, columns * subdivision),
            fill=-1.0,
            transform=Affine(fine_x, 0.0, transform.c, 0.0, fine_y, top),
            dtype=np.float32,
        )
        blocks = burnt.reshape(count, subdivision, columns, subdivision)
        built[row : row + count] = (blocks >= 0.0).sum(axis=(1, 3))
        total[row : row + count] = np.where(blocks >= 0.0, blocks, 0.0).sum(axis=(1, 3))
    share = built / np.float32(subdivision**2)
    height = np.where(built > 0.0, total / np.maximum(built, 1.0), 0.0).astype(np.float32)
    return _reference(height, share, like, {"buildings": int(intersecting.sum())})


def heights_from_raster(
    raster: xr.DataArray, like: xr.DataArray | xr.Dataset | None = None
) -> xr.Dataset:
    """Convert a raster of building heights to height and built share on a grid.

    Parameters
    ----------
    raster : xarray.DataArray
        Dims (y, x): metres above the ground, 0 where there is no building, NaN where unknown. The
        finer it is than the grid, the more accurate is the share.
    like : xarray.DataArray or xarray.Dataset, optional
        On the target grid; by default that of the raster.

    Returns
    -------
    xarray.Dataset
        As `rasterise_buildings` returns it.

    Raises
    ------
    StackError
        If heights are negative, in centimetres, or above sea level; or the grids do not overlap.
    """
    check_heights(np.asarray(raster.values), "the raster")
    target = raster if like is None else like
    share = (raster > 0.0).astype(np.float32).where(raster.notnull())
    share = resample_image(share, target)
    # Metres times share: the mean over the built part is their ratio.
    volume = resample_image(raster.astype(np.float32), target)
    built = share.values > 0.0
    height = np.where(built, volume.values / np.where(built, share.values, 1.0), 0.0)
    height = np.where(np.isnan(share.values), np.nan, height).astype(np.float32)
    return _reference(height, np.clip(share.values, 0.0, 1.0), target, {})


def _reference(
    height: NDArray[np.float32],
    share: NDArray[np.float32],
    like: xr.DataArray | xr.Dataset,
    attributes: dict[str, Any],
) -> xr.Dataset:
    """Return height and share as a dataset on the grid of `like`."""
    layers = {
        "height": (height, "mean height of buildings above the ground", "m"),
        "footprint": (share, "built share of the cell", "1"),
    }
    return xr.Dataset(
        {
            name: on_grid_of(like, values, attributes={"long_name": text, "units": units})
            for name, (values, text, units) in layers.items()
        },
        attrs=attributes,
    )


def _on_map(
    buildings: Buildings, like: xr.DataArray | xr.Dataset
) -> tuple[list[Any], NDArray[np.float64]]:
    """Return outlines in the reference system of a grid, and heights, in rising order of these."""
    import geopandas

    order = np.argsort(buildings.heights, kind="stable")
    shapes = geopandas.GeoSeries([buildings.outlines[index] for index in order], crs=buildings.crs)
    return list(shapes.to_crs(CRS.from_user_input(like.rio.crs))), buildings.heights[order]
