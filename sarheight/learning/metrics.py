"""Errors of estimated heights: overall, by group of cells, and coverage of intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Masks = dict[str, NDArray[np.bool_]]

LAYOVER = ("active_layover", "passive_layover", "layover_and_shadow")
FORESHORTENING = "foreshortening"
SHADOW = ("active_shadow", "passive_shadow")


def mask_groups(mask: xr.DataArray) -> Masks:
    """Group cells by layover, foreshortening and shadow.

    Parameters
    ----------
    mask : xarray.DataArray
        Categories of `sarheight.layover.masks` and `reconstruct`, with
        ``flag_values`` and ``flag_meanings``.

    Returns
    -------
    dict
        ``layover``, ``foreshortening``, ``shadow`` and ``rest``, each a boolean array. Cells
        without a category are in none.

    Raises
    ------
    ValueError
        If the mask lacks these attributes.
    """
    try:
        meanings = str(mask.attrs["flag_meanings"]).split()
        values = dict(zip(meanings, np.ravel(mask.attrs["flag_values"]), strict=True))
    except (KeyError, ValueError) as error:
        msg = (
            f"found a mask without valid flag_values and flag_meanings ({error}), expected these "
            "attributes: pass the mask of sarheight.layover"
        )
        raise ValueError(msg) from error
    category = mask.values
    groups = {
        "layover": np.isin(category, [values[name] for name in LAYOVER if name in values]),
        "foreshortening": category == values.get(FORESHORTENING),
        "shadow": np.isin(category, [values[name] for name in SHADOW if name in values]),
    }
    valid = np.isin(category, list(values.values()))
    groups["rest"] = valid & ~np.any(list(groups.values()), axis=0)
    return groups


def distance_groups(distance: ArrayLike, edges: Sequence[float]) -> Masks:
    """Group cells by their distance to the nearest known elevation.

    Parameters
    ----------
    distance : array
        Metres.
    edges : sequence of float
        Increasing distances in metres between the groups.

    Returns
    -------
    dict
        A boolean array for each interval, such as ``100-200 m``; the last is open.

    Raises
    ------
    ValueError
        If the edges do not increase.
    """
    limits = [0.0, *edges]
    if any(low >= high for low, high in pairwise(limits)):
        msg = f"found edges {list(edges)}, expected increasing distances above 0"
        raise ValueError(msg)
    values = np.asarray(distance)
    groups = {
        f"{low:g}-{high:g} m": (values >= low) & (values < high) for low, high in pairwise(limits)
    }
    return groups | {f"{limits[-1]:g} m and more": values >= limits[-1]}


def errors_by_group(
    estimate: ArrayLike, truth: ArrayLike, groups: Mapping[str, ArrayLike]
) -> dict[str, HeightErrors]:
    """Compute errors of heights in several groups of cells.

    Parameters
    ----------
    estimate, truth : array
        Heights in metres.
    groups : mapping
        Boolean arrays by name.

    Returns
    -------
    dict
        `HeightErrors` by name, and those of all cells under ``all``, with one datum for all: the
        lowest true height.
    """
    total = height_errors(estimate, truth)
    return {"all": total} | {
        name: height_errors(estimate, truth, where=where, datum=total.datum)
        for name, where in groups.items()
    }


# Errors of heights.

RATIO = 1.25
"""Base of the accuracy thresholds delta, as in the literature on depth estimation."""
LEAST_HEIGHT = 1.0
"""Lower limit of heights in ratios and logarithms, in metres."""


@dataclass(frozen=True)
class HeightErrors:
    """Errors of estimated heights, over cells where estimate and truth are finite.

    Attributes
    ----------
    count : int
        Number of cells.
    rmse : float
        Root mean squared error, in metres.
    mae : float
        Mean absolute error, in metres.
    median : float
        Median absolute error, in metres.
    le90 : float
        Linear error at 90 %: the 0.9 quantile of the absolute error, in metres.
    bias : float
        Mean of estimate minus truth, in metres.
    log_error : float
        Mean of abs(log10(estimate / truth)), of the heights above `datum`.
    delta_1, delta_2, delta_3 : float
        Fraction of cells whose height above `datum` is within a ratio of 1.25, 1.25 squared and
        1.25 cubed of the true one.
    datum : float
        Reference height of ratios and logarithms in metres; the lowest true height by default,
        as ratios of ellipsoidal heights have no meaning.
    """

    count: int
    rmse: float
    mae: float
    median: float
    le90: float
    bias: float
    log_error: float
    delta_1: float
    delta_2: float
    delta_3: float
    datum: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def finite_pairs(
    estimate: ArrayLike, truth: ArrayLike, where: ArrayLike | None
) -> tuple[Floats, Floats]:
    """Return the values of the chosen cells where both are finite."""
    found = np.asarray(estimate, dtype=np.float64)
    expected = np.asarray(truth, dtype=np.float64)
    chosen = np.ones(expected.shape, dtype=bool) if where is None else np.asarray(where)
    shapes = {found.shape, expected.shape, chosen.shape}
    if len(shapes) > 1 or chosen.dtype != np.bool_:
        msg = (
            f"found estimates of shape {found.shape}, truth of shape {expected.shape} and a mask "
            f"of shape {chosen.shape} and type {chosen.dtype}; expected one shape, and a boolean "
            "mask"
        )
        raise ValueError(msg)
    both = chosen & np.isfinite(found) & np.isfinite(expected)
    return found[both], expected[both]


def height_errors(
    estimate: ArrayLike,
    truth: ArrayLike,
    *,
    where: ArrayLike | None = None,
    datum: float | None = None,
) -> HeightErrors:
    """Compute errors of estimated heights; cells where either height is NaN are left out.

    Parameters
    ----------
    estimate, truth : array
        Heights in metres, of one shape.
    where : array of bool, optional
        Cells to include; all by default.
    datum : float, optional
        Reference height of ratios and logarithms; by default the lowest true height included.

    Returns
    -------
    HeightErrors
        All NaN if there is no cell.

    Raises
    ------
    ValueError
        If shapes differ, or the mask is not boolean.
    """
    found, expected = finite_pairs(estimate, truth, where)
    if not found.size:
        return HeightErrors(0, *(float("nan"),) * 10)
    error = found - expected
    size = np.abs(error)
    base = float(expected.min()) if datum is None else float(datum)
    above = np.maximum(found - base, LEAST_HEIGHT)
    true_above = np.maximum(expected - base, LEAST_HEIGHT)
    ratio = np.abs(np.log(above / true_above))
    within = [float((ratio < power * np.log(RATIO)).mean()) for power in (1, 2, 3)]
    return HeightErrors(
        count=int(found.size),
        rmse=float(np.sqrt(np.mean(error**2))),
        mae=float(size.mean()),
        median=float(np.median(size)),
        le90=float(np.quantile(size, 0.9)),
        bias=float(error.mean()),
        log_error=float(ratio.mean() / np.log(10.0)),
        delta_1=within[0],
        delta_2=within[1],
        delta_3=within[2],
        datum=base,
    )


def slope_error(
    estimate: ArrayLike,
    truth: ArrayLike,
    posting: tuple[float, float],
    *,
    where: ArrayLike | None = None,
) -> float:
    r"""Compute the root mean squared error of slopes.

    The slope of a surface is the angle between its normal and the vertical; gradients are
    central differences.

    Parameters
    ----------
    estimate, truth : array, shape (rows, columns)
        Heights in metres.
    posting : tuple of float
        Metres between rows and between columns.
    where : array of bool, optional
        Cells to include; all by default. A cell is left out if it or a neighbour has no height.

    Returns
    -------
    float
        In degrees; NaN if there is no cell.

    Raises
    ------
    ValueError
        If shapes differ, or the mask is not boolean.
    """
    slopes = []
    for each in (estimate, truth):
        heights = np.asarray(each, dtype=np.float64)
        slope = np.degrees(np.arctan(np.hypot(*np.gradient(heights, *posting))))
        # A central difference does not involve the cell itself, which may be NaN.
        slopes.append(np.where(np.isfinite(heights), slope, np.nan))
    found, expected = finite_pairs(slopes[0], slopes[1], where)
    return float(np.sqrt(np.mean((found - expected) ** 2))) if found.size else np.nan


def coverage(
    estimate: ArrayLike,
    scale: ArrayLike,
    truth: ArrayLike,
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    *,
    where: ArrayLike | None = None,
) -> dict[float, float]:
    r"""Compute how often the truth lies in the intervals of an estimate.

    The interval at a level :math:`p` of a Laplace distribution with scale :math:`b` is the
    estimate plus and minus :math:`-b \ln(1 - p)`. The intervals of a calibrated estimate contain
    a fraction :math:`p` of the true heights.

    Parameters
    ----------
    estimate, scale, truth : array
        Heights and the scales of their errors in metres, of one shape.
    levels : sequence of float
        Between 0 and 1.
    where : array of bool, optional
        Cells to include; all by default.

    Returns
    -------
    dict
        By level the fraction of true heights in the interval; NaN if there is no cell.

    Raises
    ------
    ValueError
        If a level is not between 0 and 1, a scale is negative, shapes differ, or the mask is not
        boolean.
    """
    invalid = [level for level in levels if not 0.0 < level < 1.0]
    if invalid:
        msg = f"found levels {invalid}, expected numbers between 0 and 1"
        raise ValueError(msg)
    found, stated, expected = (
        np.asarray(each, dtype=np.float64) for each in (estimate, scale, truth)
    )
    if found.shape != expected.shape or (stated < 0.0).any():
        msg = (
            f"found estimates of shape {found.shape}, truth of shape {expected.shape} and a least "
            f"scale of {np.nanmin(stated, initial=np.inf):g}, expected one shape, and scales from 0"
        )
        raise ValueError(msg)
    size, width = finite_pairs(np.abs(found - expected), stated, where)
    return {
        level: float((size <= -np.log1p(-level) * width).mean()) if size.size else np.nan
        for level in levels
    }
