"""Trained networks that come with the library."""

from __future__ import annotations

from pathlib import Path

from sarheight.errors import CheckpointError

__all__ = ["packaged"]

WEIGHTS = Path(__file__).parent / "weights"


def packaged(name: str) -> Path:
    """Find a trained network that comes with the library.

    Parameters
    ----------
    name : str
        Such as "terrain".

    Returns
    -------
    pathlib.Path
        A folder for `from_pretrained`.

    Raises
    ------
    CheckpointError
        If there is none of that name.
    """
    known = sorted(folder.name for folder in WEIGHTS.glob("*") if folder.is_dir())
    if name not in known:
        msg = f"found no trained network {name!r} in the library, expected one of {known}"
        raise CheckpointError(msg)
    return WEIGHTS / name
