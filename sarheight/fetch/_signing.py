"""Addresses that must be signed before they can be fetched."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from sarheight._runtime import library
from sarheight.errors import FetchError, UnsafeAddressError
from sarheight.fetch._addresses import host_of, plain
from sarheight.fetch._web import Web

if TYPE_CHECKING:
    from collections.abc import Callable

    from sarheight.fetch._settings import Catalogue, Settings

__all__ = ["signer"]

_SPARE_SECONDS = 120.0
_LINK_SECONDS = 3600


def signer(source: Catalogue, collection: str, settings: Settings) -> Callable[[str], str]:
    """Return what turns an address of a catalogue into one that can be fetched.

    Parameters
    ----------
    source : Catalogue
        Whose addresses.
    collection : str
        Of the product; some services sign by collection.
    settings : Settings
        For the requests that signing takes.
    """
    if source.sign == "sas":
        return _AccessToken(source, collection, settings)
    if source.sign == "s3":
        return _Bucket(source)
    return lambda url: url


@dataclass
class _AccessToken:
    """Shared access signatures, which the Planetary Computer gives to anybody."""

    source: Catalogue
    collection: str
    settings: Settings
    _token: str = field(default="", repr=False)
    _until: float = 0.0
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(self, url: str) -> str:
        """Append the token where the address is one of the service's stores."""
        host = host_of(url)
        if not any(host == each or host.endswith(f".{each}") for each in self.source.sign_hosts):
            return url
        with self._one_at_a_time:
            if time.time() >= self._until:
                self._renew()
        return f"{url}{'&' if urlsplit(url).query else '?'}{self._token}"

    def _renew(self) -> None:
        address = f"{self.source.sign_url}/{self.collection}"
        answer = Web.trusting(self.settings, address).json(address)
        token = answer.get("token") if isinstance(answer, dict) else None
        if not token:
            msg = f"{plain(address)} gave no token to read {self.collection} with"
            raise FetchError(msg)
        self._token, self._until = str(token), _expiry(str(answer.get("msft:expiry", "")))


def _expiry(text: str) -> float:
    """Return the time until which a token is used, in seconds since 1970."""
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return until.timestamp() - _SPARE_SECONDS


@dataclass(frozen=True)
class _Bucket:
    """Objects in a bucket whose readers pay, with the user's own AWS account.

    References
    ----------
    Amazon S3 User Guide, "Downloading objects from Requester Pays buckets": a signed address
    carries ``x-amz-request-payer=requester``.
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
                f"{plain(url)} was not fetched: the catalogue names the bucket {bucket!r}, and "
                f"your AWS account is only used for {', '.join(self.source.sign_hosts) or 'none'}"
            )
            raise UnsafeAddressError(msg)
        address = f"{self.source.sign_url}/{bucket}/{quote(key)}?x-amz-request-payer=requester"
        request = library("botocore.awsrequest", extra="fetch").AWSRequest("GET", address)
        library("botocore.auth", extra="fetch").S3SigV4QueryAuth(
            self._account(bucket), "s3", self._region(), expires=_LINK_SECONDS
        ).add_auth(request)
        return str(request.url)

    def _account(self, bucket: str) -> object:
        """Return the keys of the user's account, from the usual places of AWS."""
        try:
            found = library("botocore.session", extra="fetch").get_session().get_credentials()
        except library("botocore.exceptions", extra="fetch").BotoCoreError as error:
            msg = f"the AWS account cannot be used ({type(error).__name__}): check its settings"
            raise FetchError(msg) from None
        if found is None:
            msg = (
                f"the bucket {bucket} is paid by its readers: give an AWS account by AWS_PROFILE, "
                "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or take another catalogue"
            )
            raise FetchError(msg)
        keys: object = found.get_frozen_credentials()
        return keys

    def _region(self) -> str:
        labels = host_of(self.source.sign_url).split(".")
        return labels[1] if labels[0] == "s3" and len(labels) > 2 else "eu-central-1"
