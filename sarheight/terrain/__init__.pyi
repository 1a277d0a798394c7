from .alignment import (
    Alignment as Alignment,
    apply_alignment as apply_alignment,
    back_project as back_project,
    estimate_alignment as estimate_alignment,
)
from .elevations import (
    KnownElevations as KnownElevations,
    draw_altimeter_tracks as draw_altimeter_tracks,
    draw_known_elevations as draw_known_elevations,
    read_known_elevations as read_known_elevations,
)
from .kriging import height_interval as height_interval, krige_residuals as krige_residuals
from .patches import TerrainPatches as TerrainPatches
from .posterior import RefinementSettings as RefinementSettings
from .predict import predict_heights as predict_heights, predict_image as predict_image
from .rasters import (
    distance_to_known as distance_to_known,
    interpolate_elevations as interpolate_elevations,
    rasterise_elevations as rasterise_elevations,
    require_inside as require_inside,
)
from .refinement import refine as refine
from .refinement_network import RefinementNetwork as RefinementNetwork
from .sar2height import (
    ASKUNet as ASKUNet,
    HeightEstimate as HeightEstimate,
    HeightEstimator as HeightEstimator,
    LargeSelectiveKernel as LargeSelectiveKernel,
    TerrainSettings as TerrainSettings,
    distance_channel as distance_channel,
)
from .scenes import (
    SceneConfiguration as SceneConfiguration,
    SceneSettings as SceneSettings,
    observe_scene as observe_scene,
    prepare_scene as prepare_scene,
    simulate_scene as simulate_scene,
    write_scenes as write_scenes,
)
from .training import evaluate_terrain as evaluate_terrain, terrain_task as terrain_task
from .workflow import refine_files as refine_files
