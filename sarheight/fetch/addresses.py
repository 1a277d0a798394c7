"""Which addresses may be requested.

Catalogues are written by others, and name addresses that are then requested from inside the user's
network. An item that says ``file:///etc/passwd`` or ``http://169.254.169.254/`` would read what is
not meant for it. So only https is requested, only from hosts on the public internet; this is
checked for every redirect, and again for the address that a name resolves to when connecting.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from sarheight._files import without_secrets
from sarheight.errors import UnsafeAddressError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_LOCALHOST = "localhost"
_LOW_32_BITS = 0xFFFF_FFFF
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SHOWN = 200


def redact(url: str) -> str:
    """Return an address for messages: without user, password and query, in a short line."""
    shown = without_secrets(url) if "://" in url else url.partition("?")[0]
    return "".join(each for each in shown if each.isprintable())[:_SHOWN]


def host_of(url: str) -> str:
    """Return the host of an address in lower case, empty if there is none."""
    try:
        return (urlsplit(url).hostname or "").lower().rstrip(".")
    except ValueError:
        return ""


def safe_name(name: str) -> str:
    """Return a file name given by a server, if it is neither a path, nor hidden, nor empty."""
    if not _FILE_NAME.fullmatch(name):
        msg = (
            f"a catalogue gives {name[:_SHOWN]!r} as the name of a file, expected letters, digits, "
            "dots, dashes and underscores only: nothing was written"
        )
        raise UnsafeAddressError(msg)
    return name


def whole_number(text: str | None) -> int | None:
    """Read a size as servers write it; None where it is none."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None


@dataclass(frozen=True)
class AddressRule:
    """Which addresses may be requested.

    `trusted` hosts (lower case) are those that the user named: they may be on a private network.
    If one of them is this machine, so may be all names of this machine, also by plain http.
    """

    trusted: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *urls: str, hosts: tuple[str, ...] = ()) -> AddressRule:
        """Trust the hosts of addresses that come from the user."""
        named = {host_of(url) for url in urls} | {host.lower() for host in hosts}
        return cls(frozenset(named - {""}))

    @property
    def loopback(self) -> bool:
        """Whether this machine itself may be requested."""
        return any(_is_loopback(host) for host in self.trusted)

    def check(self, url: str) -> None:
        """Raise UnsafeAddressError for an address that is refused even without resolving it."""
        if not url.isprintable() or re.search(r"[\s\\]", url):
            refuse(url, "it holds blanks, backslashes or control characters")
        try:
            parts = urlsplit(url)
            host, _ = (parts.hostname or "").lower(), parts.port
        except ValueError:
            refuse(url, "it is not an address")
        if parts.username is not None or parts.password is not None:
            refuse(url, "it holds a user name; accounts belong in the netrc file")
        if not host:
            refuse(url, "it names no host on the network, as an address of https does")
        local = self.loopback and _is_loopback(host)
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            refuse(url, f"it begins with {parts.scheme or 'nothing'!r}, expected https")
        literal = _literal(host)
        if literal is not None:
            self.check_address(host, literal, url)
        elif _is_loopback(host) and not local:
            refuse(url, "it is this machine itself")

    def check_address(self, host: str, address: IpAddress | str, url: str = "") -> None:
        """Raise UnsafeAddressError unless an IP address of a host is public or trusted."""
        found = ipaddress.ip_address(address) if isinstance(address, str) else address
        inner = _embedded(found)
        if inner.is_loopback and self.loopback:
            return
        if host.lower().rstrip(".") in self.trusted and not inner.is_loopback:
            return
        if not inner.is_global or inner.is_multicast:
            refuse(url or host, f"it leads to {found}, which is not on the public internet")

    def check_host(self, host: str, port: int) -> None:
        """Resolve a host and check all its addresses; OSError where it cannot be resolved."""
        for each in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
            self.check_address(host, str(each[4][0]))


def refuse(url: str, reason: str) -> NoReturn:
    """Raise the error of an address that must not be requested."""
    msg = (
        f"{redact(url)} was refused: {reason}. If a catalogue gave it, do not trust that "
        "catalogue; if it is a server of yours, put its name under trusted_hosts in the settings "
        "and serve it by https"
    )
    raise UnsafeAddressError(msg)


def _literal(host: str) -> IpAddress | None:
    """Read a host that is an IP address; None where it is a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by name or address."""
    host = host.lower().rstrip(".")
    literal = _literal(host)
    if literal is not None:
        return _embedded(literal).is_loopback
    return host == _LOCALHOST or host.endswith(f".{_LOCALHOST}")


def _embedded(address: IpAddress) -> IpAddress:
    """Return the IPv4 address inside an IPv6 address, where there is one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _LOW_32_BITS)
    return address.ipv4_mapped or address.sixtofour or address
