"""Download of files: resume, checksums, sizes, and several at a time."""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import json
import os
import re
import shutil
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import requests
import urllib3
from filelock import FileLock, Timeout
from rich.filesize import decimal

from sarheight.errors import ChecksumError, FetchError
from sarheight.fetch.addresses import redact, whole_number
from sarheight.fetch.http import (
    HttpClient,
    RetryPolicy,
    Version,
    describe_error,
    ends_in_headers,
    require_limit,
    translated_errors,
)
from sarheight.fetch.settings import Limits, Settings

Report: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the name of a file, its bytes so far, and its size or None."""
Item = TypeVar("Item")
Result = TypeVar("Result")

PROGRESS_THAT_COUNTS = 1 << 20
"""Bytes after which the failures before them are forgotten."""

_BLOCK = 1 << 18
_STEP = 0.2
"""Seconds between two looks at a lock, and between two calls of progress during a pause."""


def no_progress(_name: str, _done: int, _total: int | None) -> None:
    """Show nothing."""


# --- checksums ---------------------------------------------------------------------------------

_MULTIHASH = {"d50110": "md5", "1114": "sha1", "1220": "sha256", "1340": "sha512"}
"""Prefix of a multihash (kind and length as variable-length integers) and the kind.

References: multiformats, table of multicodecs; STAC file extension 2.1, ``file:checksum``.
"""


@dataclass(frozen=True)
class Checksum:
    """A checksum of a file.

    Parameters
    ----------
    kind : str
        "md5", "sha1", "sha256" or "sha512".
    value : str
        Hexadecimal, lower case.

    Raises
    ------
    ValueError
        If there is no such kind, or the value is not a checksum of it.
    """

    kind: str
    value: str

    def __post_init__(self) -> None:
        """Check that the value fits the kind."""
        size = hashlib.new(self.kind, usedforsecurity=False).digest_size
        if not re.fullmatch(r"[0-9a-f]+", self.value) or len(self.value) != 2 * size:
            msg = f"{self.value!r} is not a checksum of the kind {self.kind}"
            raise ValueError(msg)

    @classmethod
    def parse(cls, kind: str, value: object) -> Checksum | None:
        """Read what a catalogue states; None where it states nothing usable."""
        try:
            return cls(kind.lower().replace("-", ""), str(value).strip().lower())
        except ValueError:
            return None

    @classmethod
    def from_multihash(cls, text: object) -> Checksum | None:
        """Read a multihash; None where it is damaged, or of a kind that cannot be computed."""
        plain = str(text).strip().lower()
        for prefix, kind in _MULTIHASH.items():
            if plain.startswith(prefix):
                return cls.parse(kind, plain.removeprefix(prefix))
        return None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], *, whole: bool) -> Checksum | None:
        """Read the checksum of the file from a reply; ``Content-MD5`` only of a whole one."""
        text = headers.get("x-ms-blob-content-md5") or (whole and headers.get("Content-MD5"))
        try:
            return cls.parse("md5", base64.b64decode(text, validate=True).hex()) if text else None
        except (binascii.Error, ValueError):
            return None

    def compute(self, path: Path) -> str:
        """Return the checksum of this kind that a file has."""
        with path.open("rb") as stream:
            return hashlib.file_digest(
                stream, lambda: hashlib.new(self.kind, usedforsecurity=False)
            ).hexdigest()


# --- partial files -----------------------------------------------------------------------------


class Partial:
    """The part of a file that was downloaded, in hidden files beside its final path."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path, self.note, self.lock = (
            target.with_name(f".{target.name}.{suffix}")
            for suffix in ("partial", "partial.json", "lock")
        )

    def size(self) -> int:
        """Count the bytes so far."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def require_space(self, size: int | None) -> None:
        """Raise OSError unless the disk has room for the rest of a file of that size."""
        if size is not None and shutil.disk_usage(self.target.parent).free < size - self.size():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def version(self) -> Version | None:
        """Read which version of which file the bytes belong to; None where that is unknown."""
        try:
            return Version(**json.loads(self.note.read_text("utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def begin(self, version: Version) -> None:
        """Remove the bytes so far, and note what the next ones belong to."""
        self.clear()
        self.note.write_text(json.dumps(asdict(version)), "utf-8")

    def clear(self) -> None:
        """Remove the bytes so far."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Write the file out to the disk, and give it its name."""
        with self.path.open("rb+") as stream:
            os.fsync(stream.fileno())
        self.path.replace(self.target)
        self.note.unlink(missing_ok=True)

    def kept(self) -> str:
        """Tell how much of the file the next call continues from, for the end of a message."""
        with suppress(OSError):
            if self.size():
                return f"; {decimal(self.size())} of it are kept, the next call resumes there"
        return ""


