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
from sarheight_kernels.profiles import NO_DATA

from sarheight.acquisition import grid_from_json, orbit_from_json
from sarheight.geometry import incidence
from sarheight.layover import RTC, Reallocation, in_layover, reconstruct
from sarheight.plot.maps import Class
from sarheight.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
FIGURE_SIZE = 14.5, 8.4
"""Inches."""
DETAIL = 32
"""Cells along the side of the area that the picture shows at full size."""
BORDER = 2
"""Cells at the edge of the DEM that are not compared: pixels there show ground beyond it."""
LEAST = 10.0**-2.5
"""Least value of an estimate when its error is computed."""
LAYOVER_CLASSES = [
    Class(0, "none", "#FFFFFF"),
    Class(1, "truth alone", "#E69F00"),
    Class(2, "DEM alone", "#56B4E9"),
    Class(3, "both", "#D55E00"),
]
"""Layover of cells by the simulation, and by the coarse DEM that the reconstruction is given."""


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
    """Errors of all methods, gamma0 geocoded and by RTC, and the dataset of the last method."""

    errors: tuple[Errors, ...]
    geocoded: xr.DataArray
    flattened: xr.DataArray
    result: xr.Dataset
    in_layover: float  # share of cells by the truth
    folded: float  # and by the coarse DEM


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
    geocoded = _per_projected_area(corrected["sigma0_geocoded"], scene)
    estimates = {
        "plain geocoding": geocoded.values,
        "area-projection RTC": corrected["gamma0"].values,
        "one step of reallocation": one_step["gamma0"].values,
        "posterior mean": result["gamma0"].values,
    }
    common = scene.compared & np.isfinite(list(estimates.values())).all(axis=0)
    errors = tuple(_errors(name, estimate, scene, common) for name, estimate in estimates.items())
    folded = in_layover(result["mask"]).values[scene.compared]
    true = float(scene.layover[scene.compared].mean())
    return Comparison(errors, geocoded, corrected["gamma0"], result, true, float(folded.mean()))


def _per_projected_area(sigma0: xr.DataArray, scene: EmbeddedScene) -> xr.DataArray:
    """Return gamma0 on the ellipsoid: sigma0 over the cosine of the incidence there."""
    angle = incidence(scene.dem, scene.image.grid, scene.image.orbit)["ellipsoid_incidence"]
    gamma0: xr.DataArray = sigma0 / np.cos(np.deg2rad(angle.values))
    return gamma0.rename("gamma0")


def _errors(
    method: str, estimate: NDArray[np.float32], scene: EmbeddedScene, common: NDArray[np.bool_]
) -> Errors:
    parts: list[float] = []
    for part in (common & scene.layover, common & ~scene.layover):
        error = 10.0 * np.log10(np.maximum(estimate[part], LEAST) / scene.truth[part])
        parts += [float(error.mean()), float(np.sqrt((error**2).mean()))]
    return Errors(method, *parts)


def picture(scene: EmbeddedScene, comparison: Comparison) -> Figure:
    """Draw the area with most layover by all methods and as it is, and the whole scene below."""
    from matplotlib.figure import Figure

    from sarheight.plot.figures import set_title
    from sarheight.plot.maps import draw_backscatter, draw_classes, robust_limits

    result = comparison.result
    truth = result["gamma0"].copy(data=scene.truth.astype(np.float32))
    maps = {
        "plain geocoding, γ⁰": comparison.geocoded,
        "area-projection RTC, γ⁰": comparison.flattened,
        "posterior mean, γ⁰": result["gamma0"],
        "truth, γ⁰": truth,
    }
    limits = robust_limits(scene.truth[scene.compared])
    azimuth = float(result.attrs["look_azimuth"])
    figure = Figure(figsize=FIGURE_SIZE)
    # The layout knows nothing of the legend below, and of compasses under the title.
    figure.set_layout_engine("constrained", rect=(0.0, 0.04, 1.0, 0.92))
    axes = figure.subplots(2, 4)
    rows, columns = most_layover(scene)
    for place, (name, power) in zip(axes[0], maps.items(), strict=True):
        drawn = draw_backscatter(place, power.isel(y=rows, x=columns), limits, azimuth)
        set_title(place, name)
    figure.colorbar(drawn, ax=axes, label="γ⁰ (dB)", extend="both", shrink=0.6)
    radar = scene.image.image
    brightness = robust_limits(radar.values[radar.values > 0.0])
    drawn = draw_backscatter(axes[1, 0], radar, brightness)
    set_title(axes[1, 0], "simulated radar image, β⁰")
    for place, name in zip(axes[1, 1:3], ("posterior mean, γ⁰", "truth, γ⁰"), strict=True):
        draw_backscatter(place, maps[name], limits, azimuth)
        _mark(place, maps[name], rows, columns)
        set_title(place, name)
    folded = _layover_classes(scene, result)
    draw_classes(axes[1, 3], LAYOVER_CLASSES, folded, scene.dem, azimuth)
    _mark(axes[1, 3], folded, rows, columns)
    set_title(axes[1, 3], "layover, by truth and DEM")
    figure.colorbar(
        drawn, ax=axes[1, 0], label="β⁰ (dB)", extend="both", location="left", shrink=0.8
    )
    figure.suptitle(
        "A simulated radar image of real mountains: Big Tujunga, California. "
        "Above, the area in the frame, which has most layover",
        y=0.995,
    )
    return figure


def most_layover(scene: EmbeddedScene) -> tuple[slice, slice]:
    """Find the square of `DETAIL` cells a side of which most cells are in layover by the truth."""
    from scipy.ndimage import uniform_filter

    share = uniform_filter((scene.layover & scene.compared).astype(np.float64), DETAIL)
    half = DETAIL // 2
    inner = share[half : share.shape[0] - half, half : share.shape[1] - half]
    row, column = np.unravel_index(int(np.argmax(inner)), inner.shape)
    return slice(int(row), int(row) + DETAIL), slice(int(column), int(column) + DETAIL)


def _layover_classes(scene: EmbeddedScene, result: xr.Dataset) -> xr.DataArray:
    """Tell layover by the simulation from layover by the coarse DEM, see `LAYOVER_CLASSES`."""
    by_dem = in_layover(result["mask"]).values
    codes = scene.layover.astype(np.uint8) + 2 * by_dem.astype(np.uint8)
    codes[~scene.compared] = NO_DATA
    return result["fold_count"].copy(data=codes)


def _mark(axes: Axes, variable: xr.DataArray, rows: slice, columns: slice) -> None:
    """Draw a frame around some cells of a map."""
    from matplotlib.patches import Rectangle

    from sarheight.plot.maps import Frame, map_view

    down, across = variable.sizes["y"], variable.sizes["x"]
    view = map_view(variable)
    frame = Frame.of(view)
    left, right, bottom, top = frame.extent
    first_row = rows.start if view["y"][0] == variable["y"][0] else down - rows.stop
    first_column = columns.start if view["x"][0] == variable["x"][0] else across - columns.stop
    wide, high = (right - left) / across, (top - bottom) / down
    corner = left + first_column * wide, top - (first_row + DETAIL) * high
    axes.add_patch(
        Rectangle(corner, DETAIL * wide, DETAIL * high, fill=False, edgecolor="#D55E00", lw=1.5)
    )
