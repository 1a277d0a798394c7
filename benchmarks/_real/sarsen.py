"""Plain geocoding of a Sentinel-1 product by sarsen, and by us.

Where both read an image for the same cell of a DEM, they differ by conventions, not by chance.
With the first two set aside, 0.0004 pixels are left, of which 0.0003 are the microseconds to which
annotations are rounded.

- The shear of Sentinel-1's images along azimuth (the bistatic residual, see
  `sarheight.grid.RadarGrid`): sarsen takes the stamp of a line for its zero-Doppler time
  everywhere. It is nothing in the middle of the swath, and 0.18 lines of a GRDH, or 0.13 of an IW
  SLC, at its edges.
- sarsen stops its search for zero Doppler as soon as every cell is within a metre along the track;
  Newton's steps decide by how much it is better than that. In Oetztal 0.04 lines are left, in the
  other two scenes nothing.
- sarsen fits one polynomial of degree five to all state vectors, we take four neighbours at a
  time: 0.0002 lines.
- Both interpolate the ground-range records of a GRD linearly in time. By the nearest record, as
  ESA's geolocation grid has it, samples would differ by 0.2 pixels in the root mean square.
- Both take whole pixel coordinates for pixel centres, and interpolate power, not amplitude.
- xarray-sentinel cuts 90 lines off both ends of each burst of an SLC, which leaves a gap of some 15
  lines between bursts; sarsen interpolates across it. The scenes lie within a burst.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sarheight import geometry, layover
from sarheight.sentinel1._product import open_product

if TYPE_CHECKING:
    from pathlib import Path

    from sarsen.sentinel1 import Sentinel1SarProduct

    from sarheight.grid import RadarGrid

__all__ = ["Comparison", "compare"]

Floats = NDArray[np.float64]

METRE = 1.0
"""Along the track, at which sarsen stops."""
MILLIMETRE = 1e-3
C = 299_792_458.0


@dataclass(frozen=True)
class Comparison:
    """How far two geocodings of the same product are apart, away from layover and shadow.

    Attributes
    ----------
    cells : int
        Cells compared.
    shift : float
        Root mean square, in pixels of the image, of how far apart the places are at which both
        read it for the same cell.
    largest_shift : float
        The most of it.
    shift_without_shear : float
        Root mean square where we leave out the shear along azimuth, too.
    shift_same_conventions : float
        And where sarsen is made to converge to a millimetre along the track.
    decibels : float
        Root mean square of the difference of sigma0.
    bias : float
        Its mean, in decibels.
    """

    cells: int
    shift: float
    largest_shift: float
    shift_without_shear: float
    shift_same_conventions: float
    decibels: float
    bias: float


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
    """Geocode a product with both.

    Parameters
    ----------
    path : Path
        A folder ``*.SAFE``.
    group : str
        Swath and polarisation, such as "IW/VV" or "IW2/VV".
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x). The image must show all of it.

    Returns
    -------
    Comparison
    """
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
        shift_without_shear=_rms(apart(unsheared, METRE)),
        shift_same_conventions=_rms(apart(unsheared, MILLIMETRE)),
        decibels=_rms(decibels[plain]),
        bias=float(decibels[plain].mean()),
    )


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))
