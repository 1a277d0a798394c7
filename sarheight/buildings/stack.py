"""City stacks: co-registered monthly image series of a city, their checks and their files.

A *city stack* is an `xarray.Dataset` on one projected grid of square cells (10 m), north up:

=================  ===========================  ====================================================
``sar``            (month, sar_band, y, x)      backscatter, linear power; NaN where missing
``optical``        (month, optical_band, y, x)  surface reflectance, 0 to 1; NaN where missing
``height``         (y, x)                       height of the buildings above the ground in metres:
                                                the mean over the built part of the cell, by area;
                                                0 where there is no building, NaN where unknown
``footprint``      (y, x)                       built share of the cell, 0 to 1; NaN where unknown
=================  ===========================  ====================================================

``height * footprint`` is the mean height over the whole cell. A stack has ``sar``, ``optical`` or
both; ``height`` and ``footprint`` are present where the reference is known. Other variables of dims
(y, x) are allowed, such as ``local_incidence`` in degrees, ``mask`` and ``fold_count`` in the codes
of `sarheight.layover`.

``month`` holds the first day of each month as datetime64, rising; ``sar_band`` some of `SAR_BANDS`
and ``optical_band`` some of `OPTICAL_BANDS`, each once. A month without an image is NaN throughout
(see `valid_months`). Variables are float32 and may be dask-backed. The attribute ``calibration``
of ``sar`` is gamma0 or sigma0, where it is known; the dataset carries the reference system as
rioxarray keeps it, and its ``provenance``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from pyproj import CRS

from sarheight.errors import StackError
from sarheight.learning.channels import Channel, ChannelStatistics, Transform
from sarheight.output import open_result
from sarheight.output.atomic import atomic_write
from sarheight.output.grid import MapGrid, check_grid
from sarheight.output.stores import write_zarr

if TYPE_CHECKING:
    import os

    from affine import Affine
    from numpy.typing import NDArray

    from sarheight.learning.split import Part

SAR_BANDS = ("vv_ascending", "vh_ascending", "vv_descending", "vh_descending")
"""Polarisation and pass of the Sentinel-1 images, in the order of the published network."""
OPTICAL_BANDS = (
    *("B01", "B02", "B03", "B04", "B05", "B06"),
    *("B07", "B08", "B8A", "B09", "B11", "B12"),
)
"""Bands of Sentinel-2 surface reflectance (L2A)."""
BANDS = {"sar": ("sar_band", SAR_BANDS), "optical": ("optical_band", OPTICAL_BANDS)}
"""By modality the dimension of its bands, and their names."""
REFERENCE = ("height", "footprint")
POSTING = 10.0
"""Metres between cells."""
CHUNK = 256
"""Cells along a side of a stored chunk: training reads patches of about 64."""

GRID_TOLERANCE = 0.01
"""Largest difference between grids that count as one, in cells."""
MAX_MEDIAN_REFLECTANCE = 1.5
MIN_REFLECTANCE, MAX_NEGATIVE_SHARE = -0.05, 0.05
"""Reflectance below which only noise lies, and the share of cells that noise may bring there."""
MAX_HEIGHT = 1000.0
"""Height in metres that no building exceeds."""
MAX_MEDIAN_HEIGHT = 150.0
"""Height in metres that half of the buildings of a city never exceed."""
TRANSFORMS: dict[str, Transform] = {"sar": "decibel", "optical": "none"}


def city_stack(
    *,
    sar: xr.DataArray | None = None,
    optical: xr.DataArray | None = None,
    layers: Mapping[str, xr.DataArray] | None = None,
    attributes: Mapping[str, Any] | None = None,
    posting: float | None = POSTING,
) -> xr.Dataset:
    """Combine the images and the reference of a city, all on one grid.

    Nothing is resampled: images on another grid are refused, since networks take cells of the same
    index for the same place.

    Parameters
    ----------
    sar : xarray.DataArray, optional
        Linear power, dims (month, sar_band, y, x).
    optical : xarray.DataArray, optional
        Surface reflectance, dims (month, optical_band, y, x). A month that only one of the two has
        is missing in the other.
    layers : mapping of xarray.DataArray, optional
        Variables of dims (y, x) by name: ``height``, ``footprint`` and others.
    attributes : mapping, optional
        Attributes of the dataset.
    posting : float, optional
        Expected metres between cells; None for any.

    Returns
    -------
    xarray.Dataset
        A city stack, checked.

    Raises
    ------
    StackError
        If grids or reference systems differ, or the result fails `check_stack`.
    """
    images = {"sar": sar, "optical": optical}
    parts = {name: image for name, image in images.items() if image is not None}
    parts |= layers or {}
    if not parts:
        msg = "found neither sar nor optical images, expected at least one of them"
        raise StackError(msg)
    first = next(iter(parts))
    like = parts[first]
    crs = require_grid(like, first)[1]
    for name, part in parts.items():
        _require_same_grid(name, part, first, like)
    grid = {axis: like[axis].values for axis in ("y", "x")}
    months = np.unique(np.concatenate([_months_of(part) for part in parts.values()]))
    variables = {}
    for name, part in parts.items():
        kept = {"month", "sar_band", "optical_band", *grid}
        plain = part.drop_vars([each for each in part.coords if each not in kept])
        variable = plain.assign_coords(grid).astype(np.float32 if part.dtype.kind == "f" else None)
        if "month" in variable.dims:
            variable = variable.reindex(month=months)
        variables[name] = _sort_bands(variable, *BANDS[name]) if name in BANDS else variable
        variables[name].encoding = {}
    dataset = xr.Dataset(variables, attrs=dict(attributes or {}))
    written: xr.Dataset = dataset.rio.write_crs(crs)
    return check_stack(written, posting=posting)


def check_stack(dataset: object, *, posting: float | None = POSTING) -> xr.Dataset:
    """Check that a dataset is a city stack.

    Values are checked in the first month that has any, so that a chunked stack is not read as a
    whole.

    Parameters
    ----------
    dataset : xarray.Dataset
        Laid out as the documentation of `sarheight.buildings.stack` says.
    posting : float, optional
        Expected metres between cells; None for any.

    Returns
    -------
    xarray.Dataset
        The same dataset.

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
    modalities = [name for name in BANDS if name in dataset]
    if not modalities:
        msg = (
            f"found the variables {', '.join(map(str, dataset)) or 'none'}, expected sar "
            "(month, sar_band, y, x), optical (month, optical_band, y, x), or both"
        )
        raise StackError(msg)
    for name in modalities:
        axis, known = BANDS[name]
        _require_dims(dataset, name, ("month", axis, "y", "x"))
        if axis not in dataset[name].coords:
            msg = f"found no names of the bands along {axis}, expected some of {', '.join(known)}"
            raise StackError(msg)
        require_bands([str(band) for band in dataset[axis].values], known, f"bands along {axis}")
    for name in set(map(str, dataset)) - set(BANDS):
        if dataset[name].ndim:
            _require_dims(dataset, name, ("y", "x"))
    _require_months(dataset)
    _require_posting(dataset, posting)
    for name, check in (("sar", _check_sar), ("optical", check_optical)):
        if name in dataset:
            check(_first_with_values(dataset[name]))
    _check_reference(dataset)
    return dataset


