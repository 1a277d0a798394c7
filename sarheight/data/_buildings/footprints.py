"""Buildings as polygons with heights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from sarheight._extras import require
from sarheight.data._buildings.cityjson import CITYJSON_HEIGHT, read_cityjson
from sarheight.data._stacks.values import check_heights
from sarheight.errors import StackError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Buildings", "read_buildings"]

HEIGHTS = ("height", "building_height", "measuredheight", "h_mean", "b3_h_dak_50p")
GROUND = "b3_h_maaiveld"
"""Of 3D BAG, whose heights of roofs are above NAP: the height of the ground at the building."""


@dataclass(frozen=True, eq=False)
class Buildings:
    """Outlines of buildings, and their heights.

    Attributes
    ----------
    outlines : sequence of shapely geometries
        Polygons or multipolygons.
    heights : array, shape (buildings,)
        Metres above the ground.
    crs : pyproj.CRS
        Of the outlines.
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
    """Read buildings with an attribute for the height.

    Parameters
    ----------
    source : path-like, or sequence of them
        GeoPackage, GeoParquet, GeoJSON, shapefile or FlatGeobuf; or CityJSON (``.city.json``,
        ``.city.jsonl`` or any JSON that says so, also with ``.gz``), such as 3D BAG's. Of several
        files, such as the tiles of a city, those without buildings count for nothing.
    height : str, optional
        Attribute with the height in metres. By default the first that is there of ``height``,
        ``building_height``, ``measuredHeight``, ``h_mean``, ``b3_h_dak_50p`` (3D BAG), in any case
        of letters.
    ground : str, optional
        Attribute with the height of the ground, where `height` is that of the roof above some
        datum; by default ``b3_h_maaiveld`` beside 3D BAG's heights of roofs.
    layer : str, optional
        Layer of a file that has several.
    crs : optional
        Reference system, for files that do not say theirs.

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
    require("geopandas", "pyarrow", extra="vector")
    if not isinstance(source, str | os.PathLike):
        parts = [_read(Path(each), height, ground, layer, crs) for each in source]
        return _joined([part for part in parts if part is not None])
    found = _read(Path(source), height, ground, layer, crs)
    if found is None:
        msg = f"found no polygon with a height in '{source}', expected one at least"
        raise StackError(msg)
    return found


def _read(
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
    table = None
    if path.name.lower().endswith((".json", ".jsonl", ".gz")):
        table = read_cityjson(path, crs)
    if table is None:
        table = _vector(path, layer, crs)
    if not len(table):
        return None
    roofs, name = _column(table, height, HEIGHTS, path)
    if ground is None and name.lower().startswith("b3_h_") and name.lower() != GROUND:
        ground = GROUND
    if ground is not None:
        roofs = roofs - _column(table, ground, (ground,), path)[0]
    shapes = table.geometry
    whole = np.isfinite(roofs) & ~np.asarray(shapes.isna() | shapes.is_empty)
    whole &= np.asarray(shapes.geom_type.isin(["Polygon", "MultiPolygon"]))
    if not whole.any():
        return None
    heights = np.asarray(roofs[whole], dtype=np.float64)
    if name == CITYJSON_HEIGHT or ground is not None:
        # Where the laser saw the ground and no roof, the difference may be a little below 0.
        heights = np.where((heights < 0.0) & (heights > -1.0), 0.0, heights)
    check_heights(heights, f"'{path.name}'")
    return Buildings(list(shapes[whole]), heights, CRS.from_user_input(table.crs))


def _joined(parts: Sequence[Buildings]) -> Buildings:
    """Put the buildings of several files together, in the reference system of the first."""
    import geopandas

    if not parts:
        msg = "found no building in any of the files, expected one at least"
        raise StackError(msg)
    crs = parts[0].crs
    outlines = [geopandas.GeoSeries(part.outlines, crs=part.crs).to_crs(crs) for part in parts]
    heights = np.concatenate([part.heights for part in parts])
    return Buildings([shape for series in outlines for shape in series], heights, crs)


def _vector(path: Path, layer: str | None, crs: Any) -> gpd.GeoDataFrame:  # noqa: ANN401
    """Read a vector file."""
    import geopandas
    from pyogrio.errors import DataSourceError  # type: ignore[import-untyped]

    try:
        if path.suffix.lower() in {".parquet", ".geoparquet"}:
            frame = geopandas.read_parquet(path)
        else:
            frame = geopandas.read_file(path, **({} if layer is None else {"layer": layer}))
    except (DataSourceError, ValueError, OSError) as error:
        msg = f"'{path}' cannot be read as vector file ({error})"
        raise StackError(msg) from error
    if frame.crs is None and crs is None:
        msg = f"'{path}' does not state a reference system: pass crs, such as 'EPSG:28992'"
        raise StackError(msg)
    return frame if frame.crs is not None else frame.set_crs(crs)


def _column(
    table: gpd.GeoDataFrame, wanted: str | None, usual: Sequence[str], path: Path
) -> tuple[NDArray[np.float64], str]:
    """Return an attribute as numbers, and its name."""
    lower = {str(name).lower(): str(name) for name in reversed(list(table.columns))}
    names = [wanted] if wanted is not None else list(usual)
    name = next((lower[each.lower()] for each in names if each.lower() in lower), None)
    if name is None:
        found = ", ".join(str(each) for each in table.columns if each != table.geometry.name)
        msg = f"found the attributes {found} in '{path}', expected {' or '.join(names)}"
        raise StackError(msg)
    try:
        return table[name].to_numpy(dtype=float, na_value=np.nan), name
    except (TypeError, ValueError) as error:
        msg = f"found words in the attribute {name!r} of '{path}' ({error}), expected metres"
        raise StackError(msg) from error
