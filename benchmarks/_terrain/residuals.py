"""Refined heights with their truth, for the network on top of refinement to learn and be scored.

A sample is one refinement: the heights with and without images, their standard deviation, what
refinement says of each image on the grid of the heights, and the truth. Samples are files; what is
there is not made again.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyproj
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as displaced

from benchmarks._files import whole
from benchmarks._independent.places import CELLS as WHOLE
from benchmarks._independent.places import (
    PLACES,
    POSTING,
    crop_at,
    places_of,
    source_of,
    steepest_crop,
)
from benchmarks.refinement import CASES, CELLS, DATES, INCIDENCE, SEED, Seen, with_error
from sarheight.dem import local_posting
from sarheight.geometry import incidence
from sarheight.terrain import (
    KnownElevations,
    apply_alignment,
    draw_altimeter_tracks,
    draw_known_elevations,
    estimate_alignment,
)
from sarheight.terrain.posterior import RefinementSettings
from sarheight.terrain.refinement import refine
from tests.worlds.mean_images import SCATTERERS, expected_image, mean_image
from tests.worlds.scattering_ground import (
    COARSER,
    REFERENCE_INCIDENCE,
    GroundSettings,
    Kind,
    block_sums,
    draw_ground,
    on_grid,
)

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from sarheight.scene import Scene

__all__ = ["STATED", "TRAINING_ROWS", "WIDER", "Sample", "load", "make_scored", "make_training"]

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
SAVED = ("baseline", "height", "height_sigma")
PER_PASS = ("residual", "gamma0", "incidence")
FIRST_WIDER, WIDER_SIDE = 1000, 144
"""Crops from this number on are drawn under conditions of their own, of so many cells: 13 km at the
largest posting, which all DEMs hold."""
POSTINGS, STATED_RANGE = (20.0, 90.0), (2.0, 9.0)
"""Metres, in both."""


@dataclass(frozen=True)
class Conditions:
    """What a coarse DEM is like, and what is known of it."""

    posting: float = POSTING  # Of the heights, in metres; a third of that of the coarse DEM
    stated: float | None = None  # Error in metres that refinement is told, if not its default
    voids: int = 0  # Number of voids, of 2 to 9 coarse cells along a side
    points: int = 0  # Scattered known elevations, to which the coarse DEM is aligned first
    # Metres between altimeter tracks with a point every 100 m, used likewise; 0 for none
    tracks: float = 0.0
    point_sigma: float = 0.5  # Standard deviation of the error of known elevations in metres
    offset: float = 0.0  # Metres by which a coarse DEM is too high before it is aligned
    # Coarse cells southwards and eastwards by which it is displaced before
    shift: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def draw(cls, posting: float, random: np.random.Generator) -> Conditions:
        """Draw conditions for the networks to learn from."""
        known = random.random()
        wrong = known < 0.3 or known > 0.75
        return cls(
            posting,
            _log_uniform(STATED_RANGE, random) if random.random() < 0.5 else None,
            int(random.integers(1, 9)) if random.random() < 0.4 else 0,
            round(_log_uniform((8.0, 256.0), random)) if known < 0.3 else 0,
            _log_uniform((800.0, 4000.0), random) if known > 0.75 else 0.0,
            _log_uniform((0.2, 3.0), random),
            float(random.normal(0.0, 8.0)) if wrong else 0.0,
            tuple(random.uniform(-0.5, 0.5, 2).tolist()) if wrong else (0.0, 0.0),
        )

    def known(self, truth: xr.DataArray, seed: int) -> KnownElevations | None:
        """Draw the known elevations."""
        sigma = self.point_sigma
        if self.points:
            return draw_known_elevations(truth, self.points, sigma=sigma, seed=seed)
        if self.tracks:
            return draw_altimeter_tracks(
                truth, spacing=self.tracks, interval=100.0, sigma=sigma, seed=seed
            )
        return None

    def prepared(
        self, coarse: xr.DataArray, truth: xr.DataArray, random: np.random.Generator
    ) -> xr.DataArray:
        """Move a coarse DEM, put voids into it, and align it to known elevations."""
        moved = {
            axis: coarse[axis] + cells * float(coarse[axis][1] - coarse[axis][0])
            for axis, cells in zip(("y", "x"), self.shift, strict=True)
        }
        coarse = coarse.copy(data=coarse.values + np.float32(self.offset)).assign_coords(moved)
        for _ in range(self.voids):
            size = random.integers(2, 10, 2)
            row, column = (int(random.integers(n)) for n in coarse.shape)
            coarse.values[row : row + size[0], column : column + size[1]] = np.nan
        known = self.known(truth, int(random.integers(2**31)))
        return (
            coarse if known is None else apply_alignment(coarse, estimate_alignment(coarse, known))
        )


def _log_uniform(limits: tuple[float, float], random: np.random.Generator) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(random.uniform(*np.log(limits))))


WIDER = {
    "posting_20": Conditions(posting=20.0),
    "posting_60": Conditions(posting=60.0),
    "posting_90": Conditions(posting=90.0),
    "voids": Conditions(voids=8),
    "known_16": Conditions(points=16, offset=10.0, shift=(0.354, 0.354)),
    "tracks": Conditions(tracks=2000.0, offset=10.0, shift=(0.354, 0.354)),
}
"""Rows of other conditions: one date of both passes, as ``refine_1x2``."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One refinement and its truth."""

    # (4, rows, columns): true, back-projected and refined heights, deviation, in metres
    fields: NDArray[np.float32]
    # (2, 3, rows, columns), ascending and descending: residual and gamma0 in dB, incidence
    passes: NDArray[np.float32]
    filled: NDArray[np.float32]  # 1 where the coarse DEM is void
    looks: float  # Equivalent number of looks of an image
    posting: float  # Metres


