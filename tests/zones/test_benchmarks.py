"""Benchmarks of zones: blocks of Hong Kong that are locked away, and claims of the paper."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from benchmarks import _figures, hongkong, lcz
from benchmarks._figures import RESULTS
from benchmarks._zones import hongkong_data
from benchmarks._zones.hongkong_data import LOCKS, is_locked, locked_labels, open_hong_kong
from benchmarks._zones.hongkong_report import (
    Outcome,
    design_figures,
    figures,
    interval,
    outcome,
)
from benchmarks.hongkong import METHODS
from benchmarks.lcz import PublishedRun, claims, published_figures, stage_table
from sarheight.zones import fusion_strategies
from tests.zone_samples import so2sat_arrays, write_so2sat

ROOT = Path(__file__).parents[2]


def test_the_rule_is_the_hash_of_salt_lock_and_block() -> None:
    random = np.random.default_rng(0)
    x, y = random.uniform(7.9e5, 8.5e5, 300), random.uniform(2.45e6, 2.5e6, 300)
    for lock in LOCKS:
        expected = []
        for column, row in zip(x // 3000.0, y // 3000.0, strict=True):
            text = f"sarheight hong kong {lock} {int(column)} {int(row)}"
            expected.append(int.from_bytes(sha256(text.encode()).digest()[:8], "big") % 3 == 0)
        np.testing.assert_array_equal(is_locked(x, y, lock), expected)


def test_a_third_of_many_blocks_is_locked_and_locks_differ() -> None:
    across, down = np.meshgrid(np.arange(60) * 3000.0 + 1.0, np.arange(60) * 3000.0 + 1.0)
    flags = np.array([is_locked(across.ravel(), down.ravel(), lock) for lock in LOCKS])
    assert np.allclose(flags.mean(axis=1), 1 / 3, atol=0.03)
    # Independent locks share a ninth.
    both = (flags[0] & flags[1]).mean()
    assert both == pytest.approx(1 / 9, abs=0.02)


def test_locked_labels_are_refused_outside_the_final_path(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match=r"benchmarks\.hongkong"):
        hongkong_data.Scoring(("forest",))
    with pytest.raises(PermissionError, match=r"benchmarks\.hongkong"):
        open_hong_kong(None, lock=1)
    with pytest.raises(PermissionError, match="Scoring"):
        locked_labels(None, 0, None)  # type: ignore[arg-type]
    script = tmp_path / "design.py"
    script.write_text("from benchmarks._zones.hongkong_data import Scoring\nScoring(('a',))\n")
    ended = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "PATH": ""},
    )
    assert ended.returncode != 0
    assert "PermissionError" in ended.stderr


def test_intervals_are_over_blocks() -> None:
    random = np.random.default_rng(0)
    count = 400
    x, y = random.uniform(0, 3e4, count), random.uniform(0, 3e4, count)
    labels = random.integers(0, 3, count)
    right = np.eye(17)[labels]
    wrong = np.eye(17)[np.where(random.random(count) < 0.3, (labels + 1) % 3, labels)]
    ours, other = outcome([right, right], labels, x, y), outcome([wrong, wrong], labels, x, y)
    assert ours.average == 1.0
    assert other.average == pytest.approx(0.7, abs=0.08)
    low, high = interval(other.drawn())
    assert 0.55 < low < other.average < high < 0.85
    assert interval(ours.drawn()) == (1.0, 1.0)


def test_figures_of_locks_and_gains_of_design() -> None:
    random = np.random.default_rng(1)
    count = 300
    x, y = random.uniform(0, 3e4, count), random.uniform(0, 3e4, count)
    labels = random.integers(0, 3, count)

    def outcomes(error: float) -> list[Outcome]:
        """Score a lock and two further splits, with two seeds each."""
        found = []
        for _ in range(3):
            off = [random.random(count) < error for _ in range(2)]
            given = [np.eye(17)[np.where(each, (labels + 1) % 3, labels)] for each in off]
            found.append(outcome(given, labels, x, y))
        return found

    bands, ours = outcomes(0.2), outcomes(0.1)
    values = figures({"bands": bands, "ours": ours})
    name = "lcz.hongkong.locked.bands_forest"
    assert values[f"{name}_aa"] == (bands[0].average, pytest.approx(bands[0].averages.std(ddof=1)))
    ends = [values[f"{name}_aa_{end}"] for end in ("low", "high")]
    assert ends[0] < bands[0].average < ends[1]  # type: ignore[operator]
    others = [each.average for each in bands[1:]]
    assert values[f"{name}_splits_aa"] == pytest.approx((np.mean(others), np.std(others, ddof=1)))
    design = design_figures({"ours": ours, "bands": bands}, "ours")
    differences = [
        100.0 * (its.average - own.average) for its, own in zip(bands, ours, strict=True)
    ]
    assert design["lcz.hongkong.design.bands_gain"] == pytest.approx(
        (np.mean(differences), np.std(differences, ddof=1))
    )
    assert "lcz.hongkong.design.ours_gain" not in design


def test_claims_of_the_paper_have_the_widths_of_their_intervals() -> None:
    runs = [
        PublishedRun("groups", stage, independent, seed, 0.5, 0.8, unseen, 0.6, 0.1, 30, 10)
        for seed in range(3)
        for stage, independent, unseen in [
            *((each, False, 0.60) for each in range(7)),
            (6, True, 0.62 + 0.01 * seed),
        ]
    ]
    values = published_figures(runs)
    middle = values["lcz.simulated.independent_gain"]
    assert isinstance(middle, tuple)
    assert middle[1] is not None
    # Gains of 2, 3 and 4 points: Student's t of two degrees of freedom times 1 / sqrt(3).
    assert middle == pytest.approx((3.0, 4.303 / 3.0**0.5), rel=1e-3)


def made_place() -> hongkong_data.HongKong:
    """Make four dates of nine bands over three zones in stripes, and label every other cell."""
    random = np.random.default_rng(0)
    zone = np.broadcast_to(np.arange(36) // 12, (36, 36))
    values = 1.0 + 0.1 * random.normal(size=(36, 36, 36)) + 0.5 * zone
    values[:9] *= 1.0 + 0.5 * (np.arange(9)[:, None, None] % 2) * (zone == 1)
    x, y = 8e5 + 100.0 * np.arange(36), 2.5e6 - 100.0 * np.arange(36)
    names = [f"{date}_{band}" for date in hongkong_data.DATES for band in hongkong_data.BANDS]
    stack = xr.DataArray(
        values.astype(np.float32), {"band": names, "y": y, "x": x}, ("band", "y", "x")
    )
    rows, columns = (axis.ravel() for axis in np.mgrid[0:36:2, 0:36:2])
    return hongkong_data.HongKong(
        stack, np.array([0, 10, 16])[zone[rows, columns]], rows, columns, x[columns], y[rows]
    )  # fmt: skip


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_learns_a_made_city(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(hongkong, "TREES", 10)
    # One block of 3 km would leave nothing to hold out.
    monkeypatch.setattr(hongkong_data, "BLOCK", 500.0)
    place = made_place()
    upper = np.flatnonzero(place.rows < 18)
    lower = np.flatnonzero(place.rows >= 18)
    given = METHODS[name](place, upper, place.rows[lower], place.columns[lower], 0)
    assert given.shape == (lower.size, 17)
    np.testing.assert_allclose(given.sum(axis=1), 1.0, rtol=1e-4)
    assert (given.argmax(axis=1) == place.labels[lower]).mean() > 0.8


# --- fusion --------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_command_runs_the_published_protocol_on_such_files(tmp_path: Path) -> None:
    data = tmp_path / "so2sat_v2"
    data.mkdir()
    for number, name in enumerate(("training", "validation", "testing")):
        write_so2sat(data / f"{name}.h5", so2sat_arrays(170 if number == 0 else 34, seed=number))
    options = ["--so2sat", str(data), "--work", str(tmp_path / "work"), "--seeds", "1"]
    lcz.main([*options, "--epochs", "1"])
    scores = sorted((tmp_path / "work" / "so2sat" / "scores").iterdir())
    assert len(scores) == len(fusion_strategies(independent=True)) == 32
    run = PublishedRun(**json.loads(scores[0].read_text()))
    assert run.epochs == 1


def runs(gain: float, apart: float, noise: float) -> list[PublishedRun]:
    """Make runs in which late fusion and independent branches gain this much."""
    random = np.random.default_rng(0)
    made = []
    for seed in range(3):
        for form in fusion_strategies(independent=True):
            late = form.stage == 6
            accuracy = 0.5 + gain * late + apart * form.independent + noise * random.normal()
            made.append(
                PublishedRun(
                    split=form.name, stage=form.stage, independent=form.independent, seed=seed,
                    validation=accuracy, seen=accuracy, unseen=accuracy, overall=accuracy,
                    error=0.1, epochs=30, best=5 if seed else 29,
                )
            )  # fmt: skip
    return made


def test_claims_come_with_intervals_over_splits_and_seeds() -> None:
    found = claims(runs(0.05, 0.03, 0.001))
    mean, half, pairs = found["independent_gain"]
    assert pairs == 12
    assert mean == pytest.approx(0.03, abs=0.002)
    assert half < 0.002
    # The best of joint and independent fusion is chosen at validation.
    assert found["late_gain"][0] == pytest.approx(0.08, abs=0.003)
    mean, half, _ = claims(runs(0.0, 0.0, 0.02))["independent_gain"]
    assert abs(mean) < half
    figures = published_figures(runs(0.05, 0.03, 0.001)[:48])
    assert figures["lcz.published.flat_runs"] == pytest.approx(1 / 3)
    assert all(_figures.KEY.fullmatch(key) for key in figures)


def test_forms_are_tabulated_by_stage_and_split() -> None:
    table = stage_table(runs(0.05, 0.03, 0.0))
    assert len(table) == 2 + 6 + 2
    assert "<code>radar&#124;optical</code>" in table[0]
    assert {line.count("|") for line in table} == {6}
    assert table[2] == "| input (0) | 50.0 | 50.0 | 50.0 | 50.0 |"
    assert table[-2] == "| outputs (6), trained jointly | 55.0 | 55.0 | 55.0 | 55.0 |"
    assert table[-1] == "| outputs (6), independent | 58.0 | 58.0 | 58.0 | 58.0 |"
    only = [run for run in runs(0.0, 0.0, 0.0) if run.stage == 3]
    assert stage_table(only)[2] == "| input (0) |  |  |  |  |", "what is not finished is left empty"


def test_the_page_has_the_table_on_record() -> None:
    report = (RESULTS / "lcz_published.md").read_text("utf-8")
    page = (ROOT / "docs" / "benchmarks" / "zones.md").read_text("utf-8")
    start = report.index(stage_table([])[0])
    assert report[start:].partition("\n\n")[0] in page
