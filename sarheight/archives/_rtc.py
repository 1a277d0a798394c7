"""Terrain-flattened images of OPERA, HyP3 and the Planetary Computer.

What the archives call their files, layers and codes is in tables; a layer is a row of one.

References
----------
JPL D-108758, Product Specification Document for the OPERA Radiometric Terrain-Corrected SAR
Backscatter from Sentinel-1. ASF, Sentinel-1 RTC Product Guide: naming, scales, layover-shadow map.
Planetary Computer, collection ``sentinel-1-rtc``: gamma0 as float32, nodata -32768.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import xarray as xr

from sarheight._files import file_reader, read_json, resolve_links
from sarheight._hdf5 import check_hdf5, hdf5_text
from sarheight._rasters import open_alone
from sarheight.acquisition import SENTINEL_1_NAME, orbit_numbers, orbit_to_json
from sarheight.archives.rasters import (
    Archive,
    Layer,
    Scale,
    find_files,
    mask_flags,
    open_raster,
    power,
    read_text,
)
from sarheight.errors import ProductError, UnsafeAddressError
from sarheight.orbit import Orbit, parse_compact_time

if TYPE_CHECKING:
    from sarheight.archives.rasters import PathLike
    from sarheight.fetch.remote import RemoteImage

Radiometry = Literal["gamma0", "sigma0"]

IMAGE = re.compile(r"_(VV|VH|HH|HV)\.tiff?$")
ORDER = ("VV", "VH", "HH", "HV")
FREQUENCY = 5.405
"""Centre frequency of Sentinel-1 in GHz."""
ORBIT = "orbit"
"""Attribute of a product with the state vectors that came with it, as JSON."""
LARGEST_SHIFT = 0.01
"""Fraction of a cell by which the grids of one product may differ."""


class Item(Protocol):
    """A STAC item that can be converted to a mapping, such as one of pystac."""

    def to_dict(self) -> dict[str, Any]:
        """Return the item as mapping."""
        ...


@file_reader("a whole terrain-flattened product", ProductError)
def open_rtc(
    source: PathLike | Sequence[PathLike] | Item | Mapping[str, Any],
    *,
    radiometry: Radiometry | None = None,
    scale: Scale | None = None,
    chunks: Any = None,  # noqa: ANN401  # as xarray has it
) -> xr.Dataset:
    """Read a terrain-flattened Sentinel-1 image of OPERA, HyP3 or the Planetary Computer.

    Parameters
    ----------
    source : path, sequence of paths, pystac.Item or mapping
        Of OPERA RTC-S1: its HDF5 file, or a folder or zip of its GeoTIFFs, or these; static layers
        (incidence angles) may lie beside them. Of HyP3: its folder, its zip as it was fetched, or
        its GeoTIFFs. Of the Planetary Computer: the STAC item, signed (see `sarheight.fetch`), or
        the path of its JSON file, with the images in its folder or at https addresses.
    radiometry : {"gamma0", "sigma0"}, optional
        Normalisation of the power in files of HyP3; by default as their names or the README say.
    scale : {"power", "amplitude", "decibel"}, optional
        Scale of the values in files of HyP3; by default as their names or the README say.
    chunks : None, int, str or mapping, optional
        None reads all into memory; else the dask chunks, as `xarray.open_dataset` has them: then
        only what is used is read or downloaded.

    Returns
    -------
    xarray.Dataset
        ``gamma0`` or ``sigma0`` in linear power whatever the scale of the files, dims
        (polarisation, y, x), with the attribute ``terrain_flattened``. If present, ``mask`` in the
        codes of `sarheight.layover.masks` (OPERA does not distinguish active from passive; all is
        marked as passive), ``local_incidence`` and ``ellipsoid_incidence`` in degrees,
        ``scattering_area`` in square metres, and ``height``, the elevation model that was used, in
        metres above the ellipsoid.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ProductError
        If it is none of these products, or damaged.
    UnsafeAddressError
        If an item refers to a file outside its folder, or to a private address.
    """
    if not isinstance(source, str | os.PathLike | Sequence) or _is_item_file(source):
        return _flattened_dataset(_open_planetary(source, chunks))
    files = find_files(source)
    tables = [path for name, path in files.items() if name.lower().endswith(".h5")]
    if any(OPERA.pattern.search(name) for name in files) or tables:
        product = _open_opera(files, tables, chunks, str(source))
    elif any(IMAGE.search(name) for name in files):
        product = _open_hyp3(files, radiometry, scale, chunks, str(source))
    else:
        msg = (
            f"found {', '.join(list(files)[:3]) or 'nothing'} in '{source}', expected an RTC "
            "product of OPERA (OPERA_L2_RTC-S1_…), of HyP3 (S1A_IW_…_RTC30_G_gpuned_…), or a STAC "
            "item"
        )
        raise ProductError(msg)
    return _flattened_dataset(product)


def is_rtc(source: object) -> bool:
    """Tell whether a path is that of a terrain-flattened product, by the names of its files.

    Parameters
    ----------
    source : path
        A file, folder or zip.

    Returns
    -------
    bool
        True for products of OPERA and HyP3 whose files keep their names, and for STAC items of the
        collection ``sentinel-1-rtc``.
    """
    if not isinstance(source, str | os.PathLike) or "://" in str(source):
        return False
    path = Path(source)
    if _is_item_file(path):
        try:
            record = read_json(path, ProductError)
        except (ProductError, OSError):
            return False
        return str(record.get("id", "")).endswith("_rtc") or "sentinel-1-rtc" in str(
            record.get("collection", "")
        )
    try:
        names = (path.name, *find_files(path))
    except (ProductError, OSError):
        return False
    found = {
        parts[0]
        for name in names
        if IMAGE.search(name) or name.lower().endswith((".h5", ".zip")) or name == path.name
        for parts in (OPERA.pattern.search(name), HYP3.pattern.search(name))
        if parts is not None
    }
    # A folder of several is that of a series.
    return len(found) == 1


def _is_item_file(source: object) -> bool:
    return isinstance(source, str | os.PathLike) and Path(source).suffix.lower() == ".json"


@dataclass(frozen=True)
class _Product:
    """The parts of a product's dataset."""

    name: str
    archive: str
    images: Mapping[str, xr.DataArray]  # linear power by polarisation
    layers: Mapping[str, xr.DataArray]
    acquisition: Mapping[str, Any]
    radiometry: Radiometry = "gamma0"
    attributes: Mapping[str, Any] = field(default_factory=dict)


