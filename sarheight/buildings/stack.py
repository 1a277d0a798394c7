"""City stacks: co-registered image series of a city.

A *city stack* is an `xarray.Dataset` on one projected grid of square cells (10 m), north up:

=================  ===========================  ====================================================
``sar``            (month, sar_band, y, x)      backscatter, linear power; NaN where missing
``optical``        (month, optical_band, y, x)  surface reflectance, 0 to 1; NaN where missing
``height``         (y, x)                       height of the buildings above the ground in metres:
                                                the mean over the built part of the cell, by area;
                                                0 where there is no building, NaN where unknown
``footprint``      (y, x)                       share of the cell that is built, 0 to 1; NaN where
                                                unknown
=================  ===========================  ====================================================

``height * footprint`` is the mean height over the whole cell. There is ``sar`` or ``optical``, or
both; ``height`` and ``footprint`` are there where the truth is known. Other variables of dims
(y, x) may come along, such as ``local_incidence`` in degrees, ``mask`` and ``fold_count`` in the
codes of `sarheight.layover`.

``month`` holds the first day of each month as datetime64, rising; ``sar_band`` some of `SAR_BANDS`
and ``optical_band`` some of `OPTICAL_BANDS`, each once. A month without an image is NaN throughout
(see `valid_months`). Variables are float32 and may be dask-backed. The attribute ``calibration``
of ``sar`` says whether it is gamma0 or sigma0, where that is known; the dataset carries the
reference system as rioxarray keeps it, and its ``provenance``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from pyproj import CRS

from sarheight.errors import StackError
from sarheight.learning.split import channel_statistics
from sarheight.output.grid import grid_transform

if TYPE_CHECKING:
    from affine import Affine
    from numpy.typing import NDArray

    from sarheight.learning.split import Part

BRIGHTEST = 1.5
"""Reflectance that at most half of an image may exceed."""
DARKEST = -0.05
"""Reflectance below which only noise may lie."""
FEW = 0.05
HIGHEST = 1000.0
"""Metres: no building is higher."""
HIGH_BUILDING = 150.0
"""Metres: hardly a building of a city is, and never half of them."""


def check_sar(image: xr.DataArray) -> None:
    """Raise unless values can be linear power.

    Power from which noise was taken off may be negative here and there, decibels are nearly
    everywhere.
    """
    known = _known(image)
    if known.size and not float(np.median(known)) > 0.0:
        msg = (
            f"found a median of {float(np.median(known)):.4g} in sar, expected linear power above "
            "0: decibels become power by 10 ** (decibels / 10)"
        )
        raise StackError(msg)


def check_optical(image: xr.DataArray) -> None:
    """Raise unless values can be reflectance."""
    known = _known(image)
    if not known.size:
        return
    middle, below = float(np.median(known)), float((known < DARKEST).mean())
    if middle > BRIGHTEST:
        msg = (
            f"found a median of {middle:.4g} in optical, expected reflectance from 0 to 1: turn "
            "digital numbers into it by sarheight.buildings.reflectance"
        )
        raise StackError(msg)
    if below > FEW:
        msg = (
            f"found {below:.0%} of optical below {DARKEST:g}, expected reflectance from 0 to 1: "
            "an offset of -1000 was probably taken off numbers of a processing baseline before "
            "04.00, which have none; see sarheight.buildings.reflectance"
        )
        raise StackError(msg)


def check_reference(dataset: xr.Dataset) -> None:
    """Raise unless height and footprint, where they are there, can be what they are said to be."""
    if "height" in dataset:
        check_heights(dataset["height"].values, "height")
    if "footprint" in dataset:
        share = _known(dataset["footprint"])
        if share.size and (share.min() < 0.0 or share.max() > 1.0 + 1e-5):
            msg = (
                f"found footprint from {share.min():.4g} to {share.max():.4g}, expected the built "
                "share of a cell, 0 to 1: divide per cent by 100"
            )
            raise StackError(msg)


def check_heights(values: NDArray[np.floating], name: str) -> None:
    """Raise unless values can be heights of buildings above the ground in metres."""
    known = values[~np.isnan(values)]
    if not known.size:
        return
    lowest, highest = float(known.min()), float(known.max())
    if lowest < 0.0:
        msg = (
            f"found heights down to {lowest:.4g} in {name}, expected metres above the ground, 0 "
            "where there is no building: if a negative number stands for no data, make it NaN; "
            "subtract the ground's height from heights above sea level"
        )
        raise StackError(msg)
    buildings = known[known > 0.0]
    usual = float(np.median(buildings)) if buildings.size else 0.0
    if highest > HIGHEST or usual > HIGH_BUILDING:
        msg = (
            f"found heights up to {highest:.4g} in {name}, half of the buildings above "
            f"{usual:.4g}; expected metres above the ground: divide centimetres by 100, decimetres "
            "by 10, and subtract the ground's height from heights above sea level"
        )
        raise StackError(msg)


def _known(image: xr.DataArray) -> NDArray[np.floating]:
    values = np.asarray(image.values)
    known: NDArray[np.floating] = values[np.isfinite(values)]
    return known


# The common form of co-registered image series of a city.

SAR_BANDS = ("vv_ascending", "vh_ascending", "vv_descending", "vh_descending")
"""Polarisation and pass of Sentinel-1's images, in the order of the published network."""
OPTICAL_BANDS = (
    *("B01", "B02", "B03", "B04", "B05", "B06"),
    *("B07", "B08", "B8A", "B09", "B11", "B12"),
)
"""Bands of Sentinel-2's surface reflectance (L2A)."""
POSTING = 10.0
"""Metres between cells."""

