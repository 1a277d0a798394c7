"""How much closer do radar images bring heights? Refinement at places that chose nothing.

The rule, written before a locked place was read: the seven scored places of
`benchmarks._independent.places`; of each crop the middle 201 x 201 cells of 30 m; ground of seed 0
with several angular laws or a single one, seen by the independent simulator under 33 degrees; the
coarse DEM of `scattering_ground.COARSER`: 90 m, an error of 4.5 m, correlated. Cells within 12 of
the edge are left out. `refine` has its default settings throughout.

Rows: one date of the ascending pass (``refine_1``), of both passes (``refine_1x2``), the mean of 30
dates of both (``refine_30x2``; dates differ by speckle and noise, see
`tests.worlds.mean_images`). The baseline is the best of bilinear and cubic interpolation
and back-projection, in each region. Cases: the coarse DEM with no error and with 10 m, of which the
method is not told; 20 m too high, and half a coarse cell off both ways, with 16 known elevations
with errors of 0.5 m; one date of both passes. In the latter two the baselines are also aligned to
the known elevations, and kriged, and means over `DRAWS` draws of these are compared: few elevations
may mislead by chance. Intervals are those of `height_interval`. With ``--network`` the included
network corrects the refined heights, as by ``sarheight refine --network`` (``network_1`` and so on,
and the cases).

The places for development (``--places development``) are those by which settings were chosen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks._command import options, tell
from benchmarks._files import whole
from benchmarks._independent.places import PLACES, places_of, true_dem
from sarheight.dem import reproject
from sarheight.illumination import simulate
from sarheight.terrain import (
    apply_alignment,
    back_project,
    draw_known_elevations,
    estimate_alignment,
    height_interval,
    krige_residuals,
)
from sarheight.terrain.refinement import refine
from tests.worlds.mean_images import expected_image, mean_image
from tests.worlds.point_scatterers import observe, pass_over
from tests.worlds.scattering_ground import COARSER, Ground, block_sums, draw_ground

if TYPE_CHECKING:
    import argparse

    import xarray as xr

    from benchmarks._independent.observations import Laws
    from sarheight.scene import Scene
    from sarheight.terrain import RefinementNetwork

__all__ = ["CASES", "ROWS", "Result", "Seen", "main", "run_place", "with_error"]

Floats = NDArray[np.float64]
Result = dict[str, dict[str, float]]

CELLS, MARGIN, SEED, INCIDENCE, DATES = 201, 12, 0, 33, 30
DATA = ("1", "1x2", "30x2")
"""Dates, and passes where there are two."""
ROWS = tuple(f"{method}_{data}" for method in ("refine", "network") for data in DATA)
CASES = {"error_0": 0.0, "error_10": 10.0}
"""Standard deviations of the coarse DEM's error in metres, where it is not that of the rule."""
DISPLACED = {"offset_20": (20.0, 0.0), "half_cell": (0.0, 0.5)}
"""Offsets in metres, and shifts east and north in coarse cells, with `POINTS` known elevations."""
EVERY_CASE = tuple(
    f"{before}{case}" for before in ("", "network_") for case in (*CASES, *DISPLACED)
)
POINTS, DRAWS, FIRST_SEED = 16, 10, 7
"""Known elevations, draws of them, and the seed of the first."""
LEVELS = (50, 80, 95)
"""Of intervals, in per cent."""
BASELINES = ("unaligned", "aligned", "kriged")

GOALS = {
    f"terrain.median.several.{row}.cut_vs_best_baseline": f">= {goal:.2f}"
    for row, goal in zip(ROWS, (0.05, 0.06, 0.12, 0.05, 0.12, 0.20), strict=True)
}


