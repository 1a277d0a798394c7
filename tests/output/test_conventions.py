"""CF attributes of NetCDF and Zarr, checked by the IOOS compliance checker."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  # the accessor
import pyproj
import pytest
import rioxarray  # noqa: F401  # the accessor
import xarray as xr

from sarheight import output
from sarheight.output.grid import add_cf_attributes, cf_grid_mapping
from sarheight.output.radar_images import write_scene
from tests.results import dem_of, masks_of, result_of, scene

PLACE: dict[str, Any] = {".nc": {}, ".zarr": {"group": "0"}}
"""Where xarray finds the result in a file."""
GRIDS = ("EPSG:32632", "EPSG:4326", "EPSG:3857")

# Names of polarisations are labels of a dimension that bears their name, so that xarray finds
# them there. CF allows that for arrays of characters, and merely does not recommend it.
LABELS = "polarisation shares the same name as one of its dimensions"
# CF recommends time and space as the last dimensions. Here time comes first, as `xarray.concat`
# and stacks of other programs have it.
ORDER = re.compile(r".* are not in the recommended order .* are time \(T\), polarisation .*")
# The checker takes the name of the one attribute that Mercator needs for a list of letters.
LETTERS = re.compile(r"(.) is a required attribute for grid mapping mercator")
MERCATOR = "longitude_of_projection_origin"


def complaints(path: Path) -> Iterable[str]:
    """Ask the checker for issues of high and medium priority, without those explained above."""
    pytest.importorskip("compliance_checker", reason="needs the IOOS compliance checker")
    from compliance_checker.runner import CheckSuite, ComplianceChecker

    CheckSuite.load_all_available_checkers()
    report = path.with_suffix(".json")
    _, failed = ComplianceChecker.run_checker(
        str(path), ["cf:1.11"], 0, "normal", output_filename=str(report), output_format="json"
    )
    assert not failed, "the checker itself failed"
    found = json.loads(report.read_text(encoding="utf-8"))["cf:1.11"]
    for priority in ("high_priorities", "medium_priorities"):
        for section in found[priority]:
            for message in section["msgs"]:
                letter = LETTERS.fullmatch(message)
                explained = message == LABELS or ORDER.fullmatch(message)
                if not explained and not (letter and letter[1] in MERCATOR):
                    yield f"{section['name']}: {message}"


@pytest.mark.parametrize(
    ("crs", "polarisations", "passes"),
    [(GRIDS[0], 0, 1), (GRIDS[0], 2, 2), (GRIDS[1], 2, 1), (GRIDS[2], 0, 2)],
)
def test_reconstructions_follow_cf(
    tmp_path: Path, crs: str, polarisations: int, passes: int
) -> None:
    path = output.write(result_of(crs, polarisations, passes), tmp_path / "result.nc")
    assert list(complaints(path)) == []


def test_masks_and_simulated_images_follow_cf(tmp_path: Path) -> None:
    assert list(complaints(output.write(masks_of(GRIDS[1]), tmp_path / "masks.nc"))) == []
    for polarisations in (0, 2):
        path = write_scene(scene(polarisations=polarisations), tmp_path / f"{polarisations}.nc")
        assert list(complaints(path)) == []


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_variables_have_cf_attributes_and_names_that_others_find(
    tmp_path: Path, suffix: str
) -> None:
    result = result_of(polarisations=2, passes=2)
    path = output.write(result, tmp_path / f"result{suffix}")
    with xr.open_dataset(path, decode_cf=False, **PLACE[suffix]) as raw:
        assert raw.attrs["Conventions"] == "CF-1.11"
        assert raw.attrs["title"] == "Reconstructed radar backscatter"
        assert re.match(r"\d{4}-\d\d-\d\dT.*Z sarheight \d", raw.attrs["history"])
        assert raw["gamma0"].attrs["ancillary_variables"].split()[0] == "gamma0_std"
        assert set(raw["gamma0"].attrs["ancillary_variables"].split()) <= set(raw)
        assert raw["gamma0"].attrs["cell_methods"] == "area: mean"
        assert raw["projected_area"].attrs["cell_methods"] == "area: sum"
        assert raw["local_incidence"].attrs["standard_name"] == "angle_of_incidence"
        assert list(raw["mask"].attrs["flag_values"]) == list(range(7))
        crs = pyproj.CRS(raw["spatial_ref"].attrs["crs_wkt"])
        assert crs.to_epsg() == 32632
        assert raw["spatial_ref"].attrs["crs_wkt"].startswith("PROJCRS[")
    with xr.open_dataset(path, **PLACE[suffix]) as plain:
        assert plain["gamma0"].dims == ("time", "polarisation", "y", "x")
        np.testing.assert_array_equal(
            plain["gamma0"].sel(polarisation="VH"), result["gamma0"].sel(polarisation="VH")
        )
        np.testing.assert_allclose(plain["look_azimuth"], result["look_azimuth"])
        assert plain["look_azimuth"].attrs["units"] == "degree"
        assert list(plain["look_side"].values) == ["right", "right"]


def test_web_mercator_equals_the_mercator_projection_of_a_sphere() -> None:
    attributes = cf_grid_mapping({"crs_wkt": pyproj.CRS(3857).to_wkt()})
    assert attributes["grid_mapping_name"] == "mercator"
    words = {name: value for name, value in attributes.items() if name != "crs_wkt"}
    sphere = pyproj.CRS.from_cf(words)
    x, y = np.array([-1.9e7, 0.0, 1.2e6]), np.array([-5.0e6, 0.0, 5.8e6])
    # Latitudes of the sphere are taken for those of WGS84, as the projection does it.
    own = pyproj.Transformer.from_crs(sphere, sphere.geodetic_crs, always_xy=True)
    wgs84 = pyproj.Transformer.from_crs(3857, 4326, always_xy=True)
    np.testing.assert_allclose(own.transform(x, y), wgs84.transform(x, y), atol=1e-9)
    assert pyproj.CRS(attributes["crs_wkt"]).to_epsg() == 3857


@pytest.mark.parametrize("crs", [2056, 5514, 27700])
def test_other_systems_keep_their_wkt(crs: int) -> None:
    given = {"crs_wkt": pyproj.CRS(crs).to_wkt("WKT1_GDAL")}
    assert pyproj.CRS(cf_grid_mapping(given)["crs_wkt"]).to_epsg() == crs
    assert cf_grid_mapping({"a": 1}) == {"a": 1}


def test_existing_attributes_are_kept() -> None:
    dataset = dem_of().to_dataset(name="sigma0").assign_attrs(title="Mine", history="made")
    dataset["sigma0"].attrs = {"units": "dB", "cell_methods": "area: maximum"}
    found = add_cf_attributes(dataset)
    assert found.attrs["title"] == "Mine"
    assert found.attrs["history"] == "made"
    assert found["sigma0"].attrs["cell_methods"] == "area: maximum"
    assert "ancillary_variables" not in found["sigma0"].attrs
    assert "cell_methods" in dataset["sigma0"].attrs
    assert "standard_name" not in dataset["sigma0"].attrs


def test_a_subset_names_only_ancillary_variables_that_it_has(tmp_path: Path) -> None:
    back = output.open_result(output.write(result_of(), tmp_path / "result.nc"))
    part = output.write(back[["gamma0", "mask"]], tmp_path / "part.nc")
    with xr.open_dataset(part, decode_cf=False) as raw:
        assert raw["gamma0"].attrs["ancillary_variables"] == "mask"
    alone = output.write(back[["gamma0"]], tmp_path / "alone.nc")
    with xr.open_dataset(alone, decode_cf=False) as raw:
        assert "ancillary_variables" not in raw["gamma0"].attrs
    assert list(complaints(part)) == []


@pytest.mark.parametrize("crs", GRIDS)
def test_rioxarray_and_odc_find_the_reference_system_without_being_told(
    tmp_path: Path, crs: str
) -> None:
    """As in a store in Zarr: see the tests of its levels."""
    path = output.write(result_of(crs, 2), tmp_path / "result.nc")
    with xr.open_dataset(path) as plain:
        for each in (plain, plain["gamma0"], plain["mask"]):
            assert each.rio.crs == crs
            assert each.odc.crs == crs
            assert each.odc.geobox.shape == result_of(crs)["mask"].shape
