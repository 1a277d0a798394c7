"""City stacks from catalogues and archives, by a configuration file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from glob import glob
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from sarheight._files import file_errors, make_settings, read_toml, resolve_links
from sarheight.buildings._footprints import rasterise_buildings, read_buildings
from sarheight.buildings._images import (
    check_offset,
    city_grid,
    clear_sky_mask,
    composite,
    months_between,
    reconstruct_product,
    reflectance,
    sar_series,
)
from sarheight.buildings.stack import (
    OPTICAL_BANDS,
    POSTING,
    REFERENCE,
    city_stack,
    month_start,
    on_grid_of,
    open_stack,
    require_bands,
    write_stack,
)
from sarheight.errors import StackError
from sarheight.output import provenance
from sarheight.output.files import MADE_BY, is_made_by

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from sarheight.buildings.items import ImageItem
    from sarheight.fetch import Settings

Table = TypeVar("Table")


@dataclass(frozen=True, kw_only=True)
class City:
    """A city.

    Attributes
    ----------
    name : str
        Name of its store.
    bounds : tuple of float
        (west, south, east, north) in degrees.
    """

    name: str
    bounds: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the values."""
        bounds: Any = self.bounds  # of a file it may be anything
        if not isinstance(bounds, tuple) or [isinstance(each, Real) for each in bounds] != 4 * [
            True
        ]:
            msg = (
                f"found the bounds {self.bounds} of {self.name}, expected west, south, east and "
                "north in degrees"
            )
            raise StackError(msg)


@dataclass(frozen=True, kw_only=True)
class RadarSource:
    """Source of Sentinel-1 images: a catalogue of flattened images, or products and a DEM.

    Attributes
    ----------
    catalogue, collection : str
        Of terrain-flattened images (RTC) with the assets vv and vh in linear power; see
        `sarheight.buildings.image_items`.
    products : str
        Instead, products as they come from the archive: a path with ``{name}`` for the city and
        ``*``, such as ``sentinel1/{name}/*.SAFE``. They are reconstructed on the grid of the city.
    dem : str
        For products, the elevation model: a path with ``{name}``.
    vertical : str
        Vertical reference of its heights, see `sarheight.dem.open_dem`.
    radiometry : str
        Of the flattened images: gamma0 or sigma0.
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
    """Source of Sentinel-2 images.

    Attributes
    ----------
    catalogue, collection : str
        Of L2A images; see `sarheight.buildings.image_items`.
    bands : tuple of str
        Some of `OPTICAL_BANDS`.
    most_cloud : float
        Images with more cloud than this, in per cent of the whole tile, are ignored.
    offset : float, optional
        Added to digital numbers, where the items do not state it.
    """

    catalogue: str
    collection: str = "sentinel-2-l2a"
    bands: tuple[str, ...] = tuple(band for band in OPTICAL_BANDS if band not in {"B01", "B09"})
    most_cloud: float = 80.0
    offset: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        require_bands(self.bands, OPTICAL_BANDS, "optical bands")


@dataclass(frozen=True, kw_only=True)
class BuildingSource:
    """Source of outlines and heights of buildings.

    Attributes
    ----------
    file : str
        A path with ``{name}`` for the city, which may match several files by ``*``; see
        `sarheight.buildings.read_buildings`.
    index, column : str
        Instead, the index of a large tiled dataset: a vector file or its address, and the attribute
        with the addresses of the tiles; see `building_tiles`.
    height, ground, layer : str, optional
        See `sarheight.buildings.read_buildings`.
    """

    file: str = ""
    index: str = ""
    column: str = "gpkg_download"
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


SOURCES = {"radar": RadarSource, "optical": OpticalSource, "buildings": BuildingSource}


@dataclass(frozen=True, kw_only=True)
class StackConfiguration:
    """Configuration of the city stacks to build.

    Attributes
    ----------
    first, last : str
        Months, such as 2021-01.
    cities : tuple of City
        The cities.
    radar, optical, buildings : optional
        Sources of images and reference; at least one of radar and optical.
    crs : str, optional
        Projected reference system of all cities; by default the UTM zone of each.
    posting : float
        Metres between cells.
    folder : str
        Folder that relative paths refer to: that of the file.
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
            msg = "found neither radar nor optical among the sources, expected at least one"
            raise StackError(msg)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> StackConfiguration:
        """Read a configuration from a TOML file.

        Parameters
        ----------
        path : path-like
            Its tables are ``radar``, ``optical``, ``buildings`` and one ``[[cities]]`` for each.

        Raises
        ------
        StackError
            If it is not TOML, or holds an unknown key or a wrong value.
        OSError
            If it cannot be read.
        """
        path = Path(path)
        tables = read_toml(path, StackError)
        with file_errors(path, "a configuration of stacks", StackError):
            for name in SOURCES.keys() & tables.keys():
                tables[name] = _from_table(SOURCES[name], tables[name], f"{name} of '{path}'")
            dates = [tables[name] for name in ("first", "last") if name in tables]
            if not all(isinstance(date, str) for date in dates):
                msg = f"found the months {dates} in '{path}', expected texts such as \"2021-04\""
                raise StackError(msg)
            cities = tables.get("cities", [])
            tables["cities"] = tuple(
                _from_table(City, city, f"a city of '{path}'") for city in cities
            )
            return _from_table(
                cls, {**tables, "folder": str(resolve_links(path).parent)}, f"'{path}'"
            )

    def path(self, pattern: str, city: City) -> Path:
        """Return the path of a pattern with ``{name}`` for a city, relative to the folder."""
        return Path(self.folder) / pattern.format(name=city.name)

    def paths(self, pattern: str, city: City) -> list[Path]:
        """Return all files that match a pattern with ``*`` for a city, sorted."""
        return sorted(map(Path, glob(str(self.path(pattern, city)))))  # noqa: PTH207  # also absolute

    def of_city(self, city: City) -> dict[str, Any]:
        """Return all settings that the stack of a city depends on, in JSON's types."""
        settings = asdict(self)
        del settings["cities"], settings["folder"]
        return {**settings, "city": asdict(city)}


