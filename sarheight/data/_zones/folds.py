"""Splits of labelled patches: at random within classes, and by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sarheight.data._split import require_shares
from sarheight.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from sarheight.data._zones.samples import Integers, ZoneSamples

__all__ = ["deal_samples", "require_classes", "spatial_folds", "without_near"]

PUBLISHED = {"training": 0.8, "validation": 0.1, "test": 0.1}


def deal_samples(
    samples: ZoneSamples, shares: Mapping[str, float] = PUBLISHED, *, seed: int = 0
) -> dict[str, ZoneSamples]:
    """Deal samples out at random, class by class, in shares such as 80, 10 and 10 %.

    Patches of one place end up on both sides, so that this tells how well places are told apart
    that are known; it says little about regions that are not.

    Parameters
    ----------
    samples : ZoneSamples
        All of them.
    shares : mapping
        By name; they sum to 1.
    seed : int
        Of the order in which they are dealt.

    Returns
    -------
    dict
        Samples by name. A class with as many patches as there are names is in each.

    Raises
    ------
    ValueError
        If the shares do not sum to 1.
    """
    require_shares(shares)
    random = np.random.default_rng(seed)
    dealt: dict[str, list[Integers]] = {name: [] for name in shares}
    for number in range(len(samples.classes)):
        members = random.permutation(np.flatnonzero(samples.labels == number))
        counts = _counts(members.size, list(shares.values()))
        for name, part in zip(shares, np.split(members, np.cumsum(counts)[:-1]), strict=True):
            dealt[name].append(part)
    return {name: samples.subset(np.sort(np.concatenate(parts))) for name, parts in dealt.items()}


def _counts(total: int, shares: Sequence[float]) -> list[int]:
    """Share out a number: whole parts that sum to it, one each as far as it goes."""
    wanted = np.array(shares) * total
    counts = np.minimum(np.floor(wanted), total).astype(int)
    if total >= len(shares):
        counts = np.maximum(counts, 1)
    while counts.sum() < total:
        counts[np.argmax(wanted - counts)] += 1
    while counts.sum() > total:
        counts[np.argmax(counts)] -= 1
    return [int(count) for count in counts]


def spatial_folds(
    labels: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    *,
    folds: int = 5,
    width: float = 5000.0,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Deal square blocks of a map out to folds, such that each fold gets its part of each class.

    Blocks are taken from the one with most labels of rare classes to that with fewest, each to
    the fold that still lacks most of what it holds.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Numbers of classes.
    x, y : array, shape (n,)
        Places in metres, as of `RasterPatches`.
    folds : int
        How many.
    width : float
        Metres along the side of a block.
    seed : int
        Of where the blocks begin, and of the order among equals.

    Returns
    -------
    array of int64, shape (n,)
        Number of the fold of each label.

    Raises
    ------
    DatasetError
        If there are fewer blocks than folds.
    ValueError
        If a number makes no sense.
    """
    if folds < 2 or not width > 0.0:
        msg = f"found {folds} folds of blocks of {width:g} m, expected two at least, and above 0"
        raise ValueError(msg)
    numbers = np.asarray(labels, dtype=np.int64)
    random = np.random.default_rng(seed)
    places = np.stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)], axis=1)
    begin = places.min(axis=0) - random.uniform(0.0, width, 2)
    cells = ((places - begin) // width).astype(np.int64)
    _, block = np.unique(cells, axis=0, return_inverse=True)
    block = block.ravel()
    count = int(block.max()) + 1
    if count < folds:
        msg = (
            f"found labels in {count} blocks of {width:g} m, expected at least {folds}, one for "
            "each fold: take smaller blocks"
        )
        raise DatasetError(msg)
    held = np.zeros((count, int(numbers.max()) + 1))
    np.add.at(held, (block, numbers), 1.0)
    total = held.sum(axis=0)
    # A label of a class with few of them weighs more.
    weighed = held / np.where(total > 0.0, total, 1.0)
    order = np.lexsort((random.random(count), -weighed.sum(axis=1)))
    missing = np.full((folds, held.shape[1]), 1.0 / folds)
    fold_of = np.zeros(count, dtype=np.int64)
    for number in order:
        # How much nearer to an even share each fold comes with this block.
        gain = np.sum(np.minimum(weighed[number], np.maximum(missing, 0.0)), axis=1)
        even = missing.sum(axis=1)
        chosen = int(np.lexsort((-even, -gain))[0])
        fold_of[number] = chosen
        missing[chosen] -= weighed[number]
    return fold_of[block]


def without_near(
    indices: ArrayLike, held_out: ArrayLike, x: ArrayLike, y: ArrayLike, distance: float
) -> NDArray[np.int64]:
    """Leave out of some samples those that lie near others.

    Parameters
    ----------
    indices, held_out : array of int
        Samples to choose from, and those that shall not be near.
    x, y : array, shape (n,)
        Places of all samples.
    distance : float
        Those nearer than this along x and along y go. Patches of `size` cells share no cell where
        it is `size` times the posting.

    Returns
    -------
    array of int64
        What is left of `indices`.
    """
    chosen = np.asarray(indices, dtype=np.int64)
    others = np.asarray(held_out, dtype=np.int64)
    if not others.size or not chosen.size:
        return chosen
    places: NDArray[Any] = np.stack([np.asarray(x), np.asarray(y)], axis=1)
    nearest, _ = cKDTree(places[others]).query(places[chosen], p=np.inf)
    return chosen[nearest >= distance]


def require_classes(training: ZoneSamples, other: ZoneSamples, role: str) -> None:
    """Refuse a split whose training lacks a class that is asked for later.

    Raises
    ------
    DatasetError
        If a class is in `other` and not in `training`, or the two have other classes or channels.
    """
    if (training.classes, training.channels, training.size) != (
        other.classes,
        other.channels,
        other.size,
    ):
        msg = (
            f"found {role} samples of other classes, channels or size than those for training; "
            "expected the same: take both from one source"
        )
        raise DatasetError(msg)
    lacking = (training.counts() == 0) & (other.counts() > 0)
    if lacking.any():
        names = ", ".join(np.array(training.classes)[lacking])
        msg = (
            f"found no sample for training of {names}, of which there are some for {role}; "
            "expected each class: split in another way, or leave the class out of both"
        )
        raise DatasetError(msg)
