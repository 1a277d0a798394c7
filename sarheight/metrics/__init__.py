"""How far estimates lie from the truth, each figure with its definition."""

from __future__ import annotations

from sarheight.metrics._buildings import (
    BuildingErrors,
    RegressionErrors,
    building_errors,
    footprint_iou,
)
from sarheight.metrics._classes import (
    ClassScores,
    calibration_error,
    class_scores,
    confusion_matrix,
    scores_of,
)
from sarheight.metrics._groups import by_distance, by_mask, errors_by_group
from sarheight.metrics._heights import HeightErrors, coverage, height_errors, slope_error

__all__ = [
    "BuildingErrors",
    "ClassScores",
    "HeightErrors",
    "RegressionErrors",
    "building_errors",
    "by_distance",
    "by_mask",
    "calibration_error",
    "class_scores",
    "confusion_matrix",
    "coverage",
    "errors_by_group",
    "footprint_iou",
    "height_errors",
    "scores_of",
    "slope_error",
]
