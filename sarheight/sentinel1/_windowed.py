"""Images that are read from files window by window, when they are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["SLAB_PIXELS", "Span", "windowed_image"]

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
    """Make an image on dask of what reads windows of it.

    Parameters
    ----------
    read : callable
        Takes lines and samples, each as a span, and returns numbers of that shape. It is called
        from several threads at once, for each chunk once; for a part of a chunk, where the image
        was cut before it was computed, with the lines and samples of the part.
    shape : tuple of int
        Lines and samples.
    name : str
        Of the image.
    strip : int
        Lines that are stored together: chunks hold whole strips.
    dtype : type
        Of the numbers.

    Returns
    -------
    xarray.DataArray
        On dims (line, sample).
    """
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
