"""Plain geocoding of a Sentinel-1 product by sarsen, and by us.

A product is simulated from a real annotation and a real elevation model, written, and geocoded
plainly by both. What is compared, away from layover and shadow, is where in the image both read the
value of a cell, and which sigma0 they find there. The image has no speckle, so that a difference in
decibels is one of geometry and calibration; with speckle the same shift makes a larger one.

Differences are conventions: sarsen leaves out the shear along azimuth (the bistatic residual, see
`sarheight.grid.RadarGrid`), and stops its search for zero Doppler within a metre along the track.
xarray-sentinel cuts 90 lines off both ends of each burst of an SLC, so scenes lie within a burst.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks._mountains.scenes import ALPS, SOCAL_DESCENDING, data_file
from sarheight import geometry, layover
from sarheight.dem import open_dem
from sarheight.geometry.placement import crop_grid_to_dem
from sarheight.illumination import simulate
from sarheight.sentinel1 import read_grid, read_orbit
from sarheight.sentinel1._product import open_product
from tests.worlds.products import write_product

if TYPE_CHECKING:
    from pathlib import Path

    from sarsen.sentinel1 import Sentinel1SarProduct

    from benchmarks._figures import Value
    from sarheight.grid import RadarGrid

__all__ = ["CASES", "Case", "Comparison", "compare", "figures", "measure"]

Floats = NDArray[np.float64]
LOOKS = {"GRD": 4.4, "SLC": 1.0}
SEED = 0


@dataclass(frozen=True)
class Case:
    """A product."""

    name: str  # As in the keys of the figures
    annotation: str  # File of the real data
    dem: str  # Likewise
    group: str  # Swath and polarisation
    rows: slice  # Part of the DEM: of an SLC, what one burst shows but for its ends
    columns: slice  # Likewise


CASES = (
    Case("oetztal_grd", ALPS, "dem/srtm3_oetztal.tif", "IW/VV", slice(100, 300), slice(200, 400)),
    Case(
        "arco_grd",
        ALPS,
        "dem/srtm_garda_arco_webmerc.tif",
        "IW/VV",
        slice(200, 500),
        slice(200, 500),
    ),
    Case(
        "big_tujunga_slc",
        SOCAL_DESCENDING,
        "dem/srtm1_bigtujunga_30m.tif",
        "IW2/VV",
        slice(150, 400),
        slice(700, 950),
    ),
)

METRE = 1.0
"""Along the track, at which sarsen stops."""
MILLIMETRE = 1e-3
C = 299_792_458.0


@dataclass(frozen=True)
class Comparison:
    """How far two geocodings of the same product are apart, away from layover and shadow."""

    cells: int  # Cells compared
    shift: float  # RMS distance in pixels of where both read the image for the same cell
    largest_shift: float  # The most of it
    # RMS without our shear, and with sarsen converged to a millimetre
    shift_same_conventions: float
    decibels: float  # RMS of the difference of sigma0
    bias: float  # Its mean, in decibels


def _pixels_of_sarsen(
    product: Sentinel1SarProduct, dem: xr.DataArray, grid: RadarGrid, tolerance: float
) -> tuple[Floats, Floats]:
    """Find line and sample, in pixels of our grid, at which sarsen sees cells."""
    import xarray_sentinel
    from sarsen.geocoding import backward_geocode
    from sarsen.orbit import OrbitPolyfitInterpolator
    from sarsen.scene import convert_to_dem_ecef

    orbit = OrbitPolyfitInterpolator.from_position(product.state_vectors())
    seen = backward_geocode(convert_to_dem_ecef(dem), orbit, zero_doppler_distance=tolerance)
    slant_range = (seen.dem_distance**2).sum("axis") ** 0.5
    since = (seen.azimuth_time.values - grid.epoch) / np.timedelta64(1, "ns") * 1e-9
    line = (since - grid.line_zero_time) / grid.line_interval
    if product.coordinate_conversion is not None:
        ground = xarray_sentinel.slant_range_time_to_ground_range(
            seen.azimuth_time, 2 / C * slant_range, product.coordinate_conversion
        )
        return line, ground.values / grid.sample_spacing
    return line, (slant_range.values - grid.near_range) / grid.sample_spacing


def _sigma0_of_sarsen(
    product: Sentinel1SarProduct, dem: xr.DataArray, line: Floats, sample: Floats
) -> Floats:
    """Geocode with sarsen, with linear interpolation, and go from beta0 to sigma0."""
    from sarsen.apps import do_terrain_correction

    beta0, _ = do_terrain_correction(product, dem, interp_method="linear")
    table = product.calibration
    places = {
        name: xr.DataArray(np.clip(at, *table[name].values[[0, -1]]), dims=dem.dims)
        for name, at in (("line", line), ("pixel", sample))
    }
    beta, sigma = (table[name].interp(places).values for name in ("betaNought", "sigmaNought"))
    values: Floats = beta0.values * (beta / sigma) ** 2
    return values


def compare(path: Path, group: str, dem: xr.DataArray) -> Comparison:
    """Geocode a folder ``*.SAFE`` with both; the group is such as "IW2/VV", the DEM all in view."""
    from sarsen.sentinel1 import Sentinel1SarProduct

    swath = group.partition("/")[0]
    scene = open_product(path).scene(
        calibration="sigma0", swaths=() if swath == "IW" else (swath,), noise_removal=False
    )
    ours = layover.reconstruct(scene, dem, method=layover.Reallocation())
    product = Sentinel1SarProduct(str(path), group)
    raster = xr.DataArray(
        dem.values.astype(np.float64), dims=dem.dims, coords={"y": dem.y, "x": dem.x}
    ).rio.write_crs(dem.rio.crs)
    theirs = {
        tolerance: _pixels_of_sarsen(product, raster, scene.grid, tolerance)
        for tolerance in (METRE, MILLIMETRE)
    }
    values = _sigma0_of_sarsen(product, raster.chunk(), *theirs[METRE])
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels = 10.0 * np.log10(ours["sigma0_geocoded"].values / values)
    plain = (ours["mask"].values == 0) & (ours["fold_count"].values == 1) & np.isfinite(decibels)

    def apart(grid: RadarGrid, tolerance: float) -> Floats:
        seen = geometry.geo2rdr(dem, grid, scene.orbit)
        line, sample = theirs[tolerance]
        distance: Floats = np.hypot(seen.line.values - line, seen["sample"].values - sample)[plain]
        return distance

    unsheared = replace(scene.grid, bistatic_range=None)
    as_they_are = apart(scene.grid, METRE)
    return Comparison(
        cells=int(plain.sum()),
        shift=_rms(as_they_are),
        largest_shift=float(as_they_are.max()),
        shift_same_conventions=_rms(apart(unsheared, MILLIMETRE)),
        decibels=_rms(decibels[plain]),
        bias=float(decibels[plain].mean()),
    )


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def measure(folder: Path, data: str | None) -> tuple[dict[str, Comparison], dict[str, Comparison]]:
    """Compare all products, without and with speckle."""
    clean: dict[str, Comparison] = {}
    speckled: dict[str, Comparison] = {}
    for case in CASES:
        looks = LOOKS["SLC" if case.group != "IW/VV" else "GRD"]
        clean[case.name] = _play(case, folder, data, None)
        speckled[case.name] = _play(case, folder, data, looks)
    return clean, speckled


def _play(case: Case, folder: Path, data: str | None, looks: float | None) -> Comparison:
    """Simulate a product and geocode it twice."""
    annotation = data_file(case.annotation, data)
    # As in `benchmarks._mountains.scenes`, the geoid is set aside: it would only lift the place.
    heights = open_dem(data_file(case.dem, data), vertical="ellipsoidal")
    heights = heights[case.rows, case.columns]
    orbit = read_orbit(annotation)
    grid = crop_grid_to_dem(heights, read_grid(annotation), orbit)
    scene = simulate(heights, grid, orbit, looks=looks, seed=SEED)
    path = folder / f"{case.name}-{looks}.SAFE"
    write_product(scene, path, like=annotation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sarsen and of what it uses
        return compare(path, case.group, heights)


def figures(clean: dict[str, Comparison], speckled: dict[str, Comparison]) -> dict[str, Value]:
    """Sum up over the products."""
    return {
        "safe.geocoding_vs_sarsen_shift": max(each.shift for each in clean.values()),
        "safe.geocoding_vs_sarsen_db": max(each.decibels for each in clean.values()),
        **{f"safe.{name}.db_speckled": each.decibels for name, each in speckled.items()},
    }
