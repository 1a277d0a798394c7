"""Downloads that are interrupted, changed, refused, concurrent and killed."""

from __future__ import annotations

import base64
import hashlib
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sarheight.errors import ChecksumError, FetchError, NotThereError
from sarheight.fetch import Checksum, Settings, download_file, transfer
from sarheight.fetch.transfer import Partial
from tests.fetch.conftest import Get
from tests.servers import Site, Trouble, at_once, running, seconds_from_now

BODY = np.random.default_rng(7).bytes(600_000)
SUM = Checksum("sha256", hashlib.sha256(BODY).hexdigest())
WRONG = Checksum("sha256", "0" * 64)


def serve(site: Site, *troubles: int | Trouble, **options: Any) -> str:  # noqa: ANN401
    """Put the file on the server; the next replies have troubles, or end after so many bytes."""
    options = {"etag": '"1"'} | options
    listed = [Trouble(drop_after=each) if isinstance(each, int) else each for each in troubles]
    return site.add("/file", BODY, troubles=listed, **options)


@dataclass
class Clock:
    """A clock that only pauses move."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of downloads."""
    made = Clock()
    monkeypatch.setattr(transfer, "time", made)
    return made


def left_behind(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def ranges(site: Site) -> list[str | None]:
    return [request.headers.get("Range") for request in site.asked("/file")]


# --- as it should be ---------------------------------------------------------------------------


def test_a_file_arrives_whole_and_alone(site: Site, quick: Settings, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    path = download_file(
        serve(site),
        tmp_path / "new" / "my file (1).zip",
        checksum=SUM,
        size=len(BODY),
        settings=quick,
        progress=lambda *news: told.append(news),
    )
    assert path.read_bytes() == BODY
    assert left_behind(path.parent) == {path.name}
    assert told[0] == (path.name, 0, len(BODY))
    assert told[-1] == (path.name, len(BODY), len(BODY))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    path.write_bytes(BODY[:100])  # of another size, so fetched anew, and once
    for _ in range(2):
        download_file(f"{site.url}/file", path, size=len(BODY), settings=quick)
        assert path.read_bytes() == BODY
    assert len(site.requests) == 2


@pytest.mark.parametrize(
    ("body", "options"), [(b"", {}), (BODY, {"announce": False}), (BODY, {"pace": 0.05})]
)
def test_a_file_may_be_empty_of_unknown_length_or_slow(
    site: Site, get: Get, body: bytes, options: dict[str, Any]
) -> None:
    assert get(site.add("/file", body, **options)) == body
    assert len(site.requests) == 1


# --- broken connections ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        {"etag": '"1"'},
        {"etag": None, "modified": "Thu, 01 Apr 2021 05:26:23 GMT"},
        {"etag": 'W/"1"', "modified": "Thu, 01 Apr 2021 05:26:23 GMT"},
    ],
)
def test_a_download_resumes_after_a_dropped_connection(
    site: Site, get: Get, names: dict[str, str | None]
) -> None:
    assert get(serve(site, 100_000, 200_000, **names)) == BODY
    assert ranges(site) == [None, "bytes=100000-", "bytes=300000-"]
    conditions = [request.headers.get("If-Range") for request in site.asked("/file")[1:]]
    assert conditions == [names.get("modified") or names["etag"]] * 2


def test_without_a_name_of_the_version_only_a_checksum_lets_us_go_on(
    site: Site, get: Get, tmp_path: Path
) -> None:
    for checksum, expected in ((None, None), (SUM, "bytes=100000-")):
        site.requests.clear()
        (tmp_path / "file").unlink(missing_ok=True)
        assert get(serve(site, 100_000, etag=None), checksum=checksum) == BODY
        assert ranges(site) == [None, expected]


def test_a_server_that_falls_silent_is_requested_again(site: Site, get: Get) -> None:
    assert get(serve(site, Trouble(pause=(65536, 0.8)))) == BODY
    assert len(site.requests) == 2


def test_a_body_cut_short_every_time_is_given_up_and_kept(
    site: Site, get: Get, tmp_path: Path
) -> None:
    url = serve(site, *[1000] * 4)
    with pytest.raises(FetchError, match=r"gave up after 4 tries.*4\.0 kB of it are kept"):
        get(url)
    assert not (tmp_path / "file").exists()
    assert get(url) == BODY
    assert ranges(site)[-1] == "bytes=4000-"


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 70_000), max_size=3), ranged=st.booleans())
def test_whatever_is_cut_the_bytes_are_the_same(
    quick: Settings, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], *, ranged: bool
) -> None:
    with running() as site:
        url = site.add("/file", BODY[:70_001], etag='"1"', ranges=ranged)
        site.fail("/file", *(Trouble(drop_after=cut) for cut in cuts))
        path = tmp_path_factory.mktemp("cut") / "file"
        assert download_file(url, path, settings=quick).read_bytes() == BODY[:70_001]


# --- busy servers ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_requested_again_and_given_up(site: Site, get: Get, status: int) -> None:
    url = serve(site, *[Trouble(status=status)] * 6)
    with pytest.raises(FetchError, match=f"HTTP {status}; gave up after 4 tries"):
        get(url)
    assert len(site.requests) == 4
    assert get(url) == BODY


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_respected_unless_it_is_long(
    site: Site, get: Get, clock: Clock, form: str
) -> None:
    asked = "2" if form == "seconds" else seconds_from_now(2.0)
    get(serve(site, Trouble(status=429, headers={"Retry-After": asked})))
    assert 0.9 < clock.now < 2.1
    with pytest.raises(FetchError, match="asks to wait 7200 s"):
        get(serve(site, Trouble(status=503, headers={"Retry-After": "7200"})), size=1)


