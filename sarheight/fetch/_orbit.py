"""Precise orbits: the best file for a mission and a time."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sarheight.errors import FetchError, SarheightError
from sarheight.fetch._download import Wanted, fetch
from sarheight.fetch._orbit_names import KINDS, OrbitFile, best, mission_name
from sarheight.fetch._orbit_sources import listed
from sarheight.fetch._progress import silent
from sarheight.fetch._query import moment
from sarheight.fetch._settings import Settings
from sarheight.fetch._unpack import unpack
from sarheight.fetch._web import Web

if TYPE_CHECKING:
    import os

    from sarheight.fetch._progress import Report
    from sarheight.fetch._query import Time
    from sarheight.fetch._settings import OrbitSource

__all__ = ["orbit"]


def orbit(
    mission: str,
    start: Time,
    stop: Time,
    directory: str | os.PathLike[str] | None = None,
    *,
    kinds: tuple[str, ...] = KINDS,
    settings: Settings | None = None,
    progress: Report = silent,
) -> Path | None:
    """Bring the best orbit file for an image.

    A precise orbit (POEORB, some 5 cm, made twenty days later) is better than a restituted one
    (RESORB, some 10 cm, made within hours). Of one kind, the file that reaches farthest beyond the
    image is taken, and of equal ones the newest. A file that was brought before is found without
    network.

    Parameters
    ----------
    mission : str
        "S1A", "S1B", "S1C", "S1D", or in words, as "SENTINEL-1A".
    start, stop : str, datetime or datetime64
        First and last line of the image (UTC).
    directory : path, optional
        Where to put the file; ``orbits`` in the cache by default.
    kinds : tuple of str, optional
        Which kinds will do, best first.
    settings : Settings, optional
        Sources, accounts and patience; by default as the user's file and the environment say.
    progress : callable, optional
        Is told (name, bytes here, bytes in all or None).

    Returns
    -------
    pathlib.Path or None
        An EOF file for `sarheight.sentinel1.read_orbit_file`, which has read it already; None
        where no source has one that covers the image.

    Raises
    ------
    ValueError
        If there is no such mission or kind, or the time makes no sense.
    FetchError
        If no source could be asked, and so nobody knows whether there is a file.
    """
    settings = settings or Settings.load()
    folder = Path(directory) if directory is not None else settings.cache / "orbits"
    unknown = set(kinds) - set(KINDS)
    if unknown:
        msg = f"there are no orbits of the kind {', '.join(sorted(unknown))}, expected {KINDS}"
        raise ValueError(msg)
    unit = mission_name(mission)
    first, last = (np.datetime64(moment(each).replace(tzinfo=None), "ns") for each in (start, stop))
    if last < first:
        msg = f"the image ends ({last}) before it begins ({first}): swap the two"
        raise ValueError(msg)
    return _Search(unit, first, last, folder, settings, progress).run(kinds)


class _Search:
    """The search for one file."""

    def __init__(
        self,
        mission: str,
        start: np.datetime64,
        stop: np.datetime64,
        folder: Path,
        settings: Settings,
        progress: Report,
    ) -> None:
        self.mission, self.start, self.stop = mission, start, stop
        self.folder, self.settings, self.progress = folder, settings, progress
        self.problems: list[str] = []

    def run(self, kinds: tuple[str, ...]) -> Path | None:
        """Go through kinds, and for each through what is here and through the sources."""
        for kind in kinds:
            found = self._here(kind) or self._elsewhere(kind)
            if found is not None:
                self._tell(better=kinds[: kinds.index(kind)])
                return found
        if self.problems and len(self.problems) >= len(kinds) * len(self.settings.orbits):
            msg = (
                f"no orbit file for {self.mission} could be looked for: "
                f"{'; '.join(dict.fromkeys(self.problems))}"
            )
            raise FetchError(msg)
        self._tell(better=kinds)
        return None

    def _tell(self, *, better: tuple[str, ...]) -> None:
        """Warn where a better orbit may exist at a source that could not be asked."""
        if self.problems and better:
            warnings.warn(
                f"there may be a better orbit ({' or '.join(better)}) for {self.mission}: "
                f"{'; '.join(dict.fromkeys(self.problems))}",
                stacklevel=4,
            )

    def _here(self, kind: str) -> Path | None:
        files = [OrbitFile.from_name(path.name) for path in self.folder.glob("S1*.EOF")]
        known = [file for file in files if file is not None]
        found = best(known, self.mission, kind, self.start, self.stop)
        return None if found is None else self.folder / found.name

    def _elsewhere(self, kind: str) -> Path | None:
        for source in self.settings.orbits.values():
            web = Web.trusting(self.settings, source.url, source.download)
            try:
                files = listed(web, source, self.mission, kind, self.start, self.stop)
                found = best(files, self.mission, kind, self.start, self.stop)
                if found is not None:
                    return self._bring(web, source, found)
            except SarheightError as error:
                self.problems.append(str(error))
        return None

    def _bring(self, web: Web, source: OrbitSource, file: OrbitFile) -> Path:
        packed = file.url.lower().endswith(".zip") or source.kind == "odata"
        size = None if packed else file.size
        wanted = Wanted(lambda: file.url, size, file.checksum, self._prepare)
        return fetch(web, wanted, self.folder / file.name, self.progress)

    def _prepare(self, path: Path) -> None:
        """Unpack a file, and read it for the time that is needed: what is no good is not kept."""
        from sarheight.sentinel1 import read_orbit_file

        if zipfile.is_zipfile(path):
            unpack(path, ".EOF")
        read_orbit_file(path, window=(self.start, self.stop))
