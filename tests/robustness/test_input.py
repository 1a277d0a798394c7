"""Input that is odd rather than damaged: one error that says what was expected."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from sarheight import output
from sarheight.archives import open_rtc
from sarheight.dem import to_ellipsoidal
from sarheight.doppler import DopplerLUT
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
from sarheight.product import open_product
from sarheight.scene import Scene
from sarheight.sentinel1 import document, read_orbit_file
from sarheight.workflow.jobs import read_jobs
from sarheight.workflow.options import read_table
from tests.flattened_products import OPERA, VV, opera_table, raster
from tests.results import result_of
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import eof_xml
from tests.worlds.rslc import write_rslc

GRID, ORBIT = synthetic_grid(lines=40, samples=50)
SUFFIXES = (".tif", ".nc", ".zarr")


def image(kind: str = "float32", factor: float = 1.0) -> xr.DataArray:
    values = factor * np.random.default_rng(1).gamma(4.4, 0.3, GRID.shape)
    return xr.DataArray(values.astype(kind), dims=("line", "sample"))


SCENE = Scene(image(), GRID, ORBIT, "sigma0")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_polarisation_that_the_only_image_has_not_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write_scene(SCENE, tmp_path / f"image{suffix}")
    for wrong in (("XX",), ("VV", "VH")):
        with pytest.raises(DamagedFileError, match=f"polarisations {', '.join(wrong)}"):
            read_scene(path, polarisations=wrong)
    assert read_scene(path, polarisations=("VV",)).image.shape == GRID.shape


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".tif", "int16"), (".nc", "uint8"), (".zarr", "int16")]
)
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


def external_storage(file: h5py.Group, name: str, other: Path) -> None:
    """Put the values of a data set into another file."""
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    file.create_dataset(name, shape, dtype, external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.Group, name: str, other: Path) -> None:
    """Make a data set a view of one in another file."""
    layout = h5py.VirtualLayout(file[name].shape, file[name].dtype)
    layout[...] = h5py.VirtualSource(str(other), "x", file[name].shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def external_link(file: h5py.Group, name: str, other: Path) -> None:
    """Make a data set a link to one in another file."""
    del file[name]
    file[name] = h5py.ExternalLink(str(other), "/x")


def write_image(folder: Path) -> tuple[Path, str]:
    return write_scene(SCENE, folder / "image.nc"), "sigma0"


def write_result(folder: Path) -> tuple[Path, str]:
    return output.write(result_of(polarisations=1), folder / "result.nc"), "mask"


def write_opera(folder: Path) -> tuple[Path, str]:
    return opera_table(folder / f"{OPERA}.h5"), "data/VV"


def write_nisar(folder: Path) -> tuple[Path, str]:
    grid, orbit = synthetic_grid(lines=40, samples=50, ground_range=False)
    times = np.array([grid.first_time - 1.0, grid.last_time + 1.0])
    ranges = np.array([grid.near_range, 1.1 * grid.near_range])
    lut = DopplerLUT(times, ranges, np.full((2, 2), 90.0))
    values = {"A": {"HH": np.ones((40, 50), np.complex64)}}
    path = folder / "NISAR.h5"
    write_rslc(path, values, {"A": grid}, orbit, doppler=lut)
    return path, "science/LSAR/RSLC/swaths/frequencyA/HH"


@pytest.mark.parametrize("door", [external_storage, virtual, external_link])
@pytest.mark.parametrize(
    ("make", "read"),
    [
        (write_image, read_scene),
        (write_result, open_result),
        (write_opera, open_rtc),
        (write_nisar, lambda path: open_product(path).scene()),
    ],
    ids=["image", "result", "opera", "rslc"],
)
def test_values_in_other_files_are_refused(
    tmp_path: Path,
    make: Callable[[Path], tuple[Path, str]],
    read: Callable[[Path], object],
    door: Callable[[h5py.Group, str, Path], None],
) -> None:
    """The bytes of any file of this machine would become pixels."""
    path, name = make(tmp_path)
    read(path)
    (tmp_path / "secret").write_bytes(bytes(10**6))
    with h5py.File(path, "r+") as file:
        door(file, name, tmp_path / "secret")
    with pytest.raises((DamagedFileError, ProductError), match=f"takes '{name}' from another file"):
        read(path)


@pytest.mark.parametrize("factor", [1e-35, 1e35])
def test_an_image_of_impossible_power_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match=r"typical power of .*e[-+]3.* expected calibrated"):
        Scene(image(factor=factor), GRID, ORBIT, "sigma0")
    assert Scene(image(factor=1e-6), GRID, ORBIT, "sigma0").calibration == "sigma0"


@pytest.mark.parametrize("bistatic_range", [0.0, -1.0, np.nan, 1e9])
def test_a_bistatic_range_far_from_the_image_is_refused(bistatic_range: float) -> None:
    with pytest.raises(ValueError, match="bistatic_range"):
        replace(GRID, bistatic_range=bistatic_range)


def test_changed_sampling_in_a_file_differs_from_its_checksum(tmp_path: Path) -> None:
    path = write_scene(SCENE, tmp_path / "image.nc")
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
