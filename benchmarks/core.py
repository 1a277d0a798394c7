"""Is it worth it? Backscatter in layover by plain geocoding, RTC, reallocation and two passes.

The scenes are simulated from real elevation models and real orbits; see
`benchmarks._mountains.scenes` for the places, `benchmarks._mountains.truth` for the ground, speckle
and noise, and for what is compared. The reconstruction is given a DEM three times coarser, with a
height error. No offset is fitted away. Cells in true shadow do not count, nor does any cell for
which one of the methods has no value.

The rows: plain geocoding is sigma0 on the ellipsoid, as it is used today; RTC is area-projection
gamma0; one step is reallocation by a backscatter law fitted to the image; the iteration is the
posterior mean; two passes are descending and ascending together, in the geometry of the better
one of the two, on cells that are in layover in at least one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import fmean
from typing import cast

from rich.console import Console
from rich.table import Table

from benchmarks._figures import Value, mean_and_spread, read, record
from benchmarks._mountains.pictures import save_picture
from benchmarks._mountains.scenes import Site, sites
from benchmarks._mountains.score import (
    BOTH,
    GEOCODED,
    ITERATION,
    ONE_STEP,
    RTC,
    SINGLE,
    Outcome,
    Stage,
)
from benchmarks._mountains.truth import OTHER_LAW

__all__ = ["GOALS", "main"]

SEEDS = 3
WIDTH = 132
ROWS = {
    GEOCODED: "plain geocoding, σ0",
    RTC: "area-projection RTC, γ0",
    ONE_STEP: "one-step reallocation",
    ITERATION: "regularised iteration",
    SINGLE: "  better single pass",
    BOTH: "  two passes together",
}
GOALS = {
    "layover_rmse_cut_vs_geocoded": (ONE_STEP, GEOCODED, 0.25),
    "layover_rmse_cut_vs_rtc": (ONE_STEP, RTC, 0.05),
    "iteration_cut_vs_rtc": (ITERATION, RTC, 0.20),
    "two_pass_cut_vs_single": (BOTH, SINGLE, 0.15),
}
"""Key, method, the method it is compared with, and the least cut of the RMSE in layover."""
PARTS = ("layover", "outside", "all")


def _text(values: Sequence[float]) -> str:
    mean, spread = mean_and_spread(values)
    return f"{mean:.2f}" if spread is None else f"{mean:.2f} ± {spread:.2f}"


def _percent(values: Sequence[float], goal: float) -> str:
    mean, spread = mean_and_spread(values)
    text = f"{100 * mean:.1f}" if spread is None else f"{100 * mean:.1f} ± {100 * spread:.1f}"
    return f"[green]{text} %[/]" if mean >= goal else f"[red]{text} %[/]"


def _scene_table(name: str, outcomes: Sequence[Outcome]) -> Table:
    first = outcomes[0]
    table = Table(
        title=f"{name}: error of γ0 in dB, mean and spread of {len(outcomes)} seeds",
        caption=(
            f"{first.cells} cells in layover; {100 * first.lost:.1f} % of the cells in layover "
            f"have no value in some method; better single pass: {first.better}"
        ),
    )
    table.add_column("")
    for part in PARTS:
        table.add_column(f"{part}: bias", justify="right")
        table.add_column("RMSE", justify="right")
    for row, title in ROWS.items():
        cells = [
            _text([each.scores[row][part, which] for each in outcomes])
            for part in range(len(PARTS))
            for which in range(2)
        ]
        table.add_row(title, *cells)
    return table


def _summary(outcomes: dict[str, list[Outcome]], title: str) -> Table:
    table = Table(title=title, caption="green: the goal is reached, red: it is missed")
    table.add_column("")
    for ours, other, goal in GOALS.values():
        table.add_column(f"{ours}\nvs {other}\ngoal {100 * goal:.0f} %", justify="right")
    changes = [(ONE_STEP, GEOCODED), (ONE_STEP, RTC), (ITERATION, RTC), (BOTH, SINGLE)]
    for ours, other in changes:
        table.add_column(f"outside:\n{ours}\n− {other}", justify="right")
    for name, seeds in outcomes.items():
        table.add_row(
            name,
            *(
                _percent([each.cut(ours, other) for each in seeds], goal)
                for ours, other, goal in GOALS.values()
            ),
            *(_change([each.outside(*pair) for each in seeds]) for pair in changes),
        )
    return table


def _change(values: Sequence[float]) -> str:
    mean = fmean(values)
    return f"[green]{mean:+.2f} dB[/]" if mean <= 0.0 else f"[red]{mean:+.2f} dB[/]"


def _figures(outcomes: dict[str, list[Outcome]]) -> dict[str, Value]:
    figures: dict[str, Value] = {}
    for key, (ours, other, _) in GOALS.items():
        cuts = {
            name: mean_and_spread([each.cut(ours, other) for each in seeds])
            for name, seeds in outcomes.items()
        }
        figures |= {f"core.{name}.{key}": cut for name, cut in cuts.items()}
    for name, seeds in outcomes.items():
        for row in ROWS:
            for part, suffix in enumerate(("_layover", "_outside", "")):
                for which, kind in enumerate(("bias", "rmse")):
                    values = [each.scores[row][part, which] for each in seeds]
                    figures[f"core.{name}.{row}.{kind}{suffix}"] = mean_and_spread(values)
    return figures


def _least(names: Sequence[str]) -> dict[str, Value]:
    """Return the least cut of all scenes on record: scenes may be run one by one."""
    stored = read()
    figures: dict[str, Value] = {}
    for key in GOALS:
        keys = [f"core.{name}.{key}" for name in names]
        if all(each in stored for each in keys):
            least = min((stored[each] for each in keys), key=lambda one: one["value"])
            figures[f"core.{key}.min"] = cast("Value", (least["value"], least["spread"]))
    return figures


def _play(console: Console, site: Site, seeds: int) -> list[Outcome]:
    with console.status(f"{site.name}: simulating the truth"):
        stage = Stage(site)
    outcomes = []
    for seed in range(seeds):
        with console.status(f"{site.name}: seed {seed + 1} of {seeds}"):
            outcomes.append(stage.play(seed))
    return outcomes


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.core", description=__doc__)
    parser.add_argument("--scene", nargs="+", metavar="NAME", help="scenes; all by default")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"{SEEDS} by default")
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put figures and pictures on record")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1:
        parser.error("--seeds must be at least 1")
    try:
        places = sites(chosen.scene, chosen.data)
    except ValueError as error:
        parser.error(str(error))
    console = Console()
    # A table that is squeezed cannot be read.
    console.width = max(console.width, WIDTH)
    outcomes: dict[str, list[Outcome]] = {}
    for site in places:
        outcomes[site.name] = _play(console, site, chosen.seeds)
        console.print(_scene_table(site.name, outcomes[site.name]))
        if chosen.save:
            save_picture(site.name, outcomes[site.name][0])
    console.print(_summary(outcomes, "how far the RMSE in layover is cut"))
    flat: dict[str, list[Outcome]] = {}
    for site in places:
        with console.status(f"{site.name}: with a flat law"):
            flat[site.name] = [Stage(site, OTHER_LAW).play(0)]
    console.print(_summary(flat, "the same where the true law is flat (cosine to the power 1.7)"))
    if chosen.save:
        command = f"python -m benchmarks.core --seeds {chosen.seeds} --save"
        figures = _figures(outcomes)
        for key, (ours, other, _) in GOALS.items():
            for name, (outcome,) in flat.items():
                figures[f"core.{name}.flat_law.{key}"] = outcome.cut(ours, other)
        record(figures, command)
        record(_least([site.name for site in sites(None, chosen.data)]), command)


if __name__ == "__main__":
    main()
