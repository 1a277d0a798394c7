r"""Dates of one track: what a reference pass fixes for all of them, and what each date computes.

Satellites on a repeat orbit fly within a tube some hundred metres wide. With a perpendicular
baseline B from the reference orbit, at slant range R, the ground is seen under angles that differ
by :math:`\delta = B / R`, 2e-4 radians for 170 m. Masks, angles of incidence and which facets are
illuminated therefore are those of the reference pass. Positions in the image are not carried: a
date has its own lattice of pixels, at any fraction of a pixel from that of the reference, and
solving its geometry takes no longer than correcting that of another date to first order would.

The method is radiometric terrain correction, `RTC`: it needs no statistic of the scene, so that
each tile of each date is computed by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.models import ground_patch, ground_position, locate_cell
from sarheight_kernels.orbit import evaluate_orbit
from sarheight_kernels.pool import spread
from sarheight_kernels.radiometry import inverse_intensity, mask_missing

from sarheight.errors import SarheightError
from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas, require_overlap
from sarheight.geometry.tables import radar_model
from sarheight.geometry.visibility import illuminated_cells
from sarheight.illumination import ConstantGamma
from sarheight.illumination.simulate import illuminate
from sarheight.layover._plan import (
    PassPlan,
    SceneDem,
    ScenePlan,
    file_cache_of,
    pass_view,
    plan_scene,
    prepare_window,
    window_areas,
)
from sarheight.layover._steps import support_of
from sarheight.layover._tasks import (
    load,
    one_at_a_time,
    opaque,
    release_memory,
    run,
    slim,
    task,
)
from sarheight.layover.allocation import NO_BLUR, Layers, intensities, rtc_intensity
from sarheight.layover.facets import sum_facets
from sarheight.layover.layers import cell_bytes
from sarheight.layover.tiles import Tile, TilePlanner
from sarheight.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    import xarray as xr
    from sarheight_kernels.models import GroundModel, RadarModel

    from sarheight.dem.checked import CheckedDem
    from sarheight.grid import RadarGrid
    from sarheight.layover.methods import RTC
    from sarheight.layover.tiles import Support
    from sarheight.orbit import Orbit

Result = TypeVar("Result")
Window = tuple["xr.DataArray", NDArray[np.float32], "GroundModel"]
"""A part of a DEM: its grid, heights and positions."""

TRACK_VARIABLES = (
    "mask",
    "fold_count",
    "local_incidence",
    "projected_incidence",
    "ellipsoid_incidence",
    "contribution_share",
    "projected_area",
)
"""Variables of a result that all dates of a track have in common."""
RESULT = ("gamma0",)
"""Variables that each date has."""
REFERENCE_SPARE = 0.05
"""Part of the samples of an image by which the reference pass may reach beyond either side."""
REFERENCE_MARGIN = 16
"""Lines and samples that are kept around those that the DEM contributes to."""
SAMPLED_PLACES = (0.0, 0.5, 1.0)
"""Fractions of the rows and columns of a DEM at which baselines are measured."""
CHECKED_CELLS = 256
"""Rows and columns of the part of a DEM, that of the largest relief, in which masks are checked."""


@dataclass(frozen=True)
class Baseline:
    """Distance of an orbit from that of the reference pass, the largest over a DEM."""

    perpendicular: float  # metres, at a right angle to line of sight and velocity
    parallel: float  # metres, along the line of sight; positive where the date is farther away
    angle: float  # radians: by how much the angles of incidence differ


@dataclass(frozen=True, eq=False)
class TileGeometry:
    """What all dates have in common over a tile: cells or facets, and which are illuminated."""

    tile: Tile  # with pixels of the reference pass
    dem: xr.DataArray  # the window's grid, in cells or facets
    heights: NDArray[np.float32]  # of cells or facets
    ground: GroundModel
    illuminated: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DatePass:
    """The pass of one date over the DEM of a track."""

    image: Any  # intensity, (lines, samples) or (polarisations, lines, samples); may be lazy
    plan: PassPlan
    planner: TilePlanner


@dataclass(frozen=True, eq=False)
class TrackPlan:
    """What all dates of a track have in common on one grid."""

    dem: SceneDem
    plan: ScenePlan  # of the reference pass
    planner: TilePlanner  # of the reference pass
    method: RTC
    support: Support

    @classmethod
    def over(
        cls,
        reference: Scene,
        dem: xr.DataArray | CheckedDem,
        method: RTC,
        *,
        smallest_area: float,
        memory_limit: float,
        facets: int | None = None,
    ) -> TrackPlan:
        """Plan the dates of a track: the image of the reference pass is not read.

        Raises
        ------
        GeometryError
            If DEM and reference pass do not overlap.
        """
        scene_dem = SceneDem.of(dem, file_cache_of(memory_limit))
        plan, planner = plan_scene(
            [reference],
            scene_dem,
            smallest_area=smallest_area,
            memory_limit=memory_limit,
            facets=facets,
        )
        return cls(scene_dem, plan, planner, method, support_of(method, plan.scale))

    @property
    def shape(self) -> tuple[int, int]:
        """Return rows and columns of the grid, from north to south."""
        return self.plan.scale.shape

    @property
    def facets(self) -> int:
        """Return the facets along a side of a cell."""
        return self.plan.scale.facets

    def tiles(self, polarisations: int, chunk: int) -> list[Tile]:
        """Cut the grid into tiles of whole chunks, as large as the memory limit allows."""
        sides = self.planner.sides(
            self.plan.memory_limit, self.support, polarisations, cell_bytes(RESULT, polarisations)
        )
        high, wide = (
            side if side >= size else max(side // chunk, 1) * chunk
            for side, size in zip(sides, self.shape, strict=True)
        )
        return [tile for row in self.planner.tiles((high, wide), self.support) for tile in row]

    def date(self, scene: Scene) -> DatePass:
        """Place the image of a date over the DEM.

        Raises
        ------
        GeometryError
            If DEM and image do not overlap.
        """
        planner, radar = self._over(scene.grid, scene.orbit)
        bounds = planner.bounds[0].reshape(-1, 4)
        require_overlap(self.dem.grid, scene.grid, radar, bounds)
        # What is tabulated for each sample is small where only the part over the DEM is kept.
        bounds = bounds[np.isfinite(bounds).all(axis=1) & (bounds[:, 2] <= bounds[:, 3])]
        part = tuple(
            slice(
                max(math.floor(bounds[:, 2 * axis].min()) - REFERENCE_MARGIN, 0),
                min(math.ceil(bounds[:, 2 * axis + 1].max()) + REFERENCE_MARGIN, size),
            )
            for axis, size in enumerate(scene.grid.shape)
        )
        grid = scene.grid.crop(*part)
        planner, radar = self._over(grid, scene.orbit)
        areas = pixel_areas(grid, radar, scene.calibration)
        plan = PassPlan(grid, radar, self.plan.passes[0].profiles, areas, areas)
        return DatePass(scene.image.data[..., part[0], part[1]], plan, planner)

    def _over(self, grid: RadarGrid, orbit: Orbit) -> tuple[TilePlanner, RadarModel]:
        """Find the pixels that each part of the DEM can illuminate."""
        radar, scale = radar_model(grid, orbit), self.plan.scale
        shape = grid.lines, grid.samples
        planner = TilePlanner.over(self.plan.ground, (radar,), (shape,), scale, self.dem.heights)
        return planner, radar

    def geometry(self, tile: Tile) -> TileGeometry:
        """Find what all dates have in common over a tile."""
        source = self.dem.window(tile.window)
        dem, heights, ground = prepare_window(self.plan, tile.window, source)
        reference = self.plan.passes[0]
        facets = self.plan.facets
        layout = reference.profiles if facets is None else facets.profiles[0]
        view = pass_view(reference, tile.pixels[0], dem, heights, ground)
        return TileGeometry(tile, dem, heights, ground, illuminated_cells(view, layout))

    def reconstruct(self, geometry: TileGeometry, date: DatePass) -> Layers:
        """Reconstruct gamma0 of a date in a tile, shape (polarisations, rows, columns).

        Values are NaN where the image shows too little of a cell. Within a task, images are read
        while another tile is computed.
        """
        tile = geometry.tile
        polarisations = date.image.shape[0] if date.image.ndim == 3 else 1
        core = tile.core
        shape = polarisations, core[1] - core[0], core[3] - core[2]
        if not date.planner.illuminates(core):
            return np.full(shape, np.nan, np.float32)
        pixels = date.planner.pixels(tile.window, 0)
        part = date.image[..., pixels[0] : pixels[1], pixels[2] : pixels[3]]
        source = slim(part) if hasattr(part, "compute") else part
        need = self._bytes_beside(tile, math.prod(part.shape[-2:]), polarisations)

        def read() -> NDArray[np.float32]:
            return intensities(load(source, self.plan.file_cache))

        def work(image: NDArray[np.float32]) -> Layers:
            release_memory(need, self.plan.memory_limit)
            return self._gamma(geometry, date, image)

        return one_at_a_time(read, work)

    def _bytes_beside(self, tile: Tile, pixels: int, polarisations: int) -> float:
        """Count the memory that gamma0 in a tile takes beside its image, while the next is read.

        What tiles are planned by has room for any method. To return memory for that at each date,
        and get it back from the system, takes a twentieth of the time of a date.
        """
        # Layers of pixels: the next image, the simulation, ratios, what is known, both together.
        layers = polarisations + 1 + polarisations + 1 + (polarisations + 1)
        # Of facets: sums and areas; of cells the same, and gamma0 while it is written.
        by_facet = polarisations + 2
        by_cell = by_facet + 3 * polarisations
        cells = (tile.window[1] - tile.window[0]) * (tile.window[3] - tile.window[2])
        numbers = layers * pixels + (by_facet * self.facets**2 + by_cell) * cells
        return float(np.dtype(np.float32).itemsize * numbers)

    def _gamma(self, geometry: TileGeometry, date: DatePass, image: Layers) -> Layers:
        """Compute gamma0 in a tile from the pixels around it."""
        tile, scale = geometry.tile, self.plan.scale
        pixels = date.planner.pixels(tile.window, 0)
        view = pass_view(date.plan, pixels, geometry.dem, geometry.heights, geometry.ground)
        # Under a law of gamma0 = 1 the weights W are projected areas in square metres.
        operator = illuminate(view, ConstantGamma(1.0), geometry.illuminated)
        simulated = operator.simulate()
        # Where no pixel is missing, the weights sum up to the projected area within the image.
        complete = bool(np.isfinite(image.sum()))
        if not complete:
            mask_missing(image, simulated[None])
        taps = scale.image_taps(self.method.blur, 0)
        ratios = rtc_intensity(image, simulated, taps or NO_BLUR)
        areas = window_areas(date.plan.areas, pixels)
        inverse_intensity(areas.lines, areas.areas, simulated)
        _multiply(ratios, simulated)
        if not complete:
            ratios = np.concatenate((ratios, (simulated > 0.0).astype(np.float32)[None]))
        del simulated
        found = operator.adjoint(ratios)
        sums = sum_facets(found.linear, scale.facets)
        shown = sum_facets(found.area, scale.facets) if complete else sums[-1]
        first, left = tile.core[0] - tile.window[0], tile.core[2] - tile.window[2]
        rows = slice(first, first + tile.core[1] - tile.core[0])
        columns = slice(left, left + tile.core[3] - tile.core[2])
        gamma, area = sums[: image.shape[0], rows, columns].copy(), shown[rows, columns]
        large = (area >= self.plan.least_area) & (area > 0.0)
        np.divide(gamma, area, out=gamma, where=large)
        gamma[:, ~large] = np.nan
        return gamma

    # How far a date is from the reference pass, and what that changes.

    def baseline(self, date: DatePass) -> Baseline:
        """Measure the baseline of a date, the largest over the DEM."""
        rows, columns = self.shape
        heights = self.dem.heights.within((0, rows, 0, columns))
        found = [
            _baseline(
                self.plan.ground,
                self.plan.passes[0].radar,
                date.plan.radar,
                (row * (rows - 1.0), column * (columns - 1.0)),
                height,
            )
            for row in SAMPLED_PLACES
            for column in SAMPLED_PLACES
            for height in heights
        ]
        perpendicular, parallel, angle = max(found, key=lambda baseline: abs(baseline[2]))
        return Baseline(perpendicular, parallel, abs(angle))

    def changed_cells(self, date: DatePass) -> float:
        """Find the fraction of cells whose illumination differs from that of the reference pass.

        It is measured where the relief is largest, over 256 x 256 cells.
        """
        tile, window, reference = self._roughest
        # Profiles of the window's own, at the same places for both.
        seen = illuminated_cells(pass_view(date.plan, date.planner.pixels(tile.window, 0), *window))
        known = np.isfinite(window[1])
        return float(np.mean(seen[known] != reference[known])) if known.any() else 0.0

    @cached_property
    def _roughest(self) -> tuple[Tile, Window, NDArray[np.bool_]]:
        """The part of the DEM with the largest range of heights, and where it is illuminated."""
        tile = self._roughest_tile()
        window = prepare_window(self.plan, tile.window, self.dem.window(tile.window))
        view = pass_view(self.plan.passes[0], self.planner.pixels(tile.window, 0), *window)
        return tile, window, illuminated_cells(view)

    def _roughest_tile(self) -> Tile:
        """Find the part of the DEM with the largest range of heights."""
        rows, columns = self.shape
        size = min(CHECKED_CELLS, rows), min(CHECKED_CELLS, columns)
        best, largest = (0, size[0], 0, size[1]), -math.inf
        for row in range(0, max(rows - size[0], 0) + 1, size[0]):
            for column in range(0, max(columns - size[1], 0) + 1, size[1]):
                box = row, row + size[0], column, column + size[1]
                low, high = self.dem.heights.within(box)
                if high - low > largest:
                    best, largest = box, high - low
        return self.planner.tile(best, self.support)


def reference_scene(scene: Scene, dem: xr.DataArray | CheckedDem) -> Scene:
    """Return an image of ones in the geometry of a scene that holds the whole of a DEM.

    An image of a date may end within the DEM, where others go on. As far as the orbit is known,
    lines and samples are added.
    """
    grid, orbit = scene.grid, scene.orbit.with_epoch(scene.grid.epoch)
    bounds = pass_geometry(dem, grid, orbit).bounds
    bounds = bounds[np.isfinite(bounds).all(axis=1) & (bounds[:, 2] <= bounds[:, 3])]
    low = np.floor(bounds[:, [0, 2]].min(axis=0)) - REFERENCE_MARGIN
    high = np.ceil(bounds[:, [1, 3]].max(axis=0)) + REFERENCE_MARGIN + 1.0
    interval = abs(grid.line_interval)
    start, stop = (orbit.time[0], orbit.stop) if grid.line_interval > 0.0 else (0.0, 0.0)
    if stop > start:
        low[0] = max(low[0], math.ceil((start - grid.line_zero_time) / interval) + 1)
        high[0] = min(high[0], math.floor((stop - grid.line_zero_time) / interval) - 1)
    # Polynomials of ground range hold a little beyond the image.
    spare = REFERENCE_SPARE * grid.samples
    low[1], high[1] = max(low[1], -spare), min(high[1], grid.samples + spare)
    first_line, first_sample = (int(value) for value in low)
    lines, samples = (int(value) for value in high - low)
    try:
        grid = grid.shift(-first_line, -first_sample)
        grid = replace(grid, lines=lines, samples=samples, bursts=())
        return Scene(_ones(grid.shape), grid, orbit, "gamma0")
    except ValueError:
        # A table of Doppler centroids that ends with the image, say.
        return Scene(_ones(scene.grid.shape), scene.grid, orbit, "gamma0")


def _multiply(layers: Layers, factors: NDArray[np.float32]) -> None:
    """Multiply layers, shape (n, lines, samples), by factors of all of them, in place."""

    def work(first: int, end: int) -> None:
        part = layers[:, first:end]
        np.multiply(part, factors[first:end], out=part)

    spread(work, factors.shape[0])


def _ones(shape: tuple[int, int]) -> xr.DataArray:
    """Return an image of ones that takes no memory until parts of it are read."""
    import dask.array
    import xarray as xr

    ones = dask.array.ones(shape, dtype=np.float32, chunks=(CHECKED_CELLS, shape[1]))
    return xr.DataArray(ones, dims=("line", "sample"))


def run_tiles(
    plan: TrackPlan,
    dates: Mapping[str, Any],
    tiles: Sequence[Tile],
    write: Callable[[str, Tile, Layers], None],
    done: Container[tuple[str, int]] = (),
    *,
    place: Callable[[Any], DatePass | str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, str]:
    """Reconstruct tiles of dates as graphs of dask, by whatever scheduler is in use.

    Each tile's geometry is computed once, then each date in it, and `write` is called with the
    name of the date, the tile and its gamma0. Pairs of a date and the number of a tile that are
    `done` are left out.

    A date is a `DatePass`, or anything of which `place` makes one, or says why it cannot: dates are
    placed while others are reconstructed. `progress` is called with the fraction of the tasks that
    are done. Returns what went wrong, by the name of the date.
    """
    common = opaque(plan)
    placing = [name for name, date in dates.items() if not isinstance(date, DatePass)]
    passes = {name: opaque(date) for name, date in dates.items()}
    placer = opaque(place)
    passes |= {name: task(_placed, placer, passes[name]) for name in placing}

    def tasks_of(tile: Tile, names: Sequence[str]) -> list[Any]:
        geometry = task(_tile_geometry, common, opaque(tile))
        return [
            task(_date_tile, common, geometry, passes[name], name, opaque(write)) for name in names
        ]

    left = [
        (tile, names)
        for number, tile in enumerate(tiles)
        if (names := [name for name in dates if (name, number) not in done])
    ]
    total, finished = len(placing) + sum(len(names) for _, names in left), count(1)

    def report() -> None:
        if progress is not None:
            progress(next(finished) / total)

    failures: dict[str, str] = {}
    # While dates are placed, the geometry of a single tile is held.
    for part in (left[:1], left[1:]):
        tasks = [each for tile, names in part for each in tasks_of(tile, names)]
        results = run([*tasks, *(passes[name] for name in placing)], report)
        failures.update(failure for failure in results[: len(tasks)] if failure is not None)
        passes.update(zip(placing, map(opaque, results[len(tasks) :]), strict=True))
        placing = []
    return failures


def run_alone(work: Callable[[], Result]) -> Result:
    """Run kernels while no other task of the process does."""
    return one_at_a_time(lambda: None, lambda _: work())


def _tile_geometry(plan: TrackPlan, tile: Tile) -> TileGeometry:
    """Find the geometry of a tile as a task."""
    return one_at_a_time(lambda: tile, plan.geometry)


def _placed(place: Callable[[Any], DatePass | str], date: object) -> DatePass | str:
    """Place a date as a task."""
    return place(date)


def _date_tile(
    plan: TrackPlan,
    geometry: TileGeometry,
    date: DatePass | str,
    name: str,
    write: Callable[[str, Tile, Layers], None],
) -> tuple[str, str] | None:
    """Reconstruct a date in a tile and write it, as a task; return what went wrong."""
    if isinstance(date, str):
        return name, date
    try:
        gamma = plan.reconstruct(geometry, date)
    except (SarheightError, ValueError) as error:
        # Of the date's own file: the others go on.
        return name, " ".join(str(error).split())
    # Here an error stops all: a full disk, say.
    write(name, geometry.tile, gamma)
    return None


def _baseline(
    ground: GroundModel,
    reference: RadarModel,
    other: RadarModel,
    place: tuple[float, float],
    height: float,
) -> tuple[float, float, float]:
    """Find the perpendicular and parallel baseline in metres, and the angle in radians."""
    positions = []
    for radar in (reference, other):
        time = float(locate_cell(ground, radar, *place, height, radar.line_zero_time)[2])
        positions.append(
            np.array(evaluate_orbit(time, radar.orbit_start, radar.orbit_coefficients))
        )
    here = np.array(ground_position(ground, *ground_patch(ground, *place), *place))
    point = here[:3] + height * here[3:]
    sight = positions[0][:3] - point
    distance = float(np.linalg.norm(sight))
    sight = sight / distance
    velocity = positions[0][3:6] / np.linalg.norm(positions[0][3:6])
    across = np.cross(velocity, sight)
    across /= np.linalg.norm(across)
    step = positions[1][:3] - positions[0][:3]
    perpendicular = float(step @ across)
    return perpendicular, float(step @ sight), perpendicular / distance
