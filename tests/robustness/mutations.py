"""Mutations of files: bytes, texts, XML, JSON, and the members of folders and archives.

Every mutation takes the content of a file and a random generator, and returns the content of the
mutant. The same generator makes the same mutant.
"""

from __future__ import annotations

import copy
import io
import json
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

__all__ = [
    "Mutation",
    "bytes_of",
    "folder_mutant",
    "json_of",
    "odd_file",
    "raster_of",
    "text_of",
    "xml_of",
    "zip_of",
]

Random = np.random.Generator
Mutation = Callable[[bytes, Random], bytes]

NUMBER = re.compile(rb"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
HOSTILE_NUMBERS = (
    *("0", "-1", "1", "nan", "inf", "-inf", "1e308", "-1e308", "1e-308", "1e999", "1_000"),
    *("99999999999999999999", "0x10", "", "１２", "²", "1,5", "--1", "1e", "true", "None"),
)
HOSTILE_TEXTS = (
    *("", " ", "\x00", "é", "☃", "\\", "../../../etc/passwd", "/dev/zero", "http://127.0.0.1:9/"),
    *("%s%n", "{0}", "'", '"', "<", "&", "]]>", "A" * 5000, "NaN", "\ud7ff", "-", "[", "{"),
)
DEEP = 100_000


def bytes_of(data: bytes, random: Random) -> bytes:
    """Flip, overwrite, cut, insert, repeat or exchange bytes."""
    if not data:
        return b"\x00"
    mutant = bytearray(data)
    size = len(mutant)
    start = int(random.integers(size))
    length = min(int(2.0 ** random.uniform(0.0, 11.0)), size - start)
    match int(random.integers(9)):
        case 0 | 1:
            mutant[start] ^= 1 << int(random.integers(8))
        case 2:
            mutant[start : start + length] = random.bytes(length)
        case 3:
            mutant[start : start + length] = bytes(length)
        case 4:
            del mutant[start:]
        case 5:
            del mutant[start : start + length]
        case 6:
            mutant[start:start] = random.bytes(length)
        case 7:
            mutant[start:start] = mutant[start : start + length]
        case _:
            other = int(random.integers(size))
            length = min(length, size - other)
            part = mutant[start : start + length]
            mutant[start : start + length] = mutant[other : other + length]
            mutant[other : other + length] = part[:length].ljust(length, b"\xff")
    return bytes(mutant)


def _hostile(random: Random, number: bytes = b"") -> bytes:
    """Draw a number or text that no file of the kind has, or one close to the number."""
    choice = int(random.integers(6))
    if choice < 2 and number:
        value = float(number)
        factor = random.choice([1.0 + 1e-9, 1.0001, 1.01, 2.0, -1.0, 10.0, 1e6, 0.5])
        return repr(value * factor if choice else value + random.choice([1.0, -1.0])).encode()
    if choice < 5:
        return str(random.choice(HOSTILE_NUMBERS)).encode()
    return str(random.choice(HOSTILE_TEXTS)).encode("utf-8", "surrogatepass")


def text_of(data: bytes, random: Random) -> bytes:
    """Change a number, a line or the characters of a text."""
    choice = int(random.integers(10))
    numbers = list(NUMBER.finditer(data))
    lines = data.splitlines(keepends=True)
    if choice < 5 and numbers:
        found = numbers[int(random.integers(len(numbers)))]
        return data[: found.start()] + _hostile(random, found[0]) + data[found.end() :]
    if choice == 5 and lines:
        del lines[int(random.integers(len(lines)))]
        return b"".join(lines)
    if choice == 6 and lines:
        lines.insert(int(random.integers(len(lines))), lines[int(random.integers(len(lines)))])
        return b"".join(lines)
    if choice == 7:
        start = int(random.integers(len(data) + 1))
        opening = [b"[", b"{", b'{"a":', b"(", b'"', b"\xff\xfe", b"\x00", b"a.", b"[["]
        repeats = int(random.choice([1, 10, 2_000, DEEP]))
        return data[:start] + opening[int(random.integers(len(opening)))] * repeats + data[start:]
    if choice == 8:
        words = list(re.finditer(rb"\w+", data))
        if words:
            found = words[int(random.integers(len(words)))]
            return data[: found.start()] + _hostile(random) + data[found.end() :]
    return bytes_of(data, random)


def xml_of(data: bytes, random: Random) -> bytes:
    """Remove, repeat, empty, rename or exchange an element, or change a number in it."""
    choice = int(random.integers(12))
    if choice == 0:
        return bytes_of(data, random)
    if choice == 1:
        return b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]>' + data.partition(b"?>")[2]
    root = ET.fromstring(data)  # noqa: S314  # made here
    parents = {child: parent for parent in root.iter() for child in parent}
    nodes = list(root.iter())
    node = nodes[int(random.integers(len(nodes)))]
    parent = parents.get(node)
    if choice == 2 and parent is not None:
        parent.remove(node)
    elif choice == 3 and parent is not None:
        parent.insert(int(random.integers(len(parent) + 1)), copy.deepcopy(node))
    elif choice == 4:
        node.text = None
    elif choice == 5:
        node.tag = str(random.choice(["a", "count", nodes[int(random.integers(len(nodes)))].tag]))
    elif choice == 6 and node.attrib:
        node.set(next(iter(node.attrib)), str(random.choice(HOSTILE_NUMBERS)))
    elif choice == 7:
        deep = node
        for _ in range(int(random.choice([3, 500, 20_000]))):
            deep = ET.SubElement(deep, "a")
        return _serialized(root)
    elif choice == 8:
        node.text = (node.text or "") * 3
    else:
        leaves = [leaf for leaf in nodes if leaf.text and NUMBER.search(leaf.text.encode())]
        if leaves:
            leaf = leaves[int(random.integers(len(leaves)))]
            text = (leaf.text or "").encode()
            numbers = list(NUMBER.finditer(text))
            found = numbers[int(random.integers(len(numbers)))]
            changed = text[: found.start()] + _hostile(random, found[0]) + text[found.end() :]
            leaf.text = re.sub(
                r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", changed.decode("utf-8", "replace")
            )
    return _serialized(root)


