"""The choice of orbit files, their sources, and files that are none."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarheight.errors import FetchError
from sarheight.fetch import Settings, orbit
from sarheight.fetch.orbits import mission_name
from sarheight.fetch.settings import OrbitSource
from sarheight.orbit import Orbit
from sarheight.sentinel1 import read_orbit_file
from sarheight.sentinel1.orbit import OrbitFileName, best_orbit_file
from tests.servers import Reply, Request, Site, Trouble, at_once, zip_of
from tests.worlds.annotations import eof_xml

AWS, STEP, DATA_SPACE = (Settings.load().orbits[name] for name in ("aws", "step", "copernicus"))
START, STOP = "2024-01-01T06:02:00", "2024-01-01T06:02:25"


def eof_name(
    kind: str = "POEORB",
    *,
    made: str = "20240121T120000",
    first: str = "20231231T225942",
    last: str = "20240102T005942",
    mission: str = "S1A",
) -> str:
    return f"{mission}_OPER_AUX_{kind}_OPOD_{made}_V{first}_{last}.EOF"


PRECISE = eof_name()
NEWER = eof_name(made="20240221T120000")
FRINGE = eof_name(first="20240101T060030", last="20240102T235942", made="20240301T000000")
RESTITUTED = eof_name(
    "RESORB", made="20240101T080000", first="20240101T043000", last="20240101T074700"
)
ELSEWHERE = eof_name(mission="S1B")
EARLIER = eof_name(first="20231230T225942", last="20240101T005942")


@pytest.fixture(scope="module")
def contents() -> bytes:
    """An orbit that covers the image."""
    return eof_xml(Orbit.circular(epoch="2024-01-01T06:00:00", duration=300.0)).encode()


def bucket(site: Site, names: list[str], contents: bytes, page: int = 2) -> OrbitSource:
    """Put orbits on the server as Amazon lists them, a few to a page."""
    keys = sorted(f"AUX_{name[13:19]}/{name}" for name in names)

    def listing(request: Request) -> Reply:
        asked = request.query
        assert asked["list-type"] == "2"
        after = asked["start-after"]
        rest = [key for key in keys if key.startswith(asked["prefix"]) and key > after]
        rows = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(contents)}</Size></Contents>"
            for key in rest[:page]
        )
        more = f"<IsTruncated>{str(len(rest) > page).lower()}</IsTruncated>"
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        return Reply(f'<ListBucketResult xmlns="{space}">{rows}{more}</ListBucketResult>'.encode())

    site.pages["/bucket/"] = listing
    for key in keys:
        site.add(f"/bucket/{key}", contents)
    return replace(AWS, url=f"{site.url}/bucket")


def packed(name: str, contents: bytes) -> bytes:
    return zip_of({f"./some/folder/{name}": contents}, zipfile.ZIP_DEFLATED)


def folders(site: Site, names: list[str], contents: bytes) -> OrbitSource:
    """Put orbits on the server as ESA's web pages list them, packed."""
    months: dict[str, str] = {}
    for name in names:
        kind, mission, first = name[13:19], name[:3], name[42:48]
        path = f"/step/{kind}/{mission}/{first[:4]}/{first[4:]}/"
        months[path] = months.get(path, "") + f'<a href="{name}.zip">{name}.zip</a>'
        site.add(f"{path}{name}.zip", packed(name, contents))
    for path, links in months.items():
        site.add(path, f"<html>{links}</html>".encode())
    return replace(STEP, url=f"{site.url}/step")


def odata(site: Site, names: list[str], contents: bytes) -> OrbitSource:
    """Put orbits on the server as the Copernicus Data Space has them."""

    def entry(number: int, name: str) -> dict[str, Any]:
        body = packed(name, contents)
        site.add(f"/download({number})/$value", body)
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        sums = [{"Algorithm": "BLAKE3", "Value": "00"}, {"Algorithm": "MD5", "Value": digest}]
        return {"Name": name, "Id": str(number), "Checksum": sums}

    values = [entry(number, name) for number, name in enumerate(names)]

    def answer(request: Request) -> Reply:
        found = [each for each in values if each["Name"][13:19] in request.query["$filter"]]
        return Reply(json.dumps({"value": found}).encode())

    site.pages["/odata"] = answer
    return replace(DATA_SPACE, url=f"{site.url}/odata", file=f"{site.url}/download({{id}})/$value")


