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
from ._networks import MBHRNet, SeriesNet, load_resnet_weights
from ._readers import (
    stack_from_arrays,
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
from .metrics import (
    BuildingErrors,
    building_errors,
    footprint_iou,
    plot_building_heights,
)
from .patches import BuildingPatches, split_blocks, split_cities
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
from .training import BuildingSettings, train_buildings

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
    "Buildings",
    "City",
    "MBHRNet",
    "OpticalSource",
    "RadarSource",
    "SeriesNet",
    "StackConfiguration",
    "building_errors",
    "check_stack",
    "city_grid",
    "city_stack",
    "clear_sky_mask",
    "footprint_iou",
    "heights_from_raster",
    "heights_of_outlines",
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
    "resample_image",
    "sar_series",
    "select_bands",
    "split_blocks",
    "split_cities",
    "stack_from_arrays",
    "stack_from_folder",
    "stack_from_raster",
    "train_buildings",
    "valid_months",
    "write_stack",
    "write_stacks",
]
