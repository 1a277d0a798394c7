"""Checksums as catalogues and servers write them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Checksum"]

_CHUNK = 1 << 20
_HEX = re.compile(r"[0-9a-f]+")
_MULTIHASH = {"d50110": "md5", "1114": "sha1", "1220": "sha256", "1340": "sha512"}
"""Beginning of a multihash (kind and length as variable-length integers) and the kind.

References: multiformats, table of multicodecs; STAC file extension 2.1, ``file:checksum``.
"""


@dataclass(frozen=True)
class Checksum:
    """A checksum of a file.

    Parameters
    ----------
    kind : str
        "md5", "sha1", "sha256" or "sha512".
    value : str
        Hexadecimal, small letters.
    """

    kind: str
    value: str

    def __post_init__(self) -> None:
        """Check that the value fits the kind."""
        size = hashlib.new(self.kind, usedforsecurity=False).digest_size
        if not _HEX.fullmatch(self.value) or len(self.value) != 2 * size:
            msg = f"{self.value!r} is not a checksum of the kind {self.kind}"
            raise ValueError(msg)

    @classmethod
    def from_multihash(cls, text: object) -> Checksum | None:
        """Read a multihash; None where it is of a kind that we cannot compute, or damaged."""
        plain = str(text).strip().lower()
        for beginning, kind in _MULTIHASH.items():
            if plain.startswith(beginning):
                return cls.of(kind, plain.removeprefix(beginning))
        return None

    @classmethod
    def of(cls, kind: str, value: object) -> Checksum | None:
        """Make a checksum of what a catalogue says; None where it says nothing usable."""
        try:
            return cls(kind.lower().replace("-", ""), str(value).strip().lower())
        except ValueError:
            return None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], *, whole: bool) -> Checksum | None:
        """Read the checksum of a whole file that a server states beside it.

        Parameters
        ----------
        headers : mapping
            Of the answer.
        whole : bool
            Whether the answer held the whole file; if not, ``Content-MD5`` is of the part.
        """
        text = headers.get("x-ms-blob-content-md5") or (
            headers.get("Content-MD5") if whole else None
        )
        if not text:
            return None
        try:
            return cls.of("md5", base64.b64decode(text, validate=True).hex())
        except (binascii.Error, ValueError):
            return None

    def computed(self, path: Path) -> str:
        """Return the checksum of this kind that a file has."""
        digest = hashlib.new(self.kind, usedforsecurity=False)
        with path.open("rb") as stream:
            while block := stream.read(_CHUNK):
                digest.update(block)
        return digest.hexdigest()
