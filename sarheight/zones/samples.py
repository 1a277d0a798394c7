"""Labelled patches: samples, folds and channel statistics."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sarheight._runtime import cache_directory
from sarheight.errors import DatasetError
from sarheight.learning.split import require_shares, transform_values
from sarheight.output.atomic import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, DTypeLike

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
PIECE = 1024
"""Patches that are read at once."""


class ZoneSamples(ABC):
    """Labelled patches; a map-style dataset that gives single samples and whole batches.

    ``samples[7]`` is one sample, ``samples[[3, 5, 8]]`` a batch of three, read at once: a
    dictionary with ``image``, float32 of shape (channels, rows, columns), and ``label``, the number
    of its class; a batch has one dimension more in front. NaN stands for what is missing.

    Attributes
    ----------
    channels : tuple of str
        Names of the channels, in their order.
    classes : tuple of str
        Names of the classes, in the order of their numbers.
    codes : tuple of int
        What each class is called in a map, such as the code of a Local Climate Zone.
    labels : array of int64, shape (n,)
        Number of each patch's class.
    size : int
        Rows and columns of a patch.
    """

    channels: tuple[str, ...]
    classes: tuple[str, ...]
    codes: tuple[int, ...]
    labels: Integers
    size: int

    @abstractmethod
    def read(self, indices: Integers, places: Sequence[int] | None = None) -> Floats:
        """Read patches, shape (n, channels, size, size), in the order of the indices.

        Parameters
        ----------
        indices : array of int
            Which patches.
        places : sequence of int, optional
            Which channels; all by default.
        """

    @property
    def identity(self) -> str | None:
        """Return what tells these samples from all others, or None where nothing does."""
        return None

    def __len__(self) -> int:
        """Return the number of patches."""
        return int(self.labels.size)

    def __getitem__(self, index: int | Sequence[int] | Integers) -> dict[str, NDArray[Any]]:
        """Return a sample, or for several numbers a batch of them."""
        numbers = np.atleast_1d(np.asarray(index, dtype=np.int64))
        if numbers.size and not -len(self) <= numbers.min() <= numbers.max() < len(self):
            msg = f"found numbers up to {numbers.max()} of {len(self)} samples"
            raise IndexError(msg)
        numbers = numbers % max(len(self), 1)
        sample: dict[str, NDArray[Any]] = {
            "image": self.read(numbers),
            "label": self.labels[numbers],
        }
        return sample if np.ndim(index) else {name: each[0] for name, each in sample.items()}

    def counts(self) -> Integers:
        """Count the patches of each class, shape (classes,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def subset(self, indices: Sequence[int] | Integers) -> ZoneSamples:
        """Choose some of the patches; nothing is copied."""
        return _Subset(self, np.asarray(indices, dtype=np.int64))

    def with_channels(self, names: Sequence[str]) -> ZoneSamples:
        """Choose some of the channels, in the order of the names.

        Raises
        ------
        ValueError
            If there is no channel of a name.
        """
        missing = [name for name in names if name not in self.channels]
        if missing:
            msg = f"found no channel {', '.join(missing)} among {', '.join(self.channels)}"
            raise ValueError(msg)
        return self if tuple(names) == self.channels else _SomeChannels(self, tuple(names))

    def load(self, dtype: DTypeLike = np.float32) -> ZonePatches:
        """Read everything into memory.

        Parameters
        ----------
        dtype : dtype-like
            How it is kept: float16 takes half the room, at a relative precision of 0.05 %.

        Returns
        -------
        ZonePatches
        """
        shape = (len(self), len(self.channels), self.size, self.size)
        image = np.empty(shape, dtype=dtype)
        for first in range(0, len(self), PIECE):
            last = min(first + PIECE, len(self))
            image[first:last] = self.read(np.arange(first, last))
        return ZonePatches(
            image,
            self.labels,
            self.channels,
            self.classes,
            codes=self.codes,
            identity=self.identity,
        )


class _Subset(ZoneSamples):
    """Some of other samples."""

    def __init__(self, whole: ZoneSamples, indices: Integers) -> None:
        self.whole, self.indices = whole, indices
        self.channels, self.classes, self.codes = whole.channels, whole.classes, whole.codes
        self.size, self.labels = whole.size, whole.labels[indices]

    def read(self, indices: Integers, places: Sequence[int] | None = None) -> Floats:
        return self.whole.read(self.indices[indices], places)

    @property
    def identity(self) -> str | None:
        if self.whole.identity is None:
            return None
        return sha256(self.whole.identity.encode() + self.indices.tobytes()).hexdigest()


class _SomeChannels(ZoneSamples):
    """Some channels of other samples."""

    def __init__(self, whole: ZoneSamples, names: tuple[str, ...]) -> None:
        self.whole, self.channels = whole, names
        self.classes, self.codes = whole.classes, whole.codes
        self.size, self.labels = whole.size, whole.labels
        self.places = [whole.channels.index(name) for name in names]

    def read(self, indices: Integers, places: Sequence[int] | None = None) -> Floats:
        chosen = self.places if places is None else [self.places[place] for place in places]
        return self.whole.read(indices, chosen)


class ZonePatches(ZoneSamples):
    """Labelled patches in memory: a batch is a slice of an array.

    Parameters
    ----------
    image : array, shape (n, channels, size, size)
        Of any type of numbers. It is not copied.
    labels : array of int, shape (n,)
        Numbers of classes.
    channels, classes : sequence of str
        Names.
    codes : sequence of int, optional
        Codes of the classes; by default 1, 2, 3, ...
    identity : str, optional
        What tells these samples from all others.

    Raises
    ------
    ValueError
        If shapes or numbers do not fit each other.
    """

    def __init__(
        self,
        image: NDArray[Any],
        labels: Sequence[int] | NDArray[Any],
        channels: Sequence[str],
        classes: Sequence[str],
        *,
        codes: Sequence[int] | None = None,
        identity: str | None = None,
    ) -> None:
        numbers = np.asarray(labels, dtype=np.int64)
        self.codes = tuple(range(1, len(classes) + 1) if codes is None else map(int, codes))
        square = image.ndim == 4 and image.shape[2] == image.shape[3]
        if not square or image.shape[:2] != (numbers.size, len(channels)):
            msg = (
                f"found patches of shape {image.shape} with {numbers.size} labels and "
                f"{len(channels)} names of channels; expected (labels, channels, size, size)"
            )
            raise ValueError(msg)
        if len(self.codes) != len(classes) or (
            numbers.size and not 0 <= numbers.min() <= numbers.max() < len(classes)
        ):
            msg = (
                f"found labels from {numbers.min(initial=0)} to {numbers.max(initial=0)} and "
                f"{len(self.codes)} codes for {len(classes)} classes; expected one code for each, "
                "and labels that count the classes from 0"
            )
            raise ValueError(msg)
        self.image, self.labels, self.size = image, numbers, int(image.shape[2])
        self.channels, self.classes = tuple(channels), tuple(classes)
        self._identity = identity

    @property
    def identity(self) -> str | None:
        """Return what tells these samples from all others, or None where nothing does."""
        return self._identity

    def read(self, indices: Integers, places: Sequence[int] | None = None) -> Floats:
        """Read patches, shape (n, channels, size, size), in the order of the indices."""
        chosen = (
            self.image[indices] if places is None else self.image[np.ix_(indices, np.array(places))]
        )
        return chosen.astype(np.float32, copy=False)


# Splits of labelled patches: at random within classes, and by place.

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


# Mean and spread of the channels of labelled patches, measured once.

StatisticsFloats = NDArray[np.float64]
Statistics = dict[str, tuple[float, float]]

LEAST_VARIANCE = 1e-12
"""Variance, as a part of the squared mean, below which a channel is the same everywhere."""
_MEASURED: WeakKeyDictionary[ZoneSamples, dict[str, Statistics]] = WeakKeyDictionary()


def zone_statistics(
    samples: ZoneSamples,
    transforms: Mapping[str, str] | None = None,
    *,
    channels: Sequence[str] | None = None,
) -> dict[str, tuple[float, float]]:
    """Measure mean and standard deviation of channels.

    They are measured once for the same samples. Those of a file are kept in the folder for cached
    files (see ``SARHEIGHT_CACHE``) until the file changes.

    Parameters
    ----------
    samples : ZoneSamples
        Those for training.
    transforms : mapping, optional
        By channel "decibel" or "log", taken before the statistics.
    channels : sequence of str, optional
        Names of those that are wanted; all by default.

    Returns
    -------
    dict
        Mean and standard deviation by the name of the channel. Values that are not finite never
        count.

    Raises
    ------
    DatasetError
        If one of the channels has no value, or the same everywhere.
    """
    chosen = {name: (transforms or {}).get(name, "none") for name in samples.channels}
    key = json.dumps(chosen)
    known = _MEASURED.setdefault(samples, {})
    if key not in known:
        known[key] = _remembered(samples, chosen)
    wanted = samples.channels if channels is None else tuple(channels)
    constant = [name for name in wanted if not known[key][name][1] > 0.0]
    if constant:
        msg = (
            f"found channels with the same value in all of {len(samples)} patches, or none: "
            f"{', '.join(constant)}; expected channels that vary: leave them out of the groups, or "
            "check the file"
        )
        raise DatasetError(msg)
    return {name: known[key][name] for name in wanted}


def _remembered(samples: ZoneSamples, transforms: Mapping[str, str]) -> Statistics:
    """Measure, or read what was measured for the same file."""
    kept = _kept(samples, transforms)
    if kept is not None and kept.exists():
        found: dict[str, list[float]] = json.loads(kept.read_text("utf-8"))
        return {name: (mean, std) for name, (mean, std) in found.items()}
    measured = _measured(samples, transforms)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(kept, overwrite=True, suffixes=(".json",)) as work:
            work.write_text(json.dumps(measured), "utf-8")
    return measured


def _kept(samples: ZoneSamples, transforms: Mapping[str, str]) -> Path | None:
    """Say where the statistics of these samples are kept, if they can be told from others."""
    if samples.identity is None:
        return None
    key = sha256(json.dumps([samples.identity, transforms]).encode()).hexdigest()
    return cache_directory() / "statistics" / f"{key}.json"


def _measured(samples: ZoneSamples, transforms: Mapping[str, str]) -> Statistics:
    count, total, squares = (np.zeros(len(samples.channels)) for _ in range(3))
    origin: StatisticsFloats | None = None
    for first in range(0, len(samples), PIECE):
        image = samples.read(np.arange(first, min(first + PIECE, len(samples))))
        for number, transform in enumerate(transforms.values()):
            if transform != "none":
                image[:, number] = transform_values(image[:, number].astype(np.float64), transform)
        known = np.isfinite(image)
        values = np.where(known, image, 0.0).astype(np.float64)
        if origin is None:
            # Squares about a value near the mean lose nothing to rounding.
            origin = values.sum(axis=(0, 2, 3)) / np.maximum(known.sum(axis=(0, 2, 3)), 1)
        shifted = np.where(known, values - origin[:, None, None], 0.0)
        count += known.sum(axis=(0, 2, 3))
        total += shifted.sum(axis=(0, 2, 3))
        squares += (shifted**2).sum(axis=(0, 2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        offset = total / count
        variance = squares / count - offset**2
    mean = np.nan_to_num(offset + (0.0 if origin is None else origin))
    varying = variance > LEAST_VARIANCE * mean**2
    spread = np.sqrt(np.where(varying, variance, 0.0))
    return {
        name: (float(middle), float(width))
        for name, middle, width in zip(samples.channels, mean, spread, strict=True)
    }
