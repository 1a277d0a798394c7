"""Calibrated images of a GRD or SLC, read and calibrated window by window.

In TOPS mode the antenna sweeps along the track, burst after burst, and neighbouring bursts overlap
by some 120 lines; swaths overlap by some hundred samples. All of them lie on one grid (see
`sarheight.sentinel1.grid`), so an image is put together of rectangles of the swaths' files, cut in
the middle of the overlaps; power is neither resampled nor blended.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.radiometry import square_numbers

from sarheight._windows import Span, Windowed, image_on_dask
from sarheight.errors import ProductError
from sarheight.sentinel1._radiometry import image_samples
from sarheight.sentinel1.grid import AZIMUTH_TOLERANCE, merge_grids, read_grid

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.grid import Burst, RadarGrid
    from sarheight.scene import Calibration
    from sarheight.sentinel1._radiometry import Radiometry
    from sarheight.sentinel1.annotation import Annotation

CHUNK_PIXELS = 2**23
"""Pixels of a chunk: 32 MiB. A chunk has whole lines, as the strips of measurement files have."""

SLAB_PIXELS = 2**18
"""Pixels to calibrate at once: few enough to stay in a processor's cache. In slabs four times as
large it takes four times as long."""

GRD_NUMBERS = ("uint16",)
SLC_NUMBERS = ("complex_int16", "complex64")


class Form(NamedTuple):
    """The form of a measurement."""

    lines: int
    samples: int
    dtypes: tuple[str, ...]  # of the numbers in its bands
    strip: int  # lines that are stored together


class Rasters(Protocol):
    """An object that reads the measurements of a product; it can be pickled."""

    def form(self, name: str) -> Form:
        """Return the form of a measurement."""

    def read_window(self, name: str, lines: Span, samples: Span, *, total: int) -> NDArray[Any]:
        """Read a window of a measurement.

        It is compared with its checksum, where it has one, once `total` pixels of it are read.
        """


@dataclass(frozen=True, eq=False)
class Channel:
    """The image file of one swath and polarisation, with its annotation and radiometry."""

    measurement: str  # name of the image file in the product
    annotation: Annotation
    radiometry: Radiometry

    def form(self, files: Rasters, numbers: Sequence[str]) -> Form:
        """Return the form of the image file, which is as the annotation says.

        It holds numbers of one of some kinds.
        """
        annotation, form = self.annotation, files.form(self.measurement)
        found = form.lines, form.samples
        if found != (annotation.lines, annotation.samples):
            msg = (
                f"{self.measurement} has {found[0]} lines x {found[1]} samples, its annotation "
                f"says {annotation.lines} x {annotation.samples}: the product is damaged, fetch "
                "it again from the archive"
            )
            raise ProductError(msg)
        if len(form.dtypes) != 1 or form.dtypes[0] not in numbers:
            msg = (
                f"{self.measurement} holds {len(form.dtypes)} bands of {form.dtypes[0]} "
                f"numbers, expected one of {' or '.join(numbers)}: the product is damaged or of "
                "another kind, fetch it again from the archive"
            )
            raise ProductError(msg)
        return form


# Images on dask.


def windowed_image(
    read: Callable[[Span, Span], NDArray[Any]],
    shape: tuple[int, int],
    *,
    name: str,
    strip: int = 1,
    dtype: type[np.float32 | np.complex64] = np.float32,
) -> xr.DataArray:
    """Make an image on dask from a function that reads windows, in chunks of whole strips."""
    strips = max(CHUNK_PIXELS // (strip * shape[1]), 1)
    chunks = min(strips * strip, shape[0]), shape[1]
    return image_on_dask(Windowed(shape, read, np.dtype(dtype)), chunks, name)


# Ground-range detected images.


def grd_image(
    files: Rasters,
    channels: Mapping[str, Channel],
    *,
    calibration: Calibration = "beta0",
    noise_removal: bool = True,
    border: Channel | None = None,
) -> tuple[xr.DataArray, RadarGrid]:
    """Return the image of a GRD in one polarisation, without the borders found in `border`.

    Only the size of the measurement is read until the image is computed.
    """
    (channel,) = channels.values()
    strip = channel.form(files, GRD_NUMBERS).strip
    if border is not None:
        border.form(files, GRD_NUMBERS)
    power = _GrdPower(files, channel, border, calibration, noise_removal)
    grid = read_grid(channel.annotation)
    return windowed_image(power.read, grid.shape, name=calibration, strip=strip), grid


@dataclass(frozen=True, eq=False)
class _GrdPower:
    """The calibrated power of a GRD."""

    files: Rasters
    channel: Channel
    border: Channel | None
    calibration: Calibration
    noise_removal: bool

    def read(self, lines: Span, samples: Span) -> NDArray[np.float32]:
        """Read a window of the image."""
        power = self._squares(self.channel, lines, samples)
        if self.border is not None:
            power[~self._image_samples(self.border, lines)[:, slice(*samples)]] = np.nan
        return self.channel.radiometry.calibrate(
            power,
            lines[0],
            samples[0],
            self.calibration,
            noise_removal=self.noise_removal,
            out=power,
        )

    def _squares(self, channel: Channel, lines: Span, samples: Span) -> NDArray[np.float32]:
        """Read the squared digital numbers of a window; NaN for 0, which means no data."""
        total = channel.annotation.lines * channel.annotation.samples
        numbers = self.files.read_window(channel.measurement, lines, samples, total=total)
        power = np.empty(numbers.shape, np.float32)
        square_numbers(numbers, power)
        return power

    def _image_samples(self, channel: Channel, lines: Span) -> NDArray[np.bool_]:
        """Return which pixels of some whole lines belong to the image."""
        samples = (0, channel.annotation.samples)
        noise = channel.radiometry.noise_power(
            np.arange(*lines, dtype=np.float64), np.arange(*samples, dtype=np.float64)
        )
        return image_samples(np.nan_to_num(self._squares(channel, lines, samples)), noise)


# Rectangles of an SLC.


@dataclass(frozen=True)
class Piece:
    """A rectangle of an image that is copied from the file of one swath."""

    swath: str  # such as "IW1"
    lines: Span  # of the image
    samples: Span
    file_line: int  # of its first pixel in the swath's file
    file_sample: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return (self.lines[1] - self.lines[0]) * (self.samples[1] - self.samples[0])

    def shifted(self, lines: int, samples: int) -> Piece:
        """Return the piece that many lines later and samples farther in the image."""
        return replace(
            self,
            lines=(self.lines[0] + lines, self.lines[1] + lines),
            samples=(self.samples[0] + samples, self.samples[1] + samples),
        )

    def within(self, lines: Span, samples: Span) -> Piece | None:
        """Return the part in a window of the image, if there is one."""
        rows = max(self.lines[0], lines[0]), min(self.lines[1], lines[1])
        columns = max(self.samples[0], samples[0]), min(self.samples[1], samples[1])
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            return None
        return replace(
            self,
            lines=rows,
            samples=columns,
            file_line=self.file_line + rows[0] - self.lines[0],
            file_sample=self.file_sample + columns[0] - self.samples[0],
        )


def swath_pieces(grid: RadarGrid, name: str) -> tuple[Piece, ...]:
    """Cut the valid lines of a swath's bursts in the middle of their overlaps.

    Where bursts do not meet, lines between them belong to no piece.
    """
    if not grid.bursts:
        msg = (
            f"{name} describes an image of mode {grid.mode or 'unknown'} without bursts; expected "
            "the SLC of IW or EW: other modes can be opened as GRD"
        )
        raise ProductError(msg)
    for burst in grid.bursts:
        _require_whole_line(grid, burst, name)
    pieces = [piece for burst in grid.bursts if (piece := _valid_piece(grid.swath, burst))]
    cuts = [(before.lines[1] + after.lines[0]) // 2 for before, after in itertools.pairwise(pieces)]
    borders = [0, *cuts, grid.lines]
    return tuple(
        part
        for piece, lines in zip(pieces, itertools.pairwise(borders), strict=False)
        if (part := piece.within(lines, piece.samples))
    )


def _require_whole_line(grid: RadarGrid, burst: Burst, name: str) -> None:
    residual = burst.azimuth_time - float(grid.azimuth_time(burst.first_line))
    if abs(residual) > AZIMUTH_TOLERANCE:
        msg = (
            f"{name}: burst {burst.index} lies {1e3 * residual:.3f} ms beside the lines of its "
            f"swath, expected less than {1e3 * AZIMUTH_TOLERANCE:g} ms: the annotation is damaged "
            "or of another processor; open its bursts one by one (burst=0, 1, …)"
        )
        raise ProductError(msg)


def _valid_piece(swath: str, burst: Burst) -> Piece | None:
    """Return the valid pixels of a burst, if there are any."""
    begin, end = burst.valid_lines
    if begin >= end or burst.valid_samples[0] >= burst.valid_samples[1]:
        return None
    return Piece(
        swath=swath,
        lines=(burst.first_line + begin, burst.first_line + end),
        samples=burst.valid_samples,
        file_line=burst.index * burst.lines + begin,
        file_sample=burst.valid_samples[0],
    )


def merge_pieces(swaths: Sequence[Sequence[Piece]]) -> tuple[Piece, ...]:
    """Cut swaths in the middle of their overlaps.

    Bursts of neighbouring swaths begin at other lines, and their valid samples differ by some
    tens: the image is divided into ranges of lines in which nothing changes, and in each of them
    the cut is in the middle of the samples that are valid in both swaths. Where one of them has no
    data, the other is not cut.
    """
    pieces = [piece for swath in swaths for piece in swath]
    borders = sorted({line for piece in pieces for line in piece.lines})
    merged: list[Piece] = []
    for lines in itertools.pairwise(borders):
        row = [part for piece in pieces if (part := piece.within(lines, piece.samples))]
        merged += _cut_row(sorted(row, key=lambda piece: piece.samples))
    return tuple(merged)


def _cut_row(row: list[Piece]) -> list[Piece]:
    """Cut pieces of the same lines, in order of samples, where they overlap."""
    cut: list[Piece] = []
    begin = 0
    for piece, after in itertools.zip_longest(row, row[1:]):
        end = piece.samples[1]
        middle = end if after is None else (end + max(after.samples[0], begin)) // 2
        part = piece.within(piece.lines, (begin, min(end, middle)))
        if part is not None:
            cut.append(part)
            begin = part.samples[1]
    return cut


def _slabs(piece: Piece) -> list[Piece]:
    """Divide a piece into slabs of lines."""
    height = max(SLAB_PIXELS // (piece.samples[1] - piece.samples[0]), 1)
    return [
        slab
        for begin in range(*piece.lines, height)
        if (slab := piece.within((begin, begin + height), piece.samples))
    ]


# Images of an SLC: of a burst, a swath, or all swaths on one grid.


def slc_image(
    files: Rasters,
    channels: Mapping[str, Channel],
    *,
    burst: int | None = None,
    calibration: Calibration = "beta0",
    noise_removal: bool = True,
) -> tuple[xr.DataArray, RadarGrid]:
    """Return the power of swaths of an IW or EW SLC, in one polarisation.

    Pixels that are valid in no burst are NaN, and so are those whose digital number is 0, which
    means no data. In noise alone a thousandth of the pixels is 0 by chance; the mean of the others
    is too high by 0.3 squared digital numbers, a thousandth of the noise.
    """
    pieces, grid = _layout(files, channels, burst)
    power = _SlcPower(pieces, files, channels, calibration, noise_removal)
    return windowed_image(power.read, grid.shape, name=calibration), grid


def noise_image(
    files: Rasters,
    channels: Mapping[str, Channel],
    *,
    burst: int | None = None,
    calibration: Calibration = "beta0",
) -> tuple[xr.DataArray, RadarGrid]:
    """Return the thermal noise of an image in one polarisation, calibrated as its power."""
    first = next(iter(channels.values())).annotation
    if first.product_type == "GRD":
        grid = read_grid(first)
        pieces: tuple[Piece, ...] = (
            Piece(first.swath, (0, grid.lines), (0, grid.samples), file_line=0, file_sample=0),
        )
    else:
        pieces, grid = _layout(files, channels, burst)
    noise = _Noise(pieces, channels, calibration)
    return windowed_image(noise.read, grid.shape, name=calibration), grid


def slc_numbers(
    files: Rasters,
    channels: Mapping[str, Channel],
    *,
    burst: int | None = None,
    calibration: Calibration = "beta0",
) -> tuple[xr.DataArray, RadarGrid]:
    """Return the complex numbers of swaths of an IW or EW SLC, in one polarisation.

    Their phases include the azimuth phase ramps of the bursts. These are the same in all
    polarisations, so the covariance of two polarisations is free of them.
    """
    pieces, grid = _layout(files, channels, burst)
    numbers = _SlcNumbers(pieces, files, channels, calibration)
    return windowed_image(numbers.read, grid.shape, name=calibration, dtype=np.complex64), grid


def _layout(
    files: Rasters, channels: Mapping[str, Channel], burst: int | None
) -> tuple[tuple[Piece, ...], RadarGrid]:
    """Return the pieces of an image, and its grid."""
    annotations = [channel.annotation for channel in channels.values()]
    if burst is None:
        grids = [read_grid(annotation) for annotation in annotations]
        swaths = [
            swath_pieces(grid, annotation.name)
            for grid, annotation in zip(grids, annotations, strict=True)
        ]
        pieces, grid = _merge(swaths, grids)
    elif len(channels) > 1:
        msg = (
            f"found burst={burst} of the swaths {', '.join(channels)}, expected one swath: bursts "
            "of several swaths do not begin together"
        )
        raise ValueError(msg)
    else:
        grid = read_grid(annotations[0], burst=burst)
        piece = _valid_piece(grid.swath, grid.bursts[0])
        pieces = () if piece is None else (piece,)
    for channel in channels.values():
        channel.form(files, SLC_NUMBERS)
    return pieces, grid


def _merge(
    swaths: list[tuple[Piece, ...]], grids: list[RadarGrid]
) -> tuple[tuple[Piece, ...], RadarGrid]:
    if len(grids) == 1:
        return swaths[0], grids[0]
    grid, offsets = merge_grids(grids)
    shifted = [
        [piece.shifted(*offset) for piece in swath]
        for swath, offset in zip(swaths, offsets, strict=True)
    ]
    return merge_pieces(shifted), grid


@dataclass(frozen=True, eq=False)
class _SlcNumbers:
    """The calibrated complex numbers of an SLC."""

    pieces: tuple[Piece, ...]
    files: Rasters
    channels: Mapping[str, Channel]
    calibration: Calibration
    dtype: ClassVar[type[np.float32 | np.complex64]] = np.complex64

    def read(self, lines: Span, samples: Span) -> NDArray[Any]:
        """Read a window of the image."""
        image = np.full((lines[1] - lines[0], samples[1] - samples[0]), np.nan, dtype=self.dtype)
        for piece in self.pieces:
            part = piece.within(lines, samples)
            if part is None:
                continue
            numbers = self._numbers(part)
            for slab in _slabs(part):
                target = slab.shifted(-lines[0], -samples[0])
                rows = slice(slab.lines[0] - part.lines[0], slab.lines[1] - part.lines[0])
                image[slice(*target.lines), slice(*target.samples)] = self._calibrate(
                    numbers[rows], slab
                )
        return image

    def _numbers(self, part: Piece) -> NDArray[np.complex64]:
        """Read the numbers of a piece."""
        size = part.lines[1] - part.lines[0], part.samples[1] - part.samples[0]
        return self.files.read_window(
            self.channels[part.swath].measurement,
            (part.file_line, part.file_line + size[0]),
            (part.file_sample, part.file_sample + size[1]),
            total=sum(piece.pixels for piece in self.pieces if piece.swath == part.swath),
        )

    def _calibrate(self, numbers: NDArray[np.complex64], slab: Piece) -> NDArray[Any]:
        numbers[numbers == 0.0] = np.nan
        ones = np.ones(numbers.shape, dtype=np.float32)
        numbers *= np.sqrt(self._backscatter(ones, slab, noise_removal=False))
        return numbers

    def _backscatter(
        self, power: NDArray[np.float32], slab: Piece, *, noise_removal: bool
    ) -> NDArray[np.float32]:
        return self.channels[slab.swath].radiometry.calibrate(
            power, slab.file_line, slab.file_sample, self.calibration, noise_removal=noise_removal
        )


@dataclass(frozen=True, eq=False)
class _SlcPower(_SlcNumbers):
    """The calibrated power of an SLC."""

    noise_removal: bool
    dtype = np.float32

    def _calibrate(self, numbers: NDArray[np.complex64], slab: Piece) -> NDArray[Any]:
        squares = numbers.view(np.float32)
        squares *= squares
        power = squares[:, ::2] + squares[:, 1::2]
        power[power == 0.0] = np.nan
        return self._backscatter(power, slab, noise_removal=self.noise_removal)


@dataclass(frozen=True, eq=False)
class _Noise:
    """The calibrated thermal noise of an image."""

    pieces: tuple[Piece, ...]
    channels: Mapping[str, Channel]
    calibration: Calibration

    def read(self, lines: Span, samples: Span) -> NDArray[np.float32]:
        """Compute a window of the image: what calibration subtracts from an image of zeros."""
        image = np.full((lines[1] - lines[0], samples[1] - samples[0]), np.nan, dtype=np.float32)
        for piece in self.pieces:
            for slab in _slabs(part) if (part := piece.within(lines, samples)) else ():
                target = slab.shifted(-lines[0], -samples[0])
                power = image[slice(*target.lines), slice(*target.samples)]
                radiometry = self.channels[slab.swath].radiometry
                power[...] = -radiometry.calibrate(
                    np.zeros_like(power), slab.file_line, slab.file_sample, self.calibration
                )
        return image
