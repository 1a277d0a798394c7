"""Training: from scenes and settings to a network that is saved with all it needs.

This module needs the extra ``learn``: ``pip install 'sarheight[learn]'``.
"""

from __future__ import annotations

from sarheight._extras import require

require("torch", "lightning", "torchmetrics", "safetensors", extra="learn")

from sarheight.training._building_calibration import calibrate  # noqa: E402
from sarheight.training._building_losses import distribution_loss, regression_loss  # noqa: E402
from sarheight.training._building_settings import BuildingSettings  # noqa: E402
from sarheight.training._buildings import train_buildings  # noqa: E402
from sarheight.training._fusion_table import (  # noqa: E402
    FusionRow,
    FusionVerdict,
    compare_fusion,
    fusion_verdict,
)
from sarheight.training._losses import height_loss  # noqa: E402
from sarheight.training._run_settings import RunSettings  # noqa: E402
from sarheight.training._settings import TerrainSettings  # noqa: E402
from sarheight.training._tabular import (  # noqa: E402
    FeatureTable,
    TabularSettings,
    train_tabular,
)
from sarheight.training._terrain import train_terrain  # noqa: E402
from sarheight.training._zone_evaluation import (  # noqa: E402
    best_temperature,
    evaluate_zones,
    zone_probabilities,
)
from sarheight.training._zone_settings import ZoneSettings  # noqa: E402
from sarheight.training._zones import train_zones  # noqa: E402

__all__ = [
    "BuildingSettings",
    "FeatureTable",
    "FusionRow",
    "FusionVerdict",
    "RunSettings",
    "TabularSettings",
    "TerrainSettings",
    "ZoneSettings",
    "best_temperature",
    "calibrate",
    "compare_fusion",
    "distribution_loss",
    "evaluate_zones",
    "fusion_verdict",
    "height_loss",
    "regression_loss",
    "train_buildings",
    "train_tabular",
    "train_terrain",
    "train_zones",
    "zone_probabilities",
]
