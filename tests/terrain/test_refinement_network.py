"""The network on top of refinement: its channels, their symmetries, and the bound on harm."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch")

from benchmarks import refinement_network
from benchmarks._terrain.residuals import Sample
from benchmarks.refinement_network import (
    TRAINING_ROWS,
    Data,
    Method,
    calibration,
    channels_of,
    cuts_of,
    figures_of,
    helps,
    mean_of,
    new_network,
    rescaled,
    shrinkage,
    target_of,
    train,
    turned_sample,
)
from sarheight.terrain.correction import correction_of

Floats = NDArray[np.float32]
SIDE = 48


def made_sample(seed: int, *, scale: float = 1.0) -> Sample:
    """Draw heights and images without any physics."""
    random = np.random.default_rng(seed)

    def smooth(length: float, size: float) -> Floats:
        field = gaussian_filter(random.standard_normal((SIDE, SIDE)), length)
        return (size * field / field.std()).astype(np.float32)

    baseline = scale * smooth(6.0, 60.0)
    error = scale * smooth(2.0, 4.0)
    fields = [baseline + error, baseline, baseline + 0.5 * error, np.full_like(error, scale * 3.0)]
    passes = np.stack([[smooth(1.0, 1.0), smooth(1.0, 2.0) - 9.0, smooth(3.0, 8.0) + 40.0]] * 2)
    passes[1] = passes[1, :, ::-1]
    passes[0, :2, 20:24, 10:20] = np.nan
    return Sample(np.stack(fields), passes.astype(np.float32), 4.0)


def data_of(samples: list[Sample], rows: list[str]) -> Data:
    """Collect samples."""
    return Data(
        rows,
        [channels_of(each) for each in samples],
        [target_of(each) for each in samples],
        [each.fields[3] for each in samples],
        [each.looks for each in samples],
    )


@pytest.mark.parametrize(("rows", "columns"), [(True, False), (False, True), (True, True)])
def test_channels_of_a_mirrored_world_are_the_mirrored_channels(
    *, rows: bool, columns: bool
) -> None:
    """From east to west, the passes change places."""
    sample = made_sample(1)
    steps = (..., slice(None, None, -1 if rows else 1), slice(None, None, -1 if columns else 1))
    passes = sample.passes[::-1] if columns else sample.passes
    mirrored = Sample(sample.fields[steps], passes[steps], sample.looks)
    inputs, target = turned_sample(
        channels_of(sample), target_of(sample), rows=rows, columns=columns
    )
    np.testing.assert_allclose(inputs, channels_of(mirrored), atol=1e-5)
    np.testing.assert_allclose(target, target_of(mirrored))


def test_corrections_that_harm_are_shrunk_to_nothing() -> None:
    """The factor of a correction is that of the least error, and never below 0."""
    data = data_of([made_sample(seed) for seed in range(3)], list(TRAINING_ROWS))
    worse = Method([-0.3 * each for each in data.targets])
    half = Method([2.0 * each for each in data.targets])
    assert set(shrinkage(data, worse).values()) == {0.0}
    assert list(shrinkage(data, half).values()) == pytest.approx([0.5] * 3, rel=1e-4)
    cuts = cuts_of(data, half, shrinkage(data, half))
    assert cuts["refine_1"] == pytest.approx([1.0], abs=1e-3)


def test_rescaling_finds_the_factor_of_the_increments() -> None:
    """Half of the error is taken by refinement, so that the other half is the same again."""
    data = data_of([made_sample(seed) for seed in range(3)], list(TRAINING_ROWS))
    for correction, target in zip(rescaled(data, data), data.targets, strict=True):
        np.testing.assert_allclose(correction, target, atol=2e-3)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of([made_sample(seed) for seed in range(3)], list(TRAINING_ROWS))
    monkeypatch.setattr(refinement_network, "PATCH", 16)
    monkeypatch.setattr(refinement_network, "CHECKED", 2)
    whole = train(data, data, tmp_path / "whole.pt", 0, 4)
    draw, drawn = refinement_network._patch, 0

    def interrupted(*given: object) -> tuple[Floats, Floats]:
        nonlocal drawn
        drawn += 1
        if drawn > 3 * refinement_network.BATCH:
            raise KeyboardInterrupt
        return draw(*given)

    path = tmp_path / "interrupted.pt"
    monkeypatch.setattr(refinement_network, "_patch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(data, data, path, 0, 4)
    assert torch.load(path, weights_only=True)["step"] == 2
    monkeypatch.setattr(refinement_network, "_patch", draw)
    resumed = train(data, data, path, 0, 4)
    kept = torch.load(path, weights_only=True)
    assert [step for step, *_ in kept["curve"]] == [2, 4]
    for one, two in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0.0, atol=0.0)


def test_the_mean_of_networks_is_that_of_their_corrections() -> None:
    """Weights are rounded to half precision."""
    networks = [new_network(seed) for seed in (0, 1)]
    for network in networks:
        torch.nn.init.normal_(network.members[0].head.weight, std=0.05)
    inputs = channels_of(made_sample(2))
    pairs = [correction_of(network, inputs) for network in networks]
    found, scale = correction_of(mean_of(networks), inputs)
    np.testing.assert_allclose(
        found, np.mean([one for one, _ in pairs], axis=0), rtol=0.02, atol=2e-3
    )
    expected = np.exp(np.mean([np.log(two) for _, two in pairs], axis=0))
    np.testing.assert_allclose(scale, expected, rtol=0.02)


def test_figures_and_the_rule() -> None:
    """Networks that take half of the error help; if their mean harms a place, they do not."""
    rows = [row for row in refinement_network.ROWS for _ in range(2)]
    data = data_of([made_sample(seed) for seed in range(len(rows))], rows)
    none = [0.0 * each for each in data.targets]

    def group_of(*parts: float) -> dict[str, Method]:
        found = {"rescaled": Method(none), "ridge": Method(none)}
        for seed, part in enumerate(parts):
            found[f"network_{seed}"] = Method([part * each for each in data.targets])
        found["mean"] = Method([float(np.mean(parts)) * each for each in data.targets])
        return found

    def figures(*parts: float) -> dict[str, float]:
        methods = group_of(*parts)
        whole = {name: dict.fromkeys(TRAINING_ROWS, 1.0) for name in methods}
        scales = {name: calibration(data, each, whole[name]) for name, each in methods.items()}
        return figures_of("validation", data, methods, whole, scales, places=("here", "there"))

    good = figures(0.5, 0.52, 0.48)
    key = "terrain.network.validation.network"
    assert good[f"{key}.refine_1.cut_vs_refinement"] == pytest.approx(0.5, abs=1e-3)
    assert good[f"{key}.refine_1.range_over_seeds"] == pytest.approx(0.04, abs=1e-3)
    assert good[f"{key}_mean.error_10.cut_vs_refinement"] == pytest.approx(0.5, abs=1e-3)
    # Half of the rows share a factor, which holds for each where all errors are alike.
    assert good[f"{key}_mean.refine_1.coverage_80"] == pytest.approx(0.8, abs=0.03)
    assert good[f"{key}_mean.refine_1x2.cut_vs_refinement.there"] == pytest.approx(0.5, abs=1e-3)
    assert helps("validation", good)
    assert not helps("validation", figures(0.1, 0.0, -0.2))
    # A gain that is smaller than the range over seeds is none.
    assert not helps("validation", figures(0.1, 0.3, 0.5))
