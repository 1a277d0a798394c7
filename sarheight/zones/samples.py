"""Labelled patches: views of samples, splits and channel statistics."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sarheight.errors import DatasetError
from sarheight.learning.channels import Channel, ChannelStatistics
from sarheight.learning.split import apportion, require_shares

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
BLOCK = 1024
"""Patches that are read at once."""


class ZoneSamples(ABC):
    """Labelled patches: a map-style dataset that returns single samples and whole batches.

    ``samples[7]`` is one sample, ``samples[[3, 5, 8]]`` a batch of three that is read at once: a
    dictionary with ``image``, float32 of shape (channels, rows, columns), and ``label``, the class
    number; a batch has one leading dimension more. NaN marks missing values.

    Attributes
    ----------
    channels : tuple of str
        Names of the channels.
    classes : tuple of str
        Names of the classes, in the order of their numbers.
    codes : tuple of int
        Code of each class in a map, such as the code of a Local Climate Zone.
    labels : array of int64, shape (n,)
        Class number of each patch.
    size : int
        Rows and columns of a patch.
    """

    channels: tuple[str, ...]
    classes: tuple[str, ...]
    codes: tuple[int, ...]
    labels: Integers
    size: int

    @abstractmethod
    def read(self, indices: Integers, channels: Sequence[int] | None = None) -> Floats:
        """Read patches, shape (n, channels, size, size), in the order of the indices.

        Parameters
        ----------
        indices : array of int
            Numbers of the patches.
        channels : sequence of int, optional
            Numbers of the channels; all by default.
        """

    def __len__(self) -> int:
        """Return the number of patches."""
        return int(self.labels.size)

    def __getitem__(self, index: int | Sequence[int] | Integers) -> dict[str, NDArray[Any]]:
        """Return a sample, or for several numbers a batch of them."""
        numbers = np.atleast_1d(np.asarray(index, dtype=np.int64))
        if numbers.size and not -len(self) <= numbers.min() <= numbers.max() < len(self):
            msg = f"found indices up to {numbers.max()}, expected them below {len(self)}"
            raise IndexError(msg)
        numbers = numbers % max(len(self), 1)
        sample: dict[str, NDArray[Any]] = {
            "image": self.read(numbers),
            "label": self.labels[numbers],
        }
        return sample if np.ndim(index) else {name: batch[0] for name, batch in sample.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return a batch, for torch's DataLoader."""
        return self[indices]

    def blocks(self, size: int = BLOCK) -> Iterator[Floats]:
        """Yield all patches in their order, `size` at a time."""
        for first in range(0, len(self), size):
            yield self.read(np.arange(first, min(first + size, len(self))))

    def counts(self) -> Integers:
        """Count the patches of each class, shape (classes,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def subset(self, indices: Sequence[int] | Integers) -> ZoneSamples:
        """Return a view of some of the patches."""
        return _View(self, np.asarray(indices, dtype=np.int64))

    def with_channels(self, names: Sequence[str]) -> ZoneSamples:
        """Return a view of some of the channels, in the order of the names.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        missing = [name for name in names if name not in self.channels]
        if missing:
            msg = f"found no channel {', '.join(missing)} among {', '.join(self.channels)}"
            raise ValueError(msg)
        return self if tuple(names) == self.channels else _View(self, None, tuple(names))

    def load(self, dtype: DTypeLike = np.float32) -> ZonePatches:
        """Read all patches into memory.

        Parameters
        ----------
        dtype : dtype-like
            Type in memory; float16 takes half the space at a relative precision of 0.05 %.

        Returns
        -------
        ZonePatches
        """
        shape = (len(self), len(self.channels), self.size, self.size)
        image = np.empty(shape, dtype=dtype)
        first = 0
        for patches in self.blocks():
            image[first : first + len(patches)] = patches
            first += len(patches)
        return ZonePatches(image, self.labels, self.channels, self.classes, codes=self.codes)


class _View(ZoneSamples):
    """View of some of the patches and channels of other samples."""

    def __init__(
        self, base: ZoneSamples, indices: Integers | None, names: tuple[str, ...] | None = None
    ) -> None:
        self.base, self.classes, self.codes, self.size = base, base.classes, base.codes, base.size
        self.indices = np.arange(len(base)) if indices is None else indices
        self.labels = base.labels[self.indices]
        self.channels = base.channels if names is None else names
        self.numbers = [base.channels.index(name) for name in self.channels]

    def read(self, indices: Integers, channels: Sequence[int] | None = None) -> Floats:
        chosen = self.numbers if channels is None else [self.numbers[k] for k in channels]
        everything = chosen == list(range(len(self.base.channels)))
        return self.base.read(self.indices[indices], None if everything else chosen)


