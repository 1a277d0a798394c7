"""A large scene keeps the limit of memory that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from benchmarks.full_scene import make_dem, make_image, measure
from sarheight.output import open_result

if TYPE_CHECKING:
    from pathlib import Path

SCALE = 0.25
"""Part of each side of a whole scene: 3000 x 3000 cells, 6250 x 4000 pixels."""


@pytest.mark.slow
def test_the_peak_stays_below_the_limit(tmp_path: Path) -> None:
    make_dem(tmp_path, SCALE)
    make_image(tmp_path, SCALE, Console(quiet=True))
    found = measure(tmp_path, SCALE, "1.2 GiB", 0)
    assert found["cells"] == 9_000_000
    assert found["parts"] > 4
    assert found["peak"] < 1.2
    result = open_result(tmp_path / "result.zarr", chunks={})
    assert float(np.isfinite(result.gamma0).mean()) > 0.2
    share = np.array(result.attrs["rcs_cells"]) / np.array(result.attrs["rcs_explained"])
    assert 0.9 < share[0] <= 1.0
