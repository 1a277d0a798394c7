"""Settings of `sarheight.fetch`: sources, accounts, retries and limits.

The defaults are in `sources.toml`. The user's file replaces them key by key, and the environment
replaces the addresses.
"""

from __future__ import annotations

import os
import string
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from sarheight._files import read_toml
from sarheight._runtime import cache_directory
from sarheight.errors import SettingsError

Table = TypeVar("Table")


@dataclass(frozen=True)
class Network:
    """Retry policy, timeouts, and trusted hosts of the user's own network. Times in seconds."""

    tries: int = 6
    backoff: float = 1.0
    longest_wait: float = 300.0
    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    trusted_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Largest size, duration and number of what servers may send. Each is named in its error."""

    reply_bytes: int = 256 << 20
    reply_seconds: float = 300.0
    file_bytes: int = 64 << 30
    file_seconds: float = 86_400.0
    unpacked_bytes: int = 256 << 20
    pages: int = 200
    redirects: int = 10
    tiles: int = 400
    parallel: int = 4


@dataclass(frozen=True)
class Catalogue:
    """A catalogue of Sentinel-1 products: its address, and how its products are stored."""

    url: str
    kind: str = "stac"
    grd: str | None = None
    slc: str | None = None
    layout: str = "archive"
    archive: str = "Product"
    sign: str | None = None
    sign_url: str = ""
    sign_hosts: tuple[str, ...] = ()

    def collection(self, product: str) -> str | None:
        """Return the name of the collection of "GRD" or "SLC" products, if there is one."""
        return self.grd if product == "GRD" else self.slc


@dataclass(frozen=True)
class Account:
    """Where a token is requested, and which hosts it may be sent to."""

    kind: str
    hosts: tuple[str, ...] = ()
    url: str = ""
    client: str = ""
    machines: tuple[str, ...] = ()
    user: str = ""
    password: str = ""
    token: str = ""


@dataclass(frozen=True)
class OrbitSource:
    """A server with orbit files: the addresses of its lists and files, see `fill`.

    `mark` is a text that is in every list, so that another page is not taken for an empty one.
    """

    url: str
    list: str
    file: str
    mark: str = ""


@dataclass(frozen=True)
class DemSource:
    """A DEM in tiles of one degree."""

    url: str
    vertical: str | None = None
    list: str | None = None
    rows: int = 0
    land: str | None = None
    south: int = -90
    north: int = 90


@dataclass(frozen=True)
class GeoidSource:
    """A folder of geoid grids, and the file that lists them with their checksums."""

    url: str
    list: str


@dataclass(frozen=True)
class Settings:
    """Settings of all downloads.

    Parameters
    ----------
    network : Network
        Retry policy, timeouts and trusted hosts.
    limits : Limits
        Largest size, duration and number of what servers may send.
    catalogues, accounts, orbits, dem, geoid : mapping
        Sources by name.
    cache : path
        Folder of downloaded files.
    offline : bool
        Whether to use only files that are in the cache.
    """

    network: Network = field(default_factory=Network)
    limits: Limits = field(default_factory=Limits)
    catalogues: Mapping[str, Catalogue] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    orbits: Mapping[str, OrbitSource] = field(default_factory=dict)
    dem: Mapping[str, DemSource] = field(default_factory=dict)
    geoid: Mapping[str, GeoidSource] = field(default_factory=dict)
    cache: Path = field(default_factory=cache_directory)
    offline: bool = False

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Settings:
        """Read the settings: the defaults, then the user's file, then the environment.

        Parameters
        ----------
        path : path, optional
            A file in the form of the defaults. Without it, what ``SARHEIGHT_FETCH_CONFIG`` names;
            else ``sarheight/fetch.toml`` in ``XDG_CONFIG_HOME`` or ``~/.config``, if it exists.

        Raises
        ------
        ValueError
            If a file is not TOML, or holds an unknown key or a value of the wrong type.
        OSError
            If a file that was named cannot be read.
        """
        tables = tomllib.loads((files(__package__) / "sources.toml").read_text("utf-8"))
        own = _own_file(path)
        where = str(own or "the defaults")
        if own is not None:
            tables = _merge(tables, read_toml(own, SettingsError))
        unknown = ", ".join(sorted(set(tables) - set(_KINDS)))
        if unknown:
            msg = f"the settings in {where} hold the tables {unknown}, expected {', '.join(_KINDS)}"
            raise ValueError(msg)
        values: dict[str, Any] = {}
        for group, kind in _KINDS.items():
            table = _require_table(tables[group], f"{group}, {where}")
            values[group] = (
                _build(kind, table, f"{group}, {where}")
                if group in _SINGLE
                else {
                    name: _build(kind, _with_environment(each, group, name), f"{name}, {where}")
                    for name, each in table.items()
                }
            )
        return cls(offline=os.environ.get("SARHEIGHT_OFFLINE", "") not in {"", "0"}, **values)


_SINGLE = ("network", "limits")
_KINDS: Mapping[str, type] = {
    "network": Network,
    "limits": Limits,
    "catalogues": Catalogue,
    "accounts": Account,
    "orbits": OrbitSource,
    "dem": DemSource,
    "geoid": GeoidSource,
}


def lookup(group: Mapping[str, Table], name: str, kind: str) -> Table:
    """Return the source of that name; ValueError if there is none."""
    if name not in group:
        msg = f"there is no {kind} named {name!r}: the settings know {', '.join(group)}"
        raise ValueError(msg)
    return group[name]


def fill(template: str, **values: object) -> str:
    """Fill in the fields of an address; ValueError if it has none, or others."""
    found = {each[1] for each in string.Formatter().parse(template) if each[1] is not None}
    if not found or not found <= set(values):
        msg = (
            f"the address {template!r} holds the fields {sorted(found)}, expected some of "
            f"{', '.join(f'{{{name}}}' for name in values)}"
        )
        raise ValueError(msg)
    return template.format(**values)


def _own_file(path: str | os.PathLike[str] | None) -> Path | None:
    """Return the user's file: the given one, that of the environment, or the usual one."""
    given = path or os.environ.get("SARHEIGHT_FETCH_CONFIG")
    if given:
        return Path(given).expanduser()
    folder = os.environ.get("XDG_CONFIG_HOME")
    usual = (Path(folder) if folder else Path.home() / ".config") / "sarheight" / "fetch.toml"
    return usual if usual.is_file() else None


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Replace values key by key, in nested tables as well."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merge(below[key], value) if both else value
    return merged


