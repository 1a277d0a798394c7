"""Incidence angles of cells, on surfaces whose angles are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.incidence import angle_of, cell_angles
from sarheight_kernels.orbit import zero_doppler_time

from sarheight.ellipsoid import LookSide
from sarheight.geometry.pass_geometry import pass_geometry
from tests.dems import PLACES, dem_around, hills, positions
from tests.synthetic import synthetic_grid

Floats = NDArray[np.float64]

LOCAL, PROJECTED, ELLIPSOID = range(3)
MIDDLE = (30, 35)


def angles(
    heights: Floats,
    *,
    place: str = "utm",
    look_side: LookSide = "right",
    incidence: float = 34.0,
    ascending: bool = True,
) -> tuple[NDArray[np.float32], Floats, Floats, Floats]:
    """Angles in degrees, and of the middle cell the unit vectors to the radar, up, and ahead."""
    crs, latitude, longitude = PLACES[place]
    grid, orbit = synthetic_grid(
        latitude,
        longitude,
        look_side=look_side,
        incidence=incidence,
        ascending=ascending,
        height=4000.0,
        lines=400,
        samples=400,
    )
    dem = dem_around(latitude, longitude, heights, crs=crs)
    seen = pass_geometry(dem, grid, orbit)
    found = np.empty((3, *heights.shape), dtype=np.float32)
    cell_angles(seen.ground, seen.radar, seen.heights, seen.bounds, *found)
    # Vectors from pyproj and the orbit alone.
    place_here = positions(dem)[MIDDLE]
    up = positions(dem, heights + 1.0)[MIDDLE] - place_here
    time = zero_doppler_time(*place_here, 0.0, orbit.start, orbit.coefficients)
    position, velocity = orbit.state(time)
    sight = position - place_here
    return (
        found,
        sight / np.linalg.norm(sight),
        up / np.linalg.norm(up),
        velocity / np.linalg.norm(velocity),
    )


def between(one: Floats, other: Floats) -> float:
    return float(np.degrees(np.arccos(one @ other)))


def tilted(slope: float, towards: float) -> Floats:
    """A plane that rises by a slope (degrees) towards a direction (degrees right of map up)."""
    east, north = np.meshgrid(30.0 * (np.arange(71) - 35), 30.0 * (30 - np.arange(61)))
    along = east * np.sin(np.radians(towards)) + north * np.cos(np.radians(towards))
    plane: Floats = 4000.0 + np.tan(np.radians(slope)) * along
    return plane


def plane_normal(place: str, slope: float, towards: float) -> Floats:
    """The upward normal of such a plane at the middle cell, by pyproj."""
    crs, latitude, longitude = PLACES[place]
    posts = positions(dem_around(latitude, longitude, tilted(slope, towards), crs=crs))
    row, column = MIDDLE
    across = posts[row, column + 1] - posts[row, column - 1]
    along = posts[row - 1, column] - posts[row + 1, column]
    normal: Floats = np.cross(across, along)
    return normal / np.linalg.norm(normal)


@given(st.floats(1e-6, 180.0), st.floats(1e-3, 1e6))
def test_an_angle_is_found_by_projection(angle: float, length: float) -> None:
    """To single precision, however small the angle: the projection is the vector's length then."""
    along = length * np.cos(np.radians(angle))
    exact = np.degrees(np.arctan2(np.sqrt((length - along) * (length + along)), along))
    assert angle_of(length, along) == pytest.approx(exact, rel=3e-7, abs=1e-30)


def test_there_is_no_angle_to_nothing() -> None:
    assert angle_of(2.0, 2.0) == 0.0
    assert angle_of(2.0, 0.0) == pytest.approx(90.0, rel=3e-7)
    assert angle_of(2.0, -2.0) == 180.0
    # A projection is the longer one by no more than rounding.
    assert angle_of(2.0, 2.0 + 1e-15) == 0.0
    assert np.isnan(angle_of(0.0, 0.0))


LOOKS: list[tuple[LookSide, float]] = [("right", 20.0), ("left", 34.0), ("right", 46.0)]


