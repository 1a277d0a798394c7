"""Terrain-flattened images of HyP3, OPERA and the Planetary Computer."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import rasterio
import xarray as xr

from sarheight._files import check_hdf5, file_reader, read_json
from sarheight.acquisition import SENTINEL_1_NAME, orbit_numbers
from sarheight.errors import ProductError, UnsafeAddressError
from sarheight.layover import FLAGS
from sarheight.rtc.flattened import (
    NO_DATA,
    Radiometry,
    Scale,
    Source,
    find_files,
    flattened_dataset,
    iso_time,
    open_raster,
    power,
    read_text,
    relabel,
)

if TYPE_CHECKING:
    from sarheight.rtc.flattened import PathLike

PRODUCT = "a whole terrain-flattened product"
HYP3_NAME = re.compile(
    r"(?P<mission>S1[A-D])_(?P<mode>[A-Z0-9]{2})_(?P<start>\d{8}T\d{6})_[SD][VH][PRO]_RTC\d{2}_[A-Z]_"
    r"(?P<radiometry>[gs])(?P<scale>[pad])[uw](?P<filtered>[nf])[ec][dm]_[0-9A-F]{4}"
)
IMAGE = re.compile(r"_(VV|VH|HH|HV)\.tiff?$")
RADIOMETRIES: dict[str, Radiometry] = {"g": "gamma0", "s": "sigma0"}
SCALES: dict[str, Scale] = {"p": "power", "a": "amplitude", "d": "decibel"}

TESTED, ACTIVE_LAYOVER, LAYOVER, ACTIVE_SHADOW, SHADOW = 1, 2, 4, 8, 16
"""Bits of the layover and shadow map of HyP3."""


def _hyp3_flag(code: int) -> int:
    """Return the flag of `sarheight.layover.masks` for a sum of bits."""
    layover, shadow = code & (ACTIVE_LAYOVER | LAYOVER), code & (ACTIVE_SHADOW | SHADOW)
    if not code & TESTED:
        return NO_DATA
    if layover and shadow:
        return FLAGS["layover_and_shadow"]
    if layover:
        return FLAGS["active_layover" if code & ACTIVE_LAYOVER else "passive_layover"]
    if shadow:
        return FLAGS["active_shadow" if code & ACTIVE_SHADOW else "passive_shadow"]
    return FLAGS["clear"]


HYP3_LAYERS = {
    "_inc_map.tif": ("local_incidence", "local incidence angle", "degree"),
    "_area.tif": ("scattering_area", "scattering area", "m2"),
    "_dem.tif": ("height", "elevation model used for flattening", "m"),
}
"""Variable, long name and units by the ending of a file's name."""

HYP3_FLAGS = np.array([*map(_hyp3_flag, range(32)), *[NO_DATA] * 224], dtype=np.uint8)
"""Flag for each code of the layover and shadow map, shape (256,)."""


