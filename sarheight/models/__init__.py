"""Networks: plain modules without training code.

A network takes tensors that are already normalised. An estimator wraps one: it knows what its
channels are, in which units and how they are normalised, and saves all of it with the weights, so
that a checkpoint alone can predict.

These modules need the extra ``learn``: ``pip install 'sarheight[learn]'``.
"""

from __future__ import annotations

from sarheight._extras import require

require("torch", "safetensors", extra="learn")

from sarheight.models._ask_unet import ASKUNet  # noqa: E402
from sarheight.models._attention import EfficientChannelAttention, LargeSelectiveKernel  # noqa: E402
from sarheight.models._building_heights import BuildingHeightEstimator  # noqa: E402
from sarheight.models._building_networks import (  # noqa: E402
    BuildingDistribution,
    BuildingEstimate,
)
from sarheight.models._channels import Channel  # noqa: E402
from sarheight.models._fusion_cnn import FusionCNN  # noqa: E402
from sarheight.models._heights import HeightEstimate, HeightEstimator  # noqa: E402
from sarheight.models._mbhr_net import MBHRNet  # noqa: E402
from sarheight.models._packaged import packaged  # noqa: E402
from sarheight.models._pretrained import Pretrained, kind_of  # noqa: E402
from sarheight.models._resnet import ResNet50  # noqa: E402
from sarheight.models._resnet_weights import LoadedWeights, load_resnet_weights  # noqa: E402
from sarheight.models._series_net import SeriesNet  # noqa: E402
from sarheight.models._tabular import TabularEstimate, TabularHeightEstimator  # noqa: E402
from sarheight.models._unet import UNet  # noqa: E402
from sarheight.models._zone_classifier import ZoneClassifier, ZoneMember  # noqa: E402
from sarheight.models._zone_net import ZoneNet  # noqa: E402

__all__ = [
    "ASKUNet",
    "BuildingDistribution",
    "BuildingEstimate",
    "BuildingHeightEstimator",
    "Channel",
    "EfficientChannelAttention",
    "FusionCNN",
    "HeightEstimate",
    "HeightEstimator",
    "LargeSelectiveKernel",
    "LoadedWeights",
    "MBHRNet",
    "Pretrained",
    "ResNet50",
    "SeriesNet",
    "TabularEstimate",
    "TabularHeightEstimator",
    "UNet",
    "ZoneClassifier",
    "ZoneMember",
    "ZoneNet",
    "kind_of",
    "load_resnet_weights",
    "packaged",
]
