"""What the room refuses: one table of wrong input, the error, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("sklearn", reason="the extra `learn` is not installed")
h5py = pytest.importorskip("h5py", reason="the extra `learn` is not installed")

from collections.abc import Callable, Sequence
from pathlib import Path

from sarheight.errors import CheckpointError, DatasetError
from sarheight.learning import Channel
from sarheight.zones import (
    ForestSettings,
    FusionCNN,
    FusionStrategy,
    RasterPatches,
    So2SatPatches,
    ZoneClassifier,
    ZoneForest,
    ZoneMember,
    ZonePatches,
    ZoneSettings,
    calibration_error,
    class_scores,
    covariance,
    polarimetric_channels,
    predict_zones,
    rank_fusions,
    read_stack,
    refined_lee,
    so2sat_files,
    spatial_folds,
    train_forest,
    zone_task,
)
from sarheight.zones.evaluation import scores_from_confusion
from sarheight.zones.fusion_cnn import split_channels
from sarheight.zones.samples import require_classes, zone_statistics
from tests.zone_samples import THREE, city, patches, so2sat_arrays, write_so2sat

SETTINGS = ZoneSettings(
    options={"widths": [2] * 5, "dense": 2}, epochs=1, batch=8, precision="32-true"
)
SAMPLES = patches(24, 8)
ALONE = SAMPLES.subset(np.flatnonzero(SAMPLES.labels == 1))
WITHOUT = SAMPLES.subset(np.flatnonzero(SAMPLES.labels != 1))
STACK, LABELS = city()
VV = xr.DataArray(
    np.random.default_rng(0).normal(size=(10, 10, 2)) @ np.array([1.0, 1j]), dims=("line", "sample")
)
POWER = np.abs(VV.astype(np.complex64)) ** 2

Refusals = dict[type[Exception], list[tuple["Callable[[Path], object]", str]]]
"""By error what is attempted, and what the message says."""


# Weights and networks.


def _model(folder: Path) -> Path:
    task, _, _ = zone_task(SAMPLES, SAMPLES, SETTINGS)
    return task.network.save_pretrained(folder / "model")


def _forest(folder: Path) -> Path:
    return train_forest(SAMPLES, ForestSettings(trees=2, window=3)).save_pretrained(folder / "f")


def _changed(model: Path, **changes: Any) -> Path:  # noqa: ANN401
    """Change the configuration of saved weights."""
    described = json.loads((model / "config.json").read_text())
    described["configuration"] |= changes
    (model / "config.json").write_text(json.dumps(described))
    return model


def _load(make: Callable[[Path], Path]) -> Callable[[Path], object]:
    return lambda folder: ZoneClassifier.from_pretrained(make(folder))


def _load_forest(make: Callable[[Path], Path]) -> Callable[[Path], object]:
    return lambda folder: ZoneForest.from_pretrained(make(folder))


def _ensemble(_: Path) -> object:
    channels = [Channel(name, "1", mean=mean) for name, mean in (("a", 1.0), ("a", 5.0))]
    members = [ZoneMember((("a",),), options=dict(SETTINGS.options))]
    return ZoneClassifier.ensemble(
        [ZoneClassifier([each], ["x", "y"], members, size=16) for each in channels]
    )


def _classifier(
    groups: Sequence[tuple[str, ...]] = (("a",),),
    **changes: Any,  # noqa: ANN401
) -> object:
    members = [ZoneMember((group,), options=dict(SETTINGS.options)) for group in groups]
    return ZoneClassifier([Channel("a", "1")], ["x", "y"], members, **{"size": 16, **changes})


def _task(training: Any = SAMPLES, validation: Any = SAMPLES, **changes: Any) -> object:  # noqa: ANN401
    return zone_task(training, validation, replace(SETTINGS, **changes))


def _constant(_: Path) -> object:
    training = SAMPLES.load()
    training = ZonePatches(
        np.where(np.arange(4)[:, None, None] == 1, 4.0, training.image),
        training.labels, training.channels, THREE,
    )  # fmt: skip
    return zone_task(training, training, SETTINGS)


NETWORKS: Refusals = {
    CheckpointError: [
        (_load(_forest), "the kind 'local climate zones, forest'"),
        (_load_forest(_model), "expected 'local climate zones, forest'"),
        (_load(lambda folder: _changed(_model(folder), channels=[])), "no channel"),
        (_load_forest(lambda folder: _changed(_forest(folder), classes=THREE[:2], codes=[1, 11])),
         "found nodes that point outside the trees"),
        (_load_forest(lambda folder: _changed(_forest(folder), window=4)), "an odd number"),
    ],
    DatasetError: [
        (lambda _: _task(ALONE, ALONE), "found 1 class among"),
        (lambda _: train_forest(ALONE, ForestSettings(window=3)), "found 1 classes"),
        (lambda _: train_forest(SAMPLES, ForestSettings(window=9)), "patches of 9 cells"),
        (lambda _: train_forest(SAMPLES, ForestSettings(trees=2, window=3), blocks=np.zeros(24)),
         "one block"),
        (lambda _: _task(WITHOUT), "for training of dense_trees"),
        (lambda _: require_classes(
             SAMPLES, ZonePatches(SAMPLES.image[:, :2], SAMPLES.labels, ("vh", "vv"), THREE), "test"
         ),
         "other classes, channels or size"),
        (_constant, r"the same value .* vv"),
    ],
    ValueError: [
        (lambda _: _task(split=(("vh",), ("vv",), ("red",), ("nir",), ("vh",))),
         "5 branches for 4 channels"),
        (lambda _: _task(decibel=("hh",)), "expected some of vh, vv"),
        (lambda _: train_forest(SAMPLES, ForestSettings(decibel=("hh",), window=3)), "decibel"),
        (lambda _: replace(SETTINGS, stage=7), "expected"),
        (lambda _: replace(SETTINGS, batch=1), "expected at least two"),
        (lambda _: replace(SETTINGS, schedule="steps"), "found schedule"),
        (lambda _: ForestSettings(folds=1), "at least two folds"),
        (lambda _: ForestSettings(window=4), "an odd number of cells"),
        (lambda _: ForestSettings(trees=0), "from 1 on"),
        (lambda _: FusionCNN([[0], [1], []], 4), "no more branches than channels"),
        (lambda _: FusionCNN([[0, 1], [1, 2]], 4), r"\[1\] are in several"),
        (lambda _: FusionCNN([], 4), "found 0 branches"),
        (lambda _: FusionCNN([[0], [1]], 4, stage=7), "found stage"),
        (lambda _: FusionCNN([[0], [1]], 4, dropout=1.0), "found .*dropout"),
        (lambda _: FusionCNN([[0], [1]], 4, widths=(8, 8)), "found .*widths"),
        (lambda _: FusionStrategy("x", (("a",), ("b",)), 3, independent=True), "only at stage 6"),
        (_ensemble, "other classes, patches or normalisation"),
        (lambda _: _classifier([("q",)]), "no channel q"),
        (lambda _: _classifier([]), "no member"),
        (lambda _: _classifier(temperature=0.0), "temperature above 0"),
        (lambda _: _classifier(codes=(1,)), "as many codes as classes"),
        (lambda _: _classifier(size=4), "expected at least 8"),
        (lambda _: split_channels([["p"], ["q"], ["p"]], ("p", "q")), "3 branches for 2 channels"),
        (lambda _: split_channels("both", ("p", "q")), "found split 'both'"),
        *((lambda _, wrong=wrong: split_channels(wrong, ("p", "q")), "only channels of the data")
          for wrong in ([["r"]], [["p"], []], [["p", "p"]], [])),
        (lambda _: rank_fusions([]), "at least two of early, middle, late"),
    ],
}  # fmt: skip


# Samples, maps and figures.


def _so2sat(folder: Path, **changes: Any) -> object:  # noqa: ANN401
    arrays = so2sat_arrays(6)
    kept = {name: each for name, each in (arrays | changes).items() if each is not None}
    return So2SatPatches(write_so2sat(folder / "training.h5", kept))


def _label(wrong: float) -> Callable[[Path], object]:
    labels = so2sat_arrays(6)["label"]
    labels[3, 3] = wrong
    return lambda folder: _so2sat(folder, label=labels)


def _cut(share: float) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        path = write_so2sat(folder / "training.h5", so2sat_arrays(6))
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return So2SatPatches(path)

    return read


def _empty_group(folder: Path) -> object:
    with h5py.File(folder / "training.h5", "w") as other:
        other.create_group("sen1")
    return So2SatPatches(folder / "training.h5")


def _constant_so2sat(folder: Path) -> object:
    arrays = so2sat_arrays(6)
    arrays["sen1"][..., 6], arrays["sen2"][..., 9] = 0.25, np.nan
    return zone_statistics(So2SatPatches(write_so2sat(folder / "training.h5", arrays)))


def _scenarios(folder: Path) -> object:
    for name in ("random", "block", "culture_10"):
        (folder / name).mkdir()
    return so2sat_files(folder)


def _other_grid(folder: Path) -> object:
    STACK.rio.to_raster(folder / "may.tif")
    STACK[:, 1:].rio.to_raster(folder / "june.tif")
    return read_stack(folder / "may.tif", folder / "june.tif")


def _map(
    stack: xr.DataArray = STACK,
    *,
    posting: float | None = None,
    transform: Any = "none",  # noqa: ANN401
    **options: Any,  # noqa: ANN401
) -> object:
    names = ("green", "red", "nir")
    model = ZoneClassifier(
        [Channel(name, "1", transform) for name in names],
        THREE,
        [ZoneMember((names,), options={**SETTINGS.options, "pooled_blocks": 1})],
        size=4,
        posting=posting,
    )
    return predict_zones(model, stack, **options)


IMAGE = np.zeros((3, 2, 4, 4), dtype=np.float32)
ARRAYS = so2sat_arrays(6)
SAMPLES_AND_MAPS: Refusals = {
    DatasetError: [
        (lambda _: RasterPatches(STACK, LABELS.rio.write_crs(4326)), "one CRS"),
        (lambda _: RasterPatches(STACK, LABELS.assign_coords(x=LABELS.x + 1e6)),
         "do the rasters overlap"),
        (lambda _: RasterPatches(STACK, LABELS * 0), "no label"),
        (lambda _: RasterPatches(STACK, LABELS + 0.5), "whole numbers"),
        (lambda _: RasterPatches(STACK, LABELS.where(LABELS != 17, 55)), "1 to 17"),
        (lambda _: RasterPatches(STACK[0], LABELS), r"expected \(band, y, x\)"),
        (lambda _: RasterPatches(STACK.assign_coords(band=["a", "a", "b"]), LABELS),
         "a unique name"),
        (lambda _: RasterPatches(STACK, STACK), r"expected one map of dims \(y, x\)"),
        (_other_grid, "one grid"),
        (lambda _: spatial_folds([0, 1, 0], [0.0, 1.0, 2.0], [0.0, 0.0, 0.0], width=1e6),
         "smaller blocks"),
        (_constant_so2sat, "covariance_real .*, B12"),
        *((_cut(share), "it is damaged") for share in (0.0, 0.01, 0.5)),
        (lambda folder: _so2sat(folder, sen1=None, s1=ARRAYS["sen1"]),
         r"found no sen1 in .* which has label, s1, sen2"),
        (lambda folder: _so2sat(folder, sen1=ARRAYS["sen1"][..., :4]), r"sen1 \(6, 32, 32, 4\)"),
        (lambda folder: _so2sat(folder, sen2=ARRAYS["sen2"][:, :16]), r"sen2 \(6, 16, 32, 10\)"),
        (lambda folder: _so2sat(folder, label=ARRAYS["label"][:5]), "with one n"),
        (_empty_group, "found no sen1, sen2, label"),
        *((_label(wrong), r"found 1 labels .* the first at 3")
          for wrong in (0.0, 0.5, 2.0, np.nan)),
        (lambda _: _map(STACK[0]), r"dims \('y', 'x'\), expected \(band, y, x\)"),
    ],
    FileNotFoundError: [
        (lambda folder: So2SatPatches(folder / "none.h5"), "found no file"),
        (_scenarios, "choose one of random, block, culture_10"),
    ],
    CheckpointError: [
        (lambda _: _map(STACK[:2]), "found no nir"),
        (lambda _: _map(posting=10.0), "found cells of 100 in the stack, expected 10"),
    ],
    ValueError: [
        (lambda _: RasterPatches(STACK, LABELS, names={1: "town"}), "without a name"),
        (lambda _: RasterPatches(STACK, LABELS, size=0), "expected a number above 0"),
        (lambda _: spatial_folds([0, 1], [0.0, 1.0], [0.0, 0.0], folds=1), "two folds at least"),
        (lambda _: SAMPLES.with_channels(["hh"]), "found no channel hh"),
        *((lambda _, labels=labels, names=names: ZonePatches(IMAGE, labels, names, ["x", "y"]),
           "expected") for labels, names in (([0, 1], "ab"), ([0, 1, 0], "a"), ([0, 1, 2], "ab"),
                                             ([0, 1, -1], "ab"))),
        (lambda _: ZonePatches(IMAGE[..., :3], [0, 1, 0], "ab", "xy"), "expected"),
        (lambda _: _map(STACK[:, :, :1]), "at least two rows and columns"),
        (lambda _: _map(step=0), "found step=0"),
        (lambda _: _map(step=41), "found step=41"),
        (lambda _: _map(STACK - 12.0, transform="decibel"),
         r"green with a median of -.* look like decibels"),
        (lambda _: class_scores([0, 3], [0, 1], "abc"), "from 0 to 2"),
        (lambda _: class_scores([0.5], [0], "abc"), "whole numbers"),
        (lambda _: class_scores([0, 1], [0], "abc"), "one shape"),
        (lambda _: scores_from_confusion(np.zeros((2, 2)), "abc"), "one row and one column"),
        *((lambda _, given=given: calibration_error(given, [0]), "sum to 1")
          for given in ([[0.5, 0.1]], [[1.2, -0.2]], [0.5, 0.5])),
        (lambda _: calibration_error([[0.5, 0.5]], [0], bins=0), "one bin"),
        (lambda _: covariance(POWER, VV), r"found float\d+ numbers .* open the SLC"),
        (lambda _: polarimetric_channels(VV, VV[:-1]), "the same two dims"),
        *((lambda _, window=window: covariance(VV, VV, window=window), "expected an odd number")
          for window in (0, 4, -3)),
        *((lambda _, looks=looks: polarimetric_channels(VV, VV, looks=looks), "a number above 0")
          for looks in (0.0, -1.0, np.inf, np.nan)),
        (lambda _: refined_lee(POWER, 0.0), "looks, expected a number above 0"),
        (lambda _: refined_lee(VV, 1.0), "expected linear power"),
        (lambda _: refined_lee(POWER.assign_attrs(units="dB"), 1.0), "expected linear power"),
    ],
}  # fmt: skip

REFUSALS = [
    pytest.param(attempt, error, words, id=words)
    for table in (NETWORKS, SAMPLES_AND_MAPS)
    for error, rows in table.items()
    for attempt, words in rows
]


@pytest.mark.parametrize(("attempt", "error", "words"), REFUSALS)
def test_wrong_input_is_refused(
    attempt: Callable[[Path], object], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        attempt(tmp_path)
