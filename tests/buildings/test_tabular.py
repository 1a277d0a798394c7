"""Heights from a table of features: shapes, distributions, learning, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from benchmarks._buildings.feature_file import read_places
from sarheight.buildings import (
    FeatureTable,
    TabularHeightEstimator,
    TabularSettings,
    train_tabular,
)
from sarheight.errors import CheckpointError
from sarheight.learning import Channel

if TYPE_CHECKING:
    from pathlib import Path

torch.set_num_threads(1)

NAMES = ("brightness", "noise")
SMALL: dict[str, Any] = {
    "width": 16,
    "members": 2,
    "dropout": 0.0,
    "bins": {"count": 12, "highest": 60.0},
}


def small_estimator() -> TabularHeightEstimator:
    """Make an untrained estimator of two features."""
    torch.manual_seed(0)
    return TabularHeightEstimator([Channel(name, "dB") for name in NAMES], **SMALL).eval()


def places(count: int, seed: int) -> FeatureTable:
    """Make places whose height shows in the first feature alone."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((count, 2))
    return FeatureTable(values, 10.0 * np.exp(0.5 * values[:, 0]))


def test_heights_lie_within_the_bins_and_have_a_spread() -> None:
    found = small_estimator()(torch.randn(5, 2))
    assert found.height.shape == found.sigma.shape == (5,)
    assert found.logits.shape == (5, 2, 12)
    assert bool(((found.height > 1.5) & (found.height < 60.0)).all())
    assert bool((found.sigma > 0.0).all())


def test_members_of_the_ensemble_differ() -> None:
    logits = small_estimator()(torch.randn(5, 2)).logits
    assert not torch.allclose(logits[:, 0], logits[:, 1])


def test_a_missing_feature_counts_as_its_mean() -> None:
    estimator = small_estimator()
    missing = torch.tensor([[float("nan"), 1.0]])
    usual = torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(estimator(missing).height, estimator(usual).height)


def test_it_learns_a_height_that_the_features_show(tmp_path: Path) -> None:
    settings = TabularSettings(options=SMALL, batch=64, epochs=12, rate=1e-2)
    training, validation = places(600, 1), places(200, 2)
    estimator = train_tabular(NAMES, training, validation, settings, tmp_path / "run")
    with torch.inference_mode():
        found = estimator(torch.from_numpy(validation.values)).height.numpy()
    error = np.sqrt(np.mean((found - validation.heights) ** 2))
    assert error < 0.4 * validation.heights.std()
    again = TabularHeightEstimator.from_pretrained(tmp_path / "run" / "model")
    with torch.inference_mode():
        repeated = again(torch.from_numpy(validation.values)).height.numpy()
    np.testing.assert_array_equal(repeated, found)


def test_a_run_that_is_finished_is_not_run_again(tmp_path: Path) -> None:
    settings = TabularSettings(options=SMALL, batch=64, epochs=1)
    first, second = (
        train_tabular(NAMES, places(64, 1), places(32, 2), settings, tmp_path / "run")
        for _ in range(2)
    )
    assert all(
        torch.equal(one, other)
        for one, other in zip(
            first.state_dict().values(), second.state_dict().values(), strict=True
        )
    )
    other = TabularSettings(options=SMALL, batch=64, epochs=2)
    with pytest.raises(CheckpointError, match="other settings"):
        train_tabular(NAMES, places(64, 1), places(32, 2), other, tmp_path / "run")


@pytest.mark.parametrize("arguments", [{"width": 0}, {"members": 0}, {"dropout": 1.0}])
def test_wrong_sizes_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected at least one feature"):
        TabularHeightEstimator([Channel("a", "1")], **arguments)  # type: ignore[arg-type]


def test_no_feature_and_another_number_of_features() -> None:
    with pytest.raises(ValueError, match="0 features"):
        TabularHeightEstimator([])
    with pytest.raises(ValueError, match="brightness, noise"):
        small_estimator()(torch.zeros(3, 5))


@pytest.mark.parametrize("height", [0.0, -3.0, np.nan])
def test_missing_and_negative_heights_are_refused(height: float) -> None:
    with pytest.raises(ValueError, match="not above 0"):
        FeatureTable(np.zeros((2, 2)), [5.0, height])


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected \\(places, features\\)"):
        FeatureTable(np.zeros((2, 2)), np.ones(3))
    with pytest.raises(ValueError, match="1 names for 2 and 2 features"):
        train_tabular(
            ("one",), places(4, 0), places(4, 1), TabularSettings(options=SMALL), tmp_path / "run"
        )


