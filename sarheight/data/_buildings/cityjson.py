"""CityJSON: buildings with their outlines and attributes, such as those of 3D BAG."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import CRS

from sarheight.errors import StackError

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray

__all__ = ["CITYJSON_HEIGHT", "read_cityjson"]

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

    Parameters
    ----------
    path : pathlib.Path
        CityJSON 1.0 to 2.0, or CityJSONSeq: one JSON object a line, the first of which holds
        transform and reference system.
    crs : optional
        Reference system, where the file does not say it.

    Returns
    -------
    geopandas.GeoDataFrame or None
        A row for each building with an outline, with its attributes (those of its parent where it
        is a part of one). The outline is made of its ground surfaces; or of the surfaces of its
        simplest geometry, where none is called ground. None if the file is JSON of another kind.

    Raises
    ------
    StackError
        If it is damaged, or nothing says its reference system.

    References
    ----------
    CityJSON specifications 2.0.1: transform (vertex = scale * integer + translate), boundaries,
    semantics, metadata.referenceSystem; CityJSONSeq.
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
