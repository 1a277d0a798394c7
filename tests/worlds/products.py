"""Sentinel-1 products on a disk: of known numbers, or of simulated images.

`grd_product` and `slc_product` write products as small as they can be, all numbers of which are
known. `write_product` writes simulated images, in the form of a real annotation if one is given.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import xarray as xr
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from sarheight.acquisition import relative_orbit
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit
from sarheight.scene import Calibration, Scene
from sarheight.sentinel1 import read_annotation
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import (
    BURST_STEP,
    LINES_PER_BURST,
    PlacedBurst,
    annotation_like,
    annotation_xml,
    made_bursts,
)
from tests.worlds.safe import BLOCK, NAMES, ORBIT, Picture, Pixels, Tables, pack, write_safe

Floats = NDArray[np.float64]

NAME = "S1A_IW_GRDH_1SDV_20240101T055958_20240101T060002_051919_0645F1_ABCD.SAFE"
LARGEST = {"GRD": 65535.0, "SLC": 32767.0}
"""Largest digital number of a product."""
FILLED = 0.99
"""Part of the digital numbers' range that the brightest pixel of a written scene takes."""


# Products of known numbers.


@dataclass
class Made:
    """A product on disk, and what is true of it."""

    path: Path
    grid: RadarGrid
    orbit: Orbit
    numbers: dict[str, NDArray[np.uint16]] = field(default_factory=dict)
    tables: dict[str, Tables] = field(default_factory=dict)


def grd_product(
    folder: Path,
    *,
    polarisations: tuple[str, ...] = ("VV", "VH"),
    placed: tuple[RadarGrid, Orbit] | None = None,
    numbers: Mapping[str, NDArray[np.uint16]] | None = None,
    name: str = NAME,
    **options: Any,  # noqa: ANN401  # as of `write_safe`
) -> Made:
    """Write a GRD of 200 lines and 250 samples, all pixels of which differ from line to line.

    Zeros stand in the first three samples.
    """
    grid, orbit = placed or synthetic_grid()
    random = np.random.default_rng(11)
    made = Made(folder / name, grid, orbit)
    pictures = []
    for index, polarisation in enumerate(polarisations, start=1):
        if numbers is None:
            values = random.integers(20, 4000, grid.shape).astype(np.uint16)
            values[:, :3] = 0
        else:
            values = numbers[polarisation]
        tables = Tables.known(beta=200.0 * index, noise=900.0 / index)
        made.numbers[polarisation], made.tables[polarisation] = values, tables
        annotation = annotation_xml(grid, orbit, polarisation=polarisation)
        pictures.append(Picture(annotation, values, tables))
    write_safe(made.path, pictures, **options)
    return made


SWATHS = ("IW1", "IW2", "IW3")
BEGINS = {"IW1": (0, 0), "IW2": (17, 150), "IW3": (31, 301)}
"""Line and sample of the scene at which each swath begins."""
BURSTS, SAMPLES = 3, 200
LINES = BURST_STEP * (BURSTS - 1) + LINES_PER_BURST
GARBAGE = 30_000 + 30_000j
"""What stands in the files where the annotation calls pixels invalid."""


def burst_numbers(
    scene: NDArray[np.complex64], bursts: Sequence[PlacedBurst], fill: complex = 0.0
) -> NDArray[np.complex64]:
    """Cut the continuous image of a swath into bursts, one after the other, as in its file."""
    lines, samples = bursts[0].first_valid.size, scene.shape[1]
    file = np.full((len(bursts) * lines, samples), fill, dtype=np.complex64)
    for number, burst in enumerate(bursts):
        for line in np.flatnonzero(burst.first_valid >= 0):
            if 0 <= burst.begin + line < scene.shape[0]:
                valid = slice(burst.first_valid[line], burst.last_valid[line] + 1)
                file[number * lines + line, valid] = scene[burst.begin + line, valid]
    return file


@dataclass(frozen=True, eq=False)
class IwScene:
    """A continuous scene of whole complex numbers, all of which differ, for three swaths."""

    numbers: NDArray[np.complex64]
    grid: RadarGrid
    orbit: Orbit

    @classmethod
    def made(cls, seed: int = 7) -> Self:
        """Draw the numbers."""
        lines, samples = LINES + BEGINS["IW3"][0], SAMPLES + BEGINS["IW3"][1]
        grid, orbit = synthetic_grid(
            lines=lines, samples=samples, ground_range=False, line_spacing=14.0, sample_spacing=2.3
        )
        parts = np.random.default_rng(seed).integers(-2000, 2000, (2, lines, samples))
        return cls((parts[0] + 1j * parts[1]).astype(np.complex64), grid, orbit)

    @property
    def power(self) -> Floats:
        """Squared magnitudes."""
        return np.abs(self.numbers.astype(np.complex128)).astype(np.float64) ** 2

    def swath(self, name: str, polarisation: str = "VV") -> tuple[str, NDArray[np.complex64]]:
        """Return the annotation and the numbers of a swath's file."""
        line, sample = BEGINS[name]
        part = slice(line, line + LINES), slice(sample, sample + SAMPLES)
        bursts = made_bursts(BURSTS)
        annotation = annotation_xml(
            self.grid.crop(*part), self.orbit, bursts=bursts, swath=name, polarisation=polarisation
        )
        return annotation, burst_numbers(self.numbers[part], bursts, GARBAGE)


