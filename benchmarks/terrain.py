"""Which of the published gains appear? The four corners, trained long, at every length compared.

Corners: U-Net or ASK-UNet, on the geocoded or on the reconstructed image. Beside them a U-Net on
the image geocoded without a DEM. Protocol of all, fixed before the first training:

- Ground: the regions of `benchmarks._terrain.places` with their bands, seen from both sides, and
  the mountains elsewhere, simulated with four kinds of ground that have laws of their own. Tested
  on the test bands of the descending images, with 16 known elevations in 128 x 128 cells.
- Networks: width 16, depth 4. Batches of 4 patches, AdamW at a constant rate of 1e-3 after 200
  steps of warm-up, gradients clipped at 1, bfloat16.
- Lengths: 1,500, 4,500 and 13,500 steps at that rate, then a fifth of them at a rate that falls
  linearly to zero, in whole epochs; nothing is chosen by validation. What is on record was one
  training to the longest, of which copies were trained on at each length. All corners reach a
  length, for all seeds, before one goes further. A gain counts as settled where the last length
  lowers the validation error of no corner by more than 2 % against the length before.
- Gain: the mean over regions of 1 - RMSE / RMSE of the corner that it is compared with, paired by
  seed; its interval is that of Student's t over seeds.

What is done is kept under ``--work``, and the same command resumes it; several processes may share
the trainings. ``--save`` also puts what each of them found on record, so that another machine goes
on with those that are missing; figures go on record of lengths that all seeds have reached.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from scipy.stats import t as student

from benchmarks._command import options, tell
from benchmarks._figures import (
    RESULTS,
    Value,
    keep_runs,
    kept_runs,
    mean_and_spread,
)
from benchmarks._files import whole
from benchmarks._runs import claimed, curve
from benchmarks._terrain.places import Ground, make_ground
from sarheight.learning.settings import split_batches
from sarheight.learning.training import train
from sarheight.terrain import (
    HeightEstimator,
    TerrainPatches,
    TerrainSettings,
    evaluate_terrain,
    terrain_task,
)

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.learning import Part

__all__ = ["CORNERS", "GAINS", "LENGTHS", "main"]

WIDTH, RATE, WARM_UP = 16, 1e-3, 200
TEST_SEED, SIZE, USUAL = 1000, 128, 16
"""Seed and size of test patches, and known elevations in each."""
RECONSTRUCTED = TerrainSettings.published(
    options={"width": WIDTH, "depth": 4, "normalisation": "batch"},
    distance="logarithmic",
    known_count=(USUAL, USUAL),
    batch=4,
    rate=RATE,
    keep="last",
    threads=1,
)
"""The published system at a width for a CPU, with the distances scaled as all networks had them."""
PLAIN = ("gamma0_geocoded",)
U_NET = {"network": "unet", "options": {"width": WIDTH, "depth": 4}}
CORNERS = ("unet_plain", "unet_reconstructed", "ask_plain", "ask_reconstructed")
LEVEL = "unet_level"
SETTINGS = {
    "unet_plain": replace(RECONSTRUCTED, **U_NET, channels=PLAIN),
    "unet_reconstructed": replace(RECONSTRUCTED, **U_NET),
    "ask_plain": replace(RECONSTRUCTED, channels=PLAIN),
    "ask_reconstructed": RECONSTRUCTED,
    LEVEL: replace(RECONSTRUCTED, **U_NET, channels=("gamma0_level",)),
}
NAMES = {
    "unet_plain": "U-Net, plain geocoded",
    "unet_reconstructed": "U-Net, reconstructed",
    "ask_plain": "ASK-UNet, plain geocoded",
    "ask_reconstructed": "ASK-UNet, reconstructed (published)",
    LEVEL: "U-Net, geocoded without a model",
}
LENGTHS = (1_500, 4_500, 13_500)
DECAY = 5
"""The rate falls to zero over the steps so far, divided by this."""
ERRORS = "errors.json"
"""File of a run with what its test found."""
GAINS = {
    "cut_reconstruction": ("unet_reconstructed", "unet_plain"),
    "cut_network": ("ask_reconstructed", "unet_reconstructed"),
    "cut_network_plain": ("ask_plain", "unet_plain"),
    "cut_together": ("ask_reconstructed", "unet_plain"),
    "cut_model": ("unet_plain", LEVEL),
}
GROUPS = {"all": "", "layover": "_layover"}
"""Groups of cells, and how the keys of their figures end."""
LEAST_SEEDS = 2
"""Seeds from which on a gain has an interval, and goes on record."""
KEPT = "terrain_corners"
"""Name of the file that keeps what trainings found."""


ByRow: TypeAlias = dict[str, dict[int, dict[str, Any]]]
"""What trainings of one length found, by corner and seed."""
Found: TypeAlias = dict[int, ByRow]
"""What trainings found, by length, corner and seed."""


def train_and_test(row: str, seed: int, length: int, ground: Ground, folder: Path) -> None:
    """Train a corner with a seed to a length, or resume it, and keep what the test finds."""
    path = folder / ERRORS
    if path.exists():
        return
    scenes = [*ground.scenes.values(), *ground.more]
    bands = list(ground.bands.values())
    training = [*(each["training"] for each in bands), *ground.more_parts]
    validation = [*(each["validation"] for each in bands), *([None] * len(ground.more))]
    settings = _settings_of(row, seed, length, scenes, training)
    began = time.process_time()
    task = terrain_task(scenes, training, validation, settings)
    run = train(*task, folder, accelerator="cpu", progress=False)
    file = folder / "curves" / "metrics.csv"
    points = np.transpose(curve(file, "validation_rmse")).tolist()
    found = {
        "validation": run.figures["validation_rmse"],
        "test": _test(run.network, settings, ground),
        # At a constant rate, up to the length.
        "curve": [point for point in points if point[0] <= length],
        "seconds": time.process_time() - began,
    }
    with whole(path) as part:
        part.write_text(json.dumps(found), "utf-8")


def _test(network: HeightEstimator, settings: TerrainSettings, ground: Ground) -> dict[str, Any]:
    """Measure the errors on the test band of each region, all with the same known elevations."""
    test, found = replace(settings, size=SIZE, seed=TEST_SEED), {}
    for region, scene in ground.scenes.items():
        band = ground.bands[region]["test"]
        errors = evaluate_terrain(network, [scene], [band], test)["network"]
        rmse = {area: each.rmse for area, each in errors.items() if each.count}
        found[region] = {str(USUAL): {"rmse": rmse, "all": errors["all"].as_dict()}}
    return found


def _settings_of(
    row: str, seed: int, length: int, scenes: list[xr.Dataset], training: list[Part]
) -> TerrainSettings:
    """Return the settings of a run: whole epochs, the nearest to a length and the fall after it."""
    settings = SETTINGS[row]
    patches = TerrainPatches(
        scenes,
        settings.channels,
        within=training,
        size=settings.size,
        stride=settings.stride,
    )
    batches = len(split_batches(np.arange(len(patches)), settings.batch))
    epochs = max(round((length + length / DECAY) / batches), 1)
    return replace(
        settings,
        seed=seed,
        epochs=epochs,
        patience=epochs,
        schedule="trapezoid",
        warm_up=WARM_UP / (length + length / DECAY),
        cool_down=1.0 / (DECAY + 1.0),
    )


def tasks(seeds: int) -> Iterator[tuple[int, int, str]]:
    """Order lengths, seeds and rows so that what is done can be compared at any time."""
    for rows in (CORNERS, (LEVEL,)):
        for length, seed in product(LENGTHS, range(seeds)):
            for row in rows:
                yield length, seed, row


def results(work: Path, seeds: int) -> Found:
    """Read what is done, here or on record: by length, corner and seed."""
    found: Found = {}
    kept = kept_runs(KEPT)
    for length, seed, row in tasks(seeds):
        path = work / "corners" / f"{row}_{seed}_{length}" / ERRORS
        if path.exists():
            run = json.loads(path.read_text("utf-8"))
        elif (name := f"{row}_{seed}_{length}") in kept:
            run = kept[name]
        else:
            continue
        found.setdefault(length, {}).setdefault(row, {})[seed] = run
    return found


def gain(
    by_row: ByRow, row: str, other: str, group: str = "all"
) -> tuple[float, float, float, int] | None:
    """Mean gain of a row over another, the ends of its 95 % interval, and the number of seeds."""
    seeds = sorted(set(by_row.get(row, {})) & set(by_row.get(other, {})))
    if not seeds:
        return None

    def error(name: str, seed: int, region: str) -> float:
        return float(by_row[name][seed]["test"][region][str(USUAL)]["rmse"][group])

    regions = list(by_row[row][seeds[0]]["test"])
    gains = [
        fmean(1.0 - error(row, seed, each) / error(other, seed, each) for each in regions)
        for seed in seeds
    ]
    half = np.inf
    if len(seeds) > 1:
        half = float(student.ppf(0.975, len(seeds) - 1)) * stdev(gains) / len(seeds) ** 0.5
    return fmean(gains), fmean(gains) - half, fmean(gains) + half, len(seeds)


def _mean_error(run: dict[str, Any], group: str) -> float:
    """Mean over regions of the RMSE of a training on the test bands, in metres."""
    return fmean(each[str(USUAL)]["rmse"][group] for each in run["test"].values())


def _late_fall(points: Sequence[Sequence[float]]) -> float | None:
    """Fall of the validation error in the last third of a curve, from its first to its second half.

    Means over the points of a half, since single points scatter by far more than this fall. None
    where a half has no point.
    """
    last = points[-1][0]
    first, second = (
        [error for step, error in points if start * last < step <= end * last]
        for start, end in ((2.0 / 3.0, 5.0 / 6.0), (5.0 / 6.0, 1.0))
    )
    return 1.0 - fmean(second) / fmean(first) if first and second else None


def _falls_of(by_row: ByRow, before: ByRow) -> dict[str, Value]:
    """Falls of the validation error from the length before, and late in the curves."""
    falls: dict[str, Value] = {}
    seeds = set(by_row[CORNERS[0]])
    # Over the same seeds: a training need not be tested at the shorter length.
    both = seeds.intersection(*(before.get(row, {}) for row in CORNERS))
    if both:
        each = [
            1.0
            - fmean(by_row[row][seed]["validation"] for seed in both)
            / fmean(before[row][seed]["validation"] for seed in both)
            for row in CORNERS
        ]
        falls["fall_of_validation.least"] = min(each)
        falls["fall_of_validation.most"] = max(each)
    late = [_late_fall(by_row[row][seed]["curve"]) for row in CORNERS for seed in sorted(seeds)]
    known = [fall for fall in late if fall is not None]
    if len(known) == len(late):
        falls["late_fall"] = mean_and_spread(known)
    return falls


def figures_of(found: Found) -> dict[str, Value]:
    """Collect the figures of each length, over the seeds with which all corners have reached it."""
    figures: dict[str, Value] = {}
    before: ByRow = {}
    for length, every in sorted(found.items()):
        prefix = f"terrain.published.steps_{length}"
        seeds = set.intersection(*(set(every.get(row, {})) for row in CORNERS))
        by_row = {row: {n: runs[n] for n in seeds if n in runs} for row, runs in every.items()}
        by_row[LEVEL] = every.get(LEVEL, {})
        for (row, runs), (group, suffix) in product(by_row.items(), GROUPS.items()):
            if runs:
                errors = [_mean_error(run, group) for run in runs.values()]
                figures[f"{prefix}.{row}.rmse{suffix}"] = mean_and_spread(errors)
        if not seeds:
            continue
        for (name, pair), (group, suffix) in product(GAINS.items(), GROUPS.items()):
            each = gain(by_row, *pair, group)
            if each is not None and each[3] >= LEAST_SEEDS:
                key = f"{prefix}.{name}{suffix}"
                figures[key], figures[f"{key}.low"], figures[f"{key}.high"] = each[:3]
        falls = _falls_of(by_row, before)
        figures |= {f"{prefix}.{name}": value for name, value in falls.items()}
        before = every
    return figures


def draw(found: Found, path: Path) -> None:
    """Draw how the validation error falls, by corner and seed, and what falling rates add."""
    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, row in enumerate(SETTINGS):
        colour = f"C{index}"
        curves = {}
        for length, by_row in sorted(found.items()):
            for seed, run in by_row.get(row, {}).items():
                # The curve to a length holds those to shorter ones.
                curves[seed] = run["curve"]
                axes.plot(length, run["validation"], "o", color=colour, markersize=4.0)
        for points in curves.values():
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.7, alpha=0.6)
        if curves:
            axes.plot([], [], color=colour, label=NAMES[row])
    axes.plot([], [], "o", color="0.5", markersize=4.0, label="after a fall of the rate to zero")
    axes.set(xlabel="steps at a constant rate", ylabel="validation RMSE in m", yscale="log")
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_minor_formatter("{x:.0f}")
    axes.grid(visible=True, which="both", linewidth=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=100)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as far as told, report, and put the figures on record."""
    parser = options("terrain", __doc__)
    parser.add_argument("--work", type=Path, default=Path("build/terrain_corners"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="report what is done, and train none")
    chosen = parser.parse_args(arguments)
    console = Console()
    if not chosen.report:
        ground = make_ground(chosen.work / "scenes", chosen.data, console.print)
        kept = kept_runs(KEPT)
        for length, seed, row in tasks(chosen.seeds):
            if f"{row}_{seed}_{length}" in kept:
                continue
            folder = chosen.work / "corners" / f"{row}_{seed}_{length}"
            with claimed(folder) as free:
                if free:
                    train_and_test(row, seed, length, ground, folder)
                    console.print(f"{row}, seed {seed}: {length} steps")
    found = results(chosen.work, chosen.seeds)
    # Of lengths that all seeds have reached.
    reached = {
        length: by_row
        for length, by_row in found.items()
        if all(len(by_row.get(row, {})) == chosen.seeds for row in CORNERS)
    }
    for length, by_row in found.items():
        seeds = {row: len(runs) for row, runs in by_row.items()}
        console.print(f"{length} steps, seeds that are done: {seeds}")
    tell(figures_of(reached), "terrain", save=chosen.save)
    if chosen.save:
        keep_runs(
            KEPT,
            {
                f"{row}_{seed}_{length}": run
                for length, by_row in found.items()
                for row, runs in by_row.items()
                for seed, run in runs.items()
            },
        )
        draw(found, RESULTS / "pictures" / "terrain_corners.png")


if __name__ == "__main__":
    main()
