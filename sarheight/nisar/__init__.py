"""NISAR products: range-Doppler single-look complex images (RSLC).

`open_product` opens an RSLC as it comes from the archive; `sarheight.product.open_product` does so
for products of any mission.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
