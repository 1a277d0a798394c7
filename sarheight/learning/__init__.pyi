from sarheight.learning.metrics import (
    HeightErrors,
    by_distance,
    by_mask,
    coverage,
    errors_by_group,
    height_errors,
    slope_error,
)
from sarheight.learning.run import RunSettings
from sarheight.learning.split import Part, channel_statistics, parts
from sarheight.learning.tiles import Tiling
from sarheight.learning.unet import EfficientChannelAttention, LargeSelectiveKernel, UNet
from sarheight.learning.weights import Channel, Pretrained, kind_of, packaged

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
