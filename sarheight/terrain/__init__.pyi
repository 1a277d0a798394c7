from ._interpolation import METHODS, interpolate
from ._patches import TerrainPatches, look_slice
from .elevations import (
    SparseHeights,
    distance_map,
    draw_points,
    draw_tracks,
    rasterise,
    read_heights,
)
from .networks import ASKUNet, HeightEstimate, HeightEstimator
from .predict import predict_heights
from .scenes import (
    SceneJob,
    SceneSettings,
    degraded_dem,
    observed_scene,
    patchy_reflectivity,
    scene_of_file,
    simulated_image,
    simulated_scene,
    write_scenes,
)
from .training import TerrainSettings, height_loss, train_terrain

__all__ = [
    "METHODS",
    "ASKUNet",
    "HeightEstimate",
    "HeightEstimator",
    "SceneJob",
    "SceneSettings",
    "SparseHeights",
    "TerrainPatches",
    "TerrainSettings",
    "degraded_dem",
    "distance_map",
    "draw_points",
    "draw_tracks",
    "height_loss",
    "interpolate",
    "look_slice",
    "observed_scene",
    "patchy_reflectivity",
    "predict_heights",
    "rasterise",
    "read_heights",
    "scene_of_file",
    "simulated_image",
    "simulated_scene",
    "train_terrain",
    "write_scenes",
]
