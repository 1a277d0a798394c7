"""Timing corrections of Sentinel-1 from Extended Timing Annotation Datasets (ETAD).

An ETAD product gives, for each burst of an SLC on a grid of some 200 m, by how much the annotated
times of a pixel are wrong: the delay in troposphere and ionosphere, the tides of the solid Earth
and the loading by those of the ocean, and what the processor neglects. Corrections are added to the
annotated times. A radar grid takes their constant part and, in slant range, their linear part along
lines and samples; what is left is stated.

References
----------
Gisinger, C. et al. (2022). The Extended Timing Annotation Dataset for Sentinel-1, IEEE Transactions
on Geoscience and Remote Sensing, 60. S1-ETAD Product Format Specification, ETAD-DLR-PS-0014. ESA,
SNAP, S1ETADCorrectionOp: signs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight._files import check_hdf5, file_errors
from sarheight.acquisition import SENTINEL_1_NAME
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.errors import ProductError
from sarheight.orbit import seconds_between

if TYPE_CHECKING:
    import os

    import h5py

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.sentinel1._manifest import Manifest

Floats = NDArray[np.float64]

EXPECTED = "an ETAD product of Sentinel-1: a SAFE folder, or its NetCDF file"
RANGE_LAYERS = {
    "tropospheric": "troposphericCorrectionRg",
    "ionospheric": "ionosphericCorrectionRg",
    "geodetic": "geodeticCorrectionRg",
    "ocean tidal loading": "oceanTidalLoadingCorrectionRg",
    "Doppler shift": "dopplerRangeShiftRg",
}
AZIMUTH_LAYERS = {
    "geodetic": "geodeticCorrectionAz",
    "ocean tidal loading": "oceanTidalLoadingCorrectionAz",
    "bistatic": "bistaticCorrectionAz",
    "FM-rate mismatch": "fmMismatchCorrectionAz",
}
BISTATIC = "bistatic"
"""A grid with a bistatic range applies this correction itself, for each pixel."""
MOST_POINTS = 40
"""Lines and samples of a burst's grid, at most, that enter the fit."""
OUTSIDE = 0.05
"""Seconds by which an image may extend beyond the bursts of the product."""
LARGEST_CORRECTION = 100.0
"""Metres of a correction: those of the atmosphere are some ten at most."""
BEAM_SPEED = 7e3
"""Metres per second, about, by which the image advances on the ground."""


@dataclass(frozen=True, eq=False)
class _Points:
    """Corrections at points of the image."""

    time: Floats  # annotated azimuth time in seconds since the grid's epoch, (n,), as all
    slant_range: Floats  # annotated, in metres
    range_correction: Floats  # metres
    azimuth_correction: Floats  # seconds


def correct_timing(
    grid: RadarGrid, orbit: Orbit, manifest: Manifest, source: str | os.PathLike[str]
) -> tuple[RadarGrid, dict[str, Any]]:
    """Correct the times and ranges of a grid by an ETAD product.

    Parameters
    ----------
    grid : RadarGrid
        Of a GRD or SLC, or a part of it; not multilooked.
    orbit : Orbit
        The orbit, for the length of residuals.
    manifest : Manifest
        Of the product, for mission and orbit number.
    source : path
        A SAFE folder of the ETAD product, or its NetCDF file.

    Returns
    -------
    grid : RadarGrid
        With corrected times and ranges: near range and spacing in slant range of an SLC, the
        origin of slant range of a GRD, time of the first line and line interval of both.
    record : dict
        ``product``, the corrections ``applied`` in range and azimuth, their means in metres, and
        the root mean square of what the grid cannot take, in metres.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ProductError
        If it is no ETAD product, damaged, of another acquisition, or does not cover the image.
    """
    path = _measurement(Path(source))
    with file_errors(path, EXPECTED, ProductError):
        import h5py

        check_hdf5(path, EXPECTED, ProductError)
        with h5py.File(path, "r") as file:
            bursts = list(_bursts(file, grid))
            _require_same_acquisition(bursts, manifest, path)
            points, names = _points(file, [burst for _, burst in bursts], grid)
        _require_cover(points, grid, path)
        return _fitted(grid, orbit, points, names, path)


