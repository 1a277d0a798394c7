from .channels import (
    OPTICAL_CHANNELS,
    RADAR_CHANNELS,
    ZONE_SPLITS,
    FusionStrategy,
    covariance,
    fusion_strategies,
    polarimetric_channels,
    refined_lee,
)
from .classes import plot_zones
from .evaluation import ClassScores, calibration_error, class_scores, fit_temperature
from .features import FeaturePlan, plan_features
from .forest import ForestSettings, ZoneForest, train_forest
from .fusion import FusionRanking, FusionResult, compare_fusion, rank_fusions
from .networks import FusionCNN, ZoneClassifier, ZoneMember, ZoneNet
from .predict import evaluate_zones, predict_zones, write_zones, zone_probabilities
from .samples import (
    ZonePatches,
    ZoneSamples,
    exclude_neighbours,
    spatial_folds,
    split_samples,
)
from .sources import RasterPatches, So2SatPatches, read_stack, so2sat_files
from .training import ZoneSettings, train_zones

__all__ = [
    "OPTICAL_CHANNELS",
    "RADAR_CHANNELS",
    "ZONE_SPLITS",
    "ClassScores",
    "FeaturePlan",
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
    "ZoneNet",
    "ZonePatches",
    "ZoneSamples",
    "ZoneSettings",
    "calibration_error",
    "class_scores",
    "compare_fusion",
    "covariance",
    "evaluate_zones",
    "exclude_neighbours",
    "fit_temperature",
    "fusion_strategies",
    "plan_features",
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
    "train_zones",
    "write_zones",
    "zone_probabilities",
]
