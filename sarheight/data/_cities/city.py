"""Simulated cities: boxes on a street grid, trees and ground, on a fine raster."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from sarheight.data._cities.districts import DISTRICTS, Block
from sarheight.data._cities.plan import Boxes, plan_city
from sarheight.data._cities.raster import Raster
from sarheight.data._cities.walls import Walls, walls_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["City", "Cover", "build_city", "in_cells", "make_city"]

MARGIN = 160.0
"""Metres that are simulated around a city, so that its edge is like its middle."""
NOTHING_DISTRICT = -1


class Cover(IntEnum):
    """What lies on top at a place."""

    ASPHALT = 0
    PAVING = 1
    GRASS = 2
    SOIL = 3
    WATER = 4
    TREE = 5
    TILE_ROOF = 6
    DARK_ROOF = 7
    METAL_ROOF = 8
    GRAVEL_ROOF = 9


ROOFS = (Cover.TILE_ROOF, Cover.DARK_ROOF, Cover.METAL_ROOF, Cover.GRAVEL_ROOF)
ROOF_SHARES = {
    "perimeter blocks": (0.6, 0.2, 0.15, 0.05),
    "slabs": (0.1, 0.45, 0.05, 0.4),
    "towers": (0.0, 0.5, 0.1, 0.4),
    "houses": (0.8, 0.15, 0.03, 0.02),
    "terraces": (0.75, 0.2, 0.03, 0.02),
    "halls": (0.02, 0.3, 0.45, 0.23),
    "park": (1.0, 0.0, 0.0, 0.0),
}


@dataclass(frozen=True, eq=False)
class City:
    """A city on a fine raster, row 0 in the north, with the margin around it.

    Attributes
    ----------
    posting : float
        Metres from cell to cell.
    margin : int
        Cells around the city proper on each side.
    building : array, shape (rows, columns)
        Heights of buildings in metres; 0 where there is none.
    surface : array, shape (rows, columns)
        Heights of buildings and trees.
    cover : array, shape (rows, columns)
        `Cover` of each cell.
    brightness : array, shape (rows, columns)
        How bright a cell is among those of its cover, standard normal; the same all over a roof.
    walls : Walls
        The walls.
    """

    posting: float
    margin: int
    building: NDArray[np.float32]
    surface: NDArray[np.float32]
    cover: NDArray[np.uint8]
    brightness: NDArray[np.float32]
    walls: Walls

    @property
    def raster(self) -> Raster:
        """The raster, in metres from the south-western corner of the city proper."""
        return Raster(self.building.shape[0], self.posting, self.margin * self.posting)

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the city proper."""
        rows, columns = self.building.shape
        return slice(self.margin, rows - self.margin), slice(self.margin, columns - self.margin)


def make_city(extent: float, seed: int, *, posting: float = 2.5) -> City:
    """Make a city.

    Parameters
    ----------
    extent : float
        Width and height in metres.
    seed : int
        The same seed makes the same city.
    posting : float
        Metres from cell to cell.

    Returns
    -------
    City
        With a margin of 160 m around it.

    Raises
    ------
    ValueError
        If the city would have no whole number of cells of 10 m, or these no whole number of
        the fine ones.
    """
    for name, value, unit in (("an extent", extent, 20.0), ("cells", 10.0, posting)):
        if not (posting > 0.0 and value > 0.0 and (value / unit) % 1.0 == 0.0):
            msg = f"found {name} of {value:g} m, expected a whole number of {unit:g} m"
            raise ValueError(msg)
    random = np.random.default_rng([seed, 6])
    blocks, boxes = plan_city(extent, random)
    river = _river(extent, random) if random.random() < 0.4 else None
    return build_city(extent, blocks, boxes, random, posting=posting, river=river)


def _river(extent: float, random: np.random.Generator) -> tuple[float, float, float, float, float]:
    """Draw a river straight through a city, as a rectangle."""
    x, y = extent * random.uniform(0.2, 0.8, 2)
    return x, y, 4.0 * extent, float(random.uniform(25.0, 60.0)), float(random.uniform(0.0, np.pi))


