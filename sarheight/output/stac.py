"""STAC items beside results: footprint, time, acquisition, file and bands.

rio-stac makes items of rasters alone: it does not cut footprints at the antimeridian, samples
statistics, and writes the fields of earlier versions of STAC.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._rasters import open_alone
from sarheight._runtime import nodata_value
from sarheight.acquisition import acquisitions
from sarheight.output._bands import PACKED
from sarheight.output._provenance import file_digest
from sarheight.output._renders import ZARR, renders
from sarheight.output.ceos import CEOS_NRB, PROFILE, add_ceos_fields
from sarheight.output.grid import (
    SCALE,
    TIME,
    MapGrid,
    decode_attributes,
    footprint,
    ground_resolution,
)
from sarheight.output.stores import level_groups, zarr_version

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    import pystac
    import xarray as xr

MEDIA_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".tiff": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".nc": "application/netcdf",
    ".zarr": ZARR,
}
EARLIER_ZARR = "application/vnd.zarr; version=2"
STORE, BACKSCATTER = "zarr-store", "gamma0-rtc-backscatter"
"""Names of assets as EOPF Explorer has them for terrain-corrected images of Sentinel-1: the whole
store, and gamma0 of a pass, with its direction behind the name."""
DIRECTIONS = {"ascending": "asc", "descending": "desc"}
# Statistics by their names in STAC, and the tags of a band that hold them.
STATISTICS = {
    name: f"STATISTICS_{name.upper()}"
    for name in ("minimum", "maximum", "mean", "stddev", "valid_percent")
}
STAC_SUFFIX = ".stac.json"

SAR, SAT, PROJECTION, PROCESSING, RASTER, FILE, CLASSIFICATION, RENDER, GRID = (
    f"https://stac-extensions.github.io/{extension}/schema.json"
    for extension in (
        "sar/v1.0.0",
        "sat/v1.0.0",
        "projection/v2.0.0",
        "processing/v1.2.0",
        "raster/v2.0.0",
        "file/v2.1.0",
        "classification/v2.0.0",
        "render/v2.0.0",
        "grid/v1.1.0",
    )
)
CATALOGUE = "https://catalogue.dataspace.copernicus.eu/odata/v1/Products?$filter=Name%20eq%20"
"""Where a Sentinel-1 product is found by its name."""
MGRS_LETTERS = 5
"""Signs of the name of a tile of Sentinel-2."""
DIGITS = 12
"""Hexadecimal digits at the end of the identifier of an item."""
POLARISATIONS = {"HH", "HV", "VH", "VV"}
# Lower ends of the frequency bands in GHz (IEEE Std 521-2019).
FREQUENCY_BANDS = dict(P=0.0, L=1.0, S=2.0, C=4.0, X=8.0, Ku=12.0, K=18.0, Ka=27.0)  # noqa: C408


def stac_item(
    dataset: xr.Dataset,
    href: str | os.PathLike[str],
    *,
    file: str | os.PathLike[str] | None = None,
    identifier: str | None = None,
) -> pystac.Item:
    """Describe a result as STAC item.

    Parameters
    ----------
    dataset : xarray.Dataset
        What `sarheight.layover.reconstruct` or `sarheight.layover.masks` returns, or
        `sarheight.output.open_result` reads: its attributes tell how the images were taken.
    href : str or path
        Where the file of the result is or will be, as the item shall name it.
    file : path-like, optional
        The file on this machine, for its size, checksum and bands; `href` by default if there is
        such a file.
    identifier : str, optional
        Name of the item. By default it follows from the images, the grid and the method: the same
        result has the same one wherever it is, and no other has it.

    Returns
    -------
    pystac.Item
        With the extensions ``projection``, ``raster`` and ``processing``; ``sat`` where the
        passes agree on something of the orbit, ``sar`` where mode and polarisations are known,
        ``classification`` where bands hold codes, ``render`` where it has layers that a tile server
        can draw, ``grid`` where the grid is that of a tile of Sentinel-2 (see
        `sarheight.dem.mgrs_grid`), and ``file`` where there is a file. The asset ``data`` is the
        result. That of a Zarr store is also called ``zarr-store``, and its linear gamma0 of one
        direction of flight ``gamma0-rtc-backscatter-asc`` or ``-desc``, as EOPF Explorer calls
        them. The outline is that of the grid. Links ``derived_from`` lead to the products in their
        catalogue and to inputs that have an address; ``sarheight:inputs`` lists the names and
        checksums of all files among the inputs in the attribute ``provenance``.

    Raises
    ------
    ValueError
        If the dataset does not say when its images were taken, or has no grid or CRS.

    References
    ----------
    STAC specification 1.1.0, item; extensions sar 1.0.0, sat 1.0.0, projection 2.0.0, raster
    2.0.0, processing 1.2.0, file 2.1.0, classification 2.0.0, render 2.0.0, grid 1.1.0.
    """
    records = require_acquisitions(dataset)
    local = Path(href if file is None else file)
    item = _item(dataset, records, identifier)
    if local.is_file():
        item.stac_extensions.append(FILE)
    item.add_asset("data", _asset(dataset, str(href), local))
    _declare_classes(item)
    _add_renders(item, dataset)
    if Path(href).suffix.lower() == ".zarr":
        for name, asset in _eopf_assets(dataset, records, item.assets["data"], local):
            item.add_asset(name, asset)
    return item


def write_item(item: pystac.Item, path: Path) -> None:
    """Write an item whose addresses are relative to its place."""
    described = item.to_dict(include_self_link=False, transform_hrefs=False)
    path.write_text(json.dumps(described, indent=2, allow_nan=False), encoding="utf-8")


def layers_item(
    dataset: xr.Dataset,
    files: Mapping[str, Path],
    records: list[dict[str, Any]],
    digests: Mapping[Path, str],
) -> pystac.Item:
    """Describe the layers of one date: an asset for each, whose key is the name of the layer.

    `digests` holds the SHA-256 of each file.
    """
    item = _item(dataset, records)
    item.stac_extensions.append(FILE)
    for name, path in files.items():
        asset = _asset(dataset, f"./{path.name}", path, digests[path])
        asset.title = asset.extra_fields["bands"][0].get("description")
        asset.roles = ["data"] if name.startswith(PACKED) else ["metadata"]
        item.add_asset(name, asset)
    _declare_classes(item)
    _add_renders(item, dataset)
    return item


def _item(
    dataset: xr.Dataset, records: list[dict[str, Any]], identifier: str | None = None
) -> pystac.Item:
    """Make an item without assets."""
    import antimeridian
    import pystac

    origin = _provenance(dataset)
    geometry = footprint(dataset)
    start = min(_time(record["start"]) for record in records)
    end = max(_time(record["end"]) for record in records)
    item = pystac.Item(
        id=identifier or _identifier(dataset, records),
        geometry=geometry,
        bbox=antimeridian.bbox(geometry),
        datetime=start + 0.5 * (end - start) if len(records) == 1 else None,
        start_datetime=start,
        end_datetime=end,
        properties=_without_empty(
            {
                "title": dataset.attrs.get("title"),
                "created": origin.get("created"),
                "sarheight:inputs": _inputs(origin),
            }
        )
        | _platform(records)
        | _projection(dataset)
        | _processing(dataset, origin),
        stac_extensions=[PROJECTION, RASTER, PROCESSING],
    )
    for extension, fields in (
        (SAT, _satellite(records)),
        (SAR, _radar(records)),
        (GRID, _tile(dataset)),
    ):
        if fields:
            item.properties |= fields
            item.stac_extensions.append(extension)
    if dataset.attrs.get(PROFILE) == CEOS_NRB:
        add_ceos_fields(item, dataset.attrs, records)
    item.add_links(list(_source_links(origin, records)))
    return item


def _identifier(dataset: xr.Dataset, records: list[dict[str, Any]]) -> str:
    """Name a result by its first image, and a checksum of all images, the grid and the method."""
    first = min(records, key=lambda record: str(record["start"]))
    moment = re.sub(r"\.\d+|\D(?<!T)", "", str(first["start"]))
    scene = first.get("product_name") or f"{first.get('mission') or 'radar'}_{moment}"
    title, method = (str(dataset.attrs.get(name, "")) for name in ("title", "parameters"))
    content = json.dumps([records, _projection(dataset), title, method, sorted(map(str, dataset))])
    digest = hashlib.sha256(content.encode()).hexdigest()
    return f"{str(scene).partition('.')[0]}_{digest[:DIGITS]}"


def require_acquisitions(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Return the acquisition records of a dataset; raise if it has none."""
    records = acquisitions(dataset.attrs)
    if not records:
        msg = (
            "the dataset does not say when its images were taken (it has no attribute "
            "'acquisition'), and a STAC item must; describe what `reconstruct` or `masks` returned"
        )
        raise ValueError(msg)
    return records


