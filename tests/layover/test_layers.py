"""The registry of layers: results, files and the documentation of `reconstruct` say the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from sarheight import output
from sarheight.layover import RTC, composite, interval, local_resolution, reconstruct
from sarheight.layover.layers import LAYERS, cell_bytes, select_layers
from sarheight.layover.result import held_bytes
from sarheight.scene import Scene
from tests.mountains import LAW


@pytest.fixture(scope="module")
def result(dem: xr.DataArray, scene: Scene) -> xr.Dataset:
    return reconstruct(scene, dem, law=LAW)


def test_a_result_has_all_layers_as_their_rows_say(result: xr.Dataset) -> None:
    assert list(result.data_vars) == list(LAYERS)
    for name, layer in LAYERS.items():
        variable = result[name]
        assert variable.dtype == layer.dtype
        assert variable.attrs["long_name"] == layer.attributes["long_name"]
        np.testing.assert_equal(variable.attrs["_FillValue"], layer.missing)
        assert variable.shape == layer.shape(1, *result.gamma0.shape)[-2:]


def test_each_is_described_where_they_are_made() -> None:
    returned = (reconstruct.__doc__ or "").split("Returns\n")[1].split("Attributes balance")[0]
    entries = re.findall(r"^ {8}``(\w+)``$\n {12}(.+)$", returned, re.MULTILINE)
    assert dict(entries).keys() == LAYERS.keys()
    for name, text in entries:
        assert LAYERS[name].description.startswith(text)
    listed = (reconstruct.__doc__ or "").split('"all" or "main"\n')[1].split("memory_limit :")[0]
    assert tuple(re.findall(r"``(\w+)``", listed)) == select_layers("main")


def test_names_that_are_asked_for() -> None:
    assert select_layers("all") == tuple(LAYERS)
    assert select_layers(["mask", "gamma0"]) == ("gamma0", "mask")
    for wrong in (["gamma"], [], "gamma0", "some", None):
        with pytest.raises(ValueError, match="expected 'all', 'main', or some of gamma0, gamma0_"):
            select_layers(wrong)  # type: ignore[arg-type]


def test_the_deviation_in_decibels_is_that_of_the_variance(result: xr.Dataset) -> None:
    """A relative deviation of 1 is 4.34 dB."""
    expected = 4.342945 * np.sqrt(result.gamma0_variance) / result.gamma0
    np.testing.assert_allclose(result.gamma0_std, expected, rtol=1e-6)
    assert np.isfinite(result.gamma0_std).any()


def test_bytes_are_those_of_the_values(result: xr.Dataset) -> None:
    values = sum(variable.nbytes for variable in result.data_vars.values())
    assert cell_bytes(LAYERS, 1) * result.gamma0.size == values
    derived, received = (LAYERS[name].bytes_of(2) for name in ("gamma0_std", "sigma0"))
    assert held_bytes(tuple(LAYERS), 2) == cell_bytes(LAYERS, 2) - derived - received + 8
    assert held_bytes(("gamma0",), 2) < held_bytes(tuple(LAYERS), 2)


def test_a_folder_of_main_layers_is_what_most_users_open(
    dem: xr.DataArray, scene: Scene, result: xr.Dataset, tmp_path: Path
) -> None:
    """Interval and composite work on it as on a whole result."""
    main = reconstruct(scene, dem, law=LAW, variables="main")
    assert tuple(main.data_vars) == select_layers("main")
    output.write(main, tmp_path / "main")
    assert len(list((tmp_path / "main").glob("*.tif"))) == len(select_layers("main"))
    read = output.open_result(tmp_path / "main")
    for found, expected in zip(
        interval(read).data_vars.values(), interval(result).data_vars.values(), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    weights = local_resolution(scene, dem)
    found, expected = (composite(one, weights).gamma0_variance for one in (read, result))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_has_no_stated_error(dem: xr.DataArray, scene: Scene) -> None:
    made = reconstruct(scene, dem, method=RTC(), variables=["gamma0", "mask"])
    with pytest.raises(ValueError, match="without gamma0_std or gamma0_variance, expected gamma0"):
        interval(made)


def test_layers_of_power_are_packed(result: xr.Dataset, tmp_path: Path) -> None:
    output.write(result, tmp_path / "packed", scale="db-int16")
    for name, layer in LAYERS.items():
        (path,) = [
            one
            for one in (tmp_path / "packed").glob("*.tif")
            if rasterio.open(one).tags(1)["BAND_VARIABLE"] == name
        ]
        with rasterio.open(path) as file:
            expected = "int16" if layer.power else layer.dtype.name
            assert file.dtypes[0] == expected
