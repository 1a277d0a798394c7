"""Reconstruction: the mixed energy of folded slopes, given back to the places it came from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sarheight._acquisition import acquisition_of
from sarheight.errors import GeometryError
from sarheight.geometry._visibility import COMPRESSION
from sarheight.layover._check import scenes_of
from sarheight.layover._fit import law_of, look
from sarheight.layover._masks import fold_variable, mask_variable
from sarheight.layover._methods import Method, PosteriorMean, Reallocation
from sarheight.layover._posterior import one_step, posterior_mean
from sarheight.layover._result import (
    Variables,
    balance,
    combine,
    describe,
    geocoded,
    pass_dataset,
    variables_of,
)

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.illumination import BackscatterLaw
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration, RadarGrid, Scene

__all__ = ["reconstruct"]

VARIANCE_POOLING = 1.5
"""Neighbours with which the variance of one step is measured lie within this many postings."""


def _require_values(variables: Variables, smallest_area: float) -> None:
    """Refuse a result without a single value."""
    if np.isfinite(variables["gamma0"][0]).any():
        return
    largest = np.nan_to_num(variables["projected_area"][0]).max()
    msg = (
        "found no cell of the DEM of which the image shows enough: at most "
        f"{largest:.3g} m2 of a cell are lit and have data, expected {smallest_area:.3g} m2 of one "
        "at least. Pass a DEM of the image's own area whose cells are small beside the image, and "
        "check that the image has data there."
    )
    raise GeometryError(msg)


def reconstruct(
    image: Scene | xr.DataArray | Sequence[Scene],
    dem: xr.DataArray,
    grid: RadarGrid | None = None,
    orbit: Orbit | None = None,
    *,
    calibration: Calibration = "beta0",
    law: BackscatterLaw | None = None,
    method: Method | None = None,
    compression: float = COMPRESSION,
    smallest_area: float = 0.03,
) -> xr.Dataset:
    r"""Give the energy of a radar image back to the places on the ground that it came from.

    In layover several places answer in one pixel. From a coarse DEM and the orbit follows which
    cells light which pixel, and how brightly; each cell then gets its share of the energy of its
    pixels (see `Reallocation` and `PosteriorMean`).

    Parameters
    ----------
    image : Scene, xarray.DataArray, or sequence of Scene
        Intensity, linear power, dims (line, sample) or (polarisation, line, sample); NaN where
        there is no data. A pixel that one polarisation lacks counts for none of them. Several
        scenes of the same ground, such as an ascending and a descending pass, are solved
        together: where one is folded, another may not be.
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS; see `sarheight.dem`. A coarse
        one will do.
    grid, orbit : RadarGrid, Orbit
        Sampling and orbit, where `image` is a DataArray.
    calibration : {"beta0", "sigma0", "gamma0"}
        What a DataArray is calibrated to, on the ellipsoid.
    law : callable, optional
        Backscatter law, from incidence in degrees to sigma0. By default it is fitted to each
        image's own cells outside layover and shadow (`fit_law`).
    method : Reallocation or PosteriorMean, optional
        How energy is given back; `PosteriorMean()` by default.
    compression : float
        Threshold of foreshortening, see `masks`.
    smallest_area : float
        A cell whose lit area, projected along the line of sight, is below this part of its
        horizontal area has no value: its backscatter would be a small number over a smaller one.

    Returns
    -------
    xarray.Dataset
        On the DEM's grid, dims (y, x), with a leading ``polarisation`` where the image has one,
        and a leading ``pass`` for several scenes:

        ``sigma0``, ``gamma0``
            reconstructed backscatter per area of the surface and per projected area, linear;
        ``gamma0_variance``
            its variance: what speckle leaves, and the excess by which cells that share their
            pixels differ from their neighbourhood;
        ``sigma0_geocoded``
            the image on the ellipsoid, sampled where each cell is seen: geocoding as usual;
        ``contribution_share``
            the cell's mean share in the energy of its pixels: 1 where it has them to itself;
        ``projected_area``
            the cell's lit area where the image has data, projected along the line of sight, in
            square metres; times gamma0 it is the cell's energy;
        ``fold_count``, ``mask``
            see `masks`;
        ``local_incidence``, ``projected_incidence``, ``ellipsoid_incidence``
            see `sarheight.geometry.incidence`.

        Attributes account for the energy in square metres, by polarisation and summed over
        passes: ``energy_image`` is that of the image, ``energy_explained`` of the pixels that
        the DEM lights; it is given out to the last bit, to cells (``energy_cells``) and to cells
        too small to have a value (``energy_withheld``).

    Raises
    ------
    GeometryError
        If DEM and image do not overlap, no cell has a value, or no law can be fitted.
    OrbitCoverageError
        If the orbit does not cover the image.
    VerticalDatumError
        If the DEM does not say what its heights refer to.
    TypeError, ValueError
        If image, DEM or settings are not what they should be.

    References
    ----------
    SAR2HEIGHT, EGU General Assembly 2026, EGU26-8644: reallocation by contribution ratios.
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093: the areas.
    """
    if not 0.0 <= smallest_area < 1.0:
        msg = f"found smallest_area={smallest_area!r}, expected a part of a cell, 0 to below 1"
        raise ValueError(msg)
    scenes = scenes_of(image, grid, orbit, calibration)
    method = PosteriorMean() if method is None else method
    looks = [look(scene, dem, compression) for scene in scenes]
    laws = [law_of(seen) if law is None else law for seen in looks]
    passes = [seen.flat.under(used) for seen, used in zip(looks, laws, strict=True)]
    least = smallest_area * passes[0].view.cell_area
    # Cells that no pass has seen are NaN, and stay so.
    with np.errstate(invalid="ignore"):
        if isinstance(method, Reallocation):
            estimates = one_step(passes, least, VARIANCE_POOLING)
        else:
            estimates = posterior_mean(passes, least, method)
    results = []
    for scene, seen, one, estimate in zip(scenes, looks, passes, estimates, strict=True):
        variables, account = variables_of(one, balance(estimate, least), seen.angles, least)
        _require_values(variables, least)
        variables["mask"] = mask_variable(seen.category)
        variables["fold_count"] = fold_variable(seen.fold_count)
        variables |= geocoded(scene, one)
        results.append(pass_dataset(scene, one, variables, account))
    result = results[0] if len(results) == 1 else combine(results)
    parameters = {
        "method": describe(method),
        "law": [describe(used) for used in laws],
        "calibration": [scene.calibration for scene in scenes],
        "compression": compression,
        "smallest_area": smallest_area,
    }
    return result.assign_attrs(
        parameters=json.dumps(parameters, default=repr), acquisition=acquisition_of(scenes)
    )
