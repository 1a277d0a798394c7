"""Ground that scatters as several kinds of ground do, each by an angular law of its own.

The ground of a test world is a fine DEM whose cells carry a kind of ground, a level and a slope of
their angular law. Patches of 200 to 1,000 m share kind, level and slope; texture varies from cell
to cell; roads, rivers and embankments cross the patches, and single cells are bright. The DEM that
a reconstruction may use is another one: coarser or smoother, and wrong by a correlated error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import rioxarray  # noqa: F401 - registers the accessor
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from tests.worlds.scatterer_geometry import level_positions

__all__ = [
    "AS_USED",
    "COARSER",
    "KINDS",
    "REFERENCE_INCIDENCE",
    "CosineLaw",
    "DemForm",
    "Ground",
    "GroundSettings",
    "Kind",
    "LinearFeature",
    "Targets",
    "UlabyDobsonLaw",
    "block_sums",
    "draw_ground",
    "law_tables",
    "on_grid",
    "postings",
]

Floats = NDArray[np.float64]

REFERENCE_INCIDENCE = 40.0
"""Degrees at which levels are compared, and about which slopes turn: the middle of an IW swath."""

STEEPEST, FLATTEST = 10.0, 70.0
"""Degrees between which a patch's own slope acts; beyond, its deviation stays what it is there."""

GRAZING = FLATTEST
"""Degrees beyond which gamma0 is held. Few measurements of the published curves lie beyond, and a
sigma0 extrapolated there, divided by the cosine, would grow without bound."""

LAW_POINTS = 361
"""Points of a tabulated law: one in each quarter of a degree from 0 to 90."""


class Law(Protocol):
    """An angular law: from local incidence in degrees to gamma0 in dB."""

    def __call__(self, incidence: Floats) -> Floats:
        """Return gamma0 in dB at local incidence angles in degrees."""


@dataclass(frozen=True)
class UlabyDobsonLaw:
    r"""A curve of the form that Ulaby and Dobson fitted to measured backscatter.

    .. math::

        \sigma^0_\mathrm{dB} = P_1 + P_2 e^{-P_3 \theta} + P_4 \cos(P_5 \theta + P_6),
        \qquad \gamma^0 = \sigma^0 / \cos\theta

    with the incidence angle in radians.

    Parameters
    ----------
    parameters : tuple of six floats
        P1 to P6.

    References
    ----------
    Ulaby, F. T. and Dobson, M. C. (1989). Handbook of Radar Scattering Statistics for Terrain.
    Artech House.
    """

    parameters: tuple[float, float, float, float, float, float]

    def __call__(self, incidence: Floats) -> Floats:
        """Return gamma0 in dB at local incidence angles in degrees."""
        p1, p2, p3, p4, p5, p6 = self.parameters
        angle = np.radians(np.minimum(incidence, GRAZING))
        sigma0 = p1 + p2 * np.exp(-p3 * angle) + p4 * np.cos(p5 * angle + p6)
        gamma0: Floats = sigma0 - 10.0 * np.log10(np.cos(angle))
        return gamma0


@dataclass(frozen=True)
class CosineLaw:
    r"""A power of the cosine: :math:`\gamma^0 \propto \cos^n\theta`.

    Parameters
    ----------
    level : float
        gamma0 in dB at 40 degrees.
    exponent : float
        n; 0 is a constant gamma0 (a thick cloud of scatterers), 1 is Lambert's law
        (:math:`\sigma^0 \propto \cos^2\theta`, a very rough surface).

    References
    ----------
    Ulaby, F. T., Moore, R. K., Fung, A. K. (1982). Microwave Remote Sensing, vol. II, chapter 11.
    """

    level: float
    exponent: float

    def __call__(self, incidence: Floats) -> Floats:
        """Return gamma0 in dB at local incidence angles in degrees."""
        angle = np.radians(np.minimum(incidence, GRAZING))
        cosine = np.cos(angle) / np.cos(np.radians(REFERENCE_INCIDENCE))
        gamma0: Floats = self.level + 10.0 * self.exponent * np.log10(cosine)
        return gamma0


@dataclass(frozen=True)
class Kind:
    """A kind of ground."""

    name: str  # what it is
    law: Law  # its angular law
    texture: float  # standard deviation in dB of its log-normal texture


