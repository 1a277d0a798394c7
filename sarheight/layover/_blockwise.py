"""Reconstruction of scenes of any size, part by part.

Each part of the DEM is worked on with what it must know of its surroundings, and depends on
nothing else but a few numbers of the whole scene. These are found out first, by asking all parts
(`sarheight.layover._conversation`); the result is then a lazy Dataset whose chunks are the parts.
A task can be repeated at any time and on any machine: nothing is kept between tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.tiles import TILE

from sarheight.dem.layout import accept_layout
from sarheight.errors import DemError
from sarheight.geometry.pass_geometry import PassGeometry, pixel_areas, require_overlap
from sarheight.geometry.tables import ground_model, radar_model
from sarheight.geometry.visibility import profile_layout
from sarheight.layover._check import require_small_cells
from sarheight.layover._conversation import combined
from sarheight.layover._cut import CACHED_SHARE, Cutter, Relief
from sarheight.layover._frame import cell_size, frame_of
from sarheight.layover._parts import (
    Part,
    Plan,
    Radar,
    ask_part,
    heights_of,
    read_part,
    unfold_part,
)
from sarheight.layover._pieces import check_image
from sarheight.layover._reach import needs_of
from sarheight.layover._result import pass_dataset
from sarheight.layover._tasks import (
    FILE_CACHE,
    array_of,
    one_at_a_time,
    opaque,
    run,
    side_by_side,
    slim,
    task,
)
from sarheight.layover._unfold import PER_POLARISATION, VARIABLES, Settings, conclusions

if TYPE_CHECKING:
    from sarheight.layover._frame import Core
    from sarheight.scene import Scene

__all__ = ["is_lazy", "reconstruct_in_parts"]

STRIP_CELLS = 1 << 21
"""Cells whose heights are looked at at a time."""


def is_lazy(*arrays: xr.DataArray) -> bool:
    """Tell whether any of several arrays is dask-backed."""
    return any(array.chunks is not None for array in arrays)


def reconstruct_in_parts(
    scenes: Sequence[Scene], dem: xr.DataArray, settings: Settings, memory_limit: float
) -> tuple[list[xr.Dataset], list[Any]]:
    """Reconstruct scenes part by part.

    Parameters
    ----------
    scenes : sequence of Scene
        The images, of which any may be dask-backed.
    dem : xarray.DataArray
        The DEM, perhaps dask-backed.
    settings : Settings
        What the user has chosen.
    memory_limit : float
        Bytes that a process which works on parts, one after the other, may take.

    Returns
    -------
    results : list of xarray.Dataset
        For each pass a Dataset of dask arrays, one chunk for each part.
    laws : list of callable
        The backscatter law of each pass.
    """
    dem = accept_layout(dem)
    cache = max(int(CACHED_SHARE * memory_limit), FILE_CACHE)
    relief = _relief(dem, cache)
    views, plan, cutter = _plan(scenes, dem, relief, settings, memory_limit, cache)
    energies_found = [
        check_image(scene, radar.measured) for scene, radar in zip(scenes, plan.radars, strict=True)
    ]
    polarisations = len(energies_found[0])
    sides = cutter.sides(memory_limit, settings.method, polarisations)
    cores = cutter.cores(sides)
    _require_overlap(views, cutter, cores)
    parts = [
        _part(scenes, dem, cutter, core, cutter.bytes_of(core, settings.method, polarisations))
        for row in cores
        for core in row
    ]
    common, tasks = opaque(plan), [opaque(part) for part in parts]
    # Parts that lie beside all images have nothing to tell.
    asked = [each for each, part in zip(tasks, parts, strict=True) if cutter.lights(part.window)]
    told: list[Any] = []
    last = False
    while not last:
        known = opaque(tuple(told))
        answers = run([task(_ask, common, part, known) for part in asked or tasks])
        _, whole, last = answers[0]
        told.append(whole(combined([answer for answer, _, _ in answers])))
    known = opaque(tuple(told))
    unfolded = [task(_unfold, common, part, known) for part in tasks]
    laws, accounts = conclusions(told, settings, len(scenes))
    results = []
    for index, (scene, view, account) in enumerate(zip(scenes, views, accounts, strict=True)):
        variables = {
            name: (_assembled(unfolded, cores, index, name, polarisations), attributes)
            for name, attributes in VARIABLES.items()
            if name in settings.variables
        }
        account["energy_image"] = energies_found[index]
        results.append(pass_dataset(scene, view.dataset({}), view.radar, variables, account))
    return results, laws


def _ask(plan: Plan, part: Part, told: Sequence[Any]) -> Any:  # noqa: ANN401
    return one_at_a_time(partial(read_part, plan, part), lambda read: ask_part(plan, read, told))


def _unfold(plan: Plan, part: Part, told: Sequence[Any]) -> list[dict[str, NDArray[Any]]]:
    return one_at_a_time(partial(read_part, plan, part), lambda read: unfold_part(plan, read, told))


def _pick(unfolded: list[dict[str, NDArray[Any]]], index: int, name: str) -> NDArray[Any]:
    return unfolded[index][name]


def _assembled(
    unfolded: Sequence[Any],
    cores: Sequence[Sequence[Core]],
    index: int,
    name: str,
    polarisations: int,
) -> Any:  # noqa: ANN401 - a dask array
    """Put a variable's parts side by side."""
    dtype = np.uint8 if name in ("mask", "fold_count") else np.float32
    layers = (polarisations,) if name in PER_POLARISATION else ()
    remaining = iter(unfolded)
    rows = []
    for row in cores:
        parts = []
        for core in row:
            shape = (*layers, core[1] - core[0], core[3] - core[2])
            parts.append(array_of(task(_pick, next(remaining), index, name), shape, dtype))
        rows.append(side_by_side(parts, -1))
    return side_by_side(rows, -2)


