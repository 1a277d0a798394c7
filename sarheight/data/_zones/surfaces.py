"""What simulated Local Climate Zones are made of: buildings in a pattern, plants, soil, water."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from sarheight.data._zones.regions import Region

__all__ = ["MATERIALS", "ZONES", "Ground", "Zone", "draw_ground"]

Floats = NDArray[np.float64]
Random = np.random.Generator

MATERIALS = (
    "concrete", "tiles", "metal", "asphalt", "grass", "trees", "scrub", "soil", "rock", "water",
)  # fmt: skip


@dataclass(frozen=True)
class Zone:
    """How a zone looks from above.

    Parameters
    ----------
    built : float
        Share of the ground under buildings.
    height : float
        Of the buildings in metres.
    pitch : float
        Metres from one building to the next.
    order : float
        How regular their pattern is, from 0 to 1.
    roofs : tuple of float
        Shares of concrete, tiles and metal among the roofs.
    cover : tuple of float
        Shares of asphalt, grass, trees, scrub, soil, rock and water among the rest.
    grain : float
        Metres over which the cover changes.
    """

    built: float
    height: float
    pitch: float
    order: float
    roofs: tuple[float, float, float]
    cover: tuple[float, float, float, float, float, float, float]
    grain: float


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
the American Meteorological Society 93, 1879-1900, table 3: shares and heights.
"""


@dataclass(frozen=True, eq=False)
class Ground:
    """A patch of ground.

    Attributes
    ----------
    material : array of int, shape (rows, columns)
        Numbers of `MATERIALS`.
    height : array, shape (rows, columns)
        Of buildings and trees, in metres.
    turn : float
        Angle of the streets in radians.
    """

    material: NDArray[np.int64]
    height: Floats
    turn: float


def draw_ground(zone: Zone, region: Region, size: int, posting: float, random: Random) -> Ground:
    """Draw a patch of a zone, as it is built in a region.

    No two patches are alike: share, height and spacing of buildings scatter, by so much that
    neighbouring zones of the scheme overlap, as they do on the ground.

    Parameters
    ----------
    zone : Zone
        What is built.
    region : Region
        Where.
    size : int
        Rows and columns.
    posting : float
        Metres from cell to cell.
    random : numpy.random.Generator
        Draws it.
    """
    built = zone.built * region.density * random.lognormal(0.0, 0.15)
    pitch = zone.pitch * region.pitch * random.lognormal(0.0, 0.15)
    turn = random.uniform(0.0, np.pi)
    down, across = posting * np.mgrid[:size, :size].astype(np.float64)
    shift = random.uniform(0.0, pitch, 2)
    wander = (1.0 - zone.order) * pitch
    along = np.cos(turn) * across + np.sin(turn) * down + shift[0]
    beside = np.cos(turn) * down - np.sin(turn) * across + shift[1]
    along += wander * _patchy(size, pitch / posting, random)
    beside += wander * _patchy(size, pitch / posting, random)
    # Blocks are rectangles of random sides within their cell of the pattern.
    length = np.clip(random.normal(0.5, 0.1), 0.25, 0.75)
    side = np.clip(built, 0.0, 0.9) ** np.array([length, 1.0 - length])
    inside = ((along / pitch) % 1.0 < side[0]) & ((beside / pitch) % 1.0 < side[1])
    roofs = _shares(zone.roofs, region.roofs, 12.0, random)
    number = (np.floor(along / pitch) + 57.0 * np.floor(beside / pitch)).astype(np.int64)
    number -= number.min()
    kinds = random.choice(3, int(number.max()) + 1, p=roofs)
    storeys = random.lognormal(np.log(zone.height * region.storeys), 0.25, kinds.size)
    cover = _shares(zone.cover, region.cover, 25.0, random)
    plain = 3 + _ranked(_patchy(size, zone.grain / posting, random), cover, random)
    material = np.where(inside, kinds[number], plain)
    trees = random.uniform(5.0, 15.0)
    height = np.where(inside, storeys[number], np.where(material == 5, trees, 0.0))
    return Ground(material, height, float(turn))


def _shares(usual: Any, favoured: Any, firm: float, random: Random) -> Floats:  # noqa: ANN401
    """Draw shares about the usual ones, where a region favours some; what has none gets none."""
    wanted = np.asarray(usual) * np.asarray(favoured)
    drawn = np.array([random.gamma(firm * each) if each > 0 else 0.0 for each in wanted])
    shares: Floats = drawn / drawn.sum() if drawn.sum() > 0 else wanted / wanted.sum()
    return shares


def _patchy(size: int, scale: float, random: Random) -> Floats:
    """Draw a smooth random field of mean 0 and spread 1."""
    field: Floats = gaussian_filter(
        random.normal(size=(size, size)), max(0.4 * scale, 0.4), mode="wrap"
    )
    field -= field.mean()
    field /= max(float(field.std()), 1e-9)
    return field


def _ranked(field: Floats, shares: Floats, random: Random) -> NDArray[np.int64]:
    """Part the cells by their rank in a field into kinds with these shares."""
    noisy = field + 0.35 * random.normal(size=field.shape)
    order = np.argsort(np.argsort(noisy, axis=None)).reshape(field.shape) / field.size
    # In a random order, so that no two kinds always meet.
    places = random.permutation(shares.size)
    ends = np.cumsum(shares[places])
    return places[np.minimum(np.searchsorted(ends, order, side="right"), shares.size - 1)]
