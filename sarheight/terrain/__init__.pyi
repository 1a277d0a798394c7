from sarheight.terrain._interpolation import METHODS, interpolate
from sarheight.terrain._patches import TerrainPatches, look_slice
from sarheight.terrain.elevations import (
    SparseHeights,
    distance_map,
    draw_points,
    draw_tracks,
    rasterise,
    read_heights,
)
from sarheight.terrain.networks import ASKUNet, HeightEstimate, HeightEstimator
from sarheight.terrain.predict import predict_heights
from sarheight.terrain.scenes import (
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
from sarheight.terrain.training import TerrainSettings, height_loss, train_terrain

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