def records_by_time(dataset: xr.Dataset) -> list[list[dict[str, Any]]]:
    """Return the acquisition records of each date of a dataset, or of all where it has no dates.

    Series that were joined along ``time`` may have lost the records of all dates but one: of these
    dates only the time is known.
    """
    records = require_acquisitions(dataset)
    if TIME not in dataset.dims:
        return [records]
    if len(records) == dataset.sizes[TIME]:
        return [[record] for record in records]
    found = []
    for value in dataset[TIME].values:
        text = f"{np.datetime_as_string(value, unit='us')}Z"
        own = [one for one in records if _time(one["start"]) <= _time(text) <= _time(one["end"])]
        found.append(own[:1] or [{"start": text, "end": text, "polarisations": []}])
    return found


def _without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the fields whose values are unknown."""
    return {name: value for name, value in fields.items() if value not in (None, "", {}, [])}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _shared(records: list[dict[str, Any]], name: str) -> Any:  # noqa: ANN401  # of JSON
    """Return the value that all records share; None where they differ or have none."""
    values = [record.get(name) for record in records]
    return values[0] if values[0] and all(value == values[0] for value in values) else None


def _platform(records: list[dict[str, Any]]) -> dict[str, Any]:
    mission = _shared(records, "mission") or ""
    if all(re.fullmatch(r"S1[A-D]", record.get("mission", "")) for record in records):
        satellite = mission and f"sentinel-1{mission[-1].lower()}"
        fleet = {"constellation": "sentinel-1", "instruments": ["c-sar"]}
        return _without_empty({"platform": satellite}) | fleet
    return _without_empty({"platform": mission.lower()})


def _satellite(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of the extension ``sat`` on which all passes agree."""
    names = ("orbit_state", "absolute_orbit", "relative_orbit")
    return _without_empty({f"sat:{name}": _shared(records, name) for name in names})


