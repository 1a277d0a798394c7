"""The comparison of the published system's corners: pairing by seed, and what goes on record."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from pathlib import Path

from benchmarks import terrain
from benchmarks._terrain.places import Ground
from benchmarks.terrain import CORNERS, SETTINGS, USUAL, figures_of, gain, results
from sarheight.learning import split_bands
from sarheight.terrain import simulate_scene
from tests.mountains import look, mountain, raster

REGIONS = {"steep": 3.0, "gentle": 1.0}


def run_of(error: float, validation: float = 50.0) -> dict[str, Any]:
    """Make up what a training found; the regions' errors differ by a factor."""
    test = {
        name: {str(USUAL): {"rmse": {"all": error * factor, "layover": 2.0 * error * factor}}}
        for name, factor in REGIONS.items()
    }
    return {"validation": validation, "test": test, "curve": [[250, 2.0 * validation]]}


def runs_of(seeds: int, length: int = 0) -> dict[str, dict[int, dict[str, Any]]]:
    """Make up all corners: reconstruction gains 10 %, whatever the seed makes of both errors."""
    level = {seed: (50.0 + 10.0 * seed) / (1 + length) for seed in range(seeds)}
    factors = dict.fromkeys(CORNERS, 1.0) | {"unet_reconstructed": 0.9}
    return {
        row: {
            seed: run_of(factor * level[seed], validation=60.0 - 3.0 * length)
            for seed in range(seeds)
        }
        for row, factor in factors.items()
    }


def test_a_gain_that_all_seeds_agree_on_has_a_narrow_interval() -> None:
    mean, low, high, count = gain(runs_of(3), "unet_reconstructed", "unet_plain") or pytest.fail(
        "no gain"
    )
    assert count == 3
    np.testing.assert_allclose([mean, low, high], 0.1, rtol=1e-9)


def test_the_interval_of_a_gain_is_that_of_students_t() -> None:
    runs = runs_of(2)
    runs["ask_plain"][1] = run_of(0.8 * 60.0)
    mean, low, high, _ = gain(runs, "ask_plain", "unet_plain") or pytest.fail("no gain")
    # Gains of 0 and of 20 %; the 97.5th percentile of Student's t with one degree of freedom.
    half = 12.7062 * np.std([0.0, 0.2], ddof=1) / np.sqrt(2.0)
    np.testing.assert_allclose([mean, low, high], [0.1, 0.1 - half, 0.1 + half], rtol=1e-4)


def test_only_seeds_that_all_corners_have_reached_count() -> None:
    found = {1500: runs_of(3), 4500: runs_of(3, 1)}
    del found[4500]["ask_plain"][2]
    figures = figures_of(found)
    error, _ = figures["terrain.published.steps_4500.unet_plain.rmse"]
    assert error == pytest.approx(2.0 * (25.0 + 30.0) / 2.0)  # mean over regions, then over seeds
    assert figures["terrain.published.steps_4500.fall_of_validation.most"] == pytest.approx(0.05)
    del found[4500]["ask_plain"][0], found[4500]["ask_plain"][1]
    assert not any(".steps_4500." in key for key in figures_of(found))


def test_the_fall_in_the_last_third_is_that_between_its_halves() -> None:
    found = {1500: runs_of(2)}
    assert not any("late_fall" in key for key in figures_of(found)), "curves of one point"
    # Flat up to 1,250 steps, and 6 % lower in the last sixth; a steeper fall before counts not.
    curve = [[500, 200.0], [1000, 80.0], [1100, 50.0], [1250, 50.0], [1300, 46.0], [1500, 48.0]]
    for row in CORNERS:
        for run in found[1500][row].values():
            run["curve"] = curve
    fall, spread = figures_of(found)["terrain.published.steps_1500.late_fall"]
    assert fall == pytest.approx(0.06)
    assert spread == pytest.approx(0.0)


def test_a_training_that_skips_a_length_has_no_part_in_the_fall_from_it() -> None:
    found = {1500: runs_of(1), 4500: runs_of(2, 1)}
    for row in CORNERS:
        found[4500][row][1]["validation"] = 1.0
    figures = figures_of(found)
    assert figures["terrain.published.steps_4500.fall_of_validation.most"] == pytest.approx(0.05)
    # A length that no seed has in all corners is left out, and longer ones stay.
    del found[1500]["ask_plain"][0]
    figures = figures_of(found)
    assert not any(".steps_1500." in key for key in figures)
    assert figures["terrain.published.steps_4500.unet_plain.rmse"][0] == pytest.approx(55.0)
    assert not any("fall_of_validation" in key for key in figures)


