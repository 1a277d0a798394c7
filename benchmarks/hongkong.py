"""Local Climate Zones of Hong Kong, on blocks that are locked away.

Real data: Landsat-8 of four dates, nine bands each, on cells of 100 m, and 7,026 labelled cells of
13 zones. A third of the blocks of 3 km is locked by a hash (`benchmarks._zones.hongkong_data` says
the rule). What is chosen is chosen by splits of the other blocks, which are made alike: this is
what the benchmark does by default. ``--locked`` scores the methods on the blocks of the lock, and
on those of five further locks, once.

Cells for training lie at least 900 m from those that score. A zone without training cells counts as
not found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks._command import options, tell
from benchmarks._figures import commit
from benchmarks._zones.hongkong_data import (
    CLASSES,
    LOCKS,
    HongKong,
    Scoring,
    block_numbers,
    design_splits,
    locked_labels,
    open_hong_kong,
)
from benchmarks._zones.hongkong_report import (
    Outcome,
    design_figures,
    figures,
    outcome,
)
from sarheight.zones import ForestSettings, ZonePatches, train_forest, zone_probabilities
from sarheight.zones.sources import centred_windows

__all__ = ["METHODS", "main"]

SEEDS, DESIGN_SPLITS = 3, 6
TREES, BATCH = 100, 16_384
Integers = NDArray[np.int64]
Method: TypeAlias = Callable[[HongKong, Integers, Integers, Integers, int], NDArray[np.float64]]
"""From the place, numbers of cells for training, rows and columns of others, and a seed."""


def forest(
    place: HongKong,
    training: Integers,
    rows: Integers,
    columns: Integers,
    seed: int,
    *,
    window: int,
) -> NDArray[np.float64]:
    """Classify by the forest of `sarheight.zones`, calibrated on blocks that it holds out."""
    settings = ForestSettings(trees=TREES, seed=seed, window=window)
    half = window // 2
    pad = ((0, 0), (half, half), (half, half))
    values = np.pad(place.stack.values, pad, constant_values=np.nan)
    names = [str(name) for name in place.stack["band"].values]

    def patches(rows: Integers, columns: Integers, labels: Integers) -> ZonePatches:
        return ZonePatches(centred_windows(values, rows, columns, window), labels, names, CLASSES)

    samples = patches(place.rows[training], place.columns[training], place.labels[training])
    pairs = block_numbers(place.x[training], place.y[training])
    _, blocks = np.unique(pairs, axis=0, return_inverse=True)
    model = train_forest(samples, settings, blocks=blocks.ravel())
    return zone_probabilities(model, patches(rows, columns, np.zeros_like(rows)), batch=BATCH)


METHODS: dict[str, Method] = {
    "random forest, bands (WUDAPT)": partial(forest, window=1),
    "random forest, with neighbourhood": partial(forest, window=ForestSettings().window),
}


def score_design(
    folder: str | None, names: Sequence[str], splits: int, seeds: int, console: Console
) -> dict[str, list[Outcome]]:
    """Score methods by splits of the open blocks; nothing else is read."""
    place = open_hong_kong(folder)
    found: dict[str, list[Outcome]] = {name: [] for name in names}
    for number, split in enumerate(design_splits(place, splits)):
        test = split.test
        for name in names:
            begin = time.process_time()
            given = [
                METHODS[name](place, split.training, place.rows[test], place.columns[test], seed)
                for seed in range(seeds)
            ]
            each = outcome(given, place.labels[test], place.x[test], place.y[test])
            found[name].append(each)
            console.print(
                f"split {number}, {name}: AA {each.average:.3f}, ECE {each.error:.3f} "
                f"({time.process_time() - begin:.0f} s)"
            )
    return found


def score_locked(
    folder: str | None, names: Sequence[str], seeds: int, work: Path, console: Console
) -> dict[str, list[Outcome]]:
    """Score methods on the blocks of each lock."""
    scoring = Scoring(tuple(names))
    found: dict[str, list[Outcome]] = {name: [] for name in names}
    for lock in LOCKS:
        place = open_hong_kong(folder, lock=lock)
        labels, rows, columns = locked_labels(folder, lock, scoring)
        x, y = place.stack["x"].values[columns], place.stack["y"].values[rows]
        training = place.away_from(x, y)
        for name in names:
            begin = time.process_time()
            given = []
            for seed in range(seeds):
                path = work / f"lock_{lock}_{list(METHODS).index(name)}_{seed}.npy"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    np.save(path, METHODS[name](place, training, rows, columns, seed))
                given.append(np.load(path))
            each = outcome(given, labels, x, y)
            found[name].append(each)
            console.print(
                f"lock {lock}, {name}: AA {each.average:.3f}, ECE {each.error:.3f} "
                f"({time.process_time() - begin:.0f} s)"
            )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the methods by splits for design, or with --locked on the locked blocks."""
    parser = options("hongkong", __doc__)
    parser.add_argument("--locked", action="store_true", help="open the locked blocks, and score")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--splits", type=int, default=DESIGN_SPLITS, help="for design")
    parser.add_argument("--work", type=Path, default=Path("build/hongkong"))
    parser.add_argument("--only", nargs="*", default=list(METHODS), help="methods, for design")
    chosen = parser.parse_args(arguments)
    console = Console(width=140)
    if not chosen.locked:
        found = score_design(chosen.data, chosen.only, chosen.splits, chosen.seeds, console)
        design = design_figures(found, list(METHODS)[-1])
        tell(design, f"hongkong --seeds {chosen.seeds}", save=chosen.save)
        return
    # A run that was interrupted goes on, but never with code of another commit.
    work = chosen.work / commit()
    found = score_locked(chosen.data, list(METHODS), chosen.seeds, work, console)
    tell(figures(found), f"hongkong --locked --seeds {chosen.seeds}", save=chosen.save)


if __name__ == "__main__":
    main()
