"""Does an image ever make heights worse? Coarse DEMs of many errors, by the independent simulator.

Images of point scatterers on ground with several laws; five places that no network was trained on.
They are no locked test: the rule that known elevations must show a gain, and the priors of the
alignment, were chosen with the results at these places in view. The coarse DEM has cells of 90 m;
heights are estimated at 30 m by `sarheight.terrain.estimate_heights` and compared with the best of
all that needs no image, chosen after the fact: interpolation, back-projection, both after alignment
to the known elevations, and kriged residuals.
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

from benchmarks._figures import Value, record
from benchmarks._independent.observations import Archive, Image
from benchmarks._terrain.network import CoarseErrors
from sarheight.dem import reproject
from sarheight.learning import packaged_model, slope_error
from sarheight.terrain import (
    HeightEstimator,
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
    observed: Observed, name: str, estimator: HeightEstimator, *, points: int
) -> dict[str, Any]:
    """Estimate heights in a case by all methods, and score them."""
    errors, _ = CASES[name]
    truth = observed.ground.dem.astype(np.float32)
    random = np.random.default_rng([observed.ground.seed, *name.encode()])
    dem = errors.apply(truth, random)
    known = draw_known_elevations(truth, points, sigma=0.5, seed=7) if points else None
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


def densities(observed: Observed) -> dict[str, float]:
    """RMSE of kriged heights by the number of known elevations in 128 x 128 cells."""
    errors, _ = CASES["usual"]
    truth = observed.ground.dem.astype(np.float32)
    random = np.random.default_rng([observed.ground.seed, *b"usual"])
    dem = errors.apply(truth, random)
    found = {}
    for density in DENSITIES:
        count = round(density * truth.size / PATCH**2)
        known = draw_known_elevations(truth, count, sigma=0.5, seed=7) if count else None
        result = estimate_heights(observed.scene, dem, known, like=truth)
        found[str(density)] = scores(result["height"], observed)["rmse"]
    return found


def harm(scored: dict[str, Any]) -> float:
    """RMSE with the image over that of the best without, minus 1."""
    best = min(each["rmse"] for row, each in scored.items() if row != "network")
    return float(scored["network"]["rmse"] / best - 1.0)


def figures_of(found: dict[str, Any]) -> dict[str, Value]:
    """Collect the figures."""
    figures: dict[str, Value] = {}
    names = sorted(set.intersection(*(set(by_case["cases"]) for by_case in found.values())))
    for name in names:
        values, held = [], []
        for place, by_case in found.items():
            scored = by_case["cases"][name]
            values.append(harm(scored))
            held.append(scored["network"]["coverage_80"])
            figures[f"terrain.predict.harm.{name}.{place}"] = values[-1]
            for row, each in scored.items():
                for key in ("rmse", "rmse_layover", "slope_rmse"):
                    figures[f"terrain.predict.{place}.{name}.{row}.{key}"] = each[key]
        figures[f"terrain.predict.harm.{name}.max"] = max(values)
        figures[f"terrain.predict.harm.{name}.median"] = median(values)
        figures[f"terrain.predict.coverage_80.{name}"] = fmean(held)
        figures[f"terrain.predict.coverage_80.{name}.min"] = min(held)
        figures[f"terrain.predict.coverage_80.{name}.max"] = max(held)
    for density in DENSITIES:
        for place, by_case in found.items():
            if "densities" in by_case:
                key = f"terrain.predict.{place}.several.kriged_{density}.rmse"
                figures[key] = by_case["densities"][str(density)]
    return figures


def report(found: dict[str, Any], console: Console) -> None:
    """Print all rows."""
    for place, by_case in found.items():
        table = Table("case", *ROWS, "harm", "80 % hold", "share", "coarse error", title=place)
        for name, scored in by_case["cases"].items():
            network = scored["network"]
            table.add_row(
                name,
                *(f"{scored[row]['rmse']:.2f}" if row in scored else "" for row in ROWS),
                f"{100.0 * harm(scored):+.1f} %",
                f"{100.0 * scored['kriged']['coverage_80']:.0f}, "
                f"{100.0 * network['coverage_80']:.0f}",
                f"{network['share']:.2f}",
                f"{network['coarse_error']:.1f}",
            )
        console.print(table)
        console.print(place, "kriged:", by_case["densities"])


ROWS = ("interpolated", "back_projected", "aligned", "kriged", "network")


def main(arguments: Sequence[str] | None = None) -> None:
    """Estimate heights in all cases, report, and put the figures on record."""
    parser = argparse.ArgumentParser("python -m benchmarks._terrain.harm", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("build/independent"))
    parser.add_argument("--work", type=Path, default=Path("build/terrain_harm"))
    parser.add_argument("--model", type=Path, default=None, help="default: the included network")
    parser.add_argument("--places", default=",".join(PLACES))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--laws", default="several", choices=("several", "single"))
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    chosen = parser.parse_args(arguments)
    estimator = HeightEstimator.from_pretrained(chosen.model or packaged_model("terrain"))
    archive = Archive(chosen.cache)
    chosen.work.mkdir(parents=True, exist_ok=True)
    console = Console(width=140)
    found: dict[str, Any] = {}
    for place in chosen.places.split(","):
        kept = chosen.work / f"{place}_{chosen.laws}.json"
        done = json.loads(kept.read_text("utf-8")) if kept.exists() else {"cases": {}}
        image = Image(place, chosen.laws, seed=0, incidence=33, ascending=True)
        observed = archive.observed(image, "coarser")
        wanted = {name: (name, CASES[name][1]) for name in chosen.cases.split(",")} | {
            f"{name}_no_points": (name, 0) for name in WITHOUT if name in chosen.cases.split(",")
        }
        for key, (name, points) in wanted.items():
            if key not in done["cases"]:
                done["cases"][key] = case(observed, name, estimator, points=points)
                kept.write_text(json.dumps(done), "utf-8")
        if "densities" not in done:
            done["densities"] = densities(observed)
            kept.write_text(json.dumps(done), "utf-8")
        found[place] = done
        report({place: done}, console)
    if chosen.save:
        record(figures_of(found), "python -m benchmarks._terrain.harm --save")


if __name__ == "__main__":
    main()
