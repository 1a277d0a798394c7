"""Reconstruction of scenes of any size, part by part.

Each part of the DEM is worked on with what it must know of its surroundings, and depends on
nothing else but a few numbers of the whole scene. These are found out first, by asking all parts
(`sarheight.layover._conversation`); the result is then a lazy Dataset whose chunks are the parts.
A task can be repeated at any time and on any machine: nothing is kept between tasks.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.energies import energies, line_sums
from sarheight_kernels.geolocate import TILE

from sarheight.dem._layout import accept_layout
from sarheight.errors import DemError
from sarheight.geometry._ground import ground_model
from sarheight.geometry._pixels import PixelAreas, pixel_areas
from sarheight.geometry._radar import radar_model
from sarheight.geometry._view import View, require_overlap
from sarheight.geometry._visibility import scan_of
from sarheight.layover._check import check_sums
from sarheight.layover._conversation import combined
from sarheight.layover._cut import Cutter, Relief
from sarheight.layover._frame import cell_size, frame_of
from sarheight.layover._parts import Part, Plan, Radar, ask_part, heights_of, load, unfold_part
from sarheight.layover._reach import needs_of
from sarheight.layover._result import pass_dataset
from sarheight.layover._unfold import PER_POLARISATION, VARIABLES, Settings, conclusions

if TYPE_CHECKING:
    from sarheight.layover._frame import Core
    from sarheight.scene import Scene

__all__ = ["is_lazy", "reconstruct_in_parts"]

ONE_AT_A_TIME = threading.Lock()
"""Held during the work on a part: it uses all threads by itself, and its memory is bounded."""
STRIP_CELLS = 1 << 23
"""Cells whose heights are looked at at a time."""
PIXELS = 1 << 24
"""Pixels that are summed up at a time, or a line of a chunk."""


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
    import dask

    dem = accept_layout(dem)
    relief = _relief(dem)
    views, plan, cutter = _plan(scenes, dem, relief, settings)
    energies_found = [
        _check_image(scene, radar) for scene, radar in zip(scenes, plan.radars, strict=True)
    ]
    polarisations = len(energies_found[0])
    sides = cutter.sides(memory_limit, settings.method, polarisations)
    cores = cutter.cores(sides)
    _require_overlap(views, cutter, cores)
    parts = [_part(scenes, dem, cutter, core) for row in cores for core in row]
    common = dask.delayed(plan, traverse=False)
    tasks = [dask.delayed(part, traverse=False) for part in parts]
    told: list[Any] = []
    last = False
    while not last:
        known = dask.delayed(tuple(told), traverse=False)
        answers = dask.compute(*(dask.delayed(_ask)(common, task, known) for task in tasks))
        _, whole, last = answers[0]
        told.append(whole(combined([answer for answer, _, _ in answers])))
    known = dask.delayed(tuple(told), traverse=False)
    unfolded = [dask.delayed(_unfold)(common, task, known) for task in tasks]
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
    with ONE_AT_A_TIME:
        return ask_part(plan, part, told)


def _unfold(plan: Plan, part: Part, told: Sequence[Any]) -> list[dict[str, NDArray[Any]]]:
    with ONE_AT_A_TIME:
        return unfold_part(plan, part, told)


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
    import dask
    import dask.array

    dtype = np.uint8 if name in ("mask", "fold_count") else np.float32
    layers = (polarisations,) if name in PER_POLARISATION else ()
    remaining = iter(unfolded)
    rows = []
    for row in cores:
        parts = []
        for core in row:
            shape = (*layers, core[1] - core[0], core[3] - core[2])
            found = dask.delayed(_pick)(next(remaining), index, name)
            parts.append(dask.array.from_delayed(found, shape=shape, dtype=dtype))
        rows.append(dask.array.concatenate(parts, axis=-1))
    return dask.array.concatenate(rows, axis=-2)


def _relief(dem: xr.DataArray) -> Relief:
    """Find the lowest and the highest height of each tile of a DEM."""
    rows, columns = dem.shape
    step = max(STRIP_CELLS // columns // TILE, 1) * TILE
    # A single row is no DEM.
    edges = [row for row in range(0, rows, step) if rows - row > 1] + [rows]
    lowest, highest = [], []
    for first, end in pairwise(edges):
        heights = heights_of(dem.isel(y=slice(first, end))).values
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
    scenes: Sequence[Scene], dem: xr.DataArray, relief: Relief, settings: Settings
) -> tuple[list[View], Plan, Cutter]:
    """Measure what all parts have in common."""
    corner = heights_of(dem.isel(y=slice(0, 2), x=slice(0, 2)))
    kept = {name: value for name, value in corner.coords.items() if not value.dims}
    nothing = np.broadcast_to(np.float32(np.nan), dem.shape)
    empty = xr.DataArray(nothing, dims=("y", "x"), coords={"y": dem.y, "x": dem.x, **kept})
    if empty.rio.crs is None:
        empty = empty.rio.write_crs(corner.rio.crs)
    crs = pyproj.CRS.from_user_input(corner.rio.crs)
    ground = ground_model(dem.x.values.astype(np.float64), dem.y.values.astype(np.float64), crs)
    models = tuple(radar_model(scene.grid, scene.orbit) for scene in scenes)
    views = [
        View(empty, scene.grid, nothing, ground, model, np.empty((0, 4)))
        for scene, model in zip(scenes, models, strict=True)
    ]
    middle = float(0.5 * (np.nanmin(relief.lowest) + np.nanmax(relief.highest)))
    sizes = tuple(cell_size(ground, model, nothing.shape, middle) for model in models)
    frame = frame_of(empty, views[0].cell_area, sizes)
    radars = tuple(
        Radar(
            scene.grid,
            view.radar,
            scan_of(view, middle),
            pixel_areas(scene.grid, view.radar, scene.calibration),
            pixel_areas(scene.grid, view.radar, "sigma0"),
        )
        for scene, view in zip(scenes, views, strict=True)
    )
    needs = needs_of(settings.method, frame)
    images = tuple((scene.grid.lines, scene.grid.samples) for scene in scenes)
    return views, Plan(radars, ground, frame, settings), Cutter(
        ground, models, images, frame, relief, needs
    )  # fmt: skip


def _require_overlap(
    views: Sequence[View], cutter: Cutter, cores: Sequence[Sequence[Core]]
) -> None:
    """Refuse a DEM that lies beside an image."""
    for index, view in enumerate(views):
        bounds = [cutter.bounds(core, index) for row in cores for core in row]
        require_overlap(view.dem, view.grid, view.radar, np.array(bounds))


def _part(scenes: Sequence[Scene], dem: xr.DataArray, cutter: Cutter, core: Core) -> Part:
    """Cut out what the work on a part needs, without loading it."""
    import dask

    window = cutter.window(core)
    images = []
    for index, scene in enumerate(scenes):
        pixels = cutter.pixels(window, index)
        data = scene.image.data[..., pixels[0] : pixels[1], pixels[2] : pixels[3]]
        images.append((pixels, dask.optimize(data)[0]))
    heights = dem.isel(y=slice(window[0], window[1]), x=slice(window[2], window[3]))
    return Part(core, window, heights.copy(data=dask.optimize(heights.data)[0]), tuple(images))


def _check_image(scene: Scene, radar: Radar) -> list[float]:
    """Check an image chunk by chunk; return its energy by polarisation in square metres."""
    import dask

    image = scene.image
    data = image.data if image.ndim == 3 else image.data[None]
    lines, samples = data.shape[-2:]
    across = (samples,)
    if image.chunks is not None:
        across = image.chunks[-1]
    high = max(PIXELS // max(across), 1)
    down = image.chunks[-2] if image.chunks is not None else (lines,)
    tasks = []
    for row, height in zip(np.cumsum((0, *down)), down, strict=False):
        for first in range(int(row), int(row) + height, high):
            end = min(first + high, int(row) + height)
            for column, wide in zip(np.cumsum((0, *across)), across, strict=False):
                part = slice(first, end), slice(int(column), int(column) + wide)
                cut = PixelAreas(
                    radar.measured.lines - first,
                    np.ascontiguousarray(radar.measured.areas[:, part[1]]),
                )
                (piece,) = dask.optimize(data[:, part[0], part[1]])
                pixels = dask.delayed(_Pixels(piece, cut), traverse=False)
                tasks.append(dask.delayed(_sum_pixels)(pixels))
    found = dask.compute(*tasks)
    check_sums(np.concatenate([sums for sums, _ in found]), image.shape)
    return [float(each) for each in np.sum([energy for _, energy in found], axis=0)]


@dataclass(frozen=True, eq=False)
class _Pixels:
    """A piece of an image, perhaps not loaded yet, and the areas of its pixels."""

    image: Any
    areas: PixelAreas


def _sum_pixels(pixels: _Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum up a piece of an image: values by polarisation (see `line_sums`), and energies."""
    with ONE_AT_A_TIME:
        image = load(pixels.image)
        energy = np.empty(image.shape, dtype=np.float32)
        energies(image, pixels.areas.lines, pixels.areas.areas, energy)
        sums = np.empty((2, image.shape[0], image.shape[1], 5))
        for p in range(image.shape[0]):
            line_sums(image[p], sums[0, p])
            line_sums(energy[p], sums[1, p])
    values = np.concatenate(
        (
            sums[0, ..., :3].sum(axis=1),
            sums[0, ..., 3:4].min(axis=1),
            sums[0, ..., 4:].max(axis=1),
        ),
        axis=-1,
    )
    return values, sums[1, ..., 1:3].sum(axis=(1, 2))
