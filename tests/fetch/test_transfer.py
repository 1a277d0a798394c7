"""Downloads that are interrupted, changed, refused, concurrent and killed."""

from __future__ import annotations

import base64
import hashlib
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sarheight.errors import ChecksumError, FetchError, NotThereError
from sarheight.fetch import Checksum, download_file
from sarheight.fetch.transfer import Partial
from tests.servers import Site, Trouble, alone, running, seconds_from_now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sarheight.fetch import Settings

BODY = np.random.default_rng(7).bytes(600_000)
SUM = Checksum("sha256", hashlib.sha256(BODY).hexdigest())
WRONG = Checksum("sha256", "0" * 64)


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    return alone(monkeypatch, tmp_path)


def left_behind(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def ranges(site: Site, path: str = "/file") -> list[str | None]:
    return [request.headers.get("Range") for request in site.asked(path)]


# --- as it should be ---------------------------------------------------------------------------


def test_a_file_arrives_whole_and_alone(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY, etag='"1"')
    told: list[tuple[str, int, int | None]] = []
    path = download_file(
        url,
        tmp_path / "new" / "file",
        checksum=SUM,
        size=len(BODY),
        settings=quick,
        progress=lambda *news: told.append(news),
    )
    assert path.read_bytes() == BODY
    assert left_behind(path.parent) == {"file"}
    assert told[0] == ("file", 0, len(BODY))
    assert told[-1] == ("file", len(BODY), len(BODY))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_what_is_there_is_not_fetched_again(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY)
    for _ in range(2):
        download_file(url, tmp_path / "file", size=len(BODY), settings=quick)
    assert len(site.requests) == 1


def test_what_is_there_with_another_size_is_fetched_anew(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(BODY[:100])
    download_file(site.add("/file", BODY), tmp_path / "file", size=len(BODY), settings=quick)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_name_of_the_users_own_may_be_any(site: Site, quick: Settings, tmp_path: Path) -> None:
    path = download_file(site.add("/file", BODY), tmp_path / "my file (1).zip", settings=quick)
    assert path.read_bytes() == BODY


def test_an_empty_file_is_a_file(site: Site, quick: Settings, tmp_path: Path) -> None:
    path = download_file(site.add("/file", b""), tmp_path / "file", settings=quick)
    assert path.read_bytes() == b""


def test_the_length_may_be_unknown(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY, announce=False)
    path = download_file(url, tmp_path / "file", checksum=SUM, settings=quick)
    assert path.read_bytes() == BODY


# --- broken connections ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        {"etag": '"1"'},
        {"modified": "Thu, 01 Apr 2021 05:26:23 GMT"},
        {"etag": 'W/"1"', "modified": "Thu, 01 Apr 2021 05:26:23 GMT"},
    ],
)
def test_a_download_resumes_after_a_dropped_connection(
    site: Site, quick: Settings, tmp_path: Path, names: dict[str, str]
) -> None:
    url = site.add("/file", BODY, **names)
    site.document("/file").troubles = [Trouble(drop_after=100_000), Trouble(drop_after=200_000)]
    path = download_file(url, tmp_path / "file", settings=quick)
    assert path.read_bytes() == BODY
    first, second, third = ranges(site)
    assert first is None
    assert second == "bytes=100000-"
    assert third == "bytes=300000-"
    conditions = [request.headers.get("If-Range") for request in site.asked("/file")[1:]]
    strong = names["modified"] if names.get("etag", "W/").startswith("W/") else names["etag"]
    assert conditions == [strong, strong]


