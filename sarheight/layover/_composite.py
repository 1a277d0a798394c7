"""Composites: one map of gamma0 from several passes, weighted by their local resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sarheight.dem.layout import describe_grid, same_grid
from sarheight.layover._reconstruct import reconstruct
from sarheight.layover.methods import RTC
from sarheight.layover.result import layer_attributes, variance_of
from sarheight.scene import Scene

if TYPE_CHECKING:
    from sarheight.dem.checked import CheckedDem

KEPT = ("sarheight_version", "simulated")
"""Attributes of results that hold for a composite, where all agree."""


def local_resolution(
    image: Scene | Sequence[Scene],
    dem: xr.DataArray | CheckedDem,
    *,
    memory_limit: float | str = "2 GiB",
) -> xr.DataArray:
    r"""Compute how finely each place is imaged: the inverse of the area that shares its pixels.

    .. math:: R_g = \frac{\sum_p A_{pg} \, D_p / A_p}{\sum_p A_{pg}}

    with the area :math:`A_{pg}` of a cell in a pixel, perpendicular to the line of sight, the sum
    :math:`A_p` over all cells, and the area :math:`D_p` of the pixel in the slant-range plane. It
    is the radiometric terrain correction of an image of ones. Level ground has
    :math:`\tan\theta`; a foreshortened slope less, a slope that faces away more; in layover all
    areas in the pixel count.

    Parameters
    ----------
    image : Scene or sequence of Scene
        The passes. Of the images only matters where they have data.
    dem : xarray.DataArray or CheckedDem
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    memory_limit : float or str
        See `reconstruct`.

    Returns
    -------
    xarray.DataArray
        On the DEM's grid, dims (y, x), with a leading ``time`` for several scenes; NaN where a
        pass sees nothing. Lazy where image or DEM are dask-backed.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap, or no cell has a value.

    References
    ----------
    Small, D. (2012). SAR backscatter multitemporal compositing via local resolution weighting.
    IGARSS, 4521-4524, doi:10.1109/IGARSS.2012.6350465.
    """
    ones = [_ones(image)] if isinstance(image, Scene) else [_ones(scene) for scene in image]
    result = reconstruct(
        ones[0] if isinstance(image, Scene) else ones,
        dem,
        method=RTC(blur=0.0),
        variables=("gamma0",),
        memory_limit=memory_limit,
    )
    attributes = {"long_name": "local resolution, inverse of contributing area", "units": "1"}
    found: xr.DataArray = result["gamma0"].rename("local_resolution")
    return found.assign_attrs(attributes)


def _ones(scene: Scene) -> Scene:
    """Put beta0 of one where a scene has data in all polarisations."""
    # False for NaN, too.
    known = abs(scene.image) < np.inf
    if "polarisation" in known.dims:
        known = known.all("polarisation")
    image = known.where(known).astype(np.float32)
    grid = replace(scene.grid, polarisations=()) if scene.grid.polarisations else scene.grid
    return Scene(image.transpose("line", "sample"), grid, scene.orbit, "beta0")


def composite(
    results: xr.Dataset | Sequence[xr.Dataset],
    resolution: xr.DataArray | Sequence[xr.DataArray],
) -> xr.Dataset:
    r"""Combine reconstructions from several passes into one map, by local resolution weighting.

    A pass that sees a slope foreshortened or in layover images much ground in few pixels; one
    from the other side images it finely. Each place takes the mean of its passes, weighted by
    their local resolution:

    .. math:: \gamma_g = \sum_k w_{kg} \, \gamma_{kg}, \qquad
              w_{kg} = \frac{R_{kg}}{\sum_j R_{jg}}

    A pass without a value at a place, in shadow or outside its image, has no weight there.

    The composite is one image for passes under different angles: on ground whose gamma0 depends
    on the angle it is that of none of them. `reconstruct` with several scenes keeps a gamma0 for
    each pass.

    Parameters
    ----------
    results : Dataset, or sequence of Dataset
        A result of `reconstruct` with a dimension ``time``, or results on the same grid. Of each
        ``gamma0`` is taken, and its variance where all state it.
    resolution : DataArray, or sequence of DataArray
        `local_resolution` of the same passes, in the same order.

    Returns
    -------
    xarray.Dataset
        On the grid of the results, dims (y, x), with ``polarisation`` where they have it; lazy
        where they are:

        ``gamma0``
            the weighted mean, linear power; NaN where no pass has a value;
        ``gamma0_variance``
            its variance, if the errors of passes are independent;
        ``weight``
            weight of each pass, dims (time, y, x) or (time, polarisation, y, x); the sum over
            passes is 1, or 0 where none has a value.

    Raises
    ------
    ValueError
        If results and resolutions are not of as many passes, on different grids, lack ``gamma0``,
        or have other polarisations.

    References
    ----------
    Small, D., Rohner, C., Miranda, N., Rüetschi, M., Schaepman, M. E. (2022). Wide-area
    analysis-ready radar backscatter composites. IEEE TGRS 60, doi:10.1109/TGRS.2021.3055562.
    Small, D. (2012). SAR backscatter multitemporal compositing via local resolution weighting.
    IGARSS, 4521-4524, doi:10.1109/IGARSS.2012.6350465.

    Examples
    --------
    With an ascending and a descending pass::

        scenes = [ascending, descending]
        result = layover.reconstruct(scenes, dem)
        one_map = layover.composite(result, layover.local_resolution(scenes, dem))
    """
    import rioxarray  # noqa: F401 - registers `.rio`

    several = [results] if isinstance(results, xr.Dataset) else list(results)
    weights = [resolution] if isinstance(resolution, xr.DataArray) else list(resolution)
    passes = _stacked([_values_of(result, index) for index, result in enumerate(several)])
    by_pass = _stacked([each.to_dataset(name="resolution") for each in weights])["resolution"]
    if by_pass.sizes["time"] != passes.sizes["time"]:
        msg = (
            f"found {passes.sizes['time']} passes and local resolutions of "
            f"{by_pass.sizes['time']}, expected one for each pass"
        )
        raise ValueError(msg)
    _require_grid(passes, by_pass, "the local resolution", "the results")
    gamma0 = passes["gamma0"]
    # The coordinates are those of the results to the last digit.
    coordinates = {name: gamma0[name] for name in ("time", "y", "x") if name in gamma0.coords}
    by_pass = by_pass.drop_vars("time", errors="ignore").assign_coords(coordinates)
    known = (abs(gamma0) < np.inf) & (by_pass < np.inf)
    by_pass = by_pass.where(known, 0.0)
    total = by_pass.sum("time")
    seen = total > 0.0
    weight = (by_pass / total.where(seen)).fillna(0.0).transpose(*gamma0.dims)
    mean = (weight * gamma0.where(known, 0.0)).sum("time").where(seen)
    made = xr.Dataset({"gamma0": mean.assign_attrs(layer_attributes("gamma0"))})
    if "gamma0_variance" in passes:
        squares = weight**2 * passes["gamma0_variance"].where(known, 0.0)
        variance = squares.sum("time").where(seen)
        made["gamma0_variance"] = variance.assign_attrs(layer_attributes("gamma0_variance"))
    made["weight"] = weight.assign_attrs(long_name="weight of each pass", units="1")
    made = made.astype(np.float32, keep_attrs=True)
    for variable in made.data_vars.values():
        variable.attrs["grid_mapping"] = "spatial_ref"
    kept = {key: passes.attrs[key] for key in KEPT if key in passes.attrs}
    title = "Composite radar backscatter, weighted by local resolution"
    return made.assign_attrs(kept, title=title)


def _values_of(result: xr.Dataset, index: int) -> xr.Dataset:
    """Take what a composite needs of a result."""
    if "gamma0" not in result:
        msg = (
            f"found no gamma0 in result {index}, expected it: name it in "
            "reconstruct(..., variables=['gamma0', 'gamma0_variance'])"
        )
        raise ValueError(msg)
    variance = variance_of(result)
    values = result[["gamma0"]]
    return values if variance is None else values.assign(gamma0_variance=variance)


def _stacked(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Stack along ``time`` what has one grid and the same polarisations."""
    if not parts:
        msg = "found no result or no local resolution, expected one for each pass"
        raise ValueError(msg)
    for index, part in enumerate(parts):
        _require_grid(parts[0], part, f"result {index}", "the first")
        names = [_polarisations(each) for each in (parts[0], part)]
        if names[0] != names[1]:
            msg = (
                f"found polarisations {names[1]} in result {index} and {names[0]} in the first: "
                "select the ones that all have, with result.sel(polarisation=[...])"
            )
            raise ValueError(msg)
    shared = [name for name in parts[0].data_vars if all(name in part for part in parts)]
    layers = [part if "time" in part.dims else part.expand_dims("time") for part in parts]
    # Coordinates along time that only some have are no part of a composite.
    plain = [part[shared].reset_coords(drop=True) for part in layers]
    if not all("time" in part.coords for part in plain):
        plain = [part.drop_vars("time", errors="ignore") for part in plain]
    stack = xr.concat(plain, "time", join="override", combine_attrs="drop_conflicts")
    placed: xr.Dataset = stack.rio.write_crs(parts[0].rio.crs)
    return placed


def _require_grid(
    first: xr.Dataset, other: xr.Dataset | xr.DataArray, name: str, others: str
) -> None:
    """Refuse what lies on another grid."""
    # A thousandth of a posting is rounding, by whatever wrote the files.
    if not same_grid(other, first, tolerance=1e-3):
        msg = (
            f"found {name} on {describe_grid(other)}, and {others} on {describe_grid(first)}; "
            "expected one grid: reconstruct all passes on the same DEM"
        )
        raise ValueError(msg)


def _polarisations(values: xr.Dataset) -> list[str]:
    """List the polarisations of a result."""
    if "polarisation" not in values.dims:
        return []
    names: list[str] = values["polarisation"].values.astype(str).tolist()
    return names
