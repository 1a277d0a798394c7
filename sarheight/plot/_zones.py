"""Maps of Local Climate Zones in the colours of WUDAPT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sarheight._climate_zones import CLIMATE_ZONES
from sarheight.plot._classes import Class, draw_classes, mask_classes
from sarheight.plot._figures import _single

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["zones"]

COLOURS = {zone.name.replace("_", " "): zone.colour for zone in CLIMATE_ZONES}
LABELS = {zone.name.replace("_", " "): zone.label for zone in CLIMATE_ZONES}


def zones(
    zone: xr.DataArray, *, relief: xr.DataArray | None = None, title: str | None = None
) -> Figure:
    """Draw a map of Local Climate Zones with a legend.

    Parameters
    ----------
    zone : xarray.DataArray
        Codes of dims (y, x), as ``zone`` of `sarheight.predict.predict_zones`, with attributes
        ``flag_values`` and ``flag_meanings``.
    relief : xarray.DataArray, optional
        Heights in metres on the same grid, to shade the map.
    title : str, optional
        By default the ``long_name``.

    Returns
    -------
    matplotlib.figure.Figure
        The legend names the zones that occur, with the share of each among the cells that are
        known.

    Raises
    ------
    ValueError
        When the flag attributes are missing, or the relief is on another grid.
    """
    figure, axes = _single(zone, title)
    classes = [
        Class(each.value, LABELS.get(each.label, each.label), COLOURS.get(each.label, each.colour))
        for each in mask_classes(zone)
    ]
    draw_classes(axes, classes, zone, relief)
    return figure
