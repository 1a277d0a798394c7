"""What does the accuracy depend on? Orbit, heights, co-registration, records of ground range.

The image is simulated from a real elevation model of the Bavarian Alps under a real orbit, turned
about the Earth's axis until it sees them, as in `benchmarks.core`: patchy ground, speckle and
noise. The reconstruction is then given one thing that is wrong. Beside the error of gamma0 in dB,
in layover and elsewhere, stands how far from its true place in the image each cell is looked for,
in metres on the ground (root mean square). No offset is fitted away.

"corrected" is the same after `sarheight.coregistration`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks._figures import RESULTS, Value, record
from benchmarks._mountains.mistakes import CASES, COARSE, Case, Given
from benchmarks._mountains.scenes import ALPS, ORBIT_FILE, Place, Site, data_file
from benchmarks._mountains.truth import Truth, coarse_dem, reflectivity, truth_of
from sarheight import dem as elevation
from sarheight.geometry import geo2rdr
from sarheight.layover import reconstruct

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


__all__ = ["main"]

SEEDS = 3
WIDTH = 110
INCIDENCE = 33.0
PART = {"y": slice(478, 958), "x": slice(1365, 1845)}
"""The part of the Bavarian Alps that is used: 480 x 480 posts of 30 m."""
BAVARIAN_ALPS = Place("bavarian_alps", "dem/srtm1_bavarian_alps_30m.tif", ALPS, ORBIT_FILE)
Floats = NDArray[np.float64]


class _Part(Site):
    """A part of a place."""

    @cached_property
    def dem(self) -> xr.DataArray:
        """The fine DEM of the part."""
        path = data_file(self.place.dem, self.folder)
        return elevation.open_dem(path, vertical="ellipsoidal").isel(PART)


@dataclass(frozen=True)
class Found:
    """What came of a case and a seed: RMSE in dB in layover and outside, metres on the ground."""

    layover: float
    outside: float
    ground: float


def _rmse(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _ground(true: Given, given: Given) -> float:
    """Root mean square distance between where cells are, and where they are looked for."""
    places = [geo2rdr(dem, scene.grid, scene.orbit) for scene, dem in (true, given)]
    scene = true[0]
    spacing = {"line": scene.grid.line_spacing(scene.orbit), "sample": scene.grid.sample_spacing}
    away = [metres * (places[1][name] - places[0][name]).values for name, metres in spacing.items()]
    return float(np.sqrt(np.mean(away[0] ** 2 + away[1] ** 2)))


def play(truth: Truth, fine: xr.DataArray, seed: int, case: Case) -> Found:
    """Reconstruct with something wrong.

    Parameters
    ----------
    truth : Truth
        What the pass sees.
    fine : xarray.DataArray
        The fine DEM.
    seed : int
        Seed of ground, speckle and height error, the same for all cases.
    case : Case
        What is wrong.

    Returns
    -------
    Found
    """
    ground = reflectivity(fine, np.random.default_rng(seed))
    scene = truth.image(ground, np.random.default_rng(1000 + seed))
    dem = coarse_dem(fine, np.random.default_rng(2000 + seed), error=case.error)
    exact = coarse_dem(fine, np.random.default_rng(0), error=0.0)
    given = case.wrong(scene, dem)
    result = reconstruct(*given)
    miss = 10.0 * np.log10(np.maximum(result["gamma0"].values, 1e-6) / truth.gamma0(ground))
    known = np.isfinite(miss)
    return Found(
        _rmse(miss[known & truth.layover]),
        _rmse(miss[known & ~truth.layover]),
        _ground((scene, exact), given),
    )


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    return fmean(values), stdev(values) if len(values) > 1 else None


def _figures(outcomes: dict[str, list[Found]]) -> dict[str, Value]:
    figures: dict[str, Value] = {}
    for key, seeds in outcomes.items():
        figures[f"{key}.rmse_layover"] = _spread([each.layover for each in seeds])
        figures[f"{key}.rmse_outside"] = _spread([each.outside for each in seeds])
        figures[f"{key}.ground"] = _spread([each.ground for each in seeds])
    return figures


def _table(outcomes: dict[str, list[Found]], share: float) -> Table:
    table = Table(
        title="what the accuracy depends on: RMSE of γ0 in dB, mean and spread over seeds",
        caption=f"Bavarian Alps, {INCIDENCE:g}°, {100 * share:.1f} % of the cells in layover",
    )
    for name in ("what is wrong", "m on the ground", "in layover", "change", "elsewhere", "change"):
        table.add_column(name, justify="left" if name == "what is wrong" else "right")
    first = next(iter(outcomes.values()))
    for key, seeds in outcomes.items():
        row = [key.removeprefix("accuracy."), f"{fmean(each.ground for each in seeds):.2f}"]
        for name in ("layover", "outside"):
            values = [getattr(each, name) for each in seeds]
            changes = [
                value - getattr(each, name) for value, each in zip(values, first, strict=True)
            ]
            mean, spread = _spread(values)
            row += [f"{mean:.2f} ± {spread or 0.0:.2f}", f"{fmean(changes):+.3f}"]
        table.add_row(*row)
    return table


def _draw(axes: Axes, outcomes: dict[str, list[Found]], lines: dict[str, str], label: str) -> None:
    """Draw the errors in layover (solid) and elsewhere (dashed) over the amount of an error."""
    base = outcomes[CASES[0].key]
    for colour, (what, name) in zip(("#0072B2", "#D55E00"), lines.items(), strict=False):
        cases = [case for case in CASES if case.what == what]
        begin = (
            [] if what == "height_error" else [(COARSE if what == "dem_resolution" else 0, base)]
        )
        points = begin + [(case.amount, outcomes[case.key]) for case in cases]
        for part, style in (("layover", "-o"), ("outside", "--s")):
            means, spreads = zip(
                *(_spread([getattr(each, part) for each in seeds]) for _, seeds in points),
                strict=True,
            )
            axes.errorbar(
                [amount for amount, _ in points],
                means,
                [spread or 0.0 for spread in spreads],
                fmt=style,
                color=colour,
                capsize=3,
                label=f"{name}{'in layover' if part == 'layover' else 'elsewhere'}",
            )
    axes.set(xlabel=label, ylabel="RMSE of γ0 (dB)", ylim=(0.0, None))
    axes.legend(fontsize=8)


def save_picture(outcomes: dict[str, list[Found]]) -> None:
    """Save ``benchmarks/results/pictures/sensitivity.png``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 7.0), layout="constrained")
    axes = figure.subplots(2, 3)
    orbits = {"orbit_along": "along, ", "orbit_across": "across, "}
    _draw(axes[0, 0], outcomes, orbits, "orbit error (m)")
    _draw(axes[0, 1], outcomes, {"height_bias": ""}, "all heights too high by (m)")
    _draw(axes[0, 2], outcomes, {"height_error": ""}, "random height error, 90 m posts (m)")
    _draw(axes[1, 0], outcomes, {"dem_resolution": ""}, "resolution of the heights (m)")
    shifts = {"shift_along": "along, ", "shift_across": "across, "}
    _draw(axes[1, 1], outcomes, shifts, "shift of the image (pixels of 10 m)")
    after = [case for case in CASES if "corrected" in case.what]
    names = ["as it should be"]
    names += [f"{case.amount:g} {case.unit}\n{case.what.split('_c')[0]}" for case in after]
    shown = [outcomes[key] for key in (CASES[0].key, *(case.key for case in after))]
    for part, style in (("layover", "o"), ("outside", "s")):
        values = [_spread([getattr(each, part) for each in seeds]) for seeds in shown]
        axes[1, 2].errorbar(
            range(len(shown)),
            [mean for mean, _ in values],
            [spread or 0.0 for _, spread in values],
            fmt=style,
            capsize=3,
            color="#0072B2",
            markerfacecolor="#0072B2" if part == "layover" else "white",
            label="in layover" if part == "layover" else "elsewhere",
        )
    axes[1, 2].set_xticks(range(len(shown)), [name.replace("_", " ") for name in names], fontsize=8)
    axes[1, 2].set(title="after co-registration", ylim=(0.0, None), ylabel="RMSE of γ0 (dB)")
    axes[1, 2].legend(fontsize=8)
    figure.suptitle("Posterior mean with one thing wrong. Simulated: Bavarian Alps, a real orbit")
    folder = RESULTS / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "sensitivity.png", dpi=100)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.sensitivity", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"{SEEDS} by default")
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put figures and picture on record")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1:
        parser.error("--seeds must be at least 1")
    console = Console()
    console.width = max(console.width, WIDTH)
    site = _Part(BAVARIAN_ALPS, INCIDENCE, chosen.data)
    with console.status("simulating the truth"):
        truth = truth_of(site.dem, *site.descending())
    outcomes: dict[str, list[Found]] = {}
    for case in CASES:
        with console.status(case.key):
            outcomes[case.key] = [play(truth, site.dem, seed, case) for seed in range(chosen.seeds)]
    share = float(truth.layover[truth.counts].mean())
    console.print(_table(outcomes, share))
    if chosen.save:
        command = f"python -m benchmarks.sensitivity --seeds {chosen.seeds} --save"
        record({"accuracy.layover_share": share, **_figures(outcomes)}, command)
        save_picture(outcomes)


if __name__ == "__main__":
    main()
