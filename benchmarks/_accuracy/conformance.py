r"""Radiometric terrain correction of constant images: what comes out shows the area alone.

Real geometry and constant images are put through the whole correction, as Agram et al. (2023) test
processors. An image of :math:`\beta^0 = 1` has the radar cross-section :math:`A_\beta` in each
pixel, so that what comes out is :math:`\gamma^0 = A_\beta / A_\gamma`, the area of a pixel in the
slant plane over the projected area that shines on it. Three answers do not need our code:

- *The ellipsoid.* :math:`\gamma^0` is :math:`\tan\theta` of a constant :math:`\beta^0`,
  :math:`1 / \cos\theta` of :math:`\sigma^0`, and 1 of :math:`\gamma^0`.
- *Mountains.* sarsen corrects the same products: files that hold a constant image. It has areas
  of its own, of cells that are spread over four pixels, and groups pixels; so do we. The DEM is
  interpolated to some 5 m, because sarsen expects cells much smaller than pixels.
- *isce3's areas* of an ENVISAT image with layover, at native Doppler (`benchmarks._real.envisat`).
  The file does not state its unit: it is projected area in square metres times the sine of
  incidence on the ellipsoid, which no other combination of areas and angles fits.

References
----------
Agram, P. S., Warren, M. S., Arko, S. A. and Calef, M. T. (2023). Radiometric terrain flattening of
geocoded stacks of SAR imagery. Remote Sensing 15(7), 1932.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks._accuracy.sarsen import CASES, Case
from benchmarks._mountains.scenes import data_file
from benchmarks._real.envisat import Desert, desert
from sarheight import layover
from sarheight.dem import open_dem
from sarheight.ellipsoid import to_earth_fixed
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import pixel_areas
from sarheight.geometry.placement import crop_grid_to_dem
from sarheight.geometry.tables import radar_model
from sarheight.illumination import ConstantGamma, simulate
from sarheight.product import open_product
from sarheight.scene import Calibration, Scene
from sarheight.sentinel1 import read_grid, read_orbit
from tests.worlds.products import write_product

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks._figures import Value
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

__all__ = [
    "Agreement",
    "Conformance",
    "agree",
    "constant",
    "figures",
    "flat_errors",
    "measure",
]

Floats = NDArray[np.float64]

WINDOWS = {
    "oetztal_grd": (slice(170, 230), slice(270, 330), 15),
    "arco_grd": (slice(200, 300), slice(200, 300), 5),
    "big_tujunga_slc": (slice(200, 300), slice(800, 900), 6),
}
"""Rows and columns of the DEMs, and cells that make one of theirs, each way."""
GROUP = 3
"""How many pixels sarsen groups along either axis: its default."""
WINDOW = 3, 5
"""Lines and samples that we average. sarsen groups slant range by 3 times the spacing on the
ground, which is as many samples at 37 degrees of incidence."""
EDGE = 4
"""Cells of the DEM at its edge that are left out: their pixels are lit from beyond it, too."""
FLAT_POSTING, FLAT_CELLS = 20.0, 160
"""Metres between cells, and their number along a side, of the DEM of the ellipsoid."""
LOOKS = 10, 2
"""Lines and samples of the ENVISAT image that are averaged: 41 m by 48 m on the ground."""
POSTS = 3
"""Posts of its DEM in an arc second, so that facets are smaller than pixels."""
LAYOVER = 2, 3
"""Codes of the mask."""
METRES = 111_320.0
"""Metres in a degree of latitude."""


@dataclass(frozen=True)
class Agreement:
    """How two areas agree, in decibels."""

    level: float  # Median of the difference
    spread: float  # Half the range from its 16th to its 84th percentile
    count: int  # Cells or windows that were compared


@dataclass(frozen=True)
class Conformance:
    """What came of all constant images."""

    flat_level: float  # Over the ellipsoid: the largest mean error in dB
    flat_cell: float  # The largest of a cell
    open: dict[str, Agreement]  # Our gamma0 over sarsen's, outside layover and shadow, by product
    folded: dict[str, Agreement]  # In layover
    isce3: Agreement  # Our areas over those of isce3
    correlation: float  # Of the logarithms of the latter


def agree(ours: Floats, others: Floats) -> Agreement:
    """Compare two areas, or two results, where both are above zero."""
    known = np.isfinite(ours) & np.isfinite(others) & (ours > 0.0) & (others > 0.0)
    low, middle, high = np.percentile(_decibels(ours[known] / others[known]), [16, 50, 84])
    return Agreement(float(middle), 0.5 * float(high - low), int(known.sum()))


def constant(grid: RadarGrid, orbit: Orbit, calibration: Calibration = "beta0") -> Scene:
    """Make an image of ones."""
    image = xr.DataArray(np.ones(grid.shape, np.float32), dims=("line", "sample"))
    return Scene(image, grid, orbit, calibration)


def flat_errors(grid: RadarGrid, orbit: Orbit, dem: xr.DataArray) -> tuple[float, float]:
    """Correct constant images over a DEM of heights of 0, in degrees, in all calibrations.

    Returns the largest mean error, and the largest error of a cell, in dB.
    """
    seen = geo2rdr(dem, grid, orbit)
    distance = grid.slant_range(seen.line.values, seen["sample"].values)
    times = grid.azimuth_time(seen.line.values, distance)
    position, velocity = orbit.with_epoch(grid.epoch).state(times)
    place, normal = to_earth_fixed(*np.meshgrid(dem.x.values, dem.y.values))
    sight = position - place
    # The slant plane holds the line of sight and the velocity.
    plane = np.cross(sight, velocity)
    plane /= np.linalg.norm(plane, axis=-1, keepdims=True)
    cosine = np.sum(normal * sight, axis=-1) / distance
    expected = {
        "beta0": np.abs(np.sum(normal * plane, axis=-1)) / cosine,
        "sigma0": 1.0 / cosine,
        "gamma0": np.ones_like(cosine),
    }
    errors = []
    for calibration in get_args(Calibration):
        found = _corrected(constant(grid, orbit, calibration), dem).gamma0.values
        errors.append(_inner(_decibels(found / expected[calibration]), EDGE))
    level = max(abs(float(each.mean())) for each in errors)
    return level, max(float(np.abs(each).max()) for each in errors)


def _corrected(scene: Scene, dem: xr.DataArray) -> xr.Dataset:
    """Correct an image by area projection, without smoothing and without a law."""
    return layover.reconstruct(scene, dem, method=layover.RTC(blur=0.0), facets=1)


def _decibels(ratio: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(10.0 * np.log10(ratio), dtype=np.float64)


def _inner(values: Floats, edge: int) -> Floats:
    return values[edge:-edge, edge:-edge]


def _ellipsoid_in(annotation: Path) -> tuple[RadarGrid, Orbit, xr.DataArray]:
    """Lay a DEM of the ellipsoid, in degrees, into the middle of an image."""
    grid, orbit = read_grid(annotation), read_orbit(annotation)
    line, sample = (int(size) // 2 for size in grid.shape)
    pixel = grid.crop(slice(line, line + 1), slice(sample, sample + 1))
    longitude, latitude = constant(pixel, orbit).outline()[0]
    steps = FLAT_POSTING / METRES * (np.arange(FLAT_CELLS) - 0.5 * FLAT_CELLS)
    dem = xr.DataArray(
        np.zeros((FLAT_CELLS, FLAT_CELLS), np.float32),
        coords={"y": latitude - steps, "x": longitude + steps / np.cos(np.radians(latitude))},
        dims=("y", "x"),
        attrs={"units": "m", "vertical_datum": "ellipsoid"},
    ).rio.write_crs(4326)
    return crop_grid_to_dem(dem, grid, orbit), orbit, dem


# Mountains, with sarsen.


def _finer(case: Case, data: str | None) -> tuple[xr.DataArray, int]:
    """Interpolate a part of the DEM of a product; also return how many times finer it is."""
    rows, columns, factor = WINDOWS[case.name]
    # As in `benchmarks._accuracy.sarsen`, the geoid is set aside: it would only lift the place.
    heights = open_dem(data_file(case.dem, data), vertical="ellipsoidal")[rows, columns]
    axes = {
        name: np.linspace(*heights[name].values[[0, -1]], factor * (heights.sizes[name] - 1) + 1)
        for name in ("y", "x")
    }
    finer = heights.interp(axes, method="cubic").astype(np.float32)
    return finer.rio.write_crs(heights.rio.crs).assign_attrs(heights.attrs), factor


def _of_sarsen(path: Path, group: str, dem: xr.DataArray) -> Floats:
    """Correct a product by sarsen."""
    from sarsen.apps import do_terrain_correction
    from sarsen.sentinel1 import Sentinel1SarProduct

    raster = xr.DataArray(
        dem.values.astype(np.float64), dims=dem.dims, coords={"y": dem.y, "x": dem.x}
    ).rio.write_crs(dem.rio.crs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sarsen and of what it uses
        found, _ = do_terrain_correction(
            Sentinel1SarProduct(str(path), group),
            raster.chunk(),
            correct_radiometry="gamma_bilinear",
            interp_method="linear",
            grouping_area_factor=(GROUP, GROUP),
        )
        values: Floats = found.values
    return values


def _over_mountains(case: Case, folder: Path, data: str | None) -> tuple[Agreement, Agreement]:
    """Correct a product whose image is constant, by us and by sarsen; outside layover and in it."""
    dem, factor = _finer(case, data)
    annotation = data_file(case.annotation, data)
    orbit = read_orbit(annotation)
    grid = crop_grid_to_dem(dem, read_grid(annotation), orbit)
    path = folder / f"{case.name}-constant.SAFE"
    write_product(constant(grid, orbit), path, like=annotation)
    swath = case.group.partition("/")[0]
    scene = open_product(path).scene(
        swaths=() if swath == "IW" else (swath,), noise_removal=False, multilook=WINDOW
    )
    result = _corrected(scene, dem)
    ours, others, mask, folds = (
        _inner(each, EDGE * factor)
        for each in (
            result.gamma0.values.astype(np.float64),
            _of_sarsen(path, case.group, dem),
            result["mask"].values,
            result["fold_count"].values,
        )
    )
    plain, folded = (mask == 0) & (folds == 1), np.isin(mask, LAYOVER)
    return agree(ours[plain], others[plain]), agree(ours[folded], others[folded])


# Layover, with isce3.


def _with_isce3(place: Desert) -> tuple[Agreement, float]:
    """Compare our areas with isce3's, over windows; also return the correlation of logarithms."""
    grid, orbit = place.scene.grid, place.scene.orbit
    areas = pixel_areas(grid, radar_model(grid, orbit), "beta0")
    pixel = np.concatenate([block for _, block in areas.blocks(grid.lines)])
    projected = simulate(place.heights.dem(POSTS), grid, orbit, law=ConstantGamma(1.0)).image.values
    # Incidence on the ellipsoid, of the areas of a pixel in the slant plane and on the ground.
    ground = pixel_areas(grid, radar_model(grid, orbit), "sigma0")
    sine = pixel / np.concatenate([block for _, block in ground.blocks(grid.lines)])
    ours, others = (_averaged(each) for each in (projected * pixel * sine, place.factor))
    known = (ours > 0.0) & (others > 0.0)
    correlation = np.corrcoef(_decibels(ours[known]), _decibels(others[known]))[0, 1]
    return agree(ours, others), float(correlation)


