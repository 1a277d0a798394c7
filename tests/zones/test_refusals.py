"""What the room refuses: one table of wrong input, the error, and what it says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("sklearn", reason="the extra `learn` is not installed")
h5py = pytest.importorskip("h5py", reason="the extra `learn` is not installed")

from sarheight import learning
from sarheight.errors import CheckpointError, DatasetError
from sarheight.learning import packaged_model
from sarheight.zones import (
    ForestSettings,
    RasterPatches,
    So2SatPatches,
    ZoneClassifier,
    ZoneForest,
    ZoneSettings,
    predict_zones,
    train_forest,
    zone_task,
)
from tests.zone_samples import city, patches, so2sat_arrays, write_so2sat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

torch.set_num_threads(1)

SETTINGS = ZoneSettings(
    options={"widths": [2] * 5, "dense": 2}, epochs=1, batch=8, precision="32-true"
)
SAMPLES = patches(24, 8)
STACK, LABELS = city()


def classifier(folder: Path) -> Path:
    task, _, _ = zone_task(SAMPLES, SAMPLES, SETTINGS)
    return task.network.save_pretrained(folder / "model")


def forest(folder: Path) -> Path:
    trained = train_forest(SAMPLES, ForestSettings(trees=2, window=3))
    return trained.save_pretrained(folder / "forest")


def changed(model: Path, **changes: Any) -> Path:  # noqa: ANN401
    """Change the description of saved weights."""
    described = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(described | changes))
    return model


def with_configuration(model: Path, **changes: Any) -> Path:  # noqa: ANN401
    described = json.loads((model / "config.json").read_text())
    return changed(model, configuration=described["configuration"] | changes)


def fewer(model: Path, name: str) -> Path:
    described = json.loads((model / "config.json").read_text())["configuration"][name]
    return with_configuration(model, **{name: described[:-1]})


def one_class(_folder: Path) -> object:
    alone = SAMPLES.subset(np.flatnonzero(SAMPLES.labels == 1))
    return zone_task(alone, alone, SETTINGS)


def forest_of_one_class(_folder: Path) -> object:
    alone = SAMPLES.subset(np.flatnonzero(SAMPLES.labels == 1))
    return train_forest(alone, ForestSettings(window=3))


def other_shapes(folder: Path) -> object:
    arrays = so2sat_arrays(6)
    return So2SatPatches(
        write_so2sat(folder / "training.h5", arrays | {"sen1": arrays["sen1"][..., :4]})
    )


def missing_channel(folder: Path) -> object:
    model = ZoneClassifier.from_pretrained(classifier(folder))
    return predict_zones(model, STACK, device="cpu")


REFUSALS: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "weights of another kind": (
        lambda folder: ZoneClassifier.from_pretrained(forest(folder)),
        CheckpointError, "the kind 'local climate zones, forest'",
    ),
    "a forest of another kind": (
        lambda folder: ZoneForest.from_pretrained(classifier(folder)),
        CheckpointError, "expected 'local climate zones, forest'",
    ),
    "weights of a network for buildings": (
        lambda _: ZoneClassifier.from_pretrained(packaged_model("buildings")),
        CheckpointError, "the kind 'building heights'",
    ),
    "weights of a newer version": (
        lambda folder: ZoneClassifier.from_pretrained(changed(classifier(folder), format=9)),
        CheckpointError, "another version wrote it",
    ),
    "weights with other channels": (
        lambda folder: ZoneClassifier.from_pretrained(fewer(classifier(folder), "channels")),
        CheckpointError, "found no channel nir",
    ),
    "weights with other classes": (
        lambda folder: ZoneClassifier.from_pretrained(
            with_configuration(classifier(folder), classes=["x", "y"], codes=[1, 2])
        ),
        CheckpointError, "do not fit its configuration",
    ),
    "a forest with other channels": (
        lambda folder: ZoneForest.from_pretrained(fewer(forest(folder), "channels")),
        CheckpointError, "found nodes that point outside",
    ),
    "a forest with other classes": (
        lambda folder: ZoneForest.from_pretrained(
            with_configuration(forest(folder), classes=["x", "y"], codes=[1, 2])
        ),
        CheckpointError, "found nodes that point outside",
    ),
    "a stack without the channels": (missing_channel, CheckpointError, "found no vh, vv"),
    "one class only": (one_class, DatasetError, "found 1 class among"),
    "a forest of one class": (forest_of_one_class, DatasetError, "found 1 classes"),
    "labels in another reference system": (
        lambda _: RasterPatches(STACK, LABELS.rio.write_crs(4326)), DatasetError, "one CRS",
    ),
    "labels at another place": (
        lambda _: RasterPatches(STACK, LABELS.assign_coords(x=LABELS.x + 1e6)),
        DatasetError, "do the rasters overlap",
    ),
    "patches of another shape": (other_shapes, DatasetError, r"sen1 \(6, 32, 32, 4\)"),
    "more branches than channels": (
        lambda _: zone_task(
            SAMPLES, SAMPLES, ZoneSettings(split=(("vh",), ("vv",), ("red",), ("nir",), ("vh",)))
        ),
        ValueError, "5 branches for 4 channels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSALS))
def test_wrong_input_is_refused(name: str, tmp_path: Path) -> None:
    attempt, error, words = REFUSALS[name]
    with pytest.raises(error, match=words):
        attempt(tmp_path)


def test_a_failed_run_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sarheight.zones.training import ZoneTask

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ZoneTask, "calibrate", fail)
    prepared = zone_task(SAMPLES, SAMPLES, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        learning.train(*prepared, tmp_path / "run", accelerator="cpu", progress=False)
    assert not (tmp_path / "run" / "model").exists()
