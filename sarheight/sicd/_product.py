"""SICD products: from the file to a calibrated scene."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._files import file_errors
from sarheight._runtime import require
from sarheight._windows import Windowed, image_on_dask
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.errors import ProductError
from sarheight.geometry.placement import chosen_names, stack_polarisations
from sarheight.orbit import Orbit
from sarheight.product import Opened, Product
from sarheight.sicd._geometry import RELIEF, Fields, Sampling, find_sampling
from sarheight.sicd._pixels import BLOCK, EXPECTED, Intensity, Pixels, Radiometry, open_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sarheight._windows import Reader
    from sarheight.grid import RadarGrid
    from sarheight.product import ImageOptions

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


class SicdProduct(Product):
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

    form = "a SICD, which has no bursts, no swaths and no borders"

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
            self.name = str(self._said["CollectionInfo"]["CoreName"])
        self.mission = str(self._fields.grid["mission"])
        self.polarisations = self._fields.grid["polarisations"]

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

    @cached_property
    def start(self) -> np.datetime64:
        """Time of the first line (UTC)."""
        return self._sampling.orbit.utc(self._sampling.grid.first_time)

    @cached_property
    def stop(self) -> np.datetime64:
        """Time of the last line (UTC)."""
        return self._sampling.orbit.utc(self._sampling.grid.last_time)

    @cached_property
    def footprint(self) -> NDArray[np.float64]:
        """Corners of the image: longitude and latitude in degrees, shape (n, 2)."""
        with file_errors(self._path, EXPECTED, ProductError):
            corners = np.asarray(self._said["GeoData"]["ImageCorners"], dtype=np.float64)
            return corners.reshape(-1, 2)[:, ::-1]

    def summary(self) -> list[tuple[str, str]]:
        """Describe the product as pairs of a label and a text."""
        sampling, said = self._sampling, self._said
        rows, columns = self._pixels.shape
        velocity = sampling.orbit.state(sampling.grid.first_time)[1]
        known = ", ".join(self._radiometry.factors) or "none: the power is relative"
        way = "as in the file" if sampling.steps[0] else "resampled"
        image = (
            f"{rows} rows x {columns} columns of {', '.join(self.polarisations)}, "
            f"{said['ImageData']['PixelType']}, {sampling.grid.mode.lower()}"
        )
        geometry = (
            f"{self._fields.kind}, {way}, within {sampling.error:.2g} m at heights up to "
            f"{RELIEF:g} m from the centre's"
        )
        return [
            ("what", f"SICD of {self.mission}, {self.name}"),
            ("image", image),
            ("pass", "ascending" if velocity[2] > 0.0 else "descending"),
            self._place(),
            ("geometry", geometry),
            ("calibration", known),
            ("noise", "not stated" if self._radiometry.noise is None else "stated"),
        ]

    def grid_and_orbit(
        self, *, swaths: Sequence[str] = (), orbit: Orbit | str | os.PathLike[str] | None = None
    ) -> tuple[RadarGrid, Orbit]:
        """Read the radar grid and the orbit, without the image; see `Product`."""
        if swaths:
            self._refuse(f"swaths={swaths}")
        grid = self._sampling.grid
        if isinstance(orbit, Orbit):
            return grid, orbit.with_epoch(grid.epoch)
        if orbit is None or str(orbit) == "annotation":
            return grid, self._sampling.orbit
        msg = (
            f"found orbit={str(orbit)!r}, expected an Orbit, or none: that of {self.name} is in it"
        )
        raise ValueError(msg)

    def _open(self, options: ImageOptions) -> Opened:
        """Open the image, calibrated, and without its noise where the product states it."""
        self._require_no_bursts(options)
        source = self._intensity(options)
        removal = options.noise_removal and self._radiometry.noise is not None
        return self._sampled(replace(source, removal=removal).read, options)

    def _open_noise(self, options: ImageOptions) -> Opened | None:
        """Open the noise, calibrated as the image; None where its level is not stated."""
        self._require_no_bursts(options)
        source = self._intensity(options)
        return None if source.noise is None else self._sampled(source.read_noise, options)

    def _intensity(self, options: ImageOptions) -> Intensity:
        """Return what reads the image."""
        chosen_names("polarisations", options.polarisations, self.polarisations, self.name)
        factor = self._radiometry.factor(options.calibration, self.name)
        return Intensity(self._path, self._sampling, self._pixels, factor, self._radiometry.noise)

    def _sampled(self, read: Reader, options: ImageOptions) -> Opened:
        """Put on dask what a function reads."""
        grid, orbit = self.grid_and_orbit(swaths=options.swaths, orbit=options.orbit)
        source = Windowed(grid.shape, read, np.dtype(np.float32))
        image = image_on_dask(source, (2 * BLOCK, 2 * BLOCK), options.calibration)
        independent = self._independent()
        return Opened(
            stack_polarisations({self.polarisations[0]: image}, self.name, {}),
            grid,
            orbit,
            lambda lines, samples: max(lines * samples * independent, 1.0),
        )

    def _independent(self) -> float:
        """Return the part of the pixels that are independent: bandwidths over sampling rates."""
        grid = self._said["Grid"]
        found = 1.0
        for axis in ("Row", "Col"):
            found *= min(float(grid[axis]["ImpRespBW"]) * float(grid[axis]["SS"]), 1.0)
        return found


def _polarisation(text: str) -> str:
    """Return letters of what is sent and received, "VH" for "V:H"; others as they are."""
    parts = text.split(":")
    if len(parts) == 2 and all(part in POLARISATIONS for part in parts):
        return "".join(POLARISATIONS[part] for part in parts)
    return text.upper()
