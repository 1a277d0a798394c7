"""The openEO process ``sar_backscatter``: what it may be asked for, and what it does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, replace
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import xarray as xr

from sarheight.dem import check_dem
from sarheight.errors import (
    DamagedFileError,
    DemError,
    GeometryError,
    OptionError,
    OrbitCoverageError,
    ProductError,
)
from sarheight.layover import in_layover, in_shadow
from sarheight.openeo.items import (
    POLARISATIONS,
    PROCESS,
    SarItems,
    product_of,
    refuse,
    refuse_dem,
    refuse_extent,
    stac_items,
    time_of,
)
from sarheight.output import nodata_value
from sarheight.workflow.config import ImageConfig, ReconstructConfig
from sarheight.workflow.elevations import read_dem
from sarheight.workflow.images import Reporter, open_image
from sarheight.workflow.options import AUTO, describe
from sarheight.workflow.reconstruction import reconstruct

if TYPE_CHECKING:
    import os
    from datetime import datetime

    import pystac
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sarheight.scene import Calibration, Scene

LINES = 512
"""Lines of an image that are multiplied by areas at once."""


# What a process graph may ask for.


class Measure(NamedTuple):
    """How a coefficient is computed.

    Attributes
    ----------
    layer : str
        Layer of a reconstruction that holds it.
    calibration : {"beta0", "sigma0", "gamma0"}, optional
        What the image is calibrated to before it is geocoded; None where the terrain normalises.
    units : str
        Its unit: "1", and "m2" for the radar cross-section of a pixel, which is not normalised.
    """

    layer: str
    calibration: Calibration | None = None
    units: str = "1"


GEOCODED = "sigma0_geocoded"
COEFFICIENTS: Mapping[str | None, Measure] = MappingProxyType(
    {
        "beta0": Measure(GEOCODED, "beta0"),
        "sigma0-ellipsoid": Measure(GEOCODED, "sigma0"),
        "sigma0-terrain": Measure("sigma0"),
        "gamma0-ellipsoid": Measure(GEOCODED, "gamma0"),
        "gamma0-terrain": Measure("gamma0"),
        None: Measure(GEOCODED, "beta0", "m2"),
    }
)
"""How each coefficient of the process is computed."""

BANDS = {
    "mask": "mask",
    "contributing_area": "projected_area",
    "local_incidence_angle": "local_incidence",
    "ellipsoid_incidence_angle": "ellipsoid_incidence",
}
"""Layers of a reconstruction by the names of further bands, in the order of the parameters."""

OPTIONS: Mapping[str, str | list[str]] = MappingProxyType(
    {
        "method": ["string", "object"],
        "law": "string",
        "coregister": "string",
        "orbit": "string",
        "swaths": "array",
        "multilook": "array",
        "spacing": "number",
        "crs": "string",
        "resolution": "number",
        "align": "number",
        "mgrs": "string",
        "extent": "array",
    }
)
"""Keys of the parameter ``options`` with their types in JSON: fields of `ReconstructConfig`."""
GRID_OPTIONS = {"crs", "resolution", "align", "mgrs", "extent"}


class ElevationModel(NamedTuple):
    """An elevation model that process graphs may name.

    Attributes
    ----------
    files : tuple of path
        Files that GDAL reads, or ``("auto",)`` to fetch Copernicus GLO-30.
    vertical : str or float, optional
        What its heights refer to, unless the files say so: "EGM2008", "EGM96", "ellipsoidal", a
        geoid grid, or the geoid's height in metres.
    """

    files: tuple[str | os.PathLike[str], ...]
    vertical: str | float | None = None


ELEVATION_MODELS: dict[str, ElevationModel] = {"COPERNICUS_30": ElevationModel((AUTO,))}
"""Elevation models by the names that process graphs give. A back-end adds its own: a text in a
process graph never names a file."""


def describe_process(specification: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the description of the process by the options of this implementation.

    Parameters
    ----------
    specification : mapping
        The description of ``sar_backscatter`` as openEO publishes it.

    Returns
    -------
    dict
        A copy whose parameter ``options`` has a schema: names, types and descriptions.
    """
    described, known = deepcopy(dict(specification)), describe(ReconstructConfig)
    schema = {
        "type": "object",
        "properties": {
            name: {"type": kind, "description": known[name].help} for name, kind in OPTIONS.items()
        },
        "additionalProperties": False,
    }
    for parameter in described["parameters"]:
        if parameter["name"] == "options":
            parameter["schema"] = schema
    return described


# The process.


