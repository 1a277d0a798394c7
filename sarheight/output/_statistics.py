"""Statistics of a band, gathered piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Statistics"]


@dataclass
class Statistics:
    """Count, mean, spread and range of the known values of a band.

    Parameters
    ----------
    known, cells : int
        How many values were known, and how many there were.
    mean : float
        Mean of the known values.
    squares : float
        Sum of their squared distances from the mean.
    smallest, largest : float
        Their range.

    References
    ----------
    Chan, T. F., Golub, G. H. and LeVeque, R. J. (1983). Algorithms for computing the sample
    variance. The American Statistician 37(3), 242-247, equation 2.1.
    """

    known: int = 0
    cells: int = 0
    mean: float = 0.0
    squares: float = 0.0
    smallest: float = np.inf
    largest: float = -np.inf

    def add(self, values: np.ndarray[Any, Any], nodata: Any) -> None:  # noqa: ANN401
        """Take in a piece of a band.

        Parameters
        ----------
        values : array
            Any shape; NaN is never known.
        nodata : scalar or None
            Another value that stands for nothing known.
        """
        self.cells += values.size
        kept = np.isfinite(values) if values.dtype.kind == "f" else values != nodata
        found = (values if kept.all() else values[kept]).astype(np.float64).ravel()
        if found.size == 0:
            return
        self.smallest = min(self.smallest, float(found.min()))
        self.largest = max(self.largest, float(found.max()))
        mean = float(found.mean())
        found -= mean
        total, apart = self.known + found.size, mean - self.mean
        self.squares += float(found @ found) + apart**2 * self.known * found.size / total
        self.mean += apart * found.size / total
        self.known = total

    def tags(self) -> dict[str, str]:
        """Return the statistics under the names that GDAL and QGIS look for; none if empty."""
        if self.known == 0:
            return {}
        numbers = {
            "STATISTICS_MINIMUM": self.smallest,
            "STATISTICS_MAXIMUM": self.largest,
            "STATISTICS_MEAN": self.mean,
            "STATISTICS_STDDEV": float(np.sqrt(self.squares / self.known)),
            "STATISTICS_VALID_PERCENT": 100.0 * self.known / self.cells,
        }
        return {name: f"{number:.9g}" for name, number in numbers.items()}