def test_what_is_not_there_is_not_retried(site: Site, get: Get) -> None:
    with pytest.raises(NotThereError, match="does not exist"):
        get(f"{site.url}/nothing")
    assert len(site.requests) == 1
    with running() as other:
        url = f"{other.url}/file"
    with pytest.raises(FetchError, match="gave up after 4 tries"):
        get(url)


# --- other files than were announced -----------------------------------------------------------

OTHER_MD5 = base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()


@pytest.mark.parametrize(
    ("served", "announced", "message"),
    [
        ({}, {"checksum": WRONG}, f"has sha256 {SUM.value}, and 0000"),
        ({}, {"size": len(BODY) - 1}, "announced"),
        ({"announce": False}, {"size": len(BODY) - 1}, "announced"),
        ({"headers": {"Content-MD5": OTHER_MD5}}, {}, "has md5"),
    ],
)
def test_another_file_than_was_announced_leaves_nothing(
    site: Site,
    get: Get,
    tmp_path: Path,
    served: dict[str, Any],
    announced: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ChecksumError, match=message):
        get(serve(site, **served), **announced)
    assert left_behind(tmp_path) <= {".file.lock"}


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (BODY[::-1], {"etag": '"2"'}),
        # Some servers go on though the version that they are asked for is gone.
        (BODY[::-1], {"etag": None, "modified": '"1"', "headers": {"ETag": '"2"'}}),
        (BODY[:1000], {}),
    ],
)
def test_a_file_that_changes_between_two_calls_is_not_mixed(
    site: Site, get: Get, body: bytes, changes: dict[str, Any]
) -> None:
    url = serve(site, *[10_000] * 4)
    with pytest.raises(FetchError):
        get(url)
    page = site.document("/file")
    page.body = body
    for name, value in changes.items():
        setattr(page, name, value)
    assert get(url) == body


def test_a_beginning_from_elsewhere_is_found_out(site: Site, get: Get, tmp_path: Path) -> None:
    """A damaged beginning costs one more try, not the file."""
    url = serve(site, *[1000] * 4)
    with pytest.raises(FetchError):
        get(url, checksum=SUM)
    (tmp_path / ".file.partial").write_bytes(bytes(4000))
    assert get(url, checksum=SUM) == BODY


def test_a_compressed_answer_is_refused(site: Site, get: Get) -> None:
    with pytest.raises(FetchError, match="encoded as gzip"):
        get(serve(site, headers={"Content-Encoding": "gzip"}))
    assert site.requests[0].headers["Accept-Encoding"] == "identity"


# --- the disk ----------------------------------------------------------------------------------


def test_a_full_disk_is_said_before_the_download(site: Site, get: Get) -> None:
    with pytest.raises(FetchError, match=r"no space left on device \(.* are free there\)"):
        get(serve(site), size=1 << 60)
    assert site.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_half_way_is_one_error(
    site: Site, get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".file.partial").symlink_to("/dev/full")
    monkeypatch.setattr(Partial, "clear", lambda _self: None)  # the link stays
    with pytest.raises(FetchError, match=r"no space left on device"):
        get(serve(site))
    assert not (tmp_path / "file").exists()


def test_a_folder_in_the_way_is_one_error(site: Site, quick: Settings, tmp_path: Path) -> None:
    (tmp_path / "place").write_text("a file, not a folder")
    with pytest.raises(FetchError, match="could not write"):
        download_file(serve(site), tmp_path / "place" / "file", settings=quick)


# --- several at once ---------------------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
from sarheight.fetch import download_file
from sarheight.fetch.settings import Network, Settings
network = Network(tries=3, backoff=0.01, read_timeout=5.0)
download_file(sys.argv[1], Path(sys.argv[2]), settings=Settings(network=network))
"""


def start(url: str, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, url, str(path)])


@pytest.mark.usefixtures("quick")
def test_two_processes_download_a_file_once(site: Site, tmp_path: Path) -> None:
    url = serve(site, pace=0.1)
    both = [start(url, tmp_path / "file") for _ in range(2)]
    assert [process.wait(timeout=30) for process in both] == [0, 0]
    assert (tmp_path / "file").read_bytes() == BODY
    assert len(site.asked("/file")) == 1


def test_threads_download_a_file_once(site: Site, get: Get) -> None:
    url = serve(site, pace=0.02)
    assert at_once(lambda: get(url)) == [BODY] * 4
    assert len(site.asked("/file")) == 1


def test_a_download_resumes_after_a_killed_process(site: Site, get: Get, tmp_path: Path) -> None:
    url = serve(site, pace=0.3)
    process = start(url, tmp_path / "file")
    partial = tmp_path / ".file.partial"
    deadline = time.monotonic() + 20.0
    while (not partial.exists() or not partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    assert not (tmp_path / "file").exists()
    here = partial.stat().st_size
    assert 0 < here < len(BODY)
    site.document("/file").pace = None
    assert get(url) == BODY
    assert ranges(site)[-1] == f"bytes={here}-"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_keeps_the_part_so_far(
    site: Site, get: Get, tmp_path: Path, error: type[BaseException]
) -> None:
    url = serve(site)

    def stop(_name: str, done: int, _total: int | None) -> None:
        if done > 300_000:
            raise error

    with pytest.raises(error):
        get(url, progress=stop)
    assert not (tmp_path / "file").exists()
    assert get(url) == BODY
    assert ranges(site)[-1] is not None


def test_a_pause_between_two_tries_ends_when_the_user_stops(
    site: Site, get: Get, quick: Settings, clock: Clock
) -> None:
    url = serve(site, Trouble(status=503, headers={"Retry-After": "60"}))
    patient = replace(quick, network=replace(quick.network, longest_wait=100.0))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(url, settings=patient, progress=stop)
    assert clock.now < 2.0
