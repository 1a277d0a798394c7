"""Splits by place: blocks of a city, and whole cities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sarheight.data._split import Part, posting_of, require_shares

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["blocks", "split_cities"]

City = TypeVar("City")


def blocks(
    stack: xr.Dataset,
    shares: Mapping[str, float],
    *,
    width: float = 2000.0,
    gap: float = 200.0,
    seed: int = 0,
) -> dict[str, list[Part]]:
    """Deal a city out in square blocks with gaps between them.

    Patches are to be cut from one block each; then what lies in the gap (and half a receptive
    field of a network) is all that training and test could share.

    Parameters
    ----------
    stack : xarray.Dataset
        On dims (y, x).
    shares : mapping
        Share of the blocks by name; they sum to 1. Every name gets one block at least.
    width : float
        Metres from one block to the next.
    gap : float
        Metres between blocks that belong to none.
    seed : int
        Of the order in which blocks are dealt.

    Returns
    -------
    dict
        A list of `Part` for each name.

    Raises
    ------
    ValueError
        If the shares do not sum to 1, the gap leaves nothing of a block, or there are fewer blocks
        than names.
    """
    require_shares(shares)
    posting = posting_of(stack)
    spans = []
    for axis, step in zip(("y", "x"), posting, strict=True):
        wide, between = round(width / step), int(np.ceil(gap / step))
        if wide - between < 1:
            msg = (
                f"found blocks of {width:g} m with gaps of {gap:g} m between them, expected gaps "
                "that leave something of a block"
            )
            raise ValueError(msg)
        count = max((stack.sizes[axis] + between) // wide, 1)
        spans.append([(k * wide, min((k + 1) * wide - between, stack.sizes[axis]))
                      for k in range(count)])  # fmt: skip
    found = [Part(rows, columns) for rows in spans[0] for columns in spans[1]]
    return _dealt(found, shares, seed, f"blocks of {width:g} m")


def split_cities(
    cities: Sequence[City], shares: Mapping[str, float], *, seed: int = 0
) -> dict[str, list[City]]:
    """Deal whole cities out, so that no place of one is seen in another part.

    Parameters
    ----------
    cities : sequence
        Names, paths or stacks.
    shares : mapping
        Share of the cities by name; they sum to 1. Every name gets one city at least.
    seed : int
        Of the order in which they are dealt.

    Returns
    -------
    dict
        A list of cities for each name.

    Raises
    ------
    ValueError
        If the shares do not sum to 1, or there are fewer cities than names.
    """
    require_shares(shares)
    return _dealt(list(cities), shares, seed, "cities")


def _dealt(
    things: list[City], shares: Mapping[str, float], seed: int, what: str
) -> dict[str, list[City]]:
    """Deal things out in a random order; each in its own order then."""
    if len(things) < len(shares):
        msg = f"found {len(things)} {what} for {', '.join(shares)}, expected one each at least"
        raise ValueError(msg)
    counts = np.ones(len(shares), dtype=int)
    wanted = np.array(list(shares.values())) * len(things)
    while counts.sum() < len(things):
        counts[np.argmax(wanted - counts)] += 1
    order = np.random.default_rng(seed).permutation(len(things))
    ends = np.cumsum(counts)
    return {
        name: [things[index] for index in sorted(order[end - count : end])]
        for name, end, count in zip(shares, ends, counts, strict=True)
    }
