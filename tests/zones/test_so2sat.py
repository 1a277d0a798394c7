"""So2Sat LCZ42: its files in all versions, training on them, and simulated ones."""

from __future__ import annotations

import json
import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="the extra `learn` is not installed")

from pathlib import Path

from sarheight.errors import DatasetError, OutputError
from sarheight.zones import (
    OPTICAL_CHANNELS,
    RADAR_CHANNELS,
    So2SatPatches,
    ZoneClassifier,
    so2sat_files,
)
from sarheight.zones.samples import zone_statistics
from tests.cli.commands import passing
from tests.worlds.zones import (
    ZONES,
    ZoneSceneSettings,
    backscatter,
    complex_speckle,
    draw_ground,
    draw_region,
    simulated_zone_patches,
    write_simulated_so2sat,
)
from tests.zone_samples import so2sat_arrays, write_so2sat


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_so2sat(tmp_path / "training.h5", so2sat_arrays(37))


def test_patches_are_those_of_the_file_in_any_order(file: Path) -> None:
    arrays = so2sat_arrays(37)
    samples = So2SatPatches(file)
    assert len(samples) == 37
    assert samples.channels == (*RADAR_CHANNELS, *OPTICAL_CHANNELS)
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
    # What is pickled has no open file.
    again = pickle.loads(pickle.dumps(samples))  # noqa: S301  # our own
    assert again._opened is None
    np.testing.assert_array_equal(again[5]["image"], samples[5]["image"])


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


def test_roles_are_told_by_the_names_of_files(tmp_path: Path) -> None:
    for name, count in (("training", 20), ("validation", 5), ("testing", 7)):
        write_so2sat(tmp_path / f"{name}.h5", so2sat_arrays(count))
    files = so2sat_files(tmp_path)
    assert {role: len(So2SatPatches(path)) for role, path in files.items()} == {
        "training": 20, "validation": 5, "test": 7,
    }  # fmt: skip
    with pytest.raises(FileNotFoundError, match=r"training\.h5"):
        so2sat_files(tmp_path / "cache")
    # Version 3 has a folder for each split, without validation.
    files["validation"].unlink()
    assert set(so2sat_files(tmp_path)) == {"training", "test"}


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


TINY = ZoneSceneSettings(
    patches={"training": 20, "validation": 8, "test": 10},
    regions={"training": 2, "validation": 1, "test": 1},
)
RED, NEAR_INFRARED = 2, 6
COMPACT, OPEN, SPARSE, TREES, LOW_PLANTS, WATER = 1, 4, 8, 10, 13, 16


@cache
def patches(count: int = 170) -> dict[str, Any]:
    return simulated_zone_patches(count, range(2))


def of_zone(number: int, name: str) -> Any:  # noqa: ANN401
    found = patches()
    return found[name][found["label"].argmax(axis=1) == number]


def test_files_have_the_format_of_so2sat_and_are_kept(tmp_path: Path) -> None:
    paths = write_simulated_so2sat(tmp_path / "new", TINY)
    assert so2sat_files(tmp_path / "new") == paths
    regions: dict[str, set[int]] = {}
    for role, path in paths.items():
        count = TINY.patches[role]
        assert len(So2SatPatches(path)) == count
        with h5py.File(path) as file:
            assert file["sen1"].shape == (count, 32, 32, 8)
            assert file["sen2"].shape == (count, 32, 32, 10)
            assert file["label"].shape == (count, 17)
            assert np.isfinite(file["sen1"][:]).all()
            assert np.isfinite(file["sen2"][:]).all()
            assert "no satellite has seen this" in file.attrs["simulated"]
            assert json.loads(file.attrs["settings"])["patches"] == TINY.patches
            regions[role] = set(file["region"][:].tolist())
    assert [len(each) for each in regions.values()] == list(TINY.regions.values())
    assert not regions["training"] & (regions["validation"] | regions["test"])
    assert not regions["validation"] & regions["test"]
    before = paths["training"].read_bytes()
    with pytest.raises(OutputError, match=r"training\.h5"):
        write_simulated_so2sat(tmp_path / "new", TINY)
    assert paths["training"].read_bytes() == before


def test_labels_are_one_hot_and_every_zone_is_in_every_region() -> None:
    found = patches()
    assert set(np.unique(found["label"])) == {0.0, 1.0}
    np.testing.assert_array_equal(found["label"].sum(axis=1), 1.0)
    for region in range(2):
        assert found["label"][found["region"] == region].any(axis=0).all()