KINDS = (
    Kind("soil", UlabyDobsonLaw((-24.951, 28.742, 1.043, -1.681, 0.0, 0.0)), 0.5),
    Kind("scree", CosineLaw(-7.0, 1.0), 1.2),
    Kind("grass", UlabyDobsonLaw((-93.606, 99.0, 0.22, -5.509, -2.964, 1.287)), 0.6),
    Kind("forest", CosineLaw(-8.5, 0.2), 1.0),
)
"""Four kinds of ground at C band, VV; gamma0 at 20, 40 and 60 degrees in dB:

======  =====  =====  =====  ==================================================================
soil     -6.4  -11.6  -14.0  Ulaby and Dobson (1989), soil and rock surfaces, C band, VV
scree    -6.1   -7.0   -8.9  a parametrisation: Lambert's law, the limit of rough surfaces
grass    -7.0  -11.4  -10.6  Ulaby and Dobson (1989), grasses, C band, VV
forest   -8.3   -8.5   -8.9  a parametrisation: all but constant gamma0, as of closed canopies
======  =====  =====  =====  ==================================================================

P1 to P6 of soil and grass are those of a public transcription of the book's tables, which was not
compared with the book itself; levels and slopes are as expected of it. Scree and forest are plain
parametrisations: the form after Ulaby, Moore and Fung (1982), chapters 11 and 13, the forest's
level chosen 2 dB below that of the Amazon (-6.5 dB; Hawkins, R. K. et al. (2000). Stability of
Amazon backscatter at C-band. CEOS SAR Workshop, ESA SP-450).
"""


@dataclass(frozen=True)
class LinearFeature:
    """Something long and narrow that runs across patches."""

    name: str  # what it is
    gain: float  # its brightness relative to what it crosses, in dB
    width: int  # cells of the fine DEM, each way
    density: float  # how many begin in a square kilometre


@dataclass(frozen=True)
class Targets:
    """Squares that are brighter than their surroundings, to test how a method responds to them."""

    # Sides of the squares in cells of the coarser DEM; no more than 255
    sizes: tuple[int, ...] = (1, 2, 4)
    gain: float = 6.0  # their brightness relative to what they lie on, in dB
    count: int = 12  # how many of each size are placed, if so many find room
    apart: int = 3  # coarse cells between two squares, and to the edge
    factor: int = 3  # fine cells that make a coarse one, each way


@dataclass(frozen=True)
class GroundSettings:
    """What ground is like."""

    kinds: tuple[Kind, ...] = KINDS  # the kinds of ground, equally frequent
    patch: tuple[float, float] = (200.0, 1000.0)  # smallest and largest width of patches in metres
    level_spread: float = 1.5  # standard deviation in dB of the level of patches of one kind
    # Standard deviation in dB per degree of the slope of patches of one kind, cut off at twice
    # that: with 0.05, one dB over 20 degrees
    slope_spread: float = 0.05
    texture_length: float = 1.0  # smoothing of the texture in cells of the fine DEM
    # Roads, rivers, embankments
    features: tuple[LinearFeature, ...] = (
        LinearFeature("road", -5.0, 1, 0.15),
        LinearFeature("river", -7.0, 2, 0.05),
        LinearFeature("embankment", 5.0, 1, 0.1),
    )
    bright_density: float = 1.0  # single bright cells in a square kilometre: buildings, boulders
    bright_gain: tuple[float, float] = (6.0, 12.0)  # their gain in dB, from and to