# --- one file ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileRequest:
    """A file to download.

    `url` returns its address, newly signed where that is needed; `size` and `checksum` are those of
    the catalogue; `prepare` checks the complete file before it gets its name, and may unpack it in
    place. `limit` names the limit of its size in the settings.
    """

    url: Callable[[], str]
    size: int | None = None
    checksum: Checksum | None = None
    prepare: Callable[[Path], None] | None = None
    limit: str = "file_bytes"


def download_file(
    url: str,
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    checksum: Checksum | None = None,
    settings: Settings | None = None,
    progress: Report = no_progress,
) -> Path:
    """Download one file from an address that you trust.

    If the connection breaks or the program is stopped, the part so far is kept: the next call
    resumes there, if the file on the server is still the same. The file appears under its name only
    when it is complete and checked. Two processes that request the same file download it once.

    Parameters
    ----------
    url : str
        Address, https. A server on this machine may also be requested by http.
    path : path-like
        Path of the file. An existing file is kept if its size is right.
    size : int, optional
        Its bytes, where known.
    checksum : Checksum, optional
        Its checksum, where known.
    settings : Settings, optional
        Retry policy, limits and accounts; by default as the user's file and the environment say.
    progress : callable, optional
        Called with (name, bytes so far, size or None).

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ChecksumError
        If size or checksum are not those that were announced.
    UnsafeAddressError
        If the address, or one that it redirects to, must not be requested.
    FetchError
        If it cannot be downloaded, is larger or slower than the limits, or cannot be written.
    """
    client = HttpClient.trusting(settings or Settings.load(), url)
    return ensure_file(client, FileRequest(lambda: url, size, checksum), Path(path), progress)


