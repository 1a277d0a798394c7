"""Layers and fields of Normalised Radar Backscatter, and masks in other programs' codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest

from sarheight import layover, output
from sarheight.layover import FLAGS, convert_mask
from sarheight.product import open_product
from sarheight.sentinel1 import Sentinel1Product
from tests.cli.commands import SEA, passing, write_dem
from tests.results import dem_of, masks_of, result_of
from tests.synthetic import synthetic_grid
from tests.worlds.products import grd_product, slc_product


def test_the_layers_follow_from_the_result(tmp_path: Path) -> None:
    result = result_of(polarisations=2)
    product = output.ceos_nrb(result, dem_of())
    folder = output.write(product, tmp_path / "nrb")
    item = pystac.Item.from_file(str(folder / "nrb.stac.json"))
    layers = {"data_mask", "gamma_sigma_ratio", "acquisition_id", "dem", "projected_area"}
    assert layers | {"gamma0_vv", "gamma0_vh", "local_incidence"} <= set(item.assets)
    assert item.properties["ceosard:type"] == "radar"
    assert item.properties["ceosard:specification"] == "NRB"
    assert [link.rel for link in item.links].count("ceos-ard-specification") == 1
    assert any("ceos-ard" in extension for extension in item.stac_extensions)
    back = output.open_result(folder)
    np.testing.assert_array_equal(back["dem"], dem_of())
    # The ratio leads from gamma0 to sigma0, in both polarisations.
    made = back["gamma0"] * back["gamma_sigma_ratio"]
    both = np.isfinite(made) & np.isfinite(back["sigma0"])
    np.testing.assert_allclose(made.where(both), back["sigma0"].where(both), rtol=1e-5)
    assert both.mean() > 0.5


def test_the_bits_of_the_data_mask() -> None:
    result = result_of(polarisations=2).copy(deep=True)
    result["gamma0"].values[1, 4, 5] = np.nan
    bits = output.ceos_nrb(result, dem_of())["data_mask"]
    mask = result["mask"].values
    known = mask != 255
    assert bits.dtype == np.uint8
    np.testing.assert_array_equal(bits.values == 255, ~known)
    valid = np.isfinite(result["gamma0"].values).all(axis=0)
    np.testing.assert_array_equal((bits.values[known] & 1) == 1, valid[known])
    assert not bits.values[4, 5] & 1
    for bit, word in ((2, "layover"), (4, "shadow")):
        codes = [code for name, code in FLAGS.items() if word in name]
        np.testing.assert_array_equal((bits.values[known] & bit) > 0, np.isin(mask, codes)[known])
    assert bits.attrs["flag_masks"].tolist() == [1, 2, 4]


def test_each_date_has_its_acquisition_number(tmp_path: Path) -> None:
    product = output.ceos_nrb(result_of(polarisations=1, passes=2), dem_of())
    numbers = product["acquisition_id"]
    for index in range(2):
        one = numbers.isel(time=index)
        assert set(np.unique(one)) <= {index + 1, 255}
        np.testing.assert_array_equal(one == 255, product["mask"].isel(time=index) == 255)
    folder = output.write(product, tmp_path / "nrb")
    items = [pystac.Item.from_file(str(path)) for path in folder.glob("*.stac.json")]
    # Heights are those of both dates: one file, in both items.
    assert {item.assets["dem"].href.rpartition("/")[2] for item in items} == {"nrb_dem.tif"}


@pytest.mark.parametrize(
    ("to", "codes"),
    [
        ("isce3", (0, 0, 2, 2, 1, 1, 3, 127)),
        ("opera", (0, 0, 2, 2, 1, 1, 3, 255)),
        ("s1ard", (0, 0, 1, 1, 2, 2, 3, 255)),
        ("snap", (0, 0, 1, 1, 2, 2, 3, 0)),
        ("dolphin", (1, 1, 0, 0, 0, 0, 0, 0)),
        ("mintpy", (0, 0, 1, 1, 1, 1, 1, 1)),
    ],
)
def test_masks_in_other_codes(to: str, codes: tuple[int, ...]) -> None:
    mask = masks_of()["mask"].copy(deep=True)
    mask.values[0, :8] = [*range(7), 255]
    found = convert_mask(mask, to)  # type: ignore[arg-type]
    assert found.dtype == np.uint8
    assert tuple(found.values[0, :8]) == codes
    table = dict(zip([*range(7), 255], codes, strict=True))
    np.testing.assert_array_equal(found, np.vectorize(table.get)(mask.values))
    assert found.rio.crs == mask.rio.crs
    meanings = dict(zip(found.flag_values, found.flag_meanings.split(), strict=True))
    shared = codes[2] == codes[4]
    assert meanings[codes[0]] == "clear"
    assert meanings[codes[6]] == ("layover_or_shadow" if shared else "layover_and_shadow")
    assert meanings[codes[2]] == ("layover_or_shadow" if shared else "layover")
    assert found.attrs.get("_FillValue") == (codes[7] if codes[7] not in codes[:7] else None)


def test_masks_of_other_codes_are_refused() -> None:
    mask = masks_of()["mask"]
    with pytest.raises(ValueError, match="to='gamma', expected one of isce3, opera, s1ard, snap"):
        convert_mask(mask, "gamma")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="found the code 9"):
        convert_mask(mask.where(mask != 0, 9), "snap")
    assert layover.convert_mask is convert_mask


@pytest.mark.parametrize("kind", ["GRD", "SLC"])
def test_the_noise_is_what_the_image_loses_by_its_removal(tmp_path: Path, kind: str) -> None:
    path = grd_product(tmp_path).path if kind == "GRD" else slc_product(tmp_path)[0]
    product = open_product(path)
    assert isinstance(product, Sentinel1Product)
    options: dict[str, Any] = {"multilook": (2, 3), "calibration": "gamma0"}
    noise = product.noise(**options)
    clean, noisy = (product.scene(noise_removal=flag, **options) for flag in (True, False))
    lost = (noisy.image - clean.image).values
    assert noise.grid.shape == clean.grid.shape
    assert noise.grid.line_zero_time == clean.grid.line_zero_time
    known = np.isfinite(lost)
    assert known.mean() > 0.5
    # Zeros, which hold no data, have noise all the same.
    whole = known if kind == "SLC" else known & (np.arange(lost.shape[-1]) > 2)
    scale = np.nanmax(np.abs(noisy.image.values))
    np.testing.assert_allclose(noise.image.values[whole], lost[whole], atol=1e-5 * scale)


def test_a_command_writes_what_the_specification_asks_for(tmp_path: Path) -> None:
    grid, orbit = synthetic_grid(lines=200, samples=250, looks=4.4)
    made = grd_product(tmp_path, placed=(grid, orbit))
    passing(
        *("reconstruct", made.path, "--dem", write_dem(tmp_path / "dem.tif", 60.0), *SEA),
        *("--method", "rtc", "--coregister", "none", "--profile", "ceos-nrb"),
        *("--source-url", "https://example.org/source", "--facility", "Example"),
        *("--location", "https://example.org/nrb", "-o", tmp_path / "nrb"),
    )
    item = pystac.Item.from_file(str(tmp_path / "nrb/nrb.stac.json"))
    assert {"noise_power_vv", "noise_power_vh"} <= set(item.assets)
    links = {link.rel: link.target for link in item.links if link.title != "image"}
    assert links["canonical"] == "https://example.org/nrb"
    assert "https://example.org/source" in {link.target for link in item.get_links("derived_from")}
    assert item.properties["processing:facility"] == "Example"
    (source,) = item.properties["sarheight:sources"]
    assert source["url"] == "https://example.org/source"
    assert source["geometry"] == "ground range"
    assert source["range_spacing"] == pytest.approx(grid.sample_spacing)
    assert source["software"] == "Sentinel-1 IPF 3.71"
    assert 20.0 < source["near_incidence"] <= source["far_incidence"] < 60.0
    assert source["location_error"]["slant_range_standard_deviation"] == 0.22
    result = output.open_result(tmp_path / "nrb")
    noise = result["noise_power"]
    assert noise.dims == result["gamma0"].dims
    np.testing.assert_array_equal(np.isfinite(noise), np.isfinite(result["gamma0"]))
    levels = source["noise_equivalent_sigma0"]
    flat = noise.sel(polarisation="VV").values
    found = 10.0 * np.log10(np.nanmedian(flat))
    assert levels["VV"]["minimum"] - 3.0 < found < levels["VV"]["maximum"] + 3.0


def test_what_does_not_belong_to_a_result_is_refused() -> None:
    result, dem = result_of(), dem_of()
    power = result["gamma0"]
    for options, message in (
        ({"result": result.drop_vars(["sigma0", "projected_area"])}, "no sigma0, projected_area"),
        ({"dem": dem.isel(x=slice(1, None))}, "another grid"),
        ({"source_url": "there"}, "source_url='there', expected a URL"),
        ({"noise": [power] * 2}, "noise of 2 images, expected that of 1"),
        ({"noise": power[..., 1:]}, "noise on another grid"),
    ):
        with pytest.raises(ValueError, match=message):
            output.ceos_nrb(**({"result": result, "dem": dem} | options))


def test_a_result_can_hold_the_heights_of_its_dem() -> None:
    kept = output.with_heights(result_of(), dem_of())
    np.testing.assert_array_equal(kept["dem"].values, dem_of().values.astype(np.float32))
    assert kept["dem"].attrs["units"] == "m"
    assert set(kept) - set(result_of()) == {"dem"}
    # Files round coordinates.
    rounded = dem_of().assign_coords(x=np.nextafter(dem_of()["x"], np.inf))
    kept = output.with_heights(result_of(), rounded)
    np.testing.assert_array_equal(kept["x"], result_of()["x"])
    np.testing.assert_array_equal(kept["dem"].values, dem_of().values.astype(np.float32))
    with pytest.raises(ValueError, match="another grid"):
        output.with_heights(result_of(), dem_of().isel(x=slice(1, None)))
