"""Heights at places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from sarheight.errors import PriorError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SparseHeights"]

LOWEST, HIGHEST = -600.0, 9200.0
"""Ellipsoidal heights of land in metres lie between these: from the Dead Sea to the Himalaya."""


def _column(name: str, values: ArrayLike) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        msg = f"found {name} of shape {column.shape}, expected one value for each point"
        raise PriorError(msg)
    return column


@dataclass(frozen=True, eq=False, init=False)
class SparseHeights:
    """Known heights at a few places.

    Parameters
    ----------
    x, y : array, shape (n,)
        Places in `crs`: longitude and latitude in degrees where it is geographic.
    height : array, shape (n,)
        Metres above the WGS84 ellipsoid.
    sigma : array, shape (n,), or float
        Standard deviation of each height in metres; 0 where it is taken for exact.
    crs : str, int or pyproj.CRS
        Horizontal reference system of the places.

    Raises
    ------
    PriorError
        If the columns differ in length, a value is not finite, a height is none of the Earth's
        land, or a standard deviation is negative.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    height: NDArray[np.float64]
    sigma: NDArray[np.float64]
    crs: CRS

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        height: ArrayLike,
        sigma: ArrayLike = 0.0,
        crs: Any = 4326,  # noqa: ANN401  # whatever pyproj takes
    ) -> None:
        """Check the columns, and keep copies."""
        columns = {"x": _column("x", x), "y": _column("y", y), "height": _column("height", height)}
        count = columns["height"].size
        spread = np.asarray(sigma, dtype=np.float64)
        columns["sigma"] = _column("sigma", np.full(count, spread) if spread.ndim == 0 else spread)
        sizes = {name: column.size for name, column in columns.items()}
        if len(set(sizes.values())) > 1:
            msg = f"found columns of {sizes} values, expected the same number in each"
            raise PriorError(msg)
        for name, column in columns.items():
            _require_finite(name, column)
        _require_heights(columns["height"])
        if (columns["sigma"] < 0.0).any():
            msg = (
                f"found standard deviations down to {columns['sigma'].min():g} m, expected none "
                "below 0: check the column"
            )
            raise PriorError(msg)
        for name, column in columns.items():
            object.__setattr__(self, name, column.copy())
        object.__setattr__(self, "crs", _horizontal(crs))

    def __len__(self) -> int:
        """Return the number of points."""
        return int(self.height.size)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> SparseHeights:
        """Return some of the points, chosen by a slice, a mask or their numbers."""
        return SparseHeights(
            self.x[chosen], self.y[chosen], self.height[chosen], self.sigma[chosen], self.crs
        )

    @classmethod
    def joined(cls, parts: Sequence[SparseHeights]) -> SparseHeights:
        """Put points of several sources together, in the reference system of the first.

        Raises
        ------
        PriorError
            If there is no part.
        """
        if not parts:
            msg = "found no points to join, expected one set at least"
            raise PriorError(msg)
        moved = [part.to_crs(parts[0].crs) for part in parts]
        return cls(
            np.concatenate([part.x for part in moved]),
            np.concatenate([part.y for part in moved]),
            np.concatenate([part.height for part in moved]),
            np.concatenate([part.sigma for part in moved]),
            parts[0].crs,
        )

    def to_crs(self, crs: Any) -> SparseHeights:  # noqa: ANN401  # whatever pyproj takes
        """Return the same points in another horizontal reference system."""
        wanted = _horizontal(crs)
        if wanted == self.crs:
            return self
        x, y = Transformer.from_crs(self.crs, wanted, always_xy=True).transform(self.x, self.y)
        return SparseHeights(x, y, self.height, self.sigma, wanted)

    def raised(self, metres: ArrayLike) -> SparseHeights:
        """Return the same points with heights that are larger by some metres."""
        height = self.height + np.asarray(metres, dtype=np.float64)
        return SparseHeights(self.x, self.y, height, self.sigma, self.crs)


def _horizontal(crs: Any) -> CRS:  # noqa: ANN401  # whatever pyproj takes
    try:
        return CRS.from_user_input(crs).to_2d()
    except CRSError as error:
        msg = f"found the reference system {crs!r}, which PROJ does not know ({error})"
        raise PriorError(msg) from error


def _require_finite(name: str, column: NDArray[np.float64]) -> None:
    bad = np.flatnonzero(~np.isfinite(column))
    if bad.size:
        msg = (
            f"found {bad.size} of {column.size} values of {name} that are not finite, the first at "
            f"point {bad[0]}: leave those points out"
        )
        raise PriorError(msg)


def _require_heights(height: NDArray[np.float64]) -> None:
    bad = np.flatnonzero((height < LOWEST) | (height > HIGHEST))
    if bad.size:
        msg = (
            f"found {bad.size} of {height.size} heights outside {LOWEST:g} to {HIGHEST:g} m, such "
            f"as {height[bad[0]]:g} at point {bad[0]}: no land lies there; check unit and nodata "
            "value"
        )
        raise PriorError(msg)
