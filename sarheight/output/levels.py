"""Resolutions of a result in a Zarr store, as GeoZarr describes them.

A store holds the result in its group ``0``, and overviews of it in ``1``, ``2``, …, each of half
the resolution of the one before, down to one tile of the screen. The root says where they are and
what grids they have, in the terms of three conventions, so that a client reads one file of metadata
and then the chunks that it shows.

References
----------
GeoZarr conventions ``multiscales``, ``proj`` and ``spatial``, all version 0.1
(https://github.com/zarr-conventions).
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine

from sarheight.output.grid import CONVENTIONS as CF
from sarheight.output.grid import SPATIAL, MapGrid
from sarheight.output.stores import (
    CONVENTIONS,
    LEVELS,
    SHARD,
    TILE,
    consolidate,
    level_groups,
    write_zarr,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LARGE_SHARD = 2048
"""Length of files of a result that is in memory."""
BLOCK = 256
"""Length of the blocks in which overviews are computed."""
SMALLEST = 3
"""Cells of the shorter side from which there is an overview: its grid needs two."""
IDENTIFIERS = {
    LEVELS: ("d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
    "proj": (
        "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "Coordinate reference system information for geospatial data",
    ),
    "spatial": ("689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
}
"""UUID and description of each convention, by name."""
RELEASE = "v0.1"
AVERAGE, MODE = "average", "mode"
METHOD = "resampling_method"


def write_levels(
    dataset: xr.Dataset,
    path: Path,
    *,
    shard: int | None = None,
    compute: bool = True,
    codecs: Any = None,  # noqa: ANN401  # of Zarr
) -> None:
    """Write a result on a checked grid with its overviews.

    Parameters
    ----------
    dataset : xarray.Dataset
        What `sarheight.output.grid.check_grid` returns. A lazy one is computed file by file, and
        overviews are made of what was written.
    path : pathlib.Path
        The store, which does not exist yet.
    shard : int, optional
        Rows and columns of a file; by default more for what is in memory than for what is lazy.
    compute : bool
        Whether values are written; else lazy variables get their metadata alone, which are not
        gathered.
    codecs : optional
        What compresses chunks; by default `sarheight.output.stores.zarr_compressors`.
    """
    grids = list_grids(MapGrid.of(dataset))
    for number, grid in enumerate(grids):
        write_zarr(
            _frame(dataset, grid) if number else dataset,
            path,
            shard=shard or (SHARD if dataset.chunks else LARGE_SHARD),
            compute=compute and not number,
            group=str(number),
            attributes=_grid_attributes(grid),
            codecs=codecs,
        )
    _describe(path, grids, str(dataset.attrs.get("title", "")))
    if compute:
        held = {} if dataset.chunks else {name: each.values for name, each in dataset.items()}
        _fill_overviews(path, held)
        consolidate(path)


def list_grids(finest: MapGrid) -> list[MapGrid]:
    """List the grids of all resolutions, the finest first."""
    return [
        MapGrid(finest.crs, finest.transform @ Affine.scale(2.0**level), shape)
        for level, shape in enumerate(list_shapes(finest.shape))
    ]


def list_shapes(finest: Sequence[int]) -> list[tuple[int, int]]:
    """List rows and columns of all resolutions, the finest first."""
    shapes = [(finest[0], finest[1])]
    while max(shapes[-1]) > TILE and min(shapes[-1]) >= SMALLEST:
        rows, columns = shapes[-1]
        shapes.append((-(-rows // 2), -(-columns // 2)))
    return shapes


def _describe(path: Path, grids: Sequence[MapGrid], title: str) -> None:
    """Write what the root of a store says of its resolutions."""
    import zarr

    layout: list[dict[str, Any]] = []
    for number, grid in enumerate(grids):
        level = {"asset": str(number)} | ({"derived_from": str(number - 1)} if number else {})
        scale = 2.0 if number else 1.0
        layout.append(
            {
                **level,
                "transform": {"scale": [scale, scale], "translation": [0.0, 0.0]},
                "spatial:shape": list(grid.shape),
                "spatial:transform": list(grid.transform)[:6],
            }
        )
    attributes = {
        "Conventions": CF,
        **({"title": title} if title else {}),
        "comment": "The result is in the group '0', and overviews of it in the others",
        **_grid_attributes(grids[0], multiscales=True),
        LEVELS: {"layout": layout, METHOD: AVERAGE},
    }
    zarr.open_group(path, mode="r+").attrs.put(attributes)


def _grid_attributes(grid: MapGrid, *, multiscales: bool = False) -> dict[str, Any]:
    """Describe the cells of a group by the conventions ``proj`` and ``spatial``."""
    from pyproj import CRS

    crs = CRS.from_wkt(grid.crs.to_wkt())
    code = ":".join(crs.to_authority() or ())
    return {
        CONVENTIONS: [
            {
                "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{name}"
                f"/refs/tags/{RELEASE}/schema.json",
                "spec_url": f"https://github.com/zarr-conventions/{name}/blob/{RELEASE}/README.md",
                "uuid": identifier,
                "name": name,
                "description": description,
            }
            for name, (identifier, description) in IDENTIFIERS.items()
            if multiscales or name != LEVELS
        ],
        **(
            {"proj:code": code}
            if re.fullmatch(r"[A-Z]+:[0-9]+", code)
            else {"proj:wkt2": crs.to_wkt("WKT2_2019")}
        ),
        "spatial:dimensions": list(SPATIAL),
        "spatial:shape": list(grid.shape),
        "spatial:transform": list(grid.transform)[:6],
        "spatial:bbox": list(grid.bounds),
        "spatial:registration": "pixel",
    }


def _frame(dataset: xr.Dataset, grid: MapGrid) -> xr.Dataset:
    """Make the overview of a dataset on a coarser grid, with all but the values of its cells."""
    import dask.array

    leading = {name: each for name, each in dataset.coords.items() if not {*each.dims} & {*SPATIAL}}
    axes = {name: (name, values, dataset[name].attrs) for name, values in grid.coordinates.items()}
    frame = xr.Dataset(coords={**leading, **axes}, attrs={"title": dataset.attrs.get("title", "")})
    for name, variable in dataset.data_vars.items():
        if variable.dims[-2:] == SPATIAL and variable.dtype.kind in "iuf":
            shape = (*variable.shape[:-2], *grid.shape)
            zeros = dask.array.zeros(shape, dtype=variable.dtype, chunks=shape)
            method = {METHOD: AVERAGE if variable.dtype.kind == "f" else MODE}
            frame[name] = (variable.dims, zeros, {**variable.attrs, **method})
            frame[name].encoding = dict(variable.encoding)
    frame.rio.write_crs(grid.crs, inplace=True).rio.write_transform(grid.transform, inplace=True)
    return frame


def _fill_overviews(path: Path, held: Mapping[Any, Any]) -> None:
    """Compute the overviews of a store, each of the one before; `held` are arrays in memory."""
    import zarr

    groups = [zarr.open_group(path / name, mode="r+") for name in level_groups(path)]
    for fine, coarse in pairwise(groups):
        named = [(name, each) for name, each in coarse.arrays() if METHOD in each.attrs]
        reduce_arrays([(held[name] if name in held else fine[name], each) for name, each in named])
        held = {}


def reduce_arrays(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Compute arrays of Zarr of half the resolution of others, file by file, in two threads."""
    tasks = [
        (fine, coarse.with_config({"write_empty_chunks": True}), block)
        for fine, coarse in pairs
        for block in _blocks(coarse.shape, coarse.shards or coarse.chunks)
    ]
    with ThreadPoolExecutor(2, "sarheight-overviews") as pool:
        running = [pool.submit(_reduce_block, *task) for task in tasks]
        try:
            for each in running:
                each.result()
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or interrupt the others are in vain


