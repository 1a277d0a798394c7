"""Errors of building heights, and their maps.

Errors over all cells and errors over built cells are different quantities: most cells of a city
have no building and are easily estimated as 0 m, which lowers the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from sarheight.learning.metrics import HeightErrors, finite_pairs, height_errors
from sarheight.plot.figures import COLORBAR_BOX, map_panels, set_title
from sarheight.plot.maps import average_blocks, draw_nodata, prepare_map, valid_cells

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

BUILT_FROM = 1.0
"""Height in metres from which a cell of a map counts as built."""
CLASSES = (5.0, 10.0, 20.0, 40.0)
"""Limits of the classes of height in metres."""


@dataclass(frozen=True)
class BuildingErrors:
    """Errors of a map of building heights.

    Attributes
    ----------
    everywhere : HeightErrors
        Over all cells with a true height, 0 m where there is no building.
    buildings : HeightErrors
        Over cells with a true height above 0.
    classes : dict of HeightErrors
        Over classes of true heights above 0, named like ``5-10 m``; the last is open.
    iou : float
        Intersection over union of the footprints by height, see `footprint_iou`.
    built_from : float
        Threshold of `iou` in metres.
    """

    everywhere: HeightErrors
    buildings: HeightErrors
    classes: dict[str, HeightErrors]
    iou: float
    built_from: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name: rmse, ..., buildings_rmse, ..., iou, built_from."""
        figures: dict[str, float] = dict(self.everywhere.as_dict())
        figures |= {f"buildings_{name}": each for name, each in self.buildings.as_dict().items()}
        for label, errors in self.classes.items():
            figures |= {f"{label}_{name}": each for name, each in errors.as_dict().items()}
        return figures | {"iou": self.iou, "built_from": self.built_from}


def building_errors(
    estimate: ArrayLike,
    truth: ArrayLike,
    *,
    where: ArrayLike | None = None,
    built_from: float = BUILT_FROM,
) -> BuildingErrors:
    """Measure the errors of building heights.

    Cells where either is NaN are ignored.

    Parameters
    ----------
    estimate, truth : array
        Heights above the ground in metres, 0 where there is no building, of one shape.
    where : array of bool, optional
        Cells to evaluate; by default all.
    built_from : float
        Metres from which a cell counts as built, in the estimate and in the truth.

    Returns
    -------
    BuildingErrors

    Raises
    ------
    ValueError
        If shapes differ, the mask is not boolean, or `built_from` is not above 0.
    """
    estimated, expected = finite_pairs(estimate, truth, where)
    built = expected > 0.0
    groups = {
        f"{low:g}-{high:g} m": (expected > low) & (expected <= high)
        for low, high in pairwise((0.0, *CLASSES))
    }
    groups[f"{CLASSES[-1]:g} m and more"] = expected > CLASSES[-1]
    errors = partial(height_errors, estimated, expected, datum=0.0)
    return BuildingErrors(
        everywhere=errors(),
        buildings=errors(where=built),
        classes={name: errors(where=inside) for name, inside in groups.items()},
        iou=footprint_iou(estimated, expected, threshold=built_from),
        built_from=built_from,
    )


def footprint_iou(
    estimate: ArrayLike,
    truth: ArrayLike,
    *,
    threshold: float,
    where: ArrayLike | None = None,
) -> float:
    """Return the intersection over union of footprints: cells built in both, over those in either.

    Its meaning depends on the threshold. Of heights, 1 m selects every cell that a building
    touches; of built shares, 0.5 selects cells that are mostly built. The mean of the IoU over both
    classes, built and not, is another and a higher quantity.

    Parameters
    ----------
    estimate, truth : array
        Heights in metres or built shares, of one shape. Cells where either is NaN are ignored.
    threshold : float
        Least value of a built cell, in both.
    where : array of bool, optional
        Cells to evaluate; by default all.

    Returns
    -------
    float
        From 0 to 1; NaN where nothing is built in either.

    Raises
    ------
    ValueError
        If shapes differ, the mask is not boolean, or the threshold is not above 0.
    """
    if not threshold > 0.0:
        msg = (
            f"found a threshold of {threshold}, expected a number above 0: at 0 all cells are built"
        )
        raise ValueError(msg)
    estimated, expected = finite_pairs(estimate, truth, where)
    either = (estimated >= threshold) | (expected >= threshold)
    both = (estimated >= threshold) & (expected >= threshold)
    return float(both.sum() / either.sum()) if either.any() else np.nan


# Maps of building heights.

PANELS = {
    "height": ("estimated height", "metres", "cividis"),
    "height_sigma": ("standard deviation", "metres", "magma"),
    "footprint": ("built share", "share", "gray_r"),
    "novelty": ("novelty of the images", "times the usual", "inferno"),
}
PERCENTILE = 99.0
"""Percentile of the heights at the upper end of the colour scale."""
MOST_NOVEL = 3.0
"""Upper end of the scale of novelty."""
MIN_TOP = 10.0
"""Lowest upper end in metres."""


def plot_building_heights(
    result: xr.Dataset, truth: xr.DataArray | None = None, *, title: str | None = None
) -> Figure:
    """Plot building heights, with footprint and uncertainty where available.

    Parameters
    ----------
    result : xarray.Dataset
        As `sarheight.buildings.predict_buildings` returns it: ``height``, and ``footprint`` and
        ``height_sigma`` where the estimator has them.
    truth : xarray.DataArray, optional
        True heights in metres, dims (y, x), on the same colour scale.
    title : str, optional
        Above all panels.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each map.

    Raises
    ------
    ValueError
        If there are no heights.
    """
    if "height" not in result:
        msg = f"the dataset has no height: found {', '.join(map(str, result))}"
        raise ValueError(msg)
    maps = [(result[name], *style) for name, style in PANELS.items() if name in result]
    if truth is not None:
        maps.insert(1, (truth, "true height", *PANELS["height"][1:]))
    shown = [result["height"], *([] if truth is None else [truth])]
    heights = np.concatenate([each.values[valid_cells(each)] for each in shown])
    top = max(float(np.percentile(heights, PERCENTILE)), MIN_TOP) if heights.size else MIN_TOP
    limits = {"metres": top, "share": 1.0, "times the usual": MOST_NOVEL}
    figure = map_panels(result["height"], 1, len(maps))
    panels = np.ravel(figure.subplots(1, len(maps)))
    for axes, (each, name, units, colours) in zip(panels, maps, strict=True):
        view, frame = prepare_map(axes, each)
        values = average_blocks(np.where(valid_cells(view), view.values, np.nan))
        if np.isnan(values).any():
            draw_nodata(axes)
        drawn = axes.imshow(
            np.ma.masked_invalid(values),
            cmap=colours,
            vmin=0.0,
            vmax=limits[units],
            extent=frame.extent,
            interpolation="nearest",
        )
        figure.colorbar(drawn, cax=axes.inset_axes(COLORBAR_BOX), label=units, extend="max")
        set_title(axes, name)
    if title:
        figure.suptitle(title)
    return figure
