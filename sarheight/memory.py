"""Memory of large arrays, kept from one call for the next.

To hand over fresh memory may take a system longer than the work that is done in it: each page is
cleared, and on a virtual machine the host often provides it only then. Large arrays of results and
of intermediate values therefore come from one range of addresses that belongs to the process, on
huge pages where there are some. When nothing refers to such an array any more, its memory is kept
for later arrays:

- Arrays take the lowest addresses that are free, so that the process hardly takes more memory at
  its peak than it would without.
- No more is kept than `keep_at_most` says, by default an eighth of the machine's memory.
- Kept memory is marked as free: the system takes it back as soon as it runs short, without asking.

`release` gives all of it back at once. Any number of threads may use this module at the same time.
It works on Linux. Elsewhere, and where the addresses that a process may have are limited
(``ulimit -v``, ``vm.overcommit_memory=2``), arrays are NumPy's own and nothing is kept.
"""

from __future__ import annotations

import bisect
import math
import mmap
import os
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

__all__ = ["empty", "empty_like", "keep_at_most", "kept_bytes", "release"]

MEBIBYTE = 1 << 20
LEAST = MEBIBYTE
"""Bytes of the smallest array whose memory is kept: C libraries keep that of smaller ones."""
GRANULE = MEBIBYTE // 16
"""Sizes are rounded up to multiples of this, which no array of `LEAST` bytes feels."""
HUGE_PAGE = 2 * MEBIBYTE
"""Bytes of a huge page of x86-64, and of ARM with pages of 4 kB."""
ADDRESSES, KEPT = 2, 8
"""Parts of the machine's memory for which addresses are reserved, and that are kept at most."""


class _Range:
    """Free addresses from `start` to `end`, of which some bytes are kept in memory."""

    __slots__ = ("end", "kept", "start")

    def __init__(self, start: int, end: int, kept: int) -> None:
        self.start, self.end, self.kept = start, end, kept


class _Lease:
    """Memory in use: the base of its array, and of all views. Its end gives the memory back."""

    def __init__(
        self, arena: _Arena, place: tuple[int, int], kind: np.dtype[Any], count: int
    ) -> None:
        self._arena, self._place = arena, place
        # The base has the type of its values: some libraries compare its size with that of a view.
        self.__array_interface__ = {
            "shape": (count,),
            "typestr": kind.str,
            "data": (arena.address + place[0], False),
            "version": 3,
        }

    def __del__(self) -> None:
        self._arena.take_back(self._place)


