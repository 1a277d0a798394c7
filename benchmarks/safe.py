"""Do others see the same in a simulated Sentinel-1 product? Our plain geocoding and sarsen's.

A product is simulated from a real annotation and a real elevation model, written, and geocoded
plainly by sarsen and by us. What is compared, away from layover and shadow, is where in the image
both read the value of a cell, and which sigma0 they find there; see `benchmarks._real.sarsen` for
what they do in different ways. The image has no speckle, so that a difference in decibels is one of
geometry and calibration; a column with speckle shows what the same shift does to it.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks._figures import Value, record
from benchmarks._mountains.scenes import ALPS, SOCAL_DESCENDING, data_file
from benchmarks._real.sarsen import Comparison, compare
from benchmarks.synthetic.safe_product import write_product
from sarheight import dem as elevation
from sarheight import illumination
from sarheight.geometry.placement import crop_grid_to_dem
from sarheight.sentinel1 import read_grid, read_orbit

__all__ = ["main"]

WIDTH = 120
GOAL = 0.1
"""Pixels, and decibels."""
LOOKS = {"GRD": 4.4, "SLC": 1.0}
SEED = 0


@dataclass(frozen=True)
class Case:
    """A product.

    Attributes
    ----------
    name : str
        As in the keys of the figures.
    annotation, dem : str
        Files of the real data.
    group : str
        Swath and polarisation.
    rows, columns : slice
        The part of the elevation model: of an SLC, what one burst shows but for its ends, which
        sarsen cuts off.
    """

    name: str
    annotation: str
    dem: str
    group: str
    rows: slice
    columns: slice


CASES = (
    Case(
        "oetztal_grd",
        ALPS,
        "dem/srtm3_oetztal.tif",
        "IW/VV",
        slice(100, 300),
        slice(200, 400),
    ),
    Case(
        "arco_grd",
        ALPS,
        "dem/srtm_garda_arco_webmerc.tif",
        "IW/VV",
        slice(200, 500),
        slice(200, 500),
    ),
    Case(
        "big_tujunga_slc",
        SOCAL_DESCENDING,
        "dem/srtm1_bigtujunga_30m.tif",
        "IW2/VV",
        slice(150, 400),
        slice(700, 950),
    ),
)


def _play(case: Case, folder: Path, data: str | None, looks: float | None) -> Comparison:
    """Simulate a product and geocode it twice."""
    annotation = data_file(case.annotation, data)
    # As in `benchmarks._mountains.scenes`, the geoid is set aside: it would only lift the place.
    heights = elevation.open_dem(data_file(case.dem, data), vertical="ellipsoidal")
    heights = heights[case.rows, case.columns]
    orbit = read_orbit(annotation)
    grid = crop_grid_to_dem(heights, read_grid(annotation), orbit)
    scene = illumination.simulate(heights, grid, orbit, looks=looks, seed=SEED)
    path = folder / f"{case.name}-{looks}.SAFE"
    write_product(scene, path, like=annotation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sarsen and of what it uses
        return compare(path, case.group, heights)


def _colour(value: float) -> str:
    return f"[{'green' if value < GOAL else 'red'}]{value:.4f}[/]"


def _table(clean: dict[str, Comparison], speckled: dict[str, Comparison]) -> Table:
    table = Table(
        title="plain geocoding by us and by sarsen, away from layover and shadow",
        caption=f"root mean squares; green: below the goal of {GOAL} pixels and dB",
    )
    table.add_column("")
    for title in (
        "cells",
        "shift\npixels",
        "largest\nshift",
        "shift without\nour shear",
        "and sarsen\nconverged",
        "sigma0\ndB",
        "bias\ndB",
        "dB with\nspeckle",
    ):
        table.add_column(title, justify="right")
    for name, each in clean.items():
        table.add_row(
            name,
            str(each.cells),
            _colour(each.shift),
            f"{each.largest_shift:.4f}",
            f"{each.shift_without_shear:.4f}",
            f"{each.shift_same_conventions:.4f}",
            _colour(each.decibels),
            f"{each.bias:+.4f}",
            f"{speckled[name].decibels:.3f}",
        )
    return table


def _figures(clean: dict[str, Comparison], speckled: dict[str, Comparison]) -> dict[str, Value]:
    figures: dict[str, Value] = {
        "safe.geocoding_vs_sarsen_shift": max(each.shift for each in clean.values()),
        "safe.geocoding_vs_sarsen_db": max(each.decibels for each in clean.values()),
    }
    for name, each in clean.items():
        figures |= {
            f"safe.{name}.shift": each.shift,
            f"safe.{name}.shift_largest": each.largest_shift,
            f"safe.{name}.shift_without_shear": each.shift_without_shear,
            f"safe.{name}.shift_same_conventions": each.shift_same_conventions,
            f"safe.{name}.db": each.decibels,
            f"safe.{name}.db_bias": each.bias,
            f"safe.{name}.db_speckled": speckled[name].decibels,
        }
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.safe", description=__doc__)
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    chosen = parser.parse_args(arguments)
    console = Console()
    # A table that is squeezed cannot be read.
    console.width = max(console.width, WIDTH)
    clean: dict[str, Comparison] = {}
    speckled: dict[str, Comparison] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            with console.status(case.name):
                looks = LOOKS["SLC" if case.group != "IW/VV" else "GRD"]
                clean[case.name] = _play(case, Path(folder), chosen.data, None)
                speckled[case.name] = _play(case, Path(folder), chosen.data, looks)
    console.print(_table(clean, speckled))
    if chosen.save:
        record(_figures(clean, speckled), "python -m benchmarks.safe --save")


if __name__ == "__main__":
    main()
