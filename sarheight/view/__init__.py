"""A page to look at a result: two layers under one swipe, and the places that share pixels.

The page is made of HTML, CSS and JavaScript without any library. `serve` lets a browser on the same
machine read a result of any size tile by tile.
"""

from __future__ import annotations

from sarheight.view._page import serve
from sarheight.view._places import Dem

__all__ = ["Dem", "serve"]
__dir__ = __all__.copy  # `dir` lists the public names
