"""Building city stacks from catalogues by a configuration."""

from __future__ import annotations

import json
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import rasterio
import xarray as xr
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from sarheight.buildings._footprints import rasterise_buildings, read_buildings
from sarheight.buildings._images import (
    check_offset,
    city_grid,
    clear_cells,
    composite,
    months_between,
    offset_of_item,
    optical_band,
    reflectance,
    sar_series,
    unfolded,
)
from sarheight.buildings.stack import OPTICAL_BANDS, POSTING, city_stack, month_of
from sarheight.buildings.stack_files import open_stack, write_stack
from sarheight.errors import ProductError, StackError
from sarheight.output import provenance
from sarheight.output.grid import grid_transform

if TYPE_CHECKING:
    import os

    from sarheight.fetch import ImageItem, Settings

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
        `sarheight.buildings.read_buildings`.
    index, column : str
        Instead of it, a vector file or its address that says where the tiles of a large set are,
        and the attribute with their addresses; see `sarheight.fetch.building_tiles`.
    height, ground, layer : str, optional
        See `sarheight.buildings.read_buildings`.
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


# Parts of images of a catalogue, on the grid of a city.

REMOTE = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "2",
    "GDAL_HTTP_MULTIRANGE": "YES",
}
"""How GDAL reads parts of files elsewhere: without listing their folder, and patiently."""
POLARISATIONS = ("VV", "VH")


def flattened_image(item: ImageItem, radiometry: str, grid: xr.DataArray) -> xr.Dataset:
    """Read the part of a flattened image that shows a city."""
    lower = {name.lower(): name for name in item.addresses}
    names = [name for name in POLARISATIONS if name.lower() in lower]
    if not names:
        msg = f"found the images {', '.join(item.addresses)} in {item.name}, expected vv or vh"
        raise ProductError(msg)
    layers = [window_of(item.source(lower[name.lower()]), grid, "average") for name in names]
    power = xr.concat(layers, dim=xr.Variable("polarisation", names), join="exact")
    record = {
        "start": item.time.replace(tzinfo=None).isoformat(),
        "orbit_state": str(item.properties.get("sat:orbit_state", "")).lower(),
        "polarisations": names,
    }
    return xr.Dataset(
        {radiometry: power.where(power >= 0.0)}, attrs={"acquisition": json.dumps([record])}
    )


def asset_of_band(item: ImageItem, band: str) -> str:
    """Find the image of a band by the names that catalogues give them, the finest first."""
    finest = sorted(item.addresses, key=lambda name: (len(name), name))
    for name in finest:
        if "jp2" in name.lower():
            continue
        bare = name.upper().partition("_")[0]
        if (band == "SCL" and bare == "SCL") or optical_band(name) == band:
            return name
    return band


def window_of(address: str, grid: xr.DataArray, resampling: str) -> xr.DataArray:
    """Read an image at the cells of a grid, and no more of it than that needs.

    NaN where the image has no data; codes and numbers come as float32.
    """
    transform = grid_transform(grid)
    rows, columns = grid.sizes["y"], grid.sizes["x"]
    try:
        with rasterio.Env(**REMOTE), rasterio.open(address) as image:
            finer = abs(image.transform.a) < 0.67 * abs(transform.a)
            usual = Resampling.nearest if resampling == "mode" else Resampling.bilinear
            with WarpedVRT(
                image,
                crs=grid.rio.crs,
                transform=transform,
                width=columns,
                height=rows,
                resampling=Resampling[resampling] if finer else usual,
                tolerance=0.01,
                add_alpha=image.nodata is None,
            ) as warped:
                values = warped.read(1).astype(np.float32)
                known = warped.dataset_mask() > 0
    except (RasterioError, OSError) as error:
        shown = address.partition("?")[0]
        # What follows the question mark may be a signature.
        reason = str(error).replace(address, shown)
        msg = f"'{shown}' cannot be read as raster ({reason})"
        raise ProductError(msg) from error
    layer = xr.DataArray(
        np.where(known, values, np.nan).astype(np.float32),
        dims=("y", "x"),
        coords={name: grid[name].values for name in ("y", "x")},
    )
    placed: xr.DataArray = layer.rio.write_crs(grid.rio.crs)
    return placed


