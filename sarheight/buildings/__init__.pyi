from ._footprints import (
    Buildings as Buildings,
    heights_from_raster as heights_from_raster,
    heights_of_outlines as heights_of_outlines,
    rasterise_buildings as rasterise_buildings,
    read_buildings as read_buildings,
)
from ._images import (
    city_grid as city_grid,
    clear_sky_mask as clear_sky_mask,
    monthly_composite as monthly_composite,
    reconstruct_product as reconstruct_product,
    reflectance as reflectance,
    resample_image as resample_image,
    sar_series as sar_series,
)
from ._readers import stack_from_folder as stack_from_folder, stack_from_raster as stack_from_raster
from .configuration import (
    BuildingSource as BuildingSource,
    City as City,
    OpticalSource as OpticalSource,
    RadarSource as RadarSource,
    StackConfiguration as StackConfiguration,
    make_stack as make_stack,
    write_stacks as write_stacks,
)
from .distributions import (
    BuildingDistribution as BuildingDistribution,
    BuildingEstimate as BuildingEstimate,
)
from .estimators import (
    BuildingHeightEstimator as BuildingHeightEstimator,
    predict_buildings as predict_buildings,
)
from .items import (
    ImageItem as ImageItem,
    building_tiles as building_tiles,
    image_items as image_items,
)
from .mbhr import MBHRNet as MBHRNet, regression_loss as regression_loss
from .metrics import (
    BuildingErrors as BuildingErrors,
    building_errors as building_errors,
    footprint_iou as footprint_iou,
    plot_building_heights as plot_building_heights,
)
from .patches import (
    BuildingPatches as BuildingPatches,
    split_blocks as split_blocks,
    split_cities as split_cities,
)
from .resnet import ResNet50 as ResNet50, load_resnet_weights as load_resnet_weights
from .series import SeriesNet as SeriesNet
from .stack import (
    OPTICAL_BANDS as OPTICAL_BANDS,
    SAR_BANDS as SAR_BANDS,
    check_stack as check_stack,
    city_stack as city_stack,
    open_stack as open_stack,
    select_bands as select_bands,
    valid_months as valid_months,
    write_stack as write_stack,
)
from .training import (
    BuildingSettings as BuildingSettings,
    BuildingTask as BuildingTask,
    building_task as building_task,
)
