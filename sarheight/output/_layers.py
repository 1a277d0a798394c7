"""Folders of layers: a Cloud Optimised GeoTIFF for each variable and polarisation, and STAC items.

Programs that read STAC open a layer by the name of its asset, such as ``gamma0_vv``. The names are
the same whatever was computed beside it. A result of several dates has an item for each.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import rasterio
import rioxarray
import xarray as xr

from sarheight._files import file_errors, read_json
from sarheight.errors import DamagedFileError
from sarheight.layover.result import VARIABLES
from sarheight.output._bands import (
    PACKINGS,
    Band,
    expand_coordinates,
    label_text,
    labels_of,
    list_bands,
    merge_bands,
)
from sarheight.output._geotiff import (
    copy_cog,
    gdal_errors_as_oserror,
    north_up,
    restore_dataset,
    write_scratch,
)
from sarheight.output._provenance import file_digest
from sarheight.output.grid import TIME, grid_transform
from sarheight.output.stac import STAC_SUFFIX, layers_item, records_by_time

if TYPE_CHECKING:
    from pathlib import Path

GEOTIFF = ".tif"


def write_layers(dataset: xr.Dataset, folder: Path, name: str, *, backscatter: str) -> None:
    """Write a result as layers ``<name>_gamma0_vv.tif``, and a STAC item for each date.

    `folder` is created; scratch files lie beside it.
    """
    ordered = expand_coordinates(north_up(dataset))
    bands = list_bands(ordered, PACKINGS[backscatter])
    dates = _date_names(ordered)
    assets: list[dict[str, Path]] = [{} for _ in dates]
    folder.mkdir()
    with gdal_errors_as_oserror():
        layers, checksums, overviews = write_scratch(
            ordered,
            bands,
            folder.parent,
            alone=True,
            crs=dataset.rio.crs,
            transform=grid_transform(ordered),
        )
        for index, (layer, band) in enumerate(zip(layers, bands, strict=True)):
            date = _date_index(band)
            parts = (name, "" if date is None else dates[date], layer_name(band))
            path = folder / f"{'_'.join(filter(None, parts))}{GEOTIFF}"
            own = [(window, [sums[index]]) for window, sums in checksums]
            copy_cog(layer.path, path, own, overviews)
            layer.path.unlink()
            # What has no date belongs to all of them.
            for number in range(len(dates)) if date is None else [date]:
                assets[number][layer_name(band)] = path
    for text, files, records in zip(dates, assets, records_by_time(dataset), strict=True):
        identifier = "_".join(filter(None, (name, text)))
        item = layers_item(dataset, files, records, identifier)
        described = item.to_dict(include_self_link=False, transform_hrefs=False)
        beside = folder / f"{identifier}{STAC_SUFFIX}"
        beside.write_text(json.dumps(described, indent=2, allow_nan=False), encoding="utf-8")


def layer_name(band: Band) -> str:
    """Return the name of a layer and its asset: the variable, and its labels but the date."""
    labels = zip(band.dimensions, band.labels, strict=True)
    return "_".join([band.variable, *(label_text(*one) for one in labels if one[0] != TIME)])


def _date_index(band: Band) -> int | None:
    """Return the place of a band along the dates; None for a variable without them."""
    return dict(zip(band.dimensions, band.indices, strict=True)).get(TIME)


def _date_names(dataset: xr.Dataset) -> list[str]:
    """Name the dates of a result; the only date needs no name."""
    if TIME not in dataset.dims:
        return [""]
    names = [label_text(TIME, label) for label in labels_of(dataset, TIME)]
    return [
        # Images of the same second are numbered.
        f"{name}_{names[:index].count(name) + 1}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def list_layers(folder: Path) -> list[Path]:
    """List the layers in a folder, which may hold other files; raise where some are missing."""
    for item in sorted(folder.glob(f"*{STAC_SUFFIX}")):
        assets = read_json(item).get("assets", {})
        lost = [name for name, asset in assets.items() if not (folder / asset["href"]).is_file()]
        if lost:
            msg = (
                f"'{folder}' is incomplete: found no {', '.join(lost)}, which '{item.name}' lists; "
                "copy the folder again from where it was whole, or compute it again"
            )
            raise DamagedFileError(msg)
    layers = []
    for path in sorted(folder.glob(f"*{GEOTIFF}")):
        with rasterio.open(path, driver="GTiff") as file:
            if file.count == 1 and "BAND_VARIABLE" in file.tags(1):
                layers.append(path)
    if not layers:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        msg = (
            f"'{folder}' is no folder of layers: found {found}, expected GeoTIFF files of a result"
        )
        raise ValueError(msg)
    return layers


def _check_contents(folder: Path) -> None:
    """Compare layers with their sizes and checksums in the STAC items beside them."""
    for item in sorted(folder.glob(f"*{STAC_SUFFIX}")):
        for asset in read_json(item).get("assets", {}).values():
            path = folder / asset["href"]
            # A multihash ends in the SHA-256.
            checksum = asset.get("file:checksum")
            if checksum is not None and not str(checksum).endswith(file_digest(path)):
                msg = (
                    f"'{path}' differs from its checksum in '{item.name}', so it is damaged or was "
                    "changed: copy it again from where it was whole, or remove the item"
                )
                raise DamagedFileError(msg)


def read_layers(folder: Path, chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read a result from a folder that `write_layers` has written."""
    with file_errors(folder, "a folder of layers"):
        return _read_layers(folder, chunks)


def _read_layers(folder: Path, chunks: Any) -> xr.Dataset:  # noqa: ANN401
    images: dict[str, list[xr.DataArray]] = {}
    tags: dict[str, list[dict[str, str]]] = {}
    file_tags: dict[str, str] = {}
    layers = list_layers(folder)
    if chunks is None:  # else only what is used is read
        _check_contents(folder)
    for path in layers:
        with rasterio.open(path, driver="GTiff") as file:
            tag, file_tags = file.tags(1), file.tags()
        image = rioxarray.open_rasterio(path, chunks=chunks, driver="GTiff")
        assert isinstance(image, xr.DataArray)  # noqa: S101  # for the type checker: of one dataset
        if chunks is None:
            image.load().close()
        image.encoding = {}
        images.setdefault(tag["BAND_VARIABLE"], []).append(image)
        tags.setdefault(tag["BAND_VARIABLE"], []).append(tag)
    known = [name for name in VARIABLES if name in images]
    dataset = xr.Dataset()
    for name in dict.fromkeys([*known, *images]):
        order = sorted(
            range(len(images[name])), key=lambda k: json.loads(tags[name][k]["BAND_INDICES"])
        )
        stacked = xr.concat([images[name][k] for k in order], "band", combine_attrs="drop")
        merged = merge_bands(stacked, [tags[name][k] for k in order])
        dataset[name] = merged[name].drop_vars("band", errors="ignore")
        dataset[name].encoding["grid_mapping"] = "spatial_ref"
    return restore_dataset(dataset, file_tags)
