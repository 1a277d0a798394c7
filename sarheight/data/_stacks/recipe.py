"""What a collection of city stacks is made of, as a file that says it all."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sarheight.data._stacks.composites import months_between
from sarheight.data._stacks.form import OPTICAL_BANDS, POSTING
from sarheight.errors import StackError

if TYPE_CHECKING:
    import os

__all__ = ["BuildingSource", "City", "OpticalSource", "RadarSource", "StackRecipe"]

Table = TypeVar("Table")


@dataclass(frozen=True, kw_only=True)
class City:
    """A place.

    Attributes
    ----------
    name : str
        Of its store.
    place : tuple of float
        (west, south, east, north) in degrees.
    """

    name: str
    place: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the values."""
        try:
            count = len([float(each) for each in self.place])
        except (TypeError, ValueError):
            count = 0
        if count != 4:
            msg = (
                f"found the place {self.place} of {self.name}, expected west, south, east and "
                "north in degrees"
            )
            raise StackError(msg)


@dataclass(frozen=True, kw_only=True)
class RadarSource:
    """Where Sentinel-1 comes from: flattened images of a catalogue, or products and a DEM.

    Attributes
    ----------
    catalogue, collection : str
        Of flattened images (RTC) with the assets vv and vh in linear power; see
        `sarheight.fetch.image_items`.
    products : str
        Instead of these, products as they come from the archive: a path with ``{name}`` for the
        city and ``*``, such as ``sentinel1/{name}/*.SAFE``. They are unfolded.
    dem : str
        For products, the elevation model: a path with ``{name}``.
    vertical : str
        What its heights are measured from, see `sarheight.dem.open_dem`.
    radiometry : str
        What flattened images hold: gamma0 or sigma0.
    """

    catalogue: str = ""
    collection: str = "sentinel-1-rtc"
    products: str = ""
    dem: str = ""
    vertical: str | None = None
    radiometry: str = "gamma0"

    def __post_init__(self) -> None:
        """Check the values."""
        if bool(self.catalogue) == bool(self.products) or bool(self.products) != bool(self.dem):
            msg = (
                f"found catalogue={self.catalogue!r}, products={self.products!r} and dem="
                f"{self.dem!r} for radar, expected a catalogue, or products and a dem"
            )
            raise StackError(msg)


@dataclass(frozen=True, kw_only=True)
class OpticalSource:
    """Where Sentinel-2 comes from.

    Attributes
    ----------
    catalogue, collection : str
        Of L2A images; see `sarheight.fetch.image_items`.
    bands : tuple of str
        Some of `OPTICAL_BANDS`.
    most_cloud : float
        Images with more cloud than this, in per cent of the whole tile, are left alone.
    offset : float, optional
        What is to be added to digital numbers, where the items do not say it.
    """

    catalogue: str
    collection: str = "sentinel-2-l2a"
    bands: tuple[str, ...] = tuple(band for band in OPTICAL_BANDS if band not in {"B01", "B09"})
    most_cloud: float = 80.0
    offset: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        strange = [band for band in self.bands if band not in OPTICAL_BANDS]
        if strange or not self.bands or len(set(self.bands)) < len(self.bands):
            msg = (
                f"found the bands {', '.join(self.bands) or 'none'}, expected some of "
                f"{', '.join(OPTICAL_BANDS)}, each once"
            )
            raise StackError(msg)


@dataclass(frozen=True, kw_only=True)
class BuildingSource:
    """Where outlines and heights of buildings come from.

    Attributes
    ----------
    file : str
        A path with ``{name}`` for the city, which may name several files by ``*``; see
        `sarheight.data.read_buildings`.
    index, column : str
        Instead of it, a vector file or its address that says where the tiles of a large set are,
        and the attribute with their addresses; see `sarheight.fetch.building_tiles`.
    height, ground, layer : str, optional
        See `sarheight.data.read_buildings`.
    """

    file: str = ""
    index: str = ""
    column: str = "cj_download"
    height: str | None = None
    ground: str | None = None
    layer: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if bool(self.file) == bool(self.index):
            msg = (
                f"found file={self.file!r} and index={self.index!r} for buildings, expected one of "
                "the two"
            )
            raise StackError(msg)


