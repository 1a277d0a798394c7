from .metrics import (
    HeightErrors,
    coverage,
    distance_groups,
    errors_by_group,
    height_errors,
    mask_groups,
    slope_error,
)
from .run import RunSettings
from .split import Part, split_bands
from .tiles import Tiling
from .unet import EfficientChannelAttention, LargeSelectiveKernel, UNet
from .weights import Channel, Pretrained, model_kind, packaged_model

__all__ = [
    "Channel",
    "EfficientChannelAttention",
    "HeightErrors",
    "LargeSelectiveKernel",
    "Part",
    "Pretrained",
    "RunSettings",
    "Tiling",
    "UNet",
    "coverage",
    "distance_groups",
    "errors_by_group",
    "height_errors",
    "mask_groups",
    "model_kind",
    "packaged_model",
    "slope_error",
    "split_bands",
]
