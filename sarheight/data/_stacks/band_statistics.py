"""Mean and spread of the bands of city stacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.data._stacks.form import BANDS, OPTICAL_BANDS, SAR_BANDS
from sarheight.data._statistics import channel_statistics

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.data._split import Part

__all__ = ["band_statistics"]

TRANSFORMS = {"sar": "decibel", "optical": "none"}


def band_statistics(
    stacks: Sequence[xr.Dataset],
    *,
    within: Sequence[Sequence[Part]] | None = None,
    sar_bands: Sequence[str] = SAR_BANDS,
    optical_bands: Sequence[str] = OPTICAL_BANDS,
) -> dict[str, list[dict[str, Any]]]:
    """Measure how the bands of stacks are to be normalised.

    Parameters
    ----------
    stacks : sequence of xarray.Dataset
        City stacks for training.
    within : sequence of sequence of Part, optional
        Parts of each that are for training; all of it by default.
    sar_bands, optical_bands : sequence of str
        Which bands, in which order.

    Returns
    -------
    dict
        For ``sar`` and ``optical`` the arguments of a `sarheight.models.Channel` for each band:
        ``name``, ``units``, ``transform`` (decibels for power), ``mean``, ``std``. A band that no
        stack has keeps a mean of 0 and a standard deviation of 1: a network sees 0 there.

    Raises
    ------
    ValueError
        If all values of a band are the same.
    """
    wanted = {"sar": tuple(sar_bands), "optical": tuple(optical_bands)}
    return {
        name: [_channel(stacks, within, name, band) for band in bands]
        for name, bands in wanted.items()
    }


def _channel(
    stacks: Sequence[xr.Dataset],
    within: Sequence[Sequence[Part]] | None,
    name: str,
    band: str,
) -> dict[str, Any]:
    transform = TRANSFORMS[name]
    mean, std = 0.0, 1.0
    if any(np.isfinite(image.values).any() for image in _images(stacks, within, name, band)):
        mean, std = channel_statistics(_images(stacks, within, name, band), transform)
    return {"name": band, "units": "1", "transform": transform, "mean": mean, "std": std}


def _images(
    stacks: Sequence[xr.Dataset],
    within: Sequence[Sequence[Part]] | None,
    name: str,
    band: str,
) -> Iterator[xr.DataArray]:
    """Yield a band's images month by month, in the parts for training."""
    axis = BANDS[name][0]
    for index, stack in enumerate(stacks):
        if name not in stack or band not in stack[axis].values:
            continue
        pieces = [stack] if within is None else [part.of(stack) for part in within[index]]
        for piece in pieces:
            series = piece[name].sel({axis: band})
            for month in range(series.sizes["month"]):
                yield series.isel(month=month)
