"""``sarheight masks`` and ``sarheight reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sarheight.cli._files import is_pictured, require_result, write_result
from sarheight.cli._session import Session, session
from sarheight.errors import OptionError
from sarheight.workflow.config import MaskConfig, ReconstructConfig, ResultOutput, Running

if TYPE_CHECKING:
    import xarray as xr


# ``sarheight masks``: layover and shadow of an elevation model.


def masks(settings: MaskConfig, result: ResultOutput, running: Running) -> None:
    """Classify layover, shadow and foreshortening, and count the layover multiplicity.

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
    """
    settings.require_files()
    require_result(result, settings.files().values())
    if settings.geometry == "radar":
        _refuse_map_output(result)
    with session("masks", running, {"read": 1, "classify": 6, "write": 3}) as current:
        current.stage("read")
        current.announce_compilation()
        from sarheight import layover, plot
        from sarheight.geometry.placement import crop_grid_to_dem
        from sarheight.output import provenance
        from sarheight.output.radar_images import add_grid_and_orbit, write_radar
        from sarheight.workflow.elevations import clip, place_on_grid, read_dem
        from sarheight.workflow.images import open_geometry

        heights = read_dem(settings)
        grid, orbit = open_geometry(settings.like, settings.orbit)
        record = provenance(settings.files(), {"command": "masks", "settings": settings.record()})
        if settings.geometry == "radar":
            grid = crop_grid_to_dem(heights, grid, orbit)
            current.stage("classify")
            found = layover.masks(heights, grid, orbit, geometry="radar")
            current.stage("write")
            located = add_grid_and_orbit(found.assign_attrs(provenance=record), grid, orbit)
            write_radar(located, result.output, overwrite=result.overwrite)
        else:
            heights = place_on_grid(heights, settings, current)
            current.stage("classify")
            found = clip(layover.masks(heights, grid, orbit), settings)
            relief = heights.sel(y=found["y"], x=found["x"])
            current.stage("write")
            write_result(
                found.assign_attrs(provenance=record),
                result,
                lambda part: plot.mask(part["mask"], relief=relief),
                current,
            )
        _summarise(found, result.output, current)


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
    if is_pictured(result):
        _require_pictured_layers(settings)
    with session("reconstruct", running, SHARES) as current:
        current.stage("read")
        current.announce_compilation()
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
