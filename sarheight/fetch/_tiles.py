"""Elevation models that come in tiles of one degree: which tiles, and how they are called."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sarheight.fetch._addresses import safe_name
from sarheight.fetch._query import boxes

if TYPE_CHECKING:
    from sarheight.fetch._query import Place

__all__ = ["Tile", "columns_of", "tiles_of"]

_WORDS = {"ns", "lat", "ew", "lon"}
_STRETCH = ((50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (90, 10.0))
"""Up to which latitude a Copernicus DEM has cells how many times wider than high, in degrees.

References: Copernicus DEM Product Handbook, table of pixel spacings by latitude.
"""


@dataclass(frozen=True, order=True)
class Tile:
    """A cell of one degree.

    Parameters
    ----------
    latitude, longitude : int
        Its south-west corner in degrees.
    """

    latitude: int
    longitude: int

    @property
    def name(self) -> str:
        """The tile as SRTM names it, such as N46E008."""
        return "{ns}{lat:02d}{ew}{lon:03d}".format(**self._words())

    def address(self, template: str) -> str:
        """Fill in the address of the tile.

        Raises
        ------
        ValueError
            If the template holds other words than ns, lat, ew and lon.
        """
        found = {each[1] for each in string.Formatter().parse(template) if each[1] is not None}
        if not found or not found <= _WORDS:
            msg = (
                f"the address of the elevation model holds the words {sorted(found)}, expected "
                "such as https://example.org/{ns}{lat:02d}{ew}{lon:03d}.tif"
            )
            raise ValueError(msg)
        return template.format(**self._words())

    def file_name(self, template: str) -> str:
        """Name the file of the tile as its address does, if no other tile is called so."""
        last = template.partition("?")[0].rpartition("/")[2]
        name = safe_name(self.address(template).partition("?")[0].rpartition("/")[2])
        own = all(f"{{{word}" in last for word in _WORDS)
        return name if own else f"{self.name}_{name}"

    def _words(self) -> dict[str, Any]:
        return {
            "ns": "N" if self.latitude >= 0 else "S",
            "lat": abs(self.latitude),
            "ew": "E" if self.longitude >= 0 else "W",
            "lon": abs(self.longitude),
        }


def tiles_of(bounds: Place) -> list[Tile]:
    """List the tiles that meet a place, from south-west to north-east.

    Parameters
    ----------
    bounds : sequence of float
        (west, south, east, north) in degrees, or (longitude, latitude). Across the antimeridian,
        either west > east or east > 180.
    """
    found: set[Tile] = set()
    for west, south, east, north in boxes(bounds):
        rows = _degrees(south, north, -90, 89)
        columns = _degrees(west, east, -180, 179)
        found |= {Tile(row, column) for row in rows for column in columns}
    return sorted(found)


def columns_of(tile: Tile, rows: int) -> int:
    """Count the columns of a tile of a Copernicus DEM, which are fewer towards the poles."""
    nearest = min(abs(tile.latitude), abs(tile.latitude + 1))
    stretch = next(factor for limit, factor in _STRETCH if nearest < limit)
    return round(rows / stretch)


def _degrees(first: float, last: float, least: int, most: int) -> range:
    """List whole degrees that hold more than a single point of a span, or the point itself."""
    low = min(max(math.floor(first), least), most)
    high = math.ceil(last) - 1
    return range(low, min(max(high, low), most) + 1)
