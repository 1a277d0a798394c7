"""From files to a forest, or to a comparison of fusion strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight._rasters import read_bands
from sarheight.errors import DatasetError, OptionError
from sarheight.learning.training import MODEL
from sarheight.output.atomic import write_json
from sarheight.zones.classifier import ZoneClassifier
from sarheight.zones.evaluation import calibration_error, class_scores
from sarheight.zones.forest import ForestSettings, train_forest
from sarheight.zones.fusion import rank_fusions
from sarheight.zones.fusion_cnn import (
    LAST_STAGE,
    FusionStrategy,
    fusion_strategies,
    split_channels,
)
from sarheight.zones.predict import zone_probabilities
from sarheight.zones.samples import (
    ZoneSamples,
    exclude_neighbours,
    spatial_folds,
    split_samples,
    warn_of_few,
    warn_of_untrained,
)
from sarheight.zones.sources import RasterPatches, So2SatPatches, read_stack, so2sat_files

if TYPE_CHECKING:
    import os

    from sarheight.zones.fusion import FusionResult

HDF5 = (".h5", ".hdf5")
FOLDS = 5
LARGEST_IN_MEMORY = 4 << 30
"""Bytes of patches that are read into memory at the start; more are read when needed."""
NETWORK_SIZE = 32
"""Cells along a side of a patch for networks."""
METHODS = ("auto", "forest", "networks")
FEW_LABELS = 20_000
"""Labelled cells below which a forest is the default."""
INDEPENDENT = "independent"
TABLE = "table.json"

Parts = Mapping[str, ZoneSamples]

# Samples of files, for training, validation and test.


def open_samples(
    data: Sequence[Path],
    labels: Path | None = None,
    *,
    size: int = NETWORK_SIZE,
    block: float = 5000.0,
    random_split: bool = False,
    seed: int = 0,
) -> tuple[Parts, float | None]:
    """Open labelled patches of files, and split them for training, validation and test.

    `data` is So2Sat LCZ42, its folder or one HDF5 file of it, or rasters on one grid with `labels`,
    a raster with the codes of the zones (0 where unknown). Patches of rasters have `size` cells;
    test and validation get a fifth each of their blocks of `block` metres. With `random_split` the
    samples for training are split at random, 80, 10 and 10 %, and other files are ignored. Returns
    the samples by role, and the metres between cells of a raster. Raises OptionError where rasters
    come without labels, DatasetError where a file is none of these, or damaged.
    """
    if labels is None:
        return _open_so2sat(data, random_split=random_split, seed=seed), None
    samples = _open_rasters(data, labels, size)
    if random_split:
        return split_samples(samples, seed=seed), samples.posting
    return _split_by_place(samples, block, seed, ("test", "validation"))[0], samples.posting


def _open_rasters(data: Sequence[Path], labels: Path, size: int) -> RasterPatches:
    codes = read_bands(labels, DatasetError)
    return RasterPatches(read_stack(*data), codes, size=size)


def _open_so2sat(data: Sequence[Path], *, random_split: bool, seed: int) -> Parts:
    path = data[0]
    if len(data) > 1 or not (path.is_dir() or path.suffix.lower() in HDF5):
        msg = "rasters need the zones of their cells: pass --labels"
        raise OptionError(msg, option="labels")
    files = so2sat_files(path) if path.is_dir() else {"training": path}
    if random_split:
        files = {"training": files["training"]}
    parts = {role: _loaded_if_small(So2SatPatches(file)) for role, file in files.items()}
    if len(parts) == 1:
        return split_samples(parts["training"], seed=seed)
    if len(parts) == 2:
        # Versions 1 and 3 have two files: the samples for early stopping come from training.
        held_out = next(samples for role, samples in parts.items() if role != "training")
        fractions = {"training": 0.9, "validation": 0.1}
        return {**split_samples(parts["training"], fractions, seed=seed), "test": held_out}
    return parts


def _loaded_if_small(samples: ZoneSamples) -> ZoneSamples:
    size = len(samples) * len(samples.channels) * samples.size**2 * np.dtype(np.float16).itemsize
    return samples.load(np.float16) if size <= LARGEST_IN_MEMORY else samples


def _split_by_place(
    samples: RasterPatches, block: float, seed: int, roles: Sequence[str]
) -> tuple[dict[str, ZoneSamples], NDArray[np.int64]]:
    """Assign a fold of blocks to each role, and all that shares no cell with them to training.

    Returns the parts, and the numbers of the samples for training.
    """
    fold = spatial_folds(samples.labels, samples.x, samples.y, folds=FOLDS, width=block, seed=seed)
    reach = samples.size * samples.posting
    places = samples.x, samples.y
    taken = np.empty(0, dtype=np.int64)
    parts: dict[str, ZoneSamples] = {}
    for number, role in enumerate(roles):
        cells = exclude_neighbours(np.flatnonzero(fold == number), taken, *places, reach)
        parts[role] = samples.subset(cells)
        taken = np.concatenate([taken, cells])
    training = exclude_neighbours(np.flatnonzero(fold >= len(roles)), taken, *places, reach)
    warn_of_untrained(samples, training, block)
    return {"training": samples.subset(training), **parts}, training


# A forest.


def choose_method(method: str, labels: Path | None, *, fusion: bool) -> str:
    """Return "forest" or "networks"; "auto" takes the forest for few labels of a map.

    `fusion` tells whether options of fusion strategies are asked for.
    """
    if method not in METHODS:
        msg = f"found '{method}', expected one of {', '.join(METHODS)}"
        raise OptionError(msg, option="method")
    if method == "forest" and fusion:
        msg = "a forest has no --split, --group or --random-split: they are of networks"
        raise OptionError(msg, option="method")
    if method != "auto":
        return method
    few = labels is not None and not fusion and _count_labels(labels) < FEW_LABELS
    return "forest" if few else "networks"


def _count_labels(path: Path) -> int:
    codes = read_bands(path, DatasetError)
    labelled = np.isfinite(codes.values) & (codes.values != 0)
    if codes.rio.nodata is not None:
        labelled &= codes.values != codes.rio.nodata
    return int(labelled.sum())


def train_forest_on_files(
    data: Sequence[Path],
    labels: Path | None,
    folder: str | os.PathLike[str],
    settings: ForestSettings | None = None,
    *,
    size: int | None = None,
    block: float = 5000.0,
) -> str:
    """Train a forest, score it on samples that it has not seen, and save it.

    See `open_samples`; `size` is that of the neighbourhood by default. The folder gets ``model``
    and ``table.json``, the scores, which are returned in one line.
    """
    chosen, folder = settings or ForestSettings(), Path(folder)
    blocks = None
    if labels is None:
        parts, posting = open_samples(data, seed=chosen.seed)
        warn_of_few(parts["training"])
    else:
        samples = _open_rasters(data, labels, chosen.window if size is None else size)
        warn_of_few(samples)
        parts, indices = _split_by_place(samples, block, chosen.seed, ("test",))
        posting = samples.posting
        places = np.stack([samples.x, samples.y], axis=1)[indices] // block
        _, blocks = np.unique(places, axis=0, return_inverse=True)
    forest = train_forest(parts["training"], chosen, blocks=blocks, posting=posting)
    test = parts["test"]
    given = zone_probabilities(forest, test)
    scores = class_scores(test.labels, given.argmax(axis=1), test.classes)
    error = calibration_error(given, test.labels)
    tested = {**scores.as_dict(), "calibration_error": error}
    folder.mkdir(parents=True, exist_ok=True)
    table = {
        "method": "random forest",
        "data": [path.name for path in data],
        "settings": asdict(chosen),
        "samples": {role: len(part) for role, part in parts.items()},
        "test": tested,
    }
    forest.save_pretrained(folder / MODEL, card=table, overwrite=True)
    write_json(table, folder / TABLE)
    return (
        f"forest of {chosen.trees} trees and {forest.features} features, on samples for test: OA "
        f"{percent(scores.overall)}, AA {percent(scores.average)}, kappa {percent(scores.kappa)}, "
        f"ECE {percent(error)} %"
    )


# Comparisons of fusion strategies.


def strategies_of(
    channels: Sequence[str],
    splits: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    stages: str = "0,1,2,3,4,5,6,independent",
) -> list[FusionStrategy]:
    """List fusion strategies for the channels of data.

    Branches are those of named `splits` (``radar|optical`` by default), or `groups`: for each
    branch its channels with commas between, where a name that ends in ``*`` matches all with this
    beginning. `stages` are 0 to 6 and ``independent``, with commas between. Raises OptionError for
    an unknown stage, ValueError where splits or groups do not fit the channels.
    """
    if groups:
        own = tuple(_channels_of(text, channels) for text in groups)
        branches = {"|".join(groups): split_channels(own, channels)}
    else:
        names = splits or ("radar|optical",)
        branches = {name: split_channels(name, channels) for name in names}
    requested = {word.strip() for word in stages.split(",") if word.strip()}
    known = {INDEPENDENT, *map(str, range(LAST_STAGE + 1))}
    if not requested or requested - known:
        msg = f"found '{stages}', expected a list of 0 to {LAST_STAGE} and {INDEPENDENT}"
        raise OptionError(msg, option="stages")
    return [
        strategy
        for strategy in fusion_strategies(branches, independent=True)
        if (INDEPENDENT if strategy.independent else str(strategy.stage)) in requested
        or len(strategy.groups) == 1
    ]


def _channels_of(text: str, channels: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    for word in (part.strip() for part in text.split(",")):
        if word.endswith("*"):
            names += [name for name in channels if name.startswith(word[:-1])]
        else:
            names.append(word)
    return tuple(names)


def save_comparison(
    rows: Sequence[FusionResult], parts: Parts, data: Sequence[Path], folder: Path
) -> None:
    """Save the network that is best at validation, with its card, and all figures as a table."""
    runs = [
        (value, row.strategy.label, run)
        for row in rows
        for value, run in zip(row.validation, row.folders, strict=True)
    ]
    average, label, run = max(runs, key=lambda scored: scored[0])
    card = {
        "data": [path.name for path in data],
        "form": label,
        "run": run.name,
        "validation_average": average,
    }
    best = ZoneClassifier.from_pretrained(run / MODEL)
    best.save_pretrained(folder / MODEL, card=card, overwrite=True)
    table = {
        "samples": {role: len(samples) for role, samples in parts.items()},
        "forms": [row.as_dict() for row in rows],
    }
    write_json(table, folder / TABLE)


def describe_verdict(rows: Sequence[FusionResult]) -> str:
    """Say which of early, middle and late fusion is best, and whether significantly."""
    if len({row.strategy.kind for row in rows} - {"none"}) < 2:
        return "Only one kind of fusion: nothing to compare."
    verdict = rank_fusions(rows)
    best = verdict.best[verdict.winner]
    accuracy = percent(best.mean("average"), best.std("average"))
    best_text = (
        f"Best at validation: {verdict.winner} fusion ({best.strategy.label}), with an average "
        f"accuracy of {accuracy} % at test"
    )
    gain = f"{100 * verdict.gain:+.1f} points to the next kind"
    if verdict.standard_error is None:
        return f"{best_text}, {gain}. One seed does not show significance: use more."
    gain = f"{gain} ({100 * verdict.standard_error:.1f} standard error)"
    if verdict.significant:
        return f"{best_text}, {gain}."
    return f"{best_text}, {gain}: not significant over the seeds."


def percent(value: float, spread: float | None = None) -> str:
    """Write a share in per cent, with its standard deviation if there is one."""
    return f"{100 * value:.1f}" if spread is None else f"{100 * value:.1f} ± {100 * spread:.1f}"
