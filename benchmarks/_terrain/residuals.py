"""Refined heights with their truth, for the network on top of refinement to learn and be scored.

A sample is one refinement: the heights with and without images, their standard deviation, what
refinement says of each image on the grid of the heights, and the truth. Samples are files; what is
there is not made again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyproj
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as displaced

from benchmarks._independent.places import CELLS as WHOLE
from benchmarks._independent.places import (
    PLACES,
    POSTING,
    crop_at,
    places_of,
    source_of,
    steepest_crop,
    true_dem,
)
from benchmarks.refinement import CASES, CELLS, DATES, INCIDENCE, SEED, with_error
from benchmarks.synthetic.mean_images import expected_image, mean_image
from benchmarks.synthetic.point_scatterers import observe
from benchmarks.synthetic.scattering_ground import (
    COARSER,
    REFERENCE_INCIDENCE,
    GroundSettings,
    Kind,
    block_sums,
    draw_ground,
    on_grid,
)
from sarheight.geometry import incidence
from sarheight.terrain.posterior import RefinementSettings
from sarheight.terrain.refinement import refine

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from sarheight.scene import Scene

__all__ = ["STATED", "TRAINING_ROWS", "Sample", "load", "make_scored", "make_training"]

Floats = NDArray[np.float64]

SIDE = 192
"""Cells along the side of a crop for training."""
AWAY = 1500.0
"""Metres between these crops and the scored crop of the same DEM."""
LEAST_SLOPE = 6.0
"""Degrees of mean slope below which a crop is not used."""
INCIDENCES = 28.0, 42.0
"""Degrees on the ellipsoid."""
LARGEST_ERROR, LENGTHS = 15.0, (0.7, 3.0)
"""Metres of standard deviation of a coarse DEM's error, and its smoothing in coarse cells."""
TRAINING_ROWS = ("refine_1", "refine_1x2", "refine_30x2")
STATED = {"stated_2": 2.0, "stated_9": 9.0}
"""Errors of the coarse DEM in metres that refinement is told, by row: both off by a factor of 2."""
FIELDS = ("truth", "baseline", "height", "sigma")
PER_PASS = ("residual", "gamma0", "incidence")


@dataclass(frozen=True, eq=False)
class Sample:
    """One refinement and its truth.

    Attributes
    ----------
    fields : array of float32, shape (4, rows, columns)
        True, back-projected and refined heights, and the standard deviation, in metres.
    passes : array of float32, shape (2, 3, rows, columns)
        Of the ascending and the descending pass: residual in dB, gamma0 in dB, local incidence on
        the refined heights in degrees; NaN where the pass is not there or does not see the ground.
    looks : float
        Equivalent number of looks of an image.
    """

    fields: NDArray[np.float32]
    passes: NDArray[np.float32]
    looks: float


def load(path: Path) -> Sample:
    """Read a sample."""
    with np.load(path) as found:
        return Sample(
            found["fields"].astype(np.float32),
            found["passes"].astype(np.float32),
            float(found["looks"]),
        )


def _save(
    path: Path,
    scenes: Sequence[Scene],
    ascending: Sequence[bool],
    coarse: xr.DataArray,
    truth: Floats,
    stated: float | None = None,
) -> None:
    """Refine a coarse DEM, and write the sample."""
    settings = RefinementSettings() if stated is None else RefinementSettings(error=stated)
    result = refine(scenes, coarse, settings=settings, coregister="none")
    passes = np.full((2, len(PER_PASS), *truth.shape), np.nan, dtype=np.float32)
    height = result["height"]
    for number, (scene, rising) in enumerate(zip(scenes, ascending, strict=True)):
        angle = incidence(height, scene.grid, scene.orbit)["local_incidence"].values
        with np.errstate(invalid="ignore", divide="ignore"):
            level = 10.0 * np.log10(result["gamma0"].values[number])
        passes[0 if rising else 1] = [result["residual"].values[number], level, angle]
    fields = [truth, result["baseline"].values, height.values, result["height_sigma"].values]
    half = path.with_suffix(f".{os.getpid()}.part.npz")
    np.savez(
        half,
        # Half precision would not resolve decimetres in kilometres.
        fields=np.stack(fields).astype(np.float32),
        passes=passes.astype(np.float16),
        looks=scenes[0].grid.looks,
    )
    half.rename(path)


# Training.


@dataclass(frozen=True)
class _QuadraticLaw:
    """A law whose gamma0 in dB is quadratic in the incidence angle, to 70 degrees."""

    level: float  # dB at 40 degrees
    slope: float  # dB for ten degrees
    curvature: float  # dB for ten degrees squared

    def __call__(self, angle: Floats) -> Floats:
        """Return gamma0 in dB at local incidence angles in degrees."""
        tens = (np.minimum(angle, 70.0) - REFERENCE_INCIDENCE) / 10.0
        gamma0: Floats = self.level + self.slope * tens + self.curvature * tens**2
        return gamma0


def _draw_settings(random: np.random.Generator) -> GroundSettings:
    """Draw what ground is like: soil of the scored ground falls by 2.6 dB from 20 to 30 degrees."""
    kinds = tuple(
        Kind(
            f"kind {number}",
            _QuadraticLaw(
                float(random.normal(-9.0, 2.0)),
                float(random.uniform(-2.4, 0.3)),
                float(random.uniform(-0.2, 0.7)),
            ),
            float(random.uniform(0.4, 1.3)),
        )
        for number in range(int(random.integers(1, 7)))
    )
    return GroundSettings(
        kinds=kinds,
        patch=(float(random.uniform(150.0, 300.0)), float(random.uniform(600.0, 1500.0))),
        level_spread=float(random.uniform(0.8, 2.2)),
        slope_spread=float(random.uniform(0.02, 0.07)),
        texture_length=float(random.uniform(0.7, 1.4)),
    )


