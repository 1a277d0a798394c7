"""Orbit files: the servers that list them, and the best one for an image."""

from __future__ import annotations

import itertools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from sarheight.errors import FetchError, NotThereError, SarheightError
from sarheight.fetch.addresses import redact
from sarheight.fetch.catalogues import Asset, mapping, parse_time
from sarheight.fetch.http import HttpClient, parse_reply, require_limit
from sarheight.fetch.settings import Settings, fill
from sarheight.fetch.transfer import Checksum, FileRequest, ensure_file, no_progress, unpack
from sarheight.sentinel1.orbit import ORBIT_KINDS, OrbitFileName, best_orbit_file, read_orbit_file

if TYPE_CHECKING:
    import os

    from sarheight.fetch.catalogues import Time
    from sarheight.fetch.settings import OrbitSource
    from sarheight.fetch.transfer import Report

_LATENCY = {"POEORB": None, "RESORB": np.timedelta64(4, "D")}
"""How long after the orbit a file is made at most; None where old ones were reprocessed."""
_LAST_PAGE = "<IsTruncated>false</IsTruncated>"
_MISSION = re.compile(r"(?:S1|SENTINEL-?1)(?P<unit>[A-Z])")
_NAMES = re.compile(r"S1[A-Z]_OPER_AUX_[A-Z]{6}_OPOD_\w{1,80}\.EOF", re.ASCII)


def mission_name(text: str) -> str:
    """Return the short name of a mission, "S1A" for "SENTINEL-1A" and the like."""
    found = _MISSION.match(text.strip().upper())
    if found is None:
        msg = f"the mission is {text!r}, expected S1A, S1B, S1C or S1D"
        raise ValueError(msg)
    return f"S1{found['unit']}"


# --- the best file -----------------------------------------------------------------------------


def orbit(
    mission: str,
    start: Time,
    stop: Time,
    directory: str | os.PathLike[str] | None = None,
    *,
    kinds: tuple[str, ...] = ORBIT_KINDS,
    settings: Settings | None = None,
    progress: Report = no_progress,
) -> Path | None:
    """Download the best orbit file for an image.

    A precise orbit (POEORB, some 5 cm, made twenty days later) is better than a restituted one
    (RESORB, some 10 cm, made within hours). Of one kind, the file that reaches farthest beyond the
    image is chosen, and of equal ones the newest. A file that was downloaded before is found
    without network.

    Parameters
    ----------
    mission : str
        "S1A", "S1B", "S1C", "S1D", or in full, as "SENTINEL-1A".
    start, stop : str, datetime or datetime64
        First and last line of the image (UTC).
    directory : path, optional
        Folder for the file; ``orbits`` in the cache by default.
    kinds : tuple of str, optional
        Kinds to use, best first.
    settings : Settings, optional
        Sources, accounts and retry policy; by default as the user's file and the environment say.
    progress : callable, optional
        Called with (name, bytes so far, size or None).

    Returns
    -------
    pathlib.Path or None
        An EOF file for `sarheight.sentinel1.read_orbit_file`, which has read it already; None where
        no source has one that covers the image.

    Raises
    ------
    ValueError
        If there is no such mission or kind, or the time makes no sense.
    FetchError
        If no source could be searched, so that it is unknown whether there is a file.
    """
    settings = settings or Settings.load()
    folder = Path(directory) if directory is not None else settings.cache / "orbits"
    unknown = set(kinds) - set(ORBIT_KINDS)
    if unknown:
        msg = (
            f"there are no orbits of the kind {', '.join(sorted(unknown))}, expected {ORBIT_KINDS}"
        )
        raise ValueError(msg)
    unit = mission_name(mission)
    first, last = (
        np.datetime64(parse_time(each).replace(tzinfo=None), "ns") for each in (start, stop)
    )
    if last < first:
        msg = f"the image ends ({last}) before it begins ({first}): swap the two"
        raise ValueError(msg)
    search = _Search(unit, first, last, folder, settings, progress)
    found, better = None, list[str]()
    for kind in kinds:
        found = search.in_folder(kind) or search.at_sources(kind)
        if found is not None:
            break
        better.append(kind)
    problems = "; ".join(dict.fromkeys(search.problems))
    if found is None and problems and len(search.problems) >= len(kinds) * len(settings.orbits):
        msg = f"no source of orbit files for {unit} could be searched: {problems}"
        raise FetchError(msg)
    if problems and better:
        msg = f"there may be a better orbit ({' or '.join(better)}) for {unit}: {problems}"
        warnings.warn(msg, stacklevel=2)
    return found


