"""Reconstruction: the mixed energy of folded slopes, given back to the places it came from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.inverse import points_at_height
from sarheight_kernels.resample import sample_image

from sarheight.geometry._geo2rdr import angles
from sarheight.geometry._pixels import pixel_areas
from sarheight.geometry._view import View, view
from sarheight.geometry._visibility import COMPRESSION, classify_cells
from sarheight.illumination import BackscatterLaw, ConstantGamma
from sarheight.illumination._operator import illuminate, lit_cells
from sarheight.layover._check import scenes_of
from sarheight.layover._fit import law_of
from sarheight.layover._masks import fold_variable, mask_variable
from sarheight.layover._methods import Method, PosteriorMean, Reallocation
from sarheight.layover._passes import Pass, Share, energy_of
from sarheight.layover._posterior import Estimate, one_step, posterior_mean
from sarheight.orbit import Orbit
from sarheight.scene import Calibration, RadarGrid, Scene

__all__ = ["reconstruct"]

Variables = dict[str, tuple[NDArray[Any], dict[str, Any]]]
VARIANCE_POOLING = 1.5


def _geocoded(scene: Scene, one: Pass) -> NDArray[np.float32]:
    """Sample sigma0 on the ellipsoid at the cells: geocoding as it is done today."""
    image = np.where(one.valid, one.energy, np.float32(np.nan))
    for block, areas in pixel_areas(scene.grid, one.view.radar, "sigma0").blocks(scene.grid.lines):
        image[:, block] /= areas
    values = np.empty((image.shape[0], *one.view.heights.shape), dtype=np.float32)
    sample_image(one.view.ground, one.view.radar, one.view.heights, one.view.bounds, image, values)
    return values


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


def _describe(thing: object) -> object:
    """Describe a law or a method for the record."""
    if is_dataclass(thing) and not isinstance(thing, type):
        fields = {name: np.asarray(value).tolist() for name, value in asdict(thing).items()}
        return {type(thing).__name__: fields}
    return getattr(thing, "__name__", repr(thing))


def _variables(
    one: Pass, estimate: Estimate, share: Share, smallest_area: float
) -> tuple[Variables, dict[str, list[float]]]:
    """Turn reflectivities into backscatter; account for the energy, by polarisation."""
    found = share.area >= smallest_area
    with np.errstate(divide="ignore", invalid="ignore"):
        expected_gamma = np.where(found, share.expected / share.area, np.nan)
    angle = angles(one.view)
    gamma = estimate.reflectivity * expected_gamma
    sigma = gamma * np.cos(np.radians(angle["local_incidence"][0]))
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
            (gamma**2 * estimate.relative_variance).astype(np.float32),
            {"long_name": "variance of the reconstructed gamma0", **power},
        ),
        "contribution_share": (
            np.where(found, share.contribution, np.nan).astype(np.float32),
            {"long_name": "mean share of the cell in the energy of its pixels", **power},
        ),
        "projected_area": (
            np.where(np.isfinite(one.view.heights), share.area, np.nan).astype(np.float32),
            {"long_name": "lit area, projected along the line of sight", "units": "m2"},
        ),
        **angle,
    }
    own = np.nan_to_num(share.reflectivity) * share.expected
    reported = np.isfinite(gamma)
    account = {
        "energy_cells": np.nansum(gamma * share.area, axis=(1, 2)),
        "energy_withheld": np.sum(own, axis=(1, 2), where=~reported),
        "energy_explained": own.sum(axis=(1, 2)),
        "energy_image": one.energy.sum(axis=(1, 2), dtype=np.float64),
    }
    return variables, {name: values.tolist() for name, values in account.items()}


def _dataset(
    scene: Scene,
    one: Pass,
    variables: Variables,
    attributes: dict[str, Any],
) -> xr.Dataset:
    """Put the variables of one pass on the DEM's grid."""
    seen = one.view
    several = "polarisation" in scene.image.dims
    flat: Variables = {}
    for name, (values, attrs) in variables.items():
        flat[name] = (values if values.ndim < 3 or several else values[0], attrs)  # noqa: PLR2004
    result = seen.dataset({name: item for name, item in flat.items() if item[0].ndim == 2})  # noqa: PLR2004
    for name, (values, attrs) in flat.items():
        if values.ndim == 3:  # noqa: PLR2004
            result[name] = (
                ("polarisation", "y", "x"),
                values,
                {**attrs, "grid_mapping": "spatial_ref"},
            )
    if several and "polarisation" in scene.image.coords:
        result = result.assign_coords(polarisation=scene.image.coords["polarisation"].values)
    return result.assign_attrs(
        title="Reconstructed radar backscatter",
        look_azimuth=_look_azimuth(seen),
        look_side=scene.grid.look_side,
        orbit_source=scene.orbit.source,
        sarheight_version=version("sarheight"),
        **attributes,
    )


