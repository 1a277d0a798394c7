"""Hong Kong from above on four dates, and its labelled cells, parted by place.

Blocks of 3 km are dealt out to five folds. Each fold is once the test and another one the
validation; cells for training lie at least a patch away from both, so that no patch shares a cell
with one of another part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import rioxarray
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from benchmarks._mountains.scenes import data_file
from sarheight.zones import (
    RasterPatches,
    ZonePatches,
    exclude_neighbours,
    read_stack,
    spatial_folds,
)

__all__ = ["DATES", "FOLDS", "DateSamples", "Fold", "HongKong", "open_hong_kong", "splits"]

STACK, LABELS = "lcz/hongkong_landsat8_4dates_100m.tif", "lcz/hongkong_lcz_labels_100m.tif"
DATES = ("2013333", "2014288", "2014320", "2015291")
BANDS = {
    "visible": ("B1", "B2", "B3", "B4"),
    "near infrared": ("B5",),
    "short-wave": ("B6", "B7"),
    "thermal": ("B10", "B11"),
}
FOLDS, BLOCK = 5, 3000.0
SIZE = 9
"""Cells along the side of the largest patch, which is also the distance between the parts."""
AROUND = 5
"""Cells along the side of a neighbourhood."""
MOST = 150
"""Cells of a zone that a network learns from: neighbours tell it little more."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fold:
    """Numbers of the cells of each part."""

    training: Integers
    validation: Integers
    test: Integers


@dataclass(frozen=True, eq=False)
class DateSamples:
    """What is seen of the cells on each date, a sample for each.

    Attributes
    ----------
    samples : ZonePatches
        Of all dates, one after the other.
    cell : array of int
        To which cell each belongs. Where there are clouds a cell has fewer.
    """

    samples: ZonePatches
    cell: Integers

    def numbers(self, cells: Integers) -> Integers:
        """Return the numbers of the samples of some cells."""
        return np.flatnonzero(np.isin(self.cell, cells))

    def mean(self, each: NDArray[np.float64], numbers: Integers, cells: Integers) -> Floats:
        """Take the mean over the dates of what some samples got, shape (cells, classes)."""
        total = np.zeros((int(self.cell.max()) + 1, each.shape[1]))
        count = np.zeros(len(total))
        np.add.at(total, self.cell[numbers], each)
        np.add.at(count, self.cell[numbers], 1.0)
        return np.asarray(total[cells] / count[cells, None])


