"""XML files of Sentinel-1, parsed and checked.

Files may be damaged or hostile. Document type definitions are refused: they open the door for
entity bombs and external entities, and Sentinel-1 uses none. Every value is checked when it is
read; an `AnnotationError` names the file, the element, and what was expected.
"""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NoReturn, Self
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException
from numpy.typing import NDArray

from sarheight.errors import AnnotationError

XmlSource = str | os.PathLike[str] | bytes
"""Path of an XML file, plain or compressed with xz, or the contents of such a file."""

XZ_MAGIC = b"\xfd7zXZ\x00"
LARGEST_BYTES = 64 * 2**20
"""Bytes of XML: an orbit file of a day has 5 MiB, the largest annotation of an SLC some 10."""
MOST_ELEMENTS = 1_000_000
"""Elements of an XML file, each of which takes 100 bytes or more: an orbit file has 90,000."""
LARGEST_DICTIONARY = 128 * 2**20
"""Bytes of memory for decompression; xz needs 65 MiB at its highest level."""
SHOWN_CHARACTERS = 60
NUMERALS = frozenset("0123456789+-.eE \t\r\n")
"""Characters of decimal numbers. Python's own conversion takes 1_000, nan, and digits of any script
as well."""
TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:)(\d{2})(\.\d{1,9})?")
LEAP_SECONDS = np.array(["2015-07-01", "2017-01-01"], dtype="datetime64[ns]")
"""Days before which a second was inserted, since the first Sentinel-1 was launched (IERS Bulletin C
49 and 52); none is announced."""
SECOND = np.timedelta64(1, "s")


def leap_seconds(time: np.datetime64) -> int:
    """Return how many seconds were inserted into UTC before a time, since 2014."""
    return int((time >= LEAP_SECONDS).sum())


def parse_utc(text: str) -> tuple[np.datetime64, int]:
    """Parse a UTC time; also return how many seconds were inserted before it. NaT for what is none.

    Second 60, which exists in leap seconds only, has the name of the second after it.
    """
    parts = TIME.fullmatch(text)
    if parts is None:
        return np.datetime64("NaT", "ns"), 0
    inserted = parts[2] == "60"
    try:
        time = np.datetime64(f"{parts[1]}{'59' if inserted else parts[2]}{parts[3] or ''}", "ns")
    except ValueError:
        return np.datetime64("NaT", "ns"), 0
    leaps = leap_seconds(time)
    if inserted:
        time += SECOND
        if leap_seconds(time) == leaps:
            return np.datetime64("NaT", "ns"), 0
    return time, leaps


class NamedBytes(bytes):
    """Contents of an XML file, with its name for errors."""

    name: str

    def __new__(cls, data: bytes, name: str) -> Self:
        """Name contents."""
        named = super().__new__(cls, data)
        named.name = name
        return named


def _contents(source: XmlSource) -> tuple[bytes, str]:
    """Return the decompressed bytes of a source, and its name for errors."""
    if isinstance(source, bytes):
        name, data = getattr(source, "name", "XML from memory"), bytes(source)
    else:
        path = Path(source)
        name = str(path)
        if path.is_dir():
            msg = (
                f"{name} is a folder, expected an XML file: pass one file of its 'annotation' "
                "folder, such as s1a-iw-grd-vv-*.xml"
            )
            raise AnnotationError(msg)
        data = path.read_bytes()
    if data.startswith(XZ_MAGIC):
        data = _decompressed(data, name)
    if len(data) > LARGEST_BYTES:
        raise AnnotationError(_too_large(name))
    return data, name


def _decompressed(data: bytes, name: str) -> bytes:
    decompressor = lzma.LZMADecompressor(memlimit=LARGEST_DICTIONARY)
    try:
        contents = decompressor.decompress(data, max_length=LARGEST_BYTES + 1)
    except lzma.LZMAError as error:
        msg = f"{name} is damaged ({error}): expected a whole .xz file, fetch it again"
        raise AnnotationError(msg) from error
    if not decompressor.eof and len(contents) <= LARGEST_BYTES:
        msg = f"{name} is cut short: expected a whole .xz file, fetch it again"
        raise AnnotationError(msg)
    return contents


def _too_large(name: str) -> str:
    return (
        f"{name} holds more than {LARGEST_BYTES >> 20} MiB of XML, expected an annotation or orbit "
        "file of a few MiB: check where it came from"
    )


def _parsed(data: bytes, name: str) -> Element:
    # Each element opens, and all but the empty ones close.
    if data.count(b"<") > 2 * MOST_ELEMENTS:
        msg = (
            f"{name} has more than {MOST_ELEMENTS} elements, expected an annotation or orbit file "
            "of 100,000 or fewer: it was not read, check where it came from"
        )
        raise AnnotationError(msg)
    try:
        return defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        msg = (
            f"{name} declares a document type or entities, which Sentinel-1 files never do and "
            "which can be used for attacks: it was not read, fetch the original file"
        )
        raise AnnotationError(msg) from error
    except (ParseError, LookupError, ValueError) as error:
        beginning = data[:SHOWN_CHARACTERS].decode("utf-8", "replace").strip()
        msg = (
            f"{name} is not a complete XML file ({error}); it begins with {beginning!r}: if it was "
            "cut short, fetch it again"
        )
        raise AnnotationError(msg) from error


