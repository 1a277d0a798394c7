"""Reconstruction: the mixed energy of folded slopes, given back to the places it came from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sarheight.geometry.pass_geometry import pixel_areas
from sarheight.geometry.visibility import FORESHORTENING_THRESHOLD
from sarheight.layover._blockwise import is_lazy, reconstruct_in_parts
from sarheight.layover._check import require_small_cells, scenes_of
from sarheight.layover._conversation import alone
from sarheight.layover._fit import frame_of_view, look
from sarheight.layover._methods import Method, PosteriorMean
from sarheight.layover._result import combine, describe, pass_dataset
from sarheight.layover._unfold import VARIABLES, Settings, conclusions, unfold
from sarheight.scene import acquisition_json

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.grid import RadarGrid
    from sarheight.illumination import BackscatterLaw
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration, Scene

__all__ = ["reconstruct"]


def reconstruct(
    image: Scene | xr.DataArray | Sequence[Scene],
    dem: xr.DataArray,
    grid: RadarGrid | None = None,
    orbit: Orbit | None = None,
    *,
    calibration: Calibration = "beta0",
    law: BackscatterLaw | None = None,
    method: Method | None = None,
    compression: float = FORESHORTENING_THRESHOLD,
    smallest_area: float = 0.03,
    variables: Sequence[str] | None = None,
    memory_limit: float | str = "2 GiB",
) -> xr.Dataset:
    r"""Give the energy of a radar image back to the places on the ground that it came from.

    In layover several places answer in one pixel. From a coarse DEM and the orbit follows which
    cells light which pixel, and how brightly; each cell then gets its share of the energy of its
    pixels (see `Reallocation` and `PosteriorMean`).

    Parameters
    ----------
    image : Scene, xarray.DataArray, or sequence of Scene
        Intensity, linear power, dims (line, sample) or (polarisation, line, sample); NaN where
        there is no data. A pixel that one polarisation lacks counts for none of them, except in
        ``sigma0_geocoded``. Several scenes of the same ground, such as an ascending and a
        descending pass, are solved together: where one is folded, another may not be.
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
    variables : sequence of str, optional
        Names of the variables to return; all by default.
    memory_limit : float or str
        Where image or DEM are dask-backed, the bytes that a process may take which works on
        parts of the scene: a number, or text such as "2 GiB". Parts are made as large as that
        allows. The result does not depend on it.

    Returns
    -------
    xarray.Dataset
        Lazy where image or DEM are dask-backed, see Notes. On the DEM's grid, dims (y, x), with
        a leading ``polarisation`` where the image has one, and a leading ``pass`` for several
        scenes:

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

    Notes
    -----
    Of dask-backed images or DEMs the result is a Dataset of dask arrays, equal to what would be
    computed in memory. The statistics of the scene are found out at once, in a pass over its
    parts for each of them; the variables are computed when they are asked for, best all together,
    as `sarheight.output.write` does. Each part is one task, which loads what it needs itself. On
    a cluster, image and DEM should therefore be read lazily from storage that all workers reach,
    and not be persisted.

    References
    ----------
    SAR2HEIGHT, EGU General Assembly 2026, EGU26-8644: reallocation by contribution ratios.
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093: the areas.
    """
    if not 0.0 <= smallest_area < 1.0:
        msg = f"found smallest_area={smallest_area!r}, expected a part of a cell, 0 to below 1"
        raise ValueError(msg)
    settings = Settings(
        law,
        PosteriorMean() if method is None else method,
        compression,
        smallest_area,
        _wanted(variables),
    )
    limit = _bytes(memory_limit)
    scenes = scenes_of(image, grid, orbit, calibration)
    if is_lazy(dem, *(scene.image for scene in scenes)):
        results, laws = reconstruct_in_parts(scenes, dem, settings, limit)
    else:
        results, laws = _in_memory(scenes, dem, settings)
    result = results[0] if len(results) == 1 else combine(results)
    parameters = {
        "method": describe(settings.method),
        "law": [describe(each) for each in laws],
        "calibration": [scene.calibration for scene in scenes],
        "compression": compression,
        "smallest_area": smallest_area,
    }
    return result.assign_attrs(
        parameters=json.dumps(parameters, default=repr), acquisition=acquisition_json(scenes)
    )


def _in_memory(
    scenes: Sequence[Scene], dem: xr.DataArray, settings: Settings
) -> tuple[list[xr.Dataset], list[BackscatterLaw]]:
    """Reconstruct scenes in one go; return results and laws of the passes."""
    looked = [look(scene, dem, settings.compression) for scene in scenes]
    looks, energies = [seen for seen, _ in looked], [energy.tolist() for _, energy in looked]
    views = [seen.flat.geometry for seen in looks]
    areas = [
        pixel_areas(scene.grid, seen.radar, "sigma0")
        for scene, seen in zip(scenes, views, strict=True)
    ]
    frame = frame_of_view(*views)
    require_small_cells(frame, scenes, settings.smallest_area)
    unfolded, told = alone(unfold(looks, areas, frame, settings))
    laws, accounts = conclusions(told, settings, len(scenes))
    results = []
    for scene, seen, values, account, energy in zip(
        scenes, views, unfolded, accounts, energies, strict=True
    ):
        variables = {name: (values[name], VARIABLES[name]) for name in settings.variables}
        account["energy_image"] = energy
        results.append(pass_dataset(scene, seen.dataset({}), seen.radar, variables, account))
    return results, laws


def _bytes(limit: float | str) -> float:
    """Read a limit of memory."""
    from dask.utils import parse_bytes

    found = float(parse_bytes(limit))
    if not found > 0.0:
        msg = f"found memory_limit={limit!r}, expected a positive number of bytes, as in '2 GiB'"
        raise ValueError(msg)
    return found


def _wanted(variables: Sequence[str] | None) -> tuple[str, ...]:
    """Check the names of variables that are asked for; all by default."""
    if variables is None:
        return tuple(VARIABLES)
    unknown = [name for name in variables if name not in VARIABLES]
    if unknown or not variables or isinstance(variables, str):
        found = repr(variables) if isinstance(variables, str) else ", ".join(map(repr, unknown))
        msg = f"found variables {found or 'of no name'}, expected some of {', '.join(VARIABLES)}"
        raise ValueError(msg)
    return tuple(name for name in VARIABLES if name in variables)