@dataclass(frozen=True)
class DemForm:
    """How the DEM that a reconstruction may use differs from the true one."""

    factor: int = 3  # fine cells that make one of its cells, each way; their mean is its height
    # Full width at half maximum in metres of the Gaussian by which heights are smoothed before; 0
    # for none
    resolution: float = 0.0
    error: float = 4.5  # standard deviation of its error in metres
    length: float = 1.5  # smoothing of the error, in its own postings

    def degrade(self, dem: xr.DataArray, seed: int) -> xr.DataArray:
        """Make such a DEM of the true one, whose sides are multiples of `factor`."""
        heights = dem.values.astype(np.float64)
        if self.resolution > 0.0:
            # A Gaussian is 2 sqrt(2 ln 2) standard deviations wide at half its maximum.
            width = self.resolution / (2.0 * np.sqrt(2.0 * np.log(2.0)))
            heights = gaussian_filter(heights, [width / each for each in postings(dem)])
        coarse = block_sums(heights, self.factor) / self.factor**2
        random = np.random.default_rng([seed, self.factor, 0xDE])
        wrong = gaussian_filter(random.standard_normal(coarse.shape), self.length)
        values = (coarse + self.error * wrong / wrong.std()).astype(np.float32)
        return on_grid(dem, values, self.factor, {"units": "m", "vertical_datum": "ellipsoid"})


COARSER = DemForm()
"""Three times coarser than the truth, as a global DEM is against what is there."""

AS_USED = DemForm(factor=1, resolution=60.0, error=3.0, length=2.0)
"""A DEM as users have it, on a truth of 30 m: 30 m posting, effective resolution of 60 m."""


@dataclass(frozen=True, eq=False)
class Ground:
    """Ground of which everything is known."""

    dem: xr.DataArray  # heights above the ellipsoid in metres, dims (y, x)
    kind: NDArray[np.uint8]  # (rows, columns) index of each cell's kind of ground in `names`
    patch: NDArray[np.int32]  # (rows, columns) number of each cell's patch
    level: Floats  # (rows, columns) what is added to the law of the kind of ground, in dB
    # (rows, columns) what is added to the slope of that law, in dB per degree, about 40 degrees
    slope: Floats
    tables: Floats  # (kinds, 361) laws: gamma0 in dB at incidence angles from 0 to 90 degrees
    names: tuple[str, ...]  # names of the kinds of ground
    # (coarse rows, coarse columns) side of the bright square that a coarse cell lies in, 0 where
    # in none
    targets: NDArray[np.uint8]
    seed: int  # what it was drawn with


