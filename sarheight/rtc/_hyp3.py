"""HyP3 RTC: a whole Sentinel-1 image, flattened by the Alaska Satellite Facility with GAMMA."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._acquisition import SENTINEL_1_NAME, orbit_numbers
from sarheight.errors import ProductError
from sarheight.layover import FLAGS
from sarheight.rtc._files import Source, locate, open_raster, read_text
from sarheight.rtc._flattened import (
    NO_DATA,
    Radiometry,
    Scale,
    flattened,
    power,
    relabelled,
    written_out,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

__all__ = ["HYP3_NAME", "open_hyp3"]

HYP3_NAME = re.compile(
    r"(?P<mission>S1[A-D])_(?P<mode>[A-Z0-9]{2})_(?P<start>\d{8}T\d{6})_[SD][VH][PRO]_RTC\d{2}_[A-Z]_"
    r"(?P<radiometry>[gs])(?P<scale>[pad])[uw](?P<filtered>[nf])[ec][dm]_[0-9A-F]{4}"
)
IMAGE = re.compile(r"_(VV|VH|HH|HV)\.tiff?$")
RADIOMETRIES: dict[str, Radiometry] = {"g": "gamma0", "s": "sigma0"}
SCALES: dict[str, Scale] = {"p": "power", "a": "amplitude", "d": "decibel"}

TESTED, ACTIVE_LAYOVER, LAYOVER, ACTIVE_SHADOW, SHADOW = 1, 2, 4, 8, 16
"""Bits of the layover and shadow map."""


def _mask_table() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Translate every sum of bits; what was not tested has no data."""
    table = np.full(256, NO_DATA, dtype=np.uint8)
    for code in range(32):
        layover = bool(code & (ACTIVE_LAYOVER | LAYOVER))
        shadow = bool(code & (ACTIVE_SHADOW | SHADOW))
        if not code & TESTED:
            continue
        if layover and shadow:
            name = "layover_and_shadow"
        elif layover:
            name = "active_layover" if code & ACTIVE_LAYOVER else "passive_layover"
        elif shadow:
            name = "active_shadow" if code & ACTIVE_SHADOW else "passive_shadow"
        else:
            name = "clear"
        table[code] = FLAGS[name]
    return table


MASK = _mask_table()


def open_hyp3(
    source: Source,
    *,
    radiometry: Radiometry | None = None,
    scale: Scale | None = None,
    chunks: Any = None,  # noqa: ANN401  # as xarray has it
) -> xr.Dataset:
    """Read an RTC product of HyP3.

    Parameters
    ----------
    source : path, or sequence of paths
        Its folder, its zip as it was fetched, or its GeoTIFFs.
    radiometry : {"gamma0", "sigma0"}, optional
        What the power is divided by; by default what the names of the files say, or the README.
    scale : {"power", "amplitude", "decibel"}, optional
        What the values are; by default as for `radiometry`.
    chunks : None, int, str or mapping, optional
        None reads all into memory; else the dask chunks, as `xarray.open_dataset` has them.

    Returns
    -------
    xarray.Dataset
        ``gamma0`` or ``sigma0`` as linear power whatever the scale of the files; and where they
        are there ``mask`` in the codes of `sarheight.layover.masks`, ``local_incidence`` in
        degrees, ``scattering_area`` in square metres, and ``height``, the elevation model that
        was used, in metres (in the vertical reference of the product).

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ProductError
        If it is no such product, several of them, or damaged.

    References
    ----------
    ASF, Sentinel-1 RTC Product Guide: naming, scales, layover-shadow map, incidence angle map.
    """
    files = locate(source)
    rasters = {found[1]: path for name, path in files.items() if (found := IMAGE.search(name))}
    named = {found[0]: found for name in files if (found := HYP3_NAME.search(name))}
    readme = next((read_text(path) for name, path in files.items() if "README" in name), "")
    if not named:
        named = {found[0]: found for found in HYP3_NAME.finditer(readme)}
    if len(named) > 1 or not rasters:
        others = ", ".join(sorted(named)) or "no file of that kind"
        msg = f"found {others} in '{source}', expected the GeoTIFFs of one HyP3 RTC product"
        raise ProductError(msg)
    name, parts = next(iter(named.items()), ("HyP3 RTC", None))
    if parts is not None:
        radiometry = radiometry or RADIOMETRIES[parts["radiometry"]]
        scale = scale or SCALES[parts["scale"]]
    if radiometry is None or scale is None:
        msg = (
            f"the files in '{source}' were renamed, and there is no README that tells radiometry "
            'and scale; pass them, such as radiometry="gamma0", scale="power"'
        )
        raise ProductError(msg)
    images = {key: _known(power(open_raster(path, chunks), scale)) for key, path in rasters.items()}
    return flattened(
        images,
        _layers(files, chunks),
        radiometry=radiometry,
        source="ASF HyP3 RTC",
        product_name=name,
        acquisition=_acquisition(parts, readme),
        attributes={} if parts is None else {"speckle_filtered": parts["filtered"] == "f"},
    )


def _known(image: xr.DataArray) -> xr.DataArray:
    """Take away the zeros with which GAMMA fills what lies beyond the image."""
    return image.where(image > 0.0)


def _layers(files: Mapping[str, str], chunks: Any) -> dict[str, xr.DataArray]:  # noqa: ANN401
    layers = {}
    for name, path in files.items():
        if name.endswith("_ls_map.tif"):
            layers["mask"] = relabelled(open_raster(path, chunks), MASK)
        elif name.endswith("_inc_map.tif"):
            angle = power(open_raster(path, chunks)) * np.float32(180.0 / np.pi)
            layers["local_incidence"] = angle.assign_attrs(
                long_name="local incidence angle", units="degree"
            )
        elif name.endswith("_area.tif"):
            layers["scattering_area"] = power(open_raster(path, chunks)).assign_attrs(
                long_name="scattering area", units="m2"
            )
        elif name.endswith("_dem.tif"):
            layers["height"] = open_raster(path, chunks).assign_attrs(
                long_name="elevation model used for flattening", units="m"
            )
    return layers


def _acquisition(parts: re.Match[str] | None, readme: str) -> dict[str, Any]:
    """Collect what the name tells, and the README by naming the granule that was processed."""
    granule = SENTINEL_1_NAME.search(readme)
    if granule is not None:
        start, end = granule[0].split("_")[-5:-3]
    elif parts is not None:
        start = end = parts["start"]
    else:
        return {}
    return {
        "mission": parts["mission"] if parts else granule and granule["mission"],
        "mode": parts["mode"] if parts else None,
        "start": written_out(start),
        "end": written_out(end),
        **orbit_numbers(granule[0] if granule else ""),
    }