def sar_backscatter(
    data: SarItems | pystac.Item | Iterable[pystac.Item],
    coefficient: str | None = "gamma0-terrain",
    elevation_model: str | ElevationModel | xr.DataArray | None = None,
    mask: bool = False,  # noqa: FBT001, FBT002  # the order of the specification
    contributing_area: bool = False,  # noqa: FBT001, FBT002
    local_incidence_angle: bool = False,  # noqa: FBT001, FBT002
    ellipsoid_incidence_angle: bool = False,  # noqa: FBT001, FBT002
    noise_removal: bool = True,  # noqa: FBT001, FBT002
    options: Mapping[str, Any] = MappingProxyType({}),
) -> xr.DataArray:
    """Compute backscatter from SAR products: the openEO process ``sar_backscatter``.

    Parameters
    ----------
    data : SarItems, pystac.Item or iterable of pystac.Item
        The images, one item for each. `SarItems` also say for which extent and polarisations.
    coefficient : str, optional
        ``beta0``, ``sigma0-ellipsoid`` and ``gamma0-ellipsoid``: the image in the calibration of
        its product, interpolated bilinearly at each place of the elevation model.
        ``sigma0-terrain`` and ``gamma0-terrain``: normalised by the illuminated area of the
        terrain, by area projection (`sarheight.layover.RTC`). None: the radar cross-section of a
        pixel in square metres, which is not normalised: beta0 times the area of the pixel in the
        slant-range plane.
    elevation_model : str, ElevationModel or DataArray, optional
        A name among `ELEVATION_MODELS`; by default Copernicus GLO-30, which is fetched. In Python
        also files, or heights that `sarheight.dem.open_dem` opened.
    mask : bool
        Add the band ``mask``: 1 where the backscatter is valid; 0 in shadow, in layover that is
        not taken apart, and where there is no value; no data outside the image. With the methods
        ``posterior`` and ``one-step`` values in layover are valid.
    contributing_area : bool
        Add the band ``contributing_area``: the illuminated area of the cell in square metres,
        projected along the line of sight; gamma0-terrain times it is the cell's cross-section.
    local_incidence_angle, ellipsoid_incidence_angle : bool
        Add bands of these names: the angle between the line of sight and the normal of the terrain
        or of the ellipsoid, in degrees.
    noise_removal : bool
        Whether the thermal noise is subtracted.
    options : mapping
        Those of `OPTIONS`, as `sarheight.reconstruct` takes them. ``method``: ``rtc`` (default),
        ``posterior``, which takes layover apart, or ``one-step``.

    Returns
    -------
    DataArray
        float32, linear scale, dims (t, bands, y, x): the polarisations, then the bands that were
        asked for. NaN where there is no data. `t` is the time of the items; the grid is that of
        the items, or as `sarheight.reconstruct` chooses it. The values are those of
        `sarheight.reconstruct` with the same options within the bounds of the items, bit by bit.
        Lazy where an image needs more than 2 GiB.

    Raises
    ------
    OpenEoError
        With the codes ``DigitalElevationModelInvalid``, ``ProcessParameterInvalid`` and
        ``NoDataAvailable``.
    FetchError
        If an elevation model or an orbit cannot be downloaded.
    MissingLibraryError
        If a product on a server needs an extra that is not installed.

    Notes
    -----
    The specification resamples elevation model and backscatter bilinearly. Here the elevation model
    is resampled by cubic convolution, which keeps slopes, or averaged to coarser cells; and
    normalised by the terrain, backscatter is not resampled at all: each cell gets the radar
    cross-section of its part of each pixel.
    """
    if coefficient not in list(COEFFICIENTS):
        known = ", ".join("null" if name is None else name for name in COEFFICIENTS)
        refuse("coefficient", f"found {coefficient!r}, expected one of {known}")
    flags = {
        "mask": mask,
        "contributing_area": contributing_area,
        "local_incidence_angle": local_incidence_angle,
        "ellipsoid_incidence_angle": ellipsoid_incidence_angle,
        "noise_removal": noise_removal,
    }
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            refuse(name, f"found {value!r}, expected true or false")
    items = data if isinstance(data, SarItems) else SarItems(stac_items(data))
    if not items.items:
        refuse("data", "found no items, expected one at least")
    measure, bands = COEFFICIENTS[coefficient], tuple(name for name in BANDS if flags[name])
    config = _configuration(items, measure, bands, options, noise_removal=bool(noise_removal))
    images = _images(items)
    if not images:
        refuse_extent()
    dem = _Dem.of(elevation_model)
    config = dem.into(config, items)
    results = _parts(images, config, measure, dem.heights, items.grid)
    if not results and elevation_model is not None:
        refuse_dem("it does not meet the images")
    if not results:
        refuse_extent()
    parts = [(time, _bands_of(each, config, measure, bands)) for time, each in results]
    cube = _joined(parts, items.bands, bands).rename(PROCESS)
    cube = cube.assign_attrs(
        long_name=f"SAR backscatter, {coefficient or 'not normalised'}",
        units=measure.units,
        sarheight_version=version("sarheight"),
    )
    placed: xr.DataArray = cube.rio.write_crs(results[0][1].rio.crs)
    return placed