def _reduce_block(fine: Any, coarse: Any, block: tuple[slice, ...]) -> None:  # noqa: ANN401
    """Compute a file of an array, which is written in one step: parts would be read again."""
    *leading, rows, columns = block
    nodata = coarse.fill_value if "_FillValue" in coarse.attrs else None
    shape = (*(1 for _ in leading), rows.stop - rows.start, columns.stop - columns.start)
    whole = np.empty(shape, coarse.dtype)
    for *_, down, across in _blocks(shape, (*shape[:-2], BLOCK, BLOCK)):
        source = (
            slice(2 * (outer.start + inner.start), 2 * (outer.start + inner.stop))
            for outer, inner in ((rows, down), (columns, across))
        )
        whole[..., down, across] = halve(fine[(*leading, *source)], nodata)
    coarse[block] = whole


def _blocks(shape: Sequence[int], lengths: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Cut an array into blocks."""
    starts = (range(0, size, step) for size, step in zip(shape, lengths, strict=True))
    for place in product(*starts):
        yield tuple(
            slice(start, min(start + step, size))
            for start, step, size in zip(place, lengths, shape, strict=True)
        )


def halve(values: NDArray[Any], nodata: Any = None) -> NDArray[Any]:  # noqa: ANN401  # of the values' type
    """Halve the resolution of planes: the mean of quantities, the most frequent one of codes.

    Parameters
    ----------
    values : numpy.ndarray, shape (..., rows, columns)
        Floats are quantities, whole numbers codes or counts.
    nodata : number, optional
        Marks missing values, as NaN does; they do not count.

    Returns
    -------
    numpy.ndarray, shape (..., ceil(rows / 2), ceil(columns / 2))
        Of the same type; of codes that are equally frequent, the first in the order of rows and
        columns.
    """
    if any(size % 2 for size in values.shape[-2:]):
        odd = [(0, 0)] * (values.ndim - 2) + [(0, size % 2) for size in values.shape[-2:]]
        # The last row and column count twice, which changes no mean and no majority.
        values = np.pad(values, odd, mode="edge")
    return (_mean if values.dtype.kind == "f" else _most_frequent)(values, nodata)


def _quarters(values: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the four cells of each square of two by two."""
    return [values[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]


def _mean(values: NDArray[Any], nodata: Any) -> NDArray[Any]:  # noqa: ANN401
    parts = _quarters(values)
    first, second, third, fourth = parts
    mean: NDArray[Any] = (first + second) + (third + fourth)
    mean *= values.dtype.type(0.25)
    # Most of a result has values everywhere. Where it has not, those that are known are counted.
    partial = ~np.isfinite(mean)
    marked = nodata is not None and not np.isnan(nodata)
    if marked:
        for part in parts:
            partial |= part == nodata
    if partial.any():
        few = np.stack([part[partial] for part in parts])
        known = np.isfinite(few) & (few != nodata) if marked else np.isfinite(few)
        count, total = known.sum(axis=0), few.sum(axis=0, dtype=np.float64, where=known)
        found = np.full(count.shape, nodata if marked else np.nan, values.dtype)
        mean[partial] = np.divide(total, count, out=found, where=count > 0, casting="same_kind")
    return mean


def _most_frequent(values: NDArray[Any], nodata: Any) -> NDArray[Any]:  # noqa: ANN401
    parts = _quarters(values)
    best, most = parts[0].copy(), np.zeros(parts[0].shape, np.uint8)
    for part in parts:
        votes = np.zeros(part.shape, np.uint8)
        for other in parts:
            votes += part == other
        if nodata is not None:
            votes[part == nodata] = 0
        better = votes > most
        best[better], most[better] = part[better], votes[better]
    return best
