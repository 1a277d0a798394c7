"""What a page shows of a result: layers, read tile by tile at the resolution of the screen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from sarheight._files import file_errors, resolve_links
from sarheight._runtime import nodata_value
from sarheight.layover import layers as output_layers
from sarheight.output import open_result
from sarheight.output.files import StoredBand, stored_bands
from sarheight.output.grid import SCALE, SCALES, SPATIAL
from sarheight.output.stores import open_levels
from sarheight.plot.maps import SPARE_COLOURS, average_blocks, count_classes, flag_colours

if TYPE_CHECKING:
    import os

Floats = NDArray[np.float32]
Entry = Mapping[str, int]
"""Index along ``time`` and ``polarisation``."""

TILE = 256
"""Rows and columns of a tile, as in the files."""
TIME, POLARISATION = "time", "polarisation"
HEIGHTS = "dem"
"""The variable with the heights of a result, see `sarheight.output.with_heights`."""


class Reader(Protocol):
    """Values of variables, averaged over squares of `step` cells."""

    def read(self, name: str, entry: Entry, rows: slice, columns: slice, step: int) -> Floats:
        """Return values of a window, shape (ceil(rows / step), ceil(columns / step))."""


@dataclass(frozen=True, eq=False)
class RasterReader:
    """Reads GeoTIFF files, whose overviews are the averages."""

    bands: list[StoredBand]
    files: dict[Path, Any] = field(default_factory=dict)  # open files

    def read(self, name: str, entry: Entry, rows: slice, columns: slice, step: int) -> Floats:
        """Read a window from the overview that fits best."""
        band = next(
            one
            for one in self.bands
            if one.variable == name and all(entry.get(d, 0) == i for d, i in one.entry.items())
        )
        return band.linear(band.read(rows, columns, step, self.files))


OVERVIEW = 4
"""Cells along the side of a square over which the overview of a variable is averaged."""
STRIP = 1024
"""Rows that are read at a time for an overview."""


@dataclass(frozen=True, eq=False)
class DatasetReader:
    """Reads a Dataset without overviews: one is made of each variable when it is needed."""

    dataset: xr.Dataset  # north up, lazy or not
    overviews: dict[tuple[str, tuple[tuple[str, int], ...]], Floats] = field(default_factory=dict)

    def read(self, name: str, entry: Entry, rows: slice, columns: slice, step: int) -> Floats:
        """Read a window, or average it from the overview."""
        if step < OVERVIEW:
            return self._averaged(self._cells(name, entry, rows, columns), name, step)
        coarse = self._overview(name, entry)
        ratio = step // OVERVIEW
        counts = [-(-(part.stop - part.start) // step) for part in (rows, columns)]
        first = [part.start // OVERVIEW for part in (rows, columns)]
        window = tuple(slice(f, f + ratio * n) for f, n in zip(first, counts, strict=True))
        averaged = self._averaged(coarse[window], name, ratio)
        # A window that does not begin at a square may end beyond the last one.
        short = [(0, n - size) for n, size in zip(counts, averaged.shape, strict=True)]
        return np.pad(averaged, short, mode="edge")

    def _cells(self, name: str, entry: Entry, rows: slice, columns: slice) -> Floats:
        variable = self.dataset[name]
        other = {d: entry.get(str(d), 0) for d in variable.dims if d not in {"y", "x"}}
        window = variable.isel({**other, "y": rows, "x": columns}).transpose("y", "x")
        values: Floats = window.values.astype(np.float32)
        nodata = nodata_value(variable)
        if nodata is not None and not np.isnan(nodata):
            values[window.values == nodata] = np.nan
        return values

    def _overview(self, name: str, entry: Entry) -> Floats:
        """Average a variable strip by strip; the overview is kept."""
        dims = self.dataset[name].dims
        key = name, tuple(sorted((d, i) for d, i in entry.items() if d in dims))
        if key not in self.overviews:
            height, width = self.dataset.sizes["y"], self.dataset.sizes["x"]
            strips = []
            for row in range(0, height, STRIP):
                rows = slice(row, min(row + STRIP, height))
                cells = self._cells(name, entry, rows, slice(0, width))
                strips.append(self._averaged(cells, name, OVERVIEW))
            self.overviews[key] = np.concatenate(strips)
        return self.overviews[key]

    def _averaged(self, values: Floats, name: str, step: int) -> Floats:
        """Average quantities over squares; of codes and counts take one in each square."""
        if self.dataset[name].dtype.kind == "f" or step == 1:
            return average_blocks(values, step).astype(np.float32, copy=False)
        rows, columns = (min(step // 2, size - 1) for size in values.shape)
        sampled = values[rows::step, columns::step]
        # The last square may be cut off.
        pad = [(0, -(-n // step) - m) for n, m in zip(values.shape, sampled.shape, strict=True)]
        return np.pad(sampled, pad, mode="edge")


@dataclass(frozen=True, eq=False)
class LevelReader:
    """Reads a Zarr store with overviews, which are the averages."""

    path: Path
    levels: list[DatasetReader]  # the finest first, each of half the resolution of the one before

    def read(self, name: str, entry: Entry, rows: slice, columns: slice, step: int) -> Floats:
        """Read a window from the overview that fits best."""
        level = min(step.bit_length(), len(self.levels)) - 1
        if name not in self.levels[level].dataset:
            level = 0
        reader, ratio = self.levels[level], 1 << level
        counts = [-(-(part.stop - part.start) // step) for part in (rows, columns)]
        window = [
            slice(part.start // ratio, min(part.start // ratio + count * step // ratio, size))
            for part, count, size in zip(
                (rows, columns), counts, (reader.dataset.sizes[d] for d in SPATIAL), strict=True
            )
        ]
        with file_errors(self.path, "a result"):
            values = reader.read(name, entry, window[0], window[1], step // ratio)
        scale = reader.dataset[name].attrs.get(SCALE)
        if scale in SCALES:
            values = SCALES[scale][1](values).astype(np.float32)
        # A window that does not begin at a square may end beyond the last one.
        short = [(0, n - size) for n, size in zip(counts, values.shape, strict=True)]
        return np.pad(values, short, mode="edge")


# Quantities: variables, and what is derived from them, as the page draws them.


@dataclass(frozen=True)
class Quantity:
    """A variable as the page draws it."""

    name: str
    label: str
    kind: str  # "db", "number" or "class"
    dims: tuple[str, ...]  # of "time" and "polarisation"
    unit: str = ""
    palette: str = "grey"
    limits: tuple[float, float] | None = None  # fixed; else percentiles
    classes: tuple[tuple[float, str, str], ...] = ()  # value, label, colour
    note: str = ""


@dataclass(frozen=True)
class Layer:
    """One entry of a quantity along its dimensions."""

    quantity: int
    entry: dict[str, int]


SHOWN: dict[str, output_layers.Layer] = {
    **output_layers.LAYERS,
    HEIGHTS: output_layers.Layer(label="elevation"),
}
"""How variables are drawn, by name."""
DECIBELS = "dB"
UNCERTAINTY, NOISE = "gamma0_std", "noise_power"
RELIEF = "relief"
DECIBELS_PER_NEPER = 10.0 / np.log(10.0)
SUN_AZIMUTH, SUN_HEIGHT = np.radians(315.0), np.radians(45.0)
SAMPLE_SIDE = 512
"""Cells along the longer side of what percentiles are found in."""
PERCENTILES = (2.0, 98.0)
FIRST = ("sigma0_geocoded", "gamma0")
"""Quantities at the head of the menus: before and after. Others follow in the order of layers."""


class ResultView:
    """A result, its layers and their tiles."""

    def __init__(self, dataset: xr.Dataset, reader: Reader, name: str) -> None:
        self.dataset = dataset
        self.reader = reader
        self.name = name
        self.lock = threading.RLock()  # neither GDAL's files nor HDF5 are read by two threads
        self.relief_heights: Callable[[slice, slice, int], Floats | None] | None = None
        self.shape: tuple[int, int] = dataset.sizes["y"], dataset.sizes["x"]
        self.quantities = self._list_quantities()
        self.layers = [
            Layer(index, entry)
            for index, quantity in enumerate(self.quantities)
            for entry in self._entries(quantity.dims)
        ]

    @classmethod
    def open(cls, result: str | os.PathLike[str] | xr.Dataset) -> ResultView:
        """Open a result from any file or folder of `sarheight.output.write`, or a Dataset."""
        if isinstance(result, xr.Dataset):
            dataset, name = result, "result"
            source: Path | None = None
        else:
            source = Path(result)
            dataset, name = open_result(source, chunks={}), resolve_links(source).name
        _require_map(dataset, name)
        turned = {
            axis: slice(None, None, -1)
            for axis, sign in (("y", -1), ("x", 1))
            if sign * float(dataset[axis][-1] - dataset[axis][0]) < 0
        }
        dataset = dataset.isel(turned)
        reader: Reader = DatasetReader(dataset)
        if source is not None and source.suffix.lower() in {"", ".tif", ".tiff"}:
            reader = RasterReader(stored_bands(source))
        elif source is not None and source.suffix.lower() == ".zarr" and not turned:
            levels = open_levels(source)
            if levels:
                reader = LevelReader(source, [DatasetReader(level) for level in levels])
        return cls(dataset, reader, name)

    def close(self) -> None:
        """Close the files of the result."""
        with self.lock:
            self.dataset.close()
            if isinstance(self.reader, RasterReader):
                for file in self.reader.files.values():
                    file.close()

    def size(self, dimension: str) -> int:
        """Return the number of dates or polarisations."""
        return int(self.dataset.sizes.get(dimension, 1))

    def _entries(self, dims: tuple[str, ...]) -> list[dict[str, int]]:
        entries: list[dict[str, int]] = [{}]
        for dim in dims:
            entries = [{**one, dim: index} for one in entries for index in range(self.size(dim))]
        return entries

    def _list_quantities(self) -> list[Quantity]:
        """List what the result holds, in the order of the page's menus."""
        found = {}
        for key, variable in self.dataset.data_vars.items():
            name = str(key)
            if not {"y", "x"} <= set(variable.dims) or variable.dtype.kind not in "iuf":
                continue
            dims = tuple(d for d in (TIME, POLARISATION) if d in variable.dims)
            if name != "gamma0_variance":
                found[name] = _quantity(name, variable, dims)
            elif "gamma0" in self.dataset:
                # It is drawn as a standard deviation in decibels.
                shown = variable.assign_attrs(SHOWN[UNCERTAINTY].attributes)
                found[UNCERTAINTY] = _quantity(UNCERTAINTY, shown, dims)
        if HEIGHTS in found:
            found[RELIEF] = Quantity(RELIEF, "relief", "number", (), "", "grey", (0.0, 1.0))
        elif "local_incidence" in found:
            found[RELIEF] = Quantity(
                RELIEF,
                "relief",
                "number",
                found["local_incidence"].dims,
                "",
                "grey",
                (0.0, 1.0),
                note="Cosine of the local incidence: the terrain as the radar illuminates it",
            )
        order = [*FIRST, *SHOWN, *found]
        return [found[name] for name in sorted(found, key=order.index)]

    def use_heights(self, heights: Callable[[slice, slice, int], Floats | None]) -> None:
        """Shade the relief by heights from elsewhere."""
        self.relief_heights = heights
        relief = Quantity(RELIEF, "relief", "number", (), "", "grey", (0.0, 1.0))
        names = [one.name for one in self.quantities]
        if RELIEF in names:
            index = names.index(RELIEF)
            self.quantities[index] = relief
            self.layers = [one for one in self.layers if one.quantity != index]
        else:
            index = len(names)
            self.quantities.append(relief)
        self.layers.append(Layer(index, {}))

    def index_of(self, name: str, entry: Entry) -> int | None:
        """Return the layer of a quantity at a date and polarisation; None if there is none."""
        for index, layer in enumerate(self.layers):
            own = all(entry.get(dim, 0) == place for dim, place in layer.entry.items())
            if own and self.quantities[layer.quantity].name == name:
                return index
        return None

    def values(self, layer: int, rows: slice, columns: slice, step: int = 1) -> Floats:
        """Return what the page draws: decibels, numbers or codes, NaN where there are no data."""
        one = self.layers[layer]
        quantity = self.quantities[one.quantity]
        with self.lock:
            if quantity.name == RELIEF:
                return self._relief(one.entry, rows, columns, step)
            if quantity.name == UNCERTAINTY and UNCERTAINTY not in self.dataset:
                gamma, variance = (
                    self.reader.read(name, one.entry, rows, columns, step)
                    for name in ("gamma0", "gamma0_variance")
                )
                with np.errstate(divide="ignore", invalid="ignore"):
                    deviation = DECIBELS_PER_NEPER * np.sqrt(variance) / np.abs(gamma)
                return np.where(np.isfinite(deviation), deviation, np.nan).astype(np.float32)
            values = self.reader.read(quantity.name, one.entry, rows, columns, step)
        if quantity.kind != "db" and quantity.name != NOISE:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels = 10.0 * np.log10(values)
        return np.where(np.isfinite(decibels), decibels, np.nan).astype(np.float32)

    def _relief(self, entry: Entry, rows: slice, columns: slice, step: int) -> Floats:
        """Shade heights with light from the north-west, or by the radar where there are none."""
        # Gradients need a neighbour on each side.
        wide = [
            slice(max(part.start - step, 0), min(part.stop + step, size))
            for part, size in zip((rows, columns), self.shape, strict=True)
        ]
        heights = None
        if self.relief_heights is not None:
            heights = self.relief_heights(wide[0], wide[1], step)
        elif HEIGHTS in self.dataset:
            heights = self.reader.read(HEIGHTS, entry, wide[0], wide[1], step)
        elif "local_incidence" in self.dataset:
            angle = self.reader.read("local_incidence", entry, rows, columns, step)
            return np.maximum(np.cos(np.radians(angle)), 0.0).astype(np.float32)
        shape = [-(-(part.stop - part.start) // step) for part in (rows, columns)]
        if heights is None or min(heights.shape) < 2:
            return np.full(shape, np.nan, np.float32)
        down, across = (size * step for size in self.cell_size)
        # Slopes to the south and to the east, as rows run from north to south.
        south, east = np.gradient(heights.astype(np.float64), down, across)
        cosine = np.sin(SUN_HEIGHT) + np.cos(SUN_HEIGHT) * (
            south * np.cos(SUN_AZIMUTH) - east * np.sin(SUN_AZIMUTH)
        )
        shade = np.clip(cosine / np.sqrt(1.0 + south**2 + east**2), 0.0, 1.0)
        first = [
            (part.start - w.start) // step for part, w in zip((rows, columns), wide, strict=True)
        ]
        cut: Floats = shade[first[0] : first[0] + shape[0], first[1] : first[1] + shape[1]].astype(
            np.float32
        )
        return cut

    @property
    def levels(self) -> int:
        """Number of resolutions: each is half of the one before, and the last is one tile."""
        return max(int(np.ceil(np.log2(max(self.shape) / TILE))), 0) + 1

    def tile(self, layer: int, level: int, row: int, column: int) -> Floats:
        """Return a tile of a level; raise IndexError where there is none."""
        step, side = 1 << level, TILE << level
        if not (0 <= layer < len(self.layers) and 0 <= level < self.levels):
            raise IndexError(layer, level)
        if row * side >= self.shape[0] or column * side >= self.shape[1]:
            raise IndexError(row, column)
        rows, columns = (
            slice(index * side, min((index + 1) * side, size))
            for index, size in zip((row, column), self.shape, strict=True)
        )
        return self.values(layer, rows, columns, step)

    def limits(self, layer: int) -> tuple[float, float]:
        """Return the range of colours; that of backscatter is the same for all its layers."""
        one = self.layers[layer]
        quantity = self.quantities[one.quantity]
        if quantity.limits is not None:
            return quantity.limits
        if quantity.kind == "class":
            return 0.0, 1.0
        if quantity.kind == "db":
            # Layover and shadow would stretch the range of the plain image over twice as much.
            found = self.index_of("gamma0", one.entry)
            layer = layer if found is None else found
        values = self._sample(layer)
        if values.size == 0:
            return 0.0, 1.0
        low, high = (float(number) for number in np.percentile(values, PERCENTILES))
        if quantity.name == UNCERTAINTY:
            low = 0.0
        if quantity.kind == "db":
            low, high = np.floor(low), np.ceil(high)
        return float(low), float(high) if high > low else float(low) + 1.0

    def _sample(self, layer: int) -> Floats:
        """Return valid values all over the result, at the full resolution and from afar."""
        step = 1 << max(int(np.ceil(np.log2(max(self.shape) / SAMPLE_SIDE))), 0)
        rows, columns = (slice(0, size) for size in self.shape)
        parts: list[Floats] = []
        if not isinstance(self.reader, DatasetReader) or step <= OVERVIEW:
            parts.append(self.values(layer, rows, columns, step))
        if step > 1:
            # Means of many cells have no speckle, and some files have no overviews: pieces of a
            # diagonal pattern of places.
            side = TILE // 2
            for down, across in ((i, (5 * i + 2) % 8) for i in range(8)):
                first = [
                    int(place * (size - side) / 7)
                    for place, size in zip((down, across), self.shape, strict=True)
                ]
                part_rows, part_columns = (
                    slice(max(n, 0), min(n + side, size))
                    for n, size in zip(first, self.shape, strict=True)
                )
                parts.append(self.values(layer, part_rows, part_columns))
        values: Floats = np.concatenate([part.ravel() for part in parts])
        return values[np.isfinite(values)]

    # The place of cells.

    @cached_property
    def crs(self) -> pyproj.CRS:
        """The horizontal reference system."""
        return pyproj.CRS.from_wkt(self.dataset.rio.crs.to_wkt())

    @cached_property
    def to_degrees(self) -> pyproj.Transformer:
        """From coordinates of the result to longitude and latitude."""
        return pyproj.Transformer.from_crs(self.crs, 4326, always_xy=True)

    @cached_property
    def steps(self) -> tuple[float, float]:
        """Step of y from row to row and of x from column to column."""
        y, x = self.dataset["y"].values, self.dataset["x"].values
        return float(y[-1] - y[0]) / (y.size - 1), float(x[-1] - x[0]) / (x.size - 1)

    def coordinates(self, rows: Any, columns: Any) -> tuple[Any, Any]:  # noqa: ANN401  # numbers or arrays
        """Return x and y of cells, fractional ones too."""
        down, across = self.steps
        x0, y0 = float(self.dataset["x"].values[0]), float(self.dataset["y"].values[0])
        return x0 + across * np.asarray(columns), y0 + down * np.asarray(rows)

    def places(self, rows: Any, columns: Any) -> tuple[Any, Any]:  # noqa: ANN401
        """Return longitude and latitude of cells in degrees."""
        longitude, latitude = self.to_degrees.transform(*self.coordinates(rows, columns))
        return longitude, latitude

    @cached_property
    def cell_size(self) -> tuple[float, float]:
        """Metres on the ground from row to row and from column to column, in the middle."""
        row, column = (0.5 * (size - 1) for size in self.shape)
        longitude, latitude = self.places(
            [row - 0.5, row + 0.5, row, row], [column, column, column - 0.5, column + 0.5]
        )
        _, _, metres = pyproj.Geod(ellps="WGS84").inv(
            longitude[[0, 2]], latitude[[0, 2]], longitude[[1, 3]], latitude[[1, 3]]
        )
        return float(metres[0]), float(metres[1])


def _require_map(dataset: xr.Dataset, name: str) -> None:
    """Refuse what is no result on a map grid."""
    radar = "line" in dataset.dims
    if radar or not {"y", "x"} <= set(dataset.dims) or dataset.rio.crs is None:
        found = "an image in radar geometry" if radar else "no map grid with a reference system"
        advice = ": reconstruct it first" if radar else ""
        msg = f"found {found} in '{name}', expected a result, such as `reconstruct` writes{advice}"
        raise ValueError(msg)
    if not dataset.data_vars or min(dataset.sizes["y"], dataset.sizes["x"]) < 2:
        msg = f"found nothing to show in '{name}', expected variables of 2 x 2 cells or more"
        raise ValueError(msg)


MOST_BITS = 3
"""Bits all combinations of which are listed as classes."""
AND = "+"
"""Between the meanings of bits that are set together."""


def _combinations(masks: list[int], meanings: list[str]) -> tuple[list[int], list[str]]:
    """Return all codes of a variable of bits, and what they mean."""
    codes, words = [0], [""]
    for mask, meaning in zip(masks, meanings, strict=True):
        codes += [code | mask for code in codes]
        words += [f"{word}{AND}{meaning}" for word in words]
    return codes, ["none of them", *(word.removeprefix(AND) for word in words[1:])]


def _quantity(name: str, variable: xr.DataArray, dims: tuple[str, ...]) -> Quantity:
    """Choose how a variable is drawn."""
    long_name = str(variable.attrs.get("long_name", name.replace("_", " ")))
    units = str(variable.attrs.get("units", ""))
    unit = {"1": "", "degree": "°", "m2": "m²", output_layers.DECIBEL: DECIBELS}.get(units, units)
    shown = SHOWN.get(name, output_layers.Layer(label=name.replace("_", " ")))
    note = shown.description[:1].upper() + shown.description[1:] or long_name
    if shown.power:
        return Quantity(name, shown.label, "db", dims, DECIBELS, "grey", note=note)
    if name == NOISE:
        return Quantity(name, "noise power", "number", dims, DECIBELS, "viridis", note=long_name)
    values = np.atleast_1d(variable.attrs.get("flag_values", ())).tolist()
    meanings = str(variable.attrs.get("flag_meanings", "")).split()
    masks = np.atleast_1d(variable.attrs.get("flag_masks", ())).tolist()
    if 0 < len(masks) == len(meanings) <= MOST_BITS:
        values, meanings = _combinations(masks, meanings)
    if name == "fold_count":
        classes = tuple((float(one.value), one.label, one.colour) for one in count_classes())
        return Quantity(name, shown.label, "class", dims, classes=classes, note=note)
    if values and len(values) == len(meanings):
        colours = flag_colours(variable)
        spare = SPARE_COLOURS * (1 + len(values) // len(SPARE_COLOURS))
        classes = tuple(
            (
                float(value),
                meaning.replace("_", " ").replace(AND, ", "),
                colours.get(meaning.rpartition(AND)[2], spare[index]),
            )
            for index, (value, meaning) in enumerate(zip(values, meanings, strict=True))
        )
        label = shown.label if name in SHOWN else long_name
        return Quantity(name, label, "class", dims, classes=classes, note=note)
    return Quantity(name, shown.label, "number", dims, unit, "viridis", shown.limits, note=note)