def _scores(
    heights: NDArray[np.floating], truth: xr.DataArray, layover: Floats
) -> dict[str, float]:
    """RMSE of heights, all and in layover, in metres, and of slopes in degrees."""
    inside = (slice(MARGIN, -MARGIN),) * 2
    error = (np.asarray(heights, dtype=np.float64) - truth.values)[inside]
    posting = float(abs(truth.x[1] - truth.x[0]))
    angles = [
        np.degrees(np.arctan(np.hypot(*np.gradient(np.asarray(each, np.float64), posting))))
        for each in (heights, truth.values)
    ]
    folded = layover[inside] > 0.0
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "rmse_layover": float(np.sqrt(np.mean(error[folded] ** 2))) if folded.any() else 0.0,
        "slope_rmse": float(np.sqrt(np.mean((angles[0] - angles[1])[inside] ** 2))),
    }


def _coverage(result: xr.Dataset, truth: xr.DataArray) -> dict[str, float]:
    """Part of the cells whose true height lies in the intervals."""
    inside = (slice(MARGIN, -MARGIN),) * 2
    heights = truth.values[inside]
    held = {}
    for level in LEVELS:
        interval = height_interval(result, level / 100.0)
        low, high = (interval[name].values[inside] for name in ("low", "high"))
        held[f"coverage_{level}"] = float(np.mean((low < heights) & (heights < high)))
    return held


def _baselines(coarse: xr.DataArray, truth: xr.DataArray) -> dict[str, NDArray[np.floating]]:
    """Heights without an image."""
    surface = back_project(coarse, factor=COARSER.factor)
    nearest = reproject(coarse, like=truth, resampling="nearest")
    return {
        "bilinear": reproject(coarse, like=truth, resampling="bilinear").fillna(nearest).values,
        "cubic": reproject(coarse, like=truth, resampling="cubic").fillna(nearest).values,
        "back_projection": surface.values,
    }


def with_error(ground: Ground, error: float) -> xr.DataArray:
    """Return the coarse DEM with another size of its error."""
    usual = COARSER.degrade(ground.dem, ground.seed)
    exact = block_sums(ground.dem.values, COARSER.factor) / COARSER.factor**2
    wrong = (usual.values - exact) * (error / COARSER.error)
    return usual.copy(data=(exact + wrong).astype(np.float32))


def _displaced(
    scenes: Sequence[Scene],
    coarse: xr.DataArray,
    truth: xr.DataArray,
    layover: Floats,
    case: str,
    network: RefinementNetwork | None,
) -> dict[str, float]:
    """Refine a displaced DEM with known elevations, and score it on the grid of the truth."""
    offset, cells = DISPLACED[case]
    step = cells * float(coarse.x[1] - coarse.x[0])
    dem = coarse + np.float32(offset)
    dem = dem.assign_coords(x=dem.x + step, y=dem.y + step).assign_attrs(coarse.attrs)
    dem = dem.rio.write_crs(truth.rio.crs)
    unaligned = back_project(dem, factor=COARSER.factor)

    def there(heights: xr.DataArray) -> Floats:
        nearest = reproject(heights, like=truth, resampling="nearest")
        found = reproject(heights, like=truth, resampling="cubic").fillna(nearest)
        return found.values.astype(np.float64)

    scores: list[dict[str, float]] = []
    for draw in range(DRAWS):
        seed = FIRST_SEED + draw
        known = draw_known_elevations(truth.astype(np.float32), POINTS, sigma=0.5, seed=seed)
        moved = back_project(
            apply_alignment(dem, estimate_alignment(dem, known)), factor=COARSER.factor
        )
        result = refine(scenes, dem, known, coregister="none", network=network)
        on_truth = result[["height", "height_sigma"]].map(
            lambda each: truth.copy(data=there(each.rio.write_crs(truth.rio.crs)))
        )
        found = _scores(on_truth["height"].values, truth, layover) | _coverage(on_truth, truth)
        for name, heights in (
            ("unaligned", unaligned),
            ("aligned", moved),
            ("kriged", krige_residuals(moved, known)["height"]),
        ):
            found[name] = _scores(there(heights), truth, layover)["rmse"]
        scores.append(found)
    mean = {key: fmean(each[key] for each in scores) for key in scores[0]}
    return mean | {"best_baseline": min(mean.pop(name) for name in BASELINES)}