@dataclass
class _Search:
    """The search for the file of one image."""

    mission: str
    start: np.datetime64
    stop: np.datetime64
    folder: Path
    settings: Settings
    progress: Report

    def __post_init__(self) -> None:
        self.problems: list[str] = []

    def in_folder(self, kind: str) -> Path | None:
        """Return the best file of a kind that was downloaded before."""
        files = [OrbitFileName.parse(path.name) for path in self.folder.glob("S1*.EOF")]
        known = [file for file in files if file is not None]
        found = best_orbit_file(known, self.mission, kind, self.start, self.stop)
        return None if found is None else self.folder / found.name

    def at_sources(self, kind: str) -> Path | None:
        """Download the best file of a kind from the first source that has one."""
        for source in self.settings.orbits.values():
            client = HttpClient.trusting(self.settings, source.url, source.file)
            try:
                files = dict(list_files(client, source, self.mission, kind, self.start, self.stop))
                found = best_orbit_file(files, self.mission, kind, self.start, self.stop)
                if found is not None:
                    return self._download(client, files[found])
            except SarheightError as error:
                self.problems.append(str(error))
        return None

    def _download(self, client: HttpClient, file: Asset) -> Path:
        """Download a file, which may be zipped."""
        request = FileRequest(lambda: file.url, None, file.checksum, self._prepare)
        return ensure_file(client, request, self.folder / file.name, self.progress)

    def _prepare(self, path: Path) -> None:
        """Unpack a file, and read it for the time that is needed, which checks it."""
        if zipfile.is_zipfile(path):
            unpack(path, ".EOF", self.settings.limits)
        read_orbit_file(path, window=(self.start, self.stop))


# --- sources -----------------------------------------------------------------------------------


def list_files(
    client: HttpClient,
    source: OrbitSource,
    mission: str,
    kind: str,
    start: np.datetime64,
    stop: np.datetime64,
) -> Iterator[tuple[OrbitFileName, Asset]]:
    """List the orbit files of a source that may cover a time span.

    Fields of its addresses are those of `sources.toml`. One with `{month}` has a page for each
    month in which files begin; one with `{after}` lists names in their order, so in that of the
    times at which files were made.

    References
    ----------
    Amazon S3 API, ListObjectsV2. Copernicus Data Space Ecosystem, OData API.
    """
    first, last = (f"{np.datetime_as_string(each, unit='ms')}Z" for each in (start, stop))
    known = {"url": source.url, "kind": kind, "mission": mission, "start": first, "stop": last}
    before = start - np.timedelta64(2, "D")
    months = sorted({str(each)[:7].replace("-", "/") for each in (before, start, stop)})
    compact = np.datetime_as_string(stop, unit="s").replace("-", "").replace(":", "")
    after = f"{mission}_OPER_AUX_{kind}_OPOD_{compact}"  # a file is made after what it covers
    for month in months if "{month}" in source.list else months[:1]:
        for page in itertools.count(1):
            require_limit(client.limits, "pages", page, source.url)
            fields = known | {"month": month, "after": after}
            try:
                text = client.get_text(fill(source.list, **fields))
            except NotThereError:
                if "{month}" not in source.list:
                    raise
                break  # a month without files
            name = None
            for name, facts in _entries(text, source):
                address = fill(source.file, **fields, name=name.name, id=facts.get("Id", ""))
                yield name, Asset(name.name, address, None, _md5(facts))
            latency = _LATENCY[kind]
            late = name and latency is not None and name.created > stop + latency
            if name is None or late or "{after}" not in source.list or _LAST_PAGE in text:
                break
            after = name.name


def _entries(text: str, source: OrbitSource) -> Iterator[tuple[OrbitFileName, Mapping[str, Any]]]:
    """Find the names of orbit files in a list, and what a list in JSON says of each."""
    entries: object = [{"Name": each[0]} for each in _NAMES.finditer(text)]
    if text.lstrip().startswith("{"):
        entries = mapping(parse_reply(text, source.url)).get("value")
    if source.mark not in text or not isinstance(entries, list):
        msg = f"{redact(source.url)} did not send a list of files: is it the right address?"
        raise FetchError(msg)
    for entry in entries:
        facts = mapping(entry)
        name = OrbitFileName.parse(str(facts.get("Name", "")))
        if name is not None:
            yield name, {**facts, "Id": quote(str(facts.get("Id", "")), safe="")}


def _md5(facts: Mapping[str, Any]) -> Checksum | None:
    """Return the checksum that a list states of a file."""
    sums = facts.get("Checksum")
    for each in sums if isinstance(sums, list) else []:
        if mapping(each).get("Algorithm") == "MD5":
            return Checksum.parse("md5", mapping(each).get("Value"))
    return None
