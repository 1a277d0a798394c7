"""Download Sentinel-1 products, orbits, DEMs and geoid grids.

The addresses of all catalogues and archives are settings. Downloads are checked, resumed after
interruptions, and kept in a cache. Needs the extra: ``pip install 'sarheight[fetch]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sarheight.errors import MissingLibraryError

if TYPE_CHECKING:
    from sarheight.fetch.catalogues import Asset, SceneRecord, scene_named, scenes
    from sarheight.fetch.elevation import DemTiles, dem, geoid
    from sarheight.fetch.items import ImageItem, image_items
    from sarheight.fetch.orbits import orbit
    from sarheight.fetch.products import building_tiles, download
    from sarheight.fetch.settings import Limits, Network, Settings
    from sarheight.fetch.transfer import Checksum, download_file

_HOMES = {
    "catalogues": "Asset SceneRecord scene_named scenes",
    "elevation": "DemTiles dem geoid",
    "items": "ImageItem image_items",
    "orbits": "orbit",
    "products": "building_tiles download",
    "settings": "Limits Network Settings",
    "transfer": "Checksum download_file",
}

__all__ = [
    "Asset",
    "Checksum",
    "DemTiles",
    "ImageItem",
    "Limits",
    "Network",
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


def __getattr__(name: str) -> Any:  # noqa: ANN401  # functions and classes
    """Load a function or class, with its libraries, at first use."""
    home = next((home for home, names in _HOMES.items() if name in names.split()), None)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sarheight"):
            raise
        msg = (
            f"downloads need the library {error.name}, install it by: "
            "pip install 'sarheight[fetch]'"
        )
        raise MissingLibraryError(msg) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    """List what the module offers."""
    return sorted(__all__)