def decimal_numbers(texts: Sequence[str]) -> NDArray[np.float64]:
    """Convert decimal numbers; a single NaN if one of them is none."""
    try:
        values = np.array([float(text) for text in texts if NUMERALS.issuperset(text)])
    except ValueError:
        values = np.empty(0)
    return values if values.size == len(texts) else np.array([np.nan])


class Document:
    """A parsed XML file, or one element of it, whose values are checked when they are read.

    Paths are those of `xml.etree.ElementTree`: child names joined by slashes.
    """

    def __init__(self, element: Element, name: str, trail: str, leaps: int | None = None) -> None:
        self._element = element
        self.name = name
        self._trail = trail
        self._leaps = leaps

    @classmethod
    def read(cls, source: XmlSource, *, root: str, kind: str) -> Document:
        """Parse a file."""
        data, name = _contents(source)
        element = _parsed(data, name)
        if element.tag != root:
            msg = (
                f"{name} is not {kind}: its outermost element is <{element.tag}>, expected "
                f"<{root}>; pass {kind}"
            )
            raise AnnotationError(msg)
        return cls(element, name, root)

    def refuse(self, path: str, found: str, expected: str) -> NoReturn:
        """Raise the error of an unexpected value."""
        msg = (
            f"{self.name}: {found} at {self._trail}/{path}, expected {expected}; "
            "the file is damaged or of another kind, fetch it again from the archive"
        )
        raise AnnotationError(msg)

    def copied(self) -> Element:
        """Return a deep copy of the element."""
        return deepcopy(self._element)

    def element(self, path: str) -> Document:
        """Return the first element at a path."""
        found = self._element.find(path)
        if found is None:
            self.refuse(path, "nothing", "an element")
        return Document(found, self.name, f"{self._trail}/{path}", self._leaps)

    def elements(self, path: str) -> Iterator[Document]:
        """Iterate over all elements at a path."""
        for index, found in enumerate(self._element.iterfind(path), start=1):
            yield Document(found, self.name, f"{self._trail}/{path}[{index}]", self._leaps)

    def text(self, path: str) -> str:
        """Return the text of an element, stripped."""
        found = self._element.findtext(path)
        if found is None or not found.strip():
            self.refuse(path, "nothing", "a value")
        return found.strip()

    def attribute(self, name: str) -> str:
        """Return an attribute of the element; empty if it has none of that name."""
        return self._element.get(name, "").strip()

    def number(self, path: str) -> float:
        """Return the finite number in an element."""
        values = self.numbers(path, "a finite number")
        if values.size != 1:
            self.refuse(path, f"{values.size} numbers", "a finite number")
        return float(values[0])

    def positive(self, path: str) -> float:
        """Return the finite number above zero in an element."""
        value = self.number(path)
        if value <= 0.0:
            self.refuse(path, f"{value:g}", "a number above zero")
        return value

    def count(self, path: str) -> int:
        """Return the whole number, zero or above, in an element."""
        text = self.text(path)
        if not (text.isascii() and text.isdigit()):
            self.refuse(path, repr(text[:SHOWN_CHARACTERS]), "a whole number")
        return int(text)

    def numbers(self, path: str, expected: str = "a list of finite numbers") -> NDArray[np.float64]:
        """Return the finite decimal numbers, one or more, in an element."""
        text = self.text(path)
        values = decimal_numbers(text.split())
        if not np.isfinite(values).all():
            self.refuse(path, repr(text[:SHOWN_CHARACTERS]), expected)
        return values

    def counting(self, leaps: int) -> Document:
        """Return the element with times whose differences are those of TAI.

        Times before which more seconds were inserted than `leaps` are named as if there had been
        no more.
        """
        return Document(self._element, self.name, self._trail, leaps)

    def leaps(self, path: str) -> int:
        """Return how many seconds were inserted into UTC before the time in an element."""
        self.time(path)
        return self._parsed_time(path)[1]

    def _parsed_time(self, path: str) -> tuple[np.datetime64, int]:
        return parse_utc(self.text(path).removeprefix("UTC=").removesuffix("Z"))

    def time(self, path: str) -> np.datetime64:
        """Return the UTC time in an element, with or without the prefix ``UTC=`` of EOF files."""
        time, leaps = self._parsed_time(path)
        if np.isnat(time):
            self.refuse(
                path,
                repr(self.text(path)[:SHOWN_CHARACTERS]),
                "a UTC time such as 2021-04-01T05:26:23.794457",
            )
        return time if self._leaps is None else time + (leaps - self._leaps) * SECOND
