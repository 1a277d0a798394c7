"""SICD products: from the file to a calibrated scene."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._files import file_errors
from sarheight._runtime import Summarised, require
from sarheight._windows import Windowed, image_on_dask
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.errors import ProductError
from sarheight.geometry.placement import HEIGHTS, Bounds, Cut, chosen_names, stack_polarisations
from sarheight.orbit import Orbit
from sarheight.scene import Scene
from sarheight.sicd._geometry import RELIEF, Fields, Sampling, find_sampling
from sarheight.sicd._pixels import BLOCK, EXPECTED, Intensity, Pixels, Radiometry, open_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from sarheight._windows import Reader
    from sarheight.grid import RadarGrid
    from sarheight.scene import Calibration

__all__ = ["SicdProduct", "open_product", "recognises"]

SUFFIXES = (".nitf", ".ntf")
POLARISATIONS = {"V": "V", "H": "H", "RHC": "R", "LHC": "L"}
"""Letters of the standard's polarisations."""


def recognises(
    source: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,  # noqa: ARG001  # of remote files
) -> bool:
    """Return whether a source is a NITF file, by its name."""
    return str(source).lower().split("?")[0].endswith(SUFFIXES)


def open_product(
    source: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,  # noqa: ARG001  # of remote files
) -> SicdProduct:
    """Open a SICD, a local NITF file; see `sarheight.product.open_product`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ProductError
        If it is no SICD, is damaged, is a URL, or has a geometry that is not one of range and
        Doppler.
    MissingLibraryError
        If the extra ``sicd`` is not installed.
    """
    if "://" in str(source):
        msg = f"{source} is a URL, expected a local file: download the SICD first"
        raise ProductError(msg)
    return SicdProduct(Path(source))


