"""Building heights of Stockholm from statistics of Sentinel-1: linear, boosting, and our network.

5,956 places: backscatter of ascending and descending passes, built shares around the place, light
at night, and the height of the building (real data). A third of the blocks is locked away: a block
is locked if the first eight bytes of the SHA-256 of ``sarheight FILE LOCK BLOCK``, read as a
big-endian number, are divisible by 3, where BLOCK is the night light, or column and row of the
square, as `Places.keys` has it. Methods learn from the other blocks, and choose their settings
there by an inner split into blocks; all see the same features. Locks 0 to 4 are five such tests.
Another city's file of the same form is given by `--file`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

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
from benchmarks._figures import Value, mean_and_spread, record
from benchmarks._mountains.scenes import data_file
from sarheight.buildings import FeatureTable, TabularSettings, train_tabular

__all__ = ["GOALS", "ROWS", "cut_limits", "locked_places", "main"]

FILE = "building_height/s1_asc_desc_height_stockholm.npz"
LOCKS, INNER = 5, 3
ONE_IN = 3
"""One block in so many is locked."""
DRAWS = 500
"""Draws of blocks with replacement for the intervals."""
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


def locked_places(places: Places, name: str, lock: int) -> NDArray[np.bool_]:
    """Tell which places lie in blocks that a lock takes away."""
    taken = np.array(
        [
            int.from_bytes(sha256(f"sarheight {name} {lock} {key}".encode()).digest()[:8], "big")
            % ONE_IN
            == 0
            for key in places.keys
        ]
    )
    return np.asarray(taken[places.blocks])


def locked_errors(places: Places, name: str, lock: int, folder: Path) -> dict[str, Floats]:
    """Return the errors in metres of each row of the table at the locked places."""
    locked = locked_places(places, name, lock)
    learn, rest = np.flatnonzero(~locked), np.flatnonzero(locked)
    truth = places.heights[rest]
    estimates = {
        "mean": np.full(len(rest), places.heights[learn].mean()),
        "linear": _linear(places, learn, rest),
        "gradient_boosting": _boosted(places, learn, rest, lock),
        "ours": _ours(places, learn, rest, lock, folder / f"lock_{lock}"),
        "block_mean": _bound(places)[rest],
    }
    estimates["both"] = 0.5 * (estimates["ours"] + estimates["gradient_boosting"])
    return {row: estimates[row] - truth for row in ROWS} | {"blocks": places.blocks[rest]}


def _rmse(errors: Floats) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def cut_limits(found: dict[str, Floats], row: str) -> tuple[float, float]:
    """Return the 95 % interval over blocks of the cut against boosting."""
    random = np.random.default_rng(0)
    blocks, inverse = np.unique(found["blocks"], return_inverse=True)
    count = np.bincount(inverse)
    sums = [np.bincount(inverse, found[name] ** 2) for name in (row, "gradient_boosting")]
    cuts = []
    for _ in range(DRAWS):
        drawn = random.integers(0, len(blocks), len(blocks))
        mine, other = (np.sqrt(each[drawn].sum() / count[drawn].sum()) for each in sums)
        cuts.append(1.0 - mine / other)
    low, high = np.quantile(cuts, (0.025, 0.975))
    return float(low), float(high)


def _cuts(locks: list[dict[str, Floats]], row: str) -> list[float]:
    return [1.0 - _rmse(each[row]) / _rmse(each["gradient_boosting"]) for each in locks]


def _table(places: Places, locks: list[dict[str, Floats]], name: str) -> Table:
    table = Table(
        title=f"{name}: RMSE of building heights in m at locked places",
        caption=(
            f"{len(places.heights)} places ({places.repeated} repeated ones left out) in "
            f"{len(places.keys)} blocks ({places.parted_by}), a third of them locked, in "
            f"{len(locks)} ways; cuts with the 95 % interval over blocks of lock 0"
        ),
    )
    for number, column in enumerate(("estimate", "RMSE", "cut vs boosting", "lock 0")):
        table.add_column(column, justify="right" if number else "left")
    for row, text in ROWS.items():
        mean, spread = mean_and_spread([_rmse(each[row]) for each in locks])
        cut, around = mean_and_spread([100.0 * value for value in _cuts(locks, row)])
        low, high = (100.0 * limit for limit in cut_limits(locks[0], row))
        table.add_row(
            text,
            f"{mean:.2f}" + (f" ± {spread:.2f}" if spread is not None else ""),
            f"{cut:.1f}" + (f" ± {around:.1f} %" if around is not None else " %"),
            f"{low:.1f} to {high:.1f} %",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn outside the locks, print the table at the locked places, and record the figures."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.stockholm",
        description=f"{__doc__}{COLUMNS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--file", type=Path, help="another city's file of the same form")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    parser.add_argument("--locks", type=int, default=LOCKS, help="ways to lock blocks away")
    parser.add_argument("--work", type=Path, default=Path("build/stockholm"))
    chosen = parser.parse_args(arguments)
    console = Console()
    path = chosen.file or data_file(FILE, chosen.data)
    places = read_places(path)
    locks = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        for lock in range(chosen.locks):
            console.print(f"lock {lock}")
            locks.append(locked_errors(places, path.stem, lock, chosen.work / path.stem))
    console.print(_table(places, locks, path.stem))
    if chosen.save and chosen.file is None:
        figures: dict[str, Value] = {
            f"buildings.stockholm.{row}.rmse": mean_and_spread([_rmse(each[row]) for each in locks])
            for row in ROWS
        }
        for key, row in (("cut_vs_gradient_boosting", "ours"), ("cut_of_both", "both")):
            name = f"buildings.stockholm.{key}"
            figures[name] = mean_and_spread(_cuts(locks, row))
            low, high = cut_limits(locks[0], row)
            figures |= {f"{name}.low": low, f"{name}.high": high}
        record(figures, f"python -m benchmarks.stockholm --locks {chosen.locks} --save")


if __name__ == "__main__":
    main()