def valid_months(dataset: xr.Dataset) -> dict[str, NDArray[np.bool_]]:
    """Find the months that have an image, for each modality.

    Parameters
    ----------
    dataset : xarray.Dataset
        A city stack.

    Returns
    -------
    dict
        For ``sar`` and ``optical`` an array of shape (months,), False throughout where the stack
        lacks that modality.
    """
    valid = {}
    for name, (axis, _) in BANDS.items():
        if name in dataset:
            valid[name] = dataset[name].notnull().any(dim=(axis, "y", "x")).values
        else:
            valid[name] = np.zeros(dataset.sizes.get("month", 0), dtype=bool)
    return valid


def select_bands(
    stack: xr.Dataset,
    *,
    sar_bands: Sequence[str] = SAR_BANDS,
    optical_bands: Sequence[str] = OPTICAL_BANDS,
) -> xr.Dataset:
    """Give a stack the bands that a network expects, in that order; absent bands are missing.

    So a network that was trained on two passes can be applied to a stack of one.

    Parameters
    ----------
    stack : xarray.Dataset
        A city stack; a modality that it lacks altogether is not added.
    sar_bands, optical_bands : sequence of str
        Names of bands. Others are dropped.

    Returns
    -------
    xarray.Dataset
        A city stack, NaN in bands that were absent.

    Raises
    ------
    StackError
        If it is no city stack, or a band is unknown.
    """
    selected = check_stack(stack, posting=None)
    for name, bands in (("sar", sar_bands), ("optical", optical_bands)):
        if name in stack and bands:
            selected = selected.reindex({BANDS[name][0]: list(bands)}, fill_value=np.nan)
        elif name in stack:
            selected = selected.drop_dims(BANDS[name][0])
    return check_stack(selected, posting=None)


