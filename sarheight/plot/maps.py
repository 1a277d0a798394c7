"""Maps in one pair of axes: scale, north, radar direction and legend; decibels, and classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj

from sarheight._runtime import nodata_value

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.patches import Patch

LARGEST_SIDE = 1500  # pixels of a picture
DEFAULT_POSTING = 30.0  # metres, for the hill shading of grids without CRS


@dataclass(frozen=True)
class Frame:
    """Size and orientation of a map picture whose rows run from top to bottom."""

    width: float  # width, height: in `unit`
    height: float
    unit: str  # ``"km"``, or ``"cells"`` where the CRS is not known
    up: float | None  # azimuth of the upward direction at the centre, degrees from north
    corner: str = ""  # latitude and longitude of the lower left

    @classmethod
    def of(cls, grid: xr.DataArray) -> Frame:
        """Measure a map of dims (..., y, x) along the lines through its centre."""
        rows, columns = grid.sizes["y"], grid.sizes["x"]
        crs = grid.rio.crs
        if crs is None or min(rows, columns) < 2 or not {"x", "y"} <= set(grid.coords):
            return cls(columns, rows, "cells", None)
        x, y = (grid[name].values.astype(np.float64) for name in ("x", "y"))
        middle = (x[0] + x[-1]) / 2, (y[0] + y[-1]) / 2
        to_degrees = pyproj.Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True)
        left, right, top, bottom, centre, above = np.transpose(
            to_degrees.transform(
                [x[0], x[-1], *[middle[0]] * 4],
                [middle[1], middle[1], y[0], y[-1], middle[1], middle[1] + y[0] - y[1]],
            )
        )
        start, end = np.array([left, bottom, centre]), np.array([right, top, above])
        up, _, distance = pyproj.Geod(ellps="WGS84").inv(*start.T, *end.T)
        width = distance[0] * columns / (columns - 1) / 1000
        height = distance[1] * rows / (rows - 1) / 1000
        east, north = to_degrees.transform(x[0], y[-1])
        return cls(width, height, "km", up[2], degrees_text(north, east))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top for matplotlib."""
        return 0.0, self.width, 0.0, self.height


def degrees_text(latitude: float, longitude: float) -> str:
    """Return a place as text, such as ``46.012° N, 10.003° E``."""
    sides = "S" if latitude < 0.0 else "N", "W" if longitude < 0.0 else "E"
    return f"{abs(latitude):.3f}° {sides[0]}, {abs(longitude):.3f}° {sides[1]}"


def map_view(grid: xr.DataArray) -> xr.DataArray:
    """Order a map for display: first row at the top, first column at the left."""
    if set(grid.dims) != {"y", "x"}:
        msg = f"expected a map of dims (y, x), got {grid.dims}; choose one entry of the others"
        raise ValueError(msg)
    grid = grid.transpose("y", "x")
    for name, sign in (("y", -1), ("x", 1)):
        if name in grid.coords and sign * (grid[name][-1] - grid[name][0]) < 0:
            grid = grid.isel({name: slice(None, None, -1)})
    return grid


def valid_cells(variable: xr.DataArray) -> np.ndarray[Any, Any]:
    """Return where a variable is neither NaN nor its nodata value."""
    values = variable.values
    nodata = nodata_value(variable)
    if values.dtype.kind == "f":
        return np.asarray(~np.isnan(values) & (values != nodata))
    return np.ones(values.shape, dtype=bool) if nodata is None else np.asarray(values != nodata)


