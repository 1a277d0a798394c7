"""Input that is odd rather than damaged: one error that says what was expected."""

from __future__ import annotations

import lzma
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

from sarheight.archives import open_rtc
from sarheight.dem import to_ellipsoidal
from sarheight.errors import (
    AnnotationError,
    DamagedFileError,
    JobListError,
    ProductError,
    SettingsError,
    VerticalDatumError,
)
from sarheight.output import open_result, read_provenance
from sarheight.output.radar_images import read_scene, write_radar, write_scene
from sarheight.scene import Scene
from sarheight.sentinel1 import document, read_orbit_file
from sarheight.workflow.batch import read_jobs
from sarheight.workflow.options import read_table
from tests.annotations import eof_xml
from tests.flattened_products import VV, raster
from tests.synthetic import synthetic_grid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRID, ORBIT = synthetic_grid(lines=40, samples=50)
SUFFIXES = (".tif", ".nc", ".zarr")


def image(kind: str = "float32", factor: float = 1.0) -> xr.DataArray:
    values = factor * np.random.default_rng(1).gamma(4.4, 0.3, GRID.shape)
    return xr.DataArray(values.astype(kind), dims=("line", "sample"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_polarisation_that_the_only_image_has_not_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write_scene(Scene(image(), GRID, ORBIT, "sigma0"), tmp_path / f"image{suffix}")
    for wrong in (("XX",), ("VV", "VH")):
        with pytest.raises(DamagedFileError, match=f"polarisations {', '.join(wrong)}"):
            read_scene(path, polarisations=wrong)
    assert read_scene(path, polarisations=("VV",)).image.shape == GRID.shape


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["int16", "uint8"])
def test_numbers_that_are_not_calibrated_are_refused_in_all_formats(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    path = tmp_path / f"image{suffix}"
    write_radar(image(kind).to_dataset(name="sigma0"), path)
    with pytest.raises(DamagedFileError, match=f"found {kind} numbers .* calibrated power"):
        read_scene(path, geometry=(GRID, ORBIT))


@pytest.mark.parametrize("reader", [read_scene, open_rtc, open_result, read_provenance])
def test_a_virtual_raster_under_another_name_reads_no_other_file(
    tmp_path: Path, reader: Callable[[Path], object]
) -> None:
    secret = raster(tmp_path / "secret" / "image.tif", VV)
    path = tmp_path / "OPERA_L2_RTC-S1_VV.tif"
    path.write_text(
        '<VRTDataset rasterXSize="30" rasterYSize="20"><VRTRasterBand dataType="Float32" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="0">{secret}</SourceFilename>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises((DamagedFileError, ProductError), match=r"not|found"):
        reader(path)


@pytest.mark.parametrize("factor", [1e-35, 1e35])
def test_an_image_of_impossible_power_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match=r"typical power of .*e[-+]3.* expected calibrated"):
        Scene(image(factor=factor), GRID, ORBIT, "sigma0")
    assert Scene(image(factor=1e-6), GRID, ORBIT, "sigma0").calibration == "sigma0"


@pytest.mark.parametrize("bistatic_range", [0.0, -1.0, np.nan, 1e9])
def test_a_bistatic_range_far_from_the_image_is_refused(bistatic_range: float) -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="bistatic_range"):
        replace(GRID, bistatic_range=bistatic_range)


def test_changed_sampling_in_a_file_differs_from_its_checksum(tmp_path: Path) -> None:
    path = write_scene(Scene(image(), GRID, ORBIT, "sigma0"), tmp_path / "image.nc")
    with xr.open_dataset(path) as opened:
        changed = opened.load()
    changed.attrs["radar_grid"] = changed.attrs["radar_grid"].replace("0.05", "0.06", 1)
    changed.to_netcdf(tmp_path / "changed.nc")
    with pytest.raises(DamagedFileError, match="differs from its checksum"):
        read_scene(tmp_path / "changed.nc")


def test_a_vertical_reference_of_another_continent_is_named_with_its_area() -> None:
    dem = xr.DataArray(
        np.full((4, 4), 500.0, np.float32),
        dims=("y", "x"),
        coords={"y": 5.1e6 - 30.0 * np.arange(4), "x": 6e5 + 30.0 * np.arange(4)},
        attrs={"units": "m"},
    ).rio.write_crs("EPSG:32632")
    with pytest.raises(
        VerticalDatumError, match=r"NAVD88 .* it is used in .*United States"
    ) as told:
        to_ellipsoidal(dem, "EPSG:5703")
    assert "pyproj sync" not in str(told.value)


# Texts: deep, long, of the wrong kind.


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jobs.toml", "job = 3"),
        ("jobs.toml", "a = " + "[" * 100_000),
        ("jobs.toml", "a." * 100_000 + "b = 1"),
        ("jobs.json", "[" * 100_000),
        ("jobs.json", '{"jobs": 3}'),
        ("jobs.json", '[{"image": "a", "output": "b.tif", "dem": {"c": 1}}]'),
        ("jobs.csv", "\xff"),
    ],
)
def test_lists_of_jobs_of_another_kind_are_one_error(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, "latin-1")
    with pytest.raises(JobListError) as told:
        read_jobs(path)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 1000


def test_deep_settings_are_one_error(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    for text in ("a = " + "{a=" * 50_000, "[" + "a." * 100_000 + "b]"):
        path.write_text(text)
        with pytest.raises(SettingsError):
            read_table(path, "reconstruct")


# Orbit files that unpack to more than there may be.


def test_an_orbit_file_of_too_many_elements_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.EOF.xz"
    path.write_bytes(lzma.compress(b"<Earth_Explorer_File>" + b"<a/>" * 2_100_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(AnnotationError, match="more than 1000000 elements"):
        read_orbit_file(path)
    monkeypatch.setattr(document, "LARGEST_BYTES", 1 << 20)
    with pytest.raises(AnnotationError, match="more than 1 MiB"):
        read_orbit_file(path)


def test_a_real_orbit_file_is_far_below_the_limits() -> None:
    vectors = eof_xml(ORBIT).count("<OSV>")
    elements = eof_xml(ORBIT).count("<") / 2 / vectors
    assert 9_361 * elements < document.MOST_ELEMENTS / 5  # a day at intervals of ten seconds