# OPERA RTC-S1: one burst of Sentinel-1, flattened to gamma0 by NASA/JPL.

OPERA_MASK = Layer(
    "mask",
    flags=mask_flags(
        # Active and passive are not distinguished.
        {0: "clear", 1: "passive_shadow", 2: "passive_layover", 3: "layover_and_shadow"}
    ),
)
OPERA_MASKS = ("mask", "layoverShadowMask", "layover_shadow_mask")
"""Names of the mask in HDF5 files."""
OPERA = Archive(
    "OPERA RTC-S1",
    re.compile(
        r"OPERA_L2_RTC-S1(?P<static>-STATIC)?_T(?P<track>\d{3})-\d{6}-IW\d_(?P<start>\d{8}T\d{6})Z_"
        r"(?:\d{8}T\d{6}Z_)?(?P<mission>S1[A-D])_\d{2}_v\d+\.\d+"
    ),
    {
        "_layover_shadow_mask": OPERA_MASK,
        "_mask": OPERA_MASK,
        "_local_incidence_angle": Layer("local_incidence", "local incidence angle", "degree"),
        "_incidence_angle": Layer(
            "ellipsoid_incidence", "incidence angle on the ellipsoid", "degree"
        ),
    },
)


def _open_opera(
    files: Mapping[str, str],
    tables: Sequence[str],
    chunks: Any,  # noqa: ANN401  # as xarray has it
    source: str,
) -> _Product:
    rasters = {name: path for name, path in files.items() if IMAGE.search(name)}
    if not rasters and not tables:
        msg = f"found neither GeoTIFFs (…_VV.tif) nor HDF5 (….h5) of OPERA RTC-S1 in '{source}'"
        raise ProductError(msg)
    if not rasters:
        return _open_hdf5(tables, chunks)
    products = {found[0] for name in rasters if (found := OPERA.pattern.search(name))}
    if len(products) != 1:
        others = ", ".join(sorted(products)) or "names of another kind"
        msg = f"found {others} in '{source}', expected the files of one OPERA RTC-S1 product"
        raise ProductError(msg)
    images, tags = {}, {}
    for name, path in rasters.items():
        images[IMAGE.search(name)[1]] = power(open_raster(path, chunks))  # type: ignore[index]
        with open_alone(path) as file:
            tags = {key.lower(): text for key, text in file.tags().items()}
    return _opera_product(products.pop(), images, OPERA.open_layers(files, chunks), tags)