def _serialized(root: ET.Element) -> bytes:
    """Write XML without recursion, which deep trees would exhaust."""
    parts: list[str] = []
    todo: list[ET.Element | str] = [root]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        attributes = "".join(f' {key}="{_escaped(value)}"' for key, value in item.attrib.items())
        parts.append(f"<{item.tag}{attributes}>{_escaped(item.text or '')}")
        todo.append(f"</{item.tag}>")
        todo.extend(reversed(list(item)))
    return "".join(parts).encode("utf-8", "replace")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def json_of(data: bytes, random: Random) -> bytes:
    """Remove, exchange or change a value of JSON, or its text."""
    if random.random() < 0.35:
        return text_of(data, random)
    content = json.loads(data)
    places: list[tuple[Any, Any]] = []
    todo = [content]
    while todo:
        item = todo.pop()
        keys = item.keys() if isinstance(item, dict) else range(len(item))
        for key in keys:
            places.append((item, key))
            if isinstance(item[key], dict | list):
                todo.append(item[key])
    if not places:
        return b"[]"
    item, key = places[int(random.integers(len(places)))]
    if isinstance(item, dict) and random.random() < 0.2:
        del item[key]
        return json.dumps(content).encode()
    hostile: list[Any] = [
        *(None, True, -1, 0, 1, 3.7, 1e308, float("nan"), float("inf"), 10**30, "", "x", "NaN"),
        *([], {}, [1], {"a": 1}, [[]], "A" * 5000, "2021-13-45", "../../x", "é☃", [None], -(2**63)),
    ]
    value = hostile[int(random.integers(len(hostile)))]
    if isinstance(item[key], int | float) and not isinstance(item[key], bool):
        if random.random() < 0.4:
            value = item[key] * float(random.choice([1.0001, 1.01, 2.0, -1.0, 1e6]))
    elif isinstance(item[key], str) and random.random() < 0.4:
        value = text_of(item[key].encode(), random).decode("utf-8", "replace")
    item[key] = value
    return json.dumps(content).encode()


def zip_of(data: bytes, random: Random) -> bytes:
    """Change bytes of an archive, or a member of it, whose checksum is then that of the mutant."""
    if random.random() < 0.8:
        return bytes_of(data, random)
    archive, mutant = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    names = archive.namelist()
    chosen = names[int(random.integers(len(names)))]
    with zipfile.ZipFile(mutant, "w", zipfile.ZIP_DEFLATED) as written:
        for name in names:
            content = archive.read(name)
            written.writestr(name, bytes_of(content, random) if name == chosen else content)
    return mutant.getvalue()