TABLE = {
    "VV_A1": [-5.0, -7.0, -9.0, -7.0],
    "VV_D1": [-6.0, -6.0, -6.0, -6.0],
    "VH_A1": [-12.0, -13.0, -14.0, -13.0],
    "NL": [30.5, 30.5, 41.25, 30.5],
    "Height": [12.0, 8.0, 6.0, 8.0],
}


def written(folder: Path, table: dict[str, list[float]]) -> Path:
    """Write a file of places."""
    data = np.array(list(table.values()), dtype=np.float32).T
    np.savez(folder / "city.npz", columns=list(table), data=data)
    return folder / "city.npz"


def test_places_come_in_blocks_with_ratios_of_power(tmp_path: Path) -> None:
    places = read_places(written(tmp_path, TABLE))
    # The last row repeats the second.
    assert places.repeated == 1
    np.testing.assert_array_equal(places.blocks, [0, 0, 1])
    np.testing.assert_array_equal(places.heights, [12.0, 8.0, 6.0])
    assert "Height" not in places.names
    ratio = places.values[:, places.names.index("VV_A - VV_D")]
    np.testing.assert_allclose(ratio, [1.0, -1.0, -3.0])
    np.testing.assert_allclose(places.values[:, places.names.index("mean VV")], [-5.5, -6.5, -7.5])


def test_coordinates_make_blocks_and_are_no_features(tmp_path: Path) -> None:
    table = TABLE | {"x": [10.0, 510.0, 490.0, 10.0], "y": [0.0, 0.0, 20.0, 600.0]}
    places = read_places(written(tmp_path, table))
    assert places.blocks[0] == places.blocks[2]
    assert len(set(places.blocks.tolist())) == 3
    assert not {"x", "y"} & set(places.names)


def test_columns_may_have_any_suffix(tmp_path: Path) -> None:
    names = {"VV_A1": "VV_A", "VV_D1": "VV_Dmean", "VH_A1": "VH_A_p10"}
    table = {names.get(name, name): values for name, values in TABLE.items()}
    places = read_places(written(tmp_path, table))
    usual = read_places(written(tmp_path, TABLE))
    ratio = places.values[:, places.names.index("VV_A - VV_D")]
    np.testing.assert_allclose(ratio, usual.values[:, usual.names.index("VV_A - VV_D")])


def test_a_lock_takes_a_third_of_the_blocks_as_wholes(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from benchmarks.stockholm import locked_places

    random = np.random.default_rng(0)
    lights = np.repeat(random.uniform(10.0, 60.0, 300).astype(np.float32), 3)
    table = {name: random.uniform(-20.0, -5.0, 900).tolist() for name in TABLE}
    places = read_places(written(tmp_path, table | {"NL": lights.tolist(), "Height": [5.0] * 900}))
    locks = [locked_places(places, "city", lock) for lock in range(5)]
    for locked in locks:
        assert 0.22 < locked.mean() < 0.45
        for block in range(len(places.keys)):
            assert len(set(locked[places.blocks == block].tolist())) == 1
    assert not np.array_equal(locks[0], locks[1])
    np.testing.assert_array_equal(locks[0], locked_places(places, "city", 0))


def test_intervals_of_cuts_hold_the_cut_and_are_zero_against_oneself() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from benchmarks.stockholm import cut_limits

    random = np.random.default_rng(3)
    errors = random.normal(size=(2, 4000))
    found = {"gradient_boosting": errors[0], "ours": 0.8 * errors[1]}
    found["blocks"] = np.repeat(np.arange(200), 20)
    low, high = cut_limits(found, "ours")
    cut = 1.0 - np.sqrt(np.mean(found["ours"] ** 2) / np.mean(errors[0] ** 2))
    assert low < cut < high
    assert high - low < 0.1
    assert cut_limits(found, "gradient_boosting") == (0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Height": None}, "found no Height among the columns"),
        ({"NL": None}, "found no NL, or x and y"),
        ({"XX_1": [0.0] * 4}, "the unknown XX_1"),
        ({"Height": [1.0, 2.0, -3.0, 4.0]}, "1 of 4 places"),
        ({"VV_A1": [1.0, 2.0, np.nan, 4.0]}, "1 of 4 places"),
    ],
)
def test_files_of_another_form(
    tmp_path: Path, change: dict[str, list[float] | None], message: str
) -> None:
    changed = {name: values for name, values in (TABLE | change).items() if values is not None}
    with pytest.raises(ValueError, match=message):
        read_places(written(tmp_path, changed))


def test_a_file_without_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "city.npz", data=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="expected columns and data"):
        read_places(tmp_path / "city.npz")
    np.savez(tmp_path / "city.npz", data=np.zeros((2, 2)), columns=["NL", "NL"])
    with pytest.raises(ValueError, match="each name once"):
        read_places(tmp_path / "city.npz")