BANDS = {"sar": ("sar_band", SAR_BANDS), "optical": ("optical_band", OPTICAL_BANDS)}
REFERENCES = ("height", "footprint")
LARGEST_SHIFT = 0.01
"""By how much of a cell grids may differ that are one."""


def city_stack(
    *,
    sar: xr.DataArray | None = None,
    optical: xr.DataArray | None = None,
    layers: Mapping[str, xr.DataArray] | None = None,
    attributes: Mapping[str, Any] | None = None,
    posting: float | None = POSTING,
) -> xr.Dataset:
    """Put images and reference of a city together, on one grid.

    Nothing is resampled: what lies on another grid is refused, as networks take cells that have
    the same number for the same place.

    Parameters
    ----------
    sar : xarray.DataArray, optional
        Linear power, dims (month, sar_band, y, x).
    optical : xarray.DataArray, optional
        Surface reflectance, dims (month, optical_band, y, x). Months that only one of the two has
        are missing in the other.
    layers : mapping of xarray.DataArray, optional
        Variables of dims (y, x) by name: ``height``, ``footprint`` and others.
    attributes : mapping, optional
        Of the dataset.
    posting : float, optional
        Metres between cells that are expected; None for any.

    Returns
    -------
    xarray.Dataset
        A city stack, checked.

    Raises
    ------
    StackError
        If grids or reference systems differ, or something is not as `check_stack` wants it.
    """
    images = {"sar": sar, "optical": optical}
    given = {name: image for name, image in images.items() if image is not None}
    parts: dict[str, xr.DataArray] = {**given, **(layers or {})}
    if not parts:
        msg = "found neither sar nor optical images, expected one of them at least"
        raise StackError(msg)
    first = next(iter(parts))
    transform, crs = _grid(parts[first], first)
    for name, part in parts.items():
        _require_same(name, part, first, (transform, crs), parts[first])
    grid = {name: parts[first][name].values for name in ("y", "x")}
    months = np.unique(np.concatenate([_month_values(part) for part in parts.values()]))
    variables = {}
    for name, part in parts.items():
        kept = {"month", "sar_band", "optical_band", *grid}
        plain = part.drop_vars([each for each in part.coords if each not in kept])
        placed = plain.assign_coords(grid).astype(np.float32 if part.dtype.kind == "f" else None)
        placed = placed.reindex(month=months) if "month" in placed.dims else placed
        variables[name] = _in_order(placed, *BANDS[name]) if name in BANDS else placed
        variables[name].encoding = {}
    dataset = xr.Dataset(variables, attrs=dict(attributes or {}))
    written: xr.Dataset = dataset.rio.write_crs(crs)
    return check_stack(written, posting=posting)