class SicdProduct(Summarised):
    """A complex image in the sensor-independent form (SICD); `open_product` makes it.

    Images of all grid types that the standard projects to the ground are read, if one satellite
    sends and receives. Lines and samples of the radar grid are columns and rows of the file where
    these have even zero-Doppler times and slant ranges, as in range-Doppler images (RGZERO).
    Others, as those of the polar format algorithm (RGAZIM), are resampled to such a grid; that of a
    squinted image is at its native Doppler centroid.

    Parameters
    ----------
    path : path
        The NITF file. Its image is read when it is computed.

    Raises
    ------
    FileNotFoundError, ProductError, MissingLibraryError
        As `open_product`.

    References
    ----------
    NGA.STND.0024 (2023). Sensor Independent Complex Data (SICD), volumes 1 to 3, version 1.4.0.
    """

    def __init__(self, path: Path) -> None:
        require("sarkit", "jbpy", extra="sicd")
        import sarkit.sicd as sksicd

        if not path.is_file():
            msg = f"there is no file {path}"
            raise FileNotFoundError(msg)
        self._path = path
        with open_file(path) as reader:
            self._tree = reader.metadata.xmltree
            self._said = sksicd.ElementWrapper(self._tree.getroot()).to_dict()
        with file_errors(path, EXPECTED, ProductError):
            self._pixels = Pixels.of(self._said)
            self._radiometry = Radiometry.of(self._said)
            self._radiometry.require_plausible(self._pixels)
            self._fields = self._read_fields()

    def _read_fields(self) -> Fields:
        """Read what describes the geometry, and refuse what it does not reach."""
        said, collected = self._said, self._said["CollectionInfo"]
        if collected.get("CollectType", "MONOSTATIC") != "MONOSTATIC":
            msg = (
                f"found a bistatic image in {self._path}, expected one of a satellite that sends "
                "and receives: its geometry is that of ellipsoids, which no radar grid follows"
            )
            raise ProductError(msg)
        centre, time = said["SCPCOA"], said["Timeline"]["CollectStart"]
        formed = said["ImageFormation"]
        return Fields(
            path=self._path,
            tree=self._tree,
            kind=f"{said['Grid']['Type']}, {formed['ImageFormAlgo']}",
            shape=self._pixels.shape,
            first=self._pixels.first,
            place=np.asarray(said["GeoData"]["SCP"]["ECF"]),
            height=float(said["GeoData"]["SCP"]["LLH"][2]),
            aperture=float(centre["SCPTime"]),
            satellite=np.asarray(said["Position"]["ARPPoly"]),
            start=np.datetime64(time.replace(tzinfo=None), "ns"),
            duration=float(said["Timeline"]["CollectDuration"]),
            grid={
                "look_side": {"L": "left", "R": "right"}[centre["SideOfTrack"]],
                "wavelength": self._wavelength(),
                "polarisations": (_polarisation(formed["TxRcvPolarizationProc"]),),
                "mission": str(collected["CollectorName"]),
                "mode": str(collected["RadarMode"]["ModeType"]),
                "product": "SLC",
            },
        )

    def _wavelength(self) -> float:
        """Return the wavelength of the middle of the processed band, or of the image's spectrum."""
        if "RefFreqIndex" in self._said["RadarCollection"]:  # frequencies count from a secret one
            return 2.0 / float(self._said["Grid"]["Row"]["KCtr"])
        band = self._said["ImageFormation"]["TxFrequencyProc"]
        return 2.0 * SPEED_OF_LIGHT / (float(band["MinProc"]) + float(band["MaxProc"]))

    @cached_property
    def _sampling(self) -> Sampling:
        with file_errors(self._path, EXPECTED, ProductError):
            return find_sampling(self._fields)

    @property
    def name(self) -> str:
        """Name of the product: that of its collection."""
        return str(self._said["CollectionInfo"]["CoreName"])

    @property
    def mission(self) -> str:
        """Satellite, such as "UMBRA-05"."""
        return str(self._fields.grid["mission"])

    @property
    def product_type(self) -> str:
        """Product type: "SLC"."""
        return "SLC"

    @property
    def swaths(self) -> tuple[str, ...]:
        """Empty: a SICD holds one image."""
        return ()

    @property
    def polarisations(self) -> tuple[str, ...]:
        """The polarisation of the image, sent and received, such as ("VV",)."""
        names: tuple[str, ...] = self._fields.grid["polarisations"]
        return names

    @property
    def start(self) -> np.datetime64:
        """Time of the first line (UTC)."""
        return self._sampling.orbit.utc(self._sampling.grid.first_time)

    @property
    def stop(self) -> np.datetime64:
        """Time of the last line (UTC)."""
        return self._sampling.orbit.utc(self._sampling.grid.last_time)

    @property
    def footprint(self) -> NDArray[np.float64]:
        """Corners of the image: longitude and latitude in degrees, shape (n, 2)."""
        with file_errors(self._path, EXPECTED, ProductError):
            corners = np.asarray(self._said["GeoData"]["ImageCorners"], dtype=np.float64)
            return corners.reshape(-1, 2)[:, ::-1]

    def burst_footprint(self, burst: int, swath: str = "") -> NDArray[np.float64]:  # noqa: ARG002  # as others
        """Refuse: a SICD has no bursts.

        Raises
        ------
        ValueError
            Always.
        """
        msg = f"found burst={burst}, and {self.name} is a SICD, which has no bursts"
        raise ValueError(msg)

    def summary(self) -> list[tuple[str, str]]:
        """Describe the product as pairs of a label and a text."""
        sampling, said = self._sampling, self._said
        longitude, latitude = self.footprint.T
        rows, columns = self._pixels.shape
        velocity = sampling.orbit.state(sampling.grid.first_time)[1]
        known = ", ".join(self._radiometry.factors) or "none: the power is relative"
        way = "as in the file" if sampling.steps[0] else "resampled"
        image = (
            f"{rows} rows x {columns} columns of {', '.join(self.polarisations)}, "
            f"{said['ImageData']['PixelType']}, {sampling.grid.mode.lower()}"
        )
        place = (
            f"longitude {longitude.min():.3f} to {longitude.max():.3f}, "
            f"latitude {latitude.min():.3f} to {latitude.max():.3f}"
        )
        geometry = (
            f"{self._fields.kind}, {way}, within {sampling.error:.2g} m at heights up to "
            f"{RELIEF:g} m from the centre's"
        )
        return [
            ("what", f"SICD of {self.mission}, {self.name}"),
            ("image", image),
            ("pass", "ascending" if velocity[2] > 0.0 else "descending"),
            ("place", place),
            ("geometry", geometry),
            ("calibration", known),
            ("noise", "not stated" if self._radiometry.noise is None else "stated"),
        ]

    def grid_and_orbit(
        self, *, swaths: Sequence[str] = (), orbit: Orbit | str | os.PathLike[str] | None = None
    ) -> tuple[RadarGrid, Orbit]:
        """Read the radar grid and the orbit, without the image.

        Parameters
        ----------
        swaths : sequence of str
            None: a SICD holds one image.
        orbit : Orbit, optional
            As for `scene`.

        Returns
        -------
        RadarGrid, Orbit

        Raises
        ------
        ValueError
            If the product does not have what is requested.
        ProductError
            If something is missing or damaged.
        """
        if swaths:
            msg = f"found swaths={swaths}, and {self.name} is a SICD, which holds one image"
            raise ValueError(msg)
        grid = self._sampling.grid
        if isinstance(orbit, Orbit):
            return grid, orbit.with_epoch(grid.epoch)
        if orbit is None or str(orbit) == "annotation":
            return grid, self._sampling.orbit
        msg = (
            f"found orbit={str(orbit)!r}, expected an Orbit, or none: that of {self.name} is in it"
        )
        raise ValueError(msg)

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
    ) -> Scene:
        """Open the calibrated image; it is read when it is computed.

        Parameters
        ----------
        polarisations : sequence of str
            That of the image.
        calibration : {"beta0", "sigma0", "gamma0"}
            What the image is normalised to, by the polynomial of the product; beta0 follows from
            that of sigma0 or gamma0 where it is missing. The ground of sigma0 and gamma0 is the
            plane that touches the ellipsoid at the scene's centre.
        bounds : (west, south, east, north), optional
            Area in degrees: only the part of the image that shows it is opened.
        heights : (lowest, highest)
            Heights of the ground in that area, in metres above the ellipsoid.
        multilook : (lines, samples), optional
            Pixels to average into one.
        spacing : float, optional
            In place of `multilook`, the distance between pixels on the ground in metres.
        noise_removal : bool
            Whether to subtract the noise, where the product states its absolute level.
        swaths, burst, border_cleaning : optional
            Not for a SICD, which holds one image and says what is valid.
        orbit : Orbit, optional
            In place of the orbit in the product.

        Returns
        -------
        Scene
            Image on dims (line, sample), on dask.

        Raises
        ------
        ValueError
            If the product does not have what is requested, or options contradict each other.
        GeometryError
            If the image does not show the area.
        ProductError
            If something is missing or damaged, or the product is not calibrated.
        OrbitCoverageError
            If the orbit does not cover the image.
        """
        chosen_names("polarisations", polarisations, self.polarisations, self.name)
        if border_cleaning or burst is not None:
            found = f"burst={burst}" if burst is not None else "border_cleaning"
            msg = f"found {found}, and {self.name} is a SICD, which has no bursts and no borders"
            raise ValueError(msg)
        cut = Cut(bounds=bounds, heights=heights, multilook=multilook, spacing=spacing)
        source = self._intensity(calibration)
        removal = noise_removal and self._radiometry.noise is not None
        reading = replace(source, removal=removal)
        place = self.grid_and_orbit(swaths=swaths, orbit=orbit)
        return self._cut(reading.read, cut, calibration, place)

    def noise(
        self,
        *,
        polarisations: Sequence[str] = (),
        calibration: Calibration = "beta0",
        bounds: Bounds | None = None,
        heights: tuple[float, float] = HEIGHTS,
        multilook: tuple[int, int] | None = None,
        spacing: float | None = None,
        swaths: Sequence[str] = (),
        orbit: Orbit | str | os.PathLike[str] | None = None,
    ) -> Scene | None:
        """Open the noise as an image, sampled as `scene`; None where its level is not stated.

        Options, and what is raised, are those of `scene`.
        """
        chosen_names("polarisations", polarisations, self.polarisations, self.name)
        if self._radiometry.noise is None:
            return None
        cut = Cut(bounds=bounds, heights=heights, multilook=multilook, spacing=spacing)
        place = self.grid_and_orbit(swaths=swaths, orbit=orbit)
        return self._cut(self._intensity(calibration).read_noise, cut, calibration, place)

    def _intensity(self, calibration: Calibration) -> Intensity:
        """Return what reads the image."""
        factor = self._radiometry.factor(calibration, self.name)
        return Intensity(self._path, self._sampling, self._pixels, factor, self._radiometry.noise)

    def _cut(
        self,
        read: Reader,
        cut: Cut,
        calibration: Calibration,
        place: tuple[RadarGrid, Orbit],
    ) -> Scene:
        """Open what a function reads, cut it, and average it."""
        grid, vectors = place
        source = Windowed(grid.shape, read, np.dtype(np.float32))
        image: xr.DataArray = image_on_dask(source, (2 * BLOCK, 2 * BLOCK), calibration)
        image = stack_polarisations({self.polarisations[0]: image}, self.name, {})
        image, grid = cut.crop(image, grid, vectors)
        independent = self._independent()
        image, grid = cut.average(
            image, grid, vectors, lambda *window: max(window[0] * window[1] * independent, 1.0)
        )
        return Scene(image, grid, vectors, calibration)

    def _independent(self) -> float:
        """Return the part of the pixels that are independent: bandwidths over sampling rates."""
        grid = self._said["Grid"]
        found = 1.0
        for axis in ("Row", "Col"):
            found *= min(float(grid[axis]["ImpRespBW"]) * float(grid[axis]["SS"]), 1.0)
        return found

    @property
    def unverified(self) -> tuple[str, ...]:
        """Empty: a SICD lists no checksums."""
        return ()

    def verify(self) -> None:
        """Refuse: a SICD lists no checksums.

        Raises
        ------
        ProductError
            Always.
        """
        msg = f"{self.name} lists no checksums of its own: compare the file with the provider's"
        raise ProductError(msg)


def _polarisation(text: str) -> str:
    """Return letters of what is sent and received, "VH" for "V:H"; others as they are."""
    parts = text.split(":")
    if len(parts) == 2 and all(part in POLARISATIONS for part in parts):
        return "".join(POLARISATIONS[part] for part in parts)
    return text.upper()
