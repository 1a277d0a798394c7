"""How parts of a simulated city are built: typical blocks of European cities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

__all__ = ["DISTRICTS", "HIGHEST", "LOWEST", "Block", "District"]

STOREY = 3.0
"""Metres from floor to floor."""
LOWEST, HIGHEST = 3.0, 40.0
"""Heights of buildings in metres."""


class Block(NamedTuple):
    """The ground between four streets.

    Attributes
    ----------
    x, y : float
        Centre in metres.
    length, width : float
        Sides in metres.
    angle : float
        Direction of the length in radians, counterclockwise from east.
    district : int
        Index into `DISTRICTS`.
    """

    x: float
    y: float
    length: float
    width: float
    angle: float
    district: int


Row = tuple[float, float, float, float, float]
"""Place of a box in its block (along, across), its length, width and height in metres."""
Fill = Callable[[Block, np.random.Generator], list[Row]]


@dataclass(frozen=True)
class District:
    """How a part of a city is built.

    Parameters
    ----------
    name : str
        What it is called.
    length, width : float
        Of its blocks in metres.
    street : float
        Width of its streets from block to block in metres.
    fill : callable
        Puts boxes on a block.
    green : float
        Share of unbuilt ground in its blocks that is grass.
    trees : float
        Trees per hectare of its blocks.
    centre, edge : float
        How common it is in the middle of a city, and at its edge.
    """

    name: str
    length: float
    width: float
    street: float
    fill: Fill
    green: float
    trees: float
    centre: float
    edge: float


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


DISTRICTS = (
    District("perimeter blocks", 95.0, 62.0, 17.0, _perimeter, 0.35, 25.0, 5.0, 0.3),
    District("slabs", 110.0, 95.0, 18.0, _slabs, 0.75, 45.0, 1.0, 1.2),
    District("towers", 110.0, 75.0, 18.0, _towers, 0.6, 40.0, 0.7, 0.4),
    District("houses", 130.0, 62.0, 12.0, _houses, 0.75, 50.0, 0.0, 3.0),
    District("terraces", 120.0, 55.0, 12.0, _terraces, 0.7, 35.0, 0.6, 1.6),
    District("halls", 160.0, 85.0, 20.0, _halls, 0.15, 6.0, 0.4, 1.0),
    District("park", 150.0, 110.0, 6.0, _nothing, 0.97, 80.0, 0.4, 0.7),
)
"""Typical parts of European cities."""
