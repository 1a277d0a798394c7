"""Items of a STAC catalogue, as ``load_collection`` selects them, and what openEO calls errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from sarheight.errors import SarheightError
from sarheight.workflow.elevations import DEM_MARGIN

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

    from sarheight.geometry.placement import Bounds

PROCESS, LOADING = "sar_backscatter", "load_collection"
POLARISATIONS = ("VV", "VH", "HH", "HV")
DEGREES = "EPSG:4326"


class OpenEoError(SarheightError, ValueError):
    """An error as the openEO API and its processes name it.

    Parameters
    ----------
    code : str
        Code of the error, such as ``DigitalElevationModelInvalid``.
    message : str
        Message for the user of the process.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def refuse(parameter: str, reason: object, process: str = PROCESS) -> NoReturn:
    """Refuse a value that a parameter cannot have."""
    code = "ProcessParameterInvalid"
    message = f"The value passed for parameter '{parameter}' in process '{process}' is invalid: "
    raise OpenEoError(code, f"{message}{reason}")


def refuse_dem(reason: object) -> NoReturn:
    """Refuse an elevation model that cannot be used."""
    code = "DigitalElevationModelInvalid"
    message = (
        "The digital elevation model specified is either not a DEM or can't be used with the data "
        f"cube given: {reason}"
    )
    raise OpenEoError(code, message)


def refuse_extent() -> NoReturn:
    """Refuse an extent in which there are no images."""
    code = "NoDataAvailable"
    raise OpenEoError(code, "There is no data available for the given extents.")


# The data: items of a catalogue.

PRODUCT = re.compile(
    r"(.*?\.(SAFE\.zip|SAFE|zarr\.zip|zarr|zip|h5|nitf|ntf))(?=/|$)", re.IGNORECASE
)
"""The part of an address that names a product: the folder of a measurement, or a file."""


@dataclass(frozen=True, eq=False)
class SarItems:
    """SAR images as a catalogue lists them: the data cube of `sar_backscatter` before it is read.

    Attributes
    ----------
    items : tuple of pystac.Item
        Items of products that `sarheight.product.open_product` opens, one for each image.
    bounds : tuple of float, optional
        West, south, east and north of the cube in degrees; by default that of all items.
    bands : tuple of str
        Polarisations; by default all that the images have.
    grid : odc.geo.geobox.GeoBox, optional
        Grid of the cube, north up with square cells; by default as `sarheight.reconstruct` chooses
        it.
    """

    items: tuple[pystac.Item, ...]
    bounds: Bounds | None = None
    bands: tuple[str, ...] = ()
    grid: GeoBox | None = None

    @classmethod
    def select(
        cls,
        items: Iterable[pystac.Item | Mapping[str, Any]],
        spatial_extent: Any = None,  # noqa: ANN401  # an object of the caller's
        temporal_extent: Iterable[Any] | None = None,
        bands: Iterable[str] | None = None,
        *,
        grid: GeoBox | None = None,
    ) -> Self:
        """Select items as the openEO process ``load_collection`` does.

        Parameters
        ----------
        items : iterable of pystac.Item or mapping
            Items, such as a search found.
        spatial_extent : mapping, GeoJSON or object, optional
            ``west``, ``south``, ``east``, ``north`` and ``crs`` (degrees by default), as keys or
            attributes; or GeoJSON, whose extent is taken.
        temporal_extent : sequence, optional
            Two times, of which the second is not included; either may be None.
        bands : iterable of str, optional
            Polarisations.
        grid : odc.geo.geobox.GeoBox, optional
            Grid of the cube.

        Returns
        -------
        SarItems
            The items whose images lie in the extent.

        Raises
        ------
        OpenEoError
            ``NoDataAvailable`` if there are none, ``TemporalExtentEmpty`` if the extent ends before
            it begins, ``ProcessParameterInvalid`` for an argument that is none.
        """
        found = stac_items(items, "id", LOADING)
        bounds = None if spatial_extent is None else _bounds(spatial_extent)
        begin, end = _times(temporal_extent)
        chosen = tuple(
            item
            for item in found
            if (begin is None or time_of(item) >= begin)
            and (end is None or time_of(item) < end)
            and (bounds is None or _meets(item, bounds))
        )
        if not chosen:
            refuse_extent()
        if isinstance(bands, str) or not isinstance(bands, Iterable | None):
            refuse("bands", f"found {bands!r}, expected a list of polarisations", LOADING)
        names = tuple(str(name).upper() for name in bands or ())
        if unknown := set(names) - set(POLARISATIONS):
            expected = f"expected some of {', '.join(POLARISATIONS)}"
            refuse("bands", f"found {', '.join(sorted(unknown))}, {expected}", LOADING)
        return cls(chosen, bounds, names, grid)

    @property
    def extent(self) -> Bounds:
        """West, south, east and north in degrees: the bounds, or those of all items."""
        from sarheight.geometry.placement import bounds_of_corners

        if self.bounds is not None:
            return self.bounds
        corners = []
        for item in self.items:
            box = _numbers_of(item.bbox)
            if len(box) not in {4, 6}:
                found = f"found {item.bbox!r} for the bbox of the item '{item.id}'"
                refuse("data", f"{found}, expected four numbers, or six with heights")
            # A box may have heights: the third and the sixth number.
            half = len(box) // 2
            corners += [(x, y) for x in box[::half] for y in box[1::half]]
        return bounds_of_corners(np.array(corners), DEM_MARGIN)


