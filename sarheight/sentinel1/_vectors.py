"""Tables that are given along a few lines of an image, and looked up for blocks of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sarheight._annotation import Annotation
    from sarheight._xml import Document

__all__ = ["LineVectors", "read_vectors", "require_same_image"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LineVectors:
    """Values along some lines of an image; between them they are interpolated bilinearly.

    Attributes
    ----------
    lines : array, shape (k,)
        Ascending lines of the image file; some may lie before or after it.
    pixels, values : sequence of k arrays, shape (n,)
        Ascending samples and the values there; each line may have samples of its own.
    """

    lines: Floats
    pixels: Sequence[Floats]
    values: Sequence[Floats]

    def block(self, lines: Floats, samples: Floats) -> NDArray[np.float32]:
        """Interpolate the values of a block of pixels, as far as there are some.

        Parameters
        ----------
        lines, samples : array, shape (l,) and (s,)
            Lines, ascending, and samples. Beyond the first and last vector, and beyond the first
            and last value of one, the nearest value goes on.

        Returns
        -------
        array, shape (l, s)
        """
        position = np.interp(lines, self.lines, np.arange(self.lines.size, dtype=np.float64))
        before = np.minimum(position.astype(np.intp), max(self.lines.size - 2, 0))
        share = (position - before).astype(np.float32)[:, None]
        first, last = int(before[0]), int(before[-1])
        rows = np.array(
            [
                np.interp(samples, self.pixels[index], self.values[index])
                for index in range(first, min(last + 2, self.lines.size))
            ],
            dtype=np.float32,
        )
        after = np.minimum(before - first + 1, rows.shape[0] - 1)
        found: NDArray[np.float32] = rows[before - first]
        found += share * (rows[after] - found)
        return found


def require_same_image(root: Document, annotation: Annotation) -> None:
    """Check that a calibration or noise annotation is that of an image.

    Raises
    ------
    AnnotationError
        If it is of another swath or polarisation.
    """
    for name in ("swath", "polarisation"):
        found, expected = root.text(f"adsHeader/{name}"), getattr(annotation, name)
        if found != expected:
            root.refuse(f"adsHeader/{name}", repr(found), f"{expected!r} as in {annotation.name}")


def read_vectors(
    records: Sequence[Document], lists: Sequence[str], *, smallest: float
) -> dict[str, LineVectors]:
    """Read vectors out of calibration or noise annotations.

    Parameters
    ----------
    records : sequence of Document
        Elements with a ``line``, a list ``pixel``, and lists of values; at least one.
    lists : sequence of str
        Names of the lists of values.
    smallest : float
        Values below this are an error.

    Returns
    -------
    dict
        By the names of the lists.

    Raises
    ------
    AnnotationError
        If lists differ in length or make no sense.
    """
    lines = np.array([record.number("line") for record in records])
    order = np.argsort(lines, kind="stable")
    lines = lines[order]
    sorted_records = [records[index] for index in order]
    pixels = [record.numbers("pixel") for record in sorted_records]
    for record, pixel in zip(sorted_records, pixels, strict=True):
        if (np.diff(pixel) < 0).any():
            record.refuse("pixel", "pixels that do not ascend", "them in order")
    found = {}
    for name in lists:
        values = [record.numbers(name) for record in sorted_records]
        for record, pixel, value in zip(sorted_records, pixels, values, strict=True):
            if value.size != pixel.size:
                record.refuse(name, f"{value.size} values", f"one for each of {pixel.size} pixels")
            if (value < smallest).any():
                record.refuse(name, f"the value {value.min():g}", f"at least {smallest:g}")
        found[name] = LineVectors(lines, pixels, values)
    return found
