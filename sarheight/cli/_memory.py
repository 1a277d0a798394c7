"""``--memory``: how much a reconstruction may take, and about how much it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._options import RUNNING

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.scene import Scene

__all__ = ["Memory", "bytes_of", "needed"]

PER_PIXEL, PER_CELL, PER_RESULT = 16.0, 60.0, 40.0
"""Bytes for each pixel of the image, each cell, and each cell and polarisation."""
LEAST = 1 << 16
"""Bytes below which a size is taken for one without its unit."""
Memory = Annotated[
    str,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory to stay below: a larger scene is worked on part by part.",
        rich_help_panel=RUNNING,
    ),
]


def bytes_of(size: str) -> float:
    """Read a size of memory.

    Raises
    ------
    typer.BadParameter
        If it is none, or less than 64 KiB.
    """
    from dask.utils import parse_bytes

    try:
        found = float(parse_bytes(size))
    except ValueError:
        found = 0.0
    if found < LEAST:
        msg = f"found {size!r}, expected a size of memory of 64 KiB or more, such as '2 GiB'"
        raise typer.BadParameter(msg, param_hint="--memory")
    return found


def needed(scene: Scene, heights: xr.DataArray) -> float:
    """Return about how many bytes a reconstruction in one go takes, all results included."""
    polarisations = int(scene.image.size) / (scene.grid.lines * scene.grid.samples)
    by_cell = PER_CELL + PER_RESULT * polarisations
    return PER_PIXEL * int(scene.image.size) + by_cell * int(heights.size)
