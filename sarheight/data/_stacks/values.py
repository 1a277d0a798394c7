"""Whether values can be what they are said to be: power, reflectance, metres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sarheight.errors import StackError

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["check_heights", "check_optical", "check_reference", "check_sar"]

BRIGHTEST = 1.5
"""Reflectance that at most half of an image may exceed."""
DARKEST = -0.05
"""Reflectance below which only noise may lie."""
FEW = 0.05
HIGHEST = 1000.0
"""Metres: no building is higher."""
HIGH_BUILDING = 150.0
"""Metres: hardly a building of a city is, and never half of them."""


def check_sar(image: xr.DataArray) -> None:
    """Raise unless values can be linear power.

    Power from which noise was taken off may be negative here and there, decibels are nearly
    everywhere.

    Raises
    ------
    StackError
        If half of the values are not above 0.
    """
    known = _known(image)
    if known.size and not float(np.median(known)) > 0.0:
        msg = (
            f"found a median of {float(np.median(known)):.4g} in sar, expected linear power above "
            "0: decibels become power by 10 ** (decibels / 10)"
        )
        raise StackError(msg)


def check_optical(image: xr.DataArray) -> None:
    """Raise unless values can be reflectance.

    Raises
    ------
    StackError
        If many are below zero (an offset was taken off that was not there), or far above one
        (digital numbers).
    """
    known = _known(image)
    if not known.size:
        return
    middle, below = float(np.median(known)), float((known < DARKEST).mean())
    if middle > BRIGHTEST:
        msg = (
            f"found a median of {middle:.4g} in optical, expected reflectance from 0 to 1: turn "
            "digital numbers into it by sarheight.data.reflectance"
        )
        raise StackError(msg)
    if below > FEW:
        msg = (
            f"found {below:.0%} of optical below {DARKEST:g}, expected reflectance from 0 to 1: "
            "an offset of -1000 was probably taken off numbers of a processing baseline before "
            "04.00, which have none; see sarheight.data.reflectance"
        )
        raise StackError(msg)


def check_reference(dataset: xr.Dataset) -> None:
    """Raise unless height and footprint, where they are there, can be what they are said to be.

    Raises
    ------
    StackError
        If heights are not those of buildings in metres, or shares are not from 0 to 1.
    """
    if "height" in dataset:
        check_heights(dataset["height"].values, "height")
    if "footprint" in dataset:
        share = _known(dataset["footprint"])
        if share.size and (share.min() < 0.0 or share.max() > 1.0 + 1e-5):
            msg = (
                f"found footprint from {share.min():.4g} to {share.max():.4g}, expected the built "
                "share of a cell, 0 to 1: divide per cent by 100"
            )
            raise StackError(msg)


def check_heights(values: NDArray[np.floating], name: str) -> None:
    """Raise unless values can be heights of buildings above the ground in metres.

    Parameters
    ----------
    values : array
        Heights; NaN does not count, 0 is no building.
    name : str
        Of what holds them, for the message.

    Raises
    ------
    StackError
        If one is negative or infinite, one is higher than any building, or half of the buildings
        are higher than hardly any is: then they are in centimetres, or above sea level.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return
    lowest, highest = float(known.min()), float(known.max())
    if lowest < 0.0:
        msg = (
            f"found heights down to {lowest:.4g} in {name}, expected metres above the ground, 0 "
            "where there is no building: if a negative number stands for no data, make it NaN; "
            "subtract the ground's height from heights above sea level"
        )
        raise StackError(msg)
    buildings = known[known > 0.0]
    usual = float(np.median(buildings)) if buildings.size else 0.0
    if highest > HIGHEST or usual > HIGH_BUILDING:
        msg = (
            f"found heights up to {highest:.4g} in {name}, half of the buildings above "
            f"{usual:.4g}; expected metres above the ground: divide centimetres by 100, decimetres "
            "by 10, and subtract the ground's height from heights above sea level"
        )
        raise StackError(msg)


def _known(image: xr.DataArray) -> NDArray[np.floating]:
    values = np.asarray(image.values)
    known: NDArray[np.floating] = values[np.isfinite(values)]
    return known
