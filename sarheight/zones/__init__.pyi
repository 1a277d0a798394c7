from .channels import (
    OPTICAL_CHANNELS as OPTICAL_CHANNELS,
    RADAR_CHANNELS as RADAR_CHANNELS,
    covariance as covariance,
    polarimetric_channels as polarimetric_channels,
    refined_lee as refined_lee,
)
from .classes import plot_zones as plot_zones
from .classifier import ZoneClassifier as ZoneClassifier, ZoneMember as ZoneMember
from .evaluation import (
    ClassScores as ClassScores,
    calibration_error as calibration_error,
    class_scores as class_scores,
    fit_temperature as fit_temperature,
)
from .forest import (
    ForestSettings as ForestSettings,
    ZoneForest as ZoneForest,
    train_forest as train_forest,
)
from .fusion import (
    FusionRanking as FusionRanking,
    FusionResult as FusionResult,
    compare_fusion as compare_fusion,
    rank_fusions as rank_fusions,
    train_strategy as train_strategy,
)
from .fusion_cnn import (
    FUSED_SPLITS as FUSED_SPLITS,
    ZONE_SPLITS as ZONE_SPLITS,
    FusionCNN as FusionCNN,
    FusionStrategy as FusionStrategy,
    fusion_strategies as fusion_strategies,
)
from .predict import (
    evaluate_zones as evaluate_zones,
    predict_zones as predict_zones,
    write_zones as write_zones,
    zone_probabilities as zone_probabilities,
)
from .samples import (
    ZonePatches as ZonePatches,
    ZoneSamples as ZoneSamples,
    exclude_neighbours as exclude_neighbours,
    spatial_folds as spatial_folds,
    split_samples as split_samples,
)
from .sources import (
    RasterPatches as RasterPatches,
    So2SatPatches as So2SatPatches,
    read_stack as read_stack,
    so2sat_files as so2sat_files,
)
from .training import ZoneSettings as ZoneSettings, ZoneTask as ZoneTask, zone_task as zone_task
