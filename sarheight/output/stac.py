"""STAC items beside results."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._runtime import nodata_value
from sarheight.output._provenance import file_digest
from sarheight.output.grid import SPATIAL, bounding_box, footprint, grid_transform
from sarheight.scene import acquisitions

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import pystac
    import xarray as xr

MEDIA_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".tiff": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".nc": "application/netcdf",
    ".zarr": "application/vnd.zarr; version=2",
}
STATISTICS = {
    "minimum": "STATISTICS_MINIMUM",
    "maximum": "STATISTICS_MAXIMUM",
    "mean": "STATISTICS_MEAN",
    "stddev": "STATISTICS_STDDEV",
    "valid_percent": "STATISTICS_VALID_PERCENT",
}
"""The tags of a band, by the names that STAC has for them."""


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not known."""
    return {name: value for name, value in values.items() if value is not None}


def multihash(sha256: str) -> str:
    """Write a SHA-256 as multihash: its kind and its length go first."""
    return f"1220{sha256}"


def asset_of(dataset: xr.Dataset, href: str, file: Path | None) -> pystac.Asset:
    """Describe the file of a result."""
    import pystac

    suffix = Path(href).suffix.lower()
    if file is not None and suffix in {".tif", ".tiff"}:
        bands = _bands_of_file(file)
    else:
        bands = _bands_of_variables(dataset)
    extra: dict[str, Any] = {
        "bands": bands,
        "raster:sampling": "area",
        "raster:spatial_resolution": _resolution(dataset),
    }
    if file is not None and file.is_file():
        extra["file:size"] = file.stat().st_size
        extra["file:checksum"] = multihash(file_digest(file))
    return pystac.Asset(
        href,
        title=str(dataset.attrs.get("title", "")) or None,
        media_type=MEDIA_TYPES.get(suffix),
        roles=["data"],
        extra_fields=extra,
    )


def _bands_of_file(file: Path) -> list[dict[str, Any]]:
    """Describe the bands of a GeoTIFF from what is in it."""
    import rasterio

    bands = []
    with rasterio.open(file) as source:
        for index in source.indexes:
            tags = source.tags(index)
            found = {name: float(tags[tag]) for name, tag in STATISTICS.items() if tag in tags}
            bands.append(
                known(
                    {
                        "name": source.descriptions[index - 1],
                        "description": tags.get("long_name"),
                        "data_type": source.dtypes[index - 1],
                        "nodata": _nodata(source.nodatavals[index - 1]),
                        "unit": source.units[index - 1] or None,
                        "statistics": found or None,
                    }
                )
            )
    return bands


def _bands_of_variables(dataset: xr.Dataset) -> list[dict[str, Any]]:
    return [
        known(
            {
                "name": str(name),
                "description": variable.attrs.get("long_name"),
                "data_type": str(variable.dtype),
                "nodata": _nodata(nodata_value(variable)),
                "unit": variable.attrs.get("units"),
            }
        )
        for name, variable in dataset.data_vars.items()
    ]


def _nodata(value: Any) -> float | int | str | None:  # noqa: ANN401  # of the band's type
    if value is None:
        return None
    number = float(value)
    if np.isnan(number):
        return "nan"
    return int(number) if number.is_integer() else number


def _resolution(dataset: xr.Dataset) -> float:
    """Measure the posting on the ground in metres, the mean of both directions."""
    from pyproj import CRS

    from sarheight.dem.datum import metres_per_unit

    steps = grid_transform(dataset)
    x, y = (float(dataset[name][[0, -1]].mean()) for name in ("x", "y"))
    crs = CRS.from_wkt(dataset.rio.crs.to_wkt())
    per_y, per_x = metres_per_unit(crs, x, y, 0.5 * (abs(steps.a) + abs(steps.e)))
    return round(0.5 * (per_x * abs(steps.a) + per_y * abs(steps.e)), 3)


# A STAC item beside a result: where it lies, when and how it was taken, and what is in it.

STAC_SUFFIX = ".stac.json"

