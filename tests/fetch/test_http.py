"""Refused addresses, secrets bound to their hosts, and limits of hostile replies."""

from __future__ import annotations

import logging
import socket
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarheight.errors import FetchError, UnsafeAddressError
from sarheight.fetch import Settings
from sarheight.fetch.addresses import AddressRule, redact, safe_name
from sarheight.fetch.http import HttpClient
from sarheight.fetch.remote import RemoteImage
from sarheight.fetch.settings import Account
from sarheight.fetch.transfer import FileRequest, ensure_file
from tests.fetch.conftest import Get
from tests.servers import Raw, Reply, Request, Site, basic, running

PUBLIC = AddressRule()
LOCAL = AddressRule.of("http://127.0.0.1:8000/stac")

HOSTILE = [
    *("", "../../etc/passwd", "file:///etc/passwd", "s3://bucket/key"),
    *("ftp://example.org/file", "gopher://example.org/", "http://example.org/file"),
    *("https:///file", "https://[broken/file", "https://example.org:99999/file"),
    *("https://example.org\\@10.0.0.1/file", "https://example.org/a\nHost: other"),
    "https://user:secret@example.org/file",
    # This machine, its network, and other ways to write their addresses.
    *("https://127.0.0.1/file", "https://localhost/file", "https://LOCALHOST./file"),
    *("https://a.localhost/file", "https://[::1]/file", "https://0.0.0.0/file"),
    *("https://10.0.0.1/file", "https://172.16.3.4/file", "https://192.168.0.1/file"),
    *("https://100.64.0.1/file", "https://224.0.0.1/file", "https://[fd00::1]/file"),
    *("https://169.254.169.254/latest/meta-data/", "https://[fe80::1]/file"),
    *("https://[::ffff:10.0.0.1]/file", "https://[64:ff9b::a00:1]/file"),
    "https://[2002:0a00:0001::]/file",
]


