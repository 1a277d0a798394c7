"""Sources of labelled patches: So2Sat LCZ42, and rasters with a map of classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sarheight._files import file_errors
from sarheight._hdf5 import check_hdf5
from sarheight._rasters import read_bands
from sarheight.errors import DatasetError
from sarheight.output import nodata_value
from sarheight.zones.channels import OPTICAL_CHANNELS, RADAR_CHANNELS
from sarheight.zones.classes import CLIMATE_ZONES, zone_of_code
from sarheight.zones.samples import Floats, Integers, ZoneSamples

if TYPE_CHECKING:
    import h5py
    from numpy.typing import ArrayLike

# So2Sat LCZ42 in HDF5.

SIZE = 32
GROUPS = {"sen1": RADAR_CHANNELS, "sen2": OPTICAL_CHANNELS}
LABEL = "label"
FILE_STEMS = {
    "training": ("training", "train", "train-new"),
    "validation": ("validation", "val", "val-new"),
    "test": ("testing", "test", "test-new"),
}
"""File names of versions 1 to 4 without suffix, and of common conversions."""
SCENARIOS = ("random", "block", "culture_10")
"""Folders of version 3, one for each way to split, with a training and a test file."""
GEOLOCATION = {"coord": 6, "epsg": 1, "tfw": 6}
"""Data sets of the files with locations of version 4, and their columns: UTM x and y of the centre
and its rows and columns in the images; EPSG code; the six numbers of a world file."""


class So2SatPatches(ZoneSamples):
    """Patches of one HDF5 file of So2Sat LCZ42, any version, read on demand.

    Each process opens the file for itself, so data loaders with several workers can share one
    instance. The number of patches is that in the file; the counts published with version 2 are
    unreliable.

    Parameters
    ----------
    path : path-like
        HDF5 file with ``sen1`` (n, 32, 32, 8), ``sen2`` (n, 32, 32, 10) and ``label`` (n, 17),
        one-hot.

    Raises
    ------
    DatasetError
        If the file is damaged, lacks a data set, has unexpected shapes or labels not one-hot.
    FileNotFoundError
        If there is no such file.

    References
    ----------
    Zhu, X. X. et al. (2020). So2Sat LCZ42: A Benchmark Data Set for the Classification of Global
    Local Climate Zones. IEEE Geoscience and Remote Sensing Magazine 8(3), arXiv:1912.12171.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            msg = f"found no file '{self.path}', expected an HDF5 file of So2Sat LCZ42"
            raise FileNotFoundError(msg)
        self.channels = (*RADAR_CHANNELS, *OPTICAL_CHANNELS)
        self.classes = tuple(zone.name for zone in CLIMATE_ZONES)
        self.codes = tuple(zone.code for zone in CLIMATE_ZONES)
        self.size = SIZE
        self._opened: tuple[int, h5py.File] | None = None
        kind = "an HDF5 file of So2Sat LCZ42"
        check_hdf5(self.path, kind, DatasetError)
        with file_errors(self.path, kind, DatasetError):
            file = self._file()
            self._check(file)
            self.labels = _class_numbers(file[LABEL][:], self.path)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the open file, for other processes."""
        return self.__dict__ | {"_opened": None}

    def read(self, indices: Integers, channels: Sequence[int] | None = None) -> Floats:
        """Read patches, shape (n, 18, 32, 32), in the order of the indices; see `ZoneSamples`.

        Raises
        ------
        DatasetError
            If the file cannot be read there.
        """
        # Looking up a data set takes longer than reading a patch: once per batch.
        datasets = [self._file()[name] for name in GROUPS]
        unique, order = np.unique(indices, return_inverse=True)
        image = np.empty((unique.size, SIZE, SIZE, len(self.channels)), dtype=np.float32)
        # Runs of consecutive patches are read at once: a slice costs little more than one patch.
        cuts = np.flatnonzero(np.diff(unique) > 1) + 1
        try:
            for first, last in pairwise([0, *cuts.tolist(), unique.size]):
                span = slice(int(unique[first]), int(unique[last - 1]) + 1)
                begin = 0
                for dataset in datasets:
                    end = begin + dataset.shape[3]
                    image[first:last, :, :, begin:end] = dataset[span]
                    begin = end
        except OSError as error:
            raise self._damaged(error) from error
        chosen = np.arange(len(self.channels)) if channels is None else np.array(channels)
        return np.asarray(image.transpose(0, 3, 1, 2)[np.ix_(order, chosen)])

    def places(self) -> tuple[NDArray[np.float64], NDArray[np.float64], Integers]:
        """Return x, y and EPSG code of the UTM zone of the centre of each patch.

        Version 4 has them in a file beside that of the patches, ``training_geo.h5``, in the same
        order. The EPSG codes tell cities in different zones apart.

        Raises
        ------
        FileNotFoundError
            If there is no such file: versions 1 to 3 have no locations.
        DatasetError
            If it is damaged, lacks a data set, or has another number of patches.
        """
        import h5py

        path = self.path.with_name(f"{self.path.stem}_geo.h5")
        if not path.is_file():
            msg = (
                f"found no '{path}', which holds the locations of the patches: take version 4 of "
                "So2Sat LCZ42, or put its file beside that of version 2"
            )
            raise FileNotFoundError(msg)
        kind = "a file with locations of So2Sat LCZ42"
        check_hdf5(path, kind, DatasetError)
        with file_errors(path, kind, DatasetError), h5py.File(path, "r") as file:
            found = {
                name: np.asarray(file[name][:]).reshape(file[name].shape[0], -1)
                for name in GEOLOCATION
                if isinstance(file.get(name), h5py.Dataset) and file[name].shape
            }
            expected = {name: (len(self), columns) for name, columns in GEOLOCATION.items()}
            if {name: values.shape for name, values in found.items()} != expected:
                shapes = {name: values.shape for name, values in found.items()}
                msg = f"found {shapes} in '{path}', expected {expected}: one row for each patch"
                raise DatasetError(msg)
        coordinates = found["coord"].astype(np.float64)
        return coordinates[:, 0], coordinates[:, 1], found["epsg"][:, 0].astype(np.int64)

    def _file(self) -> h5py.File:
        """Return the open file; each process opens it once."""
        import h5py

        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), h5py.File(self.path, "r")
            except OSError as error:
                raise self._damaged(error) from error
        return self._opened[1]

    def _damaged(self, error: OSError) -> DatasetError:
        """Describe a read error."""
        reason = " ".join(str(error).split())
        return DatasetError(
            f"'{self.path}' cannot be read as HDF5 ({reason}): it is damaged or incomplete; "
            "download it again"
        )

    def _check(self, file: h5py.File) -> None:
        """Raise if a file lacks the expected data sets and shapes."""
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
            found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            required = ", ".join(
                f"{name} (n, {', '.join(map(str, rest))})" for name, rest in expected.items()
            )
            msg = f"found {found} in '{self.path}', expected {required} with one n"
            raise DatasetError(msg)


def _class_numbers(labels: np.ndarray[Any, Any], path: Path) -> Integers:
    """Convert one-hot labels to class numbers."""
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
        With ``training.h5`` and, depending on the version, ``validation.h5`` and ``testing.h5``; of
        version 3 one of its folders ``random``, ``block`` and ``culture_10``.

    Returns
    -------
    dict
        Paths of the files that exist by "training", "validation" and "test".

    Raises
    ------
    FileNotFoundError
        If there is no training file.
    """
    files = {}
    for role, stems in FILE_STEMS.items():
        present = [path for stem in stems if (path := Path(folder) / f"{stem}.h5").is_file()]
        if present:
            files[role] = present[0]
    if "training" not in files:
        scenarios = [name for name in SCENARIOS if (Path(folder) / name).is_dir()]
        advice = (
            f"; version 3 has a folder for each split: choose one of {', '.join(scenarios)}"
            if scenarios
            else ""
        )
        msg = (
            f"found no training.h5 in '{folder}', expected the files of a version of So2Sat "
            f"LCZ42{advice}"
        )
        raise FileNotFoundError(msg)
    return files


