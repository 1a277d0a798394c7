"""What a result must be before it can be written: grids on regular posting with a known CRS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
from affine import Affine

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

NODATA_NAMES = ("_FillValue", "missing_value", "nodata")
SPATIAL = ("y", "x")
LARGEST_POSTING_ERROR = 0.01


def nodata_value(variable: xr.DataArray) -> Any:  # noqa: ANN401  # of the variable's type
    """Find the value that stands for "nothing known here" in a variable.

    Parameters
    ----------
    variable : xarray.DataArray
        Any variable of a result.

    Returns
    -------
    numpy scalar or None
        Of the variable's type: what ``_FillValue``, ``missing_value`` or ``nodata`` says among
        its attributes or in its encoding. Without these NaN for floating-point variables and
        None for others.
    """
    if variable.dtype.kind not in "iuf":
        return None
    for source in (variable.attrs, variable.encoding):
        for name in NODATA_NAMES:
            if source.get(name) is not None:
                return variable.dtype.type(source[name])
    return variable.dtype.type(np.nan) if variable.dtype.kind == "f" else None


def check_grid(dataset: xr.Dataset) -> xr.Dataset:
    """Check a result, and give its grid mapping and nodata one form.

    Parameters
    ----------
    dataset : xarray.Dataset
        Variables of dims (..., y, x), with coordinates and a CRS.

    Returns
    -------
    xarray.Dataset
        The same data. Each variable names its grid mapping and its ``_FillValue`` in its
        encoding and nothing else there; the grid mapping holds the transform of the grid
        as it is now.

    Raises
    ------
    TypeError
        When `dataset` is not a Dataset.
    ValueError
        When it is empty, has no CRS, or its posting is not regular.
    """
    if not hasattr(dataset, "data_vars"):
        msg = f"expected an xarray.Dataset to write, got {type(dataset).__name__}"
        raise TypeError(msg)
    if not dataset.data_vars:
        msg = "the dataset has no variables: there is nothing to write"
        raise ValueError(msg)
    transform = grid_transform(dataset)
    crs = dataset.rio.crs
    if crs is None:
        msg = "the dataset has no CRS: set one with dataset.rio.write_crs(...)"
        raise ValueError(msg)
    result: xr.Dataset = dataset.copy()
    # rioxarray copies all the data unless it is told that this copy is its own.
    result.rio.write_crs(crs, inplace=True).rio.write_coordinate_system(inplace=True)
    result.rio.write_transform(transform, inplace=True)
    for name, variable in result.data_vars.items():
        nodata = nodata_value(dataset[name])
        for attribute in ("grid_mapping", *NODATA_NAMES):
            variable.attrs.pop(attribute, None)
        variable.encoding = {"_FillValue": nodata, "grid_mapping": result.rio.grid_mapping}
    return result


def grid_transform(grid: xr.Dataset | xr.DataArray) -> Affine:
    """Compute the affine transform of a grid from its coordinates.

    Parameters
    ----------
    grid : xarray.Dataset or xarray.DataArray
        With coordinates ``y`` and ``x`` of the cell centres.

    Returns
    -------
    affine.Affine
        From (column, row), whose integers are cell corners, to (x, y).

    Raises
    ------
    ValueError
        When a coordinate is missing, has fewer than two values, or is not regular.
    """
    steps = {name: _posting(grid, name) for name in SPATIAL}
    first = {name: float(grid[name].values[0]) - steps[name] / 2 for name in SPATIAL}
    return Affine(steps["x"], 0.0, first["x"], 0.0, steps["y"], first["y"])


def _posting(grid: xr.Dataset | xr.DataArray, name: str) -> float:
    """Return the step of a regular coordinate."""
    if name not in grid.coords or grid[name].ndim != 1 or grid[name].size < 2:
        msg = f"the grid needs a one-dimensional coordinate '{name}' with two or more values"
        raise ValueError(msg)
    values = grid[name].values.astype(np.float64)
    step = float(values[-1] - values[0]) / (values.size - 1)
    error = np.abs(values - (values[0] + step * np.arange(values.size))).max()
    if not error < LARGEST_POSTING_ERROR * abs(step):
        msg = f"the coordinate '{name}' is not regular: its values stray {error:g} from even steps"
        raise ValueError(msg)
    return step


def plain_attributes(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Turn attributes that no file format can hold (mappings, None, truth values) into JSON text.

    Parameters
    ----------
    attributes : mapping
        The attributes of a variable or dataset.

    Returns
    -------
    dict
        The same names, with values that are text, numbers or lists of these.
    """
    return {str(name): _plain(value) for name, value in attributes.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401  # attributes can be anything
    if isinstance(value, str | int | float | np.number | np.ndarray) and not isinstance(
        value, bool
    ):
        return value
    if isinstance(value, list | tuple) and all(
        isinstance(item, str | int | float | np.number) for item in value
    ):
        return list(value)
    return to_json(value)


def to_json(value: Any) -> str:  # noqa: ANN401
    """Write a value as JSON text: arrays as lists, what JSON does not know as its text.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    str
        JSON in ASCII, on one line.
    """
    return json.dumps(value, default=_jsonable)


def _jsonable(value: Any) -> Any:  # noqa: ANN401
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
