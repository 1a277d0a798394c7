"""Outputs of commands, checked before the work."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sarheight.errors import OptionError
from sarheight.workflow.config import OUTPUT, ReconstructionOutput, ResultOutput
from sarheight.workflow.options import Option, option


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
        advice = " (--overwrite)" if "exists already" in str(error) else ""
        msg = f"{error}{advice}"
        raise OptionError(msg, option=name) from error


def require_apart(path: Path | None, name: str, others: Iterable[Path | None]) -> None:
    """Check that the output of an option replaces no other file of its command."""
    for other in others:
        if path is not None and other is not None and path.resolve() == other.resolve():
            msg = f"'{path}' is another file of this command: give the output a name of its own"
            raise OptionError(msg, option=name)


def require_result(result: ResultOutput, inputs: Iterable[Path]) -> None:
    """Check that a result, its STAC item and its picture can be written, and replace no input."""
    from sarheight.output.atomic import RESULTS
    from sarheight.output.stac import STAC_SUFFIX

    output, overwrite = result.output, result.overwrite
    inputs = list(inputs)
    require_apart(output, "output", inputs)
    require_writable(output, "output", overwrite=overwrite, suffixes=RESULTS)
    if result.stac and output.suffix.lower() == ".png":
        msg = f"'{output}' is a picture without a grid and has no STAC item: write .tif, .nc, .zarr"
        raise OptionError(msg, option="stac")
    if result.stac and output.suffix:
        item = output.with_name(output.stem + STAC_SUFFIX)
        require_writable(item, "stac", overwrite=overwrite, suffixes=(".json",))
    if isinstance(result, ReconstructionOutput):
        if result.backscatter != "linear" and output.suffix:
            msg = f"'{output}' holds linear power; only a folder of layers, a name without suffix, "
            msg += f"holds {result.backscatter}"
            raise OptionError(msg, option="backscatter")
        picture = result.quicklook
        require_apart(picture, "quicklook", (output, *inputs))
        require_writable(picture, "quicklook", overwrite=overwrite)
        if picture is not None and picture.suffix.lower() != ".png":
            msg = f"found '{picture}', expected a name that ends in .png"
            raise OptionError(msg, option="quicklook")