class ZonePatches(ZoneSamples):
    """Labelled patches in memory.

    Parameters
    ----------
    image : array, shape (n, channels, size, size)
        Any numeric type. The array is not copied.
    labels : array of int, shape (n,)
        Class numbers.
    channels, classes : sequence of str
        Names.
    codes : sequence of int, optional
        Codes of the classes; by default 1, 2, 3, ...

    Raises
    ------
    ValueError
        If shapes, labels, names or codes are inconsistent.
    """

    def __init__(
        self,
        image: NDArray[Any],
        labels: Sequence[int] | NDArray[Any],
        channels: Sequence[str],
        classes: Sequence[str],
        *,
        codes: Sequence[int] | None = None,
    ) -> None:
        numbers = np.asarray(labels, dtype=np.int64)
        self.codes = tuple(range(1, len(classes) + 1) if codes is None else map(int, codes))
        square = image.ndim == 4 and image.shape[2] == image.shape[3]
        if not square or image.shape[:2] != (numbers.size, len(channels)):
            msg = (
                f"found patches of shape {image.shape} with {numbers.size} labels and "
                f"{len(channels)} channel names; expected (labels, channels, size, size)"
            )
            raise ValueError(msg)
        if len(self.codes) != len(classes) or (
            numbers.size and not 0 <= numbers.min() <= numbers.max() < len(classes)
        ):
            msg = (
                f"found labels from {numbers.min(initial=0)} to {numbers.max(initial=0)} and "
                f"{len(self.codes)} codes for {len(classes)} classes; expected one code for each "
                "class, and labels that number the classes from 0"
            )
            raise ValueError(msg)
        self.image, self.labels, self.size = image, numbers, int(image.shape[2])
        self.channels, self.classes = tuple(channels), tuple(classes)

    def read(self, indices: Integers, channels: Sequence[int] | None = None) -> Floats:
        """Read patches, shape (n, channels, size, size), in the order of the indices."""
        chosen = (
            self.image[indices]
            if channels is None
            else self.image[np.ix_(indices, np.array(channels))]
        )
        return chosen.astype(np.float32, copy=False)


# Splits: random within classes, or spatial.

PUBLISHED_SHARES = {"training": 0.8, "validation": 0.1, "test": 0.1}


def split_samples(
    samples: ZoneSamples, shares: Mapping[str, float] = PUBLISHED_SHARES, *, seed: int = 0
) -> dict[str, ZoneSamples]:
    """Split samples at random, stratified by class.

    Patches of one region are in all parts: the test measures accuracy in known regions, not how
    well a classifier transfers to others.

    Parameters
    ----------
    samples : ZoneSamples
        All samples.
    shares : mapping
        Share of each part by name; they sum to 1.
    seed : int
        Seed of the random order.

    Returns
    -------
    dict
        Samples by name. A class with at least as many patches as there are parts is in each part.

    Raises
    ------
    ValueError
        If the shares do not sum to 1.
    """
    require_shares(shares)
    random = np.random.default_rng(seed)
    parts: dict[str, list[Integers]] = {name: [] for name in shares}
    for number in range(len(samples.classes)):
        members = random.permutation(np.flatnonzero(samples.labels == number))
        counts = apportion(members.size, shares)
        pieces = np.split(members, np.cumsum(counts)[:-1])
        for name, piece in zip(shares, pieces, strict=True):
            parts[name].append(piece)
    return {name: samples.subset(np.sort(np.concatenate(part))) for name, part in parts.items()}


