"""``sarheight refine``: heights of a coarse elevation model, refined by radar images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from sarheight.cli._files import require_apart, require_writable
from sarheight.cli._session import session
from sarheight.workflow.config import OUTPUT, FileOutput, RefineConfig, Running
from sarheight.workflow.options import option


@dataclass(frozen=True, kw_only=True)
class HeightOutput(FileOutput):
    """Output of a map of heights.

    Attributes
    ----------
    picture : bool
        Also write a picture of the heights beside them, as `.png`.
    """

    picture: Annotated[bool, option(OUTPUT)] = False


def refine(settings: RefineConfig, result: HeightOutput, running: Running) -> None:
    r"""Refine the heights of an elevation model by one or more radar images.

    Heights and reflectivity that explain all images, given the elevation model and its error. Where
    the images do not tell, the heights are those of the elevation model, interpolated so that its
    cells keep their means.

    Writes heights and their standard deviation, the interpolated heights, the number of images of
    each cell, and for each image its disagreement with the simulation and the backscatter γ⁰.

    ```
    sarheight refine ascending.nc descending.nc --dem glo90.tif --vertical EGM2008 -o heights.nc
    sarheight refine ascending/ descending/ --polarisation VV --dem glo90.tif --vertical EGM2008 \
        -o heights.nc
    sarheight refine ascending/ descending/ --dem glo90.tif --vertical EGM2008 --network \
        -o heights.nc
    sarheight refine S1A_….zip --dem glo90.tif --vertical EGM2008 --known points.csv \
        --known-vertical ellipsoidal -o heights.tif
    ```
    """
    settings.require_files()
    output = result.output
    require_apart(output, "output", settings.files().values())
    require_writable(output, "output", overwrite=result.overwrite)
    picture = output.with_suffix(".png")
    if result.picture:
        require_writable(picture, "picture", overwrite=result.overwrite)
    with session("refine", running, steps=3) as current:
        current.stage("read")
        current.announce_compilation()
        from sarheight import plot
        from sarheight.output import save_png, write
        from sarheight.terrain.workflow import refine_files

        refined = refine_files(settings, reporter=current)
        current.stage("write")
        write(refined, output, overwrite=result.overwrite)
        if result.picture:
            save_png(plot.heights(refined), picture, overwrite=result.overwrite)
            current.say(f"{picture}: heights before and after")
        rows, columns = refined["height"].shape
        change = float(((refined["height"] - refined["baseline"]) ** 2).mean() ** 0.5)
        sigma = float((refined["height_sigma"] ** 2).mean() ** 0.5)
        corrected = ""
        if "correction" in refined:
            part = float((refined["correction"] ** 2).mean() ** 0.5)
            corrected = f" (by the network {part:.1f} m)"
        current.say(
            f"{output}: {rows} x {columns} cells, {len(settings.images)} images, heights changed "
            f"by {change:.1f} m{corrected}, standard deviation {sigma:.1f} m (root mean squares)"
        )