@file_reader(PRODUCT, ProductError)
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
        Normalisation of the power; by default as the names of the files or the README say.
    scale : {"power", "amplitude", "decibel"}, optional
        Scale of the values; by default as the names of the files or the README say.
    chunks : None, int, str or mapping, optional
        None reads all into memory; else the dask chunks, as `xarray.open_dataset` has them.

    Returns
    -------
    xarray.Dataset
        ``gamma0`` or ``sigma0`` as linear power whatever the scale of the files; and if present
        ``mask`` in the codes of `sarheight.layover.masks`, ``local_incidence`` in
        degrees, ``scattering_area`` in square metres, and ``height``, the elevation model that
        was used, in metres (in the vertical reference of the product).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ProductError
        If it is not one such product, or damaged.

    References
    ----------
    ASF, Sentinel-1 RTC Product Guide: naming, scales, layover-shadow map, incidence angle map.
    """
    files = find_files(source)
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
            f"the files in '{source}' were renamed, and there is no README that gives radiometry "
            'and scale; pass them, such as radiometry="gamma0", scale="power"'
        )
        raise ProductError(msg)
    images = {key: power(open_raster(path, chunks), scale) for key, path in rasters.items()}
    # GAMMA fills what lies beyond the image with zeros.
    images = {key: image.where(image > 0.0) for key, image in images.items()}
    return flattened_dataset(
        images,
        _hyp3_layers(files, chunks),
        radiometry=radiometry,
        source="ASF HyP3 RTC",
        product_name=name,
        acquisition=_hyp3_acquisition(parts, readme),
        attributes={} if parts is None else {"speckle_filtered": parts["filtered"] == "f"},
    )


def _hyp3_layers(files: Mapping[str, str], chunks: Any) -> dict[str, xr.DataArray]:  # noqa: ANN401
    layers = {}
    for name, path in files.items():
        if name.endswith("_ls_map.tif"):
            layers["mask"] = relabel(open_raster(path, chunks), HYP3_FLAGS)
        for ending, (variable, text, units) in HYP3_LAYERS.items():
            if name.endswith(ending):
                layer = open_raster(path, chunks)
                if variable != "height":  # heights may be below zero
                    layer = power(layer)
                if variable == "local_incidence":
                    layer = layer * np.float32(180.0 / np.pi)
                layers[variable] = layer.assign_attrs(long_name=text, units=units)
    return layers


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
        "start": iso_time(start),
        "end": iso_time(end),
        **orbit_numbers(granule[0] if granule else ""),
    }


# OPERA RTC-S1: one burst of Sentinel-1, flattened to gamma0 by NASA/JPL.

OPERA_NAME = re.compile(
    r"OPERA_L2_RTC-S1(?P<static>-STATIC)?_T(?P<track>\d{3})-\d{6}-IW\d_(?P<start>\d{8}T\d{6})Z_"
    r"(?:\d{8}T\d{6}Z_)?(?P<mission>S1[A-D])_\d{2}_v\d+\.\d+"
)
ANGLES = {
    "local_incidence_angle": ("local_incidence", "local incidence angle"),
    "incidence_angle": ("ellipsoid_incidence", "incidence angle on the ellipsoid"),
}
MASK_NAMES = ("mask", "layoverShadowMask", "layover_shadow_mask")
# Codes: 0 neither, 1 shadow, 2 layover, 3 both; active and passive are not distinguished.
OPERA_MEANINGS = ("clear", "passive_shadow", "passive_layover", "layover_and_shadow")
OPERA_FLAGS = np.full(256, NO_DATA, dtype=np.uint8)
OPERA_FLAGS[:4] = [FLAGS[name] for name in OPERA_MEANINGS]


@file_reader(PRODUCT, ProductError)
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
        product has one (it does not distinguish active from passive; all is marked as passive);
        ``local_incidence`` and ``ellipsoid_incidence`` in degrees if present.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ProductError
        If it is not one such product, or damaged.

    References
    ----------
    Product Specification Document for the OPERA Radiometric Terrain-Corrected SAR Backscatter
    from Sentinel-1, JPL D-108758: layers, mask and metadata.
    """
    files = find_files(source)
    rasters = {name: path for name, path in files.items() if IMAGE.search(name)}
    tables = [path for name, path in files.items() if name.lower().endswith(".h5")]
    if not rasters and not tables:
        msg = f"found neither GeoTIFFs (…_VV.tif) nor HDF5 (….h5) of OPERA RTC-S1 in '{source}'"
        raise ProductError(msg)
    if not rasters:
        return _open_hdf5(tables, chunks)
    products = {found[0] for name in rasters if (found := OPERA_NAME.search(name))}
    if len(products) != 1:
        others = ", ".join(sorted(products)) or "names of another kind"
        msg = f"found {others} in '{source}', expected the files of one OPERA RTC-S1 product"
        raise ProductError(msg)
    images, tags = {}, {}
    for name, path in rasters.items():
        images[IMAGE.search(name)[1]] = power(open_raster(path, chunks))  # type: ignore[index]
        with rasterio.open(path, driver="GTiff") as file:
            tags = {key.lower(): text for key, text in file.tags().items()}
    return _opera_dataset(products.pop(), images, _opera_layers(files, chunks), tags)


def _opera_layers(files: Mapping[str, str], chunks: Any) -> dict[str, xr.DataArray]:  # noqa: ANN401
    """Open the mask and the static layers among the GeoTIFFs."""
    layers = {}
    for name, path in files.items():
        stem = name.rpartition(".")[0]
        if not name.lower().endswith((".tif", ".tiff")):
            continue
        if stem.endswith(("_mask", "_layover_shadow_mask")):
            layers["mask"] = relabel(open_raster(path, chunks), OPERA_FLAGS)
        for ending, (variable, text) in ANGLES.items():
            if stem.endswith(f"_{ending}") and variable not in layers:
                angle = open_raster(path, chunks)
                layers[variable] = angle.assign_attrs(long_name=text, units="degree")
                break
    return layers


