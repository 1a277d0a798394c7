"""Does an image ever make heights worse? Coarse DEMs of many errors, by the independent simulator.

Images of point scatterers on ground with several laws; five places that no network was trained on.
They are no locked test: the rule that known elevations must show a gain, and the priors of the
alignment, were chosen with the results at these places in view. The coarse DEM has cells of 90 m;
heights are estimated at 30 m by `sarheight.terrain.estimate_heights` and compared with the best of
all that needs no image, chosen after the fact: interpolation, back-projection, both after alignment
to the known elevations, and kriged residuals. Everything is done for several draws of the errors
of the coarse DEM and of the known elevations: 16 of them may mislead by chance. The best of what
needs no image is the method whose RMSE, averaged over the draws, is least.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._figures import Value, mean_and_spread, record
from benchmarks._independent.observations import Archive, Image
from benchmarks._terrain.network import CoarseErrors
from sarheight.dem import reproject
from sarheight.learning import packaged_model, slope_error
from sarheight.terrain import (
    HeightEstimator,
    KnownElevations,
    apply_alignment,
    back_project,
    draw_known_elevations,
    estimate_alignment,
    estimate_heights,
    height_interval,
)

if TYPE_CHECKING:
    import xarray as xr

    from benchmarks._independent.observations import Observed

__all__ = ["CASES", "PLACES", "main"]

PLACES = ("taebaek", "nkorea", "svalbard", "oetztal", "aconcagua")
CASES: dict[str, tuple[CoarseErrors, int]] = {
    "usual": (CoarseErrors(error=4.5), 16),
    "error_free": (CoarseErrors(error=0.0), 16),
    "error_10": (CoarseErrors(error=10.0), 16),
    "offset_20": (CoarseErrors(error=4.5, offset=20.0), 16),
    "half_cell": (CoarseErrors(error=4.5, shift=(0.354, 0.354)), 16),
    "voids": (CoarseErrors(error=4.5, voids=6), 16),
}
"""Errors of the coarse DEM, and known elevations in the scene of 300 x 300 cells."""
WITHOUT = ("usual", "error_free", "error_10")
"""Cases that are also done without known elevations, the error of the coarse DEM stated."""
DENSITIES = (0, 16, 64)
"""Known elevations in 128 x 128 cells, for kriging."""
PATCH = 128
DRAWS = 10
FIRST_SEED = 7
"""Of the known elevations of the first draw."""
MARGIN = 6
"""Cells at the edge that are not counted."""
LEAST_ERROR = 0.5


def scores(height: xr.DataArray, observed: Observed) -> dict[str, float]:
    """RMSE of heights in metres, over all and in layover, and that of slopes in degrees."""
    inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    truth = observed.ground.dem.values[inside]
    error = height.values[inside] - truth
    folded = observed.fine["layover"].values[inside] > 0
    slopes = slope_error(height.values[inside], truth, (30.0, 30.0))
    return {
        "rmse": float(np.sqrt(np.nanmean(error**2))),
        "rmse_layover": float(np.sqrt(np.nanmean(error[folded] ** 2))),
        "slope_rmse": float(np.sqrt(np.nanmean(np.square(slopes)))),
    }


def covered(result: xr.Dataset, truth: xr.DataArray) -> float:
    """Share of the true heights in their 80 % intervals."""
    interval = height_interval(result, 0.8)
    inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    held = (interval["low"].values <= truth.values) & (truth.values <= interval["high"].values)
    return float(held[inside].mean())


def case(
    observed: Observed, name: str, estimator: HeightEstimator, *, points: int, draw: int
) -> dict[str, Any]:
    """Estimate heights in a case by all methods, and score them."""
    errors, _ = CASES[name]
    truth = observed.ground.dem.astype(np.float32)
    dem, known = drawn(observed, name, points, draw)
    stated = None if known is not None else max(errors.error, LEAST_ERROR)
    nearest = reproject(dem, like=truth, resampling="nearest")
    rows: dict[str, Any] = {
        "interpolated": reproject(dem, like=truth, resampling="cubic").fillna(nearest),
        "back_projected": back_project(dem, truth),
    }
    if known is not None:
        aligned = apply_alignment(dem, estimate_alignment(dem, known))
        rows["aligned"] = back_project(aligned, truth)
    given = {"dem_error": stated, "like": truth}
    kriged = estimate_heights(observed.scene, dem, known, **given)
    found = estimate_heights(observed.scene, dem, known, estimator=estimator, **given)
    rows |= {"kriged": kriged["height"], "network": found["height"]}
    # Interpolation leaves voids open: cells that are interpolated count for all.
    valid = np.isfinite(reproject(dem, like=truth, resampling="nearest")).values
    scored: dict[str, Any] = {
        row: scores(height.where(valid), observed) for row, height in rows.items()
    }
    for row, result in (("kriged", kriged), ("network", found)):
        scored[row]["coverage_80"] = covered(result, truth)
    scored["network"] |= {
        "share": float(found["network_share"].mean()),
        "notes": found.attrs["notes"],
        "coarse_error": found.attrs["coarse_error"],
        "alignment": found.attrs["alignment"],
    }
    return scored


def drawn(
    observed: Observed, name: str, points: int, draw: int
) -> tuple[xr.DataArray, KnownElevations | None]:
    """Draw the coarse DEM of a case and known elevations."""
    truth = observed.ground.dem.astype(np.float32)
    # The first draw is that of a single one.
    number = [draw] if draw else []
    random = np.random.default_rng([observed.ground.seed, *name.encode(), *number])
    dem = CASES[name][0].apply(truth, random)
    seed = FIRST_SEED + draw
    return dem, draw_known_elevations(truth, points, sigma=0.5, seed=seed) if points else None


def densities(observed: Observed, draw: int) -> dict[str, float]:
    """RMSE of kriged heights by the number of known elevations in 128 x 128 cells."""
    truth = observed.ground.dem.astype(np.float32)
    found = {}
    for density in DENSITIES:
        count = round(density * truth.size / PATCH**2)
        dem, known = drawn(observed, "usual", count, draw)
        result = estimate_heights(observed.scene, dem, known, like=truth)
        found[str(density)] = scores(result["height"], observed)["rmse"]
    return found


Draws = list[dict[str, Any]]
"""Scores by row, of all draws of a case."""


def best_row(draws: Draws) -> str:
    """Name the row without image whose mean RMSE is least."""
    rows = [row for row in draws[0] if row != "network"]
    return min(rows, key=lambda row: fmean(scored[row]["rmse"] for scored in draws))


def harms(draws: Draws) -> list[float]:
    """RMSE with the image over that of the best without, minus 1, in each draw."""
    best = best_row(draws)
    return [scored["network"]["rmse"] / scored[best]["rmse"] - 1.0 for scored in draws]


def harm(draws: Draws) -> float:
    """Mean RMSE with the image over that of the best without, minus 1."""
    with_image, without = (
        fmean(scored[row]["rmse"] for scored in draws) for row in ("network", best_row(draws))
    )
    return with_image / without - 1.0


def figures_of(found: dict[str, Any]) -> dict[str, Value]:
    """Collect the figures."""
    figures: dict[str, Value] = {}
    names = sorted(set.intersection(*(set(by_case["cases"]) for by_case in found.values())))
    for name in names:
        values, held, worst = [], [], []
        for place, by_case in found.items():
            draws: Draws = by_case["cases"][name]
            values.append(harm(draws))
            held.append(fmean(scored["network"]["coverage_80"] for scored in draws))
            worst.append(max(harms(draws)))
            figures[f"terrain.predict.harm.{name}.{place}"] = (
                values[-1],
                mean_and_spread(harms(draws))[1],
            )
            for row in draws[0]:
                for key in ("rmse", "rmse_layover", "slope_rmse"):
                    figures[f"terrain.predict.{place}.{name}.{row}.{key}"] = mean_and_spread(
                        [scored[row][key] for scored in draws]
                    )
        figures[f"terrain.predict.harm.{name}.max"] = max(values)
        figures[f"terrain.predict.harm.{name}.median"] = median(values)
        figures[f"terrain.predict.harm.{name}.worst_draw"] = max(worst)
        figures[f"terrain.predict.coverage_80.{name}"] = fmean(held)
        figures[f"terrain.predict.coverage_80.{name}.min"] = min(held)
        figures[f"terrain.predict.coverage_80.{name}.max"] = max(held)
    for density in DENSITIES:
        for place, by_case in found.items():
            figures[f"terrain.predict.{place}.several.kriged_{density}.rmse"] = mean_and_spread(
                [each[str(density)] for each in by_case["densities"]]
            )
    return figures


def report(found: dict[str, Any], console: Console) -> None:
    """Print all rows."""
    for place, by_case in found.items():
        table = Table("case", *ROWS, "harm", "worst", "80 % hold", "used", title=place)
        for name, draws in by_case["cases"].items():
            table.add_row(
                name,
                *(
                    f"{fmean(scored[row]['rmse'] for scored in draws):.2f}"
                    if row in draws[0]
                    else ""
                    for row in ROWS
                ),
                f"{100.0 * harm(draws):+.1f} %",
                f"{100.0 * max(harms(draws)):+.1f} %",
                ", ".join(
                    f"{100.0 * fmean(scored[row]['coverage_80'] for scored in draws):.0f}"
                    for row in ("kriged", "network")
                ),
                f"{sum(scored['network']['share'] > 0.0 for scored in draws)} of {len(draws)}",
            )
        console.print(table)
        for density in DENSITIES:
            mean = fmean(each[str(density)] for each in by_case["densities"])
            console.print(f"{place}, kriged, {density} points in {PATCH} x {PATCH}: {mean:.2f} m")


ROWS = ("interpolated", "back_projected", "aligned", "kriged", "network")


def main(arguments: Sequence[str] | None = None) -> None:
    """Estimate heights in all cases, report, and put the figures on record."""
    parser = argparse.ArgumentParser("python -m benchmarks._terrain.harm", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("build/independent"))
    parser.add_argument("--work", type=Path, default=Path("build/terrain_harm"))
    parser.add_argument("--model", type=Path, default=None, help="default: the included network")
    parser.add_argument("--label", help="of another model: its scores and figures are kept apart")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--places", default=",".join(PLACES))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--laws", default="several", choices=("several", "single"))
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    chosen = parser.parse_args(arguments)
    if bool(chosen.model) != bool(chosen.label):
        parser.error("found --model or --label alone, expected both or none")
    estimator = HeightEstimator.from_pretrained(chosen.model or packaged_model("terrain"))
    archive = Archive(chosen.cache)
    chosen.work.mkdir(parents=True, exist_ok=True)
    console = Console(width=140)
    found: dict[str, Any] = {}
    names = chosen.cases.split(",")
    wanted = {name: (name, CASES[name][1]) for name in names} | {
        f"{name}_no_points": (name, 0) for name in WITHOUT if name in names
    }
    for place in chosen.places.split(","):
        # Scores of one model must not be taken for those of another.
        kept = chosen.work / "_".join(filter(None, (chosen.label, place, f"{chosen.laws}.json")))
        nothing: dict[str, Any] = {"cases": {}, "densities": []}
        done = json.loads(kept.read_text("utf-8")) if kept.exists() else nothing
        image = Image(place, chosen.laws, seed=0, incidence=33, ascending=True)
        observed = archive.observed(image, "coarser")
        for draw in range(chosen.draws):
            for key, (name, points) in wanted.items():
                draws = done["cases"].setdefault(key, [])
                if len(draws) <= draw:
                    draws.append(case(observed, name, estimator, points=points, draw=draw))
                    kept.write_text(json.dumps(done), "utf-8")
            if len(done["densities"]) <= draw:
                done["densities"].append(densities(observed, draw))
                kept.write_text(json.dumps(done), "utf-8")
        found[place] = done
        report({place: done}, console)
    if not chosen.save:
        return
    figures, command = figures_of(found), "python -m benchmarks._terrain.harm"
    if chosen.model:
        old = "terrain.predict.harm."
        figures = {
            key.replace(old, f"terrain.predict.{chosen.label}.harm."): value
            for key, value in figures.items()
            if key.startswith(old)
        }
        command += f" --model MODEL --label {chosen.label}"
    record(figures, f"{command} --save")


if __name__ == "__main__":
    main()
