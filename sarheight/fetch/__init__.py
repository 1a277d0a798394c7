"""Download Sentinel-1 products, orbits, DEMs and geoid grids.

The addresses of all catalogues and archives are settings. Downloads are checked, resumed after
interruptions, and kept in a cache. Needs the extra: ``pip install 'sarheight[fetch]'``.
"""

from __future__ import annotations

from sarheight._runtime import lazy_namespace, require

require("filelock", "requests", "urllib3", extra="fetch")
__getattr__, __dir__, __all__ = lazy_namespace(__name__, __file__)
