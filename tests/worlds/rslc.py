"""RSLC files of NISAR, in the layout of the product specification and in the older one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sarheight.doppler import DopplerLUT
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit

HALF_COMPLEX = np.dtype([("r", np.float16), ("i", np.float16)])
"""Complex numbers of half precision, as NISAR stores them."""


def write_rslc(
    path: Path,
    images: Mapping[str, Mapping[str, NDArray[np.complex64]]],
    grids: Mapping[str, RadarGrid],
    orbit: Orbit,
    *,
    doppler: DopplerLUT,
    factors: Mapping[str, float] | None = None,
    older: bool = False,
    valid: NDArray[np.int64] | None = None,
) -> Path:
    """Write complex images by frequency and polarisation, with their grids, to an HDF5 file.

    `factors` are those from squared magnitude to beta0, sigma0 and gamma0, the same everywhere.
    """
    first = next(iter(grids.values()))
    since = "seconds since " + str(first.epoch.astype("datetime64[s]"))
    units = since.replace("T", " ") if older else since
    with h5py.File(path, "w") as file:
        root = file.create_group("science/LSAR/" + ("SLC" if older else "RSLC"))
        times = first.line_zero_time + first.line_interval * np.arange(first.lines)
        _times(root, "swaths/zeroDopplerTime", times, units)
        root["swaths/zeroDopplerTimeSpacing"] = first.line_interval
        for frequency, channels in images.items():
            grid = grids[frequency]
            swath = root.create_group(f"swaths/frequency{frequency}")
            swath["slantRange"] = grid.near_range + grid.sample_spacing * np.arange(grid.samples)
            swath["slantRangeSpacing"] = grid.sample_spacing
            swath["processedCenterFrequency"] = SPEED_OF_LIGHT / grid.wavelength
            swath["processedAzimuthBandwidth"] = 0.8 / grid.line_interval
            swath["processedRangeBandwidth"] = 0.5 * SPEED_OF_LIGHT / (2.0 * grid.sample_spacing)
            swath["listOfPolarizations"] = np.array(list(channels), dtype="S2")
            for name, image in channels.items():
                if older:
                    swath[name] = image
                else:
                    swath.create_dataset(name, data=_half(image), chunks=(16, 32), compression=4)
            if valid is not None:
                swath["validSamples" if older else "validSamplesSubSwath1"] = valid
        _metadata(root, first, orbit, doppler, factors or {}, units, older=older)
        _identification(file, first, older=older)
    return path


def _half(image: NDArray[np.complex64]) -> NDArray[Any]:
    numbers = np.empty(image.shape, HALF_COMPLEX)
    numbers["r"], numbers["i"] = image.real, image.imag
    return numbers


def _times(group: h5py.Group, name: str, values: NDArray[np.float64], units: str) -> None:
    group[name] = values
    group[name].attrs["units"] = np.bytes_(units)


def _metadata(
    root: h5py.Group,
    grid: RadarGrid,
    orbit: Orbit,
    doppler: DopplerLUT,
    factors: Mapping[str, float],
    units: str,
    *,
    older: bool,
) -> None:
    """Write state vectors, Doppler centroid and calibration."""
    orbit = orbit.with_epoch(grid.epoch)
    _times(root, "metadata/orbit/time", orbit.time, units)
    root["metadata/orbit/position"], root["metadata/orbit/velocity"] = (
        orbit.position,
        orbit.velocity,
    )
    root["metadata/orbit/orbitType"] = np.bytes_("POE")
    parameters = "metadata/processingInformation/parameters"
    root[f"{parameters}/frequencyA/dopplerCentroid"] = doppler.frequency
    axes = parameters if older else f"{parameters}/frequencyA"
    _times(root, f"{axes}/zeroDopplerTime", doppler.azimuth_time, units)
    root[f"{axes}/slantRange"] = doppler.slant_range
    calibration = "metadata/calibrationInformation"
    axes = calibration if older else f"{calibration}/geometry"
    _times(root, f"{axes}/zeroDopplerTime", doppler.azimuth_time, units)
    root[f"{axes}/slantRange"] = doppler.slant_range
    for name in ("beta0", "sigma0", "gamma0"):
        values = np.full(doppler.frequency.shape, factors.get(name, 1.0), np.float32)
        root[f"{calibration}/geometry/{name}"] = values


def _identification(file: h5py.File, grid: RadarGrid, *, older: bool) -> None:
    group = file.create_group("science/LSAR/identification")
    group["productType"] = np.bytes_("RSLC")
    group["missionId"] = np.bytes_("ENVISAT" if older else "NISAR")
    group["lookDirection"] = np.bytes_(grid.look_side.capitalize())
    group["orbitPassDirection"] = np.bytes_("Ascending")
    group["boundingPolygon"] = (
        "POLYGON ((9.9 45.9 0, 10.1 45.9 0, 10.1 46.1 0, 9.9 46.1 0, 9.9 45.9 0))"
    )
    if not older:
        group["granuleId"] = "NISAR_L1_PR_RSLC_001_005_A_219_4020_SHNA_A_20240101T060000"
