from .channels import Channel as Channel, ChannelStatistics as ChannelStatistics
from .metrics import HeightErrors as HeightErrors, height_errors as height_errors
from .settings import RunSettings as RunSettings
from .split import Part as Part, split_bands as split_bands
from .tiles import Tiling as Tiling
from .training import (
    RootMeanSquaredError as RootMeanSquaredError,
    Task as Task,
    TrainingResult as TrainingResult,
    seeded as seeded,
    train as train,
)
from .unet import EfficientChannelAttention as EfficientChannelAttention, UNet as UNet
from .weights import (
    Pretrained as Pretrained,
    model_kind as model_kind,
    packaged_model as packaged_model,
)
