"""What a product is, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sarheight.sentinel1._contents import Contents

__all__ = ["product_facts"]


def product_facts(name: str, contents: Contents) -> list[tuple[str, str]]:
    """Tell what a product is, as pairs of a word and a text."""
    manifest = contents.manifest
    longitude, latitude = manifest.footprint.T
    kind = f"{manifest.mission} {manifest.mode} {manifest.product_type}"
    version = manifest.processor_version
    pixels = [
        f"{swath} {annotation.lines} lines x {annotation.samples} samples"
        + (f" in {len(annotation.bursts)} bursts" if annotation.bursts else "")
        for swath in contents.swaths
        for annotation in [contents.annotation(swath, contents.polarisations[0])]
    ]
    return [
        ("what", f"{'simulated ' if manifest.simulated else ''}Sentinel-1 product: {kind}, {name}"),
        ("polarisations", ", ".join(contents.polarisations)),
        ("images", "; ".join(pixels)),
        ("pass", manifest.passing),
        (
            "place",
            (
                f"longitude {longitude.min():.3f} to {longitude.max():.3f}, "
                f"latitude {latitude.min():.3f} to {latitude.max():.3f}"
            ),
        ),
        (
            "time",
            (
                f"{manifest.start.astype('datetime64[us]')} to "
                f"{manifest.stop.astype('datetime64[us]')} UTC"
            ),
        ),
        (
            "orbit number",
            f"{manifest.orbit_number}, {manifest.relative_orbit} of the repeat cycle",
        ),
        ("processor", "unknown" if np.isnan(version) else f"IPF {version:.2f}"),
    ]