def build_city(
    extent: float,
    blocks: list[Block],
    boxes: Boxes,
    random: np.random.Generator,
    *,
    posting: float = 2.5,
    river: tuple[float, float, float, float, float] | None = None,
) -> City:
    """Build a planned city on a raster.

    Parameters
    ----------
    extent : float
        Width and height in metres.
    blocks : list of Block
        Where gardens, courtyards and trees are.
    boxes : Boxes
        The buildings.
    random : numpy.random.Generator
        Source of the random numbers: ground, trees and roofs.
    posting : float
        Metres from cell to cell.
    river : tuple of float, optional
        Centre, length, width and angle. What is built there is not built.

    Returns
    -------
    City
    """
    margin = round(MARGIN / posting)
    cells = round(extent / posting) + 2 * margin
    raster = Raster(cells, posting, margin * posting)
    district = np.full((cells, cells), NOTHING_DISTRICT, dtype=np.int8)
    for block in blocks:
        window, inside = raster.rectangle(*block[:5])
        district[window][inside] = block.district
    water = np.zeros(district.shape, dtype=bool)
    if river is not None:
        window, inside = raster.rectangle(*river)
        water[window][inside] = True
    building = np.zeros(district.shape, dtype=np.float32)
    owner = np.full(district.shape, -1, dtype=np.int64)
    built = np.ones(boxes.x.size, dtype=bool)
    for number in range(built.size):
        x, y, length, width, angle, height, _ = (float(column[number]) for column in boxes)
        window, inside = raster.rectangle(x, y, length, width, angle)
        built[number] = not water[window][inside].any()
        higher = inside & (building[window] < height) & built[number]
        building[window][higher] = height
        owner[window][higher] = number
    crowns = _trees(raster, district, (building > 0.0) | water, blocks, random)
    surface = np.maximum(building, crowns)
    cover = _ground(district, water, random)
    cover[crowns > 0.0] = Cover.TREE
    brightness = random.standard_normal(cover.shape).astype(np.float32)
    if boxes.x.size:
        roofs, levels = _roofs(boxes, random), random.standard_normal(boxes.x.size)
        roof = building > 0.0
        cover[roof] = roofs[owner[roof]]
        brightness[roof] = levels[owner[roof]]
    walls = walls_of(boxes, built, raster, building)
    return City(posting, margin, building, surface, cover, brightness, walls)


def _roofs(boxes: Boxes, random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the roof of each building."""
    edges = np.cumsum([ROOF_SHARES[each.name] for each in DISTRICTS], axis=1)[boxes.district]
    drawn = (random.random(boxes.x.size)[:, None] > edges).sum(axis=1)
    roofs: NDArray[np.uint8] = np.array(ROOFS, dtype=np.uint8)[np.minimum(drawn, len(ROOFS) - 1)]
    return roofs


def _ground(
    district: NDArray[np.int8], water: NDArray[np.bool_], random: np.random.Generator
) -> NDArray[np.uint8]:
    """Cover the ground: streets between the blocks, patches of green and paving in them."""
    rough = gaussian_filter(random.standard_normal(district.shape), 2.5)
    # The rank of smooth noise: patches that make up any wanted share.
    rank = np.argsort(np.argsort(rough, axis=None)).reshape(rough.shape) / rough.size
    green = np.array([each.green for each in DISTRICTS] + [0.25])[district]
    cover = np.where(rank < green, Cover.GRASS, Cover.PAVING).astype(np.uint8)
    cover[(district == NOTHING_DISTRICT) & (cover == Cover.PAVING)] = Cover.ASPHALT
    cover[(rank < 0.04) & (district != NOTHING_DISTRICT)] = Cover.SOIL
    cover[water] = Cover.WATER
    return cover


def _trees(
    raster: Raster,
    district: NDArray[np.int8],
    taken: NDArray[np.bool_],
    blocks: list[Block],
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Plant trees in the blocks and a few along the streets; return heights of their crowns."""
    crowns = np.zeros(district.shape, dtype=np.float32)
    density = np.array([each.trees for each in DISTRICTS] + [10.0])[district]
    extent = raster.cells * raster.posting
    most = max(float(density.max()), 1.0)
    count = int(most * extent**2 / 1e4) if blocks else 0
    for x, y, luck in random.random((count, 3)):
        row, column = int(y * raster.cells), int(x * raster.cells)
        if taken[row, column] or luck * most > density[row, column]:
            continue
        radius = float(random.uniform(1.8, 4.5))
        height = float(np.clip(random.normal(2.4 * radius + 2.0, 2.0), 4.0, 22.0))
        east, north = x * extent - raster.margin, extent * (1.0 - y) - raster.margin
        window, right, up = raster.window(east, north, radius, radius)
        inside = np.clip(1.0 - (right**2 + up**2) / radius**2, 0.0, None)
        crown = np.where(taken[window], 0.0, height * inside**0.25)
        np.maximum(crowns[window], crown, out=crowns[window])
    return crowns


def in_cells(values: NDArray[np.floating], cells: int) -> NDArray[np.float64]:
    """Average blocks of `cells` x `cells`, over the last two axes."""
    rows, columns = values.shape[-2] // cells, values.shape[-1] // cells
    parts = values.reshape(*values.shape[:-2], rows, cells, columns, cells)
    return np.asarray(parts.mean(axis=(-3, -1)), dtype=np.float64)