def test_the_same_seed_draws_the_same() -> None:
    one, two = (simulated_zone_patches(20, range(1), seed=3) for _ in range(2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])
    other = simulated_zone_patches(20, range(1), seed=4)
    assert not np.array_equal(one["sen1"], other["sen1"])


def test_intensities_agree_with_the_complex_channels() -> None:
    """Channels 5 and 6 are the filtered power of the first four."""
    sen1 = patches()["sen1"].astype(float)
    for real, power in ((0, 4), (2, 5)):
        raw = (sen1[..., real : real + 2] ** 2).sum(axis=-1)
        assert sen1[..., power].mean() == pytest.approx(raw.mean(), rel=0.05)
        assert sen1[..., power].std(axis=(1, 2)).mean() < 0.7 * raw.std(axis=(1, 2)).mean()
    limit = np.sqrt(sen1[..., 4].mean(axis=(1, 2)) * sen1[..., 5].mean(axis=(1, 2)))
    covariance = np.hypot(*(sen1[..., k].mean(axis=(1, 2)) for k in (6, 7)))
    assert (covariance < 1.1 * limit).all()


def test_speckle_is_circular_gaussian_with_the_given_covariance() -> None:
    random = np.random.default_rng(0)
    shape = (300, 300)
    wanted = 0.02 * np.exp(0.7j)
    vv, vh = complex_speckle(
        np.full(shape, 0.1), np.full(shape, 0.03), np.full(shape, wanted), random
    )
    assert np.mean(np.abs(vv) ** 2) == pytest.approx(0.1, rel=0.02)
    assert np.mean(np.abs(vh) ** 2) == pytest.approx(0.03, rel=0.02)
    assert np.mean(vh * vv.conj()) == pytest.approx(wanted, abs=0.001)
    for image in (vv, vh):
        power = np.abs(image) ** 2
        assert power.std() / power.mean() == pytest.approx(1.0, abs=0.02)
        assert abs(np.mean(image**2)) < 0.02 * power.mean()
        assert np.mean(power > power.mean()) == pytest.approx(np.exp(-1.0), abs=0.01)


def test_zones_differ_in_backscatter_and_vegetation_index() -> None:
    """Water is dark, trees scatter into VH, walls are bright, and vegetation reflects infrared."""
    vh, vv = (
        (lambda number: of_zone(number, "sen1")[..., 4].mean()),
        (lambda number: of_zone(number, "sen1")[..., 5].mean()),
    )
    assert vv(WATER) < 0.3 * vv(COMPACT)
    assert vh(TREES) / vv(TREES) > 1.5 * vh(COMPACT) / vv(COMPACT)
    bright = [np.percentile(of_zone(k, "sen1")[..., 5], 99) for k in (COMPACT, LOW_PLANTS)]
    assert bright[0] > 2.0 * bright[1]
    index = {}
    for number in (COMPACT, TREES, WATER):
        optical = of_zone(number, "sen2").mean(axis=(0, 1, 2))
        red, infrared = optical[RED], optical[NEAR_INFRARED]
        index[number] = (infrared - red) / (infrared + red)
    assert index[WATER] < index[COMPACT] < index[TREES]


def test_the_built_fraction_is_that_of_the_zone() -> None:
    random = np.random.default_rng(0)
    alike = draw_region(random, len(ZONES), 0.0)
    for number in (COMPACT, OPEN, SPARSE, TREES):
        shares = [
            (draw_ground(ZONES[number], alike, 64, 10.0, random).material < 3).mean()
            for _ in range(30)
        ]
        assert np.mean(shares) == pytest.approx(ZONES[number].built, abs=0.06)


def test_without_a_shift_regions_differ_in_their_zones_alone() -> None:
    one, two = (draw_region(np.random.default_rng(seed), len(ZONES), 0.0) for seed in (0, 1))
    for name in ("density", "pitch", "storeys", "season", "sun", "moisture"):
        assert getattr(one, name) == getattr(two, name)
    for name in ("palette", "gain", "haze", "radar_gain"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    far, away = (draw_region(np.random.default_rng(seed), len(ZONES), 1.0) for seed in (0, 1))
    assert np.abs(np.log(far.palette / away.palette)).mean() > 0.1


def test_covariances_are_positive_semidefinite() -> None:
    random = np.random.default_rng(0)
    region = draw_region(random, len(ZONES), 1.0)
    for zone in ZONES:
        vv, vh, both = backscatter(
            draw_ground(zone, region, 32, 10.0, random), region, 10.0, random
        )
        assert (vv > 0.0).all()
        assert (np.abs(both) ** 2 <= vv * vh).all()
