"""Maps of classes, such as masks and fold counts, in one pair of axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.plot.maps import (
    INK,
    Frame,
    draw_nodata,
    hillshade,
    map_view,
    nodata_patch,
    prepare_map,
    subsample,
    valid_cells,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

CLEAR = "#f7f5ee"
# Colours of Okabe and Ito, which can be told apart with any colour vision.
MEANING_COLOURS = {
    "clear": CLEAR,
    "foreshortening": "#F0E442",
    "active_layover": "#D55E00",
    "passive_layover": "#E69F00",
    "layover": "#D55E00",
    "active_shadow": "#0072B2",
    "passive_shadow": "#56B4E9",
    "shadow": "#0072B2",
}
SPARE_COLOURS = ("#CC79A7", "#009E73", "#000000", "#8C564B", "#9467BD", "#17BECF")
# Light to dark, so that a higher layover multiplicity is darker in greyscale too.
COUNT_COLOURS = ("#56B4E9", CLEAR, "#FDCF92", "#F98E52", "#D7423D", "#97204C", "#4B1144")
RELIEF_RANGE = (0.6, 1.0)
# In inches.
LEGEND_COLUMN = 1.8
LEGEND_DROP = -0.5
SMALLEST_FRACTION = 0.001


@dataclass(frozen=True)
class Class:
    """One colour of a map of classes."""

    value: int
    label: str
    colour: str


def mask_classes(mask: xr.DataArray) -> list[Class]:
    """List the classes of a mask by its CF flag attributes, and codes that these do not list."""
    values = np.atleast_1d(mask.attrs.get("flag_values", ())).tolist()
    meanings = str(mask.attrs.get("flag_meanings", "")).split()
    if not values or len(values) != len(meanings):
        msg = (
            f"a mask needs as many flag_values as flag_meanings, at least one: got {len(values)} "
            f"and {len(meanings)}"
        )
        raise ValueError(msg)
    codes = np.unique(mask.values[valid_cells(mask)]).tolist()
    unlisted = sorted(set(codes) - set(values))
    colours = flag_colours(mask)
    meanings += [f"unlisted_code_{value:g}" for value in unlisted]
    spare = iter(SPARE_COLOURS * len(meanings))
    return [
        Class(value, name.replace("_", " "), colours.get(name) or next(spare))
        for value, name in zip([*values, *unlisted], meanings, strict=True)
    ]


def flag_colours(mask: xr.DataArray) -> dict[str, str]:
    """Return colours by class name: those of the attribute ``flag_colors``, then the defaults."""
    meanings = str(mask.attrs.get("flag_meanings", "")).split()
    stated = str(mask.attrs.get("flag_colors", "")).split()
    return MEANING_COLOURS | dict(zip(meanings, stated, strict=False))


def count_classes() -> list[Class]:
    """List the classes of a fold count: 0 to 5, and 6 for all above."""
    last = len(COUNT_COLOURS) - 1
    labels = ["0 (not seen)", "1 (not folded)", *(str(number) for number in range(2, last))]
    labels.append(f"{last} or more")
    return [
        Class(number, label, colour)
        for number, (label, colour) in enumerate(zip(labels, COUNT_COLOURS, strict=True))
    ]


def cap_counts(counts: xr.DataArray) -> xr.DataArray:
    """Replace counts above the last class by that class."""
    last = len(COUNT_COLOURS) - 1
    return counts.copy(
        data=np.where(valid_cells(counts), np.minimum(counts.values, last), counts.values)
    )


def draw_classes(
    axes: Axes,
    classes: list[Class],
    variable: xr.DataArray,
    relief: xr.DataArray | None,
    azimuth: float | None = None,
) -> None:
    """Draw a map of classes with the fraction of each in the legend."""
    from matplotlib.colors import to_rgba

    variable, frame = prepare_map(axes, variable, azimuth)
    valid = valid_cells(variable)
    values = variable.values
    fractions = {
        each.value: float((values[valid] == each.value).mean()) if valid.any() else 0.0
        for each in classes
    }
    if not valid.all():
        draw_nodata(axes)
    codes = subsample(values)
    picture = np.zeros((*codes.shape, 4))  # cells without data stay transparent
    for each in classes:
        picture[subsample(valid) & (codes == each.value)] = to_rgba(each.colour)
    if relief is not None:
        picture[..., :3] *= _brightness(relief, variable, frame)[..., np.newaxis]
    axes.imshow(picture, extent=frame.extent, aspect="equal", interpolation="nearest")
    present = [each for each in classes if fractions[each.value] > 0]
    _draw_legend(axes, present, fractions, nodata=not valid.all())


def _brightness(relief: xr.DataArray, variable: xr.DataArray, frame: Frame) -> np.ndarray[Any, Any]:
    """Return the factor by which a relief darkens the colours of a map."""
    relief = map_view(relief)
    if relief.shape != variable.shape:
        msg = (
            f"the relief has {relief.shape} cells and the map {variable.shape}: bring it to the "
            "grid of the map, for example by relief.interp_like(...)"
        )
        raise ValueError(msg)
    dark, light = RELIEF_RANGE
    return np.asarray(dark + (light - dark) * np.nan_to_num(hillshade(relief, frame), nan=1.0))


def _draw_legend(
    axes: Axes, classes: list[Class], fractions: dict[int, float], *, nodata: bool
) -> None:
    """Draw the legend under the map, with the fraction of each class among the valid cells."""
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    below_labels = ScaledTranslation(0.0, LEGEND_DROP, axes.figure.dpi_scale_trans)
    entries: list[Patch] = [
        Patch(
            facecolor=each.colour,
            edgecolor=INK,
            linewidth=0.4,
            label=f"{each.label}: {_percent(fractions[each.value])}",
        )
        for each in classes
    ]
    if nodata:
        entries.append(nodata_patch())
    axes.legend(
        handles=entries,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=axes.transAxes + below_labels,
        borderaxespad=0.0,
        ncols=_columns(axes),
        fontsize=8,
        frameon=False,
    )


def _columns(axes: Axes) -> int:
    """Count the columns of a legend that fit into the axes' part of the figure."""
    position = axes.get_subplotspec()
    panels = position.get_gridspec().ncols if position else 1
    return min(max(int(axes.figure.bbox.width / axes.figure.dpi / panels / LEGEND_COLUMN), 1), 3)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %" if fraction >= SMALLEST_FRACTION else "< 0.1 %"
