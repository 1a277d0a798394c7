"""Where should the selective kernels of ASK-UNet stand? Measured on the bands for validation.

Three short trainings of the published system for each choice of levels, and the time that they take
one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import torch
from rich.console import Console
from rich.table import Table

from benchmarks._figures import Value, record
from benchmarks._terrain.errors import measured
from benchmarks._terrain.places import Ground, make_ground
from benchmarks._terrain.rows import USUAL, settings_of
from sarheight.terrain import train_terrain

__all__ = ["main"]

CHOICES: dict[str, tuple[int, ...]] = {
    "none": (),
    "coarsest": (3, 4),
    "coarse": (2, 3, 4),
    "all": (0, 1, 2, 3, 4),
}
"""Levels with selective kernels; 0 is the finest. All levels attend to channels."""
EPOCHS, SEEDS = 6, 3


def trained(choice: str, seed: int, ground: Ground, work: Path) -> tuple[float, float]:
    """Train with a choice of levels; RMSE on the bands for validation, and seconds of training."""
    usual = settings_of("ask_reconstructed", seed)
    settings = replace(
        usual, epochs=EPOCHS, options={**usual.options, "selective_levels": list(CHOICES[choice])}
    )
    held_out = {name: bands["validation"] for name, bands in ground.bands.items()}
    folder = work / "placement" / f"{choice}_{seed}"
    began = time.process_time()
    estimator = train_terrain(
        list(ground.scenes.values()),
        [bands["training"] for bands in ground.bands.values()],
        list(held_out.values()),
        settings,
        folder,
        accelerator="cpu",
        progress=False,
    )
    seconds = _first(folder / "seconds", time.process_time() - began)
    found = measured(estimator, settings.channels, ground.scenes, held_out, (USUAL,))
    return fmean(each[str(USUAL)]["rmse"]["all"] for each in found.values()), seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, and put the figures on record."""
    parser = argparse.ArgumentParser("python -m benchmarks._terrain.placement", description=__doc__)
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    parser.add_argument("--work", type=Path, default=Path("build/terrain"))
    chosen = parser.parse_args(arguments)
    console = Console()
    torch.set_num_threads(1)
    ground = make_ground(chosen.work / "scenes", chosen.data, console.print, more=False)
    table = Table("levels", "RMSE on validation, m", "seconds of training")
    figures: dict[str, Value] = {}
    for name, levels in CHOICES.items():
        runs = [trained(name, seed, ground, chosen.work) for seed in range(SEEDS)]
        rmse, seconds = (list(each) for each in zip(*runs, strict=True))
        table.add_row(
            f"{name} {levels}",
            f"{fmean(rmse):.1f} ± {stdev(rmse):.1f}",
            f"{fmean(seconds):.0f} ± {stdev(seconds):.0f}",
        )
        figures[f"terrain.placement.{name}.rmse"] = fmean(rmse), stdev(rmse)
        figures[f"terrain.placement.{name}.training"] = fmean(seconds), stdev(seconds)
    console.print(table)
    if chosen.save:
        record(figures, "python -m benchmarks._terrain.placement --save")


def _first(path: Path, seconds: float) -> float:
    """Keep how long a training took: done again, it takes no time at all."""
    if not path.exists():
        path.write_text(f"{seconds:.1f}", "utf-8")
    return float(path.read_text("utf-8"))


if __name__ == "__main__":
    main()
