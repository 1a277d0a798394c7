"""Pictures of radar images and results.

Every function returns a new `matplotlib.figure.Figure`: nothing is shown, no window system is
needed, and `sarheight.output.save_png` or ``figure.savefig`` saves it. Distances are kilometres on
the ground in any CRS, cells without data are hatched grey, and the colours can be told apart with
any kind of colour vision.
"""

from __future__ import annotations

from sarheight.plot.audits import audit
from sarheight.plot.figures import backscatter, fold_count, heights, mask, scene

__all__ = ["audit", "backscatter", "fold_count", "heights", "mask", "scene"]
__dir__ = __all__.copy  # `dir` lists the public names
