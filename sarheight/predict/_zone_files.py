"""Maps of Local Climate Zones as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np

from sarheight._climate_zones import zone_of_name
from sarheight.output import check_writable, write
from sarheight.output._atomic import staged

if TYPE_CHECKING:
    import os

    import xarray as xr

__all__ = ["write_zones"]

GEOTIFF = (".tif", ".tiff")


def write_zones(
    zones: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False
) -> list[Path]:
    """Write a map of zones; the name chooses the format.

    Parameters
    ----------
    zones : xarray.Dataset
        As `predict_zones` returns it.
    path : path-like
        ``.nc`` and ``.zarr`` hold everything in one. Of ``zones.tif`` there are three files, as a
        GeoTIFF keeps a colour table only where one band is alone: ``zones.tif``, the codes with
        the colours of WUDAPT; ``zones.tif.aux.xml``, the names of the classes, where GDAL and QGIS
        look for them; and ``zones_probabilities.tif``, confidence and probability of each class.
    overwrite : bool
        Whether what is there already may be replaced.

    Returns
    -------
    list of pathlib.Path
        What was written, the map first.

    Raises
    ------
    OutputError
        When the place is not fit for it or writing failed. Each file appears complete or not at
        all; the map itself comes last.
    ValueError
        When the map has no CRS, or no regular grid.
    """
    path = Path(path)
    if path.suffix.lower() not in GEOTIFF:
        return [write(zones, path, overwrite=overwrite)]
    beside = path.with_name(f"{path.stem}_probabilities{path.suffix}")
    names = path.with_name(f"{path.name}.aux.xml")
    check_writable(path, overwrite=overwrite)
    write(zones[["confidence", "probability"]], beside, overwrite=overwrite)
    with staged(names, overwrite=overwrite, suffixes=(".xml",)) as work:
        work.write_bytes(_names(zones["zone"]))
    write(zones[["zone"]], path, overwrite=overwrite)
    return [path, names, beside]


def _names(zone: xr.DataArray) -> bytes:
    """Return the names of the classes by their codes, in the form of GDAL's auxiliary files.

    References
    ----------
    https://gdal.org/user/raster_data_model.html, category names.
    """
    meanings = str(zone.attrs["flag_meanings"]).split()
    named = dict(zip(np.ravel(zone.attrs["flag_values"]).tolist(), meanings, strict=True))
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    categories = ET.SubElement(band, "CategoryNames")
    for code in range(max(named) + 1):
        name = named.get(code, "")
        found = zone_of_name(name)
        label = name.replace("_", " ") if found is None else found.label
        ET.SubElement(categories, "Category").text = label or None
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text
