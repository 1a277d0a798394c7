"""Simulated patches in the format of So2Sat: their statistics, and the files."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from sarheight.errors import OutputError
from sarheight.zones import So2SatPatches, so2sat_files
from tests.worlds.zones import (
    MATERIAL_NAMES,
    SPECTRA,
    ZONES,
    ZoneSceneSettings,
    backscatter,
    complex_speckle,
    draw_ground,
    draw_region,
    simulated_zone_patches,
    write_simulated_so2sat,
)

TINY = ZoneSceneSettings(
    patches={"training": 40, "validation": 20, "test": 24},
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


def test_files_have_the_format_of_so2sat(tmp_path: Path) -> None:
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


def test_every_material_has_a_spectrum() -> None:
    assert SPECTRA.shape == (len(MATERIAL_NAMES), 10)


def test_existing_files_are_kept(tmp_path: Path) -> None:
    write_simulated_so2sat(tmp_path, TINY)
    before = (tmp_path / "training.h5").read_bytes()
    with pytest.raises(OutputError, match=r"training\.h5"):
        write_simulated_so2sat(tmp_path, TINY)
    assert (tmp_path / "training.h5").read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"patches": {"training": 10, "validation": 0, "test": 10}},
        {"regions": {"training": 1, "validation": 1}},
        {"shift": -0.5},
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"patches": TINY.patches, "regions": TINY.regions}
    with pytest.raises(ValueError, match="expected numbers above 0 for training, validation"):
        ZoneSceneSettings(**(usual | changes))
