"""Labelled patches from a user's own rasters: a stack of channels, and a map of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray  # gives xarray objects their `rio`
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sarheight._climate_zones import zone_of_code
from sarheight.data._zones.samples import Floats, Integers, ZoneSamples
from sarheight.errors import DatasetError
from sarheight.output import nodata_value

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike

__all__ = [
    "RasterPatches",
    "as_floats",
    "band_of",
    "centred_windows",
    "channel_names",
    "padded",
    "read_stack",
]


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
    """Return the name of a stack's dimension of channels.

    Raises
    ------
    DatasetError
        If its dims are not (band, y, x), in whatever order.
    """
    bands = [str(name) for name in stack.dims if name not in {"y", "x"}]
    if len(bands) != 1 or stack.ndim != 3:
        msg = f"found a stack of dims {tuple(map(str, stack.dims))}, expected (band, y, x)"
        raise DatasetError(msg)
    return bands[0]


def channel_names(stack: xr.DataArray) -> tuple[str, ...]:
    """Return the names of a stack's channels: ``long_name``, else the labels of its bands.

    Raises
    ------
    DatasetError
        If its dims are not (band, y, x), or two channels have one name.
    """
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

    Parameters
    ----------
    around : array, shape (channels, rows + size - 1, columns + size - 1)
        See `padded`.
    rows, columns : array of int, shape (n,)
        Cells of the stack that shall be the middle ones.
    size : int
        Of a patch.

    Returns
    -------
    array, shape (n, channels, size, size)
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
