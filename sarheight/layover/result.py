"""Result of a reconstruction: variables on the DEM's grid, and attributes that balance the RCS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.estimation import to_backscatter
from sarheight_kernels.pool import spread_rows
from sarheight_kernels.rdr2geo import points_at_height

from sarheight.acquisition import acquisition_time, polarisation_names
from sarheight.layover.categories import in_image
from sarheight.layover.layers import LAYERS, cell_bytes
from sarheight.layover.methods import DECIBELS_PER_NEPER

if TYPE_CHECKING:
    from sarheight_kernels.models import RadarModel

    from sarheight.grid import RadarGrid
    from sarheight.layover._statistics import Balance
    from sarheight.layover.allocation import Estimate, EstimatedTile, Layers, Observation
    from sarheight.scene import Scene

PER_PASS = ("look_azimuth", "look_side", "orbit_source")
"""Attributes of a single result that become coordinates along ``time``."""
RCS = "rcs_"
"""Attributes with RCS in square metres begin with this."""

Values = dict[str, NDArray[Any]]
"""Values of variables by name, shape (polarisations, rows, columns) or (rows, columns)."""


# From the estimates of a tile to the values of its layers. What computes a layer stands here under
# its name: in `_held` if it is known before the scene's balance, else in `DERIVED`.

WORKING = (
    "heights",
    "expected",
    "gamma0",
    "gamma0_variance",
    "projected_area",
    "local_incidence",
)
"""What is held whichever layers are wanted: backscatter follows from it."""
RECEIVED = "sigma0"
"""Layer that is only received with backscatter: what is held under its name is never read."""


def held_bytes(variables: Sequence[str], polarisations: int) -> int:
    """Return the bytes of a cell of a pass that are held until its layers are computed."""
    wanted = {*WORKING, *variables} - {RECEIVED}
    layers = (name for name, layer in LAYERS.items() if layer.held and name in wanted)
    # Heights, and the RCS that is expected of a cell.
    return cell_bytes(layers, polarisations) + 2 * np.dtype(np.float32).itemsize


def hold_tile(tile: EstimatedTile, variables: Sequence[str]) -> list[Values]:
    """Return what the layers of each pass are computed from, in the tile itself.

    With it comes an array that receives a layer, whether that is wanted or not.
    """
    passes = zip(tile.observations, tile.estimates, strict=True)
    held = []
    for observation, estimate in passes:
        wanted = {*WORKING, *variables, RECEIVED}
        core = (..., *observation.core)
        held.append(
            {
                name: np.ascontiguousarray(values[core])
                for name, values in _held(observation, estimate).items()
                if name in wanted and values is not None
            }
        )
    return held


def _held(observation: Observation, estimate: Estimate) -> dict[str, NDArray[Any] | None]:
    """Return layers as they are before the scene's balance is known; None where there is none."""
    allocated = estimate.allocated
    return {
        "heights": observation.image.geometry.heights,
        "expected": allocated.expected,
        RECEIVED: allocated.rcs,  # written over by `to_backscatter`
        "gamma0": estimate.reflectivity,  # times a factor
        "gamma0_variance": estimate.relative_variance,  # times gamma0 squared
        "own_share": estimate.own,
        "borrowed_share": estimate.borrowed,
        "contribution_share": allocated.contribution,
        "projected_area": allocated.area,
        "mask": in_image(observation.category, observation.fold_count),
        "fold_count": observation.fold_count,
        "sigma0_geocoded": allocated.geocoded,
        **observation.angles,
    }


def convert_tile(
    held: Sequence[Values],
    balances: Sequence[Balance],
    least_area: float,
    variables: Sequence[str],
    *,
    median: bool = False,
) -> list[Values]:
    """Turn reflectivities of each pass into backscatter, in the arrays that are held.

    Of log-normal distributions either the means are reported, or the medians.
    """
    for values, balance in zip(held, balances, strict=True):
        ratio = balance.median_over_mean(values["gamma0_variance"]) if median else None
        if RECEIVED not in values:  # it was not kept
            values[RECEIVED] = np.empty_like(values["gamma0"])
        share = values.get("contribution_share")
        to_backscatter(
            balance.factor,
            balance.by_variance,
            least_area,
            values["heights"],
            values["expected"],
            values["local_incidence"],
            values["projected_area"],
            np.empty_like(values["projected_area"]) if share is None else share,
            values["gamma0"],
            values["gamma0_variance"],
            values["sigma0"],
        )
        if ratio is not None:
            values["gamma0"] *= ratio
            values["sigma0"] *= ratio
            values["gamma0_variance"] *= np.square(ratio, out=ratio)
    return [
        {name: DERIVED[name](values) if name in DERIVED else values[name] for name in variables}
        for values in held
    ]


