"""The embedded scene: real elevations that matplotlib installs, and a simulated radar.

Nothing is downloaded. The elevations around the Jacksboro fault (Tennessee) come with
matplotlib's sample data. Their relief is gentle for a radar, so it is exaggerated until many
cells are in layover. A fine elevation model makes the image and the truth; the reconstruction uses
a model three times coarser, with errors of height.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.profiles import ACTIVE_LAYOVER, PASSIVE_LAYOVER
from scipy.ndimage import binary_fill_holes, gaussian_filter

from sarheight.dem import coarsen
from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.geometry.placement import crop_grid_to_dem
from sarheight.geometry.visibility import classify_cells
from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma, Muhleman, simulate
from sarheight.illumination.simulate import Illumination, illuminate, is_illuminated
from sarheight.layover import Reallocation, reconstruct
from sarheight.orbit import Orbit, look_at
from sarheight.scene import Scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Report = Callable[[str], None]

SAMPLE = "jacksboro_fault_dem.npz"
EXAGGERATION = 2.5
"""Factor of the relief above the lowest place."""
INCIDENCE = 34.0
PIXEL = 30.0
LOOKS = 4.4
LAW = Muhleman(0.05, 0.3)
NOISE = 10.0**-2.5
"""Noise-equivalent beta0."""
COARSER = 3
HEIGHT_ERROR = 4.0
"""Standard deviation of the coarse model's heights in metres, correlated over a few cells."""
SEED = 3

PATCH_LEVELS = (-2.5, 0.0, 1.5, 3.0)
"""Brightness of the kinds of ground, in dB relative to the law."""
PATCH_EDGES = (-0.8, 0.3, 1.2)
CLEARINGS = -3.0
TEXTURE = 1.0
"""Standard deviation from cell to cell within a kind of ground, in dB."""


@dataclass(frozen=True, eq=False)
class EmbeddedScene:
    """A simulated image, the inputs of its reconstruction, and the truth."""

    image: Scene  # with speckle and noise
    fine: xr.DataArray  # elevation model of the simulation
    coarse: xr.DataArray  # elevation model of the reconstruction
    # (rows, columns): gamma0 of each cell of the coarse model: radar cross-section of its fine
    # cells over their illuminated projected area, without speckle and noise
    truth: Floats
    layover: NDArray[np.bool_]  # (rows, columns): at least half of the fine cells are in layover
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
    """Errors of all methods, and the dataset of the last one."""

    errors: tuple[Errors, ...]
    result: xr.Dataset
    in_layover: float


def embedded_dem(exaggeration: float = EXAGGERATION) -> xr.DataArray:
    """Read the elevations that matplotlib installs, and exaggerate their relief.

    They are whole metres every three seconds of arc, from north to south; the file calls the
    northern edge ``ymin``. Their vertical datum is not stated: they are assumed to be heights
    above the ellipsoid, which makes no difference to a simulation.
    """
    from matplotlib.cbook import get_sample_data

    with np.load(get_sample_data(SAMPLE, asfileobj=False)) as sample:
        metres = sample["elevation"].astype(np.float32)
        dx, dy = float(sample["dx"]), float(sample["dy"])
        west, north = float(sample["xmin"]), float(max(sample["ymin"], sample["ymax"]))
    rows, columns = (size - size % COARSER for size in metres.shape)
    heights = (metres.min() + exaggeration * (metres - metres.min()))[:rows, :columns]
    dem = xr.DataArray(
        heights,
        dims=("y", "x"),
        coords={
            "y": north - dy * (np.arange(rows) + 0.5),
            "x": west + dx * (np.arange(columns) + 0.5),
        },
        attrs={"units": "m", "vertical_datum": "ellipsoid", "relief_exaggeration": exaggeration},
    )
    with_crs: xr.DataArray = dem.rio.write_crs("EPSG:4326")
    return with_crs


def embedded_scene(dem: xr.DataArray | None = None) -> EmbeddedScene:
    """Simulate the image and the truth."""
    fine = embedded_dem() if dem is None else dem
    random = np.random.default_rng(SEED)
    grid, orbit = _radar(fine)
    reflectivity = _patches(fine.shape, random)
    noisy = simulate(
        fine,
        grid,
        orbit,
        law=LAW,
        reflectivity=reflectivity,
        looks=LOOKS,
        noise=NOISE,
        seed=SEED,
    )
    geometry = pass_geometry(fine, grid, orbit)
    category, _ = classify_cells(geometry)
    operator = illuminate(geometry, LAW, is_illuminated(category))
    # Pixels beyond the edge of the elevations are not simulated; pixels in shadow have noise.
    inside = binary_fill_holes(operator.simulate(reflectivity) > 0.0)
    # The mean of the noise is subtracted, as in a product.
    image = (noisy.image - NOISE).clip(min=0.0).where(inside).assign_attrs(noisy.image.attrs)
    steps = [COARSER * abs(float(fine[name][1] - fine[name][0])) for name in ("y", "x")]
    coarse = coarsen(fine, (steps[0], steps[1]), units="crs")
    coarse = coarse.copy(data=coarse.values + _height_error(coarse.shape, random))
    return EmbeddedScene(
        Scene(image, grid, orbit, noisy.calibration),
        fine,
        coarse,
        *_truth(operator, category, reflectivity),
    )


