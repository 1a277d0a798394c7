"""Tiles of one degree: which of them meet a place, and how many columns they have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarheight.dem.tiles import bounding_boxes, columns_of_tile, tile_corners


@pytest.mark.parametrize(
    ("place", "parts"),
    [
        ((10.0, 46.0), ((10.0, 46.0, 10.0, 46.0),)),
        ((190.0, 0.0, 200.0, 1.0), ((-170.0, 0.0, -160.0, 1.0),)),
        ((179.0, 0.0, -179.0, 1.0), ((179.0, 0.0, 180.0, 1.0), (-180.0, 0.0, -179.0, 1.0))),
        ((179.0, 0.0, 180.0, 1.0), ((179.0, 0.0, 180.0, 1.0),)),
        ((-180.0, -90.0, 180.0, 90.0), ((-180.0, -90.0, 180.0, 90.0),)),
    ],
)
def test_a_place_becomes_boxes(
    place: tuple[float, ...], parts: tuple[tuple[float, ...], ...]
) -> None:
    assert bounding_boxes(place) == parts


@pytest.mark.parametrize(
    "place",
    [(1.0,), (0, 1, 2), (0.0, 5.0, 1.0, 4.0), (0.0, -91.0), (float("nan"), 0.0), (999.0, 0.0)],
)
def test_what_is_no_place_is_refused(place: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="the place"):
        bounding_boxes(place)


@pytest.mark.parametrize(
    ("bounds", "corners"),
    [
        ((8.2, 46.1, 8.9, 46.8), [(46, 8)]),
        ((8.0, 46.0, 9.0, 47.0), [(46, 8)]),
        ((7.9, 45.9, 8.1, 46.1), [(45, 7), (45, 8), (46, 7), (46, 8)]),
        ((-0.5, -0.5, 0.5, 0.5), [(-1, -1), (-1, 0), (0, -1), (0, 0)]),
        ((179.5, 60.2, -179.5, 60.8), [(60, -180), (60, 179)]),
        ((179.5, 60.2, 180.5, 60.8), [(60, -180), (60, 179)]),
        ((179.5, 60.2, 180.0, 60.8), [(60, 179)]),
        ((10.0, 89.5, 10.5, 90.0), [(89, 10)]),
        ((10.0, -90.0, 10.5, -89.5), [(-90, 10)]),
        ((8.5, 46.5), [(46, 8)]),
    ],
)
def test_the_tiles_of_a_place(bounds: tuple[float, ...], corners: list[tuple[int, int]]) -> None:
    assert tile_corners(bounds) == corners


@given(
    west=st.floats(-180, 179),
    south=st.floats(-90, 89),
    width=st.floats(0, 3),
    height=st.floats(0, 3),
)
def test_every_point_of_a_place_lies_in_one_of_its_tiles(
    west: float, south: float, width: float, height: float
) -> None:
    north = min(south + height, 90.0)
    corners = tile_corners((west, south, west + width, north))
    for share in (0.0, 0.3, 1.0):
        longitude = (west + share * width + 180.0) % 360.0 - 180.0
        latitude = south + share * (north - south)
        assert any(
            left <= longitude <= left + 1 and bottom <= latitude <= bottom + 1
            for bottom, left in corners
        ) or longitude == pytest.approx(-180.0)


@pytest.mark.parametrize(
    ("latitude", "columns"),
    [
        *((0, 3600), (49, 3600), (50, 2400), (59, 2400), (60, 1800), (70, 1200), (79, 1200)),
        *((80, 720), (84, 720), (85, 360), (89, 360)),
        *((-1, 3600), (-50, 3600), (-51, 2400), (-90, 360)),
    ],
)
def test_tiles_get_fewer_columns_towards_the_poles(latitude: int, columns: int) -> None:
    assert columns_of_tile(latitude, 3600) == columns