SCHEMA = "https://stac-extensions.github.io/{}/schema.json"
SAR, SAT, PROJECTION, PROCESSING, RASTER, FILE = (
    SCHEMA.format(name)
    for name in (
        "sar/v1.0.0",
        "sat/v1.0.0",
        "projection/v2.0.0",
        "processing/v1.2.0",
        "raster/v2.0.0",
        "file/v2.1.0",
    )
)
POLARISATIONS = {"HH", "HV", "VH", "VV"}
# Lower ends of the frequency bands in GHz (IEEE Std 521-2019).
FREQUENCY_BANDS = {
    "P": 0.0,
    "L": 1.0,
    "S": 2.0,
    "C": 4.0,
    "X": 8.0,
    "Ku": 12.0,
    "K": 18.0,
    "Ka": 27.0,
}


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
        Name of the item; that of the file without its suffix by default.

    Returns
    -------
    pystac.Item
        With the extensions ``projection``, ``raster`` and ``processing``; ``sat`` where the
        passes agree on something of the orbit, ``sar`` where mode and polarisations are known,
        and ``file`` where there is a file. The outline is that of the grid. A link
        ``derived_from`` names each file among the inputs in the attribute ``provenance``.

    Raises
    ------
    ValueError
        If the dataset does not say when its images were taken, or has no grid or CRS.

    References
    ----------
    STAC specification 1.1.0, item; extensions sar 1.0.0, sat 1.0.0, projection 2.0.0, raster
    2.0.0, processing 1.2.0, file 2.1.0.
    """
    import pystac

    records = require_acquisitions(dataset)
    local = Path(href if file is None else file)
    local_file = local if local.exists() else None
    made = _provenance(dataset)
    geometry = footprint(dataset)
    start = min(_time(record["start"]) for record in records)
    end = max(_time(record["end"]) for record in records)
    middle = start + 0.5 * (end - start) if len(records) == 1 else None
    item = pystac.Item(
        id=identifier or Path(href).stem,
        geometry=geometry,
        bbox=bounding_box(geometry),
        datetime=middle,
        start_datetime=start,
        end_datetime=end,
        properties={},
        stac_extensions=[PROJECTION, RASTER, PROCESSING],
    )
    title = dataset.attrs.get("title")
    item.properties |= {"title": str(title)} if title else {}
    item.properties |= {"created": made["created"]} if "created" in made else {}
    item.properties |= _platform(records) | _projection(dataset) | _processing(dataset, made)
    for extension, fields in ((SAT, _satellite(records)), (SAR, _radar(records))):
        if fields:
            item.properties |= fields
            item.stac_extensions.append(extension)
    if local_file is not None and local_file.is_file():
        item.stac_extensions.append(FILE)
    item.add_asset("data", asset_of(dataset, str(href), local_file))
    for link in _sources(made):
        item.add_link(link)
    return item


def require_acquisitions(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Return what a dataset says of its images, or raise if it says nothing."""
    records = acquisitions(dataset.attrs)
    if not records:
        msg = (
            "the dataset does not say when its images were taken (it has no attribute "
            "'acquisition'), and a STAC item must; describe what `reconstruct` or `masks` returned"
        )
        raise ValueError(msg)
    return records


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _shared(records: list[dict[str, Any]], name: str) -> Any:  # noqa: ANN401  # of JSON
    """Return what all records say alike; None where they differ or say nothing."""
    values = [record.get(name) for record in records]
    return values[0] if values[0] and all(value == values[0] for value in values) else None


def _platform(records: list[dict[str, Any]]) -> dict[str, Any]:
    mission = _shared(records, "mission")
    if all(re.fullmatch(r"S1[A-D]", record.get("mission", "")) for record in records):
        one = None if mission is None else f"sentinel-1{mission[-1].lower()}"
        return known({"platform": one, "constellation": "sentinel-1", "instruments": ["c-sar"]})
    return known({"platform": None if mission is None else mission.lower()})


def _satellite(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of the extension ``sat`` on which all passes agree."""
    names = ("orbit_state", "absolute_orbit", "relative_orbit")
    return known({f"sat:{name}": _shared(records, name) for name in names})


def _radar(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of the extension ``sar``; none where those that it needs are unknown."""
    mode, product = _shared(records, "mode"), _shared(records, "product")
    named = sorted(set(chain.from_iterable(record["polarisations"] for record in records)))
    if mode is None or product is None or not named or not set(named) <= POLARISATIONS:
        return {}
    frequency = records[0]["center_frequency"]
    band = [name for name, lowest in FREQUENCY_BANDS.items() if frequency >= lowest][-1]
    return known(
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

    crs = CRS.from_wkt(dataset.rio.crs.to_wkt())
    authority = crs.to_authority()
    transform = grid_transform(dataset)
    rows, columns = (dataset.sizes[name] for name in SPATIAL)
    x = [transform.c, transform.c + columns * transform.a]
    y = [transform.f, transform.f + rows * transform.e]
    place: dict[str, Any] = {"proj:code": None if authority is None else ":".join(authority)}
    if authority is None:
        place["proj:wkt2"] = crs.to_wkt("WKT2_2019")
    return place | {
        "proj:shape": [rows, columns],
        "proj:transform": list(transform)[:6],
        "proj:bbox": [min(x), min(y), max(x), max(y)],
    }


def _processing(dataset: xr.Dataset, made: Mapping[str, Any]) -> dict[str, Any]:
    from importlib.metadata import version

    release = version("sarheight")
    lineage = str(dataset.attrs.get("title") or "Radar data on a map grid")
    settings = made.get("parameters") or json.loads(dataset.attrs.get("parameters", "{}"))
    if settings:
        lineage += f". Settings: {json.dumps(settings)}"
    return known(
        {
            "processing:level": "L2",
            "processing:lineage": lineage,
            "processing:version": release,
            "processing:datetime": made.get("created"),
            "processing:software": made.get("software", {"sarheight": release}),
        }
    )


def _provenance(dataset: xr.Dataset) -> dict[str, Any]:
    found = dataset.attrs.get("provenance", {})
    made: dict[str, Any] = json.loads(found) if isinstance(found, str) else dict(found)
    return made


def _sources(made: Mapping[str, Any]) -> list[pystac.Link]:
    """Link the files among the inputs."""
    import pystac

    links = []
    for name, given in made.get("inputs", {}).items():
        if "path" not in given:
            continue
        extra = {}
        if "sha256" in given and not given.get("files"):
            extra = {"file:checksum": multihash(given["sha256"]), "file:size": given["bytes"]}
        links.append(
            pystac.Link("derived_from", given["path"], title=str(name), extra_fields=extra)
        )
    return links
