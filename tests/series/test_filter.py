"""The multi-temporal filter: less speckle, each date's own level, the texture of the ground."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import uniform_filter

from sarheight.series import speckle_filter

LOOKS = 4.4


def series_of(truth: np.ndarray, seed: int = 0) -> xr.DataArray:
    """Speckled dates of a truth, shape (time, rows, columns)."""
    random = np.random.default_rng(seed)
    values = truth * random.gamma(LOOKS, 1.0 / LOOKS, truth.shape)
    return xr.DataArray(values.astype(np.float32), dims=("time", "y", "x"))


def looks_of(values: np.ndarray) -> float:
    return float(values.mean() ** 2 / values.var())


def test_it_is_the_formula_of_quegan_and_yu() -> None:
    gamma = series_of(np.full((5, 40, 50), 0.2))
    means = np.stack([uniform_filter(date, 7, mode="reflect") for date in gamma.values])
    expected = means / 5 * (gamma.values / means).sum(axis=0)
    inside = (slice(None), slice(3, -3), slice(3, -3))
    found = speckle_filter(gamma)
    np.testing.assert_allclose(found.values[inside], expected[inside], rtol=1e-4)


def test_uniform_ground_gains_looks_and_keeps_its_level() -> None:
    dates = 12
    found = speckle_filter(series_of(np.full((dates, 160, 160), 0.2)), window=9).values
    assert looks_of(found[0]) > 0.6 * dates * LOOKS
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0.2, rtol=0.01)


def test_changes_of_level_stay_with_their_date() -> None:
    truth = np.full((6, 80, 80), 0.1)
    truth[3, :, 40:] = 0.4
    found = speckle_filter(series_of(truth)).values
    assert found[3, 10:-10, 50:70].mean() == pytest.approx(0.4, rel=0.05)
    assert found[2, 10:-10, 50:70].mean() == pytest.approx(0.1, rel=0.05)


def test_texture_that_all_dates_share_stays_sharp() -> None:
    random = np.random.default_rng(3)
    texture = np.exp(0.6 * random.standard_normal((60, 60)))
    found = speckle_filter(series_of(np.repeat(0.2 * texture[None], 20, axis=0))).values[0]
    assert np.corrcoef(np.log(found).ravel(), np.log(texture).ravel())[0, 1] > 0.95


def test_dates_without_data_are_left_out_and_stay_without() -> None:
    gamma = series_of(np.full((4, 30, 30), 0.2))
    gamma[1, 5:20] = np.nan
    found = speckle_filter(gamma)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(gamma))
    without = speckle_filter(gamma.isel(time=[0, 2, 3]))
    np.testing.assert_allclose(found[0, 10:15, 5:-5], without[0, 10:15, 5:-5], rtol=1e-5)


def test_a_lazy_series_is_as_one_in_memory() -> None:
    gamma = series_of(np.full((3, 70, 60), 0.2)).expand_dims(polarisation=["VV"], axis=1)
    lazy = speckle_filter(gamma.chunk(time=1, y=25, x=30), window=5)
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy.compute(), speckle_filter(gamma, window=5), rtol=1e-6)


@pytest.mark.parametrize("window", [0, 4, -3])
def test_a_window_has_a_middle(window: int) -> None:
    with pytest.raises(ValueError, match="odd number"):
        speckle_filter(series_of(np.ones((2, 9, 9))), window=window)


def test_dims_are_checked() -> None:
    with pytest.raises(ValueError, match="expected \\(time"):
        speckle_filter(xr.DataArray(np.ones((3, 3)), dims=("y", "x")))