SOURCES = {"bucket": bucket, "folders": folders, "odata": odata}


# --- the choice --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SOURCES)
def test_the_best_orbit_is_downloaded_and_can_be_read(
    site: Site, quick: Settings, contents: bytes, tmp_path: Path, kind: str
) -> None:
    names = [PRECISE, NEWER, FRINGE, RESTITUTED, ELSEWHERE, EARLIER]
    known = replace(quick, orbits={"one": SOURCES[kind](site, names, contents)})
    path = orbit("SENTINEL-1A", START, STOP, settings=known)
    assert path == tmp_path / "cache" / "orbits" / NEWER
    read = read_orbit_file(path, window=(np.datetime64(START), np.datetime64(STOP)))
    assert read.time.size >= 4
    assert {each.name for each in path.parent.iterdir()} == {NEWER}
    site.requests.clear()
    assert orbit("S1A", START, STOP, settings=replace(known, offline=True)) == path
    assert site.requests == []


def test_a_restituted_orbit_will_do_where_there_is_no_precise_one(
    site: Site, quick: Settings, contents: bytes
) -> None:
    names = [RESTITUTED, EARLIER, ELSEWHERE]
    known = replace(quick, orbits={"one": bucket(site, names, contents)})
    assert orbit("S1A", START, STOP, kinds=("POEORB",), settings=known) is None
    path = orbit("S1A", START, STOP, settings=known)
    assert path is not None
    assert path.name == RESTITUTED
    assert orbit("S1C", START, STOP, settings=known) is None


def test_the_next_source_is_searched_where_one_is_down(
    site: Site, quick: Settings, contents: bytes
) -> None:
    """A failure of all is an error, and not no orbit."""
    sources = {"down": replace(AWS, url=f"{site.url}/nowhere")}
    with pytest.raises(FetchError, match="could be searched"):
        orbit("S1A", START, STOP, settings=replace(quick, orbits=sources))
    sources |= {"step": folders(site, [PRECISE], contents)}
    path = orbit("S1A", START, STOP, settings=replace(quick, orbits=sources))
    assert path is not None
    assert path.name == PRECISE


def test_a_long_listing_is_left_where_nothing_more_can_come(
    site: Site, quick: Settings, contents: bytes
) -> None:
    later = [
        eof_name("RESORB", made=f"202402{day:02d}T000000", first=f"202402{day:02d}T000000")
        for day in range(1, 20)
    ]
    known = replace(quick, orbits={"one": bucket(site, [RESTITUTED, *later], contents)})
    orbit("S1A", START, STOP, kinds=("RESORB",), settings=known)
    assert len(site.asked("/bucket/")) == 1


SPARE = st.integers(-300, 3000)


@given(spares=st.lists(st.tuples(SPARE, SPARE), min_size=1, max_size=8))
def test_the_chosen_file_covers_the_image_and_none_does_so_better(
    spares: list[tuple[int, int]],
) -> None:
    start, stop = np.datetime64(START, "ns"), np.datetime64(STOP, "ns")
    files = []
    for index, (before, after) in enumerate(spares):
        span = start - np.timedelta64(before, "s"), stop + np.timedelta64(after, "s")
        files.append(OrbitFileName(f"{index}", "POEORB", "S1A", stop, *span))
    chosen = best_orbit_file(files, "S1A", "POEORB", start, stop)
    covering = [min(pair) for pair in spares if min(pair) >= 60]
    if not covering:
        assert chosen is None
    else:
        assert chosen is not None
        assert chosen.margin(start, stop) == np.timedelta64(max(covering), "s")


def test_a_listing_without_end_is_left_at_the_limit(site: Site, quick: Settings) -> None:
    text = f"<ListBucketResult><Key>{EARLIER}</Key></ListBucketResult>".encode()
    site.pages["/bucket/"] = lambda _: Reply(text)
    known = replace(quick, orbits={"one": replace(AWS, url=f"{site.url}/bucket")})
    few = replace(known, limits=replace(known.limits, pages=5))
    with pytest.raises(FetchError, match="exceeds pages = 5"):
        orbit("S1A", START, STOP, kinds=("POEORB",), settings=few)
    assert len(site.requests) == 5


