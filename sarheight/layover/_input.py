"""Images where they enter: gathered into scenes of the same kind, and checked for linear power."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.radiometry import image_sums

from sarheight.acquisition import acquisition_time
from sarheight.dem.layout import same_grid
from sarheight.errors import GeometryError
from sarheight.geometry.pass_geometry import PixelAreas
from sarheight.layover._tasks import load, one_at_a_time, opaque, run, slim, tasks_in_order
from sarheight.layover.allocation import intensities
from sarheight.scene import Calibration, Scene, require_unflattened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sarheight.grid import RadarGrid
    from sarheight.layover.tiles import GridScale
    from sarheight.orbit import Orbit

MOST_NEGATIVE, LOUDEST = 0.1, 1.0
"""Part of the power from which negative values are looked at, and linear power that no thermal
noise has: where noise was removed from dark ground, as water in cross-polarisation, no value is
below what was subtracted, and decibels are."""
PIECE_PIXELS = 1 << 24
"""Pixels of a lazy image that are checked at a time, or a line of a chunk."""


def scenes_of(
    image: Scene | xr.DataArray | Sequence[Scene],
    grid: RadarGrid | None,
    orbit: Orbit | None,
    calibration: Calibration,
) -> list[Scene]:
    """Gather the arguments of `reconstruct` into scenes, at least one, of the same polarisations.

    Raises
    ------
    TypeError
        If an image comes without grid and orbit, or a scene with them.
    ValueError
        If there is no scene, polarisations differ, or an image is terrain-flattened.
    """
    if isinstance(image, xr.DataArray | xr.Dataset):
        require_unflattened(image)
    if isinstance(image, xr.DataArray):
        if grid is None or orbit is None:
            missing = [name for name, value in (("grid", grid), ("orbit", orbit)) if value is None]
            msg = (
                f"found an image without {' and '.join(missing)}; expected both, or a Scene, "
                "which holds them"
            )
            raise TypeError(msg)
        scenes = [Scene(image, grid, orbit, calibration)]
    elif grid is not None or orbit is not None:
        msg = "found grid or orbit beside a Scene, which has its own; pass one or the other"
        raise TypeError(msg)
    elif isinstance(image, str | os.PathLike):
        msg = (
            f"found the path '{os.fspath(image)}', expected a Scene: sarheight.open_image(path) "
            "opens one, and sarheight.reconstruct(path, dem) takes paths"
        )
        raise TypeError(msg)
    elif isinstance(image, Sequence):
        scenes = list(image)
    else:
        scenes = [image]
    _require_scenes(scenes)
    _warn_of_differences(scenes)
    return scenes


def _require_scenes(scenes: Sequence[object]) -> None:
    """Refuse anything but scenes with the same polarisations."""
    strangers = [type(thing).__name__ for thing in scenes if not isinstance(thing, Scene)]
    if strangers or not scenes:
        found = ", ".join(strangers) or "an empty sequence"
        msg = f"found {found}, expected a DataArray, a Scene, or several Scenes"
        raise TypeError(msg)
    kinds = [_polarisations(scene) for scene in scenes if isinstance(scene, Scene)]
    if any(kind != kinds[0] for kind in kinds):
        msg = (
            f"found scenes with polarisations {' and '.join(map(str, kinds))}, expected the same "
            "in all: select the common ones"
        )
        raise ValueError(msg)


def _warn_of_differences(scenes: Sequence[Scene]) -> None:
    """Warn where scenes that are reconstructed together differ in wavelength, side or year."""
    differences: dict[str, list[str]] = {
        "wavelengths in cm": [f"{100.0 * scene.grid.wavelength:.3g}" for scene in scenes],
        "look sides": [scene.grid.look_side for scene in scenes],
        "years": [str(acquisition_time(scene.grid, scene.orbit))[:4] for scene in scenes],
    }
    named = [
        f"{name} {', '.join(found)}" for name, found in differences.items() if len(set(found)) > 1
    ]
    if named:
        warnings.warn(
            f"the scenes have different {' and '.join(named)}: they may see other ground. Each "
            "keeps its own gamma0, and one is borrowed from only where it predicts the other.",
            stacklevel=3,
        )


def _polarisations(scene: Scene) -> tuple[object, ...]:
    """Return the names of a scene's polarisations, or their numbers where they have no names."""
    if "polarisation" not in scene.image.dims:
        return ()
    return tuple(scene.image["polarisation"].values.tolist())


def require_small_cells(scale: GridScale, scenes: Sequence[Scene], part: float) -> None:
    """Refuse a DEM of whose cells no image can show a part as large as it must."""
    for scene, (lines, samples) in zip(scenes, scale.cell_sizes, strict=True):
        grid = scene.grid
        inside = min(grid.lines / lines, 1.0) * min(grid.samples / samples, 1.0)
        if inside < part:
            msg = (
                f"found cells of {lines:.0f} lines by {samples:.0f} samples over an image of "
                f"{grid.lines} by {grid.samples}: it shows no more than {100.0 * inside:.2g} % of "
                f"any of them, expected {100.0 * part:.3g} % at least. Pass a DEM whose cells are "
                "small beside the image."
            )
            raise GeometryError(msg)


