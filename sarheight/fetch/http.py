"""HTTP: secrets bound to their hosts, retries, limits of replies, and checked addresses.

Secrets are looked up anew for every request, redirected or not, by the exact name of its host.
Nothing is carried from one host to another.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import netrc
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Retry

from sarheight.errors import FetchError, NotThereError
from sarheight.fetch.addresses import AddressRule, host_of, redact, refuse, whole_number

if TYPE_CHECKING:
    from sarheight.fetch.settings import Account, Limits, Network, Settings

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes of servers that may answer differently a little later."""

_BLOCK = 1 << 18
_LONGEST_BACKOFF = 60.0
_RANGE = re.compile(r"\s*bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)\s*")
_SECRETS = re.compile(r"(?i)((?:sig|signature|token|code|x-amz-[a-z-]+)=)[^&\s\"]+")
_TOKEN_MARGIN = 30.0
"""Seconds by which a token is renewed before it expires."""
_TRIES_UNKNOWN_HOST = 2

PostForm = Callable[[str, dict[str, str]], Any]
"""Posts a form to an address, and returns the JSON of the reply."""


# --- accounts ----------------------------------------------------------------------------------


@dataclass
class Credentials:
    """The user's accounts: tokens of the settings' accounts, and the netrc file.

    An entry ``default`` of the netrc file is not used: any host could be one.
    """

    accounts: Mapping[str, Account] = field(default_factory=dict)
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)

    def authorization(self, url: str, post: PostForm) -> str | None:
        """Return the header ``Authorization`` for an address; `post` requests a new token."""
        for name in self._accounts_of(url):
            if token := self._token(name, self.accounts[name], post):
                return f"Bearer {token}"
        login = _from_netrc((host_of(url),))
        return login and "Basic " + base64.b64encode(":".join(login).encode()).decode("ascii")

    def forget(self, url: str) -> bool:
        """Drop the tokens that a host did not accept; return whether there were any."""
        dropped = [self._tokens.pop(name, None) for name in self._accounts_of(url)]
        return any(dropped)

    def advice(self, url: str) -> str:
        """Say where the user can put the account of a host."""
        ways = [f"the machine {host_of(url)} in the netrc file"]
        for account in map(self.accounts.__getitem__, self._accounts_of(url)):
            ways = [f"the machine {machine} in the netrc file" for machine in account.machines]
            if account.user:
                ways.append(f"the environment variables {account.user} and {account.password}")
            if account.token:
                ways.append(f"a token in the environment variable {account.token}")
        return f"give your account by {', or '.join(ways)}"

    def _accounts_of(self, url: str) -> list[str]:
        """Name the accounts whose tokens the host of an address may have."""
        return [name for name, each in self.accounts.items() if host_of(url) in each.hosts]

    def _token(self, name: str, account: Account, post: PostForm) -> str | None:
        """Return the token of an account: that of the environment, a kept one, or a new one."""
        given = os.environ.get(account.token) if account.token else None
        if given or account.kind != "oidc":
            return given
        token, until = self._tokens.get(name, ("", 0.0))
        if time.monotonic() < until:
            return token
        user, password = os.environ.get(account.user), os.environ.get(account.password)
        login = (user, password) if user and password else _from_netrc(account.machines)
        if login is None:
            return None
        form = {"grant_type": "password", "client_id": account.client}
        reply = post(account.url, form | {"username": login[0], "password": login[1]})
        reply = reply if isinstance(reply, dict) else {}
        token = str(reply.get("access_token", ""))
        if not token:
            msg = f"{redact(account.url)} gave no token: check user name and password there"
            raise FetchError(msg)
        lifetime = reply.get("expires_in")
        lifetime = lifetime if isinstance(lifetime, int | float) else 0.0
        self._tokens[name] = token, time.monotonic() + lifetime - _TOKEN_MARGIN
        return token