def check_stack(dataset: object, *, posting: float | None = POSTING) -> xr.Dataset:
    """Check that a dataset is a city stack.

    Values are looked at in the first month that has any, so that a stack in chunks is not read
    as a whole.

    Parameters
    ----------
    dataset : xarray.Dataset
        As the head of this module says.
    posting : float, optional
        Metres between cells that are expected; None for any.

    Returns
    -------
    xarray.Dataset
        The same.

    Raises
    ------
    TypeError
        If it is no dataset.
    StackError
        If it is no city stack: what is wrong, and what to do.
    """
    if not isinstance(dataset, xr.Dataset):
        msg = f"found a {type(dataset).__name__}, expected an xarray.Dataset"
        raise TypeError(msg)
    present = [name for name in BANDS if name in dataset]
    if not present:
        msg = (
            f"found the variables {', '.join(map(str, dataset)) or 'of no name'}, expected sar "
            "(month, sar_band, y, x), optical (month, optical_band, y, x), or both"
        )
        raise StackError(msg)
    for name in present:
        axis, known = BANDS[name]
        _require_dims(dataset, name, ("month", axis, "y", "x"))
        _require_bands(dataset[name], axis, known)
    for name in set(map(str, dataset)) - set(BANDS):
        if dataset[name].ndim:
            _require_dims(dataset, name, ("y", "x"))
    _require_months(dataset)
    _require_posting(dataset, posting)
    for name, check in (("sar", check_sar), ("optical", check_optical)):
        if name in dataset:
            check(_first_with_values(dataset[name]))
    check_reference(dataset)
    return dataset


def valid_months(dataset: xr.Dataset) -> dict[str, NDArray[np.bool_]]:
    """Tell in which months there is an image, for each modality.

    Parameters
    ----------
    dataset : xarray.Dataset
        A city stack.

    Returns
    -------
    dict
        For ``sar`` and ``optical`` an array of shape (months,); false throughout where the
        stack does not have that modality.
    """
    found = {}
    for name in BANDS:
        if name in dataset:
            axis = BANDS[name][0]
            found[name] = dataset[name].notnull().any(dim=(axis, "y", "x")).values
        else:
            found[name] = np.zeros(dataset.sizes.get("month", 0), dtype=bool)
    return found


def month_of(time: Any) -> np.datetime64:  # noqa: ANN401  # whatever numpy takes for a time
    """Return the first day of the month in which a time lies, as a stack's months have it."""
    month: np.datetime64 = np.datetime64(time, "M").astype("datetime64[ns]")
    return month


def _in_order(image: xr.DataArray, axis: str, known: Sequence[str]) -> xr.DataArray:
    """Bring bands to the usual order; names that are not known are left for the check."""
    if axis not in image.coords:
        return image
    names = [str(name) for name in image[axis].values]
    if len(set(names)) < len(names) or not set(names) <= set(known):
        return image
    return image.sel({axis: sorted(names, key=list(known).index)})


def _month_values(part: xr.DataArray) -> NDArray[np.datetime64]:
    if "month" not in part.coords:
        return np.empty(0, dtype="datetime64[ns]")
    return np.atleast_1d(part["month"].values).astype("datetime64[ns]")


def _grid(part: xr.DataArray | xr.Dataset, name: str) -> tuple[Affine, CRS]:
    """Return transform and reference system, which must be there."""
    try:
        transform = grid_transform(part)
    except ValueError as error:
        msg = f"found no regular grid in {name}: {error}"
        raise StackError(msg) from error
    if part.rio.crs is None:
        msg = f"{name} does not say its reference system: set one with .rio.write_crs(...)"
        raise StackError(msg)
    return transform, CRS.from_user_input(part.rio.crs)


