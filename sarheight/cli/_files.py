"""Whether files are there, and outputs can be written: checked before any work."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["require_source", "require_writable"]


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
