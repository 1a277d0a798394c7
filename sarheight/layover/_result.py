"""What a reconstruction returns: variables on the DEM's grid, and an account of the energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.rdr2geo import points_at_height

if TYPE_CHECKING:
    from sarheight_kernels.models import RadarModel

    from sarheight.grid import RadarGrid
    from sarheight.scene import Scene

__all__ = [
    "Variables",
    "combine",
    "describe",
    "look_azimuth",
    "pass_dataset",
]

Variables = dict[str, tuple[NDArray[Any], dict[str, Any]]]
"""By name the values and attributes of a variable."""

PER_PASS = ("look_azimuth", "look_side", "orbit_source")
"""Attributes of a single result that become coordinates along ``pass``."""


def look_azimuth(grid: RadarGrid, radar: RadarModel) -> float:
    """Direction from the radar to the ground at the image's middle, degrees from north."""
    line = np.full(2, 0.5 * (grid.lines - 1))
    sample = np.array([0.0, grid.samples - 1.0])
    slant_range = grid.slant_range(line, sample)
    longitude, latitude = np.empty(2), np.empty(2)
    points_at_height(
        radar,
        grid.azimuth_time(line, slant_range),
        slant_range,
        np.zeros(2),
        longitude,
        latitude,
    )
    azimuth, _, _ = pyproj.Geod(ellps="WGS84").inv(
        *np.degrees([longitude[0], latitude[0], longitude[1], latitude[1]])
    )
    return float(azimuth % 360.0)


def describe(thing: object) -> object:
    """Describe a law or a method in a form that JSON can hold."""
    if is_dataclass(thing) and not isinstance(thing, type):
        fields = {name: np.asarray(value).tolist() for name, value in asdict(thing).items()}
        return {type(thing).__name__: fields}
    return getattr(thing, "__name__", repr(thing))


def pass_dataset(
    scene: Scene,
    empty: xr.Dataset,
    radar: RadarModel,
    variables: Mapping[str, tuple[Any, Mapping[str, Any]]],
    account: Mapping[str, list[float]],
) -> xr.Dataset:
    """Put the variables of one pass on the DEM's grid.

    Parameters
    ----------
    scene : Scene
        The image.
    empty : xarray.Dataset
        Coordinates of the DEM.
    radar : RadarModel
        The radar of the whole image.
    variables : mapping
        Values of shape (polarisations, rows, columns) or (rows, columns), and attributes.
    account : mapping
        Energies, for the attributes.
    """
    several = "polarisation" in scene.image.dims
    result = empty.copy()
    for name, (values, attributes) in variables.items():
        layered = values.ndim == 3
        dims = ("polarisation", "y", "x") if layered and several else ("y", "x")
        found = values[0] if layered and not several else values
        result[name] = (dims, found, {**attributes, "grid_mapping": "spatial_ref"})
    if several and "polarisation" in scene.image.coords:
        result = result.assign_coords(polarisation=scene.image.coords["polarisation"].values)
    return result.assign_attrs(
        title="Reconstructed radar backscatter",
        look_azimuth=look_azimuth(scene.grid, radar),
        look_side=scene.grid.look_side,
        orbit_source=scene.orbit.source,
        sarheight_version=version("sarheight"),
        **account,
    )


def combine(results: Sequence[xr.Dataset]) -> xr.Dataset:
    """Stack the results of several passes along ``pass``; the energies are summed over them."""
    energies = [name for name in results[0].attrs if name.startswith("energy_")]
    together = xr.concat(
        results,
        dim="pass",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="drop_conflicts",
    )
    for name in energies:
        together.attrs[name] = np.sum([result.attrs[name] for result in results], axis=0).tolist()
    for name in PER_PASS:
        together = together.assign_coords({name: ("pass", [each.attrs[name] for each in results])})
        together.attrs.pop(name, None)
    return together