def _require_same(
    name: str, part: xr.DataArray, first: str, grid: tuple[Affine, CRS], like: xr.DataArray
) -> None:
    """Raise unless a part lies on the grid of the first."""
    transform, crs = _grid(part, name)
    advice = "resample it first, see sarheight.buildings.on_grid"
    if not crs.equals(grid[1], ignore_axis_order=True):
        msg = f"found {name} in {crs.name!r} and {first} in {grid[1].name!r}, {advice}"
        raise StackError(msg)
    shape, expected = [(each.sizes["y"], each.sizes["x"]) for each in (part, like)]
    posting = abs(grid[0].a)
    apart = np.subtract(transform[:6], grid[0][:6]) / posting
    if shape != expected or np.abs(apart).max() > LARGEST_SHIFT:
        msg = (
            f"found {name} with {shape[0]} x {shape[1]} cells of {abs(transform.a):g} m, which "
            f"begin {apart[2]:+.2f} cells east and {apart[5]:+.2f} north of those of {first}, "
            f"{expected[0]} x {expected[1]} of {posting:g} m; expected one grid: {advice}"
        )
        raise StackError(msg)


def _require_dims(dataset: xr.Dataset, name: str, expected: tuple[str, ...]) -> None:
    found = tuple(map(str, dataset[name].dims))
    if found != expected:
        msg = (
            f"found {name} with the dims ({', '.join(found)}), expected ({', '.join(expected)}): "
            "rename or transpose it, or leave it out"
        )
        raise StackError(msg)


def _require_bands(variable: xr.DataArray, axis: str, known: Sequence[str]) -> None:
    if axis not in variable.coords:
        msg = f"found no names of the bands along {axis}, expected some of {', '.join(known)}"
        raise StackError(msg)
    names = [str(name) for name in variable[axis].values]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        msg = f"found {', '.join(doubled)} more than once along {axis}, expected each band once"
        raise StackError(msg)
    strange = [name for name in names if name not in known]
    if strange or not names:
        msg = (
            f"found {', '.join(map(repr, strange)) or 'no band'} along {axis}, expected some of "
            f"{', '.join(known)}"
        )
        raise StackError(msg)


def _require_months(dataset: xr.Dataset) -> None:
    months = dataset["month"].values if "month" in dataset.coords else np.empty(0)
    if months.dtype.kind != "M" or not months.size:
        msg = (
            "found no dates along month, expected the first day of each as datetime64, such as "
            "2020-01-01"
        )
        raise StackError(msg)
    if (months != months.astype("datetime64[M]")).any() or (np.diff(months.astype(int)) <= 0).any():
        shown = ", ".join(str(month)[:10] for month in months)
        msg = f"found the months {shown}, expected first days of months, rising and each once"
        raise StackError(msg)


def _require_posting(dataset: xr.Dataset, posting: float | None) -> None:
    transform, crs = _grid(dataset, "the stack")
    metric = crs.is_projected and all(axis.unit_conversion_factor == 1.0 for axis in crs.axis_info)
    if not metric:
        msg = (
            f"found a grid in {crs.name!r}, expected a projected one in metres, such as a zone of "
            "UTM: see sarheight.buildings.on_grid"
        )
        raise StackError(msg)
    across, down = transform.a, -transform.e
    wanted = across if posting is None else posting
    if not (across > 0.0 and max(abs(across - wanted), abs(down - wanted)) < 0.01 * wanted):
        msg = (
            f"found cells of {across:g} m eastwards and {down:g} m southwards, expected "
            f"{'squares' if posting is None else f'{posting:g} m'}, north up: resample them, see "
            "sarheight.buildings.on_grid"
        )
        raise StackError(msg)


