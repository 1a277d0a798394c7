"""Splits by city block, and patches of city stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sarheight.buildings.stack import BANDS, OPTICAL_BANDS, SAR_BANDS, check_stack, valid_months
from sarheight.learning.split import Part, posting_of, require_shares, window_starts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

City = TypeVar("City")


def blocks(
    stack: xr.Dataset,
    shares: Mapping[str, float],
    *,
    width: float = 2000.0,
    gap: float = 200.0,
    seed: int = 0,
) -> dict[str, list[Part]]:
    """Deal a city out in square blocks with gaps between them.

    Patches are to be cut from one block each; then what lies in the gap (and half a receptive
    field of a network) is all that training and test could share.

    Parameters
    ----------
    stack : xarray.Dataset
        On dims (y, x).
    shares : mapping
        Share of the blocks by name; they sum to 1. Every name gets one block at least.
    width : float
        Metres from one block to the next.
    gap : float
        Metres between blocks that belong to none.
    seed : int
        Of the order in which blocks are dealt.

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
    posting = posting_of(stack)
    spans = []
    for axis, step in zip(("y", "x"), posting, strict=True):
        wide, between = round(width / step), int(np.ceil(gap / step))
        if wide - between < 1:
            msg = (
                f"found blocks of {width:g} m with gaps of {gap:g} m between them, expected gaps "
                "that leave something of a block"
            )
            raise ValueError(msg)
        count = max((stack.sizes[axis] + between) // wide, 1)
        spans.append([(k * wide, min((k + 1) * wide - between, stack.sizes[axis]))
                      for k in range(count)])  # fmt: skip
    found = [Part(rows, columns) for rows in spans[0] for columns in spans[1]]
    return _dealt(found, shares, seed, f"blocks of {width:g} m")


def split_cities(
    cities: Sequence[City], shares: Mapping[str, float], *, seed: int = 0
) -> dict[str, list[City]]:
    """Deal whole cities out, so that no place of one is seen in another part.

    Parameters
    ----------
    cities : sequence
        Names, paths or stacks.
    shares : mapping
        Share of the cities by name; they sum to 1. Every name gets one city at least.
    seed : int
        Of the order in which they are dealt.

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
    return _dealt(list(cities), shares, seed, "cities")


def _dealt(
    things: list[City], shares: Mapping[str, float], seed: int, what: str
) -> dict[str, list[City]]:
    """Deal things out in a random order; each in its own order then."""
    if len(things) < len(shares):
        msg = f"found {len(things)} {what} for {', '.join(shares)}, expected one each at least"
        raise ValueError(msg)
    counts = np.ones(len(shares), dtype=int)
    wanted = np.array(list(shares.values())) * len(things)
    while counts.sum() < len(things):
        counts[np.argmax(wanted - counts)] += 1
    order = np.random.default_rng(seed).permutation(len(things))
    ends = np.cumsum(counts)
    return {
        name: [things[index] for index in sorted(order[end - count : end])]
        for name, end, count in zip(shares, ends, counts, strict=True)
    }


# Patches of city stacks, as a network for building heights is fed them.

MODALITIES = ("sar", "optical")
REFERENCES = ("height", "footprint")


@dataclass(frozen=True)
class _Window:
    """Where a sample is: a stack, a corner, and the first month (None: drawn)."""

    stack: int
    row: int
    column: int
    month: int | None


class BuildingPatches:
    """Patches for learning building heights; a map-style dataset for torch's DataLoader.

    Every sample is a dictionary of arrays:

    ``sar``
        float32, shape (months, sar bands, size, size): linear power, NaN where missing.
    ``optical``
        float32, shape (months, optical bands, size, size): reflectance, NaN where missing.
    ``sar_valid``, ``optical_valid``
        bool, shape (months,): whether the month has an image in this patch.
    ``month``
        int64, shape (months,): month of the year, 1 to 12; 0 where the stack has no further month.
    ``height``, ``footprint``
        float32, shape (1, size, size): metres and built share; NaN where unknown.

    A modality or band that a stack does not have is there as NaN. A sample takes `months` months in
    a row. With one, the months of a year are so many images of the same height, as the published
    network takes them; with twelve, they are one series. In training (`augment`) the months are
    drawn; otherwise every run of them that fits is a sample of its own, one after the other. Both
    take months in which every modality of the stack has an image, as long as there are such.

    Mirroring is bound to what the radar sees: its two passes look eastwards and westwards, as
    mirror images of each other in the north-south line. So patches are mirrored from east to west
    only, and the bands of the two passes change places. The sun stays in its half of the sky. With
    bands of one pass alone nothing is mirrored.

    Parameters
    ----------
    stacks : sequence of xarray.Dataset
        City stacks, see `check_stack`. Patches of dask-backed ones are read when they are asked
        for; others are held in memory.
    within : sequence of sequence of Part, optional
        Parts of each stack from which patches come, see `blocks`; all of it by default.
    size, stride : int
        Of the patches in cells, and from one to the next; `stride` is `size` by default.
    sar_bands, optical_bands : sequence of str
        Bands of a sample, in this order; there may be none of one kind.
    months : int
        Months of a sample.
    augment : bool
        Whether months are drawn and patches mirrored at random.
    drop_modality : float
        Probability that a sample that has both modalities loses one of them.
    drop_month : float
        Probability with which each image is lost. The last one of a sample never is.
    least_known : float
        A patch must have a height in this share of its cells; 0 takes stacks without heights.
    seed : int
        Each sample depends only on `seed`, the epoch (see `set_epoch`) and its number.

    Raises
    ------
    ValueError
        If stacks and parts do not pair, a part reaches beyond its stack, a number or a band makes
        no sense, or there is no patch.
    StackError
        If a stack is none.
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
        chances = (drop_modality, drop_month, least_known)
        if size < 1 or step < 1 or months < 1 or not all(0.0 <= each <= 1.0 for each in chances):
            msg = (
                f"found size={size}, stride={step}, months={months}, {drop_modality=}, "
                f"{drop_month=}, {least_known=}; expected whole numbers of 1 at least, and shares "
                "from 0 to 1"
            )
            raise ValueError(msg)
        self.bands = {"sar": tuple(sar_bands), "optical": tuple(optical_bands)}
        _require_known(self.bands)
        regions = [[Part.whole(stack)] for stack in stacks] if within is None else list(within)
        if len(regions) != len(stacks):
            msg = f"found parts of {len(regions)} stacks for {len(stacks)}, expected them for each"
            raise ValueError(msg)
        self.size, self.months, self.augment, self.seed, self.epoch = size, months, augment, seed, 0
        self.drop_modality, self.drop_month = drop_modality, drop_month
        self.stacks = [self._chosen(check_stack(stack, posting=None)) for stack in stacks]
        self.choices = [self._first_months(stack) for stack in self.stacks]
        self.windows = [
            window
            for index, parts in enumerate(regions)
            for window in self._windows(index, parts, step, least_known)
        ]
        if not self.windows:
            shapes = [tuple(stack.sizes[name] for name in ("y", "x")) for stack in stacks]
            msg = (
                f"found no patch of {size} x {size} cells with heights and an image in stacks of "
                f"{shapes} cells, expected one at least: take smaller patches or larger parts; "
                "least_known=0 takes patches without heights"
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.windows)

    def set_epoch(self, epoch: int) -> None:
        """Draw other months, mirrors and losses than in other epochs."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a sample."""
        number = range(len(self))[index]
        window = self.windows[number]
        random = np.random.default_rng([self.seed, self.epoch, number])
        first = window.month
        if first is None:
            first = int(random.choice(self.choices[window.stack]))
        mirrored = self.augment and self._mirrors() and random.random() < 0.5
        stack = self.stacks[window.stack]
        cut = stack.isel(
            month=slice(first, first + self.months),
            y=slice(window.row, window.row + self.size),
            x=slice(window.column, window.column + self.size),
        )
        sample: dict[str, NDArray[Any]] = {
            name: self._image(cut, name, mirrored=mirrored) for name in MODALITIES
        }
        self._lose(sample, random)
        for name in MODALITIES:
            sample[f"{name}_valid"] = np.isfinite(sample[name]).any(axis=(1, 2, 3))
        calendar = np.zeros(self.months, dtype=np.int64)
        calendar[: cut.sizes["month"]] = cut["month"].dt.month.values
        sample["month"] = calendar
        for name in REFERENCES:
            values = np.full((1, self.size, self.size), np.nan, dtype=np.float32)
            if name in cut:
                values[0] = cut[name].values
            sample[name] = np.ascontiguousarray(values[..., ::-1]) if mirrored else values
        return sample

    def _image(self, cut: xr.Dataset, name: str, *, mirrored: bool) -> NDArray[np.float32]:
        """Take a modality's images, with NaN for months and bands that there are not."""
        bands = self.bands[name]
        shape = (self.months, len(bands), self.size, self.size)
        image = np.full(shape, np.nan, dtype=np.float32)
        if name not in cut:
            return image
        there = [str(band) for band in cut[name][BANDS[name][0]].values]
        values = cut[name].values
        for place, band in enumerate(bands):
            wanted = swapped(band) if mirrored and name == "sar" else band
            if wanted in there:
                image[: len(values), place] = values[:, there.index(wanted)]
        return np.ascontiguousarray(image[..., ::-1]) if mirrored else image

    def _lose(self, sample: dict[str, NDArray[Any]], random: np.random.Generator) -> None:
        """Lose a modality or months, but not all."""
        chance, which = random.random(2)
        drawn = random.random((len(MODALITIES), self.months)) < self.drop_month
        there = np.stack([np.isfinite(sample[name]).any(axis=(1, 2, 3)) for name in MODALITIES])
        if chance < self.drop_modality and there.any(axis=1).all():
            drawn[int(which * len(MODALITIES))] = True
        if there.any() and not (there & ~drawn).any():
            # The drawn modality stays lost: the last image is kept in the other.
            left = np.argwhere(there & ~drawn.all(axis=1, keepdims=True))
            kept = left if len(left) else np.argwhere(there)
            drawn[tuple(kept[random.integers(len(kept))])] = False
        for lost, name in zip(drawn, MODALITIES, strict=True):
            sample[name][lost] = np.nan

    def _mirrors(self) -> bool:
        bands = set(self.bands["sar"])
        return {swapped(band) for band in bands} == bands

    def _chosen(self, stack: xr.Dataset) -> xr.Dataset:
        """Keep the variables and bands of a sample."""
        kept = stack[[name for name in (*MODALITIES, *REFERENCES) if name in stack]]
        for name in MODALITIES:
            axis = BANDS[name][0]
            if name in kept:
                there = [band for band in self.bands[name] if band in kept[name][axis].values]
                kept = kept.sel({axis: there}) if there else kept.drop_vars(name)
        return kept

    def _first_months(self, stack: xr.Dataset) -> NDArray[np.int64]:
        """Return where runs of months begin that have images, of all modalities if possible."""
        valid = valid_months(stack)
        length = stack.sizes.get("month", 0)
        starts = np.arange(max(length - self.months, 0) + 1)
        there = np.array(
            [
                [valid[name][start : start + self.months].any() for start in starts]
                for name in MODALITIES
            ]
        )
        all_there = there[there.any(axis=1)].all(axis=0)
        return (
            starts[all_there & there.any(axis=0)] if all_there.any() else starts[there.any(axis=0)]
        )

    def _windows(
        self, index: int, parts: Sequence[Part], step: int, least_known: float
    ) -> Iterator[_Window]:
        stack, firsts = self.stacks[index], self.choices[index]
        if not firsts.size:
            return
        runs: list[int | None] = [None]
        if not self.augment:
            runs = [int(first) for first in _one_after_the_other(firsts, self.months)]
        known = _known(stack)
        for part in parts:
            part.require_inside(stack)
            for row in window_starts(part.rows, self.size, step):
                for column in window_starts(part.columns, self.size, step):
                    share = known[row : row + self.size, column : column + self.size].mean()
                    if share >= least_known:
                        yield from (_Window(index, row, column, run) for run in runs)


def swapped(band: str) -> str:
    """Return the band of the other pass: what a mirror from east to west turns a band into."""
    polarisation, _, passing = band.partition("_")
    return f"{polarisation}_{'descending' if passing == 'ascending' else 'ascending'}"


def _one_after_the_other(firsts: NDArray[np.int64], months: int) -> list[int]:
    """Choose runs that do not overlap."""
    chosen: list[int] = []
    for first in firsts.tolist():
        if not chosen or first >= chosen[-1] + months:
            chosen.append(first)
    return chosen


def _known(stack: xr.Dataset) -> NDArray[np.bool_]:
    if "height" not in stack:
        return np.zeros((stack.sizes["y"], stack.sizes["x"]), dtype=bool)
    return np.asarray(np.isfinite(stack["height"].values))


def _require_known(bands: dict[str, tuple[str, ...]]) -> None:
    """Raise unless all bands have names that are known, each once."""
    for name, wanted in bands.items():
        known = BANDS[name][1]
        strange = [band for band in wanted if band not in known]
        if strange or len(set(wanted)) != len(wanted):
            msg = (
                f"found the {name} bands {', '.join(wanted)}, expected some of {', '.join(known)}, "
                "each once"
            )
            raise ValueError(msg)
    if not any(bands.values()):
        msg = "found neither sar bands nor optical bands, expected some of one kind at least"
        raise ValueError(msg)