# --- what is wrong -----------------------------------------------------------------------------


def test_an_orbit_that_does_not_hold_what_its_name_says_is_not_kept(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    other = eof_xml(Orbit.circular(epoch="2024-01-01T12:00:00", duration=300.0)).encode()
    known = replace(quick, orbits={"one": bucket(site, [PRECISE], other)})
    with pytest.warns(UserWarning, match="there may be a better orbit"):
        assert orbit("S1A", START, STOP, settings=known) is None
    assert not list((tmp_path / "cache" / "orbits").glob("*.EOF"))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>sign in</html>", id="a page to sign in"),
        pytest.param(
            b'<!DOCTYPE x [<!ENTITY a "b">]><Earth_Explorer_File>&a;</Earth_Explorer_File>',
            id="an entity",
        ),
        pytest.param(packed("two.txt", b"no orbit"), id="an archive without an orbit"),
        pytest.param(packed(PRECISE, b"no orbit")[:60], id="an archive cut short"),
    ],
)
def test_what_is_no_orbit_is_not_kept(
    site: Site, quick: Settings, tmp_path: Path, body: bytes
) -> None:
    known = replace(quick, orbits={"one": bucket(site, [PRECISE], body)})
    with pytest.raises(FetchError, match="could be searched"):
        orbit("S1A", START, STOP, kinds=("POEORB",), settings=known)
    assert not list((tmp_path / "cache" / "orbits").glob("*.EOF"))


@pytest.mark.parametrize("source", [AWS, STEP, DATA_SPACE])
def test_a_listing_that_is_none_is_not_taken_for_an_empty_one(
    site: Site, quick: Settings, source: OrbitSource
) -> None:
    known = replace(quick, orbits={"one": replace(source, url=f"{site.url}/x")})
    for body in (b"<html>", b"{}", b'{"value": 3}', b"<a/>"):
        for path in ("/x", "/x/", "/x/POEORB/S1A/2024/01/"):
            site.add(path, body)
        if source is STEP and not body.startswith(b"{"):  # a page may have no links
            assert orbit("S1A", START, STOP, kinds=("POEORB",), settings=known) is None
        else:
            with pytest.raises(FetchError, match="did not send a list of files"):
                orbit("S1A", START, STOP, kinds=("POEORB",), settings=known)


def test_a_dropped_connection_costs_nothing_but_time(
    site: Site, quick: Settings, contents: bytes
) -> None:
    known = replace(quick, orbits={"one": bucket(site, [PRECISE], contents)})
    site.fail(f"/bucket/AUX_POEORB/{PRECISE}", Trouble(drop_after=1000))
    path = orbit("S1A", START, STOP, settings=known)
    assert path is not None
    assert path.read_bytes() == contents


def test_many_at_once_download_one_zipped_file_once(
    site: Site, quick: Settings, contents: bytes
) -> None:
    known = replace(quick, orbits={"one": folders(site, [PRECISE], contents)})
    found = at_once(lambda: orbit("S1A", START, STOP, settings=known))
    assert len({str(path) for path in found}) == 1
    assert len(site.asked(f"/step/POEORB/S1A/2023/12/{PRECISE}.zip")) == 1


def test_a_mission_has_many_names() -> None:
    for text in ("S1A", "s1a", "SENTINEL-1A", "sentinel-1a", "SENTINEL1A"):
        assert mission_name(text) == "S1A"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"mission": "ERS-1"}, "expected S1A"),
        ({"kinds": ("PREORB",)}, "no orbits of the kind PREORB"),
        ({"start": "2024-01-02"}, "before it begins"),
        ({"start": "yesterday"}, "is not a time"),
    ],
)
def test_a_request_without_sense_is_refused(
    quick: Settings, choice: dict[str, Any], message: str
) -> None:
    question = {"mission": "S1A", "start": START, "stop": STOP} | choice
    with pytest.raises(ValueError, match=message):
        orbit(**question, settings=quick)
