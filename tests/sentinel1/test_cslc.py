"""Geocoded bursts: where they lie, and how they were flown."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from sarheight.ellipsoid import LookSide
from sarheight.errors import ProductError
from sarheight.geometry import geo2rdr
from sarheight.sentinel1.cslc import burst_geometry, burst_grid, is_burst
from tests.synthetic import synthetic_grid
from tests.worlds.cslc import write_cslc

PLACED = GeoBox.from_bbox((576_500, 5_093_600, 578_400, 5_095_600), "EPSG:32632", shape=(200, 380))
"""Cells of 5 m x 10 m."""


@pytest.mark.parametrize("look_side", ["right", "left"])
def test_a_burst_says_where_it_lies_and_how_it_was_flown(
    tmp_path: Path, look_side: LookSide
) -> None:
    grid, orbit = synthetic_grid(ground_range=False, look_side=look_side)
    path = write_cslc(tmp_path / "t117_249422_iw2.h5", PLACED, grid, orbit)
    assert is_burst(path)
    assert burst_grid(path) == PLACED
    found_grid, found_orbit = burst_geometry(path)
    assert found_grid.shape == grid.shape
    assert (found_grid.mission, found_grid.polarisations) == ("S1A", ("VV",))
    random = np.random.default_rng(2)
    points = (
        10.0 + random.uniform(-0.01, 0.01, 50),
        46.0 + random.uniform(-0.01, 0.01, 50),
        random.uniform(0.0, 3000.0, 50),
    )
    known, found = geo2rdr(points, grid, orbit), geo2rdr(points, found_grid, found_orbit)
    # Times are texts with microseconds: a thousandth of a line.
    np.testing.assert_allclose(found["line"], known["line"], atol=2e-3)
    np.testing.assert_allclose(found["sample"], known["sample"], atol=1e-6)


def test_what_is_no_burst(tmp_path: Path) -> None:
    path = write_cslc(tmp_path / "burst.h5", PLACED, *synthetic_grid(ground_range=False))
    whole = path.read_bytes()
    assert not is_burst(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    assert not is_burst(tmp_path / "text.h5")
    with h5py.File(path, "a") as file:
        del file["metadata/orbit"]
    assert not is_burst(path)
    with pytest.raises(ProductError, match="burst of OPERA"):
        burst_geometry(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ProductError, match="burst of OPERA"):
        burst_grid(path)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        file["data/x_coordinates"][3] += 2.0
    with pytest.raises(ProductError, match="no even steps"):
        burst_grid(path)
    with h5py.File(path, "a") as file:
        file["data/x_coordinates"][3] -= 2.0
        file["data/y_coordinates"][:] = file["data/y_coordinates"][:][::-1]
    with pytest.raises(ProductError, match="south to north"):
        burst_grid(path)
    with h5py.File(path, "a") as file:
        file["metadata/orbit/position_x"][2] += 1e5
    with pytest.raises(ProductError, match="orbit"):
        burst_geometry(path)
