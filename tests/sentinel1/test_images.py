"""Bursts and swaths of an SLC put together again: what was cut comes back, once and in place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.orbit import zero_doppler_time

from sarheight import _windows
from sarheight._windows import Span
from sarheight.ellipsoid import SPEED_OF_LIGHT, points_at_ranges
from sarheight.errors import ProductError
from sarheight.scene import Scene
from sarheight.sentinel1 import (
    Annotation,
    _images,
    geolocation_grid,
    read_annotation,
    read_grid,
    read_orbit,
)
from sarheight.sentinel1._files import ProductFiles
from sarheight.sentinel1._images import (
    Channel,
    Form,
    Piece,
    merge_pieces,
    slc_image,
    slc_numbers,
    swath_pieces,
)
from sarheight.sentinel1._product import open_product
from sarheight.sentinel1.grid import merge_grids
from tests.conftest import ANNOTATIONS, shared_data
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import (
    BURST_STEP,
    FIRST_VALID,
    INVALID_LINES,
    LAST_VALID,
    LINES_PER_BURST,
    annotation_xml,
)
from tests.worlds.products import BEGINS, BURSTS, LINES, SAMPLES, SWATHS, IwScene, write_product
from tests.worlds.safe import tiff

Bools = NDArray[np.bool_]


@dataclass
class MemoryFiles:
    """Measurements in memory by swath, in place of the files of a product; notes what is read."""

    values: dict[str, NDArray[np.complex64]]
    dtype: str = "complex_int16"
    missing: dict[str, int] = field(default_factory=dict)
    read: int = 0

    def form(self, name: str) -> Form:
        return Form(*self.values[name].shape, (self.dtype,), 1)

    def read_window(
        self, name: str, lines: Span, samples: Span, *, total: int
    ) -> NDArray[np.complex64]:
        """Read a window, and note how many pixels are not read yet."""
        found = self.values[name][slice(*lines), slice(*samples)].copy()
        self.missing[name] = self.missing.get(name, total) - found.size
        self.read += found.size
        return found


@dataclass
class LineGain:
    """A calibration that differs from line to line of the file, and notes how it is called."""

    gain: float = 0.0
    asked: set[tuple[str, bool]] = field(default_factory=set)

    def calibrate(
        self,
        power: NDArray[np.float32],
        first_line: int,
        first_sample: int,
        calibration: str,
        *,
        noise_removal: bool = True,
    ) -> NDArray[np.float32]:
        self.asked.add((calibration, noise_removal))
        line = first_line + np.arange(power.shape[0])[:, None]
        sample = first_sample + np.arange(power.shape[1])
        return (power * (1.0 + self.gain * (line + 0.001 * sample))).astype(np.float32)


@dataclass
class IwProduct:
    """A scene, and the product that was cut out of it, in memory."""

    cut: IwScene
    annotations: dict[str, Annotation]
    files: MemoryFiles
    radiometries: dict[str, LineGain]

    def channels(self, swaths: tuple[str, ...] = SWATHS) -> dict[str, Channel]:
        """The files of swaths with their annotations and calibrations."""
        return {
            name: Channel(name, self.annotations[name], self.radiometries[name])  # type: ignore[arg-type]
            for name in swaths
        }

    def parts(self, *swaths: str) -> tuple[Any, dict[str, Channel]]:
        """Return the first arguments of `slc_image`, for some swaths or all."""
        return self.files, self.channels(swaths or SWATHS)


def iw_product(gain: float = 0.0) -> IwProduct:
    """Make a product of whole numbers, as those of a file are; all pixels of it differ."""
    scene = IwScene.made()
    files = {swath: scene.swath(swath) for swath in SWATHS}
    return IwProduct(
        scene,
        {swath: read_annotation(xml.encode()) for swath, (xml, _) in files.items()},
        MemoryFiles({swath: numbers for swath, (_, numbers) in files.items()}),
        {name: LineGain(gain) for name in SWATHS},
    )


PRODUCT = iw_product()
SCENE = PRODUCT.cut
SLCS = [name for name in ANNOTATIONS if "-slc-" in name]
MOROCCO = [name for name in SLCS if "20230904t" in name]


def valid(swaths: tuple[str, ...] = SWATHS) -> Bools:
    """Tell which pixels of the scene are valid in at least one burst."""
    found = np.zeros(SCENE.numbers.shape, dtype=bool)
    for swath, burst in itertools.product(swaths, range(BURSTS)):
        line, sample = BEGINS[swath]
        first = line + burst * BURST_STEP
        found[
            first + INVALID_LINES : first + LINES_PER_BURST - INVALID_LINES,
            sample + FIRST_VALID : sample + LAST_VALID + 1,
        ] = True
    return found


def expected(swaths: tuple[str, ...] = SWATHS) -> NDArray[np.float32]:
    """Return the scene where it is valid."""
    return np.where(valid(swaths), SCENE.power, np.nan).astype(np.float32)


def part_of_scene(swath: str) -> tuple[slice, slice]:
    line, sample = BEGINS[swath]
    return slice(line, line + LINES), slice(sample, sample + SAMPLES)


# ---------------------------------------------------------------------------- what was cut is back


def test_the_merged_image_is_the_scene_that_was_cut() -> None:
    image, grid = slc_image(*PRODUCT.parts())
    np.testing.assert_array_equal(image.values, expected())
    assert image.dims == ("line", "sample")
    assert image.dtype == np.float32
    assert image.name == "beta0"
    assert grid.shape == SCENE.numbers.shape
    assert (grid.swath, grid.bursts, grid.looks) == ("IW1+IW2+IW3", (), 1.0)
    # Energy is neither lost nor counted twice.
    assert float(image.sum()) == pytest.approx(SCENE.power[valid()].sum(), rel=1e-6)
    Scene(image, grid, SCENE.orbit, "beta0")


def test_ew_is_put_together_in_the_same_way() -> None:
    names = [swath.replace("IW", "EW") for swath in SWATHS]
    channels = {
        name: replace(channel, annotation=replace(channel.annotation, mode="EW", swath=name))
        for name, channel in zip(names, PRODUCT.channels().values(), strict=True)
    }
    image, grid = slc_image(PRODUCT.files, channels)
    np.testing.assert_array_equal(image, expected())
    assert (grid.mode, grid.swath) == ("EW", "EW1+EW2+EW3")


@pytest.mark.parametrize("swath", SWATHS)
def test_a_swath_is_its_part_of_the_scene(swath: str) -> None:
    image, grid = slc_image(*PRODUCT.parts(swath))
    np.testing.assert_array_equal(image.values, expected((swath,))[part_of_scene(swath)])
    assert grid.swath == swath
    assert len(grid.bursts) == BURSTS


@pytest.mark.parametrize("burst", range(BURSTS))
def test_a_burst_alone_keeps_all_its_lines(burst: int) -> None:
    image, grid = slc_image(*PRODUCT.parts("IW2"), burst=burst)
    assert image.shape == grid.shape == (LINES_PER_BURST, SAMPLES)
    inside = slice(INVALID_LINES, -INVALID_LINES), slice(FIRST_VALID, LAST_VALID + 1)
    first = BURST_STEP * burst
    known = SCENE.power[part_of_scene("IW2")][first : first + LINES_PER_BURST][inside]
    np.testing.assert_array_equal(image.values[inside], known.astype(np.float32))
    assert np.isfinite(image.values).sum() == known.size
    whole = slc_image(*PRODUCT.parts("IW2"))[1]
    assert abs(grid.azimuth_time(0) - whole.azimuth_time(first)) < 2e-9


def test_the_order_and_choice_of_swaths_make_no_difference_to_what_they_share() -> None:
    image, grid = slc_image(*PRODUCT.parts())
    turned, turned_grid = slc_image(*PRODUCT.parts(*SWATHS[::-1]))
    np.testing.assert_array_equal(turned, image)
    assert turned_grid.near_range == pytest.approx(grid.near_range, abs=1e-6)
    pair, pair_grid = slc_image(*PRODUCT.parts("IW2", "IW3"))
    np.testing.assert_array_equal(pair, expected(("IW2", "IW3"))[17:, 150:])
    assert pair_grid.near_range == pytest.approx(float(grid.slant_range(0, 150)), abs=1e-6)
    apart, _ = slc_image(*PRODUCT.parts("IW1", "IW3"))
    assert np.isnan(apart[:, 195:305]).all()


def test_pixels_are_calibrated_by_their_line_and_sample_in_the_file() -> None:
    product = iw_product(gain=0.01)
    image, _ = slc_image(*product.parts(), calibration="sigma0", noise_removal=False)
    ratio = (image.values / SCENE.power - 1.0) / 0.01
    assert all(each.asked == {("sigma0", False)} for each in product.radiometries.values())
    candidates = []
    for swath, burst in itertools.product(SWATHS, range(BURSTS)):
        line, sample = BEGINS[swath]
        rows = np.arange(ratio.shape[0])[:, None] - line - burst * BURST_STEP
        columns = np.arange(ratio.shape[1]) - sample
        inside = (rows >= INVALID_LINES) & (rows < LINES_PER_BURST - INVALID_LINES)
        inside = inside & (columns >= FIRST_VALID) & (columns <= LAST_VALID)
        place = burst * LINES_PER_BURST + rows + 0.001 * columns
        candidates.append(np.where(inside, np.abs(place - ratio), np.inf))
    assert np.min(candidates, axis=0)[valid()].max() < 0.01


def test_complex_numbers_stand_where_their_power_does() -> None:
    """Their square is the power with its noise."""
    image, grid = slc_numbers(*PRODUCT.parts())
    whole = np.where(valid(), SCENE.numbers, np.nan)
    np.testing.assert_array_equal(image.values, whole)
    np.testing.assert_array_equal(image[40:60, 100:300], whole[40:60, 100:300])
    assert image.dtype == np.complex64
    assert grid.shape == SCENE.numbers.shape
    product = iw_product(gain=0.01)
    choices: list[tuple[tuple[str, ...], dict[str, int]]] = [(SWATHS, {}), (("IW2",), {"burst": 1})]
    for chosen, options in choices:
        image, _ = slc_numbers(*product.parts(*chosen), **options)
        power, _ = slc_image(*product.parts(*chosen), **options, noise_removal=False)
        np.testing.assert_allclose(np.abs(image) ** 2, power, rtol=1e-5)


def test_bursts_are_cut_in_the_middle_of_their_overlap() -> None:
    grid = read_grid(
        annotation_xml(SCENE.grid.crop(slice(LINES)), SCENE.orbit, bursts=BURSTS).encode()
    )
    pieces = swath_pieces(grid, "s1a")
    middle = (BURST_STEP + LINES_PER_BURST) // 2
    assert [piece.lines for piece in pieces] == [
        (INVALID_LINES, middle),
        (middle, middle + BURST_STEP),
        (middle + BURST_STEP, LINES - INVALID_LINES),
    ]


def test_the_number_zero_stands_for_no_data() -> None:
    product = iw_product()
    product.files.values["IW1"][20, 30:40] = 0.0
    image, _ = slc_image(*product.parts("IW1"))
    assert np.argwhere(np.isnan(image[10:25, 20:60].values)).tolist() == [
        [10, sample] for sample in range(10, 20)
    ]


def test_leaving_out_chance_zeros_adds_what_is_said() -> None:
    random = np.random.default_rng(5)
    numbers = np.rint(random.normal(scale=5.0, size=(2, 1 << 20)))
    power = (numbers**2).sum(axis=0)
    added = power[power > 0.0].mean() - power.mean()
    assert added == pytest.approx(1.0 / np.pi, rel=0.1)


# -------------------------------------------------------------------------------- point targets


def test_a_target_in_all_overlaps_is_there_once_and_where_the_geometry_says() -> None:
    """It is put into the files by each swath's own geometry, and found by that of the whole."""
    product = iw_product()
    _, grid = slc_image(*product.parts())
    for line, sample in ((104, 172), (122, 323)):  # two bursts of a swath, and its neighbour
        for swath in SWATHS:
            product.files.values[swath][...] = 0.0
        slant_range = float(grid.slant_range(line, sample))
        time = float(grid.azimuth_time(line, slant_range))
        orbit = SCENE.orbit.with_epoch(grid.epoch)
        point = points_at_ranges(*orbit.state(time), np.array([slant_range]), 1.0, 0.0)[0]
        lit = sum(light(product, swath, point) for swath in SWATHS)
        assert lit == 3
        image = slc_image(*product.parts())[0].values
        assert np.argwhere(image > 0.0).tolist() == [[line, sample]]


