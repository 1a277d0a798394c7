"""Training for Local Climate Zones: convergence, repeatability, resumed runs, comparisons."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from sarheight.errors import CheckpointError, DatasetError
from sarheight.zones import (
    FusionResult,
    ZoneClassifier,
    ZonePatches,
    ZoneSettings,
    calibration_error,
    compare_fusion,
    evaluate_zones,
    fit_temperature,
    fusion_strategies,
    rank_fusions,
    split_samples,
    train_zones,
    zone_probabilities,
)
from sarheight.zones.evaluation import scores_from_confusion
from sarheight.zones.predict import split_batches
from sarheight.zones.training import (
    ZoneLoader,
    ZoneTask,
    class_weights,
    random_symmetries,
)
from tests.zone_samples import patches

if TYPE_CHECKING:
    from pathlib import Path

    from sarheight.zones import ZoneSamples

# Test processes share the cores; threads of each would wait for each other.
torch.set_num_threads(1)

SPLIT = (("vh", "vv"), ("red", "nir"))
SETTINGS = ZoneSettings(
    split=SPLIT,
    stage=3,
    options={"widths": (4, 4, 8, 8, 8), "dense": 8},
    epochs=2,
    batch=16,
    rate=1e-2,
    precision="32-true",
)


@pytest.fixture(scope="module")
def parts() -> dict[str, ZoneSamples]:
    return split_samples(patches(150), {"training": 0.6, "validation": 0.2, "test": 0.2})


def train(
    parts: dict[str, ZoneSamples], folder: Path, settings: ZoneSettings = SETTINGS
) -> ZoneClassifier:
    return train_zones(
        parts["training"],
        parts["validation"],
        settings,
        folder,
        accelerator="cpu",
        progress=False,
    )


def same(first: ZoneClassifier, second: ZoneClassifier) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(mine, other) for mine, other in pairs)


def test_settings_are_restored_from_a_file_and_invalid_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    for chosen in (SETTINGS, ZoneSettings(), ZoneSettings.generalising(SPLIT, seed=3)):
        chosen.write(path)
        assert ZoneSettings.read(path) == chosen
    published = ZoneSettings()
    assert (published.rate, published.epochs, published.patience) == (1e-3, 100, 25)
    assert published.balance == "weights"
    for options in (
        {"network": "vit"},
        {"balance": "some"},
        {"stage": 7},
        {"independent": True},
        {"smoothing": 1.0},
        {"batch": 1},
        {"schedule": "steps"},
    ):
        with pytest.raises(ValueError, match="expected"):
            replace(SETTINGS, **options)


def test_training_learns_and_leaves_a_model_and_its_curve(
    parts: dict[str, ZoneSamples], tmp_path: Path
) -> None:
    model = train(parts, tmp_path / "run", replace(SETTINGS, epochs=8))
    scores = evaluate_zones(model, parts["test"])
    assert scores.overall > 0.9
    assert scores.missing == ()
    again = ZoneClassifier.from_pretrained(tmp_path / "run" / "model")
    assert same(again, model)
    assert again.temperature == model.temperature
    assert again.classes == parts["training"].classes
    assert again.codes == (1, 11, 17)
    card = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["card"]
    validation = card["validation"]
    assert validation["overall"] > 0.9
    assert validation["calibration_error"] <= validation["calibration_error_before"] + 0.05
    assert (tmp_path / "run" / "curves" / "metrics.csv").exists()
    # A finished run is not repeated.
    before = (tmp_path / "run" / "last.ckpt").stat().st_mtime_ns
    train(parts, tmp_path / "run", replace(SETTINGS, epochs=8))
    assert (tmp_path / "run" / "last.ckpt").stat().st_mtime_ns == before


def test_a_resumed_run_equals_an_uninterrupted_one(
    parts: dict[str, ZoneSamples], tmp_path: Path
) -> None:
    settings = ZoneSettings.generalising(
        SPLIT, options={"width": 4, "stages": 2}, epochs=3, batch=16, precision="32-true"
    )
    whole = train(parts, tmp_path / "whole", settings)

    class Stop(Exception):  # noqa: N818
        pass

    step = ZoneTask.training_step

    def failing(self: ZoneTask, sample: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if self.current_epoch == 2:
            raise Stop
        return step(self, sample, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ZoneTask, "training_step", failing)
        with pytest.raises(Stop):
            train(parts, tmp_path / "stopped", settings)
    resumed = train(parts, tmp_path / "stopped", settings)
    assert same(whole, resumed)
    assert not same(whole, train(parts, tmp_path / "other", replace(settings, seed=1)))
    with pytest.raises(CheckpointError, match="another folder"):
        train(parts, tmp_path / "whole", replace(settings, seed=1))


def test_independent_branches_are_averaged(parts: dict[str, ZoneSamples], tmp_path: Path) -> None:
    settings = replace(SETTINGS, stage=6, independent=True)
    model = train(parts, tmp_path / "run", settings)
    branches = [
        ZoneClassifier.from_pretrained(tmp_path / "run" / f"branch_{number}" / "model")
        for number in (1, 2)
    ]
    assert [tuple(each.name for each in branch.channels) for branch in branches] == list(SPLIT)
    for branch in branches:
        branch.temperature = 1.0
    each = [zone_probabilities(branch, parts["test"]) for branch in branches]
    model.temperature = 1.0
    np.testing.assert_allclose(
        zone_probabilities(model, parts["test"]), np.mean(each, axis=0), atol=1e-6
    )
    # Each branch has half of the features, as at the same stage when trained together.
    assert branches[0].architectures[0].options["widths"] == [2, 2, 4, 4, 4]


def test_a_class_that_training_lacks_is_named(
    parts: dict[str, ZoneSamples], tmp_path: Path
) -> None:
    training = parts["training"]
    without = training.subset(np.flatnonzero(training.labels != 2))
    with pytest.raises(DatasetError, match="for training of water"):
        train_zones(without, parts["validation"], SETTINGS, tmp_path / "a")
    # Validation may lack one: the average is over those that are there.
    held_out = parts["validation"].subset(np.flatnonzero(parts["validation"].labels != 2))
    model = train(parts | {"validation": held_out}, tmp_path / "b", replace(SETTINGS, epochs=1))
    scores = evaluate_zones(model, held_out)
    assert scores.missing == ("water",)
    assert np.isfinite(scores.average)


def test_a_constant_channel_is_named(parts: dict[str, ZoneSamples], tmp_path: Path) -> None:
    training = parts["training"].load()
    training.image[:, 1] = 4.0
    with pytest.raises(DatasetError, match=r"the same value .* vv"):
        train_zones(training, parts["validation"], SETTINGS, tmp_path / "a")
    train(parts | {"training": training}, tmp_path / "b",
          replace(SETTINGS, split=(("vh",), ("red", "nir")), epochs=1))  # fmt: skip


def test_more_branches_than_channels_are_refused(
    parts: dict[str, ZoneSamples], tmp_path: Path
) -> None:
    split = (("vh",), ("vv",), ("red",), ("nir",), ("vh",))
    with pytest.raises(ValueError, match="5 branches for 4 channels"):
        train(parts, tmp_path, replace(SETTINGS, split=split))
    with pytest.raises(ValueError, match="expected some of vh, vv"):
        train(parts, tmp_path / "run", replace(SETTINGS, decibel=("hh",)))


def test_missing_values_do_not_spoil_training(
    parts: dict[str, ZoneSamples], tmp_path: Path
) -> None:
    holes = parts["training"].load()
    holes.image[::3, 0] = np.nan
    holes.image[5] = np.nan
    model = train(parts | {"training": holes}, tmp_path / "run", replace(SETTINGS, epochs=1))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert np.isfinite(zone_probabilities(model, holes)).all()


def test_rare_classes_have_more_weight_or_are_drawn_more_often() -> None:
    np.testing.assert_allclose(class_weights(np.array([80, 15, 5, 0])), [1.25, 100 / 15, 20, 0])
    image = np.zeros((100, 1, 2, 2), dtype=np.float32)
    labels = np.repeat([0, 1, 2], [80, 15, 5])
    samples = ZonePatches(image, labels, ["a"], ["x", "y", "z"])
    loader = ZoneLoader(samples, samples, ZoneSettings(balance="sampling", batch=32))
    drawn = np.concatenate([batch["label"].numpy() for batch in loader.train_dataloader()])
    assert drawn.size == 100
    assert np.bincount(drawn).min() >= 33
    plain = ZoneLoader(samples, samples, ZoneSettings(batch=33))
    batches = [batch["label"].numpy() for batch in plain.train_dataloader()]
    assert [batch.size for batch in batches] == [25, 25, 25, 25]
    np.testing.assert_array_equal(np.bincount(np.concatenate(batches)), [80, 15, 5])
    assert [each.size for each in split_batches(np.arange(65), 64)] == [33, 32]


def test_symmetries_keep_the_values_of_a_patch() -> None:
    torch.manual_seed(0)
    image = torch.arange(64 * 9.0).reshape(64, 1, 3, 3)
    moved = random_symmetries(image)
    torch.testing.assert_close(moved.flatten(1).sort().values, image.flatten(1).sort().values)
    torch.testing.assert_close(moved[:, :, 1, 1], image[:, :, 1, 1])
    ways = {tuple((each - each.min()).flatten().tolist()) for each in moved}
    assert len(ways) == 8


def test_jitter_applies_a_gain_and_an_offset_per_channel() -> None:
    from sarheight.learning import Channel
    from sarheight.zones import ZoneMember

    channels = [Channel("a", "1", "none", 2.0, 3.0), Channel("b", "1", "decibel", -10.0, 5.0)]
    members = [ZoneMember((("a", "b"),), options=SETTINGS.options)]
    model = ZoneClassifier(channels, ["x", "y"], members, size=8)
    task = ZoneTask(model, replace(SETTINGS, jitter=0.5), np.array([1, 1]), 1)
    torch.manual_seed(0)
    image = torch.rand(200, 2, 8, 8) + 0.1
    moved = task._jitter(image)
    ratio = 10.0 * torch.log10(moved[:, 1] / image[:, 1])
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio), rtol=1e-3, atol=1e-4)
    assert float(ratio[:, 0, 0].std()) == pytest.approx(0.5 * 5.0, rel=0.2)
    assert (moved[:, 1] > 0.0).all()
    means = moved[:, 0].mean(dim=(1, 2))
    assert float(means.std()) > 1.0


def test_a_temperature_calibrates_the_confidence() -> None:
    random = np.random.default_rng(0)
    calibrated = random.dirichlet(np.ones(4), 4000)
    truth = (random.random((4000, 1)) > np.cumsum(calibrated, axis=1)).sum(axis=1)
    overconfident = calibrated**3
    overconfident /= overconfident.sum(axis=1, keepdims=True)
    assert fit_temperature(overconfident, truth) == pytest.approx(3.0, rel=0.05)
    assert fit_temperature(calibrated, truth) == pytest.approx(1.0, rel=0.05)
    assert calibration_error(overconfident, truth) > 5.0 * calibration_error(calibrated, truth)


def test_strategies_are_compared_over_seeds(parts: dict[str, ZoneSamples], tmp_path: Path) -> None:
    forms = [
        form
        for form in fusion_strategies({"ours": SPLIT}, independent=True)
        if form.stage in {0, 5} or form.independent
    ]
    reported: list[str] = []
    rows = compare_fusion(
        parts["training"],
        parts["validation"],
        parts["test"],
        forms,
        replace(SETTINGS, epochs=1),
        tmp_path,
        seeds=(0, 1),
        accelerator="cpu",
        report=lambda form, seed: reported.append(f"{form.label} {seed}"),
    )
    assert [row.strategy.label for row in rows] == ["ours 0", "ours 5", "ours 6 independent"]
    assert len(reported) == 6
    assert len(set(rows[1].folders)) == 2
    for row in rows:
        assert len(row.values("average")) == 2
        assert row.std("overall") is not None
    verdict = rank_fusions(rows)
    assert set(verdict.best) == {"early", "middle", "late"}
    with pytest.raises(ValueError, match="at least two"):
        rank_fusions(rows[:1])


def test_a_significant_gain_exceeds_the_spread_over_seeds(tmp_path: Path) -> None:
    forms = {form.kind: form for form in fusion_strategies({"x": SPLIT}) if form.stage in {0, 3, 6}}

    def row(kind: str, accuracies: list[int]) -> FusionResult:
        scores = tuple(
            scores_from_confusion([[right, 100 - right], [100 - right, right]], ["a", "b"])
            for right in accuracies
        )
        values = tuple(right / 100 for right in accuracies)
        return FusionResult(forms[kind], scores, values, values, (tmp_path,) * len(values))

    clear = rank_fusions([row("early", [60, 62, 61]), row("late", [70, 71, 72])])
    assert (clear.winner, clear.significant) == ("late", True)
    assert clear.gain == pytest.approx(0.10)
    close = rank_fusions([row("early", [60, 72, 61]), row("middle", [70, 61, 65])])
    assert not close.significant
    single = rank_fusions([row("early", [60]), row("middle", [70])])
    assert single.standard_error is None
    assert not single.significant
