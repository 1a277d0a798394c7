from ._interpolation import INTERPOLATION_METHODS, interpolate_elevations
from ._patches import TerrainPatches, columns_along_range
from .elevations import (
    KnownElevations,
    distance_to_known,
    draw_altimeter_tracks,
    draw_known_elevations,
    rasterise_elevations,
    read_known_elevations,
)
from .networks import ASKUNet, HeightEstimate, HeightEstimator
from .predict import predict_heights
from .scenes import (
    SceneConfiguration,
    SceneSettings,
    degrade_dem,
    open_scene,
    patchy_reflectivity,
    prepare_scene,
    simulate_image,
    simulate_scene,
    write_scenes,
)
from .training import TerrainSettings, height_loss, train_terrain

__all__ = [
    "INTERPOLATION_METHODS",
    "ASKUNet",
    "HeightEstimate",
    "HeightEstimator",
    "KnownElevations",
    "SceneConfiguration",
    "SceneSettings",
    "TerrainPatches",
    "TerrainSettings",
    "columns_along_range",
    "degrade_dem",
    "distance_to_known",
    "draw_altimeter_tracks",
    "draw_known_elevations",
    "height_loss",
    "interpolate_elevations",
    "open_scene",
    "patchy_reflectivity",
    "predict_heights",
    "prepare_scene",
    "rasterise_elevations",
    "read_known_elevations",
    "simulate_image",
    "simulate_scene",
    "train_terrain",
    "write_scenes",
]
