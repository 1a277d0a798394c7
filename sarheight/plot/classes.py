"""Maps of classes, such as masks and counts, drawn into one pair of axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.plot.maps import (
    INK,
    Frame,
    draw_compass,
    draw_void,
    hillshade,
    label_axes,
    map_view,
    subsample,
    valid_cells,
    void_patch,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

CLEAR = "#f7f5ee"
# Okabe and Ito's colours, which readers with any colour vision can tell apart.
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
# Light to dark along one hue path, so that more folds are darker in greyscale too.
COUNT_COLOURS = ("#56B4E9", CLEAR, "#FDCF92", "#F98E52", "#D7423D", "#97204C", "#4B1144")
RELIEF_RANGE = (0.6, 1.0)
# In inches.
LEGEND_COLUMN = 1.8
LEGEND_DROP = -0.5
SMALLEST_SHARE = 0.001


@dataclass(frozen=True)
class Class:
    """One colour of a map of classes."""

    value: int
    label: str
    colour: str


def mask_classes(mask: xr.DataArray) -> list[Class]:
    """List the classes of a mask from its CF flag attributes."""
    values = np.atleast_1d(mask.attrs.get("flag_values", ())).tolist()
    meanings = str(mask.attrs.get("flag_meanings", "")).split()
    if not values or len(values) != len(meanings):
        msg = (
            f"a mask needs as many flag_values as flag_meanings, at least one: got {len(values)} "
            f"and {len(meanings)}"
        )
        raise ValueError(msg)
    found = set(np.unique(mask.values[valid_cells(mask)]).tolist()) - set(values)
    colours = flag_colours(mask)
    meanings += [f"unlisted_code_{value:g}" for value in sorted(found)]
    spare = iter(SPARE_COLOURS * len(meanings))
    return [
        Class(value, name.replace("_", " "), colours.get(name) or next(spare))
        for value, name in zip([*values, *sorted(found)], meanings, strict=True)
    ]


def flag_colours(mask: xr.DataArray) -> dict[str, str]:
    """Return the colour of each class by name: those of its ``flag_colors``, or the usual ones."""
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
    """Give counts beyond the last class the value of that class."""
    last = len(COUNT_COLOURS) - 1
    return counts.copy(
        data=np.where(valid_cells(counts), np.minimum(counts.values, last), counts.values)
    )


def draw_classes(
    axes: Axes,
    classes: list[Class],
    variable: xr.DataArray,
    relief: xr.DataArray | None,
    look: float | None = None,
) -> None:
    """Draw a map of classes with a legend that tells the share of each."""
    variable = map_view(variable)
    frame = Frame.of(variable)
    valid = valid_cells(variable)
    values = variable.values
    shares = {
        each.value: float((values[valid] == each.value).mean()) if valid.any() else 0.0
        for each in classes
    }
    if not valid.all():
        draw_void(axes)
    picture = _colours(subsample(values), subsample(valid), classes)
    if relief is not None:
        picture = _over_relief(picture, _on_grid(relief, variable), frame)
    axes.imshow(picture, extent=frame.extent, aspect="equal", interpolation="nearest")
    label_axes(axes, frame)
    draw_compass(axes, frame, look)
    seen = [each for each in classes if shares[each.value] > 0]
    _draw_legend(axes, seen, shares, void=not valid.all())


def _colours(
    values: np.ndarray[Any, Any], valid: np.ndarray[Any, Any], classes: list[Class]
) -> np.ndarray[Any, Any]:
    """Colour values; what is not valid is transparent."""
    from matplotlib.colors import to_rgba

    picture = np.zeros((*values.shape, 4))
    for each in classes:
        picture[valid & (values == each.value)] = to_rgba(each.colour)
    return picture


def _over_relief(
    picture: np.ndarray[Any, Any], relief: xr.DataArray, frame: Frame
) -> np.ndarray[Any, Any]:
    """Let light and shade of a relief through the colours."""
    dark, light = RELIEF_RANGE
    shade = np.nan_to_num(hillshade(relief, frame), nan=1.0)
    tinted = picture.copy()
    tinted[..., :3] *= (dark + (light - dark) * shade)[..., np.newaxis]
    return tinted


def _on_grid(relief: xr.DataArray, variable: xr.DataArray) -> xr.DataArray:
    relief = map_view(relief)
    if relief.shape != variable.shape:
        msg = (
            f"the relief has {relief.shape} cells and the map {variable.shape}: bring it to the "
            "grid of the map, for example by relief.interp_like(...)"
        )
        raise ValueError(msg)
    return relief


def _draw_legend(axes: Axes, classes: list[Class], shares: dict[int, float], *, void: bool) -> None:
    """Put the legend under the map, with the share of each class among what is known."""
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    below_labels = ScaledTranslation(0.0, LEGEND_DROP, axes.figure.dpi_scale_trans)
    entries: list[Patch] = [
        Patch(
            facecolor=each.colour,
            edgecolor=INK,
            linewidth=0.4,
            label=f"{each.label}: {_percent(shares[each.value])}",
        )
        for each in classes
    ]
    if void:
        entries.append(void_patch())
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
    place = axes.get_subplotspec()
    across = place.get_gridspec().ncols if place else 1
    return min(max(int(axes.figure.bbox.width / axes.figure.dpi / across / LEGEND_COLUMN), 1), 3)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= SMALLEST_SHARE else "< 0.1 %"