# Rasters: a stack of channels, and a map of classes.


class RasterPatches(ZoneSamples):
    """Patches of a stack of channels around the labelled cells of a map.

    The stack is held in memory; patches are windows of it, and overlap where labelled cells are
    close to each other. Split them by location, see `spatial_folds`.

    Parameters
    ----------
    stack : xarray.DataArray
        Dims (band, y, x). Channels are named by a sequence ``long_name``, or by the labels of
        ``band``. NaN and nodata are missing.
    labels : xarray.DataArray
        Dims (y, x), integer codes: of Local Climate Zones (1 to 17, or 101 to 107 for A to G), or
        of the classes in `names`. 0, NaN and nodata are unlabelled. The map may be on another grid
        in the same CRS: a label applies at the centre of its cell.
    size : int
        Rows and columns of a patch in cells of the stack. Cell ``size // 2`` is the labelled one.
    names : mapping of int to str, optional
        Names of classes that are not Local Climate Zones, by code.

    Attributes
    ----------
    x, y : array, shape (n,)
        Coordinates of the labels in the CRS.
    crs, posting
        CRS and cell size of the stack, in metres or degrees.

    Raises
    ------
    DatasetError
        If the stack is not of dims (band, y, x), the rasters do not overlap or differ in CRS, or
        there is no label, or a label is no Local Climate Zone.
    ValueError
        If the size is not above 0, or a code has no name in `names`.
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
        stack = stack.transpose(band_dimension(stack), "y", "x")
        if stack.rio.crs is None or stack.rio.crs != labels.rio.crs:
            msg = (
                f"found a stack in {stack.rio.crs} and labels in {labels.rio.crs}; expected one "
                "CRS: reproject the labels to the stack, labels.rio.reproject_match(stack)"
            )
            raise DatasetError(msg)
        self.channels = channel_names(stack)
        self.size, self.crs = size, stack.rio.crs
        self.posting = float(abs(stack["x"].values[1] - stack["x"].values[0]))
        self._padded = _padded(_with_nan(stack), size)
        rows, columns, codes, self.x, self.y = _labelled_cells(labels, stack)
        observed = self._observed(rows, columns)
        self._rows, self._columns = rows[observed], columns[observed]
        self.x, self.y, codes = self.x[observed], self.y[observed], codes[observed]
        if not codes.size:
            msg = (
                f"found no label on the {stack.sizes['y']} x {stack.sizes['x']} cells of the stack "
                "that have data; expected some: do the rasters overlap?"
            )
            raise DatasetError(msg)
        if names is None:
            codes = _zone_codes(codes)
        present, self.labels = np.unique(codes, return_inverse=True)
        self.labels = self.labels.astype(np.int64)
        self.codes = tuple(int(code) for code in present)
        if names is None:
            self.classes = tuple(zone_of_code(code).name for code in self.codes)
        else:
            unnamed = sorted(set(self.codes) - set(names))
            if unnamed:
                msg = f"found codes {unnamed} without a name, expected {sorted(names)}"
                raise ValueError(msg)
            self.classes = tuple(names[code] for code in self.codes)

    def read(self, indices: Integers, channels: Sequence[int] | None = None) -> Floats:
        """Read patches, shape (n, channels, size, size), in the order of the indices."""
        patches = centred_windows(
            self._padded, self._rows[indices], self._columns[indices], self.size
        )
        return patches if channels is None else np.ascontiguousarray(patches[:, list(channels)])

    def _observed(self, rows: Integers, columns: Integers) -> NDArray[np.bool_]:
        """Return which cells have data in at least one channel."""
        half = self.size // 2
        values = self._padded[:, rows + half, columns + half]
        return np.asarray(np.isfinite(values).any(axis=0), dtype=bool)


def read_stack(*paths: str | os.PathLike[str]) -> xr.DataArray:
    """Read rasters on one grid as a stack of channels.

    Parameters
    ----------
    *paths : path-like
        Rasters that GDAL reads. Channels of several files are named by file and band.

    Returns
    -------
    xarray.DataArray
        Dims (band, y, x), with the channel names as labels of ``band``.

    Raises
    ------
    DatasetError
        If the rasters are on different grids.
    """
    stacks = []
    for path in paths:
        opened = read_bands(path, DatasetError)
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
    floats = [stack.copy(data=_with_nan(stack)).drop_attrs() for stack in stacks]
    whole: xr.DataArray = xr.concat(floats, "band", combine_attrs="drop")
    return whole.rio.write_crs(first.rio.crs)  # type: ignore[no-any-return]


def band_dimension(stack: xr.DataArray) -> str:
    """Return the name of the channel dimension of a stack."""
    bands = [str(name) for name in stack.dims if name not in {"y", "x"}]
    if len(bands) != 1 or stack.ndim != 3:
        msg = f"found a stack of dims {tuple(map(str, stack.dims))}, expected (band, y, x)"
        raise DatasetError(msg)
    return bands[0]


def channel_names(stack: xr.DataArray) -> tuple[str, ...]:
    """Return the channel names of a stack: ``long_name``, else the labels of its bands."""
    band = band_dimension(stack)
    long_name = stack.attrs.get("long_name")
    count = stack.sizes[band]
    if isinstance(long_name, list | tuple) and len(long_name) == count:
        names = tuple(map(str, long_name))
    elif isinstance(long_name, str) and count == 1:
        names = (long_name,)
    else:
        values = stack[band].values if band in stack.coords else range(1, count + 1)
        names = tuple(value if isinstance(value, str) else f"band_{value}" for value in values)
    if len(set(names)) != len(names):
        msg = f"found channels {', '.join(names)}, expected a unique name for each"
        raise DatasetError(msg)
    return names


def _with_nan(stack: xr.DataArray) -> Floats:
    """Return the values as float32 with NaN for nodata, in the same shape."""
    nodata = nodata_value(stack)
    values = stack.values.astype(np.float32)
    if nodata is not None and np.isfinite(nodata):
        values[stack.values == nodata] = np.nan
    return values


def _padded(values: Floats, size: int) -> Floats:
    """Pad a stack with NaN, so that every cell can be the centre of a patch."""
    before, after = size // 2, size - size // 2 - 1
    return np.pad(values, ((0, 0), (before, after), (before, after)), constant_values=np.nan)


def centred_windows(padded: Floats, rows: Integers, columns: Integers, size: int) -> Floats:
    """Extract patches from a padded stack.

    Shapes: `padded` (channels, rows + size - 1, columns + size - 1), `rows, columns` (n,); returns
    (n, channels, size, size).
    """
    windows = sliding_window_view(padded, (size, size), axis=(1, 2))
    return np.ascontiguousarray(windows[:, rows, columns].transpose(1, 0, 2, 3))


def _labelled_cells(
    labels: xr.DataArray, stack: xr.DataArray
) -> tuple[Integers, Integers, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return row and column in the stack, code, x and y of each labelled cell."""
    plane = labels.squeeze(drop=True)
    if set(plane.dims) != {"y", "x"}:
        msg = f"found labels of dims {labels.dims}, expected one map of dims (y, x)"
        raise DatasetError(msg)
    plane = plane.transpose("y", "x")
    values = plane.values
    labelled = np.isfinite(values) & (values != 0)
    nodata = nodata_value(plane)
    if nodata is not None and np.isfinite(nodata):
        labelled &= values != nodata
    down, along = np.nonzero(labelled)
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


def _zone_codes(codes: NDArray[Any]) -> NDArray[Any]:
    """Return codes of zones from 1 to 17; refuse those that are not in the scheme."""
    present, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    scheme, strange = [], []
    for code, count in zip(present.tolist(), counts.tolist(), strict=True):
        try:
            scheme.append(zone_of_code(int(code)).code)
        except ValueError:
            strange.append(f"{code} ({count} cells)")
    if strange:
        msg = (
            f"found labels {', '.join(strange)}, which are no Local Climate Zones; expected 1 to "
            "17, or 1 to 10 and 101 to 107 for A to G, and 0 where there is none: set others to "
            "0, or give names of the classes (`names`)"
        )
        raise DatasetError(msg)
    return np.array(scheme)[inverse.ravel()]


def _nearest(axis: ArrayLike, coordinates: ArrayLike) -> Integers:
    """Return the cell numbers of coordinates on a regular axis, beyond its ends as well."""
    cells = np.asarray(axis, dtype=np.float64)
    step = (cells[-1] - cells[0]) / (cells.size - 1)
    return np.asarray(np.round((np.asarray(coordinates) - cells[0]) / step), dtype=np.int64)
