"""A simulated data set in the format of So2Sat LCZ42.

It serves to try networks and protocols on files of the real format with known truth: classes differ
in building pattern, height and material, single-look radar images in power and correlation, and
regions in construction, illumination, vegetation and calibration. It does not replace the real
data, and its scores say nothing about the accuracy of a network on those.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from sarheight.output.atomic import atomic_write
from sarheight.zones.classes import CLIMATE_ZONES

Floats = NDArray[np.float64]
COVERS, ROOFS, MATERIALS, BANDS = 7, 3, 10, 10


@dataclass(frozen=True, eq=False)
class Region:
    """Properties that all patches of a city share."""

    # Factors of the built fraction of the ground, of the spacing and the height of buildings
    density: float
    pitch: float
    storeys: float
    roofs: Floats  # Factors of the fractions of each kind of roof and of land cover
    cover: Floats  # Factors of the fractions of each kind of roof and of land cover
    palette: Floats  # Factors of the reflectances; shape (materials, bands)
    season: float  # From 0, dry or leafless, to 1, green
    sun: float  # Elevation angle of the sun in degrees
    haze: Floats  # Path reflectance of the atmosphere; shape (bands,)
    # Error of the optical calibration and atmospheric correction, as factors; shape (bands,)
    gain: Floats
    # Error of the radiometric calibration of VV and VH, as factors of power; shape (2,)
    radar_gain: Floats
    moisture: float  # Factor of the backscatter of soil, grass and scrub
    look_azimuth: float  # Look direction of the radar in radians, clockwise from north
    classes: Floats  # Fraction of each zone among the patches; shape (17,)


def draw_region(random: np.random.Generator, classes: int, shift: float) -> Region:
    """Draw a region; `shift` scales the differences between regions, 0 for none."""
    haze = shift * random.uniform(0.0, 0.03) * np.array([1.0, 0.8, 0.6, 0.5, 0.4, 0.35, *[0.2] * 4])
    return Region(
        density=random.lognormal(0.0, 0.15 * shift),
        pitch=random.lognormal(0.0, 0.20 * shift),
        storeys=random.lognormal(0.0, 0.20 * shift),
        roofs=random.lognormal(0.0, 0.8 * shift, ROOFS),
        cover=random.lognormal(0.0, 0.4 * shift, COVERS),
        palette=random.lognormal(0.0, 0.20 * shift, (MATERIALS, 1))
        * random.lognormal(0.0, 0.10 * shift, (MATERIALS, BANDS)),
        season=float(np.clip(0.65 + 0.35 * shift * random.uniform(-1.5, 1.0), 0.0, 1.0)),
        sun=float(50.0 + 18.0 * shift * random.uniform(-1.0, 1.0)),
        haze=haze,
        gain=random.lognormal(0.0, 0.05 * shift, BANDS),
        radar_gain=random.lognormal(0.0, 0.12 * shift, 2),
        moisture=random.lognormal(0.0, 0.30 * shift),
        look_azimuth=float(random.choice([np.radians(78.0), np.radians(282.0)])),
        classes=random.dirichlet(np.full(classes, 3.0)),
    )


# Ground of the simulated zones: buildings in a pattern, vegetation, soil, water.

Random = np.random.Generator

MATERIAL_NAMES = (
    "concrete", "tiles", "metal", "asphalt", "grass", "trees", "scrub", "soil", "rock", "water",
)  # fmt: skip


@dataclass(frozen=True)
class Zone:
    """Buildings and land cover of a zone."""

    built: float  # Built fraction of the ground
    height: float  # Height of the buildings in metres
    pitch: float  # Spacing of the buildings in metres
    order: float  # Regularity of their pattern, from 0 to 1
    roofs: tuple[float, float, float]  # Fractions of concrete, tiles and metal among the roofs
    # Fractions of asphalt, grass, trees, scrub, soil, rock and water of the unbuilt ground
    cover: tuple[float, float, float, float, float, float, float]
    grain: float  # Correlation length of the land cover in metres


ZONES = (
    Zone(0.50, 45.0, 60.0, 0.8, (0.8, 0.0, 0.2), (0.85, 0.05, 0.10, 0.0, 0.0, 0.0, 0.0), 40.0),
    Zone(0.52, 17.0, 45.0, 0.8, (0.5, 0.4, 0.1), (0.80, 0.10, 0.10, 0.0, 0.0, 0.0, 0.0), 35.0),
    Zone(0.55, 6.0, 22.0, 0.6, (0.3, 0.6, 0.1), (0.70, 0.10, 0.15, 0.0, 0.05, 0.0, 0.0), 25.0),
    Zone(0.28, 40.0, 90.0, 0.6, (0.9, 0.0, 0.1), (0.35, 0.35, 0.28, 0.0, 0.02, 0.0, 0.0), 60.0),
    Zone(0.30, 16.0, 65.0, 0.6, (0.6, 0.3, 0.1), (0.35, 0.35, 0.28, 0.0, 0.02, 0.0, 0.0), 50.0),
    Zone(0.30, 6.0, 30.0, 0.5, (0.2, 0.7, 0.1), (0.25, 0.42, 0.30, 0.0, 0.03, 0.0, 0.0), 35.0),
    Zone(0.68, 3.0, 13.0, 0.2, (0.1, 0.1, 0.8), (0.25, 0.05, 0.05, 0.0, 0.65, 0.0, 0.0), 20.0),
    Zone(0.42, 8.0, 120.0, 0.9, (0.4, 0.0, 0.6), (0.85, 0.10, 0.03, 0.0, 0.02, 0.0, 0.0), 80.0),
    Zone(0.10, 5.0, 60.0, 0.2, (0.2, 0.7, 0.1), (0.08, 0.55, 0.28, 0.05, 0.04, 0.0, 0.0), 70.0),
    Zone(0.28, 12.0, 90.0, 0.5, (0.3, 0.0, 0.7), (0.60, 0.05, 0.02, 0.03, 0.25, 0.05, 0.0), 70.0),
    Zone(0.00, 5.0, 60.0, 0.0, (1.0, 0.0, 0.0), (0.00, 0.04, 0.93, 0.03, 0.0, 0.0, 0.0), 60.0),
    Zone(0.00, 5.0, 60.0, 0.0, (1.0, 0.0, 0.0), (0.01, 0.55, 0.40, 0.04, 0.0, 0.0, 0.0), 45.0),
    Zone(0.00, 5.0, 60.0, 0.0, (1.0, 0.0, 0.0), (0.00, 0.20, 0.07, 0.66, 0.06, 0.01, 0.0), 35.0),
    Zone(0.01, 5.0, 60.0, 0.0, (1.0, 0.0, 0.0), (0.02, 0.88, 0.04, 0.03, 0.03, 0.0, 0.0), 120.0),
    Zone(0.03, 5.0, 60.0, 0.0, (1.0, 0.0, 0.0), (0.50, 0.04, 0.02, 0.02, 0.07, 0.35, 0.0), 100.0),
    Zone(0.01, 5.0, 60.0, 0.0, (1.0, 0.0, 0.0), (0.03, 0.07, 0.02, 0.06, 0.77, 0.05, 0.0), 110.0),
    Zone(0.00, 5.0, 60.0, 0.0, (1.0, 0.0, 0.0), (0.00, 0.01, 0.02, 0.00, 0.01, 0.0, 0.96), 150.0),
)
"""The 17 zones in the order of their codes.