class _Image(NamedTuple):
    """What is needed of an item."""

    time: datetime
    name: str
    product: str
    polarisations: tuple[str, ...]  # those to read; none for all that there are


def _images(items: SarItems) -> list[_Image]:
    """List the images of items in the order of time, but for those without the polarisations."""
    images = []
    for item in items.items:
        known = item.properties.get("sar:polarizations") or items.bands
        if not isinstance(known, list | tuple):
            found = f"found {known!r} for sar:polarizations of the item '{item.id}'"
            refuse("data", f"{found}, expected a list")
        names = tuple(name for name in items.bands if name in known)
        if names or not items.bands:
            images.append(_Image(time_of(item), item.id, product_of(item), names))
    return sorted(images)


READING: dict[str, Any] = {each.name: each.default for each in fields(ImageConfig)}
"""Defaults of how an image is read, for one that is open already."""


def _configuration(
    items: SarItems,
    measure: Measure,
    bands: tuple[str, ...],
    options: Any,  # noqa: ANN401  # checked here
    *,
    noise_removal: bool,
) -> ReconstructConfig:
    """Make the configuration of all images; no image and no elevation model in it yet."""
    if not isinstance(options, Mapping):
        refuse("options", f"found {options!r}, expected an object")
    if unknown := set(map(str, options)) - set(OPTIONS):
        expected = f"expected some of {', '.join(OPTIONS)}"
        refuse("options", f"found {', '.join(sorted(unknown))}, {expected}")
    if options.get("orbit") not in (None, AUTO):
        refuse("options", f"found an orbit other than {AUTO!r}: leave it out")
    if items.grid is not None and GRID_OPTIONS & set(options):
        refuse("options", "the cube has a grid already: leave those of a grid out")
    if measure.calibration is not None and {"method", "law"} & set(options):
        refuse("options", "method and law are for coefficients of the terrain")
    values = {"method": "rtc"} | dict(options)
    values |= {"image": "", "dem": (), "noise_removal": noise_removal}
    values |= {"variables": [measure.layer, *(BANDS[name] for name in bands)]}
    if measure.calibration is not None:
        values["calibration"] = measure.calibration
    with _telling("options"):
        return ReconstructConfig.from_dict(values)


class _Dem(NamedTuple):
    """An elevation model: files, or opened heights."""

    files: ElevationModel
    heights: xr.DataArray | None = None

    @classmethod
    def of(cls, named: Any) -> Self:  # noqa: ANN401  # checked here
        """Find the elevation model that was named."""
        if isinstance(named, xr.DataArray):
            return cls(ElevationModel(()), named)
        if isinstance(named, str) and named not in ELEVATION_MODELS:
            refuse_dem(f"found {named!r}, expected one of {', '.join(ELEVATION_MODELS)}")
        model = ELEVATION_MODELS[named] if isinstance(named, str) else named
        if model is None:
            return cls(ElevationModel((AUTO,)))
        if not isinstance(model, ElevationModel):
            refuse_dem(f"found {type(model).__name__}, expected the name of one")
        return cls(model)

    def into(self, config: ReconstructConfig, items: SarItems) -> ReconstructConfig:
        """Put it into a configuration; one that cannot be opened is refused."""
        files = tuple(map(str, self.files.files))
        config = replace(config, dem=files, vertical=self.files.vertical)
        try:
            if self.heights is not None:
                check_dem(self.heights, void_allowed=True)
            elif files != (AUTO,):
                read_dem(config, bounds=items.extent)
        except (DemError, DamagedFileError, FileNotFoundError, TypeError) as error:
            refuse_dem(error)
        # All images get the same grid, and one of a continent is not filled for each of them.
        return config if items.grid is not None else replace(config, bounds=items.extent)


@contextmanager
def _telling(name: str, *, grid_is_stated: bool = False) -> Iterator[None]:
    """Turn errors of options, of a product, or of the heights into those of openEO."""
    try:
        yield
    except OptionError as error:
        if error.option in {"image", "polarisations"}:
            refuse("data", f"'{name}': {error}")
        refuse(error.option if error.option == "noise_removal" else "options", error)
    except (ProductError, DamagedFileError, FileNotFoundError, OrbitCoverageError) as error:
        refuse("data", f"'{name}': {error}")
    except DemError as error:
        # The elevation model could be opened: the grid that was asked for does not fit it.
        if grid_is_stated:
            refuse("options", error)
        refuse_dem(error)


