"""The embedded scene: an image that shares nothing with the method that is shown on it.

Nothing is downloaded. The image is one of the independent point-scatterer simulator of the
benchmarks, over real elevations (Big Tujunga, California; SRTM, public domain): several kinds of
ground in patches, each with an angular law of its own, complex speckle, Sentinel-1's impulse
response, thermal noise. It comes in a file of this package, with the DEM that the reconstruction is
given, three times coarser than that of the simulation and with errors of height, and with the true
gamma0 of its cells. `benchmarks/_independent/demo_scene.py` wrote the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rioxarray  # noqa: F401 - registers the accessor
import xarray as xr
from numpy.typing import NDArray

from sarheight.acquisition import grid_from_json, orbit_from_json
from sarheight.layover import RTC, Reallocation, reconstruct
from sarheight.scene import Scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Report = Callable[[str], None]

FILE = "demo_scene.npz"
STEP, FLOOR = 0.4, -45.0
"""Steps in which beta0 is stored, and its least value, in dB; power below it, negative too where
noise was removed, is stored as that."""
LOOKS = 2
"""Pixels of 10 m that are averaged, each way."""
INCIDENCE = 33
"""Degrees on the ellipsoid in the middle."""
FIGURE_SIZE = 13.5, 7.6
"""Inches."""
BORDER = 2
"""Cells at the edge of the DEM that are not compared: pixels there show ground beyond it."""
LEAST = 10.0**-2.5
"""Least value of an estimate when its error is computed."""


@dataclass(frozen=True, eq=False)
class EmbeddedScene:
    """A simulated image, the inputs of its reconstruction, and the truth."""

    image: Scene  # with speckle and noise
    dem: xr.DataArray  # DEM of the reconstruction
    # (rows, columns): gamma0 of each cell: RCS of its scatterers over the illuminated projected
    # area, without speckle and noise
    truth: Floats
    layover: NDArray[np.bool_]  # (rows, columns): at least half of the cell is in layover
    compared: NDArray[np.bool_]  # (rows, columns): illuminated, so that errors can be computed


@dataclass(frozen=True)
class Errors:
    """Errors of one method in dB: mean and root mean square, in layover and elsewhere."""

    method: str
    layover_bias: float
    layover_rmse: float
    elsewhere_bias: float
    elsewhere_rmse: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Errors of all methods, gamma0 by RTC, and the dataset of the last method."""

    errors: tuple[Errors, ...]
    flattened: xr.DataArray
    result: xr.Dataset
    in_layover: float


def embedded_scene() -> EmbeddedScene:
    """Read the scene."""
    with np.load(Path(__file__).with_name(FILE)) as stored:
        power = 10.0 ** ((FLOOR + STEP * stored["decibels"].astype(np.float32)) / 10.0)
        power[stored["decibels"] == 0] = 0.0
        image = xr.DataArray(
            power.astype(np.float32),
            dims=("line", "sample"),
            name="beta0",
            attrs={
                "long_name": "simulated radar image, beta0",
                "units": "1",
                "simulated": "from a DEM and an orbit",
            },
        )
        grid = grid_from_json(str(stored["grid"]))
        orbit = orbit_from_json(str(stored["orbit"]))
        dem = xr.DataArray(
            stored["heights"].astype(np.float32) / np.float32(10.0),
            dims=("y", "x"),
            coords={"y": stored["y"], "x": stored["x"]},
            attrs={"units": "m", "vertical_datum": "ellipsoid"},
        ).rio.write_crs(int(stored["crs"]))
        compared, layover = stored["compared"], stored["layover"]
        truth = np.where(compared, 10.0 ** (stored["gamma0"] / 1000.0), np.nan)
    for edge in (np.s_[:BORDER], np.s_[-BORDER:], np.s_[:, :BORDER], np.s_[:, -BORDER:]):
        compared[edge] = False
    return EmbeddedScene(Scene(image, grid, orbit, "beta0"), dem, truth, layover, compared)


def compare(scene: EmbeddedScene, report: Report | None = None) -> Comparison:
    """Reconstruct the scene by all methods, and compare with the truth."""
    report = report or (lambda _: None)
    report("correct by projected area (RTC)")
    corrected = reconstruct(scene.image, scene.dem, method=RTC())
    report("reallocate in one step")
    one_step = reconstruct(scene.image, scene.dem, method=Reallocation())
    report("reallocate, posterior mean")
    result = reconstruct(scene.image, scene.dem)
    estimates = {
        "plain geocoding": corrected["sigma0_geocoded"].values,
        "area-projection RTC": corrected["gamma0"].values,
        "one step of reallocation": one_step["gamma0"].values,
        "posterior mean": result["gamma0"].values,
    }
    common = scene.compared & np.isfinite(list(estimates.values())).all(axis=0)
    errors = tuple(_errors(name, estimate, scene, common) for name, estimate in estimates.items())
    return Comparison(
        errors, corrected["gamma0"], result, float(scene.layover[scene.compared].mean())
    )


def _errors(
    method: str, estimate: NDArray[np.float32], scene: EmbeddedScene, common: NDArray[np.bool_]
) -> Errors:
    parts: list[float] = []
    for part in (common & scene.layover, common & ~scene.layover):
        error = 10.0 * np.log10(np.maximum(estimate[part], LEAST) / scene.truth[part])
        parts += [float(error.mean()), float(np.sqrt((error**2).mean()))]
    return Errors(method, *parts)


def picture(scene: EmbeddedScene, comparison: Comparison) -> Figure:
    """Draw the radar image and its geocoding, RTC, reconstruction, truth, and the fold count."""
    from matplotlib.figure import Figure

    from sarheight.plot.figures import set_title
    from sarheight.plot.maps import (
        cap_counts,
        count_classes,
        draw_backscatter,
        draw_classes,
        robust_limits,
    )

    result = comparison.result
    maps = {
        "plain geocoding, σ⁰": result["sigma0_geocoded"],
        "area-projection RTC, γ⁰": comparison.flattened,
        "posterior mean, γ⁰": result["gamma0"],
        "truth, γ⁰": result["gamma0"].copy(data=scene.truth.astype(np.float32)),
    }
    limits = robust_limits(scene.truth[scene.compared])
    figure = Figure(figsize=FIGURE_SIZE, layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    azimuth = float(result.attrs["look_azimuth"])
    radar = scene.image.image
    drawn = draw_backscatter(axes[0], radar, robust_limits(radar.values[radar.values > 0.0]))
    figure.colorbar(drawn, ax=axes[0], label="β⁰ (dB)", extend="both", shrink=0.6)
    set_title(axes[0], "simulated radar image, β⁰")
    # The fold count stands below the image, the truth beside the reconstruction.
    for place, (name, power) in zip((1, 2, 4, 5), maps.items(), strict=True):
        drawn = draw_backscatter(axes[place], power, limits, azimuth)
        set_title(axes[place], name)
    figure.colorbar(drawn, ax=axes[[1, 2, 4, 5]], label="dB", extend="both", shrink=0.6)
    counts = result["fold_count"]
    draw_classes(axes[3], count_classes(), cap_counts(counts), scene.dem, azimuth)
    set_title(axes[3], "fold count")
    figure.suptitle("A simulated radar image of real mountains: Big Tujunga, California")
    return figure
