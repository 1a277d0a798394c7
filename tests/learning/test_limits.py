"""Checkpoints that would take the memory of the machine, or differ from their checksum."""

from __future__ import annotations

import json
import math
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from safetensors.torch import save

from sarheight.errors import CheckpointError
from sarheight.learning.channels import Channel
from sarheight.learning.unet import UNet
from sarheight.terrain.sar2height import HeightEstimator

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    channels = [Channel("gamma0_vv", "1", "decibel")]
    model = HeightEstimator(channels, network="unet", options={"width": 2, "depth": 1})
    return model.save_pretrained(tmp_path / "model")


def change(folder: Path, **options: Any) -> None:  # noqa: ANN401
    """Change options of the network in its configuration."""
    path = folder / "config.json"
    described = json.loads(path.read_text())
    described["configuration"]["options"].update(options)
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    "options", [{"depth": 100_000}, {"depth": 4000}, {"width": 4096, "depth": 8}, {"width": 10**30}]
)
def test_a_network_beyond_its_weights_is_refused_at_once(
    folder: Path, options: dict[str, int]
) -> None:
    change(folder, **options)
    begun = time.monotonic()
    with pytest.raises(CheckpointError, match=r"(depth|width)=|describes \d+ numbers"):
        HeightEstimator.from_pretrained(folder)
    assert time.monotonic() - begun < 5.0


def test_damaged_weights_differ_from_their_checksum(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-7] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="differ from their checksum"):
        HeightEstimator.from_pretrained(folder)


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


def test_an_image_is_halved_a_dozen_times_at_most() -> None:
    with pytest.raises(ValueError, match="depth=13"):
        UNet(1, 1, depth=13)
