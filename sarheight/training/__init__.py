"""Training: from scenes and settings to a network that is saved with all it needs.

This module needs the extra ``learn``: ``pip install 'sarheight[learn]'``.
"""

from __future__ import annotations

from sarheight._extras import require

require("torch", "lightning", "torchmetrics", "safetensors", extra="learn")

from sarheight.training._losses import height_loss  # noqa: E402
from sarheight.training._settings import RunSettings, TerrainSettings  # noqa: E402
from sarheight.training._terrain import train_terrain  # noqa: E402

__all__ = ["RunSettings", "TerrainSettings", "height_loss", "train_terrain"]
