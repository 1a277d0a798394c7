"""What tasks load, and how much is kept of it."""

from __future__ import annotations

import dask.array
import numpy as np
from rasterio.env import get_gdal_config, local

from sarheight.layover._tasks import FILE_CACHE, load


def test_gdal_keeps_no_more_of_files_than_it_may() -> None:
    """By itself it would keep a part of the machine's memory."""
    found: list[object] = []

    def block(values: np.ndarray) -> np.ndarray:
        found.append(get_gdal_config("GDAL_CACHEMAX"))
        return values

    lazy = dask.array.ones((6, 4), chunks=(3, 4)).map_blocks(block, meta=np.empty((0, 0)))
    before = local._env
    np.testing.assert_array_equal(load(lazy), 1.0)
    np.testing.assert_array_equal(load(lazy, 3 << 20), 1.0)
    assert found == [FILE_CACHE] * 2 + [3 << 20] * 2
    assert local._env is before


def test_what_is_in_memory_is_not_copied() -> None:
    values = np.ones((2, 3))
    assert load(values) is values