def _open_hdf5(paths: Sequence[str], chunks: Any) -> _Product:  # noqa: ANN401  # as xarray has it
    """Read an HDF5 file of OPERA."""
    if len(paths) != 1 or paths[0].startswith("/vsi"):
        msg = f"found {', '.join(paths)}, expected one HDF5 file that is not packed"
        raise ProductError(msg)
    (path,) = paths
    check_hdf5(path, "an HDF5 file of OPERA", ProductError)
    try:
        data = xr.open_dataset(path, group="data", engine="netcdf4", chunks=chunks, decode_cf=False)
        if chunks is None:
            with data:
                data.load()
        tags, attributes = _hdf5_facts(path)
    except (OSError, KeyError, ValueError, AttributeError, RuntimeError) as error:
        msg = f"'{path}' is no OPERA RTC-S1 product, or it is damaged ({error})"
        raise ProductError(msg) from error
    system = data.get("projection")
    if system is None or "xCoordinates" not in data.variables:
        msg = f"found no projection or coordinates in '{path}', expected those of OPERA RTC-S1"
        raise ProductError(msg)
    code = int(np.ravel(system.attrs.get("epsg_code", system.values))[0])
    grid = {"y": data["yCoordinates"].values, "x": data["xCoordinates"].values}

    def on_map(name: str) -> xr.DataArray:
        layer = xr.DataArray(data[name].variable.data, dims=("y", "x"), coords=grid)
        located: xr.DataArray = layer.rio.write_crs(code)
        return located

    images = {name: power(on_map(name)) for name in ORDER if name in data}
    masks = [OPERA_MASK.converted(on_map(name)) for name in OPERA_MASKS if name in data]
    name = tags.get("product_id") or Path(path).stem
    product = _opera_product(name, images, {"mask": masks[0]} if masks else {}, tags)
    return replace(product, attributes=attributes)


