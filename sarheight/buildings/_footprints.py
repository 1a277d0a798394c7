"""Buildings as polygons and as rasters of height and built share."""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from sarheight._runtime import require
from sarheight.buildings._images import on_grid
from sarheight.buildings.stack import check_heights
from sarheight.errors import StackError
from sarheight.output.grid import grid_transform

if TYPE_CHECKING:
    import geopandas as gpd

CITYJSON_HEIGHT = "measuredHeight"
BUILDINGS = ("Building", "BuildingPart")
GROUND = "GroundSurface"

Vertices = "NDArray[np.float64]"
Json = Mapping[str, Any]


def read_cityjson(
    path: Path,
    crs: Any,  # noqa: ANN401  # whatever pyproj takes
) -> gpd.GeoDataFrame | None:
    """Read the buildings of a CityJSON file, or of a sequence of CityJSON features.

    Source: CityJSON specifications 2.0.1: transform (vertex = scale * integer + translate),
    boundaries, semantics, metadata.referenceSystem; CityJSONSeq.
    """
    documents = _documents(path)
    if not documents or documents[0].get("type") != "CityJSON":
        return None
    import geopandas

    head = documents[0]
    system = _system(head, crs, path)
    rows: list[dict[str, Any]] = []
    try:
        for document in documents:
            rows += _buildings(document, head)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        msg = f"'{path}' is damaged CityJSON ({type(error).__name__}: {error})"
        raise StackError(msg) from error
    return geopandas.GeoDataFrame(rows or {"geometry": []}, geometry="geometry", crs=system)


def _documents(path: Path) -> list[Json]:
    """Return the objects of a file: one, or one a line."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix.lower() == ".gz" else data).decode("utf-8")
        lines = text.splitlines() if ".jsonl" in path.name.lower() else [text]
        found = [json.loads(line) for line in lines if line.strip()]
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        msg = f"'{path}' is no JSON, or it was cut short ({error})"
        raise StackError(msg) from error
    if len(found) == 1 and isinstance(found[0], Mapping) and "CityObjects" not in found[0]:
        # As 3D BAG's service answers: the head is called metadata, and features stand beside it.
        answer = found[0]
        features = answer.get("features") or [answer.get("feature")]
        found = [answer.get("metadata"), *features]
    return [each for each in found if isinstance(each, Mapping)]


def _system(head: Json, crs: Any, path: Path) -> CRS:  # noqa: ANN401
    """Return the horizontal reference system."""
    stated = str(head.get("metadata", {}).get("referenceSystem", ""))
    code = re.search(r"(\d{4,6})/?$", stated)
    if code is not None:
        found = CRS.from_epsg(int(code[1]))
        # 3D BAG states RD New with NAP heights: outlines need the horizontal part.
        return found.sub_crs_list[0] if found.is_compound else found
    if crs is None:
        msg = f"'{path}' does not state a reference system: pass crs, such as 'EPSG:28992'"
        raise StackError(msg)
    return CRS.from_user_input(crs)


def _buildings(document: Json, head: Json) -> Iterator[dict[str, Any]]:
    """Yield the buildings of a document with outlines and attributes."""
    vertices = np.asarray(document.get("vertices", []), dtype=np.float64).reshape(-1, 3)
    transform = document.get("transform") or head.get("transform")
    if transform is not None:
        vertices = vertices * transform["scale"] + transform["translate"]
    objects = document.get("CityObjects", {})
    for name, thing in objects.items():
        if thing.get("type") not in BUILDINGS or _drawn_elsewhere(thing, objects):
            continue
        outline = _outline(thing.get("geometry", []), vertices)
        if outline is None:
            continue
        attributes: dict[str, Any] = {}
        for parent in thing.get("parents", []):
            attributes |= objects.get(parent, {}).get("attributes", {})
        attributes |= thing.get("attributes", {})
        plain = {
            key: value
            for key, value in attributes.items()
            if isinstance(value, int | float | str) and key != "geometry"
        }
        yield {"identifier": name, **plain, "geometry": outline}


def _drawn_elsewhere(thing: Json, objects: Json) -> bool:
    """Tell whether the same building is drawn by its parts, or a part of it by the whole."""
    children = [objects.get(name, {}) for name in thing.get("children", [])]
    if any(child.get("geometry") and child.get("attributes") for child in children):
        return True
    parents = [objects.get(name, {}) for name in thing.get("parents", [])]
    return not thing.get("attributes") and any(parent.get("geometry") for parent in parents)


def _outline(geometries: list[Json], vertices: NDArray[np.float64]) -> Any:  # noqa: ANN401
    """Return the union of a building's ground surfaces as shapely geometry, None for none."""
    import shapely  # type: ignore[import-untyped]

    for geometry in sorted(geometries, key=lambda each: str(each.get("lod", ""))):
        surfaces = list(_surfaces(geometry))
        ground = [rings for kind, rings in surfaces if kind == GROUND]
        shapes = []
        for rings in ground or [rings for _, rings in surfaces]:
            places = [vertices[np.asarray(ring, dtype=int), :2] for ring in rings if len(ring) > 2]
            if places:
                shapes.append(shapely.make_valid(shapely.Polygon(places[0], places[1:])))
        # Walls seen from above have no area.
        polygons = [part for shape in shapes for part in _polygons(shape)]
        if polygons:
            return shapely.union_all(polygons)
    return None


