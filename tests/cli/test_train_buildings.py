"""Building heights on the command line."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from pathlib import Path

from sarheight.buildings import (
    BuildingHeightEstimator,
    write_stack,
)
from tests.cities import SMALL_SETTINGS, small_stack
from tests.cli.commands import passing, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cities")
    for seed, name in enumerate(("one", "other")):
        stack = small_stack(32, 32, months=2, optical_bands=["B04"], seed=seed)
        write_stack(stack, made / f"{name}.zarr")
    (made / "settings.json").write_text(json.dumps(SMALL_SETTINGS))
    return made


@pytest.mark.parametrize("split", ["blocks", "cities"])
def test_a_network_is_trained_on_stacks(folder: Path, tmp_path: Path, split: str) -> None:
    how = (
        ("--validate", folder / "other.zarr")
        if split == "cities"
        else ("--block", 160, "--gap", 0, "--validation", 0.25)
    )
    passing(
        "train", "buildings", folder / "one.zarr", *how, "-o", tmp_path / "run",
        "--settings", folder / "settings.json", "--device", "cpu", "--quiet",
    )  # fmt: skip
    model = BuildingHeightEstimator.from_pretrained(tmp_path / "run" / "model")
    assert [channel.name for channel in model.channels["optical"]] == ["B04"]
    card = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["card"]
    assert card["stacks"] == ["one.zarr"]
    assert card["validation"] == (["other.zarr"] if split == "cities" else 0.25)


def test_mistakes_are_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    done = run(
        "train", "buildings", folder / "one.zarr", "-o", tmp_path / "run",
        "--settings", folder / "settings.json", "--published",
    )  # fmt: skip
    assert done.exit_code == 2
    assert "--published" in done.output
    done = run("train", "buildings", folder / "one.zarr", "-o", tmp_path / "run", "--quiet")
    assert done.exit_code == 1
    assert "blocks of 2000 m" in done.output
