"""Looking for Sentinel-1 products in catalogues."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from sarheight.errors import NotThereError
from sarheight.fetch._asf import search_asf
from sarheight.fetch._query import Query, boxes, moment
from sarheight.fetch._records import SceneRecord
from sarheight.fetch._settings import Settings, named
from sarheight.fetch._stac import search_stac
from sarheight.fetch._web import Web

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sarheight.fetch._query import Place, Time
    from sarheight.fetch._settings import Catalogue

__all__ = ["scene_named", "scenes"]

_SLACK = np.timedelta64(5, "s")
"""By how much catalogues may round the times of a product."""


def scenes(
    place: Place,
    start: Time,
    stop: Time,
    *,
    product: str = "GRD",
    mode: str = "IW",
    passing: str | None = None,
    relative_orbit: int | None = None,
    mission: str | None = None,
    catalogue: str = "copernicus",
    limit: int = 100,
    settings: Settings | None = None,
) -> tuple[SceneRecord, ...]:
    """Look for Sentinel-1 products by place and time.

    Parameters
    ----------
    place : sequence of float
        (west, south, east, north) or (longitude, latitude) in degrees. Across the antimeridian,
        either west > east or east > 180.
    start, stop : str, date, datetime or datetime64
        Time span (UTC). A day alone means all of it.
    product : str, optional
        "GRD" or "SLC".
    mode : str, optional
        "IW", "EW", ...
    passing : str, optional
        "ascending" or "descending".
    relative_orbit : int, optional
        Number of the track, 1 to 175.
    mission : str, optional
        "S1A", "S1B", ...
    catalogue : str, optional
        "copernicus", "asf", "planetary", "earthsearch", or one of your settings.
    limit : int, optional
        Most products to return.
    settings : Settings, optional
        Addresses and patience; by default as the user's file and the environment say.

    Returns
    -------
    tuple of SceneRecord
        By time. Products with names that no Sentinel-1 product has are left out.

    Raises
    ------
    ValueError
        If the question makes no sense, or the catalogue does not hold such products.
    FetchError
        If the catalogue cannot be asked.
    MissingLibraryError
        If a library of the extra is not installed.
    """
    settings = settings or Settings.load()
    source = named(settings.catalogues, catalogue, "catalogue")
    query = Query(
        boxes(place),
        moment(start),
        moment(stop, last=True),
        product.upper(),
        mode.upper(),
        None if passing is None else passing.lower(),
        relative_orbit,
        None if mission is None else mission.upper(),
        limit,
    )
    collection = _collection(source, catalogue, query.product)
    web = Web.trusting(settings, source.url)
    search = search_asf if source.kind == "asf" else search_stac
    return _sorted(search(web, catalogue, source, collection, query), limit)


def scene_named(
    name: str, *, catalogue: str = "copernicus", settings: Settings | None = None
) -> SceneRecord:
    """Look up one product by its name.

    Parameters
    ----------
    name : str
        Name of the product, with or without ``.SAFE``, ``_COG`` and the four digits at the end,
        which catalogues add or leave out.
    catalogue, settings
        As in `scenes`.

    Raises
    ------
    ValueError
        If it is not the name of a Sentinel-1 product.
    NotThereError
        If the catalogue does not have it.
    FetchError
        If the catalogue cannot be asked.
    """
    wanted = SceneRecord.from_name(name, "as given")
    found = scenes(
        (-180.0, -90.0, 180.0, 90.0),
        wanted.start - _SLACK,
        wanted.stop + _SLACK,
        product=wanted.product,
        mode=wanted.mode,
        mission=wanted.mission,
        catalogue=catalogue,
        settings=settings,
    )
    for record in found:
        if _core(record.name) == _core(wanted.name):
            return record
    msg = f"the catalogue {catalogue} does not have {wanted.name}: try another one"
    raise NotThereError(msg)


def _core(name: str) -> str:
    """Return the part of a product's name that all catalogues give."""
    return re.sub(r"(_[0-9A-F]{4})?(_COG)?$", "", name)


def _collection(source: Catalogue, catalogue: str, product: str) -> str:
    collection = source.grd if product == "GRD" else source.slc
    if collection is None:
        msg = f"the catalogue {catalogue} has no {product}: try copernicus or asf"
        raise ValueError(msg)
    return collection


def _sorted(records: Iterable[SceneRecord], limit: int) -> tuple[SceneRecord, ...]:
    """Sort by time, each product once."""
    once = {record.name: record for record in records}
    return tuple(sorted(once.values(), key=lambda each: (each.start, each.name))[:limit])
