"""Result of a reconstruction: variables on the DEM's grid, and attributes that balance the RCS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.estimation import to_backscatter
from sarheight_kernels.rdr2geo import points_at_height

from sarheight.acquisition import acquisition_time, polarisation_names
from sarheight.geometry.geo2rdr import INCIDENCES
from sarheight.layover.categories import FOLD_COUNT, MASK

if TYPE_CHECKING:
    from sarheight_kernels.models import RadarModel

    from sarheight.grid import RadarGrid
    from sarheight.layover._statistics import Balance
    from sarheight.layover.allocation import Estimate, EstimatedTile, Layers, Observation
    from sarheight.scene import Scene

POWER = {"units": "1"}
VARIABLES: dict[str, dict[str, Any]] = {
    "sigma0": {"long_name": "reconstructed sigma0, per area of the surface", **POWER},
    "gamma0": {"long_name": "reconstructed gamma0, per projected area", **POWER},
    "gamma0_variance": {"long_name": "variance of the reconstructed gamma0", **POWER},
    "contribution_share": {"long_name": "mean share of the cell in the RCS of its pixels", **POWER},
    "projected_area": {
        "long_name": "illuminated area with data, projected along the line of sight",
        "units": "m2",
    },
    **INCIDENCES,
    "own_share": {"long_name": "weight of the cell's own pixels in gamma0", **POWER},
    "borrowed_share": {"long_name": "weight of other passes in gamma0", **POWER},
    "mask": MASK,
    "fold_count": FOLD_COUNT,
    "sigma0_geocoded": {"long_name": "sigma0 on the ellipsoid, geocoded", **POWER},
}
"""All variables of a result, with their attributes."""
PER_POLARISATION = (
    "sigma0",
    "gamma0",
    "gamma0_variance",
    "own_share",
    "borrowed_share",
    "sigma0_geocoded",
)
"""Variables with a value for each polarisation."""
CODES = ("mask", "fold_count")
"""Variables of type uint8; the others are float32."""
PER_PASS = ("look_azimuth", "look_side", "orbit_source")
"""Attributes of a single result that become coordinates along ``time``."""
RCS = "rcs_"
"""Attributes with RCS in square metres begin with this."""

Values = dict[str, NDArray[Any]]
"""Values of variables by name, shape (polarisations, rows, columns) or (rows, columns)."""


def variable_shape(name: str, polarisations: int, rows: int, columns: int) -> tuple[int, ...]:
    """Return the shape of a variable's values."""
    return (polarisations, rows, columns) if name in PER_POLARISATION else (rows, columns)


def variable_type(name: str) -> type[np.generic]:
    """Return the type of a variable's values."""
    return np.uint8 if name in CODES else np.float32


def held_bytes(polarisations: int) -> int:
    """Bytes of a cell of a pass that are held at most until its variables are computed."""
    # Float32: six by polarisation, seven others; mask and fold count.
    return 24 * polarisations + 28 + 2


def hold_tile(tile: EstimatedTile, variables: Sequence[str]) -> list[Values]:
    """Return what the variables of each pass are computed from, in the tile itself."""
    passes = zip(tile.observations, tile.estimates, strict=True)
    return [_hold_pass(observation, estimate, variables) for observation, estimate in passes]


def _hold_pass(observation: Observation, estimate: Estimate, variables: Sequence[str]) -> Values:
    allocated = estimate.allocated
    values: Values = {
        "heights": observation.image.geometry.heights,
        "expected": allocated.expected,
        "sigma0": allocated.rcs,
        "gamma0": estimate.reflectivity,
        "gamma0_variance": estimate.relative_variance,
        "contribution_share": allocated.contribution,
        "projected_area": allocated.area,
        "local_incidence": observation.angles["local_incidence"],
    }
    others = {
        "own_share": estimate.own,
        "borrowed_share": estimate.borrowed,
        **observation.angles,
        "mask": observation.category,
        "fold_count": observation.fold_count,
        "sigma0_geocoded": allocated.geocoded,
    }
    values |= {
        name: layers for name, layers in others.items() if name in variables and layers is not None
    }
    core = (..., *observation.core)
    return {name: _kept_copy(layers[core]) for name, layers in values.items()}


def _kept_copy(layers: NDArray[Any]) -> NDArray[Any]:
    """Copy layers of a tile out of those of its window."""
    if layers.flags.c_contiguous:
        return layers
    copied = np.empty(layers.shape, layers.dtype)
    np.copyto(copied, layers)
    return copied


def convert_tile(
    held: Sequence[Values],
    balances: Sequence[Balance],
    least_area: float,
    variables: Sequence[str],
) -> list[Values]:
    """Turn reflectivities of each pass into backscatter, in the arrays that are held."""
    passes = zip(held, balances, strict=True)
    return [_convert_pass(one, balance, least_area, variables) for one, balance in passes]


def _convert_pass(
    held: Values, balance: Balance, least_area: float, variables: Sequence[str]
) -> Values:
    sigma = held["sigma0"]
    to_backscatter(
        balance.factor,
        balance.by_variance,
        least_area,
        held["heights"],
        held["expected"],
        held["local_incidence"],
        held["projected_area"],
        held["contribution_share"],
        held["gamma0"],
        held["gamma0_variance"],
        sigma,
    )
    shares = {
        name: _layers_or(held.get(name), usual, sigma)
        for name, usual in (("own_share", 1.0), ("borrowed_share", 0.0))
        if name in variables
    }
    held = held | shares
    return {name: held[name] for name in variables}


