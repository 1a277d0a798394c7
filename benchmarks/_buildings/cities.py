"""Simulated cities for the table of building heights: made once, and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sarheight.buildings import open_stack, write_stack
from sarheight.learning import Part
from tests.worlds.city_images import CitySettings, simulated_city
from tests.worlds.city_radar import RadarSettings

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

__all__ = [
    "OUTSIDE",
    "Cities",
    "Size",
    "make_cities",
]

FIRST_SEED = {"training": 0, "validation": 1000, "test": 2000}
"""Seeds from which cities are counted: no city is in two parts."""
OUTSIDE_SEED = 3000
WIDE = CitySettings.wide()
OUTSIDE = {
    "supertall": CitySettings.wide(styles=("supertall",)),
    "informal": CitySettings.wide(styles=("informal",)),
    "steep_radar": CitySettings.wide(incidences=(21.0, 24.0)),
    "bright_radar": CitySettings.wide(radar=RadarSettings(level=5.0), levels=0.0),
    "far_north": CitySettings.wide(latitudes=(66.0, 70.0)),
}
"""Worlds that are outside the range of training in one respect each: two and a half times taller
towers, a way of building that was never seen, a steeper incidence, a brighter radar, a lower sun.
The scale of the novelty was chosen in other worlds, but after results here with a former scale had
been seen; nothing else was chosen since."""


@dataclass(frozen=True)
class Size:
    """How much is simulated, and how long networks are trained."""

    cells: int  # Width and height of a city in cells of 10 m
    training: int  # Cities, likewise below
    validation: int
    test: int
    outside: int  # Cities of each world outside the range of training
    epochs: int  # Epochs of each training
    stride: int  # Cells from one patch for training to the next


@dataclass(frozen=True)
class Cities:
    """Cities for training, for choosing the epoch, and for the tests."""

    training: list[xr.Dataset]  # City stacks
    validation: list[xr.Dataset]
    test: list[xr.Dataset]
    # Cities outside the range of training, by the world in `OUTSIDE`
    outside: dict[str, list[xr.Dataset]]

    @property
    def places(self) -> tuple[list[list[Part]], list[list[Part]]]:
        """For the cities of training and validation, one after the other: parts for each."""
        whole = [[Part.whole(city)] for city in (*self.training, *self.validation)]
        count = len(self.training)
        return (
            [parts if number < count else [] for number, parts in enumerate(whole)],
            [parts if number >= count else [] for number, parts in enumerate(whole)],
        )


def make_cities(size: Size, folder: Path, report: Callable[[str], None]) -> Cities:
    """Simulate cities, or open those that are there."""
    found = {
        part: _world_cities(part, WIDE, first, getattr(size, part), size.cells, folder, report)
        for part, first in FIRST_SEED.items()
    }
    outside = {
        name: _world_cities(name, world, OUTSIDE_SEED, size.outside, size.cells, folder, report)
        for name, world in OUTSIDE.items()
    }
    return Cities(**found, outside=outside)


def _world_cities(
    name: str,
    world: CitySettings,
    first: int,
    count: int,
    cells: int,
    folder: Path,
    report: Callable[[str], None],
) -> list[xr.Dataset]:
    """Simulate cities of a world with seeds from `first` on, or open those that are there."""
    found = []
    for seed in range(first, first + count):
        path = folder / f"{name}_{cells}_{seed}.zarr"
        if not path.exists():
            report(f"simulate city {seed}: {name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_stack(simulated_city(replace(world, cells=cells), seed=seed), path)
        found.append(open_stack(path).load())
    return found
