"""Sentinel-1 products.

`open_product` opens a GRD or SLC as it comes from the archive; `sarheight.product.open_product`
does so for products of any mission. `read_grid`, `read_orbit` and `read_orbit_file` read the
geometry alone, from an annotation or an orbit file.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