def load(path: Path) -> Sample:
    """Read a sample."""
    with np.load(path) as found:
        return Sample(
            found["fields"].astype(np.float32),
            found["passes"].astype(np.float32),
            found["filled"].astype(np.float32),
            float(found["looks"]),
            float(found["posting"]),
        )


def _save(
    path: Path,
    scenes: Sequence[Scene],
    ascending: Sequence[bool],
    coarse: xr.DataArray,
    truth: xr.DataArray,
    stated: float | None = None,
) -> None:
    """Refine a coarse DEM, and write the sample."""
    settings = RefinementSettings() if stated is None else RefinementSettings(error=stated)
    result = refine(scenes, coarse, settings=settings, coregister="none")
    height = result["height"]
    passes = np.full((2, len(PER_PASS), *height.shape), np.nan, dtype=np.float32)
    for number, (scene, rising) in enumerate(zip(scenes, ascending, strict=True)):
        angle = incidence(height, scene.grid, scene.orbit)["local_incidence"].values
        with np.errstate(invalid="ignore", divide="ignore"):
            level = 10.0 * np.log10(result["gamma0"].values[number])
        passes[0 if rising else 1] = [result["residual"].values[number], level, angle]
    fields = [_at(truth, height), *(result[name].values for name in SAVED)]
    with whole(path) as part:
        np.savez(
            part,
            # Half precision would not resolve decimetres in kilometres.
            fields=np.stack(fields).astype(np.float32),
            passes=passes.astype(np.float16),
            filled=result["filled"].values,
            looks=scenes[0].grid.looks,
            posting=np.sqrt(np.prod(local_posting(truth))),
        )


def _at(truth: xr.DataArray, height: xr.DataArray) -> Floats:
    """Return true heights on the grid of a result, which an alignment may have moved."""
    cells = [
        float(height[axis][0] - truth[axis][0]) / float(truth[axis][1] - truth[axis][0])
        for axis in ("y", "x")
    ]
    values: Floats = truth.values
    if np.abs(cells).max() > 1e-6:
        values = displaced(values, [-each for each in cells], order=3, mode="nearest")
    return values


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


@cache
def _source(name: str, data: str | None) -> tuple[xr.DataArray, tuple[float, float]]:
    """Open the DEM of a place; with longitude and latitude of its scored crop."""
    source = source_of(PLACES[name], data)
    return source, steepest_crop(source)


def _draw_crop(
    name: str,
    data: str | None,
    random: np.random.Generator,
    posting: float = POSTING,
    *,
    cells: int = SIDE,
    away: float = AWAY,
) -> xr.DataArray:
    """Draw a crop of a DEM that keeps off its scored crop, if wanted, and is not flat."""
    source, scored = _source(name, data)
    to_degrees = pyproj.Transformer.from_crs(source.rio.crs, 4326, always_xy=True)
    geodesy = pyproj.Geod(ellps="WGS84")
    apart = 0.5 * (WHOLE * POSTING + cells * posting) + away
    while True:
        row, column = (int(random.integers(size)) for size in source.shape)
        middle = to_degrees.transform(float(source.x[column]), float(source.y[row]))
        azimuth, _, distance = geodesy.inv(*scored, *middle)
        # Squares are apart if they are so along one axis; meridians turn by less than AWAY / 10.
        east, north = (abs(distance * f(np.radians(azimuth))) for f in (np.sin, np.cos))
        if max(east, north) < apart:
            continue
        half = 0.5 * cells * posting + 300.0
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
            seed = int(random.integers(2**31))
            truth = crop_at(source, *middle, seed=seed, cells=cells, posting=posting)
        except ValueError:
            continue
        steep = np.degrees(np.arctan(np.hypot(*np.gradient(truth.values, posting))))
        if float(steep.mean()) >= LEAST_SLOPE:
            return truth