def _draw_coarse(truth: xr.DataArray, random: np.random.Generator) -> xr.DataArray:
    """Draw a coarse DEM: displaced, tilted, off, and with a correlated error."""
    factor = COARSER.factor
    cells = random.uniform(-1.0, 1.0, 2) if random.random() < 0.25 else random.normal(0.0, 0.1, 2)
    moved = displaced(truth.values, cells, order=3, mode="nearest")
    coarse = block_sums(moved, factor) / factor**2
    wrong = gaussian_filter(random.standard_normal(coarse.shape), random.uniform(*LENGTHS))
    # Small errors are frequent among the DEMs of today.
    coarse += LARGEST_ERROR * random.uniform() ** 1.5 * wrong / wrong.std()
    down, right = (np.linspace(-1.0, 1.0, size) for size in coarse.shape)
    offset, *tilt = random.normal(0.0, 1.0, 3)
    coarse += offset + tilt[0] * down[:, None] + tilt[1] * right
    attributes = {"units": "m", "vertical_datum": "ellipsoid"}
    return on_grid(truth, coarse.astype(np.float32), factor, attributes)


def _draw_crop(name: str, data: str | None, random: np.random.Generator) -> xr.DataArray:
    """Draw a crop of a DEM that keeps off its scored crop and is not flat."""
    source = source_of(PLACES[name], data)
    scored = steepest_crop(source)
    to_degrees = pyproj.Transformer.from_crs(source.rio.crs, 4326, always_xy=True)
    geodesy = pyproj.Geod(ellps="WGS84")
    apart = 0.5 * (WHOLE + SIDE) * POSTING + AWAY
    while True:
        row, column = (int(random.integers(size)) for size in source.shape)
        middle = to_degrees.transform(float(source.x[column]), float(source.y[row]))
        azimuth, _, distance = geodesy.inv(*scored, *middle)
        # Squares are apart if they are so along one axis; meridians turn by less than AWAY / 10.
        east, north = (abs(distance * f(np.radians(azimuth))) for f in (np.sin, np.cos))
        if max(east, north) < apart:
            continue
        half = 0.5 * SIDE * POSTING + 300.0
        reach = [geodesy.fwd(*middle, turn, half * 2.0**0.5)[:2] for turn in (45, 135, 225, 315)]
        back = pyproj.Transformer.from_crs(4326, source.rio.crs, always_xy=True)
        corners = np.array([back.transform(*each) for each in reach])
        inside = all(
            float(source[axis].min()) < corners[:, k].min()
            and corners[:, k].max() < float(source[axis].max())
            for k, axis in enumerate(("x", "y"))
        )
        if not inside:
            continue
        try:
            truth = crop_at(source, *middle, seed=int(random.integers(2**31)), cells=SIDE)
        except ValueError:
            continue
        steep = np.degrees(np.arctan(np.hypot(*np.gradient(truth.values, POSTING))))
        if float(steep.mean()) >= LEAST_SLOPE:
            return truth


def make_training(work: Path, number: int, data: str | None = None) -> list[Path]:
    """Make the samples of one crop: a coarse DEM of its own for each row; return their files."""
    paths = [work / f"crop_{number:04d}_{row}.npz" for row in TRAINING_ROWS]
    if all(path.exists() for path in paths):
        return paths
    random = np.random.default_rng([number, 0x5A])
    places = [place.name for place in places_of("development")]
    truth = _draw_crop(places[number % len(places)], data, random)
    ground = draw_ground(truth, 1000 + number, settings=_draw_settings(random))
    angle = float(random.uniform(*INCIDENCES))
    expected = [expected_image(ground, angle, ascending=each) for each in (True, False)]
    single = bool(random.random() < 0.5)
    for path, row in zip(paths, TRAINING_ROWS, strict=True):
        dates = DATES if row == "refine_30x2" else 1
        rising = [single] if row == "refine_1" else [True, False]
        seeds = random.integers(2**31, size=2)
        coarse = _draw_coarse(truth, random)
        images = [
            mean_image(expected[0 if each else 1], dates, int(seed))
            for each, seed in zip(rising, seeds, strict=False)
        ]
        if not path.exists():
            _save(path, images, rising, coarse, truth.values)
    return paths


# Validation and scoring.


def make_scored(work: Path, name: str, data: str | None = None) -> dict[str, Path]:
    """Make the samples of a place; return their files by row.

    Images and coarse DEMs are those of `benchmarks.refinement`.
    """
    paths = {row: work / f"{name}_{row}.npz" for row in (*TRAINING_ROWS, *CASES, *STATED)}
    if all(path.exists() for path in paths.values()):
        return paths
    edge = (WHOLE - CELLS) // 2 // COARSER.factor * COARSER.factor
    middle = {axis: slice(edge, edge + CELLS) for axis in ("y", "x")}
    truth = true_dem(PLACES[name], data).isel(middle)
    ground = draw_ground(truth, SEED, laws="several")
    expected = [expected_image(ground, INCIDENCE, ascending=each) for each in (True, False)]
    one = [observe(ground, each.grid, each.orbit, SEED, scatterers=4).scene for each in expected]
    many = [mean_image(each, DATES, 2 * SEED + k) for k, each in enumerate(expected)]
    usual = COARSER.degrade(truth, ground.seed)
    for row, path in paths.items():
        if path.exists():
            continue
        images = {"refine_1": one[:1], "refine_30x2": many}.get(row, one)
        coarse = with_error(ground, CASES[row]) if row in CASES else usual
        rising = [True, False][: len(images)]
        _save(path, images, rising, coarse, truth.values, STATED.get(row))
    return paths
