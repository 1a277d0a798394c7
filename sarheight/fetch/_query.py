"""What is looked for: a place, a time, and properties of the products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from sarheight.fetch._records import SceneRecord

__all__ = ["Place", "Query", "Time", "boxes", "moment"]

Place: TypeAlias = Sequence[float]
"""(west, south, east, north) or (longitude, latitude), degrees."""

Time: TypeAlias = str | date | datetime | np.datetime64

_DAY = "0000-00-00"
_PASSES = ("ascending", "descending")
_PRODUCTS = ("GRD", "SLC")


@dataclass(frozen=True)
class Query:
    """A question to a catalogue.

    Parameters
    ----------
    boxes : tuple of tuple of float
        (west, south, east, north) in degrees, two where the place lies across the antimeridian.
    start, stop : datetime
        UTC.
    product : str
        "GRD" or "SLC".
    mode : str
        "IW", ...
    passing : str, optional
        "ascending" or "descending".
    relative_orbit : int, optional
        Track.
    mission : str, optional
        "S1A", ...
    limit : int
        Most products to return.
    """

    boxes: tuple[tuple[float, float, float, float], ...]
    start: datetime
    stop: datetime
    product: str = "GRD"
    mode: str = "IW"
    passing: str | None = None
    relative_orbit: int | None = None
    mission: str | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        """Check what can be wrong in a question."""
        _one_of("product", self.product, _PRODUCTS)
        if self.passing is not None:
            _one_of("passing", self.passing, _PASSES)
        if self.stop < self.start:
            msg = f"the time span ends ({self.stop}) before it begins ({self.start}): swap the two"
            raise ValueError(msg)
        if self.limit < 1:
            msg = f"the limit is {self.limit}, expected 1 or more"
            raise ValueError(msg)

    def wants(self, record: SceneRecord) -> bool:
        """Tell whether a product is of the kind that is looked for."""
        return (
            record.product == self.product
            and record.mode == self.mode
            and self.passing in {None, record.passing}
            and self.relative_orbit in {None, record.relative_orbit}
            and self.mission in {None, record.mission}
        )


def boxes(place: Place) -> tuple[tuple[float, float, float, float], ...]:
    """Turn a place into boxes that do not cross the antimeridian.

    Parameters
    ----------
    place : sequence of float
        (west, south, east, north) or (longitude, latitude) in degrees. Across the antimeridian,
        either west > east or east > 180.

    Raises
    ------
    ValueError
        If it is no place on Earth.
    """
    values = [float(each) for each in place]
    if len(values) == 2:
        values = values * 2
    if len(values) != 4 or not all(map(math.isfinite, values)):
        msg = (
            f"the place is {tuple(place)}, expected (west, south, east, north) or (longitude, "
            "latitude) in degrees"
        )
        raise ValueError(msg)
    west, south, east, north = values
    if not -90.0 <= south <= north <= 90.0:
        msg = (
            f"the place reaches from latitude {south:g} to {north:g}, expected south before north, "
            "within -90 and 90: the order is (west, south, east, north)"
        )
        raise ValueError(msg)
    if not (-180.0 <= west <= 360.0 and -180.0 <= east <= 540.0):
        msg = f"the place reaches from longitude {west:g} to {east:g}, expected -180 to 180"
        raise ValueError(msg)
    if east - west >= 360.0:
        return ((-180.0, south, 180.0, north),)
    width = (east - west) % 360.0
    west = (west + 180.0) % 360.0 - 180.0
    if west + width <= 180.0:
        return ((west, south, west + width, north),)
    return ((west, south, 180.0, north), (-180.0, south, west + width - 360.0, north))


def moment(when: Time, *, last: bool = False) -> datetime:
    """Turn a time into one with a time zone; a day alone means its begin, or its end.

    Raises
    ------
    ValueError
        If it is no time.
    """
    if isinstance(when, np.datetime64):
        unit = np.datetime_data(when)[0]
        when = (
            str(when.astype("datetime64[us]"))
            if unit not in {"Y", "M", "W", "D"}
            else (str(when.astype("datetime64[D]")))
        )
    if isinstance(when, datetime):
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    text = when.isoformat() if isinstance(when, date) else str(when).strip()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a time, expected one such as 2021-04-01 or 2021-04-01T05:26:23"
        raise ValueError(msg) from None
    if len(text) == len(_DAY) and last:
        found = datetime.combine(found.date(), time.max)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _one_of(what: str, found: str, expected: tuple[str, ...]) -> None:
    if found not in expected:
        msg = f"{what} is {found!r}, expected {' or '.join(expected)}"
        raise ValueError(msg)
