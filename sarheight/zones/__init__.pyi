from .channels import (
    OPTICAL_CHANNELS,
    RADAR_CHANNELS,
    covariance,
    polarimetric_channels,
    refined_lee,
)
from .classes import plot_zones
from .classifier import ZoneClassifier, ZoneMember
from .evaluation import ClassScores, calibration_error, class_scores, fit_temperature
from .forest import ForestSettings, ZoneForest, train_forest
from .fusion import (
    FusionRanking,
    FusionResult,
    compare_fusion,
    rank_fusions,
    train_strategy,
)
from .fusion_cnn import (
    FUSED_SPLITS,
    ZONE_SPLITS,
    FusionCNN,
    FusionStrategy,
    fusion_strategies,
)
from .predict import evaluate_zones, predict_zones, write_zones, zone_probabilities
from .samples import (
    ZonePatches,
    ZoneSamples,
    exclude_neighbours,
    spatial_folds,
    split_samples,
)
from .sources import RasterPatches, So2SatPatches, read_stack, so2sat_files
from .training import ZoneSettings, ZoneTask, zone_task

__all__ = [
    "FUSED_SPLITS",
    "OPTICAL_CHANNELS",
    "RADAR_CHANNELS",
    "ZONE_SPLITS",
    "ClassScores",
    "ForestSettings",
    "FusionCNN",
    "FusionRanking",
    "FusionResult",
    "FusionStrategy",
    "RasterPatches",
    "So2SatPatches",
    "ZoneClassifier",
    "ZoneForest",
    "ZoneMember",
    "ZonePatches",
    "ZoneSamples",
    "ZoneSettings",
    "ZoneTask",
    "calibration_error",
    "class_scores",
    "compare_fusion",
    "covariance",
    "evaluate_zones",
    "exclude_neighbours",
    "fit_temperature",
    "fusion_strategies",
    "plot_zones",
    "polarimetric_channels",
    "predict_zones",
    "rank_fusions",
    "read_stack",
    "refined_lee",
    "so2sat_files",
    "spatial_folds",
    "split_samples",
    "train_forest",
    "train_strategy",
    "write_zones",
    "zone_probabilities",
    "zone_task",
]
