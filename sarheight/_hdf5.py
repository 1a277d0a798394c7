"""HDF5 files of others: their texts and chunks are checked, and values of other files refused.

HDF5's library follows sizes and addresses in a file wherever they lead, and some references lead
to any file of the machine.
"""

from __future__ import annotations

import mmap
import os
import struct
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from sarheight._files import LARGEST_RATIO, LARGEST_SMALL, file_errors, incomplete
from sarheight.errors import DamagedFileError, ProductError, SarheightError

MOST_TEXTS = 1_000_000
MOST_LOST = 100_000
"""Chunks that are looked for one by one, where fewer are there."""


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
        if complete and item.chunks is not None and (lost := _count_lost(item, size)):
            missing.append(f"{lost[0]} of {lost[1]} chunks of '{name}'")

    with file_errors(path, expected, error):
        _check_heaps(path)
    refuse_other_files(path, expected, error)
    with file_errors(path, expected, error), h5py.File(path, "r") as file:
        dict(file.attrs)
        file.visititems(check)
    if missing:
        raise incomplete(path, missing, error)


LARGEST_SEARCHED = 2**30
"""Bytes of a product that is searched for texts that would hang the library. A whole product is ten
times as large: to search it takes as long as to read it."""


def check_product(path: str | os.PathLike[str], expected: str) -> None:
    """Check a product in HDF5; one that is too large to be searched, for other files only."""
    searched = Path(path).stat().st_size <= LARGEST_SEARCHED
    (check_hdf5 if searched else refuse_other_files)(path, expected, ProductError)


def hdf5_text(value: object) -> str:
    """Return a text of HDF5: bytes, a string, or an array of one."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    told = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return told.strip("\0 ")


def _count_lost(item: Any, size: int) -> tuple[int, int] | None:  # noqa: ANN401  # of h5py
    """Count the chunks that a data set lacks, and all of them; None where it lacks none.

    `size` is that of the file.
    """
    counts = [-(-length // chunk) for length, chunk in zip(item.shape, item.chunks, strict=True)]
    expected, stored = prod(counts), item.id.get_num_chunks()
    if expected > max(stored, MOST_LOST):
        return expected - stored, expected  # at least; their places would take any memory
    lost = {
        tuple(index * length for index, length in zip(place, item.chunks, strict=True))
        for place in product(*map(range, counts))
    }

    def note(chunk: Any) -> None:  # noqa: ANN401  # of h5py
        # A chunk whose address or size was lost is read as fill values, like none.
        if chunk.byte_offset > 0 and 0 < chunk.size <= size - chunk.byte_offset:
            lost.discard(tuple(chunk.chunk_offset))

    item.id.chunk_iter(note)
    return (len(lost), expected) if lost else None


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
