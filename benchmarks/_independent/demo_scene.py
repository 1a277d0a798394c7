"""Write the scene of `sarheight demo`: a small image of the independent simulator, with its truth.

The place is Big Tujunga, California (SRTM, public domain), one of those on which methods may be
chosen: several kinds of ground with angular laws of their own, near range, ascending. The image is
averaged over 2 x 2 pixels and stored in steps of 0.4 dB, which adds 0.1 dB to a speckle of 2 dB::

    python -m benchmarks._independent.demo_scene --cache FOLDER
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks._independent.observations import Archive, Image, Observed
from sarheight.acquisition import grid_to_json, orbit_to_json
from sarheight.cli import _demo_scene
from sarheight.cli._demo_scene import FLOOR, LOOKS, STEP
from sarheight.scene import multilook

__all__ = ["main", "write"]

SHOWN = Image("big_tujunga", "several", 0, _demo_scene.INCIDENCE, ascending=True)
PATH = Path(_demo_scene.__file__).with_name(_demo_scene.FILE)


def write(observed: Observed, path: Path) -> None:
    """Write an image with the coarser DEM, and the truth on its grid."""
    image, grid = multilook(observed.scene.image, observed.scene.grid, LOOKS, LOOKS)
    orbit = observed.scene.orbit.with_epoch(grid.epoch).crop(grid.first_time, grid.last_time)
    decibels = 10.0 * np.log10(np.maximum(image.values, 10.0 ** (FLOOR / 10.0)))
    dem, truth = observed.dem, observed.truth
    np.savez_compressed(
        path,
        decibels=np.clip(np.round((decibels - FLOOR) / STEP), 0, 255).astype(np.uint8),
        grid=grid_to_json(grid),
        orbit=orbit_to_json(orbit),
        # Decimetres and hundredths of a decibel.
        heights=np.round(10.0 * dem.values).astype(np.int16),
        x=dem.x.values,
        y=dem.y.values,
        crs=dem.rio.crs.to_epsg(),
        gamma0=np.round(1000.0 * np.log10(truth.gamma0.fillna(1.0).values)).astype(np.int16),
        compared=np.isfinite(truth.gamma0.values) & ~truth.shadow.values.astype(bool),
        layover=truth.layover.values.astype(bool),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks._independent.demo_scene")
    parser.add_argument("--cache", type=Path, help="folder of the images")
    parser.add_argument("--data", help="folder with the real data")
    chosen = parser.parse_args(arguments)
    cache = chosen.cache or Path(tempfile.gettempdir()) / "sarheight-independent"
    write(Archive(cache, chosen.data).observed(SHOWN), PATH)
    print(f"{PATH}: {PATH.stat().st_size / 1000.0:.0f} kB")


if __name__ == "__main__":
    main()
