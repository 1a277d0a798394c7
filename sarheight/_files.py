"""Files of users: one family of errors, whatever the library that reads them raises.

A damaged file makes libraries raise errors of every kind: of keys, of numbers, of recursion, of
their own. Rooms read files inside `file_errors`, which turns all of them into one line that names
the file. Texts have a largest size, so that no file fills the memory.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sarheight.errors import DamagedFileError, SarheightError

if TYPE_CHECKING:
    import os

LARGEST_TEXT = 64 * 2**20
"""Bytes of a JSON, TOML or CSV file: lists of jobs and catalogues have a thousandth of this."""
SHOWN_CHARACTERS = 240


def reason(error: BaseException) -> str:
    """Return what an error says in one line of limited length; its kind if it says nothing."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError):
        text = f"there is no {text}"
    if isinstance(error, RecursionError):
        text = "nested too deeply"
    if len(text) > SHOWN_CHARACTERS:
        text = f"{text[:SHOWN_CHARACTERS]}…"
    return text or type(error).__name__


@contextmanager
def file_errors(
    path: str | os.PathLike[str],
    expected: str,
    error: type[SarheightError] = DamagedFileError,
) -> Iterator[None]:
    """Turn whatever a library raises while it reads a file into one error that names the file.

    Parameters
    ----------
    path : path-like
        The file, or a name for it.
    expected : str
        What was expected, such as "a Zarr store".
    error : type, optional
        The error to raise; errors of `sarheight.errors` pass as they are, as do those of files that
        do not exist or may not be read.

    Yields
    ------
    None
    """
    try:
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


def read_toml(
    path: str | os.PathLike[str], error: type[SarheightError] = DamagedFileError
) -> dict[str, Any]:
    """Read a TOML file."""
    text = read_text(path, "TOML", error)
    with file_errors(path, "TOML", error):
        return tomllib.loads(text)
