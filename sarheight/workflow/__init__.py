"""Workflows: files in, results out, with one set of options for Python and the command line.

`config` has the options, `images` opens images of all kinds, `elevations` opens elevation models
and chooses the map grid, `reconstruction` does all that ``sarheight reconstruct`` does, `series`
all that ``sarheight series`` does::

    import sarheight

    result = sarheight.reconstruct("product.SAFE.zip", dem="glo30.tif", vertical="EGM2008")
"""

from __future__ import annotations

from sarheight.workflow.config import ImageConfig, ReconstructConfig
from sarheight.workflow.images import open_image
from sarheight.workflow.reconstruction import reconstruct

__all__ = ["ImageConfig", "ReconstructConfig", "open_image", "reconstruct"]
__dir__ = __all__.copy  # `dir` lists the public names
