"""Ratios of image and simulation, their weights, and their sums over the pixels of cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
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
