"""So2Sat LCZ42 and rasters as labelled patches, and how channels are split between branches."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sarheight._runtime import require
from sarheight.errors import DatasetError
from sarheight.output import nodata_value
from sarheight.zones.classes import CLIMATE_ZONES, zone_of_code
from sarheight.zones.samples import Floats, Integers, ZoneSamples

if TYPE_CHECKING:
    import h5py
    from numpy.typing import ArrayLike

RADAR_CHANNELS = (
    "vh_real", "vh_imaginary", "vv_real", "vv_imaginary",
    "vh_intensity", "vv_intensity", "covariance_real", "covariance_imaginary",
)  # fmt: skip
"""Radar channels in So2Sat's order: complex VH and VV, Lee-filtered intensities, covariance."""
OPTICAL_CHANNELS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
"""Bands of Sentinel-2 in So2Sat's order."""
_RADAR_GROUPS = (RADAR_CHANNELS[:4], RADAR_CHANNELS[4:6], RADAR_CHANNELS[6:])
_OPTICAL_GROUPS = (("B2", "B3", "B4"), ("B5", "B6", "B7"), ("B8", "B8A"), ("B11", "B12"))

Split = tuple[tuple[str, ...], ...]

ZONE_SPLITS: dict[str, Split] = {
    "all": ((*RADAR_CHANNELS, *OPTICAL_CHANNELS),),
    "radar": (RADAR_CHANNELS,),
    "optical": (OPTICAL_CHANNELS,),
    "radar groups": _RADAR_GROUPS,
    "optical groups": _OPTICAL_GROUPS,
    "radar|optical": (RADAR_CHANNELS, OPTICAL_CHANNELS),
    "seven groups": (*_RADAR_GROUPS, *_OPTICAL_GROUPS),
}
"""Named splits: for each branch the names of its channels.

The physical groups are RGB, red edge, near infrared and short-wave infrared; complex, Lee-filtered
intensity and covariance. B8A, at 865 nm, stands with the near infrared.
"""
FUSED = ("radar groups", "optical groups", "radar|optical", "seven groups")
LAST_STAGE = 6


@dataclass(frozen=True)
class FusionForm:
    """A split of the channels, and the stage at which its branches meet.

    Parameters
    ----------
    name : str
        Of the split.
    groups : tuple of tuple of str
        For each branch the names of its channels.
    stage : int
        0 to 6, see `sarheight.zones.FusionCNN`.
    independent : bool
        At stage 6: whether the branches are trained apart and then summed.

    Raises
    ------
    ValueError
        If branches are to be independent that meet before stage 6.
    """

    name: str
    groups: tuple[tuple[str, ...], ...]
    stage: int
    independent: bool = False

    def __post_init__(self) -> None:
        """Check the stage."""
        if not 0 <= self.stage <= LAST_STAGE or (self.independent and self.stage != LAST_STAGE):
            msg = (
                f"found stage {self.stage} with independent={self.independent}, expected 0 to "
                f"{LAST_STAGE}, and independent branches only at the last"
            )
            raise ValueError(msg)

    @property
    def label(self) -> str:
        """Name for tables and folders, such as ``radar|optical 6 independent``."""
        return f"{self.name} {self.stage}{' independent' if self.independent else ''}"

    @property
    def fusion(self) -> str:
        """Say in a word when the branches meet: none, early, middle or late."""
        if len(self.groups) == 1:
            return "none"
        return "early" if self.stage == 0 else "late" if self.stage == LAST_STAGE else "middle"


