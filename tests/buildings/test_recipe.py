"""The included network comes from a recipe in the repository, with the same weights each time."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from benchmarks.buildings import OURS
from sarheight import learning
from sarheight.buildings import BuildingHeightEstimator, building_task
from sarheight.learning import Part, packaged_model
from tests.worlds.city_images import CitySettings, simulated_city

if TYPE_CHECKING:
    from pathlib import Path

torch.set_num_threads(1)


def test_the_included_network_was_made_with_these_settings() -> None:
    described = json.loads((packaged_model("buildings") / "config.json").read_text("utf-8"))
    recorded, ours = described["card"]["training"]["settings"], asdict(OURS)
    varied = {"seed", "epochs", "patience", "plateau", "stride", "workers"}
    for name in (recorded.keys() & ours.keys()) - varied:
        found = list(ours[name]) if isinstance(ours[name], tuple) else ours[name]
        assert found == recorded[name], name
    assert described["configuration"]["options"] == OURS.options


@pytest.mark.slow
def test_the_recipe_gives_the_same_weights_each_time(tmp_path: Path) -> None:
    world = replace(CitySettings.wide(), cells=64)
    cities = [simulated_city(world, seed=seed) for seed in (0, 1000)]
    here, there = ([[Part.whole(cities[0])], []], [[], [Part.whole(cities[1])]])
    settings = replace(OURS, epochs=1, patience=1, batch=4)
    found = []
    for number in range(2):
        prepared = building_task(cities, here, there, settings)
        run = tmp_path / f"run_{number}"
        found.append(learning.train(*prepared, run, accelerator="cpu", progress=False).network)
    for name, value in found[0].state_dict().items():
        assert torch.equal(value, found[1].state_dict()[name]), name
    again = BuildingHeightEstimator.from_pretrained(tmp_path / "run_0" / "model")
    assert torch.equal(again.network.novelty.limit, found[0].network.novelty.limit)
