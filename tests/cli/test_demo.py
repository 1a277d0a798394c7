"""The embedded scene: what it is made of, and what it must show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sarheight_kernels.profiles import ACTIVE_LAYOVER, PASSIVE_LAYOVER

from sarheight.cli import _demo_scene
from sarheight.cli._demo_scene import Comparison, EmbeddedScene
from sarheight.dem import local_posting
from tests.cli.commands import failing, passing


@pytest.fixture(scope="module")
def scene() -> EmbeddedScene:
    return _demo_scene.embedded_scene()


@pytest.fixture(scope="module")
def comparison(scene: EmbeddedScene) -> Comparison:
    return _demo_scene.compare(scene)


def test_a_useful_part_of_mountains_folds(scene: EmbeddedScene, comparison: Comparison) -> None:
    assert 0.05 < comparison.in_layover < 0.25
    assert scene.compared.mean() > 0.85
    category = comparison.result["mask"].values
    assert np.isin(category, (ACTIVE_LAYOVER, PASSIVE_LAYOVER)).mean() > 0.01
    assert local_posting(scene.dem) == pytest.approx((90.0, 90.0), rel=1e-3)
    assert np.isfinite(scene.dem.values).all()
    assert float(scene.dem.max() - scene.dem.min()) > 800.0


def test_the_truth_is_what_the_cells_returned(scene: EmbeddedScene) -> None:
    """gamma0 by itself, so neither brighter nor darker where it is folded."""
    truth = scene.truth[scene.compared]
    assert np.isfinite(truth).all()
    assert (truth > 0.0).all()
    level = 10 * np.log10(truth).mean()
    folded = 10 * np.log10(scene.truth[scene.compared & scene.layover]).mean()
    assert abs(folded - level) < 3.0


def test_the_posterior_mean_errs_least(comparison: Comparison) -> None:
    geocoded, flattened, stepped, posterior = comparison.errors
    assert [row.method for row in comparison.errors] == [
        "plain geocoding",
        "area-projection RTC",
        "one step of reallocation",
        "posterior mean",
    ]
    assert flattened.layover_rmse < 0.4 * geocoded.layover_rmse
    assert stepped.layover_rmse < 0.4 * geocoded.layover_rmse
    assert posterior.layover_rmse < 0.95 * flattened.layover_rmse
    assert flattened.elsewhere_rmse < 0.5 * geocoded.elsewhere_rmse
    assert posterior.elsewhere_rmse < 0.95 * flattened.elsewhere_rmse


def test_it_is_small_called_simulated_and_the_same_every_time(scene: EmbeddedScene) -> None:
    path = Path(_demo_scene.__file__).with_name(_demo_scene.FILE)
    assert path.stat().st_size < 300_000
    assert "simulated" in scene.image.image.attrs["long_name"]
    again = _demo_scene.embedded_scene()
    np.testing.assert_array_equal(again.image.image.values, scene.image.image.values)
    np.testing.assert_array_equal(again.dem.values, scene.dem.values)
    np.testing.assert_array_equal(again.truth, scene.truth)


def test_the_command_leaves_a_picture_and_a_table(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same each time, of which one is quiet."""
    arguments = ["demo", "--output", str(tmp_path)]
    done = passing(*arguments)
    assert [file.name for file in tmp_path.iterdir()] == ["demo.png"]
    picture = tmp_path / "demo.png"
    assert picture.stat().st_size < 600_000
    with Image.open(picture) as image:
        assert min(image.size) > 800
        assert image.info["Comment"] == "simulated"
    for word in ("simulated", "posterior mean", "RTC", "Big Tujunga", "demo.png"):
        assert word in done.stdout
    monkeypatch.setattr(_demo_scene, "compare", lambda *_: comparison)
    again = passing(*arguments, "--quiet")
    assert again.stderr == ""
    assert again.stdout == done.stdout
    picture.write_bytes(b"mine")
    assert "exists already" in failing(2, *arguments)
    assert picture.read_bytes() == b"mine"