def raster_of(data: bytes, random: Random) -> bytes:
    """Put a GeoTIFF elsewhere, or give it numbers, that no elevation model or image has."""
    from affine import Affine
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile

    with MemoryFile(data) as memory, memory.open() as file:
        values, profile = file.read(), file.profile
    place = profile["transform"]
    match int(random.integers(5)):
        case 0:
            profile["crs"] = str(random.choice(ODD_SYSTEMS)) or None
        case 1:
            odd = [
                Affine.identity(),
                place @ Affine.rotation(20.0),
                place @ Affine.scale(1.0, -1.0),
            ]
            odd += [place @ Affine.scale(1e-7), place @ Affine.scale(1e9), Affine(*[np.nan] * 6)]
            odd += [Affine(0.0, 0.0, 0.0, 0.0, 0.0, 0.0), place @ Affine.translation(1e6, 1e6)]
            profile["transform"] = odd[int(random.integers(len(odd)))]
        case 2:
            number = float(random.choice([np.nan, np.inf, -np.inf, 0.0, -32768.0, 1e30, 9000.0]))
            row, column = (int(random.integers(size)) for size in values.shape[1:])
            chosen = ... if random.random() < 0.5 else (..., row, column)
            if values.dtype.kind == "f":
                values[chosen] = number
        case 3:
            profile["dtype"] = str(random.choice(["uint8", "int16", "float64", "complex64"]))
            profile["nodata"] = None
        case _:
            count = int(random.choice([2, 3, 300]))
            values, profile["count"] = np.repeat(values[:1], count, axis=0), count
    try:
        with MemoryFile() as memory, warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with memory.open(**profile) as file:
                file.write(values.astype(profile["dtype"]))
            return bytes(memory.read())
    except (ValueError, RasterioError):  # no GeoTIFF can hold that
        return bytes_of(data, random)


ODD_SYSTEMS = (
    "",
    "IAU_2015:30100",  # the Moon
    "IAU_2015:49910",  # Mars
    "EPSG:4978",  # geocentric
    "EPSG:3031",  # the other pole
    "EPSG:4326",
    "EPSG:5773",  # heights alone
    'LOCAL_CS["a place",UNIT["metre",1]]',
    "+proj=lcc +lat_1=10 +lat_2=-10 +a=1 +b=1",
)


def odd_file(path: Path, random: Random) -> str:
    """Put something that is no ordinary file in place of a file or folder; tell what."""
    made = ("pipe", "folder", "empty file", "sparse file", "loop", "device", "dangling link")
    kind = str(random.choice(made))
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in {"empty file", "sparse file"}:
        path.write_bytes(b"")
        if kind == "sparse file":
            os.truncate(path, 1 << 42)
    else:
        names = {"loop": path, "device": "/dev/zero", "dangling link": "/nothing"}
        path.symlink_to(names[kind])
    return kind


def folder_mutant(
    source: Path, target: Path, random: Random, mutations: Sequence[Mutation], odd: float = 0.0
) -> str:
    """Copy a file or folder and mutate one file of it; tell what was done.

    `odd` is the part of mutants in which it is no ordinary file.
    """
    if odd and random.random() < odd:
        if source.is_file() or random.random() < 0.5:
            return odd_file(target, random)
        shutil.copytree(source, target)
        files = sorted(file for file in target.rglob("*") if file.is_file())
        file = files[int(random.integers(len(files)))]
        return f"{file.relative_to(target).as_posix()} {odd_file(file, random)}"
    if source.is_file():
        mutation = mutations[int(random.integers(len(mutations)))]
        target.write_bytes(mutation(source.read_bytes(), random))
        return mutation.__name__
    shutil.copytree(source, target)
    files = sorted(file for file in target.rglob("*") if file.is_file())
    # Folders of few large files and many small ones are hit at the large ones too.
    sizes = np.array([file.stat().st_size for file in files], dtype=float)
    weights = 0.5 / len(files) + 0.5 * sizes / max(sizes.sum(), 1.0)
    file = files[int(random.choice(len(files), p=weights / weights.sum()))]
    name = file.relative_to(target).as_posix()
    choice = int(random.integers(10))
    if choice == 0:
        file.unlink()
        return f"{name} deleted"
    if choice == 1:
        file.write_bytes(b"")
        return f"{name} emptied"
    content = file.read_bytes()
    known: dict[bytes, Mutation] = {b"{": json_of, b"<": xml_of}
    mutation = known.get(content[:1], bytes_of) if choice < 6 else bytes_of
    try:
        file.write_bytes(mutation(content, random))
    except (ValueError, ET.ParseError):
        file.write_bytes(bytes_of(content, random))
    return f"{name} {mutation.__name__}"
