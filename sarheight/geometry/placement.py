"""The part of an image that shows a DEM or an area in degrees."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyproj
from numpy.typing import NDArray
from sarheight_kernels.doppler import closing_speeds

from sarheight._windows import crop_image, stack_images
from sarheight.dem import check_dem, local_posting
from sarheight.dem.checked import CheckedDem
from sarheight.ellipsoid import look_sign, to_earth_fixed
from sarheight.errors import GeometryError
from sarheight.geometry.pass_geometry import PassGeometry, pass_geometry
from sarheight.grid import RadarGrid
from sarheight.orbit import look_at
from sarheight.scene import Scene, looks_for_spacing, multilook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    import xarray as xr

    from sarheight.orbit import Orbit

MARGIN = 16
"""Pixels that are kept around those that the DEM contributes to."""


def _window(geometry: PassGeometry, margin: int) -> tuple[slice, slice]:
    """Find the lines and samples of the image that a DEM can contribute to, with a margin."""
    bounds = geometry.bounds[np.isfinite(geometry.bounds).all(axis=1)]
    first_line, first_sample = np.rint(bounds[:, [0, 2]].min(axis=0)).astype(int).tolist()
    last_line, last_sample = np.rint(bounds[:, [1, 3]].max(axis=0)).astype(int).tolist()
    lines, samples = geometry.grid.shape
    return (
        slice(max(first_line - margin, 0), min(last_line + margin + 1, lines)),
        slice(max(first_sample - margin, 0), min(last_sample + margin + 1, samples)),
    )


def crop_grid_to_dem(
    dem: xr.DataArray | CheckedDem, grid: RadarGrid, orbit: Orbit, *, margin: int = MARGIN
) -> RadarGrid:
    """Crop a grid to the part that a DEM can contribute to."""
    return grid.crop(*_window(pass_geometry(dem, grid, orbit), margin))


def crop_scene_to_dem(
    scene: Scene, dem: xr.DataArray | CheckedDem, *, margin: int = MARGIN
) -> Scene:
    """Crop a scene to the part that a DEM can contribute to."""
    line, sample = _window(pass_geometry(dem, scene.grid, scene.orbit), margin)
    image = crop_image(scene.image, line, sample)
    return Scene(image, scene.grid.crop(line, sample), scene.orbit, scene.calibration)


def rotate_over_dem(
    dem: xr.DataArray, grid: RadarGrid, orbit: Orbit, incidence: float
) -> tuple[RadarGrid, Orbit, float]:
    """Rotate an orbit about the Earth's axis until it sees a DEM, and move the grid there.

    The sampling stays that of the grid. A slant-range grid is moved along and across the track;
    one in ground range only along it, as its polynomials do not reach beyond the swath. Also
    returns the degrees of the rotation.
    """
    dem = check_dem(dem)
    latitude, longitude, height = _centre(dem)
    orbit = orbit.with_epoch(grid.epoch)
    degrees = look_at(
        orbit, latitude, longitude, incidence, look_side=grid.look_side, height=height
    )
    orbit = orbit.rotate(degrees)
    grid = _move_grid(dem, grid, orbit, (latitude, longitude, height), incidence)
    return grid, orbit, degrees


def _centre(dem: xr.DataArray) -> tuple[float, float, float]:
    """Return the latitude and longitude of the middle of a DEM, and its mean height."""
    to_degrees = pyproj.Transformer.from_crs(dem.rio.crs, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(float(dem.x.mean()), float(dem.y.mean()))
    return latitude, longitude, float(dem.mean())


def _move_grid(
    dem: xr.DataArray,
    grid: RadarGrid,
    orbit: Orbit,
    position: tuple[float, float, float],
    incidence: float,
) -> RadarGrid:
    """Move a grid along the track, and across it if possible, until it shows a DEM."""
    centre = RadarGrid.over(
        orbit,
        *position[:2],
        height=position[2],
        lines=1,
        samples=1,
        ground_range=False,
        look_side=grid.look_side,
    )
    time, slant_range = centre.line_zero_time, centre.near_range
    reach = 0.5 * float(np.hypot(*np.multiply(local_posting(dem), dem.shape)))
    relief = float(dem.max() - dem.min())
    lines = 2 * int(np.ceil(reach / grid.line_spacing(orbit))) + 2 * MARGIN
    wide = replace(
        grid, line_zero_time=time - 0.5 * (lines - 1) * grid.line_interval, lines=lines, bursts=()
    )
    if grid.is_ground_range:
        near, far = (float(grid.slant_range(0, sample)) for sample in (0, grid.samples - 1))
        if not near <= slant_range <= far:
            msg = (
                f"under an incidence of {incidence:g} degrees the DEM is {slant_range / 1000:.1f} "
                f"km away, and the swath reaches from {near / 1000:.1f} to {far / 1000:.1f} km; "
                "expected an incidence that the swath has (`sarheight info` prints it)"
            )
            raise GeometryError(msg)
    else:
        samples = int(np.ceil((reach + relief) / grid.sample_spacing)) + MARGIN
        wide = replace(
            wide, near_range=slant_range - samples * grid.sample_spacing, samples=2 * samples + 1
        )
    return crop_grid_to_dem(CheckedDem(dem), wide, orbit)


Bounds = tuple[float, float, float, float]
"""West, south, east and north in degrees; west is larger than east across the date line."""

HEIGHTS = (-500.0, 9000.0)
"""Range of all land, in metres above the ellipsoid."""

POSTING, FEWEST, MOST = 0.05, 5, 200
"""Points that represent an area: their distance in degrees, and their number along an axis."""
ITERATIONS = 30
"""Each divides the error by eight: the satellite's path is curved."""

