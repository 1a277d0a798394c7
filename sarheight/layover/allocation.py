"""Allocation of RCS: the radar cross-section of each pixel, divided among the cells in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.allocation import (
    AllocatedCells,
    MeasuredPixels,
    WeighedRatios,
    allocate_rcs,
    gather_ratios,
)
from sarheight_kernels.geocoding import GeocodedImage
from sarheight_kernels.pool import spread
from sarheight_kernels.radiometry import inverse_intensity, mask_missing
from sarheight_kernels.ratios import smooth_by_simulation, weigh_ratios
from sarheight_kernels.tiles import TILE

from sarheight.geometry.geo2rdr import angles
from sarheight.layover._sampling import KERNEL_TILE_BORDER, sampled_cells, sampled_kernel_tiles
from sarheight.layover.facets import repeat_cells, sum_facets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sarheight.geometry.pass_geometry import PassGeometry, PixelAreas
    from sarheight.illumination import BackscatterLaw
    from sarheight.illumination.simulate import Illumination
    from sarheight.layover.tiles import Box, GridScale, Taps

Image = NDArray[np.float32]
Layer = NDArray[np.float32]
"""Values of cells, shape (rows, columns)."""
Layers = NDArray[np.float32]
"""Values of cells by polarisation, shape (polarisations, rows, columns)."""
Cells = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows and columns of some cells, shape (n,) each."""
NO_IMAGE = np.empty((0, 0), dtype=np.float32)
NO_IMAGES = np.empty((0, 0, 0), dtype=np.float32)
NO_PAIRS = np.empty((0, 0, 0))


def intensities(values: NDArray[np.generic]) -> Image:
    """Bring an image to the kernels' form, (polarisations, lines, samples), if possible uncopied.

    It is in single precision, contiguous and writable: kernels are compiled for such arrays only.
    """
    image = values.reshape(-1, *values.shape[-2:])
    return np.require(image, np.float32, ("C", "W"))


@dataclass(eq=False)
class AllocatedRcs:
    """RCS that the cells of a tile are allocated from one pass.

    Later steps reuse the arrays in place, to spare memory.
    """

    rcs: Layers  # allocated RCS in m2
    reflectivity: Layers  # the same over `expected`; NaN where no pixel of the cell has data
    diagnostics: NDArray[np.float32]  # (4, rows, columns): the layers below
    geocoded: Layers  # the image at the place of each cell; no polarisations where not wanted
    # (polarisations,): RCS in m2 of the illuminated pixels with data, which was to be allocated
    total: NDArray[np.float64]

    @property
    def expected(self) -> Layer:
        """Return the RCS in m2 by the law, in pixels that have data."""
        return self._diagnostic(0)

    @property
    def area(self) -> Layer:
        """Return the area in m2 in pixels that have data, projected along the line of sight."""
        return self._diagnostic(1)

    @property
    def contribution(self) -> Layer:
        """Return the mean share of a cell in the RCS of its pixels, weighted by its own RCS."""
        return self._diagnostic(2)

    @property
    def speckle(self) -> Layer:
        """Return the variance that speckle of one look leaves, as a fraction of the square."""
        return self._diagnostic(3)

    def _diagnostic(self, index: int) -> Layer:
        layer: Layer = self.diagnostics[index]
        return layer

    def without_small_cells(self, smallest_area: float) -> Layer:
        """Expect no RCS of cells below an area in m2, in place; return the expected RCS."""
        expected, area = self.expected, self.area

        def expect_nothing(begin: int, end: int) -> None:
            small = area[begin:end] < smallest_area
            np.copyto(expected[begin:end], np.float32(0.0), where=small)

        spread(expect_nothing, area.shape[0])
        return expected


@dataclass(frozen=True, eq=False)
class ComparedRatios:
    """Image over simulation in the pixels of each cell, which count by how sure they are."""

    ratios: Layers  # sums of weight times ratio of image and simulation; none where not wanted
    weight: Layers  # sums of weights, one for all or of each polarisation; 0 where there is no data
    # Sums of the squared relative change of simulated RCS from sample to sample, in a first step.
    change: Layer | None = None


