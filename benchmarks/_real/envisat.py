"""Real ENVISAT pixels with layover, and heights that another program found for every one of them.

The image is a single-look complex one over hills in the Mojave Desert, focused to its native
Doppler centroid, in the layout of an RSLC. It comes from the tests of isce3, with the position that
isce3 found for each pixel on a DEM of SRTM (1 arc second), and isce3's own area-projection RTC
factor.

The tile of SRTM is not among the data. The heights of all pixels, a dozen to a post, let it be
recovered: bicubic B-splines with knots at whole arc seconds, the posts of SRTM, are fitted to them
by least squares, with a little smoothness for the posts that lie in no pixel's view. In layover
isce3 puts a pixel on one of the places that it shows, so the others, on slopes that face the radar,
are interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rioxarray  # noqa: F401
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage, sparse, spatial

from benchmarks._mountains.scenes import data_file
from sarheight.nisar import open_product
from sarheight.scene import Scene

__all__ = ["Desert", "Heights", "desert"]

FOLDER = "radar_pixels/envisat_mojave/"
POSTS = 3600.0
"""Posts of SRTM in a degree."""
SMOOTHNESS = 0.01
"""Weight of squared second differences of the spline's coefficients, beside squared metres."""
ITERATIONS = 600
NEAR = 40.0
"""Metres from a pixel within which the surface is known, but for holes, which are filled."""
METRES = 111_000.0
"""Metres in a degree of latitude, roughly."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Heights:
    """A surface of bicubic B-splines with knots at whole arc seconds."""

    coefficients: Floats  # Of the splines, shape (rows, columns); rows run south
    level: float  # Added to them, in metres
    row: float  # Arc seconds south of the equator of the first one
    column: float  # Arc seconds east of Greenwich
    points: Floats  # Longitude and latitude of the heights that were fitted, shape (n, 2)
    residual: float  # Root of the mean squared difference to them in metres

    @classmethod
    def fit(cls, longitude: Floats, latitude: Floats, height: Floats) -> Heights:
        """Fit the surface to heights at points, shape (n,)."""
        south, east = -latitude * POSTS, longitude * POSTS
        row, column = np.floor(south.min()) - 3.0, np.floor(east.min()) - 3.0
        first_row, by_row = _splines(south - row)
        first_column, by_column = _splines(east - column)
        rows, columns = int(first_row.max()) + 4, int(first_column.max()) + 4
        steps = np.arange(4)
        place = (first_row[:, None, None] + steps[:, None]) * columns + (
            first_column[:, None, None] + steps
        )
        weight = by_row[:, :, None] * by_column[:, None, :]
        number = np.repeat(np.arange(height.size), 16)
        matrix = sparse.csr_matrix(
            (weight.ravel(), (number, place.ravel())), shape=(height.size, rows * columns)
        )
        smooth = np.sqrt(SMOOTHNESS) * sparse.vstack(
            [
                sparse.kron(sparse.identity(rows), _second_differences(columns)),
                sparse.kron(_second_differences(rows), sparse.identity(columns)),
            ]
        )
        level = float(height.mean())
        known = np.concatenate((height - level, np.zeros(smooth.shape[0])))
        solution = sparse.linalg.lsmr(
            sparse.vstack([matrix, smooth]).tocsr(),
            known,
            atol=1e-9,
            btol=1e-9,
            maxiter=ITERATIONS,
        )[0]
        error = float(np.sqrt(np.mean((matrix @ solution - known[: height.size]) ** 2)))
        points = np.stack((longitude, latitude), axis=1)
        return cls(solution.reshape(rows, columns), level, row, column, points, error)

    def dem(self, finer: int = 1) -> xr.DataArray:
        """Return the heights at posts of an arc second or a whole part of it."""
        down, across = (np.arange(2.0, size - 2.0, 1.0 / finer) for size in self.coefficients.shape)
        heights = self.level + (
            _spline_matrix(down, self.coefficients.shape[0])
            @ self.coefficients
            @ _spline_matrix(across, self.coefficients.shape[1]).T
        )
        # The first coefficient belongs to the knot before the interval that it begins to act on.
        latitude = -(down + self.row - 1.0) / POSTS
        longitude = (across + self.column - 1.0) / POSTS
        near = self.distances(longitude, latitude) <= NEAR
        known = ndimage.binary_fill_holes(near)
        dem = xr.DataArray(
            np.where(known, heights, np.nan).astype(np.float32),
            dims=("y", "x"),
            coords={"y": latitude, "x": longitude},
            attrs={"vertical_datum": "ellipsoidal", "units": "m"},
        )
        return dem.rio.write_crs(4326)

    def distances(self, longitude: Floats, latitude: Floats) -> Floats:
        """Return the distance in metres from each post to the nearest point, shape (rows, cols).

        `longitude`, shape (cols,), and `latitude`, shape (rows,), are those of the posts.
        """
        scale = METRES * np.array([np.cos(np.radians(latitude.mean())), 1.0])
        posts = np.stack(np.meshgrid(longitude, latitude), axis=-1).reshape(-1, 2)
        distance, _ = spatial.cKDTree(self.points * scale).query(posts * scale)
        found: Floats = np.asarray(distance).reshape(latitude.size, longitude.size)
        return found


def _splines(place: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the first of the four cubic B-splines at places, and their values, shape (n, 4).

    Spline number k has its middle at k - 1, so that all numbers begin at 0.
    """
    first = np.floor(place).astype(np.int64)
    t = place - first
    values = (
        (1.0 - t) ** 3,
        3.0 * t**3 - 6.0 * t**2 + 4.0,
        -3.0 * t**3 + 3.0 * t**2 + 3.0 * t + 1.0,
        t**3,
    )
    return first, np.stack(values, axis=1) / 6.0


def _spline_matrix(place: Floats, size: int) -> Floats:
    """Return the values of all splines at places that count from the middle of the first."""
    first, values = _splines(place - 1.0)
    matrix = np.zeros((place.size, size))
    for step in range(4):
        matrix[np.arange(place.size), first + step] = values[:, step]
    return matrix


def _second_differences(size: int) -> sparse.spmatrix:
    ones = np.ones(size - 2)
    return sparse.diags([ones, -2.0 * ones, ones], [0, 1, 2], shape=(size - 2, size))


@dataclass(frozen=True, eq=False)
class Desert:
    """The image, and what isce3 found for its pixels."""

    scene: Scene  # The single-look image, sigma0, at native Doppler
    longitude: Floats  # Of each pixel, by isce3, degrees
    latitude: Floats  # Likewise
    height: Floats  # Likewise, in metres
    factor: Floats  # Area-projection RTC factor of isce3
    heights: Heights  # The surface on which the positions lie


def desert(folder: str | None = None) -> Desert:
    """Read the image and isce3's results; `folder` is that of the data."""
    path = Path(data_file(FOLDER + "envisat.h5", folder))
    found = open_product(path).scene(polarisations=("HH",), calibration="sigma0", focusing="native")
    scene = Scene(found.image.compute(), found.grid, found.orbit, found.calibration)
    shape = scene.grid.shape
    x, y, z = (np.fromfile(path.parent / "topo" / f"{name}.rdr").reshape(shape) for name in "xyz")
    factor = np.fromfile(path.parent / "rtc_area_factor_ref.f32", np.float32).reshape(shape)
    heights = Heights.fit(x.ravel(), y.ravel(), z.ravel())
    return Desert(scene, x, y, z, factor.astype(np.float64), heights)
