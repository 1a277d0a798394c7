"""Training for Local Climate Zones: convergence, repeatability, resumed runs, comparisons."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from pathlib import Path

from sarheight import learning
from sarheight.zones import (
    FusionResult,
    ZoneClassifier,
    ZoneSamples,
    ZoneSettings,
    calibration_error,
    compare_fusion,
    evaluate_zones,
    fit_temperature,
    fusion_strategies,
    rank_fusions,
    split_samples,
    zone_probabilities,
    zone_task,
)
from sarheight.zones.fusion import train_strategy
from sarheight.zones.fusion_cnn import FusionStrategy
from tests.zone_samples import fusion_result, patches

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
    prepared = zone_task(parts["training"], parts["validation"], settings)
    return learning.train(*prepared, folder, accelerator="cpu", progress=False).network


def same(first: ZoneClassifier, second: ZoneClassifier) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(mine, other) for mine, other in pairs)


def test_settings_are_restored_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    for chosen in (SETTINGS, ZoneSettings(), ZoneSettings.published(split=SPLIT, seed=3)):
        chosen.write(path)
        assert ZoneSettings.read(path) == chosen
    published = ZoneSettings()
    assert (published.rate, published.epochs, published.patience) == (1e-3, 100, 25)
    assert (published.optimiser, published.schedule) == ("nadam", "constant")


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
    validation = card["training"]
    assert validation["overall"] > 0.9
    assert validation["calibration_error"] <= validation["calibration_error_before"] + 0.05
    assert (tmp_path / "run" / "curves" / "metrics.csv").exists()


def test_independent_branches_are_averaged(parts: dict[str, ZoneSamples], tmp_path: Path) -> None:
    strategy = FusionStrategy("ours", SPLIT, 6, independent=True)
    training, validation = parts["training"], parts["validation"]
    model, again = (
        train_strategy(
            strategy, training, validation, SETTINGS, tmp_path, accelerator="cpu", progress=False
        )
        for _ in range(2)
    )
    assert same(model, again)
    assert model.temperature == again.temperature
    branches = [
        ZoneClassifier.from_pretrained(tmp_path / f"branch_{number}" / "model") for number in (1, 2)
    ]
    assert [tuple(each.name for each in branch.channels) for branch in branches] == list(SPLIT)
    for each in (model, *branches):
        each.temperature = 1.0
    whole, *halves = (zone_probabilities(each, parts["test"]) for each in (model, *branches))
    np.testing.assert_allclose(whole, np.mean(halves, axis=0), atol=1e-6)
    # Each branch has half of the features, as at the same stage when trained together.
    assert branches[0].architectures[0].options["widths"] == [2, 2, 4, 4, 4]


def test_what_the_data_lack_does_not_spoil_training(
    parts: dict[str, ZoneSamples], tmp_path: Path
) -> None:
    """A class of validation, channels that do not vary and are not used, and values."""
    training = parts["training"].load()
    training.image[:, 1] = 4.0
    training.image[::3, 0] = np.nan
    training.image[5] = np.nan
    held_out = parts["validation"].subset(np.flatnonzero(parts["validation"].labels != 2))
    settings = replace(SETTINGS, split=(("vh",), ("red", "nir")), epochs=1)
    model = train({"training": training, "validation": held_out}, tmp_path, settings)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert np.isfinite(zone_probabilities(model, training)).all()
    scores = evaluate_zones(model, held_out)
    assert scores.missing == ("water",)
    # The average is over those that are there.
    assert np.isfinite(scores.average)


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


def test_a_significant_gain_exceeds_the_spread_over_seeds(tmp_path: Path) -> None:
    forms = {form.kind: form for form in fusion_strategies({"x": SPLIT}) if form.stage in {0, 3, 6}}

    def row(kind: str, accuracies: list[int]) -> FusionResult:
        return fusion_result(forms[kind], accuracies, tmp_path)

    clear = rank_fusions([row("early", [60, 62, 61]), row("late", [70, 71, 72])])
    assert (clear.winner, clear.significant) == ("late", True)
    assert clear.gain == pytest.approx(0.10)
    close = rank_fusions([row("early", [60, 72, 61]), row("middle", [70, 61, 65])])
    assert not close.significant
    single = rank_fusions([row("early", [60]), row("middle", [70])])
    assert single.standard_error is None
    assert not single.significant
