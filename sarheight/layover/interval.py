"""Intervals that hold the true backscatter with a stated probability."""

from __future__ import annotations

import xarray as xr


def interval(result: xr.Dataset, probability: float = 0.8) -> xr.Dataset:
    r"""Interval that holds the true gamma0 of each cell with a probability.

    The logarithm of gamma0 is taken to be normal about its estimate,

    .. math:: \ln \gamma \sim N\left(\ln \hat\gamma, \; v / \hat\gamma^2\right),

    with the variance v of a result. It accounts for speckle, for other places in the cell's
    pixels, and for errors of a coarse DEM; not for errors of calibration or orbit, and not for a
    bias of the whole scene. The terms were adjusted to images of an independent simulator of point
    scatterers, on ground with several angular laws; see the page on the independent test for how
    often the intervals hold there.

    Parameters
    ----------
    result : xarray.Dataset
        Of `reconstruct`, with ``gamma0`` and ``gamma0_variance``, linear power.
    probability : float
        Probability with which the interval holds the true value, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        ``lower`` and ``upper``, linear power, dims of ``gamma0``; NaN where it has no value.

    Raises
    ------
    ValueError
        If the result lacks a variable, or the probability is not between 0 and 1.
    """
    from scipy.stats import norm

    missing = [name for name in ("gamma0", "gamma0_variance") if name not in result]
    if missing:
        msg = (
            f"found a result without {' and '.join(missing)}, expected both: reconstruct with "
            "variables=None, or name them"
        )
        raise ValueError(msg)
    if not 0.0 < probability < 1.0:
        msg = f"found probability={probability!r}, expected a number between 0 and 1, such as 0.8"
        raise ValueError(msg)
    gamma, variance = result["gamma0"], result["gamma0_variance"]
    distance = float(norm.ppf(0.5 * (1.0 + probability)))
    # exp(z s) with the standard deviation s of the logarithm.
    factor = xr.apply_ufunc(
        _factor, gamma, variance, distance, dask="parallelized", output_dtypes=[gamma.dtype]
    )
    ends = {"lower": gamma / factor, "upper": gamma * factor}
    names = {"lower": "lower end", "upper": "upper end"}
    return xr.Dataset(
        {
            name: values.assign_attrs(
                long_name=f"{names[name]} of the {100.0 * probability:g} % interval of gamma0",
                units="1",
            )
            for name, values in ends.items()
        }
    )


def _factor(gamma, variance, distance):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(distance * np.sqrt(variance) / np.abs(gamma)).astype(gamma.dtype)
