"""Making XML in the form of Sentinel-1's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element, indent, tostring

import numpy as np
from numpy.typing import ArrayLike

from sarheight._time import nanoseconds

__all__ = ["document", "listed", "node", "number", "numbers", "put", "utc", "utc_of"]

HALF_MICROSECOND = np.timedelta64(500, "ns")


def node(
    tag: str, content: str | Iterable[Element] = "", attributes: Mapping[str, str] | None = None
) -> Element:
    """Make an element.

    Parameters
    ----------
    tag : str
        Its name, with a prefix and a colon where it has a namespace.
    content : str or iterable of Element
        Its text, or what is in it.
    attributes : mapping, optional
        By name its attributes.
    """
    element = Element(tag, dict(attributes or {}))
    if isinstance(content, str):
        element.text = content
    else:
        element.extend(content)
    return element


def listed(tag: str, items: Iterable[Element]) -> Element:
    """Make a list as Sentinel-1 has them, whose attribute ``count`` tells the items."""
    children = list(items)
    return node(tag, children, {"count": str(len(children))})


def put(root: Element, path: str, content: str | Element) -> None:
    """Put a text into the element at a path, or another element in its place.

    What is not there stays away: annotations of different ages differ in their elements.
    """
    if isinstance(content, str):
        for found in root.iterfind(path):
            found.text = content
        return
    parent = root.find(path.rpartition("/")[0] or ".")
    old = root.find(path)
    if parent is not None and old is not None:
        parent[list(parent).index(old)] = content


def document(root: Element, remark: str) -> bytes:
    """Write a document with a remark at its top, indented like those of ESA."""
    indent(root)
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- {remark} -->\n'
    text: str = tostring(root, encoding="unicode")
    return f"{head}{text}\n".encode()


def number(value: float) -> str:
    """Write a number with all its digits."""
    return f"{value:.15e}"


def numbers(tag: str, values: ArrayLike, form: str = ".15e") -> Element:
    """Write a list of numbers, whose attribute ``count`` tells how many they are."""
    flat = np.ravel(values)
    return node(tag, " ".join(format(value, form) for value in flat), {"count": str(flat.size)})


def utc(time: np.datetime64) -> str:
    """Write a time (UTC), rounded to a microsecond."""
    rounded = (nanoseconds(time) + HALF_MICROSECOND).astype("datetime64[us]")
    return str(rounded)


def utc_of(epoch: np.datetime64, seconds: float) -> np.datetime64:
    """Return the time (UTC) that is so many seconds after an epoch."""
    time: np.datetime64 = nanoseconds(epoch) + np.timedelta64(round(seconds * 1e9), "ns")
    return time