References
----------
Stewart, I. D. and Oke, T. R. (2012). Local climate zones for urban temperature studies. Bulletin of
the American Meteorological Society 93, 1879-1900, table 3: built fractions and heights.
"""


@dataclass(frozen=True, eq=False)
class Ground:
    """A patch of ground."""

    material: NDArray[np.int64]  # Indices into `MATERIAL_NAMES`; shape (rows, columns)
    height: Floats  # Height of buildings and trees in metres; shape (rows, columns)
    street_angle: float  # Orientation of the streets in radians


def draw_ground(zone: Zone, region: Region, size: int, posting: float, random: Random) -> Ground:
    """Draw a patch of a zone in a region.

    Built fraction, height and spacing of buildings vary between patches, so much that neighbouring
    zones of the scheme overlap, as they do in reality.
    """
    built = zone.built * region.density * random.lognormal(0.0, 0.15)
    pitch = zone.pitch * region.pitch * random.lognormal(0.0, 0.15)
    angle = random.uniform(0.0, np.pi)
    down, across = posting * np.mgrid[:size, :size].astype(np.float64)
    origin = random.uniform(0.0, pitch, 2)
    displacement = (1.0 - zone.order) * pitch
    along = np.cos(angle) * across + np.sin(angle) * down + origin[0]
    beside = np.cos(angle) * down - np.sin(angle) * across + origin[1]
    along += displacement * _smooth_field(size, pitch / posting, random)
    beside += displacement * _smooth_field(size, pitch / posting, random)
    # Blocks are rectangles of random proportions within their cell of the pattern.
    length = np.clip(random.normal(0.5, 0.1), 0.25, 0.75)
    side = np.clip(built, 0.0, 0.9) ** np.array([length, 1.0 - length])
    inside = ((along / pitch) % 1.0 < side[0]) & ((beside / pitch) % 1.0 < side[1])
    roofs = _draw_fractions(zone.roofs, region.roofs, 12.0, random)
    number = (np.floor(along / pitch) + 57.0 * np.floor(beside / pitch)).astype(np.int64)
    number -= number.min()
    kinds = random.choice(3, int(number.max()) + 1, p=roofs)
    storeys = random.lognormal(np.log(zone.height * region.storeys), 0.25, kinds.size)
    cover = _draw_fractions(zone.cover, region.cover, 25.0, random)
    plain = 3 + _classify_by_rank(_smooth_field(size, zone.grain / posting, random), cover, random)
    material = np.where(inside, kinds[number], plain)
    trees = random.uniform(5.0, 15.0)
    height = np.where(inside, storeys[number], np.where(material == 5, trees, 0.0))
    return Ground(material, height, float(angle))


def _draw_fractions(means: Any, weights: Any, precision: float, random: Random) -> Floats:  # noqa: ANN401
    """Draw fractions about weighted means from a Dirichlet distribution; a mean of 0 stays 0."""
    expected = np.asarray(means) * np.asarray(weights)
    drawn = np.array([random.gamma(precision * mean) if mean > 0 else 0.0 for mean in expected])
    fractions: Floats = drawn / drawn.sum() if drawn.sum() > 0 else expected / expected.sum()
    return fractions


def _smooth_field(size: int, scale: float, random: Random) -> Floats:
    """Draw a smooth random field of mean 0 and standard deviation 1."""
    field: Floats = gaussian_filter(
        random.normal(size=(size, size)), max(0.4 * scale, 0.4), mode="wrap"
    )
    field -= field.mean()
    field /= max(float(field.std()), 1e-9)
    return field


def _classify_by_rank(field: Floats, fractions: Floats, random: Random) -> NDArray[np.int64]:
    """Divide the cells by their rank in a field into kinds with given fractions."""
    noisy = field + 0.35 * random.normal(size=field.shape)
    order = np.argsort(np.argsort(noisy, axis=None)).reshape(field.shape) / field.size
    # In a random order, so that the same kinds are not always neighbours.
    kinds = random.permutation(fractions.size)
    ends = np.cumsum(fractions[kinds])
    return kinds[np.minimum(np.searchsorted(ends, order, side="right"), fractions.size - 1)]


# Reflectance and backscatter of a patch, as Sentinel-2 and Sentinel-1 measure them.

SPECTRA = 0.01 * np.array([
    #  B2    B3    B4    B5    B6    B7    B8   B8A   B11   B12
    [16.0, 18.0, 20.0, 21.0, 22.0, 23.0, 24.0, 24.5, 27.0, 26.0],  # concrete
    [8.0, 11.0, 19.0, 22.0, 24.0, 25.0, 26.0, 27.0, 32.0, 29.0],  # tiles
    [26.0, 27.0, 28.0, 28.5, 29.0, 29.5, 30.0, 30.0, 30.0, 28.0],  # metal
    [8.0, 9.0, 10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 15.0, 14.0],  # asphalt
    [3.5, 7.0, 4.5, 11.0, 27.0, 33.0, 35.0, 37.0, 22.0, 12.0],  # grass, green
    [2.0, 4.0, 2.5, 6.5, 20.0, 25.0, 27.0, 28.0, 13.0, 6.0],  # trees, green
    [4.0, 6.5, 6.0, 11.0, 19.0, 22.0, 24.0, 25.0, 22.0, 14.0],  # scrub, green
    [10.0, 14.0, 19.0, 21.0, 23.0, 24.5, 26.0, 27.5, 36.0, 33.0],  # soil
    [14.0, 16.0, 18.0, 19.0, 20.0, 20.5, 21.0, 21.5, 23.0, 21.0],  # rock
    [6.0, 5.5, 3.5, 3.0, 2.0, 1.8, 1.5, 1.2, 0.6, 0.4],  # water
])  # fmt: skip
"""Reflectance of the materials; vegetation is green."""
DRY = 0.01 * np.array([9.0, 12.0, 16.0, 19.0, 22.0, 23.5, 25.0, 26.5, 32.0, 25.0])
"""Reflectance of dry vegetation."""
VEGETATION = (4, 5, 6)
COARSE = slice(3, 10)
"""Bands of 20 m, except `FINE_BAND` (B8)."""
FINE_BAND = 6
POWER = np.array([
    #  VV     VH   of area without walls
    [0.080, 0.012],
    [0.070, 0.012],
    [0.060, 0.008],
    [0.020, 0.0025],
    [0.070, 0.014],
    [0.130, 0.040],
    [0.090, 0.022],
    [0.060, 0.008],
    [0.110, 0.016],
    [0.010, 0.0006],
])  # fmt: skip
"""Backscatter of the materials."""
CORRELATION = np.array([0.15, 0.15, 0.15, 0.1, 0.05, 0.0, 0.05, 0.1, 0.1, 0.05])
"""Magnitude of the correlation of VV and VH."""
WALL_POWER, WALL_CROSS, WALL_CORRELATION = 0.25, 0.10, 0.45
"""Double bounce of walls as high as a cell is wide that face the radar; VH relative to VV."""
GROUND_MATERIALS = (4, 6, 7)


def reflectances(
    ground: Ground, region: Region, posting: float, random: Random
) -> NDArray[np.float32]:
    """Simulate the ten bands of Sentinel-2."""
    spectra = SPECTRA.copy()
    for plant, lag in zip(VEGETATION, (0.0, 0.25, 0.15), strict=True):
        green = np.clip(region.season + lag + 0.1 * random.normal(), 0.0, 1.0)
        spectra[plant] = green * SPECTRA[plant] + (1.0 - green) * DRY
    spectra *= region.palette
    image = spectra[ground.material]
    image *= random.lognormal(0.0, 0.12, (*ground.material.shape, 1))
    sunlight = np.where(_shaded(ground, region, posting, random), 0.35, 1.0)
    image *= sunlight[..., None]
    for band in range(image.shape[-1]):
        coarse = band in range(COARSE.start, COARSE.stop) and band != FINE_BAND
        image[..., band] = gaussian_filter(image[..., band], 0.9 if coarse else 0.45)
    brightness = random.lognormal(0.0, 0.05)
    measured = brightness * region.gain * image + region.haze
    measured += random.normal(0.0, 0.004, measured.shape)
    return np.maximum(measured, 1e-4).astype(np.float32)


def _shaded(ground: Ground, region: Region, posting: float, random: Random) -> NDArray[np.bool_]:
    """Return which cells lie in the shadow of higher cells to their south."""
    azimuth = np.radians(random.normal(160.0, 10.0))
    slope = np.tan(np.radians(region.sun))
    shaded = np.zeros(ground.height.shape, dtype=bool)
    for step in range(1, 6):
        away = step * np.array([np.cos(azimuth), -np.sin(azimuth)])
        higher = shift(ground.height, away, order=0, mode="nearest")
        shaded |= higher - ground.height > step * posting * slope
    return shaded


def backscatter(
    ground: Ground, region: Region, posting: float, random: Random
) -> tuple[Floats, Floats, NDArray[np.complex128]]:
    """Simulate the polarimetric backscatter of the ground.

    Walls that face the radar add double bounce with the street in front of them, most where streets
    run parallel to the track.
    """
    power = POWER[ground.material]
    soft = np.isin(ground.material, GROUND_MATERIALS)
    power = power * np.where(soft, region.moisture, 1.0)[..., None]
    step = np.round([-np.cos(region.look_azimuth), np.sin(region.look_azimuth)]).astype(int)
    before = np.roll(ground.height, tuple(step), axis=(0, 1))
    is_roof = ground.material < 3
    wall = np.where(is_roof, np.maximum(ground.height - before, 0.0), 0.0) / posting
    facing = 0.25 + np.cos(2.0 * (ground.street_angle - region.look_azimuth)) ** 8
    walls = WALL_POWER * wall * facing * random.lognormal(0.0, 0.8, wall.shape)
    vv = power[..., 0] + walls
    vh = power[..., 1] + WALL_CROSS * walls
    phase = 2.0 * ground.street_angle
    covariance = CORRELATION[ground.material] * np.sqrt(power[..., 0] * power[..., 1]) + (
        WALL_CORRELATION * np.sqrt(WALL_CROSS) * walls * np.exp(1j * phase)
    )
    gain = region.radar_gain
    level = random.lognormal(0.0, 0.10)
    cross_gain = np.sqrt(gain[0] * gain[1])
    return gain[0] * level * vv, gain[1] * level * vh, cross_gain * level * covariance


def complex_speckle(
    vv: Floats, vh: Floats, covariance: NDArray[np.complex128], random: Random
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    r"""Draw fully developed speckle: circular complex Gaussian values with a given covariance.

    .. math::
        s_{VV} = \sqrt{C_{VV}}\, n_1, \quad
        s_{VH} = \frac{C_{VH,VV}}{\sqrt{C_{VV}}}\, n_1
            + \sqrt{C_{VH} - |C_{VH,VV}|^2 / C_{VV}}\, n_2

    with :math:`n_1, n_2` of mean power 1.

    References
    ----------
    Goodman, N. R. (1963). Statistical analysis based on a certain multivariate complex Gaussian
    distribution. Annals of Mathematical Statistics 34, 152-177.
    """
    parts = random.normal(0.0, np.sqrt(0.5), (4, *vv.shape))
    one, two = parts[0] + 1j * parts[1], parts[2] + 1j * parts[3]
    rest = np.maximum(vh - np.abs(covariance) ** 2 / vv, 0.0)
    first = np.sqrt(vv) * one
    second = covariance / np.sqrt(vv) * one + np.sqrt(rest) * two
    return first.astype(np.complex64), second.astype(np.complex64)


# Files in the format of So2Sat LCZ42.

SIZE, POSTING = 32, 10.0
MARGIN = 6
"""Cells around a patch within the windows of the filters."""
FILES = {"training": "training.h5", "validation": "validation.h5", "test": "testing.h5"}


@dataclass(frozen=True, kw_only=True)
class ZoneSceneSettings:
    """Settings of a simulated data set."""

    # Number of patches in "training", "validation" and "test"
    patches: Mapping[str, int]
    regions: Mapping[str, int]  # Number of regions in each; they have no region in common
    shift: float = 1.0  # Scale of the differences between regions: 0 for identical ones
    seed: int = 0


SMALL = ZoneSceneSettings(
    patches={"training": 2400, "validation": 500, "test": 800},
    regions={"training": 10, "validation": 4, "test": 6},
)


def write_simulated_so2sat(
    folder: str | os.PathLike[str], settings: ZoneSceneSettings = SMALL, *, overwrite: bool = False
) -> dict[str, Path]:
    """Write a simulated data set in the format of So2Sat LCZ42, and return its files by role.

    The folder gets ``training.h5``, ``validation.h5`` and ``testing.h5``, each with ``sen1``
    (n, 32, 32, 8), ``sen2`` (n, 32, 32, 10) and ``label`` (n, 17), one-hot, and in addition to
    the real files ``region`` (n,), the number of the region. Attributes mark the data as simulated
    and hold the settings. A file appears complete or not at all.
    """
    import h5py  # type: ignore[import-untyped]

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {role: folder / name for role, name in FILES.items()}
    first = 0
    for role, path in paths.items():
        count = settings.regions[role]
        found = simulated_zone_patches(
            settings.patches[role],
            range(first, first + count),
            shift=settings.shift,
            seed=settings.seed,
        )
        first += count
        with (
            atomic_write(path, overwrite=overwrite, suffixes=(".h5",)) as draft,
            h5py.File(draft, "w") as file,
        ):
            for name, values in found.items():
                file.create_dataset(name, data=values)
            file.attrs["simulated"] = "drawn by write_simulated_so2sat; no satellite has seen this"
            file.attrs["role"] = role
            file.attrs["settings"] = json.dumps(asdict(settings))
    return paths


def simulated_zone_patches(
    count: int, regions: range, *, shift: float = 1.0, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Draw labelled patches of some regions."""
    shape = (count, SIZE, SIZE)
    found: dict[str, NDArray[Any]] = {
        "sen1": np.empty((*shape, 8), dtype=np.float32),
        "sen2": np.empty((*shape, 10), dtype=np.float32),
        "label": np.zeros((count, len(CLIMATE_ZONES)), dtype=np.float32),
        "region": np.empty(count, dtype=np.int32),
    }
    for place, number in enumerate(regions):
        random = np.random.default_rng([seed, number])
        region = draw_region(random, len(ZONES), shift)
        chosen = np.arange(place, count, len(regions))
        labels = _draw_labels(region, chosen.size, random)
        found["region"][chosen] = number
        found["label"][chosen, labels] = 1.0
        found["sen1"][chosen], found["sen2"][chosen] = _patches(labels, region, random)
    return found


