"""``sarheight masks`` and ``sarheight reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sarheight.cli._files import is_pictured, require_result, write_result
from sarheight.cli._session import Session, session
from sarheight.errors import OptionError
from sarheight.workflow.config import (
    MaskConfig,
    MaskOutput,
    ReconstructConfig,
    ResultOutput,
    Running,
)

if TYPE_CHECKING:
    import xarray as xr


# ``sarheight masks``: layover and shadow of an elevation model.


def masks(settings: MaskConfig, result: MaskOutput, running: Running) -> None:
    r"""Classify layover, shadow and foreshortening, and find fold counts.

    The grid is that of the elevation model or, if that is in degrees, the UTM zone, as of
    `sarheight reconstruct`.

    Writes two variables: `mask`, with 0 clear, 1 foreshortening, 2 active layover, 3 passive
    layover, 4 active shadow, 5 passive shadow, 6 layover and shadow, 255 no data; and
    `fold_count`, the number of illuminated places at the same time and range. The codes are *not*
    those of isce3 or SNAP, which contradict each other.

    ```
    sarheight masks --like S1A_….zip --dem glo30.tif --vertical EGM2008 -o masks.tif
    sarheight masks --like s1a-iw-grd-vv-….xml --dem srtm.tif --vertical EGM96 -o masks.tif
    sarheight masks --like image.nc --dem glo30.tif --vertical EGM2008 --geometry radar -o masks.nc
    ```

    For stacks of interferograms, on the grid of their images:

    ```
    sarheight masks --like OPERA_L2_CSLC-S1_T117-249422-IW2_….h5 --dem glo30.tif \
        --vertical EGM2008 --format dolphin -o t117_249422_iw2_layover_shadow.tif
    sarheight masks --like S1A_….zip --like unw.tif --dem glo30.tif --vertical EGM2008 \
        --format mintpy -o shadowMask.h5
    ```
    """
    settings.require_files()
    _require_masks(settings, result)
    with session("masks", running, {"read": 1, "classify": 6, "write": 3}) as current:
        current.stage("read")
        current.compile_kernels()
        from sarheight import layover, plot
        from sarheight.geometry.placement import crop_grid_to_dem
        from sarheight.output.radar_images import add_grid_and_orbit, write_radar
        from sarheight.workflow.elevations import clip, place_on_grid, read_dem
        from sarheight.workflow.images import open_geometry

        heights = read_dem(settings)
        grid, orbit = open_geometry(settings.like, settings.orbit)
        record = settings.provenance("masks")
        if settings.geometry == "radar":
            grid = crop_grid_to_dem(heights, grid, orbit)
            current.stage("classify")
            found = layover.masks(heights, grid, orbit, geometry="radar")
            current.stage("write")
            located = add_grid_and_orbit(found.assign_attrs(provenance=record), grid, orbit)
            if result.format is None:
                write_radar(located, result.output, overwrite=result.overwrite)
            else:
                _write_for_insar(located, result, current)
        else:
            heights = place_on_grid(heights, settings, current)
            current.stage("classify")
            found = clip(layover.masks(heights, grid, orbit), settings)
            found = found.assign_attrs(provenance=record)
            relief = heights.sel(y=found["y"], x=found["x"])
            current.stage("write")
            if result.format is None:
                write_result(found, result, lambda part: plot.scene(part, relief=relief), current)
            else:
                _write_for_insar(found, result, current)
        _summarise(found, result.output, current)


def _require_masks(settings: MaskConfig, result: MaskOutput) -> None:
    """Check that masks can be written as they are asked for."""
    from sarheight.output.insar import INSAR_SUFFIXES

    suffixes = None if result.format is None else INSAR_SUFFIXES[result.format]
    require_result(result, settings.files().values(), suffixes)
    if settings.geometry == "radar":
        _refuse_map_output(result)
    if result.format is not None and result.quicklook is not None:
        msg = (
            f"it shows all categories, and --format {result.format} has two: leave one of them out"
        )
        raise OptionError(msg, option="quicklook")
    if result.format == "mintpy" and result.stac:
        msg = "it describes a GeoTIFF, and --format mintpy writes none: leave one of them out"
        raise OptionError(msg, option="stac")


def _write_for_insar(found: xr.Dataset, result: MaskOutput, current: Session) -> None:
    """Write masks for a stack, and tell what part of it they leave out."""
    from sarheight.layover import convert_mask
    from sarheight.output.insar import write_insar_mask

    if result.format is None:
        return
    good = float((convert_mask(found["mask"], "dolphin") == 1).mean())
    known = float((found["mask"] != found["mask"].attrs["_FillValue"]).mean())
    write_insar_mask(
        found, result.output, result.format, overwrite=result.overwrite, stac=result.stac
    )
    current.say(
        f"{result.format} leaves out {100 * (1 - good):.1f} % of the cells: "
        f"{100 * (1 - known):.1f} % that image or elevation model do not cover, and "
        f"{100 * (known - good):.1f} % in layover or shadow"
    )
    if good == 0.0:
        current.warn("no cell is left: does the elevation model cover the image?")


def _refuse_map_output(result: ResultOutput) -> None:
    """Refuse outputs that only maps have."""
    if result.stac:
        msg = "a STAC item describes masks on the ground: omit --stac, or --geometry radar"
        raise OptionError(msg, option="stac")
    if not result.output.suffix:
        msg = f"'{result.output}' would be a folder of layers on the ground: write .nc, .zarr, .tif"
        raise OptionError(msg, option="output")
    if result.quicklook is not None:
        msg = "only masks on the ground are drawn beside the result: write a .png, or leave it out"
        raise OptionError(msg, option="quicklook")


def _summarise(result: xr.Dataset, output: Path, current: Session) -> None:
    """Report the size of a result, and its fractions in the image, in layover and in shadow."""
    from sarheight.layover import mask_fractions

    first = next(iter(result.data_vars.values()))
    rows, columns = first.shape[-2:]
    told = ""
    if "mask" in result:
        found = {
            name: f"{100 * value:.1f} %" for name, value in mask_fractions(result["mask"]).items()
        }
        told = f", {found['image']} of them in the image, {found['layover']} of these in layover, "
        told += f"{found['shadow']} in shadow"
    current.say(f"{output}: {rows} x {columns} cells{told}")


# ``sarheight reconstruct``: a radar image, unfolded onto a map grid.

SHARES = {
    "read": 1,
    "find the part that the elevation model covers": 2,
    "reconstruct": 12,
    "write": 5,
}
"""Shares of the stages in the work."""


def reconstruct(settings: ReconstructConfig, result: ResultOutput, running: Running) -> None:
    r"""Unfold a radar image onto a map grid.

    The grid is that of the elevation model or, if that is in degrees, the UTM zone. The image is a
    product of Sentinel-1, NISAR, Umbra, Capella or ICEYE as it is delivered, or an image in radar
    geometry.

    Writes reconstructed σ⁰ and γ⁰, the geocoded σ⁰ for comparison, the share of each cell in its
    pixels, fold count, layover and shadow mask, incidence angles, and a variance.

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
    if is_pictured(result):
        _require_pictured_layers(settings)
    with session("reconstruct", running, SHARES) as current:
        current.stage("read")
        current.compile_kernels()
        from sarheight import plot
        from sarheight.workflow.reconstruction import run_reconstruction

        picture = result.output.suffix.lower() == ".png"
        made = run_reconstruction(settings, current, in_memory=picture)
        current.stage("write")
        written = write_result(
            made.result,
            result,
            lambda part: plot.scene(part, made.scene.image, relief=_part_of(made.heights, part)),
            current,
        )
        _summarise(written, result.output, current)


def _part_of(heights: xr.DataArray, part: xr.Dataset) -> xr.DataArray:
    """Return the heights of the cells of a result; without a copy where these are all."""
    if all(heights.indexes[dim].equals(part.indexes[dim]) for dim in ("y", "x")):
        return heights
    return heights.sel(y=part["y"], x=part["x"])


PICTURED = ("gamma0", "local_incidence", "sigma0_geocoded", "fold_count")
"""Layers that a picture of a reconstruction shows."""


def _require_pictured_layers(settings: ReconstructConfig) -> None:
    """Refuse a picture of layers that the result will not have."""
    from sarheight.workflow.reconstruction import chosen_layers

    missing = sorted(set(PICTURED) - set(chosen_layers(settings)))
    if missing:
        msg = f"a picture shows {', '.join(missing)}, too: name them, or leave the picture out"
        raise OptionError(msg, option="variables")
