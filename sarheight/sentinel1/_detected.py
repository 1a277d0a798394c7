"""Ground-range detected images, read and calibrated window by window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from sarheight.errors import ProductError
from sarheight.sentinel1._radiometry import has_image

if TYPE_CHECKING:
    import xarray as xr
    from rasterio import DatasetReader

    from sarheight.scene import Calibration
    from sarheight.sentinel1._product_files import ProductFiles
    from sarheight.sentinel1._radiometry import Radiometry
    from sarheight.sentinel1.annotation import Annotation

CHUNK_PIXELS = 2**23
"""Pixels of a chunk: 32 MiB. A chunk has whole lines, as the strips of measurement files have."""

SLAB_PIXELS = 2**18
"""Pixels to calibrate at once: few enough to stay in a processor's cache. In slabs four times as
large it takes four times as long."""

Span = tuple[int, int]
"""First and one past the last line, or sample."""


def windowed_image(
    read: Callable[[Span, Span], NDArray[Any]],
    shape: tuple[int, int],
    *,
    name: str,
    strip: int = 1,
    dtype: type[np.float32 | np.complex64] = np.float32,
) -> xr.DataArray:
    """Make an image on dask of what reads windows of it."""
    import dask.array as da
    import xarray as xr

    strips = max(CHUNK_PIXELS // (strip * shape[1]), 1)
    image = da.from_array(  # type: ignore[no-untyped-call]
        _Windowed(shape, read, np.dtype(dtype)),
        chunks=(min(strips * strip, shape[0]), shape[1]),
        name=f"{name}-{uuid4().hex}",
        meta=np.empty((0, 0), dtype=dtype),
    )
    return xr.DataArray(image, dims=("line", "sample"), name=name)


@dataclass(frozen=True, eq=False)
class _Windowed:
    """An array that reads what is asked of it.

    Of indices it knows what dask passes on to it: whole numbers, and slices with forward steps.
    """

    shape: tuple[int, int]
    read: Callable[[Span, Span], NDArray[Any]]
    dtype: np.dtype[Any]
    ndim: ClassVar[int] = 2

    def __getitem__(self, key: tuple[int | slice, int | slice]) -> NDArray[Any]:
        spans, picks = zip(
            *(_span(each, size) for each, size in zip(key, self.shape, strict=True)), strict=True
        )
        return self.read(*spans)[picks]


def _span(key: int | slice, size: int) -> tuple[Span, int | slice]:
    """Return the pixels that an index spans, and how to pick out of them what it means."""
    if not isinstance(key, slice):
        return (key, key + 1), 0
    places = range(size)[key]
    if not places:
        return (0, 0), slice(0)
    return (places[0], places[-1] + 1), slice(None, None, places.step)


# The image of a GRD, read and calibrated where it is needed.


@dataclass(frozen=True, eq=False)
class Channel:
    """One polarisation of a product.

    Attributes
    ----------
    measurement : str
        Name of its image file in the product.
    annotation : Annotation
    radiometry : Radiometry
    """

    measurement: str
    annotation: Annotation
    radiometry: Radiometry


def grd_image(
    files: ProductFiles,
    channel: Channel,
    *,
    calibration: Calibration = "beta0",
    noise_removal: bool = True,
    border: Channel | None = None,
) -> xr.DataArray:
    """Make the image of a GRD, in one polarisation.

    Nothing is read but the size of the measurement until the image is computed. Then each chunk
    reads its lines, and of a part of the image only those of the part.
    """
    with files.raster(channel.measurement) as measurement:
        _require_fit(measurement, channel)
        rows = int(measurement.block_shapes[0][0])
    if border is not None:
        with files.raster(border.measurement) as measurement:
            _require_fit(measurement, border)
    shape = channel.annotation.lines, channel.annotation.samples
    power = _GrdPower(shape[1], files, channel, border, calibration, noise_removal)
    return windowed_image(power.read, shape, name=calibration, strip=rows)


def _require_fit(measurement: DatasetReader, channel: Channel) -> None:
    annotation, name = channel.annotation, channel.measurement
    found = measurement.height, measurement.width
    if found != (annotation.lines, annotation.samples):
        msg = (
            f"{name} has {found[0]} lines x {found[1]} samples, its annotation says "
            f"{annotation.lines} x {annotation.samples}: the product is damaged, fetch it again "
            "from the archive"
        )
        raise ProductError(msg)
    if measurement.dtypes[0] != "uint16" or measurement.count != 1:
        msg = (
            f"{name} holds {measurement.count} bands of {measurement.dtypes[0]} numbers, expected "
            "one of uint16: the product is damaged or of another kind, fetch it again from the "
            "archive"
        )
        raise ProductError(msg)


@dataclass(frozen=True, eq=False)
class _GrdPower:
    """The power of a GRD, calibrated where it is read."""

    samples: int
    files: ProductFiles
    channel: Channel
    border: Channel | None
    calibration: Calibration
    noise_removal: bool

    def read(self, lines: Span, samples: Span) -> NDArray[np.float32]:
        """Read a window of the image."""
        power = self._numbers(self.channel, lines, samples)
        power[power == 0.0] = np.nan
        if self.border is not None:
            power[~self._inside(self.border, lines)[:, slice(*samples)]] = np.nan
        height = max(SLAB_PIXELS // max(power.shape[1], 1), 1)
        for begin in range(0, power.shape[0], height):
            slab = slice(begin, begin + height)
            power[slab] = self.channel.radiometry.calibrate(
                power[slab],
                lines[0] + begin,
                samples[0],
                self.calibration,
                noise_removal=self.noise_removal,
            )
        return power

    def _numbers(self, channel: Channel, lines: Span, samples: Span) -> NDArray[np.float32]:
        """Read the squared numbers of a window of an image file."""
        with self.files.raster(channel.measurement) as measurement:
            numbers = measurement.read(1, window=(lines, samples), out_dtype=np.float32)
        power: NDArray[np.float32] = np.square(numbers, out=numbers)
        return power

    def _inside(self, channel: Channel, lines: Span) -> NDArray[np.bool_]:
        """Tell which pixels of some lines, over their whole width, belong to the image."""
        samples = (0, self.samples)
        noise = channel.radiometry.noise_power(
            np.arange(*lines, dtype=np.float64), np.arange(*samples, dtype=np.float64)
        )
        return has_image(self._numbers(channel, lines, samples), noise)
