"""Pictures of radar images and results.

Every function returns a `matplotlib.figure.Figure` that belongs to nobody else: nothing is shown,
no window system is needed, and `sarheight.output.save_png` or ``figure.savefig`` saves it.
Distances are kilometres on the ground whatever the CRS, what is unknown is hatched grey, and the
colours stay apart for readers with any kind of colour vision.
"""

from __future__ import annotations

from sarheight.plot.figures import backscatter, fold_count, mask, scene

__all__ = ["backscatter", "fold_count", "mask", "scene"]