class Comparison(NamedTuple):
    """How an image is compared with its simulation while its RCS is allocated."""

    blur: Taps | None  # weights by which both are smoothed before
    ratios: bool  # whether ratios are wanted beside the change of simulated RCS


def rtc_intensity(image: Image, simulated: Image, blur: Taps) -> Image:
    """Smooth an image by its simulation: radiometric terrain correction, see `RTC`.

    The result over the simulated RCS is the smoothed image over the smoothed simulation, and 0
    where there is no data.
    """
    smoothed = np.empty(image.shape, np.float32)
    smooth_by_simulation(image, simulated, *blur, smoothed)
    return smoothed


def take_cells(layers: Sequence[NDArray[Any]], cells: Cells) -> list[NDArray[Any]]:
    """Take the values of some cells out of contiguous layers, shape (n,) each."""
    row, column = cells
    taken = [np.empty(row.shape, layer.dtype) for layer in layers]

    def take(begin: int, end: int) -> None:
        index = row[begin:end] * layers[0].shape[1] + column[begin:end]
        for layer, values in zip(layers, taken, strict=True):
            values[begin:end] = layer.reshape(-1)[index]

    spread(take, row.size)
    return taken


NO_BLUR = np.ones(1, np.float32), np.ones(1, np.float32)
PIXEL_FLOOR = 0.09
"""Variance of a pixel's ratio where the simulation does not change, in units of that which a change
by 1 from sample to sample causes (0.3 squared)."""


