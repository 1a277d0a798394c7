"""How parts of simulated cities are built: districts, their blocks and boxes; styles of cities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

STOREY = 3.0
"""Metres from floor to floor."""
LOWEST, HIGHEST = 3.0, 40.0
"""Heights of buildings in metres."""


class Block(NamedTuple):
    """The ground between four streets."""

    x: float  # Centre in metres
    y: float  # Centre in metres
    length: float  # Sides in metres
    width: float  # Sides in metres
    angle: float  # Direction of the length in radians, counterclockwise from east
    district: int  # Index into `DISTRICTS`


Row = tuple[float, float, float, float, float]
"""Place of a box in its block (along, across), its length, width and height in metres."""
Fill = Callable[[Block, np.random.Generator], list[Row]]


@dataclass(frozen=True)
class District:
    """How a part of a city is built."""

    name: str  # What it is called
    length: float  # Of its blocks in metres
    width: float  # Of its blocks in metres
    street: float  # Width of its streets from block to block in metres
    fill: Fill  # Puts boxes on a block
    green: float  # Share of unbuilt ground in its blocks that is grass
    trees: float  # Trees per hectare of its blocks
    centre: float  # How common it is in the middle of a city, and at its edge
    edge: float  # How common it is in the middle of a city, and at its edge


def _storeys(random: np.random.Generator, mean: float, spread: float) -> float:
    """Draw the height of a building of whole storeys and a roof."""
    count = max(round(float(random.normal(mean, spread))), 1)
    height = STOREY * count + float(random.uniform(0.0, 2.0))
    return float(np.clip(height, LOWEST, HIGHEST))


def _pieces(random: np.random.Generator, length: float, usual: float) -> list[tuple[float, float]]:
    """Part a front of buildings into houses; return middle and length of each."""
    count = max(round(length / (usual * float(random.uniform(0.8, 1.25)))), 1)
    edges = np.linspace(-0.5 * length, 0.5 * length, count + 1)
    return [(0.5 * (a + b), b - a) for a, b in pairwise(edges.tolist())]


def _perimeter(block: Block, random: np.random.Generator) -> list[Row]:
    """Houses wall to wall around a courtyard."""
    depth = float(random.uniform(11.0, 14.0))
    mean = float(random.normal(5.6, 0.9))
    rows: list[Row] = []
    for side in (-1.0, 1.0):
        for along, length in _pieces(random, block.length, 22.0):
            if random.random() > 0.06:
                place = side * 0.5 * (block.width - depth)
                rows.append((along, place, length, depth, _storeys(random, mean, 0.5)))
        for across, length in _pieces(random, block.width - 2 * depth, 22.0):
            if random.random() > 0.12:
                place = side * 0.5 * (block.length - depth)
                rows.append((place, across, depth, length, _storeys(random, mean, 0.5)))
    if random.random() < 0.4:
        shift = float(random.uniform(-0.15, 0.15)) * block.length
        size = (0.35 * block.length, 0.25 * block.width)
        rows.append((shift, 0.0, *size, _storeys(random, 1.5, 0.8)))
    return rows


def _slabs(block: Block, random: np.random.Generator) -> list[Row]:
    """Parallel blocks of flats in the green, some of them high."""
    mean = float(random.choice([4.0, 5.0, 8.0, 11.0], p=[0.35, 0.3, 0.25, 0.1]))
    gap = 22.0 + 2.0 * mean
    count = max(int((block.width - 12.0) // gap) + 1, 1)
    places = (np.arange(count) - 0.5 * (count - 1)) * gap
    length = block.length * float(random.uniform(0.6, 0.9))
    shift = float(random.uniform(-0.5, 0.5)) * (block.length - length)
    return [
        (
            shift,
            float(place),
            length,
            float(random.uniform(10.5, 13.0)),
            _storeys(random, mean, 0.4),
        )
        for place in places
    ]


def _towers(block: Block, random: np.random.Generator) -> list[Row]:
    """Point blocks."""
    rows: list[Row] = []
    for along in (-0.27, 0.27):
        side = float(random.uniform(17.0, 24.0))
        across = float(random.uniform(-0.2, 0.2)) * block.width
        rows.append((along * block.length, across, side, side, _storeys(random, 10.5, 1.8)))
    return rows


def _houses(block: Block, random: np.random.Generator) -> list[Row]:
    """Detached houses in gardens, on both sides of the block."""
    rows: list[Row] = []
    for side in (-1.0, 1.0):
        for along, length in _pieces(random, block.length, 19.0):
            if random.random() < 0.07:
                continue
            depth = float(random.uniform(8.0, 12.0))
            front = min(float(random.uniform(8.0, 13.0)), length - 3.0)
            setback = float(random.uniform(4.0, 8.0))
            across = side * (0.5 * block.width - setback - 0.5 * depth)
            rows.append((along, across, front, depth, _storeys(random, 2.0, 0.5)))
    return rows


def _terraces(block: Block, random: np.random.Generator) -> list[Row]:
    """Rows of houses with gardens between them."""
    rows: list[Row] = []
    for side in (-1.0, 1.0):
        mean = float(random.normal(2.6, 0.3))
        for along, length in _pieces(random, block.length, 38.0):
            if random.random() > 0.05:
                across = side * (0.5 * block.width - 8.0)
                height = _storeys(random, mean, 0.2)
                rows.append((along, across, length - 5.0, 9.0, height))
    return rows


def _halls(block: Block, random: np.random.Generator) -> list[Row]:
    """Workshops and warehouses on paved ground."""
    share = float(random.uniform(0.55, 0.8))
    return [
        (along, 0.0, length - 12.0, share * block.width, _storeys(random, 2.6, 0.9))
        for along, length in _pieces(random, block.length, 75.0)
        if random.random() > 0.1
    ]


def _nothing(_block: Block, _random: np.random.Generator) -> list[Row]:
    return []


# Ways of building that European cities have less of.

TOWER_MEDIAN, TOWER_SPREAD = 55.0, 0.6
"""Median height of a high-rise in metres, and the standard deviation of its logarithm: heights of
buildings in the centres of large cities are close to log-normal with a long tail (Schläpfer, M.,
Lee, J. and Bettencourt, L. (2015), Urban skylines, arXiv:1512.00946). One in 400 is above 300 m."""
TALLEST = 300.0


def _high_rises(block: Block, random: np.random.Generator) -> list[Row]:
    """Towers of any height on a common podium, or free on their plots."""
    rows: list[Row] = []
    if random.random() < 0.6:
        podium = float(random.uniform(0.7, 0.9))
        rows.append((0.0, 0.0, podium * block.length, podium * block.width, _storeys(random, 4, 1)))
    for along in (-0.28, 0.28):
        for across in (-0.22, 0.22):
            if random.random() < 0.25:
                continue
            height = float(random.lognormal(np.log(TOWER_MEDIAN), TOWER_SPREAD))
            length, width = random.uniform(18.0, 34.0, 2).tolist()
            place = (along * block.length, across * block.width)
            rows.append((*place, length, width, float(np.clip(height, 15.0, TALLEST))))
    return rows


def _compact(block: Block, random: np.random.Generator) -> list[Row]:
    """Narrow houses wall to wall, two rows back to back, few courtyards."""
    mean = float(random.uniform(2.0, 5.0))
    return [
        (along, side * 0.25 * block.width, length, 0.45 * block.width, _storeys(random, mean, 0.9))
        for side in (-1.0, 1.0)
        for along, length in _pieces(random, block.length, 10.0)
        if random.random() > 0.08
    ]


def _informal(block: Block, random: np.random.Generator) -> list[Row]:
    """Small irregular houses of one or two storeys with lanes of a metre or two."""
    rows: list[Row] = []
    step = 8.0
    for along in np.arange(-0.5 * block.length + 4.0, 0.5 * block.length, step).tolist():
        for across in np.arange(-0.5 * block.width + 4.0, 0.5 * block.width, step).tolist():
            if random.random() < 0.1:
                continue
            length, width = random.uniform(5.0, 7.5, 2).tolist()
            shift = random.uniform(-0.5, 0.5, 2).tolist()
            height = float(random.uniform(2.3, 5.5))
            rows.append((along + shift[0], across + shift[1], length, width, height))
    return rows


DISTRICTS = (
    District("perimeter blocks", 95.0, 62.0, 17.0, _perimeter, 0.35, 25.0, 5.0, 0.3),
    District("slabs", 110.0, 95.0, 18.0, _slabs, 0.75, 45.0, 1.0, 1.2),
    District("towers", 110.0, 75.0, 18.0, _towers, 0.6, 40.0, 0.7, 0.4),
    District("houses", 130.0, 62.0, 12.0, _houses, 0.75, 50.0, 0.0, 3.0),
    District("terraces", 120.0, 55.0, 12.0, _terraces, 0.7, 35.0, 0.6, 1.6),
    District("halls", 160.0, 85.0, 20.0, _halls, 0.15, 6.0, 0.4, 1.0),
    District("park", 150.0, 110.0, 6.0, _nothing, 0.97, 80.0, 0.4, 0.7),
    District("high-rises", 120.0, 80.0, 22.0, _high_rises, 0.2, 12.0, 0.0, 0.0),
    District("compact", 80.0, 32.0, 6.0, _compact, 0.1, 4.0, 0.0, 0.0),
    District("informal", 70.0, 50.0, 4.0, _informal, 0.15, 3.0, 0.0, 0.0),
)
"""Parts of cities. Those that are rare in European ones come last, and have no weight there."""

ROOF_SHARES = {
    "perimeter blocks": (0.6, 0.2, 0.15, 0.05),
    "slabs": (0.1, 0.45, 0.05, 0.4),
    "towers": (0.0, 0.5, 0.1, 0.4),
    "houses": (0.8, 0.15, 0.03, 0.02),
    "terraces": (0.75, 0.2, 0.03, 0.02),
    "halls": (0.02, 0.3, 0.45, 0.23),
    "park": (1.0, 0.0, 0.0, 0.0),
    "high-rises": (0.0, 0.45, 0.15, 0.4),
    "compact": (0.4, 0.2, 0.1, 0.3),
    "informal": (0.05, 0.05, 0.85, 0.05),
}
"""Roofs of tiles, dark ones, of metal and of gravel."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How common each kind of district is in a city, and how high it builds."""

    # By name of the district, how common it is in the middle of the city and at its edge; others do
    # not occur. None takes those of `DISTRICTS`
    weights: Mapping[str, tuple[float, float]] | None = None
    scale: float = 1.0  # Factor of all heights
    # Height in metres up to which there are buildings; the higher, the more is simulated around the
    # city
    tallest: float = HIGHEST

    def commonness(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Return weights in the middle and at the edge, shape (2, districts)."""
        pairs = [
            (each.centre, each.edge)
            if self.weights is None
            else self.weights.get(each.name, (0, 0))
            for each in DISTRICTS
        ]
        return np.array(pairs, np.float64).T

    @property
    def margin(self) -> float:
        """Metres to simulate around a city: layover of the tallest at 39 degrees."""
        return 160.0 if self.tallest <= 60.0 else 20.0 * round(1.2 * self.tallest / 20.0)


_SUPERTALL = Style(
    weights={
        "high-rises": (4.0, 1.0),
        "towers": (2.0, 1.0),
        "slabs": (0.5, 1.0),
        "park": (0.5, 0.8),
    },
    scale=2.5,
    tallest=2.5 * TALLEST,
)
STYLES = {
    "european": Style(),
    "north american": Style(
        weights={
            "high-rises": (5.0, 0.0),
            "halls": (1.0, 1.2),
            "slabs": (0.8, 0.6),
            "houses": (0.0, 4.0),
            "terraces": (0.3, 0.6),
            "park": (0.5, 0.8),
        },
        tallest=TALLEST,
    ),
    "east asian": Style(
        weights={
            "high-rises": (3.0, 0.4),
            "towers": (2.5, 1.5),
            "slabs": (1.0, 2.0),
            "compact": (1.5, 2.0),
            "halls": (0.3, 1.0),
            "park": (0.5, 0.8),
        },
        tallest=TALLEST,
    ),
    "mediterranean": Style(
        weights={
            "compact": (4.0, 2.0),
            "perimeter blocks": (3.0, 0.6),
            "slabs": (0.6, 1.2),
            "houses": (0.0, 1.0),
            "halls": (0.3, 0.8),
            "park": (0.4, 0.6),
        }
    ),
    "informal": Style(weights={"informal": (1.0, 1.0), "halls": (0.0, 0.15), "park": (0.1, 0.1)}),
    "supertall": _SUPERTALL,
    "taller": replace(_SUPERTALL, scale=1.6, tallest=1.6 * TALLEST),
}
"""Styles of cities. The last three are for tests of what a network does beyond its training."""
