"""A file that is not all here yet, and what it is a part of."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Origin", "Partial"]


@dataclass(frozen=True)
class Origin:
    """The version of a file on a server.

    Parameters
    ----------
    url : str
        Its address without the query, in which signatures change.
    tag, modified : str, optional
        What the server calls this version: strong ``ETag``, ``Last-Modified``.
    size : int, optional
        All its bytes.
    """

    url: str
    tag: str | None = None
    modified: str | None = None
    size: int | None = None

    @property
    def validator(self) -> str | None:
        """What to tell the server so that it goes on only with the same version."""
        return self.tag or self.modified

    def same_version(self, other: Origin) -> bool:
        """Tell whether nothing says that two versions differ."""
        pairs = (
            (self.tag, other.tag),
            (None, None) if self.tag or other.tag else (self.modified, other.modified),
            (self.size, other.size),
        )
        return all(mine == theirs or None in {mine, theirs} for mine, theirs in pairs)


@dataclass(frozen=True)
class Partial:
    """The part of a file that is here, in a hidden file beside its final place.

    Parameters
    ----------
    target : path
        The final place.
    """

    target: Path

    @property
    def path(self) -> Path:
        """Where the bytes are."""
        return self.target.with_name(f".{self.target.name}.partial")

    @property
    def note(self) -> Path:
        """Where it is written down what they are a part of."""
        return self.target.with_name(f".{self.target.name}.partial.json")

    @property
    def lock(self) -> Path:
        """What processes hold while they write."""
        return self.target.with_name(f".{self.target.name}.lock")

    def size(self) -> int:
        """Count the bytes that are here."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def require_space(self, size: int | None) -> None:
        """Raise unless the disk can take what is missing of a file of so many bytes."""
        if size is not None and shutil.disk_usage(self.target.parent).free < size - self.size():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def origin(self) -> Origin | None:
        """Read what the bytes are a part of; None where that is not known."""
        try:
            return Origin(**json.loads(self.note.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, origin: Origin) -> None:
        """Throw away what is here, and note what will come."""
        self.clear()
        self.note.write_text(json.dumps(asdict(origin)), "utf-8")

    def clear(self) -> None:
        """Throw away what is here."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the file its name, complete and on the disk."""
        with self.path.open("rb+") as stream:
            os.fsync(stream.fileno())
        self.path.replace(self.target)
        self.note.unlink(missing_ok=True)
