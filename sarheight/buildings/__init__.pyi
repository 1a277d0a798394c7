from ._footprints import (
    Buildings,
    heights_from_raster,
    heights_of_outlines,
    rasterise_buildings,
    read_buildings,
)
from ._images import (
    city_grid,
    clear_sky_mask,
    monthly_composite,
    reconstruct_product,
    reflectance,
    resample_image,
    sar_series,
)
from ._readers import (
    stack_from_folder,
    stack_from_raster,
)
from .configuration import (
    BuildingSource,
    City,
    OpticalSource,
    RadarSource,
    StackConfiguration,
    make_stack,
    write_stacks,
)
from .distributions import BuildingDistribution, BuildingEstimate
from .estimators import BuildingHeightEstimator, predict_buildings
from .items import ImageItem, image_items
from .mbhr import MBHRNet, regression_loss
from .metrics import (
    BuildingErrors,
    building_errors,
    footprint_iou,
    plot_building_heights,
)
from .patches import BuildingPatches, split_blocks, split_cities
from .resnet import ResNet50, load_resnet_weights
from .series import SeriesNet
from .stack import (
    OPTICAL_BANDS,
    SAR_BANDS,
    check_stack,
    city_stack,
    open_stack,
    select_bands,
    valid_months,
    write_stack,
)
from .tiles import building_tiles
from .training import BuildingSettings, BuildingTask, building_task

__all__ = [
    "OPTICAL_BANDS",
    "SAR_BANDS",
    "BuildingDistribution",
    "BuildingErrors",
    "BuildingEstimate",
    "BuildingHeightEstimator",
    "BuildingPatches",
    "BuildingSettings",
    "BuildingSource",
    "BuildingTask",
    "Buildings",
    "City",
    "ImageItem",
    "MBHRNet",
    "OpticalSource",
    "RadarSource",
    "ResNet50",
    "SeriesNet",
    "StackConfiguration",
    "building_errors",
    "building_task",
    "building_tiles",
    "check_stack",
    "city_grid",
    "city_stack",
    "clear_sky_mask",
    "footprint_iou",
    "heights_from_raster",
    "heights_of_outlines",
    "image_items",
    "load_resnet_weights",
    "make_stack",
    "monthly_composite",
    "open_stack",
    "plot_building_heights",
    "predict_buildings",
    "rasterise_buildings",
    "read_buildings",
    "reconstruct_product",
    "reflectance",
    "regression_loss",
    "resample_image",
    "sar_series",
    "select_bands",
    "split_blocks",
    "split_cities",
    "stack_from_folder",
    "stack_from_raster",
    "valid_months",
    "write_stack",
    "write_stacks",
]
