"""Multilooking: means of power, the grid of the result, and how many looks it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sarheight.grid import RadarGrid
from sarheight.scene import Scene, ground_sample_spacing, looks_for_spacing, multilook
from sarheight.sentinel1 import read_annotation, read_grid, read_orbit
from sarheight.sentinel1.annotation import Spectrum
from sarheight.sentinel1.grid import equivalent_looks, independent_pixels
from tests.conftest import ANNOTATIONS, shared_data
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml

Floats = NDArray[np.float32]

GRID, ORBIT = synthetic_grid(lines=60, samples=80, ground_range=False, sample_spacing=2.3)


def speckle(shape: tuple[int, ...] = (60, 80), holes: float = 0.0, seed: int = 3) -> xr.DataArray:
    random = np.random.default_rng(seed)
    power = random.exponential(1.0, shape).astype(np.float32)
    power[random.random(shape) < holes] = np.nan
    dims = ("polarisation", "line", "sample")[-len(shape) :]
    return xr.DataArray(power, dims=dims, name="beta0", attrs={"units": "1"})


def plain_means(power: Floats, lines: int, samples: int) -> NDArray[np.float64]:
    """Go from window to window, in double precision."""
    height, width = power.shape[0] // lines, power.shape[1] // samples
    found = np.full((height, width), np.nan)
    for row, column in np.ndindex(height, width):
        window = power[row * lines : (row + 1) * lines, column * samples : (column + 1) * samples]
        inside = window[np.isfinite(window)].astype(np.float64)
        if inside.size >= 0.5 * lines * samples:
            found[row, column] = inside.mean()
    return found


# ------------------------------------------------------------------------------------------ means


@given(st.integers(1, 60), st.integers(1, 80), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_a_pixel_is_the_mean_of_the_data_in_its_window(
    lines: int, samples: int, holes: float
) -> None:
    image = speckle(holes=holes)
    averaged, grid = multilook(image, GRID, lines, samples)
    assert averaged.shape == grid.shape == (60 // lines, 80 // samples)
    np.testing.assert_allclose(
        averaged, plain_means(image.values, lines, samples), rtol=1e-6, atol=0
    )
    assert averaged.dtype == np.float32
    assert (averaged.dims, averaged.name) == (image.dims, image.name)
    assert averaged.attrs == image.attrs


def test_a_window_with_half_its_pixels_has_a_mean_and_one_with_less_has_none() -> None:
    power = np.ones((60, 80), dtype=np.float32)
    power[0, :2] = np.nan
    power[0:2, 4:6] = np.nan
    power[1, 6] = np.nan
    averaged, _ = multilook(xr.DataArray(power, dims=("line", "sample")), GRID, 1, 4)
    assert averaged[0, 0] == 1.0  # two of four
    assert averaged[0, 1] == 1.0
    assert averaged[1, 1] != averaged[1, 1]  # one of four
    assert int(averaged.isnull().sum()) == 1


def test_energy_is_kept_and_power_below_zero_counts() -> None:
    image = speckle()
    averaged, _ = multilook(image, GRID, 4, 5)
    assert float(averaged.mean()) == pytest.approx(float(image.mean(dtype=np.float64)), rel=1e-6)
    averaged, _ = multilook(image - 1.0, GRID, 60, 80)
    expected = (image - 1.0).values.mean(dtype=np.float64)
    assert averaged.item() == pytest.approx(expected, abs=1e-6)


def test_averaging_twice_is_averaging_once() -> None:
    image = speckle()
    once, grid = multilook(image, GRID, 6, 8)
    step, between = multilook(image, GRID, 2, 4)
    twice, same = multilook(step, between, 3, 2)
    np.testing.assert_allclose(twice, once, rtol=1e-6)
    assert same.line_zero_time == pytest.approx(grid.line_zero_time, abs=1e-12)
    assert same.near_range == pytest.approx(grid.near_range, abs=1e-8)
    assert same.looks == grid.looks == 48


def test_each_polarisation_is_averaged_alone() -> None:
    image = speckle((2, 60, 80)).assign_coords(
        polarisation=["VV", "VH"], line=np.arange(60), time=7
    )
    averaged, grid = multilook(image, GRID, 3, 4)
    assert set(averaged.coords) == {"polarisation", "time"}
    for name in ("VV", "VH"):
        alone, _ = multilook(image.sel(polarisation=name), GRID, 3, 4)
        np.testing.assert_array_equal(averaged.sel(polarisation=name), alone)
    Scene(averaged, grid, ORBIT, "beta0")


def test_a_target_lies_where_the_new_grid_says() -> None:
    power = np.zeros((60, 80), dtype=np.float32)
    power[31, 47] = 1.0
    averaged, grid = multilook(xr.DataArray(power, dims=("line", "sample")), GRID, 5, 4)
    (line,), (sample,) = np.nonzero(averaged.values)
    slant_range = float(GRID.slant_range(31, 47))
    found = grid.line(GRID.azimuth_time(31)), grid.sample(slant_range, 0.0)
    assert abs(found[0] - line) <= 0.5
    assert abs(found[1] - sample) <= 0.5


# ----------------------------------------------------------------------------------------- chunks


@given(
    st.integers(1, 25),
    st.integers(1, 25),
    st.integers(1, 60),
    st.lists(st.integers(1, 79), unique=True, max_size=4),
    st.sampled_from([0.0, 0.4]),
)
def test_chunks_do_not_change_the_result(
    lines: int, samples: int, height: int, cuts: list[int], holes: float
) -> None:
    image = speckle(holes=holes)
    widths = tuple(np.diff([0, *sorted(cuts), 80]).tolist())
    lazy, grid = multilook(image.chunk(line=height, sample=widths), GRID, lines, samples)
    assert isinstance(lazy.data, da.Array)
    assert lazy.shape == grid.shape
    eager, _ = multilook(image, GRID, lines, samples)
    np.testing.assert_array_equal(lazy.values, eager.values)


def test_chunks_hold_whole_windows_and_threads_agree() -> None:
    image = speckle((2, 60, 80), holes=0.2)
    lazy, _ = multilook(image.chunk(polarisation=1, line=17, sample=33), GRID, 5, 4)
    assert lazy.chunks == ((1, 1), (3, 3, 4, 2), (8, 8, 4))
    with dask.config.set(scheduler="synchronous"):
        one = lazy.values
    with dask.config.set(scheduler="threads", num_workers=8):
        np.testing.assert_array_equal(lazy, one)
    np.testing.assert_array_equal(one, multilook(image, GRID, 5, 4)[0])


class Counting:
    """An array that notes what is read of it."""

    shape, ndim, dtype = (60, 80), 2, np.dtype(np.float32)

    def __init__(self) -> None:
        self.asked: list[tuple[slice, ...]] = []

    def __getitem__(self, key: tuple[slice, ...]) -> Floats:
        self.asked.append(key)
        return np.ones(self.shape, dtype=np.float32)[key]


def test_a_part_of_the_result_needs_a_part_of_the_image() -> None:
    source = Counting()
    array = da.from_array(source, chunks=(10, 80), meta=np.empty((0, 0), np.float32))
    lazy, _ = multilook(xr.DataArray(array, dims=("line", "sample")), GRID, 5, 4)
    assert not source.asked
    lazy[4:6].compute()
    assert [key[0] for key in source.asked] == [slice(20, 30)]


# ------------------------------------------------------------------------------- wanted spacings


@pytest.mark.parametrize("ground_range", [True, False])
@pytest.mark.parametrize("incidence", [31.0, 44.0])
def test_pixels_become_square_on_the_ground(incidence: float, *, ground_range: bool) -> None:
    grid, orbit = synthetic_grid(
        incidence=incidence,
        lines=2000,
        samples=3000,
        line_spacing=4.0,
        sample_spacing=10.0 if ground_range else 2.3,
        ground_range=ground_range,
    )
    across = 10.0 if ground_range else 2.3 / np.sin(np.radians(incidence))
    assert ground_sample_spacing(grid, orbit) == pytest.approx(across, rel=2e-3)
    lines, samples = looks_for_spacing(grid, orbit, 40.0)
    assert lines == 10
    assert samples == round(40.0 / across)
    coarse = grid.multilook(lines, samples)
    assert coarse.line_spacing(orbit) == pytest.approx(40.0, rel=0.01)
    assert ground_sample_spacing(coarse, orbit) == pytest.approx(40.0, abs=across / 2)


def test_the_spacing_of_a_real_swath() -> None:
    path = shared_data("sentinel1", ANNOTATIONS[2])
    grid, orbit = read_grid(path), read_orbit(path)
    assert ground_sample_spacing(grid, orbit) == pytest.approx(4.15, abs=0.01)
    assert looks_for_spacing(grid, orbit, 30.0) == (2, 7)
    assert looks_for_spacing(grid, orbit, 1.0) == (1, 1)
    shifted = orbit.with_epoch(orbit.epoch + np.timedelta64(100, "s"))
    assert looks_for_spacing(grid, shifted, 30.0) == (2, 7)


# ---------------------------------------------------------------------------------- looks


def filtered(count: int, rows: int, rate: float, spectrum: Spectrum, seed: int) -> Floats:
    """Simulate rows of a single-look image with a spectrum, and detect it."""
    random = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(count) * rate
    weight = spectrum.window + (1.0 - spectrum.window) * np.cos(
        2.0 * np.pi * frequency / spectrum.bandwidth
    )
    weight[np.abs(frequency) > spectrum.bandwidth / 2.0] = 0.0
    white = random.normal(size=(rows, count)) + 1j * random.normal(size=(rows, count))
    found: Floats = np.abs(np.fft.ifft(weight * white, axis=1)) ** 2
    return found


@pytest.mark.parametrize("window", [1.0, 0.75])
@pytest.mark.parametrize("bandwidth", [0.5, 0.88, 1.0])
def test_correlated_pixels_count_as_in_simulated_speckle(bandwidth: float, window: float) -> None:
    spectrum = Spectrum(bandwidth * 100.0, window)
    power = filtered(1 << 14, 64, 100.0, spectrum, seed=11)
    for count in (1, 2, 5, 16):
        means = power.reshape(64, -1)[:, : power.shape[1] // count * count]
        means = means.reshape(64, -1, count).mean(axis=-1)
        measured = means.mean() ** 2 / means.var()
        assert independent_pixels(count, 100.0, spectrum) == pytest.approx(measured, rel=0.03)


def test_pixels_sampled_at_their_bandwidth_are_independent() -> None:
    assert independent_pixels(12, 50.0, Spectrum(50.0, 1.0)) == pytest.approx(12.0)
    assert independent_pixels(1, 64.0, Spectrum(50.0, 0.7)) == 1.0


@given(st.integers(1, 200), st.floats(0.3, 1.0), st.floats(0.54, 1.0), st.integers(1, 20))
def test_more_pixels_never_make_fewer_looks(
    count: int, bandwidth: float, window: float, more: int
) -> None:
    spectrum = Spectrum(bandwidth, window)
    fewer, most = (independent_pixels(each, 1.0, spectrum) for each in (count, count + more))
    assert 1.0 - 1e-9 <= fewer <= most + 1e-9
    assert most <= count + more + 1e-9


@pytest.mark.parametrize(
    ("name", "a_pixel"), [(ANNOTATIONS[2], 0.377), (ANNOTATIONS[4], 0.337), (ANNOTATIONS[5], 0.337)]
)
def test_a_large_window_of_a_real_swath_is_worth_a_third_of_its_pixels(
    name: str, a_pixel: float
) -> None:
    """1 / (1.20 × 1.31) of the share of the band, for Hamming windows of 0.75 and 0.70 in IW1."""
    path = shared_data("sentinel1", name)
    grid, annotation = read_grid(path), read_annotation(path)
    assert equivalent_looks([annotation], grid, 1, 1) == 1.0
    looks = equivalent_looks([annotation], grid, 200, 800)
    assert looks / 160_000 == pytest.approx(a_pixel, abs=0.002)
    coarse = multilook(*blank(grid), 2, 7, looks=equivalent_looks([annotation], grid, 2, 7))[1]
    assert 6.0 < coarse.looks < 8.0


def blank(grid: RadarGrid) -> tuple[xr.DataArray, RadarGrid]:
    zeros = da.zeros(grid.shape, dtype=np.float32, chunks=(1000, -1))
    return xr.DataArray(zeros, dims=("line", "sample")), grid


def test_of_several_swaths_the_one_with_the_fewest_looks_counts() -> None:
    annotations = [read_annotation(shared_data("sentinel1", ANNOTATIONS[at])) for at in (2, 4)]
    grid = read_grid(shared_data("sentinel1", ANNOTATIONS[2]))
    each = [equivalent_looks([annotation], grid, 3, 12) for annotation in annotations]
    assert equivalent_looks(annotations, grid, 3, 12) == min(each)


def test_a_grd_begins_with_the_looks_of_its_pixels() -> None:
    path = shared_data("sentinel1", ANNOTATIONS[0])
    grid, annotation = read_grid(path), read_annotation(path)
    assert [swath.swath for swath in annotation.processing] == ["IW1", "IW2", "IW3"]
    assert equivalent_looks([annotation], grid, 1, 1) == 4.4
    # Pixels of 10 m see 20 m: four of them are far from four times as good.
    assert 4.4 * 1.3 < equivalent_looks([annotation], grid, 2, 2) < 4.4 * 3.0


def test_without_bandwidths_pixels_are_taken_for_independent() -> None:
    grid, orbit = synthetic_grid()
    annotation = read_annotation(annotation_xml(grid, orbit).encode())
    assert annotation.processing == ()
    assert equivalent_looks([annotation], replace(grid, looks=4.4), 2, 3) == pytest.approx(26.4)


# -------------------------------------------------------------------------------------- bad input


def test_what_cannot_be_averaged_is_refused() -> None:
    image: Any = speckle()
    whole = "expected a whole number from 1 to"
    windows: Any = ((0, 1), (1, -2), (61, 1), (1, 81), (1.5, 1))
    for power, window, message in (
        *((each, window, whole) for each in (image, image.chunk(line=7)) for window in windows),
        (speckle((30, 80)), (2, 2), r"found an image of \(line: 30, sample: 80\)"),
        (image.rename(line="y", sample="x"), (2, 2), r"expected \(line, sample\) of the same size"),
        (image.astype(np.complex64), (2, 2), "expected power in floating point"),
        (image.astype(np.uint16), (2, 2), "expected power in floating point"),
    ):
        with pytest.raises(ValueError, match=message):
            multilook(power, GRID, *window)
    for spacing in (0.0, -20.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected a number above zero"):
            looks_for_spacing(GRID, ORBIT, spacing)