def test_one_seed_has_errors_but_no_gain() -> None:
    found = {1500: runs_of(3), 4500: runs_of(1, 1)}
    figures = figures_of(found)
    assert figures["terrain.published.steps_4500.unet_plain.rmse"] == (pytest.approx(50.0), None)
    assert figures["terrain.published.steps_4500.fall_of_validation.least"] == pytest.approx(0.05)
    assert not any(".steps_4500.cut_" in key for key in figures)
    assert figures["terrain.published.steps_1500.cut_reconstruction"] == pytest.approx(0.1)


def test_the_row_beside_the_corners_counts_by_itself() -> None:
    level = {seed: run_of(10.0 + seed) for seed in range(2)}
    figures = figures_of({1500: {"unet_level": level}, 4500: runs_of(1) | {"unet_level": level}})
    for length in (1500, 4500):
        found = figures[f"terrain.published.steps_{length}.unet_level.rmse"]
        assert found == pytest.approx((21.0, np.sqrt(2.0)))


def test_figures_go_on_record_where_all_seeds_have_reached_a_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {1500: runs_of(2), 4500: runs_of(1, 1)}
    kept: dict[str, float] = {}
    monkeypatch.setattr(terrain, "results", lambda *_: found)
    monkeypatch.setattr(terrain, "keep_runs", lambda *_: None)
    monkeypatch.setattr(terrain, "draw", lambda *_: None)
    monkeypatch.setattr(terrain, "tell", lambda figures, *_, **__: kept.update(figures))
    terrain.main(["--report", "--save", "--seeds", "2", "--work", str(tmp_path)])
    assert any(".steps_1500." in key for key in kept)
    assert not any(".steps_4500." in key for key in kept)


def test_what_is_on_record_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"unet_plain_0_1500": run_of(40.0), "ask_plain_1_1500": run_of(41.0)}
    monkeypatch.setattr(terrain, "kept_runs", lambda _: kept)
    here = tmp_path / "corners" / "ask_plain_1_1500"
    here.mkdir(parents=True)
    (here / "errors.json").write_text(json.dumps(run_of(42.0)), encoding="utf-8")
    found = results(tmp_path, 3)[1500]
    assert found["unet_plain"] == {0: kept["unet_plain_0_1500"]}
    assert found["ask_plain"][1] == run_of(42.0)


def test_a_corner_is_trained_to_its_length_and_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"size": 16, "stride": 8, "options": {"width": 4, "depth": 2}, "precision": "32-true"}
    corner = replace(SETTINGS["ask_reconstructed"], **small, known_count=(4, 4))
    monkeypatch.setitem(terrain.SETTINGS, "ask_reconstructed", corner)
    monkeypatch.setattr(terrain, "SIZE", 16)
    monkeypatch.setattr(terrain, "WARM_UP", 5)
    scene = simulate_scene(raster(mountain(48, 72)), *look(), seed=5)
    shares = {"training": 0.4, "validation": 0.3, "test": 0.3}
    ground = Ground({"here": scene}, {"here": split_bands(scene, shares, gap=60.0)}, [], [])
    terrain.train_and_test("ask_reconstructed", 0, 40, ground, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "errors.json").read_text("utf-8"))
    assert found["test"]["here"]["16"]["rmse"]["all"] > 0.0
    steps = [step for step, _ in found["curve"]]
    assert steps == sorted(steps)
    assert steps[-1] <= 40
    with (tmp_path / "run" / "curves" / "metrics.csv").open(encoding="utf-8") as file:
        last = max(int(row["step"]) for row in csv.DictReader(file)) + 1
    # A fifth of the steps follows, in whole epochs.
    assert abs(last - 48) <= steps[0] / 2
    before = (tmp_path / "run" / "errors.json").stat().st_mtime_ns
    terrain.train_and_test("ask_reconstructed", 0, 40, ground, tmp_path / "run")
    assert (tmp_path / "run" / "errors.json").stat().st_mtime_ns == before


def test_rows_that_no_training_has_reached_are_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"unet_plain_0_1500": run_of(40.0), "unet_plain_0_4500": run_of(30.0)}
    monkeypatch.setattr(terrain, "kept_runs", lambda _: kept)
    path = tmp_path / "picture.svg"
    with mpl.rc_context({"svg.fonttype": "none"}):
        terrain.draw(results(tmp_path, 3), path)
    text = path.read_text(encoding="utf-8")
    drawn = {row for row, name in terrain.NAMES.items() if f">{name}<" in text}
    assert drawn == {"unet_plain"}
