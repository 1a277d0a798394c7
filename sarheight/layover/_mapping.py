"""The one-to-many mapping between radar pixels and ground cells, as an explicit sparse matrix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.mapping import band_weights, copy_band
from sarheight_kernels.tiles import TILE

from sarheight.dem.checked import CheckedDem, north_up, stored_like
from sarheight.errors import GeometryError
from sarheight.geometry.pass_geometry import dem_dataset, pass_geometry
from sarheight.illumination import BackscatterLaw, ConstantGamma
from sarheight.illumination.simulate import NOTHING_ILLUMINATED, Illumination, illuminate

if TYPE_CHECKING:
    from scipy import sparse

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

TILES_AT_ONCE = 64
"""Tiles of a band at least, so that threads seldom wait for the last of them."""
HALF_PAGE = 512
"""Numbers between the pixels and the weights of a band, 2 KiB. Both are written in turn: at the
same place within pages of 4 KiB, a processor takes one for the other, and waits at each write."""
WEIGHTS_PER_CELL = 24
"""Weights per cell for which memory is taken first, on average over a kernel tile. Where more are
needed, twice as much is taken."""


@dataclass(frozen=True, eq=False)
class Mapping:
    """Ground cells that contribute to each radar pixel, and pixels to which each cell contributes.

    Attributes
    ----------
    matrix : scipy.sparse.csc_array, shape (lines * samples, rows * columns)
        The RCS that each cell of unit reflectivity contributes to each pixel, in square metres.
        Pixels and cells are counted row after row.
    image_shape : tuple of int
        Lines and samples.
    cells : xarray.Dataset
        Coordinates and CRS of the cells, dims (y, x).
    """

    matrix: sparse.csc_array
    image_shape: tuple[int, int]
    cells: xr.Dataset

    @property
    def ground_shape(self) -> tuple[int, int]:
        """Return rows and columns of the ground."""
        return self.cells.sizes["y"], self.cells.sizes["x"]

    @cached_property
    def _by_pixel(self) -> sparse.csr_array:
        return self.matrix.tocsr()

    def cells_of(self, line: int, sample: int) -> xr.Dataset:
        """List the ground cells that contribute to a pixel.

        Parameters
        ----------
        line, sample : int
            The pixel.

        Returns
        -------
        xarray.Dataset
            Dim ``cell``, the largest contribution first: ``row``, ``column``, ``x``, ``y``,
            ``weight`` (square metres) and ``ratio``, the part of the pixel's RCS that is the cell's
            where all have the same reflectivity; the ratios sum to 1.

        Raises
        ------
        IndexError
            If there is no such pixel.
        """
        _require_inside("pixel", (line, sample), self.image_shape)
        rows = self._by_pixel
        pixel = line * self.image_shape[1] + sample
        part = slice(rows.indptr[pixel], rows.indptr[pixel + 1])
        cell, weight = _largest_first(rows.indices[part], rows.data[part])
        return xr.Dataset(
            {**self._places(cell), **_weights("cell", weight)},
            attrs={"line": line, "sample": sample},
        )

    def pixels_of(self, row: int, column: int) -> xr.Dataset:
        """List the pixels to which a ground cell contributes.

        Parameters
        ----------
        row, column : int
            The cell.

        Returns
        -------
        xarray.Dataset
            Dim ``pixel``, the largest part first: ``line``, ``sample``, ``weight`` (square
            metres) and ``ratio``, the part of the cell's RCS that is in the pixel; the ratios sum
            to 1.

        Raises
        ------
        IndexError
            If there is no such cell.
        """
        _require_inside("cell", (row, column), self.ground_shape)
        cell = row * self.ground_shape[1] + column
        part = slice(self.matrix.indptr[cell], self.matrix.indptr[cell + 1])
        pixel, weight = _largest_first(self.matrix.indices[part], self.matrix.data[part])
        line, sample = np.divmod(pixel, self.image_shape[1])
        return xr.Dataset(
            {"line": ("pixel", line), "sample": ("pixel", sample), **_weights("pixel", weight)},
            attrs={"row": row, "column": column},
        )

    def sharing(
        self, row: int, column: int, reflectivity: xr.DataArray | NDArray[Any] | None = None
    ) -> xr.Dataset:
        r"""List the ground cells that share pixels with a ground cell, and their shares in them.

        The share of cell h in the pixels of cell g is its mean share in the RCS of these pixels,
        weighted by the RCS of g in each of them,

        .. math:: s_h = \sum_p \frac{W_{pg}}{\sum_q W_{qg}} \frac{W_{ph} x_h}{\sum_k W_{pk} x_k},

        with the RCS W of cells at unit reflectivity and their reflectivity x. The share of g
        itself is the ``contribution_share`` of `reconstruct` where x is 1 and the law is the same.

        Parameters
        ----------
        row, column : int
            The cell.
        reflectivity : array, dims (y, x), optional
            Reflectivity of the cells relative to the law of the mapping, linear: the reconstructed
            gamma0, where the law is `ConstantGamma`. Cells where it is NaN or below 0 have none.
            By default that of all cells is 1.

        Returns
        -------
        xarray.Dataset
            Dim ``cell``, the largest share first: ``row``, ``column``, ``x``, ``y`` and ``share``.
            The cell itself is among them, and shares sum to 1. Without cells where the cell
            contributes to no pixel, or its pixels have no RCS.

        Raises
        ------
        IndexError
            If there is no such cell.
        ValueError
            If the reflectivity has another shape than the cells.
        """
        _require_inside("cell", (row, column), self.ground_shape)
        index = row * self.ground_shape[1] + column
        part = slice(self.matrix.indptr[index], self.matrix.indptr[index + 1])
        own = self.matrix.data[part].astype(np.float64)
        rcs = self._by_pixel[self.matrix.indices[part]].astype(np.float64)
        if reflectivity is not None:
            values = np.asarray(reflectivity, dtype=np.float64)
            if values.shape != self.ground_shape:
                msg = (
                    f"found reflectivity of shape {values.shape}, expected that of the cells, "
                    f"{self.ground_shape}"
                )
                raise ValueError(msg)
            values = np.where(values > 0.0, values, 0.0).ravel()
            rcs.data *= values[rcs.indices]
        total = rcs.sum(axis=1)
        weight = np.divide(own, total, out=np.zeros_like(own), where=total > 0.0)
        used = own[total > 0.0].sum()
        share = rcs.T @ weight / max(used, np.finfo(float).tiny)
        sharing = np.flatnonzero(share)
        cell, share = _largest_first(sharing, share[sharing])
        return xr.Dataset(
            {**self._places(cell), "share": ("cell", share)}, attrs={"row": row, "column": column}
        )

    def _places(self, cell: NDArray[np.int64]) -> dict[str, tuple[str, NDArray[Any]]]:
        """Return rows, columns and coordinates of cells, dim ``cell``."""
        row, column = np.divmod(cell, self.ground_shape[1])
        values = {
            "row": row,
            "column": column,
            "x": self.cells.x.values[column],
            "y": self.cells.y.values[row],
        }
        return {name: ("cell", each) for name, each in values.items()}

    def to_dataset(self) -> xr.Dataset:
        """Return the mapping as a Dataset, to be saved by `sarheight.output.write`.

        Returns
        -------
        xarray.Dataset
            ``weight`` and ``pixel`` (line * samples + sample), dim ``entry``, cell after cell;
            ``start``, dim ``cell_edge``: the first entry of each cell, and the end of the last.
        """
        dataset = self.cells.copy()
        dataset["weight"] = (
            "entry",
            self.matrix.data,
            {"long_name": "RCS at unit reflectivity", "units": "m2"},
        )
        dataset["pixel"] = ("entry", self.matrix.indices, {"long_name": "line * samples + sample"})
        dataset["start"] = ("cell_edge", self.matrix.indptr, {"long_name": "first entry of a cell"})
        return dataset.assign_attrs(lines=self.image_shape[0], samples=self.image_shape[1])

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Mapping:
        """Make the mapping of a Dataset again.

        Parameters
        ----------
        dataset : xarray.Dataset
            From `to_dataset`, such as `sarheight.output.open_result` opens.

        Returns
        -------
        Mapping
            The mapping.

        Raises
        ------
        ValueError
            If the Dataset is not that of a mapping.
        """
        missing = {"weight", "pixel", "start"} - set(dataset.variables)
        if missing or not {"lines", "samples"} <= set(dataset.attrs):
            msg = (
                f"found a Dataset without {', '.join(sorted(missing)) or 'lines and samples'}, "
                "expected one made by Mapping.to_dataset"
            )
            raise ValueError(msg)
        from scipy import sparse

        image_shape = int(dataset.attrs["lines"]), int(dataset.attrs["samples"])
        matrix = sparse.csc_array(
            (dataset["weight"].values, dataset["pixel"].values, dataset["start"].values),
            shape=(image_shape[0] * image_shape[1], dataset.sizes["y"] * dataset.sizes["x"]),
        )
        cells = dataset.drop_vars(["weight", "pixel", "start"]).drop_attrs(deep=False)
        return cls(matrix, image_shape, cells)


def _largest_first(
    index: NDArray[np.integer], weight: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Order cells or pixels by their weights, the largest first."""
    order = np.argsort(-weight, kind="stable")
    return index[order].astype(np.int64), weight[order]


