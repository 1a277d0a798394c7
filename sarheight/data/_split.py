"""Parting a scene by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from sarheight.dem import local_posting

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Part", "parts", "require_apart"]


@dataclass(frozen=True)
class Part:
    """A rectangle of cells.

    Attributes
    ----------
    rows, columns : tuple of int
        First and one past the last.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]

    def of(self, scene: xr.Dataset) -> xr.Dataset:
        """Cut the rectangle out of a scene."""
        return scene.isel(y=slice(*self.rows), x=slice(*self.columns))

    def overlaps(self, other: Part) -> bool:
        """Tell whether a cell lies in both."""
        pairs = ((self.rows, other.rows), (self.columns, other.columns))
        return all(one[0] < two[1] and two[0] < one[1] for one, two in pairs)


def require_apart(
    scenes: int, training: Sequence[Sequence[Part]], validation: Sequence[Sequence[Part]]
) -> None:
    """Refuse parts that do not pair with scenes, and a cell for both training and validation.

    Parameters
    ----------
    scenes : int
        How many there are.
    training, validation : sequence of sequence of Part
        The parts of each scene.

    Raises
    ------
    ValueError
    """
    if not len(training) == len(validation) == scenes:
        msg = (
            f"found parts of {len(training)} scenes for training and of {len(validation)} for "
            f"validation, expected them for each of {scenes}"
        )
        raise ValueError(msg)
    for number, (ours, theirs) in enumerate(zip(training, validation, strict=True)):
        for one, other in product(ours, theirs):
            if one.overlaps(other):
                msg = (
                    f"found parts for training {one} and validation {other} of scene {number} that "
                    "overlap, expected parts that lie apart: see sarheight.data.parts and blocks"
                )
                raise ValueError(msg)


def parts(
    scene: xr.Dataset, shares: Mapping[str, float], *, gap: float = 2000.0
) -> dict[str, Part]:
    """Part a scene into bands across its longer side.

    Between two bands lies a gap that belongs to none, so that no pixel, no reconstruction and no
    slope of one is seen in the other.

    Parameters
    ----------
    scene : xarray.Dataset
        On dims (y, x).
    shares : mapping
        Share of each band by name, in the order from the first row or column. They sum to 1.
    gap : float
        Metres between bands.

    Returns
    -------
    dict
        A `Part` for each name.

    Raises
    ------
    ValueError
        If the shares do not sum to 1, or a band would be narrower than the gap.
    """
    if not shares or min(shares.values()) <= 0.0 or abs(sum(shares.values()) - 1.0) > 1e-6:
        msg = f"found shares {dict(shares)}, expected shares above 0 that sum to 1"
        raise ValueError(msg)
    posting = local_posting(next(iter(scene.data_vars.values())).isel(_first(scene)))
    sizes = {"y": scene.sizes["y"], "x": scene.sizes["x"]}
    axis = "y" if sizes["y"] * posting[0] >= sizes["x"] * posting[1] else "x"
    between = int(np.ceil(gap / posting[0 if axis == "y" else 1]))
    free = sizes[axis] - between * (len(shares) - 1)
    narrowest = min(shares.values()) * free
    if narrowest < max(between, 1):
        msg = (
            f"found {sizes[axis]} cells along {axis} to part into {len(shares)} bands with gaps of "
            f"{between} cells, expected bands at least as wide as a gap: take a larger scene, "
            "fewer bands or a smaller gap"
        )
        raise ValueError(msg)
    bands, begin, total = {}, 0, 0.0
    for index, (name, share) in enumerate(shares.items()):
        total += share
        end = round(total * free) + index * between
        along = (begin, end)
        bands[name] = Part(along, (0, sizes["x"])) if axis == "y" else Part((0, sizes["y"]), along)
        begin = end + between
    return bands


def _first(scene: xr.Dataset) -> dict[str, int]:
    """Choose the first of every dimension but the map's."""
    return {str(name): 0 for name in scene.dims if name not in {"y", "x"}}
