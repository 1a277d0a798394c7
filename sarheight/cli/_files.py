"""Whether files are there, and outputs can be written: checked before any work."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

__all__ = ["require_apart", "require_result", "require_source", "require_writable"]


def require_source(source: str, hint: str) -> None:
    """Check that a file is there; of URLs it is found out when they are opened.

    Raises
    ------
    typer.BadParameter
        If it is not.
    """
    if "://" not in source and not Path(source).exists():
        msg = f"there is no '{source}'"
        raise typer.BadParameter(msg, param_hint=hint)


def require_writable(
    path: Path | None,
    option: str,
    *,
    overwrite: bool,
    suffixes: tuple[str, ...] | None = None,
) -> None:
    """Check before any work that an output can be written.

    Parameters
    ----------
    path : path or None
        The output; None where none is wanted.
    option : str
        What it was given by.
    overwrite : bool
        Whether one that is there is replaced.
    suffixes : tuple of str, optional
        How its name may end; by default as those of results.

    Raises
    ------
    typer.BadParameter
        If it cannot.
    """
    from sarheight.errors import OutputError
    from sarheight.output._atomic import SUFFIXES, check_writable

    if path is None:
        return
    try:
        check_writable(path, overwrite=overwrite, suffixes=suffixes or SUFFIXES)
    except OutputError as error:
        advice = " (--overwrite)" if "exists already" in str(error) else ""
        msg = f"{error}{advice}"
        raise typer.BadParameter(msg, param_hint=option) from error


def require_apart(path: Path | None, option: str, others: Iterable[Path | str | None]) -> None:
    """Check that an output takes the place of none of the other files of its command.

    Raises
    ------
    typer.BadParameter
        If it is one of them.
    """
    for other in others:
        if path is None or other is None or "://" in str(other):
            continue
        if path.resolve() == Path(other).resolve():
            msg = f"'{path}' is another file of this command: give the output a name of its own"
            raise typer.BadParameter(msg, param_hint=option)


def require_result(path: Path, *, overwrite: bool, stac: bool) -> None:
    """Check before any work that a result can be written, and its STAC item where one is wanted.

    Parameters
    ----------
    path : path
        What ``--output`` says.
    overwrite : bool
        Whether what is there is replaced.
    stac : bool
        Whether an item is wanted.

    Raises
    ------
    typer.BadParameter
        If one of them cannot be written, or is a picture, which has no item.
    """
    from sarheight.output._stac import STAC_SUFFIX

    require_writable(path, "--output", overwrite=overwrite)
    if not stac:
        return
    if path.suffix.lower() == ".png":
        msg = (
            f"'{path}' is a picture without a grid, and gets no STAC item: write .tif, .nc or .zarr"
        )
        raise typer.BadParameter(msg, param_hint="--stac")
    beside = path.with_name(path.stem + STAC_SUFFIX)
    require_writable(beside, "--stac", overwrite=overwrite, suffixes=(".json",))
