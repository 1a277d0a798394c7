"""The layouts of the versions of So2Sat LCZ42, and the published protocol on such files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

h5py = pytest.importorskip("h5py", reason="the extra `learn` is not installed")
pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from benchmarks import _figures, lcz
from benchmarks._figures import RESULTS
from benchmarks.lcz import PublishedRun, claims, published_figures, stage_table
from sarheight.cli import app
from sarheight.errors import DatasetError
from sarheight.zones import So2SatPatches, ZoneClassifier, fusion_strategies, so2sat_files
from tests.zone_samples import so2sat_arrays, write_so2sat


def write_geolocation(path: Path, count: int, **changes: object) -> None:
    """Write locations as version 4 has them: UTM x and y, rows and columns, EPSG, world file."""
    coordinates = np.zeros((count, 6))
    coordinates[:, 0] = 5e5 + 100.0 * np.arange(count)
    coordinates[:, 1] = 4e6 - 100.0 * np.arange(count)
    arrays = {
        "coord": coordinates,
        "epsg": np.where(np.arange(count) < count // 2, 32633, 32650)[:, None],
        "tfw": np.tile([10.0, 0.0, 0.0, -10.0, 5e5, 4e6], (count, 1)),
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file.create_dataset(name, data=values)


def test_version_4_adds_the_places_of_version_2(tmp_path: Path) -> None:
    path = write_so2sat(tmp_path / "training.h5", so2sat_arrays(17))
    patches = So2SatPatches(path)
    with pytest.raises(FileNotFoundError, match="take version 4"):
        patches.places()
    write_geolocation(tmp_path / "training_geo.h5", 17)
    x, y, epsg = patches.places()
    np.testing.assert_array_equal(x, 5e5 + 100.0 * np.arange(17))
    np.testing.assert_array_equal(y, 4e6 - 100.0 * np.arange(17))
    assert set(epsg.tolist()) == {32633, 32650}
    # The files with locations are no files of patches.
    assert set(so2sat_files(tmp_path)) == {"training"}


@pytest.mark.parametrize(
    ("count", "changes"), [(16, {}), (17, {"tfw": None}), (17, {"epsg": np.zeros((17, 2))})]
)
def test_places_of_another_shape_are_refused(
    tmp_path: Path, count: int, changes: dict[str, object]
) -> None:
    patches = So2SatPatches(write_so2sat(tmp_path / "testing.h5", so2sat_arrays(17)))
    write_geolocation(tmp_path / "testing_geo.h5", count, **changes)
    with pytest.raises(DatasetError, match="one row for each patch"):
        patches.places()


def test_version_3_has_a_folder_for_each_split(tmp_path: Path) -> None:
    for name in ("random", "block", "culture_10"):
        (tmp_path / name).mkdir()
        write_so2sat(tmp_path / name / "training.h5", so2sat_arrays(17))
        write_so2sat(tmp_path / name / "testing.h5", so2sat_arrays(17, seed=1))
    assert set(so2sat_files(tmp_path / "block")) == {"training", "test"}


def test_files_of_so2sat_train_a_network_by_one_command(tmp_path: Path) -> None:
    data = tmp_path / "so2sat_v2"
    data.mkdir()
    for number, name in enumerate(("training", "validation", "testing")):
        write_so2sat(data / f"{name}.h5", so2sat_arrays(340 if number == 0 else 17, seed=number))
    options = {"widths": [2, 2, 2, 2, 2], "dense": 4}
    settings = {"options": options, "epochs": 1, "batch": 34, "precision": "32-true"}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    arguments = [
        "train", "zones", data, "--stages", "0,independent", "--seeds", 1, "--device", "cpu",
        "--settings", tmp_path / "settings.json", "-o", tmp_path / "run",
    ]  # fmt: skip
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    table = json.loads((tmp_path / "run" / "table.json").read_text())
    assert table["samples"] == {"training": 340, "validation": 17, "test": 17}
    assert [form["independent"] for form in table["forms"]] == [False, True]
    model = ZoneClassifier.from_pretrained(tmp_path / "run" / "model")
    assert (len(model.channels), len(model.classes), model.size) == (18, 17, 32)


@pytest.mark.slow
def test_one_command_runs_the_published_protocol_on_such_files(tmp_path: Path) -> None:
    data = tmp_path / "so2sat_v4"
    data.mkdir()
    for number, name in enumerate(("training", "validation", "testing")):
        write_so2sat(data / f"{name}.h5", so2sat_arrays(170 if number == 0 else 34, seed=number))
        write_geolocation(data / f"{name}_geo.h5", 170 if number == 0 else 34)
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
    figures = published_figures(runs(0.05, 0.03, 0.001)[:48], 96)
    assert figures["lcz.published.finished_runs"] == 0.5
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
    page = (Path(__file__).parents[2] / "docs" / "benchmarks" / "zones.md").read_text("utf-8")
    start = report.index(stage_table([])[0])
    assert report[start:].partition("\n\n")[0] in page
