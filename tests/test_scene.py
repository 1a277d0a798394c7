"""Scenes: an image with its grid and its orbit, and how these are displayed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from defusedxml.ElementTree import fromstring

from sarheight.ellipsoid import LookSide
from sarheight.errors import OrbitCoverageError
from sarheight.geometry import geo2rdr, look_vector
from sarheight.orbit import Orbit
from sarheight.scene import Scene
from tests.results import scene
from tests.synthetic import circular_orbit, synthetic_grid


def scene_parts() -> dict[str, Any]:
    grid, orbit = synthetic_grid(lines=20, samples=30)
    image = xr.DataArray(np.ones((20, 30)), dims=("line", "sample"))
    return {"image": image, "grid": grid, "orbit": orbit, "calibration": "sigma0"}


def test_a_scene_holds_what_belongs_together() -> None:
    parts = scene_parts()
    made = Scene(**parts)
    assert made.image is parts["image"]
    both = xr.concat([made.image, made.image], dim="polarisation")
    Scene(**parts | {"image": both})
    # The orbit may count from another time.
    Scene(**parts | {"orbit": made.orbit.with_epoch(np.datetime64("2023-12-31"))})


def test_a_scene_whose_parts_do_not_match_is_refused() -> None:
    def image(*shape: int, dims: tuple[str, ...] = ("line", "sample"), **how: Any) -> xr.DataArray:  # noqa: ANN401
        return xr.DataArray(np.ones(shape, how.pop("dtype", float)), dims=dims, **how)

    for change, message in (
        ({"calibration": "sigma"}, "found calibration 'sigma'"),
        ({"image": image(30, 20)}, "looks transposed"),
        ({"image": image(30, 20, dims=("sample", "line"))}, "transpose it"),
        ({"image": image(19, 30)}, "19 x 30 pixels"),
        ({"image": image(2, 20, 30, dims=("time", "line", "sample"))}, "found an image on dims"),
        ({"image": image(20, 30, dtype=np.complex64)}, "complex64 numbers, expected intensity"),
        ({"image": image(20, 30, attrs={"units": "dB"})}, "in db, expected intensity"),
    ):
        with pytest.raises(ValueError, match=message):
            Scene(**scene_parts() | change)
    with pytest.raises(OrbitCoverageError, match="pass the orbit of this acquisition"):
        Scene(**scene_parts() | {"orbit": circular_orbit(epoch="2024-01-13T06:00:00")})


# How orbits, radar grids and scenes are displayed, as text and in a notebook.


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


def test_a_scene_shows_its_numbers() -> None:
    one = scene(polarisations=2)
    rows = {row[0].text: row[1].text for row in parsed(one).iter("tr")}
    lines = repr(one).splitlines()
    assert lines[0] == "<Scene>"
    assert len(lines) == 6
    assert [line.strip() for line in lines[1:]] == [
        f"{name}: {text}" for name, text in rows.items()
    ]
    for part in ("S1B IW GRD", "VV, VH", "120 lines × 160 samples", "beta0", "ascending", "5.405"):
        assert part in repr(one)


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
    angles = re.search(r"([\d.]+)° to ([\d.]+)° of incidence", words(parsed(one)))
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


def test_an_orbit_shows_its_span() -> None:
    orbit = Orbit.circular(latitude=46.0, ascending=False, duration=300.0, altitude=700_000.0)
    shown = words(parsed(orbit))
    assert "31, 10 s apart" in shown
    assert "southwards" in shown
    assert "700.0 to 700.0 km" in shown
    assert "2024-01-01T05:57:30 to 2024-01-01T06:02:30 UTC, 300 s" in repr(orbit)


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
        assert f"{grid.near_range / 1000:.1f} to " in shown
