"""Memory that is freed, and that the process holds all the same.

The C library keeps what is freed for what comes next, and does so for each thread by itself. That
is faster than to ask the system for new memory, as long as there is enough of it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

__all__ = ["give_back", "make_room"]

STATUS = Path("/proc/self/statm")


@cache
def _trim() -> Callable[[int], int] | None:
    """Find the function by which the GNU C library gives memory back; None with another one."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return found


def _held() -> int:
    """Return how many bytes the process holds; 0 where the system does not tell."""
    try:
        pages = STATUS.read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGESIZE")


def give_back() -> None:
    """Give memory that nothing uses back to the system, where the C library can do that."""
    trim = _trim()
    if trim is not None:
        trim(0)


def make_room(need: float, limit: float) -> None:
    """Give back memory that nothing uses, if the process would come to hold too much.

    Parameters
    ----------
    need : float
        Bytes that are about to be taken.
    limit : float
        Bytes that the process may hold.
    """
    if _held() + need > limit:
        give_back()
