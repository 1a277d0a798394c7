"""Accounts: secrets bound to their hosts, and signed addresses.

Secrets are looked up anew for every request, redirected or not, by the exact name of its host.
Nothing is carried from one host to another.
"""

from __future__ import annotations

import base64
import netrc
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from sarheight._runtime import library
from sarheight.errors import FetchError, UnsafeAddressError
from sarheight.fetch.addresses import host_of, redact

if TYPE_CHECKING:
    from sarheight.fetch.settings import Account, Catalogue

PostForm = Callable[[str, dict[str, str]], Mapping[str, Any]]
"""Posts a form to an address, and returns the JSON of the reply."""
GetJson = Callable[[str], Any]
"""Returns the JSON at an address."""

_LINK_SECONDS = 3600
_MARGIN = 30.0
"""Seconds by which a token is renewed before it expires."""


@dataclass
class Credentials:
    """The user's accounts: tokens of the settings' accounts, and the netrc file.

    An entry ``default`` of the netrc file is not used: any host could be one.
    """

    accounts: Mapping[str, Account] = field(default_factory=dict)
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)

    def authorization(self, url: str, post: PostForm) -> str | None:
        """Return the header ``Authorization`` for an address; `post` requests a new token."""
        host = host_of(url)
        for name, account in self.accounts.items():
            if host in account.hosts:
                token = self._token(name, account, post)
                if token:
                    return f"Bearer {token}"
        login = _from_netrc((host,))
        if login is None:
            return None
        return "Basic " + base64.b64encode(":".join(login).encode()).decode("ascii")

    def forget(self, url: str) -> bool:
        """Drop the token that a host did not accept; return whether there was one."""
        names = [name for name, each in self.accounts.items() if host_of(url) in each.hosts]
        dropped = [self._tokens.pop(name, None) for name in names]
        return any(dropped)

    def advice(self, url: str) -> str:
        """Say where the user can put the account of a host."""
        host = host_of(url)
        ways = [f"the machine {host} in the netrc file"]
        for account in self.accounts.values():
            if host in account.hosts:
                ways = [f"the machine {machine} in the netrc file" for machine in account.machines]
                if account.user:
                    ways.append(f"the environment variables {account.user} and {account.password}")
                if account.token:
                    ways.append(f"a token in the environment variable {account.token}")
        return f"give your account by {', or '.join(ways)}"

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
        token = str(reply.get("access_token", ""))
        if not token:
            msg = f"{redact(account.url)} gave no token: check user name and password there"
            raise FetchError(msg)
        lifetime = reply.get("expires_in", 0.0)
        lifetime = float(lifetime) if isinstance(lifetime, int | float) else 0.0
        self._tokens[name] = token, time.monotonic() + lifetime - _MARGIN
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
    for machine in machines:
        if machine in hosts and machine != "default":
            user, _, password = hosts[machine]
            return user, password or ""
    return None


# --- signed addresses --------------------------------------------------------------------------


def signer(source: Catalogue, collection: str, get_json: GetJson) -> Callable[[str], str]:
    """Return the function that signs addresses of a catalogue's collection, where that is needed.

    The library `planetary-computer` does the same for one catalogue, by requests that no address
    rule applies to.
    """
    if source.sign == "sas":
        return _SharedAccessSignature(source, collection, get_json)
    if source.sign == "s3":
        return _RequesterPays(source)
    return lambda url: url


@dataclass
class _SharedAccessSignature:
    """Appends a token of the Planetary Computer, which is free, to addresses of its stores."""

    source: Catalogue
    collection: str
    get_json: GetJson
    _token: str = field(default="", repr=False)
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(self, url: str) -> str:
        host = host_of(url)
        if not any(host == each or host.endswith(f".{each}") for each in self.source.sign_hosts):
            return url
        with self._lock:
            if time.time() >= self._until:
                self._renew()
        return f"{url}{'&' if urlsplit(url).query else '?'}{self._token}"

    def _renew(self) -> None:
        """Request a new token; one without a readable expiry is used once."""
        address = f"{self.source.sign_url}/{self.collection}"
        reply = self.get_json(address)
        token = reply.get("token") if isinstance(reply, dict) else None
        if not token:
            msg = f"{redact(address)} gave no token to read {self.collection} with"
            raise FetchError(msg)
        try:
            until = datetime.fromisoformat(str(reply.get("msft:expiry", "")))
        except ValueError:
            until = datetime.fromtimestamp(0.0, UTC)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        self._token, self._until = str(token), until.timestamp() - 4.0 * _MARGIN


@dataclass(frozen=True)
class _RequesterPays:
    """Signs addresses of a bucket whose readers pay, with the user's own AWS account.

    Reference: Amazon S3 User Guide, "Downloading objects from Requester Pays buckets".
    """

    source: Catalogue

    def __call__(self, url: str) -> str:
        """Turn ``s3://bucket/key`` into a signed https address."""
        parts = urlsplit(url)
        if parts.scheme != "s3":
            return url
        bucket, key = parts.netloc, parts.path.removeprefix("/")
        if bucket not in self.source.sign_hosts:
            msg = (
                f"{redact(url)} was refused: the catalogue names the bucket {bucket!r}, and "
                f"your AWS account is only used for {', '.join(self.source.sign_hosts) or 'none'}"
            )
            raise UnsafeAddressError(msg)
        address = f"{self.source.sign_url}/{bucket}/{quote(key)}?x-amz-request-payer=requester"
        request = library("botocore.awsrequest", extra="fetch").AWSRequest("GET", address)
        labels = host_of(self.source.sign_url).split(".")
        region = labels[1] if labels[0] == "s3" and len(labels) > 2 else "eu-central-1"
        library("botocore.auth", extra="fetch").S3SigV4QueryAuth(
            self._keys(bucket), "s3", region, expires=_LINK_SECONDS
        ).add_auth(request)
        return str(request.url)

    def _keys(self, bucket: str) -> object:
        """Return the keys of the user's account, from where AWS tools look for them."""
        try:
            found = library("botocore.session", extra="fetch").get_session().get_credentials()
        except library("botocore.exceptions", extra="fetch").BotoCoreError as error:
            msg = f"the AWS account cannot be used ({type(error).__name__}): check its settings"
            raise FetchError(msg) from None
        if found is None:
            msg = (
                f"the bucket {bucket} is paid by its readers: give an AWS account by AWS_PROFILE, "
                "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use another catalogue"
            )
            raise FetchError(msg)
        keys: object = found.get_frozen_credentials()
        return keys
