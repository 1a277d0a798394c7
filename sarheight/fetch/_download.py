"""Bringing one file, whatever happens on the way."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from sarheight.errors import ChecksumError, FetchError
from sarheight.fetch._addresses import plain
from sarheight.fetch._partial import Partial
from sarheight.fetch._progress import silent, size_in_words
from sarheight.fetch._transfer import Interruption, Transfer
from sarheight.fetch._web import Web

if TYPE_CHECKING:
    import os

    from sarheight.fetch._checksums import Checksum
    from sarheight.fetch._progress import Report
    from sarheight.fetch._settings import Settings

__all__ = ["Wanted", "download_file", "fetch"]

PROGRESS_THAT_COUNTS = 1 << 20
"""Bytes that a try must bring for the failures before it to be forgotten."""

_STEP = 0.2
"""Seconds between two looks at a lock, and between two chances to end a pause."""

Prepare = Callable[[Path], None]


@dataclass(frozen=True)
class Wanted:
    """A file that is wanted.

    Parameters
    ----------
    url : callable
        Gives its address, newly signed where it has to be.
    size : int, optional
        Its bytes, as the catalogue says.
    checksum : Checksum, optional
        Its checksum, as the catalogue says.
    prepare : callable, optional
        Looks into the complete file before it gets its name, and raises if it is not good. May
        unpack it in its place; then `size` must be left out.
    """

    url: Callable[[], str]
    size: int | None = None
    checksum: Checksum | None = None
    prepare: Prepare | None = None


def download_file(
    url: str,
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    checksum: Checksum | None = None,
    settings: Settings | None = None,
    progress: Report = silent,
) -> Path:
    """Bring one file from an address that you trust.

    What was brought stays if the connection breaks or the program is stopped: asking again goes on
    where it ended, if the file on the server is still the same. The file appears under its name
    only when it is complete and checked. Two processes that ask for the same file bring it once.

    Parameters
    ----------
    url : str
        Address, https. A server on this machine may also be asked by http.
    path : path-like
        Where the file shall go. What is there already is kept if its size is right.
    size : int, optional
        Its bytes, where known.
    checksum : Checksum, optional
        Its checksum, where known.
    settings : Settings, optional
        Patience and accounts; by default as the user's file and the environment say.
    progress : callable, optional
        Is told (name, bytes here, bytes in all or None).

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ChecksumError
        If it is not what was announced.
    UnsafeAddressError
        If the address, or one that it redirects to, leads to where nothing should be fetched.
    FetchError
        If it cannot be had, or the disk does not take it.
    """
    from sarheight.fetch._settings import Settings

    web = Web.trusting(settings or Settings.load(), url)
    return fetch(web, Wanted(lambda: url, size, checksum), Path(path), progress)


def fetch(web: Web, wanted: Wanted, target: Path, progress: Report = silent) -> Path:
    """Bring one file by the rules of `web`; see `download_file`."""
    if _is_here(target, wanted):
        return target
    partial = Partial(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _held(partial, progress):
            if not _is_here(target, wanted):
                _bring(web, wanted, partial, progress)
            with suppress(OSError):  # some systems keep what is open
                partial.lock.unlink(missing_ok=True)
    except FetchError:
        raise
    except OSError as error:
        raise _disk_error(error, partial) from error
    return target


def _is_here(target: Path, wanted: Wanted) -> bool:
    """Tell whether a file was brought before. It was checked then."""
    with suppress(OSError):
        return target.is_file() and wanted.size in {None, target.stat().st_size}
    return False


@contextmanager
def _held(partial: Partial, progress: Report) -> Iterator[None]:
    """Have a file to oneself, and wait for whoever else is bringing it."""
    lock = FileLock(partial.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"{partial.target.name} (waiting for another process)", 0, None)
        lock.acquire(poll_interval=_STEP)
    try:
        yield
    finally:
        lock.release()


class _Told:
    """Tells how one file goes, and goes on telling through pauses, so that they can be ended."""

    def __init__(self, name: str, progress: Report) -> None:
        self._name, self._progress = name, progress
        self._last: tuple[int, int | None] = (0, None)

    def __call__(self, done: int, total: int | None) -> None:
        self._last = done, total
        self._progress(self._name, done, total)

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0.0:
            time.sleep(min(left, _STEP))
            self(*self._last)


def _bring(web: Web, wanted: Wanted, partial: Partial, progress: Report) -> None:
    told = _Told(partial.target.name, progress)
    transfer = Transfer(web, wanted.url, partial, wanted.size, wanted.checksum is not None, told)
    resumed = partial.size() > 0
    while True:
        _until_complete(web, wanted, transfer, told)
        try:
            _verify(wanted, transfer)
        except (ChecksumError, ValueError):
            partial.clear()
            if not resumed:
                raise
            resumed = False  # an old beginning may be at fault: once more, from the start
        else:
            partial.finish()
            return


def _until_complete(web: Web, wanted: Wanted, transfer: Transfer, told: _Told) -> None:
    partial, failures = transfer.partial, 0
    if wanted.checksum is not None and partial.size() == wanted.size:
        return  # stopped between the last byte and the name
    while True:
        before = partial.size()
        partial.require_space(wanted.size)
        try:
            transfer.go_on()
        except Interruption as error:
            gained = partial.size() - before >= PROGRESS_THAT_COUNTS
            failures = 1 if gained else failures + 1
            try:
                web.patience.wait(failures, error.reason, error.headers, told.pause)
            except FetchError as given_up:
                msg = f"{given_up}{_kept(partial)}"
                raise FetchError(msg) from None
        else:
            return


def _verify(wanted: Wanted, transfer: Transfer) -> None:
    """Check the complete file against all that was said about it."""
    path, name = transfer.partial.path, transfer.partial.target.name
    for checksum in (transfer.stated, wanted.checksum):
        if checksum is None:
            continue
        found = checksum.computed(path)
        if found != checksum.value:
            msg = (
                f"{name} from {plain(wanted.url())} is not what was announced: found "
                f"{checksum.kind} {found}, expected {checksum.value}; it was thrown away, fetch it "
                "again, or from another catalogue"
            )
            raise ChecksumError(msg)
    size = path.stat().st_size
    if wanted.checksum is None and wanted.size not in {None, size}:
        msg = (
            f"{name} from {plain(wanted.url())} has {size} bytes, and {wanted.size} were "
            "announced; it was thrown away, fetch it again, or from another catalogue"
        )
        raise ChecksumError(msg)
    if wanted.prepare is not None:
        wanted.prepare(path)


def _disk_error(error: OSError, partial: Partial) -> FetchError:
    reason = (error.strerror or type(error).__name__).lower()
    space = ""
    with suppress(OSError):
        free = shutil.disk_usage(partial.target.parent).free
        space = f" ({size_in_words(free)} are free there)" if error.errno == errno.ENOSPC else ""
    return FetchError(f"could not write '{partial.target}': {reason}{space}{_kept(partial)}")


def _kept(partial: Partial) -> str:
    """Say that the next try will not begin from the start."""
    with suppress(OSError):
        if partial.size():
            kept = size_in_words(partial.size())
            return f"; {kept} of it are kept, the same request goes on from there"
    return ""