def _hdf5_facts(path: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return how a product is identified, and its state vectors as an attribute, if it has them.

    By h5py: where netCDF's library opens one group while another is lazy, it closes both.
    """
    import h5py

    with h5py.File(path, "r") as file:
        tags = {
            _snake(str(name)): hdf5_text(item[()])
            for name, item in file["identification"].items()
            if isinstance(item, h5py.Dataset)
        }
        if "metadata/orbit/referenceEpoch" not in file:
            return tags, {}
        group = file["metadata/orbit"]
        time, position, velocity = (group[name][()] for name in ("time", "position", "velocity"))
        epoch = hdf5_text(group["referenceEpoch"][()]).removesuffix("Z")
    source = f"state vectors of {Path(path).name}"
    orbit = Orbit(np.datetime64(epoch, "ns"), time, position, velocity, source)
    return tags, {ORBIT: orbit_to_json(orbit)}


def _snake(name: str) -> str:
    """Return the name of a field, such as ``absoluteOrbitNumber``, as the GeoTIFFs spell it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _opera_product(
    name: str,
    images: Mapping[str, xr.DataArray],
    layers: Mapping[str, xr.DataArray],
    tags: Mapping[str, str],
) -> _Product:
    found = OPERA.pattern.search(name)
    start = tags.get("zero_doppler_start_time") or (_iso_time(found["start"]) if found else "")
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
    return _Product(name, OPERA.title, images, layers, acquisition)


def _utc(text: str) -> str:
    return text if not text or text.endswith("Z") else f"{text}Z"


# HyP3: a whole image, as the Alaska Satellite Facility makes it to order.

RADIOMETRIES: dict[str, Radiometry] = {"g": "gamma0", "s": "sigma0"}
SCALES: dict[str, Scale] = {"p": "power", "a": "amplitude", "d": "decibel"}
TESTED, ACTIVE_LAYOVER, LAYOVER, ACTIVE_SHADOW, SHADOW = 1, 2, 4, 8, 16
"""Bits of the layover and shadow map of HyP3."""


def _hyp3_meaning(code: int) -> str:
    """Return what a sum of bits means."""
    layover, shadow = code & (ACTIVE_LAYOVER | LAYOVER), code & (ACTIVE_SHADOW | SHADOW)
    if layover and shadow:
        return "layover_and_shadow"
    if layover:
        return "active_layover" if code & ACTIVE_LAYOVER else "passive_layover"
    if shadow:
        return "active_shadow" if code & ACTIVE_SHADOW else "passive_shadow"
    return "clear"


HYP3 = Archive(
    "ASF HyP3 RTC",
    re.compile(
        r"(?P<mission>S1[A-D])_(?P<mode>[A-Z0-9]{2})_(?P<start>\d{8}T\d{6})_[SD][VH][PRO]_RTC\d{2}_"
        r"[A-Z]_(?P<radiometry>[gs])(?P<scale>[pad])[uw](?P<filtered>[nf])[ec][dm]_[0-9A-F]{4}"
    ),
    {
        "_ls_map": Layer(
            "mask",
            flags=mask_flags({code: _hyp3_meaning(code) for code in range(32) if code & TESTED}),
        ),
        "_inc_map": Layer("local_incidence", "local incidence angle", "degree", 180.0 / np.pi),
        "_area": Layer("scattering_area", "scattering area", "m2"),
        "_dem": Layer("height", "elevation model used for flattening", "m", signed=True),
    },
)


def _open_hyp3(
    files: Mapping[str, str],
    radiometry: Radiometry | None,
    scale: Scale | None,
    chunks: Any,  # noqa: ANN401  # as xarray has it
    source: str,
) -> _Product:
    rasters = {found[1]: path for name, path in files.items() if (found := IMAGE.search(name))}
    named = {found[0]: found for name in files if (found := HYP3.pattern.search(name))}
    readme = next((read_text(path) for name, path in files.items() if "README" in name), "")
    if not named:
        named = {found[0]: found for found in HYP3.pattern.finditer(readme)}
    if len(named) > 1:
        msg = f"found {', '.join(sorted(named))} in '{source}', expected one HyP3 RTC product"
        raise ProductError(msg)
    name, parts = next(iter(named.items()), ("HyP3 RTC", None))
    if parts is not None:
        radiometry = radiometry or RADIOMETRIES[parts["radiometry"]]
        scale = scale or SCALES[parts["scale"]]
    if radiometry is None or scale is None:
        msg = (
            f"found {', '.join(list(files)[:3])} in '{source}', and neither names of OPERA "
            "(OPERA_L2_RTC-S1_…) or HyP3 (S1A_IW_…_RTC30_G_gpuned_…) nor a README of HyP3: if the "
            "files were renamed, pass what they hold, such as radiometry='gamma0', scale='power'"
        )
        raise ProductError(msg)
    images = {key: power(open_raster(path, chunks), scale) for key, path in rasters.items()}
    return _Product(
        name,
        HYP3.title,
        # GAMMA fills what lies beyond the image with zeros.
        {key: image.where(image > 0.0) for key, image in images.items()},
        HYP3.open_layers(files, chunks),
        _hyp3_acquisition(parts, readme),
        radiometry,
        {} if parts is None else {"speckle_filtered": parts["filtered"] == "f"},
    )


def _hyp3_acquisition(parts: re.Match[str] | None, readme: str) -> dict[str, Any]:
    """Return what is known from the name, and from the granule that the README names."""
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
        "start": _iso_time(start),
        "end": _iso_time(end),
        **orbit_numbers(granule[0] if granule else ""),
    }


def _iso_time(time: str) -> str:
    """Return the time in a file's name, such as ``20230115T013456``, as ISO 8601 in UTC."""
    return f"{np.datetime_as_string(parse_compact_time(time), unit='s')}Z"


# Sentinel-1 RTC of the Planetary Computer: a STAC item with one COG per polarisation.

PLANETARY = "Planetary Computer Sentinel-1 RTC"
PROPERTIES = {
    "mode": "sar:instrument_mode",
    "orbit_state": "sat:orbit_state",
    "looks": "sar:looks_equivalent_number",
    "absolute_orbit": "sat:absolute_orbit",
    "relative_orbit": "sat:relative_orbit",
}
"""Fields of our record of an acquisition, and the properties of an item that hold them."""


