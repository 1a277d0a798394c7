"""Sentinel-1 products.

`open_product` opens a GRD or SLC as it comes from the archive; `sarheight.product.open_product`
does so for products of any mission. The geometry alone is made of an annotation by
`sarheight.orbit.Orbit.from_annotation` and `sarheight.scene.RadarGrid.from_annotation`.
`write_product` writes simulated images as a product that other programs open as well.
"""

from __future__ import annotations

from sarheight._annotation import Annotation
from sarheight._annotation_xml import read_annotation
from sarheight.sentinel1._geolocation import geolocation_grid
from sarheight.sentinel1._product import Sentinel1Product, open_product, recognises
from sarheight.sentinel1._write import WrittenProduct, write_product
from sarheight.sentinel1._write_noise import ThermalNoise, with_noise

__all__ = [
    "Annotation",
    "Sentinel1Product",
    "ThermalNoise",
    "WrittenProduct",
    "geolocation_grid",
    "open_product",
    "read_annotation",
    "recognises",
    "with_noise",
    "write_product",
]
