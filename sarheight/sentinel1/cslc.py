"""Geocoded bursts of Sentinel-1 (OPERA CSLC-S1): where they lie, and how they were flown.

Images and static layers, as OPERA delivers them and COMPASS makes them. Their images are
interferometric, and are not read.

References
----------
NASA JPL (2023). OPERA CSLC-S1 product specification, JPL D-108278.
COMPASS, https://github.com/opera-adt/COMPASS: metadata of bursts and orbits.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._files import file_errors
from sarheight._hdf5 import check_product, hdf5_text
from sarheight.errors import ProductError
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit

if TYPE_CHECKING:
    import os

    from odc.geo.geobox import GeoBox

KIND = "a burst of OPERA (CSLC-S1)"
BURST, ORBIT = "metadata/processing_information/input_burst_metadata", "metadata/orbit"
AXES, CODE = ("data/y_coordinates", "data/x_coordinates"), "data/projection"
UNEVEN = 1e-3
"""Largest departure of coordinates from even steps, in steps."""


def is_burst(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a geocoded burst, by what is in it.

    Parameters
    ----------
    path : path-like
        Any file.

    Returns
    -------
    bool
        True for HDF5 files that say how a burst was flown and where it lies on the map.
    """
    import h5py

    path = Path(path)
    if path.suffix.lower() != ".h5" or not path.is_file():
        return False
    with suppress(OSError, RuntimeError, KeyError, ValueError), h5py.File(path) as file:
        return all(name in file for name in (BURST, ORBIT, CODE, *AXES))
    return False


def burst_grid(path: str | os.PathLike[str]) -> GeoBox:
    """Read the map grid of a geocoded burst.

    Parameters
    ----------
    path : path-like
        HDF5 file of a burst or of its static layers.

    Returns
    -------
    odc.geo.geobox.GeoBox
        Its cells, north up.

    Raises
    ------
    ProductError
        If it is damaged, or no burst.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    with file_errors(path, KIND, ProductError):
        found = _read(path, (CODE, *AXES))
        code = int(found[CODE])
        y, x = (_steps(found[name], name) for name in AXES)
        if y[1] >= 0.0 or x[1] <= 0.0:
            msg = "coordinates run from south to north, or from east to west"
            raise ValueError(msg)
        shape = found[AXES[0]].size, found[AXES[1]].size
        place = Affine(x[1], 0.0, x[0] - 0.5 * x[1], 0.0, y[1], y[0] - 0.5 * y[1])
        return GeoBox(shape, place, f"EPSG:{code}")


def _steps(values: np.ndarray, name: str) -> tuple[float, float]:
    """Return the first of some coordinates, and the step between them."""
    step = float(values[-1] - values[0]) / (values.size - 1)
    even = values[0] + step * np.arange(values.size)
    if not np.abs(values - even).max() < UNEVEN * abs(step):
        msg = f"'{name}' has no even steps"
        raise ValueError(msg)
    return float(values[0]), step


def burst_geometry(path: str | os.PathLike[str]) -> tuple[RadarGrid, Orbit]:
    """Read the sampling of the burst before it was geocoded, and its orbit.

    Parameters
    ----------
    path : path-like
        HDF5 file of a burst or of its static layers.

    Returns
    -------
    RadarGrid, Orbit
        In slant range, zero Doppler.

    Raises
    ------
    ProductError
        If it is damaged, or no burst.
    """
    path = Path(path)
    numbers = ("azimuth_time_interval", "starting_range", "range_pixel_spacing", "wavelength")
    texts = ("sensing_start", "polarization", "platform_id")
    vectors = [f"{kind}_{axis}" for kind in ("position", "velocity") for axis in "xyz"]
    wanted = [f"{BURST}/{name}" for name in (*numbers, *texts, "shape")]
    wanted += [f"{ORBIT}/{name}" for name in ("reference_epoch", "time", *vectors)]
    identity = "identification/look_direction"
    with file_errors(path, KIND, ProductError):
        found = {name.rpartition("/")[2]: value for name, value in _read(path, wanted).items()}
        side = str(_read(path, (identity,))[identity]).lower()
        epoch: np.datetime64 = np.datetime64(found["reference_epoch"], "ns")
        start: np.datetime64 = np.datetime64(found["sensing_start"], "ns")
        interval, near, spacing, wavelength = (float(found[name]) for name in numbers)
        lines, samples = found["shape"]
        position, velocity = (
            np.stack([found[f"{kind}_{axis}"] for axis in "xyz"], axis=1)
            for kind in ("position", "velocity")
        )
        orbit = Orbit(epoch, found["time"], position, velocity, f"state vectors of {path.name}")
        grid = RadarGrid(
            epoch=epoch,
            line_zero_time=1e-9 * int((start - epoch).astype(np.int64)),
            line_interval=interval,
            lines=int(lines),
            samples=int(samples),
            near_range=near,
            sample_spacing=spacing,
            wavelength=wavelength,
            look_side="left" if side == "left" else "right",
            polarisations=(str(found["polarization"]),),
            mission=str(found["platform_id"]),
            mode="IW",
            product="SLC",
        )
    return grid, orbit


def _read(path: str | os.PathLike[str], names: Any) -> dict[str, Any]:  # noqa: ANN401
    """Read values and texts of a file, by name."""
    import h5py

    check_product(path, KIND)
    with h5py.File(path) as file:
        values = {name: file[name][()] for name in names}
    return {
        name: hdf5_text(value) if isinstance(value, bytes) else value
        for name, value in values.items()
    }
