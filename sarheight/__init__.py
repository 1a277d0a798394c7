"""Unfold radar images of mountains.

Where a slope that faces the radar is steeper than the look angle, several places on the ground
have the same slant range, and share one pixel: layover. From a radar image and an elevation model,
`sarheight` reconstructs the backscatter of each place, with its uncertainty.

Modules load when they are first used, so that ``import sarheight`` takes a few milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from sarheight import (
        acquisition,
        archives,
        batch,
        buildings,
        coregistration,
        dem,
        doppler,
        ellipsoid,
        errors,
        fetch,
        geometry,
        grid,
        ground_range,
        illumination,
        layover,
        learning,
        nisar,
        orbit,
        output,
        plot,
        product,
        scene,
        sentinel1,
        series,
        settings,
        terrain,
        view,
        zones,
    )

    __version__: str

__all__ = [
    "acquisition",
    "archives",
    "batch",
    "buildings",
    "coregistration",
    "dem",
    "doppler",
    "ellipsoid",
    "errors",
    "fetch",
    "geometry",
    "grid",
    "ground_range",
    "illumination",
    "layover",
    "learning",
    "nisar",
    "orbit",
    "output",
    "plot",
    "product",
    "scene",
    "sentinel1",
    "series",
    "settings",
    "terrain",
    "view",
    "zones",
]


def __getattr__(name: str) -> ModuleType | str:
    """Load a module, or look up the version, at first use."""
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """List the public modules, and the version."""
    return sorted([*__all__, "__version__"])
