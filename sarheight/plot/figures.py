"""Whole figures: one map, or the panels of a scene."""

from __future__ import annotations

import math
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.acquisition import acquisitions
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
    require_grid,
    robust_limits,
    subsample,
    thinned,
    thinning,
    valid_cells,
)
from sarheight.scene import require_power

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
DRAWN = ("gamma0", "sigma0", "sigma0_geocoded", "mask", "fold_count")
"""Layers of a result that the picture of a scene shows."""
CHARACTERS = 9.0
"""Characters of a title in an inch."""
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
    require_power(_layer(intensity, "gamma0"))
    image = _select_polarisation(intensity, polarisation)
    image = thinned(image, thinning(image))
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
    step = thinning(_layer(mask, "mask"))
    if relief is not None:
        require_grid(relief, mask)
        relief = relief[::step, ::step]
    mask = thinned(mask, step)
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
    figure, axes = map_figure(_layer(count, "fold_count"), title)
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
    """Draw a result: reconstructed backscatter, the plain geocoded image, masks, the radar image.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result with some of ``gamma0`` (or ``sigma0``), ``sigma0_geocoded``, ``mask`` and
        ``fold_count``. Of several dates the first is drawn.
    image : xarray.DataArray, optional
        The radar image, linear power, dims (line, sample).
    polarisation : str, optional
        The polarisation to draw; all by default.
    relief : xarray.DataArray, optional
        Heights in metres on the grid of the dataset, to shade the maps of classes.
    title : str, optional
        Above all panels; by default the product, its date and the direction of the look.

    Returns
    -------
    matplotlib.figure.Figure
        The maps are cropped to the cells with values. Each quantity and polarisation has colours
        of its own.

    Raises
    ------
    ValueError
        When the dataset has nothing to draw, or the relief is on another grid.
    """
    title = _describe_scene(dataset) if title is None else title
    _require_dataset(dataset)
    dataset = dataset.isel(time=0) if "time" in dataset.dims else dataset
    if relief is not None:
        require_grid(relief, dataset)
    drawn = [name for name in DRAWN if name in dataset]
    if not drawn:
        msg = f"found {', '.join(map(str, dataset))}, expected some of {', '.join(DRAWN)} to draw"
        raise ValueError(msg)
    dataset, relief = _cropped(dataset[drawn], relief)
    image = None if image is None else thinned(image, thinning(image))
    powers = [
        (_select_polarisation(array, name), text)
        for array, text in _powers(dataset, image)
        for name in ([polarisation] if polarisation else _polarisations(array))
    ]
    codes = [name for name in ("mask", "fold_count") if name in dataset]
    count = len(powers) + len(codes)
    figure = map_panels(next(iter(dataset.data_vars.values())), -(-count // 2), min(count, 2))
    panels = iter(np.atleast_1d(figure.subplots(-(-count // 2), min(count, 2))).ravel())
    azimuth = _look_azimuth({**dataset.attrs, **_scalars(dataset)})
    for power, text in powers:
        axes = next(panels)
        _add_bar(figure, draw_backscatter(axes, power, _limits(power), azimuth), power, axes)
        label = power.coords["polarisation"].item() if "polarisation" in power.coords else ""
        set_title(axes, f"{text} {label}".strip())
    for name in codes:
        axes, array = next(panels), dataset[name]
        classes = mask_classes(array) if name == "mask" else count_classes()
        values = array if name == "mask" else cap_counts(array)
        draw_classes(axes, classes, values, relief, azimuth)
        set_title(axes, "layover and shadow" if name == "mask" else "fold count")
    for axes in panels:
        axes.set_axis_off()
    _set_heading(figure, title)
    return figure


def _set_heading(figure: Figure, title: str) -> None:
    """Set a title above all panels, in lines that are no longer than the figure is wide."""
    if title:
        width = int(figure.get_figwidth() * CHARACTERS)
        figure.suptitle(
            "\n".join(part for line in title.splitlines() for part in wrap(line, width))
        )


def _powers(dataset: xr.Dataset, image: xr.DataArray | None) -> Iterator[tuple[xr.DataArray, str]]:
    """Yield the layers and the image in linear power that are drawn, each with its title."""
    found = next((name for name in ("gamma0", "sigma0") if name in dataset), None)
    if found is not None:
        yield dataset[found], "reconstructed"
    if "sigma0_geocoded" in dataset:
        yield dataset["sigma0_geocoded"], "plain geocoded"
    if image is not None:
        yield image, "radar image"


def _polarisations(array: xr.DataArray) -> list[str | None]:
    """Return the names of the polarisations of an image; None for one without a dimension."""
    if "polarisation" not in array.dims:
        return [None]
    return [str(name) for name in array["polarisation"].values]


def _scalars(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the coordinates without dimensions, which those of one date are."""
    return {str(name): each.item() for name, each in dataset.coords.items() if not each.dims}


def _cropped(
    dataset: xr.Dataset, relief: xr.DataArray | None
) -> tuple[xr.Dataset, xr.DataArray | None]:
    """Cut a dataset and its relief to the cells with values; one on dask to a picture's size."""
    step = thinning(dataset)
    places = _crop(dataset.map(thinned, args=(step,))) if step > 1 else _crop(dataset)
    crop = {dim: slice(step * part.start, step * part.stop) for dim, part in places.items()}
    dataset = dataset.isel(crop)
    step = thinning(dataset)
    if relief is not None:
        relief = relief.isel(crop)[::step, ::step]
    kept = dataset.map(thinned, args=(step,), keep_attrs=True) if step > 1 else dataset
    return kept.assign_attrs(dataset.attrs), relief


def _crop(dataset: xr.Dataset) -> dict[str, slice]:
    """Return the rows and columns of a dataset in which anything has a value."""
    known = np.zeros((dataset.sizes["y"], dataset.sizes["x"]), bool)
    for variable in dataset.data_vars.values():
        if {"y", "x"} <= set(variable.dims) and variable.dtype.kind in "iuf":
            valid = variable.copy(data=valid_cells(variable))
            others = [dim for dim in variable.dims if dim not in {"y", "x"}]
            known |= valid.any(others).transpose("y", "x").values
    crop = {}
    for name, axis in (("y", 1), ("x", 0)):
        places = np.flatnonzero(known.any(axis=axis))
        if places.size:
            crop[name] = slice(int(places[0]), int(places[-1]) + 1)
    return crop


def _describe_scene(dataset: xr.Dataset) -> str:
    """Say in two lines which image a result is of: product, date, pass and look."""
    records = acquisitions(dataset.attrs)
    if not records:
        return str(dataset.attrs.get("title", ""))
    one = records[0]
    start = str(one.get("start", ""))[:16].replace("T", " ")
    azimuth = _look_azimuth({**dataset.attrs, **_scalars(dataset)})
    parts = (
        " ".join(str(one[key]) for key in ("mission", "mode", "product") if one.get(key)),
        f"{start} UTC" if start else "",
        str(one.get("orbit_state", "")),
        "" if azimuth is None else f"look to {azimuth:.0f}° ({one.get('look_side', 'right')})",
        f"first of {len(records)} images" if len(records) > 1 else "",
    )
    name = str(one.get("product_name", ""))
    return "\n".join(filter(None, (name, ", ".join(filter(None, parts)))))


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
        Above all panels; by default the first image, its date and the direction of the look.

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
        # A sum, not a mean: of a row at the edge few cells may have a value.
        row = int(np.argmax(np.nansum(np.square(change.values), axis=1)))
    if not 0 <= row < rows:
        msg = f"found row={row}, expected one of the {rows} rows, counted from 0"
        raise ValueError(msg)
    figure = map_panels(change, 2, 2)
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
    _set_heading(figure, _describe_scene(dataset) if title is None else title)
    return figure


def _draw_relief(axes: Axes, heights: xr.DataArray) -> None:
    """Draw heights as a shaded relief."""
    relief, frame = prepare_map(axes, heights)
    draw_nodata(axes)
    shade = np.where(subsample(valid_cells(relief)), hillshade(relief, frame), np.nan)
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


def map_panels(map_: xr.DataArray, rows: int, columns: int) -> Figure:
    """Make a figure of rows and columns of maps of this shape, unknown to pyplot."""
    from matplotlib.figure import Figure

    frame = Frame.of(map_) if {"y", "x"} <= set(map_.dims) else None
    ratio = frame.width / frame.height if frame else 1.0
    height = min(max(PANEL_SIDE / math.sqrt(ratio), SHORTEST_SIDE), LONGEST_SIDE)
    width = min(max(height * ratio, SHORTEST_SIDE), LONGEST_SIDE)
    margin_right, margin_top = MARGINS
    size = columns * (width + margin_right), rows * (height + margin_top)
    return Figure(figsize=size, layout="constrained")


def map_figure(variable: xr.DataArray, title: str | None) -> tuple[Figure, Axes]:
    """Make a figure with axes for one map, under a title."""
    figure = map_panels(variable, 1, 1)
    axes = figure.subplots()
    set_title(axes, title or str(variable.attrs.get("long_name", variable.name)))
    return figure, axes


def set_title(axes: Axes, title: str) -> None:
    """Set a title above the arrows of the compass."""
    axes.set_title(title, loc="left", pad=TITLE_RISE)


def _layer(layer: object, example: str) -> xr.DataArray:
    """Refuse what is no layer, such as a whole result."""
    import xarray as xr

    if isinstance(layer, xr.DataArray):
        return layer
    msg = (
        f"found {type(layer).__name__}, expected a DataArray: pass one layer, such as "
        f"result[{example!r}]"
    )
    raise TypeError(msg)


def _require_dataset(result: object) -> None:
    """Refuse what is no result, such as one layer of it."""
    import xarray as xr

    if not isinstance(result, xr.Dataset):
        msg = (
            f"found {type(result).__name__}, expected the Dataset of a result; "
            "plot.backscatter draws one layer"
        )
        raise TypeError(msg)


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
