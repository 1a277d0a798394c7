"""Commands, and what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
import xarray as xr
from click.testing import Result
from typer.testing import CliRunner

from sarheight.cli import app

# 46 N, 10 E in UTM zone 32.
EAST, NORTH = 577_445.0, 5_094_584.0


@dataclass(frozen=True)
class Files:
    """What the commands are given."""

    folder: Path
    annotation: Path
    eof: Path
    dem: Path
    coarse: Path
    image: Path


def write_dem(path: Path, posting: float, *, east: float = EAST, north: float = NORTH) -> Path:
    """Write mountains 600 m high, whose slopes fold under 34 degrees."""
    count = int(1800.0 / posting)
    steps = posting * (np.arange(count) - 0.5 * (count - 1))
    heights = 600.0 * np.exp(-(steps[:, None] ** 2 + (steps - 150.0) ** 2) / (2.0 * 280.0**2))
    dem = xr.DataArray(
        heights.astype(np.float32), dims=("y", "x"), coords={"y": north - steps, "x": east + steps}
    )
    dem.rio.write_crs("EPSG:32632").rio.to_raster(path)
    return path


def write_points(known: Any, path: Path, header: str = "longitude,latitude,height") -> Path:  # noqa: ANN401
    """Write known elevations as a table."""
    rows = np.stack([known.x, known.y, known.height], axis=1)
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.17g")
    return path


SEA = ("--vertical", "ellipsoidal")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def passing(*arguments: object) -> Result:
    """Run a command that must succeed."""
    done = run(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def failing(code: int, *arguments: object) -> str:
    """Run a command that must fail, and return its error: one line, after what it has reported."""
    done = run(*arguments)
    assert done.exit_code == code, done.output
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith(("sarheight:", "sarheight "))]
    assert errors == lines[-1:], done.stderr
    assert "Traceback" not in done.output
    return lines[-1]
