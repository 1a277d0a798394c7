"""Pictures of audits of terrain-flattened images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sarheight.plot.figures import PANEL_SIDE, set_title
from sarheight.plot.maps import (
    draw_backscatter,
    draw_classes,
    draw_nodata,
    mask_classes,
    prepare_map,
    robust_limits,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sarheight.archives import Audit

STEEPEST = 90.0


def audit(found: Audit) -> Figure:
    """Draw an audit: the image, predicted local incidence and mask, and brightness by incidence.

    Parameters
    ----------
    found : Audit
        As `sarheight.archives.audit` returns it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.2 * PANEL_SIDE, 2.0 * PANEL_SIDE), layout="constrained")
    (image, angle), (mask, curve) = figure.subplots(2, 2)
    layers = found.layers
    limits = robust_limits(layers["gamma0"].values)
    drawn = draw_backscatter(image, layers["gamma0"], limits)
    figure.colorbar(drawn, ax=image, label="γ⁰ (dB)", extend="both", shrink=0.7)
    set_title(image, "γ⁰, terrain-flattened")
    map_, frame = prepare_map(angle, layers["local_incidence"], None)
    draw_nodata(angle)
    shown = angle.imshow(
        np.ma.masked_invalid(map_.values),
        cmap="cividis",
        vmin=0.0,
        vmax=STEEPEST,
        extent=frame.extent,
        interpolation="nearest",
    )
    figure.colorbar(shown, ax=angle, label="local incidence (degrees)", shrink=0.7)
    set_title(angle, "predicted local incidence")
    draw_classes(mask, mask_classes(layers["mask"]), layers["mask"], None, None)
    set_title(mask, "predicted layover and shadow")
    _draw_curve(curve, found)
    verdict = "as it should be" if found.passed else "NOT as it should be"
    figure.suptitle(f"{found.name}: {verdict}", fontsize="medium")
    return figure


def _draw_curve(axes: Axes, found: Audit) -> None:
    """Draw brightness by local incidence over the number of cells."""
    curve = found.curve
    counts = axes.twinx()
    counts.bar(curve["angle"], curve["cells"], width=2.6, color="0.85")
    counts.set_ylabel("cells")
    axes.plot(curve["angle"], curve["gamma0"], "o-", color="#0072B2", markersize=4)
    axes.set(xlabel="local incidence (degrees)", ylabel="mean γ⁰ (dB)")
    axes.set_xlim(0.0, STEEPEST)
    # The line in front of the bars.
    axes.set_zorder(counts.get_zorder() + 1)
    axes.patch.set_visible(False)
    set_title(axes, "what flattening left in")
