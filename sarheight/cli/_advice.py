"""Errors in the words of the command line: which option mends them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sarheight.errors import SarheightError

__all__ = ["in_words_of_options"]

Value = str | float | tuple[str, ...] | None


def in_words_of_options(error: SarheightError, prefix: str = "") -> str:
    """Say what was found, and what to do about it on the command line.

    Parameters
    ----------
    error : SarheightError
        What was raised.
    prefix : str
        What stands before the names of the options, such as "points-".

    Returns
    -------
    str
        The whole message where the error knows no other way than its own.
    """
    ways = [_way(f"--{prefix}{name}", value) for name, value in error.options.items()]
    if error.file_advice:
        ways.append(error.file_advice)
    return f"{error.found}; {', or '.join(ways)}" if ways else str(error)


def _way(option: str, value: Value) -> str:
    if value is None:
        return f"leave {option} out"
    if isinstance(value, tuple):
        return f"pass {option} with {', '.join(value[:-1])} or {value[-1]}"
    if isinstance(value, str):
        return f"pass {option} {shlex.quote(value)}"
    # With all its digits: a mark of voids is found by equality.
    return f"pass {option} {repr(float(value)).removesuffix('.0')}"
