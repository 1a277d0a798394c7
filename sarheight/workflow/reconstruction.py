"""From files to a reconstruction: read, place on a grid, co-register, unfold, describe."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from sarheight._files import noting_unverified
from sarheight.errors import OptionError, naming_extras
from sarheight.workflow.config import ReconstructConfig
from sarheight.workflow.elevations import clip
from sarheight.workflow.images import ImageSource, Reporter
from sarheight.workflow.window import Area, open_area
from sarheight.workflow.words import FIT, parse_law, parse_method, require_memory

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from sarheight.coregistration import Shift
    from sarheight.dem.checked import CheckedDem
    from sarheight.grid import RadarGrid
    from sarheight.product import Product
    from sarheight.scene import Scene


SQUARE = 1e-9
"""Part of the sides of a cell by which they may differ."""
FULL_COVERAGE = 0.95
"""Fraction of an image from which an elevation model counts as covering it."""
PASSES = 4
"""How often a reconstruction in parts walks through them before it is written, about."""
CHUNK = 1024
"""Pixels along a side of the chunks of an image that is processed in parts."""
SHIFT_MARGIN = 64
"""Pixels around the part that the elevation model covers, read for a possible shift."""

# Bytes of a reconstruction in memory, all results included.
PIXEL_BYTES = 16.0  # of the image
CELL_BYTES = 60.0  # of a cell
RESULT_BYTES = 40.0  # of a cell and polarisation


@naming_extras()
def reconstruct(
    image: ReconstructConfig | str | os.PathLike[str] | Product | Scene,
    dem: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | xr.DataArray | None = None,
    *,
    grid: GeoBox | None = None,
    reporter: Reporter | None = None,
    **options: Any,  # noqa: ANN401  # fields of the configuration
) -> xr.Dataset:
    """Unfold a radar image onto a map grid, as the command ``sarheight reconstruct`` does.

    The image is read, the elevation model is placed on the grid of the result, both are compared
    with each other, and the image is reconstructed. The same files and options give the same bits
    as on the command line.

    Parameters
    ----------
    image : str, path, Product, Scene or ReconstructConfig
        A product as the archive delivers it (SAFE folder, zip, URL, RSLC, SICD), an image file in
        radar geometry, or one of them opened; or a configuration that names image and elevation
        model.
    dem : str, path, sequence of them or DataArray
        Elevation model: files that GDAL reads, or ``"auto"`` to fetch Copernicus GLO-30; or one
        opened by `sarheight.dem.open_dem`.
    grid : odc.geo.geobox.GeoBox, optional
        Map grid of the result, with square cells and north up, in place of the options of one. Of
        image and elevation model only what it needs is read, see Notes.
    reporter : Reporter, optional
        Told of stages and decisions; by default they go to the log ``sarheight``.
    **options
        Fields of `ReconstructConfig`, which replace those of a configuration:
        ``vertical="EGM2008"``, ``method="rtc"``, ``polarisations="VV"``, ``spacing=20``.

    Returns
    -------
    Dataset
        As of `sarheight.layover.reconstruct`, on the grid of a projected elevation model, in the
        UTM zone of one in degrees, or on the one that the options choose; with attributes
        ``provenance`` and ``coregistration``. Lazy where it needs more than the memory limit.

    Raises
    ------
    OptionError
        If an option is unknown, impossible or missing. A ValueError.
    VerticalDatumError
        If neither file nor options tell what the heights refer to.
    MissingLibraryError
        If a file or option needs an extra that is not installed.
    FileNotFoundError, ProductError, DamagedFileError, DemError, GeometryError
        As reading and reconstruction raise them.

    Notes
    -----
    With a grid that is said (`grid`, ``like``, ``extent``, ``mgrs`` with a resolution), or with
    ``bounds``, the result is a window of the image. What shares pixels with it, or throws shadow on
    it, takes part, wherever it lies (`sarheight.layover.surroundings`). The statistics of the scene
    (laws, errors, co-registration, balance of RCS) are those of the window and of 3 km around it at
    least: the attribute ``statistics_extent`` has the edges of that area.

    Examples
    --------
    >>> import sarheight
    >>> result = sarheight.reconstruct(  # doctest: +SKIP
    ...     "product.SAFE.zip", dem="glo30.tif", vertical="EGM2008"
    ... )
    """
    import xarray as xr

    if isinstance(image, ReconstructConfig):
        options, source = image.to_dict() | options, None
    elif isinstance(image, str | os.PathLike):
        options, source = {"image": image} | options, None
    else:
        options, source = {"image": ""} | options, image
    if grid is not None:
        options |= _grid_options(grid, options)
    heights = dem if isinstance(dem, xr.DataArray) else None
    if heights is not None:
        options["dem"] = ()
    elif dem is not None:
        options["dem"] = dem
    config = ReconstructConfig.from_dict(options)
    config.require_files()
    with noting_unverified():
        made = run_reconstruction(config, reporter or Reporter(), image=source, heights=heights)
    return made.result


def _grid_options(grid: GeoBox, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say a map grid; refuse others of one beside it."""
    from pyproj import CRS

    from sarheight.dem.grids import require_geobox

    require_geobox(grid)
    others = ("like", "crs", "resolution", "align", "mgrs", "extent", "bounds")
    beside = [name for name in others if options.get(name) not in (None, (), [])]
    if beside:
        msg = f"found grid beside {', '.join(beside)}, expected one or the other"
        raise OptionError(msg)
    step = grid.affine
    if not grid.axis_aligned or step.a <= 0.0 or abs(step.a + step.e) > SQUARE * step.a:
        msg = f"found the grid {grid}, expected one with square cells and north up"
        raise OptionError(msg)
    crs = CRS.from_user_input(str(grid.crs))
    box = grid.boundingbox
    return {
        "crs": ":".join(crs.to_authority() or ()) or crs.to_wkt(),
        "resolution": step.a,
        "extent": (box.left, box.bottom, box.right, box.top),
    }


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A reconstruction, and what it was made of.

    Attributes
    ----------
    result : Dataset
        The layers, with provenance.
    scene : Scene
        The part of the image that was reconstructed.
    heights : DataArray
        The elevation model on the grid of the result, dims (y, x), metres above the ellipsoid.
    shift : Shift, optional
        The shift of the image against its simulation, if it was estimated.
    in_parts : bool
        Whether the result is lazy.
    """

    result: xr.Dataset
    scene: Scene
    heights: xr.DataArray
    shift: Shift | None
    in_parts: bool


def run_reconstruction(
    config: ReconstructConfig,
    reporter: Reporter,
    *,
    image: Product | Scene | None = None,
    heights: xr.DataArray | None = None,
    in_memory: bool = False,
) -> Reconstruction:
    """Reconstruct as a configuration says; see `reconstruct`.

    Parameters
    ----------
    config : ReconstructConfig
        All that the result depends on.
    reporter : Reporter
        Told of stages and decisions.
    image : Product or Scene, optional
        The image, opened: instead of the one that the configuration names.
    heights : DataArray, optional
        The elevation model, opened: instead of the one that the configuration names.
    in_memory : bool
        Never lazy: for pictures. Refused where that exceeds the memory limit.
    """
    from sarheight import layover
    from sarheight.coregistration import coregister
    from sarheight.dem import open_map
    from sarheight.dem.checked import CheckedDem
    from sarheight.geometry.placement import crop_scene_to_dem
    from sarheight.layover.tiles import array_bytes, memory_bytes

    # Read.
    source = ImageSource.of(config.image if image is None else image, config, reporter)
    method = parse_method(config.method)
    opened = source.scene() if source.flattened is None else None
    area = open_area(config, source, opened, method, reporter, heights)
    heights = area.heights
    guide = None if config.guide is None else open_map(config.guide)
    whole = source.scene(heights=heights) if opened is None else opened
    # Crop: the image is read once, with a margin for a shift; the rest is never read.
    reporter.stage("find the part that the elevation model covers")
    dem = CheckedDem.of(heights)
    near = crop_scene_to_dem(whole, dem, margin=SHIFT_MARGIN)
    limit = memory_bytes(config.memory)
    in_parts = _memory_needed(near, heights) > array_bytes(limit)
    if in_memory:
        require_memory(
            config.memory,
            _memory_needed(near, heights),
            "a result that is only drawn",
            "write .zarr, .tif or .nc with --quicklook, which work in parts",
        )
    if in_parts:
        near, limit = _in_parts(near, limit, heights)
    else:
        near = replace(near, image=near.image.compute())
    # Co-register.
    law = None if config.law == FIT else parse_law(config.law)
    policy = _coregistration(config, source, reporter)
    near, shift = coregister(near, dem, policy, law=law)
    scene = crop_scene_to_dem(near, dem)
    fraction = _pixels(scene.grid) / _pixels(whole.grid)
    # A flattened product is projected only where the elevation model lies.
    if fraction < FULL_COVERAGE and source.flattened is None:
        reporter.say(
            f"the elevation model covers {100 * fraction:.1f} % of the image: only that part is "
            "reconstructed"
        )
    # Unfold.
    reporter.stage("reconstruct")
    with reporter.following(PASSES):
        result = layover.reconstruct(
            scene,
            dem,
            law=law,
            guide=guide,
            method=method,
            variables=chosen_layers(config),
            memory_limit=limit,
        )
    result = clip(area.cut(_with_layers(result, config, dem, source, whole, near)), config)
    # Describe.
    if in_parts and source.product is not None:
        near.image[..., :1, :1].compute()  # what is read in parts is known before the result is
    if shift is not None:
        _report_shift(shift, config, reporter)
    _describe(result, config, area, scene, fraction, shift)
    return Reconstruction(result, scene, area.of_result, shift, in_parts)


def _coregistration(
    config: ReconstructConfig, source: ImageSource, reporter: Reporter
) -> Literal["report", "correct", "none"]:
    """Return the policy for the shift of an image: none for one that was simulated from the DEM."""
    if source.flattened is None:
        return config.coregister
    if config.coregister == "correct":
        msg = (
            f"'{source.name}' is terrain-flattened: its provider has placed it on the map, and "
            "taken back by the elevation model it shows no shift; omit the option"
        )
        raise OptionError(msg, option="coregister")
    reporter.say("no co-registration: the image was placed on the map by its provider")
    return "none"


def chosen_layers(config: ReconstructConfig) -> tuple[str, ...]:
    """Name the layers that are asked for, and those that a profile needs."""
    from sarheight.layover.layers import select_layers
    from sarheight.output.ceos import NEEDED

    named = config.variables
    chosen = select_layers("main" if named == ("main",) else "all" if named == ("all",) else named)
    return chosen if config.profile is None else select_layers((*chosen, *NEEDED))


def _with_layers(
    result: xr.Dataset,
    config: ReconstructConfig,
    dem: CheckedDem,
    source: ImageSource,
    whole: Scene,
    near: Scene,
) -> xr.Dataset:
    """Add the layers of a profile, or heights, if they are wanted."""
    from sarheight import layover
    from sarheight.geometry.placement import crop_scene_to_dem
    from sarheight.output import ceos_nrb, with_heights

    if config.profile is None:
        return with_heights(result, dem) if config.heights else result
    noise, equivalent = source.noise(whole), None
    if noise is not None:
        # The same pixels as of the image, with the timing that it was corrected to.
        around = crop_scene_to_dem(noise, dem, margin=SHIFT_MARGIN)
        noise = crop_scene_to_dem(replace(around, grid=near.grid), dem)
    if noise is not None and not (noise.image > 0.0).any():
        source.reporter.warn(
            f"{source.name} states a thermal noise of zero, as early processors did: the result "
            "has no layer noise_power"
        )
    elif noise is not None:
        flattened = layover.reconstruct(noise, dem, method=layover.RTC(), variables=("gamma0",))
        equivalent = flattened["gamma0"]
    return ceos_nrb(
        result,
        dem,
        noise=equivalent,
        source_url=config.source_url or (config.image if "://" in config.image else ""),
        facility=config.facility or "",
        location=config.location or "",
    )


def _describe(
    result: xr.Dataset,
    config: ReconstructConfig,
    area: Area,
    scene: Scene,
    fraction: float,
    shift: Shift | None,
) -> None:
    """Add the provenance of a result, by which it can be repeated."""
    from sarheight.dem.grids import grid_record

    result.attrs["provenance"] = config.provenance(
        "reconstruct",
        area.fetched,
        whole=not area.is_window,
        fraction_of_image=fraction,
        calibration=scene.calibration,
        polarisations=scene.grid.polarisations,
        orbit=scene.orbit.source,
        grid=grid_record(area.of_result) or "that of the elevation model",
    )
    if shift is not None:
        result.attrs["coregistration"] = shift.to_json()
    if "simulated" in scene.image.attrs:
        result.attrs["simulated"] = scene.image.attrs["simulated"]


def _report_shift(shift: Shift, config: ReconstructConfig, reporter: Reporter) -> None:
    """Report a shift, and how to remove one that is significant."""
    from sarheight.coregistration import is_significant

    reporter.say(f"co-registration: {shift}")
    if not shift.found:
        reporter.say(
            "the image could not be compared with its simulation: usually the vertical reference "
            "of the heights is another (--vertical), the orbit is a predicted one (--orbit), or "
            "the elevation model holds too few mountains; a NISAR RSLC may be focused to its "
            "native Doppler (--focusing native)"
        )
    elif config.coregister == "report" and is_significant(shift):
        reporter.say(
            "this shift makes the shares on steep slopes wrong: check the vertical reference of "
            "the heights (--vertical) and the orbit (--orbit), or pass --coregister correct"
        )


def _in_parts(scene: Scene, limit: float, heights: xr.DataArray) -> tuple[Scene, float]:
    """Put an image that is in memory on dask; return it and the limit without what is held."""
    from sarheight.layover.tiles import memory_bytes

    # As they are, and checked with north up.
    held = 0 if heights.chunks else 2 * heights.nbytes
    if not scene.image.chunks:
        held += scene.image.nbytes
        scene = replace(scene, image=scene.image.chunk({"line": CHUNK, "sample": CHUNK}))
    try:
        return scene, memory_bytes(limit - held)
    except ValueError as error:
        msg = (
            f"elevation model and image take {held / (1 << 20):.1f} MiB themselves, of a limit of "
            f"{limit / (1 << 20):.1f} MiB: pass a larger one, or a part of them (--bounds)"
        )
        raise OptionError(msg, option="memory") from error


def _memory_needed(scene: Scene, heights: xr.DataArray) -> float:
    """Return about how many bytes a reconstruction in memory takes."""
    polarisations = int(scene.image.size) / _pixels(scene.grid)
    by_cell = CELL_BYTES + RESULT_BYTES * polarisations
    return PIXEL_BYTES * int(scene.image.size) + by_cell * int(heights.size)


def _pixels(grid: RadarGrid) -> int:
    return grid.lines * grid.samples