def test_without_a_name_of_the_version_only_a_checksum_lets_us_go_on(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    url = site.add("/file", BODY)
    for checksum, expected in ((None, None), (SUM, "bytes=100000-")):
        site.requests.clear()
        site.document("/file").troubles = [Trouble(drop_after=100_000)]
        path = download_file(
            url, tmp_path / f"file{expected}"[:5], checksum=checksum, settings=quick
        )
        assert path.read_bytes() == BODY
        assert ranges(site) == [None, expected]


def test_without_ranges_a_download_starts_again(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    url = site.add("/file", BODY, etag='"1"', ranges=False)
    site.document("/file").troubles = [Trouble(drop_after=100_000)]
    assert download_file(url, tmp_path / "file", settings=quick).read_bytes() == BODY


def test_a_server_that_falls_silent_is_requested_again(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    url = site.add("/file", BODY, etag='"1"')
    site.document("/file").troubles = [Trouble(pause=(65536, 0.8))]
    assert download_file(url, tmp_path / "file", settings=quick).read_bytes() == BODY
    assert len(site.asked("/file")) == 2


def test_a_slow_server_is_waited_for(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY, pace=0.05)
    assert download_file(url, tmp_path / "file", settings=quick).read_bytes() == BODY
    assert len(site.asked("/file")) == 1


def test_a_body_cut_short_every_time_is_given_up_and_kept(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    url = site.add("/file", BODY, etag='"1"')
    site.document("/file").troubles = [Trouble(drop_after=1000) for _ in range(4)]
    with pytest.raises(FetchError, match=r"gave up after 4 tries.*4.0 kB of it are kept"):
        download_file(url, tmp_path / "file", settings=quick)
    assert not (tmp_path / "file").exists()
    assert download_file(url, tmp_path / "file", settings=quick).read_bytes() == BODY
    assert ranges(site)[-1] == "bytes=4000-"


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 70_000), max_size=3), ranged=st.booleans())
def test_whatever_is_cut_the_bytes_are_the_same(
    quick: Settings, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], *, ranged: bool
) -> None:
    with running() as site:
        url = site.add("/file", BODY[:70_001], etag='"1"', ranges=ranged)
        site.document("/file").troubles = [Trouble(drop_after=cut) for cut in cuts]
        path = tmp_path_factory.mktemp("cut") / "file"
        assert download_file(url, path, settings=quick).read_bytes() == BODY[:70_001]


# --- busy servers ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_requested_again(
    site: Site, quick: Settings, tmp_path: Path, status: int
) -> None:
    url = site.add("/file", BODY)
    site.document("/file").troubles = [Trouble(status=status), Trouble(status=status)]
    assert download_file(url, tmp_path / "file", settings=quick).read_bytes() == BODY
    assert len(site.asked("/file")) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_respected(site: Site, quick: Settings, tmp_path: Path, form: str) -> None:
    asked = "1" if form == "seconds" else seconds_from_now(2.0)
    url = site.add("/file", BODY)
    site.document("/file").troubles = [Trouble(status=429, headers={"Retry-After": asked})]
    begun = time.monotonic()
    download_file(url, tmp_path / "file", settings=quick)
    assert time.monotonic() - begun > 0.9


def test_a_long_retry_after_is_an_error(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY)
    site.document("/file").troubles = [Trouble(status=503, headers={"Retry-After": "7200"})]
    with pytest.raises(FetchError, match="asks to wait 7200 s"):
        download_file(url, tmp_path / "file", settings=quick)


def test_a_server_that_stays_busy_is_given_up(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY)
    site.document("/file").troubles = [Trouble(status=503) for _ in range(9)]
    with pytest.raises(FetchError, match="HTTP 503; gave up after 4 tries"):
        download_file(url, tmp_path / "file", settings=quick)
    assert len(site.requests) == 4


def test_a_missing_file_is_not_retried(site: Site, quick: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="does not exist"):
        download_file(f"{site.url}/nothing", tmp_path / "file", settings=quick)
    assert len(site.requests) == 1


def test_a_server_that_is_not_there_is_given_up(quick: Settings, tmp_path: Path) -> None:
    with running() as site:
        url = f"{site.url}/file"
    with pytest.raises(FetchError, match="gave up after 4 tries"):
        download_file(url, tmp_path / "file", settings=quick)


# --- other files than were announced -----------------------------------------------------------


def test_a_wrong_checksum_leaves_nothing(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY)
    with pytest.raises(ChecksumError, match=f"has sha256 {SUM.value}, and 0000"):
        download_file(url, tmp_path / "file", checksum=WRONG, settings=quick)
    assert left_behind(tmp_path) <= {".file.lock"}


@pytest.mark.parametrize("announce", [True, False])
def test_a_wrong_size_leaves_nothing(
    site: Site, quick: Settings, tmp_path: Path, *, announce: bool
) -> None:
    url = site.add("/file", BODY, announce=announce)
    with pytest.raises(ChecksumError, match="announced"):
        download_file(url, tmp_path / "file", size=len(BODY) - 1, settings=quick)
    assert left_behind(tmp_path) <= {".file.lock"}


def test_a_checksum_of_the_server_counts(site: Site, quick: Settings, tmp_path: Path) -> None:
    other = base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()
    url = site.add("/file", BODY, headers={"Content-MD5": other})
    with pytest.raises(ChecksumError, match="has md5"):
        download_file(url, tmp_path / "file", settings=quick)


