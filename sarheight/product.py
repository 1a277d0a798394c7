"""Products of radar missions, as they come from the archive.

This opens the calibrated image of a place::

    from sarheight.product import open_product

    product = open_product("S1A_IW_GRDH_….SAFE.zip")
    scene = product.scene(polarisations=("VV",), bounds=(10.6, 46.6, 11.2, 47.0))

A new mission is one new room with two functions, ``recognises`` and ``open_product``, whose
products derive from `Product`, and one line of `READERS`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, NoReturn, cast, get_args
from urllib.parse import urlsplit

from sarheight._files import without_secrets
from sarheight._runtime import Described
from sarheight.errors import ProductError
from sarheight.geometry.placement import HEIGHTS, Cut, describe_place
from sarheight.scene import Scene

if TYPE_CHECKING:
    import os

    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.geometry.placement import Bounds
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration

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


Focusing = Literal["zero", "native"]
"""Doppler geometry to which an image is focused."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Cut):
    """Which image of a product is opened, and how; `Product.scene` describes the fields."""

    polarisations: Sequence[str] = ()
    calibration: Calibration = "beta0"
    swaths: Sequence[str] = ()
    burst: int | None = None
    noise_removal: bool = True
    border_cleaning: bool | None = None
    orbit: Orbit | str | os.PathLike[str] | None = None
    focusing: Focusing = "zero"


class Opened(NamedTuple):
    """An image as a reader opens it: whole, and at the sampling of the file."""

    image: xr.DataArray
    grid: RadarGrid
    orbit: Orbit
    looks: Callable[[int, int], float]  # equivalent number of a mean over lines and samples


