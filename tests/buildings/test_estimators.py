"""Maps of building heights: blended tiles, gaps, and files."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sarheight.buildings import (
    BuildingEstimate,
    BuildingHeightEstimator,
    plot_building_heights,
    predict_buildings,
)
from sarheight.learning import Channel, Tiling, packaged_model
from sarheight.output import open_result, write
from tests.cities import small_stack
from tests.worlds.city_images import CitySettings, simulated_city

BANDS = ("B04", "B08")
CHANNELS = {
    "sar": [
        Channel(name, "1", "decibel", -10.0, 5.0) for name in ("vv_ascending", "vh_descending")
    ],
    "optical": [Channel(name, "1", "none", 0.1, 0.1) for name in BANDS],
}
SMALL = {"width": 8, "depth": 2, "months_width": 8, "heads": 2, "bins": {"count": 8}}
TILING = Tiling(size=16, overlap=4)


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    return small_stack(37, 29, months=2, optical_bands=BANDS)


@pytest.fixture(scope="module")
def series() -> BuildingHeightEstimator:
    torch.manual_seed(0)
    return BuildingHeightEstimator(CHANNELS, options=SMALL).eval()


@pytest.fixture(scope="module")
def result(series: BuildingHeightEstimator, stack: xr.Dataset) -> xr.Dataset:
    return predict_buildings(series, stack, tiling=TILING, device="cpu")


class Simple(BuildingHeightEstimator):
    """An estimator of one cell: so many metres are the mean radar power in per cent."""

    def forward(self, sample: Mapping[str, Tensor]) -> BuildingEstimate:
        power = 100.0 * sample["sar"].nanmean(dim=(1, 2)).unsqueeze(1)
        return BuildingEstimate(power, power / 100.0, power / 10.0)


def test_blended_tiles_of_an_estimator_of_cells_are_its_estimates(stack: xr.Dataset) -> None:
    model = Simple(CHANNELS, options=SMALL)
    result = predict_buildings(model, stack, tiling=TILING, device="cpu")
    chosen = stack["sar"].sel(sar_band=["vv_ascending", "vh_descending"])
    expected = 100.0 * chosen.mean(("month", "sar_band"))
    np.testing.assert_allclose(result["height"], expected, rtol=1e-5)
    np.testing.assert_allclose(result["height_sigma"], expected / 10.0, rtol=1e-5)
    assert result["height"].dims == ("y", "x")
    assert result["height"].attrs["units"] == "m"
    assert result.rio.crs == stack.rio.crs
    np.testing.assert_array_equal(result["x"], stack["x"])


def test_blocks_and_chunks_do_not_matter(
    series: BuildingHeightEstimator, stack: xr.Dataset, result: xr.Dataset
) -> None:
    told: list[float] = []
    parts = predict_buildings(
        series, stack, tiling=TILING, device="cpu", block=20, report=told.append
    )
    lazy = predict_buildings(series, stack.chunk(y=16), tiling=TILING, device="cpu", block=20)
    assert lazy["height"].chunks is not None
    xr.testing.assert_allclose(result, parts, rtol=1e-4, atol=1e-4)
    xr.testing.assert_allclose(result, lazy.compute(), rtol=1e-4, atol=1e-4)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert set(result.data_vars) == {"height", "footprint", "height_sigma"}
    assert result.attrs["months"] == 2


def test_where_no_tile_has_an_image_nothing_is_estimated(
    series: BuildingHeightEstimator, stack: xr.Dataset
) -> None:
    gap = stack.copy(deep=True)
    for name in ("sar", "optical"):
        gap[name][..., :, 12:] = np.nan
    result = predict_buildings(series, gap, tiling=Tiling(8, 0), device="cpu")
    known = np.isfinite(result["height"].values)
    assert known[:, :16].all()
    assert not known[:, 16:].any()
    assert np.isfinite(result["footprint"].values).sum() == known.sum()
    # One modality may be absent.
    alone = predict_buildings(series, stack.drop_vars("optical"), tiling=TILING, device="cpu")
    assert np.isfinite(alone["height"].values).all()


def test_the_published_network_gives_heights_alone(stack: xr.Dataset) -> None:
    torch.manual_seed(0)
    single = BuildingHeightEstimator(
        {"sar": CHANNELS["sar"]}, network="mbhr", options={"variant": "released"}
    )
    result = predict_buildings(single, stack, tiling=TILING, device="cpu")
    assert list(result.data_vars) == ["height"]
    assert (result["height"].values >= 0.0).all()


def test_maps_are_written_and_drawn(result: xr.Dataset, stack: xr.Dataset, tmp_path: Path) -> None:
    write(result, tmp_path / "heights.tif")
    again = open_result(tmp_path / "heights.tif")
    np.testing.assert_allclose(again["height"], result["height"], rtol=1e-6)
    assert again["height_sigma"].attrs["units"] == "m"
    figure = plot_building_heights(result, stack["height"], title="A town")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert sum(bool(title) for title in titles) == 4
    assert plot_building_heights(result[["height"]]).axes


def test_the_packaged_network_estimates_the_heights_of_an_unseen_city() -> None:
    folder = packaged_model("buildings")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 5e6
    city = simulated_city(CitySettings(cells=64), seed=77)
    model = BuildingHeightEstimator.from_pretrained(folder)
    result = predict_buildings(model, city, tiling=Tiling(size=64, overlap=0), device="cpu")
    error = (result["height"] - city["height"]).values
    assert np.sqrt(np.nanmean(error**2)) < 0.75 * float(city["height"].std())
    share, found = city["footprint"].values, result["footprint"].values
    assert found[share > 0.9].mean() > 4.0 * found[share == 0.0].mean()
