"""City stacks with the bands that a network wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sarheight.data._stacks.form import BANDS, OPTICAL_BANDS, SAR_BANDS, check_stack

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["with_bands"]


def with_bands(
    stack: xr.Dataset,
    *,
    sar_bands: Sequence[str] = SAR_BANDS,
    optical_bands: Sequence[str] = OPTICAL_BANDS,
) -> xr.Dataset:
    """Give a stack the bands that are wanted, in that order; those that it lacks are missing.

    So a network that was trained with two passes can be asked with one, as far as it does without.

    Parameters
    ----------
    stack : xarray.Dataset
        A city stack; of a modality that it does not have at all nothing is added.
    sar_bands, optical_bands : sequence of str
        Names of bands. Others are left out.

    Returns
    -------
    xarray.Dataset
        A city stack, NaN where there was no band.

    Raises
    ------
    StackError
        If it is no city stack, or a band is not known.
    """
    check_stack(stack, posting=None)
    chosen = stack
    for name, bands in (("sar", sar_bands), ("optical", optical_bands)):
        if name in stack and bands:
            chosen = chosen.reindex({BANDS[name][0]: list(bands)}, fill_value=np.nan)
        elif name in stack:
            chosen = chosen.drop_dims(BANDS[name][0])
    return check_stack(chosen, posting=None)
