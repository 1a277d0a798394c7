from .alignment import (
    Alignment,
    apply_alignment,
    back_project,
    estimate_alignment,
)
from .elevations import (
    KnownElevations,
    draw_altimeter_tracks,
    draw_known_elevations,
    read_known_elevations,
)
from .kriging import height_interval, krige_residuals
from .patches import TerrainPatches
from .posterior import RefinementSettings
from .predict import predict_heights, predict_image
from .rasters import (
    distance_to_known,
    interpolate_elevations,
    rasterise_elevations,
    require_inside,
)
from .refinement import refine
from .refinement_network import RefinementNetwork
from .sar2height import (
    ASKUNet,
    HeightEstimate,
    HeightEstimator,
    LargeSelectiveKernel,
    TerrainSettings,
    distance_channel,
)
from .scenes import (
    SceneConfiguration,
    SceneSettings,
    observe_scene,
    open_scene,
    prepare_scene,
    simulate_scene,
    write_scenes,
)
from .training import evaluate_terrain, terrain_task
from .workflow import refine_files

__all__ = [
    "ASKUNet",
    "Alignment",
    "HeightEstimate",
    "HeightEstimator",
    "KnownElevations",
    "LargeSelectiveKernel",
    "RefinementNetwork",
    "RefinementSettings",
    "SceneConfiguration",
    "SceneSettings",
    "TerrainPatches",
    "TerrainSettings",
    "apply_alignment",
    "back_project",
    "distance_channel",
    "distance_to_known",
    "draw_altimeter_tracks",
    "draw_known_elevations",
    "estimate_alignment",
    "evaluate_terrain",
    "height_interval",
    "interpolate_elevations",
    "krige_residuals",
    "observe_scene",
    "open_scene",
    "predict_heights",
    "predict_image",
    "prepare_scene",
    "rasterise_elevations",
    "read_known_elevations",
    "refine",
    "refine_files",
    "require_inside",
    "simulate_scene",
    "terrain_task",
    "write_scenes",
]