@dataclass(frozen=True, eq=False)
class PassTile:
    """The image of one pass over a tile, and the operator that simulates it.

    Where a cell is divided into facets (`sarheight.layover.facets`), the operator is that of the
    facets, and values of cells are sums over theirs.
    """

    image: Image  # intensity; a pixel that is not finite in one polarisation counts for none
    areas: PixelAreas  # areas of the pixels to which intensities refer
    operator: Illumination  # which facet illuminates which pixel
    core: Box | None = None  # cells that count in sums over cells; all by default
    ellipsoid: PixelAreas | None = None  # areas to which the geocoded image refers, if wanted
    facets: int = 1  # facets along a side of a cell
    undivided: Illumination | None = None  # operator of cells, where they are divided

    @property
    def cell_operator(self) -> Illumination:
        """Return the operator of cells that are not divided."""
        return self.operator if self.undivided is None else self.undivided

    @property
    def geometry(self) -> PassGeometry:
        """Return the DEM of cells under the radar."""
        return self.cell_operator.geometry

    def divided(self, operator: Illumination, facets: int) -> PassTile:
        """Divide each cell into facets along its sides, with their operator."""
        return replace(self, operator=operator, facets=facets, undivided=self.cell_operator)

    def under(self, law: BackscatterLaw, ellipsoid: PixelAreas | None = None) -> PassTile:
        """Return the same image under another backscatter law, to be geocoded or not."""
        return replace(
            self,
            operator=self.operator.with_law(law),
            ellipsoid=ellipsoid,
            undivided=None if self.undivided is None else self.undivided.with_law(law),
        )

    def to_cells(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum values of facets, shape (..., rows * n, columns * n), to cells."""
        return sum_facets(values, self.facets)

    def to_facets(self, values: NDArray[Any]) -> NDArray[Any]:
        """Repeat values of cells, shape (..., rows, columns), for each of their facets."""
        return repeat_cells(values, self.facets)

    def allocate(
        self,
        assumed: Layer | None = None,
        blur: Taps | None = None,
        wanted: NDArray[np.bool_] | None = None,
    ) -> AllocatedRcs:
        """Allocate each pixel's RCS to the cells that illuminate it.

        Parameters
        ----------
        assumed : array, shape (rows, columns), optional
            Reflectivity by which the pixels are shared; 1 by default.
        blur : pair of arrays, optional
            Weights along lines and samples by which image and simulation are smoothed before
            they are compared.
        wanted : array of bool, shape (rows, columns), optional
            Cells to which RCS is allocated; all by default.
        """
        return self.allocate_and_compare(assumed, blur, wanted)[0]

    def allocate_and_compare(
        self,
        assumed: Layer | None = None,
        blur: Taps | None = None,
        wanted: NDArray[np.bool_] | None = None,
        comparison: Comparison | None = None,
    ) -> tuple[AllocatedRcs, ComparedRatios | None]:
        """Allocate as `allocate` does, and compare image and simulation in the same sweep."""
        if self.undivided is not None:
            return self._allocate_to_facets(assumed, blur, wanted, comparison)
        simulated = self._simulate(assumed)
        compared = None
        if comparison is not None:
            image = self.image if comparison.ratios else self.image[:0]
            compared = self._weigh(image, simulated, comparison.blur, change=True)
        smoothed = self.image if blur is None else rtc_intensity(self.image, simulated, blur)
        result = self._sweep(simulated, assumed, wanted, smoothed, compared)
        if compared is None:
            return result, None
        return result, ComparedRatios(compared.ratio, compared.weight, compared.change)

    def _sweep(
        self,
        simulated: Image,
        assumed: Layer | None,
        wanted: NDArray[np.bool_] | None,
        intensity: Image,
        compared: WeighedRatios | None = None,
    ) -> AllocatedRcs:
        """Pass over all cells, and allocate an intensity; overwrites what `_simulate` returned."""
        shape, polarisations = self.geometry.heights.shape, intensity.shape[0]
        result = AllocatedRcs(
            np.empty((polarisations, *shape), np.float32),
            np.empty((polarisations, *shape), np.float32),
            np.empty((4, *shape), np.float32),
            np.empty((0 if self.ellipsoid is None else self.image.shape[0], *shape), np.float32),
            np.empty(polarisations),
        )
        lit = self.operator.illuminated if wanted is None else self.operator.illuminated & wanted
        surface = replace(self.operator, illuminated=lit).surface
        measured = self.areas.lines, self.areas.areas
        target = self.areas if self.ellipsoid is None else self.ellipsoid
        # `_simulate` has left out the pixels that are missing.
        inverse_intensity(*measured, simulated)
        # Of what is smoothed the totals are those of the image as it was.
        unsmoothed = self.image if intensity is not self.image else self.image[:0]
        totals = np.empty((surface.bounds.shape[0], polarisations))
        allocate_rcs(
            surface,
            NO_IMAGE if assumed is None else np.ascontiguousarray(assumed),
            MeasuredPixels(intensity, unsmoothed[:polarisations], simulated, *measured),
            compared or WeighedRatios(NO_PAIRS, PIXEL_FLOOR, NO_IMAGE, *(NO_IMAGES,) * 2, NO_IMAGE),
            (0, shape[0], 0, shape[1]) if self.core is None else self.core,
            AllocatedCells(result.rcs, result.reflectivity, result.diagnostics, totals),
            GeocodedImage(self.image, target.lines, target.areas, result.geocoded),
        )
        result.total[:] = totals.sum(axis=0)
        return result

    def sample_reflectivity(
        self, cells: Cells, kernel_tiles: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find reflectivity, shape (polarisations, n), and illuminated area of cells, shape (n,).

        With some kernel tiles of facets only, the others take no part in their pixels.
        """
        wanted = np.zeros(self.geometry.heights.shape, dtype=bool)
        wanted[cells] = True
        operator, view = self.operator, self.operator.geometry
        if kernel_tiles is not None:
            bounds = np.where(kernel_tiles.reshape(-1, 1), view.bounds, np.nan)
            operator = replace(operator, geometry=replace(view, bounds=bounds))
        each = replace(self, operator=operator, ellipsoid=None, facets=1, undivided=None)
        fine = each.allocate(wanted=self.to_facets(wanted))
        layers, n = [fine.expected, fine.area, *fine.rcs], self.facets
        by_facet = [
            take_cells(layers, (cells[0] * n + down, cells[1] * n + across))
            for down, across in np.ndindex(n, n)
        ]
        expected, area, *rcs = (reduce(np.add, values) for values in zip(*by_facet, strict=True))
        reflectivity = np.full((len(rcs), expected.size), np.nan, dtype=np.float32)
        np.divide(np.stack(rcs), expected, out=reflectivity, where=expected > 0.0)
        return reflectivity, area

    def compare(self, assumed: Layers, blur: Taps | None = None) -> ComparedRatios:
        """Compare each polarisation with its simulation in the pixels of each cell.

        Parameters
        ----------
        assumed : array, shape (polarisations, rows, columns)
            Reflectivity by which each of them is simulated.
        blur : pair of arrays, optional
            Weights along lines and samples by which image and simulation are smoothed.
        """
        simulated = self._simulate(self.to_facets(assumed))
        ratios = self._weigh(self.image, simulated, blur)
        del simulated
        gather_ratios(self.operator.surface, ratios)
        return ComparedRatios(self.to_cells(ratios.ratio), self.to_cells(ratios.weight))

    def _simulate(self, assumed: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Simulate the RCS of the pixels, by assumed reflectivity; 0 where there is no data."""
        simulated = self.operator.simulate(assumed)
        mask_missing(self.image, simulated.reshape(-1, *simulated.shape[-2:]))
        return simulated

    def _weigh(
        self,
        image: Image,
        simulated: NDArray[np.float32],
        blur: Taps | None,
        *,
        change: bool = False,
    ) -> WeighedRatios:
        """Weigh the ratios of an image and its simulation, with room for their sums.

        There is one simulation for all polarisations, or one of each. Of an image without
        polarisations only the change of the simulation is taken.
        """
        shape, size = self.operator.geometry.heights.shape, simulated.shape[-2:]
        polarisations = image.shape[0]
        pairs = np.empty((polarisations, *size, 2), np.float32)
        changes = NO_IMAGE if polarisations else np.empty(size, np.float32)
        measured, taps = (self.areas.lines, self.areas.areas), NO_BLUR if blur is None else blur
        for part, expected, weighed in (
            [(image, simulated, pairs)]
            if simulated.ndim == 2
            else zip(image[:, None], simulated, pairs[:, None], strict=True)
        ):
            weigh_ratios(part, *measured, expected, *taps, PIXEL_FLOOR, weighed, changes)
        weights = min(polarisations, 1) if simulated.ndim == 2 else polarisations
        return WeighedRatios(
            pairs.view(np.float64)[..., 0],
            PIXEL_FLOOR,
            changes,
            np.empty((polarisations, *shape), np.float32),
            np.empty((weights, *shape), np.float32),
            np.empty(shape, np.float32) if change else NO_IMAGE,
        )

    def _allocate_to_facets(
        self,
        assumed: Layer | None,
        blur: Taps | None,
        wanted: NDArray[np.bool_] | None,
        comparison: Comparison | None,
    ) -> tuple[AllocatedRcs, ComparedRatios | None]:
        """Allocate to facets, where cells are divided, and sum over those of each cell.

        Contribution share, speckle and geocoded image are no sums over facets: they are those of
        cells that are not divided.
        """
        core = None
        if self.core is not None:
            first_row, end_row, left, right = (edge * self.facets for edge in self.core)
            core = first_row, end_row, left, right
        each = replace(self, core=core, ellipsoid=None, facets=1, undivided=None)
        whole = replace(self, operator=self.cell_operator, facets=1, undivided=None)
        fine, compared = each.allocate_and_compare(
            None if assumed is None else self.to_facets(assumed),
            blur,
            None if wanted is None else self.to_facets(wanted),
            comparison,
        )
        # No polarisation of them is allocated.
        result = whole._sweep(whole._simulate(assumed), assumed, wanted, self.image[:0])  # noqa: SLF001
        rcs = self.to_cells(fine.rcs)
        _sum_diagnostics(fine, self.facets, result)
        reflectivity = np.full_like(rcs, np.nan)
        np.divide(rcs, result.expected, out=reflectivity, where=result.expected > 0.0)
        if compared is not None and compared.change is not None:
            layers = (compared.ratios, compared.weight, compared.change)
            compared = ComparedRatios(*(self.to_cells(layer) for layer in layers))
        result = replace(result, rcs=rcs, reflectivity=reflectivity, total=fine.total)
        return result, compared


def _sum_diagnostics(fine: AllocatedRcs, facets: int, result: AllocatedRcs) -> None:
    """Write sums over facets in place of the expected RCS and area of cells."""
    for index in (0, 1):
        result.diagnostics[index] = sum_facets(fine.diagnostics[index], facets)
    expected = result.expected
    # A cell of which nothing is expected while something is of its facets: one on a ridge, say,
    # that faces away as a whole. Its share and speckle are the means over its facets, weighted by
    # what is expected of them, as if they shared no pixels.
    hidden = (expected > 0.0) & ~(result.contribution >= 0.0)
    if hidden.any():
        weight = fine.expected
        shared = sum_facets(np.nan_to_num(fine.contribution) * weight, facets)
        speckle = sum_facets(np.nan_to_num(fine.speckle) * weight**2, facets)
        result.contribution[hidden] = shared[hidden] / expected[hidden]
        result.speckle[hidden] = speckle[hidden] / expected[hidden] ** 2
    nothing = ~(expected > 0.0)
    result.contribution[nothing] = np.nan
    result.speckle[nothing] = np.nan


@dataclass(frozen=True, eq=False)
class Observation:
    """One pass over a tile before a law is chosen: its image and the categories of its cells."""

    image: PassTile  # with an operator of constant gamma0
    category: NDArray[np.uint8]  # (rows, columns): see `classify_cells`
    fold_count: NDArray[np.uint8]  # (rows, columns): see `classify_cells`
    ellipsoid: PixelAreas  # areas of the pixels on the ellipsoid
    corner: tuple[int, int]  # row, column of the window's first cell in the whole DEM
    kind: NDArray[np.uint8] | None = None  # kind of ground of each cell by a guide; 0 for none

    @cached_property
    def angles(self) -> dict[str, Layer]:
        """Return incidence angles in degrees by name."""
        return {name: values for name, (values, _) in angles(self.image.geometry).items()}

    @property
    def core(self) -> tuple[slice, slice]:
        """Return rows and columns of the tile within its window."""
        rows, columns = self.category.shape
        first, end, left, right = self.image.core or (0, rows, 0, columns)
        return slice(first, end), slice(left, right)

    def sampled_cells(self, scale: GridScale) -> Cells:
        """Find the cells of the tile on which statistics rest; see `sampled_cells`."""
        down, across = self.corner
        rows, columns = self.core
        row, column = sampled_cells(
            scale.shape,
            (rows.start + down, rows.stop + down, columns.start + across, columns.stop + across),
            scale.sampled_stride,
            scale.sampled_parts,
        )
        return row - down, column - across

    def sampled_kernel_tiles(self, parts: int) -> NDArray[np.bool_]:
        """Find the kernel tiles of facets in one of several areas, see `sampled_kernel_tiles`."""
        facets = self.image.facets
        rows, columns = self.image.operator.geometry.heights.shape
        first = self.corner[0] * facets // TILE, self.corner[1] * facets // TILE
        return sampled_kernel_tiles(first, (-(-rows // TILE), -(-columns // TILE)), parts, facets)

    def within_kernel_tiles(
        self, cells: Cells, kernel_tiles: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Tell which of some cells lie in some kernel tiles of facets, and not at their border."""
        facets = self.image.facets
        inside = np.ones(cells[0].shape, dtype=bool)
        number = []
        for places in cells:
            # Windows begin with a kernel tile.
            within = places * facets % TILE
            inside &= (within >= KERNEL_TILE_BORDER) & (
                within + facets <= TILE - KERNEL_TILE_BORDER
            )
            number.append(places * facets // TILE)
        inside &= kernel_tiles[number[0], number[1]]
        return inside


@dataclass(frozen=True, eq=False)
class Estimate:
    """Reflectivity of a tile's cells from one pass, relative to the law."""

    # Meaningful where the illuminated area is large enough; NaN where nothing was measured.
    reflectivity: Layers
    relative_variance: Layers  # variance of the logarithm of the reflectivity
    allocated: AllocatedRcs  # allocation with equal reflectivity of all cells
    own: Layers | None = None  # weight of cells' own values in the estimate; 1 where None
    borrowed: Layers | None = None  # weight of other passes in the estimate; 0 where None


@dataclass(frozen=True, eq=False)
class EstimatedTile:
    """A tile whose reflectivity is estimated."""

    observations: list[Observation]
    estimates: list[Estimate]
    averaged: bool = False  # whether estimates are means of logarithms, which lose RCS
