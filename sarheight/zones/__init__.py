"""Local Climate Zones from Sentinel-1 and Sentinel-2.

Labelled patches, FusionCNN and other networks, training, evaluation and maps. Networks need the
extra ``learn``: ``pip install 'sarheight[learn]'``.
"""

from __future__ import annotations

from sarheight._runtime import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(__name__, __file__)