@dataclass(frozen=True, eq=False)
class Seen:
    """The middle of a place, and what both passes see of it."""

    ground: Ground  # With the true DEM
    coarse: xr.DataArray
    one: list[Scene]  # One date of both passes
    many: list[Scene]  # The means of `DATES`
    layover: Floats  # Where either pass folds the ground

    @classmethod
    def of(cls, name: str, laws: Laws, data: str | None = None) -> Seen:
        """See a place."""
        edge = (300 - CELLS) // 2 // COARSER.factor * COARSER.factor
        middle = {axis: slice(edge, edge + CELLS) for axis in ("y", "x")}
        ground = draw_ground(true_dem(PLACES[name], data).isel(middle), SEED, laws=laws)
        expected = [expected_image(ground, INCIDENCE, ascending=each) for each in (True, False)]
        seen = [observe(ground, each.grid, each.orbit, SEED, scatterers=4) for each in expected]
        return cls(
            ground,
            COARSER.degrade(ground.dem, ground.seed),
            [each.scene for each in seen],
            [mean_image(each, DATES, 2 * SEED + k) for k, each in enumerate(expected)],
            np.maximum(*(each.fine["layover"].values.astype(np.float64) for each in seen)),
        )


def run_place(
    name: str, laws: Laws, data: str | None = None, network: RefinementNetwork | None = None
) -> Result:
    """Score a place: by row, the figures of heights, slopes and intervals."""
    seen = Seen.of(name, laws, data)
    truth, coarse, layover = seen.ground.dem, seen.coarse, seen.layover
    found: Result = {
        row: _scores(heights, truth, layover) for row, heights in _baselines(coarse, truth).items()
    }
    images = dict(zip(DATA, (seen.one[:1], seen.one, seen.many), strict=True))
    method, before = ("refine", "") if network is None else ("network", "network_")
    for part in DATA if laws == "several" else ("30x2",):
        result = refine(images[part], coarse, coregister="none", network=network)
        scores = _scores(result["height"].values, truth, layover)
        found[f"{method}_{part}"] = scores | _coverage(result, truth)
    if laws == "several":
        for case, error in CASES.items():
            other = with_error(seen.ground, error)
            result = refine(seen.one, other, coregister="none", network=network)
            scores = _scores(result["height"].values, truth, layover)
            best = [
                _scores(each, truth, layover)["rmse"] for each in _baselines(other, truth).values()
            ]
            scores["best_baseline"] = min(best)
            found[f"{before}{case}"] = scores | _coverage(result, truth)
        for case in DISPLACED:
            found[f"{before}{case}"] = _displaced(seen.one, coarse, truth, layover, case, network)
    return found


def cost(network: RefinementNetwork | None = None) -> dict[str, float]:
    """Measure time, processor time and memory of 1,002 x 1,002 cells under two passes."""
    from resource import RUSAGE_SELF, getrusage

    truth = true_dem(PLACES["leh"])
    tiled = np.pad(truth.values, [(0, 702), (0, 702)], mode="symmetric")
    crs = truth.rio.crs
    steps = 30.0 * np.arange(tiled.shape[0])
    dem = truth.isel(y=0, x=0, drop=True).expand_dims(
        y=float(truth.y[0]) - steps, x=float(truth.x[0]) + steps
    )
    dem = dem.copy(data=tiled).transpose("y", "x").rio.write_crs(crs)
    coarse = COARSER.degrade(dem, 0)
    scenes = []
    for ascending in (True, False):
        grid, orbit = pass_over(dem, INCIDENCE, ascending=ascending)
        scenes.append(simulate(dem, grid, orbit, looks=4.0, seed=1))
    refine(scenes, coarse[:24, :24], coregister="none", network=network)  # compiles
    before, began = getrusage(RUSAGE_SELF).ru_maxrss, (time.perf_counter(), time.process_time())
    refine(scenes, coarse, coregister="none", network=network)
    ended, cells = (time.perf_counter(), time.process_time()), dem.size / 1e6
    name = "terrain.refine" if network is None else "terrain.refine_network"
    return {
        f"{name}_seconds_1000": (ended[0] - began[0]) / cells,
        f"{name}_core_seconds_1000": (ended[1] - began[1]) / cells,
        # Kilobytes; the images and the DEM are in memory before, and count as the caller's.
        f"{name}_bytes_per_cell": 1024.0 * (getrusage(RUSAGE_SELF).ru_maxrss - before) / dem.size,
    }


