"""Sentinel-1 products.

`open_product` opens a GRD or SLC as it comes from the archive; `sarheight.product.open_product`
does so for products of any mission. The geometry alone is made of an annotation by
`sarheight.orbit.Orbit.from_annotation` and `sarheight.scene.RadarGrid.from_annotation`.
"""

from __future__ import annotations

from sarheight._annotation import Annotation, read_annotation
from sarheight.sentinel1._product import (
    Sentinel1Product,
    geolocation_grid,
    open_product,
    recognises,
)

__all__ = [
    "Annotation",
    "Sentinel1Product",
    "geolocation_grid",
    "open_product",
    "read_annotation",
    "recognises",
]