def make_training(work: Path, number: int, data: str | None = None) -> list[Path]:
    """Make the samples of one crop: a coarse DEM of its own for each row; return their files.

    Crops up to 999 have heights of 30 m and keep off the scored crops; those from 1000 on have
    conditions of their own, and may lie anywhere in the DEM: they are for networks that are judged
    by other DEMs.
    """
    paths = [work / f"crop_{number:04d}_{row}.npz" for row in TRAINING_ROWS]
    if all(path.exists() for path in paths):
        return paths
    random = np.random.default_rng([number, 0x5A])
    places = [place.name for place in places_of("development")]
    wider, posting = number >= FIRST_WIDER, POSTING
    if wider:
        posting = _log_uniform(POSTINGS, random)
        options = {"cells": WIDER_SIDE, "away": -np.inf}
        truth = _draw_crop(places[number % len(places)], data, random, posting, **options)
    else:
        truth = _draw_crop(places[number % len(places)], data, random)
    ground = draw_ground(truth, 1000 + number, settings=_draw_settings(random))
    angle = float(random.uniform(*INCIDENCES))
    expected = [
        expected_image(ground, angle, ascending=each, side=_scatterers(posting))
        for each in (True, False)
    ]
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
        stated = None
        if wider:
            conditions = Conditions.draw(posting, random)
            coarse, stated = conditions.prepared(coarse, truth, random), conditions.stated
        if not path.exists():
            _save(path, images, rising, coarse, truth, stated)
    return paths


def _scatterers(posting: float) -> int:
    """Scatterers along a side of a cell: as dense on the ground as in cells of 30 m."""
    return max(SCATTERERS, round(SCATTERERS * posting / POSTING))


# Validation and scoring.


def make_scored(work: Path, name: str, data: str | None = None) -> dict[str, Path]:
    """Make the samples of a place; return their files by row.

    Images and coarse DEMs are those of `benchmarks.refinement`.
    """
    paths = {row: work / f"{name}_{row}.npz" for row in (*TRAINING_ROWS, *CASES, *STATED, *WIDER)}
    if all(path.exists() for path in paths.values()):
        return paths
    seen = Seen.of(name, "several", data)
    for row, path in paths.items():
        if path.exists():
            continue
        if row in WIDER:
            _make_wider(path, name, WIDER[row], seen, data)
            continue
        images = {"refine_1": seen.one[:1], "refine_30x2": seen.many}.get(row, seen.one)
        coarse = with_error(seen.ground, CASES[row]) if row in CASES else seen.coarse
        rising = [True, False][: len(images)]
        _save(path, images, rising, coarse, seen.ground.dem, STATED.get(row))
    return paths


def _make_wider(
    path: Path, name: str, conditions: Conditions, usual: Seen, data: str | None
) -> None:
    """Make a sample of a place under other conditions."""
    truth, coarse, images = usual.ground.dem, usual.coarse, usual.one
    if conditions.posting != POSTING:
        source, middle = _source(name, data)
        # Within the whole crop.
        cells = min(CELLS, round(WHOLE * POSTING / conditions.posting) // 3 * 3)
        truth = crop_at(
            source,
            *middle,
            seed=zlib.crc32(name.encode()),
            cells=cells,
            posting=conditions.posting,
        )
        ground = draw_ground(truth, SEED, laws="several")
        side = _scatterers(conditions.posting)
        images = [
            mean_image(expected_image(ground, INCIDENCE, ascending=each, side=side), 1, k)
            for k, each in enumerate((True, False))
        ]
        coarse = COARSER.degrade(truth, ground.seed)
    random = np.random.default_rng([SEED, zlib.crc32(path.stem.encode())])
    coarse = conditions.prepared(coarse, truth, random)
    _save(path, images, [True, False], coarse, truth, conditions.stated)