def slc_product(folder: Path, polarisations: tuple[str, ...] = ("VV",)) -> tuple[Path, IwScene]:
    """Write the SLC of three swaths that are cut out of one scene."""
    scene, tables = IwScene.made(), Tables.known(blocks=())
    pictures = [
        Picture(*scene.swath(swath, polarisation), tables)
        for polarisation in polarisations
        for swath in SWATHS
    ]
    return write_safe(folder / NAME.replace("GRDH", "SLC_"), pictures), scene


# Products of simulated images.


@dataclass(frozen=True, eq=False)
class _Amplitudes:
    """The digital numbers of a GRD, from calibrated power."""

    power: xr.DataArray  # dims (line, sample)
    tables: Tables
    calibration: Calibration

    @property
    def shape(self) -> tuple[int, ...]:
        return self.power.shape

    def amplitude(self, lines: slice) -> Floats:
        """Return digital numbers before rounding; 0, which means no data, for NaN."""
        power = np.nan_to_num(self.power.isel(line=lines).values.astype(np.float64))
        line = np.arange(lines.start, lines.stop, dtype=np.float64)
        sample = np.arange(self.shape[1], dtype=np.float64)
        nodes = self.tables.amplitude[NAMES[self.calibration]]
        # What is left of the thermal noise, once it is removed, may be negative.
        return np.sqrt(np.maximum(power, 0.0)) * self.tables.at(nodes, line, sample)

    def __getitem__(self, lines: slice) -> NDArray[np.uint16]:
        return np.clip(np.rint(self.amplitude(lines)), 0.0, LARGEST["GRD"]).astype(np.uint16)

    def brightest(self) -> float:
        """Return the largest digital number."""
        lines = self.shape[0]
        firsts = range(0, lines, BLOCK)
        return max(float(self.amplitude(slice(at, min(at + BLOCK, lines))).max()) for at in firsts)


def write_product(
    scenes: Scene | Sequence[Scene],
    path: Path,
    *,
    like: str | Path | bytes | Sequence[str | Path | bytes] = (),
    noise: float = 0.0,
    factor: float | None = None,
    seed: int = 0,
) -> Path:
    r"""Write simulated images as a Sentinel-1 product, which says that it is simulated.

    Powers are written as they are: :math:`|DN|^2 = A^2 P`, rounded to whole digital numbers, with
    the table :math:`A` of the scene's calibration. In an SLC each pixel is given a phase drawn at
    random, the same in all bursts that hold it: there is no phase of the terrain and none of the
    TOPS sweep, so it serves for intensities only.

    Parameters
    ----------
    scenes : Scene or sequence of Scene
        One for each swath or polarisation, or with a dimension `polarisation`. A grid in ground
        range makes a GRD, one in slant range an SLC with bursts of `LINES_PER_BURST` lines.
    path : Path
        A folder ``*.SAFE``, or a zip ``*.SAFE.zip`` of one.
    like : path or bytes, or sequence of them, optional
        Real annotation (XML, plain or .xz) whose image or part of it each scene shows.
    noise : float
        Thermal noise that the images contain, linear power in their calibration.
    factor : float, optional
        What digital numbers are divided by to give the square root of beta0; by default the
        brightest pixel takes 99 per cent of the range.
    seed : int
        Of the phases of an SLC.

    Returns
    -------
    Path
        That of the product.
    """
    given = list(scenes) if isinstance(scenes, Sequence) else [scenes]
    likes: Sequence[Any] = [like] if isinstance(like, str | Path | bytes) else like
    pictures = [
        (annotation, bursts, image, scene)
        for scene, source in zip(given, likes or repeat(None), strict=False)
        for annotation, bursts, image in _images(scene, source)
    ]
    kind = "GRD" if given[0].grid.is_ground_range else "SLC"
    files = []
    for _, bursts, image, scene in pictures:
        lines = len(bursts) * bursts[0].first_valid.size if bursts else scene.grid.lines
        tables = Tables.of_ellipsoid(scene.grid, scene.orbit, lines)
        files.append(_Amplitudes(image, tables, scene.calibration))
    if factor is None:
        factor = FILLED * LARGEST[kind] / (max(each.brightest() for each in files) or 1.0)
    made = []
    for number, (file, (annotation, bursts, _, _)) in enumerate(zip(files, pictures, strict=True)):
        tables = file.tables.scaled(factor)
        gain = tables.amplitude[NAMES[file.calibration]]
        numbers: Pixels = replace(file, tables=tables)
        if bursts:
            random = np.random.default_rng([seed, number])
            phases = np.exp(2j * np.pi * random.random(file.shape))
            whole = factor * file.amplitude(slice(0, file.shape[0])) * phases
            rounded = (np.rint(whole.real) + 1j * np.rint(whole.imag)).astype(np.complex64)
            numbers = burst_numbers(rounded, bursts)
        made.append(Picture(annotation, numbers, replace(tables, noise=noise * gain**2)))
    zipped = path.suffix == ".zip"
    folder = write_safe(path.with_suffix("") if zipped else path, made, **_facts(pictures[0][0]))
    if zipped:
        pack(folder, path)
        shutil.rmtree(folder)
    return path


