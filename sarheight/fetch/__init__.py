"""Get what a reconstruction needs: Sentinel-1 products, orbits, elevation models, geoid grids.

Everything is looked up in catalogues and archives whose addresses are settings, brought once, kept
in a cache, and checked. Needs the extra: ``pip install 'sarheight[fetch]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sarheight.errors import MissingLibraryError

if TYPE_CHECKING:
    from sarheight.fetch._buildings import building_tiles
    from sarheight.fetch._catalogue import scene_named, scenes
    from sarheight.fetch._checksums import Checksum
    from sarheight.fetch._dem import DemTiles, dem
    from sarheight.fetch._download import download_file
    from sarheight.fetch._geoid import geoid
    from sarheight.fetch._items import ImageItem, image_items
    from sarheight.fetch._orbit import orbit
    from sarheight.fetch._product import download
    from sarheight.fetch._records import Asset, SceneRecord
    from sarheight.fetch._settings import Settings

__all__ = [
    "Asset",
    "Checksum",
    "DemTiles",
    "ImageItem",
    "SceneRecord",
    "Settings",
    "building_tiles",
    "dem",
    "download",
    "download_file",
    "geoid",
    "image_items",
    "orbit",
    "scene_named",
    "scenes",
]

_HOMES = {
    "Asset": "_records",
    "Checksum": "_checksums",
    "DemTiles": "_dem",
    "ImageItem": "_items",
    "SceneRecord": "_records",
    "Settings": "_settings",
    "building_tiles": "_buildings",
    "dem": "_dem",
    "download": "_product",
    "download_file": "_download",
    "geoid": "_geoid",
    "image_items": "_items",
    "orbit": "_orbit",
    "scene_named": "_catalogue",
    "scenes": "_catalogue",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  # functions and classes
    """Load a function or class, with its libraries, at first use."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sarheight"):
            raise
        msg = (
            f"fetching needs the library {error.name}, install it by: "
            "pip install 'sarheight[fetch]'"
        )
        raise MissingLibraryError(msg) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    """List what the module offers."""
    return sorted(__all__)