def _measurement(path: Path) -> Path:
    """Return the NetCDF file of a product."""
    if not path.exists():
        msg = f"there is no '{path}'; expected {EXPECTED}"
        raise FileNotFoundError(msg)
    if path.is_file():
        return path
    found = sorted(path.glob("measurement/*.nc"))
    if len(found) != 1:
        msg = f"{path} has {len(found)} files measurement/*.nc; expected {EXPECTED}"
        raise ProductError(msg)
    return found[0]


def _text(value: Any) -> str:  # noqa: ANN401  # of h5py
    value = value[0] if isinstance(value, np.ndarray) and value.size else value
    return value.decode() if isinstance(value, bytes) else str(value)


def _bursts(file: h5py.File, grid: RadarGrid) -> Iterator[tuple[str, h5py.Group]]:
    """Yield product and group of the bursts of the swaths of a grid."""
    import h5py

    swaths = set(grid.swath.split("+"))
    for name in file:
        # A GRD is of all swaths of its mode.
        if name not in swaths and not (grid.is_ground_range and name.startswith(grid.mode)):
            continue
        for burst in file[name].values():
            if isinstance(burst, h5py.Group):
                yield _text(burst.attrs["productID"]), burst


def _require_same_acquisition(
    bursts: list[tuple[str, Any]], manifest: Manifest, path: Path
) -> None:
    """Check that corrections are those of the satellite, orbit and swaths of the image."""
    if not bursts:
        msg = f"{path} has no bursts of swaths {', '.join(manifest.swaths)}; expected {EXPECTED}"
        raise ProductError(msg)
    for name in dict(bursts):
        parts = SENTINEL_1_NAME.search(name)
        found = None if parts is None else (parts["mission"], int(parts["orbit"]))
        if found != (manifest.mission, manifest.orbit_number):
            msg = (
                f"{path} corrects {name}, expected an ETAD product of {manifest.mission} in orbit "
                f"{manifest.orbit_number}: pass the one that was made for this acquisition"
            )
            raise ProductError(msg)


def _points(
    file: h5py.File, bursts: list[h5py.Group], grid: RadarGrid
) -> tuple[_Points, dict[str, list[str]]]:
    """Read the sums of corrections at points of the bursts, and which corrections they hold."""
    first_time = seconds_between(
        grid.epoch, np.datetime64(_text(file.attrs["azimuthTimeMin"]).removesuffix("Z"), "ns")
    )
    first_range = float(_text(file.attrs["rangeTimeMin"]))
    azimuth_layers = {
        name: layer
        for name, layer in AZIMUTH_LAYERS.items()
        if name != BISTATIC or grid.bistatic_range is None
    }
    applied: dict[str, dict[str, None]] = {"range": {}, "azimuth": {}}
    columns: list[list[Floats]] = [[], [], [], []]
    for burst in bursts:
        azimuth, slant = (
            np.asarray(burst[name][...], dtype=np.float64) for name in ("azimuth", "range")
        )
        sums = []
        rows, samples = (
            np.unique(
                np.linspace(0, axis.size - 1, min(axis.size, MOST_POINTS)).round().astype(int)
            )
            for axis in (azimuth, slant)
        )
        for direction, layers in (("range", RANGE_LAYERS), ("azimuth", azimuth_layers)):
            total = np.zeros((rows.size, samples.size))
            for name, layer in layers.items():
                if layer not in burst:
                    continue
                values = np.asarray(burst[layer][...], dtype=np.float64)
                if values.shape != (azimuth.size, slant.size):
                    msg = f"{layer} has {values.shape} values, expected {azimuth.size, slant.size}"
                    raise ValueError(msg)
                if values.any():
                    applied[direction][name] = None
                    total += values[np.ix_(rows, samples)]
            sums.append(total)
        time, distance = np.meshgrid(
            first_time + azimuth[rows],
            0.5 * SPEED_OF_LIGHT * (first_range + slant[samples]),
            indexing="ij",
        )
        for column, values in zip(
            columns, (time, distance, 0.5 * SPEED_OF_LIGHT * sums[0], sums[1]), strict=True
        ):
            column.append(values.ravel())
    found = _Points(*(np.concatenate(column) for column in columns))
    for values, speed in ((found.range_correction, 1.0), (found.azimuth_correction, BEAM_SPEED)):
        largest = speed * np.abs(values).max()
        if not largest <= LARGEST_CORRECTION:
            msg = f"found a correction of {largest:.3g} m, expected a few"
            raise ValueError(msg)
    if not (np.isfinite(found.time).all() and np.isfinite(found.slant_range).all()):
        msg = "found times or ranges that are not finite"
        raise ValueError(msg)
    return found, {direction: list(names) for direction, names in applied.items()}


