"""``sarheight train buildings`` and ``train zones``: what they are given, and what they answer."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")
pytest.importorskip("h5py", reason="the extra `learn` is not installed")

import json
from pathlib import Path

import numpy as np

from sarheight.buildings import BuildingHeightEstimator, write_stack
from sarheight.errors import OptionError
from sarheight.zones import FusionResult, ZoneClassifier, fusion_strategies, workflow
from sarheight.zones.workflow import choose_method, describe_verdict, open_samples, strategies_of
from tests.cities import SMALL_SETTINGS, small_stack
from tests.cli.commands import failing, passing
from tests.zone_samples import CHANNELS, city, fusion_result, so2sat_arrays, write_so2sat


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cities")
    for seed, name in enumerate(("one", "other")):
        stack = small_stack(32, 32, months=2, optical_bands=["B04"], seed=seed)
        write_stack(stack, made / f"{name}.zarr")
    (made / "settings.json").write_text(json.dumps(SMALL_SETTINGS))
    return made


@pytest.mark.parametrize("split", ["blocks", "cities"])
def test_a_network_is_trained_on_stacks(stacks: Path, tmp_path: Path, split: str) -> None:
    how = (
        ("--validate", stacks / "other.zarr")
        if split == "cities"
        else ("--block", 160, "--gap", 0, "--validation", 0.25)
    )
    passing(
        "train", "buildings", stacks / "one.zarr", *how, "-o", tmp_path / "run",
        "--settings", stacks / "settings.json", "--device", "cpu", "--quiet",
    )  # fmt: skip
    model = BuildingHeightEstimator.from_pretrained(tmp_path / "run" / "model")
    assert [channel.name for channel in model.channels["optical"]] == ["B04"]
    card = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["card"]
    assert card["stacks"] == ["one.zarr"]
    assert card["validation"] == (["other.zarr"] if split == "cities" else 0.25)


def test_mistakes_are_told_in_one_line(stacks: Path, tmp_path: Path) -> None:
    command = ("train", "buildings", stacks / "one.zarr", "-o", tmp_path / "run")
    line = failing(2, *command, "--settings", stacks / "settings.json", "--published")
    assert "--published" in line
    assert "blocks of 2000 m" in failing(1, *command, "--quiet")


def sizes(path: Path, *, random_split: bool = False) -> dict[str, int]:
    parts, posting = open_samples([path], random_split=random_split)
    assert posting is None
    return {role: len(samples) for role, samples in parts.items()}


def test_each_version_of_so2sat_gives_three_parts(tmp_path: Path) -> None:
    write_so2sat(tmp_path / "training.h5", so2sat_arrays(170))
    dealt = {"training": 136, "validation": 17, "test": 17}
    assert sizes(tmp_path) == dealt
    assert sizes(tmp_path / "training.h5") == dealt
    write_so2sat(tmp_path / "testing.h5", so2sat_arrays(20))
    assert sizes(tmp_path) == {"training": 153, "validation": 17, "test": 20}
    write_so2sat(tmp_path / "validation.h5", so2sat_arrays(10))
    assert sizes(tmp_path) == {"training": 170, "validation": 10, "test": 20}
    assert sizes(tmp_path, random_split=True) == dealt


def test_parts_of_a_map_share_no_cell(tmp_path: Path) -> None:
    stack, labels = city(60, 80)
    stack.values[:] = np.arange(stack.size).reshape(stack.shape)
    stack.rio.to_raster(tmp_path / "stack.tif")
    labels.rio.to_raster(tmp_path / "labels.tif")
    parts, posting = open_samples(
        [tmp_path / "stack.tif"], tmp_path / "labels.tif", size=6, block=1000.0
    )
    assert posting == 100.0
    assert all(len(part) > 0 for part in parts.values())
    images = {role: part.load().image for role, part in parts.items()}
    seen = {role: set(image[np.isfinite(image)].tolist()) for role, image in images.items()}
    for first, second in (("training", "test"), ("training", "validation"), ("validation", "test")):
        assert not seen[first] & seen[second]


def test_forms_are_those_that_are_asked_for() -> None:
    forms = strategies_of(CHANNELS, None, None, "0, 3,independent")
    assert [form.label for form in forms] == [
        "radar|optical 0", "radar|optical 3", "radar|optical 6 independent",
    ]  # fmt: skip
    everything = ("radar groups", "optical groups", "radar|optical", "seven groups")
    assert len(strategies_of(CHANNELS, everything, None, "0,1,2,3,4,5,6,independent")) == 32
    own = strategies_of(CHANNELS, None, ["v*", "B2,B3"], "6")
    assert own[0].groups == (CHANNELS[:6], ("B2", "B3"))
    with pytest.raises(OptionError, match="expected a list"):
        strategies_of(CHANNELS, None, None, "7")
    with pytest.raises(ValueError, match="only channels of the data"):
        strategies_of(("a", "b"), None, None, "0")


def test_the_answer_says_how_sure_it_is(tmp_path: Path) -> None:
    forms = {form.kind: form for form in fusion_strategies({"x": (("a",), ("b",))})}

    def row(kind: str, accuracies: list[int]) -> FusionResult:
        return fusion_result(forms[kind], accuracies, tmp_path)

    told = describe_verdict([row("early", [60, 62, 61]), row("late", [70, 71, 72])])
    assert "late fusion (x 6)" in told
    assert "71.0 ± 1.0 % at test, +10.0 points" in told
    assert told.endswith("standard error).")
    assert "not significant" in describe_verdict([row("early", [60, 72]), row("middle", [70, 64])])
    assert "use more" in describe_verdict([row("early", [60]), row("middle", [70])])
    assert "nothing to compare" in describe_verdict([row("early", [60])])


def test_one_command_answers_which_fusion_is_best(tmp_path: Path) -> None:
    stack, labels = city(48, 60)
    stack.attrs["long_name"] = ("radar_vv", "red", "nir")
    stack.rio.to_raster(tmp_path / "stack.tif")
    labels.rio.to_raster(tmp_path / "labels.tif")
    options = {"widths": [4, 4, 4, 8, 8], "dense": 8, "pooled_blocks": 2}
    settings = {"options": options, "epochs": 1, "batch": 16, "precision": "32-true"}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    done = passing(
        "train", "zones", tmp_path / "stack.tif", "--labels", tmp_path / "labels.tif",
        "--size", 4, "--block", 700, "--group", "radar_*", "--group", "red,nir",
        "--stages", "0,3", "--seeds", 2, "--settings", tmp_path / "settings.json",
        "--device", "cpu", "-o", tmp_path / "run",
    )  # fmt: skip
    assert "±" in done.output
    assert "fusion" in done.output
    table = json.loads((tmp_path / "run" / "table.json").read_text())
    assert [form["stage"] for form in table["forms"]] == [0, 3]
    assert table["samples"]["test"] > 0
    model = ZoneClassifier.from_pretrained(tmp_path / "run" / "model")
    assert model.posting == 100.0
    line = failing(2, "train", "zones", tmp_path / "stack.tif", "-o", tmp_path / "other")
    assert "--labels" in line


def test_few_labels_of_a_map_get_a_forest_and_it_maps(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the extra `learn` is not installed")
    stack, labels = city(60, 80)
    stack.rio.to_raster(tmp_path / "stack.tif")
    labels.rio.to_raster(tmp_path / "labels.tif")
    (tmp_path / "settings.json").write_text(json.dumps({"trees": 10, "window": 3}))
    done = passing(
        "train", "zones", tmp_path / "stack.tif", "--labels", tmp_path / "labels.tif",
        "--block", 700, "--settings", tmp_path / "settings.json", "-o", tmp_path / "run",
    )  # fmt: skip
    assert "forest of 10 trees" in done.output
    table = json.loads((tmp_path / "run" / "table.json").read_text())
    assert table["test"]["average"] > 0.9
    assert table["test"]["calibration_error"] < 0.1
    model = ("--model", tmp_path / "run" / "model")
    passing("predict", tmp_path / "stack.tif", *model, "-o", tmp_path / "zones.tif")
    assert (tmp_path / "zones_probabilities.tif").exists()


def test_the_method_follows_labels_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels.tif"
    _, labels = city(48, 60)
    labels.rio.to_raster(path)
    assert choose_method("auto", path, fusion=False) == "forest"
    assert choose_method("auto", path, fusion=True) == "networks"
    monkeypatch.setattr(workflow, "FEW_LABELS", int((labels > 0).sum()))
    assert choose_method("auto", path, fusion=False) == "networks"
    assert choose_method("auto", None, fusion=False) == "networks"
    assert choose_method("forest", None, fusion=False) == "forest"
    with pytest.raises(OptionError, match="a forest has no split"):
        choose_method("forest", path, fusion=True)
    with pytest.raises(OptionError, match="expected one of auto, forest, networks"):
        choose_method("svm", path, fusion=False)


@pytest.mark.filterwarnings("always::UserWarning")
def test_labels_that_cannot_be_learnt_are_named(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the extra `learn` is not installed")
    stack, labels = city(60, 80)
    labels.values[4, 4] = 8
    # All cells of zone 2 lie in one block.
    labels.values[28:32, 40:44] = 2
    stack.rio.to_raster(tmp_path / "stack.tif")
    labels.rio.to_raster(tmp_path / "labels.tif")
    (tmp_path / "settings.json").write_text(json.dumps({"trees": 3, "window": 3}))
    arguments = [
        "train", "zones", tmp_path / "stack.tif", "--labels", tmp_path / "labels.tif",
        "--block", 1500, "--settings", tmp_path / "settings.json", "-o", tmp_path / "run",
    ]  # fmt: skip
    done = passing(*arguments)
    told = " ".join(done.output.split())
    assert "fewer than 20 labelled cells of compact_mid_rise (16), large_low_rise (1)" in told
    labels.values[10, 10] = 55
    labels.rio.to_raster(tmp_path / "labels.tif")
    line = failing(1, *arguments)
    assert "found labels 55 (1 cells), which are no Local Climate Zones" in line
