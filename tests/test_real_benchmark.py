"""The parts of the ENVISAT benchmark, on data made here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks._real import opera
from benchmarks._real.envisat import Heights
from benchmarks.real import agreements, averaged
from tests.conftest import SHARED_DATA, shared_data


def test_heights_between_the_posts_give_the_posts_back() -> None:
    """Heights at random places of a smooth surface, of which the posts are then computed."""

    def surface(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 900.0 + 80.0 * np.sin(1800.0 * x) + 60.0 * np.cos(1400.0 * y)

    generator = np.random.default_rng(0)
    longitude = generator.uniform(-115.56, -115.55, 12_000)
    latitude = generator.uniform(34.81, 34.82, 12_000)
    heights = Heights.fit(longitude, latitude, surface(longitude, latitude))
    assert heights.residual < 0.2
    for finer in (1, 3):
        dem = heights.dem(finer)
        assert float(abs(dem.x[1] - dem.x[0])) == pytest.approx(1.0 / 3600.0 / finer)
        expected = surface(*np.meshgrid(dem.x.values, dem.y.values))
        error = (dem.values - expected)[5 * finer : -5 * finer, 5 * finer : -5 * finer]
        assert np.abs(error).max() < 1.0
        assert np.nanstd(error) < 0.2


def test_windows_leave_out_what_is_missing() -> None:
    image = np.arange(24.0).reshape(4, 6)
    image[0, 0] = np.nan
    means = averaged(image, (2, 3))
    assert means.shape == (2, 2)
    assert means[0, 0] == pytest.approx(np.nanmean(image[:2, :3]))
    assert means[1, 1] == pytest.approx(image[2:, 3:].mean())


def test_agreement_is_that_of_logarithms() -> None:
    generator = np.random.default_rng(1)
    expected = np.exp(generator.normal(0.0, 0.5, (60, 60)))
    noise = np.exp(generator.normal(0.0, 0.2, (60, 60)))
    block = np.arange(60)[:, None] // 6 * 10 + np.arange(60) // 6
    images = {"true": expected, "scaled": 7.0 * expected}
    found = agreements(expected * noise, images, block, (1, 1))
    decibel = 10.0 / np.log(10.0)
    assert found["true"].spread[0] == pytest.approx(0.2 * decibel, rel=0.1)
    assert found["true"].correlation[0] == pytest.approx(0.5 / np.hypot(0.5, 0.2), abs=0.02)
    assert found["scaled"].spread[0] == pytest.approx(found["true"].spread[0])
    assert 0.0 < found["true"].correlation[1] < 0.05


def test_a_displaced_image_is_found_where_incidence_explains_it() -> None:
    random = np.random.default_rng(0)
    angle = gaussian_filter(random.standard_normal((60, 70)), 3.0)
    angle = 40.0 + 10.0 * angle / angle.std()
    law = 0.004 * (angle - 45.0) ** 2  # neither falls nor rises all the way
    gamma0 = np.roll(law, (2, -1), axis=(0, 1)) + 0.1 * random.standard_normal(angle.shape)
    moved, in_place = opera.registration(gamma0, angle)
    assert moved == pytest.approx(np.hypot(2, 1))
    assert in_place < 0.95 < opera.explained(law.ravel(), angle.ravel())


SITE = opera.SITES[1]


def test_terrain_flattened_pixels_lie_where_they_should() -> None:
    """At one site with relief; `test_real_pixels_are_unfolded` has all of them."""
    shared_data("sentinel1", "opera_rtc_socal")
    found, _ = opera.flattened(SITE, opera.track_137(str(SHARED_DATA)), str(SHARED_DATA))
    assert found["registration"] < 1.5
    assert found["incidence_range"] > 1.0


@pytest.mark.slow
def test_real_pixels_are_unfolded() -> None:
    shared_data("sentinel1", "opera_rtc_socal")
    found = opera.measure(str(SHARED_DATA))
    # The first site is gentle: nothing tells where it lies.
    for site in opera.SITES[1:]:
        assert found[f"real.opera.{site}.registration"] < 1.5
        assert found[f"real.opera.{site}.incidence_range"] > 1.0
