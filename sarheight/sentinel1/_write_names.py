"""How Sentinel-1 products and their files are called, and which orbits they are of."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from sarheight._annotation import Annotation

__all__ = ["file_name", "product_name"]

POLARISATIONS = {
    frozenset({"HH"}): "SH",
    frozenset({"VV"}): "SV",
    frozenset({"HH", "HV"}): "DH",
    frozenset({"VV", "VH"}): "DV",
    frozenset({"HV"}): "HV",
    frozenset({"VH"}): "VH",
}
RESOLUTIONS = {
    ("SM", 3.5): "F",
    ("SM", 10.0): "H",
    ("SM", 40.0): "M",
    ("IW", 10.0): "H",
    ("IW", 40.0): "M",
    ("EW", 25.0): "H",
    ("EW", 40.0): "M",
}
"""Resolution class of a GRD by mode and pixel spacing in metres."""


def _compact(time: np.datetime64) -> str:
    """Write a time as names have it, to the second."""
    return str(time.astype("datetime64[s]")).replace("-", "").replace(":", "")


def file_name(
    annotation: Annotation,
    number: int,
    begin: np.datetime64,
    end: np.datetime64,
    orbit: int,
    datatake: int,
) -> str:
    """Return the name of an image's files, without suffix.

    Such as ``s1a-iw1-slc-vv-20230904t063731-20230904t063756-050174-0609e3-004``.
    """
    parts = [
        annotation.mission,
        annotation.swath,
        annotation.product_type,
        annotation.polarisation,
        _compact(begin),
        _compact(end),
        f"{orbit:06d}",
        f"{datatake:06x}",
        f"{number:03d}",
    ]
    return "-".join(parts).lower()


def product_name(
    annotation: Annotation,
    polarisations: Collection[str],
    begin: np.datetime64,
    end: np.datetime64,
    orbit: int,
    datatake: int,
    contents: bytes,
) -> str:
    """Return the name of a product, with its suffix.

    Such as ``S1A_IW_SLC__1SDV_20230904T063731_20230904T063758_050174_0609E3_DBA5.SAFE``. The four
    characters at its end tell products of the same time apart: they are a checksum (CRC-16) of
    `contents`.
    """
    polarised = POLARISATIONS.get(frozenset(polarisations))
    if polarised is None:
        msg = (
            f"found polarisations {', '.join(polarisations)}, expected one of them, VV and VH, or "
            "HH and HV: no product has others together"
        )
        raise ValueError(msg)
    kind = annotation.product_type
    spacing = round(annotation.range_spacing, 1)
    resolution = RESOLUTIONS.get((annotation.mode, spacing), "_") if kind == "GRD" else "_"
    unique = binascii.crc_hqx(contents, 0xFFFF)
    return (
        f"{annotation.mission}_{annotation.mode}_{kind}{resolution}_1S{polarised[-2:]}_"
        f"{_compact(begin)}_{_compact(end)}_{orbit:06d}_{datatake:06X}_{unique:04X}.SAFE"
    )
