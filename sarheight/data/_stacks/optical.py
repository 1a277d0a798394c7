"""Sentinel-2's surface reflectance: its scaling, its bands' names, its scene classification."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.data._stacks.form import OPTICAL_BANDS
from sarheight.data._stacks.values import check_optical
from sarheight.errors import StackError

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "CLEAR",
    "check_offset",
    "clear_cells",
    "offset_of_baseline",
    "offset_of_item",
    "optical_band",
    "reflectance",
]

QUANTIFICATION = 10_000.0
OFFSET = -1000.0
OFFSET_SINCE = 4.0
"""Processing baseline since which numbers carry the offset (25 January 2022)."""
CLEAR = (2, 4, 5, 6, 7, 11)
"""Classes that show the ground: dark areas (in a city the shadows of buildings), vegetation, bare
ground, water, unclassified, snow. The others: no data, saturated, cloud shadow, cloud, cirrus."""
VISIBLE = OPTICAL_BANDS[:5]
DARKEST_WITH_OFFSET = 0.09
"""If all but a thousandth of an image is brighter than this in visible light, it still carries the
offset of 0.1: shadow, water and vegetation are darker, also in a desert."""
DARK_SHARE = 0.1
"""That thousandth in per cent."""

COMMON_NAMES = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "swir16": "B11",
    "swir22": "B12",
}
"""Names of the assets of Earth Search."""


def optical_band(name: str) -> str | None:
    """Return the band that a catalogue or a file calls by some name, None if it is none.

    Parameters
    ----------
    name : str
        Such as ``B2``, ``B02_10m`` or ``blue``.

    Examples
    --------
    >>> optical_band("B2"), optical_band("b8a_20m"), optical_band("swir16"), optical_band("SCL")
    ('B02', 'B8A', 'B11', None)
    """
    bare = re.sub(r"[_-]?\d\dm$", "", name.strip(), flags=re.IGNORECASE)
    if bare.lower() in COMMON_NAMES:
        return COMMON_NAMES[bare.lower()]
    found = re.fullmatch(r"B(\d{1,2})(A?)", bare, flags=re.IGNORECASE)
    if found is None:
        return None
    band = f"B{found[1].lstrip('0')}A" if found[2] else f"B{int(found[1]):02d}"
    return band if band in OPTICAL_BANDS else None


def offset_of_baseline(baseline: str | float) -> float:
    """Return what is to be added to digital numbers, by their processing baseline.

    Parameters
    ----------
    baseline : str or float
        Such as "05.09", "N0509", or 2.14.

    Raises
    ------
    StackError
        If it is no baseline.

    References
    ----------
    Sentinel-2 Products Specification Document, BOA_ADD_OFFSET.

    Examples
    --------
    >>> offset_of_baseline("02.14"), offset_of_baseline("N0400"), offset_of_baseline("05.09")
    (0.0, -1000.0, -1000.0)
    """
    text = str(baseline).strip().upper()
    named = re.fullmatch(r"N(\d\d)(\d\d)", text)
    try:
        number = float(f"{named[1]}.{named[2]}" if named else text)
    except ValueError:
        number = np.nan
    if not 0.0 <= number < 100.0:
        msg = f"found the processing baseline {baseline!r}, expected one such as '05.09'"
        raise StackError(msg)
    return OFFSET if number >= OFFSET_SINCE else 0.0


def offset_of_item(properties: Mapping[str, Any]) -> float:
    """Return what is to be added to digital numbers, by the properties of a STAC item.

    Parameters
    ----------
    properties : mapping
        Those of the item. ``earthsearch:boa_offset_applied`` says that its images were changed
        already; else ``s2:processing_baseline`` or ``processing:version`` counts.

    Raises
    ------
    StackError
        If they do not say it.
    """
    if properties.get("earthsearch:boa_offset_applied") is True:
        return 0.0
    for name in ("s2:processing_baseline", "processing:version"):
        if properties.get(name) not in {None, ""}:
            return offset_of_baseline(str(properties[name]))
    msg = (
        "found no processing baseline (s2:processing_baseline, processing:version), expected one: "
        "since 04.00 an offset of -1000 is to be added to the numbers. State the offset"
    )
    raise StackError(msg)


def reflectance(
    numbers: xr.DataArray,
    *,
    baseline: str | float | None = None,
    offset: float | None = None,
    quantification: float = QUANTIFICATION,
) -> xr.DataArray:
    """Turn digital numbers of Sentinel-2's L2A products into surface reflectance.

    Parameters
    ----------
    numbers : xarray.DataArray
        As stored; 0 is no data.
    baseline : str or float, optional
        Processing baseline of the product, which says whether there is an offset. It stands in the
        name of the product, ``N0509``. Give this or `offset`.
    offset : float, optional
        What is to be added to the numbers: -1000 since baseline 04.00, else 0.
    quantification : float
        Numbers that make a reflectance of 1.

    Returns
    -------
    xarray.DataArray
        float32, NaN where there is no data. Shadows may come out a little below 0.

    Raises
    ------
    StackError
        If it is not said whether there is an offset, or the numbers are reflectance already.
    """
    if (baseline is None) == (offset is None):
        msg = (
            f"found {baseline=} and {offset=}, expected one of them: numbers of processing "
            "baseline 04.00 and later carry an offset of -1000, earlier ones do not"
        )
        raise StackError(msg)
    added = offset_of_baseline(baseline) if baseline is not None else float(offset or 0.0)
    values = numbers.astype(np.float32)
    largest = float(values.max()) if values.size else 0.0
    if 0.0 < largest <= 2.0:
        msg = (
            f"found digital numbers up to {largest:.3g}, expected up to several thousand: are they "
            "reflectance already?"
        )
        raise StackError(msg)
    known = np.isfinite(values) & (values > 0.0)
    found: xr.DataArray = ((values + np.float32(added)) / np.float32(quantification)).where(known)
    found.attrs = {"long_name": "surface reflectance", "units": "1"}
    return found


def check_offset(image: xr.DataArray) -> xr.DataArray:
    """Raise if reflectance looks as if the offset was left in, or taken off where there was none.

    Parameters
    ----------
    image : xarray.DataArray
        Reflectance of clear cells along ``optical_band``, NaN elsewhere. That the offset was left
        in can be seen in visible bands only.

    Returns
    -------
    xarray.DataArray
        The same.

    Raises
    ------
    StackError
        If nothing in it is dark, or much of it is below zero.
    """
    seen = [band for band in VISIBLE if band in image["optical_band"].values]
    values = np.asarray(image.sel(optical_band=seen).values)
    values = values[np.isfinite(values)]
    if values.size and float(np.percentile(values, DARK_SHARE)) > DARKEST_WITH_OFFSET:
        msg = (
            f"found nothing darker than a reflectance of {float(values.min()):.3f} in "
            f"{', '.join(seen)}, expected water, shadow or vegetation near 0: the offset of -1000 "
            "was probably left in. State a baseline of 04.00 or later, or offset=-1000"
        )
        raise StackError(msg)
    check_optical(image)
    return image


def clear_cells(classification: xr.DataArray) -> xr.DataArray:
    """Tell where the scene classification (SCL) says that the ground is seen.

    Parameters
    ----------
    classification : xarray.DataArray
        Classes 0 to 11.

    Returns
    -------
    xarray.DataArray
        bool, see `CLEAR`.

    Raises
    ------
    StackError
        If there are other numbers.
    """
    values = classification.fillna(0)
    strange = np.asarray((values < 0) | (values > 11) | (values % 1 != 0))
    if strange.any():
        msg = (
            f"found {np.asarray(values)[strange].ravel()[0]:g} in the scene classification, "
            "expected classes 0 to 11: is it the band SCL, brought to the grid by the nearest cell?"
        )
        raise StackError(msg)
    found: xr.DataArray = values.isin(CLEAR)
    return found
