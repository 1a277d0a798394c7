"""What networks for terrain, buildings and zones share.

Training runs, splits by place, prediction by tiles, estimators on file, U-Net blocks and metrics.
Networks need the extra ``learn``: ``pip install 'sarheight[learn]'``.
"""

from __future__ import annotations

from sarheight._runtime import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(__name__, __file__)