def _relief(dem: xr.DataArray, file_cache: int) -> Relief:
    """Find the lowest and the highest height of each tile of a DEM."""
    rows, columns = dem.shape
    step = max(STRIP_CELLS // columns // TILE, 1) * TILE
    # A single row is no DEM.
    edges = [row for row in range(0, rows, step) if rows - row > 1] + [rows]
    lowest: list[NDArray[np.float32]] = []
    highest: list[NDArray[np.float32]] = []
    for first, end in pairwise(edges):
        heights = heights_of(dem.isel(y=slice(first, end)), file_cache).values
        down, across = np.arange(0, end - first, TILE), np.arange(0, columns, TILE)
        for kind, found in ((np.fmin, lowest), (np.fmax, highest)):
            by_row = kind.reduceat(heights, down, axis=0)
            found.append(kind.reduceat(by_row, across, axis=1))
    relief = Relief(np.concatenate(lowest), np.concatenate(highest))
    if not np.isfinite(relief.lowest).any():
        msg = (
            "every cell of the DEM is void (NaN or nodata); was it cropped to a place that it does "
            "not cover, or is its nodata value one of its heights?"
        )
        raise DemError(msg)
    return relief


def _plan(
    scenes: Sequence[Scene],
    dem: xr.DataArray,
    relief: Relief,
    settings: Settings,
    memory_limit: float,
    file_cache: int,
) -> tuple[list[PassGeometry], Plan, Cutter]:
    """Measure what all parts have in common."""
    corner = heights_of(dem.isel(y=slice(0, 2), x=slice(0, 2)), file_cache)
    kept = {name: value for name, value in corner.coords.items() if not value.dims}
    nothing = np.broadcast_to(np.float32(np.nan), dem.shape)
    empty = xr.DataArray(nothing, dims=("y", "x"), coords={"y": dem.y, "x": dem.x, **kept})
    if empty.rio.crs is None:
        empty = empty.rio.write_crs(corner.rio.crs)
    crs = pyproj.CRS.from_user_input(corner.rio.crs)
    ground = ground_model(dem.x.values.astype(np.float64), dem.y.values.astype(np.float64), crs)
    models = tuple(radar_model(scene.grid, scene.orbit) for scene in scenes)
    views = [
        PassGeometry(empty, scene.grid, nothing, ground, model, np.empty((0, 4)))
        for scene, model in zip(scenes, models, strict=True)
    ]
    middle = float(0.5 * (np.nanmin(relief.lowest) + np.nanmax(relief.highest)))
    sizes = tuple(cell_size(ground, model, nothing.shape, middle) for model in models)
    frame = frame_of(empty, views[0].cell_area, sizes)
    require_small_cells(frame, scenes, settings.smallest_area)
    radars = tuple(
        Radar(
            scene.grid,
            view.radar,
            profile_layout(view, middle),
            pixel_areas(scene.grid, view.radar, scene.calibration),
            pixel_areas(scene.grid, view.radar, "sigma0"),
        )
        for scene, view in zip(scenes, views, strict=True)
    )
    needs = needs_of(settings.method, frame)
    images = tuple((scene.grid.lines, scene.grid.samples) for scene in scenes)
    return views, Plan(radars, ground, frame, settings, memory_limit, file_cache), Cutter(
        ground, models, images, frame, relief, needs
    )  # fmt: skip


def _require_overlap(
    views: Sequence[PassGeometry], cutter: Cutter, cores: Sequence[Sequence[Core]]
) -> None:
    """Refuse a DEM that lies beside an image."""
    for index, view in enumerate(views):
        bounds = [cutter.bounds(core, index) for row in cores for core in row]
        require_overlap(view.dem, view.grid, view.radar, np.array(bounds))


def _part(
    scenes: Sequence[Scene], dem: xr.DataArray, cutter: Cutter, core: Core, need: float
) -> Part:
    """Cut out what the work on a part needs, without loading it."""
    window = cutter.window(core)
    images = []
    for index, scene in enumerate(scenes):
        pixels = cutter.pixels(window, index)
        data = scene.image.data[..., pixels[0] : pixels[1], pixels[2] : pixels[3]]
        images.append((pixels, slim(data)))
    heights = dem.isel(y=slice(window[0], window[1]), x=slice(window[2], window[3]))
    return Part(core, window, heights.copy(data=slim(heights.data)), tuple(images), need)
