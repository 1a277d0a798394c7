"""Heights of terrain from radar images, a coarse DEM and sparse known elevations.

Known elevations, training scenes and their patches, ASK-UNet, training and prediction. Networks
need the extra ``learn``: ``pip install 'sarheight[learn]'``.
"""

from __future__ import annotations

from sarheight._runtime import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(__name__, __file__)
