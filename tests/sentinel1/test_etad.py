"""Timing corrections by ETAD products, on products whose corrections are known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from sarheight.errors import ProductError
from sarheight.output import open_result
from sarheight.product import open_product
from tests.cli.test_commands import SEA, run, write_dem
from tests.products import (
    DELAY,
    DRIFT,
    SLC,
    SLOPE,
    TIDE,
    grd_product,
    slc_product,
    write_etad,
)
from tests.synthetic import synthetic_grid

if TYPE_CHECKING:
    from pathlib import Path


def test_the_times_and_ranges_of_an_slc_are_corrected(tmp_path: Path) -> None:
    path, _ = slc_product(tmp_path)
    product: Any = open_product(path)
    etad = write_etad(tmp_path / "etad.nc", product.grid_and_orbit()[0])
    plain, corrected = product.scene(), product.scene(etad=etad)
    line, sample = np.meshgrid(
        np.linspace(0, plain.grid.lines - 1, 4), np.linspace(0, plain.grid.samples - 1, 5)
    )
    before = plain.grid.slant_range(line, sample)
    moved = corrected.grid.slant_range(line, sample) - before
    expected = DELAY + SLOPE * (before - plain.grid.near_range)
    np.testing.assert_allclose(moved, expected, atol=1e-4)
    later = corrected.grid.azimuth_time(line) - plain.grid.azimuth_time(line)
    seconds = plain.grid.line_interval * line
    # The bistatic delay is the grid's own, and is not applied twice.
    np.testing.assert_allclose(later, TIDE + DRIFT * seconds, atol=1e-9)
    np.testing.assert_array_equal(corrected.image.values, plain.image.values)
    record = json.loads(corrected.image.attrs["source_metadata"])["etad"]
    assert record["applied_in_range"] == ["tropospheric"]
    assert record["applied_in_azimuth"] == ["geodetic"]
    assert record["by_the_grid"] == ["bistatic"]
    assert record["mean_in_range"] == pytest.approx(float(expected.mean()), abs=0.2)
    assert abs(record["residual_in_range"]) < 1e-3


def test_a_grd_takes_the_mean_of_ranges_and_says_what_is_left(tmp_path: Path) -> None:
    path = grd_product(tmp_path).path
    product: Any = open_product(path)
    etad = write_etad(tmp_path / "etad.nc", product.grid_and_orbit()[0])
    plain, corrected = product.scene(), product.scene(etad=etad)
    line, sample = np.meshgrid([0.0, 100.0, 199.0], [0.0, 125.0, 249.0])
    moved = corrected.grid.slant_range(line, sample) - plain.grid.slant_range(line, sample)
    record = json.loads(corrected.image.attrs["source_metadata"])["etad"]
    np.testing.assert_allclose(moved, record["mean_in_range"], atol=1e-4)
    # The way back agrees: a ground range belongs to one slant range.
    ranges = corrected.grid.slant_range(line, sample)
    times = corrected.grid.azimuth_time(line)
    np.testing.assert_allclose(corrected.grid.sample(ranges, times), sample, atol=1e-3)
    extent = float(np.ptp(plain.grid.slant_range(0.0, np.array([0.0, 249.0]))))
    assert record["residual_in_range"] == pytest.approx(abs(SLOPE) * extent / np.sqrt(12), rel=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"name": SLC.replace("051919", "051920")},
            "expected an ETAD product of S1A in orbit 51919",
        ),
        ({"name": SLC.replace("S1A", "S1C")}, "expected an ETAD product of S1A"),
        (
            {"dopplerRangeShiftRg": lambda time, metres: 1.0 + 0.0 * time * metres},
            "m, expected a few",
        ),
    ],
)
def test_corrections_of_others_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = grd_product(tmp_path).path
    product: Any = open_product(path)
    etad = write_etad(tmp_path / "etad.nc", product.grid_and_orbit()[0], **change)
    with pytest.raises(ProductError, match=message):
        product.scene(etad=etad)


def test_other_times_and_files_are_refused(tmp_path: Path) -> None:
    path = grd_product(tmp_path).path
    product: Any = open_product(path)
    etad = write_etad(tmp_path / "etad.nc", product.grid_and_orbit()[0])
    with h5py.File(etad, "r+") as file:
        file.attrs["azimuthTimeMin"] = "2024-01-01T05:58:00.000000"
    with pytest.raises(ProductError, match="expected all of the image"):
        product.scene(etad=etad)
    with h5py.File(etad, "r+") as file:
        for swath in ("IW1", "IW2", "IW3"):
            del file[swath]
    with pytest.raises(ProductError, match="has no bursts of swaths"):
        product.scene(etad=etad)
    etad.write_bytes(etad.read_bytes()[:200])
    with pytest.raises(ProductError, match="is not an ETAD product"):
        product.scene(etad=etad)
    with pytest.raises(ProductError, match=r"0 files measurement/\*.nc"):
        product.scene(etad=tmp_path)
    with pytest.raises(FileNotFoundError, match="expected an ETAD product"):
        product.scene(etad=tmp_path / "gone.SAFE")


def test_a_result_says_which_corrections_were_applied(tmp_path: Path) -> None:
    grid, orbit = synthetic_grid(lines=200, samples=250, looks=4.4)
    made = grd_product(tmp_path, polarisations=("VV",), placed=(grid, orbit))
    folder = tmp_path / "S1A_IW_ETA__AXDV_X.SAFE"
    (folder / "measurement").mkdir(parents=True)
    write_etad(folder / "measurement/s1a-iw.nc", open_product(made.path).grid_and_orbit()[0])
    done = run(
        *("reconstruct", made.path, "--dem", write_dem(tmp_path / "dem.tif", 60.0), *SEA),
        *("--method", "rtc", "--coregister", "none", "--etad", folder),
        *("--profile", "ceos-nrb", "-o", tmp_path / "result"),
    )
    assert done.exit_code == 0, done.output
    result = open_result(tmp_path / "result")
    (record,) = json.loads(result.attrs["acquisition"])
    assert record["source"]["etad"]["product"] == "S1A_IW_ETA__AXDV_X"
    assert record["source"]["etad"]["applied_in_range"] == ["tropospheric"]
    (item,) = (json.loads(path.read_text()) for path in (tmp_path / "result").glob("*.stac.json"))
    assert item["properties"]["sarheight:sources"][0]["location_error"]["slant_range_bias"] == 0.0
