"""Heights of buildings from time series of Sentinel-1 and Sentinel-2.

City stacks, building footprints, MBHR-Net and other networks, training and prediction. Networks
need the extra ``learn``: ``pip install 'sarheight[learn]'``.
"""

from __future__ import annotations

from sarheight._runtime import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(__name__, __file__)
