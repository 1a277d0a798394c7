"""The layers of CEOS Analysis Ready Data: Normalised Radar Backscatter.

References
----------
CEOS (2024). CEOS-ARD Product Family Specification: Normalised Radar Backscatter, combined
specification for Synthetic Aperture Radar, version 1.0. https://ceos.org/ard
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import xarray as xr

from sarheight.dem.checked import CheckedDem
from sarheight.dem.layout import same_grid
from sarheight.layover import in_layover, in_shadow
from sarheight.output.grid import POLARISATION, TIME

if TYPE_CHECKING:
    import pystac

PROFILE = "profile"
"""Attribute of a dataset with the name of its profile."""
CEOS_NRB = "ceos-nrb"
NO_DATA = np.uint8(255)
VALID, LAYOVER, SHADOW = (np.uint8(bit) for bit in (1, 2, 4))
"""Bits of the data mask."""
NEEDED = ("gamma0", "sigma0", "mask", "projected_area", "local_incidence", "ellipsoid_incidence")

DETAILS = "ceos_details"
"""Attribute of a dataset: JSON text of what the producer stated."""
LOCATION_ERRORS = {
    # Mean and standard deviation in slant range, then in azimuth, in metres.
    "SM": ((-3.02, 0.26), (2.02, 0.41)),
    "IW": ((-2.99, 0.22), (2.03, 0.53)),
    "EW": ((-3.41, 0.70), (1.37, 2.27)),
}
"""Absolute location error of Sentinel-1 SLC images by mode, without corrections: Schubert, D. and
Small, D., Guide to Sentinel-1 Geocoding, UZH-S1-GC-AD. The range contains the delay in the
atmosphere, the azimuth the bistatic delay, which is corrected here."""
LOCATION_REFERENCE = (
    "https://sentinel.esa.int/documents/247904/1653442/Guide-to-Sentinel-1-Geocoding.pdf"
)
NOISE_REFERENCE = "https://sentiwiki.copernicus.eu/web/s1-processing"

EXTENSION = "https://stac-extensions.github.io/ceos-ard/v0.2.0/schema.json"
SPECIFICATION = (
    "https://ceos.org/ard/files/PFS/SAR/v1.0/CEOS-ARD_PFS_Synthetic_Aperture_Radar_v1.0.pdf"
)


def ceos_nrb(
    result: xr.Dataset,
    dem: xr.DataArray | CheckedDem,
    *,
    noise: xr.DataArray | Sequence[xr.DataArray] | None = None,
    source_url: str = "",
    facility: str = "",
    location: str = "",
) -> xr.Dataset:
    """Add the layers that Normalised Radar Backscatter asks for to a result.

    The specification has more requirements than layers; see the self-assessment in the
    documentation. Only a product whose assessment CEOS has reviewed may be called CEOS-ARD.

    Parameters
    ----------
    result : Dataset
        All variables that `sarheight.layover.reconstruct` returns; lazy or not.
    dem : DataArray or CheckedDem
        The DEM of the reconstruction, on the grid of the result.
    noise : DataArray or sequence of DataArray, optional
        The thermal noise of the image, or of each, as gamma0 on the grid of the result:
        ``reconstruct(product.noise(), dem, method=RTC())["gamma0"]``.
    source_url, location : str, optional
        Where the source product and the result can be retrieved.
    facility : str, optional
        Who made the result.

    Returns
    -------
    Dataset
        The result, and:

        ``data_mask``
            uint8 bits: 1 valid, 2 layover, 4 radar shadow; 255 where there are no data. A cell
            without bit 1 lies in the image and has no value;
        ``gamma_sigma_ratio``
            the factor from gamma0 to sigma0;
        ``acquisition_id``
            uint8, number of the source image, from 1; 255 where there are no data;
        ``dem``
            the heights above the ellipsoid in metres;
        ``noise_power``
            with `noise`: noise-equivalent gamma0, linear power.

        ``projected_area`` is the scattering area. `sarheight.output.write` adds the fields of the
        STAC extension ``ceos-ard``.

    Raises
    ------
    ValueError
        If the result lacks variables, the DEM is on another grid, or an address is none.
    """
    for name, address in (("source_url", source_url), ("location", location)):
        if address and not (urlsplit(address).scheme and urlsplit(address).netloc):
            msg = f"found {name}={address!r}, expected a URL such as https://example.org/product"
            raise ValueError(msg)
    missing = [name for name in NEEDED if name not in result]
    if missing:
        msg = (
            f"found no {', '.join(missing)} in the result, expected all variables: omit "
            "reconstruct(..., variables=)"
        )
        raise ValueError(msg)
    mask, gamma0 = result["mask"], result["gamma0"]
    known = mask != NO_DATA
    valid: xr.DataArray = abs(gamma0) < np.inf
    if POLARISATION in gamma0.dims:
        valid = valid.all(POLARISATION)
    bits = valid * VALID + in_layover(mask) * LAYOVER + in_shadow(mask) * SHADOW
    images = mask.sizes.get(TIME, 1)
    number = xr.ones_like(mask)
    if TIME in mask.dims:
        number = number * xr.DataArray(np.arange(1, images + 1), dims=TIME)
    ratio = result["sigma0"] / gamma0.where(gamma0 != 0.0)
    if POLARISATION in ratio.dims:
        # A ratio of areas, the same for all polarisations.
        ratio = ratio.max(POLARISATION)
    layers: dict[str, tuple[xr.DataArray, dict[str, Any]]] = {
        "data_mask": (
            bits.astype(np.uint8).where(known, NO_DATA),
            {
                "long_name": "data mask",
                "flag_masks": np.array([VALID, LAYOVER, SHADOW], dtype=np.uint8),
                "flag_meanings": "valid layover radar_shadow",
                "_FillValue": NO_DATA,
            },
        ),
        "gamma_sigma_ratio": (
            ratio,
            {
                "long_name": "ratio of sigma0 to gamma0",
                "units": "1",
                "_FillValue": np.float32("nan"),
            },
        ),
        "acquisition_id": (
            number.astype(np.uint8).where(known, NO_DATA),
            {
                "long_name": "number of the source image",
                "flag_values": np.arange(1, images + 1, dtype=np.uint8),
                "flag_meanings": " ".join(f"image_{n}" for n in range(1, images + 1)),
                "_FillValue": NO_DATA,
            },
        ),
    }
    if noise is not None:
        layers["noise_power"] = (
            _noise_power(result, [noise] if isinstance(noise, xr.DataArray) else list(noise)),
            {
                "long_name": "noise-equivalent gamma0, with the terrain taken into account",
                "units": "1",
                "_FillValue": np.float32("nan"),
            },
        )
    details = {"source_url": source_url, "facility": facility, "location": location}
    added = {}
    for name, (values, attributes) in layers.items():
        dropped = {"spatial_ref"} if name == "noise_power" else {"spatial_ref", POLARISATION}
        kept = values.drop_vars([each for each in values.coords if each in dropped])
        kept.attrs = attributes | {"grid_mapping": "spatial_ref"}
        floating = name in FLOATS
        added[name] = kept.astype(np.float32, keep_attrs=True) if floating else kept
    return with_heights(result.assign(added), dem).assign_attrs(
        {
            PROFILE: CEOS_NRB,
            "title": "Normalised Radar Backscatter",
            DETAILS: json.dumps({name: text for name, text in details.items() if text}),
        }
    )


FLOATS = ("gamma_sigma_ratio", "noise_power")


def _noise_power(result: xr.Dataset, layers: Sequence[xr.DataArray]) -> xr.DataArray:
    """Return the noise of each image, where the result has values."""
    gamma0 = result["gamma0"]
    count = gamma0.sizes.get(TIME, 1)
    if len(layers) != count:
        msg = f"found the noise of {len(layers)} images, expected that of {count}"
        raise ValueError(msg)
    if not all(same_grid(layer, result) for layer in layers):
        msg = (
            "found noise on another grid than the result's, expected "
            "reconstruct(product.noise(), dem, method=RTC())['gamma0'] with the DEM of the result"
        )
        raise ValueError(msg)
    noise = xr.concat(layers, TIME) if TIME in gamma0.dims else layers[0]
    values: xr.DataArray = gamma0.copy(data=noise.transpose(*gamma0.dims).data)
    return values.where(abs(gamma0) < np.inf)


def with_heights(result: xr.Dataset, dem: xr.DataArray | CheckedDem) -> xr.Dataset:
    """Add the heights of the DEM to a result, so that it holds all that its geometry depends on.

    Parameters
    ----------
    result : Dataset
        Of `sarheight.layover.reconstruct` or `masks`.
    dem : DataArray or CheckedDem
        The DEM of the result, on its grid.

    Returns
    -------
    Dataset
        The result, and ``dem``, the heights above the ellipsoid in metres.

    Raises
    ------
    ValueError
        If the DEM is on another grid.
    VerticalDatumError
        If the DEM does not say what its heights refer to.
    """
    heights = CheckedDem.of(dem).array
    if not same_grid(heights, result):
        msg = "found a DEM on another grid than the result's, expected that of the reconstruction"
        raise ValueError(msg)
    kept = heights.astype(np.float32).variable
    kept.attrs = {
        "long_name": "height above the WGS84 ellipsoid",
        "units": "m",
        "_FillValue": np.float32("nan"),
        "grid_mapping": "spatial_ref",
    }
    return result.assign(dem=kept)


def add_ceos_fields(
    item: pystac.Item, attributes: Mapping[Any, Any], records: Sequence[Mapping[str, Any]]
) -> None:
    """Add fields and links: of the STAC extension ``ceos-ard``, and of the requirements beside it.

    What no extension has a field for begins with ``sarheight:``.

    Source: https://github.com/stac-extensions/ceos-ard, version 0.2.0
    """
    import pystac

    details = json.loads(attributes.get(DETAILS, "{}"))
    item.stac_extensions.append(EXTENSION)
    item.properties |= {
        "ceosard:type": "radar",
        "ceosard:specification": "NRB",
        "ceosard:specification_version": "1.0",
        "sarheight:sources": [_source(record, details) for record in records],
    }
    item.add_link(
        pystac.Link("ceos-ard-specification", SPECIFICATION, media_type="application/pdf")
    )
    if "source_url" in details:
        item.add_link(pystac.Link("derived_from", details["source_url"], title="source product"))
    if "facility" in details:
        item.properties["processing:facility"] = details["facility"]
    if "location" in details:
        item.add_link(pystac.Link("canonical", details["location"], title="this product"))


def _source(record: Mapping[str, Any], details: Mapping[str, str]) -> dict[str, Any]:
    """Describe the source of a result: its processing, sampling, noise and location error."""
    source = dict(record.get("source", {}))
    found: dict[str, Any] = {
        name: record[name]
        for name in ("product_name", "mission", "mode", "swath")
        if name in record
    }
    if "source_url" in details:
        found["url"] = details["source_url"]
    found |= source
    if "noise_equivalent_sigma0" in source:
        found["noise_equivalent_sigma0"] = {"unit": "dB", **source["noise_equivalent_sigma0"]}
        found["noise_reference"] = NOISE_REFERENCE
    errors = LOCATION_ERRORS.get(str(record.get("mode")))
    if errors is not None and str(record.get("mission", "")).startswith("S1"):
        (range_bias, range_spread), (azimuth_bias, azimuth_spread) = errors
        found["location_error"] = {
            "unit": "m",
            "slant_range_bias": range_bias,
            "slant_range_standard_deviation": range_spread,
            "azimuth_bias": azimuth_bias,
            "azimuth_standard_deviation": azimuth_spread,
            "reference": LOCATION_REFERENCE,
        }
    return found