def _weights(dim: str, weight: NDArray[np.floating]) -> dict[str, Any]:
    """Return weights, and their ratios, which sum to 1."""
    ratio = weight / max(weight.sum(), np.finfo(float).tiny)
    return {"weight": (dim, weight, {"units": "m2"}), "ratio": (dim, ratio)}


def _require_inside(name: str, place: tuple[int, int], shape: tuple[int, int]) -> None:
    """Refuse a pixel or a cell that does not exist."""
    if not (0 <= place[0] < shape[0] and 0 <= place[1] < shape[1]):
        msg = f"found {name} {place}, expected one within {shape}, counted from 0"
        raise IndexError(msg)


class _Slots(NamedTuple):
    """Room for the pixels and weights of the tiles of a band, shape (tiles, size) each."""

    pixel: NDArray[np.int32]
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, tiles: int, size: int) -> _Slots:
        """Make room for so many tiles."""
        room = np.empty(2 * tiles * size + HALF_PAGE, np.float32)
        pixel, weight = room[: tiles * size], room[tiles * size + HALF_PAGE :]
        return cls(pixel.reshape(tiles, size).view(np.int32), weight.reshape(tiles, size))

    def first(self, tiles: int) -> _Slots:
        """Return the room of the first tiles."""
        return _Slots(self.pixel[:tiles], self.weight[:tiles])


