"""OPERA RTC-S1: one burst of Sentinel-1, flattened to gamma0 by NASA/JPL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import xarray as xr

from sarheight.errors import ProductError
from sarheight.layover import FLAGS
from sarheight.rtc._files import Source, locate, open_raster
from sarheight.rtc._flattened import NO_DATA, flattened, power, relabelled, written_out

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OPERA_NAME", "open_opera"]

OPERA_NAME = re.compile(
    r"OPERA_L2_RTC-S1(?P<static>-STATIC)?_T(?P<track>\d{3})-\d{6}-IW\d_(?P<start>\d{8}T\d{6}Z)_"
    r"(?:\d{8}T\d{6}Z_)?(?P<mission>S1[A-D])_\d{2}_v\d+\.\d+"
)
IMAGE = re.compile(r"_(VV|VH|HH|HV)\.tiff?$")
ANGLES = {
    "local_incidence_angle": ("local_incidence", "local incidence angle"),
    "incidence_angle": ("ellipsoid_incidence", "incidence angle on the ellipsoid"),
}
MASK_NAMES = ("mask", "layoverShadowMask", "layover_shadow_mask")
# 0 neither, 1 shadow, 2 layover, 3 both; it does not tell active from passive.
MASK = np.full(256, NO_DATA, dtype=np.uint8)
MASK[:4] = [
    FLAGS["clear"],
    FLAGS["passive_shadow"],
    FLAGS["passive_layover"],
    FLAGS["layover_and_shadow"],
]


def open_opera(source: Source, *, chunks: Any = None) -> xr.Dataset:  # noqa: ANN401
    """Read an OPERA RTC-S1 product.

    Parameters
    ----------
    source : path, or sequence of paths
        Its HDF5 file; or its GeoTIFFs: a folder or zip of them, or the files themselves. Static
        layers (incidence angles) may lie beside them.
    chunks : None, int, str or mapping, optional
        None reads all into memory; else the dask chunks, as `xarray.open_dataset` has them.

    Returns
    -------
    xarray.Dataset
        ``gamma0``, linear power; ``mask`` in the codes of `sarheight.layover.masks` where the
        product has one (it does not tell active from passive, and what it marks is called
        passive); ``local_incidence`` and ``ellipsoid_incidence`` in degrees where they are
        there.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ProductError
        If it is no such product, several of them, or damaged.

    References
    ----------
    Product Specification Document for the OPERA Radiometric Terrain-Corrected SAR Backscatter
    from Sentinel-1, JPL D-108758: layers, mask and metadata.
    """
    files = locate(source)
    rasters = {name: path for name, path in files.items() if IMAGE.search(name)}
    tables = [path for name, path in files.items() if name.lower().endswith(".h5")]
    if not rasters and not tables:
        msg = f"found neither GeoTIFFs (…_VV.tif) nor HDF5 (….h5) of OPERA RTC-S1 in '{source}'"
        raise ProductError(msg)
    if not rasters:
        return _from_table(_only(tables), chunks)
    products = {found[0] for name in rasters if (found := OPERA_NAME.search(name))}
    if len(products) != 1:
        others = ", ".join(sorted(products)) or "names of another kind"
        msg = f"found {others} in '{source}', expected the files of one OPERA RTC-S1 product"
        raise ProductError(msg)
    images, tags = {}, {}
    for name, path in rasters.items():
        images[_polarisation(name)] = power(open_raster(path, chunks))
        with rasterio.open(path) as file:
            tags = {key.lower(): text for key, text in file.tags().items()}
    return _dataset(products.pop(), images, _layers(files, chunks), tags)


def _polarisation(name: str) -> str:
    found = IMAGE.search(name)
    return "" if found is None else found[1]


def _only(paths: list[str]) -> str:
    if len(paths) != 1 or paths[0].startswith("/vsi"):
        msg = f"found {', '.join(paths)}, expected one HDF5 file that is not packed"
        raise ProductError(msg)
    return paths[0]


def _layers(files: Mapping[str, str], chunks: Any) -> dict[str, xr.DataArray]:  # noqa: ANN401
    """Open the mask and the static layers among the GeoTIFFs."""
    layers = {}
    for name, path in files.items():
        stem = name.rpartition(".")[0]
        if not name.lower().endswith((".tif", ".tiff")):
            continue
        if stem.endswith(("_mask", "_layover_shadow_mask")):
            layers["mask"] = relabelled(open_raster(path, chunks), MASK)
        for ending, (variable, text) in ANGLES.items():
            if stem.endswith(f"_{ending}") and variable not in layers:
                angle = open_raster(path, chunks)
                layers[variable] = angle.assign_attrs(long_name=text, units="degree")
                break
    return layers


def _from_table(path: str, chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read the HDF5 file."""
    try:
        data = _group(path, "data", chunks)
        facts = _group(path, "identification", None)
    except (OSError, KeyError, ValueError) as error:
        msg = f"'{path}' is no OPERA RTC-S1 product, or it is damaged ({error})"
        raise ProductError(msg) from error
    system = data.get("projection")
    if system is None or "xCoordinates" not in data.variables:
        msg = f"found no projection or coordinates in '{path}', expected those of OPERA RTC-S1"
        raise ProductError(msg)
    code = int(np.ravel(system.attrs.get("epsg_code", system.values))[0])
    grid = {"y": data["yCoordinates"].values, "x": data["xCoordinates"].values}

    def placed(name: str) -> xr.DataArray:
        layer = xr.DataArray(data[name].variable.data, dims=("y", "x"), coords=grid)
        on_map: xr.DataArray = layer.rio.write_crs(code)
        return on_map

    images = {name: power(placed(name)) for name in ("VV", "VH", "HH", "HV") if name in data}
    masks = [name for name in MASK_NAMES if name in data]
    layers = {"mask": relabelled(placed(masks[0]), MASK)} if masks else {}
    tags = {_snake(str(name)): _text(value.values) for name, value in facts.variables.items()}
    name = tags.get("product_id") or Path(path).stem
    return _dataset(name, images, layers, tags)