def _images(
    scene: Scene, like: str | Path | bytes | None
) -> list[tuple[str, list[PlacedBurst], xr.DataArray]]:
    """Return annotation, bursts and image of each polarisation of a scene."""
    grid, orbit = scene.grid, scene.orbit.with_epoch(scene.grid.epoch)
    named = scene.image.coords.get("polarisation")
    names = [str(name) for name in np.atleast_1d(named.values)] if named is not None else []
    names = names or list(grid.polarisations[:1]) or ["VV"]
    if like is not None:
        annotation, bursts = annotation_like(like, grid, orbit)
    else:
        count = (grid.lines - LINES_PER_BURST) // BURST_STEP + 1
        bursts = [] if grid.is_ground_range else made_bursts(count)
        annotation = annotation_xml(grid, orbit, bursts=bursts, swath=grid.swath, unit="us")
    stated = fromstring(annotation).findtext("adsHeader/polarisation")
    several = "polarisation" in scene.image.dims
    return [
        (
            annotation.replace(f"<polarisation>{stated}<", f"<polarisation>{name}<"),
            bursts,
            scene.image.isel(polarisation=index) if several else scene.image,
        )
        for index, name in enumerate(names)
    ]


def _facts(text: str) -> dict[str, Any]:
    """Return what the manifest says of an image, by its annotation."""
    annotation = read_annotation(text.encode())
    points = annotation.geolocation
    number = int(fromstring(text).findtext("adsHeader/absoluteOrbitNumber", str(ORBIT)))
    first, last = points.azimuth_time.min(), points.azimuth_time.max()
    corners = []
    for line, pixel in ((-1, 0), (-1, -1), (0, -1), (0, 0)):
        (at,) = np.flatnonzero(
            (points.line == np.unique(points.line)[line])
            & (points.pixel == np.unique(points.pixel)[pixel])
        )
        corners.append((points.latitude[at], points.longitude[at]))
    return {
        "mission": annotation.mission[-1],
        "mode": annotation.mode,
        "start": np.datetime_as_string(first, unit="us"),
        "stop": np.datetime_as_string(last, unit="us"),
        "orbit": (number, relative_orbit(annotation.mission, number, first)),
        "passing": annotation.passing.upper(),
        "corners": corners,
        "description": "SAR Standard L1 Product, simulated",
    }


def drawn_scene(
    kind: Literal["GRD", "SLC"] = "GRD",
    seed: int = 0,
    *,
    calibration: Calibration = "beta0",
    samples: int = 260,
) -> Scene:
    """Draw a scene that `write_product` takes: one-look speckle on levels that span 20 dB."""
    if kind == "GRD":
        grid, orbit = synthetic_grid(lines=200, samples=samples, looks=4.4)
    else:
        grid, orbit = synthetic_grid(
            lines=LINES, samples=samples, line_spacing=14.0, sample_spacing=2.33, ground_range=False
        )
    level = 10.0 ** np.linspace(-2.0, 0.0, grid.samples)
    power = level * np.random.default_rng(seed).exponential(size=grid.shape)
    image = xr.DataArray(power.astype(np.float32), dims=("line", "sample"))
    return Scene(image, grid, orbit, calibration)


def grd_of_scene(folder: Path, scene: Scene) -> Path:
    """Write a clean simulated image with thermal noise of -17 dB, so that none of it is 0."""
    noise = 0.02
    return write_product(
        replace(scene, image=scene.image.fillna(0.0) + noise), folder / NAME, noise=noise
    )