def _open_hdf5(paths: list[str], chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read an HDF5 file of OPERA."""
    if len(paths) != 1 or paths[0].startswith("/vsi"):
        msg = f"found {', '.join(paths)}, expected one HDF5 file that is not packed"
        raise ProductError(msg)
    (path,) = paths
    check_hdf5(path, "an HDF5 file of OPERA", ProductError)
    try:
        data = _group(path, "data", chunks)
        identification = _group(path, "identification", None)
    except (OSError, KeyError, ValueError) as error:
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

    images = {name: power(on_map(name)) for name in ("VV", "VH", "HH", "HV") if name in data}
    masks = [name for name in MASK_NAMES if name in data]
    layers = {"mask": relabel(on_map(masks[0]), OPERA_FLAGS)} if masks else {}
    tags = {
        _snake(str(name)): _text(value.values) for name, value in identification.variables.items()
    }
    name = tags.get("product_id") or Path(path).stem
    return _opera_dataset(name, images, layers, tags)


def _group(path: str, group: str, chunks: Any) -> xr.Dataset:  # noqa: ANN401
    dataset = xr.open_dataset(path, group=group, engine="netcdf4", chunks=chunks, decode_cf=False)
    if chunks is None:
        with dataset:
            return dataset.load()
    return dataset


def _snake(name: str) -> str:
    """Return the name of a field, such as ``absoluteOrbitNumber``, as the GeoTIFFs spell it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _text(value: Any) -> str:  # noqa: ANN401  # of HDF5
    item = value.item() if np.ndim(value) == 0 else ""
    return item.decode("utf-8", errors="replace") if isinstance(item, bytes) else str(item)


def _opera_dataset(
    name: str,
    images: Mapping[str, xr.DataArray],
    layers: Mapping[str, xr.DataArray],
    tags: Mapping[str, str],
) -> xr.Dataset:
    found = OPERA_NAME.search(name)
    start = tags.get("zero_doppler_start_time") or (iso_time(found["start"]) if found else "")
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
    return flattened_dataset(
        images,
        layers,
        radiometry="gamma0",
        source="OPERA RTC-S1",
        product_name=name,
        acquisition=acquisition,
    )


def _utc(text: str) -> str:
    return text if not text or text.endswith("Z") else f"{text}Z"


# Sentinel-1 RTC of the Planetary Computer: a STAC item with one COG per polarisation.

POLARISATIONS = ("vv", "vh", "hh", "hv")


class Item(Protocol):
    """A STAC item that can be converted to a mapping, such as one of pystac."""

    def to_dict(self) -> dict[str, Any]:
        """Return the item as mapping."""
        ...


@file_reader(PRODUCT, ProductError)
def open_planetary(
    item: Item | Mapping[str, Any] | str | os.PathLike[str],
    *,
    chunks: Any = None,  # noqa: ANN401  # as xarray has it
) -> xr.Dataset:
    """Read a Sentinel-1 RTC image of Microsoft's Planetary Computer.

    Parameters
    ----------
    item : pystac.Item, mapping, or path
        The STAC item, signed (see `sarheight.fetch`), or the path of its JSON file. The images may
        also lie in the folder of that file.
    chunks : None, int, str or mapping, optional
        None reads all into memory; else the dask chunks, as `xarray.open_dataset` has them:
        then only what is used is downloaded.

    Returns
    -------
    xarray.Dataset
        ``gamma0``, linear power, dims (polarisation, y, x).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ProductError
        If it is no such item, or an image is damaged.
    UnsafeAddressError
        If the item refers to a file outside its folder, or to a private address.

    References
    ----------
    Planetary Computer, collection ``sentinel-1-rtc``: gamma0 as float32, nodata -32768.
    """
    record, folder = _read_item(item)
    properties, assets = record.get("properties", {}), record.get("assets", {})
    name = str(record.get("id", ""))
    images = {
        key.upper(): power(open_raster(_address(str(assets[key]["href"]), folder), chunks))
        for key in POLARISATIONS
        if key in assets
    }
    if not images:
        msg = f"found assets {', '.join(assets) or 'of no name'} in the item '{name}', expected vv"
        raise ProductError(msg)
    start = properties.get("start_datetime") or properties.get("datetime")
    platform = str(properties.get("platform", ""))
    acquisition = {
        "mission": platform.upper().replace("SENTINEL-1", "S1"),
        "mode": properties.get("sar:instrument_mode"),
        "start": start,
        "end": properties.get("end_datetime") or start,
        "orbit_state": properties.get("sat:orbit_state"),
        "looks": properties.get("sar:looks_equivalent_number"),
        **orbit_numbers(name),
        "absolute_orbit": properties.get("sat:absolute_orbit"),
        "relative_orbit": properties.get("sat:relative_orbit"),
    }
    return flattened_dataset(
        images,
        {},
        radiometry="gamma0",
        source="Planetary Computer Sentinel-1 RTC",
        product_name=name,
        acquisition=acquisition,
    )


def _read_item(
    item: Item | Mapping[str, Any] | str | os.PathLike[str],
) -> tuple[Mapping[str, Any], Path | None]:
    """Return the item as a mapping, and its folder."""
    if isinstance(item, Mapping):
        return item, None
    if not isinstance(item, str | os.PathLike):
        return item.to_dict(), None
    path = Path(item)
    record = read_json(path, ProductError)
    return record, path.parent.resolve()


def _address(href: str, folder: Path | None) -> str:
    """Return the address of an image for GDAL, if it is safe: items are written by others."""
    from sarheight.fetch.addresses import AddressRule, host_of

    if "://" in href:
        rule = AddressRule()
        rule.check(href)
        try:
            rule.check_host(host_of(href), 443)
        except OSError as error:
            if isinstance(error, UnsafeAddressError):
                raise
            msg = f"'{href.partition('?')[0]}' cannot be reached ({error})"
            raise ProductError(msg) from error
        return f"/vsicurl/{href}"
    target = None if folder is None else (folder / href).resolve()
    if target is None or folder is None or not target.is_relative_to(folder):
        msg = (
            f"the item names the file {href!r}, which is not in its folder: nothing was read. "
            "Pass the path of the item, with the images beside it, or an item with https addresses"
        )
        raise UnsafeAddressError(msg)
    return str(target)


# Products of all archives.


@file_reader(PRODUCT, ProductError)
def open_rtc(
    source: PathLike | Sequence[PathLike] | Item | Mapping[str, Any],
    *,
    chunks: Any = None,  # noqa: ANN401  # as xarray has it
) -> xr.Dataset:
    """Read a terrain-flattened Sentinel-1 image of OPERA, HyP3 or the Planetary Computer.

    Parameters
    ----------
    source : path, sequence of paths, pystac.Item or mapping
        As for `open_opera`, `open_hyp3` or `open_planetary`.
    chunks : None, int, str or mapping, optional
        None reads all into memory; else the dask chunks, as `xarray.open_dataset` has them.

    Returns
    -------
    xarray.Dataset
        ``gamma0`` (or ``sigma0``) in linear power, dims (polarisation, y, x), and the other layers
        of the product. Its attribute ``terrain_flattened`` is True.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ProductError
        If it is none of these products, or damaged.
    """
    if isinstance(source, Mapping) or not isinstance(source, str | os.PathLike | Sequence):
        return open_planetary(source, chunks=chunks)
    if isinstance(source, str | os.PathLike) and Path(source).suffix.lower() == ".json":
        return open_planetary(source, chunks=chunks)
    names = list(find_files(source))
    for name, opener in ((OPERA_NAME, open_opera), (HYP3_NAME, open_hyp3)):
        if any(name.search(file) for file in names):
            return opener(source, chunks=chunks)
    shown = ", ".join(names[:3]) or "nothing"
    msg = (
        f"found {shown} in '{source}', expected an RTC product of OPERA (OPERA_L2_RTC-S1_…), of "
        "HyP3 (S1A_IW_…_RTC30_G_gpuned_…), or a STAC item; if the files were renamed, call "
        "open_opera or open_hyp3"
    )
    raise ProductError(msg)
