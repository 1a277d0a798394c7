"""``sarheight masks`` and ``sarheight reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sarheight.cli._files import require_result
from sarheight.cli._session import Session, session
from sarheight.errors import OptionError
from sarheight.workflow.config import (
    MaskConfig,
    ReconstructConfig,
    ReconstructionOutput,
    ResultOutput,
    Running,
)

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
    radar, output, overwrite = settings.geometry == "radar", result.output, result.overwrite
    if result.stac and radar:
        msg = "a STAC item describes masks on the ground: omit --stac, or --geometry radar"
        raise OptionError(msg, option="stac")
    if radar and not output.suffix:
        msg = f"'{output}' would be a folder of layers on the ground: write .nc, .zarr or .tif"
        raise OptionError(msg, option="output")
    with session("masks", running, steps=3) as current:
        current.stage("read")
        from sarheight import layover
        from sarheight.geometry.placement import crop_grid_to_dem
        from sarheight.output import provenance, write
        from sarheight.output.radar_images import (
            add_grid_and_orbit,
            write_radar,
        )
        from sarheight.workflow.elevations import place_on_grid, read_dem
        from sarheight.workflow.images import open_geometry

        heights = read_dem(settings)
        grid, vectors = open_geometry(settings.like, settings.orbit)
        if not radar:
            heights = place_on_grid(heights, settings, None, current)
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


# ``sarheight reconstruct``: a radar image, unfolded onto a map grid.


def reconstruct(
    settings: ReconstructConfig, result: ReconstructionOutput, running: Running
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
    output, overwrite = result.output, result.overwrite
    with session("reconstruct", running, steps=4) as current:
        current.stage("read")
        current.announce_compilation()
        from sarheight import plot
        from sarheight.output import open_result, save_png, write
        from sarheight.workflow.reconstruction import run_reconstruction

        picture = output.suffix.lower() == ".png"
        made = run_reconstruction(settings, current, in_memory=picture)
        current.stage("write")
        write(
            made.result,
            output,
            overwrite=overwrite,
            stac=result.stac,
            backscatter=result.backscatter,
        )
        # A result that was written in parts need not be computed again for picture and summary.
        written = open_result(output, chunks={}) if made.in_parts else made.result
        if result.quicklook is not None:
            figure = plot.scene(written, made.scene.image, relief=made.heights)
            save_png(figure, result.quicklook, overwrite=overwrite)
        _summarise(written, output, current)


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
