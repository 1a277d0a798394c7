"""Reconstruction of backscatter in layover: the public function, and the order of its work.

The work on a tile is a sequence of stages. Each stage needs one statistic of the whole scene: it
samples every tile, reduces the samples of all tiles in their order, and hands the statistic back
to each tile. A scene in memory is one tile, which is kept from stage to stage. Tiles of a lazy
scene are computed again for each stage, by tasks that keep nothing: a task can be repeated at any
time and on any machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from sarheight_kernels.estimation import to_backscatter

from sarheight.dem.checked import stored_like
from sarheight.dem.grids import grid_record, to_grid
from sarheight.geometry.pass_geometry import dem_dataset
from sarheight.geometry.visibility import FORESHORTENING_THRESHOLD
from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma
from sarheight.layover._plan import (
    SceneDem,
    ScenePlan,
    Settings,
    TileInput,
    file_cache_of,
    is_lazy,
    observe,
    plan_scene,
    read_tile,
    tile_input,
)
from sarheight.layover._posterior import (
    RTC,
    AllocatedTile,
    EstimatedTile,
    PosteriorMean,
    PosteriorTile,
    Reallocation,
    allocate_tile,
    combine_passes,
    estimate_posterior,
    first_posterior,
    next_posterior,
    sample_pass_pairs,
    sample_values,
    single_step,
    support_of,
)
from sarheight.layover._scenes import image_rcs, kinds_of_ground, scenes_of
from sarheight.layover._statistics import (
    Balance,
    SceneLaw,
    balance_scene,
    fit_error_models,
    fit_laws,
    measure_agreements,
    sample_open_cells,
    sum_rcs,
    warn_of_disagreement,
)
from sarheight.layover._tasks import (
    concatenate,
    lazy_array,
    one_at_a_time,
    opaque,
    run,
    task,
)
from sarheight.layover.facets import MOST_FACETS
from sarheight.layover.result import (
    VARIABLES,
    Values,
    combine,
    describe,
    pass_dataset,
    variable_shape,
    variable_type,
)
from sarheight.scene import GEOMETRY, acquisition_json, geometry_json

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sarheight.dem.checked import CheckedDem
    from sarheight.illumination import BackscatterLaw, FittedLaw
    from sarheight.layover._posterior import Method
    from sarheight.layover._statistics import Agreement, ErrorModel, Samples
    from sarheight.layover.allocation import Estimate, Layers, Observation
    from sarheight.layover.tiles import GridScale, TilePlanner
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
    method: Method | None = None,
    foreshortening: float = FORESHORTENING_THRESHOLD,
    smallest_area: float = 0.03,
    variables: Sequence[str] | None = None,
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
    method : Reallocation, RTC or PosteriorMean, optional
        How RCS is allocated; `PosteriorMean()` by default.
    foreshortening : float
        Threshold of foreshortening, see `masks`.
    smallest_area : float
        A cell whose illuminated area, projected along the line of sight, is below this part of its
        horizontal area has no value: its backscatter would be a small number over a smaller one.
    variables : sequence of str, optional
        Names of the variables to return; all by default.
    memory_limit : float or str
        Where image or DEM are dask-backed, the bytes that a process may take which works on
        tiles of the scene: a number, or text such as "2 GiB". Tiles are made as large as that
        allows. The result does not depend on it.
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

        ``sigma0``, ``gamma0``
            reconstructed backscatter per area of the surface and per projected area, linear;
        ``gamma0_variance``
            its variance, gamma0 squared times the variance of its logarithm, by speckle, other
            places in the cell's pixels and errors of the DEM; see `interval`;
        ``own_share``, ``borrowed_share``
            what gamma0 was made of: the weight of the cell's own pixels and that of other passes;
            the rest is what neighbouring cells predict;
        ``sigma0_geocoded``
            the image on the ellipsoid, sampled at the place of each cell: conventional geocoding;
        ``contribution_share``
            the cell's mean share in the RCS of its pixels: 1 where it has them to itself;
        ``projected_area``
            the cell's illuminated area where the image has data, projected along the line of
            sight, in square metres; times gamma0 it is the cell's RCS;
        ``fold_count``, ``mask``
            see `masks`;
        ``local_incidence``, ``projected_incidence``, ``ellipsoid_incidence``
            see `sarheight.geometry.incidence`.

        Attributes balance the RCS in square metres, by polarisation and summed over passes:
        ``rcs_image`` is that of the image, ``rcs_explained`` that of the pixels that the DEM
        illuminates; it is allocated to the last bit, to cells (``rcs_cells``) and to cells too
        small to have a value (``rcs_withheld``).

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
    computed in memory. The statistics of the scene are computed at once, in a pass over its
    tiles for each of them; the variables are computed when they are asked for, best all together,
    as `sarheight.output.write` does. Each tile is one task, which loads what it needs itself. On
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
    if grid is not None and not isinstance(grid, RadarGrid):
        dem, grid = to_grid(dem, grid), None
    if facets is not None and facets not in range(1, MOST_FACETS + 1):
        msg = f"found facets={facets!r}, expected 1 to {MOST_FACETS} along each side of a cell"
        raise ValueError(msg)
    chosen = PosteriorMean() if method is None else method
    names = _variable_names(variables)
    settings = Settings(_law_of(chosen, law), chosen, foreshortening, smallest_area, names, facets)
    limit = _memory_bytes(memory_limit)
    scenes = scenes_of(image, grid, orbit, calibration)
    checked = SceneDem.of(dem, file_cache_of(limit))
    plan, planner = plan_scene(scenes, checked, settings, limit)
    if guide is not None:
        _require_fitted(settings)
        plan = replace(plan, kinds=kinds_of_ground(guide, checked.grid))
    rcs = [image_rcs(scene, one.measured) for scene, one in zip(scenes, plan.passes, strict=True)]
    pipeline = _Pipeline(settings, plan.scale, len(scenes))
    work: _Scene
    if is_lazy(checked.array, *(scene.image for scene in scenes)):
        work = _cut(pipeline, plan, planner, scenes, checked, len(rcs[0]))
    else:
        work = _SceneInMemory(pipeline, plan, tile_input(scenes, checked, planner.whole()))
    laws, balances = _find_statistics(pipeline, work)
    results = []
    for index, (scene, one, balance) in enumerate(zip(scenes, plan.passes, balances, strict=True)):
        values = {name: work.values(index, name) for name in settings.variables}
        attributes = {**balance.attributes(), "rcs_image": rcs[index]}
        results.append(
            pass_dataset(scene, dem_dataset(checked.grid, {}), one.radar, values, attributes)
        )
    result = stored_like(combine(results), checked.stored)
    parameters = {
        "method": describe(settings.method),
        "law": [describe(one.law) for one in laws],
        "calibration": [scene.calibration for scene in scenes],
        "foreshortening": foreshortening,
        "smallest_area": smallest_area,
        "facets": plan.scale.facets,
    }
    if guide is not None:
        parameters["kinds"] = [
            {str(kind): describe(own) for kind, own in one.kinds.items()} for one in laws
        ]
    if (described := grid_record(checked.stored)) is not None:
        parameters["grid"] = described
    geometry = geometry_json((scene.grid, scene.orbit) for scene in scenes)
    return result.assign_attrs(
        {
            "parameters": json.dumps(parameters, default=repr),
            "acquisition": acquisition_json(scenes),
            GEOMETRY: geometry,
        }
    )


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
    settings = Settings(None, Reallocation(), FORESHORTENING_THRESHOLD, 0.0, ())
    checked = SceneDem.of(dem)
    plan, planner = plan_scene([scene], checked, settings, math.inf)
    image_rcs(scene, plan.passes[0].measured)
    loaded = read_tile(plan, tile_input([scene], checked, planner.whole()))
    (fitted,) = fit_laws([sample_open_cells(observe(plan, loaded), plan.scale)])
    return cast("FittedLaw", fitted.law)


def _require_fitted(settings: Settings) -> None:
    """Refuse a guide where no law is fitted."""
    if settings.law is not None:
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


def _memory_bytes(limit: float | str) -> float:
    """Read a memory limit in bytes."""
    from dask.utils import parse_bytes

    size = float(parse_bytes(limit))
    if not size > 0.0:
        msg = f"found memory_limit={limit!r}, expected a positive number of bytes, as in '2 GiB'"
        raise ValueError(msg)
    return size


def _variable_names(variables: Sequence[str] | None) -> tuple[str, ...]:
    """Check the names of variables; all by default."""
    if variables is None:
        return tuple(VARIABLES)
    unknown = [name for name in variables if name not in VARIABLES]
    if unknown or not variables or isinstance(variables, str):
        found = repr(variables) if isinstance(variables, str) else ", ".join(map(repr, unknown))
        msg = f"found variables {found or 'of no name'}, expected some of {', '.join(VARIABLES)}"
        raise ValueError(msg)
    return tuple(name for name in VARIABLES if name in variables)


# Stages: what is done to a tile between two statistics of the scene.


@dataclass(frozen=True, eq=False)
class _Stage:
    """One statistic of the scene, and what follows for a tile."""

    sample: Callable[[Any], Any]  # from a tile's state to its samples or sums
    reduce: Callable[[Sequence[Any]], Any]  # from those of all tiles to the statistic
    advance: Callable[[Any, Any], Any]  # from a tile's state and the statistic to its next state


class _Conclusion(NamedTuple):
    """Last statistic of a scene."""

    balances: list[Balance]
    # Error models of a single step: nothing but the variances depends on them.
    models: Sequence[Sequence[ErrorModel]] = ()


def _measure_and_warn(by_tile: Sequence[Samples]) -> list[Agreement]:
    """Measure the agreement of passes, and warn where they do not agree."""
    agreements = measure_agreements(by_tile)
    warn_of_disagreement(agreements)
    return agreements


@dataclass(frozen=True, eq=False)
class _Pipeline:
    """Stages of the work on a tile, from observations to the values of variables."""

    settings: Settings
    scale: GridScale
    passes: int

    @property
    def smallest_area(self) -> float:
        """Area in m2 below which a cell has no value."""
        return self.settings.smallest_area * self.scale.cell_area

    def start(self, observations: list[Observation]) -> list[Observation] | AllocatedTile:
        """Begin with what the passes observe in a tile."""
        law = self.settings.law
        if law is None:
            return observations
        return self._allocate(observations, [SceneLaw(law)] * self.passes)

    def stages(self) -> list[_Stage]:
        """List the stages in order."""
        open_cells = partial(sample_open_cells, scale=self.scale)
        law = _Stage(open_cells, fit_laws, self._allocate)
        first = [law] if self.settings.law is None else []
        method = self.settings.method
        if isinstance(method, Reallocation):
            return [*first, _Stage(self._sample_step, self._conclude_step, self._variables_of_step)]
        values = partial(sample_values, method=method, scale=self.scale)
        begin = partial(self._first_posterior, method)
        stages = [*first, _Stage(values, fit_error_models, begin)]
        if self.passes > 1:
            learn = _Stage(sample_pass_pairs, measure_agreements, partial(self._combine, method))
            last = _Stage(sample_pass_pairs, _measure_and_warn, self._combine_and_estimate)
            stages += [learn] * (method.steps - 1) + [last]
        return [*stages, _Stage(self._sum, self._conclude, self._variables)]

    def _allocate(self, observations: list[Observation], laws: Sequence[SceneLaw]) -> AllocatedTile:
        """Allocate RCS with equal reflectivity of all cells."""
        return allocate_tile(
            observations,
            laws,
            self.settings.method,
            self.scale,
            self.smallest_area,
            geocode="sigma0_geocoded" in self.settings.variables,
            compare="gamma0_variance" in self.settings.variables,
        )

    # A single step needs one statistic: error model and balance together.

    def _sample_step(self, tile: AllocatedTile) -> tuple[list[Balance], Samples]:
        estimates = self._step(tile, ()).estimates
        balances = sum_rcs(tile.observations, estimates, self.smallest_area)
        samples = sample_values(tile, self.scale, self.settings.method) if tile.compared else []
        return balances, samples

    def _conclude_step(self, by_tile: Sequence[tuple[list[Balance], Samples]]) -> _Conclusion:
        balances = balance_scene([sums for sums, _ in by_tile], self.smallest_area)
        return _Conclusion(balances, fit_error_models([samples for _, samples in by_tile]))

    def _variables_of_step(self, tile: AllocatedTile, conclusion: _Conclusion) -> list[Values]:
        return self._variables(self._step(tile, conclusion.models), conclusion)

    def _step(self, tile: AllocatedTile, models: Sequence[Sequence[ErrorModel]]) -> EstimatedTile:
        contrasts = [[model.contrast for model in of_pass] for of_pass in models]
        unknown: list[list[float]] = [[]] * self.passes
        return single_step(tile, self.scale, self.settings.method, contrasts or unknown)

    # The posterior mean of one pass needs no statistic between its steps.

    def _first_posterior(
        self, method: PosteriorMean, tile: AllocatedTile, models: list[list[ErrorModel]]
    ) -> PosteriorTile | EstimatedTile:
        state = first_posterior(tile, models, method, self.scale)
        if self.passes > 1:
            return state
        for _ in range(method.steps - 1):
            state = next_posterior(state, method, self.scale)
        return estimate_posterior(state)

    # Several passes learn from each other in each step.

    def _combine(
        self, method: PosteriorMean, state: PosteriorTile, agreements: list[Agreement]
    ) -> PosteriorTile:
        return next_posterior(combine_passes(state, agreements), method, self.scale)

    def _combine_and_estimate(
        self, state: PosteriorTile, agreements: list[Agreement]
    ) -> EstimatedTile:
        return estimate_posterior(combine_passes(state, agreements))

    def _sum(self, tile: EstimatedTile) -> list[Balance]:
        return sum_rcs(tile.observations, tile.estimates, self.smallest_area)

    def _conclude(self, by_tile: Sequence[list[Balance]]) -> _Conclusion:
        return _Conclusion(balance_scene(by_tile, self.smallest_area))

    def _variables(self, tile: EstimatedTile, conclusion: _Conclusion) -> list[Values]:
        """Return the values of the variables of each pass, in the tile itself."""
        return [
            self._pass_variables(*one)
            for one in zip(tile.observations, tile.estimates, conclusion.balances, strict=True)
        ]

    def _pass_variables(
        self, observation: Observation, estimate: Estimate, balance: Balance
    ) -> Values:
        """Turn reflectivities into backscatter, in the arrays of the estimate."""
        allocated, view = estimate.allocated, observation.image.geometry
        sigma = allocated.rcs
        to_backscatter(
            balance.factor,
            balance.by_variance,
            self.smallest_area,
            view.heights,
            allocated.expected,
            observation.angles["local_incidence"],
            allocated.area,
            allocated.contribution,
            estimate.reflectivity,
            estimate.relative_variance,
            sigma,
        )
        values: Values = {
            "sigma0": sigma,
            "gamma0": estimate.reflectivity,
            "gamma0_variance": estimate.relative_variance,
            "own_share": _layers_or(estimate.own, 1.0, sigma),
            "borrowed_share": _layers_or(estimate.borrowed, 0.0, sigma),
            "contribution_share": allocated.contribution,
            "projected_area": allocated.area,
            **observation.angles,
            "mask": observation.category,
            "fold_count": observation.fold_count,
            "sigma0_geocoded": allocated.geocoded,
        }
        core = (..., *observation.core)
        return {name: np.ascontiguousarray(values[name][core]) for name in self.settings.variables}


def _layers_or(layers: Layers | None, value: float, like: Layers) -> Layers:
    """Return layers, or a constant where cells have a value."""
    if layers is None:
        return np.where(np.isfinite(like), np.float32(value), np.float32(np.nan))
    return np.where(np.isfinite(like), layers, np.float32(np.nan)).astype(np.float32, copy=False)


# The scene: its tiles in memory or by tasks, and its statistics.


class _Scene(Protocol):
    """The tiles of a scene."""

    def sample(self, stage: _Stage) -> Sequence[Any]:
        """Return the samples of all tiles for a stage, in the order of the tiles."""

    def advance(self, stage: _Stage, statistic: object) -> None:
        """Hand the statistic of a stage to all tiles."""

    def values(self, index: int, name: str) -> Any:  # noqa: ANN401 - a NumPy or dask array
        """Return the values of a variable of a pass, after the last stage."""


def _find_statistics(pipeline: _Pipeline, scene: _Scene) -> tuple[list[SceneLaw], list[Balance]]:
    """Find the statistics of a scene one after the other; return its laws and its balances."""
    settings = pipeline.settings
    laws = [] if settings.law is None else [SceneLaw(settings.law)] * pipeline.passes
    statistic: Any = None
    for stage in pipeline.stages():
        statistic = stage.reduce(scene.sample(stage))
        scene.advance(stage, statistic)
        laws = laws or statistic
    return laws, statistic.balances


class _SceneInMemory:
    """A scene in memory: one tile, kept from stage to stage."""

    def __init__(self, pipeline: _Pipeline, plan: ScenePlan, source: TileInput) -> None:
        """Observe the scene."""
        self._state: Any = pipeline.start(observe(plan, read_tile(plan, source)))

    def sample(self, stage: _Stage) -> Sequence[Any]:
        """See `_Scene`."""
        return [stage.sample(self._state)]

    def advance(self, stage: _Stage, statistic: object) -> None:
        """See `_Scene`."""
        self._state = stage.advance(self._state, statistic)

    def values(self, index: int, name: str) -> NDArray[Any]:
        """See `_Scene`."""
        values: NDArray[Any] = self._state[index][name]
        return values


class _LazyScene:
    """A lazy scene: tiles that tasks read and compute, again for each stage."""

    def __init__(
        self,
        pipeline: _Pipeline,
        plan: ScenePlan,
        tiles: Sequence[Sequence[TileInput]],
        sampled: Sequence[Sequence[bool]],
        polarisations: int,
    ) -> None:
        """Prepare the tasks; tiles that are not sampled lie beside all images."""
        self._common = opaque(pipeline), opaque(plan)
        self._tiles = [[source.tile for source in row] for row in tiles]
        self._inputs = [opaque(source) for row in tiles for source in row]
        chosen = [use for row in sampled for use in row]
        self._sampled = [*compress(self._inputs, chosen)] or self._inputs
        self._polarisations = polarisations
        self._statistics: tuple[object, ...] = ()

    def sample(self, stage: _Stage) -> Sequence[Any]:  # noqa: ARG002 - tasks make their own
        """See `_Scene`."""
        known = opaque(self._statistics)
        return run([task(_sample_tile, *self._common, tile, known) for tile in self._sampled])

    def advance(self, stage: _Stage, statistic: object) -> None:  # noqa: ARG002
        """See `_Scene`."""
        self._statistics = (*self._statistics, statistic)

    @cached_property
    def _variables(self) -> list[Any]:
        """Tasks that compute the variables of a tile."""
        known = opaque(self._statistics)
        return [task(_compute_tile, *self._common, tile, known) for tile in self._inputs]

    def values(self, index: int, name: str) -> Any:  # noqa: ANN401 - a dask array
        """See `_Scene`."""
        variables = iter(self._variables)
        rows = []
        for row in self._tiles:
            blocks = []
            for tile in row:
                core = tile.core[1] - tile.core[0], tile.core[3] - tile.core[2]
                shape = variable_shape(name, self._polarisations, *core)
                values = task(_select, next(variables), index, name)
                blocks.append(lazy_array(values, shape, variable_type(name)))
            rows.append(concatenate(blocks, -1))
        return concatenate(rows, -2)


def _cut(
    pipeline: _Pipeline,
    plan: ScenePlan,
    planner: TilePlanner,
    scenes: Sequence[Scene],
    dem: SceneDem,
    polarisations: int,
) -> _LazyScene:
    """Cut a lazy scene into tiles that fit in memory."""
    support = support_of(pipeline.settings.method, plan.scale)
    # The kinds of ground of the whole DEM stay in memory.
    held = 0 if plan.kinds is None else plan.kinds.nbytes
    sides = planner.sides(plan.memory_limit - held, support, polarisations)
    tiles = [
        [
            tile_input(scenes, dem, tile, planner.bytes_of(tile, support, polarisations))
            for tile in row
        ]
        for row in planner.tiles(sides, support)
    ]
    sampled = [[planner.illuminates(source.tile.core) for source in row] for row in tiles]
    return _LazyScene(pipeline, plan, tiles, sampled, polarisations)


def _advance_tile(
    pipeline: _Pipeline, plan: ScenePlan, statistics: Sequence[object], loaded: TileInput
) -> Any:  # noqa: ANN401 - the state differs from stage to stage
    """Compute a tile that was read as far as the statistics go."""
    state: Any = pipeline.start(observe(plan, loaded))
    for stage, statistic in zip(pipeline.stages(), statistics, strict=False):
        state = stage.advance(state, statistic)
    return state


def _sample_tile(
    pipeline: _Pipeline, plan: ScenePlan, source: TileInput, statistics: Sequence[object]
) -> Any:  # noqa: ANN401
    """Read a tile and sample it for the stage that follows the statistics."""
    stage = pipeline.stages()[len(statistics)]
    advance = partial(_advance_tile, pipeline, plan, statistics)
    return one_at_a_time(
        partial(read_tile, plan, source), lambda loaded: stage.sample(advance(loaded))
    )


def _compute_tile(
    pipeline: _Pipeline, plan: ScenePlan, source: TileInput, statistics: Sequence[object]
) -> list[Values]:
    """Read a tile and compute its variables."""
    variables: list[Values] = one_at_a_time(
        partial(read_tile, plan, source), partial(_advance_tile, pipeline, plan, statistics)
    )
    return variables


def _select(variables: list[Values], index: int, name: str) -> NDArray[Any]:
    return variables[index][name]
