"""Places, times and properties of a search."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from sarheight.fetch.catalogues import SceneRecord

Place: TypeAlias = Sequence[float]
"""(west, south, east, north) or (longitude, latitude), degrees."""
Box: TypeAlias = tuple[float, float, float, float]
"""(west, south, east, north) in degrees, west before east."""
Time: TypeAlias = str | date | datetime | np.datetime64

_DAY = "0000-00-00"


def bounding_boxes(place: Place) -> tuple[Box, ...]:
    """Turn a place into boxes that do not cross the antimeridian; ValueError if it is none.

    Across the antimeridian, either west > east or east > 180.
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


def parse_time(when: Time, *, end: bool = False) -> datetime:
    """Turn a time into one in UTC; a date means the begin of its day, or its `end`."""
    if isinstance(when, np.datetime64):
        dated = np.datetime_data(when)[0] in {"Y", "M", "W", "D"}
        when = str(when.astype("datetime64[D]" if dated else "datetime64[us]"))
    if isinstance(when, datetime):
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    text = when.isoformat() if isinstance(when, date) else str(when).strip()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a time, expected one such as 2021-04-01 or 2021-04-01T05:26:23"
        raise ValueError(msg) from None
    if len(text) == len(_DAY) and end:
        found = datetime.combine(found.date(), time.max)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def parse_timestamp(text: object) -> np.datetime64 | None:
    """Read a time as catalogues and file names write it; None where it is none."""
    found = re.fullmatch(
        r"(\d{4})-?(\d{2})-?(\d{2})T(\d{2}):?(\d{2}):?(\d{2})(\.\d{1,9})?\d*(?:Z|\+00:?00)?",
        str(text),
        re.ASCII,
    )
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction = found.groups("")
    try:
        stamp = f"{year}-{month}-{day}T{hour}:{minute}:{second}{fraction}"
        return np.datetime64(stamp, "ns")
    except ValueError:
        return None


@dataclass(frozen=True)
class Query:
    """A search in a catalogue: boxes, time span (UTC), and properties of the products."""

    boxes: tuple[Box, ...]
    start: datetime
    stop: datetime
    product: str = "GRD"
    mode: str = "IW"
    passing: str | None = None
    relative_orbit: int | None = None
    mission: str | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        """Check the values."""
        for key, found, expected in (
            ("product", self.product, ("GRD", "SLC")),
            ("passing", self.passing, ("ascending", "descending", None)),
        ):
            if found not in expected:
                msg = f"{key} is {found!r}, expected {' or '.join(filter(None, expected))}"
                raise ValueError(msg)
        if self.stop < self.start:
            msg = f"the time span ends ({self.stop}) before it begins ({self.start}): swap the two"
            raise ValueError(msg)
        if self.limit < 1:
            msg = f"the limit is {self.limit}, expected 1 or more"
            raise ValueError(msg)

    def matches(self, record: SceneRecord) -> bool:
        """Tell whether a product has the properties of the query."""
        return (
            record.product == self.product
            and record.mode == self.mode
            and self.passing in {None, record.passing}
            and self.relative_orbit in {None, record.relative_orbit}
            and self.mission in {None, record.mission}
        )