def average_blocks(values: np.ndarray[Any, Any], step: int = 0) -> np.ndarray[Any, Any]:
    """Average over blocks of a side, by default down to the size of a picture, without NaN."""
    step = step or -(-max(values.shape) // LARGEST_SIDE)
    if step == 1:
        return values
    padding = [(0, -size % step) for size in values.shape]
    padded = np.pad(values.astype(np.float64), padding, constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    valid = np.isfinite(blocks)
    count = valid.sum(axis=(1, 3))
    total = np.where(valid, blocks, 0.0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def subsample(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return every n-th row and column of codes, which cannot be averaged."""
    step = -(-max(values.shape) // LARGEST_SIDE)
    return values[::step, ::step]


def thinning(layer: xr.DataArray | xr.Dataset) -> int:
    """Return how many rows and columns of a layer on dask become one in a picture; 1 in memory."""
    dims = [dim for dim in ("y", "x", "line", "sample") if dim in layer.sizes]
    if not layer.chunks:
        return 1
    return max(-(-layer.sizes[dim] // LARGEST_SIDE) for dim in dims)


def thinned(layer: xr.DataArray, step: int) -> xr.DataArray:
    """Bring a layer to the size of a picture, part by part: mean power, and every n-th code."""
    dims = [str(dim) for dim in ("y", "x", "line", "sample") if dim in layer.dims]
    if step == 1 or not dims:
        return layer
    if layer.dtype.kind == "f":
        nodata = nodata_value(layer)
        known = layer if nodata is None or np.isnan(nodata) else layer.where(layer != nodata)
        windows = known.coarsen(dict.fromkeys(dims, step), boundary="pad")
        small = windows.mean(keep_attrs=True)
        small = small.compute().astype(layer.dtype)
    else:
        small = layer.isel({dim: slice(None, None, step) for dim in dims}).compute()
    places = {dim: layer[dim].values for dim in dims if dim in layer.coords}
    middles = {
        dim: place[0] + (step * np.arange(small.sizes[dim]) + 0.5 * (step - 1)) * _step_of(place)
        for dim, place in places.items()
    }
    return small.assign_coords(middles)


def _step_of(places: np.ndarray[Any, Any]) -> float:
    return float(places[-1] - places[0]) / max(places.size - 1, 1)


def hillshade(relief: xr.DataArray, frame: Frame) -> np.ndarray[Any, Any]:
    """Shade a relief with light from the upper left; 0 is dark, 1 is bright."""
    from matplotlib.colors import LightSource

    heights = subsample(relief.values).astype(np.float64)
    scale = 1000.0 if frame.unit == "km" else DEFAULT_POSTING
    dx = scale * frame.width / heights.shape[1]
    dy = scale * frame.height / heights.shape[0]
    return np.asarray(LightSource(azdeg=315, altdeg=45).hillshade(heights, dx=dx, dy=dy))


# Labels, the pattern of cells without data, compass and legend.

INK = "#202020"
RADAR_COLOUR = "#D55E00"
# In points: half the length of an arrow, from one to the next, and above the map.
ARROW = 7.0
SPACING = 30.0
ABOVE = 10.0
NODATA_STYLE: dict[str, Any] = {
    # Tinted, so that it is no shade of grey of a radar image.
    "facecolor": "#dfe4f5",
    "edgecolor": "#8f9ac2",
    "hatch": "//////",
    "linewidth": 0.0,
}


def prepare_map(
    axes: Axes, grid: xr.DataArray, azimuth: float | None = None
) -> tuple[xr.DataArray, Frame]:
    """Label axes and draw the compass for a map; return it in display order, with its frame."""
    view = map_view(grid)
    frame = Frame.of(view)
    distance = f"distance ({frame.unit})"
    axes.set(
        xlabel=f"{distance} from\n{frame.corner}" if frame.corner else distance, ylabel=distance
    )
    draw_compass(axes, frame, azimuth)
    return view, frame


def draw_nodata(axes: Axes) -> None:
    """Hatch all of the axes, under the data."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, zorder=-1, **NODATA_STYLE))


def nodata_patch() -> Patch:
    """Return the legend entry of cells without data."""
    from matplotlib.patches import Patch

    return Patch(label="no data", **NODATA_STYLE)


def draw_compass(axes: Axes, frame: Frame, azimuth: float | None) -> None:
    """Draw arrows above a map: north, and the direction from the radar to the ground if known."""
    if frame.up is None:
        return
    from matplotlib.text import OffsetFrom

    corner = OffsetFrom(axes.patch, (1.0, 1.0), unit="points")
    arrows = [(0.0, "N", INK)]
    if azimuth is not None:
        arrows.append((azimuth, "look", RADAR_COLOUR))
    for index, (direction, label, colour) in enumerate(arrows):
        angle = math.radians(direction - frame.up)
        right, up = ARROW * math.sin(angle), ARROW * math.cos(angle)
        centre = -ARROW - SPACING * index
        axes.annotate(
            "",
            xy=(centre + right, ABOVE + up),
            xycoords=corner,
            xytext=(centre - right, ABOVE - up),
            textcoords=corner,
            arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 0.0, "shrinkB": 0.0},
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


# Backscatter in decibels.

PERCENTILES = (2.0, 98.0)
# In dB: limits without any value, and the smallest distance between limits.
DEFAULT_LIMITS = (-25.0, 0.0)
SMALLEST_SPAN = 1.0


def decibels(power: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert linear power to decibels: NaN stays NaN, zero and negative power is -inf."""
    power = np.asarray(power, dtype=np.float64)
    result = np.full(power.shape, -np.inf)
    result[np.isnan(power)] = np.nan
    return np.asarray(10.0 * np.log10(power, where=power > 0, out=result / 10.0))


def robust_limits(*powers: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return colour limits in dB, percentiles of all images together, robust to outliers."""
    values = np.concatenate([decibels(power).ravel() for power in powers])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return DEFAULT_LIMITS
    lower, upper = np.percentile(values, PERCENTILES)
    if upper - lower < SMALLEST_SPAN:
        lower, upper = (lower + upper - SMALLEST_SPAN) / 2, (lower + upper + SMALLEST_SPAN) / 2
    return float(lower), float(upper)


def draw_backscatter(
    axes: Axes, image: xr.DataArray, limits: tuple[float, float], azimuth: float | None = None
) -> AxesImage:
    """Draw power in decibels: maps with kilometres, radar images with lines and samples."""
    if set(image.dims) == {"line", "sample"}:
        image = image.transpose("line", "sample")
        lines, samples = image.shape
        extent, aspect = (0.0, float(samples), float(lines), 0.0), "auto"
        axes.set(xlabel="sample (range)", ylabel="line (azimuth)")
    else:
        image, frame = prepare_map(axes, image, azimuth)
        extent, aspect = frame.extent, "equal"
    power = average_blocks(np.where(valid_cells(image), image.values, np.nan))
    if np.isnan(power).any():
        draw_nodata(axes)
    values = np.maximum(decibels(power), limits[0])
    drawn = axes.imshow(
        np.ma.masked_invalid(values),
        cmap="gray",
        vmin=limits[0],
        vmax=limits[1],
        extent=extent,
        aspect=aspect,  # type: ignore[arg-type]
        interpolation="nearest",
    )
    if np.isnan(power).any():
        axes.legend(handles=[nodata_patch()], loc="lower left", fontsize=7, framealpha=0.9)
    return drawn


# Maps of classes, such as masks and fold counts.


CLEAR = "#f7f5ee"
# Colours of Okabe and Ito, which can be told apart with any colour vision.
MEANING_COLOURS = {
    "clear": CLEAR,
    "valid": CLEAR,
    "foreshortening": "#F0E442",
    "active_layover": "#D55E00",
    "passive_layover": "#E69F00",
    "layover": "#D55E00",
    "active_shadow": "#0072B2",
    "passive_shadow": "#56B4E9",
    "shadow": "#0072B2",
    "radar_shadow": "#0072B2",
}
SPARE_COLOURS = ("#CC79A7", "#009E73", "#000000", "#8C564B", "#9467BD", "#17BECF")
# Light to dark, so that a higher fold count is darker in greyscale too.
COUNT_COLOURS = ("#56B4E9", CLEAR, "#FDCF92", "#F98E52", "#D7423D", "#97204C", "#4B1144")
RELIEF_RANGE = (0.6, 1.0)
# In inches.
LEGEND_COLUMN = 1.8
LEGEND_DROP = -0.65
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
    # Cells without data stay transparent.
    picture = np.zeros((*codes.shape, 4), np.float32)
    for each in classes:
        picture[subsample(valid) & (codes == each.value)] = to_rgba(each.colour)
    if relief is not None:
        picture[..., :3] *= _brightness(relief, variable, frame)[..., np.newaxis]
    # In bytes, as matplotlib copies a picture several times.
    shown = np.rint(255.0 * picture).astype(np.uint8)
    axes.imshow(shown, extent=frame.extent, aspect="equal", interpolation="nearest")
    present = [each for each in classes if fractions[each.value] > 0]
    _draw_legend(axes, present, fractions, nodata=not valid.all())


def _brightness(relief: xr.DataArray, variable: xr.DataArray, frame: Frame) -> np.ndarray[Any, Any]:
    """Return the factor by which a relief darkens the colours of a map."""
    relief = map_view(relief)
    require_grid(relief, variable)
    dark, light = RELIEF_RANGE
    return np.asarray(dark + (light - dark) * np.nan_to_num(hillshade(relief, frame), nan=1.0))


def require_grid(relief: xr.DataArray, other: xr.DataArray | xr.Dataset) -> None:
    """Refuse a relief that has other rows and columns than a map."""
    found, expected = ((each.sizes["y"], each.sizes["x"]) for each in (relief, other))
    if found != expected:
        msg = (
            f"the relief has {found} cells and the map {expected}: bring it to the "
            "grid of the map, for example by relief.interp_like(...)"
        )
        raise ValueError(msg)


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
