"""How the layers of a result are drawn by tile servers: STAC's extension ``render``.

The extension names assets and ranges of values. Which band of an asset, or which entry of a
variable, is said in the terms of titiler, as the extension leaves that to its readers.

References
----------
STAC extension render 2.0.0; titiler and titiler-xarray, parameters of their addresses.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.layover.layers import LAYERS, Layer
from sarheight.output._bands import Band, expand_coordinates, list_bands
from sarheight.output.grid import POLARISATION, SCALE, SPATIAL, TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pystac
    import xarray as xr

ZARR = "application/vnd.zarr; version=3"
"""Media type of stores whose result is in a group."""
CO_POLARISED, CROSS_POLARISED = (0.0, 0.4), (0.0, 0.1)
"""Ranges of linear power, of mountains in C-band."""
LOWEST = 1e-3
"""Power below which a range in decibels is not stretched."""
RATIO = (1.0, 15.0)
"""Range of the ratio of both."""


def renders(dataset: xr.Dataset, assets: Mapping[str, pystac.Asset]) -> dict[str, Any]:
    """Describe how layers are drawn: those of backscatter, codes, and of a fixed range.

    Parameters
    ----------
    dataset : xarray.Dataset
        The result; of several dates the first one is drawn.
    assets : mapping of pystac.Asset
        The assets of its item: one for each layer, or ``data`` for all.

    Returns
    -------
    dict
        Render objects by the name of the layer; ``rgb`` is the composite of both polarisations
        and their ratio, where each has an asset.
    """
    named = [
        name
        for name, each in dataset.data_vars.items()
        if name in LAYERS and set(SPATIAL) <= set(each.dims) and each.dtype.kind in "iuf"
    ]
    found: dict[str, Any] = {}
    for band in list_bands(expand_coordinates(dataset[named])):
        row, how = LAYERS[band.variable], _colours(band, dataset)
        place = _place(band, assets)
        if how and place and not band.date:
            title = {"title": row.label or row.attributes.get("long_name", band.variable)}
            found[band.layer] = {**place, **title, **how}
    pair = [found.get(f"gamma0_{name}", {}) for name in ("vv", "vh")]
    if all(each.get("assets", ["data"]) != ["data"] for each in pair) and _is_linear(dataset):
        first, second = (each["assets"][0] for each in pair)
        found["rgb"] = {
            "assets": [first, second],
            "title": "VV, VH and their ratio",
            "expression": f"{first}_b1;{second}_b1;{first}_b1/{second}_b1",
            "rescale": [list(CO_POLARISED), list(CROSS_POLARISED), list(RATIO)],
        }
    return found


def _is_linear(dataset: xr.Dataset) -> bool:
    return "gamma0" in dataset and SCALE not in dataset["gamma0"].attrs


def _colours(band: Band, dataset: xr.Dataset) -> dict[str, Any]:
    """Return range and colours of a layer; nothing for one that has none of its own."""
    from sarheight.plot.maps import SPARE_COLOURS, flag_colours

    row: Layer = LAYERS[band.variable]
    attributes = dataset[band.variable].attrs
    if row.power:
        labels = dict(zip(band.dimensions, band.labels, strict=True))
        low, high = _power_range(str(labels.get(POLARISATION, "")))
        scale = attributes.get(SCALE, "linear")
        if scale == "db":
            low, high = (10.0 * np.log10(max(each, LOWEST)) for each in (low, high))
        elif scale == "amplitude":
            low, high = np.sqrt(low), np.sqrt(high)
        limits = [round(float(low), 2), round(float(high), 2)]
        return {"rescale": [limits], "nodata": "nan", "colormap_name": "gray"}
    if row.limits is not None:
        return {"rescale": [list(row.limits)], "nodata": "nan", "colormap_name": "viridis"}
    meanings = str(attributes.get("flag_meanings", "")).split()
    codes = np.atleast_1d(attributes.get("flag_values", ())).astype(int).tolist()
    if not codes or len(codes) != len(meanings):
        return {}
    known, spare = flag_colours(dataset[band.variable]), cycle(SPARE_COLOURS)
    table = {
        str(code): known.get(meaning) or next(spare)
        for code, meaning in zip(codes, meanings, strict=True)
    }
    nodata = {} if band.nodata is None else {"nodata": int(band.nodata)}
    return {"colormap": table, **nodata, "resampling": "nearest"}


def _power_range(polarisation: str) -> tuple[float, float]:
    return CROSS_POLARISED if polarisation[:1] != polarisation[1:] else CO_POLARISED


def _place(band: Band, assets: Mapping[str, pystac.Asset]) -> dict[str, Any]:
    """Say where a layer is: its asset, and its band or variable; {} where bands are unknown."""
    if band.layer in assets:
        return {"assets": [band.layer]}
    data = assets["data"]
    names = [each.get("name") for each in data.extra_fields["bands"]]
    if str(data.media_type).startswith("image/tiff"):
        if band.description not in names:
            return {}
        return {"assets": ["data"], "bidx": [names.index(band.description) + 1]}
    entry = zip(band.dimensions, band.labels, strict=True)
    chosen = [f"{dim}={label}" for dim, label in entry if dim in {POLARISATION, TIME}]
    group = {"group": "0"} if data.media_type == ZARR else {}
    return {
        "assets": ["data"],
        "variable": band.variable,
        **group,
        **({"sel": chosen} if chosen else {}),
    }
