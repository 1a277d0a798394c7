"""Options of single commands, and checks of outputs before the work begins."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from sarheight.settings import OUTPUT, ReconstructionOutput, ResultOutput, option


def output_folder() -> Any:  # noqa: ANN401  # of typer
    """Make the option ``--output`` of a command that writes several files."""
    return option(OUTPUT, "--output", "-o", file_okay=False)


def require_writable(
    path: Path | None,
    hint: str,
    *,
    overwrite: bool,
    suffixes: tuple[str, ...] | None = None,
) -> None:
    """Check that an output can be written."""
    from sarheight.errors import OutputError
    from sarheight.output.atomic import SUFFIXES, check_writable

    if path is None:
        return
    try:
        check_writable(path, overwrite=overwrite, suffixes=suffixes or SUFFIXES)
    except OutputError as error:
        advice = " (--overwrite)" if "exists already" in str(error) else ""
        msg = f"{error}{advice}"
        raise typer.BadParameter(msg, param_hint=hint) from error


def require_apart(path: Path | None, hint: str, others: Iterable[Path | None]) -> None:
    """Check that an output replaces no other file of its command."""
    for other in others:
        if path is not None and other is not None and path.resolve() == other.resolve():
            msg = f"'{path}' is another file of this command: give the output a name of its own"
            raise typer.BadParameter(msg, param_hint=hint)


def require_result(result: ResultOutput, inputs: Iterable[Path]) -> None:
    """Check that a result, its STAC item and its picture can be written, and replace no input."""
    from sarheight.output.stac import STAC_SUFFIX

    output, overwrite = result.output, result.overwrite
    inputs = list(inputs)
    require_apart(output, "--output", inputs)
    require_writable(output, "--output", overwrite=overwrite)
    if result.stac and output.suffix.lower() == ".png":
        msg = f"'{output}' is a picture without a grid and has no STAC item: write .tif, .nc, .zarr"
        raise typer.BadParameter(msg, param_hint="--stac")
    if result.stac:
        item = output.with_name(output.stem + STAC_SUFFIX)
        require_writable(item, "--stac", overwrite=overwrite, suffixes=(".json",))
    if isinstance(result, ReconstructionOutput):
        picture = result.quicklook
        require_apart(picture, "--quicklook", (output, *inputs))
        require_writable(picture, "--quicklook", overwrite=overwrite)
        if picture is not None and picture.suffix.lower() != ".png":
            msg = f"found '{picture}', expected a name that ends in .png"
            raise typer.BadParameter(msg, param_hint="--quicklook")
