"""Where a product is, and whether its outside can be trusted."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zipfile import ZIP_DEFLATED, ZIP_STORED

from sarheight.errors import ProductError
from sarheight.sentinel1._ranges import asked

if TYPE_CHECKING:
    from zipfile import ZipInfo

    from fsspec import AbstractFileSystem

    from sarheight.sentinel1._ranges import Extent

__all__ = [
    "MANIFEST",
    "is_local",
    "is_zip",
    "located",
    "product_folder",
    "product_prefix",
    "require_good_member",
    "require_safe_name",
]

MANIFEST = "manifest.safe"
LARGEST_MEMBER = 32 * 2**30
"""Bytes of any file of a product: the largest measurements have some five GiB."""

ENCRYPTED = 0x1
EXPECTED = "expected a Sentinel-1 product: a folder *.SAFE with a manifest.safe, or a .zip of one"


def require_safe_name(name: str, shown: str) -> None:
    """Check that a name stays inside its product.

    Parameters
    ----------
    name : str
        As a zip's directory or a manifest gives it.
    shown : str
        What to call the product in errors.

    Raises
    ------
    ProductError
        If the name is absolute, climbs out, or is not a plain POSIX path.
    """
    parts = name.removesuffix("/").split("/")
    if (
        "\\" in name
        or "\0" in name
        or ":" in parts[0]
        or any(part in {"", ".", ".."} for part in parts)
    ):
        msg = (
            f"{shown} holds a file that is called {name!r}, which leads out of the product or is "
            "no plain name: it was not opened, fetch the original from the archive"
        )
        raise ProductError(msg)


def located(source: str, storage_options: dict[str, Any]) -> tuple[AbstractFileSystem, str, str]:
    """Return the file system of a source, its path there, and what to call it in errors."""
    from fsspec.core import url_to_fs

    if "://" not in source:
        source = str(Path(source).expanduser().absolute())
        if not Path(source).exists():
            msg = f"there is no '{source}'; {EXPECTED}"
            raise FileNotFoundError(msg)
        files, path = url_to_fs(f"file://{source}")
        return files, path, source
    parts = urlsplit(source)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    try:
        files, path = url_to_fs(source, **storage_options)
    except (ImportError, ValueError) as error:
        msg = (
            f"{shown} cannot be opened ({error}): products on servers need the extra 'fetch', "
            "pip install 'sarheight[fetch]'"
        )
        raise ProductError(msg) from error
    return files, path, shown


def is_local(files: AbstractFileSystem) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(files, LocalFileSystem)


def is_zip(files: AbstractFileSystem, path: str, shown: str) -> bool:
    suffix = PurePosixPath(urlsplit(path).path).suffix.lower()
    if is_local(files) and Path(path).is_dir():
        return False
    if suffix == ".zip":
        return True
    if suffix == ".safe":
        return False
    return bool(asked(shown, files.cat_file, path, start=0, end=2) == b"PK")


def product_folder(files: AbstractFileSystem, path: str, shown: str) -> str:
    """Find the folder that is the product: this one, or the only SAFE folder in it."""
    if asked(shown, files.isfile, f"{path}/{MANIFEST}"):
        return path
    inside = []
    if is_local(files):
        inside = sorted(each.parent for each in Path(path).glob(f"*/{MANIFEST}"))
    if len(inside) > 1:
        raise ProductError(_several(shown, [each.name for each in inside]))
    if not inside:
        msg = f"{shown} has no {MANIFEST}; {EXPECTED}"
        raise ProductError(msg)
    return str(inside[0])


def product_prefix(names: list[str], shown: str) -> str:
    """Find the folder inside a zip that is the product, with its slash."""
    manifests = sorted(name for name in names if name == MANIFEST or name.endswith(f"/{MANIFEST}"))
    if not manifests:
        msg = f"{shown} has no {MANIFEST} in it; {EXPECTED}"
        raise ProductError(msg)
    if len(manifests) > 1:
        raise ProductError(_several(shown, [name.rpartition("/")[0] for name in manifests]))
    return manifests[0].removesuffix(MANIFEST)


def _several(shown: str, names: list[str]) -> str:
    return (
        f"found {len(names)} products in {shown} ({', '.join(names[:3])}), expected one: pass one "
        "of them alone"
    )


def require_good_member(info: ZipInfo, archive: Extent) -> None:
    """Check what a zip's directory says of a file, before anything of it is unpacked."""
    require_safe_name(info.orig_filename, archive.shown)
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        problem = f"packed by method {info.compress_type}, expected it stored or deflated"
    elif info.flag_bits & ENCRYPTED:
        problem = "encrypted, expected it open to read"
    elif info.file_size > LARGEST_MEMBER:
        problem = f"said to unpack to {info.file_size >> 30} GiB, expected a few"
    elif info.header_offset + info.compress_size > archive.size:
        problem = "beyond the end of the archive: it is cut short"
    else:
        return
    msg = f"{info.filename} in {archive.shown} is {problem}; fetch the original from the archive"
    raise ProductError(msg)
