"""``sarheight simulate``: the radar image of an elevation model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from sarheight.cli._files import require_apart, require_picture, require_writable
from sarheight.cli._session import Session, session
from sarheight.errors import OptionError
from sarheight.workflow.config import FileOutput, PassConfig, Running
from sarheight.workflow.elevations import place_on_grid, read_dem
from sarheight.workflow.images import open_geometry
from sarheight.workflow.options import option
from sarheight.workflow.words import RADAR, Calibration, Multilook, parse_law, simulation_law

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

PRODUCTS = (".safe", ".zip")
LEAST_NOISE, MOST_NOISE = -100.0, 20.0
"""Decibels; other values are linear power by mistake."""


@dataclass(frozen=True, kw_only=True)
class SimulateConfig(PassConfig):
    """All that a simulated image depends on.

    Attributes
    ----------
    incidence : float, optional
        Rotate the orbit about the Earth's axis until the centre of the elevation model has this
        incidence angle: for places without an annotation.
    multilook : tuple of int, optional
        Pixels to average into one, along azimuth and range.
    law : str
        Backscatter law: gamma[:level], lambert[:level], cosine[:level,exponent],
        muhleman[:level,roughness].
    calibration : {"beta0", "sigma0", "gamma0"}
        Normalisation of the image.
    looks : float, optional
        Equivalent number of looks of the speckle; 0 for no speckle. Default: that of the
        annotation.
    noise : float, optional
        Noise-equivalent backscatter in dB, such as -25; none by default. It is not subtracted from
        the image.
    seed : int
        Seed of speckle and noise.
    """

    incidence: Annotated[float | None, option(RADAR, least=1.0, most=89.0, metavar="DEGREES")] = (
        None
    )
    multilook: Multilook = None
    law: Annotated[str, option(RADAR, metavar="LAW", convert=simulation_law)] = "muhleman"
    calibration: Annotated[Calibration, option(RADAR)] = "beta0"
    looks: Annotated[float | None, option(RADAR, least=0.0)] = None
    noise: Annotated[
        float | None, option(RADAR, metavar="DECIBELS", least=LEAST_NOISE, most=MOST_NOISE)
    ] = None
    seed: Annotated[int, option(RADAR)] = 0


def simulate(settings: SimulateConfig, result: FileOutput, running: Running) -> None:
    r"""Simulate the radar image of an elevation model.

    The image has the sampling and the orbit of an annotation, cut to the part that the elevation
    model covers, on the grid that it has for `sarheight reconstruct`. It contains both:
    `sarheight reconstruct` needs no annotation for it. Lines run along azimuth, samples along
    range, values are linear power.

    ```
    sarheight simulate --like s1a-iw-grd-vv-….xml --dem srtm.tif --vertical EGM96 -o image.nc
    ```

    Where no annotation covers the mountains, rotate an orbit about the Earth's axis until it does
    (the latitude must match):

    ```
    sarheight simulate --like s1b-iw-grd-vv-….xml --dem glo30.tif --vertical EGM2008 \
        --incidence 34 -o image.zarr
    ```
    """
    output = result.output
    if output.suffix.lower() in PRODUCTS:
        msg = f"found '{output}', expected .tif, .nc or .zarr: products are read, not written"
        raise OptionError(msg, option="output")
    settings.require_files()
    inputs = list(settings.files().values())
    require_apart(output, "output", inputs)
    require_writable(output, "output", overwrite=result.overwrite)
    require_picture(result, inputs)
    with session("simulate", running, {"read": 1, "simulate": 6, "write": 3}) as current:
        current.stage("read")
        from sarheight import illumination, plot
        from sarheight.output import save_png
        from sarheight.output.radar_images import write_scene

        heights = place_on_grid(read_dem(settings), settings, current)
        grid, orbit = open_geometry(settings.like, settings.orbit)
        grid, orbit, rotation = cut_to_dem(
            heights, multilooked(grid, settings.multilook), orbit, settings.incidence, current
        )
        current.stage("simulate")
        current.compile_kernels()
        scene = illumination.simulate(
            heights,
            grid,
            orbit,
            law=parse_law(settings.law),
            calibration=settings.calibration,
            looks=grid.looks if settings.looks is None else settings.looks or None,
            noise=0.0 if settings.noise is None else 10.0 ** (settings.noise / 10.0),
            seed=settings.seed,
        )
        current.stage("write")
        record = settings.provenance("simulate", rotation_degrees=rotation)
        write_scene(scene, output, attributes={"provenance": record}, overwrite=result.overwrite)
        if result.quicklook is not None:
            save_png(plot.backscatter(scene.image), result.quicklook, overwrite=result.overwrite)
        current.say(f"{output}: simulated image, {grid.lines} lines x {grid.samples} samples")


def multilooked(grid: RadarGrid, window: tuple[int, int] | None) -> RadarGrid:
    """Return the grid of an image that is averaged over windows, if there are any."""
    return grid if window in (None, (1, 1)) else grid.multilook(*window)


def cut_to_dem(
    heights: xr.DataArray,
    grid: RadarGrid,
    orbit: Orbit,
    incidence: float | None,
    current: Session | None = None,
) -> tuple[RadarGrid, Orbit, float]:
    """Cut the grid to the part that the DEM covers; rotate the orbit first for an incidence angle.

    Returns the rotation in degrees too.
    """
    from sarheight.geometry.placement import crop_grid_to_dem, rotate_over_dem

    if incidence is None:
        return crop_grid_to_dem(heights, grid, orbit), orbit, 0.0
    grid, orbit, degrees = rotate_over_dem(heights, grid, orbit, incidence)
    if current is not None:
        current.say(
            f"rotated the orbit by {degrees:.3f} degrees about the Earth's axis, for an incidence "
            f"angle of {incidence:g} degrees at the centre of the elevation model"
        )
    return grid, orbit, degrees