def _prepare(
    scene: Scene, dem: xr.DataArray, law: BackscatterLaw | None, compression: float
) -> tuple[Pass, BackscatterLaw, Variables]:
    """Look at the DEM through the radar, fit the law, and classify the cells."""
    seen = view(dem, scene.grid, scene.orbit)
    category, fold_count = classify_cells(seen, compression)
    energy, valid = energy_of(scene, seen)
    operator = illuminate(seen, ConstantGamma(1.0), lit_cells(category))
    if law is None:
        law = law_of(
            Pass(energy, valid, operator),
            category,
            fold_count,
            angles(seen)["local_incidence"][0],
        )
    one = Pass(energy, valid, illuminate(seen, law, operator.lit))
    return one, law, {"mask": mask_variable(category), "fold_count": fold_variable(fold_count)}


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
        there is no data. Several scenes of the same ground, such as an ascending and a descending
        pass, are solved together: where one is folded, another may not be.
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
            its variance, measured by how cells differ from their neighbourhood;
        ``sigma0_geocoded``
            the image on the ellipsoid, sampled where each cell is seen: geocoding as usual;
        ``contribution_share``
            the cell's mean share in the energy of its pixels: 1 where it has them to itself;
        ``projected_area``
            the cell's lit area, projected along the line of sight, in square metres; times
            gamma0 it is the cell's energy;
        ``fold_count``, ``mask``
            see `masks`;
        ``local_incidence``, ``projected_incidence``, ``ellipsoid_incidence``
            see `sarheight.geometry.incidence`.

        Attributes account for the energy in square metres, by polarisation: ``energy_image`` is
        that of the image, ``energy_explained`` of the pixels that the DEM lights; it is given
        out to the last bit, to cells (``energy_cells``) and to cells too small to have a value
        (``energy_withheld``).

    Raises
    ------
    GeometryError
        If DEM and image do not overlap, or no law can be fitted.
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
    prepared = [_prepare(scene, dem, law, compression) for scene in scenes]
    passes = [one for one, _, _ in prepared]
    least = smallest_area * passes[0].view.cell_area
    if isinstance(method, Reallocation):
        estimate = one_step(passes, least, VARIANCE_POOLING)
    else:
        estimate = posterior_mean(passes, least, method)
    results = []
    for scene, (one, used, masks), share in zip(scenes, prepared, estimate.shares, strict=True):
        variables, account = _variables(one, estimate, share, least)
        variables |= masks
        variables["sigma0_geocoded"] = (
            _geocoded(scene, one),
            {"long_name": "sigma0 on the ellipsoid, geocoded as usual", "units": "1"},
        )
        parameters = {
            "method": _describe(method),
            "law": _describe(used),
            "calibration": scene.calibration,
            "compression": compression,
            "smallest_area": smallest_area,
        }
        attributes = {**account, "parameters": json.dumps(parameters)}
        results.append(_dataset(scene, one, variables, attributes))
    if len(results) == 1:
        return results[0]
    return xr.concat(results, dim="pass", combine_attrs="drop_conflicts")