def _radar(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of the extension ``sar``; none where a required one is unknown."""
    mode, product = _shared(records, "mode"), _shared(records, "product")
    named = sorted(set(chain.from_iterable(record["polarisations"] for record in records)))
    if mode is None or product is None or not named or not set(named) <= POLARISATIONS:
        return {}
    frequency = records[0]["center_frequency"]
    band = [name for name, lowest in FREQUENCY_BANDS.items() if frequency >= lowest][-1]
    return _without_empty(
        {
            "sar:instrument_mode": mode,
            "sar:frequency_band": band,
            "sar:center_frequency": frequency,
            "sar:polarizations": named,
            "sar:product_type": product,
            "sar:looks_equivalent_number": _shared(records, "looks"),
            "sar:observation_direction": _shared(records, "look_side"),
        }
    )


def _projection(dataset: xr.Dataset) -> dict[str, Any]:
    from pyproj import CRS

    grid = MapGrid.of(dataset)
    crs = CRS.from_wkt(grid.crs.to_wkt())
    authority = crs.to_authority()
    fields: dict[str, Any] = {"proj:code": ":".join(authority) if authority else None}
    if authority is None:
        fields["proj:wkt2"] = crs.to_wkt("WKT2_2019")
    return fields | {
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.transform)[:6],
        "proj:bbox": list(grid.bounds),
    }


def _tile(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the field of the extension ``grid``, for the grid of a tile of Sentinel-2."""
    from pyproj import CRS, Transformer

    from sarheight.dem.grids import mgrs_grid, mgrs_tile

    grid = MapGrid.of(dataset)
    crs = CRS.from_wkt(grid.crs.to_wkt())
    if not (crs.is_projected and crs.utm_zone):
        return {}
    west, south, east, north = grid.bounds
    middle = 0.5 * (west + east), 0.5 * (south + north)
    name = mgrs_tile(*Transformer.from_crs(crs, 4326, always_xy=True).transform(*middle))
    try:
        tile = mgrs_grid(name, abs(grid.transform.a))
    except ValueError:
        return {}
    same = tile.crs is not None and tile.crs.to_epsg() == crs.to_epsg()
    if not (same and tuple(tile.boundingbox) == grid.bounds and tuple(tile.shape) == grid.shape):
        return {}
    return {"grid:code": f"MGRS-{name.zfill(MGRS_LETTERS)}"}


def _processing(dataset: xr.Dataset, origin: Mapping[str, Any]) -> dict[str, Any]:
    from importlib.metadata import version

    release = version("sarheight")
    lineage = str(dataset.attrs.get("title") or "Radar data on a map grid")
    settings = origin.get("parameters") or json.loads(dataset.attrs.get("parameters", "{}"))
    if settings:
        lineage += f". Settings: {json.dumps(settings)}"
    return _without_empty(
        {
            "processing:level": "L2",
            "processing:lineage": lineage,
            "processing:version": release,
            "processing:datetime": origin.get("created"),
            "processing:software": origin.get("software", {"sarheight": release}),
        }
    )


def _provenance(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the provenance of a dataset, which is JSON text where it was read from a file."""
    stored = dataset.attrs.get("provenance", {})
    origin: dict[str, Any] = json.loads(stored) if isinstance(stored, str) else dict(stored)
    return origin


def _inputs(origin: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the files among the inputs: which they are, and their names, sizes and checksums."""
    return [
        {"name": name, "path": entry["path"], "size": entry.get("bytes")}
        | ({"checksum": _multihash(entry["sha256"])} if "sha256" in entry else {})
        for name, entry in origin.get("inputs", {}).items()
        if "path" in entry
    ]


def _source_links(
    origin: Mapping[str, Any], records: list[dict[str, Any]]
) -> Iterator[pystac.Link]:
    """Return links to the products of the images, and to inputs that have an address."""
    import pystac

    for product in dict.fromkeys(str(record.get("product_name", "")) for record in records):
        if re.fullmatch(r"S1[A-D]_\w+(\.SAFE)?", product):
            href = f"{CATALOGUE}%27{product.removesuffix('.SAFE')}.SAFE%27"
            yield pystac.Link("derived_from", href, "application/json", product)
    for name, entry in origin.get("inputs", {}).items():
        if "://" in str(entry.get("path")):
            yield pystac.Link("derived_from", entry["path"], title=name)


# The asset: the file with its bands.


def _asset(dataset: xr.Dataset, href: str, file: Path, digest: str | None = None) -> pystac.Asset:
    """Describe the file of a result; its size, checksum and GeoTIFF bands where it exists.

    `digest` is its SHA-256, if that is known.
    """
    import pystac

    suffix = Path(href).suffix.lower()
    media = MEDIA_TYPES.get(suffix)
    if suffix == ".zarr" and file.is_dir() and zarr_version(file) == 2:
        media = EARLIER_ZARR
    raster = suffix in {".tif", ".tiff"} and file.exists()
    extra: dict[str, Any] = {
        "bands": _bands_of_file(file) if raster else _bands_of_variables(dataset),
        "raster:sampling": "area",
        "raster:spatial_resolution": ground_resolution(dataset),
    }
    if file.is_file():
        extra["file:size"] = file.stat().st_size
        extra["file:checksum"] = _multihash(digest or file_digest(file))
    return pystac.Asset(
        href,
        title=str(dataset.attrs.get("title", "")) or None,
        media_type=media,
        roles=["data"],
        extra_fields=extra,
    )


def _eopf_assets(
    dataset: xr.Dataset, records: list[dict[str, Any]], data: pystac.Asset, file: Path
) -> Iterator[tuple[str, pystac.Asset]]:
    """Yield assets of a store by the names that EOPF Explorer has for what means the same."""
    import pystac

    yield STORE, pystac.Asset(data.href, data.title, media_type=data.media_type, roles=["data"])
    direction = DIRECTIONS.get(str(_shared(records, "orbit_state")))
    gamma = dataset.get("gamma0")
    names = [str(name) for name in np.atleast_1d(dataset.get("polarisation", ""))]
    if (
        direction is None
        or gamma is None
        or SCALE in gamma.attrs
        or not set(names) <= POLARISATIONS
    ):
        return
    described = {
        "data_type": str(gamma.dtype),
        "nodata": _nodata(nodata_value(gamma)),
        "unit": "gamma0 (linear power)",
    }
    bands = [{"name": name.lower(), **described} for name in names]
    group = level_groups(file)[0] if file.is_dir() else "0"
    yield (
        f"{BACKSCATTER}-{direction}",
        pystac.Asset(
            f"{data.href}/{group}".rstrip("/"),
            str(gamma.attrs.get("long_name", "gamma0")),
            media_type=data.media_type,
            roles=["data"],
            extra_fields={"bands": bands, **described, "gsd": ground_resolution(dataset)},
        ),
    )


def _multihash(sha256: str) -> str:
    """Return a SHA-256 as multihash: the code of the function and the length go first."""
    return f"1220{sha256}"


def _bands_of_file(file: Path) -> list[dict[str, Any]]:
    """Describe the bands of a GeoTIFF by its tags."""
    bands = []
    with open_alone(file) as source:
        for index in source.indexes:
            tags = source.tags(index)
            band = {
                "name": source.descriptions[index - 1],
                "description": tags.get("long_name"),
                "data_type": source.dtypes[index - 1],
                "nodata": _nodata(source.nodatavals[index - 1]),
                "unit": source.units[index - 1],
                "raster:scale": _unless(source.scales[index - 1], 1.0),
                "raster:offset": _unless(source.offsets[index - 1], 0.0),
                **_classes(decode_attributes(tags)),
                "statistics": {
                    name: float(tags[tag]) for name, tag in STATISTICS.items() if tag in tags
                },
            }
            bands.append(_without_empty(band))
    return bands


def _bands_of_variables(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Describe the variables of a NetCDF file or a Zarr store as bands."""
    return [
        _without_empty(
            {
                "name": str(name),
                "description": variable.attrs.get("long_name"),
                "data_type": str(variable.dtype),
                "nodata": _nodata(nodata_value(variable)),
                "unit": variable.attrs.get("units"),
                **_classes(variable.attrs),
            }
        )
        for name, variable in dataset.data_vars.items()
    ]


def _classes(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Describe the codes of a band, or its bits, by their CF flag attributes."""
    from sarheight.plot.maps import MEANING_COLOURS

    meanings = str(attributes.get("flag_meanings", "")).split()
    described = [
        _without_empty(
            {
                "name": re.sub(r"[^\w-]", "_", word, flags=re.ASCII),
                "description": word.replace("_", " "),
                "color_hint": MEANING_COLOURS.get(word, "").removeprefix("#").upper(),
            }
        )
        for word in meanings
    ]
    found = {}
    for name, kind in (("flag_values", "classes"), ("flag_masks", "bitfields")):
        codes = np.atleast_1d(attributes.get(name, ())).astype(int).tolist()
        if 0 < len(codes) == len(meanings):
            found[f"classification:{kind}"] = [
                {"value": code, **one} if kind == "classes" else _bit(code, one)
                for code, one in zip(codes, described, strict=True)
            ]
    return found


def _bit(mask: int, meaning: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a bit, which says that something is so."""
    classes = [{"value": 0, "name": "no"}, {"value": 1, "name": "yes"}]
    named = {key: meaning[key] for key in ("name", "description")}
    return {**named, "offset": mask.bit_length() - 1, "length": 1, "classes": classes}


def _declare_classes(item: pystac.Item) -> None:
    """Declare the extension of codes where a band has them."""
    bands = [band for asset in item.assets.values() for band in asset.extra_fields["bands"]]
    if any(name.startswith("classification:") for band in bands for name in band):
        item.stac_extensions.append(CLASSIFICATION)


def _add_renders(item: pystac.Item, dataset: xr.Dataset) -> None:
    """Add the extension of renders where there are any."""
    found = renders(dataset, item.assets)
    if found:
        item.properties["renders"] = found
        item.stac_extensions.append(RENDER)


def _unless(value: float, default: float) -> float | None:
    return None if value == default else value


def _nodata(value: Any) -> float | int | str | None:  # noqa: ANN401  # of the band's type
    if value is None:
        return None
    number = float(value)
    if np.isnan(number):
        return "nan"
    return int(number) if number.is_integer() else number