def write_stack(
    stack: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a city stack as a Zarr store, in chunks suited to reading patches.

    Parameters
    ----------
    stack : xarray.Dataset
        A city stack; a dask-backed one is computed chunk by chunk.
    path : path-like
        A name that ends in ``.zarr``.
    overwrite : bool
        Whether an existing store may be replaced.

    Returns
    -------
    pathlib.Path
        The store.

    Raises
    ------
    StackError
        If it is no city stack.
    OutputError
        If it cannot be written.
    """
    checked = check_grid(check_stack(stack, posting=None))
    with atomic_write(path, overwrite=overwrite, suffixes=(".zarr",)) as work:
        write_zarr(checked, work, chunk=CHUNK, shard=None)
    return Path(path)


def open_stack(
    path: str | os.PathLike[str],
    *,
    chunks: Any = None,  # noqa: ANN401  # as xarray has it
) -> xr.Dataset:
    """Open a city stack.

    Parameters
    ----------
    path : path-like
        A ``.zarr``, as `write_stack` writes it, or a ``.nc``.
    chunks : None, int, str or mapping, optional
        None reads all into memory; else the dask chunks, ``{}`` for those of the file.

    Returns
    -------
    xarray.Dataset
        A city stack, checked.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StackError
        If it is no city stack.
    """
    return check_stack(open_result(path, chunks=chunks), posting=None)


# Arrays on the grid of another, months, and statistics of bands.


def on_grid_of(
    like: xr.DataArray | xr.Dataset,
    values: NDArray[Any],
    leading: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Return values of shape (..., rows, columns) on the grid of `like`.

    `leading` has the names and coordinates of the dims before (y, x).
    """
    coordinates = {**(leading or {}), **{axis: like[axis].values for axis in ("y", "x")}}
    image = xr.DataArray(values, dims=tuple(coordinates), coords=coordinates, attrs=attributes)
    written: xr.DataArray = image.rio.write_crs(like.rio.crs)
    return written


def month_start(time: Any) -> np.datetime64:  # noqa: ANN401  # whatever numpy takes for a time
    """Return the first day of the month of a time."""
    month: np.datetime64 = np.datetime64(time, "M").astype("datetime64[ns]")
    return month


def band_statistics(
    stacks: Sequence[xr.Dataset],
    *,
    within: Sequence[Sequence[Part]] | None = None,
    sar_bands: Sequence[str] = SAR_BANDS,
    optical_bands: Sequence[str] = OPTICAL_BANDS,
) -> dict[str, list[Channel]]:
    """Measure mean and standard deviation of bands over stacks, or over parts of each.

    Returns channels by modality. A band that no stack has keeps a mean of 0 and a standard
    deviation of 1: a network sees 0 there.
    """
    channels = {}
    for name, bands in (("sar", sar_bands), ("optical", optical_bands)):
        found = ChannelStatistics([Channel(band, "1", TRANSFORMS[name]) for band in bands])
        for band in bands:
            for image in _images(stacks, within, name, band):
                found.update({band: image.values})
        channels[name] = found.channels(allow_empty=True)
    return channels


def _images(
    stacks: Sequence[xr.Dataset],
    within: Sequence[Sequence[Part]] | None,
    name: str,
    band: str,
) -> Iterator[xr.DataArray]:
    """Yield the images of a band month by month, within the parts of each stack."""
    axis = BANDS[name][0]
    for index, stack in enumerate(stacks):
        if name not in stack or band not in stack[axis].values:
            continue
        pieces = [stack] if within is None else [part.of(stack) for part in within[index]]
        for piece in pieces:
            series = piece[name].sel({axis: band})
            for month in range(series.sizes["month"]):
                yield series.isel(month=month)


# Checks of values.


def check_optical(image: xr.DataArray) -> None:
    """Raise unless values can be reflectance."""
    known = _finite(image)
    if not known.size:
        return
    median, negative = float(np.median(known)), float((known < MIN_REFLECTANCE).mean())
    if median > MAX_MEDIAN_REFLECTANCE:
        msg = (
            f"found a median of {median:.4g} in optical, expected reflectance from 0 to 1: convert "
            "digital numbers by sarheight.buildings.reflectance"
        )
        raise StackError(msg)
    if negative > MAX_NEGATIVE_SHARE:
        msg = (
            f"found {negative:.0%} of optical below {MIN_REFLECTANCE:g}, expected reflectance from "
            "0 to 1: an offset of -1000 was probably added to numbers of a processing baseline "
            "before 04.00, which need none; see sarheight.buildings.reflectance"
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
    median = float(np.median(buildings)) if buildings.size else 0.0
    if highest > MAX_HEIGHT or median > MAX_MEDIAN_HEIGHT:
        msg = (
            f"found heights up to {highest:.4g} in {name}, half of the buildings above "
            f"{median:.4g}; expected metres above the ground: divide centimetres by 100, "
            "decimetres by 10, and subtract the ground's height from heights above sea level"
        )
        raise StackError(msg)


def _check_sar(image: xr.DataArray) -> None:
    """Raise unless values can be linear power.

    After noise subtraction power may be negative in places; decibels are nearly everywhere.
    """
    known = _finite(image)
    if known.size and not float(np.median(known)) > 0.0:
        msg = (
            f"found a median of {float(np.median(known)):.4g} in sar, expected linear power above "
            "0: convert decibels by 10 ** (decibels / 10)"
        )
        raise StackError(msg)


def _check_reference(dataset: xr.Dataset) -> None:
    """Raise unless height and footprint, where present, are metres and shares."""
    if "height" in dataset:
        check_heights(dataset["height"].values, "height")
    if "footprint" in dataset:
        share = _finite(dataset["footprint"])
        if share.size and (share.min() < 0.0 or share.max() > 1.0 + 1e-5):
            msg = (
                f"found footprint from {share.min():.4g} to {share.max():.4g}, expected the built "
                "share of a cell, 0 to 1: divide per cent by 100"
            )
            raise StackError(msg)


def _finite(image: xr.DataArray) -> NDArray[np.floating]:
    values = np.asarray(image.values)
    known: NDArray[np.floating] = values[np.isfinite(values)]
    return known


def _first_with_values(variable: xr.DataArray) -> xr.DataArray:
    """Return the first month that has values, or the last month."""
    for month in range(variable.sizes["month"]):
        image = variable.isel(month=month).load()
        if bool(image.notnull().any()):
            break
    return image


# Checks of grids, dims, bands and months.


def require_grid(image: xr.DataArray | xr.Dataset, name: str) -> tuple[Affine, CRS]:
    """Return transform and reference system, or raise where an image lacks one of them."""
    if image.rio.crs is None:
        msg = f"{name} states no reference system: set one with .rio.write_crs(...)"
        raise StackError(msg)
    try:
        return MapGrid.of(image).transform, CRS.from_user_input(image.rio.crs)
    except ValueError as error:
        msg = f"found no regular grid in {name}: {error}"
        raise StackError(msg) from error


def require_bands(
    found: Sequence[str],
    known: Sequence[str],
    what: str,
    *,
    least: int = 1,
    kind: type[ValueError] = StackError,
) -> None:
    """Raise unless all names are known ones, each once."""
    wrong = [repr(name) for name in found if name not in known]
    wrong += [f"{name!r} more than once" for name, n in Counter(found).items() if n > 1]
    if wrong or len(found) < least:
        msg = (
            f"found {', '.join(wrong) or 'none'} among the {what}, expected some of "
            f"{', '.join(known)}, each once"
        )
        raise kind(msg)


def _require_same_grid(name: str, part: xr.DataArray, first: str, like: xr.DataArray) -> None:
    """Raise unless a part lies on the grid of the first."""
    (transform, crs), (expected, expected_crs) = require_grid(part, name), require_grid(like, first)
    advice = "resample it first, see sarheight.buildings.resample_image"
    if not crs.equals(expected_crs, ignore_axis_order=True):
        msg = f"found {name} in {crs.name!r} and {first} in {expected_crs.name!r}: {advice}"
        raise StackError(msg)
    shape, expected_shape = [(each.sizes["y"], each.sizes["x"]) for each in (part, like)]
    posting = abs(expected.a)
    # Elements 2 and 5 of a transform are the corner, the others the steps between cells.
    shift = np.subtract(transform[:6], expected[:6]) / posting
    if shape != expected_shape or np.abs(shift).max() > GRID_TOLERANCE:
        msg = (
            f"found {name} with {shape[0]} x {shape[1]} cells of {abs(transform.a):g} m, whose "
            f"corner lies {shift[2]:+.2f} cells east and {shift[5]:+.2f} north of that of {first}, "
            f"{expected_shape[0]} x {expected_shape[1]} of {posting:g} m; expected one grid: "
            f"{advice}"
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
    """Raise unless cells are squares of a projected grid in metres, north up."""
    transform, crs = require_grid(dataset, "the stack")
    metric = crs.is_projected and all(axis.unit_conversion_factor == 1.0 for axis in crs.axis_info)
    if not metric:
        msg = (
            f"found a grid in {crs.name!r}, expected a projected one in metres, such as a zone of "
            "UTM: see sarheight.buildings.resample_image"
        )
        raise StackError(msg)
    eastwards, southwards = transform.a, -transform.e
    expected = eastwards if posting is None else posting
    error = max(abs(eastwards - expected), abs(southwards - expected))
    if not (eastwards > 0.0 and error < GRID_TOLERANCE * expected):
        msg = (
            f"found cells of {eastwards:g} m eastwards and {southwards:g} m southwards, expected "
            f"{'squares' if posting is None else f'{posting:g} m'}, north up: resample them, see "
            "sarheight.buildings.resample_image"
        )
        raise StackError(msg)


def _sort_bands(image: xr.DataArray, axis: str, known: Sequence[str]) -> xr.DataArray:
    """Sort bands into the usual order; `check_stack` deals with unknown and repeated ones."""
    if axis not in image.coords:
        return image
    names = [str(name) for name in image[axis].values]
    if len(set(names)) < len(names) or not set(names) <= set(known):
        return image
    return image.sel({axis: sorted(names, key=list(known).index)})


def _months_of(part: xr.DataArray) -> NDArray[np.datetime64]:
    if "month" not in part.coords:
        return np.empty(0, dtype="datetime64[ns]")
    return np.atleast_1d(part["month"].values).astype("datetime64[ns]")
