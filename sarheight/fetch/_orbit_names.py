"""What the name of an orbit file says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sarheight.fetch._records import scene_time

if TYPE_CHECKING:
    from sarheight.fetch._checksums import Checksum

__all__ = ["KINDS", "OrbitFile", "best", "mission_name"]

KINDS = ("POEORB", "RESORB")
"""Precise (some 5 cm, after twenty days) and restituted (some 10 cm, after hours), best first."""

MARGIN = np.timedelta64(60, "s")
"""How much more than the image a file must cover: interpolation reaches for its neighbours."""

_NAME = re.compile(
    r"(?P<mission>S1[A-Z])_OPER_AUX_(?P<kind>POEORB|RESORB)_OPOD_(?P<made>\d{8}T\d{6})"
    r"_V(?P<start>\d{8}T\d{6})_(?P<stop>\d{8}T\d{6})\.EOF"
)
_MISSION = re.compile(r"(?:S1|SENTINEL-?1)(?P<unit>[A-Z])")


@dataclass(frozen=True)
class OrbitFile:
    """An orbit file somewhere.

    Parameters
    ----------
    name : str
        Its name, which ends in ``.EOF``.
    kind : str
        "POEORB" or "RESORB".
    made, start, stop : datetime64
        When it was made, and which time it covers (UTC).
    url : str
        Where it is; it may be packed there as a zip.
    size : int, optional
        Bytes at `url`.
    checksum : Checksum, optional
        Of what is at `url`.
    """

    name: str
    kind: str
    mission: str
    made: np.datetime64
    start: np.datetime64
    stop: np.datetime64
    url: str = ""
    size: int | None = None
    checksum: Checksum | None = None

    @classmethod
    def from_name(
        cls, text: str, url: str = "", size: int | None = None, checksum: Checksum | None = None
    ) -> OrbitFile | None:
        """Read the name of a file, with or without folders and ``.zip``; None if it is no orbit."""
        found = _NAME.search(text)
        if found is None:
            return None
        made, start, stop = (scene_time(found[each]) for each in ("made", "start", "stop"))
        if made is None or start is None or stop is None:
            return None
        return cls(
            found[0], found["kind"], found["mission"], made, start, stop, url, size, checksum
        )

    def spare(self, start: np.datetime64, stop: np.datetime64) -> np.timedelta64:
        """Return how far the file reaches beyond a time span, on the side where it is less."""
        return min(start - self.start, self.stop - stop)


def best(
    files: list[OrbitFile], mission: str, kind: str, start: np.datetime64, stop: np.datetime64
) -> OrbitFile | None:
    """Choose the file that covers a time span, with a margin, best.

    The one whose ends lie farthest from the image is best: there the solution is weakest. Of
    several that cover the same time, the one made last.
    """
    good = [
        file
        for file in files
        if file.mission == mission and file.kind == kind and file.spare(start, stop) >= MARGIN
    ]
    return max(good, key=lambda file: (file.spare(start, stop), file.made), default=None)


def mission_name(text: str) -> str:
    """Return the short name of a mission, "S1A" for "SENTINEL-1A" and the like.

    Raises
    ------
    ValueError
        If it is no Sentinel-1.
    """
    found = _MISSION.match(text.strip().upper())
    if found is None:
        msg = f"the mission is {text!r}, expected S1A, S1B, S1C or S1D"
        raise ValueError(msg)
    return f"S1{found['unit']}"
