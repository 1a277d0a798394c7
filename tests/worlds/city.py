"""Simulated cities: districts, streets, boxes, trees, on a fine raster."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from tests.worlds.city_districts import DISTRICTS, LOWEST, ROOF_SHARES, STYLES, Block, Style

Window = tuple[slice, slice]


class Raster:
    """A raster of `cells` x `cells` whose south-western corner is at (-margin, -margin)."""

    def __init__(self, cells: int, posting: float, margin: float) -> None:
        self.cells, self.posting, self.margin = cells, posting, margin

    def rectangle(
        self, x: float, y: float, length: float, width: float, angle: float
    ) -> tuple[Window, NDArray[np.bool_]]:
        """Return a window, and which of its cells have their centre in a turned rectangle."""
        cosine, sine = math.cos(angle), math.sin(angle)
        reach_x = 0.5 * (length * abs(cosine) + width * abs(sine))
        reach_y = 0.5 * (length * abs(sine) + width * abs(cosine))
        window, east, north = self.window(x, y, reach_x, reach_y)
        along = east * cosine + north * sine
        across = north * cosine - east * sine
        return window, (np.abs(along) <= 0.5 * length) & (np.abs(across) <= 0.5 * width)

    def window(
        self, x: float, y: float, reach_x: float, reach_y: float
    ) -> tuple[Window, NDArray[np.float64], NDArray[np.float64]]:
        """Return the cells around a place, and how far they are to its east and north."""
        column, row = self.place(x, y)
        step_x, step_y = reach_x / self.posting + 1.0, reach_y / self.posting + 1.0
        top, bottom = max(int(row - step_y), 0), min(int(row + step_y) + 2, self.cells)
        left, right = max(int(column - step_x), 0), min(int(column + step_x) + 2, self.cells)
        rows = np.arange(top, max(bottom, top), dtype=np.float64)
        columns = np.arange(left, max(right, left), dtype=np.float64)
        east = (columns[None, :] - column) * self.posting
        north = (row - rows[:, None]) * self.posting
        return (slice(top, max(bottom, top)), slice(left, max(right, left))), east, north

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the fractional column and row of a place; whole numbers are centres of cells."""
        column = (x + self.margin) / self.posting - 0.5
        return column, self.cells - 0.5 - (y + self.margin) / self.posting

    def values_at(
        self, values: NDArray[np.generic], x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> NDArray[np.generic]:
        """Look up a raster at places; beyond its edge the last cell goes on."""
        column = np.rint((x + self.margin) / self.posting - 0.5).astype(int)
        row = np.rint(self.cells - 0.5 - (y + self.margin) / self.posting).astype(int)
        last = self.cells - 1
        found: NDArray[np.generic] = values[np.clip(row, 0, last), np.clip(column, 0, last)]
        return found


# The plan of a simulated city: districts, blocks of streets, and boxes on them.

Inside = Callable[["NDArray[np.float64]"], "NDArray[np.bool_]"]
"""Tells which points, shape (n, 2), lie in a district."""
APART = 420.0
"""Metres between the middles of districts, about."""
BOULEVARD = 14.0
"""How much nearer to the middle of its own district than to the next a building is, in metres."""


class Boxes(NamedTuple):
    """Buildings: upright boxes on level ground."""

    x: NDArray[np.float64]  # Eastwards to the centre in metres; shape (n,)
    y: NDArray[np.float64]  # Northwards
    length: NDArray[np.float64]  # Sides in metres; the length runs along `angle`; shape (n,)
    width: NDArray[np.float64]  # Sides in metres; the length runs along `angle`; shape (n,)
    # Direction of the length in radians, counterclockwise from east; shape (n,)
    angle: NDArray[np.float64]
    height: NDArray[np.float64]  # Metres above ground; shape (n,)
    district: NDArray[np.int64]  # Index into `DISTRICTS`; shape (n,)


def boxes_of(rows: Sequence[Sequence[float]]) -> Boxes:
    """Make boxes of rows that hold what `Boxes` does, in its order."""
    x, y, length, width, angle, height, district = np.array(rows, np.float64).reshape(-1, 7).T
    return Boxes(x, y, length, width, angle, height, district.astype(np.int64))


def _seeds(extent: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Scatter the middles of districts over a city and a margin around it, shape (n, 2)."""
    count = round(extent / APART) + 2
    regular = (np.arange(count) - 0.5) * extent / (count - 2)
    x, y = np.meshgrid(regular, regular)
    shift = random.uniform(-0.35, 0.35, (count * count, 2)) * APART
    return np.stack([x.ravel(), y.ravel()], axis=1) + shift


def _kinds(
    seeds: NDArray[np.float64], extent: float, style: Style, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the kind of each district: dense ones in the middle of the city, as a rule."""
    middle = extent * random.uniform(0.3, 0.7, 2)
    away = np.hypot(*(seeds - middle).T) / (0.6 * extent)
    outward = np.clip(away, 0.0, 1.0)[:, None]
    common = style.commonness()
    weights = common[0] * (1.0 - outward) + common[1] * outward
    edges = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    drawn = random.random(len(seeds))[:, None]
    kinds: NDArray[np.int64] = np.minimum((drawn > edges).sum(axis=1), len(DISTRICTS) - 1)
    return kinds


def _blocks(
    seed: NDArray[np.float64], kind: int, inside: Inside, random: np.random.Generator
) -> list[Block]:
    """Lay a grid of streets over a district; keep the blocks whose middle lies in it."""
    district = DISTRICTS[kind]
    angle = float(random.uniform(0.0, np.pi))
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    pitch = (district.length + district.street, district.width + district.street)
    reach = [int(1.5 * APART // step) + 1 for step in pitch]
    i, j = np.meshgrid(*(np.arange(-each, each + 1) for each in reach))
    places = seed + i.reshape(-1, 1) * pitch[0] * along + j.reshape(-1, 1) * pitch[1] * across
    size = (district.length, district.width)
    return [Block(x, y, *size, angle, kind) for x, y in places[inside(places)].tolist()]


def _inside(place: int, nearest: cKDTree) -> Inside:
    """Make the test whether points, shape (n, 2), lie in a district and not in its outer street."""

    def test(points: NDArray[np.float64]) -> NDArray[np.bool_]:
        distances, which = (np.asarray(each) for each in nearest.query(points, k=2))
        found: NDArray[np.bool_] = distances[:, 1] - distances[:, 0] > BOULEVARD
        found &= which[:, 0] == place
        return found

    return test


def _boxes(
    block: Block, inside: Inside, scale: float, random: np.random.Generator
) -> list[tuple[float, ...]]:
    """Fill a block; keep what lies in the district with all its corners."""
    turn = np.array(
        [[np.cos(block.angle), np.sin(block.angle)], [-np.sin(block.angle), np.cos(block.angle)]]
    )
    boxes = np.array(list(DISTRICTS[block.district].fill(block, random))).reshape(-1, 5)
    middle, size = boxes[:, None, :2], boxes[:, None, 2:4]
    corners = middle + size * [(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]
    placed = (block.x, block.y)
    kept = inside(corners.reshape(-1, 2) @ turn + placed).reshape(-1, 4).all(axis=1)
    return [
        (x, y, length, width, block.angle, max(scale * height, LOWEST), block.district)
        for (x, y), (length, width, height) in zip(
            (boxes[kept, :2] @ turn + placed).tolist(), boxes[kept, 2:].tolist(), strict=True
        )
    ]


def plan_city(
    extent: float, random: np.random.Generator, style: Style = STYLES["european"]
) -> tuple[list[Block], Boxes]:
    """Plan a city.

    Parts of the city are Voronoi cells with a street grid and a way of building of their own.
    Dense ones are more common in the middle. Heights vary from block to block and from house to
    house; in European cities they are 3 to 40 m.
    """
    seeds = _seeds(extent, random)
    kinds = _kinds(seeds, extent, style, random)
    nearest = cKDTree(seeds)
    blocks: list[Block] = []
    boxes: list[tuple[float, ...]] = []
    for place, (seed, kind) in enumerate(zip(seeds, kinds.tolist(), strict=True)):
        inside = _inside(place, nearest)
        laid = _blocks(seed, kind, inside, random)
        blocks += laid
        for block in laid:
            boxes += _boxes(block, inside, style.scale, random)
    return blocks, boxes_of(boxes)


# The outer walls of a simulated city.

STEP = 2.5
"""Metres between the points of a wall."""
LEAST_RISE = 1.0
"""Metres by which a wall must rise above what is before it."""


@dataclass(frozen=True, eq=False)
class Walls:
    """Points along the outer walls of a city's buildings."""

    x: NDArray[np.float64]  # Eastwards to the foot of the wall in metres; shape (n,)
    y: NDArray[np.float64]  # Northwards
    length: NDArray[np.float64]  # Metres of wall for which the point stands; shape (n,)
    height: NDArray[np.float64]  # Metres from the foot to the top; shape (n,)
    # Direction that the wall faces, radians counterclockwise from east; shape (n,)
    normal: NDArray[np.float64]
    building: NDArray[np.int64]  # Index of the building; shape (n,)


def walls_of(
    boxes: Boxes, built: NDArray[np.bool_], raster: Raster, building: NDArray[np.floating]
) -> Walls:
    """Set points along all walls, and keep what rises above the place before it."""
    number = np.repeat(np.flatnonzero(built), 4)
    middle_x, middle_y, length, width, angle, height, _ = (column[number] for column in boxes)
    quarter = np.arange(number.size) % 4
    side, depth = np.where(quarter % 2, (length, width), (width, length))
    count = np.maximum(np.rint(side / STEP), 1.0).astype(np.int64)
    # From walls to their points.
    wall = np.repeat(np.arange(number.size), count)
    along = np.arange(wall.size) - np.repeat(np.cumsum(count) - count, count) + 0.5
    along = (along / count[wall] - 0.5) * side[wall]
    normal = (angle + 0.5 * math.pi * quarter)[wall]
    east, north = np.cos(normal), np.sin(normal)
    x = middle_x[wall] + 0.5 * depth[wall] * east - along * north
    y = middle_y[wall] + 0.5 * depth[wall] * north + along * east
    piece, top, owner = (side / count)[wall], height[wall], number[wall]
    away = raster.posting * np.stack([east, north])
    rise = top - raster.values_at(building, x + away[0], y + away[1])
    kept = rise > LEAST_RISE
    return Walls(x[kept], y[kept], piece[kept], rise[kept], normal[kept], owner[kept])


# Simulated cities: boxes on a street grid, trees and ground, on a fine raster.

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


@dataclass(frozen=True, eq=False)
class City:
    """A city on a fine raster, row 0 in the north, with the margin around it."""

    posting: float  # Metres from cell to cell
    margin: int  # Cells around the city proper on each side
    # Heights of buildings in metres; 0 where there is none; shape (rows, columns)
    building: NDArray[np.float32]
    surface: NDArray[np.float32]  # Heights of buildings and trees; shape (rows, columns)
    cover: NDArray[np.uint8]  # `Cover` of each cell; shape (rows, columns)
    # How bright a cell is among those of its cover, standard normal; the same all over a roof
    brightness: NDArray[np.float32]
    walls: Walls  # The walls

    @property
    def raster(self) -> Raster:
        """The raster, in metres from the south-western corner of the city proper."""
        return Raster(self.building.shape[0], self.posting, self.margin * self.posting)

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the city proper."""
        rows, columns = self.building.shape
        return slice(self.margin, rows - self.margin), slice(self.margin, columns - self.margin)


def make_city(
    extent: float, seed: int, *, posting: float = 2.5, style: str = "european", gables: bool = False
) -> City:
    """Make a city."""
    for name, value, unit in (("an extent", extent, 20.0), ("cells", 10.0, posting)):
        if not (posting > 0.0 and value > 0.0 and (value / unit) % 1.0 == 0.0):
            msg = f"found {name} of {value:g} m, expected a whole number of {unit:g} m"
            raise ValueError(msg)
    random = np.random.default_rng([seed, 6])
    chosen = STYLES[style]
    blocks, boxes = plan_city(extent, random, chosen)
    river = _river(extent, random) if random.random() < 0.4 else None
    return build_city(
        extent,
        blocks,
        boxes,
        random,
        posting=posting,
        river=river,
        margin=chosen.margin,
        gables=gables,
    )


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
    margin: float = MARGIN,
    gables: bool = False,
) -> City:
    """Build a planned city on a raster."""
    around = round(margin / posting)
    cells = round(extent / posting) + 2 * around
    raster = Raster(cells, posting, around * posting)
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
    if gables and boxes.x.size:
        for number in np.flatnonzero(built & (roofs == Cover.TILE_ROOF)).tolist():
            _pitch_roof(building, owner, raster, boxes, number)
        surface = np.maximum(building, crowns)
    return City(posting, around, building, surface, cover, brightness, walls)


PITCH, HIGHEST_GABLE = math.radians(35.0), 6.0
"""Usual slope of tiled roofs, and metres from eaves to ridge at most."""


def _pitch_roof(
    building: NDArray[np.float32],
    owner: NDArray[np.int64],
    raster: Raster,
    boxes: Boxes,
    number: int,
) -> None:
    """Raise the roof of a building to a ridge along its longer side."""
    x, y, length, width, angle, _, _ = (float(column[number]) for column in boxes)
    window, _ = raster.rectangle(x, y, length, width, angle)
    _, east, north = raster.window(
        x,
        y,
        0.5 * (length * abs(math.cos(angle)) + width * abs(math.sin(angle))),
        0.5 * (length * abs(math.sin(angle)) + width * abs(math.cos(angle))),
    )
    along = east * math.cos(angle) + north * math.sin(angle)
    across = north * math.cos(angle) - east * math.sin(angle)
    away, half = (across, 0.5 * width) if length >= width else (along, 0.5 * length)
    ridge = min(half * math.tan(PITCH), HIGHEST_GABLE)
    rise = ridge * np.clip(1.0 - np.abs(away) / half, 0.0, 1.0)
    building[window] += np.where(owner[window] == number, rise, 0.0).astype(np.float32)


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