@dataclass(frozen=True, kw_only=True)
class StackRecipe:
    """City stacks to be made.

    Attributes
    ----------
    first, last : str
        Months, such as 2021-01.
    cities : tuple of City
        The places.
    radar, optical, buildings : optional
        Where the parts come from; one of radar and optical at least.
    crs : str, optional
        Projected reference system of all cities; by default each has its zone of UTM.
    posting : float
        Metres between cells.
    folder : str
        From which relative paths are taken: that of the file.
    """

    first: str
    last: str
    cities: tuple[City, ...]
    radar: RadarSource | None = None
    optical: OpticalSource | None = None
    buildings: BuildingSource | None = None
    crs: str | None = None
    posting: float = POSTING
    folder: str = field(default=".", compare=False)

    def __post_init__(self) -> None:
        """Check the values."""
        months_between(self.first, self.last)
        names = [city.name for city in self.cities]
        if not names or len(set(names)) < len(names) or not all(map(_is_plain, names)):
            msg = (
                f"found the cities {', '.join(names) or 'none'}, expected names of letters, digits "
                "and dashes, each once"
            )
            raise StackError(msg)
        if self.radar is None and self.optical is None:
            msg = "found neither radar nor optical among the sources, expected one at least"
            raise StackError(msg)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> StackRecipe:
        """Read a recipe from a TOML file.

        Parameters
        ----------
        path : path-like
            Its tables are ``radar``, ``optical``, ``buildings`` and one ``[[cities]]`` for each.

        Raises
        ------
        StackError
            If it is not TOML, or holds what is not known.
        OSError
            If it cannot be read.
        """
        path = Path(path)
        try:
            tables = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            msg = f"'{path}' is not TOML ({error}): correct that line"
            raise StackError(msg) from error
        kinds = {"radar": RadarSource, "optical": OpticalSource, "buildings": BuildingSource}
        parts: dict[str, Any] = dict(tables)
        for name, kind in kinds.items():
            if name in parts:
                parts[name] = _made(kind, parts[name], f"{name} of '{path}'")
        dates = [parts[name] for name in ("first", "last") if name in parts]
        if not all(isinstance(date, str) for date in dates):
            msg = f"found the months {dates} in '{path}', expected texts such as \"2021-04\""
            raise StackError(msg)
        cities = parts.get("cities", [])
        parts["cities"] = tuple(_made(City, city, f"a city of '{path}'") for city in cities)
        return _made(cls, {**parts, "folder": str(path.resolve().parent)}, f"'{path}'")

    def path(self, pattern: str, city: City) -> Path:
        """Return a path of the recipe for a city, relative ones taken from its folder."""
        return Path(self.folder) / pattern.format(name=city.name)

    def paths(self, pattern: str, city: City) -> list[Path]:
        """Return all files of a pattern with ``*`` for a city, sorted."""
        return sorted(map(Path, glob(str(self.path(pattern, city)))))  # noqa: PTH207  # also absolute

    def described(self, city: City) -> dict[str, Any]:
        """Return what makes the stack of a city, in JSON's types."""
        parts = asdict(self)
        del parts["cities"], parts["folder"]
        return {**parts, "city": asdict(city)}


def _is_plain(name: str) -> bool:
    return bool(name) and name.replace("-", "").replace("_", "").isalnum()


def _made(kind: type[Table], table: Mapping[str, Any], where: str) -> Table:
    """Make an object of a table."""
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # all are dataclasses
    strange = sorted(set(table) - set(known))
    if strange:
        msg = f"found {', '.join(strange)} in {where}, expected some of {', '.join(known)}"
        raise StackError(msg)
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
    }
    try:
        return kind(**values)
    except TypeError as error:
        msg = f"{where} is incomplete or has the wrong kind of value: {error}"
        raise StackError(msg) from error
