"""Files that come in a zip of their own."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING

from sarheight.errors import ChecksumError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["unpack"]

LARGEST = 256 * 2**20


def unpack(path: Path, suffix: str) -> None:
    """Put the one file in a zip in the zip's place.

    Parameters
    ----------
    path : path
        A zip.
    suffix : str
        How the name of the file in it ends.

    Raises
    ------
    ChecksumError
        If there is not exactly one such file, or it is damaged or unreasonably large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = [each for each in archive.infolist() if each.filename.endswith(suffix)]
            if len(wanted) != 1 or wanted[0].file_size > LARGEST:
                msg = f"what came holds {len(wanted)} files {suffix}, expected one of normal size"
                raise ChecksumError(msg)
            contents = archive.read(wanted[0])
    except (zipfile.BadZipFile, RuntimeError, zlib.error) as error:
        msg = f"what came is a damaged zip ({type(error).__name__}): fetch it again"
        raise ChecksumError(msg) from None
    path.write_bytes(contents)
