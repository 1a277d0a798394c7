"""Unfold radar images of mountains.

Where a slope that faces the radar is steeper than the look angle, several places on the ground
have the same slant range, and share one pixel: layover. From a radar image and an elevation model,
`sarheight` reconstructs the backscatter of each place, with its uncertainty::

    import sarheight

    result = sarheight.reconstruct("product.SAFE.zip", dem="glo30.tif", vertical="EGM2008")
    sarheight.output.write(result, "unfolded")

Modules load when they are first used, so that ``import sarheight`` takes a few milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sarheight import (
        acquisition,
        archives,
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
        openeo,
        orbit,
        output,
        plot,
        product,
        scene,
        sentinel1,
        series,
        sicd,
        terrain,
        view,
        workflow,
        zones,
    )
    from sarheight.workflow import open_image, reconstruct

    __version__: str

__all__ = [
    "acquisition",
    "archives",
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
    "open_image",
    "openeo",
    "orbit",
    "output",
    "plot",
    "product",
    "reconstruct",
    "scene",
    "sentinel1",
    "series",
    "sicd",
    "terrain",
    "view",
    "workflow",
    "zones",
]


WORKFLOWS = ("open_image", "reconstruct")
"""Functions of `sarheight.workflow` at the top of the package."""


def __getattr__(name: str) -> Any:  # noqa: ANN401  # modules, functions, and the version
    """Load a module or function, or look up the version, at first use."""
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name in WORKFLOWS:
        return getattr(importlib.import_module(f"{__name__}.workflow"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """List the public modules and functions, and the version."""
    return sorted([*__all__, "__version__"])
