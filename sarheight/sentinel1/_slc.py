"""The image of an SLC, detected or complex: of a burst, a swath, or all swaths on one grid."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sarheight._sentinel1_grid import burst_grid, swath_grid
from sarheight.errors import ProductError
from sarheight.sentinel1._deburst import Piece, burst_piece, swath_pieces
from sarheight.sentinel1._merge import merged_grid, merged_pieces
from sarheight.sentinel1._windowed import SLAB_PIXELS, Span, windowed_image

if TYPE_CHECKING:
    import xarray as xr
    from rasterio import DatasetReader

    from sarheight._annotation import Annotation
    from sarheight.scene import Calibration, RadarGrid
    from sarheight.sentinel1._files import ProductFiles
    from sarheight.sentinel1._radiometry import Radiometry

__all__ = ["slc_image", "slc_numbers"]


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
    overlaps and put side by side, without resampling or blending (see `merged_grid` for how
    exactly they fit). Pixels that are not valid in any of them are NaN, and so are those whose
    digital number is 0, which stands for no data. By chance it is so for a thousandth of the
    pixels where there is nothing but noise; a mean of the others is too high by 0.3 squared
    digital numbers, a thousandth of the noise.

    Nothing is read but the sizes of the measurements until the image is computed. Then each
    chunk reads its lines, and of a part of the image only those of the part.

    Parameters
    ----------
    files : ProductFiles
        The product.
    annotations, radiometries, measurements : mapping of str
        By swath, such as "IW1": the annotation, the calibration and noise, and the name of the
        measurement in the product.
    swaths : sequence of str
        The swaths to take: one gives the grid of `RadarGrid.from_annotation`, several a merged
        one.
    burst : int, optional
        Take this burst of the swath alone, counted from 0, with all its valid lines.
    calibration : {"beta0", "sigma0", "gamma0"}
        What to normalise to.
    noise_removal : bool
        Whether to subtract the thermal noise.

    Returns
    -------
    image : xarray.DataArray
        Linear power on dims (line, sample), on dask. With the noise removed, dark pixels can be
        below zero.
    grid : RadarGrid
        Its sampling.

    Raises
    ------
    ValueError
        If no swath is asked for, one that the product does not have, one twice, or a burst of
        several.
    IndexError
        If there is no such burst.
    ProductError
        If the image has no bursts, the swaths do not belong together, or a measurement is
        missing, damaged, or not of the size that its annotation says.
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

    Parameters
    ----------
    files, annotations, radiometries, measurements, swaths, burst, calibration
        See `slc_image`.

    Returns
    -------
    image : xarray.DataArray
        Complex numbers on dims (line, sample), on dask, whose squared magnitude is the power with
        its noise; NaN where there is no data.
    grid : RadarGrid
        Its sampling.

    Raises
    ------
    ValueError, IndexError, ProductError
        See `slc_image`.
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
    grids = [swath_grid(annotations[swath]) for swath in swaths]
    if burst is None:
        cut = [
            swath_pieces(grid, annotations[swath].name)
            for swath, grid in zip(swaths, grids, strict=True)
        ]
        grid, pieces = _merged(grids, cut)
    else:
        grid = burst_grid(grids[0], burst, annotations[swaths[0]].name)
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
    grid, offsets = merged_grid(grids)
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
