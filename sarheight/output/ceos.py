"""The layers of CEOS Analysis Ready Data: Normalised Radar Backscatter.

References
----------
CEOS (2024). CEOS-ARD Product Family Specification: Normalised Radar Backscatter, combined
specification for Synthetic Aperture Radar, version 1.0. https://ceos.org/ard
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sarheight.dem.checked import CheckedDem
from sarheight.layover import FLAGS
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

EXTENSION = "https://stac-extensions.github.io/ceos-ard/v0.2.0/schema.json"
SPECIFICATION = (
    "https://ceos.org/ard/files/PFS/SAR/v1.0/CEOS-ARD_PFS_Synthetic_Aperture_Radar_v1.0.pdf"
)


def ceos_nrb(result: xr.Dataset, dem: xr.DataArray | CheckedDem) -> xr.Dataset:
    """Add the layers that Normalised Radar Backscatter asks for to a result.

    The specification has more requirements than layers; see the self-assessment in the
    documentation. Only a product whose assessment CEOS has reviewed may be called CEOS-ARD.

    Parameters
    ----------
    result : Dataset
        All variables that `sarheight.layover.reconstruct` returns; lazy or not.
    dem : DataArray or CheckedDem
        The DEM of the reconstruction, on the grid of the result.

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
            the heights above the ellipsoid in metres.

        ``projected_area`` is the scattering area. `sarheight.output.write` adds the fields of the
        STAC extension ``ceos-ard``.

    Raises
    ------
    ValueError
        If the result lacks variables, or the DEM is on another grid.
    """
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
    bits = valid * VALID + _is(mask, "layover") * LAYOVER + _is(mask, "shadow") * SHADOW
    number = xr.ones_like(mask)
    if TIME in mask.dims:
        number = number * xr.DataArray(np.arange(1, mask.sizes[TIME] + 1), dims=TIME)
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
            {"long_name": "number of the source image", "_FillValue": NO_DATA},
        ),
    }
    added = {}
    for name, (values, attributes) in layers.items():
        kept = values.drop_vars(
            [each for each in values.coords if each in {"spatial_ref", POLARISATION}]
        )
        kept.attrs = attributes | {"grid_mapping": "spatial_ref"}
        floating = name == "gamma_sigma_ratio"
        added[name] = kept.astype(np.float32, keep_attrs=True) if floating else kept
    return with_heights(result.assign(added), dem).assign_attrs(
        {PROFILE: CEOS_NRB, "title": "Normalised Radar Backscatter"}
    )


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
    for axis in ("y", "x"):
        if not np.array_equal(heights[axis].values, result[axis].values):
            msg = (
                "found a DEM on another grid than the result's, expected that of the reconstruction"
            )
            raise ValueError(msg)
    kept = heights.drop_vars([name for name in heights.coords if name not in {"y", "x"}])
    kept.attrs = {
        "long_name": "height above the WGS84 ellipsoid",
        "units": "m",
        "_FillValue": np.float32("nan"),
        "grid_mapping": "spatial_ref",
    }
    return result.assign(dem=kept.astype(np.float32, keep_attrs=True))


def _is(mask: xr.DataArray, word: str) -> xr.DataArray:
    """Tell where a mask of categories says layover, or shadow."""
    return mask.isin([code for name, code in FLAGS.items() if word in name])


def add_ceos_fields(item: pystac.Item) -> None:
    """Add the fields and the link of the STAC extension ``ceos-ard``.

    Source: https://github.com/stac-extensions/ceos-ard, version 0.2.0
    """
    import pystac

    item.stac_extensions.append(EXTENSION)
    item.properties |= {
        "ceosard:type": "radar",
        "ceosard:specification": "NRB",
        "ceosard:specification_version": "1.0",
    }
    item.add_link(
        pystac.Link("ceos-ard-specification", SPECIFICATION, media_type="application/pdf")
    )
