"""Scenes: an image with its grid and its orbit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from sarheight.errors import OrbitCoverageError
from sarheight.scene import Scene
from tests.synthetic import circular_orbit, synthetic_grid


def scene_parts() -> dict[str, Any]:
    grid, orbit = synthetic_grid(lines=20, samples=30)
    image = xr.DataArray(np.ones((20, 30)), dims=("line", "sample"))
    return {"image": image, "grid": grid, "orbit": orbit, "calibration": "sigma0"}


def test_a_scene_holds_what_belongs_together() -> None:
    parts = scene_parts()
    scene = Scene(**parts)
    assert scene.image is parts["image"]
    both = xr.concat([scene.image, scene.image], dim="polarisation")
    Scene(**parts | {"image": both})
    # The orbit may count from another time.
    Scene(**parts | {"orbit": scene.orbit.with_epoch(np.datetime64("2023-12-31"))})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"calibration": "sigma"}, "found calibration 'sigma'"),
        ({"image": xr.DataArray(np.ones((30, 20)), dims=("line", "sample"))}, "looks transposed"),
        ({"image": xr.DataArray(np.ones((30, 20)), dims=("sample", "line"))}, "transpose it"),
        ({"image": xr.DataArray(np.ones((19, 30)), dims=("line", "sample"))}, "19 x 30 pixels"),
        (
            {"image": xr.DataArray(np.ones((2, 20, 30)), dims=("time", "line", "sample"))},
            "found an image on dims",
        ),
        (
            {"image": xr.DataArray(np.ones((20, 30), np.complex64), dims=("line", "sample"))},
            "complex64 numbers, expected intensity",
        ),
        (
            {
                "image": xr.DataArray(
                    np.ones((20, 30)), dims=("line", "sample"), attrs={"units": "dB"}
                )
            },
            "in db, expected intensity",
        ),
    ],
)
def test_a_scene_whose_parts_do_not_match_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scene(**scene_parts() | change)


def test_a_scene_needs_the_orbit_of_its_own_time() -> None:
    with pytest.raises(OrbitCoverageError, match="pass the orbit of this acquisition"):
        Scene(**scene_parts() | {"orbit": circular_orbit(epoch="2024-01-13T06:00:00")})
