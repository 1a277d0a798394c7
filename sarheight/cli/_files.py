"""Outputs of commands: checked before the work, and written in the format of their name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sarheight._files import resolve_links
from sarheight.errors import OptionError
from sarheight.workflow.config import FileOutput, ResultOutput
from sarheight.workflow.options import Option, option
from sarheight.workflow.words import OUTPUT

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from sarheight.cli._session import Session

PICTURE = ".png"
CHUNK = 1024
"""Cells along a side of what is read at once of a result that was written in parts."""


def output_folder() -> Option:
    """Make the option ``--output`` of a command that writes several files."""
    return option(OUTPUT, "--output", "-o", file_okay=False)


def require_writable(
    path: Path | None,
    name: str,
    *,
    overwrite: bool,
    suffixes: tuple[str, ...] | None = None,
) -> None:
    """Check that the output of an option can be written."""
    from sarheight.errors import OutputError
    from sarheight.output.atomic import SUFFIXES, check_writable

    if path is None:
        return
    try:
        check_writable(path, overwrite=overwrite, suffixes=suffixes or SUFFIXES)
    except OutputError as error:
        msg = str(error).replace("overwrite=True", "--overwrite")
        raise OptionError(msg, option=name) from error


def require_apart(path: Path | None, name: str, others: Iterable[Path | None]) -> None:
    """Check that the output of an option replaces no other file of its command."""
    for other in others:
        if path is not None and other is not None and resolve_links(path) == resolve_links(other):
            msg = f"'{path}' is another file of this command: give the output a name of its own"
            raise OptionError(msg, option=name)


def require_result(
    result: ResultOutput, inputs: Iterable[Path], suffixes: tuple[str, ...] | None = None
) -> None:
    """Check that a result, its STAC item and its picture can be written, and replace no input."""
    from sarheight.output.atomic import RESULTS
    from sarheight.output.stac import STAC_SUFFIX

    output, overwrite = result.output, result.overwrite
    inputs = list(inputs)
    require_apart(output, "output", inputs)
    require_writable(output, "output", overwrite=overwrite, suffixes=suffixes or RESULTS)
    if result.stac and output.suffix.lower() == PICTURE:
        msg = f"'{output}' is a picture without a grid and has no STAC item: write .tif, .nc, .zarr"
        raise OptionError(msg, option="stac")
    if result.stac and output.suffix:
        item = output.with_name(output.stem + STAC_SUFFIX)
        require_writable(item, "stac", overwrite=overwrite, suffixes=(".json",))
    if result.scale == "db-int16" and output.suffix:
        msg = (
            f"'{output}' has one type of numbers; only a folder of layers, a name without suffix, "
        )
        msg += f"holds {result.scale}"
        raise OptionError(msg, option="scale")
    if result.scale != "linear" and output.suffix.lower() == PICTURE:
        msg = f"'{output}' is a picture, which shows decibels: leave it out"
        raise OptionError(msg, option="scale")
    require_picture(result, inputs)


def require_picture(result: FileOutput, inputs: Iterable[Path]) -> None:
    """Check that the picture of a result can be written, and replaces no other file."""
    picture = result.quicklook
    require_apart(picture, "quicklook", (result.output, *inputs))
    require_writable(picture, "quicklook", overwrite=result.overwrite)
    if picture is not None and picture.suffix.lower() != PICTURE:
        msg = f"found '{picture}', expected a name that ends in .png"
        raise OptionError(msg, option="quicklook")


def is_pictured(result: ResultOutput) -> bool:
    """Tell whether a picture of a result is drawn."""
    return result.quicklook is not None or result.output.suffix.lower() == PICTURE


def write_result(
    dataset: xr.Dataset,
    result: ResultOutput,
    draw: Callable[[xr.Dataset], Figure],
    current: Session,
) -> xr.Dataset:
    """Write a result and its picture; return it as it can be read again."""
    from sarheight._runtime import return_freed_memory
    from sarheight.output import open_result, save_png, write

    output, overwrite = result.output, result.overwrite
    # A GeoTIFF is computed strip by strip.
    strips = 1 if output.suffix.lower() in (".nc", ".zarr") else len(dataset.chunks.get("y", [1]))
    with current.following(strips):
        write(dataset, output, overwrite=overwrite, stac=result.stac, scale=result.scale, draw=draw)
    # A result that was written in parts need not be computed again for picture and summary.
    in_parts = bool(dataset.chunks) and output.suffix.lower() != PICTURE
    written = open_result(output, chunks={"y": CHUNK, "x": CHUNK}) if in_parts else dataset
    if result.quicklook is not None:
        # A picture takes memory of other sizes than what was freed, and would add to it.
        return_freed_memory()
        save_png(draw(written), result.quicklook, overwrite=overwrite)
    return written
