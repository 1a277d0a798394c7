"""The openEO process ``sar_backscatter``: SAR products of a STAC catalogue to a data cube.

A back-end registers `sar_backscatter` as the implementation of the process, and lets its
``load_collection`` return `SarItems`, which know place, time and polarisations, and read nothing::

    from sarheight.openeo import SarItems, sar_backscatter

    extent = {"west": 11.0, "south": 46.7, "east": 11.2, "north": 46.8}
    items = SarItems.select(found, spatial_extent=extent, bands=["VV"])
    cube = sar_backscatter(items, mask=True)

It needs no library of openEO, and runs in any program that executes process graphs.

References
----------
openEO processes 2.0.0-rc.2: ``sar_backscatter``, ``load_collection``. https://processes.openeo.org
openEO API 1.2.0: error handling. https://api.openeo.org
"""

from __future__ import annotations

from sarheight.openeo.items import OpenEoError, SarItems
from sarheight.openeo.process import (
    COEFFICIENTS,
    ELEVATION_MODELS,
    OPTIONS,
    ElevationModel,
    Measure,
    describe_process,
    sar_backscatter,
)

__all__ = [
    "COEFFICIENTS",
    "ELEVATION_MODELS",
    "OPTIONS",
    "ElevationModel",
    "Measure",
    "OpenEoError",
    "SarItems",
    "describe_process",
    "sar_backscatter",
]
__dir__ = __all__.copy  # `dir` lists the public names
