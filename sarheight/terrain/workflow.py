"""From files to refined heights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from sarheight._files import noting_unverified
from sarheight._runtime import library
from sarheight.errors import OptionError, naming_extras
from sarheight.workflow.config import RefineConfig
from sarheight.workflow.elevations import clip, fit_to_grid, place_on_grid, read_dem
from sarheight.workflow.images import ImageSource, Reporter
from sarheight.workflow.series import average_dates
from sarheight.workflow.words import require_memory

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.scene import Scene
    from sarheight.terrain.elevations import KnownElevations
    from sarheight.terrain.posterior import RefinementSettings
    from sarheight.workflow.config import KnownConfig, PassImageConfig

__all__ = ["read_elevations", "read_pass", "refine_files"]

SHIFT_MARGIN = 64
"""Pixels around the part that the elevation model covers, read for a possible shift."""

# Bytes of a refinement, all results included. Measured: 42 for a cell of one image, beside two
# tiles at a time, which are among those of the program.
CELL_BYTES = 40.0  # of a cell of the result
PASS_BYTES = 24.0  # of a cell and image
PIXEL_BYTES = 16.0  # of an image, while it is compared with its simulation
TILE_BYTES = 150 << 20  # of a tile that is solved beside others
TILES = 2  # that are counted with the program
NETWORK_BYTES = 330 << 20  # of PyTorch and the network


@naming_extras()
def refine_files(
    images: RefineConfig | str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    dem: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    reporter: Reporter | None = None,
    **options: Any,  # noqa: ANN401  # fields of the configuration
) -> xr.Dataset:
    """Refine the heights of an elevation model by images, as the command ``sarheight refine`` does.

    The same files and options give the same bits as on the command line.

    Parameters
    ----------
    images : str, path, sequence of them or RefineConfig
        One image for each pass, or a folder of dates, see `RefineConfig`; or a configuration that
        names images and elevation model.
    dem : str, path or sequence of them
        Elevation model: files that GDAL reads.
    reporter : Reporter, optional
        Told of stages and decisions; by default they go to the log ``sarheight``.
    **options
        Fields of `RefineConfig`, which replace those of a configuration: ``vertical="EGM2008"``,
        ``polarisation="VV"``, ``network=True``.

    Returns
    -------
    Dataset
        Heights and their standard deviation, see `sarheight.terrain.refine`, on the grid of a
        projected elevation model, in the UTM zone of one in degrees, or on the one that the options
        choose; with attribute ``provenance``.

    Raises
    ------
    OptionError
        If an option is unknown, impossible or missing, or does not apply to an image.
    MissingLibraryError
        If a file or option needs an extra that is not installed.
    FileNotFoundError, ProductError, DamagedFileError, DemError, GeometryError, KnownElevationsError
        As reading and refinement raise them.
    """
    from sarheight.dem.grids import grid_record
    from sarheight.terrain.refinement import refine

    given = images.to_dict() if isinstance(images, RefineConfig) else {"images": images}
    config = RefineConfig.from_dict(given | ({} if dem is None else {"dem": dem}) | options)
    config.require_files()
    told = reporter or Reporter()
    chosen = _settings(config)
    network = _network() if config.network else None
    if config.known is not None:
        library("sklearn")  # kriges, long after this
    whole = read_dem(config)
    heights = place_on_grid(whole, config, told, factor=config.factor)
    known = read_elevations(config)
    if known is not None:
        told.say(f"{config.known}: {len(known)} known elevations")
    with noting_unverified():
        scenes = [read_pass(config, image, heights, told) for image in config.images]
        require_memory(
            config.memory,
            refinement_bytes(scenes, heights, config.factor, network=config.network),
            "a refinement",
            "refine a part (--extent), or cells that are wider (--resolution)",
        )
        told.stage("refine")
        result = refine(
            scenes,
            heights,
            known,
            factor=config.factor,
            settings=chosen,
            coregister=config.coregister,
            network=network,
            seed=config.seed,
            report=lambda fraction: told.advance("refine", fraction),
        )
        result = clip(fit_to_grid(result, config, whole, config.factor), config)
        result.attrs["provenance"] = config.provenance(
            "refine", grid=grid_record(heights) or "that of the elevation model"
        )
    return result


def refinement_bytes(
    scenes: Sequence[Scene], heights: xr.DataArray, factor: int, *, network: bool
) -> float:
    """Return about how many bytes a refinement takes beside the program."""
    cells = factor**2 * int(heights.size)
    pixels = max(int(scene.image.size) for scene in scenes)
    held = sum(scene.image.nbytes for scene in scenes if not scene.image.chunks)
    arrays = (CELL_BYTES + PASS_BYTES * len(scenes)) * cells + PIXEL_BYTES * pixels + held
    tiles = max((os.cpu_count() or 1) - TILES, 0)
    return arrays + TILE_BYTES * tiles + (NETWORK_BYTES if network else 0)


def _settings(config: RefineConfig) -> RefinementSettings:
    """Take the settings of the method."""
    from sarheight.terrain.posterior import RefinementSettings

    names = {each.name for each in fields(RefinementSettings)}
    values = {name: value for name, value in asdict(config).items() if name in names}
    try:
        return RefinementSettings(**values)
    except ValueError as error:
        raise OptionError(str(error)) from error


def _network() -> Any:  # noqa: ANN401  # of the extra `learn`
    """Load the included network."""
    from sarheight.learning.weights import packaged_model
    from sarheight.terrain.refinement_network import RefinementNetwork

    return RefinementNetwork.from_pretrained(packaged_model("refinement"))


def read_elevations(config: KnownConfig) -> KnownElevations | None:
    """Read known elevations, if a configuration names any."""
    if config.known is None:
        return None
    from sarheight.errors import GeoidGridMissingError, KnownElevationsError, VerticalDatumError
    from sarheight.terrain.elevations import read_known_elevations

    try:
        return read_known_elevations(
            config.known, vertical=config.known_vertical, crs=config.known_crs
        )
    except (KnownElevationsError, VerticalDatumError, GeoidGridMissingError) as error:
        raise error.of_options(prefix="known-") from error


def _provider_heights(
    source: ImageSource, config: PassImageConfig, heights: xr.DataArray
) -> xr.DataArray:
    """Return the elevation model that a product was flattened with: no other has its slopes."""
    from sarheight.archives import provider_heights
    from sarheight.dem import open_dem

    if config.provider_dem is not None:
        dem = open_dem(config.provider_dem)
        stated = dem.attrs.get("vertical_datum") is not None
        return dem if stated else open_dem(config.provider_dem, vertical="EGM2008")
    delivered = None if source.flattened is None else provider_heights(source.flattened)
    if delivered is None:
        msg = (
            f"'{source.name}' is terrain-flattened: its slopes were taken out by the elevation "
            "model of its provider, and only that one puts them back. Pass it (all archives use "
            "Copernicus GLO-30: `sarheight fetch dem`), or order products of HyP3 with it"
        )
        raise OptionError(msg, option="provider_dem")
    west, south, east, north = heights.rio.transform_bounds(delivered.rio.crs)
    return delivered.sel(x=slice(west, east), y=slice(north, south))


def read_pass(
    config: PassImageConfig, image: str, heights: xr.DataArray, reporter: Reporter
) -> Scene:
    """Read the part of an image that the elevation model covers; of a folder, the mean of dates."""
    from sarheight.geometry.placement import crop_scene_to_dem
    from sarheight.series import find_dates

    dates = find_dates(image)
    if dates:
        return average_dates(image, dates, config.reading, heights, reporter)
    source = ImageSource.of(image, config.reading, reporter)
    provider = None if source.flattened is None else _provider_heights(source, config, heights)
    scene = source.scene(heights=provider)
    if config.polarisation is not None and "polarisation" in scene.image.dims:
        chosen = scene.image.sel(polarisation=config.polarisation, drop=True)
        scene = replace(scene, image=chosen)
    return crop_scene_to_dem(scene, heights, margin=SHIFT_MARGIN)
