"""Patches, each with the class of its place: what all sources of them have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["ZonePatches", "ZoneSamples"]

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
