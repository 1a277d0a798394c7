"""FusionCNN: stages, splits and shapes; and the classifier: calibration, saved models, options."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from pathlib import Path

from sarheight.learning import Channel, seeded
from sarheight.zones import (
    OPTICAL_CHANNELS,
    RADAR_CHANNELS,
    ZONE_SPLITS,
    FusionCNN,
    ZoneClassifier,
    ZoneMember,
    fusion_strategies,
)
from sarheight.zones.fusion_cnn import branch_options, class_weights, published, split_channels

GROUPS = ((0, 1), (2, 3, 4))
SMALL = {"widths": (4, 4, 8, 8, 8), "dense": 8}
CHANNELS = [Channel(name, "1", mean=1.0, std=2.0) for name in "abcde"]


def patches(count: int = 6, channels: int = 5, size: int = 16) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def classifier(**changes: object) -> ZoneClassifier:
    torch.manual_seed(0)
    options = {"stage": 3, **SMALL}
    members = [ZoneMember((("a", "b"), ("c", "d", "e")), options)]
    return ZoneClassifier(CHANNELS, ["x", "y", "z"], members, size=16, **changes).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", range(7))
def test_branches_read_only_their_channels_before_the_fusion(stage: int) -> None:
    with seeded(0):  # some weights of so small a network let nothing through
        network = FusionCNN(GROUPS, 4, stage=stage, **SMALL).eval()
    assert len(network.branches) == 2
    image, other = patches(), patches()
    other[:, 2:] += 1.0
    with torch.no_grad():
        for branch, group, same in zip(network.branches, GROUPS, (True, False), strict=True):
            first, second = branch(image[:, group]), branch(other[:, group])
            assert torch.equal(first, second) is same
        assert not torch.equal(network(image), network(other))
    for part, count in ((network.branches[0], min(stage, 5)), (network.trunk, 5 - min(stage, 5))):
        assert sum(isinstance(layer, torch.nn.Conv2d) for layer in part.modules()) == count
    # Every stage gives probabilities and gradients.
    found = network.train()(image)
    assert found.shape == network(patches(size=9)).shape == (6, 4)
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(6))
    found[:, 0].sum().backward()
    assert all(value.grad is not None for value in network.parameters())


def test_at_stage_6_the_output_is_the_mean_of_the_branches() -> None:
    network = FusionCNN(GROUPS, 4, stage=6, **SMALL).eval()
    image = patches()
    with torch.no_grad():
        each = [
            branch(image[:, group]).softmax(dim=1)
            for branch, group in zip(network.branches, GROUPS, strict=True)
        ]
        torch.testing.assert_close(network(image).exp(), torch.stack(each).mean(dim=0))
    # A single branch is one network whatever the stage.
    single = []
    for stage in (0, 6):
        with seeded(0):
            single.append(FusionCNN([range(5)], 4, stage=stage, **SMALL).eval())  # type: ignore[list-item]
    torch.testing.assert_close(*(network(image) for network in single))


def test_divided_widths_do_not_grow_with_the_stage() -> None:
    def size(stage: int) -> int:
        network = FusionCNN(GROUPS, 4, stage=stage, widths=(8, 8, 8, 8, 8), dense=8)
        return sum(value.numel() for value in network.parameters())

    assert size(6) < size(3) < size(1) <= size(0)
    assert branch_options({"widths": (8, 8, 8, 8, 9), "dense": 6}, 2) == {
        "widths": [4, 4, 4, 4, 4],
        "dense": 3,
    }
    assert branch_options({}, 2) == {"widths": [16, 32, 64, 128, 128], "dense": 128}


def test_the_shapes_are_those_of_the_figure() -> None:
    network = FusionCNN([range(8), range(8, 18)], 17, stage=0)  # type: ignore[list-item]
    shapes: list[tuple[int, ...]] = []

    def note(_module: object, _inputs: object, output: torch.Tensor) -> None:
        shapes.append(tuple(output.shape[1:]))

    for layer in network.trunk:
        if isinstance(layer, torch.nn.ReLU | torch.nn.MaxPool2d | torch.nn.Flatten):
            layer.register_forward_hook(note)
    network(torch.zeros(2, 18, 32, 32))
    assert shapes == [
        (32, 32, 32), (32, 16, 16), (64, 16, 16), (64, 8, 8), (128, 8, 8), (128, 4, 4),
        (256, 4, 4), (256, 4, 4), (256,),
    ]  # fmt: skip


def test_the_published_settings_and_class_weights() -> None:
    found = published()
    assert (found["rate"], found["epochs"], found["patience"]) == (1e-3, 100, 25)
    assert found["options"] == {"dropout": 0.4}
    np.testing.assert_allclose(class_weights(np.array([80, 15, 5, 0])), [1.25, 100 / 15, 20, 0])


def test_a_classifier_normalises_and_ignores_missing_values() -> None:
    model = classifier()
    image = patches()
    with torch.no_grad():
        torch.testing.assert_close(model(image), model.members[0]((image - 1.0) / 2.0))
        empty = torch.full_like(image, torch.nan)
        torch.testing.assert_close(model(empty), model(torch.ones_like(image)))
        image[:, 2, 3:5] = torch.nan
        image[:, 3, 0] = torch.inf
        assert torch.isfinite(model(image)).all()
    with pytest.raises(ValueError, match="found 4 channels, expected 5: a, b, c, d, e"):
        model(patches(channels=4))


def test_power_enters_in_decibels() -> None:
    channels = [Channel("a", "1", "decibel", -10.0, 5.0), Channel("b", "1", mean=1.0)]
    members = [ZoneMember((("a", "b"),), options=SMALL)]
    model = ZoneClassifier(channels, ["x", "y"], members, size=8).eval()
    image = torch.stack([torch.full((2, 8, 8), 0.01), torch.full((2, 8, 8), 3.0)], dim=1)
    seen = torch.stack([torch.full((2, 8, 8), -2.0), torch.full((2, 8, 8), 2.0)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(model(image), model.members[0](seen))


def test_temperature_changes_the_confidence_but_no_class() -> None:
    model, image = classifier(), patches()
    with torch.no_grad():
        plain = model.probabilities(image)
        model.temperature = 4.0
        cool = model.probabilities(image)
    assert torch.equal(plain.argmax(dim=1), cool.argmax(dim=1))
    assert (cool.amax(dim=1) < plain.amax(dim=1)).all()
    torch.testing.assert_close(cool.sum(dim=1), torch.ones(6))


def test_a_saved_classifier_is_restored(tmp_path: Path) -> None:
    model = classifier(codes=(1, 6, 17), posting=10.0, temperature=1.7)
    model.save_pretrained(tmp_path / "model")
    again = ZoneClassifier.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(
            again.probabilities(patches()), model.probabilities(patches()), rtol=0, atol=0
        )
    assert again.configuration() == json.loads(json.dumps(model.configuration()))


def test_an_ensemble_averages_probabilities(tmp_path: Path) -> None:
    torch.manual_seed(1)

    def alone(names: str) -> ZoneClassifier:
        channels = [each for each in CHANNELS if each.name in names]
        members = [ZoneMember((tuple(names),), dict(SMALL))]
        return ZoneClassifier(channels, ["x", "y", "z"], members, size=16).eval()

    first, second = alone("ab"), alone("cde")
    whole = ZoneClassifier.ensemble([first, second])
    whole.save_pretrained(tmp_path / "model")
    again = ZoneClassifier.from_pretrained(tmp_path / "model")
    image = patches()
    with torch.no_grad():
        expected = (first(image[:, :2]).exp() + second(image[:, 2:]).exp()) / 2.0
        for each in (whole, again):
            torch.testing.assert_close(each(image).exp(), expected)


def test_there_are_28_fusion_strategies() -> None:
    forms = fusion_strategies()
    assert len(forms) == 28
    assert len({form.label for form in forms}) == 28
    assert {(form.name, form.stage) for form in forms} == {
        (name, stage)
        for name in ("radar groups", "optical groups", "radar|optical", "seven groups")
        for stage in range(7)
    }
    everything = fusion_strategies(independent=True)
    assert len(everything) == 32
    assert sum(form.independent for form in everything) == 4
    alone = fusion_strategies({"optical": ZONE_SPLITS["optical"]}, independent=True)
    assert [(form.stage, form.kind) for form in alone] == [(0, "none")]
    kinds = [form.kind for form in forms if form.name == "seven groups"]
    assert kinds == ["early", *["middle"] * 5, "late"]


def test_named_splits_hold_each_channel_once() -> None:
    everything = {*RADAR_CHANNELS, *OPTICAL_CHANNELS}
    assert len(everything) == 18
    for name, split in ZONE_SPLITS.items():
        named = [channel for group in split for channel in group]
        assert len(named) == len(set(named)), name
    for name in ("all", "radar|optical", "seven groups"):
        assert {channel for group in ZONE_SPLITS[name] for channel in group} == everything
    assert len(ZONE_SPLITS["seven groups"]) == 7
    assert split_channels("all", ("p", "q")) == (("p", "q"),)
    assert split_channels([["q"], ["p"]], ("p", "q")) == (("q",), ("p",))
