"""Files of places with radar features and building heights, one row each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["COLUMNS", "Places", "read_places"]

COLUMNS = """
The file is an npz with `columns` (names) and `data` (a row for each place):

Height            height of the building in metres, above 0
VV_A1, VH_D, ...  backscatter in dB: polarisation (HH, HV, VV, VH), pass (A ascending, D
                  descending), and any suffix, such as the number of an orbit or a statistic
U1, U2, ...       built share of circles around the place, 0 to 1 (may be missing)
NL                light at night (may be missing where there are x and y)
x, y              metres in a projected system (may be missing where there is NL)
"""
RADAR = re.compile(r"(HH|HV|VV|VH)_([AD])\w*")
OTHER = re.compile(r"U\d+|NL|x|y|Height")
BLOCK = 500.0
"""Width of a block in metres, where there are coordinates."""


@dataclass(frozen=True, eq=False)
class Places:
    """Places with features, heights, and the block in which each lies.

    Attributes
    ----------
    names : tuple of str
        Of the features: those of the file, and what physics makes of them.
    values : array, shape (places, features)
    heights : array, shape (places,)
        Metres.
    blocks : array, shape (places,)
        Numbers of the blocks.
    keys : tuple of str
        What names each block: its night light, or column and row of its square.
    parted_by : str
        What the blocks are made of.
    repeated : int
        Rows that were left out because they repeat others.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    heights: NDArray[np.float64]
    blocks: NDArray[np.int64]
    keys: tuple[str, ...]
    parted_by: str
    repeated: int


def read_places(path: Path) -> Places:
    """Read a file of places.

    A block is a square of 500 m where the file has coordinates. Where it has none, it is all
    places of the same light at night: that is measured in cells of 15 seconds of arc, some
    450 m by 250 m, and each has a value of its own, to all digits.

    Parameters
    ----------
    path : Path
        See `COLUMNS`.

    Returns
    -------
    Places

    Raises
    ------
    ValueError
        If the file is not of this form: what was found, and what was expected.
    OSError
        If it cannot be read.
    """
    columns = _columns(path)
    radar = [name for name in columns if RADAR.fullmatch(name)]
    strange = [name for name in columns if not RADAR.fullmatch(name) and not OTHER.fullmatch(name)]
    located = "NL" in columns or {"x", "y"} <= set(columns)
    missing = [
        text
        for text, is_there in (
            ("Height", "Height" in columns),
            ("backscatter, such as VV_A1 or VH_D", bool(radar)),
            ("NL, or x and y", located),
        )
        if not is_there
    ]
    if strange or missing:
        parts = [f"no {' and no '.join(missing)}"] if missing else []
        parts += [f"the unknown {', '.join(strange)}"] if strange else []
        msg = (
            f"found {' and '.join(parts)} among the columns {', '.join(columns)} of '{path}', "
            f"expected: {COLUMNS}"
        )
        raise ValueError(msg)
    table = np.stack(list(columns.values()), axis=1)
    if not np.isfinite(table).all() or not (columns["Height"] > 0.0).all():
        bad = ~np.isfinite(table).all(axis=1) | ~(columns["Height"] > 0.0)
        msg = (
            f"found {bad.sum()} of {bad.size} places in '{path}' with values that are missing or "
            "heights not above 0, expected metres: leave these places out"
        )
        raise ValueError(msg)
    _, kept = np.unique(table, axis=0, return_index=True)
    kept.sort()
    chosen = {name: values[kept] for name, values in columns.items()}
    if {"x", "y"} <= set(chosen):
        squares = np.floor(np.stack([chosen["x"], chosen["y"]], axis=1) / BLOCK)
        found, blocks = np.unique(squares, axis=0, return_inverse=True)
        keys = tuple(f"{column:.0f} {row:.0f}" for column, row in found)
        parted_by = f"squares of {BLOCK:g} m"
    else:
        lights, blocks = np.unique(chosen["NL"], return_inverse=True)
        keys = tuple(f"{light:.6g}" for light in lights)
        parted_by = "cells of the light at night"
    features = _features({n: v for n, v in chosen.items() if n not in {"Height", "x", "y"}})
    return Places(
        tuple(features),
        np.stack(list(features.values()), axis=1),
        chosen["Height"],
        blocks.ravel().astype(np.int64),
        keys,
        parted_by,
        len(table) - len(kept),
    )


def _columns(path: Path) -> dict[str, NDArray[np.float64]]:
    with np.load(path, allow_pickle=False) as found:
        missing = {"columns", "data"} - set(found)
        if missing:
            msg = f"found {', '.join(found)} in '{path}', expected columns and data: {COLUMNS}"
            raise ValueError(msg)
        names, data = [str(name) for name in found["columns"]], found["data"].astype(np.float64)
    if data.ndim != 2 or data.shape[1] != len(names) or len(set(names)) != len(names):
        msg = (
            f"found data of shape {data.shape} and the columns {', '.join(names)} in '{path}', "
            "expected one column of data for each name, and each name once"
        )
        raise ValueError(msg)
    return dict(zip(names, data.T, strict=True))


def _features(columns: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Add means, spreads and ratios: decibels that are subtracted are ratios of power."""
    features = dict(columns)
    groups: dict[str, list[NDArray[np.float64]]] = {}
    for name, values in columns.items():
        found = RADAR.fullmatch(name)
        if found:
            for group in (found[1], f"{found[1]}_{found[2]}"):
                groups.setdefault(group, []).append(values)
    means = {group: np.mean(values, axis=0) for group, values in groups.items()}
    features |= {f"mean {group}": values for group, values in means.items()}
    features |= {
        f"spread {group}": np.std(values, axis=0)
        for group, values in groups.items()
        if len(values) > 1
    }
    pairs = [("VV", "VH"), ("HH", "HV"), ("HH", "VV")]
    pairs += [(f"{group}_A", f"{group}_D") for group in ("HH", "HV", "VV", "VH")]
    for one, other in pairs:
        if one in means and other in means:
            features[f"{one} - {other}"] = means[one] - means[other]
    return features