def ensure_file(
    client: HttpClient, request: FileRequest, target: Path, progress: Report = no_progress
) -> Path:
    """Download a file unless it is there; see `download_file`."""

    def is_there() -> bool:  # it was checked before it got its name
        with suppress(OSError):
            return target.is_file() and request.size in {None, target.stat().st_size}
        return False

    if is_there():
        return target
    partial = Partial(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(partial, progress):
            if not is_there():
                _Transfer(client, request, partial, progress).run()
            with suppress(OSError):  # some systems keep what is open
                partial.lock.unlink(missing_ok=True)
    except FetchError:
        raise
    except OSError as error:
        reason, space = (error.strerror or type(error).__name__).lower(), ""
        with suppress(OSError):
            if error.errno == errno.ENOSPC:
                space = f" ({decimal(shutil.disk_usage(target.parent).free)} are free there)"
        msg = f"could not write '{target}': {reason}{space}{partial.kept()}"
        raise FetchError(msg) from error
    return target


@contextmanager
def _locked(partial: Partial, progress: Report) -> Iterator[None]:
    """Hold the lock of a file, and wait for the process that is downloading it."""
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


class _BrokenError(Exception):
    """A reply ended early, or does not continue what was downloaded: the next one may."""


class _Transfer:
    """The download of one file, in as many tries as it takes."""

    def __init__(
        self, client: HttpClient, request: FileRequest, partial: Partial, progress: Report
    ) -> None:
        self.client, self.request, self.partial = client, request, partial
        self._begun = time.monotonic()
        self._last: tuple[int, int | None] = (0, None)
        self._progress = progress
        self._stated: Checksum | None = None

    def run(self) -> None:
        """Download and verify; a wrong file with an old beginning is downloaded once more."""
        resumed = self.partial.size() > 0
        while True:
            try:
                self._complete()
            except FetchError as error:
                msg = f"{error}{self.partial.kept()}"
                raise type(error)(msg) from None
            try:
                self._verify()
            except (ChecksumError, ValueError):
                self.partial.clear()
                if not resumed:
                    raise
                resumed = False
            else:
                self.partial.finish()
                return

    def _complete(self) -> None:
        """Request the rest of the file until it is complete."""
        if self.request.checksum is not None and self.partial.size() == self.request.size:
            return  # stopped between the last byte and the name
        policy = RetryPolicy(self.client.network, self._pause)
        with self.client.session(pause=self._pause) as session:
            while True:
                before = self.partial.size()
                self.partial.require_space(self.request.size)
                url = self.request.url()
                try:
                    with translated_errors(url):
                        self._request(session, url)
                except _BrokenError as error:
                    if self.partial.size() - before >= PROGRESS_THAT_COUNTS:
                        policy.reset()
                    self._require_limits(url, 0)
                    policy.wait(f"{redact(url)} {error}")
                else:
                    return

    def _pause(self, seconds: float) -> None:
        """Let time pass, and report progress meanwhile, so that a stop ends the pause."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0.0:
            time.sleep(min(left, _STEP))
            self._report(*self._last)

    def _report(self, done: int, total: int | None) -> None:
        self._last = done, total
        self._progress(self.partial.target.name, done, total)

    def _require_limits(self, url: str, size: int) -> None:
        """Raise FetchError where the file is larger, or its download longer, than the limits."""
        limits = self.client.limits
        require_limit(limits, self.request.limit, size, url)
        require_limit(limits, "file_seconds", time.monotonic() - self._begun, url)

    def _request(self, session: requests.Session, url: str) -> None:
        """Request what is missing, once."""
        self.client.check(url)
        headers = {"Accept-Encoding": "identity"} | self._range_headers(url)
        with session.get(
            url, headers=headers, stream=True, timeout=self.client.timeout
        ) as response:
            self._receive(url, response, resumes="Range" in headers)

    def _range_headers(self, url: str) -> dict[str, str]:
        """Ask for the rest only, where the bytes so far belong to this file.

        Without a name of the version, only a checksum tells whether the rest fits.
        """
        done, version = self.partial.size(), self.partial.version()
        if done and version is not None and version.url == redact(url):
            headers = {"Range": f"bytes={done}-"}
            if version.validator:
                return headers | {"If-Range": version.validator}
            if self.request.checksum:
                return headers
        self.partial.clear()
        return {}

    def _receive(self, url: str, response: requests.Response, *, resumes: bool) -> None:
        """Check status and headers of a reply, and write its body."""
        status, done = response.status_code, self.partial.size()
        first, version = Version.of(url, response)
        if resumes and status == requests.codes.requested_range_not_satisfiable:
            stated = response.headers.get("Content-Range", "").rpartition("/")[2]
            if whole_number(stated) != done:
                self.partial.clear()
                msg = "has become shorter than what was downloaded of it"
                raise _BrokenError(msg)
            return
        partial = resumes and status == requests.codes.partial_content
        if status != requests.codes.ok and not partial:
            raise self.client.status_error(response)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding not in {"identity", ""}:
            msg = f"{redact(url)} sends the file encoded as {encoding}, expected it as it is"
            raise FetchError(msg)
        if partial:
            known = self.partial.version()
            if first != done or known is None or not known.agrees(version):
                self.partial.clear()
                msg = "has changed since its beginning was downloaded"
                raise _BrokenError(msg)
            version = replace(known, size=known.size if version.size is None else version.size)
        self._stated = Checksum.from_headers(response.headers, whole=not partial)
        size, announced = version.size, self.request.size
        if self.request.checksum is None and None not in {size, announced} and size != announced:
            msg = (
                f"{redact(url)} has {size} bytes, and {announced} were announced: download it from "
                "another catalogue"
            )
            raise ChecksumError(msg)
        if not partial:
            self.partial.begin(version)
        self._write(url, response, first, announced if size is None else size)

    def _write(self, url: str, response: requests.Response, start: int, total: int | None) -> None:
        """Write the body of a reply behind the bytes so far."""
        done = start
        self._require_limits(url, total or 0)
        self.partial.require_space(total)
        self._report(done, total)
        with self.partial.path.open("ab") as stream:
            # Each block is what one read of the connection gives: slow servers meet the deadline.
            while block := _read_block(response):
                done += len(block)
                if total is not None and done > total:
                    break
                self._require_limits(url, done)
                stream.write(block)
                self._report(done, total)
        if total is not None and done > total:
            self.partial.clear()
            msg = f"{redact(url)} sent more than the {total} bytes that were announced"
            raise ChecksumError(msg)
        if total is not None and done < total:
            msg = f"ended after {done} of {total} bytes"
            raise _BrokenError(msg)
        if done == 0 and ends_in_headers(response):
            msg = "ended within the headers of its reply"
            raise _BrokenError(msg)

    def _verify(self) -> None:
        """Check the complete file against all that was stated about it."""
        path, request, size = self.partial.path, self.request, self.partial.size()
        problem = None
        for checksum in (self._stated, request.checksum):
            if checksum is not None and (found := checksum.compute(path)) != checksum.value:
                problem = f"has {checksum.kind} {found}, and {checksum.value} was announced"
        if request.checksum is None and request.size not in {None, size}:
            problem = f"has {size} bytes, and {request.size} were announced"
        if problem is not None:
            msg = (
                f"{self.partial.target.name} from {redact(request.url())} {problem}; it was "
                "removed, download it again, or from another catalogue"
            )
            raise ChecksumError(msg)
        if request.prepare is not None:
            request.prepare(path)


def _read_block(response: requests.Response) -> bytes:
    """Read what has arrived of a body."""
    try:
        block: bytes = response.raw.read1(_BLOCK, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        msg = f"could not be downloaded: {describe_error(error)}"
        raise _BrokenError(msg) from None
    return block


# --- several files, and zips -------------------------------------------------------------------


class _CancelledError(Exception):
    """Another file failed, or the user stopped the program."""


def run_parallel(
    work: Callable[[Item, Report], Result],
    items: Iterable[Item],
    progress: Report,
    *,
    parallel: int,
) -> list[Result]:
    """Do the same for several items at a time, in threads, and return the results in order.

    If one fails, or the program is interrupted, items that have not begun are left out, and the
    others stop when they next report their progress.
    """
    cancelled = threading.Event()

    def report(name: str, done: int, total: int | None) -> None:
        if cancelled.is_set():
            raise _CancelledError
        progress(name, done, total)

    pool = ThreadPoolExecutor(parallel)
    try:
        futures = [pool.submit(work, item, report) for item in items]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return [future.result() for future in futures]
    except BaseException:
        cancelled.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def unpack(path: Path, suffix: str, limits: Limits) -> None:
    """Replace a zip by the one file in it whose name ends in `suffix`; ChecksumError if damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = [each for each in archive.infolist() if each.filename.endswith(suffix)]
            if len(found) != 1:
                msg = f"the zip holds {len(found)} files {suffix}, expected one"
                raise ChecksumError(msg)
            require_limit(limits, "unpacked_bytes", found[0].file_size, str(path))
            contents = archive.read(found[0])
    except (zipfile.BadZipFile, RuntimeError, zlib.error) as error:
        msg = f"the zip is damaged ({type(error).__name__}): download it again"
        raise ChecksumError(msg) from None
    path.write_bytes(contents)
