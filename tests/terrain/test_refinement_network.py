"""The network on top of refinement: its channels, their symmetries, and the bound on harm."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch")

from benchmarks._terrain.correction_methods import (
    MOST_HARM,
    Method,
    calibration,
    cuts_of,
    shrinkage,
)
from benchmarks._terrain.correction_training import (
    Data,
    Patches,
    channels_of,
    new_network,
    target_of,
    train,
)
from benchmarks._terrain.residuals import STATED_RANGE, TRAINING_ROWS, Conditions, Sample
from benchmarks.refinement_network import (
    LEFT_OUT,
    ROWS,
    figures_of,
    helps,
    left_out,
    mean_of,
)
from sarheight.learning import packaged_model
from sarheight.terrain import RefinementNetwork
from sarheight.terrain.refinement_network import estimate_correction
from tests.mountains import rough_hills
from tests.worlds.scattering_ground import COARSER

Floats = NDArray[np.float32]
SIDE = 48


def made_sample(seed: int, *, scale: float = 1.0, side: int = SIDE) -> Sample:
    """Draw heights and images without any physics."""
    random = np.random.default_rng(seed)

    def smooth(length: float, size: float) -> Floats:
        field = gaussian_filter(random.standard_normal((side, side)), length)
        return (size * field / field.std()).astype(np.float32)

    baseline = scale * smooth(6.0, 60.0)
    error = scale * smooth(2.0, 4.0)
    fields = [baseline + error, baseline, baseline + 0.5 * error, np.full_like(error, scale * 3.0)]
    passes = np.stack([[smooth(1.0, 1.0), smooth(1.0, 2.0) - 9.0, smooth(3.0, 8.0) + 40.0]] * 2)
    passes[1] = passes[1, :, ::-1]
    passes[0, :2, 20:24, 10:20] = np.nan
    filled = (smooth(3.0, 1.0) > 1.5).astype(np.float32)
    return Sample(np.stack(fields), passes.astype(np.float32), filled, 4.0, 40.0)


def data_of(samples: list[Sample], rows: list[str], places: tuple[str, ...] = ("here",)) -> Data:
    """Collect samples, of one place after the other."""
    return Data(
        rows,
        [places[number % len(places)] for number in range(len(rows))],
        [channels_of(each) for each in samples],
        [target_of(each) for each in samples],
        [each.fields[3] for each in samples],
        [each.looks for each in samples],
    )


def test_corrections_that_harm_are_shrunk_to_nothing() -> None:
    """The factor of a correction is that of the least error, and never below 0."""
    data = data_of([made_sample(seed) for seed in range(3)], list(TRAINING_ROWS))
    worse = Method([-0.3 * each for each in data.targets])
    half = Method([2.0 * each for each in data.targets])
    assert set(shrinkage(data, worse).values()) == {0.0}
    assert list(shrinkage(data, half).values()) == pytest.approx([0.5] * 3, rel=1e-4)
    cuts = cuts_of(data, half, shrinkage(data, half))
    assert cuts["refine_1"] == pytest.approx([1.0], abs=1e-3)


def test_corrections_that_harm_one_place_are_lowered() -> None:
    """The factor is the largest with which no place is more than 2 % worse."""
    rows = [row for row in TRAINING_ROWS for _ in range(8)]
    data = data_of([made_sample(seed) for seed in range(len(rows))], rows)
    signs = [1.0 if number % 8 else -0.5 for number in range(len(rows))]
    mixed = Method([each * sign for each, sign in zip(data.targets, signs, strict=True)])
    factors = shrinkage(data, mixed)
    cuts = cuts_of(data, mixed, factors)
    for row in TRAINING_ROWS:
        assert -MOST_HARM - 1e-9 < min(cuts[row]) < -0.9 * MOST_HARM
        # What is wrong by half of the error in the other sense adds half of the factor.
        assert factors[row] == pytest.approx(2.0 * MOST_HARM, rel=0.03)


def test_a_patch_depends_on_seed_epoch_and_index_alone() -> None:
    """So that a resumed training gets the patches of one that was not interrupted."""
    data = data_of([made_sample(seed, side=96) for seed in range(3)], list(TRAINING_ROWS))
    one, two = Patches(data, 1), Patches(data, 1)
    two.set_epoch(1)
    assert not np.array_equal(one[5]["inputs"], two[5]["inputs"])
    one[9], one.set_epoch(1)
    for name, values in two[5].items():
        np.testing.assert_array_equal(one[5][name], values)


@pytest.mark.slow
def test_the_recipe_of_the_included_network_gives_the_same_weights_twice(tmp_path: Path) -> None:
    """Its patches, batches, schedule and loss, for few steps; and it learns."""
    samples = [made_sample(seed, side=96) for seed in range(6)]
    data = data_of(samples, 2 * list(TRAINING_ROWS))
    one, two = (train(data, data, tmp_path / name, 7, 250) for name in ("one", "two"))
    for mine, other in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0.0, atol=0.0)
    included = RefinementNetwork.from_pretrained(packaged_model("refinement"))
    member = included.members[0].state_dict()
    assert {name: value.shape for name, value in one.members[0].state_dict().items()} == {
        name: value.shape for name, value in member.items()
    }
    assert included.options == one.options
    other_seed = train(data, data, tmp_path / "other", 8, 125)
    assert not torch.equal(next(one.parameters()), next(other_seed.parameters()))


def test_the_mean_of_networks_is_that_of_their_corrections() -> None:
    """Weights are rounded to half precision."""
    networks = [new_network(seed) for seed in (0, 1)]
    for network in networks:
        torch.nn.init.normal_(network.members[0].head.weight, std=0.05)
    inputs = channels_of(made_sample(2))
    pairs = [estimate_correction(network, inputs) for network in networks]
    found, scale = estimate_correction(mean_of(networks), inputs)
    np.testing.assert_allclose(
        found, np.mean([one for one, _ in pairs], axis=0), rtol=0.02, atol=2e-3
    )
    expected = np.exp(np.mean([np.log(two) for _, two in pairs], axis=0))
    np.testing.assert_allclose(scale, expected, rtol=0.02)


def test_places_are_judged_by_what_knows_nothing_of_them() -> None:
    """Each network corrects by a constant of its own; each place gets that of its own number."""
    networks = [new_network(seed) for seed in range(len(LEFT_OUT))]
    for number, network in enumerate(networks):
        torch.nn.init.constant_(network.members[0].head.bias, float(number))
    places = LEFT_OUT[::-1]
    data = data_of([made_sample(seed) for seed in range(4)], ["refine_1"] * 4, places)
    for place, correction in zip(places, left_out(networks, data).corrections, strict=True):
        np.testing.assert_allclose(correction, LEFT_OUT.index(place), atol=1e-5)


@pytest.mark.parametrize("known", [{"points": 200}, {"tracks": 600.0}])
def test_conditions_are_undone_by_known_elevations(known: dict[str, float]) -> None:
    """An offset and a shift are found again, and voids stay voids."""
    truth = rough_hills()
    exact = COARSER.degrade(truth, 0)
    conditions = Conditions(offset=10.0, shift=(0.3, -0.2), voids=3, **known)  # type: ignore[arg-type]
    found = conditions.prepared(exact, truth, np.random.default_rng(2))
    assert 0.0 < float(np.isnan(found.values).mean()) < 0.5
    assert abs(float(np.nanmean(found.values - exact.values))) < 3.0
    for axis, before in (("y", 0.3 * 90.0), ("x", 0.2 * 90.0)):
        assert abs(float(found[axis][0] - exact[axis][0])) < max(0.7 * before, 15.0)
    unaligned = Conditions(offset=10.0, shift=(0.3, -0.2))
    moved = unaligned.prepared(exact, truth, np.random.default_rng(2))
    np.testing.assert_allclose(moved.values - exact.values, 10.0, atol=1e-3)
    assert float(moved.y[0] - exact.y[0]) == pytest.approx(-27.0)


def test_drawn_conditions_are_within_the_range_of_training() -> None:
    random = np.random.default_rng(0)
    drawn = [Conditions.draw(50.0, random) for _ in range(200)]
    assert {each.points > 0 for each in drawn} == {True, False}
    assert {each.tracks > 0 for each in drawn} == {True, False}
    assert {each.voids > 0 for each in drawn} == {True, False}
    for each in drawn:
        assert each.stated is None or STATED_RANGE[0] <= each.stated <= STATED_RANGE[1]
        assert not (each.points and each.tracks)
        # A coarse DEM that nothing corrects is not far off.
        assert each.points or each.tracks or (each.offset, each.shift) == (0.0, (0.0, 0.0))


def test_figures_and_the_rule() -> None:
    """Networks that take half of the error help; if their mean harms a place, they do not."""
    rows = [row for row in ROWS for _ in range(2)]
    data = data_of([made_sample(seed) for seed in range(len(rows))], rows, ("here", "there"))
    whole = dict.fromkeys(TRAINING_ROWS, 1.0)

    def figures(*parts: float) -> dict[str, float]:
        mean, *singles = (
            Method([part * each for each in data.targets])
            for part in (float(np.mean(parts)), *parts)
        )
        scales = calibration(data, mean, whole)
        return figures_of("scored", data, mean, whole, scales, singles)

    good = figures(0.5, 0.52, 0.48)
    key = "terrain.network.scored.network"
    assert good[f"{key}.refine_1.cut_vs_refinement"] == pytest.approx(0.5, abs=1e-3)
    assert good[f"{key}.refine_1.range_over_networks"] == pytest.approx(0.04, abs=1e-3)
    assert good[f"{key}.posting_60.cut_vs_refinement.min"] == pytest.approx(0.5, abs=1e-3)
    # Most rows share a factor, which holds for each where all errors are alike.
    assert good[f"{key}.refine_1.coverage_80"] == pytest.approx(0.8, abs=0.03)
    assert helps("scored", good)
    assert not helps("scored", figures(0.1, 0.0, -0.2))
    # A gain that is smaller than the range over networks is none.
    assert not helps("scored", figures(0.1, 0.3, 0.5))
