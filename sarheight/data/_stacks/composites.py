"""One image for each month."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr

from sarheight.errors import StackError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Composite", "composite", "monthly", "months_between"]

Composite = Literal["median", "mean"]
MEANS: dict[str, Callable[..., Any]] = {"median": np.nanmedian, "mean": np.nanmean}


def monthly(
    series: xr.DataArray,
    how: Composite,
    *,
    months: tuple[Any, Any] | None = None,
) -> xr.DataArray:
    """Make one image of all that were taken in a month.

    Parameters
    ----------
    series : xarray.DataArray
        Dims (time, ..., y, x), NaN where there is no data or cloud; may be dask-backed.
    how : {"median", "mean"}
        The median for reflectance, as what is left of clouds does not pull it; the mean for
        power, as it keeps the energy.
    months : tuple, optional
        First and last month; by default those of the first and last image.

    Returns
    -------
    xarray.DataArray
        Dims (month, ..., y, x), all months from the first to the last; NaN throughout where there
        is no image, and at cells that were never clear.

    Raises
    ------
    StackError
        If there are no times, or no image lies in the months.
    """
    if "time" not in series.dims or series["time"].dtype.kind != "M" or not series.sizes["time"]:
        msg = f"found the dims {series.dims}, expected images along time, with dates"
        raise StackError(msg)
    taken = series["time"].values.astype("datetime64[M]")
    first, last = (taken.min(), taken.max()) if months is None else months
    wanted = months_between(first, last)
    images = [
        composite(series.isel(time=np.flatnonzero(taken == month)), how)
        for month in wanted.astype("datetime64[M]")
        if (taken == month).any()
    ]
    there = [month for month in wanted if (taken == month.astype("datetime64[M]")).any()]
    if not images:
        msg = (
            f"found images from {taken.min()} to {taken.max()}, expected some from "
            f"{str(wanted[0])[:7]} to {str(wanted[-1])[:7]}"
        )
        raise StackError(msg)
    joined = xr.concat(images, dim=xr.Variable("month", there), coords="minimal", join="exact")
    return joined.reindex(month=wanted)


def composite(images: xr.DataArray, how: Composite) -> xr.DataArray:
    """Take the median or the mean of images along time, leaving out NaN.

    Parameters
    ----------
    images : xarray.DataArray
        With a dim ``time``.
    how : {"median", "mean"}
        Which of the two.

    Returns
    -------
    xarray.DataArray
        Without ``time``, float32; NaN where no image has a value.

    Raises
    ------
    ValueError
        If `how` is neither.
    """
    if how not in MEANS:
        msg = f"found how={how!r}, expected one of {', '.join(get_args(Composite))}"
        raise ValueError(msg)

    def middle(values: NDArray[Any]) -> NDArray[np.float32]:
        with warnings.catch_warnings():
            # A cell that was never clear stays without value; that is what we want.
            warnings.filterwarnings("ignore", message=".*(All-NaN slice|empty slice).*")
            return np.asarray(MEANS[how](values, axis=-1), dtype=np.float32)

    if images.chunks is not None:
        images = images.chunk(time=-1)
    found: xr.DataArray = xr.apply_ufunc(
        middle,
        images,
        input_core_dims=[["time"]],
        dask="parallelized",
        output_dtypes=[np.float32],
        keep_attrs=True,
    )
    return found


def months_between(first: Any, last: Any) -> NDArray[np.datetime64]:  # noqa: ANN401
    """Return the first days of all months from one to another, both included.

    Parameters
    ----------
    first, last : str or datetime64
        Any day of the month.

    Raises
    ------
    StackError
        If they are no dates, or the last is before the first.
    """
    try:
        begin, end = np.datetime64(first, "M"), np.datetime64(last, "M")
    except ValueError as error:
        msg = f"found the months {first!r} and {last!r}, expected dates such as 2021-04"
        raise StackError(msg) from error
    if not begin <= end:
        msg = f"found {begin} as first month and {end} as last, expected them in that order"
        raise StackError(msg)
    return np.arange(begin, end + 1, dtype="datetime64[M]").astype("datetime64[ns]")
