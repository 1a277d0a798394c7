"""The heights of buildings, told by networks in cities that they have not seen.

The cities are simulated (`tests.worlds.city_images.simulated_city`): boxes on street
grids, a year of radar images of two passes with speckle, a year of optical images with shadows and
clouds, in a world as wide as that of real cities (`CitySettings.wide`). Networks are trained on
some cities, their epoch is chosen on others, and they are tested on others again: cities of the
same world, and cities outside its range in one respect each (`OUTSIDE`). All of them see the same
patches, bands and number of steps. The rows of the table are described in `ROWS`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmarks._buildings.cities import OUTSIDE, Cities, Size, make_cities
from benchmarks._buildings.picture import Curve, Pair, save_curves, save_picture
from benchmarks._buildings.unseen import estimated, figures_of
from benchmarks._command import options, tell
from benchmarks._figures import Value, keep_runs, kept_runs, mean_and_spread
from benchmarks._runs import claimed
from benchmarks._runs import curve as read_curve
from sarheight.buildings import BuildingSettings, building_task
from sarheight.learning import train

if TYPE_CHECKING:
    import argparse

__all__ = ["ROWS", "main"]

SEEDS = 3
GOALS = {
    "buildings.simulated.published.rmse": "< 3.73 m",
    "buildings.simulated.published.r2": "> 0.61",
    "buildings.simulated.published.iou": "> 0.95",
    "buildings.simulated.cut_ours_vs_published": ">= 0.20",
}
FIGURES, MAPS = "figures.json", "maps.npz"
"""Files in the folder of a run."""
KEPT = "buildings"
"""Name of the file that keeps what runs found."""
BATCH = 16
SIZE = Size(cells=128, training=32, validation=4, test=6, outside=2, epochs=30, stride=16)
SHORT_RATE = 5e-4
"""Learning rate of the published network in 1,500 steps. The printed one, 1e-4, is for many
thousands: in so few steps the network would not come far with it."""
PRINTED_RMSE = 3.73
"""Metres, as the paper of MBHR-Net reports from real images."""
PUBLISHED = BuildingSettings.published("ours", batch=BATCH)
"""The printed network with our particulars, see `sarheight.buildings.mbhr`."""
OURS = BuildingSettings(batch=BATCH, options={"bins": {"count": 40, "highest": 600.0}})


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    text: str  # What it is
    settings: BuildingSettings  # How it is trained, apart from seed and length


ROWS = {
    "published": Row("MBHR-Net as printed, our particulars", PUBLISHED),
    "ours": Row("ours: series of months, distribution of heights", OURS),
    "released": Row(
        "MBHR-Net as released, our particulars",
        replace(PUBLISHED, options={"variant": "released", "plain_skip": False}),
    ),
}
"""In the order in which they are trained."""

Found = dict[str, dict[int, dict[str, float]]]
"""Figures by row and seed."""
Curves = dict[str, dict[int, Curve]]
"""Validation RMSE by row and seed."""
TRUST = ("coverage_80", "novel", "tall_bias")
"""Keys of how far ours can be trusted."""
FALL = "fall_in_last_third"
"""Key of what the last third of a training takes off the lowest validation RMSE before it."""


def _settings(row: Row, seed: int, workers: int) -> BuildingSettings:
    return replace(
        row.settings,
        seed=seed,
        epochs=SIZE.epochs,
        patience=SIZE.epochs,
        plateau=max(SIZE.epochs // 4, 2),
        stride=SIZE.stride,
        rate=SHORT_RATE if row.settings.network == "mbhr" else row.settings.rate,
        workers=workers,
    )


def _train(name: str, seed: int, cities: Cities, chosen: argparse.Namespace) -> None:
    """Train and test a network, and write the figures of the test into its folder."""
    settings = _settings(ROWS[name], seed, chosen.workers)
    folder = _folder(name, seed, chosen.work)
    stacks = [*cities.training, *cities.validation]
    prepared = building_task(stacks, *cities.places, settings)
    estimator = train(
        *prepared,
        folder,
        accelerator=chosen.accelerator,
        progress=chosen.progress,
        card={"data": "simulated cities of tests.worlds.city_images.simulated_city"},
    ).network
    maps = estimated(estimator, settings, cities.test)
    figures = figures_of(maps)
    for world, places in cities.outside.items():
        found = figures_of(estimated(estimator, settings, places))
        figures |= {f"outside.{world}.{key}": value for key, value in found.items()}
    np.savez_compressed(folder / MAPS, truth=maps.truth, series=maps.series, months=maps.months)
    (folder / FIGURES).write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    _tidy(folder, settings)


def _folder(name: str, seed: int, work: Path) -> Path:
    return work / f"{name}_{SIZE.cells}_{SIZE.training}_{SIZE.epochs}_{seed}"


def _tidy(folder: Path, settings: BuildingSettings) -> None:
    """Remove what a finished run is not asked for again: a gigabyte for each published network."""
    for checkpoint in folder.glob("*.ckpt"):
        checkpoint.unlink()
    if settings.network == "mbhr":
        shutil.rmtree(folder / "model")


def _finished(chosen: argparse.Namespace) -> tuple[Found, Curves]:
    """Collect figures and curves of the trainings that are finished, here or on record."""
    found: Found = {}
    curves: Curves = {}
    kept = kept_runs(KEPT)
    for name in chosen.rows:
        for seed in range(chosen.seeds):
            folder = _folder(name, seed, chosen.work)
            if (folder / FIGURES).exists():
                figures = json.loads((folder / FIGURES).read_text("utf-8"))
                curve = read_curve(folder / "curves" / "metrics.csv", "validation_rmse")
            elif folder.name in kept:
                figures = kept[folder.name]["figures"]
                curve = np.array(kept[folder.name]["steps"]), np.array(kept[folder.name]["errors"])
            else:
                continue
            found.setdefault(name, {})[seed] = figures
            curves.setdefault(name, {})[seed] = curve
    return found, curves


def _fall(curve: Curve) -> float:
    """Return what the last third takes off the lowest error before it; 0 for a flat curve."""
    steps, errors = curve
    early = errors[3 * steps <= 2 * steps.max()].min()
    return float(1.0 - errors.min() / early)


def _pictured(maps: Path) -> Pair:
    with np.load(maps) as found:
        return found["truth"], found["series"]


def _own(name: str, figures: dict[str, float], key: str, world: str = "") -> float:
    """Return a figure as a network is meant to be used: each month alone, or the series."""
    monthly = f"{world}monthly_{key}"
    return figures[monthly] if ROWS[name].settings.months == 1 else figures[world + key]


def _figures(found: Found, curves: Curves) -> dict[str, Value]:
    """Collect the figures of all rows."""
    figures: dict[str, Value] = {}
    for name, seeds in found.items():
        place = f"buildings.simulated.{name}"
        for key in ("rmse", "r2", "iou", "iou_both", "buildings_rmse"):
            figures[f"{place}.{key}"] = mean_and_spread(
                [_own(name, each, key) for each in seeds.values()]
            )
        figures[f"{place}.{FALL}"] = mean_and_spread(
            [_fall(curve) for curve in curves[name].values()]
        )
        if ROWS[name].settings.months == 1:
            mean_of_months = [each["rmse"] for each in seeds.values()]
            figures[f"{place}.mean_of_months.rmse"] = mean_and_spread(mean_of_months)
    ours, published = found.get("ours", {}), found.get("published", {})
    pairs = [(ours[seed], published[seed]) for seed in sorted(ours.keys() & published.keys())]
    if pairs:
        cuts = {
            "cut_ours_vs_published": [
                1.0 - own["rmse"] / other["monthly_rmse"] for own, other in pairs
            ],
            "cut_ours_vs_published_mean_of_months": [
                1.0 - own["rmse"] / other["rmse"] for own, other in pairs
            ],
        }
        figures |= {
            f"buildings.simulated.{key}": mean_and_spread(each) for key, each in cuts.items()
        }
    for world in OUTSIDE:
        figures |= _outside_figures(world, found, pairs)
    for key in TRUST if ours else ():
        figures[f"buildings.{key}"] = mean_and_spread([each[key] for each in ours.values()])
    return figures


def _outside_figures(
    world: str, found: Found, pairs: Sequence[tuple[dict[str, float], dict[str, float]]]
) -> dict[str, Value]:
    """Collect the figures of a world outside the range of training."""
    place, inside = f"buildings.outside.{world}", f"outside.{world}."
    figures: dict[str, Value] = {
        f"{place}.{name}.rmse": mean_and_spread(
            [_own(name, each, "rmse", inside) for each in seeds.values()]
        )
        for name, seeds in found.items()
    }
    if pairs:
        figures[f"{place}.cut_ours_vs_published"] = mean_and_spread(
            [1.0 - ours[f"{inside}rmse"] / other[f"{inside}monthly_rmse"] for ours, other in pairs]
        )
    for key in TRUST:
        values = [each[inside + key] for each in found.get("ours", {}).values()]
        if values and all(map(isfinite, values)):
            figures[f"{place}.{key}"] = mean_and_spread(values)
    return figures


def _chosen(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options("buildings", __doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of each network")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument(
        "--report", action="store_true", help="train nothing more: show what is finished"
    )
    parser.add_argument(
        "--anew", action="store_true", help="train also what is on record, for its weights and maps"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare patches")
    parser.add_argument("--accelerator", default="auto", help="as Lightning takes it")
    parser.add_argument("--progress", action="store_true", help="show a bar of each training")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("build/buildings"),
        help="folder for cities and runs; what is there is not done again",
    )
    return parser.parse_args(arguments)


def _train_missing(chosen: argparse.Namespace, console: Console) -> None:
    """Train what is neither in the folder of work nor, unless asked for again, on record."""
    kept = {} if chosen.anew else kept_runs(KEPT)
    runs = [(seed, name) for seed in range(chosen.seeds) for name in chosen.rows]
    folders = {(seed, name): _folder(name, seed, chosen.work) for seed, name in runs}
    missing = [run for run in runs if folders[run].name not in kept]
    if not missing:
        return
    cities = make_cities(SIZE, chosen.work / "cities", console.print)
    for seed, name in missing:
        with claimed(folders[seed, name]) as free:
            if free and not (folders[seed, name] / FIGURES).exists():
                console.print(f"{name}, seed {seed}")
                _train(name, seed, cities, chosen)


def _save(found: Found, curves: Curves, chosen: argparse.Namespace) -> None:
    """Keep what runs found, and draw the pictures where all rows are there."""
    runs = {
        _folder(name, seed, chosen.work).name: {
            "figures": each,
            "steps": curves[name][seed][0].tolist(),
            "errors": curves[name][seed][1].tolist(),
        }
        for name, seeds in found.items()
        for seed, each in seeds.items()
    }
    keep_runs(KEPT, runs)
    if set(ROWS) <= set(found):
        save_curves({ROWS[name].text: each for name, each in curves.items()}, PRINTED_RMSE)
        maps = [_folder(row, 0, chosen.work) / MAPS for row in ("published", "ours")]
        if all(path.exists() for path in maps):
            save_picture(*map(_pictured, maps), SIZE.cells // PUBLISHED.size)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, train, test, print the figures, and put them on record."""
    chosen = _chosen(arguments)
    console = Console()
    if not chosen.report:
        _train_missing(chosen, console)
    found, curves = _finished(chosen)
    missing = len(chosen.rows) * chosen.seeds - sum(map(len, found.values()))
    if missing:
        console.print(f"{missing} trainings are not finished: other processes may be at them")
    if not found or (missing and not chosen.report):
        return
    command = "buildings"
    command += f" --rows {' '.join(chosen.rows)}" if chosen.rows != list(ROWS) else ""
    command += f" --seeds {chosen.seeds}" if chosen.seeds != SEEDS else ""
    tell(_figures(found, curves), command, save=chosen.save, goals=GOALS)
    if chosen.save:
        _save(found, curves, chosen)


if __name__ == "__main__":
    main()
