"""Geocoded bursts, as OPERA delivers them, with the metadata that say how they were flown."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from odc.geo.geobox import GeoBox

from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit


def write_cslc(path: Path, placed: GeoBox, grid: RadarGrid, orbit: Orbit) -> Path:
    """Write a burst of zeros on a map grid; times count from two days before it, as there."""
    orbit = orbit.with_epoch(grid.epoch)
    start = grid.epoch + np.timedelta64(round(1e9 * grid.line_zero_time), "ns")
    epoch = start.astype("datetime64[us]") - np.timedelta64(2, "D")
    since = (grid.epoch - epoch) / np.timedelta64(1, "ns") * 1e-9
    rows, columns = placed.shape
    place = placed.affine
    burst = {
        "sensing_start": f"{start.astype('datetime64[us]')}".replace("T", " "),
        "azimuth_time_interval": grid.line_interval,
        "starting_range": grid.near_range,
        "range_pixel_spacing": grid.sample_spacing,
        "wavelength": grid.wavelength,
        "shape": np.array(grid.shape),
        "polarization": "VV",
        "platform_id": "S1A",
    }
    flown: dict[str, object] = {
        "reference_epoch": f"{epoch}".replace("T", " "),
        "time": orbit.time + since,
    }
    for index, axis in enumerate("xyz"):
        flown[f"position_{axis}"] = orbit.position[:, index]
        flown[f"velocity_{axis}"] = orbit.velocity[:, index]
    mapped = {
        "x_coordinates": place.c + place.a * (np.arange(columns) + 0.5),
        "y_coordinates": place.f + place.e * (np.arange(rows) + 0.5),
        "projection": placed.crs.to_epsg(),
        "layover_shadow_mask": np.zeros(placed.shape, np.int8),
    }
    with h5py.File(path, "w") as file:
        for group, values in (
            ("metadata/processing_information/input_burst_metadata", burst),
            ("metadata/orbit", flown),
            ("data", mapped),
            ("identification", {"look_direction": grid.look_side.title()}),
        ):
            for name, value in values.items():
                text = isinstance(value, str)
                file[f"{group}/{name}"] = np.bytes_(value) if text else value
    return path