def light(product: IwProduct, swath: str, point: NDArray[np.float64]) -> int:
    """Put a target into each burst of a swath that sees it; return how many do."""
    xml_grid = read_grid(product.annotations[swath])
    orbit = SCENE.orbit.with_epoch(xml_grid.epoch)
    time = zero_doppler_time(*point, 0.0, orbit.start, orbit.coefficients)
    slant_range = float(np.linalg.norm(orbit.state(time)[0] - point))
    sample = float(xml_grid.sample(slant_range, time))
    lit = 0
    for burst in xml_grid.bursts:
        line = float(xml_grid.line(time, slant_range)) - burst.first_line
        if not (
            burst.valid_lines[0] <= round(line) < burst.valid_lines[1]
            and burst.valid_samples[0] <= round(sample) < burst.valid_samples[1]
        ):
            continue
        # The stamps of these swaths refer to ranges 700 m apart, which makes 0.001 lines.
        assert line == pytest.approx(round(line), abs=2e-3)
        assert sample == pytest.approx(round(sample), abs=1e-3)
        row = burst.index * burst.lines + round(line)
        product.files.values[swath][row, round(sample)] = 100.0
        lit += 1
    return lit


# ------------------------------------------------------------------------------ real annotations


@pytest.mark.parametrize("name", SLCS)
def test_real_bursts_lie_on_whole_lines(name: str) -> None:
    grid = read_grid(shared_data("sentinel1", name))
    times = np.array([burst.azimuth_time for burst in grid.bursts])
    lines = (times - grid.line_zero_time) / grid.line_interval
    assert np.abs(lines - np.round(lines)).max() < 5e-4
    pieces = swath_pieces(grid, name)
    # They fill the swath without gaps, and none is far from its burst's middle.
    assert [piece.lines[0] for piece in pieces[1:]] == [piece.lines[1] for piece in pieces[:-1]]
    assert pieces[0].lines[0] == grid.bursts[0].valid_lines[0]
    for piece, burst in zip(pieces, grid.bursts, strict=True):
        assert piece.file_line == burst.index * burst.lines + piece.lines[0] - burst.first_line
        begin, end = (line - burst.first_line for line in piece.lines)
        assert burst.valid_lines[0] <= begin < end <= burst.valid_lines[1]