def _cut(found: Result, row: str, what: str) -> float:
    """Return by which part a row's error is below that of the best baseline."""
    best = min(found[each][what] for each in ("bilinear", "cubic", "back_projection"))
    return 1.0 - found[row][what] / best


def figures_of(results: dict[tuple[str, str], Result]) -> dict[str, float]:
    """Collect the figures that go on record."""
    figures: dict[str, float] = {}
    cuts: dict[str, list[float]] = {}
    coverage: dict[str, list[float]] = {}
    for (place, laws), found in results.items():
        for row in ROWS:
            if row not in found:
                continue
            for what, suffix in (
                ("rmse", ""),
                ("slope_rmse", "_slopes"),
                ("rmse_layover", "_layover"),
            ):
                cut = _cut(found, row, what)
                figures[f"terrain.{place}.{laws}.{row}.cut_vs_best_baseline{suffix}"] = cut
                cuts.setdefault(f"{laws}.{row}.cut_vs_best_baseline{suffix}", []).append(cut)
            if "coverage_80" in found[row]:
                coverage.setdefault(f"{row}.{laws}", []).append(found[row]["coverage_80"])
        figures[f"terrain.{place}.{laws}.back_projection.rmse"] = found["back_projection"]["rmse"]
        for case in EVERY_CASE:
            if case in found:
                harm = found[case]["rmse"] / found[case]["best_baseline"] - 1.0
                figures[f"terrain.harm.{case}.{place}"] = harm
                coverage.setdefault(case, []).append(found[case]["coverage_80"])
    for name, values in cuts.items():
        figures[f"terrain.median.{name}"] = median(values)
        figures[f"terrain.median.{name}.min"] = min(values)
    for case, values in coverage.items():
        figures[f"terrain.coverage_80.{case}"] = float(np.mean(values))
        figures[f"terrain.coverage_80.{case}.min"] = min(values)
        figures[f"terrain.coverage_80.{case}.max"] = max(values)
    return figures


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options("refinement", __doc__)
    parser.add_argument("--places", default="scored", help="a group, or names with commas")
    parser.add_argument("--laws", default="several,single")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("build/refinement"),
        help="what is there is not done again",
    )
    parser.add_argument("--network", action="store_true", help="refine with the included network")
    parser.add_argument("--cost", action="store_true", help="measure time and memory only")
    return parser.parse_args(arguments)


def _network() -> RefinementNetwork:
    """Load the included network; one thread for each tile is enough."""
    import torch

    from sarheight.learning import packaged_model
    from sarheight.terrain import RefinementNetwork

    torch.set_num_threads(1)
    return RefinementNetwork.from_pretrained(packaged_model("refinement"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the places, and put the figures on record."""
    chosen = _parsed(arguments)
    network, before = (_network(), "network_") if chosen.network else (None, "")
    flags = " --network" if chosen.network else ""
    if chosen.cost:
        tell(cost(network), f"refinement --cost{flags}", save=chosen.save)
        return
    if chosen.places in ("scored", "development"):
        names = [each.name for each in places_of(chosen.places)]
    else:
        names = chosen.places.split(",")
    results = {}
    for laws in chosen.laws.split(","):
        for name in names:
            path = chosen.work / f"{before}{name}_{laws}.json"
            if not path.exists():
                found = run_place(name, laws, chosen.data, network)
                with whole(path) as part:
                    part.write_text(json.dumps(found), "utf-8")
            results[name, laws] = json.loads(path.read_text("utf-8"))
            print(f"{name}, {laws}", flush=True)
    tell(figures_of(results), f"refinement{flags}", save=chosen.save, goals=GOALS)


if __name__ == "__main__":
    main()
