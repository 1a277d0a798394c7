"""Maps of building heights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sarheight.plot._figures import BAR_PLACE, LONGEST_SIDE, MARGINS, PANEL_SIDE, set_title
from sarheight.plot._ground import Frame, averaged, known, map_view
from sarheight.plot._marks import draw_compass, draw_void, label_axes

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {
    "height": ("estimated height", "metres", "cividis"),
    "height_sigma": ("standard deviation", "metres", "magma"),
    "footprint": ("built share", "share", "gray_r"),
}
PERCENTILE = 99.0
LEAST_TOP = 10.0


def building_heights(
    result: xr.Dataset, truth: xr.DataArray | None = None, *, title: str | None = None
) -> Figure:
    """Draw building heights with what is known about them.

    Parameters
    ----------
    result : xarray.Dataset
        As `sarheight.predict.predict_buildings` returns it: ``height``, and ``footprint`` and
        ``height_sigma`` where they are there.
    truth : xarray.DataArray, optional
        True heights in metres of dims (y, x), drawn with the same colours.
    title : str, optional
        Above all panels.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each.

    Raises
    ------
    ValueError
        When there are no heights.
    """
    if "height" not in result:
        msg = f"the dataset has no height: found {', '.join(map(str, result))}"
        raise ValueError(msg)
    maps = [(result[name], *style) for name, style in PANELS.items() if name in result]
    if truth is not None:
        maps.insert(1, (truth, "true height", *PANELS["height"][1:]))
    shown = [result["height"], *([] if truth is None else [truth])]
    heights = np.concatenate([each.values[known(each)] for each in shown])
    top = max(float(np.percentile(heights, PERCENTILE)), LEAST_TOP) if heights.size else LEAST_TOP
    limits = {"metres": top, "share": 1.0}
    figure = _figure(result["height"], len(maps))
    panels = np.ravel(figure.subplots(1, len(maps)))
    for axes, (each, name, units, colours) in zip(panels, maps, strict=True):
        _draw(figure, axes, each, (limits[units], units, colours))
        set_title(axes, name)
    if title:
        figure.suptitle(title)
    return figure


def _draw(figure: Figure, axes: Axes, map_: xr.DataArray, style: tuple[float, str, str]) -> None:
    view = map_view(map_)
    frame = Frame.of(view)
    values = averaged(np.where(known(view), view.values, np.nan))
    if np.isnan(values).any():
        draw_void(axes)
    top, units, colours = style
    drawn = axes.imshow(
        np.ma.masked_invalid(values),
        cmap=colours,
        vmin=0.0,
        vmax=top,
        extent=frame.extent,
        interpolation="nearest",
    )
    label_axes(axes, frame)
    draw_compass(axes, frame, None)
    figure.colorbar(drawn, cax=axes.inset_axes(BAR_PLACE), label=units, extend="max")


def _figure(map_: xr.DataArray, panels: int) -> Figure:
    from matplotlib.figure import Figure

    frame = Frame.of(map_view(map_))
    height = min(PANEL_SIDE * frame.height / frame.width, LONGEST_SIDE) + MARGINS[1]
    size = panels * (PANEL_SIDE + MARGINS[0]), height
    return Figure(figsize=size, layout="constrained")