Floats = NDArray[np.float64]


def window_of_bounds(
    bounds: Bounds,
    grid: RadarGrid,
    orbit: Orbit,
    *,
    heights: tuple[float, float] = HEIGHTS,
    margin: int = MARGIN,
) -> tuple[slice, slice]:
    """Find the lines and samples that show an area, wherever its ground lies in height."""
    require_bounds(bounds)
    if not heights[0] <= heights[1]:
        msg = f"found heights from {heights[0]:g} to {heights[1]:g} m, expected low before high"
        raise ValueError(msg)
    time, slant_range = time_and_range(_points(bounds, heights), grid, orbit.with_epoch(grid.epoch))
    edges = grid.slant_range(*np.meshgrid([0, grid.lines - 1], [0, grid.samples - 1]))
    if (
        time.size == 0
        or time.min() > grid.last_time
        or time.max() < grid.first_time
        or slant_range.min() > edges.max()
        or slant_range.max() < edges.min()
    ):
        msg = (
            f"found bounds {bounds}, which the image does not show; expected west, south, east, "
            "north in degrees, of a place within it (`sarheight info` prints its outline)"
        )
        raise GeometryError(msg)
    # Ground-range polynomials do not hold beyond the image.
    inside = np.clip(slant_range, edges.min(), edges.max())
    sample = grid.sample(inside, np.clip(time, grid.first_time, grid.last_time))
    return (
        _pixel_range(grid.line(time, slant_range), grid.lines, margin),
        _pixel_range(sample, grid.samples, margin),
    )


def _pixel_range(coordinates: Floats, size: int, margin: int) -> slice:
    """Return the pixels of an axis, inside the image, from the least to the greatest coordinate."""
    first = min(max(math.floor(float(coordinates.min())) - margin, 0), size - 1)
    last = min(max(math.ceil(float(coordinates.max())) + margin, 0), size - 1)
    return slice(first, last + 1)


def _points(bounds: Bounds, heights: tuple[float, float]) -> Floats:
    """Spread points over an area, at its lowest and highest level; Earth-fixed, shape (n, 3)."""
    west, south, east, north = bounds
    east += 360.0 if east < west else 0.0
    axes = (
        np.linspace(low, high, min(max(math.ceil((high - low) / POSTING), FEWEST), MOST))
        for low, high in ((west, east), (south, north))
    )
    longitude, latitude, height = np.meshgrid(*axes, np.array(heights))
    position, normal = to_earth_fixed(longitude.ravel(), latitude.ravel())
    points: Floats = position + height.ravel()[:, None] * normal
    return points


def time_and_range(points: Floats, grid: RadarGrid, orbit: Orbit) -> tuple[Floats, Floats]:
    """Find azimuth time and slant range of the points on the side to which the radar looks.

    Shapes: `points` (n, 3); returns `time, slant_range` (m,).
    """
    table = None if grid.doppler is None else grid.doppler.table(grid.wavelength)
    time = np.full(len(points), 0.5 * (grid.first_time + grid.last_time))
    # Newton's method without the acceleration: t += (v . (P - s) - q R) / v . v, with the closing
    # speed q at the Doppler centroid.
    for _ in range(ITERATIONS):
        position, velocity = orbit.state(time)
        ahead = np.einsum("ij,ij->i", velocity, points - position)
        if table is not None:
            distance = np.linalg.norm(points - position, axis=1)
            ahead -= closing_speeds(table, time, distance) * distance
        time = np.clip(
            time + ahead / np.einsum("ij,ij->i", velocity, velocity), orbit.time[0], orbit.stop
        )
    position, velocity = orbit.state(time)
    look = points - position
    side = np.einsum("ij,ij->i", np.cross(velocity, position), look)
    towards = side * look_sign(grid.look_side) > 0.0
    return time[towards], np.linalg.norm(look[towards], axis=1)