def _averaged(image: Floats) -> Floats:
    lines, samples = (size // step for size, step in zip(image.shape, LOOKS, strict=True))
    cut = image[: lines * LOOKS[0], : samples * LOOKS[1]]
    return cut.reshape(lines, LOOKS[0], samples, LOOKS[1]).mean(axis=(1, 3))


# All of it.


def measure(folder: Path, data: str | None) -> Conformance:
    """Correct all constant images; products are written to a folder."""
    annotations = dict.fromkeys(case.annotation for case in CASES)
    flat = [flat_errors(*_ellipsoid_in(data_file(name, data))) for name in annotations]
    pairs = {case.name: _over_mountains(case, folder, data) for case in CASES}
    isce3, correlation = _with_isce3(desert(data))
    return Conformance(
        max(level for level, _ in flat),
        max(cell for _, cell in flat),
        {name: plain for name, (plain, _) in pairs.items()},
        {name: folded for name, (_, folded) in pairs.items()},
        isce3,
        correlation,
    )


def figures(found: Conformance) -> dict[str, Value]:
    """Return the figures by key."""
    key = "accuracy.conformance"
    return {
        f"{key}.flat_level": found.flat_level,
        f"{key}.flat_cell": found.flat_cell,
        **{f"{key}.{name}.level": each.level for name, each in found.open.items()},
        **{f"{key}.{name}.spread": each.spread for name, each in found.open.items()},
        f"{key}.layover.level": found.folded["oetztal_grd"].level,
        f"{key}.layover.spread": found.folded["oetztal_grd"].spread,
        f"{key}.isce3.level": found.isce3.level,
        f"{key}.isce3.spread": found.isce3.spread,
        f"{key}.isce3.correlation": found.correlation,
    }
