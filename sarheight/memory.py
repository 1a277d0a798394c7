"""Arrays whose values are arbitrary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

__all__ = ["empty", "empty_like"]


def empty(shape: int | Sequence[int], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return `numpy.empty` of a shape, float32 by default."""
    return np.empty(shape, dtype)


def empty_like(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of the shape and type of another, in C order."""
    return np.empty(array.shape, array.dtype)
