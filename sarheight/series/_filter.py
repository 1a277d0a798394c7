"""Multi-temporal filtering of speckle, and the summary of a stack over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.estimation import pool
from sarheight_kernels.series import accumulate_date, filter_date

from sarheight.layover.track import run_alone

if TYPE_CHECKING:
    import xarray as xr

WINDOW = 7
"""Side of the window of local means in cells, as in Quegan and Yu (2001)."""

Layers = NDArray[np.float32]
"""Values by polarisation, shape (polarisations, rows, columns)."""


def local_means(gamma: Layers, window: int) -> Layers:
    """Average cells with a value over a window around each cell; NaN where there are none."""
    taps = np.full(window, 1.0 / window, np.float32)
    means = np.empty_like(gamma)
    weight = np.ones(gamma.shape[1:], np.float32)
    for layer, mean in zip(gamma, means, strict=True):
        pool(layer, weight, taps, taps, mean)
    return means


@dataclass(eq=False)
class Summary:
    """Sums of dates over time, shape (polarisations, rows, columns)."""

    count: Layers
    ratio: Layers
    mean: Layers
    square: Layers

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Summary:
        """Begin without dates."""
        return cls(*(np.zeros(shape, np.float32) for _ in range(4)))

    def add(self, gamma: Layers, means: Layers) -> None:
        """Add a date, with its local means."""
        for p in range(gamma.shape[0]):
            accumulate_date(
                gamma[p], means[p], self.count[p], self.ratio[p], self.mean[p], self.square[p]
            )

    def filter(self, gamma: Layers, means: Layers) -> None:
        """Filter a date in place."""
        for p in range(gamma.shape[0]):
            filter_date(means[p], self.ratio[p], gamma[p])

    def products(self) -> dict[str, NDArray[np.generic]]:
        """Return the mean, the standard deviation and the number of dates."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(self.count > 0.0, self.mean, np.float32(np.nan))
            spread = np.sqrt(self.square / (self.count - np.float32(1.0)))
        spread[self.count < 2.0] = np.nan
        return {
            "gamma0_mean": mean,
            "gamma0_spread": spread.astype(np.float32, copy=False),
            "date_count": self.count.astype(np.uint16),
        }


def summarise(dates: Iterator[Layers], shape: tuple[int, ...], window: int) -> Summary:
    """Sum up dates, each of shape (polarisations, rows, columns)."""
    summary = Summary.empty(shape)
    for gamma in dates:
        summary.add(gamma, local_means(gamma, window))
    return summary


def speckle_filter(gamma0: xr.DataArray, *, window: int = WINDOW) -> xr.DataArray:
    r"""Filter the speckle of a series by all of its dates.

    .. math:: J_k = \frac{E[I_k]}{M} \sum_{i=1}^{M} \frac{I_i}{E[I_i]}

    with local means E over a window: each date keeps its own level, and takes the texture of all.
    Where nothing changes within the window, the equivalent number of looks becomes up to M times
    that of a date (Quegan and Yu 2001, equation 14, for uncorrelated speckle). Polarisations are
    filtered one by one.

    Parameters
    ----------
    gamma0 : xarray.DataArray
        Linear power, dims (time, y, x) or (time, polarisation, y, x), with two dates at least;
        NaN where there is no data.
    window : int
        Side of the window in cells, an odd number.

    Returns
    -------
    xarray.DataArray
        The filtered series, of the same dims, float32; lazy where `gamma0` is. NaN where a date
        has no value.

    Raises
    ------
    ValueError
        If dims or window are not what they should be.

    References
    ----------
    Quegan, S., Yu, J. J. (2001). Filtering of multichannel SAR images. IEEE TGRS 39(11),
    2373-2379.
    """
    dims = gamma0.dims
    if dims not in {("time", "y", "x"), ("time", "polarisation", "y", "x")}:
        msg = f"found dims {dims}, expected (time, y, x) or (time, polarisation, y, x)"
        raise ValueError(msg)
    require_window(window)
    if gamma0.chunks is None:
        return gamma0.copy(data=_filter(np.asarray(gamma0.values, np.float32), window))
    import dask.array

    data = gamma0.data.rechunk({0: -1})
    reach = {len(dims) - 2: window // 2, len(dims) - 1: window // 2}
    filtered = dask.array.map_overlap(  # type: ignore[no-untyped-call]
        partial(_filter, window=window),
        data.astype(np.float32),
        depth=reach,
        boundary="none",
        dtype=np.float32,
        meta=np.empty((0,) * len(dims), np.float32),
    )
    return gamma0.copy(data=filtered)


def require_window(window: int) -> None:
    """Refuse a window that has no middle."""
    if window < 1 or window % 2 == 0:
        msg = f"found a window of {window} cells, expected an odd number, such as {WINDOW}"
        raise ValueError(msg)


def _filter(gamma: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Filter dates, shape (time, ..., rows, columns)."""
    layers = gamma.reshape(gamma.shape[0], -1, *gamma.shape[-2:]).copy()

    def work() -> None:
        summary = summarise(iter(layers), layers.shape[1:], window)
        for date in layers:
            summary.filter(date, local_means(date, window))

    if layers.size:
        run_alone(work)
    return layers.reshape(gamma.shape)


def filter_window(
    load: Callable[[int], Layers],
    fresh: range,
    write: Callable[[int, Layers], None],
    shape: tuple[int, ...],
    window: int,
) -> dict[str, NDArray[np.generic]]:
    """Summarise the dates of a window of a stack, and filter those that are `fresh`, the last ones.

    Dates are loaded one by one, so that memory does not grow with their number. A window of 0 cells
    filters nothing.
    """
    summary = summarise(_read_ahead(load, range(fresh.stop)), shape, max(window, 1))
    if not window:
        return summary.products()
    for number, gamma in zip(fresh, _read_ahead(load, fresh), strict=True):
        summary.filter(gamma, local_means(gamma, window))
        write(number, gamma)
    return summary.products()


def _read_ahead(load: Callable[[int], Layers], numbers: range) -> Iterator[Layers]:
    """Yield dates in order; each is read while the one before is processed."""
    with ThreadPoolExecutor(1) as pool:
        following = [pool.submit(load, number) for number in numbers[:1]]
        for number in numbers:
            gamma = following[0].result()
            following = [pool.submit(load, number + 1)] if number + 1 in numbers else []
            yield gamma
