"""Spatial splits of scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Self

import numpy as np

from sarheight.dem import local_posting

if TYPE_CHECKING:
    import xarray as xr


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

    @classmethod
    def whole(cls, scene: xr.Dataset) -> Self:
        """Return the rectangle of all cells of a scene."""
        return cls((0, scene.sizes["y"]), (0, scene.sizes["x"]))

    def of(self, scene: xr.Dataset) -> xr.Dataset:
        """Select the rectangle from a scene.

        Raises
        ------
        ValueError
            If it extends beyond the scene, or is empty.
        """
        self.require_inside(scene)
        return scene.isel(y=slice(*self.rows), x=slice(*self.columns))

    def require_inside(self, scene: xr.Dataset) -> None:
        """Raise ValueError if the rectangle extends beyond a scene, or is empty."""
        shape = scene.sizes["y"], scene.sizes["x"]
        spans = self.rows, self.columns
        if not all(
            0 <= first < last <= length for (first, last), length in zip(spans, shape, strict=True)
        ):
            msg = f"found {self} of a scene of {shape[0]} x {shape[1]} cells, expected it inside"
            raise ValueError(msg)

    def overlaps(self, other: Part) -> bool:
        """Return whether a cell lies in both."""
        pairs = ((self.rows, other.rows), (self.columns, other.columns))
        return all(one[0] < two[1] and two[0] < one[1] for one, two in pairs)


def require_disjoint(
    scenes: int, training: Sequence[Sequence[Part]], validation: Sequence[Sequence[Part]]
) -> None:
    """Raise if parts do not pair with scenes, or a cell is in training and in validation."""
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
                    "overlap, expected disjoint parts: see sarheight.learning.split_bands and "
                    "sarheight.buildings.split_blocks"
                )
                raise ValueError(msg)


def split_bands(
    scene: xr.Dataset, shares: Mapping[str, float], *, gap: float = 2000.0
) -> dict[str, Part]:
    """Split a scene into bands across its longer side.

    Two bands are separated by a gap, so that they share no pixel, no reconstruction and no slope.

    Parameters
    ----------
    scene : xarray.Dataset
        On dims (y, x).
    shares : mapping
        Fraction of each band by name, from the first row or column on. They sum to 1.
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
    require_shares(shares)
    posting = posting_of(scene)
    sizes = {"y": scene.sizes["y"], "x": scene.sizes["x"]}
    axis = "y" if sizes["y"] * posting[0] >= sizes["x"] * posting[1] else "x"
    between = int(np.ceil(gap / posting[0 if axis == "y" else 1]))
    free = sizes[axis] - between * (len(shares) - 1)
    narrowest = min(shares.values()) * free
    if narrowest < max(between, 1):
        msg = (
            f"found {sizes[axis]} cells along {axis} to split into {len(shares)} bands with gaps "
            f"of {between} cells, expected bands at least as wide as a gap: take a larger scene, "
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


def require_shares(shares: Mapping[str, float]) -> None:
    """Raise if shares are not positive or do not sum to 1."""
    if not shares or min(shares.values()) <= 0.0 or abs(sum(shares.values()) - 1.0) > 1e-6:
        msg = f"found shares {dict(shares)}, expected shares above 0 that sum to 1"
        raise ValueError(msg)


def apportion(total: int, shares: Mapping[str, float]) -> list[int]:
    """Split a number in the proportion of shares, 1 at least for each if there are enough."""
    ideal = np.array(list(shares.values())) * total
    counts = np.full(len(shares), int(total >= len(shares)))
    while counts.sum() < total:
        counts[np.argmax(ideal - counts)] += 1
    return [int(count) for count in counts]


def posting_of(scene: xr.Dataset) -> tuple[float, float]:
    """Return the metres between rows and between columns of a scene or stack."""
    variable = next(each for each in scene.data_vars.values() if {"y", "x"} <= set(each.dims))
    return local_posting(variable.isel({n: 0 for n in variable.dims if n not in {"y", "x"}}))


def window_starts(span: tuple[int, int], size: int, step: int) -> list[int]:
    """Return the first cells of windows in a span of an axis; the last window ends with it."""
    begin, end = span
    if end - begin < size:
        return []
    starts = list(range(begin, end - size + 1, step))
    return starts if starts[-1] == end - size else [*starts, end - size]