def _parts(
    images: Sequence[_Image],
    config: ReconstructConfig,
    measure: Measure,
    heights: xr.DataArray | None,
    grid: GeoBox | None,
) -> list[tuple[datetime, xr.Dataset]]:
    """Reconstruct each image that has pixels in the cube."""
    parts = []
    for image in images:
        each = replace(config, image=image.product, polarisations=image.polarisations)
        try:
            with _telling(image.name, grid_is_stated=config.states_grid):
                parts.append((image.time, _result(each, measure, heights, grid)))
        except GeometryError as error:
            Reporter().warn(f"{image.name} is left out: {error}")
    return parts


def _result(
    config: ReconstructConfig,
    measure: Measure,
    heights: xr.DataArray | None,
    grid: GeoBox | None,
) -> xr.Dataset:
    """Reconstruct an image, or geocode it as it is."""
    if measure.calibration is None:
        return reconstruct(config, heights, grid=grid)
    config.require_files()
    scene = open_image(config.image, replace(config, bounds=None))
    options = config.to_dict() | READING | {"bounds": config.bounds}
    del options["image"]
    files = options.pop("dem")
    dem = files if heights is None else heights
    return reconstruct(_to_be_geocoded(scene, measure), dem, grid=grid, **options)


def _bands_of(
    result: xr.Dataset, config: ReconstructConfig, measure: Measure, bands: Sequence[str]
) -> xr.DataArray:
    """Return the bands of the cube of an image, dims (bands, y, x)."""
    values = result[measure.layer]
    if "polarisation" not in values.dims:
        values = values.expand_dims("polarisation")
    layers = {name: result[BANDS[name]] for name in bands}
    if "mask" in layers:
        apart = measure.calibration is None and not config.method.startswith(("rtc", '{"RTC"'))
        layers["mask"] = _validity(values, layers["mask"], layover_is_valid=apart)
    named = [layer.expand_dims(bands=[name]) for name, layer in layers.items()]
    every = [values.rename(polarisation="bands"), *named]
    return xr.concat(
        [each.reset_coords(drop=True).drop_attrs().astype(np.float32) for each in every],
        dim="bands",
        join="exact",
    )


def _to_be_geocoded(scene: Scene, measure: Measure) -> Scene:
    """Return a scene whose layer `GEOCODED` is the image as it is, or radar cross-sections.

    The layer converts images to sigma0. That of an image in sigma0 is the image.
    """
    if measure.units == "1":
        return replace(scene, calibration="sigma0")
    from sarheight.geometry.pass_geometry import pixel_areas
    from sarheight.geometry.tables import radar_model

    known = pixel_areas(scene.grid, radar_model(scene.grid, scene.orbit), scene.calibration)
    # Areas are tabulated at some lines, and linear in between.
    line = np.arange(scene.grid.lines)
    parts: list[NDArray[np.float64]] = [
        np.interp(line, known.lines, unit) for unit in np.eye(known.lines.size)
    ]
    weight = xr.DataArray(np.stack(parts).astype(np.float32), dims=("knot", "line"))
    table = xr.DataArray(known.areas.astype(np.float32), dims=("knot", "sample"))
    chunks = scene.image.chunksizes.get("line", LINES)
    areas = xr.dot(weight.chunk({"line": chunks}), table, dim="knot")
    image = (scene.image * areas).assign_attrs(scene.image.attrs)
    return replace(scene, image=image, calibration="sigma0")


def _validity(values: xr.DataArray, mask: xr.DataArray, *, layover_is_valid: bool) -> xr.DataArray:
    """Return 1 where values of all polarisations are valid, else 0; NaN outside the image."""
    valid = values.notnull().all("polarisation") & ~in_shadow(mask)
    if not layover_is_valid:
        valid &= ~in_layover(mask)
    return valid.astype(np.float32).where(mask != nodata_value(mask))


def _joined(
    parts: Sequence[tuple[datetime, xr.DataArray]], chosen: Sequence[str], bands: Sequence[str]
) -> xr.DataArray:
    """Join the parts of all images along time; polarisations that an image lacks are missing."""
    found = {str(name) for _, part in parts for name in part["bands"].values}
    names = list(chosen) or [name for name in POLARISATIONS if name in found]
    times = np.array([time.replace(tzinfo=None) for time, _ in parts], dtype="datetime64[ns]")
    every = [part.reindex(bands=[*names, *bands]) for _, part in parts]
    return xr.concat(every, dim="t", join="exact").assign_coords(t=times)
