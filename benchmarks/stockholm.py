"""Building heights of Stockholm from statistics of Sentinel-1: linear, boosting, and our network.

5,956 places: backscatter of ascending and descending passes, built shares around the place, light
at night, and the height of the building (real data). Block cross-validation: what lies in one
block is never on both sides of a split. All methods see the same features. Their settings are
chosen inside the training folds alone, by an inner split into blocks. Another city's file of the
same form is given by `--file`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._buildings.feature_file import COLUMNS, Places, read_places
from benchmarks._figures import Value, record
from benchmarks._mountains.scenes import data_file
from sarheight.buildings import FeatureTable, TabularSettings, train_tabular

__all__ = ["GOALS", "ROWS", "main"]

FILE = "building_height/s1_asc_desc_height_stockholm.npz"
SEEDS, FOLDS, INNER = 3, 5, 3
GOALS = {"buildings.stockholm.cut_vs_gradient_boosting": 0.08}
ROWS = {
    "mean": "mean height of the training blocks",
    "linear": "linear (ridge)",
    "gradient_boosting": "gradient boosting",
    "ours": "our network",
    "both": "mean of our network and boosting",
    "block_mean": "the block's own true mean (no estimate: a bound)",
}
BOOSTING = {
    "learning_rate": [0.02, 0.04, 0.08],
    "max_iter": [80, 160, 240],
    "max_leaf_nodes": [4, 8, 16],
    "min_samples_leaf": [20, 50, 100],
    "l2_regularization": [0.0, 1.0, 10.0],
    "max_features": [0.3, 0.6, 1.0],
    "loss": ["squared_error", "gamma"],
}
TRIALS = 6
OURS = TabularSettings()
BINS = {"count": 24, "lowest": 2.0, "highest": 90.0}
CANDIDATES = (
    replace(OURS, options={"dropout": 0.3, "bins": BINS}),
    replace(OURS, options={"dropout": 0.5, "bins": BINS}, decay=0.3),
    replace(OURS, options={"dropout": 0.5, "bins": BINS}, square=0.0),
)

Floats = NDArray[np.float64]
Split = tuple[NDArray[np.int64], NDArray[np.int64]]
Method = Callable[[Places, NDArray[np.int64], NDArray[np.int64]], Floats]
"""From places, those to learn from and those to estimate, to heights."""


def _splits(places: Places, chosen: NDArray[np.int64], count: int, seed: int) -> list[Split]:
    """Part some places into folds of whole blocks; return indices into all places."""
    folds = GroupKFold(count, shuffle=True, random_state=seed)
    parts = folds.split(chosen, groups=places.blocks[chosen])
    return [(chosen[learn], chosen[rest]) for learn, rest in parts]


def _linear(places: Places, learn: NDArray[np.int64], rest: NDArray[np.int64]) -> Floats:
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1.0, 4.0, 11)))
    model.fit(places.values[learn], places.heights[learn])
    return np.asarray(model.predict(places.values[rest]))


def _boosted(
    places: Places, learn: NDArray[np.int64], rest: NDArray[np.int64], seed: int
) -> Floats:
    """Boost with the best of some settings, by blocks inside the training folds."""
    search = RandomizedSearchCV(
        HistGradientBoostingRegressor(random_state=seed),
        BOOSTING,
        n_iter=TRIALS,
        scoring="neg_mean_squared_error",
        cv=GroupKFold(INNER, shuffle=True, random_state=seed),
        random_state=seed,
    )
    search.fit(places.values[learn], places.heights[learn], groups=places.blocks[learn])
    return np.asarray(search.predict(places.values[rest]))


def _ours(
    places: Places, learn: NDArray[np.int64], rest: NDArray[np.int64], seed: int, folder: Path
) -> Floats:
    """Average networks that stop by one inner fold each, of the settings best on the first."""
    inner = _splits(places, learn, INNER, seed)

    def estimates(number: int, fold: int) -> tuple[float, Floats]:
        within, held_out = (
            FeatureTable(places.values[part], places.heights[part]) for part in inner[fold]
        )
        settings = replace(CANDIDATES[number], seed=seed)
        run = folder / f"settings_{number}_fold_{fold}"
        estimator = train_tabular(places.names, within, held_out, settings, run)
        with torch.inference_mode():
            checked = estimator(torch.from_numpy(held_out.values)).height.numpy()
            wanted = torch.from_numpy(places.values[rest].astype(np.float32))
            found = estimator(wanted).height.numpy().astype(np.float64)
        return float(np.mean((checked - held_out.heights) ** 2)), found

    tried = [estimates(number, 0) for number in range(len(CANDIDATES))]
    best = int(np.argmin([error for error, _ in tried]))
    others = [estimates(best, fold)[1] for fold in range(1, INNER)]
    return np.asarray(np.mean([tried[best][1], *others], axis=0))


def _bound(places: Places) -> Floats:
    """Return the mean height of the block of each place."""
    count = np.bincount(places.blocks)
    return np.asarray((np.bincount(places.blocks, places.heights) / count)[places.blocks])


def cross_validated(places: Places, seed: int, folder: Path) -> dict[str, float]:
    """Return the RMSE in metres of each row of the table, over all places held out in turn."""
    estimates = {name: np.empty(len(places.heights)) for name in ROWS}
    everything = np.arange(len(places.heights))
    for fold, (learn, rest) in enumerate(_splits(places, everything, FOLDS, seed)):
        estimates["mean"][rest] = places.heights[learn].mean()
        estimates["linear"][rest] = _linear(places, learn, rest)
        estimates["gradient_boosting"][rest] = _boosted(places, learn, rest, seed)
        estimates["ours"][rest] = _ours(places, learn, rest, seed, folder / f"{seed}_{fold}")
    estimates["both"] = 0.5 * (estimates["ours"] + estimates["gradient_boosting"])
    estimates["block_mean"] = _bound(places)
    return {
        name: float(np.sqrt(np.mean((estimate - places.heights) ** 2)))
        for name, estimate in estimates.items()
    }


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    return fmean(values), stdev(values) if len(values) > 1 else None


def _cuts(seeds: list[dict[str, float]], row: str) -> list[float]:
    return [1.0 - each[row] / each["gradient_boosting"] for each in seeds]


def _table(places: Places, seeds: list[dict[str, float]], name: str) -> Table:
    blocks = len(np.unique(places.blocks))
    table = Table(
        title=f"{name}: RMSE of building heights in m",
        caption=(
            f"{len(places.heights)} places ({places.repeated} repeated ones left out) in {blocks} "
            f"blocks ({places.parted_by}), {FOLDS} folds of blocks, {len(seeds)} ways to deal them"
        ),
    )
    for number, column in enumerate(("estimate", "RMSE", "cut vs boosting")):
        table.add_column(column, justify="right" if number else "left")
    for row, text in ROWS.items():
        mean, spread = _spread([each[row] for each in seeds])
        cut, around = _spread([100.0 * value for value in _cuts(seeds, row)])
        table.add_row(
            text,
            f"{mean:.2f}" + (f" ± {spread:.2f}" if spread is not None else ""),
            f"{cut:.1f}" + (f" ± {around:.1f} %" if around is not None else " %"),
        )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Cross-validate, print the table, and put the figures on record."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.stockholm",
        description=f"{__doc__}{COLUMNS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--file", type=Path, help="another city's file of the same form")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="ways to deal out the blocks")
    parser.add_argument("--work", type=Path, default=Path("build/stockholm"))
    chosen = parser.parse_args(arguments)
    console = Console()
    path = chosen.file or data_file(FILE, chosen.data)
    places = read_places(path)
    seeds = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        for seed in range(chosen.seeds):
            console.print(f"seed {seed}")
            seeds.append(cross_validated(places, seed, chosen.work / path.stem))
    console.print(_table(places, seeds, path.stem))
    if chosen.save and chosen.file is None:
        figures: dict[str, Value] = {
            f"buildings.stockholm.{row}.rmse": _spread([each[row] for each in seeds])
            for row in ROWS
        }
        for key, row in (("cut_vs_gradient_boosting", "ours"), ("cut_of_both", "both")):
            figures[f"buildings.stockholm.{key}"] = _spread(_cuts(seeds, row))
        record(figures, f"python -m benchmarks.stockholm --seeds {chosen.seeds} --save")


if __name__ == "__main__":
    main()
