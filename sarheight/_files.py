"""Files of users, and one family of errors for all libraries that read them.

A damaged file makes libraries raise errors of every kind: of keys, of numbers, of recursion, of
their own. Rooms read files inside `file_errors`, which turns all of them into one line that names
the file. Texts have a largest size, so that no file fills the memory. Scratch files lie where there
is room for them.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import tempfile
import tomllib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeVar

from sarheight.errors import DamagedFileError, SarheightError

if TYPE_CHECKING:
    import geopandas as gpd
    from _typeshed import WriteableBuffer
    from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")
Record = TypeVar("Record")

# Scratch files, which lie on a disk and take no memory.

SPARE_BYTES = 1 << 30
"""Bytes that scratch files leave free."""


def scratch_folder(size: int) -> Path | None:
    """Return the folder for scratch files if its disk has room for `size` bytes, else None.

    It is ``TMPDIR``, or else ``/var/tmp``: ``/tmp`` is in memory on many systems.
    """
    own = os.environ.get("TMPDIR")
    folder = next(
        (Path(name) for name in (own, "/var/tmp") if name and os.access(name, os.W_OK)),  # noqa: S108
        None,
    )
    try:
        folder = folder or Path(tempfile.gettempdir())
        return folder if shutil.disk_usage(folder).free >= size + SPARE_BYTES else None
    except OSError:  # no folder can be written
        return None


def unnamed_file(size: int, owner: object, buffering: int = -1) -> IO[bytes] | None:
    """Make a scratch file for `size` bytes that is deleted with its owner; None without room."""
    folder = scratch_folder(size)
    try:
        file = None if folder is None else tempfile.TemporaryFile(dir=folder, buffering=buffering)  # noqa: SIM115  # its owner closes it
    except OSError:
        return None
    if file is not None:
        weakref.finalize(owner, file.close)
    return file


def read_rows(file: IO[bytes], begins: Sequence[int], rows: NDArray[Any]) -> bool:
    """Read each row of an array from its first byte in an unbuffered file; False where it ends.

    `rows` is contiguous, shape (n, width).
    """
    view = memoryview(rows.data).cast("B")
    size = view.nbytes // max(len(begins), 1)
    if len(begins) > 1 and begins[-1] - begins[0] == size * (len(begins) - 1):
        begins, size = begins[:1], view.nbytes  # in one piece, as offsets ascend
    for number, begin in enumerate(begins):
        place, end = number * size, (number + 1) * size
        file.seek(begin)
        while place < end:
            count = file.readinto(view[place:end])  # type: ignore[attr-defined]
            if not count:
                return False
            place += count
    return True


class RangeFile(io.RawIOBase):
    """A file of known size, from a function that returns all bytes of a range."""

    def __init__(self, size: int, read_range: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size, self._read_range = size, read_range
        self._position = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            msg = f"found the position {origin + offset}, expected one within the file"
            raise ValueError(msg)
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer with the next bytes, as far as there are some."""
        view = memoryview(buffer).cast("B")
        size = max(min(len(view), self._size - self._position), 0)
        data = self._read_range(self._position, size) if size else b""
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def without_secrets(address: str) -> str:
    """Return an address without user, password and signature, for messages; a path as it is."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


# Texts and errors.

LARGEST_TEXT = 64 * 2**20
"""Bytes of a JSON, TOML or CSV file: lists of jobs and catalogues have a thousandth of this."""
LONGEST_REASON = 240
"""Characters of an error of a library that a message repeats."""


def reason(error: BaseException) -> str:
    """Return what an error says in one line of limited length; its kind if it says nothing."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError):
        text = f"there is no {text}"
    if isinstance(error, RecursionError):
        text = "nested too deeply"
    if len(text) > LONGEST_REASON:
        text = f"{text[:LONGEST_REASON]}…"
    return text or type(error).__name__


def require_file(
    path: str | os.PathLike[str], error: type[SarheightError] = DamagedFileError
) -> None:
    """Refuse a pipe or a device: reading one may wait, or go on, for ever."""
    found = Path(path)
    if found.exists() and not (found.is_file() or found.is_dir()):
        msg = f"'{path}' is a pipe or a device, expected a file: write its contents to one first"
        raise error(msg)


