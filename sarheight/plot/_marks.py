"""What all pictures share: labels, the pattern of what is unknown, compass and legend."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

    from sarheight.plot._ground import Frame

INK = "#202020"
LOOK_COLOUR = "#D55E00"
# In points: half the length of an arrow, from one to the next, and above the map.
ARROW = 7.0
SPACING = 30.0
ABOVE = 10.0
VOID_STYLE: dict[str, Any] = {
    "facecolor": "#b4b4b4",
    "edgecolor": "#8c8c8c",
    "hatch": "//////",
    "linewidth": 0.0,
}


def label_axes(axes: Axes, frame: Frame) -> None:
    """Name the axes of a map.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Of the map.
    frame : Frame
        Its size and unit.
    """
    axes.set(xlabel=f"distance ({frame.unit})", ylabel=f"distance ({frame.unit})")


def draw_void(axes: Axes) -> None:
    """Hatch the whole of the axes; what is known is drawn over it.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Before anything else is drawn.
    """
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, zorder=-1, **VOID_STYLE))


def void_patch() -> Patch:
    """Make the entry of a legend for what is unknown.

    Returns
    -------
    matplotlib.patches.Patch
        Hatched as in `draw_void`.
    """
    from matplotlib.patches import Patch

    return Patch(label="no data", **VOID_STYLE)


def draw_compass(axes: Axes, frame: Frame, look: float | None) -> None:
    """Show above a map where north is and, when known, which way the radar looks.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Of the map.
    frame : Frame
        Of that map. Without a known orientation nothing is drawn.
    look : float or None
        Degrees clockwise from north, from the radar towards the ground.
    """
    if frame.up is None:
        return
    from matplotlib.text import OffsetFrom

    corner = OffsetFrom(axes.patch, (1.0, 1.0), unit="points")
    arrows = [(0.0, "N", INK)] if look is None else [(0.0, "N", INK), (look, "look", LOOK_COLOUR)]
    for place, (azimuth, label, colour) in enumerate(arrows):
        angle = math.radians(azimuth - frame.up)
        right, up = ARROW * math.sin(angle), ARROW * math.cos(angle)
        centre = -ARROW - SPACING * place
        style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0.0, "shrinkB": 0.0}
        axes.annotate(
            "",
            xy=(centre + right, ABOVE + up),
            xycoords=corner,
            xytext=(centre - right, ABOVE - up),
            textcoords=corner,
            arrowprops=style,
            annotation_clip=False,
        )
        axes.annotate(
            label,
            xy=(1.0, 1.0),
            xycoords="axes fraction",
            xytext=(centre - 1.3 * ARROW, ABOVE),
            textcoords=corner,
            color=colour,
            fontsize=8,
            ha="right",
            va="center",
            annotation_clip=False,
        )
