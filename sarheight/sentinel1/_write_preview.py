"""A look at a simulated product: a small picture, and where on a map it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sarheight.sentinel1._write_acquisition import Part, footprint
from sarheight.sentinel1._write_manifest import REMARK
from sarheight.sentinel1._write_xml import document, node

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

    from sarheight.sentinel1._write_acquisition import Written

__all__ = ["write_preview"]

LARGEST_SIDE = 512
BRIGHTEST = 0.98
"""Part of the pixels of the picture that are not white."""


def write_preview(
    folder: Path, power: xr.DataArray, images: Sequence[Written]
) -> tuple[Part, Part]:
    """Write the preview of a product.

    Parameters
    ----------
    folder : Path
        Of the product.
    power : xarray.DataArray, dims (line, sample)
        What the picture shows, from the first line at the top and near range at the left.
    images : sequence of Written
        The product's images.

    Returns
    -------
    overlay, picture : Part
    """
    from matplotlib.image import imsave

    (folder / "preview").mkdir()
    steps = {dim: -(-size // LARGEST_SIDE) for dim, size in power.sizes.items()}
    coarse = power.coarsen(steps, boundary="trim").mean().values
    amplitude = np.sqrt(np.fmax(np.nan_to_num(coarse, nan=0.0), 0.0))
    imsave(
        folder / "preview" / "quick-look.png",
        amplitude,
        cmap="gray",
        vmin=0.0,
        vmax=max(float(np.quantile(amplitude, BRIGHTEST)), 1e-12),
        metadata={"Description": REMARK},
    )
    (folder / "preview" / "map-overlay.kml").write_bytes(_overlay(images))
    return (
        Part.of("s1Level1MapOverlaySchema", folder, "preview/map-overlay.kml", "mapoverlay"),
        Part.of("s1Level1QuickLookSchema", folder, "preview/quick-look.png", "quicklook"),
    )


def _overlay(images: Sequence[Written]) -> bytes:
    """Lay the picture on the map by its four corners."""
    corners = " ".join(
        f"{longitude:.6f},{latitude:.6f}" for latitude, longitude in footprint(images)
    )
    overlay = node(
        "GroundOverlay",
        [
            node("name", f"Sentinel-1, {REMARK}"),
            node("Icon", [node("href", "quick-look.png")]),
            node("gx:LatLonQuad", [node("coordinates", corners)]),
        ],
    )
    root = node(
        "kml",
        [node("Document", [overlay])],
        {
            "xmlns": "http://www.opengis.net/kml/2.2",
            "xmlns:gx": "http://www.google.com/kml/ext/2.2",
        },
    )
    return document(root, REMARK)
