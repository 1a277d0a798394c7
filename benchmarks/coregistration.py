"""How well is a shift of the image found? On scenes that had no part in choosing settings.

The images are those of `benchmarks.core`: simulated from real elevation models and real orbits,
with patchy ground, speckle and noise. Their timing is then displaced by a random shift of up to 50
metres either way, which is to be found with the fine DEM, and with the coarse one that has a
height error. A DEM that is turned upside down shows whether a shift is found where there is none.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks._figures import Value, record
from benchmarks._mountains.scenes import Site, sites
from benchmarks._mountains.truth import coarse_dem, reflectivity, truth_of
from sarheight.coregistration import estimate_shift
from sarheight.scene import ground_sample_spacing

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.scene import Scene

__all__ = ["main"]

NAMES = ("big_tujunga_32", "leh_32", "arco_32")
SHIFTS = 4
FARTHEST = 50.0
WIDTH = 110


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a scene and a DEM.

    Attributes
    ----------
    errors, stated : array, shape (shifts, 2)
        Errors of the shifts along and across in metres on the ground, and the standard errors
        that were stated.
    false : int
        How often a shift was found with a DEM of another place.
    seconds : float
        Mean time of the processor for an estimate.
    """

    errors: NDArray[np.float64]
    stated: NDArray[np.float64]
    false: int
    seconds: float


def displaced(scene: Scene, line: float, sample: float) -> Scene:
    """Displace the timing of a scene, so that its image lies so many pixels further on."""
    return replace(scene, grid=scene.grid.shift(-line, -sample))


def play(scene: Scene, dem: xr.DataArray, random: np.random.Generator) -> Outcome:
    """Displace an image, and look for the shift."""
    metres = np.array(
        [scene.grid.line_spacing(scene.orbit), ground_sample_spacing(scene.grid, scene.orbit)]
    )
    errors, stated, seconds, false = [], [], [], 0
    elsewhere = dem.copy(data=np.ascontiguousarray(dem.values[::-1]))
    for _ in range(SHIFTS):
        true = random.uniform(-FARTHEST, FARTHEST, 2)
        image = displaced(scene, *(true / metres).tolist())
        begin = time.process_time()
        shift = estimate_shift(image, dem)
        seconds.append(time.process_time() - begin)
        if shift.found:
            errors.append(np.array([shift.along_track, shift.across_track]) - true)
            stated.append([shift.along_track_error, shift.across_track_error])
        false += estimate_shift(image, elsewhere).found
    return Outcome(
        np.reshape(errors, (-1, 2)), np.reshape(stated, (-1, 2)), false, float(np.mean(seconds))
    )


def measure(site: Site) -> dict[str, Outcome]:
    """Measure a scene with the fine and the coarse DEM."""
    random = np.random.default_rng(0)
    truth = truth_of(site.dem, *site.descending())
    scene = truth.image(reflectivity(site.dem, random), random)
    coarse = coarse_dem(site.dem, random)
    return {"fine": play(scene, site.dem, random), "coarse": play(scene, coarse, random)}


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _figures(outcomes: dict[str, dict[str, Outcome]]) -> dict[str, Value]:
    figures: dict[str, Value] = {}
    for dem in ("fine", "coarse"):
        seen = [outcome[dem] for outcome in outcomes.values()]
        errors = np.concatenate([each.errors for each in seen])
        stated = np.concatenate([each.stated for each in seen])
        key = f"accuracy.coregistration.{dem}"
        figures[f"{key}.along"] = _rms(errors[:, 0])
        figures[f"{key}.across"] = _rms(errors[:, 1])
        figures[f"{key}.worst"] = float(np.abs(errors).max())
        figures[f"{key}.error_over_stated"] = _rms(errors / stated)
        figures[f"{key}.found"] = len(errors) / (SHIFTS * len(seen))
        figures[f"{key}.found_in_another_place"] = float(
            np.mean([each.false / SHIFTS for each in seen])
        )
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.coregistration", description=__doc__)
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    chosen = parser.parse_args(arguments)
    console = Console()
    console.width = max(console.width, WIDTH)
    outcomes: dict[str, dict[str, Outcome]] = {}
    for site in sites(list(NAMES), chosen.data):
        with console.status(site.name):
            outcomes[site.name] = measure(site)
    table = Table(title="errors of the shift in metres on the ground, pixels of about 10 m")
    for name in ("scene", "DEM", "along", "across", "over stated", "found", "elsewhere", "CPU s"):
        table.add_column(name, justify="left" if name in {"scene", "DEM"} else "right")
    for name, by_dem in outcomes.items():
        for dem, each in by_dem.items():
            table.add_row(
                *(name, dem, f"{_rms(each.errors[:, 0]):.2f}", f"{_rms(each.errors[:, 1]):.2f}"),
                *(f"{_rms(each.errors / each.stated):.2f}", f"{len(each.errors)} of {SHIFTS}"),
                *(f"{each.false} of {SHIFTS}", f"{each.seconds:.1f}"),
            )
    console.print(table)
    if chosen.save:
        record(_figures(outcomes), "python -m benchmarks.coregistration --save")


if __name__ == "__main__":
    main()
