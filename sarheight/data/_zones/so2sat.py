"""So2Sat LCZ42: patches of Sentinel-1 and Sentinel-2 with their Local Climate Zone, in HDF5."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._climate_zones import CLIMATE_ZONES
from sarheight._extras import require
from sarheight.data._zones.samples import Floats, Integers, ZoneSamples
from sarheight.data._zones.splits import OPTICAL_CHANNELS, RADAR_CHANNELS
from sarheight.errors import DatasetError

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]

__all__ = ["So2SatPatches", "so2sat_files"]

SIZE = 32
GROUPS = {"sen1": RADAR_CHANNELS, "sen2": OPTICAL_CHANNELS}
LABEL = "label"
ROLES = {
    "training": ("training", "train", "train-new"),
    "validation": ("validation", "val", "val-new"),
    "test": ("testing", "test", "test-new"),
}
"""What the files of versions 1 to 3 are called, and those that were made of them."""


class So2SatPatches(ZoneSamples):
    """Patches of one HDF5 file of So2Sat LCZ42, of any version, read as they are asked for.

    The file is opened anew in each process, so that loaders with several workers may share this.
    How many patches there are is read from the file: the counts of validation and test that are
    printed with version 2 are not to be relied upon.

    Parameters
    ----------
    path : path-like
        The file: ``sen1`` (n, 32, 32, 8), ``sen2`` (n, 32, 32, 10), ``label`` (n, 17), one-hot.

    Raises
    ------
    DatasetError
        If the file is damaged, lacks a group, has another shape, or labels that are not one-hot.
    FileNotFoundError
        If there is no such file.
    MissingLibraryError
        If h5py is not installed.

    References
    ----------
    Zhu, X. X. et al. (2020). So2Sat LCZ42: A Benchmark Data Set for the Classification of Global
    Local Climate Zones. IEEE Geoscience and Remote Sensing Magazine 8(3), arXiv:1912.12171.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        require("h5py", extra="learn")
        self.path = Path(path)
        if not self.path.is_file():
            msg = f"there is no '{self.path}'"
            raise FileNotFoundError(msg)
        self.channels = (*RADAR_CHANNELS, *OPTICAL_CHANNELS)
        self.classes = tuple(zone.name for zone in CLIMATE_ZONES)
        self.codes = tuple(zone.code for zone in CLIMATE_ZONES)
        self.size = SIZE
        self._opened: tuple[int, h5py.File] | None = None
        file = self._file()
        self._check(file)
        try:
            self.labels = _classes_of(file[LABEL][:], self.path)
        except OSError as error:
            raise self._damaged(error) from error

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind when this is sent to another process."""
        return self.__dict__ | {"_opened": None}

    @property
    def identity(self) -> str:
        """Return what tells this file from all others: place, size and time of change."""
        status = self.path.stat()
        told = f"{self.path.resolve()} {status.st_size} {status.st_mtime_ns}"
        return sha256(told.encode()).hexdigest()

    def read(self, indices: Integers, places: Sequence[int] | None = None) -> Floats:
        """Read patches, shape (n, 18, 32, 32), in the order of the indices; see `ZoneSamples`.

        Raises
        ------
        DatasetError
            If the file cannot be read there.
        """
        # To look a group up takes longer than to read a patch.
        datasets = [self._file()[name] for name in GROUPS]
        wanted, order = np.unique(indices, return_inverse=True)
        found = np.empty((wanted.size, SIZE, SIZE, len(self.channels)), dtype=np.float32)
        # Neighbours are read together: a slice costs little more than one patch.
        cuts = np.flatnonzero(np.diff(wanted) > 1) + 1
        try:
            for first, last in pairwise([0, *cuts.tolist(), wanted.size]):
                span = slice(int(wanted[first]), int(wanted[last - 1]) + 1)
                begin = 0
                for dataset in datasets:
                    end = begin + dataset.shape[3]
                    found[first:last, :, :, begin:end] = dataset[span]
                    begin = end
        except OSError as error:
            raise self._damaged(error) from error
        planes = found.transpose(0, 3, 1, 2)
        chosen = np.arange(len(self.channels)) if places is None else np.array(places)
        return np.asarray(planes[np.ix_(order, chosen)])

    def _file(self) -> h5py.File:
        """Open the file, once in each process."""
        import h5py

        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), h5py.File(self.path, "r")
            except OSError as error:
                raise self._damaged(error) from error
        return self._opened[1]

    def _damaged(self, error: OSError) -> DatasetError:
        reason = " ".join(str(error).split())
        return DatasetError(
            f"'{self.path}' cannot be read as HDF5 ({reason}): it is damaged or incomplete; fetch "
            "it again"
        )

    def _check(self, file: h5py.File) -> None:
        """Refuse a file of another form."""
        import h5py

        expected: dict[str, tuple[int, ...]] = {
            name: (SIZE, SIZE, len(channels)) for name, channels in GROUPS.items()
        }
        expected[LABEL] = (len(CLIMATE_ZONES),)
        missing = [name for name in expected if not isinstance(file.get(name), h5py.Dataset)]
        if missing:
            msg = (
                f"found no {', '.join(missing)} in '{self.path}', which has "
                f"{', '.join(file) or 'nothing'}; expected {', '.join(expected)}"
            )
            raise DatasetError(msg)
        shapes = {name: file[name].shape for name in expected}
        counts = {shape[0] for shape in shapes.values() if shape}
        if len(counts) != 1 or any(shapes[name][1:] != rest for name, rest in expected.items()):
            told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            wanted = ", ".join(
                f"{name} (n, {', '.join(map(str, rest))})" for name, rest in expected.items()
            )
            msg = f"found {told} in '{self.path}', expected {wanted} with one n"
            raise DatasetError(msg)


def _classes_of(labels: np.ndarray[Any, Any], path: Path) -> Integers:
    """Turn one-hot labels into numbers of classes."""
    one_hot = np.isin(labels, (0, 1)).all(axis=1) & (labels.sum(axis=1) == 1)
    if not one_hot.all():
        wrong = np.flatnonzero(~one_hot)
        msg = (
            f"found {wrong.size} labels in '{path}' that are not one-hot, the first at {wrong[0]}; "
            "expected a single 1 among zeros"
        )
        raise DatasetError(msg)
    return np.asarray(labels.argmax(axis=1), dtype=np.int64)


def so2sat_files(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Find the files of a version of So2Sat LCZ42 in a folder.

    Parameters
    ----------
    folder : path-like
        With ``training.h5`` and, from one version to another, ``validation.h5`` and ``testing.h5``.

    Returns
    -------
    dict
        Paths by "training", "validation" and "test", as far as they are there.

    Raises
    ------
    FileNotFoundError
        If there is no file for training.
    """
    found = {}
    for role, names in ROLES.items():
        files = [Path(folder) / f"{name}.h5" for name in names]
        present = [file for file in files if file.is_file()]
        if present:
            found[role] = present[0]
    if "training" not in found:
        msg = f"found no training.h5 in '{folder}', expected the files of a version of So2Sat LCZ42"
        raise FileNotFoundError(msg)
    return found
