"""Making city stacks by a recipe."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sarheight.data._buildings.footprint_raster import rasterise_buildings
from sarheight.data._buildings.footprints import read_buildings
from sarheight.data._stacks.composites import composite, months_between
from sarheight.data._stacks.files import open_stack, write_stack
from sarheight.data._stacks.form import city_stack, month_of
from sarheight.data._stacks.image_windows import asset_of_band, flattened_image, window_of
from sarheight.data._stacks.optical import (
    check_offset,
    clear_cells,
    offset_of_item,
    reflectance,
)
from sarheight.data._stacks.radar import sar_series, unfolded
from sarheight.data._stacks.regrid import city_grid
from sarheight.errors import StackError
from sarheight.output import provenance

if TYPE_CHECKING:
    import os

    from sarheight.data._stacks.recipe import (
        BuildingSource,
        City,
        OpticalSource,
        RadarSource,
        StackRecipe,
    )
    from sarheight.fetch import ImageItem, Settings

__all__ = ["make_stack", "write_stacks"]

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
