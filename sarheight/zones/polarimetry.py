"""What a complex image in two polarisations tells beyond its power: covariance, without speckle.

Networks that were made for So2Sat LCZ42 want eight channels, which `polarimetric_channels` makes
of the complex images of an SLC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.estimation import pool
from sarheight_kernels.lee import refined_lee as filter_power

if TYPE_CHECKING:
    import xarray as xr

POLARIMETRIC_CHANNELS = (
    "vh_real",
    "vh_imaginary",
    "vv_real",
    "vv_imaginary",
    "vh_intensity",
    "vv_intensity",
    "covariance_real",
    "covariance_imaginary",
)
"""Names of the channels in the order of So2Sat LCZ42."""
Floats = NDArray[np.float32]


def refined_lee(intensity: xr.DataArray, looks: float) -> xr.DataArray:
    """Filter speckle along edges, not across them.

    See `sarheight_kernels.lee` for the steps, and for what becomes of missing data.
    Source: Lee, J.-S. (1981). Refined filtering of image noise using local statistics. Computer
    Graphics and Image Processing 15, 380-389.
    """
    units = str(intensity.attrs.get("units", "")).strip().lower()
    if np.iscomplexobj(intensity) or units in {"db", "decibel"} or intensity.ndim < 2:
        msg = (
            f"found {intensity.dtype} numbers in '{units}' on dims {intensity.dims}, expected "
            "linear power on two dims at least: pass the squared magnitude of a complex image, "
            "10**(decibels / 10) of one in decibels"
        )
        raise ValueError(msg)
    _require_looks(looks)
    values = np.ascontiguousarray(intensity.values, dtype=np.float32)
    planes = values.reshape(-1, *values.shape[-2:])
    found = np.empty_like(planes)
    for plane, result in zip(planes, found, strict=True):
        filter_power(plane, float(looks), result)
    return intensity.copy(data=found.reshape(values.shape)).assign_attrs(
        speckle_filter="refined Lee, 7 x 7", looks_assumed=float(looks)
    )


def covariance(first: xr.DataArray, second: xr.DataArray, *, window: int = 7) -> xr.DataArray:
    r"""Average the product of one complex image with the conjugate of another.

    .. math:: C_{12} = \langle s_1 s_2^* \rangle

    over a square window, and at borders and gaps over what is there of it. Of one image with itself
    this is the power.
    Source: Lee, J.-S. and Pottier, E. (2009). Polarimetric Radar Imaging, section 3.3. CRC Press.
    """
    _require_complex(first, second)
    if window < 1 or window % 2 == 0:
        msg = f"found a window of {window} pixels, expected an odd number from 1 on"
        raise ValueError(msg)
    product = first.values * second.values.conj()
    known = np.isfinite(product)
    weight, taps = known.astype(np.float32), np.ones(window, dtype=np.float32)
    found = np.empty(product.shape, dtype=np.complex64)
    for part in ("real", "imag"):
        values = np.where(known, getattr(product, part), np.nan).astype(np.float32)
        result = np.empty_like(values)
        pool(values, weight, False, taps, taps, result)  # noqa: FBT003 - kernels take no keywords
        setattr(found, part, np.where(known, result, np.nan))
    return first.copy(data=found).assign_attrs(
        long_name="polarimetric covariance", covariance_window=window
    )


def polarimetric_channels(
    vv: xr.DataArray, vh: xr.DataArray, *, looks: float = 1.0, window: int = 7
) -> xr.Dataset:
    """Make the eight radar channels of So2Sat LCZ42 of complex images.

    Source: Zhu, X. X. et al. (2020). So2Sat LCZ42: A Benchmark Data Set for the Classification of
    Global Local Climate Zones. IEEE Geoscience and Remote Sensing Magazine 8(3), arXiv:1912.12171.
    """
    import xarray as xr

    _require_complex(vv, vh)
    _require_looks(looks)
    known = np.isfinite(vv.values) & np.isfinite(vh.values)
    vv, vh = (image.where(known).drop_attrs() for image in (vv, vh))
    both = covariance(vh, vv, window=window)
    units = {"units": "1"}
    layers = [
        vh.real,
        vh.imag,
        vv.real,
        vv.imag,
        refined_lee(_power(vh), looks),
        refined_lee(_power(vv), looks),
        both.real,
        both.imag,
    ]
    return xr.Dataset(
        {
            name: layer.astype(np.float32, keep_attrs=True).assign_attrs(units)
            for name, layer in zip(POLARIMETRIC_CHANNELS, layers, strict=True)
        }
    )


def _power(image: xr.DataArray) -> xr.DataArray:
    values: NDArray[Any] = image.values
    return image.copy(data=(values.real**2 + values.imag**2).astype(np.float32))


def _require_looks(looks: float) -> None:
    if not 0.0 < looks < np.inf:
        msg = f"found {looks:g} looks, expected a number above 0: 1 for an SLC"
        raise ValueError(msg)


def _require_complex(first: xr.DataArray, second: xr.DataArray) -> None:
    fits = first.dims == second.dims and first.shape == second.shape and first.ndim == 2
    if not fits or not np.iscomplexobj(first) or not np.iscomplexobj(second):
        told = " and ".join(
            f"{image.dtype} numbers on {dict(image.sizes)}" for image in (first, second)
        )
        msg = (
            f"found {told}; expected two complex images on the same two dims: power has lost "
            "what a covariance is made of, open the SLC"
        )
        raise ValueError(msg)