class _Arena:
    """One range of addresses, and which parts of it are free.

    Arrays may end anywhere, even while this thread holds the lock, when garbage is collected.
    Their places queue in `_returned`, and are entered by who can take the lock at once.
    """

    def __init__(self, size: int, limit: int) -> None:
        """Reserve addresses; OSError where that is not possible."""
        without_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | without_reserve
        self._pages = mmap.mmap(-1, size, flags=flags)
        with suppress(OSError):  # a kernel without huge pages
            self._pages.madvise(mmap.MADV_HUGEPAGE)
        # Offsets of huge pages are multiples of their size, beyond the first border of one.
        self.address = np.frombuffer(self._pages, np.uint8).ctypes.data
        self._border = -self.address % HUGE_PAGE
        self.limit = limit
        self._free = [_Range(self._border, size, 0)]  # by start
        self._returned: deque[tuple[int, int]] = deque()
        self.lock = threading.Lock()

    @property
    def kept(self) -> int:
        """Bytes that are free and in memory."""
        return sum(part.kept for part in list(self._free))

    def array(self, kind: np.dtype[Any], count: int) -> NDArray[Any] | None:
        """Return an array of so many values at the lowest addresses that are free, if there are."""
        room, found = -(-kind.itemsize * count // GRANULE) * GRANULE, None
        with self.lock:
            self._enter()
            for index, part in enumerate(self._free):
                if part.end - part.start >= room:
                    found = part.start
                    part.start += room
                    part.kept = max(part.kept - room, 0)
                    if part.start == part.end:
                        del self._free[index]
                    break
        self._settle()
        if found is None:
            return None
        return np.asarray(_Lease(self, (found, found + room), kind, count))

    def take_back(self, place: tuple[int, int]) -> None:
        """Keep memory that is not in use any more."""
        self._returned.append(place)
        self._settle()

    def shrink(self) -> None:
        """Give back all that is kept."""
        with self.lock:
            self._enter()
            for part in self._free:
                if part.kept:
                    self._advise(mmap.MADV_DONTNEED, part, part.start, part.end)
                    part.kept = 0
        self._settle()

    def _settle(self) -> None:
        """Enter what has come back, unless another thread is about to."""
        while self._returned and self.lock.acquire(blocking=False):
            try:
                self._enter()
            finally:
                self.lock.release()

    def _enter(self) -> None:
        """Enter what has come back; the caller holds the lock."""
        while self._returned:
            start, end = self._returned.popleft()
            keep = self.kept + end - start <= self.limit
            part = self._join(_Range(start, end, end - start if keep else 0))
            self._advise(mmap.MADV_FREE if keep else mmap.MADV_DONTNEED, part, start, end)

    def _join(self, part: _Range) -> _Range:
        """Add a free range, joined with its neighbours; return the whole."""
        index = bisect.bisect_left(self._free, part.start, key=lambda other: other.start)
        if index < len(self._free) and self._free[index].start == part.end:
            after = self._free.pop(index)
            part = _Range(part.start, after.end, part.kept + after.kept)
        if index > 0 and self._free[index - 1].end == part.start:
            index -= 1
            before = self._free.pop(index)
            part = _Range(before.start, part.end, before.kept + part.kept)
        self._free.insert(index, part)
        return part

    def _advise(self, advice: int, part: _Range, start: int, end: int) -> None:
        """Tell the system about whole huge pages, some of which part of a free range completes."""
        first = start - (start - self._border) % HUGE_PAGE
        if first < part.start:
            first += HUGE_PAGE
        last = end - (end - self._border) % HUGE_PAGE
        if last < end and last + HUGE_PAGE <= part.end:
            last += HUGE_PAGE
        if first < last:
            with suppress(OSError):  # an older kernel
                self._pages.madvise(advice, first, last - first)


def _limit_of_addresses() -> bool:
    """Tell whether the addresses of this process are limited, or need memory behind them."""
    import resource

    policy = Path("/proc/sys/vm/overcommit_memory")
    strict = policy.exists() and policy.read_text().strip() == "2"
    return strict or resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


class _Memory:
    """The arena of this process, made at its first large array."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arena: _Arena | None = None
        self._tried = False
        self._limit: int | None = None

    @property
    def arena(self) -> _Arena | None:
        """The arena; None where nothing is kept."""
        if not self._tried:
            with self._lock:
                if not self._tried:
                    self._arena = self._make()
                    self._tried = True
        return self._arena

    def limit(self, size: int) -> None:
        """Keep no more bytes than `size`."""
        self._limit = size
        if self._tried and self._arena is not None:
            self._arena.limit = size
            if self._arena.kept > size:
                self._arena.shrink()

    def shrink(self) -> None:
        """Give back all that is kept."""
        if self._arena is not None:
            self._arena.shrink()

    def after_fork(self) -> None:
        """Make new locks: another thread may have held one when the process was forked."""
        self._lock = threading.Lock()
        if self._arena is not None:
            self._arena.lock = threading.Lock()

    def _make(self) -> _Arena | None:
        if sys.platform != "linux" or not hasattr(mmap, "MADV_FREE") or _limit_of_addresses():
            return None
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        limit = memory // KEPT if self._limit is None else self._limit
        try:
            return _Arena(memory // ADDRESSES // HUGE_PAGE * HUGE_PAGE, limit)
        except OSError:
            return None


_MEMORY = _Memory()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_MEMORY.after_fork)


def empty(shape: int | Sequence[int], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return an array whose values are arbitrary, in kept memory where there is some.

    Parameters
    ----------
    shape : int or sequence of int
        Its shape.
    dtype : data type
        The type of its values, float32 by default.

    Returns
    -------
    array
        In C order and writable, as `numpy.empty` makes it.
    """
    kind = np.dtype(dtype)
    lengths = (shape,) if isinstance(shape, int) else tuple(shape)
    count = math.prod(lengths)
    if count * kind.itemsize < LEAST or kind.kind not in "biufc" or _MEMORY.arena is None:
        return np.empty(lengths, kind)
    array = _MEMORY.arena.array(kind, count)
    return np.empty(lengths, kind) if array is None else array.reshape(lengths)


def empty_like(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of the shape and type of another, in C order, see `empty`."""
    return empty(array.shape, array.dtype)


def keep_at_most(limit: float | str) -> None:
    """Set how much memory is kept for later arrays.

    Parameters
    ----------
    limit : float or str
        Bytes: a number, or text such as "500 MiB". 0 keeps nothing.

    Raises
    ------
    ValueError
        If it is negative, or no number of bytes.
    """
    from dask.utils import parse_bytes

    size = float(parse_bytes(limit)) if isinstance(limit, str) else float(limit)
    if not 0.0 <= size < float("inf"):
        msg = f"found limit={limit!r}, expected a number of bytes, not negative, as in '500 MiB'"
        raise ValueError(msg)
    _MEMORY.limit(int(size))


def kept_bytes() -> int:
    """Return how many bytes are kept for later arrays now."""
    arena = _MEMORY.arena
    return 0 if arena is None else arena.kept


def release() -> None:
    """Give all kept memory back to the system."""
    _MEMORY.shrink()
