"""Channels of the patches of So2Sat: their names, and how they are made of complex images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.estimation import pool
from sarheight_kernels.lee import refined_lee as filter_speckle

if TYPE_CHECKING:
    import xarray as xr

RADAR_CHANNELS = (
    "vh_real", "vh_imaginary", "vv_real", "vv_imaginary",
    "vh_intensity", "vv_intensity", "covariance_real", "covariance_imaginary",
)  # fmt: skip
"""Radar channels in the order of So2Sat: complex VH and VV, Lee-filtered intensity, covariance."""
OPTICAL_CHANNELS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
"""Bands of Sentinel-2 in the order of So2Sat."""


def refined_lee(intensity: xr.DataArray, looks: float) -> xr.DataArray:
    """Filter speckle with the refined Lee filter, in windows aligned with edges.

    `sarheight_kernels.lee` describes the steps and the treatment of missing data.

    Parameters
    ----------
    intensity : xarray.DataArray
        Linear power on at least two dims; the last two, rows and columns, are filtered. Values
        that are not finite are missing.
    looks : float
        Equivalent number of looks: 1 for an SLC, about 4.4 for an IW GRD.

    Returns
    -------
    xarray.DataArray
        Filtered power, float32, with the name, coordinates and attributes of the image; NaN where
        the image is missing.

    Raises
    ------
    ValueError
        If the image is complex or in decibels, has fewer than two dims, or `looks` is not above 0.

    References
    ----------
    Lee, J.-S. (1981). Refined filtering of image noise using local statistics. Computer Graphics
    and Image Processing 15, 380-389.
    """
    units = str(intensity.attrs.get("units", "")).strip().lower()
    if np.iscomplexobj(intensity) or units in {"db", "decibel"} or intensity.ndim < 2:
        msg = (
            f"found {intensity.dtype} numbers in '{units}' on dims {intensity.dims}, expected "
            "linear power on at least two dims: pass the squared magnitude of a complex image, or "
            "10**(decibels / 10) of an image in decibels"
        )
        raise ValueError(msg)
    _require_looks(looks)
    values = np.ascontiguousarray(intensity.values, dtype=np.float32)
    planes = values.reshape(-1, *values.shape[-2:])
    filtered = np.empty_like(planes)
    for plane, result in zip(planes, filtered, strict=True):
        filter_speckle(plane, float(looks), result)
    return intensity.copy(data=filtered.reshape(values.shape)).assign_attrs(
        speckle_filter="refined Lee, 7 x 7", looks_assumed=float(looks)
    )


def covariance(first: xr.DataArray, second: xr.DataArray, *, window: int = 7) -> xr.DataArray:
    r"""Estimate the polarimetric covariance of two complex images.

    .. math:: C_{12} = \langle s_1 s_2^* \rangle

    The mean is taken over the valid pixels of a square window. The covariance of an image with
    itself is its power.

    Parameters
    ----------
    first, second : xarray.DataArray
        Complex images on the same two dims; NaN where data are missing.
    window : int
        Side of the window in pixels, an odd number.

    Returns
    -------
    xarray.DataArray
        Covariance, complex64; NaN where either image is.

    Raises
    ------
    ValueError
        If an image is not complex, the images differ in dims or sizes, or the window is even.

    References
    ----------
    Lee, J.-S. and Pottier, E. (2009). Polarimetric Radar Imaging, section 3.3. CRC Press.
    """
    _require_complex(first, second)
    if window < 1 or window % 2 == 0:
        msg = f"found a window of {window} pixels, expected an odd number above 0"
        raise ValueError(msg)
    product = first.values * second.values.conj()
    valid = np.isfinite(product)
    weight, taps = valid.astype(np.float32), np.ones(window, dtype=np.float32)
    averaged = np.empty(product.shape, dtype=np.complex64)
    # The mean is linear: real and imaginary part are averaged separately.
    for part in ("real", "imag"):
        values = np.where(valid, getattr(product, part), np.nan).astype(np.float32)
        result = np.empty_like(values)
        pool(values, weight, taps, taps, result)
        setattr(averaged, part, np.where(valid, result, np.nan))
    return first.copy(data=averaged).assign_attrs(
        long_name="polarimetric covariance", covariance_window=window
    )


def polarimetric_channels(
    vv: xr.DataArray, vh: xr.DataArray, *, looks: float = 1.0, window: int = 7
) -> xr.Dataset:
    """Derive the eight radar channels of So2Sat LCZ42 from complex images.

    Parameters
    ----------
    vv, vh : xarray.DataArray
        Calibrated complex images on the same two dims, such as (line, sample), as
        `Sentinel1Product.complex_images` returns them; NaN where data are missing.
    looks : float
        Equivalent number of looks of their power: 1, unless they were oversampled.
    window : int
        Side of the window of the covariance in pixels, an odd number.

    Returns
    -------
    xarray.Dataset
        Real and imaginary part of VH, then of VV; power of VH and of VV after the refined Lee
        filter; real and imaginary part of the covariance of VH with the conjugate of VV. Float32
        variables named as in `RADAR_CHANNELS`, in that order; NaN where either image is.

    Raises
    ------
    ValueError
        If an image is not complex, the images differ in dims or sizes, or `looks` or `window` is
        invalid.

    References
    ----------
    Zhu, X. X. et al. (2020). So2Sat LCZ42: A Benchmark Data Set for the Classification of Global
    Local Climate Zones. IEEE Geoscience and Remote Sensing Magazine 8(3), arXiv:1912.12171.
    """
    import xarray as xr

    _require_complex(vv, vh)
    _require_looks(looks)
    valid = np.isfinite(vv.values) & np.isfinite(vh.values)
    vv, vh = (image.where(valid).drop_attrs() for image in (vv, vh))
    mixed = covariance(vh, vv, window=window)
    units = {"units": "1"}
    layers = [
        vh.real,
        vh.imag,
        vv.real,
        vv.imag,
        refined_lee(_power(vh), looks),
        refined_lee(_power(vv), looks),
        mixed.real,
        mixed.imag,
    ]
    return xr.Dataset(
        {
            name: layer.astype(np.float32, keep_attrs=True).assign_attrs(units)
            for name, layer in zip(RADAR_CHANNELS, layers, strict=True)
        }
    )


def _power(image: xr.DataArray) -> xr.DataArray:
    """Return the squared magnitude of a complex image."""
    values: NDArray[Any] = image.values
    return image.copy(data=(values.real**2 + values.imag**2).astype(np.float32))


def _require_looks(looks: float) -> None:
    if not 0.0 < looks < np.inf:
        msg = f"found {looks:g} looks, expected a number above 0: 1 for an SLC"
        raise ValueError(msg)


def _require_complex(first: xr.DataArray, second: xr.DataArray) -> None:
    fits = first.dims == second.dims and first.shape == second.shape and first.ndim == 2
    if not fits or not np.iscomplexobj(first) or not np.iscomplexobj(second):
        found = " and ".join(
            f"{image.dtype} numbers on {dict(image.sizes)}" for image in (first, second)
        )
        msg = (
            f"found {found}; expected two complex images on the same two dims: a covariance needs "
            "the phase, which power has lost; open the SLC"
        )
        raise ValueError(msg)
