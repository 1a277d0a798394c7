"""Sentinel-1 products.

`open_product` opens a GRD or SLC as it comes from the archive; `sarheight.product.open_product`
does so for products of any mission. `read_grid`, `read_orbit` and `read_orbit_file` read the
geometry alone, from an annotation or an orbit file.
"""

from __future__ import annotations

from sarheight.sentinel1._product import Sentinel1Product, open_product, recognises
from sarheight.sentinel1.annotation import Annotation, geolocation_grid, read_annotation
from sarheight.sentinel1.grid import read_grid
from sarheight.sentinel1.orbit import read_orbit, read_orbit_file

__all__ = [
    "Annotation",
    "Sentinel1Product",
    "geolocation_grid",
    "open_product",
    "read_annotation",
    "read_grid",
    "read_orbit",
    "read_orbit_file",
    "recognises",
]
