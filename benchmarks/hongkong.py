"""Local Climate Zones of Hong Kong, on blocks that were not seen, beside a random forest.

Real data: Landsat-8 of four dates, nine bands each, on cells of 100 m, and 7,026 labelled cells of
13 zones. Everything is tested on the same five folds of blocks of 3 km (see
`benchmarks._zones.hongkong_data`), and accuracies are of all folds together, as most zones lie in
few blocks.

The random forest is WUDAPT's method: the bands of the cell. So that it is a fair one, there is a
second that also gets mean and spread of each band in the neighbourhood. Both learn from training
and validation together. The published network in all its forms sees patches, with branches for
the dates or for the bands.

Ours sees one date at a time: all dates train one network, as so many more samples, and the mean
over the dates of a cell is what counts. What tells zones apart on every date tells them apart in
another place as well. Two such networks, each with another fold for validation, are averaged.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]

from benchmarks._figures import RESULTS, Value, record
from benchmarks._zones.hongkong_data import (
    DATES,
    FOLDS,
    DateSamples,
    HongKong,
    open_hong_kong,
    splits,
)
from benchmarks._zones.hongkong_report import markdown, table
from sarheight.zones import (
    ClassScores,
    FusionStrategy,
    ZoneSettings,
    calibration_error,
    class_scores,
    fusion_strategies,
    plot_zones,
    predict_zones,
    train_zones,
    write_zones,
    zone_probabilities,
)

if TYPE_CHECKING:
    from sarheight.zones import ZoneClassifier

__all__ = ["Outcome", "main"]

TREES = 100
SEEDS = 3
MEMBERS = 2
"""Networks whose mean ours is; each has another fold for validation, and other cells to learn."""
PIXEL_ROW = "random forest, bands (WUDAPT)"
AROUND_ROW = "random forest, with neighbourhood"
SINGLE_ROW, OUR_ROW = "ours, one network", "ours, mean of two networks"
MAPPING = 1
"""Networks whose mean makes the map."""
OUR_SIZE = 1
"""Cells along the side of ours' patches, whose channels hold the neighbourhood already."""
FORM = ZoneSettings(
    options={"widths": (16, 32, 32, 32, 32), "dense": 32, "pooled_blocks": 2},
    epochs=8,
    patience=8,
    rate=2e-3,
)
OURS = ZoneSettings.generalising(
    options={"width": 64, "stages": 1}, epochs=6, patience=6, rate=3e-3, precision="32-true"
)

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What one method made of all folds, from one seed.

    Attributes
    ----------
    scores : ClassScores
        Over all cells.
    error : float
        Expected calibration error.
    """

    scores: ClassScores
    error: float


def _outcome(place: HongKong, given: Probabilities) -> Outcome:
    samples = place.samples
    return Outcome(
        class_scores(samples.labels, given.argmax(axis=1), samples.classes),
        calibration_error(given, samples.labels),
    )


def _nothing(place: HongKong) -> Probabilities:
    return np.zeros((len(place.samples), len(place.samples.classes)))


def _forest(place: HongKong, features: NDArray[np.float32], seed: int) -> Outcome:
    """Test a random forest with balanced classes on all folds; what is missing gets the median."""
    given, labels = _nothing(place), place.samples.labels
    for number in range(FOLDS):
        chosen, test = place.all_but(number), np.flatnonzero(place.fold_of == number)
        usual = np.nanmedian(features[chosen], axis=0)
        filled = np.where(np.isfinite(features), features, usual)
        forest = RandomForestClassifier(
            TREES, class_weight="balanced", random_state=seed, n_jobs=1
        ).fit(filled[chosen], labels[chosen])
        given[np.ix_(test, forest.classes_)] = forest.predict_proba(filled[test])
    return _outcome(place, given)


def _form(place: HongKong, form: FusionStrategy, work: Path) -> Outcome:
    """Test a form of the published network on all folds."""
    given, samples = _nothing(place), place.samples
    for number in range(FOLDS):
        fold = place.fold(number)
        model = train_zones(
            samples.subset(place.thinned(fold.training, 0)),
            samples.subset(fold.validation),
            replace(FORM, split=form.groups, stage=form.stage, independent=form.independent),
            work / "forms" / form.label.replace(" ", "_") / f"fold_{number}",
            accelerator="cpu",
            progress=False,
        )
        given[fold.test] = zone_probabilities(model, samples.subset(fold.test))
    return _outcome(place, given)


def _member(
    place: HongKong, dates: DateSamples, number: int, own: int, work: Path
) -> ZoneClassifier:
    """Train one of the networks of ours that have not seen a fold."""
    fold = place.fold(number, 1 + own % (FOLDS - 1))
    chosen = place.thinned(fold.training, own)
    return train_zones(
        dates.samples.subset(dates.numbers(chosen)),
        dates.samples.subset(dates.numbers(fold.validation)),
        replace(OURS, seed=own),
        work / "ours" / f"fold_{number}_{own}",
        posting=place.samples.posting,
        accelerator="cpu",
        progress=False,
    )


def _ours(place: HongKong, dates: DateSamples, seed: int, work: Path) -> dict[str, Outcome]:
    """Test the mean of the networks of ours on all folds, and the first of them alone."""
    single, mean = _nothing(place), _nothing(place)
    for number in range(FOLDS):
        test = np.flatnonzero(place.fold_of == number)
        seen = dates.numbers(test)
        each = []
        for member in range(MEMBERS):
            model = _member(place, dates, number, MEMBERS * seed + member, work)
            given = zone_probabilities(model, dates.samples.subset(seen), batch=1024)
            each.append(dates.mean(given, seen, test))
        single[test], mean[test] = each[0], np.mean(each, axis=0)
    return {SINGLE_ROW: _outcome(place, single), OUR_ROW: _outcome(place, mean)}


def _map(place: HongKong, dates: DateSamples, work: Path) -> None:
    """Map the whole scene: the mean over the dates, of networks that have not seen a fold each."""
    models = [_member(place, dates, number, 0, work) for number in range(MAPPING)]
    maps = [predict_zones(model, place.date(name)) for name in DATES for model in models]
    with np.errstate(invalid="ignore"):
        layers = np.stack([each["probability"].values for each in maps])
    count = np.isfinite(layers).sum(axis=0)
    total = np.nansum(layers, axis=0)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    known = count[0] > 0
    codes = np.array(place.samples.codes, dtype=np.uint8)
    zone = np.where(known, codes[np.nan_to_num(mean, nan=-1.0).argmax(axis=0)], 0)
    whole = maps[0].copy()
    whole["probability"] = maps[0]["probability"].copy(data=mean)
    whole["confidence"] = maps[0]["confidence"].copy(data=mean.max(axis=0))
    whole["zone"] = maps[0]["zone"].copy(data=zone.astype(np.uint8))
    write_zones(whole, work / "hongkong_zones.tif", overwrite=True)
    folder = RESULTS / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    figure = plot_zones(whole["zone"], title="Local Climate Zones of Hong Kong from Landsat-8")
    figure.savefig(folder / "hongkong_zones.png", dpi=90, bbox_inches="tight")


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def _figures(found: Mapping[str, Sequence[Outcome]]) -> dict[str, Value]:
    """Collect what the table is made for; gains are in points of average accuracy."""
    average = {
        row: np.array([each.scores.average for each in several]) for row, several in found.items()
    }
    ours = average[OUR_ROW]
    forms = [row for row in found if row.startswith(tuple(splits()))]
    figures: dict[str, Value] = {
        "lcz.hongkong.random_forest_aa": _mean(list(average[PIXEL_ROW])),
        "lcz.hongkong.neighbourhood_forest_aa": _mean(list(average[AROUND_ROW])),
        "lcz.hongkong.ours_aa": _mean(list(ours)),
        "lcz.hongkong.ours_oa": _mean([each.scores.overall for each in found[OUR_ROW]]),
        "lcz.hongkong.ours_ece": _mean([each.error for each in found[OUR_ROW]]),
        "lcz.hongkong.aa_gain_over_random_forest": _mean(list(100.0 * (ours - average[PIXEL_ROW]))),
        "lcz.hongkong.aa_gain_over_neighbourhood_forest": _mean(
            list(100.0 * (ours - average[AROUND_ROW]))
        ),
    }
    if forms:
        best = max(forms, key=lambda row: float(average[row].mean()))
        figures["lcz.hongkong.best_form_aa"] = _mean(list(average[best]))
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Test all methods, print the table, draw the map, and put the figures on record."""
    parser = argparse.ArgumentParser("python -m benchmarks.hongkong", description=__doc__)
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put figures, table and map on record")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of the forests, and of ours")
    parser.add_argument(
        "--splits", nargs="*", default=list(splits()), help="of the forms; none leaves them out"
    )
    parser.add_argument("--blocks", type=int, default=0, help="seed of where the blocks begin")
    parser.add_argument("--work", type=Path, default=Path("build/hongkong"))
    chosen = parser.parse_args(arguments)
    console = Console()
    torch.set_num_threads(1)
    begin = time.process_time()
    place = open_hong_kong(chosen.data, seed=chosen.blocks)
    work = chosen.work / f"blocks_{chosen.blocks}"
    pixel, around = place.features()
    dates = place.by_date(OUR_SIZE)
    found: dict[str, list[Outcome]] = {}

    def note(row: str, outcome: Outcome) -> None:
        found.setdefault(row, []).append(outcome)
        console.print(
            f"{row}: AA {outcome.scores.average:.3f}, OA {outcome.scores.overall:.3f} "
            f"({time.process_time() - begin:.0f} s)"
        )

    for seed in range(chosen.seeds):
        note(PIXEL_ROW, _forest(place, pixel, seed))
        note(AROUND_ROW, _forest(place, around, seed))
        for row, outcome in _ours(place, dates, seed, work).items():
            note(row, outcome)
    wanted = {name: split for name, split in splits().items() if name in chosen.splits}
    for form in fusion_strategies(wanted, independent=True):
        note(form.label, _form(place, form, work))
    console.print(table(found))
    if chosen.save:
        _map(place, dates, work)
        markdown(found)
        command = f"python -m benchmarks.hongkong --seeds {chosen.seeds} --save"
        record(_figures(found), command)


if __name__ == "__main__":
    main()