def _open_planetary(item: Any, chunks: Any) -> _Product:  # noqa: ANN401  # an item, or its path
    record, folder = _read_item(item)
    properties, assets = record.get("properties", {}), record.get("assets", {})
    name = str(record.get("id", ""))
    images = {
        key: power(open_raster(_located(str(assets[key.lower()]["href"]), folder), chunks))
        for key in ORDER
        if key.lower() in assets
    }
    if not images:
        msg = f"found assets {', '.join(assets) or 'of no name'} in the item '{name}', expected vv"
        raise ProductError(msg)
    start = properties.get("start_datetime") or properties.get("datetime")
    acquisition = {
        **orbit_numbers(name),
        "mission": str(properties.get("platform", "")).upper().replace("SENTINEL-1", "S1"),
        "start": start,
        "end": properties.get("end_datetime") or start,
        **{ours: properties.get(theirs) for ours, theirs in PROPERTIES.items()},
    }
    return _Product(name, PLANETARY, images, {}, acquisition)


def _read_item(item: Any) -> tuple[Mapping[str, Any], Path | None]:  # noqa: ANN401
    """Return the item as a mapping, and its folder."""
    if isinstance(item, Mapping):
        return item, None
    if not isinstance(item, str | os.PathLike):
        return item.to_dict(), None
    path = Path(item)
    return read_json(path, ProductError), resolve_links(path.parent)


def _located(href: str, folder: Path | None) -> str | RemoteImage:
    """Return where an image is read, if that is safe: items are written by others."""
    if "://" in href:
        from sarheight.fetch.http import HttpClient
        from sarheight.fetch.remote import RemoteImage
        from sarheight.fetch.settings import Settings

        client = HttpClient.trusting(Settings.load())
        client.check(href)
        return RemoteImage(client, href)
    target = None if folder is None else resolve_links(folder / href)
    if target is None or folder is None or not target.is_relative_to(folder):
        msg = (
            f"the item names the file {href!r}, which is not in its folder: nothing was read. "
            "Pass the path of the item, with the images beside it, or an item with https addresses"
        )
        raise UnsafeAddressError(msg)
    if target.exists() and not target.is_file():
        msg = f"the item names {href!r}, which is no file: nothing was read"
        raise UnsafeAddressError(msg)
    return str(target)


# The dataset of all archives.


def _flattened_dataset(product: _Product) -> xr.Dataset:
    """Return the dataset of a product's images by polarisation, and its other layers."""
    images, radiometry = product.images, product.radiometry
    if not images:
        msg = f"found no image in '{product.name}', expected one for each polarisation"
        raise ProductError(msg)
    names = sorted(images, key=ORDER.index)
    first = images[names[0]]
    _require_one_grid(product, first, names[0])
    grid = {"y": first["y"].values, "x": first["x"].values}
    plain = [
        images[name].drop_vars(list(images[name].coords)).assign_coords(grid) for name in names
    ]
    stack = xr.concat(plain, dim="polarisation").assign_coords(polarisation=names)
    flattened = {"terrain_flattened": True, "source": product.archive}
    stack.attrs = {"long_name": f"{radiometry}, terrain-flattened", "units": "1", **flattened}
    dataset = stack.to_dataset(name=radiometry)
    for name, layer in product.layers.items():
        dataset[name] = (("y", "x"), layer.variable.data, layer.attrs)
    record = {
        "mode": "IW",
        "product": "RTC",
        "look_side": "right",
        "center_frequency": FREQUENCY,
        "polarisations": names,
    }
    known = {name: value for name, value in product.acquisition.items() if value not in {None, ""}}
    dataset.attrs = {
        "title": f"Terrain-flattened {radiometry} of {product.archive}",
        "calibration": radiometry,
        **flattened,
        "product_name": product.name,
        "acquisition": json.dumps([record | known]),
        **product.attributes,
    }
    on_map: xr.Dataset = dataset.rio.write_crs(first.rio.crs)
    return on_map


def _require_one_grid(product: _Product, first: xr.DataArray, named: str) -> None:
    """Refuse images and layers that are not on the map grid of the first image."""
    if first.rio.crs is None:
        msg = f"found no coordinate reference system in '{product.name}', expected a map grid"
        raise ProductError(msg)
    transform = first.rio.transform()
    for name, other in {**product.images, **product.layers}.items():
        apart = np.abs(np.subtract(other.rio.transform()[:6], transform[:6])).max()
        if other.shape != first.shape or apart > LARGEST_SHIFT * abs(transform.a):
            msg = (
                f"found '{name}' of '{product.name}' on a grid of {other.shape} cells that is not "
                f"that of {named}, {first.shape}; expected files of one product"
            )
            raise ProductError(msg)
