"""``sarheight masks``: layover, shadow and foreshortening."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sarheight.cli._dem import dem_files, read_dem
from sarheight.cli._files import require_apart, require_result
from sarheight.cli._image import replaced_orbit
from sarheight.cli._options import (
    Debug,
    Dem,
    Like,
    Nodata,
    OrbitFile,
    Output,
    Overwrite,
    Quiet,
    StacItem,
    Threads,
    Units,
    Vertical,
)
from sarheight.cli._session import session


class GeometryName(StrEnum):
    """Whose grid the masks lie on."""

    ground = "ground"
    radar = "radar"


def masks(
    *,
    like: Like,
    dem: Dem,
    output: Output,
    vertical: Vertical = None,
    units: Units = None,
    nodata: Nodata = None,
    orbit: OrbitFile = None,
    geometry: Annotated[
        GeometryName,
        typer.Option(
            help="On the grid of the elevation model, or on the part of the image that it lights."
        ),
    ] = GeometryName.ground,
    stac: StacItem = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Find layover, shadow and foreshortening, and count the folds.

    Writes two variables: `mask`, with 0 clear, 1 foreshortening, 2 active layover, 3 passive
    layover, 4 active shadow, 5 passive shadow, 6 layover and shadow, 255 no data; and
    `fold_count`, the number of lit places at the same time and range. The codes are *not* those
    of isce3 or SNAP, which contradict each other.

    ```
    sarheight masks --like S1A_IW_GRDH_….SAFE.zip --dem dem.tif --vertical EGM2008 -o masks.tif
    sarheight masks --like s1a-iw-grd-vv-….xml --dem dem.tif --vertical EGM96 -o masks.tif
    sarheight masks --like image.nc --dem dem.tif --geometry radar -o masks.nc
    ```
    """
    require_apart(output, "--output", (like, orbit, *dem))
    require_result(output, overwrite=overwrite, stac=stac)
    if stac and geometry is GeometryName.radar:
        msg = "a STAC item is of masks on the ground: leave it out, or --geometry radar"
        raise typer.BadParameter(msg, param_hint="--stac")
    with session("masks", quiet=quiet, threads=threads, debug=debug, steps=3) as current:
        current.stage("read")
        from sarheight import layover
        from sarheight._placing import grid_of_dem
        from sarheight._radar_files import write_radar
        from sarheight._scene_io import placed, read_placement
        from sarheight.output import provenance, write

        heights = read_dem(dem, vertical, units, nodata)
        grid, vectors = read_placement(like)
        vectors = replaced_orbit(grid, vectors, orbit)
        current.stage("classify")
        current.say_if_kernels_are_new()
        if geometry is GeometryName.radar:
            grid = grid_of_dem(heights, grid, vectors)
        found = layover.masks(heights, grid, vectors, geometry=geometry.value)
        current.stage("write")
        found.attrs["provenance"] = provenance(
            dem_files(dem) | {"like": like} | ({"orbit": orbit} if orbit else {}),
            {"command": "masks", "geometry": geometry.value, "vertical": vertical},
        )
        if geometry is GeometryName.radar:
            write_radar(placed(found, grid, vectors), output, overwrite=overwrite)
        elif output.suffix.lower() == ".png":
            from sarheight import plot
            from sarheight.output import save_png

            save_png(plot.mask(found["mask"], relief=heights), output, overwrite=overwrite)
        else:
            write(found, output, overwrite=overwrite, stac=stac)
        rows, columns = found["mask"].shape
        current.say(f"{output}: {rows} x {columns}, {_shares(found['mask'].values)}")


def _shares(category: object) -> str:
    """Say how much of the known part lies in layover and in shadow."""
    import numpy as np

    from sarheight.layover import FLAGS

    codes = np.asarray(category)
    codes = codes[codes <= max(FLAGS.values())]
    parts = []
    for word in ("layover", "shadow"):
        members = [code for name, code in FLAGS.items() if word in name]
        share = 100 * float(np.isin(codes, members).mean()) if codes.size else 0.0
        parts.append(f"{share:.1f} % in {word}")
    return ", ".join(parts)