def _from_netrc(machines: tuple[str, ...]) -> tuple[str, str] | None:
    """Return user and password of the first machine that is in the netrc file."""
    given = os.environ.get("NETRC")
    path = Path(given).expanduser() if given else Path.home() / ".netrc"
    try:
        hosts = netrc.netrc(path).hosts
    except FileNotFoundError:
        return None
    except (netrc.NetrcParseError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", "?")
        msg = f"the netrc file {path} cannot be read (line {line}): correct it"
        raise FetchError(msg) from None
    except OSError as error:
        msg = f"the netrc file {path} cannot be read: {error.strerror}"
        raise FetchError(msg) from error
    found = [hosts[each] for each in machines if each in hosts and each != "default"]
    return (found[0][0], found[0][2] or "") if found else None


# --- retries and limits ------------------------------------------------------------------------


class RetryPolicy:
    """The tries of one request: back-off and ``Retry-After`` as `urllib3.util.Retry` has them."""

    def __init__(self, network: Network, pause: Callable[[float], None] = time.sleep) -> None:
        self._network, self._pause = network, pause
        self.reset()

    def reset(self) -> None:
        """Forget the failures so far."""
        self._retry = Retry(
            total=None,
            backoff_factor=self._network.backoff,
            backoff_max=_LONGEST_BACKOFF,
            backoff_jitter=0.5 * self._network.backoff,  # so that many clients do not retry at once
        )

    def wait(
        self, reason: str, headers: Mapping[str, str] | None = None, most: int | None = None
    ) -> None:
        """Wait after a failure; FetchError after the last try (of `most`, where that is fewer)."""
        self._retry = self._retry.increment()
        failures = len(self._retry.history)
        tries = min(self._network.tries, self._network.tries if most is None else most)
        if failures >= tries:
            msg = f"{reason}; gave up after {failures} tries, try again later"
            raise FetchError(msg)
        requested = self._requested(headers or {})
        if requested is not None and requested > self._network.longest_wait:
            msg = f"{reason}; the server asks to wait {requested:.0f} s, try again then"
            raise FetchError(msg)
        self._pause(self._retry.get_backoff_time() if requested is None else requested)

    def _requested(self, headers: Mapping[str, str]) -> float | None:
        """Return the seconds of ``Retry-After``, None where it is missing or makes no sense."""
        with suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
            return self._retry.parse_retry_after(headers.get("Retry-After", ""))
        return None


def require_limit(limits: Limits, name: str, value: float, url: str) -> None:
    """Raise FetchError where what a server sends exceeds a limit of the settings."""
    limit = getattr(limits, name)
    if value > limit:
        msg = (
            f"{redact(url)} exceeds {name} = {limit}: raise it under [limits] in the settings if "
            "that server is to be trusted"
        )
        raise FetchError(msg)


@dataclass(frozen=True)
class Version:
    """A version of a file on a server: strong ``ETag`` or else ``Last-Modified``, and its size.

    `url` has no query: signatures in it change. ``If-Range`` names the validator.
    """

    url: str
    validator: str | None = None
    size: int | None = None

    @classmethod
    def of(cls, url: str, reply: requests.Response) -> tuple[int, Version]:
        """Return the byte where a reply begins, -1 where it says none, and of which version."""
        tag = reply.headers.get("ETag")
        validator = reply.headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag
        first, size = 0, reply.headers.get("Content-Length")
        if reply.status_code == requests.codes.partial_content:
            found = _RANGE.fullmatch(reply.headers.get("Content-Range", ""))
            first, size = (-1, None) if found is None else (int(found[1]), found[2])
        return first, cls(redact(url), validator, whole_number(size))

    def agrees(self, other: Version) -> bool:
        """Tell whether nothing says that two versions differ."""
        pairs = ((self.validator, other.validator), (self.size, other.size))
        return all(mine == theirs or None in {mine, theirs} for mine, theirs in pairs)


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error with all errors that it wraps, however libraries wrap theirs."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            reason = getattr(each, "reason", None)
            waiting += [*each.args, reason, each.__cause__, each.__context__]
    return found


def refusal_in(error: BaseException) -> FetchError | None:
    """Return an error of ours that a library has wrapped into its own, if there is one."""
    return next((each for each in _causes(error) if isinstance(each, FetchError)), None)


def describe_error(error: BaseException) -> str:
    """Describe a network error without its text, which may hold signed addresses."""
    kinds: tuple[tuple[type[BaseException], str], ...] = (
        (socket.gaierror, "the host is unknown, or there is no network"),
        (requests.exceptions.SSLError, "its certificate is not valid"),
        (requests.exceptions.ProxyError, "the proxy refused the connection"),
        (requests.exceptions.ConnectTimeout, "the connection timed out"),
        (requests.exceptions.ReadTimeout, "it stopped sending"),
        (urllib3.exceptions.ReadTimeoutError, "it stopped sending"),
        (
            requests.exceptions.TooManyRedirects,
            "it exceeds redirects under [limits] in the settings",
        ),
        (urllib3.exceptions.IncompleteRead, "the reply is incomplete"),
        (urllib3.exceptions.ProtocolError, "the connection broke"),
        (OSError, "there is no connection"),
    )
    chain = _causes(error)
    for kind, text in kinds:
        if any(isinstance(each, kind) for each in chain):
            return text
    return type(error).__name__


@contextmanager
def translated_errors(url: str) -> Iterator[None]:
    """Turn network errors into FetchError, which shows neither signatures nor accounts."""
    try:
        yield
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        msg = f"{redact(url)} could not be downloaded: {describe_error(error)}"
        raise refusal_in(error) or FetchError(msg) from None


def parse_reply(text: str, url: str) -> Any:  # noqa: ANN401
    """Parse the JSON that an address sent."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        msg = f"{redact(url)} did not send JSON: is it the right address?"
        raise FetchError(msg) from None


# --- sessions ----------------------------------------------------------------------------------


class HttpClient:
    """The network as one source may use it: its address rule, accounts, retries and limits."""

    def __init__(self, rule: AddressRule, settings: Settings) -> None:
        self.rule, self.settings = rule, settings
        self.network: Network = settings.network
        self.limits: Limits = settings.limits
        self.credentials = Credentials(settings.accounts)
        for name in ("urllib3.connectionpool", "pystac_client.stac_api_io", "botocore.auth"):
            logging.getLogger(name).addFilter(_REDACT_LOGS)

    @classmethod
    def trusting(cls, settings: Settings, *urls: str) -> HttpClient:
        """Trust the hosts of addresses that come from the user, not from a catalogue."""
        return cls(AddressRule.of(*urls, hosts=settings.network.trusted_hosts), settings)

    @property
    def timeout(self) -> tuple[float, float]:
        """Seconds to wait for a connection, and for the next byte."""
        return self.network.connect_timeout, self.network.read_timeout

    def check(self, url: str) -> None:
        """Raise FetchError for a request while offline, or to an address that is refused."""
        if self.settings.offline:
            msg = (
                f"{redact(url)} is needed and not in the cache, and SARHEIGHT_OFFLINE forbids the "
                "network: download it once with network, or unset the variable"
            )
            raise FetchError(msg)
        self.rule.check(url)

    def configure(self, session: requests.Session, **options: Any) -> None:  # noqa: ANN401
        """Apply rule, accounts, retries and limits to a session, also to that of a library.

        `options` are those of `_Adapter`.
        """
        adapter = _Adapter(self, **options)
        for prefix in ("https://", "http://", ""):  # the last for all others, to be refused
            session.mount(prefix, adapter)
        session.auth = lambda request: request  # the adapter authorises, libraries do not
        session.max_redirects = self.limits.redirects
        session.headers["User-Agent"] = "sarheight"

    def session(self, **options: Any) -> requests.Session:  # noqa: ANN401  # see `configure`
        """Open a session of our own; see `configure`."""
        session = requests.Session()
        self.configure(session, **options)
        return session

    def get_text(self, url: str) -> str:
        """Return the text at an address."""
        with self.session() as session, translated_errors(url):
            response = session.get(url, timeout=self.timeout)
            if response.status_code != requests.codes.ok:
                raise self.status_error(response)
            return response.content.decode("utf-8", "replace")

    def get_json(self, url: str) -> Any:  # noqa: ANN401
        """Return the JSON at an address."""
        return parse_reply(self.get_text(url), url)

    def post_form(self, url: str, form: dict[str, str]) -> Any:  # noqa: ANN401
        """Post a form, for instance to sign in, and return the JSON of the reply."""
        client = HttpClient(AddressRule.of(url), self.settings)
        with client.session(anonymous=True) as session, translated_errors(url):
            response = session.post(url, data=form, timeout=self.timeout, allow_redirects=False)
            if response.status_code != requests.codes.ok:
                msg = (
                    f"{redact(url)} did not accept user name and password "
                    f"(HTTP {response.status_code}): check them there"
                )
                raise FetchError(msg)
            return parse_reply(response.text, url)

    def status_error(self, response: requests.Response) -> FetchError:
        """Return the error for a reply of another status than was expected."""
        where, status = redact(response.url), response.status_code
        if status in {404, 410}:
            return NotThereError(f"{where} does not exist (HTTP {status})")
        if status in {401, 403}:
            advice = self.credentials.advice(response.url)
            return FetchError(f"{where} requires an account (HTTP {status}): {advice}")
        return FetchError(f"{where} answered HTTP {status}, expected 200")


class _Adapter(HTTPAdapter):
    """Checks every address, authorises every request, retries, and limits replies.

    With `anonymous`, no account is used. With `paged`, requests are counted as pages of a list.
    With `replace`, an address that is built into a library is replaced by another one. `pause`
    lets time pass between two tries.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        anonymous: bool = False,
        paged: bool = False,
        replace: tuple[str, str] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._anonymous, self._paged = client, anonymous, paged
        self._replace, self._pause, self._pages = replace, pause, 0
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        """Use connections that check where they lead; see `HTTPAdapter`."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {
            scheme: type(
                scheme, (pool,), {"ConnectionCls": _checked_connection(self._client, kind)}
            )
            for scheme, pool, kind in (
                ("http", urllib3.HTTPConnectionPool, HTTPConnection),
                ("https", urllib3.HTTPSConnectionPool, HTTPSConnection),
            )
        }

    def send(  # type: ignore[override]
        self,
        request: requests.PreparedRequest,
        **options: Any,  # noqa: ANN401
    ) -> requests.Response:
        """Send a request, repeatedly if need be; see `HTTPAdapter`."""
        if self._replace is not None and request.url:
            request.url = request.url.replace(*self._replace, 1)
        url = request.url or ""
        self._client.check(url)
        if self._paged:
            self._pages += 1
            require_limit(self._client.limits, "pages", self._pages, url)
        if select_proxy(url, options.get("proxies")):
            with suppress(socket.gaierror):  # a name that only the proxy knows
                self._client.rule.check_host(host_of(url), 443)
        policy = RetryPolicy(self._client.network, self._pause)
        while True:
            self._authorise(request, url)
            headers: Mapping[str, str] = {}
            most = None
            try:
                response = super().send(request, **options)
                failure, headers = self._failure(response, url)
                if failure is None:
                    return self._checked(response, url, stream=bool(options.get("stream")))
                response.close()
            except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
                if refusal_in(error) is not None:
                    raise
                failure = f"could not be downloaded: {describe_error(error)}"
                if any(isinstance(each, socket.gaierror) for each in _causes(error)):
                    most = _TRIES_UNKNOWN_HOST
            policy.wait(f"{redact(url)} {failure}", headers, most)

    def _failure(
        self, response: requests.Response, url: str
    ) -> tuple[str | None, Mapping[str, str]]:
        """Tell why a request should be repeated, and what the server says of when."""
        status = response.status_code
        if status == requests.codes.unauthorized and self._client.credentials.forget(url):
            return "no longer accepts the token", {"Retry-After": "0"}
        return (f"answered HTTP {status}" if status in TRANSIENT else None), response.headers

    def _authorise(self, request: requests.PreparedRequest, url: str) -> None:
        """Give a request the account of its host, and no other."""
        request.headers.pop("Authorization", None)
        if not self._anonymous:
            value = self._client.credentials.authorization(url, self._client.post_form)
            if value is not None:
                request.headers["Authorization"] = value

    def _checked(self, response: requests.Response, url: str, *, stream: bool) -> requests.Response:
        """Check where a redirect leads, without its body; read any other reply within the limits.

        `requests` and the libraries on it read replies whole, however large and slow they are.
        """
        if response.is_redirect:
            response.close()
            try:
                target = urljoin(url, response.headers["Location"])
            except ValueError:
                refuse(url, "it redirects to what is not an address")
            self._client.rule.check(target)
        elif not stream:
            limits, body, begun = self._client.limits, bytearray(), time.monotonic()
            with response:
                while block := response.raw.read1(_BLOCK, decode_content=True):
                    body += block
                    require_limit(limits, "reply_bytes", len(body), url)
                    require_limit(limits, "reply_seconds", time.monotonic() - begun, url)
            if not body and ends_in_headers(response):
                raise urllib3.exceptions.ProtocolError
            response.raw = io.BytesIO(body)
        return response


def ends_in_headers(response: requests.Response) -> bool:
    """Tell whether a reply without a body may have been cut within its headers.

    Python takes headers that are cut short for complete ones. A server that sends an empty file
    says that its length is zero.
    """
    headers = response.headers
    return response.status_code in {requests.codes.ok, requests.codes.partial_content} and not (
        whole_number(headers.get("Content-Length")) == 0 or "Transfer-Encoding" in headers
    )


def _checked_connection(client: HttpClient, kind: type[HTTPConnection]) -> type[HTTPConnection]:
    """Return connections that check their address, and limit the time for a reply's headers."""

    class Connection(kind):  # type: ignore[misc, valid-type]
        def _new_conn(self) -> socket.socket:
            client.rule.check_host(self.host, self.port or 443)
            opened: socket.socket = super()._new_conn()
            try:
                client.rule.check_address(self.host, str(opened.getpeername()[0]))
            except BaseException:
                opened.close()
                raise
            return opened

        def getresponse(self) -> urllib3.HTTPResponse:
            expired = threading.Event()

            def shut() -> None:
                expired.set()
                with suppress(OSError):  # of the plain socket: TLS must not change meanwhile
                    socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

            timer = threading.Timer(client.limits.reply_seconds, shut)
            timer.daemon = True
            timer.start()
            response: urllib3.HTTPResponse | None = None
            try:
                response = super().getresponse()
            finally:
                timer.cancel()
                if expired.is_set():  # headers that are cut short may pass for complete ones
                    if response is not None:
                        response.close()
                    url = f"https://{self.host}"
                    require_limit(client.limits, "reply_seconds", math.inf, url)
            return response

    return Connection


class _LogFilter(logging.Filter):
    """Redacts signatures and tokens in what libraries log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, with its secrets redacted."""
        if isinstance(record.msg, str):
            record.msg = _SECRETS.sub(r"\1***", record.msg)
        if isinstance(record.args, tuple):
            signing = record.name == "botocore.auth"
            record.args = tuple(
                ("***" if signing else _SECRETS.sub(r"\1***", each))
                if isinstance(each, str)
                else each
                for each in record.args
            )
        return True


_REDACT_LOGS = _LogFilter()
