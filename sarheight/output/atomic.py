"""Paths of results: checks, and atomic writing.

A file or folder appears under its final name complete, or not at all.
"""

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
    from collections.abc import Iterable, Iterator

SUFFIXES = (".tif", ".tiff", ".nc", ".zarr", ".png")
LAYERS = "/"
"""In place of a suffix: a folder of layers, whose name has no suffix."""
RESULTS = (*SUFFIXES, LAYERS)
FOLDERS = {
    LAYERS: ("a folder of layers", ("*.stac.json",)),
    ".zarr": ("a Zarr store", ("zarr.json", ".zgroup", ".zmetadata")),
    ".safe": ("a Sentinel-1 product", ("manifest.safe",)),
    "": ("a model", ("config.json",)),
}
"""Results that are folders, by suffix: a description, and files one of which they contain."""
BESIDE_LAYERS = ("*.tif", "*.stac.json", "*.aux.xml", "*.qml")
"""All that a folder of layers may hold where it is replaced: other files are not ours to delete."""
CLEANUPS, PAUSE = 40, 0.05
"""How often to remove what the threads of a failed writer still write, and seconds between."""
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
        Where to write the result. Its suffix chooses the format: ``.tif``, ``.tiff``, ``.nc``,
        ``.zarr`` or ``.png``.
    overwrite : bool, optional
        Whether a result that is already there may be replaced.
    suffixes : tuple of str, optional
        The permitted suffixes, in lower case.

    Returns
    -------
    pathlib.Path
        The path that will be written, with symbolic links resolved.

    Raises
    ------
    OutputError
        When the suffix is unknown; when the folder is missing, is not a folder or is not
        writable; when the path exists already and `overwrite` is false; or when it is of another
        kind than the result.
    """
    path = Path(path)
    suffix = _suffix(path, suffixes)
    if suffix not in suffixes:
        known = ", ".join(name for name in suffixes if name not in {LAYERS, ""})
        folder = ", or a name without suffix for a folder of layers" if LAYERS in suffixes else ""
        msg = (
            f"cannot tell the format of '{path}': its name ends in "
            f"{path.suffix or 'no suffix'!r}; use one of {known}{folder}"
        )
        raise OutputError(msg)
    target = path.resolve()
    _check_folder(path, target.parent)
    if os.path.lexists(target):
        _check_replaceable(path, target, suffix, overwrite=overwrite)
    return target


def _suffix(path: Path, suffixes: Iterable[str]) -> str:
    """Return the suffix in lower case; `LAYERS` for none where a folder of layers is permitted."""
    return path.suffix.lower() or (LAYERS if LAYERS in suffixes else "")


def require_path(path: str | os.PathLike[str], suffixes: Iterable[str] = ()) -> Path:
    """Return an existing path; raise where it is missing or has none of the suffixes."""
    path = Path(path)
    if suffixes and _suffix(path, suffixes) not in suffixes:
        msg = f"cannot read '{path}' as a result: expected a name in {', '.join(suffixes)}"
        raise ValueError(msg)
    if not path.exists():
        msg = f"there is no '{path}'"
        raise FileNotFoundError(msg)
    return path


def _check_folder(path: Path, folder: Path) -> None:
    """Raise unless a file can be created in `folder`."""
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
        msg = f"cannot write '{path}': no file can be created in '{folder}' ({_reason(error)})"
        raise OutputError(msg) from error


def _check_replaceable(path: Path, target: Path, suffix: str, *, overwrite: bool) -> None:
    """Raise unless `target` may be replaced by a result."""
    if not overwrite:
        msg = f"'{path}' exists already; remove it, choose another name, or allow overwriting"
        raise OutputError(msg)
    if suffix not in FOLDERS:
        if not target.is_file():
            msg = f"cannot write '{path}': a folder of that name exists, not a file"
            raise OutputError(msg)
        return
    kind, markers = FOLDERS[suffix]
    if not target.is_dir() or not any(next(target.glob(marker), None) for marker in markers):
        msg = f"will not replace '{path}': the existing folder or file is not {kind}"
        raise OutputError(msg)
    if suffix == LAYERS:
        _check_layers_only(path, target)


def _check_layers_only(path: Path, target: Path) -> None:
    """Raise if a folder holds anything beside layers, which replacing it would delete."""
    for inside in sorted(target.iterdir()):
        if inside.is_dir() or not any(inside.match(pattern) for pattern in BESIDE_LAYERS):
            msg = (
                f"will not replace '{path}': it also holds '{inside.name}', which is no layer; "
                "move that away, or choose another name"
            )
            raise OutputError(msg)


@contextmanager
def atomic_write(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    suffixes: tuple[str, ...] = SUFFIXES,
) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` when the block succeeds.

    The temporary path is in a hidden folder of its own beside `path`. Scratch files that a writer
    keeps in this folder are removed with it, also after a failure.
    """
    path = Path(path)
    target = check_writable(path, overwrite=overwrite, suffixes=suffixes)
    with (
        _errors_as_output_error(path, target),
        _folder_beside(target) as folder,
        _errors_as_output_error(path, target),  # the free space while the scratch files exist
    ):
        work = folder / f"result{target.suffix}"
        yield work
        sync_to_disk(work)
        if os.path.lexists(target):
            _check_replaceable(path, target, _suffix(path, suffixes), overwrite=overwrite)
        _move(work, target)


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Yield a hidden folder, and remove it afterwards.

    When one thread of a writer fails, the others go on and write chunks into the folder that is
    being emptied; so it is removed repeatedly until they have finished.
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
        for _ in range(CLEANUPS):
            if folder is None or not folder.exists():
                break
            time.sleep(PAUSE)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _errors_as_output_error(path: Path, target: Path) -> Iterator[None]:
    """Turn a failure to write into an error of one line that says which file is left."""
    try:
        yield
    except OutputError:
        raise
    except (OSError, RuntimeError) as error:
        kept = "the earlier one was kept" if os.path.lexists(target) else "nothing was left behind"
        msg = f"could not write '{path}': {_reason(error)}{_space(target.parent)}; {kept}"
        raise OutputError(msg) from error


def sync_to_disk(work: Path) -> None:
    """Force a file, or all files of a folder, from the page cache to the disk."""
    files = (file for file in work.rglob("*") if file.is_file()) if work.is_dir() else (work,)
    for file in files:
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())


def _move(work: Path, target: Path) -> None:
    """Rename `work` to `target`; an existing folder is moved aside, and back on failure."""
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
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Force renames in a folder to the disk, where the system supports that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: BaseException) -> str:
    """Return the reason of an error in one line; rasterio gives it only in the cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.errno and error.strerror:
        return error.strerror.lower()
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _space(folder: Path) -> str:
    """Return the free space as text where little is left."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    return f" ({free / 1e6:.0f} MB are free there)" if free < LITTLE_SPACE else ""
