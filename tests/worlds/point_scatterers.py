"""Radar images of point scatterers, with the truth that they show.

Each scatterer appears at its own zero-Doppler time and slant range (`scatterer_geometry`), with a
complex circular Gaussian amplitude unless it is hidden (`scatterer_rays`), through the impulse
response of Sentinel-1 (`slc_image`), on ground of several kinds (`scattering_ground`). Nothing of
this is shared with the simulation and the reconstruction of `sarheight`, of which only the orbit
and the grid that describe the image are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from sarheight.ellipsoid import LookSide
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit, look_at
from sarheight.scene import Scene
from tests.worlds.scatterer_geometry import Path, Surface, locate_cells, path_of, surface_of
from tests.worlds.scatterer_rays import draw_scatterers, fold_cells
from tests.worlds.scattering_ground import (
    COARSER,
    FLATTEST,
    REFERENCE_INCIDENCE,
    STEEPEST,
    DemForm,
    Ground,
    block_sums,
    on_grid,
)
from tests.worlds.slc_image import (
    IW1,
    Instrument,
    SlcGrid,
    add_noise,
    detect,
    equivalent_looks,
    focus,
    pixel_areas,
    slc_grid_for,
)

__all__ = ["Observation", "Scatterers", "observe", "pass_over", "scatterers_of", "truth_on"]

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

BLOCK_SCATTERERS = 1_000_000
"""Scatterers that are held at a time."""
MARGIN = 8
"""Pixels around what the DEM fills."""
LEAST_AREA = 0.05
"""Coarse cells count where their projected area is at least this part of their area on the map."""


@dataclass(frozen=True, eq=False)
class Observation:
    """A simulated image, and the truth that it shows."""

    scene: Scene  # the image: beta0, linear power, with speckle and noise
    dem: xr.DataArray  # the DEM that a reconstruction may use, dims (y, x)
    truth: xr.Dataset  # the truth on that DEM's grid; see `truth_on`
    # Sums over the scatterers of each cell of the true DEM, dims (y, x): ``rcs`` (sum of
    # variances) and ``area`` (projected), both of illuminated scatterers and in square metres,
    # ``illuminated`` (share of scatterers), ``layover`` (whether the cell's slant range occurs
    # elsewhere in its zero-Doppler plane)
    fine: xr.Dataset
    # Sum of the squared magnitudes of the complex image without noise, in square metres
    slc_energy: float


class Scatterers(NamedTuple):
    """The scatterers of some rows of cells, arrays of shape (rows, columns, scatterers)."""

    rows: slice
    time: Floats  # of zero Doppler, in seconds after the epoch of the path
    slant: Floats  # slant range in metres
    variance: Floats  # radar cross-section in square metres, 0 in shadow
    amplitude: Complex
    area: Floats  # projected, in square metres, 0 in shadow


def scatterers_of(
    ground: Ground, surface: Surface, path: Path, side: int, key: int
) -> Iterator[Scatterers]:
    """Draw all scatterers, block by block of rows: `side` x `side` in each cell of the ground.

    The random numbers depend on `key` and on a scatterer's place alone.
    """
    rows, columns = ground.kind.shape
    turn = np.array([STEEPEST, FLATTEST, REFERENCE_INCIDENCE])
    rows_at_once = max(BLOCK_SCATTERERS // (columns * side**2), 1)
    for first in range(0, rows, rows_at_once):
        block = slice(first, min(first + rows_at_once, rows))
        shape = (block.stop - first, columns, side**2)
        time, slant, variance, area = (np.empty(shape) for _ in range(4))
        amplitude = np.empty(shape, dtype=np.complex128)
        draw_scatterers(
            surface.coefficients,
            surface.level,
            surface.ceiling,
            path.polynomial,
            path.middle,
            path.half,
            first,
            ground.kind[block],
            ground.level[block],
            ground.slope[block],
            ground.tables,
            turn,
            key,
            time,
            slant,
            variance,
            amplitude,
            area,
        )
        yield Scatterers(block, time, slant, variance, amplitude, area)


def _image_scatterers(
    ground: Ground,
    surface: Surface,
    path: Path,
    slc: SlcGrid,
    settings: tuple[Instrument, int, int],
) -> tuple[Complex, dict[str, Floats]]:
    """Draw and focus all scatterers; sums of each cell come along."""
    instrument, side, key = settings
    image = np.zeros((slc.lines, slc.samples), dtype=np.complex128)
    sums = {name: np.empty(ground.kind.shape) for name in ("rcs", "area", "illuminated")}
    for each in scatterers_of(ground, surface, path, side, key):
        sums["rcs"][each.rows] = each.variance.sum(axis=2)
        sums["area"][each.rows] = each.area.sum(axis=2)
        sums["illuminated"][each.rows] = (each.area > 0.0).mean(axis=2)
        line, sample = slc.pixels(each.time.ravel(), each.slant.ravel())
        focus(line, sample, each.amplitude.ravel(), instrument, image)
    return image, sums


def truth_on(fine: xr.Dataset, ground: Ground, factor: int) -> xr.Dataset:
    """Sum up the truth over blocks of cells.

    Parameters
    ----------
    fine : xarray.Dataset
        Sums over the scatterers of each cell; see `Observation`.
    ground : Ground
        The ground.
    factor : int
        Cells in a block, each way.

    Returns
    -------
    xarray.Dataset
        Dims (y, x):

        ``gamma0``
            Sum of variances by sum of projected areas over illuminated scatterers, linear power;
            NaN where less than half of a block is illuminated, or it shows the radar less than
            0.05 of its area on the map.
        ``layover``, ``shadow``
            Whether at least half of the block's cells are in layover; more than half of its
            scatterers in shadow.
        ``kind``
            Index of the kind of ground of most of its cells, uint8.
    """
    cells = factor**2
    sums = {name: block_sums(fine[name].values, factor) for name in fine.data_vars}
    shadow = sums["illuminated"] < 0.5 * cells
    on_map = float(fine.attrs["cell_area"])
    with np.errstate(divide="ignore", invalid="ignore"):
        gamma0 = sums["rcs"] / sums["area"]
    gamma0[shadow | (sums["area"] < LEAST_AREA * cells * on_map)] = np.nan
    votes = [block_sums(ground.kind == index, factor) for index in range(len(ground.names))]
    values = {
        "gamma0": (gamma0, {"long_name": "true gamma0", "units": "1"}),
        "layover": (sums["layover"] >= 0.5 * cells, {}),
        "shadow": (shadow, {}),
        "kind": (np.argmax(votes, axis=0).astype(np.uint8), {"kinds": " ".join(ground.names)}),
    }
    return xr.Dataset(
        {name: on_grid(ground.dem, each, factor, attrs) for name, (each, attrs) in values.items()}
    )


def _fine_truth(
    ground: Ground, surface: Surface, path: Path, sums: dict[str, Floats]
) -> xr.Dataset:
    """Put the sums of cells and their layover on the grid of the true DEM."""
    folded = np.empty(ground.kind.shape, dtype=np.bool_)
    heights = ground.dem.values
    fold_cells(
        surface.coefficients,
        surface.level,
        path.polynomial,
        path.middle,
        path.half,
        float(heights.min()),
        float(heights.max()),
        folded,
    )
    middle = surface.level[surface.shape[0] // 2 :, surface.shape[1] // 2 :]
    area = np.linalg.norm(np.cross(middle[1, 0] - middle[0, 0], middle[0, 1] - middle[0, 0]))
    layers = {name: on_grid(ground.dem, values, 1, {}) for name, values in sums.items()}
    layers["layover"] = on_grid(ground.dem, folded, 1, {})
    return xr.Dataset(layers, attrs={"cell_area": float(area)})


def observe(
    ground: Ground,
    grid: RadarGrid,
    orbit: Orbit,
    seed: int,
    *,
    instrument: Instrument = IW1,
    scatterers: int = 8,
    looks: tuple[int, int] = (1, 5),
    subtract_noise: bool = True,
    form: DemForm = COARSER,
) -> Observation:
    """Take an image of ground.

    Memory is that of the complex image (32 bytes a sample with its sums), of a few arrays of the
    DEM's size, and of a million scatterers. The result has the same bits for any number of
    threads.

    Parameters
    ----------
    ground : Ground
        The ground.
    grid : RadarGrid
        Sampling of the image: multilooked slant range, or ground range like that of a GRD.
    orbit : Orbit
        State vectors that cover the image.
    seed : int
        Seed of scatterers and noise: another one is another date.
    instrument : Instrument
        The radar.
    scatterers : int
        Scatterers in a cell of the true DEM, each way. In a cell of 30 m 8 leave 98 % of the
        equivalent number of looks that the grid states, 6 leave 96 %, and 4, which are fewer than
        two in a resolution cell and take a fifth of the time, 87 %.
    looks : pair of int
        Lines and samples of the complex image that are averaged around each pixel. (1, 5) gives
        pixels as those of an IW GRDH, which averages five looks of range.
    subtract_noise : bool
        Whether the mean noise is taken off the image, as processors offer to do.
    form : DemForm
        The DEM that comes with the image. Its error depends on the ground's seed only, so that
        all passes over one ground have the same.

    Returns
    -------
    Observation

    Raises
    ------
    OrbitCoverageError
        If the orbit does not cover the image.
    """
    orbit = orbit.with_epoch(grid.epoch)
    orbit.require_cover(grid.first_time, grid.last_time)
    path = path_of(orbit, 0.5 * (grid.first_time + grid.last_time))
    surface = surface_of(ground.dem)
    slc = slc_grid_for(grid, instrument, looks)
    streams = np.random.SeedSequence([ground.seed, seed]).spawn(2)
    # 63 bits, as signed integers are what compiled functions take.
    key = int(streams[0].generate_state(1, np.uint64)[0] >> np.uint64(1))
    image, sums = _image_scatterers(ground, surface, path, slc, (instrument, scatterers, key))
    energy = float(np.sum(np.abs(image) ** 2))

    area, sine = pixel_areas(slc, path, 1.0 if grid.look_side == "right" else -1.0)
    # beta0 is sigma0 by the sine of incidence.
    noise = instrument.noise / sine
    add_noise(image, noise * area, instrument, np.random.default_rng(streams[1]))
    intensity = (image.real**2 + image.imag**2) / area
    if subtract_noise:
        intensity -= noise
    del image
    detected = detect(intensity, slc, grid, looks)

    fine = _fine_truth(ground, surface, path, sums)
    attributes = {
        "long_name": "simulated radar image of point scatterers, beta0",
        "units": "1",
        "simulated": "from a DEM and an orbit",
    }
    data = xr.DataArray(detected, dims=("line", "sample"), name="beta0", attrs=attributes)
    counted = replace(grid, looks=equivalent_looks(instrument, looks))
    dem = form.degrade(ground.dem, ground.seed)
    truth = truth_on(fine, ground, form.factor)
    return Observation(Scene(data, counted, orbit, "beta0"), dem, truth, fine, energy)


def pass_over(
    dem: xr.DataArray,
    incidence: float,
    *,
    orbit: Orbit | None = None,
    look_side: LookSide = "right",
    ascending: bool = True,
    product: Literal["grd", "multilooked"] = "grd",
    instrument: Instrument = IW1,
    looks: tuple[int, int] = (1, 5),
) -> tuple[RadarGrid, Orbit]:
    """Let an orbit pass a DEM, and lay a grid that holds what the DEM fills.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), without voids, with a CRS.
    incidence : float
        Incidence angle on the ellipsoid in the DEM's middle, in degrees.
    orbit : Orbit, optional
        A real orbit that passes the DEM's latitude; it is turned about the Earth's axis. Left
        out, a circular one is made.
    look_side : {"right", "left"}
        The side to which the radar looks.
    ascending : bool
        Whether the satellite flies northwards.
    product : {"grd", "multilooked"}
        Pixels of 10 m in ground range and azimuth, or windows of the complex image side by side.
    instrument : Instrument
        The radar.
    looks : pair of int
        Lines and samples of such a window.

    Returns
    -------
    grid : RadarGrid
        With the orbit's epoch.
    orbit : Orbit
        The turned orbit.

    Raises
    ------
    OrbitCoverageError
        If the orbit does not see the latitude under that incidence.
    """
    to_degrees = pyproj.Transformer.from_crs(dem.rio.crs, "EPSG:4326", always_xy=True)
    place = to_degrees.transform(float(dem.x.mean()), float(dem.y.mean()))
    longitude, latitude, height = *place, float(dem.mean())
    if orbit is None:
        # An orbit of this inclination never reaches the poles.
        below = min(max(latitude, -80.0), 80.0)
        # Near its northernmost point an orbit takes long to leave a circle of latitude.
        duration = 300.0 if abs(latitude) < 60.0 else 900.0
        orbit = Orbit.circular(
            latitude=below, longitude=longitude, ascending=ascending, duration=duration
        )
    turn = look_at(
        orbit,
        latitude,
        longitude,
        incidence,
        look_side=look_side,
        height=height,
        ascending=ascending,
    )
    orbit = orbit.rotate(turn)
    one = RadarGrid.over(
        orbit,
        latitude,
        longitude,
        lines=1,
        samples=1,
        height=height,
        ground_range=False,
        look_side=look_side,
    )
    every = max(min(dem.shape) // 100, 1)
    path = path_of(orbit, one.line_zero_time)
    time, slant = locate_cells(surface_of(dem), path, every=every)
    if product == "multilooked":
        grid = _slant_grid(one, time, slant, instrument, looks)
    else:
        grid = _ground_grid(orbit, (latitude, longitude, height), time, slant, look_side)
        grid = replace(grid, looks=equivalent_looks(instrument, looks))
    return grid, orbit


def _slant_grid(
    one: RadarGrid, time: Floats, slant: Floats, instrument: Instrument, looks: tuple[int, int]
) -> RadarGrid:
    """Lay windows of the complex image over what cells fill, with a margin."""
    dt, dr = looks[0] * instrument.line_interval, looks[1] * instrument.range_spacing
    return replace(
        one,
        line_zero_time=float(time.min()) - MARGIN * dt,
        line_interval=dt,
        lines=int(np.ceil(np.ptp(time) / dt)) + 2 * MARGIN + 1,
        near_range=float(slant.min()) - MARGIN * dr,
        sample_spacing=dr,
        samples=int(np.ceil(np.ptp(slant) / dr)) + 2 * MARGIN + 1,
        looks=equivalent_looks(instrument, looks),
    )


def _ground_grid(
    orbit: Orbit,
    place: tuple[float, float, float],
    time: Floats,
    slant: Floats,
    look_side: LookSide,
) -> RadarGrid:
    """Lay a GRD's pixels of 10 m over what cells fill, with a margin."""
    # The satellite's shadow runs at less than 7.2 km/s, and a metre of slant range is less than
    # three of ground range at 20 degrees of incidence.
    lines = int(7200.0 * np.ptp(time) / 10.0) + 100
    samples = int(2.0 * 3.0 * np.ptp(slant) / 10.0) + 100
    wide = RadarGrid.over(
        orbit, *place[:2], lines=2 * lines, samples=samples, height=place[2], look_side=look_side
    )
    line, sample = wide.line(time, slant), wide.sample(slant, time)
    part = [
        slice(int(np.floor(each.min())) - MARGIN, int(np.ceil(each.max())) + MARGIN + 1)
        for each in (line, sample)
    ]
    return wide.crop(*part)
