"""From the radar to the ground."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.rdr2geo import geodetic, points_at_height

from sarheight.ellipsoid import LookSide
from sarheight.geometry.tables import radar_model
from tests.synthetic import synthetic_grid

Floats = NDArray[np.float64]

TO_EARTH_FIXED = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)


@given(st.floats(-180.0, 180.0), st.floats(-90.0, 90.0), st.floats(-10e3, 900e3))
def test_positions_become_geodetic_coordinates(
    longitude: float, latitude: float, height: float
) -> None:
    position = TO_EARTH_FIXED.transform(longitude, latitude, height)
    lam, phi, up = geodetic(*position)
    assert up == pytest.approx(height, abs=2e-8)
    back = TO_EARTH_FIXED.transform(np.degrees(lam), np.degrees(phi), up)
    np.testing.assert_allclose(back, position, rtol=0, atol=1e-6)


@given(
    st.sampled_from(["right", "left"]),
    st.booleans(),
    st.sampled_from([0.0, 46.0, -60.0]),
    st.floats(18.0, 65.0),
    st.floats(-400.0, 8800.0),
    st.floats(-10.0, 10.0),
)
def test_points_have_the_height_the_range_and_no_doppler(
    look_side: LookSide,
    ascending: bool,  # noqa: FBT001 - a parameter of the test
    latitude: float,
    incidence: float,
    height: float,
    time: float,
) -> None:
    grid, orbit = synthetic_grid(
        latitude,
        10.0,
        incidence=incidence,
        look_side=look_side,
        ascending=ascending,
        ground_range=False,
    )
    middle = float(grid.azimuth_time(100)) + time
    slant_range = float(grid.slant_range(0, 125))
    lam, phi = np.empty(1), np.empty(1)
    points_at_height(
        radar_model(grid, orbit),
        np.array([middle]),
        np.array([slant_range]),
        np.array([height]),
        lam,
        phi,
    )
    point = np.array(TO_EARTH_FIXED.transform(np.degrees(lam[0]), np.degrees(phi[0]), height))
    position, velocity = orbit.state(middle)
    sight = point - position
    assert np.linalg.norm(sight) == pytest.approx(slant_range, abs=1e-5)
    assert sight @ velocity / np.linalg.norm(velocity) == pytest.approx(0.0, abs=1e-5)
    right = np.cross(velocity, position) @ sight > 0.0
    assert right == (look_side == "right")


def test_ranges_that_reach_no_ground_give_nothing() -> None:
    grid, orbit = synthetic_grid()
    radar = radar_model(grid, orbit)
    lam, phi = np.empty(4), np.empty(4)
    # Nearer than the height of the satellite; beyond the Earth; and what is not a number.
    slant_range = np.array([600e3, 20_000e3, np.nan, 850e3])
    height = np.array([0.0, 0.0, 0.0, np.nan])
    points_at_height(radar, np.zeros(4), slant_range, height, lam, phi)
    assert np.isnan(lam).all()
    assert np.isnan(phi).all()
