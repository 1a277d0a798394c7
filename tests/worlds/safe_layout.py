"""Names, XML and line layout of simulated SAFE products."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, indent, tostring

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.orbit import nanoseconds
from sarheight.sentinel1.grid import burst_positions

if TYPE_CHECKING:
    from collections.abc import Collection

    from sarheight.grid import RadarGrid
    from sarheight.sentinel1 import Annotation

POLARISATIONS = {
    frozenset({"HH"}): "SH",
    frozenset({"VV"}): "SV",
    frozenset({"HH", "HV"}): "DH",
    frozenset({"VV", "VH"}): "DV",
    frozenset({"HV"}): "HV",
    frozenset({"VH"}): "VH",
}
RESOLUTIONS = {
    ("SM", 3.5): "F",
    ("SM", 10.0): "H",
    ("SM", 40.0): "M",
    ("IW", 10.0): "H",
    ("IW", 40.0): "M",
    ("EW", 25.0): "H",
    ("EW", 40.0): "M",
}
"""Resolution class of a GRD by mode and pixel spacing in metres."""


def _compact(time: np.datetime64) -> str:
    """Write a time as names have it, to the second."""
    return str(time.astype("datetime64[s]")).replace("-", "").replace(":", "")


def file_name(
    annotation: Annotation,
    number: int,
    begin: np.datetime64,
    end: np.datetime64,
    orbit: int,
    datatake: int,
) -> str:
    """Return the name of an image's files, without suffix.

    Such as ``s1a-iw1-slc-vv-20230904t063731-20230904t063756-050174-0609e3-004``.
    """
    parts = [
        annotation.mission,
        annotation.swath,
        annotation.product_type,
        annotation.polarisation,
        _compact(begin),
        _compact(end),
        f"{orbit:06d}",
        f"{datatake:06x}",
        f"{number:03d}",
    ]
    return "-".join(parts).lower()


def product_name(
    annotation: Annotation,
    polarisations: Collection[str],
    begin: np.datetime64,
    end: np.datetime64,
    orbit: int,
    datatake: int,
    contents: bytes,
) -> str:
    """Return the name of a product, with its suffix.

    Such as ``S1A_IW_SLC__1SDV_20230904T063731_20230904T063758_050174_0609E3_DBA5.SAFE``. The four
    characters at its end tell products of the same time apart: they are a checksum (CRC-16) of
    `contents`.
    """
    polarised = POLARISATIONS.get(frozenset(polarisations))
    if polarised is None:
        msg = (
            f"found polarisations {', '.join(polarisations)}, expected one of them, VV and VH, or "
            "HH and HV: no product has others together"
        )
        raise ValueError(msg)
    kind = annotation.product_type
    spacing = round(annotation.range_spacing, 1)
    resolution = RESOLUTIONS.get((annotation.mode, spacing), "_") if kind == "GRD" else "_"
    unique = binascii.crc_hqx(contents, 0xFFFF)
    return (
        f"{annotation.mission}_{annotation.mode}_{kind}{resolution}_1S{polarised[-2:]}_"
        f"{_compact(begin)}_{_compact(end)}_{orbit:06d}_{datatake:06X}_{unique:04X}.SAFE"
    )


# Making XML in the form of Sentinel-1's own.

HALF_MICROSECOND = np.timedelta64(500, "ns")


def node(
    tag: str, content: str | Iterable[Element] = "", attributes: Mapping[str, str] | None = None
) -> Element:
    """Make an element.

    Parameters
    ----------
    tag : str
        Its name, with a prefix and a colon where it has a namespace.
    content : str or iterable of Element
        Its text, or what is in it.
    attributes : mapping, optional
        By name its attributes.
    """
    element = Element(tag, dict(attributes or {}))
    if isinstance(content, str):
        element.text = content
    else:
        element.extend(content)
    return element


def listed(tag: str, items: Iterable[Element]) -> Element:
    """Make a list as Sentinel-1 has them, whose attribute ``count`` tells the items."""
    children = list(items)
    return node(tag, children, {"count": str(len(children))})


def put(root: Element, path: str, content: str | Element) -> None:
    """Put a text into the element at a path, or another element in its place.

    What is not there stays away: annotations of different ages differ in their elements.
    """
    if isinstance(content, str):
        for found in root.iterfind(path):
            found.text = content
        return
    parent = root.find(path.rpartition("/")[0] or ".")
    old = root.find(path)
    if parent is not None and old is not None:
        parent[list(parent).index(old)] = content


def document(root: Element, remark: str) -> bytes:
    """Write a document with a remark at its top, indented like those of ESA."""
    indent(root)
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- {remark} -->\n'
    text: str = tostring(root, encoding="unicode")
    return f"{head}{text}\n".encode()


def number(value: float) -> str:
    """Write a number with all its digits."""
    return f"{value:.15e}"


def numbers(tag: str, values: ArrayLike, form: str = ".15e") -> Element:
    """Write a list of numbers, whose attribute ``count`` tells how many they are."""
    flat = np.ravel(values)
    return node(tag, " ".join(format(value, form) for value in flat), {"count": str(flat.size)})


def utc(time: np.datetime64) -> str:
    """Write a time (UTC), rounded to a microsecond."""
    rounded = (nanoseconds(time) + HALF_MICROSECOND).astype("datetime64[us]")
    return str(rounded)


def utc_of(epoch: np.datetime64, seconds: float) -> np.datetime64:
    """Return the time (UTC) that is so many seconds after an epoch."""
    time: np.datetime64 = nanoseconds(epoch) + np.timedelta64(round(seconds * 1e9), "ns")
    return time


# Which line of a scene each line of an image file holds.

LINES_AT_ONCE = 256
Integers = NDArray[np.int64]
SAME = 1e-6
"""How far, relatively, the sampling of a scene may be from that of its annotation."""
OFF_PIXEL = 0.01
"""How far, in pixels, a scene may lie beside the pixels of its annotation."""


@dataclass(frozen=True, eq=False)
class PlacedBurst:
    """A burst of the file.

    Attributes
    ----------
    index : int
        Its number in the annotation, from 0.
    begin : int
        Line of the scene at which it begins; below 0 where it begins before the scene.
    first_valid, last_valid : array of int, shape (lines,)
        First and last valid sample of each line in the file; -1 where there is none.
    """

    index: int
    begin: int
    first_valid: Integers
    last_valid: Integers


@dataclass(frozen=True, eq=False)
class FileLayout:
    """The lines of an image file.

    A GRD holds the lines of its scene. An SLC holds whole bursts, one after the other, of
    `lines_per_burst` lines each; they overlap, so that a line of the scene may stand in the file
    twice, and they may reach beyond the scene.

    Attributes
    ----------
    grid : RadarGrid
        Sampling of the scene.
    lines : int
        Lines of the file. Its samples are those of the scene.
    bursts : tuple of PlacedBurst
        Empty for a GRD.
    first_line, first_sample : int
        Pixel of the annotation's image at which the scene begins; of the continuous image of the
        swath in an SLC.
    """

    grid: RadarGrid
    lines: int
    bursts: tuple[PlacedBurst, ...]
    first_line: int
    first_sample: int

    @property
    def samples(self) -> int:
        """Samples of the file."""
        return self.grid.samples

    @property
    def lines_per_burst(self) -> int:
        """Lines of each burst; 0 without bursts."""
        return self.lines // len(self.bursts) if self.bursts else 0

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield blocks of lines, first and one past the last, none of which crosses bursts."""
        step = self.lines_per_burst or self.lines
        for begin in range(0, self.lines, step):
            for first in range(begin, begin + step, LINES_AT_ONCE):
                yield first, min(first + LINES_AT_ONCE, begin + step)

    def scene_line(self, line: ArrayLike) -> Integers:
        """Return the lines of the scene that lines of the file hold; they may lie outside it."""
        wanted = np.asarray(line, dtype=np.int64)
        if not self.bursts:
            return wanted
        burst = np.clip(wanted // self.lines_per_burst, 0, len(self.bursts) - 1)
        begins = np.array([each.begin for each in self.bursts])
        return begins[burst] + wanted - burst * self.lines_per_burst

    def stamp(self, line: ArrayLike) -> NDArray[np.float64]:
        """Return the stamps of lines of the file in seconds since the grid's epoch."""
        return self.grid.azimuth_time(self.scene_line(line))

    def valid(self, first: int, last: int) -> NDArray[np.bool_]:
        """Tell which samples of the lines `first` to `last` - 1 hold data, shape (lines, samples).

        Outside the scene there are none either.
        """
        line = np.arange(first, last)
        inside = self.scene_line(line)
        known = (inside >= 0) & (inside < self.grid.lines)
        sample = np.arange(self.samples)
        if not self.bursts:
            return np.broadcast_to(known[:, None], (line.size, sample.size))
        begin = np.concatenate([burst.first_valid for burst in self.bursts])[first:last, None]
        end = np.concatenate([burst.last_valid for burst in self.bursts])[first:last, None]
        inside_burst = (begin >= 0) & (sample >= begin) & (sample <= end)
        valid: NDArray[np.bool_] = known[:, None] & inside_burst
        return valid


def layout_of(grid: RadarGrid, annotation: Annotation) -> FileLayout:
    """Lay the lines of a scene out in the file of an annotation.

    Parameters
    ----------
    grid : RadarGrid
        Sampling of the scene: that of the annotation, or a part of it.
    annotation : Annotation
        Of the image whose form the file takes. Of an SLC those bursts are kept that the scene
        meets.

    Returns
    -------
    FileLayout

    Raises
    ------
    ValueError
        If the scene does not have the sampling of the annotation, or meets no burst.
    """
    _require_same_sampling(grid, annotation)
    first = grid.with_epoch(annotation.first_line_time).line_zero_time / annotation.line_interval
    if annotation.product_type == "GRD":
        # An orbit that was turned has carried the image along: it may begin anywhere.
        sample = round(grid.sample_zero_ground / grid.sample_spacing)
        return FileLayout(grid, grid.lines, (), round(first), sample)
    near = SPEED_OF_LIGHT / 2 * annotation.slant_range_time
    first_line = _whole(first, annotation.name)
    first_sample = _whole((grid.near_range - near) / grid.sample_spacing, annotation.name)
    if not annotation.bursts:
        return FileLayout(grid, grid.lines, (), first_line, first_sample)
    bursts = _placed(grid, annotation, first_sample)
    if not bursts:
        msg = (
            f"found a scene of {grid.lines} lines that meets no burst of {annotation.name}; "
            "expected a part of its continuous image: make it on read_grid"
        )
        raise ValueError(msg)
    lines = annotation.lines_per_burst * len(bursts)
    return FileLayout(grid, lines, bursts, first_line, first_sample)


def _require_same_sampling(grid: RadarGrid, annotation: Annotation) -> None:
    ground = annotation.product_type == "GRD"
    spacing = (
        annotation.range_spacing
        if ground
        else SPEED_OF_LIGHT / (2 * annotation.range_sampling_rate)
    )
    same = (
        grid.is_ground_range == ground
        and abs(grid.line_interval / annotation.line_interval - 1.0) < SAME
        and abs(grid.sample_spacing / spacing - 1.0) < SAME
    )
    if not same:
        kind = "ground" if grid.is_ground_range else "slant"
        msg = (
            f"found a scene in {kind} range with {grid.line_interval:.6e} s between lines and "
            f"{grid.sample_spacing:.3f} m between samples, expected the sampling of "
            f"{annotation.name}, a {annotation.product_type} with {annotation.line_interval:.6e} s "
            f"and {spacing:.3f} m: make it on read_grid, cropped but not "
            "multilooked"
        )
        raise ValueError(msg)


def _whole(offset: float, name: str) -> int:
    """Return an offset in pixels, which must be whole."""
    if abs(offset - round(offset)) > OFF_PIXEL:
        msg = (
            f"found a scene that begins {offset:.3f} pixels behind the image of {name}, expected a "
            "whole number: crop the grid of the annotation, so that pixels stay what they are"
        )
        raise ValueError(msg)
    return round(offset)


def _placed(grid: RadarGrid, annotation: Annotation, first_sample: int) -> tuple[PlacedBurst, ...]:
    """Place the bursts that a scene meets."""
    bursts = []
    listed = burst_positions(annotation, grid.epoch)
    for place, timing in zip(listed, annotation.bursts, strict=True):
        begin = round(float(grid.line(place.azimuth_time)))
        meets = begin + place.valid_lines[0] < grid.lines and begin + place.valid_lines[1] > 0
        if not meets:
            continue
        first = timing.first_valid_sample - first_sample
        last = timing.last_valid_sample - first_sample
        valid = (timing.first_valid_sample >= 0) & (first < grid.samples) & (last >= 0)
        bursts.append(
            PlacedBurst(
                place.index,
                begin,
                np.where(valid, np.maximum(first, 0), -1),
                np.where(valid, np.minimum(last, grid.samples - 1), -1),
            )
        )
    return tuple(bursts)
