"""Scenes to learn from, and the patches that a network is fed.

Training scenes are simulated from real elevations and real orbits, and say so; patches are taken
from them, or from a user's own image and elevation model, in the same form. Cities come as stacks
of monthly images (`check_stack` says what that is), from files, catalogues or a simulation.
"""

from __future__ import annotations

from sarheight.data._buildings.blocks import blocks, split_cities
from sarheight.data._buildings.footprint_raster import heights_of_raster, rasterise_buildings
from sarheight.data._buildings.footprints import Buildings, read_buildings
from sarheight.data._buildings.patches import BuildingPatches
from sarheight.data._cities.corners import RadarSettings
from sarheight.data._cities.optical import OpticalSettings
from sarheight.data._cities.stack import CitySettings, simulated_city
from sarheight.data._split import Part, parts
from sarheight.data._stacks.band_statistics import band_statistics
from sarheight.data._stacks.bands import with_bands
from sarheight.data._stacks.bigearthnet import bigearthnet_stacks
from sarheight.data._stacks.composites import monthly
from sarheight.data._stacks.cook import make_stack, write_stacks
from sarheight.data._stacks.files import open_stack, stack_of_folder, write_stack
from sarheight.data._stacks.form import (
    OPTICAL_BANDS,
    SAR_BANDS,
    check_stack,
    city_stack,
    month_of,
    valid_months,
)
from sarheight.data._stacks.optical import clear_cells, reflectance
from sarheight.data._stacks.radar import pass_of_time, sar_series, unfolded
from sarheight.data._stacks.recipe import (
    BuildingSource,
    City,
    OpticalSource,
    RadarSource,
    StackRecipe,
)
from sarheight.data._stacks.regrid import city_grid, on_grid
from sarheight.data._stacks.series_files import stack_of_arrays, stack_of_raster
from sarheight.data._statistics import channel_statistics
from sarheight.data._terrain.ground import degraded_dem, patchy_reflectivity
from sarheight.data._terrain.library import SceneJob, scene_of_file, write_scenes
from sarheight.data._terrain.patches import TerrainPatches, look_slice
from sarheight.data._terrain.scenes import (
    SceneSettings,
    observed_scene,
    simulated_image,
    simulated_scene,
)
from sarheight.data._zones.folds import deal_samples, require_classes, spatial_folds, without_near
from sarheight.data._zones.rasters import RasterPatches, read_stack
from sarheight.data._zones.samples import ZonePatches, ZoneSamples
from sarheight.data._zones.simulated import ZoneSceneSettings, write_simulated_so2sat
from sarheight.data._zones.so2sat import So2SatPatches, so2sat_files
from sarheight.data._zones.splits import (
    OPTICAL_CHANNELS,
    RADAR_CHANNELS,
    ZONE_SPLITS,
    FusionForm,
    fusion_forms,
    split_channels,
)
from sarheight.data._zones.statistics import zone_statistics

__all__ = [
    "OPTICAL_BANDS",
    "OPTICAL_CHANNELS",
    "RADAR_CHANNELS",
    "SAR_BANDS",
    "ZONE_SPLITS",
    "BuildingPatches",
    "BuildingSource",
    "Buildings",
    "City",
    "CitySettings",
    "FusionForm",
    "OpticalSettings",
    "OpticalSource",
    "Part",
    "RadarSettings",
    "RadarSource",
    "RasterPatches",
    "SceneJob",
    "SceneSettings",
    "So2SatPatches",
    "StackRecipe",
    "TerrainPatches",
    "ZonePatches",
    "ZoneSamples",
    "ZoneSceneSettings",
    "band_statistics",
    "bigearthnet_stacks",
    "blocks",
    "channel_statistics",
    "check_stack",
    "city_grid",
    "city_stack",
    "clear_cells",
    "deal_samples",
    "degraded_dem",
    "fusion_forms",
    "heights_of_raster",
    "look_slice",
    "make_stack",
    "month_of",
    "monthly",
    "observed_scene",
    "on_grid",
    "open_stack",
    "parts",
    "pass_of_time",
    "patchy_reflectivity",
    "rasterise_buildings",
    "read_buildings",
    "read_stack",
    "reflectance",
    "require_classes",
    "sar_series",
    "scene_of_file",
    "simulated_city",
    "simulated_image",
    "simulated_scene",
    "so2sat_files",
    "spatial_folds",
    "split_channels",
    "split_cities",
    "stack_of_arrays",
    "stack_of_folder",
    "stack_of_raster",
    "unfolded",
    "valid_months",
    "with_bands",
    "without_near",
    "write_scenes",
    "write_simulated_so2sat",
    "write_stack",
    "write_stacks",
    "zone_statistics",
]
