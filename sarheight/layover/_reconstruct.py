"""Reconstruction of backscatter in layover: the public function, and the law of an image."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

from sarheight.acquisition import GEOMETRY, acquisition_json, geometry_json
from sarheight.dem.checked import stored_like
from sarheight.dem.grids import grid_record, to_grid
from sarheight.geometry.pass_geometry import dem_dataset, pixel_areas
from sarheight.geometry.tables import radar_model
from sarheight.geometry.visibility import FORESHORTENING_THRESHOLD
from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma
from sarheight.layover._input import image_rcs, kinds_of_ground, scenes_of
from sarheight.layover._plan import (
    SceneDem,
    file_cache_of,
    is_lazy,
    observe,
    plan_scene,
    read_tile,
    tile_input,
)
from sarheight.layover._scene_tiles import (
    LazyScene,
    LazyTiles,
    Tiles,
    TilesInMemory,
)
from sarheight.layover._solve import solve
from sarheight.layover._statistics import fit_laws, sample_open_cells
from sarheight.layover._steps import support_of
from sarheight.layover._tasks import prepare_scheduler
from sarheight.layover.facets import require_cells
from sarheight.layover.layers import select_layers, with_layers
from sarheight.layover.methods import RTC, PosteriorMean, as_method, describe
from sarheight.layover.result import combine, pass_dataset
from sarheight.layover.tiles import memory_bytes

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from sarheight.dem.checked import CheckedDem
    from sarheight.geometry.pass_geometry import PixelAreas
    from sarheight.illumination import BackscatterLaw, FittedLaw
    from sarheight.layover.allocation import Observation
    from sarheight.layover.methods import Method
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration, Scene


def reconstruct(
    image: Scene | xr.DataArray | Sequence[Scene],
    dem: xr.DataArray | CheckedDem,
    grid: RadarGrid | GeoBox | None = None,
    orbit: Orbit | None = None,
    *,
    calibration: Calibration = "beta0",
    law: BackscatterLaw | None = None,
    guide: xr.DataArray | None = None,
    method: Method | str | None = None,
    foreshortening: float = FORESHORTENING_THRESHOLD,
    smallest_area: float = 0.03,
    variables: Sequence[str] | Literal["all", "main"] = "all",
    memory_limit: float | str = "2 GiB",
    facets: int | None = None,
) -> xr.Dataset:
    r"""Reconstruct the backscatter of each place on the ground from images with layover.

    In layover several places share a pixel. From a coarse DEM and the orbit follows which cells
    contribute to which pixel, and how much radar cross-section (RCS); each cell is then allocated
    its share of the RCS of its pixels (see `Reallocation` and `PosteriorMean`).

    Parameters
    ----------
    image : Scene, xarray.DataArray, or sequence of Scene
        Intensity, linear power, dims (line, sample) or (polarisation, line, sample); NaN where
        there is no data. A pixel that one polarisation lacks counts for none of them, except in
        ``sigma0_geocoded``. Several scenes of the same ground, such as an ascending and a
        descending pass, are solved together: where one is in layover, another may not be.
    dem : xarray.DataArray or CheckedDem
        Heights above the ellipsoid in metres, dims (y, x), any CRS; see `sarheight.dem`. A coarse
        one will do. The result does not depend on the order in which it is stored (north-up,
        south-up, mirrored), and has the same order.
    grid : RadarGrid or odc.geo.geobox.GeoBox, optional
        Sampling of the image, where that is a DataArray. Of a Scene, which has its own: the map
        grid of the result, to which the DEM is resampled before anything else (see
        `sarheight.dem.to_grid`); by default the grid of the DEM.
    orbit : Orbit, optional
        Orbit, where `image` is a DataArray.
    calibration : {"beta0", "sigma0", "gamma0"}
        What a DataArray is calibrated to, on the ellipsoid.
    law : callable, optional
        Backscatter law, from incidence in degrees to sigma0. By default it is fitted to each
        image's own cells outside layover and shadow (`fit_law`). `RTC` takes none.
    method : Reallocation, RTC, PosteriorMean or str, optional
        How RCS is allocated; `PosteriorMean()` by default. "one-step", "rtc" and "posterior" name
        the methods with their defaults.
    foreshortening : float
        Threshold of foreshortening, see `masks`.
    smallest_area : float
        A cell whose illuminated area, projected along the line of sight, is below this part of its
        horizontal area has no value: its backscatter would be a small number over a smaller one.
    variables : sequence of str, "all" or "main"
        Names of the variables to return, or "main" for those that most users open:
        {main}
    memory_limit : float or str
        Where image or DEM are dask-backed, the bytes that a process may take which works on
        tiles of the scene: a number, or text such as "2 GiB", 875 MiB at least. Tiles are made as
        large as that allows. The result does not depend on it.
    facets : int, optional
        Facets along each side of a cell, 1 to 3: the surface within a coarse cell is interpolated
        from its neighbours, as its image shows more of it than one plane. By default one for
        each three pixels along the side of a cell. Masks and angles stay those of cells.

    Returns
    -------
    xarray.Dataset
        Lazy where image or DEM are dask-backed, see Notes. On the DEM's grid, dims (time,
        polarisation, y, x). Of a single scene ``time``, the middle of its acquisition in UTC, is
        a scalar coordinate instead of a dimension, and so is a single ``polarisation``, if its
        name is known. ``_FillValue`` marks missing data: NaN, or 255 for codes and counts.

        {layers}

        Attributes balance the RCS in square metres, by polarisation and summed over passes:
        ``rcs_image`` is that of the image, ``rcs_explained`` that of the pixels that the DEM
        illuminates; it is allocated to the last bit, to cells (``rcs_cells``) and to cells too
        small to have a value (``rcs_withheld``). They are those of the mean of power, also where
        ``gamma0`` is the median.

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
    computed in memory. The statistics of the scene are computed at once: those of a large scene
    from a sample of areas, and the balance of RCS in a pass over all tiles. What that pass finds is
    kept in a scratch file, in ``TMPDIR`` or else ``/var/tmp``, if the disk has room; it goes with
    the result. The variables are computed when they are asked for, best all together, as
    `sarheight.output.write` does. Each tile is one task, which loads what it needs itself. On
    a cluster, each tile is computed once more for the variables, and image and DEM should be read
    lazily from storage that all workers reach, and not be persisted.

    References
    ----------
    SAR2HEIGHT, EGU General Assembly 2026, EGU26-8644: reallocation by contribution ratios.
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093: the areas.
    """
    require_cells(smallest_area, facets)
    if grid is not None and not isinstance(grid, RadarGrid):
        dem, grid = to_grid(dem, grid), None
    method = PosteriorMean() if method is None else as_method(method)
    law = _law_of(method, law)
    names = select_layers(variables)
    limit = memory_bytes(memory_limit)
    scenes = scenes_of(image, grid, orbit, calibration)
    with _sums_ahead(scenes) as sum_images:
        checked = SceneDem.of(dem, file_cache_of(limit))
        plan, planner = plan_scene(
            scenes,
            checked,
            smallest_area=smallest_area,
            memory_limit=limit,
            foreshortening=foreshortening,
            facets=facets,
        )
        rcs = sum_images([whole.areas for whole in plan.passes])
    if guide is not None:
        _require_fitted(law)
        plan = replace(plan, kinds=kinds_of_ground(guide, checked.grid))
    tiles: Tiles[list[Observation]]
    if is_lazy(checked.array, *(scene.image for scene in scenes)):
        support = support_of(method, plan.scale)
        tiles = LazyTiles.observe(LazyScene(plan, planner, scenes, checked, support, names))
    else:
        tiles = TilesInMemory.observe(plan, tile_input(scenes, checked, planner.whole()))
    solution = solve(tiles, plan, law, method, names)
    parameters = {
        "method": describe(method),
        "law": [describe(scene_law.law) for scene_law in solution.laws],
        "calibration": [scene.calibration for scene in scenes],
        "foreshortening": foreshortening,
        "smallest_area": smallest_area,
        "facets": plan.scale.facets,
    }
    if guide is not None:
        parameters["kinds"] = [
            {str(kind): describe(own) for kind, own in scene_law.kinds.items()}
            for scene_law in solution.laws
        ]
    if (described := grid_record(checked.stored)) is not None:
        parameters["grid"] = described
    result = combine(
        [
            pass_dataset(
                scene,
                dem_dataset(checked.grid, {}),
                whole.radar,
                {name: solution.values.values(index, name) for name in names},
                {**solution.balances[index].attributes(), "rcs_image": rcs[index]},
            )
            for index, (scene, whole) in enumerate(zip(scenes, plan.passes, strict=True))
        ]
    )
    return stored_like(result, checked.stored).assign_attrs(
        {
            "parameters": json.dumps(parameters, default=repr),
            "acquisition": acquisition_json(scenes),
            GEOMETRY: geometry_json((scene.grid, scene.orbit) for scene in scenes),
        }
    )


reconstruct.__doc__ = with_layers(reconstruct.__doc__)


def fit_law(scene: Scene, dem: xr.DataArray | CheckedDem) -> FittedLaw:
    r"""Fit a backscatter law to an image's own cells outside layover and shadow.

    Each class of local incidence angles, three degrees wide, gives the median of the
    area-projection corrected :math:`\gamma^0` of its cells. As the angles are those of the DEM
    at hand, the law is already that of its cells, flattened by the slopes it does not resolve.

    Parameters
    ----------
    scene : Scene
        The image. Of several polarisations the laws are averaged in decibels.
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.

    Returns
    -------
    FittedLaw
        The law.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap, or too few cells lie outside layover and shadow.
    """
    checked = SceneDem.of(dem)
    plan, planner = plan_scene([scene], checked, smallest_area=0.0, memory_limit=math.inf)
    image_rcs(scene, plan.passes[0].areas)
    loaded = read_tile(plan, tile_input([scene], checked, planner.whole()))
    (fitted,) = fit_laws([sample_open_cells(observe(plan, loaded), plan.scale)])
    return cast("FittedLaw", fitted.law)


def surroundings(
    scene: Scene,
    dem: xr.DataArray | CheckedDem,
    cells: tuple[slice, slice],
    method: Method | str | None = None,
) -> tuple[slice, slice]:
    r"""Find the cells of a DEM on which the result in some of them depends.

    These are the places that share pixels with them, at a distance of up to
    :math:`H / \tan\theta` for heights that differ by :math:`H`, that throw shadow on them, up to
    :math:`H \tan\theta` away from the radar, or over which the method pools. With the same scene
    statistics, a DEM cut to them gives the same result to 1e-6 of its value.

    Parameters
    ----------
    scene : Scene
        The image; its pixels are not read.
    dem : xarray.DataArray or CheckedDem
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    cells : tuple of slice
        Rows and columns of the DEM, as it is stored.
    method : Reallocation, RTC, PosteriorMean or str, optional
        As for `reconstruct`.

    Returns
    -------
    tuple of slice
        Rows and columns; all that there are, where the result depends on more than the DEM has.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    """
    method = PosteriorMean() if method is None else as_method(method)
    checked = SceneDem.of(dem)
    plan, planner = plan_scene([scene], checked, smallest_area=0.0, memory_limit=math.inf)
    # Tiles count from the north-western cell, whatever the order in which the DEM is stored.
    spans = []
    for axis, part in zip(("y", "x"), cells, strict=True):
        spans.append(_span(checked, axis, part.indices(checked.array.sizes[axis])[:2]))
    box = planner.needed_cells((*spans[0], *spans[1]), support_of(method, plan.scale))
    rows, columns = (
        slice(*_span(checked, axis, span)) for axis, span in (("y", box[:2]), ("x", box[2:]))
    )
    return rows, columns


def _span(dem: SceneDem, axis: str, span: tuple[int, int]) -> tuple[int, int]:
    """Count cells from the other end of an axis, where the DEM is stored in that order."""
    size = dem.array.sizes[axis]
    if dem.stored[axis][0] == dem.array[axis][0]:
        return span
    return size - span[1], size - span[0]


@contextmanager
def _sums_ahead(
    scenes: Sequence[Scene],
) -> Iterator[Callable[[Sequence[PixelAreas]], list[list[float]]]]:
    """Yield a function from areas of pixels to the RCS of images in m2.

    Lazy images are summed ahead, while the rest is planned.
    """

    def sums(areas: Sequence[PixelAreas]) -> list[list[float]]:
        return [image_rcs(scene, own) for scene, own in zip(scenes, areas, strict=True)]

    if not is_lazy(*(scene.image for scene in scenes)):
        yield sums
        return
    prepare_scheduler()

    def all_sums() -> list[list[float]]:
        radars = [radar_model(scene.grid, scene.orbit) for scene in scenes]
        return sums(
            [
                pixel_areas(scene.grid, radar, scene.calibration)
                for scene, radar in zip(scenes, radars, strict=True)
            ]
        )

    # To inflate an image takes one thread for each polarisation, and to check heights another.
    with ThreadPoolExecutor(1, "sarheight-sums") as pool:
        ahead = pool.submit(all_sums)
        yield lambda _: ahead.result()


def _require_fitted(law: BackscatterLaw | None) -> None:
    """Refuse a guide where no law is fitted."""
    if law is not None:
        msg = (
            "found guide= beside a law that is given or that the method prescribes; expected one "
            "or the other: a guide tells which cells have a law of their own, fitted to the image"
        )
        raise ValueError(msg)


def _law_of(method: Method, law: BackscatterLaw | None) -> BackscatterLaw | None:
    """Return the law that is given, or the one that the method prescribes."""
    if not isinstance(method, RTC):
        return law
    if law is not None:
        msg = (
            f"found law={describe(law)} beside method=RTC(), which takes gamma0 to be the same at "
            "every angle: leave law out, or pass method=Reallocation()"
        )
        raise ValueError(msg)
    return ConstantGamma(1.0)
