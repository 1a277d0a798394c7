"""Files of users, and one family of errors for all libraries that read them.

A damaged file makes libraries raise errors of every kind: of keys, of numbers, of recursion, of
their own. Rooms read files inside `file_errors`, which turns all of them into one line that names
the file. Texts have a largest size, so that no file fills the memory. Scratch files lie where there
is room for them.
"""

from __future__ import annotations

import gzip
import json
import mmap
import os
import re
import shutil
import struct
import tempfile
import tomllib
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from functools import wraps
from itertools import product
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from sarheight._runtime import require
from sarheight.errors import DamagedFileError, SarheightError

if TYPE_CHECKING:
    import geopandas as gpd
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


def read_settings(kind: type[Record], path: str | os.PathLike[str]) -> Record:
    """Make settings, a dataclass, of a JSON file; missing ones have their defaults.

    Raises ValueError where the file is no JSON or holds an unknown setting, OSError where it cannot
    be read.
    """
    found = read_json(path)
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    if set(found) - known:
        strange = ", ".join(sorted(set(found) - known))
        msg = f"found {strange} in '{path}', expected settings: {', '.join(sorted(known))}"
        raise ValueError(msg)
    return kind(**found)


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
    paths = [Path(each).resolve() for each in inputs if isinstance(each, str | os.PathLike)]
    found = _names(
        each
        for each in notes.products
        if any(Path(each.label).resolve().is_relative_to(path) for path in paths)
    )
    notes.told |= found
    return tuple(sorted(found))


def _names(products: Iterable[PartlyRead]) -> set[str]:
    return {f"{name} in {Path(each.label).name}" for each in products for name in each.unverified}


# HDF5 files.

LARGEST_SMALL, LARGEST_RATIO = 64 * 2**20, 2000
"""Bytes of an array that may be without values, and how far deflate, at most, packs others."""
MOST_TEXTS = 1_000_000


