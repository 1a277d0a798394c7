"""Refined Lee filter, covariance, and the channels of So2Sat, on xarray."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from sarheight.zones import (
    RADAR_CHANNELS,
    covariance,
    polarimetric_channels,
    refined_lee,
)

POWER = {"vv": 0.2, "vh": 0.05}
CORRELATION = 0.6 * np.exp(1j * 0.8)


def speckle(shape: tuple[int, int] = (120, 130), seed: int = 0) -> tuple[xr.DataArray, ...]:
    """Draw fully developed speckle of VV and VH with a known covariance."""
    random = np.random.default_rng(seed)
    one, two = random.normal(0.0, np.sqrt(0.5), (2, *shape, 2)) @ [1.0, 1.0j]
    other = CORRELATION * one + np.sqrt(1.0 - abs(CORRELATION) ** 2) * two
    images = np.sqrt(POWER["vv"]) * one, np.sqrt(POWER["vh"]) * other
    coordinates = {"line": np.arange(shape[0]), "sample": np.arange(shape[1])}
    return tuple(
        xr.DataArray(image.astype(np.complex64), coordinates, ("line", "sample"))
        for image in images
    )


def squared(image: xr.DataArray) -> xr.DataArray:
    return image.copy(data=np.abs(image.values) ** 2)


def test_the_order_of_the_channels_is_that_of_so2sat() -> None:
    assert RADAR_CHANNELS == (
        "vh_real", "vh_imaginary", "vv_real", "vv_imaginary",
        "vh_intensity", "vv_intensity", "covariance_real", "covariance_imaginary",
    )  # fmt: skip
    vv, vh = speckle((20, 20))
    assert tuple(polarimetric_channels(vv, vh)) == RADAR_CHANNELS


def test_each_channel_agrees_with_its_definition() -> None:
    vv, vh = speckle()
    found = polarimetric_channels(vv, vh)
    np.testing.assert_array_equal(found["vh_real"], vh.real)
    np.testing.assert_array_equal(found["vv_imaginary"], vv.imag)
    for name, image in (("vv", vv), ("vh", vh)):
        expected = refined_lee(squared(image), 1.0)
        np.testing.assert_allclose(found[f"{name}_intensity"], expected, rtol=1e-5)
        assert float(found[f"{name}_intensity"].mean()) == pytest.approx(POWER[name], rel=0.05)
    expected_covariance = CORRELATION * np.sqrt(POWER["vv"] * POWER["vh"])
    assert float(found["covariance_real"].mean()) == pytest.approx(
        expected_covariance.real, rel=0.05
    )
    assert float(found["covariance_imaginary"].mean()) == pytest.approx(
        expected_covariance.imag, rel=0.05
    )
    assert all(each.dtype == np.float32 for each in found.values())
    assert all(each.attrs["units"] == "1" for each in found.values())
    assert found["line"].size == 120


def test_a_gap_in_one_image_is_a_gap_in_all_channels() -> None:
    vv, vh = speckle((30, 40))
    vv[10:14, 5:9] = np.nan
    vh[20, 30] = complex(np.nan, 0.0)
    missing = np.zeros(vv.shape, dtype=bool)
    missing[10:14, 5:9] = missing[20, 30] = True
    for layer in polarimetric_channels(vv, vh).values():
        np.testing.assert_array_equal(np.isnan(layer), missing)


def test_covariance_is_a_mean_over_the_window() -> None:
    vv, vh = speckle((20, 25))
    product = vh.values * vv.values.conj()
    found = covariance(vh, vv, window=5).values
    assert found[9, 12] == pytest.approx(product[7:12, 10:15].mean(), rel=1e-5)
    assert found[0, 0] == pytest.approx(product[:3, :3].mean(), rel=1e-5)


@given(st.integers(0, 1000), st.sampled_from([1, 3, 7]))
def test_covariances_are_hermitian_and_bounded(seed: int, window: int) -> None:
    """Hermitian, with real power, and within the Cauchy-Schwarz bound."""
    vv, vh = speckle((12, 14), seed)
    mixed = covariance(vh, vv, window=window)
    np.testing.assert_allclose(mixed, covariance(vv, vh, window=window).conj(), atol=1e-7)
    one, two = covariance(vv, vv, window=window), covariance(vh, vh, window=window)
    np.testing.assert_allclose(one.imag, 0.0, atol=1e-7)
    limit = np.sqrt(one.values.real * two.values.real)
    assert (np.abs(mixed.values) <= limit * (1.0 + 1e-4) + 1e-7).all()


def test_the_filter_keeps_name_dims_and_attributes() -> None:
    power = xr.DataArray(
        np.random.default_rng(0).gamma(4.4, 1.0 / 4.4, (2, 30, 40)),
        {"polarisation": ["VV", "VH"]},
        ("polarisation", "line", "sample"),
        name="gamma0",
        attrs={"units": "1"},
    )
    found = refined_lee(power, 4.4)
    assert found.dims == power.dims
    assert found.name == "gamma0"
    assert found.attrs["units"] == "1"
    assert found.attrs["looks_assumed"] == 4.4
    for name in ("VV", "VH"):
        alone = refined_lee(power.sel(polarisation=name), 4.4)
        np.testing.assert_array_equal(found.sel(polarisation=name), alone)


def test_an_image_without_data_stays_without_data() -> None:
    empty = xr.DataArray(np.full((10, 12), np.nan, dtype=np.float32), dims=("y", "x"))
    assert refined_lee(empty, 4.0).isnull().all()