def stac_items(
    given: Any,  # noqa: ANN401  # checked here
    parameter: str = "data",
    process: str = PROCESS,
) -> tuple[pystac.Item, ...]:
    """Return STAC items of what was given as such."""
    import pystac

    several = [given] if isinstance(given, pystac.Item | Mapping) else given
    if isinstance(several, str) or not isinstance(several, Iterable):
        reason = f"found {type(given).__name__}, expected STAC items"
        refuse(parameter, reason, process)
    try:
        items = tuple(
            each if isinstance(each, pystac.Item) else pystac.Item.from_dict(dict(each))
            for each in several
        )
    except (*(pystac.STACError, pystac.STACTypeError), KeyError, TypeError, ValueError) as error:
        refuse(parameter, f"found no STAC items ({error})", process)
    return items


def _numbers_of(values: Any) -> list[float]:  # noqa: ANN401  # of a catalogue
    """Return finite numbers as they are listed; none where others are among them."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return []
    return numbers if np.isfinite(numbers).all() else []


def _bounds(extent: Any) -> Bounds:  # noqa: ANN401  # checked here
    """Return the bounds of a spatial extent in degrees."""
    from rasterio.errors import CRSError
    from rasterio.warp import transform_bounds
    from shapely.errors import ShapelyError  # type: ignore[import-untyped]
    from shapely.geometry import shape  # type: ignore[import-untyped]

    from sarheight.geometry.placement import require_bounds

    names = ("west", "south", "east", "north")
    try:
        if isinstance(extent, Mapping) and "type" in extent:
            parts = extent.get("features", [extent])
            shapes = [shape(each.get("geometry", each)) for each in parts]
            boxes = np.array([each.bounds for each in shapes], float).reshape(-1, 4)
            edges = [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
            crs = None
        else:
            one = extent if isinstance(extent, Mapping) else vars(extent)
            edges, crs = [float(one[name]) for name in names], one.get("crs")
        west, south, east, north = edges
        if crs is not None:
            west, south, east, north = transform_bounds(crs, DEGREES, west, south, east, north)
        require_bounds((west, south, east, north))
    except (AttributeError, KeyError, TypeError, ValueError, CRSError, ShapelyError) as error:
        reason = (
            f"{error}; expected west, south, east and north, and a crs where they aren't degrees"
        )
        refuse("spatial_extent", reason, LOADING)
    return west, south, east, north


def _times(extent: Iterable[Any] | None) -> tuple[datetime | None, datetime | None]:
    """Return the begin and the end of a temporal extent."""
    try:
        begin, end = (None, None) if extent is None else map(_moment, extent)
    except (TypeError, ValueError) as error:
        refuse("temporal_extent", error, LOADING)
    if begin is not None and end is not None and end <= begin:
        code = "TemporalExtentEmpty"
        message = (
            "The temporal extent is empty. The second instant in time must always be greater/later "
            "than the first instant in time."
        )
        raise OpenEoError(code, message)
    return begin, end


def _moment(value: Any) -> datetime | None:  # noqa: ANN401  # checked here
    """Return a time in UTC; objects of the parser of process graphs hold it in ``root``."""
    value = getattr(value, "root", value)
    if value is None:
        return None
    time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def time_of(item: pystac.Item) -> datetime:
    """Return the time of an item."""
    time = item.datetime or item.common_metadata.start_datetime
    if time is None:
        refuse("data", f"the item '{item.id}' has no time")
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _meets(item: pystac.Item, bounds: Bounds) -> bool:
    """Tell whether the outline of an item and an extent, which may span the date line, meet."""
    from shapely.errors import ShapelyError
    from shapely.geometry import box, shape

    west, south, east, north = bounds
    spans = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    try:
        outline = box(-180.0, -90.0, 180.0, 90.0) if item.geometry is None else shape(item.geometry)
    except (AttributeError, KeyError, TypeError, ValueError, ShapelyError) as error:
        refuse("id", f"the item '{item.id}' has no geometry of GeoJSON ({error})", LOADING)
    return any(outline.intersects(box(left, south, right, north)) for left, right in spans)


def product_of(item: pystac.Item) -> str:
    """Return the path or URL of the product that the assets of an item belong to."""
    found: dict[str, None] = {}
    for asset in item.assets.values():
        href = str(asset.get_absolute_href() or asset.href).removeprefix("file://")
        match = PRODUCT.match(href)
        if match is not None:
            found[match[1]] = None
    if not found:
        kinds = "a SAFE folder or something in it, a zip of one, an EOPF store, an RSLC or a SICD"
        refuse("data", f"found no product among the assets of '{item.id}', expected {kinds}")
    # Of a folder and its zip, the folder is read without unpacking.
    return min(found, key=lambda each: (each.lower().endswith(".zip"), list(found).index(each)))
