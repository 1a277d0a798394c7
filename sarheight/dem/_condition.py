"""Terrain conditioning: no pits that water could not leave."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from sarheight.dem._record import with_history
from sarheight.dem._values import accept
from sarheight.errors import DemError

if TYPE_CHECKING:
    from types import ModuleType

    import numpy.typing as npt
    import xarray as xr

Method = Literal["fill", "breach"]
_METHODS = get_args(Method)


def condition(dem: xr.DataArray, method: Method = "fill") -> xr.DataArray:
    """Remove the depressions of a DEM, so that every cell drains to the edge.

    Depressions in a coarse or noisy DEM are mostly errors. Filling raises each to the height at
    which it spills (to one of its eight neighbours); breaching cuts an outlet through the rim.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    method : {"fill", "breach"}
        "fill" is done by richdem where it is installed and by scikit-image otherwise, with the
        same result. "breach" needs richdem.

    Returns
    -------
    DataArray
        The conditioned DEM. Voids stay void: those at the edge drain what lies beside them, and
        across those inside water ponds like everywhere else.

    Raises
    ------
    DemError
        If the method is not known, or the DEM is not usable.
    ModuleNotFoundError
        If richdem is needed and not installed.

    References
    ----------
    Barnes, Lehman & Mulla, Priority-flood, Computers & Geosciences 62, 2014 (filling);
    Lindsay, Hydrological Processes 30, 2016 (breaching);
    Robinson & Whelan, Efficient morphological reconstruction, Pattern Recognition Letters 25, 2004.
    """
    if method not in _METHODS:
        msg = f"the method of conditioning is one of {_METHODS}, and this is {method!r}"
        raise DemError(msg)
    dem = accept(dem)
    richdem = _richdem()
    if richdem is None and method == "breach":
        msg = "breaching needs richdem, which is not installed; use condition(dem, 'fill')"
        raise ModuleNotFoundError(msg, name="richdem")
    known = np.isfinite(dem.values)
    floor = np.nanmin(dem.values) - np.float32(1.0)
    terrain = np.where(known, dem.values, floor)
    drained = _filled(terrain) if richdem is None else _by_richdem(richdem, terrain, floor, method)
    conditioned = dem.copy(data=np.where(known, drained, np.float32(np.nan)))
    changed = int(np.count_nonzero((conditioned.values != dem.values) & known))
    return with_history(conditioned, f"condition: {method}, {changed} cells changed")


def _richdem() -> ModuleType | None:
    """Load richdem if it works here.

    It inspects its requirements as it loads, and raises errors of every kind if it dislikes them.
    """
    try:
        return importlib.import_module("richdem")
    except Exception:  # noqa: BLE001
        return None


def _by_richdem(
    richdem: ModuleType, terrain: npt.NDArray[np.float32], void: np.float32, method: Method
) -> npt.NDArray[np.float32]:
    """Hand the terrain to richdem, with voids marked by a height below all others."""
    grid: Any = richdem.rdarray(np.ascontiguousarray(terrain), no_data=float(void))
    grid.geotransform = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    remove = richdem.FillDepressions if method == "fill" else richdem.BreachDepressions
    return np.asarray(remove(grid, topology="D8"), dtype=np.float32)


def _filled(terrain: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Let water that stands above everything sink until it rests on the terrain or its rims."""
    from skimage.morphology import reconstruction

    water = np.full_like(terrain, terrain.max())
    water[[0, -1], :] = terrain[[0, -1], :]
    water[:, [0, -1]] = terrain[:, [0, -1]]
    level = reconstruction(  # type: ignore[no-untyped-call]
        water, terrain, method="erosion", footprint=np.ones((3, 3))
    )
    return np.asarray(level, dtype=np.float32)
