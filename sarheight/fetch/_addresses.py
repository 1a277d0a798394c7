"""Which addresses may be fetched from.

Catalogues are written by others, and name addresses that we then go to from inside the user's
network. An item that says ``file:///etc/passwd`` or ``http://169.254.169.254/`` would have us read
what is not ours to read. So only https goes out, only to hosts on the public internet, and that is
checked again for every redirect, and for what a name stands for at the moment of connecting.

Hosts that the user named in the settings are an exception: they may be inside.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from sarheight.errors import UnsafeAddressError

__all__ = ["AddressRule", "host_of", "plain", "safe_name"]

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_SHOWN = 200
_LOCALHOST = "localhost"
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOW_32_BITS = 0xFFFF_FFFF


def plain(url: str) -> str:
    """Return an address as it may be shown: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return repr(url.partition("?")[0][:_SHOWN])
    text = f"{parts.scheme}://{host}{port}{parts.path}"
    return "".join(each for each in text if each.isprintable())[:_SHOWN]


def host_of(url: str) -> str:
    """Return the host of an address in small letters, empty if there is none."""
    try:
        return (urlsplit(url).hostname or "").lower().rstrip(".")
    except ValueError:
        return ""


def safe_name(name: str) -> str:
    """Return a file name from elsewhere if it is harmless.

    Raises
    ------
    UnsafeAddressError
        If it is anything but letters, digits, dots, plus, minus and underscores, beginning with a
        letter or digit: so neither a path, nor hidden, nor empty.
    """
    if not _NAME.fullmatch(name):
        msg = (
            f"a catalogue gives {name[:_SHOWN]!r} as the name of a file, expected letters, digits, "
            "dots, dashes and underscores only: nothing was written"
        )
        raise UnsafeAddressError(msg)
    return name


@dataclass(frozen=True)
class AddressRule:
    """What may be fetched from.

    Parameters
    ----------
    trusted : frozenset of str
        Hosts that the user named, in small letters. They may be on a private network; if one of
        them is this machine itself, so may all of its names, and by plain http.
    """

    trusted: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *urls: str, hosts: tuple[str, ...] = ()) -> AddressRule:
        """Trust the hosts of addresses that come from the user."""
        named = {host_of(url) for url in urls} | {host.lower() for host in hosts}
        return cls(frozenset(named - {""}))

    @property
    def loopback(self) -> bool:
        """Whether this machine itself may be fetched from."""
        return any(_is_loopback(host) for host in self.trusted)

    def check(self, url: str) -> None:
        """Check what can be seen of an address without looking up names.

        Raises
        ------
        UnsafeAddressError
            If it may not be fetched from.
        """
        if not url.isprintable() or re.search(r"[\s\\]", url):
            _refuse(url, "it holds blanks, backslashes or control characters")
        try:
            parts = urlsplit(url)
            host, _ = (parts.hostname or "").lower(), parts.port
        except ValueError:
            _refuse(url, "it is not an address")
        if parts.username is not None or parts.password is not None:
            _refuse(url, "it holds a user name; accounts belong in the netrc file")
        if not host:
            _refuse(url, "it names no host on the network, as an address of https does")
        local = self.loopback and _is_loopback(host)
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            _refuse(url, f"it begins with {parts.scheme or 'nothing'!r}, expected https")
        literal = _literal(host)
        if literal is not None:
            self.check_address(host, literal, url)
        elif _is_loopback(host) and not local:
            _refuse(url, "it is this machine itself")

    def check_address(self, host: str, address: IpAddress | str, url: str = "") -> None:
        """Check one address that a host name stands for.

        Raises
        ------
        UnsafeAddressError
            If it is not on the public internet, and the user did not name the host.
        """
        found = ipaddress.ip_address(address) if isinstance(address, str) else address
        inner = _embedded(found)
        if inner.is_loopback and self.loopback:
            return
        if host.lower().rstrip(".") in self.trusted and not inner.is_loopback:
            return
        if not inner.is_global or inner.is_multicast:
            _refuse(url or host, f"it leads to {found}, which is not on the public internet")

    def resolved(self, host: str, port: int) -> list[str]:
        """Look up a host name and check all that it stands for.

        Raises
        ------
        UnsafeAddressError
            If one of its addresses may not be fetched from.
        OSError
            If the name cannot be looked up.
        """
        found = [str(each[4][0]) for each in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)]
        for address in found:
            self.check_address(host, address)
        return found


def _refuse(url: str, reason: str) -> NoReturn:
    msg = (
        f"{plain(url)} was not fetched: {reason}. If a catalogue gave it, do not trust that "
        "catalogue; if it is a server of yours, put its name under trusted_hosts in the settings "
        "and serve it by https"
    )
    raise UnsafeAddressError(msg)


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    host = host.lower().rstrip(".")
    literal = _literal(host)
    if literal is not None:
        return _embedded(literal).is_loopback
    return host == _LOCALHOST or host.endswith(f".{_LOCALHOST}")


def _embedded(address: IpAddress) -> IpAddress:
    """Return the IPv4 address that an IPv6 address carries, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _LOW_32_BITS)
    return address