def _require_cover(points: _Points, grid: RadarGrid, path: Path) -> None:
    """Check that the points reach from the first to the last line, and over the samples."""
    first, last = (
        grid.line_zero_time + grid.line_interval * line for line in (0.0, grid.lines - 1.0)
    )
    near, far = (
        float(grid.slant_range(0.5 * (grid.lines - 1), each)) for each in (0.0, grid.samples - 1.0)
    )
    step = 0.05 * (far - near) + 500.0
    if (
        points.time.min() > first + OUTSIDE
        or points.time.max() < last - OUTSIDE
        or points.slant_range.min() > near + step
        or points.slant_range.max() < far - step
    ):
        msg = (
            f"{path} has corrections from {points.time.min() - first:+.2f} s after the first to "
            f"{points.time.max() - last:+.2f} s after the last line, and from "
            f"{1e-3 * points.slant_range.min():.1f} to {1e-3 * points.slant_range.max():.1f} km, "
            f"expected all of the image, {1e-3 * near:.1f} to {1e-3 * far:.1f} km: pass the ETAD "
            "product of this image"
        )
        raise ProductError(msg)


def _fitted(
    grid: RadarGrid, orbit: Orbit, points: _Points, names: dict[str, list[str]], path: Path
) -> tuple[RadarGrid, dict[str, Any]]:
    """Fit the corrections in the image by what a grid can take, and apply that."""
    line = (points.time - grid.line_zero_time) / grid.line_interval
    sample = grid.sample(points.slant_range, points.time)
    inside = (line >= -1.0) & (line <= grid.lines) & (sample >= -1.0) & (sample <= grid.samples)
    if np.count_nonzero(inside) < 4:  # of a small part: its surroundings
        near = np.hypot(
            (line - 0.5 * grid.lines) / grid.lines, (sample - 0.5 * grid.samples) / grid.samples
        )
        inside = near <= np.partition(near, 3)[3]
    line, sample = line[inside], sample[inside]
    along, along_left = _linear(line, points.azimuth_correction[inside])
    ranges = points.range_correction[inside]
    ground = grid.ground_range
    if ground is None:
        across, across_left = _linear(sample, ranges)
        corrected = replace(
            grid,
            near_range=grid.near_range + across[0],
            sample_spacing=grid.sample_spacing + across[1],
        )
    else:
        across, across_left = (float(ranges.mean()), 0.0), float(ranges.std())
        to_slant = ground.ground_to_slant.copy()
        to_slant[:, 0] += across[0]
        corrected = replace(
            grid,
            near_range=grid.near_range + across[0],
            ground_range=replace(
                ground, slant_origin=ground.slant_origin + across[0], ground_to_slant=to_slant
            ),
        )
    speed = grid.line_spacing(orbit) / grid.line_interval
    corrected = replace(
        corrected,
        line_zero_time=grid.line_zero_time + along[0],
        line_interval=grid.line_interval + along[1],
        bursts=tuple(
            replace(burst, azimuth_time=burst.azimuth_time + along[0] + along[1] * burst.first_line)
            for burst in grid.bursts
        ),
    )
    return corrected, {
        "product": path.stem if path.parent.name != "measurement" else path.parents[1].stem,
        "applied_in_range": names["range"],
        "applied_in_azimuth": names["azimuth"],
        "by_the_grid": [] if grid.bistatic_range is None else [BISTATIC],
        "mean_in_range": round(float(ranges.mean()), 4),
        "mean_in_azimuth": round(speed * float(points.azimuth_correction[inside].mean()), 4),
        "residual_in_range": round(across_left, 4),
        "residual_in_azimuth": round(speed * along_left, 4),
    }


def _linear(place: Floats, value: Floats) -> tuple[tuple[float, float], float]:
    """Fit a straight line; return its value at 0, its slope, and the RMS of the residuals."""
    if np.ptp(place) < 1.0:
        return (float(value.mean()), 0.0), float(value.std())
    middle = float(place.mean())
    slope, level = np.polyfit(place - middle, value, 1)
    residual = value - level - slope * (place - middle)
    return (float(level - slope * middle), float(slope)), float(np.sqrt(np.mean(residual**2)))
