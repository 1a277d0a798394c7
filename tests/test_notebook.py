"""How orbits, radar grids and scenes look in a notebook."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from defusedxml.ElementTree import fromstring

from sarheight.geometry import geo2rdr, look_vector
from sarheight.orbit import Orbit
from sarheight.scene import Scene
from tests.results import scene
from tests.synthetic import synthetic_grid

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from sarheight.ellipsoid import LookSide


def parsed(thing: object) -> ET.Element:
    """Parse what a notebook shows: it is well-formed, and loads nothing from elsewhere."""
    text = thing._repr_html_()  # type: ignore[attr-defined]
    assert not re.search(r"https?://|<script|@import|url\((?!#)", text)
    root: ET.Element = fromstring(text)
    for element in root.iter():
        for name, value in element.attrib.items():
            assert "nan" not in value, f"{name}={value}"
    return root


def words(root: ET.Element) -> str:
    return " ".join(text for text in root.itertext() if text)


def test_a_scene_shows_its_footprint_and_numbers() -> None:
    one = scene(polarisations=2)
    root = parsed(one)
    shown = words(root)
    for part in ("S1B IW GRD", "VV, VH", "120 lines × 160 samples", "beta0", "ascending", "5.405"):
        assert part in shown
    assert len(root.findall(".//polygon")) == 1
    assert len(root.findall(".//polyline")) == 2


@pytest.mark.parametrize("look_side", ["right", "left"])
@pytest.mark.parametrize("ground_range", [True, False])
def test_the_outline_is_where_the_corners_are_seen(
    look_side: LookSide, *, ground_range: bool
) -> None:
    grid, orbit = synthetic_grid(
        lines=300, samples=400, look_side=look_side, ground_range=ground_range
    )
    image = xr.DataArray(np.full(grid.shape, 0.1, np.float32), dims=("line", "sample"))
    one = Scene(image, grid, orbit, "beta0")
    outline = one.outline()
    seen = geo2rdr((outline[:, 0], outline[:, 1], np.zeros(4)), grid, orbit)
    np.testing.assert_allclose(seen["line"], [0, 0, 299, 299], atol=1e-3)
    np.testing.assert_allclose(seen["sample"], [0, 399, 399, 0], atol=1e-3)
    angles = re.search(r"([\d.]+)° to ([\d.]+)° on the ellipsoid", words(parsed(one)))
    assert angles is not None
    up = look_vector((outline[[0, 1], 0], outline[[0, 1], 1], np.zeros(2)), grid, orbit)["up"]
    expected = np.degrees(np.arccos(up.values))
    np.testing.assert_allclose([float(one) for one in angles.groups()], expected, atol=0.06)


def test_nothing_lazy_is_loaded() -> None:
    def fail() -> np.ndarray:  # type: ignore[type-arg]
        raise AssertionError

    one = scene()
    lazy = one.image.copy(data=da.map_blocks(fail, chunks=one.image.shape, dtype=np.float32))
    assert "read when it is needed" in words(parsed(replace(one, image=lazy)))


def test_an_orbit_shows_its_track() -> None:
    orbit = Orbit.circular(latitude=46.0, longitude=179.9, duration=300.0)
    root = parsed(orbit)
    assert "31, 10 s apart" in words(root)
    assert "northwards" in words(root)
    (track,) = root.findall(".//polyline")
    points = np.array([[float(n) for n in one.split(",")] for one in track.get("points").split()])
    # It does not jump at the antimeridian, and leads upwards.
    assert np.abs(np.diff(points[:, 0])).max() < 20.0
    assert (np.diff(points[:, 1]) < 0.0).all()


def test_names_are_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>&\"'"
    one = scene()
    orbit = replace(one.orbit, source=evil)
    grid = replace(one.grid, mission=evil, swath="</td>")
    for thing in (orbit, grid, replace(one, grid=grid, orbit=orbit)):
        root = parsed(thing)
        assert not root.findall(".//img")
        assert evil in words(root)


def test_a_grid_shows_its_sampling() -> None:
    for ground_range in (True, False):
        grid, _ = synthetic_grid(lines=300, samples=400, ground_range=ground_range)
        shown = words(parsed(grid))
        assert ("ground range" in shown) == ground_range
        assert f"{grid.near_range / 1000:.1f} km" in shown
