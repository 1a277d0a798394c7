"""Simulated cities for the table of building heights: made once, and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.synthetic.city_images import CitySettings, simulated_city
from sarheight.buildings import open_stack, write_stack
from sarheight.learning import Part

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

__all__ = ["Cities", "Size", "make_cities"]

FIRST_SEED = {"training": 0, "validation": 1000, "test": 2000}
"""Seeds from which cities are counted: no city is in two parts."""


@dataclass(frozen=True)
class Size:
    """How much is simulated, and how long networks are trained.

    Attributes
    ----------
    cells : int
        Width and height of a city in cells of 10 m.
    training, validation, test : int
        Cities.
    epochs : int
        Of each training.
    stride : int
        Cells from one patch for training to the next.
    """

    cells: int
    training: int
    validation: int
    test: int
    epochs: int
    stride: int


@dataclass(frozen=True)
class Cities:
    """Cities for training, for choosing the epoch, and for the test.

    Attributes
    ----------
    training, validation, test : list of xarray.Dataset
        City stacks.
    """

    training: list[xr.Dataset]
    validation: list[xr.Dataset]
    test: list[xr.Dataset]

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
    """Simulate cities, or open those that are there.

    Parameters
    ----------
    size : Size
        How many, and how large.
    folder : Path
        Where they are kept.
    report : callable
        Told which one is made.

    Returns
    -------
    Cities
    """
    found: dict[str, list[xr.Dataset]] = {}
    for part, first in FIRST_SEED.items():
        for seed in range(first, first + getattr(size, part)):
            path = folder / f"city_{size.cells}_{seed}.zarr"
            if not path.exists():
                report(f"simulate city {seed}, for {part}")
                path.parent.mkdir(parents=True, exist_ok=True)
                write_stack(simulated_city(CitySettings(cells=size.cells), seed=seed), path)
            found.setdefault(part, []).append(open_stack(path).load())
    return Cities(**found)
