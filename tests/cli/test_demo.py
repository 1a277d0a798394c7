"""The embedded scene: what it is made of, and what it must show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from sarheight_kernels.profiles import ACTIVE_LAYOVER, PASSIVE_LAYOVER
from typer.testing import CliRunner

from sarheight.cli import _demo_scene, app
from sarheight.dem import local_posting

if TYPE_CHECKING:
    from pathlib import Path

    from sarheight.cli._demo_scene import Comparison, EmbeddedScene


@pytest.fixture(scope="module")
def scene() -> EmbeddedScene:
    return _demo_scene.embedded_scene()


@pytest.fixture(scope="module")
def comparison(scene: EmbeddedScene) -> Comparison:
    return _demo_scene.compare(scene)


def test_the_elevations_lie_where_they_belong() -> None:
    dem = _demo_scene.embedded_dem(exaggeration=1.0)
    assert dem.shape == (342, 402)
    assert dem.y.values[0] > dem.y.values[-1]
    assert (float(dem.y.max()), float(dem.x.min())) == pytest.approx((36.7325, -84.41333), abs=1e-4)
    down, across = local_posting(dem)
    assert down == pytest.approx(92.5, abs=0.2)
    assert across == pytest.approx(74.4, abs=0.3)
    assert (float(dem.min()), float(dem.max())) == (236.0, 1076.0)
    np.testing.assert_array_equal(dem.values, np.round(dem.values))


def test_exaggeration_keeps_the_lowest_height() -> None:
    plain, exaggerated = _demo_scene.embedded_dem(1.0), _demo_scene.embedded_dem(3.0)
    assert float(exaggerated.min()) == float(plain.min())
    np.testing.assert_allclose(exaggerated.values - 236.0, 3.0 * (plain.values - 236.0), rtol=1e-6)


def test_a_useful_part_folds(scene: EmbeddedScene, comparison: Comparison) -> None:
    assert 0.10 < comparison.in_layover < 0.25
    assert scene.compared.mean() > 0.9
    category = comparison.result["mask"].values
    assert np.isin(category, (ACTIVE_LAYOVER, PASSIVE_LAYOVER)).mean() > 0.05


def test_the_coarse_model_is_three_times_coarser_and_errs(scene: EmbeddedScene) -> None:
    assert scene.coarse.shape == tuple(size // 3 for size in scene.fine.shape)
    mean = scene.fine.coarsen(y=3, x=3).mean().values
    error = scene.coarse.values - mean
    assert error.std() == pytest.approx(_demo_scene.HEIGHT_ERROR, rel=0.05)
    assert np.corrcoef(error[:, 1:].ravel(), error[:, :-1].ravel())[0, 1] > 0.7


def test_the_truth_is_what_the_cells_returned(scene: EmbeddedScene) -> None:
    """gamma0 by itself, so neither brighter nor darker where it is folded."""
    truth = scene.truth[scene.compared]
    assert np.isfinite(truth).all()
    assert (truth > 0.0).all()
    level = 10 * np.log10(truth).mean()
    folded = 10 * np.log10(scene.truth[scene.compared & scene.layover]).mean()
    assert abs(folded - level) < 3.0


def test_the_image_is_called_simulated(scene: EmbeddedScene) -> None:
    assert "simulated" in scene.image.image.attrs["long_name"]


def test_each_method_is_better_than_the_one_before(comparison: Comparison) -> None:
    geocoded, flattened, stepped, posterior = comparison.errors
    assert [row.method for row in comparison.errors] == [
        "plain geocoding",
        "area-projection RTC",
        "one step of reallocation",
        "posterior mean",
    ]
    assert stepped.layover_rmse < 0.75 * geocoded.layover_rmse
    assert stepped.layover_rmse < 0.96 * flattened.layover_rmse
    assert posterior.layover_rmse < 0.80 * flattened.layover_rmse
    assert geocoded.elsewhere_rmse > flattened.elsewhere_rmse
    assert stepped.elsewhere_rmse <= 1.01 * flattened.elsewhere_rmse
    assert posterior.elsewhere_rmse <= stepped.elsewhere_rmse


def test_it_is_the_same_every_time(scene: EmbeddedScene) -> None:
    again = _demo_scene.embedded_scene()
    np.testing.assert_array_equal(again.image.image.values, scene.image.image.values)
    np.testing.assert_array_equal(again.coarse.values, scene.coarse.values)
    np.testing.assert_array_equal(again.truth, scene.truth)


def test_the_command_leaves_a_picture_and_a_table(tmp_path: Path) -> None:
    arguments = ["demo", "--output", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert [file.name for file in tmp_path.iterdir()] == ["demo.png"]
    picture = tmp_path / "demo.png"
    assert picture.stat().st_size < 600_000
    with Image.open(picture) as image:
        assert min(image.size) > 800
        assert image.info["Comment"] == "simulated"
    for word in ("simulated", "exaggerated", "posterior mean", "RTC", "2.5 times", "demo.png"):
        assert word in done.stdout
    again = CliRunner().invoke(app, [*arguments, "--quiet"])
    assert again.exit_code == 0
    assert again.stderr == ""
    assert again.stdout == done.stdout


def test_the_picture_of_somebody_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "demo.png").write_bytes(b"mine")
    done = CliRunner().invoke(app, ["demo", "--output", str(tmp_path)])
    assert done.exit_code == 2
    assert "exists already" in done.stderr
    assert (tmp_path / "demo.png").read_bytes() == b"mine"
