"""Errors by kind of place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarheight.metrics._heights import HeightErrors, height_errors

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["by_distance", "by_mask", "errors_by_group"]

Masks = dict[str, NDArray[np.bool_]]

LAYOVER = ("active_layover", "passive_layover", "layover_and_shadow")
FORESHORTENING = "foreshortening"
SHADOW = ("active_shadow", "passive_shadow")


def by_mask(mask: xr.DataArray) -> Masks:
    """Divide cells by how the radar sees them.

    Parameters
    ----------
    mask : xarray.DataArray
        Categories as `sarheight.layover.masks` and `reconstruct` give them, with
        ``flag_values`` and ``flag_meanings``.

    Returns
    -------
    dict
        ``layover``, ``foreshortening``, ``shadow`` and ``rest``, each a boolean array. Cells
        without a category are in none.

    Raises
    ------
    ValueError
        If the mask does not say what its values mean.
    """
    try:
        meanings = str(mask.attrs["flag_meanings"]).split()
        values = dict(zip(meanings, np.ravel(mask.attrs["flag_values"]), strict=True))
    except (KeyError, ValueError) as error:
        msg = (
            f"found a mask that does not say what its values mean ({error}), expected flag_values "
            "and flag_meanings: pass the mask of sarheight.layover"
        )
        raise ValueError(msg) from error
    category = mask.values
    groups = {
        "layover": np.isin(category, [values[name] for name in LAYOVER if name in values]),
        "foreshortening": category == values.get(FORESHORTENING),
        "shadow": np.isin(category, [values[name] for name in SHADOW if name in values]),
    }
    known = np.isin(category, list(values.values()))
    groups["rest"] = known & ~np.any(list(groups.values()), axis=0)
    return groups


def by_distance(distance: ArrayLike, edges: Sequence[float]) -> Masks:
    """Divide cells by their distance to the nearest known height.

    Parameters
    ----------
    distance : array
        Metres.
    edges : sequence of float
        Rising distances in metres that part the groups.

    Returns
    -------
    dict
        A boolean array for each interval, named like ``100-200 m``; the last is open.

    Raises
    ------
    ValueError
        If the edges do not rise.
    """
    limits = [0.0, *edges]
    if any(low >= high for low, high in pairwise(limits)):
        msg = f"found edges {list(edges)}, expected distances above 0 that rise"
        raise ValueError(msg)
    values = np.asarray(distance)
    groups = {
        f"{low:g}-{high:g} m": (values >= low) & (values < high) for low, high in pairwise(limits)
    }
    return groups | {f"{limits[-1]:g} m and more": values >= limits[-1]}


def errors_by_group(
    estimate: ArrayLike, truth: ArrayLike, groups: Mapping[str, ArrayLike]
) -> dict[str, HeightErrors]:
    """Measure errors of heights in several groups of cells.

    Parameters
    ----------
    estimate, truth : array
        Heights in metres.
    groups : mapping
        Boolean arrays by name.

    Returns
    -------
    dict
        `HeightErrors` by name, and those of all cells under ``all``. All count ratios from the
        same height, the lowest truth.
    """
    everywhere = height_errors(estimate, truth)
    return {"all": everywhere} | {
        name: height_errors(estimate, truth, where=where, datum=everywhere.datum)
        for name, where in groups.items()
    }
