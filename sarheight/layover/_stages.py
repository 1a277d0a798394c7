"""Stages of a reconstruction, and the tiles on which they work.

The work on a tile is a sequence of stages. Each stage needs one statistic of the whole scene: it
samples tiles, reduces their samples in order, and hands the statistic back to each tile. A scene
in memory is one tile, which is kept from stage to stage. Tiles of a lazy scene are computed again
for each stage, by tasks that can be repeated at any time and on any machine. All that this costs
is kept small: most statistics rest on a sample of cells, for which small tiles around these are
enough, and what comes before the last statistic is kept in a scratch file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.estimation import to_backscatter

from sarheight.layover._plan import (
    SceneDem,
    ScenePlan,
    Settings,
    TileInput,
    observe,
    read_tile,
    tile_input,
)
from sarheight.layover._posterior import (
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
    Shelf,
    concatenate,
    lazy_array,
    one_at_a_time,
    opaque,
    run,
    task,
)
from sarheight.layover.result import Values, variable_shape, variable_type
from sarheight.memory import empty

if TYPE_CHECKING:
    from sarheight.layover._statistics import Agreement, ErrorModel, Samples
    from sarheight.layover.allocation import Estimate, Layers, Observation
    from sarheight.layover.tiles import GridScale, Support, Tile, TilePlanner
    from sarheight.scene import Scene

# Stages: what is done to a tile between two statistics of the scene.


@dataclass(frozen=True, eq=False)
class Stage:
    """One statistic of the scene, and what follows for a tile."""

    sample: Callable[[Any], Any]  # from a tile's state to its samples or sums
    reduce: Callable[[Sequence[Any]], Any]  # from those of all tiles to the statistic
    advance: Callable[[Any, Any], Any]  # from a tile's state and the statistic to its next state
    # Surroundings on which sampled cells depend; None where the statistic rests on all cells.
    support: Support | None = None
    # From a tile's state to the part of it from which `advance` computes the same: that is kept.
    hold: Callable[[Any], Any] | None = None


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
class Pipeline:
    """Stages of the work on a tile, from observations to the values of variables."""

    settings: Settings
    scale: GridScale
    passes: int
    guided: bool = False  # whether a guide tells kinds of ground apart

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

    def stages(self) -> list[Stage]:
        """List the stages in order."""
        open_cells = partial(sample_open_cells, scale=self.scale)
        method = self.settings.method
        near = support_of(method, self.scale, first=True)
        # Kinds of ground may be rare: their laws rest on all cells.
        law = Stage(open_cells, fit_laws, self._allocate, None if self.guided else near)
        first = [law] if self.settings.law is None else []
        if isinstance(method, Reallocation):
            return [*first, Stage(self._sample_step, self._conclude_step, self._variables_of_step)]
        values = partial(sample_values, method=method, scale=self.scale)
        begin = partial(self._first_posterior, method)
        stages = [*first, Stage(values, fit_error_models, begin, near)]
        if self.passes > 1:
            wide = support_of(method, self.scale)
            combine = partial(self._combine, method)
            learn = Stage(sample_pass_pairs, measure_agreements, combine, wide)
            last = Stage(sample_pass_pairs, _measure_and_warn, self._combine_and_estimate, wide)
            stages += [learn] * (method.steps - 1) + [last]
        return [*stages, Stage(self._sum, self._conclude, self._variables, hold=self._hold)]

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

    def _hold(self, tile: EstimatedTile) -> list[Values]:
        """Return what the variables of each pass are computed from, in the tile itself."""
        return [
            self._hold_pass(*one) for one in zip(tile.observations, tile.estimates, strict=True)
        ]

    def _hold_pass(self, observation: Observation, estimate: Estimate) -> Values:
        allocated, wanted = estimate.allocated, self.settings.variables
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
            name: layers for name, layers in others.items() if name in wanted and layers is not None
        }
        core = (..., *observation.core)
        return {name: _kept_copy(layers[core]) for name, layers in values.items()}

    def _variables(
        self, tile: EstimatedTile | list[Values], conclusion: _Conclusion
    ) -> list[Values]:
        """Return the values of the variables of each pass, of a tile or of what is held of it."""
        held = self._hold(tile) if isinstance(tile, EstimatedTile) else tile
        return [self._pass_variables(*one) for one in zip(held, conclusion.balances, strict=True)]

    def _pass_variables(self, held: Values, balance: Balance) -> Values:
        """Turn reflectivities into backscatter, in the arrays that are held."""
        sigma = held["sigma0"]
        to_backscatter(
            balance.factor,
            balance.by_variance,
            self.smallest_area,
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
            if name in self.settings.variables
        }
        held = held | shares
        return {name: held[name] for name in self.settings.variables}


def _kept_copy(layers: NDArray[Any]) -> NDArray[Any]:
    """Copy layers of a tile out of those of its window."""
    if layers.flags.c_contiguous:
        return layers
    copied = empty(layers.shape, layers.dtype)
    np.copyto(copied, layers)
    return copied


def _layers_or(layers: Layers | None, value: float, like: Layers) -> Layers:
    """Return layers, or a constant where cells have a value."""
    if layers is None:
        return np.where(np.isfinite(like), np.float32(value), np.float32(np.nan))
    return np.where(np.isfinite(like), layers, np.float32(np.nan)).astype(np.float32, copy=False)


# The scene: its tiles in memory or by tasks, and its statistics.


class TiledScene(Protocol):
    """The tiles of a scene."""

    def sample(self, stage: Stage) -> Sequence[Any]:
        """Return the samples of all tiles for a stage, in the order of the tiles."""

    def advance(self, stage: Stage, statistic: object) -> None:
        """Hand the statistic of a stage to all tiles."""

    def values(self, index: int, name: str) -> Any:  # noqa: ANN401 - a NumPy or dask array
        """Return the values of a variable of a pass, after the last stage."""


def find_statistics(pipeline: Pipeline, scene: TiledScene) -> tuple[list[SceneLaw], list[Balance]]:
    """Find the statistics of a scene one after the other; return its laws and its balances."""
    settings = pipeline.settings
    laws = [] if settings.law is None else [SceneLaw(settings.law)] * pipeline.passes
    statistic: Any = None
    for stage in pipeline.stages():
        statistic = stage.reduce(scene.sample(stage))
        scene.advance(stage, statistic)
        laws = laws or statistic
    return laws, statistic.balances


class SceneInMemory:
    """A scene in memory: one tile, kept from stage to stage."""

    def __init__(self, pipeline: Pipeline, plan: ScenePlan, source: TileInput) -> None:
        """Observe the scene."""
        self._state: Any = pipeline.start(observe(plan, read_tile(plan, source)))

    def sample(self, stage: Stage) -> Sequence[Any]:
        """See `TiledScene`."""
        return [stage.sample(self._state)]

    def advance(self, stage: Stage, statistic: object) -> None:
        """See `TiledScene`."""
        self._state = stage.advance(self._state, statistic)

    def values(self, index: int, name: str) -> NDArray[Any]:
        """See `TiledScene`."""
        values: NDArray[Any] = self._state[index][name]
        return values


def _held_bytes(passes: int, polarisations: int) -> int:
    """Bytes that a cell takes at most between the last statistic and its variables."""
    # Float32: six by polarisation, seven others; mask and fold count.
    return passes * (24 * polarisations + 28 + 2)


class LazyScene:
    """A lazy scene: tiles that tasks read and compute, again for each stage.

    Statistics that rest on a sample of cells are found in small tiles around these. What the
    variables are computed from is kept in a scratch file, where there is room for it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: ScenePlan,
        planner: TilePlanner,
        scenes: Sequence[Scene],
        dem: SceneDem,
        polarisations: int,
    ) -> None:
        """Cut the scene into tiles that fit in memory, and prepare the tasks."""
        support = support_of(pipeline.settings.method, plan.scale)
        # The kinds of ground of the whole DEM stay in memory.
        held = 0 if plan.kinds is None else plan.kinds.nbytes
        sides = planner.sides(plan.memory_limit - held, support, polarisations)

        def source(tile: Tile, support: Support) -> Any:  # noqa: ANN401 - a task's argument
            need = planner.bytes_of(tile, support, polarisations)
            return opaque(tile_input(scenes, dem, tile, need))

        self._common = opaque(pipeline), opaque(plan)
        self._tiles = planner.tiles(sides, support)
        every = [tile for row in self._tiles for tile in row]
        self._inputs = [source(tile, support) for tile in every]
        # Tiles that lie beside all images have no part in statistics.
        illuminating = [planner.illuminates(tile.core) for tile in every]
        self._sampled = [*compress(enumerate(self._inputs), illuminating)] or [
            *enumerate(self._inputs)
        ]
        self._work = sum(planner.work_on(every[index]) for index, _ in self._sampled)
        self._planner, self._source = planner, source
        self._polarisations = polarisations
        self._statistics: tuple[object, ...] = ()
        self._shelf = Shelf(0)

    def _areas(self, support: Support | None) -> list[tuple[int, Any]]:
        """Return inputs for a statistic: tiles, or areas within them where these take less work."""
        if support is None or self._planner.scale.sampled_parts == 1:
            return self._sampled
        areas = self._planner.areas(support)
        if not 0.0 < sum(map(self._planner.work_on, areas)) < self._work:
            return self._sampled
        return [(index, self._source(tile, support)) for index, tile in enumerate(areas)]

    def sample(self, stage: Stage) -> Sequence[Any]:
        """See `TiledScene`."""
        known = opaque(self._statistics)
        if stage.hold is not None:
            rows, columns = self._planner.scale.shape
            self._shelf = Shelf(
                rows * columns * _held_bytes(len(self._planner.radars), self._polarisations)
            )
        shelf = opaque(self._shelf)
        return run(
            [
                task(_sample_tile, *self._common, tile, known, shelf, index)
                for index, tile in self._areas(stage.support)
            ]
        )

    def advance(self, stage: Stage, statistic: object) -> None:  # noqa: ARG002
        """See `TiledScene`."""
        self._statistics = (*self._statistics, statistic)

    @cached_property
    def _variables(self) -> list[Any]:
        """Tasks that compute the variables of a tile."""
        known, shelf = opaque(self._statistics), opaque(self._shelf)
        return [
            task(_compute_tile, *self._common, tile, known, shelf, index)
            for index, tile in enumerate(self._inputs)
        ]

    def values(self, index: int, name: str) -> Any:  # noqa: ANN401 - a dask array
        """See `TiledScene`."""
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


