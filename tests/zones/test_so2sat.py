"""So2Sat LCZ42: patches and statistics of its files, in all versions, and training on them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="the extra `learn` is not installed")

from pathlib import Path

from sarheight.errors import DatasetError
from sarheight.zones import (
    OPTICAL_CHANNELS,
    RADAR_CHANNELS,
    So2SatPatches,
    ZoneClassifier,
    so2sat_files,
)
from sarheight.zones.samples import zone_statistics
from tests.cli.commands import passing
from tests.zone_samples import so2sat_arrays, write_so2sat


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_so2sat(tmp_path / "training.h5", so2sat_arrays(37))


def test_patches_are_those_of_the_file_in_any_order(file: Path) -> None:
    arrays = so2sat_arrays(37)
    samples = So2SatPatches(file)
    assert len(samples) == 37
    assert samples.channels == (*RADAR_CHANNELS, *OPTICAL_CHANNELS)
    assert samples.channels[:6] == (
        "vh_real", "vh_imaginary", "vv_real", "vv_imaginary", "vh_intensity", "vv_intensity",
    )  # fmt: skip
    assert len(samples.classes) == 17
    assert samples.codes == tuple(range(1, 18))
    np.testing.assert_array_equal(samples.labels, np.arange(37) % 17)
    assert samples.counts().sum() == 37
    expected = np.concatenate([arrays["sen1"], arrays["sen2"]], axis=3).transpose(0, 3, 1, 2)
    chosen = [30, 3, 4, 4, 36, 5]
    batch = samples[chosen]
    assert batch["image"].dtype == np.float32
    np.testing.assert_array_equal(batch["image"], expected[chosen].astype(np.float32))
    np.testing.assert_array_equal(batch["label"], np.array(chosen) % 17)
    single = samples[-1]
    assert single["image"].shape == (18, 32, 32)
    assert single["label"] == 36 % 17
    with pytest.raises(IndexError):
        samples[37]


def test_subsets_and_channels_are_views_that_load_into_memory(file: Path) -> None:
    samples = So2SatPatches(file)
    some = samples.subset([7, 2, 30]).with_channels(["B8", "vv_real"])
    np.testing.assert_array_equal(some[[2, 0]]["image"][0, 0], samples[30]["image"][14])
    np.testing.assert_array_equal(some[[2, 0]]["image"][1, 1], samples[7]["image"][2])
    kept = some.load(np.float16)
    assert kept.image.dtype == np.float16
    assert kept.channels == ("B8", "vv_real")
    np.testing.assert_allclose(kept[1]["image"], some[1]["image"], rtol=1e-3)
    np.testing.assert_array_equal(kept.labels, [7, 2, 13])
    fewer = kept.with_channels(["vv_real"]).subset([0])
    np.testing.assert_array_equal(fewer[0]["image"][0], kept[0]["image"][1])
    with pytest.raises(ValueError, match="no channel B9"):
        samples.with_channels(["B9"])


def test_counts_are_those_of_the_file(tmp_path: Path) -> None:
    for name, count in (("training", 20), ("validation", 5), ("testing", 7)):
        write_so2sat(tmp_path / f"{name}.h5", so2sat_arrays(count))
    files = so2sat_files(tmp_path)
    assert {role: len(So2SatPatches(path)) for role, path in files.items()} == {
        "training": 20, "validation": 5, "test": 7,
    }  # fmt: skip
    with pytest.raises(FileNotFoundError, match=r"training\.h5"):
        so2sat_files(tmp_path / "cache")


def test_samples_are_pickled_without_the_open_file(file: Path) -> None:
    samples = So2SatPatches(file)
    again = pickle.loads(pickle.dumps(samples))  # noqa: S301  # our own
    assert again._opened is None
    np.testing.assert_array_equal(again[5]["image"], samples[5]["image"])


def test_each_process_opens_the_file_for_itself(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = So2SatPatches(file)
    mine = samples._file()
    assert samples._file() is mine
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert samples._file() is not mine
    assert samples[2]["label"] == 2


@pytest.mark.slow
def test_workers_read_what_one_process_reads(file: Path) -> None:
    data = pytest.importorskip("torch.utils.data")
    samples = So2SatPatches(file)
    batches = [np.arange(0, 20), np.array([36, 1, 8])]

    def read(workers: int) -> list[np.ndarray]:
        loader = data.DataLoader(
            samples,
            batch_size=None,
            sampler=batches,
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
        )
        return [batch["image"].numpy() for batch in loader]

    for one, other in zip(read(0), read(2), strict=True):
        np.testing.assert_array_equal(one, other)


def test_statistics_are_those_of_all_patches_and_measured_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = So2SatPatches(file)
    found = {each.name: each for each in zone_statistics(samples, ["vh_intensity"])}
    real = so2sat_arrays(37)["sen1"][..., 2]
    assert found["vh_intensity"].transform == "decibel"
    assert found["vv_real"].mean == pytest.approx(real.mean(), rel=1e-5)
    assert found["vv_real"].std == pytest.approx(real.std(), rel=1e-5)
    # Another part, or another transform, is measured for itself.
    assert zone_statistics(samples.subset([1, 2]))[2] != found["vv_real"]
    assert zone_statistics(samples)[4] != found["vh_intensity"]
    monkeypatch.setattr(So2SatPatches, "read", None)
    assert zone_statistics(samples, ["vh_intensity"])[2] == found["vv_real"]


def test_statistics_ignore_values_that_are_not_finite(tmp_path: Path) -> None:
    arrays = so2sat_arrays(10)
    arrays["sen2"][:4, :, :, 3] = np.nan
    arrays["sen2"][4, 0, 0, 3] = np.inf
    samples = So2SatPatches(write_so2sat(tmp_path / "a.h5", arrays))
    finite = arrays["sen2"][..., 3][np.isfinite(arrays["sen2"][..., 3])]
    (band,) = zone_statistics(samples, channels=["B5"])
    assert (band.mean, band.std) == pytest.approx((finite.mean(), finite.std()), rel=1e-5)
    assert np.isnan(samples[0]["image"][11]).all()


# --- versions --------------------------------------------------------------------------------


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
    pytest.importorskip("lightning", reason="the extra `learn` is not installed")
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
    passing(*arguments)
    table = json.loads((tmp_path / "run" / "table.json").read_text())
    assert table["samples"] == {"training": 340, "validation": 17, "test": 17}
    assert [form["independent"] for form in table["forms"]] == [False, True]
    model = ZoneClassifier.from_pretrained(tmp_path / "run" / "model")
    assert (len(model.channels), len(model.classes), model.size) == (18, 17, 32)
