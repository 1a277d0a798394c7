from .channels import Channel, ChannelStatistics
from .metrics import HeightErrors, height_errors
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
    "height_errors",
    "model_kind",
    "packaged_model",
    "seeded",
    "split_bands",
    "train",
]