@pytest.mark.parametrize(
    ("place", "look_side", "incidence"),
    [(place, *look) for place, look in zip(PLACES, LOOKS * len(PLACES), strict=False)],
)
def test_on_flat_ground_all_angles_are_the_ellipsoids(
    place: str, look_side: LookSide, incidence: float
) -> None:
    found, sight, up, _ = angles(
        np.full((61, 71), 4000.0), place=place, incidence=incidence, look_side=look_side
    )
    expected = between(sight, up)
    assert expected == pytest.approx(incidence, abs=0.02)
    for angle in found:
        assert angle[MIDDLE] == pytest.approx(expected, abs=1e-3)
        # It grows with range, by some thousandths of a degree from cell to cell.
        assert np.abs(angle - expected).max() < 0.3
    # A cell on the border has facets on one side only, half a cell off.
    assert np.abs(found - found[ELLIPSOID]).max() < 4e-3


@pytest.mark.parametrize(
    ("place", "look_side", "ascending"),
    [
        ("utm", "right", True),
        ("utm", "left", False),
        ("turned", "left", True),
        ("polar-south", "right", False),
    ],
)
@pytest.mark.parametrize(("slope", "towards"), [(10, 80), (25, -100), (50, 90), (50, -90), (35, 0)])
def test_on_a_plane_angles_are_those_of_its_normal(
    place: str, look_side: LookSide, slope: float, towards: float, *, ascending: bool
) -> None:
    found, sight, up, ahead = angles(
        tilted(slope, towards), place=place, look_side=look_side, ascending=ascending
    )
    normal = plane_normal(place, slope, towards)
    assert found[LOCAL][MIDDLE] == pytest.approx(between(sight, normal), abs=0.02)
    # In the plane of zero Doppler, counted from the line of sight towards the far side.
    tangent = np.cross(ahead, sight)
    tangent *= np.sign(tangent @ up)
    expected = np.degrees(np.arctan2(normal @ tangent, normal @ sight))
    assert found[PROJECTED][MIDDLE] == pytest.approx(expected, abs=0.02)
    assert found[ELLIPSOID][MIDDLE] == pytest.approx(between(sight, up), abs=2e-3)


@pytest.mark.parametrize("look_side", ["right", "left"])
def test_slopes_steeper_than_the_look_are_negative_and_those_that_face_away_beyond_90(
    look_side: LookSide,
) -> None:
    """An ascending satellite looks almost due east to its right, almost due west to its left."""
    outwards = 90.0 - 12.0 if look_side == "right" else -90.0 - 12.0
    # Terrain that rises outwards faces the radar.
    for slope, lowest, highest in [(30, 0.0, 10.0), (38, -10.0, 0.0), (60, -35.0, -20.0)]:
        found, *_ = angles(tilted(slope, outwards), look_side=look_side)
        assert lowest < found[PROJECTED][MIDDLE] < highest
        assert 0.0 <= found[LOCAL][MIDDLE] < 35.0
    for slope, lowest, highest in [(30, 60.0, 70.0), (50, 80.0, 90.0), (60, 90.0, 100.0)]:
        found, *_ = angles(tilted(slope, outwards + 180.0), look_side=look_side)
        assert lowest < found[PROJECTED][MIDDLE] < highest
        assert lowest < found[LOCAL][MIDDLE] < highest


@settings(max_examples=10)
@given(st.integers(0, 1000), st.floats(0.0, 400.0), st.sampled_from(["utm", "turned"]))
def test_the_projected_angle_is_never_the_larger(seed: int, relief: float, place: str) -> None:
    """It leaves out the part of the slope along the track."""
    heights = 3000.0 + hills((61, 71), relief=relief, size=4.0, seed=seed)
    found, *_ = angles(heights, place=place)
    local, projected, _ = found
    facing = local < 90.0
    assert (np.abs(projected) <= local + 0.01)[facing].all()
    assert (np.cos(np.radians(local)) <= np.cos(np.radians(projected)) + 1e-4)[facing].all()


def test_voids_stay_void() -> None:
    heights = hills((61, 71), size=4.0)
    void = np.zeros(heights.shape, dtype=bool)
    void[20:25, 30:40] = True
    whole, *_ = angles(heights)
    found, *_ = angles(np.where(void, np.nan, heights))
    for before, after in zip(whole, found, strict=True):
        assert np.isnan(after[void]).all()
        assert np.isfinite(after[~void]).all()
        # Only the neighbours, which lack a facet, change.
        far = np.ones_like(void)
        far[19:26, 29:41] = False
        np.testing.assert_allclose(after[far], before[far], rtol=0, atol=0.02)
