"""Paths of results: checks, and atomic writing.

A file or folder appears under its final name complete, or not at all. A result is written in a
hidden folder beside it, ``.NAME.RANDOM.partial``, whose file `OWNER` the writing process keeps
locked. Linux and macOS exchange two folders in one step; elsewhere the old one is moved aside
first, and a process that is killed in between leaves both in the hidden folder. Whoever next
writes in that place, or looks for the result, finishes the exchange and removes what dead
processes left.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sarheight.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Windows has no such module; there the folders of dead processes stay.
fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None

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
PARTIAL = ".partial"
OWNER, RETIRED = "owner.lock", "retired"
"""In a hidden folder: the lock of the process that writes there, and the result it replaces."""
UNLOCKED, SECONDS_TO_LOCK = f"{OWNER}.new", 60.0
"""Name of the lock before it is locked, and the time after which this will not happen any more."""


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
        recover(path)
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
    recover(path)
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
        _move(work, target, replace=overwrite)


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Yield a hidden folder that is locked by this process, and remove it afterwards.

    When one thread of a writer fails, the others go on and write chunks into the folder that is
    being emptied; so it is removed repeatedly until they have finished.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=PARTIAL, dir=target.parent))
    try:
        with _lock_owner(folder):
            yield folder
    finally:
        for attempt in range(CLEANUPS):
            if attempt:
                time.sleep(PAUSE)
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break


@contextmanager
def _lock_owner(folder: Path) -> Iterator[None]:
    """Hold the lock of a hidden folder, which ends with the process."""
    if fcntl is None:
        yield
        return
    # Under its name it is locked already: nobody takes the folder for that of a dead process.
    created = folder / UNLOCKED
    with created.open("wb") as lock:
        with suppress(OSError):  # a file system without locks: the folder is never removed
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            created.rename(folder / OWNER)
        yield


def recover(path: str | os.PathLike[str]) -> None:
    """Finish what killed processes left undone in the folder of a result.

    Their hidden folders are removed. Where one of them had moved an earlier result aside to put
    the new one in its place, the new one, which is complete, takes the place.

    Parameters
    ----------
    path : path-like
        A result, whether it exists or not.
    """
    parent = Path(path).resolve().parent
    if fcntl is None or not parent.is_dir():
        return
    for folder in parent.glob(f".*{PARTIAL}"):
        with suppress(OSError):
            unlocked = {file.name for file in folder.iterdir()} <= {UNLOCKED}
            if unlocked and time.time() - folder.stat().st_mtime > SECONDS_TO_LOCK:
                shutil.rmtree(folder)
                continue
            with (folder / OWNER).open("rb+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error where it is alive
                _finish_exchange(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _finish_exchange(folder: Path) -> None:
    """Put the result of a killed process in the place that it had emptied."""
    target = folder.parent / folder.name.removesuffix(PARTIAL).removeprefix(".").rpartition(".")[0]
    if not (folder / RETIRED).exists() or os.path.lexists(target):
        return
    work = folder / f"result{target.suffix}"
    (work if work.exists() else folder / RETIRED).rename(target)
    _sync_folder(target.parent)


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


def _move(work: Path, target: Path, *, replace: bool) -> None:
    """Rename `work`, which is on the disk, to `target`; what has that name is replaced at once."""
    if not target.is_dir():
        if replace or not _rename(work, target, "keep"):
            work.replace(target)
    elif not _rename(work, target, "exchange"):
        retired = work.with_name(RETIRED)
        target.rename(retired)
        try:
            work.replace(target)
        except BaseException:
            retired.rename(target)
            raise
    _sync_folder(target.parent)


RENAME_FUNCTIONS = {
    # Function of the C library, folder "where the process is", and flags: Linux' RENAME_NOREPLACE
    # and RENAME_EXCHANGE, and RENAME_EXCL and RENAME_SWAP of macOS.
    "linux": ("renameat2", -100, {"keep": 1, "exchange": 2}),
    "darwin": ("renameatx_np", -2, {"keep": 4, "exchange": 2}),
}
UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


def _rename(source: Path, target: Path, mode: str) -> bool:
    """Rename to a name that is free ("keep"), or exchange two names; False if that is unsupported.

    Source: renameat2(2) of Linux, renameatx_np(2) of macOS
    """
    function, here, flags = RENAME_FUNCTIONS.get(sys.platform, ("", 0, {}))
    library = ctypes.CDLL(None, use_errno=True) if function else None
    if not hasattr(library, function or "?"):
        return False
    names = (os.fsencode(source), os.fsencode(target))
    done = getattr(library, function)(here, names[0], here, names[1], flags[mode])
    code = ctypes.get_errno()
    if done != 0 and code not in UNSUPPORTED:
        raise OSError(code, os.strerror(code), str(target))
    return bool(done == 0)


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
