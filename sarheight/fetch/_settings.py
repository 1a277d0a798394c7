"""Addresses and manners: what `sources.toml` says, and what the user says over it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from sarheight._runtime import cache_directory

__all__ = ["Catalogue", "DemSource", "GeoidSource", "Login", "Network", "OrbitSource", "Settings"]

Table = TypeVar("Table")


@dataclass(frozen=True)
class Network:
    """How patient to be, and which hosts of one's own network to trust. Times in seconds."""

    tries: int = 6
    backoff: float = 1.0
    longest_wait: float = 300.0
    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    trusted_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """A catalogue of Sentinel-1 products: where it is, and how its products are laid out."""

    url: str
    kind: str = "stac"
    grd: str | None = None
    slc: str | None = None
    layout: str = "archive"
    archive: str = "Product"
    sign: str | None = None
    sign_url: str = ""
    sign_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Login:
    """Where a token is had, and to which hosts it may be sent."""

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
    """A place with orbit files, and how they are listed there."""

    url: str
    kind: str = "s3"
    download: str = ""


@dataclass(frozen=True)
class DemSource:
    """An elevation model in tiles of one degree."""

    url: str
    vertical: str | None = None
    list: str | None = None
    rows: int | None = None
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
    """Everything that fetching can be told.

    Parameters
    ----------
    network : Network
        Patience and trust.
    catalogues, logins, orbits, dem, geoid : mapping
        Sources by name.
    cache : path
        Where fetched files are kept.
    offline : bool
        Whether to use only what was fetched before.
    """

    network: Network = field(default_factory=Network)
    catalogues: Mapping[str, Catalogue] = field(default_factory=dict)
    logins: Mapping[str, Login] = field(default_factory=dict)
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
            If a file is not TOML, or holds a word that is not known.
        OSError
            If a file that was named cannot be read.
        """
        tables = tomllib.loads((files(__package__) / "sources.toml").read_text("utf-8"))
        own = _own_file(path)
        if own is not None:
            tables = _merged(tables, _read(own))
        _set_from_environment(tables, os.environ)
        where = str(own or "the defaults")
        return cls(
            network=_made(Network, tables.pop("network"), f"network, {where}"),
            catalogues=_group(Catalogue, tables.pop("catalogues"), where),
            logins=_group(Login, tables.pop("logins"), where),
            orbits=_group(OrbitSource, tables.pop("orbits"), where),
            dem=_group(DemSource, tables.pop("dem"), where),
            geoid=_group(GeoidSource, tables.pop("geoid"), where),
            offline=os.environ.get("SARHEIGHT_OFFLINE", "") not in {"", "0"},
            **_nothing_left(tables, where),
        )


def named(group: Mapping[str, Table], name: str, kind: str) -> Table:
    """Return the source of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in group:
        msg = f"there is no {kind} named {name!r}: the settings know {', '.join(group)}"
        raise ValueError(msg)
    return group[name]


def _own_file(path: str | os.PathLike[str] | None) -> Path | None:
    named_file = path or os.environ.get("SARHEIGHT_FETCH_CONFIG")
    if named_file:
        return Path(named_file).expanduser()
    folder = os.environ.get("XDG_CONFIG_HOME")
    usual = (Path(folder) if folder else Path.home() / ".config") / "sarheight" / "fetch.toml"
    return usual if usual.is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not TOML ({error}): correct that line, or remove the file"
        raise ValueError(msg) from error


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merged(below[key], value) if both else value
    return merged


def _set_from_environment(tables: dict[str, Any], environment: Mapping[str, str]) -> None:
    for group, sources in tables.items():
        if group == "network":
            continue
        for name, source in sources.items():
            value = environment.get(f"SARHEIGHT_{group}_{name}_URL".upper())
            if value:
                source["url"] = value


def _group(kind: type[Table], tables: Mapping[str, Any], where: str) -> dict[str, Table]:
    return {name: _made(kind, table, f"{name}, {where}") for name, table in tables.items()}


def _made(kind: type[Table], table: Mapping[str, Any], where: str) -> Table:
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    unknown = sorted(set(table) - known)
    if unknown:
        msg = (
            f"the settings hold {', '.join(unknown)!r} ({where}), which means nothing there: "
            f"expected {', '.join(sorted(known))}"
        )
        raise ValueError(msg)
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    try:
        return kind(**values)
    except TypeError as error:
        msg = f"the settings are incomplete ({where}): {error}"
        raise ValueError(msg) from error


def _nothing_left(tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    if tables:
        msg = (
            f"the settings in {where} hold the tables {', '.join(tables)}, expected network, "
            "catalogues, logins, orbits, dem or geoid"
        )
        raise ValueError(msg)
    return {}
