"""Whole figures: one map, or the four panels of a scene."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.plot.maps import (
    Frame,
    cap_counts,
    count_classes,
    draw_backscatter,
    draw_classes,
    draw_nodata,
    hillshade,
    mask_classes,
    prepare_map,
    robust_limits,
    valid_cells,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Left, bottom, width and height in parts of the axes.
COLORBAR_BOX = (1.02, 0.0, 0.03, 1.0)
# In inches: sides of a panel, and the space for labels, legend and colour bar.
PANEL_SIDE = 4.8
SHORTEST_SIDE = 2.4
LONGEST_SIDE = 8.0
MARGINS = (1.3, 1.2)
# In points.
TITLE_RISE = 19.0
INTERVAL = 1.2816
"""Half width of an interval of 80 % in standard deviations."""


def backscatter(
    intensity: xr.DataArray,
    *,
    polarisation: str | None = None,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a radar image or a map of backscatter in decibels.

    Parameters
    ----------
    intensity : xarray.DataArray
        Linear power. Dims (y, x) are drawn as a map, (line, sample) as a radar image; before
        them may come ``polarisation``. Large ones are averaged to the size of a picture. An
        attribute ``look_azimuth`` (degrees clockwise from north) adds an arrow.
    polarisation : str, optional
        The polarisation to draw; the first by default.
    limits : (float, float), optional
        Decibels of black and white; by default the 2nd and 98th percentile.
    title : str, optional
        By default the ``long_name``.

    Returns
    -------
    matplotlib.figure.Figure
        Cells without data are hatched grey.

    Raises
    ------
    ValueError
        When the dims are others, or the image lacks the polarisation.
    """
    image = _select_polarisation(intensity, polarisation)
    figure, axes = map_figure(image, title)
    drawn = draw_backscatter(axes, image, limits or _limits(image), _look_azimuth(image.attrs))
    _add_bar(figure, drawn, image, axes)
    return figure


def mask(
    mask: xr.DataArray, *, relief: xr.DataArray | None = None, title: str | None = None
) -> Figure:
    """Draw a categorical mask with a legend.

    Parameters
    ----------
    mask : xarray.DataArray
        Codes of dims (y, x), with attributes ``flag_values`` and ``flag_meanings``.
    relief : xarray.DataArray, optional
        Heights in metres on the same grid, to shade the map.
    title : str, optional
        By default the ``long_name``.

    Returns
    -------
    matplotlib.figure.Figure
        The legend gives the fraction of each class among the valid cells.

    Raises
    ------
    ValueError
        When the flag attributes are missing, or the relief is on another grid.
    """
    figure, axes = map_figure(mask, title)
    draw_classes(axes, mask_classes(mask), mask, relief, _look_azimuth(mask.attrs))
    return figure


def fold_count(
    count: xr.DataArray, *, relief: xr.DataArray | None = None, title: str | None = None
) -> Figure:
    """Draw the fold count: how many places on the ground share the slant range of a cell.

    Parameters
    ----------
    count : xarray.DataArray
        Whole numbers of dims (y, x); 1 means no layover.
    relief : xarray.DataArray, optional
        Heights in metres on the same grid, to shade the map.
    title : str, optional
        By default the ``long_name``.

    Returns
    -------
    matplotlib.figure.Figure
        The legend gives the fraction of each count among the valid cells.

    Raises
    ------
    ValueError
        When the relief is on another grid.
    """
    figure, axes = map_figure(count, title)
    draw_classes(axes, count_classes(), cap_counts(count), relief, _look_azimuth(count.attrs))
    return figure


