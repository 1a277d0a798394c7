"""The heights of buildings, told by networks in cities that they have not seen.

The cities are simulated (`tests.worlds.city_images.simulated_city`): boxes on street
grids, a year of radar images of two passes with speckle, a year of optical images with shadows and
clouds, in a world as wide as that of real cities (`CitySettings.wide`). Networks are trained on
some cities, their epoch is chosen on others, and they are tested on others again: cities of the
same world, and cities outside its range in one respect each (`OUTSIDE`). All of them see the same
patches, bands and number of steps. The rows of the table are described in `ROWS`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._buildings.cities import (
    DESIGN,
    DESIGN_SEED,
    OUTSIDE,
    Cities,
    Size,
    make_cities,
    world_cities,
)
from benchmarks._buildings.picture import Curve, Pair, save_curves, save_picture
from benchmarks._buildings.unseen import estimated, figures_of
from benchmarks._figures import RESULTS, Value, keep_runs, kept_runs, mean_and_spread, record
from benchmarks._runs import claimed
from benchmarks._runs import curve as read_curve
from sarheight.buildings import BuildingHeightEstimator, BuildingSettings, building_task
from sarheight.learning import train

__all__ = ["GOALS", "ROWS", "main"]

SEEDS = 3
FIGURES, MAPS = "figures.json", "maps.npz"
"""Files in the folder of a run."""
KEPT = "buildings"
"""Name of the file that keeps what runs found."""
BATCH = 16
SMALL = Size(cells=128, training=32, validation=4, test=6, outside=2, epochs=30, stride=16)
LARGE = Size(cells=512, training=60, validation=6, test=12, outside=4, epochs=100, stride=32)
SHORT_RATE = 5e-4
"""Learning rate of the published network in 1,500 steps. The printed one, 1e-4, is for many
thousands: in so few steps the network would not come far with it."""
CLEAR_MONTH = 6
"""July, the month of the ablation that sees one alone."""
PRINTED_RMSE = 3.73
"""Metres, as the paper of MBHR-Net reports from real images."""
GOALS = {
    "published.rmse": "< 3.73 m",
    "published.r2": "> 0.61",
    "published.iou": "> 0.95",
    "cut_ours_vs_published": ">= 0.20",
}
PUBLISHED = BuildingSettings.published("ours", batch=BATCH)
"""The printed network with our particulars, see `sarheight.buildings.mbhr`."""
OURS = BuildingSettings(batch=BATCH, options={"bins": {"count": 40, "highest": 600.0}})


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    text: str  # What it is
    settings: BuildingSettings  # How it is trained, apart from seed and length
    one_month: bool = False  # Whether it learns from one month of each city alone


ROWS = {
    "published": Row("MBHR-Net as printed, our particulars", PUBLISHED),
    "ours": Row("ours: series of months, distribution of heights", OURS),
    "released": Row(
        "MBHR-Net as released, our particulars",
        replace(PUBLISHED, options={"variant": "released", "plain_skip": False}),
    ),
    "sar_only": Row("MBHR-Net, radar only", replace(PUBLISHED, optical_bands=())),
    "optical_only": Row("MBHR-Net, optical only", replace(PUBLISHED, sar_bands=())),
    "no_skips": Row(
        "MBHR-Net without skips", replace(PUBLISHED, options={"variant": "ours", "skips": False})
    ),
    "one_month": Row("MBHR-Net, learned from one month", PUBLISHED, one_month=True),
}
"""In the order in which they are trained."""
COMPARED = ("published", "released", "ours")
"""Rows that are trained unless others are asked for; the others are ablations."""

Found = dict[str, dict[int, dict[str, float]]]
"""Figures by row and seed."""
Curves = dict[str, dict[int, Curve]]
"""Validation RMSE by row and seed."""
FALL = "fall_in_last_third"
"""Key of what the last third of a training takes off the lowest validation RMSE before it."""


def _settings(row: Row, size: Size, seed: int, workers: int) -> BuildingSettings:
    return replace(
        row.settings,
        seed=seed,
        epochs=size.epochs,
        patience=size.epochs,
        plateau=max(size.epochs // 4, 2),
        stride=size.stride,
        rate=SHORT_RATE
        if row.settings.network == "mbhr" and size.cells == SMALL.cells
        else row.settings.rate,
        workers=workers,
    )


def _train(name: str, seed: int, cities: Cities, size: Size, chosen: argparse.Namespace) -> None:
    """Train and test a network, and write the figures of the test into its folder."""
    row = ROWS[name]
    settings = _settings(row, size, seed, chosen.workers)
    folder = _folder(name, seed, size, chosen.work)
    stacks = [*cities.training, *cities.validation]
    if row.one_month:
        stacks = [
            stack.isel(month=[CLEAR_MONTH]) if number < len(cities.training) else stack
            for number, stack in enumerate(stacks)
        ]
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


def _show_design(size: Size, chosen: argparse.Namespace, console: Console) -> None:
    """Print how ours does in the worlds in which the scale of its novelty was chosen."""
    settings = _settings(ROWS["ours"], size, 0, chosen.workers)
    folder = _folder("ours", 0, size, chosen.work) / "model"
    estimator = BuildingHeightEstimator.from_pretrained(folder)
    for name, world in DESIGN.items():
        places = (name, world, DESIGN_SEED, size.outside, size.cells, chosen.work / "cities")
        found = figures_of(estimated(estimator, settings, world_cities(*places, console.print)))
        console.print(
            f"{name}: RMSE {found['rmse']:.2f} m, 80 % intervals hold {found['coverage_80']:.2f}, "
            f"novelty {found['novelty']:.2f}, above 1 in {found['novel']:.2f} of the cells"
        )


def _folder(name: str, seed: int, size: Size, work: Path) -> Path:
    return work / f"{name}_{size.cells}_{size.training}_{size.epochs}_{seed}"


def _tidy(folder: Path, settings: BuildingSettings) -> None:
    """Remove what a finished run is not asked for again: a gigabyte for each published network."""
    for checkpoint in folder.glob("*.ckpt"):
        checkpoint.unlink()
    if settings.network == "mbhr":
        shutil.rmtree(folder / "model")


def _finished(chosen: argparse.Namespace, size: Size) -> tuple[Found, Curves]:
    """Collect figures and curves of the trainings that are finished, here or on record."""
    found: Found = {}
    curves: Curves = {}
    kept = kept_runs(KEPT)
    for name in chosen.rows:
        for seed in range(chosen.seeds):
            folder = _folder(name, seed, size, chosen.work)
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
            for key in ("rmse", "r2", "iou"):
                figures[f"{place}.mean_of_months.{key}"] = mean_and_spread(
                    [each[key] for each in seeds.values()]
                )
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
    for key in next(iter(ours.values()), {}):
        if key.startswith(("coverage_80", "novel", "tall_bias")):
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
    for key in ("coverage_80", "novel", "novelty", "tall_bias"):
        values = [each[inside + key] for each in found.get("ours", {}).values()]
        if values and all(map(isfinite, values)):
            figures[f"{place}.{key}"] = mean_and_spread(values)
    return figures


def _cells(name: str, seeds: list[dict[str, float]]) -> list[str]:
    """Write the figures of a row."""

    def text(values: Sequence[float], digits: int) -> str:
        mean, spread = mean_and_spread(values)
        return f"{mean:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")

    own = [
        text([_own(name, each, key) for each in seeds], digits)
        for key, digits in (("rmse", 2), ("r2", 3), ("iou", 3), ("iou_both", 3))
    ]
    built = text([_own(name, each, "buildings_rmse") for each in seeds], 2)
    return [
        ROWS[name].text,
        str(len(seeds)),
        *own,
        built,
        text([each["rmse"] for each in seeds], 2),
    ]


COLUMNS = (
    "network",
    "seeds",
    "RMSE in m",
    "R²",
    "IoU",
    "IoU of both classes",
    "RMSE, built cells",
    "RMSE, mean of months",
)


def _caption(size: Size, steps: int) -> str:
    return (
        f"simulated cities: {size.training} to learn from, {size.test} others for the test; "
        f"{steps} steps of {BATCH} patches for each network. Heights over all cells of 10 m, "
        "those without a building 0 m. IoU of cells with a building (a true height of 1 m or more; "
        "an estimate of 1 m or more, or where the network tells chances, one above a half), and "
        "its mean with that of cells without. A network for one month is measured month by "
        "month, where there are no clouds; the last column has the mean of its twelve maps."
    )


def _markdown(found: Found, caption: str) -> str:
    """Write the table for the guide."""
    lines = [
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "|".join(["---"] + ["---:"] * (len(COLUMNS) - 1)) + "|",
    ]
    lines += [
        "| " + " | ".join(_cells(name, [*seeds.values()])) + " |" for name, seeds in found.items()
    ]
    lines += ["", caption[0].upper() + caption[1:], ""]
    names = list(found)
    lines += ["RMSE in m outside the range of training, in one respect each:", ""]
    lines += [
        "| world | " + " | ".join(names) + " | held by 80 % intervals of ours | novel cells |"
    ]
    lines += ["|---" + "|---:" * (len(names) + 2) + "|"]
    for world in OUTSIDE:
        place = f"outside.{world}."
        cells = [
            f"{fmean([_own(name, each, 'rmse', place) for each in found[name].values()]):.2f}"
            for name in names
        ]
        for key in ("coverage_80", "novel"):
            values = [each[place + key] for each in found.get("ours", {}).values()]
            cells.append(f"{100.0 * fmean(values):.0f} %" if values else "")
        lines.append(f"| {world.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _table(found: Found, caption: str) -> Table:
    table = Table(title="building heights in simulated cities", caption=caption)
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if number else "left")
    for name, seeds in found.items():
        table.add_row(*_cells(name, [*seeds.values()]))
    return table


def _chosen(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.buildings", description=__doc__)
    parser.add_argument("--data", help="folder with the real data, of which nothing is needed")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of each network")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(COMPARED))
    parser.add_argument(
        "--design", action="store_true", help="no test: ours, once trained, in worlds for design"
    )
    parser.add_argument(
        "--report", action="store_true", help="train nothing more: show what is finished"
    )
    parser.add_argument(
        "--anew", action="store_true", help="train also what is on record, for its weights and maps"
    )
    parser.add_argument("--large", action="store_true", help="for a machine with a GPU")
    parser.add_argument(
        "--epochs",
        type=int,
        help="of each training, if not the usual number: figures have keys of their own",
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


def _command(chosen: argparse.Namespace) -> str:
    """Return the command line that makes the figures, without folders and what changes none."""
    words = ["python -m benchmarks.buildings"]
    if chosen.rows != list(COMPARED):
        words += ["--rows", *chosen.rows]
    words += [f"--seeds {chosen.seeds}"] if chosen.seeds != SEEDS else []
    words += [f"--epochs {chosen.epochs}"] if chosen.epochs else []
    return " ".join([*words, *(["--large"] if chosen.large else []), "--save"])


def _train_missing(size: Size, chosen: argparse.Namespace, console: Console) -> None:
    """Train what is neither in the folder of work nor, unless asked for again, on record."""
    kept = {} if chosen.anew else kept_runs(KEPT)
    runs = [(seed, name) for seed in range(chosen.seeds) for name in chosen.rows]
    folders = {(seed, name): _folder(name, seed, size, chosen.work) for seed, name in runs}
    missing = [run for run in runs if folders[run].name not in kept]
    if not missing:
        return
    cities = make_cities(size, chosen.work / "cities", console.print)
    for seed, name in missing:
        with claimed(folders[seed, name]) as free:
            if free and not (folders[seed, name] / FIGURES).exists():
                console.print(f"{name}, seed {seed}")
                _train(name, seed, cities, size, chosen)


def _save(
    found: Found, curves: Curves, size: Size, caption: str, steps: int, chosen: argparse.Namespace
) -> None:
    """Put runs and figures on record; of trainings of the usual length, table and pictures too."""
    runs = {
        _folder(name, seed, size, chosen.work).name: {
            "figures": each,
            "steps": curves[name][seed][0].tolist(),
            "errors": curves[name][seed][1].tolist(),
        }
        for name, seeds in found.items()
        for seed, each in seeds.items()
    }
    keep_runs(KEPT, runs)
    figures = _figures(found, curves)
    if chosen.epochs:
        place = f"buildings.steps_{steps}."
        figures = {key.replace("buildings.", place, 1): value for key, value in figures.items()}
    record(figures, _command(chosen))
    if chosen.epochs or not set(COMPARED) <= set(found):
        return
    (RESULTS / "buildings.md").write_text(_markdown(found, caption), "utf-8")
    save_curves({ROWS[name].text: each for name, each in curves.items()}, PRINTED_RMSE)
    maps = [_folder(row, 0, size, chosen.work) / MAPS for row in ("published", "ours")]
    if all(path.exists() for path in maps):
        save_picture(*map(_pictured, maps), size.cells // PUBLISHED.size)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, train, test, print the table, and put the figures on record."""
    chosen = _chosen(arguments)
    console = Console()
    size = LARGE if chosen.large else SMALL
    size = replace(size, epochs=chosen.epochs or size.epochs)
    if chosen.design:
        _show_design(size, chosen, console)
        return
    if not chosen.report:
        _train_missing(size, chosen, console)
    found, curves = _finished(chosen, size)
    missing = len(chosen.rows) * chosen.seeds - sum(map(len, found.values()))
    if missing:
        console.print(f"{missing} trainings are not finished: other processes may be at them")
    if not found or (missing and not chosen.report):
        return
    across = (size.cells - PUBLISHED.size) // size.stride + 1
    steps = size.epochs * -(-size.training * across**2 // BATCH)
    caption = _caption(size, steps)
    console.print(_table(found, caption))
    if chosen.save:
        _save(found, curves, size, caption, steps, chosen)


if __name__ == "__main__":
    main()