def spatial_folds(
    labels: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    *,
    folds: int = 5,
    width: float = 5000.0,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Assign labels to folds for cross-validation by square blocks, balanced by class.

    Blocks are assigned by `sklearn.model_selection.StratifiedGroupKFold`.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Class numbers.
    x, y : array, shape (n,)
        Coordinates in metres, as those of `RasterPatches`.
    folds : int
        Number of folds.
    width : float
        Side of a block in metres.
    seed : int
        Seed of the origin of the blocks and of their order.

    Returns
    -------
    array of int64, shape (n,)
        Fold of each label.

    Raises
    ------
    DatasetError
        If there are fewer blocks than folds.
    ValueError
        If there are fewer than two folds, or the width is not above 0.
    """
    if folds < 2 or not width > 0.0:
        msg = (
            f"found {folds} folds of blocks of {width:g} m, expected two folds at least, and a "
            "width above 0"
        )
        raise ValueError(msg)
    numbers = np.asarray(labels, dtype=np.int64)
    random = np.random.default_rng(seed)
    points = np.stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)], axis=1)
    origin = points.min(axis=0) - random.uniform(0.0, width, 2)
    cells = ((points - origin) // width).astype(np.int64)
    _, block = np.unique(cells, axis=0, return_inverse=True)
    block = block.ravel()
    blocks = int(block.max()) + 1
    if blocks < folds:
        msg = (
            f"found labels in {blocks} blocks of {width:g} m, expected at least {folds}, one for "
            "each fold: take smaller blocks"
        )
        raise DatasetError(msg)
    from sklearn.model_selection import StratifiedGroupKFold  # type: ignore[import-untyped]

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.empty(numbers.size, dtype=np.int64)
    with warnings.catch_warnings():
        # A class may have fewer labels than there are folds.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for number, (_, held) in enumerate(splitter.split(points, numbers, block)):
            fold[held] = number
    return fold


def exclude_neighbours(
    indices: ArrayLike, held_out: ArrayLike, x: ArrayLike, y: ArrayLike, distance: float
) -> NDArray[np.int64]:
    """Exclude samples close to held-out ones.

    Parameters
    ----------
    indices, held_out : array of int
        Samples to choose from, and held-out samples.
    x, y : array, shape (n,)
        Coordinates of all samples.
    distance : float
        Samples closer than this both along x and along y are excluded. Patches of `size` cells
        share no cell at a distance of `size` times the posting.

    Returns
    -------
    array of int64
        Remaining part of `indices`.
    """
    chosen = np.asarray(indices, dtype=np.int64)
    others = np.asarray(held_out, dtype=np.int64)
    if not others.size or not chosen.size:
        return chosen
    points: NDArray[Any] = np.stack([np.asarray(x), np.asarray(y)], axis=1)
    nearest, _ = cKDTree(points[others]).query(points[chosen], p=np.inf)
    return chosen[nearest >= distance]


def require_classes(training: ZoneSamples, other: ZoneSamples, role: str) -> None:
    """Raise if samples have other classes, channels or size, or a class that training lacks."""
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
    if np.count_nonzero(training.counts()) < 2:
        msg = (
            f"found {np.count_nonzero(training.counts())} class among {len(training)} samples for "
            "training, expected two at least: label other classes as well"
        )
        raise DatasetError(msg)
    missing = (training.counts() == 0) & (other.counts() > 0)
    if missing.any():
        names = ", ".join(np.array(training.classes)[missing])
        msg = (
            f"found no sample for training of {names}, but some for {role}; expected training "
            "samples of each class: change the split, or exclude the class from both"
        )
        raise DatasetError(msg)


FEWEST = 20
"""Samples of a class below which its accuracy, and what is learnt of it, are chance."""


def warn_of_few(samples: ZoneSamples, least: int = FEWEST) -> None:
    """Warn of classes that have some samples, but very few."""
    counts = samples.counts()
    few = [
        f"{name} ({count})"
        for name, count in zip(samples.classes, counts.tolist(), strict=True)
        if 0 < count < least
    ]
    if few:
        warnings.warn(
            f"found fewer than {least} labelled cells of {', '.join(few)}: too few to learn these "
            "classes or to score them; label more cells, or merge the classes with similar ones",
            stacklevel=2,
        )


def warn_of_untrained(samples: ZoneSamples, training: Integers, width: float) -> None:
    """Warn of classes whose samples all lie in blocks for test or validation, or near them."""
    counts = samples.counts()
    trained = np.bincount(samples.labels[training], minlength=counts.size)
    lost = [
        f"{name} ({count} cells)"
        for name, count, left in zip(samples.classes, counts.tolist(), trained, strict=True)
        if count and not left
    ]
    if lost:
        warnings.warn(
            f"found no cell for training of {', '.join(lost)}: with blocks of {width:g} m all of "
            "them are for test or validation, or too close to such cells. They are never assigned, "
            "and count as errors in the test: take smaller blocks, label more places, or leave the "
            "class out",
            stacklevel=2,
        )


# Channel statistics.

_MEASURED: WeakKeyDictionary[ZoneSamples, dict[tuple[str, ...], ChannelStatistics]]
_MEASURED = WeakKeyDictionary()


def zone_statistics(
    samples: ZoneSamples,
    decibel: Sequence[str] = (),
    *,
    channels: Sequence[str] | None = None,
) -> list[Channel]:
    """Return channels with mean and standard deviation, those of `decibel` after this transform.

    The same samples are read once. Values that are not finite are ignored. Raises DatasetError if
    one of `channels` (all by default) is constant, ValueError if one of `decibel` is unknown.
    """
    unknown = [name for name in decibel if name not in samples.channels]
    if unknown:
        msg = f"found decibel={unknown}, expected some of {', '.join(samples.channels)}"
        raise ValueError(msg)
    measured = _MEASURED.setdefault(samples, {})
    key = tuple(sorted(decibel))
    if key not in measured:
        statistics = ChannelStatistics(
            [Channel(name, "1", "decibel" if name in key else "none") for name in samples.channels]
        )
        for patches in samples.blocks():
            statistics.update({name: patches[:, k] for k, name in enumerate(samples.channels)})
        measured[key] = statistics
    try:
        return measured[key].channels(channels)
    except ValueError as error:
        raise DatasetError(str(error)) from error
