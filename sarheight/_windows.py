"""Images on dask of which only the windows are read that are asked for.

Dask reads only the part that the first index of an array needs. Of an array that was stacked or
cropped before, it reads whole chunks. Images that a reader can read window by window are therefore
stacked and cropped here, which makes new arrays that read windows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast
from uuid import uuid4
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

Span = tuple[int, int]
"""First and one past the last line, or sample."""
Index = int | slice
Reader = Callable[..., NDArray[Any]]
"""Reads a window by its span along each axis, such as lines and samples."""


@dataclass(frozen=True, eq=False)
class Windowed:
    """An array that reads the windows that dask indexes: by integers, or slices with steps > 0."""

    shape: tuple[int, ...]
    read: Reader
    dtype: np.dtype[Any]
    dims: ClassVar[tuple[str, ...]] = ("line", "sample")

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: tuple[Index, ...]) -> NDArray[Any]:
        """Read a window."""
        spans, picks = zip(*map(span_of, key, self.shape), strict=True)
        window: NDArray[Any] = self.read(*spans)[picks]
        return window

    def cropped(self, line: range, sample: range) -> Self:
        """Return the part of some lines and samples, which follow one another."""
        read = partial(_read_from, self.read, line.start, sample.start)
        return replace(self, shape=(len(line), len(sample)), read=read)


@dataclass(frozen=True, eq=False)
class _Stacked:
    """Arrays that read windows, one for each polarisation, side by side."""

    sources: tuple[Windowed, ...]
    ndim: ClassVar[int] = 3
    dims: ClassVar[tuple[str, ...]] = ("polarisation", "line", "sample")

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.sources), *self.sources[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.sources[0].dtype

    def __getitem__(self, key: tuple[Index, ...]) -> NDArray[Any]:
        chosen = range(len(self.sources))[key[0]]
        if isinstance(chosen, int):
            return self.sources[chosen][key[1:]]
        if len(chosen) == 1:
            return self.sources[chosen[0]][key[1:]][None]
        with ThreadPoolExecutor(len(chosen), "sarheight-read") as pool:
            parts = pool.map(lambda index: self.sources[index][key[1:]], chosen)
            first = next(parts)
            stacked = np.empty((len(chosen), *first.shape), self.dtype)
            for index, part in enumerate(itertools.chain((first,), parts)):
                stacked[index] = part
        return stacked

    def cropped(self, line: range, sample: range) -> Self:
        return replace(self, sources=tuple(each.cropped(line, sample) for each in self.sources))


_SOURCES: WeakValueDictionary[str, Windowed | _Stacked] = WeakValueDictionary()
"""Readers of the images that were made here, by the names of their arrays."""


def _source_of(image: xr.DataArray) -> Windowed | _Stacked | None:
    """Return the reader of an image that was made here; None for other images."""
    return _SOURCES.get(getattr(image.data, "name", ""))


def span_of(index: Index, size: int) -> tuple[Span, Index]:
    """Return the pixels that an index spans, and the index relative to them."""
    if not isinstance(index, slice):
        return (index, index + 1), 0
    pixels = range(size)[index]
    if not pixels:
        return (0, 0), slice(0)
    return (pixels[0], pixels[-1] + 1), slice(None, None, pixels.step)


def _read_from(read: Reader, line: int, sample: int, lines: Span, samples: Span) -> NDArray[Any]:
    """Read a window that is counted from a line and a sample."""
    return read((lines[0] + line, lines[1] + line), (samples[0] + sample, samples[1] + sample))


def lazy_array(source: Windowed | _Stacked, chunks: Any, name: str) -> da.Array:  # noqa: ANN401  # as dask has them
    """Put an array that reads windows on dask, in chunks, under a name of its own."""
    import dask.array as da

    return da.from_array(  # type: ignore[no-untyped-call, no-any-return]
        source,
        chunks=chunks,
        name=name,
        asarray=False,
        meta=np.empty((0,) * source.ndim, dtype=source.dtype),
    )


def image_on_dask(source: Windowed | _Stacked, chunks: Any, name: str) -> xr.DataArray:  # noqa: ANN401  # as dask has them
    """Put an array that reads windows on dask, in chunks."""
    import xarray as xr

    image = lazy_array(source, chunks, f"{name}-{uuid4().hex}")
    _SOURCES[image.name] = source
    return xr.DataArray(image, dims=source.dims, name=name)


def stack_images(images: Sequence[xr.DataArray]) -> xr.DataArray:
    """Put images of one shape on a dimension of polarisations; those made here read windows."""
    import xarray as xr

    sources = tuple(_source_of(image) for image in images)
    if not all(isinstance(source, Windowed) for source in sources):
        return xr.concat(images, "polarisation")
    lines, samples = (max(lengths) for lengths in images[0].chunks or ((1,), (1,)))
    # A chunk holds all polarisations, and no more pixels than one of an image alone.
    chunks = len(sources), max(lines // len(sources), 1), samples
    stacked = _Stacked(cast("tuple[Windowed, ...]", sources))
    return image_on_dask(stacked, chunks, str(images[0].name))


def crop_image(image: xr.DataArray, line: slice, sample: slice) -> xr.DataArray:
    """Crop an image to some lines and samples, in the same chunks as xarray does."""
    cropped = image.isel(line=line, sample=sample)
    source = _source_of(image)
    lines, samples = (
        range(image.sizes[name])[part] for name, part in (("line", line), ("sample", sample))
    )
    if source is None or not lines or not samples or (lines.step, samples.step) != (1, 1):
        return cropped
    made = image_on_dask(source.cropped(lines, samples), cropped.chunks, str(image.name))
    return cropped.copy(data=made.data)
