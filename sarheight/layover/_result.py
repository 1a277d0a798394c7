"""What a reconstruction returns: variables on the DEM's grid, and an account of the energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.inverse import points_at_height
from sarheight_kernels.resample import sample_image

from sarheight.geometry._pixels import pixel_areas

if TYPE_CHECKING:
    from sarheight.geometry._view import View
    from sarheight.layover._passes import Pass, Share
    from sarheight.layover._posterior import Estimate
    from sarheight.scene import Scene

__all__ = [
    "Variables",
    "balance",
    "combine",
    "describe",
    "geocoded",
    "pass_dataset",
    "variables_of",
]

Variables = dict[str, tuple[NDArray[Any], dict[str, Any]]]
"""By name the values and attributes of a variable."""

PER_PASS = ("look_azimuth", "look_side", "orbit_source")
"""Attributes of a single result that become coordinates along ``pass``."""


def geocoded(scene: Scene, one: Pass) -> Variables:
    """Sample sigma0 on the ellipsoid at the cells: geocoding as it is done today."""
    image = np.where(one.valid, one.energy, np.float32(np.nan))
    for block, areas in pixel_areas(scene.grid, one.view.radar, "sigma0").blocks(scene.grid.lines):
        image[:, block] /= areas
    values = np.empty((image.shape[0], *one.view.heights.shape), dtype=np.float32)
    sample_image(one.view.ground, one.view.radar, one.view.heights, one.view.bounds, image, values)
    attributes = {"long_name": "sigma0 on the ellipsoid, geocoded as usual", "units": "1"}
    return {"sigma0_geocoded": (values, attributes)}


def _look_azimuth(seen: View) -> float:
    """Direction from the radar to the ground at the image's middle, degrees from north."""
    grid = seen.grid
    line = np.full(2, 0.5 * (grid.lines - 1))
    sample = np.array([0.0, grid.samples - 1.0])
    slant_range = grid.slant_range(line, sample)
    longitude, latitude = np.empty(2), np.empty(2)
    points_at_height(
        seen.radar,
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


def balance(estimate: Estimate, smallest_area: float) -> Estimate:
    """Scale an estimate by one factor so that all energy is given out.

    What the reported cells hold and what the others were given is then what there was to give.

    Parameters
    ----------
    estimate : Estimate
        Reflectivity of the cells.
    smallest_area : float
        Projected area in square metres below which a cell has no value.
    """
    share = estimate.share
    reported = _reported(estimate.reflectivity, share, smallest_area)
    given = share.energy - np.sum(_own(share), axis=(1, 2), where=~reported)
    held = np.sum(estimate.reflectivity * share.expected, axis=(1, 2), where=reported)
    factor = np.divide(given, held, out=np.ones_like(held), where=held > 0.0)
    return replace(estimate, reflectivity=estimate.reflectivity * factor[:, None, None])


def _reported(
    reflectivity: NDArray[np.float64], share: Share, smallest_area: float
) -> NDArray[np.bool_]:
    """Tell which cells have a value, shape (polarisations, rows, columns)."""
    seen = (share.area >= smallest_area) & (share.expected > 0.0)
    reported: NDArray[np.bool_] = np.isfinite(reflectivity) & seen
    return reported


def _own(share: Share) -> NDArray[np.float64]:
    """Energy that each cell was given, shape (polarisations, rows, columns), in square metres."""
    return np.nan_to_num(share.reflectivity) * share.expected


def variables_of(
    one: Pass, estimate: Estimate, angles: Variables, smallest_area: float
) -> tuple[Variables, dict[str, list[float]]]:
    """Turn reflectivities into backscatter, and account for the energy.

    Parameters
    ----------
    one : Pass
        The image over the DEM.
    estimate : Estimate
        Reflectivity of the cells.
    angles : dict
        Incidence angles in degrees and their attributes.
    smallest_area : float
        Projected area in square metres below which a cell has no value.

    Returns
    -------
    variables : dict
        Values, shape (polarisations, rows, columns) or (rows, columns), and attributes.
    account : dict
        Energies in square metres by polarisation.
    """
    share = estimate.share
    reported = _reported(estimate.reflectivity, share, smallest_area)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected_gamma = share.expected / share.area
    gamma = np.where(reported, estimate.reflectivity * expected_gamma, np.nan)
    sigma = gamma * np.cos(np.radians(angles["local_incidence"][0]))
    # Errors of the model show in how cells differ; speckle is there in the best of them too.
    variance = gamma**2 * (estimate.relative_variance + share.speckle / one.view.grid.looks)
    power = {"units": "1"}
    variables: Variables = {
        "sigma0": (
            sigma.astype(np.float32),
            {"long_name": "reconstructed sigma0, per area of the surface", **power},
        ),
        "gamma0": (
            gamma.astype(np.float32),
            {"long_name": "reconstructed gamma0, per projected area", **power},
        ),
        "gamma0_variance": (
            variance.astype(np.float32),
            {"long_name": "variance of the reconstructed gamma0", **power},
        ),
        "contribution_share": (
            np.where(reported.any(axis=0), share.contribution, np.nan).astype(np.float32),
            {"long_name": "mean share of the cell in the energy of its pixels", **power},
        ),
        "projected_area": (
            np.where(np.isfinite(one.view.heights), share.area, np.nan).astype(np.float32),
            {"long_name": "lit area with data, projected along the line of sight", "units": "m2"},
        ),
        **angles,
    }
    account = {
        "energy_cells": np.nansum(gamma * share.area, axis=(1, 2)),
        "energy_withheld": np.sum(_own(share), axis=(1, 2), where=~reported),
        "energy_explained": share.energy,
        "energy_image": one.energy.sum(axis=(1, 2), dtype=np.float64),
    }
    return variables, {name: values.tolist() for name, values in account.items()}


def pass_dataset(
    scene: Scene, one: Pass, variables: Variables, account: Mapping[str, list[float]]
) -> xr.Dataset:
    """Put the variables of one pass on the DEM's grid.

    Parameters
    ----------
    scene : Scene
        The image.
    one : Pass
        The image over the DEM.
    variables : dict
        Values of shape (polarisations, rows, columns) or (rows, columns), and attributes.
    account : mapping
        Energies, for the attributes.
    """
    several = "polarisation" in scene.image.dims
    result = one.view.dataset({})
    for name, (values, attributes) in variables.items():
        layered = values.ndim == 3
        dims = ("polarisation", "y", "x") if layered and several else ("y", "x")
        found = values[0] if layered and not several else values
        result[name] = (dims, found, {**attributes, "grid_mapping": "spatial_ref"})
    if several and "polarisation" in scene.image.coords:
        result = result.assign_coords(polarisation=scene.image.coords["polarisation"].values)
    return result.assign_attrs(
        title="Reconstructed radar backscatter",
        look_azimuth=_look_azimuth(one.view),
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