def _enlarge(array: NDArray[Any], count: int, size: int) -> NDArray[Any]:
    """Copy the first elements of an array to a larger one."""
    larger = np.empty(size, array.dtype)
    larger[:count] = array[:count]
    return larger


def _matrix(operator: Illumination) -> sparse.csc_array:
    """Compute the weights by bands of some rows of kernel tiles, shape (pixels, cells)."""
    from scipy import sparse

    geometry = operator.geometry
    lines, samples = geometry.grid.shape
    rows, columns = geometry.heights.shape
    tiles = -(-columns // TILE)
    last = np.minimum(TILE * np.arange(1, tiles + 1), columns) - 1
    # As many rows of tiles as keep all threads at work.
    high = min(-(-TILES_AT_ONCE // tiles), -(-rows // TILE)) * TILE
    ends, complete = (
        np.empty((high, columns), np.int32),
        np.empty(high // TILE * tiles, np.bool_),
    )
    slots = _Slots.of(complete.size, TILE * TILE * WEIGHTS_PER_CELL)
    start = np.empty(rows * columns + 1, np.int32)
    start[0] = 0
    pixel, weight = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    total = 0
    for row in range(0, rows, high):
        band = ends[: min(high, rows - row)]
        held = complete[: -(-len(band) // TILE) * tiles]
        while True:
            band_weights(operator.surface, lines, samples, row // TILE * tiles, band, held, *slots)
            if held.all():
                break
            slots = _Slots.of(complete.size, 2 * slots.weight.shape[1])
        # Where the weights of each row of a tile begin: row after row, tile after tile.
        after = total + np.cumsum(band[:, last], dtype=np.int64).reshape(-1, tiles)
        begin = np.concatenate(([total], after.ravel()[:-1])).reshape(after.shape)
        begun, total = total, int(after[-1, -1])
        if total > pixel.size:
            # 10 % more than are needed if all bands have as many.
            size = max(int(1.1 * total * rows / (row + len(band))), 2 * pixel.size)
            pixel, weight = (_enlarge(array, begun, size) for array in (pixel, weight))
        if total > np.iinfo(start.dtype).max:
            start = start.astype(np.int64)
        cells = start[1 + row * columns : 1 + (row + len(band)) * columns].reshape(band.shape)
        copy_band(begin, band, *slots.first(held.size), cells, pixel, weight)
    parts = weight[:total], pixel[:total], start
    return sparse.csc_array(parts, shape=(lines * samples, rows * columns))


def _stored_columns(matrix: sparse.csc_array, dem: CheckedDem) -> sparse.csc_array:
    """Bring the columns of a north-up DEM's weights into the order in which the DEM is stored."""
    if dem.north_up() is dem:
        return matrix
    number = np.arange(matrix.shape[1]).reshape(dem.array.shape)
    order = stored_like(dem.array.copy(data=number), dem.array).values.ravel()
    return matrix[:, order]


def mapping(
    dem: xr.DataArray | CheckedDem,
    grid: RadarGrid,
    orbit: Orbit,
    *,
    law: BackscatterLaw | None = None,
    illuminated: xr.DataArray | None = None,
) -> Mapping:
    """Establish the one-to-many mapping between radar pixels and ground cells.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    grid : RadarGrid
        Sampling of the image, of at most 2**31 pixels: crop it for larger ones.
    orbit : Orbit
        State vectors that cover the image.
    law : callable, optional
        Backscatter law, from incidence in degrees to sigma0; `ConstantGamma` by default, with
        which the weights are projected areas.
    illuminated : xarray.DataArray, optional
        Whether the radar illuminates a cell, dims (y, x), in the order of the DEM. By default the
        shadows that the DEM casts are found; those of mountains beside it are known to masks of a
        larger DEM, ``~in_shadow(mask)`` (see `masks`).

    Returns
    -------
    Mapping
        The mapping, explicit: 10 to 20 weights a cell where pixels are about as large as cells,
        of eight bytes each.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If the image has too many pixels, the DEM is not one, or `illuminated` has another shape.
    """
    if grid.lines * grid.samples > np.iinfo(np.int32).max:
        msg = (
            f"found an image of {grid.lines} x {grid.samples} pixels, expected at most 2**31 for "
            "an explicit mapping: crop the grid"
        )
        raise ValueError(msg)
    checked = CheckedDem.of(dem)
    lit = None
    if illuminated is not None:
        if illuminated.shape != checked.array.shape:
            msg = (
                f"found illuminated cells of shape {illuminated.shape}, expected that of the DEM, "
                f"{checked.array.shape}"
            )
            raise ValueError(msg)
        like = checked.array.copy(data=np.asarray(illuminated, dtype=bool))
        lit = north_up(like).values
    geometry = pass_geometry(checked.north_up(), grid, orbit)
    operator = illuminate(geometry, ConstantGamma(1.0) if law is None else law, lit)
    matrix = _matrix(operator)
    if matrix.nnz == 0:
        raise GeometryError(NOTHING_ILLUMINATED)
    return Mapping(_stored_columns(matrix, checked), grid.shape, dem_dataset(checked.array, {}))
