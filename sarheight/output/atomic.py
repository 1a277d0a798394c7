"""Paths of results: checks, and atomic writing.

A file or folder appears under its final name complete, or not at all: it is written in a hidden
folder beside it, ``.NAME.RANDOM.partial``, and renamed. A file is replaced in one step. Where more
are needed, because a folder is replaced or a result has a STAC item, what is whole and on the disk
first becomes the folder `COMPLETE` in the hidden one. Then what is there moves to the folder
`RETIRED` beside that, and the new ones take its place; a step that fails undoes those before it.
The writing process keeps the hidden folder locked. What a killed process left is put in order by
whoever next writes in that place or looks for the result: nothing has changed until the first of
what is there has moved, and all has after that.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sarheight._files import resolve_links
from sarheight.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
PARTIAL = re.compile(r"\..+\.[a-z0-9_]{8}\.partial")
"""Name of a hidden folder."""
SECONDS_TO_LOCK = 60.0
"""Age after which an empty hidden folder that is not locked is that of a dead process."""
WRITTEN, COMPLETE, RETIRED = "written", "complete", "retired"
"""Folders in a hidden folder: results while they are written, all of them once they are whole, and
what they replace."""


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
    target = resolve_links(path)
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
        msg = (
            f"'{path}' exists already; remove it, choose another name, or allow overwriting "
            "(overwrite=True)"
        )
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
    beside: str = "",
) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` when the block succeeds.

    The temporary path is in a hidden folder of its own beside `path`. Scratch files that a writer
    keeps in this folder are removed with it, also after a failure. With the name `beside`, the
    block also writes a file of that name in the hidden folder, and both appear, or neither.
    """
    path = Path(path)
    recover(path)
    target = check_writable(path, overwrite=overwrite, suffixes=suffixes)
    places = {target: (path, _suffix(path, suffixes))}
    if beside:
        other = path.with_name(beside)
        found = check_writable(other, overwrite=overwrite, suffixes=(other.suffix.lower(),))
        if found.parent != target.parent:
            msg = (
                f"cannot write '{path}' and '{other}' together: they are links into the folders "
                f"'{target.parent}' and '{found.parent}'; remove the link"
            )
            raise OutputError(msg)
        places[found] = other, other.suffix.lower()
    with (
        _errors_as_output_error(path, target),
        _folder_beside(target) as folder,
        _errors_as_output_error(path, target),  # the free space while the scratch files exist
    ):
        work = folder / WRITTEN
        work.mkdir()
        yield work / target.name
        for final, (each, suffix) in places.items():
            if each is not path:
                (work / each.name).rename(work / final.name)
            sync_to_disk(work / final.name)
            if os.path.lexists(final):
                _check_replaceable(each, final, suffix, overwrite=overwrite)
        for scratch in {each.name for each in work.iterdir()} - {each.name for each in places}:
            (work / scratch).rename(folder / scratch)
        with _one_at_a_time(target.parent):
            _put_in_place(folder, [final.name for final in places], replace=overwrite)


@contextmanager
def _one_at_a_time(parent: Path) -> Iterator[None]:
    """Wait for other writers that put results into a folder: to replace one takes two renames."""
    lock = _lock(parent, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Yield a hidden folder that is locked by this process, and remove it afterwards.

    When one thread of a writer fails, the others go on and write chunks into the folder that is
    being emptied; so it is removed repeatedly until they have finished.
    """
    # The name is known before the folder is: an interrupt may come as soon as it exists.
    folder = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
    lock = None
    try:
        folder.mkdir(mode=0o700)
        lock = _lock(folder, wait=True)
        yield folder
    finally:
        if lock is not None:
            os.close(lock)
        for attempt in range(CLEANUPS):
            if attempt:
                time.sleep(PAUSE)
            if not (folder / COMPLETE).exists():  # else an undo was interrupted: see `recover`
                shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Lock a folder until the descriptor is closed, or the process ends; None where that fails."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # it is that of a living process, or the file system has no locks
        os.close(descriptor)
        return None
    return descriptor


def recover(path: str | os.PathLike[str]) -> None:
    """Put in order what killed processes left in the folder of a result.

    Their hidden folders are removed. Where one of them had begun to replace results by complete
    ones, these take their places, unless something else has come there since.

    Parameters
    ----------
    path : path-like
        A result, whether it exists or not.
    """
    parent = resolve_links(path).parent
    if fcntl is None or not parent.is_dir():
        return
    for folder in [each for each in parent.iterdir() if PARTIAL.fullmatch(each.name)]:
        with suppress(OSError):
            lock = _lock(folder, wait=False)
            if lock is None:
                continue
            try:
                old = time.time() - folder.stat().st_mtime > SECONDS_TO_LOCK
                if old or any(folder.iterdir()):
                    _finish(folder)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _put_in_place(folder: Path, names: Sequence[str], *, replace: bool) -> None:
    """Rename what is on the disk in a hidden folder to its final names, all or nothing."""
    parent, complete, retired = folder.parent, folder / COMPLETE, folder / RETIRED
    if len(names) == 1 and not (parent / names[0]).is_dir():
        _rename(folder / WRITTEN / names[0], parent / names[0], replace=replace)
        _sync_folder(parent)
        return
    retired.mkdir()
    (folder / WRITTEN).rename(complete)
    _sync_folder(folder)
    try:
        for name in names if replace else ():
            if os.path.lexists(parent / name):
                (parent / name).rename(retired / name)
        for name in names:
            _rename(complete / name, parent / name, replace=False)
    except BaseException:
        for name in names:
            if not (complete / name).exists():
                (parent / name).rename(complete / name)
            if os.path.lexists(retired / name) and not os.path.lexists(parent / name):
                (retired / name).rename(parent / name)
        complete.rename(folder / WRITTEN)
        raise
    complete.rmdir()
    _sync_folder(parent)


def _finish(folder: Path) -> None:
    """Finish what a killed process had begun, unless something newer is in one of the places."""
    complete, retired = folder / COMPLETE, folder / RETIRED
    waiting = [each.name for each in complete.iterdir()] if complete.is_dir() else []
    moved = {each.name for each in retired.iterdir()} if retired.is_dir() else set()
    newer = moved.intersection(waiting) if moved else waiting
    if any(os.path.lexists(folder.parent / name) for name in newer):
        return
    for name in waiting:
        final = folder.parent / name
        if os.path.lexists(final):  # it was to be replaced together with what has moved
            final.rename(retired / name)
        _rename(complete / name, final, replace=False)
    _sync_folder(folder.parent)


def _rename(work: Path, target: Path, *, replace: bool) -> None:
    """Rename a file or folder; FileExistsError where the name is taken, unless it may replace."""
    if replace:
        work.replace(target)
        return
    if not work.is_dir():
        with suppress(PermissionError, NotImplementedError):  # a file system without links
            os.link(work, target)  # unlike a rename, never replaces a file
            work.unlink()
            return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    work.rename(target)


def sync_to_disk(work: Path) -> None:
    """Force a file, or all files of a folder, from the page cache to the disk."""
    files = (file for file in work.rglob("*") if file.is_file()) if work.is_dir() else (work,)
    for file in files:
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Force renames in a folder to the disk, where the system supports that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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


def write_json(table: Mapping[str, Any], path: Path) -> None:
    """Write a table as JSON, whole or not at all; an existing one is replaced."""
    with atomic_write(path, overwrite=True, suffixes=(".json",)) as work:
        work.write_text(json.dumps(table, indent=1) + "\n", "utf-8")