def scene(
    dataset: xr.Dataset,
    image: xr.DataArray | None = None,
    *,
    polarisation: str | None = None,
    relief: xr.DataArray | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a result: radar image, plain geocoded, reconstructed, and fold count.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``sigma0_geocoded``, ``fold_count``, and ``sigma0``, or ``gamma0`` and
        ``local_incidence`` to compute it from.
    image : xarray.DataArray, optional
        The radar image, linear power, dims (line, sample). Without it the first panel shows the
        ``mask`` of the dataset.
    polarisation : str, optional
        The polarisation to draw; the first by default.
    relief : xarray.DataArray, optional
        Heights in metres on the grid of the dataset, to shade the maps of classes.
    title : str, optional
        Above all panels.

    Returns
    -------
    matplotlib.figure.Figure
        The two maps of backscatter have the same colours.

    Raises
    ------
    ValueError
        When a variable is missing, or the relief is on another grid.
    """
    if "sigma0" not in dataset and {"gamma0", "local_incidence"} <= set(dataset):
        cosine = np.cos(np.radians(dataset["local_incidence"]))
        dataset = dataset.assign(sigma0=dataset["gamma0"] * cosine)
    required = ["sigma0", "sigma0_geocoded", "fold_count", *(["mask"] if image is None else [])]
    missing = [name for name in required if name not in dataset]
    if missing:
        msg = f"the dataset has no {', '.join(missing)}: found {', '.join(map(str, dataset))}"
        raise ValueError(msg)
    azimuth = _look_azimuth(dataset.attrs)
    maps = {
        name: _select_polarisation(dataset[name], polarisation)
        for name in ("sigma0_geocoded", "sigma0")
    }
    limits = _limits(*maps.values())
    figure = _figure(dataset["fold_count"], 2)
    (first, geocoded), (reconstructed, folds) = figure.subplots(2, 2)
    if image is None:
        draw_classes(first, mask_classes(dataset["mask"]), dataset["mask"], relief, azimuth)
        set_title(first, "layover and shadow")
    else:
        radar = _select_polarisation(image, polarisation)
        _add_bar(figure, draw_backscatter(first, radar, _limits(radar)), radar, first)
        set_title(first, "radar image")
    for axes, power, name in (
        (geocoded, maps["sigma0_geocoded"], "plain geocoded"),
        (reconstructed, maps["sigma0"], "reconstructed"),
    ):
        _add_bar(figure, draw_backscatter(axes, power, limits, azimuth), power, axes)
        set_title(axes, name)
    draw_classes(folds, count_classes(), cap_counts(dataset["fold_count"]), relief, azimuth)
    set_title(folds, "fold count")
    if title:
        figure.suptitle(title)
    return figure


def heights(dataset: xr.Dataset, *, row: int | None = None, title: str | None = None) -> Figure:
    """Draw heights before and after: shaded relief of both, the change, and a profile.

    Heights without a ``baseline`` are drawn as one shaded relief.

    Parameters
    ----------
    dataset : xarray.Dataset
        From `terrain.refine`: ``height``, ``baseline`` and ``height_sigma`` in metres, dims
        (y, x); or from `terrain.predict_image`: ``height``.
    row : int, optional
        Row of the profile. Default: the row with the largest changes.
    title : str, optional
        Above all panels.

    Returns
    -------
    matplotlib.figure.Figure
        The profile shows intervals of 80 %; a line in the maps marks it.

    Raises
    ------
    ValueError
        When a variable is missing, or the row lies outside.
    """
    required = ("height", "height_sigma") if "baseline" in dataset else ("height",)
    missing = [name for name in required if name not in dataset]
    if missing:
        msg = f"the dataset has no {', '.join(missing)}: found {', '.join(map(str, dataset))}"
        raise ValueError(msg)
    if "baseline" not in dataset:
        figure, axes = map_figure(dataset["height"], title or "height")
        _draw_relief(axes, dataset["height"])
        return figure
    change = dataset["height"] - dataset["baseline"]
    rows = change.sizes["y"]
    if row is None:
        # Rows at the edge are not refined, and are changed least.
        row = int(np.argmax(np.nan_to_num(np.mean(np.square(change.values), axis=1))))
    if not 0 <= row < rows:
        msg = f"found row={row}, expected one of the {rows} rows, counted from 0"
        raise ValueError(msg)
    figure = _figure(change, 2)
    (before, after), (changed, profile) = figure.subplots(2, 2)
    for axes, name, text in (
        (before, "baseline", "before: coarse DEM, back-projected"),
        (after, "height", "after: refined"),
    ):
        _draw_relief(axes, dataset[name])
        set_title(axes, text)
    view, frame = prepare_map(changed, change)
    draw_nodata(changed)
    finite = np.abs(view.values[np.isfinite(view.values)])
    most = float(np.percentile(finite, 99.0)) if finite.size else 1.0
    drawn = changed.imshow(view.values, cmap="RdBu_r", vmin=-most, vmax=most, extent=frame.extent)
    figure.colorbar(drawn, cax=changed.inset_axes(COLORBAR_BOX), label="change (m)", extend="both")
    set_title(changed, "change")
    # The first row of a map is drawn at the top.
    down = row if float(dataset["y"][0]) > float(dataset["y"][-1]) else rows - 1 - row
    for axes in (before, after, changed):
        axes.axhline(frame.height * (1.0 - (down + 0.5) / rows), color="#d95f02", linewidth=0.8)
    _draw_profile(profile, dataset.isel(y=row), frame)
    if title:
        figure.suptitle(title)
    return figure


def _draw_relief(axes: Axes, heights: xr.DataArray) -> None:
    """Draw heights as a shaded relief."""
    relief, frame = prepare_map(axes, heights)
    shade = hillshade(relief, frame)
    axes.imshow(shade, cmap="gray", vmin=0.0, vmax=1.0, extent=frame.extent)


def _draw_profile(axes: Axes, line: xr.Dataset, frame: Frame) -> None:
    """Draw heights along a row, with intervals of 80 %."""
    count = line.sizes["x"]
    distance = frame.width * (np.arange(count) + 0.5) / count
    if float(line["x"][0]) > float(line["x"][-1]):
        distance = distance[::-1]
    height, sigma = (line[name].values.astype(np.float64) for name in ("height", "height_sigma"))
    axes.fill_between(
        distance,
        height - INTERVAL * sigma,
        height + INTERVAL * sigma,
        color="#1b9e77",
        alpha=0.3,
        linewidth=0.0,
        label="interval of 80 %",
    )
    axes.plot(distance, line["baseline"], color="#666666", linewidth=1.0, label="before")
    axes.plot(distance, height, color="#1b9e77", linewidth=1.2, label="after")
    axes.set(xlabel=f"distance ({frame.unit})", ylabel="height (m)", xlim=(0.0, frame.width))
    axes.legend(frameon=False, fontsize="small")
    set_title(axes, "profile along the line")


def _figure(map_: xr.DataArray, panels: int) -> Figure:
    """Make a figure of `panels` by `panels` maps of this shape, unknown to pyplot."""
    from matplotlib.figure import Figure

    frame = Frame.of(map_) if {"y", "x"} <= set(map_.dims) else None
    ratio = frame.width / frame.height if frame else 1.0
    height = min(max(PANEL_SIDE / math.sqrt(ratio), SHORTEST_SIDE), LONGEST_SIDE)
    width = min(max(height * ratio, SHORTEST_SIDE), LONGEST_SIDE)
    margin_right, margin_top = MARGINS
    size = panels * (width + margin_right), panels * (height + margin_top)
    return Figure(figsize=size, layout="constrained")


def map_figure(variable: xr.DataArray, title: str | None) -> tuple[Figure, Axes]:
    """Make a figure with axes for one map, under a title."""
    figure = _figure(variable, 1)
    axes = figure.subplots()
    set_title(axes, title or str(variable.attrs.get("long_name", variable.name)))
    return figure, axes


def set_title(axes: Axes, title: str) -> None:
    """Set a title above the arrows of the compass."""
    axes.set_title(title, loc="left", pad=TITLE_RISE)


def _select_polarisation(intensity: xr.DataArray, polarisation: str | None) -> xr.DataArray:
    """Return the image of one polarisation, the first by default."""
    if "polarisation" not in intensity.dims:
        return intensity
    if polarisation is None:
        return intensity.isel(polarisation=0)
    labels = intensity["polarisation"].values.tolist()
    if polarisation not in labels:
        msg = f"there is no polarisation {polarisation!r} here, only {', '.join(map(str, labels))}"
        raise ValueError(msg)
    return intensity.isel(polarisation=labels.index(polarisation))


def _limits(*images: xr.DataArray) -> tuple[float, float]:
    return robust_limits(*(image.values[valid_cells(image)] for image in images))


def _look_azimuth(attributes: Mapping[str, Any]) -> float | None:
    azimuth = attributes.get("look_azimuth")
    return None if azimuth is None or not np.isfinite(float(azimuth)) else float(azimuth)


def _add_bar(figure: Figure, drawn: AxesImage, image: xr.DataArray, axes: Axes) -> None:
    """Add a colour bar that names the quantity and, where there is one, the polarisation."""
    quantity = {"sigma0": "σ⁰", "sigma0_geocoded": "σ⁰", "gamma0": "γ⁰", "beta0": "β⁰"}.get(
        str(image.name), "power"
    )
    label = image.coords["polarisation"].item() if "polarisation" in image.coords else ""
    box = axes.inset_axes(COLORBAR_BOX)
    text = " ".join(part for part in (quantity, label, "(dB)") if part)
    figure.colorbar(drawn, cax=box, label=text, extend="both")
