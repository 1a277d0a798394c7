"""Single-look complex images: bursts and swaths joined on one grid.

In TOPS mode the antenna sweeps along the track, burst after burst, and neighbouring bursts overlap
by some 120 lines. All of them were sampled in step: in real annotations their first lines lie
within 3e-4 lines (0.6 µs, 4 mm) of whole lines of one grid, which is the microsecond to which
annotations give times. So bursts need no resampling, only a place to cut.

References
----------
Sentinel-1 Product Specification, S1-RSL-52-7441: swathTiming. Sentinel-1 Product Definition,
S1-RS-MDA-52-7440: bursts of all swaths of an SLC are resampled to a common grid.

Swaths look at neighbouring strips of ground, in turn, and overlap a little. The processor puts all
of them on one grid of slant range and azimuth time, of which each file is a part: in real
annotations swaths lie 1e-9 samples and 5e-4 lines (1 µs) beside whole pixels of each other. They
share the range at which stamps are zero-Doppler times, too, to within 60 m, or 0.2 µs; whatever
differs there is counted as a shift of the lines. So merging moves swaths by whole pixels and cuts
their overlaps; power is neither resampled nor blended.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sarheight.errors import ProductError
from sarheight.sentinel1._detected import SLAB_PIXELS, Span, windowed_image
from sarheight.sentinel1.grid import AZIMUTH_TOLERANCE, merge_grids, read_grid

if TYPE_CHECKING:
    import xarray as xr
    from rasterio import DatasetReader

    from sarheight.grid import Burst, RadarGrid
    from sarheight.scene import Calibration
    from sarheight.sentinel1._product_files import ProductFiles
    from sarheight.sentinel1._radiometry import Radiometry
    from sarheight.sentinel1.annotation import Annotation


@dataclass(frozen=True)
class Piece:
    """A rectangle of an image that is copied from the file of one swath."""

    swath: str  # such as "IW1"
    # Lines, samples: first and one past the last line, and sample, of the image
    lines: tuple[int, int]
    samples: tuple[int, int]
    file_line: int  # file_line, file_sample: where its first pixel stands in the swath's file
    file_sample: int

    def moved(self, lines: int, samples: int) -> Piece:
        """Return the piece in an image that begins that much earlier and nearer."""
        return replace(
            self,
            lines=(self.lines[0] + lines, self.lines[1] + lines),
            samples=(self.samples[0] + samples, self.samples[1] + samples),
        )

    def within(self, lines: tuple[int, int], samples: tuple[int, int]) -> Piece | None:
        """Return the part that lies in a window of the image, if there is one."""
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
    """Cut the bursts of a swath in the middle of their overlaps.

    What is cut are the valid lines of the bursts. Where bursts do not meet, lines between them
    belong to no piece.
    """
    if not grid.bursts:
        msg = (
            f"{name} describes an image of mode {grid.mode or 'unknown'} without bursts; expected "
            "the SLC of IW or EW: other modes can be opened as GRD"
        )
        raise ProductError(msg)
    for burst in grid.bursts:
        _require_in_step(grid, burst, name)
    pieces = [piece for burst in grid.bursts if (piece := _whole(grid.swath, burst)) is not None]
    cuts = [(before.lines[1] + after.lines[0]) // 2 for before, after in itertools.pairwise(pieces)]
    begins = [None, *cuts]
    ends = [*cuts, None]
    return tuple(
        part
        for piece, begin, end in zip(pieces, begins, ends, strict=True)
        if (part := _between(piece, begin, end)) is not None
    )


def burst_piece(grid: RadarGrid) -> tuple[Piece, ...]:
    """Take all valid pixels of a burst."""
    (burst,) = grid.bursts
    piece = _whole(grid.swath, burst)
    return () if piece is None else (piece,)


def _require_in_step(grid: RadarGrid, burst: Burst, name: str) -> None:
    beside = burst.azimuth_time - float(grid.azimuth_time(burst.first_line))
    if abs(beside) > AZIMUTH_TOLERANCE:
        msg = (
            f"{name}: burst {burst.index} lies {1e3 * beside:.3f} ms beside the lines of its "
            f"swath, expected less than {1e3 * AZIMUTH_TOLERANCE:g} ms: the annotation is damaged "
            "or of another processor; open its bursts one by one (burst=0, 1, …)"
        )
        raise ProductError(msg)


def _whole(swath: str, burst: Burst) -> Piece | None:
    """Return the valid pixels of a burst."""
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


def _between(piece: Piece, begin: int | None, end: int | None) -> Piece | None:
    lines = (
        piece.lines[0] if begin is None else begin,
        piece.lines[1] if end is None else end,
    )
    return piece.within(lines, piece.samples)


def merged_pieces(swaths: Sequence[Sequence[Piece]]) -> tuple[Piece, ...]:
    """Cut swaths in the middle of their overlaps.

    Bursts of neighbouring swaths begin at other lines, and their valid samples differ by some
    tens: lines are taken in stretches on which nothing changes, and on each of them the cut is
    in the middle of the samples that are valid in both swaths. Where one of them has no data,
    the other is not cut.
    """
    pieces = [piece for swath in swaths for piece in swath]
    borders = sorted({line for piece in pieces for line in piece.lines})
    merged: list[Piece] = []
    for lines in itertools.pairwise(borders):
        found = [part for piece in pieces if (part := piece.within(lines, piece.samples))]
        merged += _cut_row(sorted(found, key=lambda piece: piece.samples))
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


# The image of an SLC, detected or complex: of a burst, a swath, or all swaths on one grid.


def slc_image(
    files: ProductFiles,
    annotations: Mapping[str, Annotation],
    radiometries: Mapping[str, Radiometry],
    measurements: Mapping[str, str],
    *,
    swaths: Sequence[str],
    burst: int | None = None,
    calibration: Calibration = "beta0",
    noise_removal: bool = True,
) -> tuple[xr.DataArray, RadarGrid]:
    """Make the image of an IW or EW SLC, in one polarisation.

    Power is that of the pixels in the files: bursts and swaths are cut in the middle of their
    overlaps and put side by side, without resampling or blending (see `merge_grids` for how
    exactly they fit). Pixels that are not valid in any of them are NaN, and so are those whose
    digital number is 0, which stands for no data. By chance it is so for a thousandth of the
    pixels where there is nothing but noise; a mean of the others is too high by 0.3 squared
    digital numbers, a thousandth of the noise.
    """
    pieces, grid = _placed(files, annotations, measurements, swaths, burst)
    power = _SlcPower(pieces, files, measurements, radiometries, calibration, noise_removal)
    return windowed_image(power.read, grid.shape, name=calibration), grid


def slc_numbers(
    files: ProductFiles,
    annotations: Mapping[str, Annotation],
    radiometries: Mapping[str, Radiometry],
    measurements: Mapping[str, str],
    *,
    swaths: Sequence[str],
    burst: int | None = None,
    calibration: Calibration = "beta0",
) -> tuple[xr.DataArray, RadarGrid]:
    """Make the complex image of an IW or EW SLC, in one polarisation.

    Pixels are put in place as `slc_image` does it. Their phases are those in the file, with the
    ramps of the bursts in them: what two polarisations have in common, their covariance, is free
    of these, as they are the same in both.
    """
    pieces, grid = _placed(files, annotations, measurements, swaths, burst)
    numbers = _SlcNumbers(pieces, files, measurements, radiometries, calibration)
    return windowed_image(numbers.read, grid.shape, name=calibration, dtype=np.complex64), grid


def _placed(
    files: ProductFiles,
    annotations: Mapping[str, Annotation],
    measurements: Mapping[str, str],
    swaths: Sequence[str],
    burst: int | None,
) -> tuple[tuple[Piece, ...], RadarGrid]:
    """Find out which pixels of the files make the image, and its grid."""
    _require_swaths(swaths, burst, annotations)
    grids = [read_grid(annotations[swath]) for swath in swaths]
    if burst is None:
        cut = [
            swath_pieces(grid, annotations[swath].name)
            for swath, grid in zip(swaths, grids, strict=True)
        ]
        grid, pieces = _merged(grids, cut)
    else:
        grid = read_grid(annotations[swaths[0]], burst=burst)
        pieces = burst_piece(grid)
    for swath in swaths:
        with files.raster(measurements[swath]) as measurement:
            _require_size(measurement, annotations[swath], measurements[swath])
    return pieces, grid


def _merged(
    grids: list[RadarGrid], cut: list[tuple[Piece, ...]]
) -> tuple[RadarGrid, tuple[Piece, ...]]:
    if len(grids) == 1:
        return grids[0], cut[0]
    grid, offsets = merge_grids(grids)
    return grid, merged_pieces(
        [
            [piece.moved(*offset) for piece in swath]
            for swath, offset in zip(cut, offsets, strict=True)
        ]
    )


def _require_swaths(
    swaths: Sequence[str], burst: int | None, annotations: Mapping[str, Annotation]
) -> None:
    present = ", ".join(annotations)
    missing = [swath for swath in swaths if swath not in annotations]
    if not swaths or missing or len(set(swaths)) < len(swaths):
        msg = (
            f"found swaths={tuple(swaths)}, expected one or more of those that the product has, "
            f"each once: {present}"
        )
        raise ValueError(msg)
    if burst is not None and len(swaths) > 1:
        msg = (
            f"found burst={burst} of the swaths {', '.join(swaths)}, expected one swath: bursts "
            "of several swaths do not begin together"
        )
        raise ValueError(msg)


def _require_size(measurement: DatasetReader, annotation: Annotation, name: str) -> None:
    found = measurement.height, measurement.width
    if found != (annotation.lines, annotation.samples):
        msg = (
            f"{name} has {found[0]} lines x {found[1]} samples, its annotation says "
            f"{annotation.lines} x {annotation.samples}: the product is damaged, fetch it again "
            "from the archive"
        )
        raise ProductError(msg)
    if measurement.dtypes[0] not in {"complex_int16", "complex64"}:
        msg = (
            f"{name} holds {measurement.dtypes[0]} numbers, expected the complex ones of an SLC: "
            "the product is damaged or of another kind, fetch it again from the archive"
        )
        raise ProductError(msg)


@dataclass(frozen=True, eq=False)
class _SlcNumbers:
    """The complex numbers of an SLC, calibrated where they are read."""

    pieces: tuple[Piece, ...]
    files: ProductFiles
    measurements: Mapping[str, str]
    radiometries: Mapping[str, Radiometry]
    calibration: Calibration
    dtype: ClassVar[type[np.float32 | np.complex64]] = np.complex64

    def read(self, lines: Span, samples: Span) -> NDArray[Any]:
        """Read a window of the image, opening the file of each swath once."""
        image = np.full((lines[1] - lines[0], samples[1] - samples[0]), np.nan, dtype=self.dtype)
        inside = [part for piece in self.pieces if (part := piece.within(lines, samples))]
        by_swath = attrgetter("swath")
        for swath, parts in itertools.groupby(sorted(inside, key=by_swath), key=by_swath):
            with self.files.raster(self.measurements[swath]) as measurement:
                for slab in itertools.chain.from_iterable(map(_slabs, parts)):
                    place = slab.moved(-lines[0], -samples[0])
                    image[slice(*place.lines), slice(*place.samples)] = self._calibrated(
                        _numbers(measurement, slab), slab
                    )
        return image

    def _calibrated(self, numbers: NDArray[np.complex64], slab: Piece) -> NDArray[Any]:
        numbers[numbers == 0.0] = np.nan
        unit = self.radiometries[slab.swath].calibrate(
            np.ones(numbers.shape, dtype=np.float32),
            slab.file_line,
            slab.file_sample,
            self.calibration,
            noise_removal=False,
        )
        numbers *= np.sqrt(unit)
        return numbers


@dataclass(frozen=True, eq=False)
class _SlcPower(_SlcNumbers):
    """The power of an SLC, calibrated where it is read."""

    noise_removal: bool
    dtype = np.float32

    def _calibrated(self, numbers: NDArray[np.complex64], slab: Piece) -> NDArray[Any]:
        squares = numbers.view(np.float32)
        squares *= squares
        power = squares[:, ::2] + squares[:, 1::2]
        power[power == 0.0] = np.nan
        return self.radiometries[slab.swath].calibrate(
            power,
            slab.file_line,
            slab.file_sample,
            self.calibration,
            noise_removal=self.noise_removal,
        )


def _numbers(measurement: DatasetReader, slab: Piece) -> NDArray[np.complex64]:
    from rasterio.windows import Window

    height, width = slab.lines[1] - slab.lines[0], slab.samples[1] - slab.samples[0]
    window = Window(slab.file_sample, slab.file_line, width, height)
    numbers = np.empty((height, width), dtype=np.complex64)
    measurement.read(1, window=window, out=numbers)
    return numbers


def _slabs(piece: Piece) -> list[Piece]:
    """Cut a piece into stretches of lines."""
    height = max(SLAB_PIXELS // (piece.samples[1] - piece.samples[0]), 1)
    return [
        slab
        for begin in range(*piece.lines, height)
        if (slab := piece.within((begin, begin + height), piece.samples))
    ]