@dataclass(frozen=True, eq=False)
class HongKong:
    """The scene, its labelled cells, and the folds.

    Attributes
    ----------
    stack : xarray.DataArray
        All bands of all dates, dims (band, y, x).
    labels : xarray.DataArray
        Codes of zones, 0 where there is none.
    samples : RasterPatches
        Patches of all bands around the labelled cells.
    fold_of : array of int
        Fold of each cell.
    """

    stack: xr.DataArray
    labels: xr.DataArray
    samples: RasterPatches
    fold_of: Integers

    def fold(self, number: int, after: int = 1) -> Fold:
        """Make a fold the test, and the one that comes so many after it the validation.

        A zone that training lacks, as it fills few blocks, is left out of validation too. In the
        test it stays: it counts as not found.
        """
        held = (number + after) % FOLDS
        test, validation = (np.flatnonzero(self.fold_of == each) for each in (number, held))
        rest = np.flatnonzero((self.fold_of != number) & (self.fold_of != held))
        both = np.concatenate([test, validation])
        training, validation = self._apart(rest, both), self._apart(validation, test)
        labels = self.samples.labels
        known = np.isin(labels[validation], labels[training])
        return Fold(training, validation[known], test)

    def all_but(self, number: int) -> Integers:
        """Return the cells of all other folds."""
        test = np.flatnonzero(self.fold_of == number)
        return self._apart(np.flatnonzero(self.fold_of != number), test)

    def _apart(self, chosen: Integers, others: Integers) -> Integers:
        distance = self.samples.size * self.samples.posting
        return exclude_neighbours(chosen, others, self.samples.x, self.samples.y, distance)

    def thinned(self, chosen: Integers, seed: int) -> Integers:
        """Draw at most so many cells of each zone."""
        random = np.random.default_rng(seed)
        labels = self.samples.labels[chosen]
        parts = [random.permutation(chosen[labels == each])[:MOST] for each in np.unique(labels)]
        return np.sort(np.concatenate(parts))

    def date(self, name: str) -> xr.DataArray:
        """Return the bands of a date, each with mean and spread around the cell.

        Each band is normalised over the scene, by which dates become alike in light and season.
        """
        chosen = [band for band in self.stack["band"].values if str(band).startswith(name)]
        bands = self.stack.sel(band=chosen)
        values = bands.values.astype(np.float32)
        values[values == 0.0] = np.nan
        axes = (1, 2)
        values -= np.nanmean(values, axis=axes, keepdims=True)
        values /= np.nanstd(values, axis=axes, keepdims=True)
        plain = [str(band).partition("_")[2] for band in chosen]
        names = plain + [f"{band}_{kind}" for kind in ("mean", "spread") for band in plain]
        seen = xr.DataArray(
            np.concatenate([values, neighbourhood(values)]),
            {"band": names, "y": bands["y"], "x": bands["x"]},
            ("band", "y", "x"),
        )
        return seen.rio.write_crs(self.stack.rio.crs)  # type: ignore[no-any-return]

    def by_date(self, size: int) -> DateSamples:
        """Cut patches out of each date."""
        places = list(zip(self.samples.x, self.samples.y, strict=True))
        number_of = {place: number for number, place in enumerate(places)}
        images, cells = [], []
        for name in DATES:
            seen = RasterPatches(self.date(name), self.labels, size=size)
            images.append(seen.read(np.arange(len(seen))))
            cells += [number_of[place] for place in zip(seen.x, seen.y, strict=True)]
        cell = np.array(cells, dtype=np.int64)
        patches = ZonePatches(
            np.concatenate(images),
            self.samples.labels[cell],
            seen.channels,
            self.samples.classes,
            codes=self.samples.codes,
        )
        return DateSamples(patches, cell)

    def features(self) -> tuple[Floats, Floats]:
        """Return what forests learn from at each cell: bands; bands and neighbourhood."""
        middle = self.samples.size // 2
        pixel = self.samples.read(np.arange(len(self.samples)))[:, :, middle, middle]
        values = self.stack.values.astype(np.float32)
        values[values == 0.0] = np.nan
        x, y = self.stack["x"].values, self.stack["y"].values
        columns = np.round((self.samples.x - x[0]) / (x[1] - x[0])).astype(int)
        rows = np.round((self.samples.y - y[0]) / (y[1] - y[0])).astype(int)
        around = neighbourhood(values)[:, rows, columns].T
        return pixel, np.concatenate([pixel, around], axis=1)


def neighbourhood(stack: Floats) -> Floats:
    """Take mean and spread of each band around each cell, over what is known."""
    known = np.isfinite(stack)
    size = (1, AROUND, AROUND)
    filled = np.where(known, stack, 0.0).astype(np.float64)
    share = uniform_filter(known.astype(np.float64), size)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = uniform_filter(filled, size) / share
        square = uniform_filter(filled**2, size) / share
        spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    both = np.concatenate([mean, spread])
    both[np.tile(share < 1e-6, (2, 1, 1))] = np.nan
    return both.astype(np.float32)


def splits() -> dict[str, tuple[tuple[str, ...], ...]]:
    """Part the channels by date, and by what they measure."""
    every = [band for bands in BANDS.values() for band in bands]
    return {
        "dates": tuple(tuple(f"{date}_{band}" for band in every) for date in DATES),
        "bands": tuple(
            tuple(f"{date}_{band}" for date in DATES for band in bands) for bands in BANDS.values()
        ),
    }


def open_hong_kong(folder: str | None, *, size: int = SIZE, seed: int = 0) -> HongKong:
    """Open the data, and deal out the blocks.

    Parameters
    ----------
    folder : str, optional
        With the real data.
    size : int
        Cells along the side of a patch.
    seed : int
        Of where the blocks begin.
    """
    stack = read_stack(data_file(STACK, folder))
    labels = rioxarray.open_rasterio(data_file(LABELS, folder))
    if not isinstance(labels, xr.DataArray):
        msg = f"found several images in {LABELS}, expected one map"
        raise TypeError(msg)
    samples = RasterPatches(stack, labels, size=size)
    folds = spatial_folds(samples.labels, samples.x, samples.y, folds=FOLDS, width=BLOCK, seed=seed)
    stack = stack.assign_coords(band=list(samples.channels))
    return HongKong(stack, labels, samples, folds)
