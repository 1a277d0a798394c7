"""Orbit files: the servers that list them, and the best one for an image."""

from __future__ import annotations

import html
import itertools
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, unquote, urljoin
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException

from sarheight.errors import FetchError, NotThereError, SarheightError
from sarheight.fetch.addresses import redact, whole_number
from sarheight.fetch.catalogues import Asset, parse_time
from sarheight.fetch.http import HttpClient, require_limit
from sarheight.fetch.settings import Settings
from sarheight.fetch.transfer import Checksum, FileRequest, ensure_file, no_progress, unpack
from sarheight.sentinel1.orbit import ORBIT_KINDS, OrbitFileName, best_orbit_file, read_orbit_file

if TYPE_CHECKING:
    import os
    from xml.etree.ElementTree import Element

    from sarheight.fetch.catalogues import Time
    from sarheight.fetch.settings import OrbitSource
    from sarheight.fetch.transfer import Report
_LATENCY = {"POEORB": None, "RESORB": np.timedelta64(4, "D")}
"""How long after the orbit a file is made at most; None where old ones were reprocessed."""
_MISSION = re.compile(r"(?:S1|SENTINEL-?1)(?P<unit>[A-Z])")

Listed: TypeAlias = tuple[OrbitFileName, Asset]
"""An orbit file at a source, where it may be zipped."""


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
            client = HttpClient.trusting(self.settings, source.url, source.download)
            try:
                files = list_files(client, source, self.mission, kind, self.start, self.stop)
                found = best_orbit_file(files, self.mission, kind, self.start, self.stop)
                if found is not None:
                    return self._download(client, files[found], zipped=source.kind == "odata")
            except SarheightError as error:
                self.problems.append(str(error))
        return None

    def _download(self, client: HttpClient, file: Asset, *, zipped: bool) -> Path:
        """Download a file, which may be zipped."""
        size = None if zipped or file.url.lower().endswith(".zip") else file.size
        request = FileRequest(lambda: file.url, size, file.checksum, self._prepare)
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
) -> dict[OrbitFileName, Asset]:
    """List the orbit files of a source that may cover a time span."""
    url = source.url
    if source.kind == "s3":
        found = _in_bucket(client, source, mission, kind, stop)
    elif source.kind == "folders":
        found = _in_folders(client, f"{url}/{kind}/{mission}", start, stop)
    elif source.kind == "page":
        found = _linked(client, f"{url}/aux_{kind.lower()}/")
    elif source.kind == "odata":
        found = _in_odata(client, source, mission, kind, (start, stop))
    else:
        msg = f"orbit source of the kind {source.kind!r}, expected s3, folders, page or odata"
        raise ValueError(msg)
    return dict(each for each in found if each is not None)


def _listed(
    text: str, url: str, size: int | None = None, checksum: Checksum | None = None
) -> Listed | None:
    """Return an orbit file by its name, with or without folders and ``.zip``."""
    name = OrbitFileName.parse(text)
    return None if name is None else (name, Asset(name.name, url, size, checksum))


def _in_bucket(
    client: HttpClient, source: OrbitSource, mission: str, kind: str, stop: np.datetime64
) -> Iterator[Listed | None]:
    """List a bucket in the order of names, so of the times at which files were made.

    Reference: Amazon S3 API, ListObjectsV2.
    """
    prefix = f"AUX_{kind}/{mission}_OPER_AUX_{kind}_OPOD_"
    compact = np.datetime_as_string(stop, unit="s").replace("-", "").replace(":", "")
    params = {
        "list-type": "2",
        "prefix": prefix,
        "start-after": prefix + compact,  # a file is made after what it covers
    }
    latency = _LATENCY[kind]
    for number in itertools.count(1):
        require_limit(client.limits, "pages", number, source.url)
        page = _parse_xml(client.get_text(f"{source.url}/", params), source.url)
        space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
        last = None
        for entry in page.iter(f"{space}Contents"):
            key = entry.findtext(f"{space}Key") or ""
            size = whole_number(entry.findtext(f"{space}Size"))
            file = _listed(key, f"{source.url}/{quote(key)}", size)
            last = file[0] if file else last
            yield file
        token = page.findtext(f"{space}NextContinuationToken")
        if not token or (latency is not None and last and last.created > stop + latency):
            return
        params["continuation-token"] = token


def _in_folders(
    client: HttpClient, url: str, start: np.datetime64, stop: np.datetime64
) -> Iterator[Listed | None]:
    """List the web pages of the months in which files begin that cover a time span."""
    before = start - np.timedelta64(2, "D")
    for month in sorted({str(each)[:7] for each in (before, start, stop)}):
        try:
            yield from _linked(client, f"{url}/{month.replace('-', '/')}/")
        except NotThereError:
            continue  # a month without files


def _linked(client: HttpClient, url: str) -> Iterator[Listed | None]:
    """List the links of a web page."""
    for link in re.findall(r'href="([^"]+)"', client.get_text(url)):
        href = html.unescape(link)
        with suppress(ValueError):  # not an address
            yield _listed(unquote(href), urljoin(url, href))


def _in_odata(
    client: HttpClient,
    source: OrbitSource,
    mission: str,
    kind: str,
    span: tuple[np.datetime64, np.datetime64],
) -> Iterator[Listed | None]:
    """Search an OData catalogue for files that cover a time span.

    Reference: Copernicus Data Space Ecosystem, OData API.
    """
    first, last = (f"{np.datetime_as_string(each, unit='ms')}Z" for each in span)
    condition = (
        f"startswith(Name,'{mission}') and contains(Name,'AUX_{kind}') and "
        f"ContentDate/Start lt {first} and ContentDate/End gt {last}"
    )
    reply = client.get_json(source.url, {"$filter": condition, "$top": "100"})
    values = reply.get("value") if isinstance(reply, dict) else None
    if not isinstance(values, list):
        msg = f"{redact(source.url)} did not send a list of products: is it the right address?"
        raise FetchError(msg)
    for value in values:
        entry: dict[str, Any] = value if isinstance(value, dict) else {}
        sums = entry.get("Checksum")
        stated = [
            each.get("Value")
            for each in (sums if isinstance(sums, list) else [])
            if isinstance(each, dict) and each.get("Algorithm") == "MD5"
        ]
        identifier = quote(str(entry.get("Id", "")), safe="")
        yield _listed(
            str(entry.get("Name", "")),
            f"{source.download or source.url}({identifier})/$value",
            checksum=Checksum.parse("md5", stated[0]) if stated else None,
        )


def _parse_xml(text: str, url: str) -> Element:
    """Parse a list in XML."""
    try:
        return defusedxml.ElementTree.fromstring(text, forbid_dtd=True)
    except (DefusedXmlException, ParseError, ValueError) as error:
        msg = f"{redact(url)} did not send a list of files ({type(error).__name__})"
        raise FetchError(msg) from None