def _advance_tile(
    pipeline: Pipeline, plan: ScenePlan, statistics: Sequence[object], loaded: TileInput
) -> Any:  # noqa: ANN401 - the state differs from stage to stage
    """Compute a tile that was read as far as the statistics go."""
    state: Any = pipeline.start(observe(plan, loaded))
    for stage, statistic in zip(pipeline.stages(), statistics, strict=False):
        state = stage.advance(state, statistic)
    return state


def _sample_tile(
    pipeline: Pipeline,
    plan: ScenePlan,
    source: TileInput,
    statistics: Sequence[object],
    shelf: Shelf,
    index: int,
) -> Any:  # noqa: ANN401
    """Read a tile and sample it for the stage that follows the statistics."""
    stage = pipeline.stages()[len(statistics)]

    def work(loaded: TileInput) -> tuple[Any, Any]:
        state = _advance_tile(pipeline, plan, statistics, loaded)
        held = stage.hold(state) if stage.hold is not None and shelf.is_open else None
        return stage.sample(state), held

    samples, held = one_at_a_time(partial(read_tile, plan, source), work)
    if held is not None:
        shelf.save(index, held)
    return samples


def _compute_tile(
    pipeline: Pipeline,
    plan: ScenePlan,
    source: TileInput,
    statistics: Sequence[object],
    shelf: Shelf,
    index: int,
) -> list[Values]:
    """Compute the variables of a tile, from what is held of it or anew."""

    def work(read: list[Values] | TileInput) -> list[Values]:
        if isinstance(read, TileInput):
            return cast("list[Values]", _advance_tile(pipeline, plan, statistics, read))
        last = pipeline.stages()[-1]
        return cast("list[Values]", last.advance(read, statistics[-1]))

    return one_at_a_time(lambda: shelf.load(index) or read_tile(plan, source), work)


def _select(variables: list[Values], index: int, name: str) -> NDArray[Any]:
    return variables[index][name]