def bounds_of_corners(corners: NDArray[np.float64], margin: float = 0.0) -> Bounds:
    """Find the smallest area that holds some corners.

    Shapes: `corners` (n, 2).
    """
    longitude, latitude = corners.T
    longitude = longitude[0] + (longitude - longitude[0] + 180.0) % 360.0 - 180.0
    west, east = (
        float((limit + 180.0) % 360.0 - 180.0)
        for limit in (longitude.min() - margin, longitude.max() + margin)
    )
    south = max(float(latitude.min()) - margin, -90.0)
    return west, south, east, min(float(latitude.max()) + margin, 90.0)


def require_bounds(bounds: Bounds) -> None:
    """Check an area given in degrees."""
    west, south, east, north = bounds
    if not (
        -90.0 <= south < north <= 90.0
        and -180.0 <= west <= 180.0
        and -180.0 <= east <= 360.0
        and west != east
    ):
        msg = (
            f"found bounds {bounds}, expected west, south, east, north in degrees, south below "
            "north; west is larger than east only across the date line"
        )
        raise ValueError(msg)


def describe_place(
    longitude: NDArray[np.float64], latitude: NDArray[np.float64], digits: int = 3
) -> str:
    """Say between which longitudes and latitudes in degrees places lie."""
    east, north = (
        f"{each.min():.{digits}f} to {each.max():.{digits}f}" for each in (longitude, latitude)
    )
    return f"longitude {east}, latitude {north}"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The part of a product's image to read, and how its pixels are averaged.

    Fields are those of `sarheight.product.Product.scene`; raises ValueError where they contradict
    each other.
    """

    bounds: Bounds | None = None
    heights: tuple[float, float] = HEIGHTS
    multilook: tuple[int, int] | None = None
    spacing: float | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.bounds is not None:
            require_bounds(self.bounds)
        if self.multilook is not None and self.spacing is not None:
            msg = (
                f"found multilook={self.multilook} and spacing={self.spacing}, expected one of them"
            )
            raise ValueError(msg)

    def crop(
        self, image: xr.DataArray, grid: RadarGrid, orbit: Orbit
    ) -> tuple[xr.DataArray, RadarGrid]:
        """Crop image and grid to the bounds."""
        if self.bounds is None:
            return image, grid
        line, sample = window_of_bounds(self.bounds, grid, orbit, heights=self.heights)
        return crop_image(image, line, sample), grid.crop(line, sample)

    def average(
        self,
        image: xr.DataArray,
        grid: RadarGrid,
        orbit: Orbit,
        looks: Callable[[int, int], float],
    ) -> tuple[xr.DataArray, RadarGrid]:
        """Average pixels, given the equivalent number of looks of a window."""
        window = self.multilook
        if self.spacing is not None:
            window = looks_for_spacing(grid, orbit, self.spacing)
        return (
            (image, grid)
            if window is None
            else multilook(image, grid, *window, looks=looks(*window))
        )


def stack_polarisations(
    images: Mapping[str, xr.DataArray], product: str, attributes: Mapping[str, Any]
) -> xr.DataArray:
    """Put the images of a product, by polarisation, on one dimension where there are several."""
    if len({image.shape for image in images.values()}) > 1:
        sizes = " and ".join(f"{image.shape[0]} x {image.shape[1]}" for image in images.values())
        msg = f"the polarisations of {product} have {sizes} pixels: fetch it again"
        raise ValueError(msg)
    names = list(images)
    stacked = (
        images[names[0]].assign_coords(polarisation=names[0])
        if len(names) == 1
        else stack_images(list(images.values())).assign_coords(polarisation=names)
    )
    described = {"long_name": "radar backscatter", "units": "1", "product_name": product}
    return stacked.assign_attrs(described | dict(attributes))


def chosen_names(
    what: str, requested: Sequence[str], present: tuple[str, ...], product: str, contents: str = ""
) -> tuple[str, ...]:
    """Return the requested polarisations or swaths of a product, or all that are present.

    A text is one name. An error lists what is present, or the `contents` of the product.
    """
    requested = (requested,) if isinstance(requested, str) else tuple(requested)
    names = tuple(name.upper() for name in requested) or present
    if len(set(names)) < len(names) or not set(names) <= set(present):
        msg = (
            f"found {what}={requested}, expected one or more of those that {product} has, "
            f"each once: {contents or ', '.join(present)}"
        )
        raise ValueError(msg)
    return names