def resolve_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let every name stand for one address, as the owner of a name can."""
    original = socket.getaddrinfo

    def lookup(host: str, port: int, *_: Any, **__: Any) -> Any:  # noqa: ANN401
        name = address if not host.replace(".", "").isdigit() else host
        return original(name, port, 0, socket.SOCK_STREAM)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


# --- addresses ---------------------------------------------------------------------------------


def refuse(settings: Settings, folder: Path, url: str, match: str = "was refused") -> None:
    """Check that an address is refused for downloads and for parts of images."""
    client = HttpClient(PUBLIC, settings)
    image = RemoteImage(client, url)
    with pytest.raises(UnsafeAddressError, match=match):
        ensure_file(client, FileRequest(lambda: url), folder / "file")
    with pytest.raises(UnsafeAddressError, match=match), image.open():
        pass
    assert not (folder / "file").exists()


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_address_is_refused(url: str, quick: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnsafeAddressError, match="was refused"):
        PUBLIC.check(url)
    refuse(quick, tmp_path, url)


def test_public_addresses_are_fine_and_the_own_machine_where_the_user_named_it() -> None:
    for url in ("https://example.org/file?sig=1", "https://93.184.216.34:8443/x"):
        PUBLIC.check(url)
    for url in ("http://127.0.0.1:1/x", "http://localhost/x", "https://[::1]/x"):
        LOCAL.check(url)
    for url in ("http://10.0.0.1/x", "file:///etc/passwd", "http://example.org/x"):
        with pytest.raises(UnsafeAddressError):
            LOCAL.check(url)


def test_a_server_of_the_own_network_needs_its_name_in_the_settings_and_https() -> None:
    rule = AddressRule.of(hosts=("archive.intranet", "10.1.2.3"))
    rule.check("https://10.1.2.3/x")
    rule.check_address("archive.intranet", "10.9.9.9")
    for host, address in (("other.intranet", "10.9.9.9"), ("archive.intranet", "127.0.0.1")):
        with pytest.raises(UnsafeAddressError):
            rule.check_address(host, address)
    with pytest.raises(UnsafeAddressError, match="expected https"):
        rule.check("http://10.1.2.3/x")


def test_a_name_that_stands_for_an_internal_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, quick: Settings, tmp_path: Path
) -> None:
    message = "not on the public internet"
    for host in ("2130706433", "0x7f.1", "127.1"):  # unusual ways to write one
        refuse(quick, tmp_path, f"https://{host}/x", message)
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"):
        with monkeypatch.context() as patch:
            resolve_to(patch, address)
            refuse(quick, tmp_path, "https://evil.example/x", message)


def test_a_name_that_changes_between_look_up_and_connection_is_found_out(
    monkeypatch: pytest.MonkeyPatch, quick: Settings, tmp_path: Path, site: Site
) -> None:
    """The look-up is honest the first time, and names this machine the second."""
    monkeypatch.setattr(AddressRule, "check_host", lambda *_: None)
    resolve_to(monkeypatch, "127.0.0.1")
    url = f"https://evil.example:{site.port}/x"
    refuse(quick, tmp_path, url, r"leads to 127\.0\.0\.1")
    assert site.requests == []


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "http://10.0.0.1/x"],
)
def test_a_redirection_to_such_an_address_is_refused(
    site: Site, get: Get, tmp_path: Path, target: str
) -> None:
    site.pages["/moved"] = lambda _: Reply(status=302, headers={"Location": target})
    with pytest.raises(UnsafeAddressError):
        get(f"{site.url}/moved")
    assert len(site.requests) == 1
    assert not (tmp_path / "file").exists()


def test_redirections_without_end_are_given_up(site: Site, get: Get) -> None:
    """An honest one is followed."""
    url = site.add("/there", b"contents")
    site.pages["/here"] = lambda _: Reply(status=307, headers={"Location": url})
    assert get(f"{site.url}/here") == b"contents"
    site.pages["/here"] = lambda _: Reply(status=302, headers={"Location": "/here"})
    with pytest.raises(FetchError, match="exceeds redirects under"):
        get(f"{site.url}/here", size=1)


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-rf", "a\0b", "a b", "x" * 300, "ä"]
)
def test_a_name_that_is_a_path_or_worse_is_refused(name: str) -> None:
    with pytest.raises(UnsafeAddressError, match="nothing was written"):
        safe_name(name)


@given(name=st.text(max_size=40))
def test_a_name_that_is_let_through_stays_in_its_folder(name: str) -> None:
    try:
        safe_name(name)
    except UnsafeAddressError:
        return
    assert PurePosixPath(name).parts == (name,)
    assert PureWindowsPath(name).parts == (name,)


@given(url=st.text(max_size=60))
def test_any_text_is_an_address_or_refused(url: str) -> None:
    try:
        PUBLIC.check(url)
    except UnsafeAddressError:
        return
    assert url.lower().startswith("https://")


# --- accounts ----------------------------------------------------------------------------------


ANNA = "machine 127.0.0.1 login anna password open-sesame"
BERT = "machine localhost login bert password two"
AS_ANNA, AS_BERT = basic("anna", "open-sesame"), basic("bert", "two")


@pytest.fixture
def netrc(tmp_path: Path) -> Callable[..., int]:
    return lambda *lines: (tmp_path / "netrc").write_text("\n".join(lines) + "\n")


def test_an_account_of_netrc_opens_its_host(
    site: Site, get: Get, netrc: Callable[..., int]
) -> None:
    url = site.add("/file", b"contents", authorisation=AS_ANNA)
    with pytest.raises(FetchError, match=r"machine 127\.0\.0\.1 in the netrc file"):
        get(url)
    netrc(ANNA)
    assert get(url) == b"contents"


@pytest.mark.parametrize(
    ("lines", "here", "there"),
    [
        ([ANNA], AS_ANNA, None),
        ([ANNA, BERT], AS_ANNA, AS_BERT),
        (["default login anna password open-sesame"], None, None),
    ],
)
def test_each_host_of_a_redirection_gets_its_own_account(
    site: Site,
    get: Get,
    netrc: Callable[..., int],
    lines: list[str],
    here: str | None,
    there: str | None,
) -> None:
    netrc(*lines)
    elsewhere = site.add("/there", b"contents").replace("127.0.0.1", "localhost")
    site.pages["/here"] = lambda _: Reply(status=302, headers={"Location": elsewhere})
    get(f"{site.url}/here")
    assert site.asked("/here")[0].headers.get("Authorization") == here
    assert site.asked("/there")[0].headers.get("Authorization") == there


@pytest.mark.parametrize("damage", ["machine 127.0.0.1 login anna passwort open-sesame", None])
def test_a_damaged_netrc_is_one_error_without_what_is_in_it(
    site: Site, get: Get, netrc: Callable[..., int], tmp_path: Path, damage: str | None
) -> None:
    if damage is None:
        (tmp_path / "netrc").mkdir()
    else:
        netrc(damage)
    with pytest.raises(FetchError, match=r"netrc file .* cannot be read") as caught:
        get(site.add("/file", b"x"))
    assert "sesame" not in everything_shown(caught.value)


@pytest.fixture
def signing(site: Site, quick: Settings) -> Settings:
    """Put a service on the server that gives tokens, numbered, and accepts the last one."""
    given: list[str] = []

    def token(request: Request) -> Reply:
        form = {key: each[0] for key, each in parse_qs(request.body.decode()).items()}
        if (form.get("username"), form.get("password")) != ("anna", "open-sesame"):
            return Reply(b'{"error": "invalid_grant"}', status=401)
        given.append(f"token{len(given) + 1}")
        return Reply(f'{{"access_token": "{given[-1]}", "expires_in": 600}}'.encode())

    def file(request: Request) -> Reply:
        accepted = {f"Bearer {each}" for each in (*given[-1:], "of the environment")}
        known = request.headers.get("Authorization") in accepted
        return Reply(b"contents") if known else Reply(status=401)

    site.pages["/token"], site.pages["/file"] = token, file
    names = {"user": "CDSE_USERNAME", "password": "CDSE_PASSWORD", "token": "CDSE_TOKEN"}
    here, url = ("127.0.0.1",), f"{site.url}/token"
    account = Account(kind="oidc", hosts=here, url=url, client="public", machines=here, **names)
    return replace(quick, accounts={"copernicus": account})


LOGIN = {"CDSE_USERNAME": "anna", "CDSE_PASSWORD": "open-sesame"}


def log_in(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("lines", "environment", "tokens"),
    [([ANNA], {}, 1), ([], LOGIN, 1), ([], {"CDSE_TOKEN": "of the environment"}, 0)],
)
def test_user_and_password_give_a_token(
    site: Site,
    get: Get,
    signing: Settings,
    netrc: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    environment: dict[str, str],
    tokens: int,
) -> None:
    url = f"{site.url}/file"
    ways = "machine 127.0.0.1 .*CDSE_USERNAME and CDSE_PASSWORD, or a token .*CDSE_TOKEN"
    with pytest.raises(FetchError, match=f"requires an account .*{ways}"):
        get(url, settings=signing)
    netrc(*lines)
    log_in(monkeypatch, **environment)
    assert get(url, settings=signing) == b"contents"
    assert len(site.asked("/token")) == tokens
    assert not any("Authorization" in asked.headers for asked in site.asked("/token"))


def test_a_token_that_ran_out_is_renewed(
    site: Site, signing: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, **LOGIN)
    client = HttpClient.trusting(signing, site.url)
    client.credentials._tokens["copernicus"] = ("stale", float("inf"))
    assert client.get_text(f"{site.url}/file") == "contents"


def test_a_wrong_password_is_one_error_and_not_shown(
    site: Site, get: Get, signing: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, CDSE_USERNAME="anna", CDSE_PASSWORD="hunter-two")  # noqa: S106
    with pytest.raises(FetchError, match="did not accept user name and password") as caught:
        get(f"{site.url}/file", settings=signing)
    assert "hunter" not in everything_shown(caught.value)


def everything_shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_signatures_and_accounts_are_in_no_error_and_no_log(
    site: Site,
    get: Get,
    netrc: Callable[..., int],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    netrc(ANNA)
    url = f"{site.add('/file', b'contents')}?sig=very-secret&X-Amz-Signature=very-secret-too"
    get(url)
    with running() as other:
        gone = f"{other.url}/file?sig=very-secret"
    (tmp_path / "file").unlink()
    for bad in (gone, f"{site.url}/nothing?sig=very-secret"):
        with pytest.raises(FetchError) as caught:
            get(bad)
        assert "very-secret" not in everything_shown(caught.value)
    assert "very-secret" not in caplog.text
    assert "sesame" not in caplog.text
    assert AS_ANNA.removeprefix("Basic ") not in caplog.text
    notes = [path.read_text() for path in tmp_path.glob(".*.json")]
    assert not any("very-secret" in note for note in notes)
    assert redact("https://anna:pw@host.org:8443/a/b?sig=1#x") == "https://host.org:8443/a/b"


def test_a_host_without_a_name_is_not_retried_for_long(
    monkeypatch: pytest.MonkeyPatch, quick: Settings
) -> None:
    looked: list[str] = []

    def lookup(host: str, *_: object) -> None:
        looked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    patient = replace(quick, network=replace(quick.network, tries=6))
    with pytest.raises(FetchError, match="the host is unknown, or there is no network"):
        HttpClient(PUBLIC, patient).get_text("https://nowhere.example/list")
    assert len(looked) == 2


def test_offline_means_no_request(site: Site, get: Get, quick: Settings) -> None:
    with pytest.raises(FetchError, match="SARHEIGHT_OFFLINE"):
        get(site.add("/file", b"x"), settings=replace(quick, offline=True))
    assert site.requests == []


# --- limits ------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def limited(settings: Settings, **limits: float) -> Settings:
    return replace(settings, limits=replace(settings.limits, **limits))


def endless(head: bytes = HEAD) -> Iterator[bytes]:
    yield head + b"Connection: close\r\n\r\n"
    while True:
        yield b" " * 65_536


def endless_chunks() -> Iterator[bytes]:
    yield HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"10000\r\n" + b" " * 65_536 + b"\r\n"


def trickle(head: bytes = HEAD + b"Content-Length: 1000\r\n\r\n") -> Iterator[bytes]:
    yield head
    while True:
        yield b" "


def test_a_reply_that_unpacks_to_gigabytes_is_left_at_the_limit(
    site: Site, quick: Settings
) -> None:
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join([*(packer.compress(bytes(1 << 24)) for _ in range(8)), packer.flush()])
    site.add("/list", body, headers={"Content-Encoding": "gzip"})
    client = HttpClient.trusting(limited(quick, reply_bytes=1 << 20), site.url)
    tracemalloc.start()
    try:
        with pytest.raises(FetchError, match="exceeds reply_bytes = 1048576: raise it"):
            client.get_text(f"{site.url}/list")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("blocks", [endless, endless_chunks])
def test_a_reply_without_end_is_left_at_the_limit(
    site: Site, get: Get, quick: Settings, tmp_path: Path, blocks: Callable[[], Iterator[bytes]]
) -> None:
    site.pages["/list"] = Raw(blocks)
    known = limited(quick, reply_bytes=1 << 20, file_bytes=1 << 20)
    with pytest.raises(FetchError, match="exceeds reply_bytes"):
        HttpClient.trusting(known, site.url).get_json(f"{site.url}/list")
    with pytest.raises(FetchError, match="exceeds file_bytes"):
        get(f"{site.url}/list", settings=known)
    assert not (tmp_path / "file").exists()


def test_an_announced_size_above_the_limit_is_refused_before_the_body(
    site: Site, get: Get, quick: Settings
) -> None:
    url = site.add("/file", bytes(1000))
    with pytest.raises(FetchError, match="exceeds file_bytes = 999"):
        get(url, settings=limited(quick, file_bytes=999))


@pytest.mark.parametrize("head", [HEAD + b"Content-Length: 1000\r\n\r\n", HEAD + b"X-Slow: "])
def test_a_reply_that_trickles_meets_a_deadline(
    site: Site, get: Get, quick: Settings, head: bytes
) -> None:
    """It has no end of its own."""
    site.pages["/list"] = Raw(lambda: trickle(head), pause=0.02)
    known = limited(quick, reply_seconds=0.25, file_seconds=0.25)
    with pytest.raises(FetchError, match=r"exceeds reply_seconds = 0\.25"):
        HttpClient.trusting(known, site.url).get_text(f"{site.url}/list")
    with pytest.raises(FetchError, match=r"exceeds (file|reply)_seconds = 0\.25"):
        get(f"{site.url}/list", settings=known)


@pytest.mark.parametrize("status", [b"302 Found\r\nLocation: /there", b"503 Busy"])
def test_bodies_of_redirects_and_failures_are_not_read(
    site: Site, get: Get, quick: Settings, status: bytes
) -> None:
    site.add("/there", b"contents")
    site.pages["/here"] = Raw(lambda: endless(b"HTTP/1.1 " + status + b"\r\n"))
    known = limited(quick, reply_bytes=1 << 20)
    try:
        text = HttpClient.trusting(known, site.url).get_text(f"{site.url}/here")
        body = get(f"{site.url}/here", settings=known)
    except FetchError as error:
        assert "HTTP 503; gave up after 4 tries" in str(error)  # noqa: PT017
    else:
        assert text.encode() == body == b"contents"


END = b"\r\n\r\n"
CUT_SHORT = "gave up after 4 tries"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://[" + END, "was refused"),
        (b"HTTP/1.1 302 Found\r\nLocation: " + END, "HTTP 302, expected 200"),
        (b"HTTP/1.1 204 Nothing\r\nX-Y: z" + END, "HTTP 204, expected 200"),
        (b"HTTP/1.1 999 What\r\nX-Y: z" + END, "HTTP 999, expected 200"),
        (b"HTTP/1.1 503 Busy\r\nRetry-After: \xb2" + END, "HTTP 503; gave up"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5" + END, "gave up"),
        (b"not HTTP at all" + END, "gave up"),
        # Headers that are cut short are no empty file.
        (b"HTTP/1.1 200 OK\r\n", CUT_SHORT),
        (HEAD, CUT_SHORT),
        (HEAD + b"Content-Le", CUT_SHORT),
        (HEAD + b"Content-Length: 1000", CUT_SHORT),
    ],
)
def test_headers_without_sense_or_end_are_one_error(
    site: Site, get: Get, quick: Settings, tmp_path: Path, head: bytes, message: str
) -> None:
    site.pages["/file"] = Raw(lambda: iter([head]))
    with pytest.raises(FetchError, match=message):
        get(f"{site.url}/file")
    with pytest.raises(FetchError, match=message):
        HttpClient.trusting(quick, site.url).get_text(f"{site.url}/file")
    assert not (tmp_path / "file").exists()


def test_a_length_that_is_no_number_is_no_length(site: Site, get: Get) -> None:
    reply = HEAD + b"Content-Length: \xb2\r\nConnection: close\r\n\r\ncontents"
    site.pages["/file"] = Raw(lambda: iter([reply]))
    assert get(f"{site.url}/file") == b"contents"


@pytest.mark.parametrize("body", [b"[" * 100_000, b"1" * 10_000, b"\xff"])
def test_json_that_is_none_is_one_error(site: Site, quick: Settings, body: bytes) -> None:
    url = site.add("/list", body)
    with pytest.raises(FetchError, match="did not send JSON"):
        HttpClient.trusting(quick, site.url).get_json(url)
