"""One policy: what is significant, and what is done with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from sarheight.coregistration import Shift, coregister, is_significant
from sarheight.scene import Scene
from tests.mountains import mountain, raster, scene_of


@pytest.mark.parametrize(
    ("line", "error", "significant"),
    [
        (0.6, 0.01, True),
        (-0.6, 0.01, True),
        (0.4, 0.01, False),  # smaller than half a pixel
        (0.6, 0.2, False),  # below four standard errors
        (1.0, 0.1, True),
        (math.nan, 0.1, False),
    ],
)
def test_a_shift_is_significant_by_error_and_by_size(
    line: float, error: float, *, significant: bool
) -> None:
    for names in (("line", "sample"), ("sample", "line")):
        values = dict(zip(names, (line, 0.0), strict=True))
        errors = {f"{name}_error": error for name in names}
        assert is_significant(Shift(**values, **errors)) is significant
        assert not is_significant(Shift(**values, **errors, reason="flat"))


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    return raster(mountain())


@pytest.mark.parametrize(("lines", "samples"), [(2.0, -1.5), (0.05, 0.1)])
def test_only_a_significant_shift_is_corrected(
    dem: xr.DataArray, lines: float, samples: float
) -> None:
    scene = scene_of(dem, seed=1)
    off = Scene(scene.image, scene.grid.shift(-lines, -samples), scene.orbit, "beta0")
    untouched, none = coregister(off, dem, "none")
    assert untouched is off
    assert none is None
    reported, shift = coregister(off, dem)
    assert reported is off
    assert shift is not None
    corrected, again = coregister(off, dem, "correct")
    assert again is not None
    assert again.attributes() == shift.attributes()
    assert (corrected is not off) == (abs(lines) > 1.0)
    if corrected is not off:
        left = coregister(corrected, dem)[1]
        assert left is not None
        assert np.hypot(left.line, left.sample) < 0.3
        assert not is_significant(left)


def test_an_unknown_policy_is_refused(dem: xr.DataArray) -> None:
    with pytest.raises(ValueError, match="found coregister='yes', expected one of 'report', 'cor"):
        coregister(scene_of(dem), dem, "yes")  # type: ignore[arg-type]
