"""Products of radar missions, as they come from the archive.

This opens the calibrated image of a place::

    from sarheight.product import open_product

    product = open_product("S1A_IW_GRDH_….SAFE.zip")
    scene = product.scene(polarisations=("VV",), bounds=(10.6, 46.6, 11.2, 47.0))

A new mission is one new room with two functions, ``recognises`` and ``open_product``, whose
products follow the protocol `Product`, and one line of `READERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

from sarheight._files import without_secrets
from sarheight.errors import ProductError

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from sarheight.geometry.placement import Bounds
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration, Scene

__all__ = ["Product", "is_product", "open_product"]
__dir__ = __all__.copy  # `dir` lists the public names

READERS = {
    "NISAR": "sarheight.nisar",
    "SICD": "sarheight.sicd",
    "Sentinel-1": "sarheight.sentinel1",
}
"""Missions, or forms of products, and the rooms that open them; the first that recognises one opens
it."""

PRODUCT_SUFFIXES = (".safe", ".zip", ".h5", ".hdf5", ".nitf", ".ntf")
"""What products of all missions are called, whether or not they are known."""


class Product(Protocol):
    """A product of a radar mission."""

    @property
    def name(self) -> str:
        """Name of the product."""

    @property
    def mission(self) -> str:
        """Short name of the satellite, such as "S1A"."""

    @property
    def product_type(self) -> str:
        """Kind of the product, such as "GRD"."""

    @property
    def polarisations(self) -> tuple[str, ...]:
        """Polarisations of the product."""

    @property
    def swaths(self) -> tuple[str, ...]:
        """Swaths of the product."""

    @property
    def start(self) -> np.datetime64:
        """Time of its first line (UTC)."""

    @property
    def stop(self) -> np.datetime64:
        """Time of its last line (UTC)."""

    @property
    def footprint(self) -> NDArray[np.float64]:
        """Corners of the image: longitude and latitude in degrees, shape (n, 2)."""

    def burst_footprint(self, burst: int, swath: str = "") -> NDArray[np.float64]:
        """Points in a burst: longitude and latitude in degrees, shape (n, 2); see `scene`."""

    def summary(self) -> Sequence[tuple[str, str]]:
        """Describe the product as pairs of a label and a text."""

    def grid_and_orbit(
        self, *, swaths: Sequence[str] = (), orbit: Orbit | str | os.PathLike[str] | None = None
    ) -> tuple[RadarGrid, Orbit]:
        """Read the radar grid and the orbit, without the image."""

    def scene(
        self,
        *,
        polarisations: Sequence[str] = (),
        calibration: Calibration = "beta0",
        bounds: Bounds | None = None,
        heights: tuple[float, float] = ...,
        multilook: tuple[int, int] | None = None,
        spacing: float | None = None,
        swaths: Sequence[str] = (),
        burst: int | None = None,
        noise_removal: bool = True,
        border_cleaning: bool | None = None,
        orbit: Orbit | str | os.PathLike[str] | None = None,
    ) -> Scene:
        """Open the calibrated image; it is read when it is computed.

        ValueError where the product does not have what an option asks for, such as bursts.
        """

    def noise(
        self,
        *,
        polarisations: Sequence[str] = (),
        calibration: Calibration = "beta0",
        bounds: Bounds | None = None,
        heights: tuple[float, float] = ...,
        multilook: tuple[int, int] | None = None,
        spacing: float | None = None,
        swaths: Sequence[str] = (),
        burst: int | None = None,
        orbit: Orbit | str | os.PathLike[str] | None = None,
    ) -> Scene | None:
        """Open the thermal noise as an image, sampled as `scene`; None where it is not stated."""

    def verify(self) -> None:
        """Compare all files with the checksums of the product's own list."""

    @property
    def unverified(self) -> tuple[str, ...]:
        """Files of which parts were read so far, without comparing a checksum that they have."""


def open_product(
    source: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> Product:
    """Open a product as it comes from the archive.

    Only the metadata of the product are read. Its image is read when it is computed, and of a
    part of the image only the part.

    Parameters
    ----------
    source : str or path
        Folder, zip or URL of a product. Of Sentinel-1: a SAFE folder, a zip of one, or a URL of
        either (``https://``, ``s3://`` …; these need the extra ``fetch``), or an EOPF store
        (``.zarr``, ``.zarr.zip``, or a URL of the former). Of NISAR: the HDF5 file (``.h5``) of an
        RSLC. Of Umbra, Capella, ICEYE and others: the NITF file (``.nitf``, ``.ntf``) of a SICD,
        which needs the extra ``sicd``.
    storage_options : mapping, optional
        Options of fsspec's file system, such as ``{"anon": True}`` for an open bucket; or, under
        the name ``storage``, the file system of a SAFE product itself.

    Returns
    -------
    Product

    Raises
    ------
    FileNotFoundError
        If there is no such source.
    ProductError
        If it is no product of a known mission, more than one, incomplete, damaged, unsafe, or of a
        kind that cannot be read.
    MissingLibraryError
        If the library that reads it is not installed.
    """
    known = " or ".join(READERS)
    if "://" not in str(source) and not Path(source).expanduser().exists():
        msg = f"there is no '{source}'; expected a product of {known}"
        raise FileNotFoundError(msg)
    for reader in READERS.values():
        module = importlib.import_module(reader)
        if module.recognises(source, storage_options=storage_options):
            return cast("Product", module.open_product(source, storage_options=storage_options))
    name = without_secrets(str(source))
    msg = (
        f"'{name}' is no product of a known mission; expected one of {known}: a SAFE folder, its "
        "zip, an EOPF store, an HDF5 file of an RSLC, or a NITF file of a SICD, as the archive "
        "delivers it"
    )
    raise ProductError(msg)


def is_product(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is a product, by its name: not a raster or an annotation.

    Parameters
    ----------
    source : str or path
        A path or URL.

    Returns
    -------
    bool
        True for zips, HDF5 and NITF files, manifests, URLs, and folders, of Zarr stores only those
        of EOPF products.
    """
    text = str(source)
    if "://" in text:
        return bool(urlsplit(text).netloc or urlsplit(text).path)
    suffix = PurePath(text.lower().rstrip("/")).suffix
    if suffix == ".zarr":
        readers = map(importlib.import_module, READERS.values())
        return Path(text).exists() and any(reader.recognises(source) for reader in readers)
    return suffix in PRODUCT_SUFFIXES or Path(text).is_dir()
