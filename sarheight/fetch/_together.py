"""Bringing several files at a time, and stopping all of them together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sarheight.fetch._progress import Report

__all__ = ["together"]

AT_A_TIME = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Stopped(Exception):  # noqa: N818  # not an error of its own
    """Another file failed, or the user has had enough."""


def together(
    work: Callable[[Item, Report], Result], items: Iterable[Item], progress: Report
) -> list[Result]:
    """Do the same for several items at a time, in threads.

    If one fails, or the program is interrupted, those that have not begun are left, and the others
    stop when they next report their progress.

    Parameters
    ----------
    work : callable
        Takes an item and what to report progress to.
    items : iterable
        What to do it for.
    progress : callable
        What progress is passed on to.

    Returns
    -------
    list
        Results, in the order of the items.
    """
    stopped = threading.Event()

    def report(name: str, done: int, total: int | None) -> None:
        if stopped.is_set():
            raise _Stopped
        progress(name, done, total)

    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        futures = [pool.submit(work, item, report) for item in items]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return [future.result() for future in futures]
    except BaseException:
        stopped.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