def block_sums(values: NDArray[np.generic], factor: int) -> Floats:
    """Sum over blocks of `factor` x `factor` cells.

    Raises
    ------
    ValueError
        If a side of the array is no multiple of it.
    """
    rows, columns = values.shape
    if rows % factor or columns % factor:
        msg = (
            f"found {rows} x {columns} cells, expected sides that are multiples of {factor}: cut "
            "the DEM to whole coarse cells"
        )
        raise ValueError(msg)
    blocks = values.reshape(rows // factor, factor, columns // factor, factor)
    summed: Floats = blocks.sum(axis=(1, 3), dtype=np.float64)
    return summed


def on_grid(
    dem: xr.DataArray, values: NDArray[np.generic], factor: int, attributes: dict[str, str]
) -> xr.DataArray:
    """Put values on the grid of a DEM, or on one whose cells are blocks of its cells."""
    coordinates = {name: dem[name].values.reshape(-1, factor).mean(axis=1) for name in ("y", "x")}
    placed = xr.DataArray(values, dims=("y", "x"), coords=coordinates, attrs=attributes)
    result: xr.DataArray = placed.rio.write_crs(dem.rio.crs)
    return result


def postings(dem: xr.DataArray) -> tuple[float, float]:
    """Return the distance in metres between rows and between columns, in the DEM's middle."""
    middle = [slice(size // 2 - 1, size // 2 + 1) for size in dem.shape]
    corners = level_positions(dem[middle[0], middle[1]])
    return (
        float(np.linalg.norm(corners[2, 1] - corners[1, 1])),
        float(np.linalg.norm(corners[1, 2] - corners[1, 1])),
    )


def law_tables(laws: Sequence[Law]) -> Floats:
    """Tabulate laws at each quarter of a degree: gamma0 in dB, shape (laws, 361)."""
    angles = np.linspace(0.0, 90.0, LAW_POINTS)
    return np.stack([law(angles) for law in laws])


def _require_dem(dem: xr.DataArray, factor: int) -> None:
    """Refuse a DEM that cannot be the truth of a test world."""
    if dem.dims != ("y", "x") or dem.attrs.get("vertical_datum") != "ellipsoid":
        msg = (
            f"found a DEM on dims {dem.dims} with vertical_datum="
            f"{dem.attrs.get('vertical_datum')!r}, expected ('y', 'x') and 'ellipsoid': open it "
            "with sarheight.dem.open_dem"
        )
        raise ValueError(msg)
    if not np.isfinite(dem.values).all():
        voids = int((~np.isfinite(dem.values)).sum())
        msg = f"found {voids} voids in the DEM, expected none: cut a part without voids"
        raise ValueError(msg)
    block_sums(dem.values, factor)


def _draw_patches(
    random: np.random.Generator, extent: tuple[float, float], widths: tuple[float, float]
) -> Floats:
    """Draw the middles of patches, shape (n, 2) in metres, whose distance varies with the place.

    Candidates lie as densely as the smallest patches want; where patches are to be w metres wide,
    one in (w / smallest)² of them is kept.
    """
    smallest, largest = widths
    low = np.array([-largest, -largest])
    high = np.array(extent) + largest
    count = random.poisson(np.prod((high - low) / smallest))
    places = random.uniform(low, high, (count, 2))
    # Widths vary over a few of the largest patches.
    nodes = np.ceil((high - low) / (2.0 * largest)).astype(int) + 1
    share = random.uniform(size=tuple(nodes))
    index = np.floor((places - low) / (2.0 * largest)).astype(int)
    width = smallest * (largest / smallest) ** share[index[:, 0], index[:, 1]]
    kept = random.uniform(size=count) < (smallest / width) ** 2
    # One patch at least, however small the ground is.
    kept[:1] = True
    return places[kept] if count else np.zeros((1, 2))


def _warped_places(
    random: np.random.Generator, shape: tuple[int, int], posting: tuple[float, float], by: float
) -> Floats:
    """Places of cells in metres, shape (rows, columns, 2), bent by up to about `by` metres.

    Nearest places would have straight borders; bent ones are those of fields and woods.
    """
    places = np.stack(np.indices(shape), axis=-1) * np.array(posting)
    for axis in range(2):
        bend = gaussian_filter(random.standard_normal(shape), by / posting[axis], mode="wrap")
        places[..., axis] += by * bend / max(float(bend.std()), 1e-12)
    return places


def draw_texture(
    random: np.random.Generator, shape: tuple[int, int], length: float, spread: Floats
) -> Floats:
    """Correlated log-normal texture in dB whose mean is 1 in linear power."""
    field_ = gaussian_filter(random.standard_normal(shape), length, mode="wrap")
    nepers = spread * np.log(10.0) / 10.0 * field_ / field_.std()
    # exp(x) of a normal x with variance s² has the mean exp(s²/2).
    decibels: Floats = (nepers - 0.5 * (spread * np.log(10.0) / 10.0) ** 2) * 10.0 / np.log(10.0)
    return decibels


def _draw_features(
    random: np.random.Generator,
    shape: tuple[int, int],
    area: float,
    features: tuple[LinearFeature, ...],
) -> Floats:
    """Draw winding lines, in dB; `area` is that of the ground in square kilometres."""
    gains = np.zeros(shape)
    for feature in features:
        for _ in range(random.poisson(feature.density * area)):
            # Half a cell a step, for one to three times the side of the ground.
            steps = int(2 * max(shape) * random.uniform(1.0, 3.0))
            heading = random.uniform(0.0, 2.0 * np.pi) + np.cumsum(
                gaussian_filter(random.standard_normal(steps), 10.0) * 0.1
            )
            start = random.uniform(0.0, 1.0, 2) * shape
            row = start[0] + 0.5 * np.cumsum(np.cos(heading))
            column = start[1] + 0.5 * np.cumsum(np.sin(heading))
            for down, across in np.ndindex(feature.width, feature.width):
                i, j = (row + down).astype(int), (column + across).astype(int)
                inside = (row >= 0) & (column >= 0) & (i < shape[0]) & (j < shape[1])
                gains[i[inside], j[inside]] = feature.gain
    return gains


def _draw_bright(
    random: np.random.Generator, shape: tuple[int, int], area: float, settings: GroundSettings
) -> Floats:
    """Draw single bright cells, in dB."""
    gains = np.zeros(shape)
    count = random.poisson(settings.bright_density * area)
    cells = random.integers(0, gains.size, count)
    gains.flat[cells] = random.uniform(*settings.bright_gain, count)
    return gains


def _place_targets(
    random: np.random.Generator, shape: tuple[int, int], targets: Targets
) -> NDArray[np.uint8]:
    """Place squares on the coarse grid of the given shape, the largest first."""
    label = np.zeros(shape, dtype=np.uint8)
    gap = targets.apart
    for size in sorted(targets.sizes, reverse=True):
        rows, columns = (side - size - 2 * gap for side in shape)
        placed = 0
        for _ in range(100 * targets.count if min(rows, columns) > 0 else 0):
            row, column = random.integers(0, rows) + gap, random.integers(0, columns) + gap
            around = np.s_[row - gap : row + size + gap, column - gap : column + size + gap]
            if placed < targets.count and not label[around].any():
                label[row : row + size, column : column + size] = size
                placed += 1
    return label


@dataclass(frozen=True)
class _Streams:
    """Random numbers of their own for each part, so that leaving out one changes no other."""

    seed: int
    names: tuple[str, ...] = field(
        default=("patches", "warp", "kinds", "texture", "features", "bright", "targets")
    )

    def __getitem__(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.names.index(name)])


def draw_ground(
    dem: xr.DataArray,
    seed: int,
    *,
    laws: Literal["several", "single"] = "several",
    targets: Targets | None = None,
    settings: GroundSettings | None = None,
) -> Ground:
    """Draw what covers the ground.

    Parameters
    ----------
    dem : xarray.DataArray
        True heights above the ellipsoid in metres, dims (y, x), without voids, with a CRS and the
        attribute ``vertical_datum="ellipsoid"``; sides are multiples of the coarser DEM's factor.
    seed : int
        Seed. All else is the same with and without `targets`, and with one law or several.
    laws : {"several", "single"}
        Whether each kind of ground has an angular law of its own, and each patch a slope of its
        own, or all share the law of the first kind and differ in level only.
    targets : Targets, optional
        Bright squares to be placed.
    settings : GroundSettings, optional
        What ground is like.

    Returns
    -------
    Ground

    Raises
    ------
    ValueError
        If the DEM has voids, other dims or another vertical reference, or does not divide into
        coarse cells.
    """
    settings = GroundSettings() if settings is None else settings
    factor = Targets().factor if targets is None else targets.factor
    _require_dem(dem, factor)
    shape, posting, streams = dem.shape, postings(dem), _Streams(seed)
    extent = shape[0] * posting[0], shape[1] * posting[1]
    area = extent[0] * extent[1] / 1e6

    middles = _draw_patches(streams["patches"], extent, settings.patch)
    places = _warped_places(streams["warp"], shape, posting, 0.25 * settings.patch[0])
    patch = cKDTree(middles).query(places)[1].astype(np.int32)
    random = streams["kinds"]
    kinds = random.integers(0, len(settings.kinds), len(middles))
    levels = settings.level_spread * random.standard_normal(len(middles))
    slopes = settings.slope_spread * np.clip(random.standard_normal(len(middles)), -2.0, 2.0)

    kind = kinds[patch].astype(np.uint8)
    spread = np.array([each.texture for each in settings.kinds])[kind]
    level = levels[patch] + draw_texture(streams["texture"], shape, settings.texture_length, spread)
    level += _draw_features(streams["features"], shape, area, settings.features)
    level += _draw_bright(streams["bright"], shape, area, settings)

    coarse = shape[0] // factor, shape[1] // factor
    label = np.zeros(coarse, dtype=np.uint8)
    if targets is not None:
        label = _place_targets(streams["targets"], coarse, targets)
        level += targets.gain * np.kron(label > 0, np.ones((factor, factor)))

    tables = law_tables([each.law for each in settings.kinds])
    slope = slopes[patch]
    if laws == "single":
        # The shape of the first law at the level of each kind.
        at = round(REFERENCE_INCIDENCE * (LAW_POINTS - 1) / 90.0)
        tables = tables[0] - tables[0, at] + tables[:, at, None]
        slope = np.zeros(shape)
    names = tuple(each.name for each in settings.kinds)
    return Ground(dem, kind, patch, level, slope, tables, names, label, seed)
