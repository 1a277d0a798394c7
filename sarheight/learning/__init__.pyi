from .channels import Channel, ChannelStatistics
from .metrics import (
    HeightErrors,
    coverage,
    distance_groups,
    errors_by_group,
    height_errors,
    mask_groups,
    slope_error,
)
from .split import Part, split_bands
from .tiles import Tiling
from .training import RootMeanSquaredError, RunSettings, Task, TrainingResult, seeded, train
from .unet import EfficientChannelAttention, UNet
from .weights import Pretrained, model_kind, packaged_model

__all__ = [
    "Channel",
    "ChannelStatistics",
    "EfficientChannelAttention",
    "HeightErrors",
    "Part",
    "Pretrained",
    "RootMeanSquaredError",
    "RunSettings",
    "Task",
    "Tiling",
    "TrainingResult",
    "UNet",
    "coverage",
    "distance_groups",
    "errors_by_group",
    "height_errors",
    "mask_groups",
    "model_kind",
    "packaged_model",
    "seeded",
    "slope_error",
    "split_bands",
    "train",
]