def _polygons(shape: Any) -> list[Any]:  # noqa: ANN401  # shapely
    parts = getattr(shape, "geoms", [shape])
    return [part for part in parts if part.geom_type == "Polygon" and part.area > 0.0]


def _surfaces(geometry: Json) -> Iterator[tuple[str, list[list[int]]]]:
    """Yield what each surface of a geometry is called, and its rings of numbers of vertices."""
    kind, boundaries = geometry["type"], geometry["boundaries"]
    semantics = geometry.get("semantics") or {}
    labels, values = semantics.get("surfaces", []), semantics.get("values")
    if kind in {"MultiSurface", "CompositeSurface"}:
        yield from _labelled(boundaries, values, labels)
    elif kind == "Solid":
        for number, shell in enumerate(boundaries):
            yield from _labelled(shell, values[number] if values else None, labels)
    elif kind in {"MultiSolid", "CompositeSolid"}:
        for number, solid in enumerate(boundaries):
            for inner, shell in enumerate(solid):
                yield from _labelled(shell, values[number][inner] if values else None, labels)


def _labelled(
    surfaces: list[list[list[int]]], values: list[int | None] | None, labels: list[Json]
) -> Iterator[tuple[str, list[list[int]]]]:
    for number, rings in enumerate(surfaces):
        label = values[number] if values else None
        yield ("" if label is None else str(labels[label].get("type", ""))), rings


# Buildings as polygons with heights.

HEIGHTS = ("height", "building_height", "measuredheight", "h_mean", "b3_h_dak_50p")
GROUND_FOOTPRINTS = "b3_h_maaiveld"
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
    if ground is None and name.lower().startswith("b3_h_") and name.lower() != GROUND_FOOTPRINTS:
        ground = GROUND_FOOTPRINTS
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


# Buildings as rasters of height and built share.

STRIP_CELLS = 4_000_000
"""Fine cells that are worked on at a time."""


