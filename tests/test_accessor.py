"""The accessor `rio` is there before rioxarray is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import Run, nursery

BEFORE = """
import sys, warnings
warnings.simplefilter("error")
import numpy as np
import xarray as xr
import sarheight.dem
assert "rioxarray" not in sys.modules
plane = xr.DataArray(np.zeros((2, 2)), dims=("y", "x"), coords={"y": [1.0, 0.0], "x": [0.0, 1.0]})
"""
USES = {
    "array": "assert plane.rio.write_crs(32632).rio.crs.to_epsg() == 32632",
    "dataset": "assert plane.to_dataset(name='a').rio.write_crs(32632).rio.crs.to_epsg() == 32632",
    "unknown": "assert plane.rio.crs is None",
    "rioxarray itself": "import rioxarray; assert plane.rio.write_crs(4326).rio.crs.is_geographic",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    both = [plane, plane.to_dataset(name="a")] * 20
    assert list(pool.map(lambda one: one.rio.crs, both)) == [None] * 40
""",
}


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with nursery("import pyproj, rasterio, xarray, sarheight.dem") as ready:
        yield ready


@pytest.mark.parametrize("use", USES)
def test_rio_is_there_when_it_is_asked_for(run: Run, tmp_path: Path, use: str) -> None:
    after = "import rioxarray; assert type(plane.rio) is rioxarray.raster_array.RasterArray"
    run(f"{BEFORE}\n{USES[use]}\n{after}", tmp_path).check_returncode()
