"""Checkpoints that are damaged, of another kind, or would take the memory of the machine."""

from __future__ import annotations

import json
import math
from functools import partial
from hashlib import sha256

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save

from sarheight.errors import CheckpointError, OutputError
from sarheight.learning.channels import Channel
from sarheight.terrain.sar2height import HeightEstimator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    channels = [Channel("gamma0_vv", "1", "decibel")]
    model = HeightEstimator(channels, network="unet", options={"width": 2, "depth": 1})
    return model.save_pretrained(tmp_path / "model")


def change(folder: Path, old: str, new: str) -> None:
    """Change the text of a configuration."""
    path = folder / "config.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def cut(name: str, folder: Path) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (partial(change, old="terrain heights", new="trees"), "kind 'trees', expected 'terrain"),
        (partial(change, old='"width": 2', new='"width": 6'), "do not fit its configuration"),
        (partial(change, old='"std": 1.0', new='"std": 0.0'), r"std=0\.0 of gamma0_vv"),
        (partial(change, old='"format": 1', new='"format": 99'), "format 99"),
        # Networks that would take the memory of a machine, or hours.
        (partial(change, old='"depth": 1', new='"depth": 100000'), "depth="),
        (partial(change, old='"depth": 1', new='"depth": 4000'), "depth="),
        (partial(change, old='"width": 2, "depth": 1', new='"width": 4096, "depth": 8'), "numbers"),
        (partial(change, old='"width": 2', new=f'"width": {10**30}'), "width="),
        (partial(cut, "model.safetensors"), "differ from their checksum"),
        (partial(cut, "config.json"), r"config\.json.* is not JSON"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"holds no model\.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), r"no readable config\.json"),
    ],
)
def test_damaged_and_excessive_checkpoints_are_refused_at_once(
    folder: Path,
    spoil: Callable[[Path], object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before a layer takes memory, and before many are planned."""
    # In one line, so that two options are next to each other.
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    spoil(folder)
    planned: list[bool] = []
    convolution = torch.nn.modules.conv._ConvNd
    begin = convolution.reset_parameters

    def noted(layer: torch.nn.Module) -> None:
        planned.append(layer.weight.is_meta)
        begin(layer)

    monkeypatch.setattr(convolution, "reset_parameters", noted)
    with pytest.raises(CheckpointError, match=message):
        HeightEstimator.from_pretrained(folder)
    assert all(planned)
    assert len(planned) < 100


def test_a_model_is_saved_as_a_folder(folder: Path) -> None:
    model = HeightEstimator.from_pretrained(folder)
    with pytest.raises(OutputError, match="without a suffix"):
        model.save_pretrained(folder.parent / "heights.pt")
    assert [each.name for each in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_weights_that_are_no_numbers_are_neither_read_nor_written(
    folder: Path, value: float
) -> None:
    model = HeightEstimator.from_pretrained(folder)
    with torch.no_grad():
        model.network.head.bias[0] = value
    with pytest.raises(
        CheckpointError, match=r"'network\.head\.bias' of the network: its training"
    ):
        model.save_pretrained(folder.parent / "other")
    assert not (folder.parent / "other").exists()
    data = save(model.state_dict())
    (folder / "model.safetensors").write_bytes(data)
    path = folder / "config.json"
    described = json.loads(path.read_text()) | {"sha256": sha256(data).hexdigest()}
    path.write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=r"NaN or infinity in 1 arrays such as 'network\."):
        HeightEstimator.from_pretrained(folder)


def test_weights_without_a_checksum_are_read(folder: Path) -> None:
    path = folder / "config.json"
    described = json.loads(path.read_text())
    del described["sha256"]
    path.write_text(json.dumps(described))
    assert HeightEstimator.from_pretrained(folder).reference == "mean"
