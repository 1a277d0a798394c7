"""Prediction: a network over a scene of any size.

This module needs the extra ``learn``: ``pip install 'sarheight[learn]'``.
"""

from __future__ import annotations

from sarheight._extras import require

require("torch", "safetensors", extra="learn")

from sarheight.predict._buildings import predict_buildings  # noqa: E402
from sarheight.predict._heights import predict_heights  # noqa: E402
from sarheight.predict._tiles import Tiling  # noqa: E402
from sarheight.predict._zone_files import write_zones  # noqa: E402
from sarheight.predict._zones import predict_zones  # noqa: E402

__all__ = ["Tiling", "predict_buildings", "predict_heights", "predict_zones", "write_zones"]
