"""The tiles of a scene: a step is done to all of them at once, or recorded for tasks to replay.

A scene in memory is one tile, to which each step is done at once. Of a lazy scene, each task reads
a tile and replays on it the steps that are recorded, at any time and on any machine. Statistics of
the scene are reduced from the samples of all tiles, in the order of the tiles. What this costs is
kept small: most statistics rest on a sample of cells, for which small tiles around these are
enough, and what comes before the last statistic is kept in a scratch file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from numpy.typing import NDArray

from sarheight.layover._plan import (
    SceneDem,
    ScenePlan,
    TileInput,
    observe,
    read_tile,
    tile_input,
)
from sarheight.layover._tasks import (
    Shelf,
    concatenate,
    lazy_array,
    one_at_a_time,
    opaque,
    release_memory,
    run,
    task,
)
from sarheight.layover.layers import LAYERS, cell_bytes
from sarheight.layover.result import RECEIVED, Values, held_bytes

if TYPE_CHECKING:
    from sarheight.layover.allocation import Observation
    from sarheight.layover.tiles import Support, Tile, TilePlanner
    from sarheight.scene import Scene

State = TypeVar("State")
"""What is known of a tile: at first observations of the passes, in the end values of variables."""
Next = TypeVar("Next")
Sample = TypeVar("Sample")


class Tiles(ABC, Generic[State]):
    """All tiles of a scene, in one state."""

    @abstractmethod
    def apply(self, step: Callable[[State], Next]) -> Tiles[Next]:
        """Do a step to each tile. These tiles are spent: the new ones take their place."""

    @abstractmethod
    def sample(
        self, function: Callable[[State], Sample], support: Support | None = None
    ) -> Sequence[Sample]:
        """Sample each tile; the samples are in the order of the tiles.

        `support` holds the surroundings on which sampled cells depend; None where all cells count.
        """

    @abstractmethod
    def keep(
        self, step: Callable[[State], list[Values]], function: Callable[[State], Sample]
    ) -> tuple[Tiles[list[Values]], Sequence[Sample]]:
        """Sample each tile, do a step to it, and keep what the step returns for later steps."""

    @abstractmethod
    def values(self: Tiles[list[Values]], index: int, name: str) -> Any:  # noqa: ANN401
        """Return the values of a variable of a pass over the scene, a NumPy or a dask array."""


class TilesInMemory(Tiles[State]):
    """The one tile of a scene in memory."""

    def __init__(self, state: State) -> None:
        self._state: State | None = state

    @classmethod
    def observe(cls, plan: ScenePlan, source: TileInput) -> Tiles[list[Observation]]:
        """Observe the scene."""
        return TilesInMemory(observe(plan, read_tile(plan, source)))

    def _take(self) -> State:
        """Hand the state over, so that the memory of the former one is free after a step."""
        state, self._state = cast("State", self._state), None
        return state

    def apply(self, step: Callable[[State], Next]) -> Tiles[Next]:
        """Do the step at once."""
        return TilesInMemory(step(self._take()))

    def sample(
        self,
        function: Callable[[State], Sample],
        support: Support | None = None,  # noqa: ARG002
    ) -> Sequence[Sample]:
        """Sample the one tile at once."""
        return [function(cast("State", self._state))]

    def keep(
        self, step: Callable[[State], list[Values]], function: Callable[[State], Sample]
    ) -> tuple[Tiles[list[Values]], Sequence[Sample]]:
        """Sample the one tile, and do the step to it."""
        samples = self.sample(function)
        return self.apply(step), samples

    def values(self: TilesInMemory[list[Values]], index: int, name: str) -> NDArray[Any]:
        """Return the array that is in memory."""
        return cast("list[Values]", self._state)[index][name]


# Lazy scenes: what is recorded, and the tasks that replay it.

Loaded = TileInput | list[Values]
"""A tile that was read: its input, or what is kept of it."""
Read = Callable[[ScenePlan, TileInput, int], Loaded]
"""Reads a tile, given its number."""
Replay = Callable[[ScenePlan, Loaded], Next]
"""Does all steps that are recorded to a tile that was read."""


def _read_input(plan: ScenePlan, source: TileInput, number: int) -> Loaded:  # noqa: ARG001
    """Read the input of a tile."""
    return read_tile(plan, source)


def _read_kept(read: Read, shelf: Shelf) -> Read:
    """Read what is kept of a tile, or else its input."""
    return lambda plan, source, number: shelf.load(number) or read(plan, source, number)


def _observe(plan: ScenePlan, loaded: Loaded) -> list[Observation]:
    """Begin with what the passes observe in a tile, within the memory limit."""
    source = cast("TileInput", loaded)
    release_memory(source.bytes_beside, plan.memory_limit)
    return observe(plan, source)


def _followed(replay: Replay[State], step: Callable[[State], Next]) -> Replay[Next]:
    """Record one step more."""
    return lambda plan, loaded: step(replay(plan, loaded))


def _unless_kept(replay: Replay[list[Values]]) -> Replay[list[Values]]:
    """Compute again only what was not kept."""
    return lambda plan, loaded: loaded if isinstance(loaded, list) else replay(plan, loaded)


class LazyScene:
    """The tiles of a lazy scene, and tasks for them.

    Statistics that rest on a sample of cells are found in small tiles around these.
    """

    def __init__(
        self,
        plan: ScenePlan,
        planner: TilePlanner,
        scenes: Sequence[Scene],
        dem: SceneDem,
        support: Support,
        variables: Sequence[str],
    ) -> None:
        """Cut the scene into tiles that fit in memory.

        `support` is that of the method, and `variables` are those of the result.
        """
        image = scenes[0].image
        self.polarisations = image.shape[0] if image.ndim == 3 else 1
        self.planner, self.plan = planner, opaque(plan)
        # The kinds of ground of the whole DEM stay in memory.
        limit = plan.memory_limit - (0 if plan.kinds is None else plan.kinds.nbytes)
        size = self.polarisations, cell_bytes(variables, self.polarisations)
        self.tiles = planner.tiles(planner.sides(limit, support, *size), support)
        self._variables = variables

        def source(tile: Tile, support: Support) -> Any:  # noqa: ANN401 - a task's argument
            need = planner.bytes_of(tile, support, *size)
            return opaque(tile_input(scenes, dem, tile, need))

        self._source = source
        every = [tile for row in self.tiles for tile in row]
        self.inputs = [source(tile, support) for tile in every]
        # Tiles that lie beside all images have no part in statistics.
        illuminating = [planner.illuminates(tile.core) for tile in every]
        self._sampled = [*compress(enumerate(self.inputs), illuminating)] or [
            *enumerate(self.inputs)
        ]
        self._work = sum(planner.work_on(every[number]) for number, _ in self._sampled)

    def areas(self, support: Support | None) -> list[tuple[int, Any]]:
        """Return inputs for a statistic: tiles, or areas within them where these take less work."""
        if support is None or self.planner.scale.sampled_parts == 1:
            return self._sampled
        areas = self.planner.areas(support)
        if not 0.0 < sum(map(self.planner.work_on, areas)) < self._work:
            return self._sampled
        return [(number, self._source(tile, support)) for number, tile in enumerate(areas)]

    def shelf(self) -> Shelf:
        """Make a scratch file for what is kept of all tiles."""
        rows, columns = self.planner.scale.shape
        held = held_bytes(self._variables, self.polarisations)
        return Shelf(rows * columns * len(self.planner.radars) * held)


class LazyTiles(Tiles[State]):
    """The tiles of a lazy scene: steps are recorded, and replayed for each statistic."""

    def __init__(self, scene: LazyScene, read: Read, replay: Replay[State]) -> None:
        self._scene, self._read, self._replay = scene, read, replay

    @classmethod
    def observe(cls, scene: LazyScene) -> Tiles[list[Observation]]:
        """Begin a record with what the passes observe."""
        return LazyTiles(scene, _read_input, _observe)

    def apply(self, step: Callable[[State], Next]) -> Tiles[Next]:
        """Record the step."""
        return LazyTiles(self._scene, self._read, _followed(self._replay, step))

    def sample(
        self, function: Callable[[State], Sample], support: Support | None = None
    ) -> Sequence[Sample]:
        """Run a task for each tile, or area within it, that matters."""
        common = self._scene.plan, opaque(self._read), opaque(_followed(self._replay, function))
        return run(
            [
                task(_replay_tile, *common, source, number)
                for number, source in self._scene.areas(support)
            ]
        )

    def keep(
        self, step: Callable[[State], list[Values]], function: Callable[[State], Sample]
    ) -> tuple[Tiles[list[Values]], Sequence[Sample]]:
        """Run a task for each tile, which keeps what the step returns if there is room."""
        shelf = self._scene.shelf()

        def both(state: State) -> tuple[Sample, list[Values] | None]:
            return function(state), step(state) if shelf.is_open else None

        replay = opaque(_followed(self._replay, both))
        common = self._scene.plan, opaque(self._read), replay, opaque(shelf)
        samples = run(
            [
                task(_keep_tile, *common, source, number)
                for number, source in self._scene.areas(None)
            ]
        )
        kept = _unless_kept(_followed(self._replay, step))
        return LazyTiles(self._scene, _read_kept(self._read, shelf), kept), samples

    @cached_property
    def _results(self) -> list[Any]:
        """Tasks that replay the record on each tile."""
        common = self._scene.plan, opaque(self._read), opaque(self._replay)
        return [
            task(_replay_tile, *common, source, number)
            for number, source in enumerate(self._scene.inputs)
        ]

    def values(self: LazyTiles[list[Values]], index: int, name: str) -> Any:  # noqa: ANN401
        """Return a dask array of all tiles."""
        results = iter(self._results)
        rows = []
        for row in self._scene.tiles:
            blocks = []
            for tile in row:
                core = tile.core[1] - tile.core[0], tile.core[3] - tile.core[2]
                shape = LAYERS[name].shape(self._scene.polarisations, *core)
                values = task(_select, next(results), index, name)
                blocks.append(lazy_array(values, shape, LAYERS[name].dtype))
            rows.append(concatenate(blocks, -1))
        return concatenate(rows, -2)


def _replay_tile(
    plan: ScenePlan, read: Read, replay: Replay[State], source: TileInput, number: int
) -> State:
    """Read a tile, or what is kept of it, and do the recorded steps to it."""
    return one_at_a_time(lambda: read(plan, source, number), lambda loaded: replay(plan, loaded))


def _keep_tile(
    plan: ScenePlan,
    read: Read,
    replay: Replay[tuple[Sample, list[Values] | None]],
    shelf: Shelf,
    source: TileInput,
    number: int,
) -> Sample:
    """Read a tile, do the recorded steps to it, and keep the second part of the result."""
    samples, held = _replay_tile(plan, read, replay, source, number)
    if held is not None:
        shelf.save(number, [{name: of[name] for name in of if name != RECEIVED} for of in held])
    return samples


def _select(variables: list[Values], index: int, name: str) -> NDArray[Any]:
    return variables[index][name]