def _draw_labels(region: Region, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw the zones of the patches of a region: first each zone once, then by frequency."""
    once = random.permutation(len(ZONES))[:count]
    rest = random.choice(len(ZONES), count - once.size, p=region.classes)
    return random.permutation(np.concatenate([once, rest]))


def _patches(
    labels: NDArray[np.int64], region: Region, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Simulate the radar and optical channels of patches."""
    wide = SIZE + 2 * MARGIN
    inner = slice(MARGIN, -MARGIN)
    images = np.empty((2, labels.size, wide, wide), dtype=np.complex64)
    optical = np.empty((labels.size, SIZE, SIZE, 10), dtype=np.float32)
    for place, label in enumerate(labels):
        ground = draw_ground(ZONES[label], region, wide, POSTING, random)
        optical[place] = reflectances(ground, region, POSTING, random)[inner, inner]
        powers = backscatter(ground, region, POSTING, random)
        images[0, place], images[1, place] = complex_speckle(*powers, random)
    return _channels(images)[:, inner, inner], optical


def _channels(images: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Derive the radar channels of patches with margins, shape (n, rows, columns, 8).

    All patches are filtered as one tall image; windows stay within the margins.
    """
    import xarray as xr

    from sarheight.zones import polarimetric_channels

    count, wide = images.shape[1:3]
    vv, vh = (
        xr.DataArray(image.reshape(count * wide, wide), dims=("line", "sample")) for image in images
    )
    layers = polarimetric_channels(vv, vh)
    return np.stack([layer.values.reshape(count, wide, wide) for layer in layers.values()], -1)
