"""``sarheight masks`` and ``sarheight reconstruct``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sarheight.cli._files import (
    coregister,
    open_dem_or_fetch,
    open_image_product,
    place_on_grid,
    read_dem,
    read_image,
    read_noise,
    replace_orbit,
    report_shift,
    require_result,
)
from sarheight.cli._session import Session, session
from sarheight.settings import (
    FIT,
    PassSettings,
    ReconstructionOutput,
    ReconstructSettings,
    ResultOutput,
    RunningSettings,
    option,
    parse_law,
    parse_memory,
)

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.grid import RadarGrid
    from sarheight.scene import Scene


# ``sarheight masks``: layover and shadow of an elevation model.


@dataclass(frozen=True, kw_only=True)
class MaskSettings(PassSettings):
    """All that masks depend on.

    Attributes
    ----------
    geometry : {"ground", "radar"}
        On the grid of the elevation model, or on the part of the image that it covers.
    """

    geometry: Annotated[Literal["ground", "radar"], option()] = "ground"


def masks(settings: MaskSettings, result: ResultOutput, running: RunningSettings) -> None:
    """Classify layover, shadow and foreshortening, and count the layover multiplicity.

    Writes two variables: `mask`, with 0 clear, 1 foreshortening, 2 active layover, 3 passive
    layover, 4 active shadow, 5 passive shadow, 6 layover and shadow, 255 no data; and
    `fold_count`, the number of illuminated places at the same time and range. The codes are *not*
    those of isce3 or SNAP, which contradict each other.

    ```
    sarheight masks --like S1A_….zip --dem glo30.tif --vertical EGM2008 -o masks.tif
    sarheight masks --like s1a-iw-grd-vv-….xml --dem srtm.tif --vertical EGM96 -o masks.tif
    sarheight masks --like image.nc --dem glo30.tif --vertical EGM2008 --geometry radar -o masks.nc
    ```
    """
    settings.require_files()
    require_result(result, settings.files().values())
    radar, output, overwrite = settings.geometry == "radar", result.output, result.overwrite
    if result.stac and radar:
        msg = "a STAC item describes masks on the ground: omit --stac, or --geometry radar"
        raise typer.BadParameter(msg, param_hint="--stac")
    if radar and not output.suffix:
        msg = f"'{output}' would be a folder of layers on the ground: write .nc, .zarr or .tif"
        raise typer.BadParameter(msg, param_hint="--output")
    with session("masks", running, steps=3) as current:
        current.stage("read")
        from sarheight import layover
        from sarheight.geometry.placement import crop_grid_to_dem
        from sarheight.output import provenance, write
        from sarheight.output.radar_images import (
            add_grid_and_orbit,
            read_grid_and_orbit,
            write_radar,
        )

        heights = read_dem(settings)
        grid, vectors = read_grid_and_orbit(settings.like)
        vectors = replace_orbit(grid, vectors, settings.orbit)
        current.stage("classify")
        current.announce_compilation()
        if radar:
            grid = crop_grid_to_dem(heights, grid, vectors)
        classified = layover.masks(heights, grid, vectors, geometry=settings.geometry)
        current.stage("write")
        classified.attrs["provenance"] = provenance(
            settings.files(), {"command": "masks", "settings": settings.record()}
        )
        if radar:
            write_radar(add_grid_and_orbit(classified, grid, vectors), output, overwrite=overwrite)
        elif output.suffix.lower() == ".png":
            from sarheight import plot
            from sarheight.output import save_png

            save_png(plot.mask(classified["mask"], relief=heights), output, overwrite=overwrite)
        else:
            write(classified, output, overwrite=overwrite, stac=result.stac)
        rows, columns = classified["mask"].shape
        current.say(
            f"{output}: {rows} x {columns}, {_fractions_in_words(classified['mask'].values)}"
        )


def _fractions_in_words(category: object) -> str:
    """Return the fractions of the known part in layover and in shadow."""
    import numpy as np

    from sarheight.layover import FLAGS

    codes = np.asarray(category)
    codes = codes[codes <= max(FLAGS.values())]
    parts = []
    for word in ("layover", "shadow"):
        members = [code for name, code in FLAGS.items() if word in name]
        fraction = float(np.isin(codes, members).mean()) if codes.size else 0.0
        parts.append(f"{100 * fraction:.1f} % in {word}")
    return ", ".join(parts)


# ``sarheight reconstruct``: a radar image, unfolded onto the grid of an elevation model.

FULL_COVERAGE = 0.95
"""Fraction of an image from which an elevation model counts as covering it."""
SHIFT_MARGIN = 64
"""Pixels around the part that the elevation model covers, read for a possible shift."""

# Bytes of a reconstruction in memory, all results included.
PIXEL_BYTES = 16.0  # of the image
CELL_BYTES = 60.0  # of a cell
RESULT_BYTES = 40.0  # of a cell and polarisation


def reconstruct(
    settings: ReconstructSettings, result: ReconstructionOutput, running: RunningSettings
) -> None:
    r"""Unfold a radar image onto a map grid.

    The grid is that of the elevation model or, if that is in degrees, the UTM zone. The image is a
    product of Sentinel-1 or NISAR as the archive delivers it, or an image in radar geometry.

    Writes reconstructed σ⁰ and γ⁰, the geocoded σ⁰ for comparison, the share of each cell in its
    pixels, layover multiplicity, layover and shadow mask, incidence angles, and a variance.

    ```
    sarheight reconstruct S1A_IW_GRDH_….SAFE.zip --dem auto --orbit auto -o scene
    sarheight reconstruct S1A_IW_SLC__….SAFE --dem auto --bounds 10.6 46.6 11.2 47 -o part.nc
    sarheight reconstruct image.nc --dem glo30.tif --vertical EGM2008 -o unfolded.tif
    sarheight reconstruct S1A_….zip --dem auto -o unfolded.zarr --quicklook unfolded.png
    sarheight reconstruct S1A_….zip --dem auto --crs EPSG:32632 --resolution 20 -o unfolded
    sarheight reconstruct S1A_….zip --dem auto --method rtc --profile ceos-nrb -o nrb
    sarheight reconstruct S1A_….zip --dem auto --mgrs 32TPT --resolution 30 -o tile
    sarheight reconstruct S1A_….zip --dem auto --like earlier/earlier_mask.tif -o later
    sarheight reconstruct S1A_….zip --dem auto --guide landcover.tif -o guided.nc
    sarheight reconstruct vv.tif --like s1a….xml --calibration beta0 --dem srtm.tif \
        --vertical EGM96 -o vv.nc
    ```

    Area-projection radiometric terrain correction (RTC) is a special case:

    ```
    sarheight reconstruct S1A_….zip --dem auto --method rtc -o rtc.tif
    ```

    Repeat a result with the settings that it holds:

    ```
    sarheight info unfolded.tif --config > run.toml
    sarheight reconstruct --config run.toml -o again.tif
    ```
    """
    settings.require_files()
    require_result(result, settings.files().values())
    with session("reconstruct", running, steps=4) as current:
        current.stage("read")
        from sarheight.dem import open_map

        product = open_image_product(settings)
        heights, fetched = open_dem_or_fetch(settings, product, current)
        heights = place_on_grid(heights, settings, current)
        guide = None if settings.guide is None else open_map(settings.guide)
        whole = read_image(settings, product, current)
        noise = None if result.profile is None else read_noise(settings, product, whole)
        _reconstruct(settings, result, current, whole, heights, guide, fetched, noise)


def _reconstruct(
    settings: ReconstructSettings,
    result: ReconstructionOutput,
    current: Session,
    whole: Scene,
    heights: xr.DataArray,
    guide: xr.DataArray | None,
    fetched: dict[str, Path],
    noise: Scene | None,
) -> None:
    """Reconstruct the part of an image that the elevation model covers, and write it."""
    from sarheight import layover, plot
    from sarheight.dem.checked import CheckedDem
    from sarheight.dem.grids import grid_record
    from sarheight.geometry.placement import crop_scene_to_dem
    from sarheight.layover.tiles import array_bytes
    from sarheight.output import (
        ceos_nrb,
        open_result,
        provenance,
        save_png,
        with_heights,
        write,
    )

    output, limit = result.output, parse_memory(settings.memory)
    current.stage("find the part that the elevation model covers")
    current.announce_compilation()
    # The image is read once, with a margin for a shift; the rest is never read.
    dem = CheckedDem.of(heights)
    near = crop_scene_to_dem(whole, dem, margin=SHIFT_MARGIN)
    in_parts = (
        _memory_needed(near, heights) > array_bytes(limit) and output.suffix.lower() != ".png"
    )
    if not in_parts:
        near = replace(near, image=near.image.compute())
    near, shift = coregister(near, dem, settings)
    scene = crop_scene_to_dem(near, dem)
    fraction = _pixels(scene.grid) / _pixels(whole.grid)
    if fraction < FULL_COVERAGE:
        current.say(
            f"the elevation model covers {100 * fraction:.1f} % of the image: only that part is "
            "reconstructed"
        )
    current.stage("reconstruct")
    methods: dict[str, layover.Method] = {
        "posterior": layover.PosteriorMean(),
        "one-step": layover.Reallocation(),
        "rtc": layover.RTC(),
    }
    unfolded = layover.reconstruct(
        scene,
        dem,
        law=None if settings.law == FIT else parse_law(settings.law),
        guide=guide,
        method=methods[settings.method],
        memory_limit=limit,
    )
    if result.profile is not None:
        equivalent = None
        if noise is not None:
            # The same pixels as of the image, with the timing that it was corrected to.
            around = crop_scene_to_dem(noise, dem, margin=SHIFT_MARGIN)
            noise = crop_scene_to_dem(replace(around, grid=near.grid), dem)
            equivalent = layover.reconstruct(
                noise, dem, method=layover.RTC(), variables=("gamma0",)
            )["gamma0"]
        unfolded = ceos_nrb(
            unfolded,
            dem,
            noise=equivalent,
            source_url=result.source_url or (settings.image if "://" in settings.image else ""),
            facility=result.facility or "",
            location=result.location or "",
        )
    elif result.heights:
        unfolded = with_heights(unfolded, dem)
    current.stage("write")
    unfolded.attrs["provenance"] = provenance(
        settings.files() | fetched,
        {
            "command": "reconstruct",
            "settings": settings.record(),
            "fraction_of_image": fraction,
            "calibration": scene.calibration,
            "polarisations": scene.grid.polarisations,
            "orbit": scene.orbit.source,
            "grid": grid_record(heights) or "that of the elevation model",
        },
    )
    if shift is not None:
        unfolded.attrs["coregistration"] = shift.to_json()
        report_shift(shift, settings, current)
    if "simulated" in scene.image.attrs:
        unfolded.attrs["simulated"] = scene.image.attrs["simulated"]
    write(
        unfolded,
        output,
        overwrite=result.overwrite,
        stac=result.stac,
        backscatter=result.backscatter,
    )
    if in_parts:
        # The written result need not be computed again for picture and summary.
        unfolded = open_result(output, chunks={})
    if result.quicklook is not None:
        figure = plot.scene(unfolded, scene.image, relief=heights)
        save_png(figure, result.quicklook, overwrite=result.overwrite)
    _summarise(unfolded, output, current)


def _memory_needed(scene: Scene, heights: xr.DataArray) -> float:
    """Return about how many bytes a reconstruction in memory takes."""
    polarisations = int(scene.image.size) / _pixels(scene.grid)
    by_cell = CELL_BYTES + RESULT_BYTES * polarisations
    return PIXEL_BYTES * int(scene.image.size) + by_cell * int(heights.size)


def _pixels(grid: RadarGrid) -> int:
    return grid.lines * grid.samples


def _summarise(result: xr.Dataset, output: Path, current: Session) -> None:
    """Report the size of a result, and its fractions in the image and in layover."""
    import numpy as np

    count = result["fold_count"]
    rows, columns = count.shape
    covered = count.values != count.attrs["_FillValue"]
    multiplicity = count.values[covered]
    layover = float((multiplicity > 1).mean()) if multiplicity.size else 0.0
    current.say(
        f"{output}: {rows} x {columns} cells, {100 * float(np.mean(covered)):.1f} % of them in the "
        f"image, {100 * layover:.1f} % of these in layover"
    )
