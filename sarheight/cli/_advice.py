"""Errors in the words of the command line: which option mends them."""

from __future__ import annotations

import shlex
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sarheight.errors import SarheightError

__all__ = ["OPTIONS", "in_words_of_options", "options_of"]

Value = str | float | tuple[str, ...] | None

OPTIONS: ContextVar[frozenset[str] | None] = ContextVar("options", default=None)
"""Options of the command that runs; None where that is not known."""


def options_of(command: Any) -> frozenset[str]:  # noqa: ANN401 - of the click inside typer
    """Collect the options of a command, or of all commands in a group."""
    inside = getattr(command, "commands", {}).values()
    own = (name for parameter in command.params for name in parameter.opts)
    return frozenset(own).union(*map(options_of, inside))


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
        The whole message where the error knows no other way than its own; what was found alone
        where the command that runs has none of the options.
    """
    known = OPTIONS.get()
    named = {f"--{prefix}{name}": value for name, value in error.options.items()}
    ways = [_way(name, value) for name, value in named.items() if known is None or name in known]
    if error.file_advice:
        ways.append(error.file_advice)
    if not ways:
        return error.found if named else str(error)
    return f"{error.found}; {', or '.join(ways)}"


def _way(option: str, value: Value) -> str:
    if value is None:
        return f"leave {option} out"
    if isinstance(value, tuple):
        return f"pass {option} with {', '.join(value[:-1])} or {value[-1]}"
    if isinstance(value, str):
        return f"pass {option} {shlex.quote(value)}"
    # With all its digits: a mark of voids is found by equality.
    return f"pass {option} {repr(float(value)).removesuffix('.0')}"
