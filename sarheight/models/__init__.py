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
from sarheight.models._channels import Channel  # noqa: E402
from sarheight.models._heights import HeightEstimate, HeightEstimator  # noqa: E402
from sarheight.models._pretrained import Pretrained  # noqa: E402
from sarheight.models._unet import UNet  # noqa: E402

__all__ = [
    "ASKUNet",
    "Channel",
    "EfficientChannelAttention",
    "HeightEstimate",
    "HeightEstimator",
    "LargeSelectiveKernel",
    "Pretrained",
    "UNet",
]
