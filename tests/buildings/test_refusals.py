"""What the room refuses: one table of wrong input, the error, and what it says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from sarheight import learning
from sarheight.buildings import (
    BuildingHeightEstimator,
    BuildingSettings,
    building_task,
    city_stack,
    predict_buildings,
    read_buildings,
)
from sarheight.errors import CheckpointError, StackError
from sarheight.learning import Part, packaged_model
from tests.cities import NORTH, WEST, grid_of, small_stack, write_buildings
from tests.zone_samples import patches

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

torch.set_num_threads(1)

SMALL = {"width": 8, "depth": 2, "months_width": 8, "heads": 2, "bins": {"count": 8}}
SETTINGS = BuildingSettings(
    options=SMALL, optical_bands=("B04",), months=2, kept_months=1, size=8, stride=8, epochs=1
)
LEFT, RIGHT = [Part((0, 16), (0, 8))], [Part((0, 16), (8, 16))]
STACK = small_stack(16, 16, months=2, optical_bands=("B04",))


def estimator(folder: Path) -> Path:
    torch.manual_seed(0)
    task, _, _ = building_task([STACK], [LEFT], [RIGHT], SETTINGS)
    return task.network.save_pretrained(folder / "model")


def changed(folder: Path, **changes: Any) -> Path:  # noqa: ANN401
    """Save an estimator whose description differs."""
    model = estimator(folder)
    described = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(described | changes))
    return model


def of_zones(folder: Path) -> Path:
    from sarheight.zones import ZoneSettings, zone_task

    samples = patches(12, 8)
    options = {"widths": [2] * 5, "dense": 2}
    task, _, _ = zone_task(samples, samples, ZoneSettings(options=options))
    return task.network.save_pretrained(folder / "zones")


def load(make: Callable[[Path], Path]) -> Callable[[Path], object]:
    return lambda folder: BuildingHeightEstimator.from_pretrained(make(folder))


def cut(folder: Path) -> Path:
    model = estimator(folder)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    return model


def on_other_grid(_folder: Path) -> object:
    height = STACK["height"].assign_coords(x=STACK["x"] + 4.0)
    return city_stack(sar=STACK["sar"], layers={"height": height})


def in_other_system(_folder: Path) -> object:
    height = STACK["height"].rio.write_crs(32632, inplace=False)
    return city_stack(sar=STACK["sar"], layers={"height": height})


def without_bands(folder: Path) -> object:
    model = BuildingHeightEstimator.from_pretrained(estimator(folder))
    return predict_buildings(model, STACK.sel(optical_band=[]), device="cpu")


def without_buildings(_folder: Path) -> object:
    empty = STACK.copy(deep=True)
    empty["height"].values[:] = 0.0
    return building_task([empty], [LEFT], [RIGHT], SETTINGS)


def without_heights(_folder: Path) -> object:
    return building_task([STACK.drop_vars(["height", "footprint"])], [LEFT], [RIGHT], SETTINGS)


def with_public_weights_of_another(folder: Path) -> object:
    torch.save({"conv1.weight": torch.zeros(64, 4, 7, 7)}, folder / "public.pth")
    settings = BuildingSettings.published(
        "ours", weights={"sar": str(folder / "public.pth")}, optical_bands=(), size=8, stride=8
    )
    return building_task([STACK], [LEFT], [RIGHT], settings)


def in_centimetres(folder: Path) -> object:
    box = (WEST, NORTH - 50.0, WEST + 50.0, NORTH)
    return read_buildings(write_buildings(folder / "city.fgb", [(box, {"height": 950.0})]))


REFUSALS: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "weights of another kind": (load(of_zones), CheckpointError, "the kind 'local climate zones'"),
    "weights of a newer version": (
        load(lambda folder: changed(folder, format=2)), CheckpointError, "another version wrote it",
    ),
    "weights of an unknown network": (
        load(lambda folder: changed(folder, configuration={"channels": {}, "network": "vit"})),
        CheckpointError, "found network 'vit'",
    ),
    "weights with other channels": (
        load(
            lambda folder: changed(
                folder, configuration={"channels": {"sar": [{"name": "vv", "units": "1"}]}}
            )
        ),
        CheckpointError, "do not fit its configuration",
    ),
    "weights that are cut": (load(cut), CheckpointError, "differ from their checksum"),
    "weights of a network for terrain": (
        lambda _: BuildingHeightEstimator.from_pretrained(packaged_model("refinement")),
        CheckpointError, "expected 'building heights'",
    ),
    "public weights of another network": (
        with_public_weights_of_another, CheckpointError, "expected those of this ResNet50",
    ),
    "a stack without the bands": (without_bands, StackError, "found none among the bands"),
    "truth on another grid": (on_other_grid, StackError, "expected one grid"),
    "truth in another reference system": (in_other_system, StackError, "found height in"),
    "no building to learn from": (without_buildings, ValueError, "found no building"),
    "no heights to learn from": (without_heights, ValueError, "no patch"),
    "heights in centimetres": (in_centimetres, StackError, "divide centimetres by 100"),
    "no grid to write buildings on": (
        lambda _: city_stack(layers={"height": grid_of(4, 4)}), StackError, "expected sar",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSALS))
def test_wrong_input_is_refused(name: str, tmp_path: Path) -> None:
    attempt, error, words = REFUSALS[name]
    with pytest.raises(error, match=words):
        attempt(tmp_path)


def test_a_failed_run_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sarheight.buildings.training import BuildingTask

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(BuildingTask, "calibrate", fail)
    prepared = building_task([STACK], [LEFT], [RIGHT], SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        learning.train(*prepared, tmp_path / "run", accelerator="cpu", progress=False)
    assert not (tmp_path / "run" / "model").exists()
    monkeypatch.undo()
    prepared = building_task([STACK], [LEFT], [RIGHT], SETTINGS)
    result = learning.train(*prepared, tmp_path / "run", accelerator="cpu", progress=False)
    assert np.isfinite(result.figures["validation_rmse"])