def test_the_merged_grid_meets_the_geolocation_grids_of_real_swaths() -> None:
    """Each point of ESA's grids, put on the merged grid by its pixel in the file."""
    grids = [read_grid(shared_data("sentinel1", name)) for name in MOROCCO]
    merged, offsets = merge_grids(grids)
    assert offsets == ((0, 0), (460, 19942))
    for name, grid, (line0, sample0) in zip(MOROCCO, grids, offsets, strict=True):
        points = geolocation_grid(shared_data("sentinel1", name))
        file_line, pixel = np.meshgrid(points.line, points.pixel, indexing="ij")
        length = grid.bursts[0].lines
        burst = np.minimum(file_line // length, len(grid.bursts) - 1)
        first_line = np.array([each.first_line for each in grid.bursts])
        line = line0 + first_line[burst] + file_line - burst * length
        slant_range = merged.slant_range(line, sample0 + pixel)
        time = merged.azimuth_time(line, slant_range)
        expected = (points.azimuth_time.values - merged.epoch) / np.timedelta64(1, "ns") * 1e-9
        # The project asks for 0.1 ms and 50 mm.
        assert np.abs(time - expected).max() < 2e-5
        assert np.abs(slant_range - points.slant_range.values).max() < 0.005
        # ESA's grid itself strays by 14 µs and 4 mm; merging adds what rounding left.
        own = grid.with_epoch(merged.epoch)
        own_time = own.azimuth_time(line - line0, slant_range)
        np.testing.assert_allclose(own_time, time, rtol=0, atol=1.5e-6)
        np.testing.assert_allclose(own.slant_range(0, pixel), slant_range, rtol=0, atol=1e-6)


def test_real_swaths_are_cut_where_both_are_valid() -> None:
    grids = [read_grid(shared_data("sentinel1", name)) for name in MOROCCO]
    merged, offsets = merge_grids(grids)
    swaths = [
        [piece.shifted(*offset) for piece in swath_pieces(grid, "s1a")]
        for grid, offset in zip(grids, offsets, strict=True)
    ]
    pieces = merge_pieces(swaths)
    assert_apart(pieces, merged.shape)
    for near, far in itertools.permutations(pieces, 2):
        if near.lines == far.lines and near.samples[0] < far.samples[0]:
            assert near.samples[1] == far.samples[0]
            # Some 500 samples are valid in both.
            assert 20_300 < near.samples[1] < 20_500


def assert_apart(pieces: tuple[Piece, ...], shape: tuple[int, int]) -> None:
    for piece in pieces:
        assert 0 <= piece.lines[0] < piece.lines[1] <= shape[0]
        assert 0 <= piece.samples[0] < piece.samples[1] <= shape[1]
    for one, other in itertools.combinations(pieces, 2):
        assert one.within(other.lines, other.samples) is None


def test_a_simulated_product_of_two_real_swaths_gives_back_one_scene(tmp_path: Path) -> None:
    """The scene passes writer and reader, across the borders of bursts and of swaths."""
    paths = [shared_data("sentinel1", name) for name in MOROCCO]
    grids, orbits = map(read_grid, paths), map(read_orbit, paths)
    lines, samples = (1380, 1460), (20_050, 20_700)
    size = lines[1] - lines[0], samples[1] - samples[0]
    truth = np.random.default_rng(1).exponential(1.0, size).astype(np.float32) + 0.5
    offsets = ((0, 0), (460, 19_942))
    scenes = [
        Scene(
            xr.DataArray(truth, dims=("line", "sample")),
            grid.crop(
                *(slice(b - o, e - o) for (b, e), o in zip((lines, samples), at, strict=True))
            ),
            orbit,
            "beta0",
        )
        for grid, orbit, at in zip(grids, orbits, offsets, strict=True)
    ]
    folder = tmp_path / "X.SAFE"
    write_product(scenes, folder, like=paths)
    product = open_product(folder)
    scene = product.scene(orbit="annotation")
    assert scene.grid.swath == "IW1+IW2"
    place = scenes[0].grid.with_epoch(scene.grid.epoch)
    line = float(scene.grid.line(place.azimuth_time(0)))
    sample = float(scene.grid.sample(place.near_range, 0.0))
    assert (line, sample) == pytest.approx((round(line), round(sample)), abs=1e-3)
    found = scene.image.isel(
        line=slice(round(line), round(line) + size[0]),
        sample=slice(round(sample), round(sample) + size[1]),
    )
    np.testing.assert_allclose(found, truth, rtol=1e-3)
    # What the scene does not show has no data.
    assert int(scene.image.notnull().sum()) == truth.size
    coarse = product.scene(orbit="annotation", multilook=(2, 7))
    assert 6.5 < coarse.grid.looks < 8.5


# -------------------------------------------------------------------------------- cutting swaths


@st.composite
def strips(draw: st.DrawFn) -> list[list[Piece]]:
    """Swaths that reach farther and farther, of bursts at any lines and with any valid samples."""
    swaths, begin = [], 0
    for number in range(draw(st.integers(1, 4))):
        line, pieces = draw(st.integers(0, 9)), []
        begin += draw(st.integers(12, 20)) if number else 0
        for _ in range(draw(st.integers(0, 4))):
            line += draw(st.integers(0, 3))
            height = draw(st.integers(1, 9))
            samples = begin + draw(st.integers(0, 5)), begin + draw(st.integers(15, 19))
            pieces.append(Piece(f"IW{number}", (line, line + height), samples, 1000 * line, 7))
            line += height
        swaths.append(pieces)
    return swaths


@given(strips())
def test_each_valid_pixel_is_taken_once_and_from_where_it_is(swaths: list[list[Piece]]) -> None:
    merged = merge_pieces(swaths)
    assert_apart(merged, (100, 100))
    inside = {
        (swath, *place): pixel
        for piece in itertools.chain.from_iterable(swaths)
        for swath, place, pixel in pixels(piece)
    }
    found = {(swath, *place): pixel for piece in merged for swath, place, pixel in pixels(piece)}
    assert found.items() <= inside.items()
    assert {key[1:] for key in found} == {key[1:] for key in inside}


def pixels(piece: Piece) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    for line, sample in itertools.product(range(*piece.lines), range(*piece.samples)):
        file = piece.file_line + line - piece.lines[0], piece.file_sample + sample
        yield piece.swath, (line, sample), (file[0], file[1] - piece.samples[0])


# -------------------------------------------------------------------------------------- laziness


@pytest.mark.parametrize(
    ("part", "most"),
    [
        ({"line": slice(40, 50), "sample": slice(20, 60)}, 400),
        ({"line": slice(100, 120), "sample": slice(160, 185)}, 500),
        ({"line": 77}, 500),
        ({"line": slice(0, 160, 40), "sample": slice(100, 200, 10)}, 121 * 91),
    ],
)
def test_only_what_is_asked_for_is_read(part: dict[str, Any], most: int) -> None:
    product = iw_product()
    image, _ = slc_image(*product.parts())
    assert product.files.read == 0
    found = image.isel(part).values
    assert 0 < product.files.read <= most
    picks = tuple(part.get(name, slice(None)) for name in ("line", "sample"))
    np.testing.assert_array_equal(found, expected()[picks])


def test_the_whole_image_reads_each_valid_pixel_once() -> None:
    product = iw_product()
    slc_image(*product.parts())[0].compute()
    assert product.files.read == valid().sum()
    assert product.files.missing == dict.fromkeys(SWATHS, 0)


@pytest.mark.parametrize(
    ("pixels_of_chunk", "pixels_of_slab"), [(500, 1), (5_000, 1), (5_000, 1_000), (2**23, 1_000)]
)
def test_chunks_do_not_change_results(
    monkeypatch: pytest.MonkeyPatch, pixels_of_chunk: int, pixels_of_slab: int
) -> None:
    monkeypatch.setattr(_images, "CHUNK_PIXELS", pixels_of_chunk)
    monkeypatch.setattr(_images, "SLAB_PIXELS", pixels_of_slab)
    np.testing.assert_array_equal(slc_image(*PRODUCT.parts())[0], expected())


def test_one_thread_and_many_read_the_same_from_real_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They travel to another process, too, as an instruction to open them."""
    monkeypatch.setattr(_images, "CHUNK_PIXELS", 3_000)
    (tmp_path / "X.SAFE").mkdir()
    (tmp_path / "X.SAFE/manifest.safe").touch()
    channels = {}
    for swath, channel in PRODUCT.channels().items():
        name = f"measurement/{swath}.tiff"
        tiff(tmp_path / "X.SAFE" / name, PRODUCT.files.values[swath], "complex_int16")
        channels[swath] = replace(channel, measurement=name)
    image, _ = slc_image(ProductFiles.open(tmp_path / "X.SAFE"), channels)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(image, expected())
        np.testing.assert_array_equal(image[90:123, 170:320], expected()[90:123, 170:320])
    with dask.config.set(scheduler="threads", num_workers=8):
        np.testing.assert_array_equal(cloudpickle.loads(cloudpickle.dumps(image)), expected())


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("burst", [-1, BURSTS, 99])
def test_a_burst_that_is_not_there_is_refused(burst: int) -> None:
    with pytest.raises(IndexError, match=f"3 bursts, counted from 0, found burst={burst}"):
        slc_image(*PRODUCT.parts("IW1"), burst=burst)
    with pytest.raises(ValueError, match=r"of the swaths IW1, IW2, expected one"):
        slc_image(*PRODUCT.parts("IW1", "IW2"), burst=burst)


def with_annotation(swath: str, annotation: Annotation) -> IwProduct:
    return replace(PRODUCT, annotations=PRODUCT.annotations | {swath: annotation})


FIRST, SECOND = PRODUCT.annotations["IW1"], PRODUCT.annotations["IW2"]


def test_a_swath_that_lacks_a_burst_has_a_gap() -> None:
    points = FIRST.geolocation
    inside = points.line // LINES_PER_BURST != 1
    line = points.line - LINES_PER_BURST * (points.line >= LINES_PER_BURST)
    kept_points = {
        each.name: (line if each.name == "line" else getattr(points, each.name))[inside]
        for each in fields(points)
    }
    fewer = replace(
        FIRST,
        bursts=(FIRST.bursts[0], FIRST.bursts[2]),
        lines=2 * LINES_PER_BURST,
        geolocation=replace(points, **kept_points),
    )
    kept = np.r_[:LINES_PER_BURST, 2 * LINES_PER_BURST : 3 * LINES_PER_BURST]
    values = {"IW1": PRODUCT.files.values["IW1"][kept]}
    changed = replace(with_annotation("IW1", fewer), files=MemoryFiles(values))
    image, grid = slc_image(*changed.parts("IW1"))
    assert grid.lines == LINES
    known = expected(("IW1",))[part_of_scene("IW1")]
    known[LINES_PER_BURST - INVALID_LINES : 2 * BURST_STEP + INVALID_LINES] = np.nan
    np.testing.assert_array_equal(image, known)


def with_middle_burst(**changes: Any) -> IwProduct:  # noqa: ANN401  # as of a burst
    first, middle, last = FIRST.bursts
    bursts = (first, replace(middle, **changes), last)
    return with_annotation("IW1", replace(FIRST, bursts=bursts))


def test_a_burst_without_valid_pixels_leaves_a_gap() -> None:
    nothing = np.full(LINES_PER_BURST, -1)
    changed = with_middle_burst(first_valid_sample=nothing, last_valid_sample=nothing)
    image, _ = slc_image(*changed.parts("IW1"))
    assert np.isnan(image[LINES_PER_BURST : 2 * BURST_STEP]).all()
    assert np.isnan(slc_image(*changed.parts("IW1"), burst=1)[0]).all()


def moved(seconds: float) -> Annotation:
    """Take the image of a swath at another time; the stamps of its lines follow."""
    later = np.timedelta64(round(seconds * 1e9), "ns")
    points = SECOND.geolocation
    bursts = [replace(each, azimuth_time=each.azimuth_time + later) for each in SECOND.bursts]
    return replace(
        SECOND,
        first_line_time=SECOND.first_line_time + later,
        bursts=tuple(bursts),
        geolocation=replace(points, azimuth_time=points.azimuth_time + later),
    )


def changed(**changes: Any) -> Annotation:  # noqa: ANN401  # as of an annotation
    """Change a swath; its points follow, or it would contradict itself."""
    annotation = replace(SECOND, **changes)
    points, rate = annotation.geolocation, annotation.range_sampling_rate
    ranges = annotation.slant_range_time + points.pixel / rate
    return replace(
        annotation,
        range_spacing=SPEED_OF_LIGHT / (2 * rate),
        geolocation=replace(points, slant_range_time=ranges),
    )


STRIP_MAP = annotation_xml(*synthetic_grid(ground_range=False))
STRIP_MAP = STRIP_MAP.replace("<mode>IW", "<mode>SM").replace(">IW1<", ">S1<")
LATE = with_middle_burst(azimuth_time=FIRST.bursts[1].azimuth_time + np.timedelta64(200, "us"))
INTERVAL = SCENE.grid.line_interval
# Whole lines later, or the fraction would give them away.
DAY, DAYS = (round(days * 86_400 / INTERVAL) * INTERVAL for days in (1, 12))


@pytest.mark.parametrize(
    ("product", "message"),
    [
        (
            with_annotation("IW1", read_annotation(STRIP_MAP.encode())),
            "mode SM without bursts; expected the SLC of IW or EW",
        ),
        (LATE, r"burst 1 lies 0\.200 ms beside .* one by one"),
        (
            replace(PRODUCT, files=replace(PRODUCT.files, dtype="uint16")),
            "holds 1 bands of uint16 numbers, expected one of complex",
        ),
        *(
            (with_annotation("IW2", annotation), message)
            for annotation, message in (
                (moved(DAY), r"one after the other \(IW1 from .*those of one pass"),
                (moved(DAYS), r"one after the other \(IW1 from .*those of one pass"),
                (moved(3e-4), r"IW2 lies 0\.[23]\d+ ms and -?0\.000 m beside"),
                (changed(mission="S1B"), "IW1 and IW2 differ in mission: found 'S1A' and 'S1B'"),
                (changed(polarisation="VH"), "differ in polarisations"),
                (changed(mode="EW"), "differ in mode"),
                (changed(line_interval=INTERVAL * 1.000001), "in line_interval, by a factor of"),
                (changed(range_sampling_rate=6.4e7), "differ in sample_spacing, by a factor of"),
                (changed(slant_range_time=5.5e-3), r"IW2 lies .* and -?[01]\.\d+ m beside the pix"),
            )
        ),
    ],
)
def test_swaths_that_do_not_belong_together_are_refused(product: IwProduct, message: str) -> None:
    with pytest.raises(ProductError, match=message):
        slc_image(*product.parts())


def test_a_burst_between_lines_is_read_alone() -> None:
    assert slc_image(*LATE.parts("IW1"), burst=1)[0].shape == (LINES_PER_BURST, SAMPLES)


def test_stamps_of_swaths_may_refer_to_ranges_that_differ_a_little() -> None:
    grids = [read_grid(PRODUCT.annotations[swath]) for swath in SWATHS]
    near, far = grids[0], grids[1]
    assert near.bistatic_range is not None
    assert far.bistatic_range is not None
    apart = far.bistatic_range - near.bistatic_range
    # What counts is the time of the pixel, which the range and the stamp give together.
    shift = 60_000.0
    line = -shift / SPEED_OF_LIGHT
    same = replace(
        far, bistatic_range=far.bistatic_range + shift, line_zero_time=far.line_zero_time - line
    )
    assert merge_grids([near, same])[1] == merge_grids([near, far])[1]
    assert apart > 100.0
    with pytest.raises(ProductError, match="ms and"):
        merge_grids([near, replace(far, bistatic_range=far.bistatic_range + shift)])
    with pytest.raises(ProductError, match="one has lines that are corrected"):
        merge_grids([near, replace(far, bistatic_range=None)])


def test_of_stacked_polarisations_only_the_window_is_read() -> None:
    """One polarisation or all are read, by slices, steps and integers."""
    whole = np.random.default_rng(5).random((2, 300, 400)).astype(np.float32)
    windows: list[tuple[int, int]] = []

    def image(index: int) -> xr.DataArray:
        def read(lines: Span, samples: Span) -> NDArray[np.float32]:
            part: NDArray[np.float32] = whole[index, slice(*lines), slice(*samples)].copy()
            windows.append((index, part.size))
            return part

        return _images.windowed_image(read, (300, 400), name="x")

    stacked = _windows.stack_images([image(0), image(1)])
    np.testing.assert_array_equal(stacked.values, whole)
    keys: list[tuple[Any, Any, Any]] = [
        (slice(None), slice(20, 30), slice(100, 107)),
        (slice(1, 2), slice(20, 30), slice(0, 7)),
        (0, slice(None, None, 7), slice(3, 9)),
        (slice(None), 5, slice(None, 40, 3)),
        (slice(None), slice(7, 7), slice(0, 3)),
    ]
    for key in keys:
        windows.clear()
        np.testing.assert_array_equal(stacked.data[key].compute(), whole[key])
        assert sum(size for _, size in windows) <= 43 * 7 * 6
        if key[0] != slice(None):
            assert len({index for index, _ in windows}) == 1
    cropped = _windows.crop_image(stacked, slice(20, 290), slice(50, None))
    again = _windows.crop_image(cropped, slice(5, 200), slice(1, 300))
    np.testing.assert_array_equal(again.values, whole[:, 25:220, 51:350])
    windows.clear()
    part = again.data[:, 30:40, 60:70].compute()
    np.testing.assert_array_equal(part, whole[:, 55:65, 111:121])
    assert sum(size for _, size in windows) == 200
    assert again.chunks == stacked[:, 20:290, 50:][:, 5:200, 1:300].chunks
    stepped = _windows.crop_image(stacked, slice(0, 300, 2), slice(None))
    np.testing.assert_array_equal(stepped.values, whole[:, ::2])