class Product(Described, ABC):
    """A product of a radar mission.

    Attributes
    ----------
    name : str
        Name of the product.
    mission : str
        Short name of the satellite, such as "S1A".
    product_type : str
        "GRD" or "SLC".
    polarisations : tuple of str
        Polarisations, such as ("VV", "VH"); of a NISAR RSLC, those of its first frequency.
    swaths : tuple of str
        Swaths, such as ("IW",), or ("IW1", "IW2", "IW3") of an SLC; frequencies of a NISAR RSLC;
        none of a SICD, which holds one image.
    """

    name: str
    mission: str
    product_type: str = "SLC"
    polarisations: tuple[str, ...]
    swaths: tuple[str, ...] = ()
    form: str = ""
    """What a product of the class is called in messages."""
    focusings: ClassVar[tuple[Focusing, ...]] = ("zero",)
    """Doppler geometries to which an image may be focused: one where the product says it."""

    @property
    @abstractmethod
    def start(self) -> np.datetime64:
        """Time of the first line (UTC)."""

    @property
    @abstractmethod
    def stop(self) -> np.datetime64:
        """Time of the last line (UTC)."""

    @property
    @abstractmethod
    def footprint(self) -> NDArray[np.float64]:
        """Corners of the image: longitude and latitude in degrees, shape (n, 2)."""

    @property
    def unverified(self) -> tuple[str, ...]:
        """Files of which parts were read so far, without comparing a checksum that they have."""
        return ()

    def verify(self) -> None:
        """Compare all files with the checksums of the product's own list.

        This reads the whole product. XML files of Sentinel-1 are compared whenever they are read.

        Raises
        ------
        ProductError
            If files are missing or differ, or the product lists no checksums.
        """
        msg = f"{self.name} lists no checksums of its own: compare the file with the archive's"
        raise ProductError(msg)

    def burst_footprint(self, burst: int, swath: str = "") -> NDArray[np.float64]:  # noqa: ARG002  # of others
        """Return points in a burst.

        Parameters
        ----------
        burst : int
            Number of the burst, counted from 0.
        swath : str, optional
            Swath of the burst; by default the first.

        Returns
        -------
        array, shape (n, 2)
            Longitude and latitude in degrees.

        Raises
        ------
        ValueError
            If the product has no bursts.
        IndexError
            If the swath has no such burst.
        """
        return self._refuse(f"burst={burst}")

    @abstractmethod
    def summary(self) -> list[tuple[str, str]]:
        """Describe the product as pairs of a label and a text."""

    def facts(self) -> dict[str, str]:
        """Return the texts of the summary by their labels."""
        return dict(self.summary())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @abstractmethod
    def grid_and_orbit(
        self, *, swaths: Sequence[str] = (), orbit: Orbit | str | os.PathLike[str] | None = None
    ) -> tuple[RadarGrid, Orbit]:
        """Read the radar grid and the orbit, without the image.

        Parameters
        ----------
        swaths : sequence of str
            Swaths of an SLC of Sentinel-1; all by default. The frequency of a NISAR RSLC; by
            default the first.
        orbit : Orbit, path or str, optional
            As for `scene`.

        Returns
        -------
        RadarGrid, Orbit

        Raises
        ------
        ValueError
            If the product does not have what is requested.
        ProductError, AnnotationError
            If something is missing or damaged.
        """

    def scene(
        self,
        *,
        polarisations: Sequence[str] = (),
        calibration: Calibration = "beta0",
        bounds: Bounds | None = None,
        heights: tuple[float, float] = HEIGHTS,
        multilook: tuple[int, int] | None = None,
        spacing: float | None = None,
        swaths: Sequence[str] = (),
        burst: int | None = None,
        noise_removal: bool = True,
        border_cleaning: bool | None = None,
        orbit: Orbit | str | os.PathLike[str] | None = None,
        focusing: Focusing = "zero",
    ) -> Scene:
        """Open the calibrated image; it is read when it is computed.

        Parameters
        ----------
        polarisations : sequence of str
            Which ones, in this order; by default all of the product, or of the frequency. With
            several the image has a dimension `polarisation`.
        calibration : {"beta0", "sigma0", "gamma0"}
            What the image is normalised to, by the tables or polynomials of the product. Those of
            NISAR are multiplied; where they are not filled in (they equal one another), it is
            beta0. Of a SICD, beta0 follows from sigma0 or gamma0 where it is missing, and the
            ground of these is the plane that touches the ellipsoid at the scene's centre.
        bounds : (west, south, east, north), optional
            Area in degrees: only the part of the image that shows it is opened. West is larger
            than east across the date line.
        heights : (lowest, highest)
            Heights of the ground in that area, in metres above the ellipsoid; for a narrower
            range less is read.
        multilook : (lines, samples), optional
            Pixels to average into one.
        spacing : float, optional
            In place of `multilook`, the distance between pixels on the ground in metres.
        swaths : sequence of str
            Swaths of an SLC of Sentinel-1, on one merged grid; all by default. The frequency of a
            NISAR RSLC, "A" or "B"; by default the first. A SICD has none.
        burst : int, optional
            Open this burst of one swath of an SLC of Sentinel-1 alone, counted from 0.
        noise_removal : bool
            Whether to subtract the thermal noise; of a SICD, where it states its absolute level.
            It stays in the image of a NISAR RSLC.
        border_cleaning : bool, optional
            Whether to remove the borders of a GRD that hold no image; by default in products of
            IPF before 2.9.
        orbit : Orbit, path or str, optional
            An orbit; "annotation", for the one in the product; an orbit file of ESA (EOF); or a
            folder with orbit files, of which the best is used. A NISAR RSLC takes no folder, a SICD
            no files. By default an orbit file beside a product of Sentinel-1, otherwise the orbit
            in the product.
        focusing : {"zero", "native"}
            Doppler geometry of the image of a NISAR RSLC, which is focused to zero Doppler. A file
            does not say where that is not so, as of early samples from images of other satellites.

        Returns
        -------
        Scene
            Image on dims (line, sample) or (polarisation, line, sample), on dask.

        Raises
        ------
        ValueError
            If the product does not have what is requested, or options contradict each other.
        GeometryError
            If the image does not show the area.
        ProductError, AnnotationError
            If files are missing, damaged, contradict each other, or are not calibrated.
        OrbitCoverageError
            If the orbit does not cover the image.
        """
        options = ImageOptions(
            polarisations=polarisations,
            calibration=calibration,
            bounds=bounds,
            heights=heights,
            multilook=multilook,
            spacing=spacing,
            swaths=swaths,
            burst=burst,
            noise_removal=noise_removal,
            border_cleaning=border_cleaning,
            orbit=orbit,
            focusing=focusing,
        )
        if focusing not in get_args(Focusing):
            msg = f"found focusing={focusing!r}, expected 'zero' or 'native'"
            raise ValueError(msg)
        if focusing not in self.focusings:
            self._refuse(f"focusing={focusing!r}")
        return _cut(options, self._open(options))

    def noise(self, **options: Any) -> Scene | None:  # noqa: ANN401  # those of `scene`
        """Open the thermal noise as an image: what `scene` subtracts. No pixels are read.

        Parameters
        ----------
        **options
            `polarisations`, `calibration`, `bounds`, `heights`, `multilook`, `spacing`, `swaths`,
            `burst` and `orbit` as for `scene`.

        Returns
        -------
        Scene or None
            Noise-equivalent backscatter, linear power, sampled as `scene` with these options; None
            where the product does not state it.

        Raises
        ------
        TypeError
            For other options.
        ValueError, GeometryError, ProductError, AnnotationError, OrbitCoverageError
            As for `scene`.
        """
        strange = {"noise_removal", "border_cleaning", "focusing"} & set(options)
        if strange:
            msg = (
                f"found {', '.join(sorted(strange))}, which noise does not depend on: leave it out"
            )
            raise TypeError(msg)
        chosen = ImageOptions(**options)
        opened = self._open_noise(chosen)
        return None if opened is None else _cut(chosen, opened)

    @abstractmethod
    def _open(self, options: ImageOptions) -> Opened:
        """Open the image, calibrated."""

    def _open_noise(self, options: ImageOptions) -> Opened | None:  # noqa: ARG002  # of others
        """Open the thermal noise, calibrated as the image; None where it is not stated."""
        return None

    def _require_no_bursts(self, options: ImageOptions) -> None:
        """Refuse options of products with bursts, or with borders that are no image."""
        if options.burst is not None:
            self._refuse(f"burst={options.burst}")
        if options.border_cleaning:
            self._refuse("border_cleaning")

    def _refuse(self, found: str) -> NoReturn:
        """Refuse an option that products of this form do not have."""
        msg = f"found {found}, and {self.name} is {self.form}"
        raise ValueError(msg)

    def _place(self) -> tuple[str, str]:
        """Return the row of the summary that says where the image lies."""
        return "place", describe_place(*self.footprint.T)


def _cut(options: ImageOptions, opened: Opened) -> Scene:
    """Cut an image to the part that is asked for, and average it."""
    image, grid, orbit, looks = opened
    image, grid = options.crop(image, grid, orbit)
    image, grid = options.average(image, grid, orbit, looks)
    return Scene(image, grid, orbit, options.calibration)


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
