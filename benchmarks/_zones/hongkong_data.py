"""Hong Kong on four dates, its labelled cells, and the blocks of them that are locked away.

The rule, which was written down before any method was designed for it: the plane of EPSG:32649 is
divided into blocks of 3 km, numbered by ``floor(x / 3000)`` and ``floor(y / 3000)``. A block is
locked if the first eight bytes of the SHA-256 of the text ``sarheight hong kong LOCK COLUMN ROW``,
read as a big-endian number, are divisible by 3. Lock 0 is the test; locks 1 to 5 are
the five further splits.

`open_hong_kong` returns the labels of the cells outside a lock only: whatever chooses a feature, a
method or a number sees no others. `locked_labels` returns the rest, and refuses unless
``python -m benchmarks.hongkong`` asks with the `Scoring` of its final path.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import rioxarray
import xarray as xr
from numpy.typing import NDArray

from benchmarks._mountains.scenes import data_file
from sarheight.zones import exclude_neighbours, read_stack
from sarheight.zones.classes import CLIMATE_ZONES, zone_of_code

__all__ = [
    "BLOCK",
    "DATES",
    "LOCKS",
    "HongKong",
    "Scoring",
    "Split",
    "block_numbers",
    "design_splits",
    "is_locked",
    "locked_labels",
    "open_hong_kong",
]

STACK, LABELS = "lcz/hongkong_landsat8_4dates_100m.tif", "lcz/hongkong_lcz_labels_100m.tif"
DATES = ("2013333", "2014288", "2014320", "2015291")
BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B10", "B11")
BLOCK = 3000.0
"""Side of a block in metres."""
SALT = "sarheight hong kong"
ONE_IN = 3
"""One block in so many is locked."""
LOCKS = (0, 1, 2, 3, 4, 5)
"""The test, and the five further splits."""
GAP = 900.0
"""Least distance in metres, along x or y, of cells for training from those of the test."""
CLASSES = tuple(zone.name for zone in CLIMATE_ZONES)

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

# The rule.


def block_numbers(x: NDArray[np.float64], y: NDArray[np.float64]) -> Integers:
    """Return column and row of the block of each place, shape (n, 2)."""
    return np.floor(np.stack([x, y], axis=1) / BLOCK).astype(np.int64)


def is_locked(x: NDArray[np.float64], y: NDArray[np.float64], lock: int | str = 0) -> Flags:
    """Return which places, in metres of EPSG:32649, lie in blocks that a lock takes away."""
    blocks, inverse = np.unique(block_numbers(x, y), axis=0, return_inverse=True)
    taken = np.array([_hash(f"{SALT} {lock} {i} {j}") % ONE_IN == 0 for i, j in blocks], dtype=bool)
    return taken[inverse.ravel()]


def _hash(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")


# What design sees.


@dataclass(frozen=True, eq=False)
class Split:
    """Numbers of the cells for training and of those that score."""

    training: Integers
    test: Integers


@dataclass(frozen=True, eq=False)
class HongKong:
    """The images, and the labelled cells outside a lock."""

    stack: xr.DataArray  # All bands of all dates, dims (band, y, x), NaN where there are none
    labels: Integers  # Zones of the cells, numbers in `CLASSES`, shape (n,)
    rows: Integers  # Where they are in the stack
    columns: Integers  # Likewise
    x: NDArray[np.float64]  # In metres
    y: NDArray[np.float64]  # Likewise

    def apart(self, chosen: Integers, others: Integers) -> Integers:
        """Return the cells that are no closer than `GAP` to others."""
        return exclude_neighbours(chosen, others, self.x, self.y, GAP)

    def away_from(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Integers:
        """Return all cells that are no closer than `GAP` to some places."""
        count = self.labels.size
        return exclude_neighbours(
            np.arange(count),
            np.arange(count, count + x.size),
            np.concatenate([self.x, x]),
            np.concatenate([self.y, y]),
            GAP,
        )


def open_hong_kong(folder: str | None, *, lock: int = 0) -> HongKong:
    """Open the images, and the labelled cells outside a lock.

    Only the final path may take another lock than 0, as the further splits open cells of lock 0.
    """
    if lock != 0:
        _require_final_path()
    stack, labels, rows, columns = _read(folder)
    x, y = stack["x"].values[columns], stack["y"].values[rows]
    seen = ~is_locked(x, y, lock)
    return HongKong(stack, labels[seen], rows[seen], columns[seen], x[seen], y[seen])


def _read(folder: str | None) -> tuple[xr.DataArray, Integers, Integers, Integers]:
    """Read the images, and label, row and column of all labelled cells with data."""
    stack = read_stack(data_file(STACK, folder))
    values = stack.values.astype(np.float32)
    values[values == 0.0] = np.nan
    stack = stack.copy(data=values)
    opened = rioxarray.open_rasterio(data_file(LABELS, folder))
    if not isinstance(opened, xr.DataArray):
        msg = f"found several images in {LABELS}, expected one map"
        raise TypeError(msg)
    codes = opened.squeeze(drop=True).values
    rows, columns = np.nonzero((codes > 0) & np.isfinite(values).any(axis=0))
    labels = np.array([zone_of_code(int(code)).code - 1 for code in codes[rows, columns]])
    return stack, labels, rows.astype(np.int64), columns.astype(np.int64)


def design_splits(place: HongKong, count: int) -> list[Split]:
    """Split the open cells as a lock does: a third of the blocks scores, in several ways."""
    splits = []
    for number in range(count):
        held = is_locked(place.x, place.y, f"design {number}")
        test = np.flatnonzero(held)
        splits.append(Split(place.apart(np.flatnonzero(~held), test), test))
    return splits


# What only the final path sees.

FINAL_PATH = "benchmarks.hongkong"


@dataclass(frozen=True)
class Scoring:
    """What the final path must say before it sees locked labels: the methods that are scored.

    Attributes
    ----------
    methods : tuple of str
        Names of the methods. They are chosen before, from open cells only.
    """

    methods: tuple[str, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        """Refuse any caller but the final path, and an empty list."""
        _require_final_path()
        if not self.methods:
            msg = "found no method to score, expected those that were chosen on open cells"
            raise ValueError(msg)


def _require_final_path() -> None:
    """Refuse a process that is not ``python -m benchmarks.hongkong``."""
    specification = getattr(sys.modules.get("__main__"), "__spec__", None)
    name = getattr(specification, "name", None)
    if name != FINAL_PATH:
        msg = (
            f"found locked blocks asked for by {name or 'a script'}, expected `python -m "
            f"{FINAL_PATH}`: design uses open_hong_kong() with lock 0, and design_splits()"
        )
        raise PermissionError(msg)


def locked_labels(
    folder: str | None, lock: int, scoring: Scoring
) -> tuple[Integers, Integers, Integers]:
    """Return label, row and column of the cells that a lock takes away, to the final path alone.

    Raises
    ------
    PermissionError
        If anything else asks.
    """
    if not isinstance(scoring, Scoring):
        msg = f"found {type(scoring).__name__}, expected the Scoring of the final path"
        raise PermissionError(msg)
    _require_final_path()
    stack, labels, rows, columns = _read(folder)
    held = is_locked(stack["x"].values[columns], stack["y"].values[rows], lock)
    return labels[held], rows[held], columns[held]
