from .metrics import (
    HeightErrors,
    by_distance,
    by_mask,
    coverage,
    errors_by_group,
    height_errors,
    slope_error,
)
from .run import RunSettings
from .split import Part, channel_statistics, parts
from .tiles import Tiling
from .unet import EfficientChannelAttention, LargeSelectiveKernel, UNet
from .weights import Channel, Pretrained, kind_of, packaged

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
    "by_distance",
    "by_mask",
    "channel_statistics",
    "coverage",
    "errors_by_group",
    "height_errors",
    "kind_of",
    "packaged",
    "parts",
    "slope_error",
]
