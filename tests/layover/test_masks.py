"""Masks as the user sees them: categories, flags, both geometries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from sarheight.geometry import geo2rdr, incidence
from sarheight.layover import FLAGS, masks
from tests.mountains import look, mountain, raster


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    heights = mountain()
    heights[3:6, 70:74] = np.nan
    return raster(heights)


@pytest.mark.parametrize("geometry", ["ground", "radar"])
def test_flags_follow_the_conventions(dem: xr.DataArray, geometry: Any) -> None:  # noqa: ANN401
    """CF flags; no-data is 255 and never 0."""
    grid, orbit = look()
    found = masks(dem, grid, orbit, geometry=geometry)
    mask = found["mask"]
    assert mask.dtype == found.fold_count.dtype == np.uint8
    meanings = dict(zip(mask.flag_meanings.split(), mask.flag_values.tolist(), strict=True))
    assert meanings == FLAGS
    assert 255 not in FLAGS.values()
    assert mask.attrs["_FillValue"] == found.fold_count.attrs["_FillValue"] == 255
    assert set(np.unique(mask)) <= {*FLAGS.values(), 255}
    if geometry == "ground":
        assert mask.dims == ("y", "x")
        assert found.rio.crs == dem.rio.crs
        assert (mask.values[3:6, 70:74] == 255).all()
    else:
        assert mask.dims == ("line", "sample")
        assert mask.shape == grid.shape
        assert (mask.values[0] == 255).all(), "no terrain is seen in the first line"


def test_flat_ground_is_clear() -> None:
    flat = raster(np.full((60, 80), 500.0))
    found = masks(flat, *look()).isel(y=slice(2, -2), x=slice(2, -2))
    assert (found["mask"] == FLAGS["clear"]).all()
    assert (found.fold_count == 1).all()


def test_active_layover_is_where_the_slope_is_steeper_than_the_look(dem: xr.DataArray) -> None:
    """The projected incidence angle is negative there, and only there."""
    grid, orbit = look()
    mask = masks(dem, grid, orbit)["mask"].values
    projected = incidence(dem, grid, orbit).projected_incidence.values
    active = mask == FLAGS["active_layover"]
    assert active.sum() > 100
    assert np.mean(projected[active] < 2.0) > 0.98
    steep = projected < -5.0
    assert np.isin(mask[steep], [FLAGS["active_layover"], FLAGS["layover_and_shadow"]]).mean() > 0.9


def test_what_shares_a_slant_range_lies_in_layover(dem: xr.DataArray) -> None:
    """Three sheets in the middle of a fold, one outside; and both masks tell the same."""
    grid, orbit = look()
    ground, radar = (masks(dem, grid, orbit, geometry=g) for g in ("ground", "radar"))
    mask, folds = ground["mask"].values, ground.fold_count.values
    layover = (mask == FLAGS["active_layover"]) | (mask == FLAGS["passive_layover"])
    assert np.mean(folds[layover] >= 2) > 0.9
    clear = (mask == FLAGS["clear"]) | (mask == FLAGS["foreshortening"])
    assert np.mean(folds[clear] == 1) > 0.98
    where = geo2rdr(dem, grid, orbit)
    line, sample = np.rint(where.line.values), np.rint(where["sample"].values)
    inside = (line >= 0) & (line < grid.lines) & (sample >= 0) & (sample < grid.samples)
    inside &= mask != 255
    seen = radar.fold_count.values[line[inside].astype(int), sample[inside].astype(int)]
    known = (seen != 255) & (folds[inside] != 255)
    assert np.mean(seen[known] == folds[inside][known]) > 0.9


def test_a_steeper_threshold_presses_more(dem: xr.DataArray) -> None:
    grid, orbit = look()
    counts = [
        int((masks(dem, grid, orbit, foreshortening=part)["mask"] == FLAGS["foreshortening"]).sum())
        for part in (0.0, 0.3, 0.6, 1.0)
    ]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] > counts[1] > 0


def test_settings_that_make_no_sense_are_refused(dem: xr.DataArray) -> None:
    view = look()
    with pytest.raises(ValueError, match="expected 'ground' or 'radar'"):
        masks(dem, *view, geometry="slant")  # type: ignore[arg-type]
    for part in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="found foreshortening="):
            masks(dem, *view, foreshortening=part)