# Making city stacks by a recipe.

RECIPE = "recipe"


def write_stacks(
    recipe: StackRecipe,
    folder: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Make the stacks of a recipe and write each as Zarr store.

    A stack that is there already and was made by the same recipe is kept; each appears complete or
    not at all, so that after an interruption the same call goes on.

    Parameters
    ----------
    recipe : StackRecipe
        What to make.
    folder : path-like
        Where the stores go; made if it is not there.
    settings : sarheight.fetch.Settings, optional
        Addresses and patience.
    report : callable, optional
        Told what begins.

    Returns
    -------
    list of pathlib.Path
        The stores, in the order of the cities.

    Raises
    ------
    StackError
        If the parts of a city do not fit together, or there is no image.
    FetchError
        If a catalogue cannot be asked.
    ProductError
        If an image cannot be read.
    OutputError
        If a store cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for city in recipe.cities:
        path = folder / f"{city.name}.zarr"
        paths.append(path)
        if _made_of(path) != json.dumps(recipe.described(city), sort_keys=True):
            stack = make_stack(recipe, city, settings=settings, report=report)
            write_stack(stack, path, overwrite=path.exists())
    return paths


def make_stack(
    recipe: StackRecipe,
    city: City,
    *,
    settings: Settings | None = None,
    report: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Make the stack of one city; see `write_stacks`.

    Of each image only the part over the city is read, at the posting of its grid.

    Parameters
    ----------
    recipe : StackRecipe
        What to make.
    city : City
        Where.
    settings, report
        As in `write_stacks`.

    Returns
    -------
    xarray.Dataset
        A city stack in memory.
    """
    tell = report or (lambda _: None)
    grid = city_grid(city.place, crs=recipe.crs, posting=recipe.posting)
    sar = optical = None
    layers: dict[str, xr.DataArray] = {}
    used: dict[str, list[str]] = {}
    if recipe.radar is not None:
        images = _radar(recipe, recipe.radar, city, grid, settings, tell, used)
        sar = sar_series(images, grid, months=(recipe.first, recipe.last))
    if recipe.optical is not None:
        items = _items(recipe, recipe.optical, city, settings)
        items = [item for item in items if _cloud(item) <= recipe.optical.most_cloud]
        used["optical"] = [item.name for item in items]
        optical = _optical(recipe, recipe.optical, city, grid, items, tell)
    if recipe.buildings is not None:
        source = recipe.buildings
        tell(f"{city.name}: buildings")
        buildings = read_buildings(
            _building_files(recipe, source, city, settings),
            height=source.height,
            ground=source.ground,
            layer=source.layer,
        )
        reference = rasterise_buildings(buildings, grid)
        if not reference.attrs["buildings"]:
            msg = f"none of {len(buildings)} buildings lies at {city.name}: it becomes open ground"
            warnings.warn(msg, stacklevel=2)
        layers = {name: reference[name] for name in ("height", "footprint")}
    described = recipe.described(city)
    attributes = {
        "title": f"Sentinel-1 and Sentinel-2 of {city.name}, {recipe.first} to {recipe.last}",
        RECIPE: json.dumps(described, sort_keys=True),
        "provenance": json.dumps(provenance({}, {**described, "images": used})),
    }
    return city_stack(
        sar=sar, optical=optical, layers=layers, attributes=attributes, posting=recipe.posting
    )


def _building_files(
    recipe: StackRecipe, source: BuildingSource, city: City, settings: Settings | None
) -> list[Path]:
    """Return the files with the buildings of a city; fetch them where a list of tiles is given."""
    if source.index:
        from sarheight.fetch import building_tiles

        index = source.index if "://" in source.index else str(recipe.path(source.index, city))
        return building_tiles(city.place, index=index, column=source.column, settings=settings)
    files = recipe.paths(source.file, city)
    if not files:
        msg = f"found no file '{recipe.path(source.file, city)}' with the buildings of {city.name}"
        raise StackError(msg)
    return files


def _made_of(path: Path) -> str | None:
    """Return the recipe of a stack that is there, if it can be read."""
    if not path.exists():
        return None
    try:
        with open_stack(path, chunks={}) as stack:
            return str(stack.attrs.get(RECIPE, ""))
    except (OSError, ValueError, KeyError):
        return None


def _items(
    recipe: StackRecipe,
    source: RadarSource | OpticalSource,
    city: City,
    settings: Settings | None,
) -> Sequence[ImageItem]:
    from sarheight.fetch import image_items

    catalogue = source.catalogue
    if catalogue.endswith(".json") and "://" not in catalogue:
        catalogue = str(recipe.path(catalogue, city))
    months = months_between(recipe.first, recipe.last)
    last = (months[-1].astype("datetime64[M]") + 1).astype("datetime64[D]") - 1
    items = image_items(
        city.place,
        months[0].astype("datetime64[D]"),
        last,
        catalogue=catalogue,
        collection=source.collection,
        settings=settings,
    )
    if not items:
        msg = (
            f"found no image of {source.collection} at {city.name} from {recipe.first} to "
            f"{recipe.last} in {source.catalogue}, expected some: check place and time"
        )
        raise StackError(msg)
    return items


def _cloud(item: ImageItem) -> float:
    return float(item.properties.get("eo:cloud_cover") or 0.0)


def _radar(
    recipe: StackRecipe,
    source: RadarSource,
    city: City,
    grid: xr.DataArray,
    settings: Settings | None,
    tell: Callable[[str], None],
    used: dict[str, list[str]],
) -> Iterator[xr.Dataset]:
    """Yield radar images on the grid of a city, one after the other."""
    used["radar"] = []
    if source.products:
        from sarheight.dem import open_dem

        ground = open_dem(recipe.path(source.dem, city), vertical=source.vertical)
        products = recipe.paths(source.products, city)
        if not products:
            msg = f"found no product '{recipe.path(source.products, city)}', expected some"
            raise StackError(msg)
        for product in products:
            tell(f"{city.name}: {product.name}")
            used["radar"].append(product.name)
            yield unfolded(product, ground, grid)
        return
    for item in _items(recipe, source, city, settings):
        tell(f"{city.name}: {item.name}")
        used["radar"].append(item.name)
        yield flattened_image(item, source.radiometry, grid)


def _optical(
    recipe: StackRecipe,
    source: OpticalSource,
    city: City,
    grid: xr.DataArray,
    items: Sequence[ImageItem],
    tell: Callable[[str], None],
) -> xr.DataArray:
    """Make the monthly medians of clear reflectance, one month and band at a time."""
    months = months_between(recipe.first, recipe.last)
    shape = len(months), len(source.bands), grid.sizes["y"], grid.sizes["x"]
    values = np.full(shape, np.nan, dtype=np.float32)
    for place, month in enumerate(months):
        chosen = [item for item in items if month_of(item.time.replace(tzinfo=None)) == month]
        if not chosen:
            continue
        tell(f"{city.name}: {len(chosen)} optical images of {str(month)[:7]}")
        clear = [
            clear_cells(window_of(item.source(asset_of_band(item, "SCL")), grid, "mode"))
            for item in chosen
        ]
        for index, band in enumerate(source.bands):
            seen = [
                reflectance(
                    window_of(item.source(asset_of_band(item, band)), grid, "average"),
                    offset=_offset(item, source),
                ).where(mask)
                for item, mask in zip(chosen, clear, strict=True)
            ]
            values[place, index] = composite(xr.concat(seen, dim="time", join="exact"), "median")
    if not np.isfinite(values).any():
        msg = (
            f"found no clear cell at {city.name} in any month, expected some: allow more cloud "
            "(most_cloud), or take other months"
        )
        raise StackError(msg)
    coordinates = {"month": months, "optical_band": list(source.bands)}
    image = xr.DataArray(
        values,
        dims=("month", "optical_band", "y", "x"),
        coords={**coordinates, **{name: grid[name].values for name in ("y", "x")}},
        attrs={"long_name": "surface reflectance", "units": "1"},
    )
    return check_offset(image.rio.write_crs(grid.rio.crs))


def _offset(item: ImageItem, source: OpticalSource) -> float:
    return source.offset if source.offset is not None else offset_of_item(item.properties)
