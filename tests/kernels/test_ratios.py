"""Areas of pixels, sums over an image, and ratios of image and simulation with their weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.radiometry import divide_by_area, image_sums, inverse_intensity, mask_missing
from sarheight_kernels.ratios import CHUNK, smooth_by_simulation, weigh_ratios
from scipy.ndimage import convolve, gaussian_filter

from sarheight.layover.tiles import gaussian_taps

Values = NDArray[np.float32]
FLOOR = 0.09


def channels_of(image: Values, simulated: Values, deviation: float, area: float = 1.0) -> Values:
    lines, samples = simulated.shape
    areas = np.full((2, samples), area)
    width = gaussian_taps(deviation)
    pairs = np.full((image.shape[0], lines, samples, 2), np.nan, np.float32)
    changes = np.full((0, 0) if image.size else simulated.shape, np.nan, np.float32)
    ends = np.array([0.0, max(lines - 1.0, 1.0)])
    weigh_ratios(image, ends, areas, simulated, width, width, FLOOR, pairs, changes)
    if not image.size:
        return changes[None]
    assert (pairs[..., 1] == pairs[:1, ..., 1]).all()
    return np.concatenate((pairs[: image.shape[0], ..., 0], pairs[:1, ..., 1]))


def noise(shape: tuple[int, ...], seed: int = 7) -> Values:
    return np.random.default_rng(seed).gamma(3.0, 1.0, shape).astype(np.float32)


def test_a_ratio_is_that_of_smoothed_images_and_its_weight_falls_with_the_change() -> None:
    simulated = noise((90, 40))
    image = np.stack([noise(simulated.shape, 8) * simulated, 2.0 * simulated])
    image /= np.float32(50.0)
    channels = channels_of(image, simulated, 0.8, area=50.0)
    smooth = gaussian_filter(simulated.astype(np.float64), 0.8, mode="constant", truncate=4.0)
    before = np.concatenate((smooth[:, :1], smooth[:, :-1]), axis=1)
    after = np.concatenate((smooth[:, 1:], smooth[:, -1:]), axis=1)
    weight = 1.0 / (FLOOR + ((after - before) / (after + before)) ** 2)
    np.testing.assert_allclose(channels[2], weight, rtol=1e-3)
    first = gaussian_filter(50.0 * image[0].astype(np.float64), 0.8, mode="constant", truncate=4.0)
    np.testing.assert_allclose(channels[0], weight * first / smooth, rtol=1e-3)
    np.testing.assert_allclose(channels[1] / channels[2], 2.0, rtol=1e-5)


def test_pixels_without_data_do_not_count() -> None:
    simulated = np.ones((20, 20), np.float32)
    simulated[5:8, 5:8] = 0.0
    image = np.ones((1, 20, 20), np.float32)
    image[0, 5:8, 5:8] = np.nan
    channels = channels_of(image, simulated, 0.5)
    assert not channels[:, 5:8, 5:8].any()
    ratios = channels[0][simulated > 0.0] / channels[1][simulated > 0.0]
    np.testing.assert_allclose(ratios, 1.0, rtol=1e-6)


def test_changes_alone_are_those_in_the_weights() -> None:
    simulated, image = noise((70, 30)), noise((2, 70, 30), 1)
    simulated[20:24, 5:9] = 0.0
    whole, alone = (channels_of(each, simulated, 0.7) for each in (image, image[:0]))
    known = simulated > 0.0
    np.testing.assert_allclose(1.0 / (FLOOR + alone[0][known]), whole[2][known], rtol=1e-6)
    assert not alone[0][~known].any()


def test_a_part_of_an_image_gives_the_same_bits() -> None:
    """Beyond the reach of the kernel, wherever blocks of lines and samples begin."""
    simulated, image = noise((150, CHUNK + 90)), noise((1, 150, CHUNK + 90), 1)
    simulated[:, : CHUNK // 2] = 0.0
    whole = channels_of(image, simulated, 0.8)
    part = np.s_[:, 21:140, 37:]
    found = channels_of(image[part].copy(), simulated[part[1:]].copy(), 0.8)
    inner = np.s_[:, 5:-5, 5:]
    np.testing.assert_array_equal(found[inner], whole[part][inner])


def test_plain_terrain_correction_is_a_ratio_of_smoothed_sums() -> None:
    image, simulated = noise((2, 90, 70), 1), noise((90, 70), 2)
    simulated[20:30, 10:20] = 0.0
    image[:, 20:30, 10:20] = np.nan
    down, across = (np.array(taps, np.float32) for taps in ((0.25, 0.5, 0.25), (0.1, 0.8, 0.1)))
    smoothed = np.full_like(image, np.nan)
    smooth_by_simulation(image, simulated, down, across, smoothed)
    kernel, valid = np.outer(down, across), simulated > 0.0
    expected = convolve(simulated.astype(float), kernel, mode="constant")
    for values, found in zip(image, smoothed, strict=True):
        assert (found[~valid] == 0.0).all()
        total = convolve(np.where(valid, values, 0.0).astype(float), kernel, mode="constant")
        ratio = found[valid] / simulated[valid]
        np.testing.assert_allclose(ratio, total[valid] / expected[valid], rtol=1e-4)


KNOTS = np.array([0.0, 10.0, 40.0])


def between(areas: NDArray[np.float64], lines: int) -> NDArray[np.float64]:
    """Areas of all pixels, linear between knots."""
    columns = [np.interp(np.arange(lines), KNOTS, column) for column in areas.T]
    return np.stack(columns, axis=1)


def test_pixels_that_one_polarisation_lacks_are_not_summed() -> None:
    """Areas are linear between knots."""
    random = np.random.default_rng(0)
    image = random.normal(1.0, 1.0, (2, 41, 1500)).astype(np.float32)
    image[random.random(image.shape) < 0.1] = np.nan
    image[0, 5, 6] = np.inf
    image[1, 7] = np.nan
    areas = random.uniform(50.0, 100.0, (3, 1500))
    sums = np.empty((2, 41, 5))
    image_sums(image, KNOTS, areas, sums)
    known = np.isfinite(image).all(axis=0)
    energy = np.where(known, image * between(areas, 41), 0.0)
    np.testing.assert_array_equal(sums[..., 0], np.broadcast_to(known.sum(axis=1), (2, 41)))
    np.testing.assert_allclose(sums[..., 1], energy.clip(max=0.0).sum(axis=2), rtol=1e-6)
    np.testing.assert_allclose(sums[..., 2], energy.clip(min=0.0).sum(axis=2), rtol=1e-6)
    least, greatest = (np.where(known, image, sign * np.inf) for sign in (1.0, -1.0))
    np.testing.assert_array_equal(sums[..., 3], least.min(axis=2))
    np.testing.assert_array_equal(sums[..., 4], greatest.max(axis=2))


def test_lines_of_any_type_are_summed() -> None:
    image = np.array([[[1.0, -2.0, np.nan, 4.0], [np.nan] * 4, [0.0, np.inf, 3.0, -1.0]]])
    sums = np.empty((1, 3, 5))
    image_sums(image, KNOTS, np.full((3, 4), 2.0), sums)
    np.testing.assert_array_equal(sums[0, 0], [3, -4.0, 10.0, -2.0, 4.0])
    np.testing.assert_array_equal(sums[0, 1], [0, 0.0, 0.0, np.inf, -np.inf])
    np.testing.assert_array_equal(sums[0, 2], [3, -2.0, 6.0, -1.0, 3.0])


def test_inverse_intensity_is_zero_without_data() -> None:
    random = np.random.default_rng(0)
    image = random.gamma(1.0, 1.0, (2, 41, 300)).astype(np.float32)
    image[1, 3, 4], image[0, 5, 6], image[1, 7, 8] = np.nan, np.inf, -np.inf
    areas = random.uniform(50.0, 100.0, (3, 300))
    expected = random.gamma(1.0, 10.0, (2, 41, 300)).astype(np.float32)
    expected[:, 8] = 0.0
    found = expected.copy()
    mask_missing(image, found)
    known = np.isfinite(image).all(axis=0)
    np.testing.assert_array_equal(found, np.where(known, expected, 0.0))
    inverse_intensity(KNOTS, areas, found[0])
    known &= expected[0] > 0.0
    np.testing.assert_allclose(
        found[0][known], between(areas, 41)[known] / expected[0][known], rtol=1e-6
    )
    assert (found[0][~known] == 0.0).all()


def test_a_part_of_an_image_has_the_areas_of_its_place() -> None:
    areas = np.random.default_rng(0).uniform(50.0, 100.0, (3, 7))
    whole, part = np.ones((41, 7), dtype=np.float32), np.ones((18, 7), dtype=np.float32)
    inverse_intensity(KNOTS, areas, whole)
    inverse_intensity(KNOTS - 12.0, areas, part)
    np.testing.assert_allclose(part, whole[12:30], rtol=1e-6)


def test_areas_are_interpolated_between_lines() -> None:
    areas = np.array([[1.0, 2.0, 4.0], [3.0, 2.0, 8.0], [5.0, 2.0, 8.0]])
    image = np.full((3, 3), 12.0, np.float32)
    knot, share = np.array([0, 0, 1]), np.array([0.0, 0.5, 1.0])
    divide_by_area(image, knot, share, areas, 0.25)
    expected = 12.0 / np.array([[1.0, 2.0, 4.0], [2.0, 2.0, 6.0], [5.0, 2.0, 8.0]]) + 0.25
    np.testing.assert_allclose(image, expected, rtol=1e-6)
