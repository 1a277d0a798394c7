"""Splits of cities for training and test, and patches of city stacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sarheight.buildings.stack import (
    BANDS,
    OPTICAL_BANDS,
    REFERENCE,
    SAR_BANDS,
    check_stack,
    require_bands,
    valid_months,
)
from sarheight.learning.split import Part, apportion, posting_of, require_shares, window_starts

if TYPE_CHECKING:
    import xarray as xr

Item = TypeVar("Item")


def split_blocks(
    stack: xr.Dataset,
    shares: Mapping[str, float],
    *,
    width: float = 2000.0,
    gap: float = 200.0,
    seed: int = 0,
) -> dict[str, list[Part]]:
    """Split a city at random into square blocks with gaps between them.

    Each patch lies in one block; then training and test share nothing but what a receptive field
    reaches across the gap.

    Parameters
    ----------
    stack : xarray.Dataset
        On dims (y, x).
    shares : mapping
        Share of the blocks by name; they sum to 1. Every name gets at least one block.
    width : float
        Metres from one block to the next.
    gap : float
        Metres between blocks that belong to none.
    seed : int
        Of the random assignment.

    Returns
    -------
    dict
        A list of `Part` for each name.

    Raises
    ------
    ValueError
        If the shares do not sum to 1, the gap leaves nothing of a block, or there are fewer blocks
        than names.
    """
    require_shares(shares)
    spans = []
    for axis, posting in zip(("y", "x"), posting_of(stack), strict=True):
        step, between = round(width / posting), int(np.ceil(gap / posting))
        if step - between < 1:
            msg = (
                f"found blocks of {width:g} m with gaps of {gap:g} m between them, expected gaps "
                "that leave something of a block"
            )
            raise ValueError(msg)
        size = stack.sizes[axis]
        starts = range(0, step * max((size + between) // step, 1), step)
        spans.append([(start, min(start + step - between, size)) for start in starts])
    blocks = [Part(rows, columns) for rows in spans[0] for columns in spans[1]]
    return _assign(blocks, shares, seed, f"blocks of {width:g} m")


def split_cities(
    cities: Sequence[Item], shares: Mapping[str, float], *, seed: int = 0
) -> dict[str, list[Item]]:
    """Split whole cities at random, so that no part of one is in two sets.

    Parameters
    ----------
    cities : sequence
        Names, paths or stacks.
    shares : mapping
        Share of the cities by name; they sum to 1. Every name gets at least one city.
    seed : int
        Of the random assignment.

    Returns
    -------
    dict
        A list of cities for each name.

    Raises
    ------
    ValueError
        If the shares do not sum to 1, or there are fewer cities than names.
    """
    require_shares(shares)
    return _assign(list(cities), shares, seed, "cities")


def _assign(
    items: list[Item], shares: Mapping[str, float], seed: int, what: str
) -> dict[str, list[Item]]:
    """Assign items to names at random; those of a name keep their order."""
    if len(items) < len(shares):
        msg = f"found {len(items)} {what} for {', '.join(shares)}, expected at least one each"
        raise ValueError(msg)
    counts = apportion(len(items), shares)
    order = np.random.default_rng(seed).permutation(len(items))
    ends = np.cumsum(counts)
    return {
        name: [items[index] for index in sorted(order[end - count : end])]
        for name, end, count in zip(shares, ends, counts, strict=True)
    }


# Patches of city stacks, the input of networks for building heights.


@dataclass(frozen=True)
class _Window:
    """Position of a sample: index of its stack, corner, first month (None: drawn at random)."""

    stack: int
    row: int
    column: int
    month: int | None


class BuildingPatches:
    """Patches for training on building heights; a map-style dataset for torch's DataLoader.

    A sample is a dictionary of arrays:

    ``sar``
        float32, shape (months, sar bands, size, size): linear power, NaN where missing.
    ``optical``
        float32, shape (months, optical bands, size, size): reflectance, NaN where missing.
    ``sar_valid``, ``optical_valid``
        bool, shape (months,): whether the month has an image in this patch.
    ``month``
        int64, shape (months,): month of the year, 1 to 12; 0 beyond the end of the stack.
    ``height``, ``footprint``
        float32, shape (1, size, size): metres and built share; NaN where unknown.

    A modality or band that a stack lacks is NaN. A sample takes `months` successive months. With
    one, the months of a year are as many images of the same height, as in the published network;
    with twelve, they are one series. In training (`augment`) the first month is drawn; otherwise
    the runs of months that fit are samples of their own, without overlap. Both prefer months in
    which every modality of the stack has an image.

    Mirroring respects the viewing geometry: the ascending and the descending pass look eastwards
    and westwards, as mirror images of each other about the meridian. So patches are mirrored from
    east to west only, and the bands of the two passes are swapped; the sun stays in its half of the
    sky. With bands of one pass alone nothing is mirrored.

    Parameters
    ----------
    stacks : sequence of xarray.Dataset
        City stacks, see `check_stack`. Patches of dask-backed ones are read on access; others are
        held in memory.
    within : sequence of sequence of Part, optional
        Parts of each stack from which patches come, see `split_blocks`; by default all of it.
    size, stride : int
        Cells along a side of the patches, and from one to the next; `stride` is `size` by default.
    sar_bands, optical_bands : sequence of str
        Bands of a sample, in this order; one of the two may be empty.
    months : int
        Months of a sample.
    augment : bool
        Whether months are drawn and patches mirrored at random.
    drop_modality : float
        Probability that one modality of a sample with both is dropped.
    drop_month : float
        Probability that an image is dropped. The last one of a sample is always kept.
    least_known : float
        Least share of cells of a patch with a known height; 0 admits stacks without heights.
    seed : int
        A sample depends only on `seed`, the epoch (see `set_epoch`) and its index.

    Raises
    ------
    ValueError
        If stacks and parts do not pair, a part reaches beyond its stack, a number is out of its
        range, a band is unknown, or there is no patch.
    StackError
        If a stack is no city stack.
    """

    def __init__(
        self,
        stacks: Sequence[xr.Dataset],
        *,
        within: Sequence[Sequence[Part]] | None = None,
        size: int = 64,
        stride: int | None = None,
        sar_bands: Sequence[str] = SAR_BANDS,
        optical_bands: Sequence[str] = OPTICAL_BANDS,
        months: int = 12,
        augment: bool = False,
        drop_modality: float = 0.0,
        drop_month: float = 0.0,
        least_known: float = 0.5,
        seed: int = 0,
    ) -> None:
        step = size if stride is None else stride
        shares = (drop_modality, drop_month, least_known)
        if size < 1 or step < 1 or months < 1 or not all(0.0 <= each <= 1.0 for each in shares):
            msg = (
                f"found size={size}, stride={step}, months={months}, {drop_modality=}, "
                f"{drop_month=}, {least_known=}; expected whole numbers of at least 1, and shares "
                "from 0 to 1"
            )
            raise ValueError(msg)
        self.bands = {"sar": tuple(sar_bands), "optical": tuple(optical_bands)}
        for name, bands in self.bands.items():
            require_bands(bands, BANDS[name][1], f"{name} bands", least=0, kind=ValueError)
        if not any(self.bands.values()):
            msg = "found neither sar bands nor optical bands, expected some of at least one kind"
            raise ValueError(msg)
        regions = [[Part.whole(stack)] for stack in stacks] if within is None else list(within)
        if len(regions) != len(stacks):
            msg = f"found parts of {len(regions)} stacks for {len(stacks)}, expected some for each"
            raise ValueError(msg)
        self.size, self.months, self.augment, self.seed, self.epoch = size, months, augment, seed, 0
        self.drop_modality, self.drop_month = drop_modality, drop_month
        self.stacks = [self._select(check_stack(stack, posting=None)) for stack in stacks]
        self.first_months = [self._first_months_of(stack) for stack in self.stacks]
        self.windows = [
            window
            for index, parts in enumerate(regions)
            for window in self._windows(index, parts, step, least_known)
        ]
        if not self.windows:
            shapes = [tuple(stack.sizes[name] for name in ("y", "x")) for stack in stacks]
            msg = (
                f"found no patch of {size} x {size} cells with heights and an image in stacks of "
                f"{shapes} cells, expected at least one: take smaller patches or larger parts; "
                "least_known=0 admits patches without heights"
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.windows)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from which months, mirroring and dropped images are drawn."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a sample."""
        index = range(len(self))[index]
        window = self.windows[index]
        random = np.random.default_rng([self.seed, self.epoch, index])
        first = window.month
        if first is None:
            first = int(random.choice(self.first_months[window.stack]))
        mirrored = self.augment and self._can_mirror() and random.random() < 0.5
        stack = self.stacks[window.stack]
        cut = stack.isel(
            month=slice(first, first + self.months),
            y=slice(window.row, window.row + self.size),
            x=slice(window.column, window.column + self.size),
        )
        sample: dict[str, NDArray[Any]] = {
            name: self._image(cut, name, mirrored=mirrored) for name in BANDS
        }
        self._drop(sample, random)
        for name in BANDS:
            sample[f"{name}_valid"] = np.isfinite(sample[name]).any(axis=(1, 2, 3))
        calendar = np.zeros(self.months, dtype=np.int64)
        calendar[: cut.sizes["month"]] = cut["month"].dt.month.values
        sample["month"] = calendar
        for name in REFERENCE:
            values = np.full((1, self.size, self.size), np.nan, dtype=np.float32)
            if name in cut:
                values[0] = cut[name].values
            sample[name] = np.ascontiguousarray(values[..., ::-1]) if mirrored else values
        return sample

    def _image(self, cut: xr.Dataset, name: str, *, mirrored: bool) -> NDArray[np.float32]:
        """Return the images of a modality, NaN for months and bands that the stack lacks."""
        bands = self.bands[name]
        shape = (self.months, len(bands), self.size, self.size)
        image = np.full(shape, np.nan, dtype=np.float32)
        if name not in cut:
            return image
        available = [str(band) for band in cut[BANDS[name][0]].values]
        values = cut[name].values
        for position, band in enumerate(bands):
            source = _other_pass(band) if mirrored and name == "sar" else band
            if source in available:
                image[: len(values), position] = values[:, available.index(source)]
        return np.ascontiguousarray(image[..., ::-1]) if mirrored else image

    def _drop(self, sample: dict[str, NDArray[Any]], random: np.random.Generator) -> None:
        """Drop a modality or months at random, but not all."""
        chance, which = random.random(2)
        dropped = random.random((len(BANDS), self.months)) < self.drop_month
        present = np.stack([np.isfinite(sample[name]).any(axis=(1, 2, 3)) for name in BANDS])
        if chance < self.drop_modality and present.any(axis=1).all():
            dropped[int(which * len(BANDS))] = True
        if present.any() and not (present & ~dropped).any():
            # A dropped modality stays dropped: the last image is kept in the other.
            others = np.argwhere(present & ~dropped.all(axis=1, keepdims=True))
            candidates = others if len(others) else np.argwhere(present)
            dropped[tuple(candidates[random.integers(len(candidates))])] = False
        for months, name in zip(dropped, BANDS, strict=True):
            sample[name][months] = np.nan

    def _can_mirror(self) -> bool:
        bands = set(self.bands["sar"])
        return {_other_pass(band) for band in bands} == bands

    def _select(self, stack: xr.Dataset) -> xr.Dataset:
        """Select the variables and bands of a sample."""
        selected = stack[[name for name in (*BANDS, *REFERENCE) if name in stack]]
        for name, (axis, _) in BANDS.items():
            if name in selected:
                bands = [band for band in self.bands[name] if band in selected[axis].values]
                selected = selected.sel({axis: bands}) if bands else selected.drop_vars(name)
        return selected

    def _first_months_of(self, stack: xr.Dataset) -> NDArray[np.int64]:
        """Return the first months of runs that have images, of all modalities if possible."""
        valid = valid_months(stack)
        length = stack.sizes.get("month", 0)
        starts = np.arange(max(length - self.months, 0) + 1)
        present = np.array(
            [[valid[name][start : start + self.months].any() for start in starts] for name in BANDS]
        )
        complete = present[present.any(axis=1)].all(axis=0) & present.any(axis=0)
        return starts[complete] if complete.any() else starts[present.any(axis=0)]

    def _windows(
        self, index: int, parts: Sequence[Part], step: int, least_known: float
    ) -> Iterator[_Window]:
        """Yield the samples of a stack that have enough known heights."""
        stack, firsts = self.stacks[index], self.first_months[index]
        if not firsts.size:
            return
        months: list[int | None] = [None]
        if not self.augment:
            months = [*_without_overlap(firsts, self.months)]
        known = np.zeros((stack.sizes["y"], stack.sizes["x"]), dtype=bool)
        if "height" in stack:
            known = np.isfinite(stack["height"].values)
        for part in parts:
            part.require_inside(stack)
            for row in window_starts(part.rows, self.size, step):
                for column in window_starts(part.columns, self.size, step):
                    share = known[row : row + self.size, column : column + self.size].mean()
                    if share >= least_known:
                        yield from (_Window(index, row, column, month) for month in months)


def _other_pass(band: str) -> str:
    """Return the band of the other pass, into which mirroring from east to west turns a band."""
    polarisation, _, direction = band.partition("_")
    return f"{polarisation}_{'descending' if direction == 'ascending' else 'ascending'}"


def _without_overlap(firsts: NDArray[np.int64], months: int) -> Iterator[int]:
    """Yield the first months of runs that do not overlap."""
    end = 0
    for first in firsts.tolist():
        if first >= end:
            yield first
            end = first + months