def check_hdf5(
    path: str | os.PathLike[str],
    expected: str = "an HDF5 file",
    error: type[SarheightError] = DamagedFileError,
    *,
    complete: bool = False,
) -> None:
    """Read the texts of an HDF5 file, find its chunks, and refuse references to other files.

    h5py raises errors where netCDF's library, in damaged texts, may search for ever.

    Parameters
    ----------
    path : path-like
        The file.
    expected : str, optional
        The kind of file that was expected.
    error : type, optional
        The error to raise.
    complete : bool
        Whether a chunk that is missing is an error: a file may leave out those without values.

    Raises
    ------
    SarheightError
        If it is damaged, a chunk is missing, or it has values in other files.
    """
    import h5py

    missing: list[str] = []

    def check(name: str, item: Any) -> None:  # noqa: ANN401  # of h5py, which has no types
        dict(item.attrs)
        if not isinstance(item, h5py.Dataset):
            return
        size = Path(path).stat().st_size
        if item.nbytes > max(LARGEST_SMALL, size * (1 if item.chunks is None else LARGEST_RATIO)):
            msg = f"'{name}' claims {item.nbytes} bytes, in a file of {size}"
            raise ValueError(msg)
        if item.dtype.kind in "OSV" and item.size <= MOST_TEXTS:
            if item.dtype.kind == "O" and (begin := item.id.get_offset()):
                _check_references(path, name, begin, item.size)
            item[()]
        if complete and item.chunks is not None:
            counts = [
                -(-size // length) for size, length in zip(item.shape, item.chunks, strict=True)
            ]
            expected = {
                tuple(index * length for index, length in zip(place, item.chunks, strict=True))
                for place in product(*map(range, counts))
            }
            found: set[tuple[int, ...]] = set()

            def note(chunk: Any) -> None:  # noqa: ANN401  # of h5py
                # A chunk whose address or size was lost is read as fill values, like none.
                if chunk.byte_offset > 0 and 0 < chunk.size <= size - chunk.byte_offset:
                    found.add(tuple(chunk.chunk_offset))

            item.id.chunk_iter(note)
            if expected - found:
                missing.append(f"{len(expected - found)} of {len(expected)} chunks of '{name}'")

    with file_errors(path, expected, error):
        _check_heaps(path)
    refuse_other_files(path, expected, error)
    with file_errors(path, expected, error), h5py.File(path, "r") as file:
        dict(file.attrs)
        file.visititems(check)
    if missing:
        raise incomplete(path, missing, error)


def refuse_other_files(
    path: str | os.PathLike[str],
    expected: str = "an HDF5 file",
    error: type[SarheightError] = DamagedFileError,
) -> None:
    """Refuse an HDF5 file whose values lie in other files: the bytes of any would become pixels.

    HDF5 has three kinds of reference: external storage, virtual data sets, and external links.
    """
    import h5py

    found: list[str] = []

    def check(name: str, item: Any) -> None:  # noqa: ANN401  # of h5py, which has no types
        if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
            found.append(name)

    def check_link(name: str, link: Any) -> None:  # noqa: ANN401  # of h5py
        if isinstance(link, h5py.ExternalLink):
            found.append(name)

    with file_errors(path, expected, error), h5py.File(path, "r") as file:
        file.visititems_links(check_link)
        file.visititems(check)
    if found:
        msg = (
            f"'{path}' takes '{found[0]}' from another file, which no product or result does: "
            "nothing was read; fetch the original"
        )
        raise error(msg)


def _check_heaps(path: str | os.PathLike[str]) -> None:
    """Raise ValueError where a global heap of an HDF5 file, which holds its texts, is damaged.

    HDF5's library follows the sizes of the objects in a heap, and those of a damaged one may lead
    it in a circle for ever.

    Source: HDF5 File Format Specification, version 3.0, section III.E (global heap)
    """
    with Path(path).open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # Libraries write heaps when a file is defined, and when it is closed.
            for first, last in ((0, SEARCHED), (max(SEARCHED, len(data) - SEARCHED), len(data))):
                begin = data.find(HEAP, first, last)
                while begin >= 0:
                    if not _heap_is_sound(data, begin):
                        msg = f"a heap of texts at byte {begin} is damaged"
                        raise ValueError(msg)
                    begin = data.find(HEAP, begin + 1, last)


def _check_references(path: str | os.PathLike[str], name: str, begin: int, count: int) -> None:
    """Raise ValueError where a text claims to be longer than the file: memory is made for it."""
    with Path(path).open("rb") as file:
        file.seek(begin)
        stored = file.read(count * REFERENCE.size)
    size = Path(path).stat().st_size
    for length, address, _ in REFERENCE.iter_unpack(stored[: len(stored) // 16 * 16]):
        if length > size or (length and address >= size):
            msg = f"a text of '{name}' claims {length} bytes at byte {address}, in a file of {size}"
            raise ValueError(msg)


REFERENCE = struct.Struct("<IQI")
"""A text in a data set: length, address of its heap, number of the object in it."""
SEARCHED = 32 * 2**20
"""Bytes at both ends of a file in which heaps are searched."""
HEAP = b"GCOL\x01\0\0\0"
HEAP_HEADER, OBJECT_HEADER = struct.Struct("<8sQ"), struct.Struct("<HHIQ")


def _heap_is_sound(data: mmap.mmap, begin: int) -> bool:
    """Tell whether the objects of a heap follow each other up to its end."""
    _, size = HEAP_HEADER.unpack_from(data, begin)
    place, end = begin + HEAP_HEADER.size, begin + size
    if not HEAP_HEADER.size <= size <= len(data) - begin:
        return False
    while end - place >= OBJECT_HEADER.size:
        number, _, _, length = OBJECT_HEADER.unpack_from(data, place)
        if number == 0:  # free space, whose length includes its header
            return bool(OBJECT_HEADER.size <= length <= end - place)
        place += OBJECT_HEADER.size + -(-length // 8) * 8
    return bool(place <= end)


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