def _first_with_values(variable: xr.DataArray) -> xr.DataArray:
    """Return the first month that has values, or the last month."""
    index: Mapping[Hashable, int] = {"month": 0}
    for number in range(variable.sizes["month"]):
        index = {"month": number}
        image = variable.isel(index).load()
        if bool(image.notnull().any()):
            return image
    return variable.isel(index)


# City stacks with the bands that a network wants.


def with_bands(
    stack: xr.Dataset,
    *,
    sar_bands: Sequence[str] = SAR_BANDS,
    optical_bands: Sequence[str] = OPTICAL_BANDS,
) -> xr.Dataset:
    """Give a stack the bands that are wanted, in that order; those that it lacks are missing.

    So a network that was trained with two passes can be asked with one, as far as it does without.

    Parameters
    ----------
    stack : xarray.Dataset
        A city stack; of a modality that it does not have at all nothing is added.
    sar_bands, optical_bands : sequence of str
        Names of bands. Others are left out.

    Returns
    -------
    xarray.Dataset
        A city stack, NaN where there was no band.

    Raises
    ------
    StackError
        If it is no city stack, or a band is not known.
    """
    check_stack(stack, posting=None)
    chosen = stack
    for name, bands in (("sar", sar_bands), ("optical", optical_bands)):
        if name in stack and bands:
            chosen = chosen.reindex({BANDS[name][0]: list(bands)}, fill_value=np.nan)
        elif name in stack:
            chosen = chosen.drop_dims(BANDS[name][0])
    return check_stack(chosen, posting=None)


# Mean and spread of the bands of city stacks.

TRANSFORMS = {"sar": "decibel", "optical": "none"}


def band_statistics(
    stacks: Sequence[xr.Dataset],
    *,
    within: Sequence[Sequence[Part]] | None = None,
    sar_bands: Sequence[str] = SAR_BANDS,
    optical_bands: Sequence[str] = OPTICAL_BANDS,
) -> dict[str, list[dict[str, Any]]]:
    """Measure how the bands of stacks are to be normalised.

    Parameters
    ----------
    stacks : sequence of xarray.Dataset
        City stacks for training.
    within : sequence of sequence of Part, optional
        Parts of each that are for training; all of it by default.
    sar_bands, optical_bands : sequence of str
        Which bands, in which order.

    Returns
    -------
    dict
        For ``sar`` and ``optical`` the arguments of a `sarheight.learning.Channel` for each band:
        ``name``, ``units``, ``transform`` (decibels for power), ``mean``, ``std``. A band that no
        stack has keeps a mean of 0 and a standard deviation of 1: a network sees 0 there.

    Raises
    ------
    ValueError
        If all values of a band are the same.
    """
    wanted = {"sar": tuple(sar_bands), "optical": tuple(optical_bands)}
    return {
        name: [_channel(stacks, within, name, band) for band in bands]
        for name, bands in wanted.items()
    }


def _channel(
    stacks: Sequence[xr.Dataset],
    within: Sequence[Sequence[Part]] | None,
    name: str,
    band: str,
) -> dict[str, Any]:
    transform = TRANSFORMS[name]
    mean, std = 0.0, 1.0
    if any(np.isfinite(image.values).any() for image in _images(stacks, within, name, band)):
        mean, std = channel_statistics(_images(stacks, within, name, band), transform)
    return {"name": band, "units": "1", "transform": transform, "mean": mean, "std": std}


def _images(
    stacks: Sequence[xr.Dataset],
    within: Sequence[Sequence[Part]] | None,
    name: str,
    band: str,
) -> Iterator[xr.DataArray]:
    """Yield a band's images month by month, in the parts for training."""
    axis = BANDS[name][0]
    for index, stack in enumerate(stacks):
        if name not in stack or band not in stack[axis].values:
            continue
        pieces = [stack] if within is None else [part.of(stack) for part in within[index]]
        for piece in pieces:
            series = piece[name].sel({axis: band})
            for month in range(series.sizes["month"]):
                yield series.isel(month=month)
