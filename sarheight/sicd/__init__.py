"""SICD products: complex images in a sensor-independent form, as of Umbra, Capella and ICEYE.

`open_product` opens a file as the provider delivers it; `sarheight.product.open_product` does so
for products of any mission. The extra ``sicd`` installs the library that reads them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