def resolve_links(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path without symbolic links; links in a circle stay as they are.

    `Path.resolve` raises RuntimeError for such links before Python 3.13, as if no file could be so.
    """
    return Path(os.path.realpath(path))


def require_files_within(
    folder: str | os.PathLike[str], error: type[SarheightError] = DamagedFileError
) -> None:
    """Refuse a store in whose folder a pipe or a device lies."""
    folders = [os.fspath(folder)] if Path(folder).is_dir() else []
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    require_file(entry.path, error)


@contextmanager
def file_errors(
    path: str | os.PathLike[str],
    expected: str,
    error: type[SarheightError] = DamagedFileError,
) -> Iterator[None]:
    """Turn any error of a library that reads a file into one error that names the file.

    Parameters
    ----------
    path : path-like
        The file, or a name for it.
    expected : str
        The kind of file that was expected, such as "a Zarr store".
    error : type, optional
        The error to raise; errors of `sarheight.errors` pass as they are, as do those of files that
        do not exist or may not be read.

    Yields
    ------
    None
    """
    try:
        require_file(path, error)
        yield
    except (SarheightError, PermissionError):
        raise
    except MemoryError as cause:
        msg = f"'{path}' holds, or claims to hold, more than fits in memory ({reason(cause)})"
        raise error(msg) from cause
    except Exception as cause:
        if isinstance(cause, FileNotFoundError) and not Path(path).exists():
            raise
        msg = f"'{path}' is not {expected}, or it is damaged ({reason(cause)})"
        raise error(msg) from cause


def file_reader(
    expected: str, error: type[SarheightError] = DamagedFileError
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run a function whose first argument is a file inside `file_errors`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def read(*arguments: P.args, **options: P.kwargs) -> R:
            first = arguments[0] if arguments else next(iter(options.values()), "")
            path = first if isinstance(first, str | os.PathLike) else f"the {type(first).__name__}"
            with file_errors(path, expected, error):
                return function(*arguments, **options)

        return read

    return decorate


def read_text(
    path: str | os.PathLike[str],
    expected: str,
    error: type[SarheightError] = DamagedFileError,
    *,
    largest: int = LARGEST_TEXT,
) -> str:
    """Read a text file in UTF-8 of at most `largest` bytes."""
    with file_errors(path, expected, error):
        with Path(path).open("rb") as file:
            data = file.read(largest + 1)
        if len(data) > largest:
            msg = f"'{path}' holds more than {largest >> 20} MiB of text, expected {expected}"
            raise error(msg)
        return data.decode("utf-8")


def parse_json(
    text: str | bytes, name: str, error: type[SarheightError] = DamagedFileError
) -> dict[str, Any]:
    """Parse a JSON object; `name` names it in errors."""
    with file_errors(name, "JSON", error):
        found = json.loads(text)
    if not isinstance(found, dict):
        msg = f"'{name}' holds a JSON {type(found).__name__}, expected an object"
        raise error(msg)
    return found


def read_json(
    path: str | os.PathLike[str], error: type[SarheightError] = DamagedFileError
) -> dict[str, Any]:
    """Read a file with a JSON object."""
    return parse_json(read_text(path, "JSON", error), str(path), error)


def make_settings(
    kind: type[Record],
    values: Mapping[str, Any],
    where: str,
    error: type[ValueError] = ValueError,
) -> Record:
    """Make a dataclass of values by name; raise `error` if one is unknown. `where` names them."""
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # a dataclass
    unknown = sorted(set(values) - set(known))
    if unknown:
        msg = f"found {', '.join(unknown)} in {where}, expected some of {', '.join(known)}"
        raise error(msg)
    return kind(**values)


class JsonSettings:
    """Base of settings, a dataclass, that are read from JSON."""

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read settings from JSON; missing ones have their defaults.

        Raises
        ------
        ValueError
            If the file is no JSON, or holds an unknown setting.
        OSError
            If it cannot be read.
        """
        return make_settings(cls, read_json(path), f"'{path}'")


DEEPEST_KEY = 32
LONG_KEY = re.compile(
    # A bare or quoted part and a dot, again and again; possessive, so that no text takes long.
    rf"""(?<![\w.\-"'])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST_KEY}}}"""
)


def parse_toml(
    text: str, name: str, error: type[SarheightError] = DamagedFileError
) -> dict[str, Any]:
    """Parse TOML; `name` names it in errors. The parser takes hours for keys of many parts."""
    if LONG_KEY.search(text):
        msg = f"'{name}' has a key of more than {DEEPEST_KEY} parts, expected settings in TOML"
        raise error(msg)
    with file_errors(name, "TOML", error):
        return tomllib.loads(text)


def read_toml(
    path: str | os.PathLike[str], error: type[SarheightError] = DamagedFileError
) -> dict[str, Any]:
    """Read a TOML file."""
    return parse_toml(read_text(path, "TOML", error), str(path), error)


# Vector files: tables with geometries.

PARQUET = (".parquet", ".geoparquet")
LARGEST_UNPACKED = 8 * 2**30
"""Bytes to which a file with gzip may expand."""


@contextmanager
def unpacked(
    path: str | os.PathLike[str], error: type[SarheightError] = DamagedFileError
) -> Iterator[Path]:
    """Yield the path of a file, or of an unpacked copy of one with gzip (``.gz``)."""
    path = Path(path)
    if path.suffix.lower() != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory(dir=scratch_folder(path.stat().st_size)) as folder:
        plain = Path(folder) / path.stem
        with (
            file_errors(path, "a file with gzip", error),
            gzip.open(path) as packed,
            plain.open("wb") as file,
        ):
            while block := packed.read(1 << 24):
                if file.tell() > LARGEST_UNPACKED:
                    msg = f"'{path}' expands to more than {LARGEST_UNPACKED >> 30} GiB"
                    raise error(msg)
                file.write(block)
        yield plain


def vector_layers(
    path: str | os.PathLike[str], error: type[SarheightError] = DamagedFileError
) -> list[str]:
    """Return the names of the layers of a vector file; a GeoParquet file has one."""
    from sarheight._runtime import require

    require("geopandas", "pyarrow", extra="vector")
    if Path(path).suffix.lower() in PARQUET:
        return [Path(path).stem]
    import pyogrio  # type: ignore[import-untyped]

    with file_errors(path, "a vector file", error):
        return [str(name) for name in pyogrio.list_layers(path)[:, 0]]


def read_vector(
    path: str | os.PathLike[str],
    error: type[SarheightError] = DamagedFileError,
    *,
    layer: str | None = None,
) -> gpd.GeoDataFrame:
    """Read a layer of a GeoPackage, GeoParquet, GeoJSON, shapefile or FlatGeobuf file.

    Raises MissingLibraryError where the libraries for vector files are not installed.
    """
    from sarheight._runtime import require

    require("geopandas", "pyarrow", extra="vector")
    import geopandas

    with file_errors(path, "a vector file", error):
        if Path(path).suffix.lower() in PARQUET:
            return geopandas.read_parquet(path)
        return geopandas.read_file(path, **({} if layer is None else {"layer": layer}))


# Products that are read in parts.


class PartlyRead(Protocol):
    """A product, and its files of which parts were read without comparing their checksums."""

    @property
    def label(self) -> str:
        """Path of the product."""

    @property
    def unverified(self) -> tuple[str, ...]:
        """Names of the files."""


@dataclass
class _Notes:
    """Products that were opened, and the files that a result was told of."""

    products: list[PartlyRead] = field(default_factory=list)
    told: set[str] = field(default_factory=set)


_NOTES: ContextVar[_Notes | None] = ContextVar("notes", default=None)


@contextmanager
def noting_unverified() -> Iterator[Callable[[], tuple[str, ...]]]:
    """Watch the products that are opened inside.

    Yields
    ------
    callable
        Returns the files of these products that were read in parts so far, without comparing their
        checksums, each with the name of its product; and those that a result names as such.
    """
    notes, outer = _Notes(), _NOTES.get()
    token = _NOTES.set(notes)
    try:
        yield lambda: tuple(sorted(_names(notes.products) | notes.told))
    finally:
        _NOTES.reset(token)
        if outer is not None:
            outer.products += notes.products
            outer.told |= notes.told


@contextmanager
def verified() -> Iterator[None]:
    """Note no product that is opened inside: all files of these were compared before."""
    token = _NOTES.set(None)
    try:
        yield
    finally:
        _NOTES.reset(token)


def note_product(product: PartlyRead) -> None:
    """Let those who watch know of a product."""
    notes = _NOTES.get()
    if notes is not None:
        notes.products.append(product)


def unverified_files(inputs: Iterable[object]) -> tuple[str, ...]:
    """Return, for a result, what is noted so far of products among its inputs, or in their folders.

    A result that is computed later may read them to their ends after all; the note remains.
    """
    notes = _NOTES.get()
    if notes is None:
        return ()
    paths = [resolve_links(each) for each in inputs if isinstance(each, str | os.PathLike)]
    found = _names(
        each
        for each in notes.products
        if any(resolve_links(each.label).is_relative_to(path) for path in paths)
    )
    notes.told |= found
    return tuple(sorted(found))


def _names(products: Iterable[PartlyRead]) -> set[str]:
    return {f"{name} in {Path(each.label).name}" for each in products for name in each.unverified}


# Arrays of which parts are missing.

LARGEST_SMALL, LARGEST_RATIO = 64 * 2**20, 2000
"""Bytes of an array that may be without values, and how far deflate, at most, packs others."""
LISTED_ARRAYS = 3
"""Arrays of a damaged file that a message names."""


def incomplete(
    path: str | os.PathLike[str],
    missing: list[str],
    error: type[SarheightError] = DamagedFileError,
) -> SarheightError:
    """Make the error of a file that lacks parts of its arrays."""
    others = f" and of {len(missing) - LISTED_ARRAYS} more" if len(missing) > LISTED_ARRAYS else ""
    return error(
        f"'{path}' is incomplete: found no {', '.join(missing[:LISTED_ARRAYS])}{others}; copy it "
        "again from where it was whole, or compute it again"
    )