# Kinds of ground: a guide, on the grid of the DEM.

QUANTILE_CLASSES = 8
CELLS_PER_QUANTILE = 2500
"""A guide of continuous values is divided into that many classes at most, of so many cells."""
QUANTILE_SAMPLE = 1 << 22
"""Quantiles of a larger guide are those of about so many of its cells, in a regular pattern."""
MOST_KINDS = 255
LEAST_COVER = 0.5
"""Least part of the DEM that a guide must cover."""
GUIDE_ROWS = 512
"""Rows of the DEM for which a guide is read at a time."""


def kinds_of_ground(guide: object, dem: xr.DataArray) -> NDArray[np.uint8]:
    """Bring a guide to the grid of a DEM, as classes from 1 to 255; 0 where there is none.

    A lazy guide is read block by block; what stays in memory is a byte a cell.

    Raises
    ------
    TypeError, ValueError
        If the guide is no map of dims (y, x) with a CRS, has classes beyond 255, or does not cover
        the DEM.
    """
    if not isinstance(guide, xr.DataArray):
        msg = f"found a guide of type {type(guide).__name__}, expected a DataArray with dims (y, x)"
        raise TypeError(msg)
    if guide.dims != ("y", "x") or guide.rio.crs is None:
        crs = guide.rio.crs if set(guide.dims) >= {"x", "y"} else None
        msg = (
            f"found a guide with dims {guide.dims} and CRS {crs}, expected dims ('y', 'x') and a "
            "CRS: select one band, and write the CRS with guide.rio.write_crs()"
        )
        raise ValueError(msg)
    same = same_grid(guide, dem, tolerance=1e-3)
    if not same:
        warnings.warn(
            f"the guide of {guide.shape} cells in {guide.rio.crs} is on another grid than the DEM: "
            "it was resampled to it by nearest neighbours",
            stacklevel=3,
        )
    grid = None if same else dem
    codes = np.zeros(dem.shape, np.uint8)
    found, sample, integers = [np.inf, -np.inf, 0.0], [], True
    stride = math.isqrt(max(dem.size // QUANTILE_SAMPLE, 1))
    for rows, values in _guide_rows(guide, grid):
        valid = np.isfinite(values)
        known = values[valid]
        if known.size:
            found = [min(found[0], known.min()), max(found[1], known.max()), found[2] + known.size]
            integers = integers and bool((known == np.round(known)).all())
            first = -rows.start % stride
            thin = values[first::stride, ::stride]
            sample.append(thin[np.isfinite(thin)])
        if integers and found[0] >= 0.0 and found[1] <= MOST_KINDS:
            codes[rows][valid] = known
    cover = found[2] / dem.size
    if cover < LEAST_COVER:
        msg = (
            f"found a guide that covers {100.0 * cover:.0f} % of the DEM, expected "
            f"{100.0 * LEAST_COVER:.0f} % at least: pass one of the same ground"
        )
        raise ValueError(msg)
    if integers:
        if found[0] < 0.0 or found[1] > MOST_KINDS:
            msg = (
                f"found classes from {found[0]:g} to {found[1]:g} in the guide, "
                f"expected 0 (none) to {MOST_KINDS}: give the classes smaller numbers"
            )
            raise ValueError(msg)
        return codes
    classes = int(np.clip(found[2] // CELLS_PER_QUANTILE, 2, QUANTILE_CLASSES))
    edges = np.quantile(np.concatenate(sample), np.linspace(0.0, 1.0, classes + 1)[1:-1])
    for rows, values in _guide_rows(guide, grid):
        kinds = 1 + np.searchsorted(edges, values, side="right")
        codes[rows] = np.where(np.isfinite(values), kinds, 0)
    return codes


def _guide_rows(
    guide: xr.DataArray, dem: xr.DataArray | None
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Read a guide in blocks of rows, as the whole is never held: rows, and values of their cells.

    `dem` is the DEM where the guide is on another grid. Values are NaN where there are none.
    """
    count = (guide if dem is None else dem).shape[0]
    # A chunk is read once, where it is on the DEM's grid.
    high = GUIDE_ROWS if guide.chunks is None else max(GUIDE_ROWS, *guide.chunks[0])
    missing = guide.rio.nodata
    for start in range(0, count, high):
        rows = slice(start, min(start + high, count))
        values = (
            guide[rows].values.astype(np.float64)
            if dem is None
            else _nearest_values(guide, dem, rows)
        )
        if missing is not None and np.isfinite(missing):
            values[values == missing] = np.nan
        yield rows, values


def _nearest_values(guide: xr.DataArray, dem: xr.DataArray, rows: slice) -> NDArray[np.float64]:
    """Find the values of a guide at the cells of rows of a DEM; NaN beyond the guide."""
    project = pyproj.Transformer.from_crs(dem.rio.crs, guide.rio.crs, always_xy=True).transform
    east, north = (dem[axis].values.astype(np.float64) for axis in ("x", "y"))
    cells = np.meshgrid(east, north[rows])
    place, inside = [], np.ones(cells[0].shape, dtype=bool)
    for axis, there in zip(("x", "y"), project(*cells), strict=True):
        values = guide[axis].values.astype(np.float64)
        index = np.round((there - values[0]) / (values[1] - values[0]))
        inside &= (index >= 0) & (index < values.size)
        place.append(index)
    found = np.full(inside.shape, np.nan)
    if inside.any():
        column, line = (index[inside].astype(np.intp) for index in place)
        window = guide[line.min() : line.max() + 1, column.min() : column.max() + 1]
        found[inside] = window.values[line - line.min(), column - column.min()]
    return found


# Linear power: sums over the image, of a lazy one piece by piece.


def image_rcs(scene: Scene, areas: PixelAreas) -> list[float]:
    """Check that an image holds linear power, and sum up its RCS in m2 by polarisation.

    Pixels count that are finite in all polarisations; `areas` holds those to which the image's
    calibration refers.

    Raises
    ------
    ValueError
        If it has no data, or so much negative power that it must be in decibels.
    """
    image = scene.image
    data = image.data if image.ndim == 3 else image.data[None]
    if image.chunks is None:
        sums = _line_sums(intensities(data), areas)
    else:
        pieces = _pieces(data, image.chunks[-2:], areas)
        tasks = tasks_in_order(_sum_piece, [[opaque(piece)] for piece in pieces])
        sums = np.concatenate(run(tasks), axis=1)
    _require_power(sums, image.shape)
    # Negative and positive parts.
    rcs: list[float] = sums[..., 1:3].sum(axis=(1, 2)).tolist()
    return rcs


@dataclass(frozen=True, eq=False)
class _Piece:
    """A piece of an image, not loaded yet, with the areas of its pixels."""

    image: Any  # a dask array: handed to a task by itself, it would be loaded before
    areas: PixelAreas


def _pieces(data: Any, chunks: Any, areas: PixelAreas) -> Iterator[_Piece]:  # noqa: ANN401 - dask is not typed
    """Cut a lazy image into pieces of at most `PIECE_PIXELS`, within its chunks."""
    down, across = chunks
    high = max(PIECE_PIXELS // max(across), 1)
    for row, height in zip(np.cumsum((0, *down)).tolist(), down, strict=False):
        for first in range(row, row + height, high):
            end = min(first + high, row + height)
            for column, wide in zip(np.cumsum((0, *across)).tolist(), across, strict=False):
                samples = slice(column, column + wide)
                piece_areas = np.ascontiguousarray(areas.areas[:, samples])
                yield _Piece(
                    slim(data[:, first:end, samples]),
                    PixelAreas(areas.lines - first, piece_areas),
                )


def _sum_piece(piece: _Piece) -> NDArray[np.float64]:
    """Sum up a piece of an image: shape (polarisations, 1, 5), see `image_sums`."""
    sums = one_at_a_time(
        lambda: intensities(load(piece.image)), lambda image: _line_sums(image, piece.areas)
    )
    whole: NDArray[np.float64] = sums.sum(axis=1, keepdims=True)
    whole[..., 3] = sums[..., 3].min(axis=1, keepdims=True)
    whole[..., 4] = sums[..., 4].max(axis=1, keepdims=True)
    return whole


def _line_sums(image: NDArray[np.float32], areas: PixelAreas) -> NDArray[np.float64]:
    """Sum up the lines of an image: shape (polarisations, lines, 5), see `image_sums`."""
    sums = np.empty((*image.shape[:2], 5))
    image_sums(image, areas.lines, areas.areas, sums)
    return sums


def _require_power(sums: NDArray[np.float64], shape: tuple[int, ...]) -> None:
    """Refuse an image whose sums, shape (polarisations, n, 5), are not those of linear power."""
    finite, negative, positive = sums[..., :3].sum(axis=(0, 1))
    if finite == 0:
        msg = (
            f"found an image of {shape} without a single finite value (in all its "
            "polarisations), expected linear power: check the file, its nodata value and the part "
            "that was read"
        )
        raise ValueError(msg)
    least, greatest = sums[..., 3].min(), sums[..., 4].max()
    in_decibels = -negative > MOST_NEGATIVE * positive and least < -LOUDEST
    if in_decibels or positive + negative < 0.0:
        what = "" if in_decibels else ", negative on average"
        advice = (
            "If it is in decibels, convert it first: 10 ** (image / 10)"
            if least < -LOUDEST
            else "Where it is of noise alone, leave the noise in, or take a larger part"
        )
        msg = (
            f"found an image whose values lie between {least:g} and {greatest:g}{what}; expected "
            f"linear power. {advice}"
        )
        raise ValueError(msg)
    if positive == 0.0:
        msg = "found an image that is zero everywhere, expected linear power: check what was read"
        raise ValueError(msg)
