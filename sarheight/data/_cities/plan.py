"""The plan of a simulated city: districts, blocks of streets, and boxes on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from sarheight.data._cities.districts import DISTRICTS, Block

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Boxes", "boxes_of", "plan_city"]

Inside = Callable[["NDArray[np.float64]"], "NDArray[np.bool_]"]
"""Tells which points, shape (n, 2), lie in a district."""
APART = 420.0
"""Metres between the middles of districts, about."""
BOULEVARD = 14.0
"""How much nearer to the middle of its own district than to the next a building is, in metres."""


class Boxes(NamedTuple):
    """Buildings: upright boxes on level ground.

    Attributes
    ----------
    x, y : array, shape (n,)
        Centres in metres, eastwards and northwards.
    length, width : array, shape (n,)
        Sides in metres; the length runs along `angle`.
    angle : array, shape (n,)
        Direction of the length in radians, counterclockwise from east.
    height : array, shape (n,)
        Metres above ground.
    district : array, shape (n,)
        Index into `DISTRICTS`.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    length: NDArray[np.float64]
    width: NDArray[np.float64]
    angle: NDArray[np.float64]
    height: NDArray[np.float64]
    district: NDArray[np.int64]


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
    seeds: NDArray[np.float64], extent: float, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the kind of each district: dense ones in the middle of the city, as a rule."""
    middle = extent * random.uniform(0.3, 0.7, 2)
    away = np.hypot(*(seeds - middle).T) / (0.6 * extent)
    outward = np.clip(away, 0.0, 1.0)[:, None]
    common = np.array([(each.centre, each.edge) for each in DISTRICTS]).T
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


def _boxes(block: Block, inside: Inside, random: np.random.Generator) -> list[tuple[float, ...]]:
    """Fill a block; keep what lies in the district with all its corners."""
    turn = np.array(
        [
            [np.cos(block.angle), np.sin(block.angle)],
            [-np.sin(block.angle), np.cos(block.angle)],
        ]
    )
    found: list[tuple[float, ...]] = []
    for along, across, length, width, height in DISTRICTS[block.district].fill(block, random):
        corners = [
            (along + a * length, across + b * width) for a in (-0.5, 0.5) for b in (-0.5, 0.5)
        ]
        if inside(np.array(corners) @ turn + (block.x, block.y)).all():
            x, y = np.array([along, across]) @ turn + (block.x, block.y)
            found.append((x, y, length, width, block.angle, height, block.district))
    return found


def plan_city(extent: float, random: np.random.Generator) -> tuple[list[Block], Boxes]:
    """Plan a city.

    Parts of the city are Voronoi cells with a street grid and a way of building of their own.
    Dense ones are more common in the middle. Heights vary from block to block and from house to
    house; they are those of European cities, 3 to 40 m.

    Parameters
    ----------
    extent : float
        Width and height of the city in metres. What is planned reaches beyond it.
    random : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    list of Block, Boxes
        Blocks, and the buildings on them.
    """
    seeds = _seeds(extent, random)
    kinds = _kinds(seeds, extent, random)
    nearest = cKDTree(seeds)
    blocks: list[Block] = []
    boxes: list[tuple[float, ...]] = []
    for place, (seed, kind) in enumerate(zip(seeds, kinds.tolist(), strict=True)):
        inside = _inside(place, nearest)
        laid = _blocks(seed, kind, inside, random)
        blocks += laid
        for block in laid:
            boxes += _boxes(block, inside, random)
    return blocks, boxes_of(boxes)