def _layers_or(layers: Layers | None, value: float, like: Layers) -> Layers:
    """Return layers, or a constant where cells have a value."""
    if layers is None:
        return np.where(np.isfinite(like), np.float32(value), np.float32(np.nan))
    return np.where(np.isfinite(like), layers, np.float32(np.nan)).astype(np.float32, copy=False)


def look_azimuth(grid: RadarGrid, radar: RadarModel) -> float:
    """Direction from the radar to the ground at the image's middle, degrees from north."""
    line = np.full(2, 0.5 * (grid.lines - 1))
    sample = np.array([0.0, grid.samples - 1.0])
    slant_range = grid.slant_range(line, sample)
    longitude, latitude = np.empty(2), np.empty(2)
    time = grid.azimuth_time(line, slant_range)
    points_at_height(radar, time, slant_range, np.zeros(2), longitude, latitude)
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
    template: xr.Dataset,
    radar: RadarModel,
    variables: Mapping[str, Any],
    rcs: Mapping[str, list[float]],
) -> xr.Dataset:
    """Put the variables of one pass on the DEM's grid, given by the coordinates of `template`.

    ``time`` is a scalar coordinate, and so is ``polarisation`` where there is only one.
    """
    several = scene.image.sizes.get("polarisation", 1) > 1
    result = template.copy()
    for name, values in variables.items():
        layered = values.ndim == 3
        dims = ("polarisation", "y", "x") if layered and several else ("y", "x")
        layers = values[0] if layered and not several else values
        result[name] = (dims, layers, {**VARIABLES[name], "grid_mapping": "spatial_ref"})
        if name not in CODES:
            # The mark of missing data, where rioxarray and other readers look for it.
            result[name].attrs["_FillValue"] = np.float32(np.nan)
    names = polarisation_names(scene)
    if several and "polarisation" in scene.image.coords:
        result = result.assign_coords(polarisation=names)
    elif not several and len(names) == 1:
        result = result.assign_coords(polarisation=names[0])
    result = result.assign_coords(time=acquisition_time(scene.grid, scene.orbit))
    return result.assign_attrs(
        title="Reconstructed radar backscatter",
        look_azimuth=look_azimuth(scene.grid, radar),
        look_side=scene.grid.look_side,
        orbit_source=scene.orbit.source,
        sarheight_version=version("sarheight"),
        **rcs,
    )


def combine(results: Sequence[xr.Dataset]) -> xr.Dataset:
    """Stack the results of several passes along ``time``; their RCS is added up."""
    if len(results) == 1:
        return results[0]
    stacked = xr.concat(
        results,
        dim="time",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="drop_conflicts",
    )
    for name in results[0].attrs:
        if name.startswith(RCS):
            by_pass = [result.attrs[name] for result in results]
            stacked.attrs[name] = np.sum(by_pass, axis=0).tolist()
    for name in PER_PASS:
        by_pass = [result.attrs[name] for result in results]
        stacked = stacked.assign_coords({name: ("time", by_pass)})
        stacked.attrs.pop(name, None)
    return stacked


def interval(result: xr.Dataset, probability: float = 0.8) -> xr.Dataset:
    r"""Interval that holds the true gamma0 of each cell with a probability.

    The logarithm of gamma0 is taken to be normal about its estimate,

    .. math:: \ln \gamma \sim N\left(\ln \hat\gamma, \; v / \hat\gamma^2\right),

    with the variance v of a result. It accounts for speckle, for other places in the cell's
    pixels, and for errors of a coarse DEM; not for errors of calibration or orbit, and not for a
    bias of the whole scene. The terms were adjusted to images of an independent simulator of point
    scatterers, on ground with several angular laws; see the page on the independent test for how
    often the intervals hold there.

    Parameters
    ----------
    result : xarray.Dataset
        Of `reconstruct`, with ``gamma0`` and ``gamma0_variance``, linear power.
    probability : float
        Probability with which the interval holds the true value, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        ``lower`` and ``upper``, linear power, dims of ``gamma0``; NaN where it has no value.

    Raises
    ------
    ValueError
        If the result lacks a variable, or the probability is not between 0 and 1.
    """
    from scipy.stats import norm

    missing = [name for name in ("gamma0", "gamma0_variance") if name not in result]
    if missing:
        msg = (
            f"found a result without {' and '.join(missing)}, expected both: reconstruct with "
            "variables=None, or name them"
        )
        raise ValueError(msg)
    if not 0.0 < probability < 1.0:
        msg = f"found probability={probability!r}, expected a number between 0 and 1, such as 0.8"
        raise ValueError(msg)
    gamma, variance = result["gamma0"], result["gamma0_variance"]
    distance = float(norm.ppf(0.5 * (1.0 + probability)))
    with np.errstate(divide="ignore", invalid="ignore"):
        # exp(z s) with the standard deviation s of the logarithm.
        factor = np.exp(distance * np.sqrt(variance) / abs(gamma))
    ends = {"lower": gamma / factor, "upper": gamma * factor}
    names = {"lower": "lower end", "upper": "upper end"}
    return xr.Dataset(
        {
            name: values.assign_attrs(
                long_name=f"{names[name]} of the {100.0 * probability:g} % interval of gamma0",
                units="1",
            )
            for name, values in ends.items()
        }
    )
