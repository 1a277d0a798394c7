"""Write results, and read them back.

The name of the output chooses its format:

====================  ====================================================
no suffix             folder of layers: one GeoTIFF per variable and polarisation, and a STAC item
``.tif``, ``.tiff``   Cloud Optimised GeoTIFF: one band per variable and polarisation
``.nc``               NetCDF-4 with CF conventions
``.zarr``             Zarr store (a folder), with overviews
``.png``              quick-look picture (cannot be read back)
====================  ====================================================

A STAC item can be written beside it, and every file can hold its provenance (`read_provenance`).

A result appears under its name complete, or not at all: it is written under a temporary name in
the same folder, flushed to the disk, checked, and then renamed.
"""

from __future__ import annotations

from sarheight._runtime import nodata_value
from sarheight.output._provenance import provenance
from sarheight.output.atomic import check_writable
from sarheight.output.ceos import ceos_nrb, with_heights
from sarheight.output.files import open_result, read_provenance, save_png, write
from sarheight.output.stac import stac_item

__all__ = [
    "ceos_nrb",
    "check_writable",
    "nodata_value",
    "open_result",
    "provenance",
    "read_provenance",
    "save_png",
    "stac_item",
    "with_heights",
    "write",
]
__dir__ = __all__.copy  # `dir` lists the public names