def _group(path: str, group: str, chunks: Any) -> xr.Dataset:  # noqa: ANN401
    dataset = xr.open_dataset(path, group=group, engine="netcdf4", chunks=chunks, decode_cf=False)
    if chunks is None:
        with dataset:
            return dataset.load()
    return dataset


def _snake(name: str) -> str:
    """Spell the name of a field as the GeoTIFFs do: ``absoluteOrbitNumber`` with underscores."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _text(value: Any) -> str:  # noqa: ANN401  # of HDF5
    item = value.item() if np.ndim(value) == 0 else ""
    return item.decode("utf-8", errors="replace") if isinstance(item, bytes) else str(item)


def _dataset(
    name: str,
    images: Mapping[str, xr.DataArray],
    layers: Mapping[str, xr.DataArray],
    tags: Mapping[str, str],
) -> xr.Dataset:
    found = OPERA_NAME.search(name)
    start = tags.get("zero_doppler_start_time") or (found and written_out(found["start"])) or ""
    orbit = tags.get("absolute_orbit_number", "")
    track = tags.get("track_number") or (found["track"] if found else "")
    acquisition = {
        "mission": found["mission"] if found else "",
        "start": _utc(start),
        "end": _utc(tags.get("zero_doppler_end_time") or start),
        "orbit_state": tags.get("orbit_pass_direction", "").lower(),
        "absolute_orbit": int(orbit) if orbit.isdigit() else None,
        "relative_orbit": int(track) if track.isdigit() else None,
    }
    return flattened(
        images,
        layers,
        radiometry="gamma0",
        source="OPERA RTC-S1",
        product_name=name,
        acquisition=acquisition,
    )


def _utc(text: str) -> str:
    return text if not text or text.endswith("Z") else f"{text}Z"
