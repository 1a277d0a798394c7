from .baselines import (
    Alignment,
    apply_alignment,
    back_project,
    estimate_alignment,
)
from .correction import RefinementNetwork
from .elevations import (
    KnownElevations,
    draw_altimeter_tracks,
    draw_known_elevations,
    read_known_elevations,
)
from .heights import estimate_heights, height_interval
from .networks import ASKUNet, HeightEstimate, HeightEstimator
from .patches import TerrainPatches
from .posterior import RefinementSettings
from .predict import predict_heights
from .refinement import refine
from .scenes import (
    SceneConfiguration,
    SceneSettings,
    open_scene,
    prepare_scene,
    simulate_scene,
    write_scenes,
)
from .surfaces import (
    INTERPOLATION_METHODS,
    distance_to_known,
    interpolate_elevations,
    krige_residuals,
    rasterise_elevations,
    require_inside,
)
from .training import TerrainSettings, train_terrain

__all__ = [
    "INTERPOLATION_METHODS",
    "ASKUNet",
    "Alignment",
    "HeightEstimate",
    "HeightEstimator",
    "KnownElevations",
    "RefinementNetwork",
    "RefinementSettings",
    "SceneConfiguration",
    "SceneSettings",
    "TerrainPatches",
    "TerrainSettings",
    "apply_alignment",
    "back_project",
    "distance_to_known",
    "draw_altimeter_tracks",
    "draw_known_elevations",
    "estimate_alignment",
    "estimate_heights",
    "height_interval",
    "interpolate_elevations",
    "krige_residuals",
    "open_scene",
    "predict_heights",
    "prepare_scene",
    "rasterise_elevations",
    "read_known_elevations",
    "refine",
    "require_inside",
    "simulate_scene",
    "train_terrain",
    "write_scenes",
]
