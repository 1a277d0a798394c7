"""The scratch files of a GeoTIFF, and the virtual dataset that binds them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from sarheight.output._bands import Band, encode_attributes
from sarheight.output._grid import SPATIAL, grid_transform

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float32": "Float32",
}


@dataclass(frozen=True)
class Scratch:
    """A file for bands that share their number type and nodata value."""

    path: Path
    bands: tuple[Band, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type of the bands."""
        return self.bands[0].dtype

    @property
    def nodata(self) -> Any:  # noqa: ANN401  # of the bands' type
        """Nodata value in the file: NaN for floats whatever the variable had."""
        return np.nan if self.dtype.kind == "f" else self.bands[0].nodata


def scratch_files(bands: list[Band], folder: Path) -> list[Scratch]:
    """Sort bands into as few scratch files as their types allow.

    Parameters
    ----------
    bands : list of Band
        All bands of a result.
    folder : pathlib.Path
        Where the files shall lie.

    Returns
    -------
    list of Scratch
        Each band is in exactly one.
    """
    groups: dict[str, list[Band]] = {}
    for band in bands:
        nodata = "" if band.dtype.kind == "f" else f"_{band.nodata}"
        groups.setdefault(f"bands_{band.dtype.name}{nodata}.tif", []).append(band)
    return [Scratch(folder / name, tuple(members)) for name, members in groups.items()]


def virtual_dataset(
    dataset: xr.Dataset,
    bands: list[Band],
    scratch: list[Scratch],
    statistics: Mapping[Band, Mapping[str, str]],
) -> bytes:
    """Describe the finished file as bands taken from the scratch files.

    Parameters
    ----------
    dataset : xarray.Dataset
        The result, north up.
    bands : list of Band
        Its bands in order.
    scratch : list of Scratch
        Where they are. With more than one file all bands become float32 with nodata NaN.
    statistics : mapping
        Tags with the statistics of each band.

    Returns
    -------
    bytes
        XML of a GDAL virtual dataset to lie beside the scratch files.

    References
    ----------
    https://gdal.org/drivers/raster/vrt.html
    """
    height, width = (str(dataset.sizes[name]) for name in SPATIAL)
    root = ET.Element("VRTDataset", rasterXSize=width, rasterYSize=height)
    ET.SubElement(root, "SRS").text = dataset.rio.crs.to_wkt()
    transform = grid_transform(dataset).to_gdal()
    ET.SubElement(root, "GeoTransform").text = ",".join(repr(number) for number in transform)
    _add_tags(root, encode_attributes(dataset.attrs))
    for number, band in enumerate(bands, start=1):
        file = next(each for each in scratch if band in each.bands)
        dtype, nodata = (file.dtype, file.nodata) if len(scratch) == 1 else ("float32", np.nan)
        element = ET.SubElement(
            root, "VRTRasterBand", dataType=GDAL_TYPES[str(dtype)], band=str(number)
        )
        ET.SubElement(element, "Description").text = band.description
        ET.SubElement(element, "UnitType").text = str(dataset[band.variable].attrs.get("units", ""))
        if nodata is not None:
            ET.SubElement(element, "NoDataValue").text = str(nodata)
        _add_tags(element, band.tags(dataset) | dict(statistics[band]))
        if len(bands) == 1:
            _add_colours(element, dataset[band.variable])
        # Only a change of number type needs to look at each value.
        plain = str(file.dtype) == str(dtype)
        source = ET.SubElement(element, "SimpleSource" if plain else "ComplexSource")
        ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = file.path.name
        ET.SubElement(source, "SourceBand").text = str(file.bands.index(band) + 1)
        for rectangle in ("SrcRect", "DstRect"):
            ET.SubElement(source, rectangle, xOff="0", yOff="0", xSize=width, ySize=height)
        if not plain and file.nodata is not None:
            ET.SubElement(source, "NODATA").text = str(file.nodata)
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text


def _add_colours(element: ET.Element, variable: xr.DataArray) -> None:
    """Give a band of classes the colours in which `sarheight.plot.mask` draws it.

    A GeoTIFF has room for a colour table where a band is alone in its file and of type uint8.
    """
    meanings = str(variable.attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(variable.attrs.get("flag_values", ())).tolist()
    if variable.dtype != np.uint8 or not meanings or len(meanings) != len(values):
        return
    from matplotlib.colors import to_rgb

    from sarheight.plot._classes import flag_colours

    names, colours = dict(zip(values, meanings, strict=True)), flag_colours(variable)
    ET.SubElement(element, "ColorInterp").text = "Palette"
    table = ET.SubElement(element, "ColorTable")
    for value in range(256):
        colour = colours.get(names.get(value, ""))
        red, green, blue = (0, 0, 0) if colour is None else (255 * part for part in to_rgb(colour))
        opaque = 0 if colour is None else 255
        parts = {"c1": red, "c2": green, "c3": blue, "c4": opaque}
        ET.SubElement(table, "Entry", {name: str(round(part)) for name, part in parts.items()})


def _add_tags(element: ET.Element, tags: dict[str, str]) -> None:
    metadata = ET.SubElement(element, "Metadata")
    for name, text in tags.items():
        ET.SubElement(metadata, "MDI", key=name).text = text
