"""All or nothing: a file or folder appears under its final name complete, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sarheight.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".tif", ".tiff", ".nc", ".zarr", ".png")
FOLDERS = {
    ".zarr": ("a Zarr store", ("zarr.json", ".zgroup", ".zmetadata")),
    ".safe": ("a Sentinel-1 product", ("manifest.safe",)),
    "": ("a model", ("config.json",)),
}
"""By suffix the results that are folders: what they are, and the files one of which they hold."""
LOOKS, PAUSE = 40, 0.05
"""How often to look for what a failed writer leaves behind, and seconds between."""
LITTLE_SPACE = 1 << 30


def check_writable(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    suffixes: tuple[str, ...] = SUFFIXES,
) -> Path:
    """Check that a result can be written, before any work is done for it.

    Parameters
    ----------
    path : path-like
        Where the result shall go. Its suffix chooses the format: ``.tif``, ``.tiff``, ``.nc``,
        ``.zarr`` or ``.png``.
    overwrite : bool, optional
        Whether a result that is already there may be replaced.
    suffixes : tuple of str, optional
        The suffixes that it may have, in lower case, where they are others.

    Returns
    -------
    pathlib.Path
        The place that will be written, with symbolic links followed.

    Raises
    ------
    OutputError
        When the suffix is unknown; when the folder is missing, is not a folder or does not let
        us write; when something is there already and `overwrite` is false; or when what is there
        is not of the kind that would replace it.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        msg = (
            f"cannot tell the format of '{path}': its name ends in "
            f"{path.suffix or 'no suffix'!r}; use one of {', '.join(suffixes)}"
        )
        raise OutputError(msg)
    target = path.resolve()
    _check_folder(path, target.parent)
    if os.path.lexists(target):
        _check_replaceable(path, target, overwrite=overwrite)
    return target


def _check_folder(path: Path, folder: Path) -> None:
    """Raise unless a file can be made in `folder`."""
    if not folder.exists():
        msg = f"cannot write '{path}': the folder '{folder}' does not exist; create it first"
        raise OutputError(msg)
    if not folder.is_dir():
        msg = f"cannot write '{path}': '{folder}' is a file, not a folder"
        raise OutputError(msg)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = f"cannot write '{path}': no file can be made in '{folder}' ({_reason(error)})"
        raise OutputError(msg) from error


def _check_replaceable(path: Path, target: Path, *, overwrite: bool) -> None:
    """Raise unless what is at `target` may give way to a result."""
    if not overwrite:
        msg = f"'{path}' exists already; remove it, choose another name, or allow overwriting"
        raise OutputError(msg)
    if path.suffix.lower() not in FOLDERS:
        if not target.is_file():
            msg = f"cannot write '{path}': there is something of that name that is not a file"
            raise OutputError(msg)
        return
    kind, markers = FOLDERS[path.suffix.lower()]
    if not any((target / marker).exists() for marker in markers):
        msg = f"will not replace '{path}': what is there is not {kind}"
        raise OutputError(msg)


@contextmanager
def atomic_write(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    suffixes: tuple[str, ...] = SUFFIXES,
) -> Iterator[Path]:
    """Lend a temporary place for a result, and move the result to its own place at the end.

    The temporary place is alone in a hidden folder beside the final one, so that a writer may
    keep other files next to it: they go when the block ends, however it ends.
    """
    path = Path(path)
    target = check_writable(path, overwrite=overwrite, suffixes=suffixes)
    with (
        _explained(path, target),
        _folder_beside(target) as folder,
        _explained(path, target),  # while what fills the disk is still there
    ):
        work = folder / f"result{target.suffix}"
        yield work
        flush(work)
        if os.path.lexists(target):
            _check_replaceable(path, target, overwrite=overwrite)
        _move(work, target)


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Lend a hidden folder, and see that it goes.

    When a writer of chunks fails, its other threads are not told, and put their chunks where the
    folder has just been emptied; so look again until they are through.
    """
    folder = None
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{target.name}.",
            suffix=".partial",
            dir=target.parent,
            ignore_cleanup_errors=True,
        ) as name:
            folder = Path(name)
            yield folder
    finally:
        for _ in range(LOOKS):
            if folder is None or not folder.exists():
                break
            time.sleep(PAUSE)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _explained(path: Path, target: Path) -> Iterator[None]:
    """Turn a failure to write into an error of one line that says what is left."""
    try:
        yield
    except OutputError:
        raise
    except (OSError, RuntimeError) as error:
        kept = "the earlier one was kept" if os.path.lexists(target) else "nothing was left behind"
        msg = f"could not write '{path}': {_reason(error)}{_space(target.parent)}; {kept}"
        raise OutputError(msg) from error


def flush(work: Path) -> None:
    """Bring a file, or all files of a folder, from the system's memory to the disk."""
    files = (file for file in work.rglob("*") if file.is_file()) if work.is_dir() else (work,)
    for file in files:
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())


def _move(work: Path, target: Path) -> None:
    """Rename `work` to `target`; a folder in the way is moved aside, and back on failure."""
    if target.is_dir():
        retired = work.with_name("retired")
        target.rename(retired)
        try:
            work.replace(target)
        except BaseException:
            retired.rename(target)
            raise
    else:
        work.replace(target)
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: BaseException) -> str:
    """Say in one line what an error means; rasterio tells only in what caused it."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.errno and error.strerror:
        return error.strerror.lower()
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _space(folder: Path) -> str:
    """Tell how much space is left when that may be the reason."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    return f" ({free / 1e6:.0f} MB are free there)" if free < LITTLE_SPACE else ""
