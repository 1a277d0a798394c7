"""How far estimates lie from the truth, each figure with its definition."""

from __future__ import annotations

from sarheight.metrics._groups import by_distance, by_mask, errors_by_group
from sarheight.metrics._heights import HeightErrors, coverage, height_errors, slope_error

__all__ = [
    "HeightErrors",
    "by_distance",
    "by_mask",
    "coverage",
    "errors_by_group",
    "height_errors",
    "slope_error",
]