def _with_environment(table: object, group: str, name: str) -> object:
    """Replace the address of a source by that of the environment."""
    url = os.environ.get(f"SARHEIGHT_{group}_{name}_URL".upper())
    return {**table, "url": url} if url and isinstance(table, dict) else table


def _build(kind: type[Table], table: object, where: str) -> Table:
    """Build a dataclass of a table; unknown, missing and mistyped keys are refused."""
    checked = _require_table(table, where)
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]  # all dataclasses
    unknown = sorted(set(checked) - set(known))
    if unknown:
        msg = (
            f"the settings hold {', '.join(unknown)!r} ({where}), which is unknown there: "
            f"expected {', '.join(sorted(known))}"
        )
        raise ValueError(msg)
    values = {key: tuple(each) if isinstance(each, list) else each for key, each in checked.items()}
    for key, value in values.items():
        default = known[key].default
        expected = str if default is MISSING or default is None else type(default)
        allowed = (int, float) if expected is float else expected
        texts = not isinstance(value, tuple) or all(isinstance(each, str) for each in value)
        if not isinstance(value, allowed) or isinstance(value, bool) or not texts:
            msg = f"the settings hold {key} = {value!r} ({where}), expected {expected.__name__}"
            raise ValueError(msg)  # of the user's file
    try:
        return kind(**values)
    except TypeError as error:
        msg = f"the settings are incomplete ({where}): {error}"
        raise ValueError(msg) from error


def _require_table(value: object, where: str) -> Mapping[str, Any]:
    """Check that a value is a table of TOML."""
    if not isinstance(value, dict):
        msg = f"the settings hold {value!r} ({where}), expected a table"
        raise ValueError(msg)  # noqa: TRY004  # of the user's file
    return value