def fusion_forms(
    splits: Mapping[str, Sequence[Sequence[str]]] | None = None, *, independent: bool = False
) -> list[FusionForm]:
    """List all forms of the fusion network.

    The four splits with several branches (the three groups of radar, the four groups of optical
    channels, radar | optical, all seven groups), each fused at stages 0 to 6, are the 28 forms.
    The sum of softmaxes at stage 6 can be trained in two ways; those four further rows come with
    ``independent=True``. Splits of a single branch have nothing to fuse, and give one form each.

    Parameters
    ----------
    splits : mapping, optional
        By name, for each branch the names of its channels; by default those four.
    independent : bool
        Whether to add, for each split, the branches that are trained apart and summed.

    Returns
    -------
    list of FusionForm
        28 by default, 32 with independent ones.
    """
    chosen = {name: ZONE_SPLITS[name] for name in FUSED} if splits is None else splits
    forms = []
    for name, split in chosen.items():
        groups = tuple(map(tuple, split))
        stages = range(LAST_STAGE + 1) if len(groups) > 1 else range(1)
        forms += [FusionForm(name, groups, stage) for stage in stages]
        if independent and len(groups) > 1:
            forms.append(FusionForm(name, groups, LAST_STAGE, independent=True))
    return forms


def split_channels(
    split: str | Sequence[Sequence[str]], channels: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """Return a split by its name, or check one of your own.

    Parameters
    ----------
    split : str or sequence of sequence of str
        One of `ZONE_SPLITS`, "all" for all channels in one branch, or for each branch the names of
        its channels.
    channels : sequence of str
        What the data have.

    Returns
    -------
    tuple of tuple of str

    Raises
    ------
    ValueError
        If there is no such split, a channel is not there or in two branches, or there are more
        branches than channels.
    """
    if split == "all":
        return (tuple(channels),)
    if isinstance(split, str):
        if split not in ZONE_SPLITS:
            msg = f"found split {split!r}, expected one of {', '.join(ZONE_SPLITS)}, or groups"
            raise ValueError(msg)
        groups: Split = ZONE_SPLITS[split]
    else:
        groups = tuple(tuple(group) for group in split)
    named = [name for group in groups for name in group]
    if len(groups) > len(channels):
        msg = (
            f"found {len(groups)} branches for {len(channels)} channels, expected no more branches "
            "than channels"
        )
        raise ValueError(msg)
    missing = [name for name in named if name not in channels]
    if missing or not groups or not all(groups) or len(set(named)) != len(named):
        msg = (
            f"found groups {groups} of data with the channels {', '.join(channels)}; expected one "
            "channel at least in each group, each only once, and only channels that are there"
        )
        raise ValueError(msg)
    return groups


# So2Sat LCZ42: patches of Sentinel-1 and Sentinel-2 with their Local Climate Zone, in HDF5.

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


# Labelled patches from a user's own rasters: a stack of channels, and a map of classes.


class RasterPatches(ZoneSamples):
    """Patches around the labelled cells of a map, cut out of a stack of channels.

    The stack is held in memory; patches are windows of it, and overlap where labelled cells are
    near each other. Split them by place, see `zone_folds`.

    Parameters
    ----------
    stack : xarray.DataArray
        Dims (band, y, x). Channels are called by their ``long_name``, a sequence, or by the
        labels of ``band``. NaN and nodata are missing.
    labels : xarray.DataArray
        Dims (y, x), whole numbers: codes of Local Climate Zones (1 to 17; 101 to 107 for A to G
        are understood), or of the classes that `names` names. 0, NaN and nodata are no label.
        The grid may be another one in the same CRS: each label stands for the middle of its cell.
    size : int
        Rows and columns of a patch, in cells of the stack. Cell ``size // 2`` is the labelled one.
    names : mapping of int to str, optional
        Names of classes that are no Local Climate Zones, by code.

    Attributes
    ----------
    x, y : array, shape (n,)
        Places of the labels in the CRS.
    crs, posting
        Those of the stack; metres, or degrees, from cell to cell.

    Raises
    ------
    DatasetError
        If the stack is not of dims (band, y, x), the rasters do not meet or lie in different
        reference systems, or there is no label.
    ValueError
        If a code is not known, or the size makes no sense.
    """

    def __init__(
        self,
        stack: xr.DataArray,
        labels: xr.DataArray,
        *,
        size: int = 32,
        names: Mapping[int, str] | None = None,
    ) -> None:
        if size < 1:
            msg = f"found size={size}, expected a number above 0"
            raise ValueError(msg)
        stack = stack.transpose(band_of(stack), "y", "x")
        if stack.rio.crs is None or stack.rio.crs != labels.rio.crs:
            msg = (
                f"found a stack in {stack.rio.crs} and labels in {labels.rio.crs}; expected one "
                "reference system: bring the labels to that of the stack, "
                "labels.rio.reproject_match(stack)"
            )
            raise DatasetError(msg)
        self.channels = channel_names(stack)
        self.size, self.crs = size, stack.rio.crs
        self.posting = float(abs(stack["x"].values[1] - stack["x"].values[0]))
        self._padded = padded(as_floats(stack), size)
        rows, columns, codes, self.x, self.y = _labelled(labels, stack)
        known = self._observed(rows, columns)
        self._rows, self._columns = rows[known], columns[known]
        self.x, self.y, codes = self.x[known], self.y[known], codes[known]
        if not codes.size:
            msg = (
                f"found no label on the {stack.sizes['y']} x {stack.sizes['x']} cells of the stack "
                "that have a value; expected some: do the two rasters meet?"
            )
            raise DatasetError(msg)
        if names is None:
            codes = np.array([zone_of_code(int(code)).code for code in codes])
        present, self.labels = np.unique(codes, return_inverse=True)
        self.labels = self.labels.astype(np.int64)
        self.codes = tuple(int(code) for code in present)
        if names is None:
            self.classes = tuple(zone_of_code(code).name for code in self.codes)
        else:
            unnamed = sorted(set(self.codes) - set(names))
            if unnamed:
                msg = f"found codes {unnamed} that have no name, expected {sorted(names)}"
                raise ValueError(msg)
            self.classes = tuple(names[code] for code in self.codes)

    def read(self, indices: Integers, places: Sequence[int] | None = None) -> Floats:
        """Read patches, shape (n, channels, size, size), in the order of the indices."""
        found = centred_windows(
            self._padded, self._rows[indices], self._columns[indices], self.size
        )
        return found if places is None else np.ascontiguousarray(found[:, list(places)])

    def _observed(self, rows: Integers, columns: Integers) -> NDArray[np.bool_]:
        """Tell which cells have a value in some channel."""
        half = self.size // 2
        return np.asarray(
            np.isfinite(self._padded[:, rows + half, columns + half]).any(axis=0), dtype=bool
        )


def read_stack(*paths: str | os.PathLike[str]) -> xr.DataArray:
    """Read rasters on one grid as one stack.

    Parameters
    ----------
    *paths : path-like
        Rasters that GDAL reads. Where there are several, channels are called by file and band.

    Returns
    -------
    xarray.DataArray
        Dims (band, y, x), with the names of the channels as labels of ``band``.

    Raises
    ------
    DatasetError
        If the rasters lie on different grids.
    """
    stacks = []
    for path in paths:
        opened = rioxarray.open_rasterio(path)
        if not isinstance(opened, xr.DataArray):
            msg = f"found several images in '{path}', expected one stack of bands"
            raise DatasetError(msg)
        names = channel_names(opened)
        if len(paths) > 1:
            names = tuple(f"{Path(path).stem}_{name}" for name in names)
        stacks.append(opened.assign_coords(band=list(names)))
    first = stacks[0]
    for path, stack in zip(paths, stacks, strict=True):
        same = stack.rio.crs == first.rio.crs and stack.shape[1:] == first.shape[1:]
        if not same or stack.rio.transform() != first.rio.transform():
            msg = (
                f"found '{path}' on another grid than '{paths[0]}', expected one grid: "
                "use rio.reproject_match"
            )
            raise DatasetError(msg)
    if len(stacks) == 1:
        return first
    floats = [stack.copy(data=as_floats(stack)).drop_attrs() for stack in stacks]
    whole: xr.DataArray = xr.concat(floats, "band", combine_attrs="drop")
    return whole.rio.write_crs(first.rio.crs)  # type: ignore[no-any-return]


def band_of(stack: xr.DataArray) -> str:
    """Return the name of a stack's dimension of channels."""
    bands = [str(name) for name in stack.dims if name not in {"y", "x"}]
    if len(bands) != 1 or stack.ndim != 3:
        msg = f"found a stack of dims {tuple(map(str, stack.dims))}, expected (band, y, x)"
        raise DatasetError(msg)
    return bands[0]


def channel_names(stack: xr.DataArray) -> tuple[str, ...]:
    """Return the names of a stack's channels: ``long_name``, else the labels of its bands."""
    band = band_of(stack)
    told = stack.attrs.get("long_name")
    count = stack.sizes[band]
    if isinstance(told, list | tuple) and len(told) == count:
        names = tuple(map(str, told))
    elif isinstance(told, str) and count == 1:
        names = (told,)
    else:
        values = stack[band].values if band in stack.coords else range(1, count + 1)
        names = tuple(value if isinstance(value, str) else f"band_{value}" for value in values)
    if len(set(names)) != len(names):
        msg = f"found channels {', '.join(names)}, expected a name of its own for each"
        raise DatasetError(msg)
    return names


def as_floats(stack: xr.DataArray) -> Floats:
    """Return values with NaN for what is missing, shape as came in."""
    nodata = nodata_value(stack)
    values = stack.values.astype(np.float32)
    if nodata is not None and np.isfinite(nodata):
        values[stack.values == nodata] = np.nan
    return values


def padded(values: Floats, size: int) -> Floats:
    """Surround a stack with what is missing, so that every cell can be the middle of a patch."""
    before, after = size // 2, size - size // 2 - 1
    return np.pad(values, ((0, 0), (before, after), (before, after)), constant_values=np.nan)


def centred_windows(around: Floats, rows: Integers, columns: Integers, size: int) -> Floats:
    """Cut patches out of a padded stack.

    Shapes: `around` (channels, rows + size - 1, columns + size - 1), `rows, columns` (n,); returns
    (n, channels, size, size).
    """
    windows = sliding_window_view(around, (size, size), axis=(1, 2))
    return np.ascontiguousarray(windows[:, rows, columns].transpose(1, 0, 2, 3))


def _labelled(
    labels: xr.DataArray, stack: xr.DataArray
) -> tuple[Integers, Integers, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Find labels: row and column in the stack, code, x and y."""
    plane = labels.squeeze(drop=True)
    if set(plane.dims) != {"y", "x"}:
        msg = f"found labels of dims {labels.dims}, expected one map of dims (y, x)"
        raise DatasetError(msg)
    plane = plane.transpose("y", "x")
    values = plane.values
    given = np.isfinite(values) & (values != 0)
    nodata = nodata_value(plane)
    if nodata is not None and np.isfinite(nodata):
        given &= values != nodata
    down, along = np.nonzero(given)
    codes = values[down, along]
    if (codes != np.round(codes)).any():
        msg = f"found labels such as {codes[codes != np.round(codes)][0]}, expected whole numbers"
        raise DatasetError(msg)
    y, x = plane["y"].values[down], plane["x"].values[along]
    rows = _nearest(stack["y"].values, y)
    columns = _nearest(stack["x"].values, x)
    inside = (rows >= 0) & (rows < stack.sizes["y"]) & (columns >= 0)
    inside &= columns < stack.sizes["x"]
    return (
        rows[inside],
        columns[inside],
        codes[inside].astype(np.int64),
        np.asarray(x[inside]),
        np.asarray(y[inside]),
    )


def _nearest(axis: ArrayLike, places: ArrayLike) -> Integers:
    """Return the numbers of the cells of a regular axis in which places lie."""
    cells = np.asarray(axis, dtype=np.float64)
    step = (cells[-1] - cells[0]) / (cells.size - 1)
    return np.asarray(np.round((np.asarray(places) - cells[0]) / step), dtype=np.int64)