def _share(held: Values, name: str, usual: float) -> Layers:
    """Return shares where cells have a value; the usual one where none was computed."""
    missing = np.float32(np.nan)
    if name not in held:
        return spread_rows(
            lambda sigma0: np.where(np.isfinite(sigma0), np.float32(usual), missing),
            held["sigma0"],
        )
    return spread_rows(
        lambda sigma0, shares: np.where(np.isfinite(sigma0), shares, missing),
        held["sigma0"],
        held[name],
    )


def _decibel_deviation(gamma0: NDArray[Any], variance: NDArray[Any]) -> NDArray[Any]:
    """Return the standard deviation in decibels of values with a variance."""
    deviation: NDArray[Any] = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation /= gamma0
    deviation *= np.float32(DECIBELS_PER_NEPER)
    np.abs(deviation, out=deviation)
    return deviation


DERIVED: dict[str, Callable[[Values], NDArray[Any]]] = {
    "gamma0_std": lambda held: spread_rows(
        _decibel_deviation, held["gamma0"], held["gamma0_variance"]
    ),
    "own_share": lambda held: _share(held, "own_share", 1.0),
    "borrowed_share": lambda held: _share(held, "borrowed_share", 0.0),
}
"""How layers follow from those that are held and balanced."""


# The result.


def look_azimuth(grid: RadarGrid, radar: RadarModel) -> float:
    """Find the direction from radar to ground at the image's middle, degrees from north."""
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


@cache
def _version() -> str:
    """Return the version of the package, which is read from files."""
    return version("sarheight")


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
    layers = {}
    for name, values in variables.items():
        layered = values.ndim == 3
        dims = ("polarisation", "y", "x") if layered and several else ("y", "x")
        attributes = {**layer_attributes(name), "grid_mapping": "spatial_ref"}
        layers[name] = (dims, values[0] if layered and not several else values, attributes)
    coordinates: dict[str, Any] = {}
    names = polarisation_names(scene)
    if several:
        coordinates["polarisation"] = names
    elif len(names) == 1:
        coordinates["polarisation"] = names[0]
    coordinates["time"] = acquisition_time(scene.grid, scene.orbit)
    # All at once: xarray aligns at each assignment what it has with what comes.
    result = template.assign(layers).assign_coords(coordinates)
    return result.assign_attrs(
        title="Reconstructed radar backscatter",
        look_azimuth=look_azimuth(scene.grid, radar),
        look_side=scene.grid.look_side,
        orbit_source=scene.orbit.source,
        sarheight_version=_version(),
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


def layer_attributes(name: str) -> dict[str, Any]:
    """Return attributes of a layer in a result, with the mark of missing data for rioxarray."""
    return {**LAYERS[name].attributes, "_FillValue": LAYERS[name].missing}


def variance_of(result: xr.Dataset) -> xr.DataArray | None:
    """Return the variance of gamma0, from its standard deviation in decibels where that is all.

    None where a result has neither, or no gamma0.
    """
    if "gamma0" not in result:
        return None
    variance: xr.DataArray | None = result.get("gamma0_variance")
    if variance is None and "gamma0_std" in result:
        variance = (result["gamma0"] * result["gamma0_std"] / DECIBELS_PER_NEPER) ** 2
    return variance


def interval(result: xr.Dataset, probability: float = 0.8) -> xr.Dataset:
    r"""Find the interval that holds the true gamma0 of each cell with a probability.

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
        Of `reconstruct`, with ``gamma0``, and ``gamma0_std`` or ``gamma0_variance``.
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

    variance = variance_of(result)
    if variance is None:
        missing = "gamma0_std or gamma0_variance" if "gamma0" in result else "gamma0"
        msg = (
            f"found a result without {missing}, expected gamma0 with either of the others: name "
            "them in reconstruct(..., variables=)"
        )
        raise ValueError(msg)
    if not 0.0 < probability < 1.0:
        msg = f"found probability={probability!r}, expected a number between 0 and 1, such as 0.8"
        raise ValueError(msg)
    gamma = result["gamma0"]
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