def _radar(dem: xr.DataArray) -> tuple[RadarGrid, Orbit]:
    """Make an orbit like that of Sentinel-1, descending, and the grid that covers the DEM."""
    latitude, longitude = float(dem.y.mean()), float(dem.x.mean())
    height = float(dem.mean())
    orbit = Orbit.circular(latitude=latitude, longitude=longitude, ascending=False)
    orbit = orbit.rotate(look_at(orbit, latitude, longitude, INCIDENCE, height=height))
    grid = RadarGrid.over(
        orbit,
        latitude,
        longitude,
        height=height,
        lines=1400,
        samples=1600,
        line_spacing=PIXEL,
        sample_spacing=PIXEL,
        looks=LOOKS,
    )
    return crop_grid_to_dem(dem, grid, orbit, margin=0), orbit


def _smooth(shape: tuple[int, ...], width: float, random: np.random.Generator) -> Floats:
    """Noise of unit variance, correlated over `width` cells."""
    field = gaussian_filter(random.standard_normal(shape), width, mode="wrap")
    smooth: Floats = field / field.std()
    return smooth


def _patches(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    """Reflectivity: kinds of ground in patches, clearings among them, and texture."""
    kind = np.digitize(_smooth(shape, 12.0, random), PATCH_EDGES)
    decibels = np.array(PATCH_LEVELS)[kind]
    decibels[_smooth(shape, 5.0, random) > PATCH_EDGES[-1]] += CLEARINGS
    decibels += TEXTURE * random.standard_normal(shape)
    return np.asarray(10.0 ** (decibels / 10.0), dtype=np.float32)


def _height_error(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    return (HEIGHT_ERROR * _smooth(shape, 1.5, random)).astype(np.float32)


def _blocks(values: NDArray[np.generic]) -> Floats:
    """Sum over the fine cells of each coarse one."""
    rows, columns = (size // COARSER for size in values.shape)
    parts = values.reshape(rows, COARSER, columns, COARSER).astype(np.float64)
    sums: Floats = parts.sum(axis=(1, 3))
    return sums


def _truth(
    operator: Illumination, category: NDArray[np.uint8], reflectivity: NDArray[np.float32]
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return gamma0 of each coarse cell, and the masks of layover and of compared cells."""
    geometry = operator.geometry
    own = operator.adjoint(np.ones((*geometry.grid.shape, 1), dtype=np.float32))
    energy, area = _blocks(own.linear[0] * reflectivity), _blocks(own.area)
    half = COARSER**2 / 2
    layover = _blocks((category == ACTIVE_LAYOVER) | (category == PASSIVE_LAYOVER)) >= half
    # A very small illuminated area gives no meaningful ratio.
    compared = (_blocks(operator.illuminated) >= half) & (
        area > 0.05 * COARSER**2 * geometry.cell_area
    )
    truth = np.divide(energy, area, out=np.full(area.shape, np.nan), where=compared)
    return truth, layover, compared


def compare(scene: EmbeddedScene, report: Report | None = None) -> Comparison:
    """Reconstruct the scene by all methods, and compare with the truth."""
    report = report or (lambda _: None)
    report("correct by projected area (RTC)")
    corrected = reconstruct(scene.image, scene.coarse, law=ConstantGamma(), method=Reallocation())
    report("reallocate in one step")
    one_step = reconstruct(scene.image, scene.coarse, method=Reallocation())
    report("reallocate, posterior mean")
    result = reconstruct(scene.image, scene.coarse)
    estimates = {
        "plain geocoding": corrected["sigma0_geocoded"].values,
        "area-projection RTC": corrected["gamma0"].values,
        "one step of reallocation": one_step["gamma0"].values,
        "posterior mean": result["gamma0"].values,
    }
    common = scene.compared & np.isfinite(list(estimates.values())).all(axis=0)
    errors = tuple(_errors(name, estimate, scene, common) for name, estimate in estimates.items())
    return Comparison(errors, result, float(scene.layover[scene.compared].mean()))


def _errors(
    method: str, estimate: NDArray[np.float32], scene: EmbeddedScene, common: NDArray[np.bool_]
) -> Errors:
    parts: list[float] = []
    for part in (common & scene.layover, common & ~scene.layover):
        error = 10.0 * np.log10(np.maximum(estimate[part], NOISE) / scene.truth[part])
        parts += [float(error.mean()), float(np.sqrt((error**2).mean()))]
    return Errors(method, *parts)


def picture(scene: EmbeddedScene, result: xr.Dataset) -> Figure:
    """Draw radar image, plain geocoded, reconstruction, and layover multiplicity."""
    from sarheight import plot

    return plot.scene(
        result,
        scene.image.image,
        relief=scene.coarse,
        title=f"Simulated radar image of real mountains, relief exaggerated {EXAGGERATION:g} times",
    )