def rasterise_buildings(
    buildings: Buildings, like: xr.DataArray | xr.Dataset, *, subdivision: int = 10
) -> xr.Dataset:
    r"""Put buildings on a grid: their mean height by area, and the built share of each cell.

    Each cell is divided into `subdivision` × `subdivision` finer ones, each of which belongs to
    the building in which its centre lies (the higher one where two overlap). With
    :math:`n = s^2` fine cells, of which those in the set :math:`B` are built, the share is
    :math:`|B| / n` and the height :math:`\sum_{i \in B} h_i / |B|`. The standard error of the
    share is about :math:`0.5 / s^{1.5}` for a straight edge that crosses the cell: 1.6 % for ten.

    Parameters
    ----------
    buildings : Buildings
        In any reference system.
    like : xarray.DataArray or xarray.Dataset
        On the wanted grid.
    subdivision : int
        Fine cells along a cell, each way.

    Returns
    -------
    xarray.Dataset
        Dims (y, x), float32: ``height`` in metres, the mean over the built part, 0 where nothing
        is built; ``footprint``, the built share. The attribute ``buildings`` says how many reach
        into the grid: a city without any has zeros.

    Raises
    ------
    StackError
        If the grid is not regular or has no reference system, or `subdivision` is not 1 to 100.
    """
    if not 1 <= subdivision <= 100:
        msg = f"found subdivision={subdivision}, expected 1 to 100"
        raise StackError(msg)
    if like.rio.crs is None:
        msg = "the grid does not say its reference system: set one with .rio.write_crs(...)"
        raise StackError(msg)
    from rasterio.features import rasterize

    transform = grid_transform(like)
    rows, columns = like.sizes["y"], like.sizes["x"]
    outlines, heights = _on_map(buildings, like)
    bounds = np.array([outline.bounds for outline in outlines]).reshape(-1, 4)
    fine_x, fine_y = transform.a / subdivision, transform.e / subdivision
    built = np.zeros((rows, columns), dtype=np.float32)
    total = np.zeros((rows, columns), dtype=np.float32)
    reaching = np.zeros(len(outlines), dtype=bool)
    strip = max(STRIP_CELLS // (columns * subdivision**2), 1)
    across = sorted((transform.c, transform.c + columns * transform.a))
    for row in range(0, rows, strip):
        count = min(strip, rows - row)
        top = transform.f + row * transform.e
        down = sorted((top, top + count * transform.e))
        inside = (bounds[:, 0] < across[1]) & (bounds[:, 2] > across[0])
        inside &= (bounds[:, 1] < down[1]) & (bounds[:, 3] > down[0])
        chosen = np.flatnonzero(inside)
        if not chosen.size:
            continue
        reaching[chosen] = True
        shape = count * subdivision, columns * subdivision
        # What is burnt last stays: the heights rise. Cells that are not built stay below zero.
        burnt = rasterize(
            ((outlines[index], heights[index]) for index in chosen),
            out_shape=shape,
            fill=-1.0,
            transform=Affine(fine_x, 0.0, transform.c, 0.0, fine_y, top),
            dtype=np.float32,
        )
        blocks = burnt.reshape(count, subdivision, columns, subdivision)
        built[row : row + count] = (blocks >= 0.0).sum(axis=(1, 3))
        total[row : row + count] = np.where(blocks >= 0.0, blocks, 0.0).sum(axis=(1, 3))
    share = built / np.float32(subdivision**2)
    height = np.where(built > 0.0, total / np.maximum(built, 1.0), 0.0).astype(np.float32)
    return _reference(height, share, like, {"buildings": int(reaching.sum())})


def heights_of_raster(
    raster: xr.DataArray, like: xr.DataArray | xr.Dataset | None = None
) -> xr.Dataset:
    """Turn a raster of building heights into height and built share on a grid.

    Parameters
    ----------
    raster : xarray.DataArray
        Dims (y, x): metres above the ground, 0 where there is no building, NaN where unknown. The
        finer it is than the grid, the better the share is known.
    like : xarray.DataArray or xarray.Dataset, optional
        On the wanted grid; by default that of the raster.

    Returns
    -------
    xarray.Dataset
        As `rasterise_buildings` returns it.

    Raises
    ------
    StackError
        If heights are negative, in centimetres, or above sea level; or the grids do not meet.
    """
    check_heights(np.asarray(raster.values), "the raster")
    known = raster.notnull()
    share = (raster > 0.0).astype(np.float32).where(known)
    volume = raster.astype(np.float32)
    target = raster if like is None else like
    share, volume = on_grid(share, target), on_grid(volume, target)
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
    """Put height and share together."""
    dims = ("y", "x")
    described = {"long_name": "mean height of buildings above the ground", "units": "m"}
    dataset = xr.Dataset(
        {
            "height": (dims, height, described),
            "footprint": (dims, share, {"long_name": "built share of the cell", "units": "1"}),
        },
        coords={name: like[name].values for name in dims},
        attrs=attributes,
    )
    placed: xr.Dataset = dataset.rio.write_crs(like.rio.crs)
    return placed


def _on_map(
    buildings: Buildings, like: xr.DataArray | xr.Dataset
) -> tuple[list[Any], NDArray[np.float64]]:
    """Bring outlines to the reference system of a grid, in the order of their heights."""
    import geopandas

    order = np.argsort(buildings.heights, kind="stable")
    shapes = geopandas.GeoSeries([buildings.outlines[index] for index in order], crs=buildings.crs)
    return list(shapes.to_crs(CRS.from_user_input(like.rio.crs))), buildings.heights[order]