def test_a_file_that_changes_between_two_tries_is_not_mixed(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    url = site.add("/file", BODY, etag='"1"')
    page = site.document("/file")
    page.troubles = [Trouble(drop_after=100_000) for _ in range(4)]
    with pytest.raises(FetchError):
        download_file(url, tmp_path / "file", settings=quick)
    page.body, page.etag = BODY[::-1], '"2"'
    assert download_file(url, tmp_path / "file", settings=quick).read_bytes() == BODY[::-1]


def test_a_part_of_another_version_is_not_taken(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    """Some servers go on though the version they are asked about is gone."""
    url = site.add("/file", BODY, etag='"1"')
    page = site.document("/file")
    page.troubles = [Trouble(drop_after=1000) for _ in range(4)]
    with pytest.raises(FetchError):
        download_file(url, tmp_path / "file", settings=quick)
    page.body, page.headers = BODY[::-1], {"ETag": '"2"'}
    page.etag = None
    page.modified = '"1"'  # so that the condition seems to hold
    assert download_file(url, tmp_path / "file", settings=quick).read_bytes() == BODY[::-1]


def test_a_beginning_from_elsewhere_is_found_out(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    """A damaged beginning costs one more try, not the file."""
    url = site.add("/file", BODY, etag='"1"')
    site.document("/file").troubles = [Trouble(drop_after=1000) for _ in range(4)]
    with pytest.raises(FetchError):
        download_file(url, tmp_path / "file", checksum=SUM, settings=quick)
    (tmp_path / ".file.partial").write_bytes(bytes(4000))
    path = download_file(url, tmp_path / "file", checksum=SUM, settings=quick)
    assert path.read_bytes() == BODY


def test_a_shrunken_file_is_begun_anew(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY, etag='"1"')
    site.document("/file").troubles = [Trouble(drop_after=200_000) for _ in range(2)]
    short = alone_with_tries(quick, 2)
    with pytest.raises(FetchError):
        download_file(url, tmp_path / "file", settings=short)
    site.document("/file").body = BODY[:1000]
    assert download_file(url, tmp_path / "file", settings=quick).read_bytes() == BODY[:1000]


def alone_with_tries(quick: Settings, tries: int) -> Settings:
    return replace(quick, network=replace(quick.network, tries=tries))


def test_a_compressed_answer_is_refused(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY, headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchError, match="encoded as gzip"):
        download_file(url, tmp_path / "file", settings=quick)
    assert site.requests[0].headers["Accept-Encoding"] == "identity"


# --- the disk ----------------------------------------------------------------------------------


def test_a_full_disk_is_said_before_the_download(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    url = site.add("/file", BODY)
    with pytest.raises(FetchError, match=r"no space left on device \(.* are free there\)"):
        download_file(url, tmp_path / "file", size=1 << 60, settings=quick)
    assert site.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_half_way_is_one_error(
    site: Site, quick: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".file.partial").symlink_to("/dev/full")
    monkeypatch.setattr(Partial, "clear", lambda _self: None)  # the link stays
    with pytest.raises(FetchError, match=r"no space left on device"):
        download_file(site.add("/file", BODY), tmp_path / "file", settings=quick)
    assert not (tmp_path / "file").exists()


def test_a_folder_in_the_way_is_one_error(site: Site, quick: Settings, tmp_path: Path) -> None:
    (tmp_path / "place").write_text("a file, not a folder")
    with pytest.raises(FetchError, match="could not write"):
        download_file(site.add("/file", BODY), tmp_path / "place" / "file", settings=quick)


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


def test_two_processes_download_a_file_once(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY, etag='"1"', pace=0.1)
    both = [start(url, tmp_path / "file") for _ in range(2)]
    assert [process.wait(timeout=30) for process in both] == [0, 0]
    assert (tmp_path / "file").read_bytes() == BODY
    assert len(site.asked("/file")) == 1
    assert quick.network.tries == 4


def test_threads_download_a_file_once(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY, pace=0.02)
    threads = [
        threading.Thread(
            target=download_file, args=(url, tmp_path / "file"), kwargs={"settings": quick}
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(site.asked("/file")) == 1
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_download_resumes_after_a_killed_process(
    site: Site, quick: Settings, tmp_path: Path
) -> None:
    url = site.add("/file", BODY, etag='"1"', pace=0.3)
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
    assert download_file(url, tmp_path / "file", settings=quick).read_bytes() == BODY
    assert ranges(site)[-1] == f"bytes={here}-"


def test_an_interruption_keeps_the_part_so_far(site: Site, quick: Settings, tmp_path: Path) -> None:
    url = site.add("/file", BODY, etag='"1"')

    def stop(_name: str, done: int, _total: int | None) -> None:
        if done > 300_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_file(url, tmp_path / "file", settings=quick, progress=stop)
    assert not (tmp_path / "file").exists()
    assert download_file(url, tmp_path / "file", settings=quick).read_bytes() == BODY
    assert ranges(site)[-1] is not None
