"""Accounts: which secret belongs to which host.

Users and passwords come from the netrc file or the environment. A host gets what netrc holds for
exactly its name (an entry ``default`` is not used: any host could be one), or a token that the
settings allow it. That is decided anew for every request, redirected or not, so nothing is ever
carried from one host to another.
"""

from __future__ import annotations

import base64
import netrc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sarheight.errors import FetchError
from sarheight.fetch._addresses import host_of, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sarheight.fetch._settings import Login

__all__ = ["Credentials"]

PostForm = Callable[[str, dict[str, str]], "Mapping[str, Any]"]
"""Sends a form to an address, and returns the JSON that comes back."""

_SPARE_SECONDS = 30.0


@dataclass
class Credentials:
    """The user's accounts.

    Parameters
    ----------
    logins : mapping
        Where tokens are had, by name.
    """

    logins: Mapping[str, Login] = field(default_factory=dict)
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)

    def authorisation(self, url: str, post: PostForm) -> str | None:
        """Return the header ``Authorization`` for an address, or None.

        Parameters
        ----------
        url : str
            Where the request goes.
        post : callable
            For the request that asks for a token, where one is needed.

        Raises
        ------
        FetchError
            If the netrc file cannot be read, or a token was refused.
        """
        host = host_of(url)
        for name, login in self.logins.items():
            if host in login.hosts:
                token = self._token(name, login, post)
                if token:
                    return f"Bearer {token}"
        account = _from_netrc((host,))
        if account is None:
            return None
        return "Basic " + base64.b64encode(":".join(account).encode()).decode("ascii")

    def forget(self, url: str) -> bool:
        """Drop the token of a host that did not accept it; tell whether there was one."""
        names = [name for name, login in self.logins.items() if host_of(url) in login.hosts]
        dropped = [self._tokens.pop(name, None) for name in names]
        return any(token is not None for token in dropped)

    def advice(self, url: str) -> str:
        """Say what a user can do where a host wants to know who is asking."""
        host = host_of(url)
        ways = [f"the machine {host} in the netrc file"]
        for login in self.logins.values():
            if host in login.hosts:
                ways = [f"the machine {machine} in the netrc file" for machine in login.machines]
                if login.user:
                    ways.append(f"the environment variables {login.user} and {login.password}")
                if login.token:
                    ways.append(f"a token in the environment variable {login.token}")
        return f"give your account by {', or '.join(ways)}"

    def _token(self, name: str, login: Login, post: PostForm) -> str | None:
        given = os.environ.get(login.token) if login.token else None
        if given or login.kind != "oidc":
            return given
        token, until = self._tokens.get(name, ("", 0.0))
        if time.monotonic() < until:
            return token
        account = self._account(login)
        if account is None:
            return None
        form = {
            "grant_type": "password",
            "client_id": login.client,
            "username": account[0],
            "password": account[1],
        }
        answer = post(login.url, form)
        token = str(answer.get("access_token", ""))
        if not token:
            msg = f"{plain(login.url)} gave no token: check user name and password there"
            raise FetchError(msg)
        lasting = float(answer.get("expires_in", 0.0)) - _SPARE_SECONDS
        self._tokens[name] = token, time.monotonic() + lasting
        return token

    def _account(self, login: Login) -> tuple[str, str] | None:
        user, password = os.environ.get(login.user), os.environ.get(login.password)
        if user and password:
            return user, password
        return _from_netrc(login.machines)


def _from_netrc(machines: tuple[str, ...]) -> tuple[str, str] | None:
    """Return user and password of the first machine that netrc knows by name."""
    named = os.environ.get("NETRC")
    path = Path(named).expanduser() if named else Path.home() / ".netrc"
    try:
        hosts = netrc.netrc(path).hosts
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:
        msg = f"the netrc file {path} cannot be read (line {error.lineno}): correct it"
        raise FetchError(msg) from None
    except OSError as error:
        msg = f"the netrc file {path} cannot be read: {error.strerror}"
        raise FetchError(msg) from error
    for machine in machines:
        if machine in hosts and machine != "default":
            user, _, password = hosts[machine]
            return user, password or ""
    return None
