"""What stands between a session and the network: checks of addresses, accounts, second tries."""

from __future__ import annotations

import logging
import re
import socket
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection

from sarheight.fetch._addresses import host_of, plain
from sarheight.fetch._patience import PASSING, in_words, is_unknown_host, unsafe_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sarheight.fetch._addresses import AddressRule
    from sarheight.fetch._web import Web

__all__ = ["Adapter", "BareSession", "hide_secrets_from_logs", "without_account"]

_TRIES_FOR_A_NAME = 2
_SECRETS = re.compile(r"(?i)((?:sig|signature|token|code|x-amz-[a-z-]+)=)[^&\s\"]+")


class BareSession(requests.Session):
    """A session that leaves accounts to the adapter."""

    def rebuild_auth(self, *_: object) -> None:
        """Carry nothing from one request to the next."""


class Adapter(HTTPAdapter):
    """Checks every address, looked up and connected to, and gives every host its own account."""

    def __init__(
        self, web: Web, *, patient: bool, anonymous: bool, moved: tuple[str, str] | None
    ) -> None:
        self._web = web
        self._anonymous = anonymous
        self._patience = web.patience if patient else None
        self._moved = moved
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        """Make connections that check where they lead; see `HTTPAdapter`."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _pools(self._web.rule)

    def send(  # type: ignore[override]
        self,
        request: requests.PreparedRequest,
        **options: Any,  # noqa: ANN401
    ) -> requests.Response:
        """Send a request, again if need be; see `HTTPAdapter`."""
        if self._moved is not None and request.url:
            request.url = request.url.replace(*self._moved, 1)
        url = request.url or ""
        self._web.require_online(url)
        self._web.rule.check(url)
        if select_proxy(url, options.get("proxies")):
            with suppress(socket.gaierror):  # a name that only the proxy knows
                self._web.rule.resolved(host_of(url), 443)
        self._sign(request, url)
        failures = 0
        while True:
            patience, headers = self._patience, cast("Mapping[str, str]", {})
            try:
                response = super().send(request, **options)
            except requests.exceptions.RequestException as error:
                if patience is None or unsafe_in(error) is not None:
                    raise
                reason = f"{plain(url)} could not be fetched: {in_words(error)}"
                if is_unknown_host(error):  # waiting seldom helps
                    patience = replace(patience, tries=min(patience.tries, _TRIES_FOR_A_NAME))
            else:
                if patience is None or response.status_code not in PASSING:
                    return response
                reason = f"{plain(url)} answered HTTP {response.status_code}"
                headers = response.headers
                response.close()
            failures += 1
            patience.wait(failures, reason, headers)

    def _sign(self, request: requests.PreparedRequest, url: str) -> None:
        request.headers.pop("Authorization", None)
        if self._anonymous:
            return
        authorisation = self._web.credentials.authorisation(url, self._web.post_form)
        if authorisation is not None:
            request.headers["Authorization"] = authorisation


def _pools(rule: AddressRule) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Make kinds of connections that check what a name stands for when they are opened."""

    def checked(connect: Any, host: str, port: int | None) -> socket.socket:  # noqa: ANN401
        rule.resolved(host, port or 443)
        opened: socket.socket = connect()
        try:
            rule.check_address(host, str(opened.getpeername()[0]))
        except BaseException:
            opened.close()
            raise
        return opened

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return checked(super()._new_conn, self.host, self.port)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return checked(super()._new_conn, self.host, self.port)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def without_account(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep libraries from giving an account to a request by themselves."""
    return request


class _Blank(logging.Filter):
    """Blanks signatures and tokens in what libraries log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, with its secrets blanked."""
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


_BLANK = _Blank()


def hide_secrets_from_logs() -> None:
    """Keep signatures out of what the libraries below us log."""
    for name in ("urllib3.connectionpool", "pystac_client.stac_api_io", "botocore.auth"):
        logging.getLogger(name).addFilter(_BLANK)
