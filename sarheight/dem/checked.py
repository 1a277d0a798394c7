"""A DEM that was checked where it entered, as a type that proves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sarheight.dem._open import check_dem

if TYPE_CHECKING:
    import xarray as xr

Gridded = TypeVar("Gridded", "xr.DataArray", "xr.Dataset")


@dataclass(frozen=True, eq=False)
class CheckedDem:
    """A DEM that `check_dem` has passed: float32 metres above the ellipsoid, NaN where void."""

    array: xr.DataArray  # dims (y, x)

    @classmethod
    def of(cls, dem: xr.DataArray | CheckedDem) -> CheckedDem:
        """Check a DEM, unless it was checked before; raises what `check_dem` does."""
        return dem if isinstance(dem, CheckedDem) else cls(check_dem(dem))

    def north_up(self) -> CheckedDem:
        """Return the same DEM with rows from north to south and columns from west to east."""
        dem = north_up(self.array)
        return self if dem is self.array else CheckedDem(dem.copy(data=np.ascontiguousarray(dem)))


def north_up(dem: xr.DataArray) -> xr.DataArray:
    """Return a DEM, perhaps lazy, with descending y and ascending x."""
    return _reversed_along(dem, _unlike_north_up(dem))


def stored_like(values: Gridded, dem: xr.DataArray) -> Gridded:
    """Return values on the north-up grid of a DEM in the order in which the DEM is stored."""
    return _reversed_along(values, _unlike_north_up(dem))


def _unlike_north_up(dem: xr.DataArray) -> list[str]:
    """Dimensions along which a DEM runs from south to north or from east to west."""
    usual = {"y": bool(dem.y[0] > dem.y[-1]), "x": bool(dem.x[0] < dem.x[-1])}
    return [name for name, as_usual in usual.items() if not as_usual]


def _reversed_along(values: Gridded, dims: list[str]) -> Gridded:
    """Reverse the order along some dimensions."""
    return values.isel(dict.fromkeys(dims, slice(None, None, -1))) if dims else values
