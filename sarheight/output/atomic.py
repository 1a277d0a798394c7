"""Paths of results: checks, and atomic writing.

A file or folder appears under its final name complete, or not at all. A result is written in a
hidden folder beside it, ``.NAME.RANDOM.partial``, whose file `OWNER` the writing process keeps
locked. What is there under the final name is exchanged with it in one step on Linux and macOS;
elsewhere a folder is moved aside first. Where more than one step is needed, as of a result and its
STAC item, the file `JOURNAL` lists them before the first: a step that fails undoes those before
it, and what a killed process left undone is finished by whoever next writes in that place or looks
for the result. They also remove what dead processes left.
"""

from __future__ import annotations

import ctypes
import errno
import json
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
OWNER, JOURNAL, RETIRED = "owner.lock", "journal.json", "retired"
"""In a hidden folder: the lock of the process that writes there, the renames that belong together,
and what begins the name of that which they replace."""
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
    targets = {f"result{target.suffix}": (path, target, _suffix(path, suffixes))}
    if beside:
        other = path.with_name(beside)
        suffix = other.suffix.lower()
        found = check_writable(other, overwrite=overwrite, suffixes=(suffix,))
        if found.parent != target.parent:
            msg = (
                f"cannot write '{path}' and '{other}' together: they are links into the folders "
                f"'{target.parent}' and '{found.parent}'; remove the link"
            )
            raise OutputError(msg)
        targets[beside] = other, found, suffix
    with (
        _errors_as_output_error(path, target),
        _folder_beside(target) as folder,
        _errors_as_output_error(path, target),  # the free space while the scratch files exist
    ):
        yield folder / next(iter(targets))
        for name, (each, final, suffix) in targets.items():
            sync_to_disk(folder / name)
            if os.path.lexists(final):
                _check_replaceable(each, final, suffix, overwrite=overwrite)
        _move_all(
            {folder / name: final for name, (_, final, _) in targets.items()}, replace=overwrite
        )


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

    Their hidden folders are removed. Where one of them had begun to put complete results in their
    places, the others take theirs, unless something else has come there since.

    Parameters
    ----------
    path : path-like
        A result, whether it exists or not.
    """
    parent = Path(path).resolve().parent
    if fcntl is None or not parent.is_dir():
        return
    for folder in parent.glob(f".*{PARTIAL}"):
        with suppress(OSError, ValueError, TypeError):  # of the system, or of a damaged journal
            unlocked = {file.name for file in folder.iterdir()} <= {UNLOCKED}
            if unlocked and time.time() - folder.stat().st_mtime > SECONDS_TO_LOCK:
                shutil.rmtree(folder)
                continue
            with (folder / OWNER).open("rb+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error where it is alive
                _finish_moves(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _finish_moves(folder: Path) -> None:
    """Do the renames in the journal of a killed process that it had not done."""
    if not (folder / JOURNAL).exists():
        return
    for name, final, made, earlier in json.loads((folder / JOURNAL).read_bytes()):
        # Names only: a journal cannot reach other folders.
        work, target = folder / Path(name).name, folder.parent / Path(final).name
        if 0 != made == _inode(work) and _inode(target) in {0, earlier}:
            _move(work, target, replace=True)
    _sync_folder(folder.parent)


def _inode(path: Path) -> int:
    """Return the number of a file or folder in its file system; 0 where there is none."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return 0


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


def _move_all(moves: dict[Path, Path], *, replace: bool) -> None:
    """Rename what is on the disk to its names, all or nothing; what has these names is replaced."""
    folder = next(iter(moves)).parent
    if len(moves) > 1 or any(target.is_dir() for target in moves.values()):
        steps = [(w.name, t.name, _inode(w), _inode(t)) for w, t in moves.items()]
        written = folder / f"{JOURNAL}.new"
        written.write_text(json.dumps(steps), encoding="utf-8")
        sync_to_disk(written)
        written.rename(folder / JOURNAL)
        _sync_folder(folder)
    done: list[tuple[Path, Path]] = []
    try:
        for work, target in moves.items():
            _move(work, target, replace=replace, keep=len(moves) > 1)
            done.append((work, target))
    except BaseException:
        for work, target in reversed(done):
            target.rename(work)
            if (retired := _retired(work)).exists():
                retired.rename(target)
        (folder / JOURNAL).unlink(missing_ok=True)
        raise
    _sync_folder(next(iter(moves.values())).parent)


def _move(work: Path, target: Path, *, replace: bool, keep: bool = True) -> None:
    """Rename `work` to `target`; what has that name is replaced, and kept beside `work`."""
    retired = _retired(work)
    if not os.path.lexists(target):
        if replace or not _rename(work, target, "keep"):
            work.replace(target)
    elif not (keep or target.is_dir()):
        work.replace(target)
    elif _rename(work, target, "exchange"):
        work.rename(retired)
    else:
        target.rename(retired)
        try:
            work.replace(target)
        except BaseException:
            retired.rename(target)
            raise


def _retired(work: Path) -> Path:
    return work.with_name(f"{RETIRED} {work.name}")


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