def _is_plain(name: str) -> bool:
    return bool(name) and name.replace("-", "").replace("_", "").isalnum()


def _from_table(kind: type[Table], table: Mapping[str, Any], where: str) -> Table:
    """Make a dataclass from a table of TOML; lists become tuples."""
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
    }
    try:
        return make_settings(kind, values, where, StackError)
    except TypeError as error:
        msg = f"{where} is incomplete or has the wrong kind of value: {error}"
        raise StackError(msg) from error


# Building stacks.


def write_stacks(
    configuration: StackConfiguration,
    folder: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Build the stacks of a configuration and write each as a Zarr store.

    An existing stack that was built by the same settings is kept; each appears complete or not at
    all, so that the same call continues after an interruption.

    Parameters
    ----------
    configuration : StackConfiguration
        Cities, months and sources.
    folder : path-like
        Folder of the stores; created if missing.
    settings : sarheight.fetch.Settings, optional
        Addresses and retry policy.
    report : callable, optional
        Called with a line of text at each step.

    Returns
    -------
    list of pathlib.Path
        The stores, in the order of the cities.

    Raises
    ------
    StackError
        If the parts of a city do not fit together, or there is no image.
    FetchError
        If a catalogue cannot be queried.
    ProductError
        If an image cannot be read.
    OutputError
        If a store cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for city in configuration.cities:
        path = folder / f"{city.name}.zarr"
        paths.append(path)
        if not is_made_by(path, _to_json(configuration.of_city(city)), open_stack):
            stack = make_stack(configuration, city, settings=settings, report=report)
            write_stack(stack, path, overwrite=path.exists())
    return paths


def make_stack(
    configuration: StackConfiguration,
    city: City,
    *,
    settings: Settings | None = None,
    report: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Build the stack of one city; see `write_stacks`.

    Of each image only the part over the city is read, at the posting of its grid.

    Parameters
    ----------
    configuration : StackConfiguration
        Months and sources.
    city : City
        The city.
    settings, report
        As in `write_stacks`.

    Returns
    -------
    xarray.Dataset
        A city stack in memory.
    """
    return _Builder(configuration, city, settings, report or (lambda _: None)).stack()


def _to_json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


class _Builder:
    """Builds the stack of one city, and records the images that it uses."""

    def __init__(
        self,
        configuration: StackConfiguration,
        city: City,
        settings: Settings | None,
        report: Callable[[str], None],
    ) -> None:
        self.configuration, self.city, self.settings = configuration, city, settings
        self.report = report
        self.grid = city_grid(city.bounds, crs=configuration.crs, posting=configuration.posting)
        self.months = months_between(configuration.first, configuration.last)
        self.images: dict[str, list[str]] = {}

    def stack(self) -> xr.Dataset:
        """Build the stack."""
        configuration, city = self.configuration, self.city
        months = configuration.first, configuration.last
        sar = optical = None
        layers: dict[str, xr.DataArray] = {}
        if configuration.radar is not None:
            sar = sar_series(self._radar(configuration.radar), self.grid, months=months)
        if configuration.optical is not None:
            optical = self._optical(configuration.optical)
        if configuration.buildings is not None:
            layers = self._reference(configuration.buildings)
        settings = configuration.of_city(city)
        attributes = {
            "title": f"Sentinel-1 and Sentinel-2 of {city.name}, {months[0]} to {months[1]}",
            MADE_BY: _to_json(settings),
            "provenance": json.dumps(provenance({}, {**settings, "images": self.images})),
        }
        return city_stack(
            sar=sar,
            optical=optical,
            layers=layers,
            attributes=attributes,
            posting=configuration.posting,
        )

    def _items(self, source: RadarSource | OpticalSource) -> Sequence[ImageItem]:
        """Find the images of a catalogue."""
        from sarheight.buildings.items import image_items

        catalogue, configuration = source.catalogue, self.configuration
        if catalogue.endswith(".json") and "://" not in catalogue:
            catalogue = str(configuration.path(catalogue, self.city))
        last_day = (self.months[-1].astype("datetime64[M]") + 1).astype("datetime64[D]") - 1
        items = image_items(
            self.city.bounds,
            self.months[0].astype("datetime64[D]"),
            last_day,
            catalogue=catalogue,
            collection=source.collection,
            settings=self.settings,
        )
        if not items:
            msg = (
                f"found no image of {source.collection} at {self.city.name} from "
                f"{configuration.first} to {configuration.last} in {source.catalogue}, expected "
                "some: check bounds and months"
            )
            raise StackError(msg)
        return items

    def _radar(self, source: RadarSource) -> Iterator[xr.Dataset]:
        """Yield radar images on the grid of the city, one after the other."""
        from sarheight.buildings.items import flattened_image

        used = self.images["radar"] = []
        if not source.products:
            for item in self._items(source):
                self.report(f"{self.city.name}: {item.name}")
                used.append(item.name)
                yield flattened_image(item, source.radiometry, self.grid)
            return
        from sarheight.dem import open_dem

        path = self.configuration.path(source.dem, self.city)
        ground = open_dem(path, vertical=source.vertical)
        products = self.configuration.paths(source.products, self.city)
        if not products:
            pattern = self.configuration.path(source.products, self.city)
            msg = f"found no product '{pattern}', expected some"
            raise StackError(msg)
        for product in products:
            self.report(f"{self.city.name}: {product.name}")
            used.append(product.name)
            yield reconstruct_product(product, ground, self.grid)

    def _optical(self, source: OpticalSource) -> xr.DataArray:
        """Return monthly medians of clear reflectance."""
        items = [
            item
            for item in self._items(source)
            if float(item.properties.get("eo:cloud_cover") or 0.0) <= source.most_cloud
        ]
        self.images["optical"] = [item.name for item in items]
        shape = len(self.months), len(source.bands), *self.grid.shape
        values = np.full(shape, np.nan, dtype=np.float32)
        for number, month in enumerate(self.months):
            chosen = [
                item for item in items if month_start(item.time.replace(tzinfo=None)) == month
            ]
            if chosen:
                self.report(f"{self.city.name}: {len(chosen)} optical images of {str(month)[:7]}")
                values[number] = self._optical_month(source, chosen)
        if not np.isfinite(values).any():
            msg = (
                f"found no clear cell at {self.city.name} in any month, expected some: allow more "
                "cloud (most_cloud), or take other months"
            )
            raise StackError(msg)
        image = on_grid_of(
            self.grid,
            values,
            {"month": self.months, "optical_band": list(source.bands)},
            {"long_name": "surface reflectance", "units": "1"},
        )
        return check_offset(image)

    def _optical_month(
        self, source: OpticalSource, items: Sequence[ImageItem]
    ) -> NDArray[np.float32]:
        """Return the median of each band, shape (bands, rows, columns)."""
        from sarheight.buildings.items import offset_of_item, read_band

        masks = [clear_sky_mask(read_band(item, "SCL", self.grid)) for item in items]
        offsets = [
            offset_of_item(item.properties) if source.offset is None else source.offset
            for item in items
        ]
        medians = []
        for band in source.bands:
            clear = [
                reflectance(read_band(item, band, self.grid), offset=offset).where(mask)
                for item, mask, offset in zip(items, masks, offsets, strict=True)
            ]
            medians.append(composite(xr.concat(clear, dim="time", join="exact"), "median").values)
        return np.stack(medians)

    def _reference(self, source: BuildingSource) -> dict[str, xr.DataArray]:
        """Return height and footprint of the buildings."""
        self.report(f"{self.city.name}: buildings")
        buildings = read_buildings(
            self._building_files(source),
            height=source.height,
            ground=source.ground,
            layer=source.layer,
        )
        reference = rasterise_buildings(buildings, self.grid)
        if not reference.attrs["buildings"]:
            msg = f"none of {len(buildings)} buildings lies at {self.city.name}: all is open ground"
            warnings.warn(msg, stacklevel=4)
        return {name: reference[name] for name in REFERENCE}

    def _building_files(self, source: BuildingSource) -> list[Path]:
        """Return the files of buildings; tiles of an index are downloaded."""
        configuration, city = self.configuration, self.city
        if source.index:
            from sarheight.buildings.items import building_tiles

            remote = "://" in source.index
            index = source.index if remote else str(configuration.path(source.index, city))
            return building_tiles(
                city.bounds, index=index, column=source.column, settings=self.settings
            )
        files = configuration.paths(source.file, city)
        if not files:
            path = configuration.path(source.file, city)
            msg = f"found no file '{path}' with the buildings of {city.name}"
            raise StackError(msg)
        return files
