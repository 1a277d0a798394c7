"""Resolutions of a result in Zarr: their values, their grids, and how clients find them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  # the accessor
import pytest
import rioxarray  # noqa: F401  # the accessor
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sarheight import output
from sarheight.errors import DamagedFileError
from sarheight.output.levels import halve
from sarheight.output.stores import open_levels
from tests.results import result_of
from tests.zarr_2 import write_version_2

GRIDS = ("EPSG:32632", "EPSG:4326", "EPSG:3857", "ESRI:54009")
NODATA = 255


def scene(rows: int = 1101, columns: int = 614, crs: Any = 32632) -> xr.Dataset:  # noqa: ANN401
    """Make backscatter with speckle, a void part, and codes, of two polarisations."""
    random = np.random.default_rng(3)
    power = random.gamma(4.0, 0.05, (2, rows, columns)).astype(np.float32)
    power[:, :70, :90] = np.nan
    codes = random.integers(0, 4, (rows, columns)).astype(np.uint8)
    codes[:70, :90] = NODATA
    steps = 20.0 if crs in {32632, "EPSG:32632"} else 1e-4
    dataset = xr.Dataset(
        {
            "gamma0": (("polarisation", "y", "x"), power, {"units": "1"}),
            "mask": (("y", "x"), codes, {"_FillValue": np.uint8(NODATA)}),
        },
        coords={
            "y": 46.0 - steps * np.arange(rows),
            "x": 7.0 + steps * np.arange(columns),
            "polarisation": ["VV", "VH"],
        },
        attrs={"title": "Made", "provenance": "{}"},
    )
    return dataset.rio.write_crs(crs)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return output.write(scene(), tmp_path_factory.mktemp("levels") / "scene.zarr")


# Values.


def test_each_level_is_the_mean_of_the_one_before(store: Path) -> None:
    levels = open_levels(store)
    assert [level["gamma0"].shape[1:] for level in levels] == [
        (1101, 614),
        (551, 307),
        (276, 154),
        (138, 77),
    ]
    for fine, coarse in pairwise(levels):
        expected = fine["gamma0"].load().coarsen(y=2, x=2, boundary="pad").mean().values
        np.testing.assert_allclose(coarse["gamma0"], expected, rtol=1e-6)
        assert coarse["gamma0"].dtype == np.float32


def test_an_overview_holds_the_power_of_the_whole_scene(tmp_path: Path) -> None:
    """The mean of a scene without missing cells is that of each of its levels."""
    made = scene(1024, 768)[["gamma0"]].fillna(0.1).rio.write_crs(32632)
    for level in open_levels(output.write(made, tmp_path / "whole.zarr")):
        assert float(level["gamma0"].mean(dtype=float)) == pytest.approx(
            float(made["gamma0"].mean(dtype=float)), rel=1e-6
        )


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 7), st.integers(1, 7)),
        elements=st.sampled_from([np.nan, -9.0, 0.0, 0.25, 3.0]),
    ),
    st.sampled_from([None, np.nan, -9.0]),
)
def test_the_mean_is_that_of_the_known_cells(values: np.ndarray[Any, Any], nodata: Any) -> None:  # noqa: ANN401
    found = halve(values, nodata)
    for (row, column), value in np.ndenumerate(found):
        square = values[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        known = square[np.isfinite(square) & (square != (-9.0 if nodata == -9.0 else np.inf))]
        if known.size:
            assert value == pytest.approx(known.mean(dtype=float))
        else:
            assert value == nodata if nodata == -9.0 else np.isnan(value)


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 7), st.integers(1, 7)),
        elements=st.sampled_from([0, 1, 2, NODATA]),
    ),
    st.sampled_from([None, NODATA]),
)
def test_a_code_is_one_of_the_most_frequent_ones(values: np.ndarray[Any, Any], nodata: Any) -> None:  # noqa: ANN401
    found = halve(values, nodata)
    for (row, column), value in np.ndenumerate(found):
        square = values[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel()
        counts = Counter(code for code in square.tolist() if code != nodata)
        expected = [code for code, n in counts.items() if n == max(counts.values())] or [nodata]
        assert value in expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
def test_what_is_the_same_everywhere_stays_so(dtype: Any) -> None:  # noqa: ANN401
    found = halve(np.full((2, 9, 5), 7, dtype))
    assert found.shape == (2, 5, 3)
    assert found.dtype == dtype
    assert (found == 7).all()


def test_a_lazy_result_has_the_same_levels(tmp_path: Path, store: Path) -> None:
    lazy = scene().chunk({"y": 400, "x": 500})
    for one, other in zip(
        open_levels(output.write(lazy, tmp_path / "lazy.zarr")), open_levels(store), strict=True
    ):
        xr.testing.assert_equal(one.load(), other.load())


# Grids, and what a client reads.


@pytest.mark.parametrize("crs", GRIDS)
def test_levels_cover_the_same_ground_by_any_reader(tmp_path: Path, crs: str) -> None:
    """And their metadata follow the conventions, by zarr-cm, the validator of these."""
    from zarr_cm import multiscales, proj, spatial

    made = scene(601, 300, crs)
    path = output.write(made, tmp_path / "scene.zarr")
    for number in range(3):
        with xr.open_zarr(path, group=str(number)) as level:
            for each in (level, level["gamma0"], level["mask"]):
                assert each.rio.crs == crs
                assert each.odc.crs == crs
            west, _, _, north = level.rio.bounds()
            assert (west, north) == pytest.approx(
                (made.rio.bounds()[0], made.rio.bounds()[3]), abs=1e-9
            )
            assert level.rio.resolution()[0] == pytest.approx(
                2**number * made.rio.resolution()[0], rel=1e-9
            )
            assert level.odc.geobox.shape == level["mask"].shape
    root = json.loads((path / "zarr.json").read_text())
    multiscales.validate_group_metadata(_node(root))
    for group in ("", "0", "1", "2"):
        node = _node(json.loads((path / group / "zarr.json").read_text()))
        proj.validate_group_metadata(node)
        spatial.validate_group_metadata(node)
        code = node["attributes"].get("proj:code")
        assert (code or "").startswith("EPSG") == crs.startswith("EPSG")
    layout = root["attributes"]["multiscales"]["layout"]
    for level in layout:
        with xr.open_zarr(path, group=level["asset"]) as dataset:
            assert list(dataset["mask"].shape) == level["spatial:shape"]
            np.testing.assert_allclose(
                list(dataset.rio.transform())[:6], level["spatial:transform"], rtol=1e-9
            )
    assert [level.get("derived_from") for level in layout] == [None, "0", "1"]


def _node(metadata: dict[str, Any]) -> Any:  # noqa: ANN401  # as the validator has it
    """Return metadata of a group without the copies of those inside it."""
    return {name: metadata[name] for name in ("zarr_format", "node_type", "attributes")}


def test_one_file_tells_a_client_of_all_arrays(store: Path) -> None:
    """Shards, the value of void cells, and names of dims are in the root's metadata."""
    metadata = json.loads((store / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    for number in range(4):
        for name, fill in (("gamma0", "NaN"), ("mask", NODATA)):
            array = metadata[f"{number}/{name}"]
            assert array["zarr_format"] == 3
            assert array["fill_value"] == fill
            assert array["dimension_names"][-2:] == ["y", "x"]
            sharding = array["codecs"][0]
            assert sharding["name"] == "sharding_indexed"
            chunk = sharding["configuration"]["chunk_shape"]
            assert max(chunk) <= 256
            *_, blosc, checksum = sharding["configuration"]["codecs"]
            assert blosc["name"] == "blosc"
            assert blosc["configuration"]["cname"] == "lz4"
            assert blosc["configuration"]["shuffle"] == "bitshuffle"
            assert checksum["name"] == "crc32c"
    assert json.loads((store / "zarr.json").read_text())["attributes"]["title"] == "Made"


def test_a_store_has_few_files(store: Path) -> None:
    for array in ("0/gamma0", "1/gamma0", "0/mask"):
        files = [each for each in (store / array / "c").rglob("*") if each.is_file()]
        assert len(files) == (2 if "gamma0" in array else 1)
    # What describes the grid is no attribute of the result.
    back = output.open_result(store)
    assert {name for name in back.attrs if ":" in str(name)} == set()
    assert "zarr_conventions" not in back.attrs
    assert back.attrs["title"] == "Made"
    assert output.read_provenance(store) == {}


@pytest.mark.parametrize("shape", [(2, 2), (2, 700), (700, 3), (256, 256), (257, 256)])
def test_small_and_narrow_results_have_levels_of_two_cells_or_more(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    made = scene(*shape)
    path = output.write(made, tmp_path / "scene.zarr")
    xr.testing.assert_equal(
        output.open_result(path)["gamma0"].drop_vars("spatial_ref"),
        made["gamma0"].drop_vars("spatial_ref"),
    )
    shapes = [level["mask"].shape for level in open_levels(path)]
    assert min(min(each) for each in shapes) >= 2
    assert len(shapes) == {(2, 700): 1, (700, 3): 2, (257, 256): 2}.get(shape, 1)


def test_variables_without_a_map_stay_at_the_full_resolution(tmp_path: Path) -> None:
    made = scene(600, 300)
    made["profile"] = ("y", np.arange(600.0))
    made["turned"] = made["mask"].transpose("x", "y")
    path = output.write(made.rio.write_crs(32632), tmp_path / "scene.zarr")
    assert set(zarr.open_group(path, mode="r")["1"].array_keys()) >= {"gamma0", "mask"}
    assert {"profile", "turned"}.isdisjoint(zarr.open_group(path, mode="r")["1"].array_keys())
    np.testing.assert_array_equal(output.open_result(path)["profile"], made["profile"])


# Damage, and stores of earlier versions.


def test_a_damaged_overview_is_named(tmp_path: Path) -> None:
    path = output.write(scene(600, 300), tmp_path / "scene.zarr")
    shard = path / "2" / "mask" / "c" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(DamagedFileError, match="found no 1 of 1 chunks of '2/mask'"):
        output.open_result(path)


def test_a_damaged_root_is_refused(tmp_path: Path) -> None:
    """Also one that lists groups outside the store, or groups twice.

    A list of many would make each of them be opened.
    """
    path = output.write(scene(30, 30), tmp_path / "scene.zarr")
    shutil.copytree(path, tmp_path / "other.zarr")
    whole = (path / "zarr.json").read_text()
    outside = whole.replace('"asset": "0"', '"asset": "../other.zarr/0"')
    for content in ("{", "[]", '{"attributes": {"multiscales": {"layout": 3}}}', outside):
        (path / "zarr.json").write_text(content)
        with pytest.raises(DamagedFileError, match=r"scene\.zarr"):
            output.open_result(path)
    root = json.loads(whole)
    layout = root["attributes"]["multiscales"]["layout"]
    for wrong in (layout[:1] * 2, [{"asset": str(number)} for number in range(40)]):
        root["attributes"]["multiscales"]["layout"] = wrong
        (path / "zarr.json").write_text(json.dumps(root))
        with pytest.raises(DamagedFileError, match=r"all different and at most 32"):
            output.open_result(path)


def test_a_store_of_version_2_is_read_with_the_same_values(tmp_path: Path) -> None:
    made = result_of(polarisations=2)
    earlier = output.open_result(write_version_2(made, tmp_path / "earlier.zarr"))
    now = output.open_result(output.write(made, tmp_path / "now.zarr"))
    xr.testing.assert_equal(earlier, now)
    assert str(earlier["mask"].attrs) == str(now["mask"].attrs)
    assert earlier.rio.crs == now.rio.crs
    assert open_levels(tmp_path / "earlier.zarr") == []
    again = output.open_result(output.write(earlier, tmp_path / "again.zarr"))
    xr.testing.assert_equal(again, now)
