"""NISAR RSLC products: from the file to a calibrated scene."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from sarheight._windows import Windowed, image_on_dask
from sarheight.doppler import DopplerLUT
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.errors import ProductError
from sarheight.geometry.placement import chosen_names, stack_polarisations
from sarheight.grid import RadarGrid
from sarheight.nisar._layout import Factor, Intensity, Layout, check_file, open_file
from sarheight.orbit import seconds_between
from sarheight.product import Focusing, Opened, Product
from sarheight.sentinel1 import read_orbit_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import h5py
    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.orbit import Orbit
    from sarheight.product import ImageOptions
    from sarheight.scene import Calibration

SUFFIXES = (".h5", ".hdf5")
CALIBRATION = "metadata/calibrationInformation/geometry"
PARAMETERS = "metadata/processingInformation/parameters"
CHUNK_PIXELS = 2**22
"""Pixels that are read at a time."""


def recognises(
    source: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,  # noqa: ARG001  # of remote files
) -> bool:
    """Return whether a source is an HDF5 file, by its name."""
    return str(source).lower().split("?")[0].endswith(SUFFIXES)


def open_product(
    source: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,  # noqa: ARG001  # of remote files
) -> NisarProduct:
    """Open a NISAR RSLC, a local HDF5 file; see `sarheight.product.open_product`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ProductError
        If it is no RSLC, is damaged, or is a URL.
    """
    if "://" in str(source):
        msg = f"{source} is a URL, expected a local file: download the NISAR product first"
        raise ProductError(msg)
    return NisarProduct(Path(source))


class NisarProduct(Product):
    """A range-Doppler single-look complex image (RSLC) of NISAR; `open_product` makes it.

    Files in the layout of an RSLC that hold images of other satellites are read, too.

    Parameters
    ----------
    path : path
        The HDF5 file. Its image is read when it is computed.

    Raises
    ------
    FileNotFoundError, ProductError
        If there is no such file, or it is no RSLC.
    """

    form = "an RSLC, which has no bursts and says what is valid"
    focusings = get_args(Focusing)

    def __init__(self, path: Path) -> None:
        self._path = path
        check_file(path)
        with open_file(path) as file:
            self._layout = Layout.of(file, path)
            kind = self._layout.identification(file, "productType")
            if kind and kind not in {"RSLC", "SLC"}:
                msg = f"found a product of type {kind} in {path}, expected an RSLC"
                raise ProductError(msg)
            names = ("granuleId", "missionId", "orbitPassDirection", "lookDirection")
            self._says = {name: self._layout.identification(file, name) for name in names}
            self._outline = self._layout.identification(file, "boundingPolygon")
            self._frequencies = self._layout.frequencies(file)
        granule = self._says["granuleId"]
        self.name = granule if re.fullmatch(r"\w+", granule) else path.stem
        self.mission = self._says["missionId"]
        self.swaths = tuple(sorted(self._frequencies))
        self.polarisations = self._frequencies[self.swaths[0]]

    @cached_property
    def start(self) -> np.datetime64:
        """Time of the first line (UTC)."""
        grid = self._grid(self.swaths[0])
        return grid.epoch + np.timedelta64(round(grid.line_zero_time * 1e9), "ns")

    @cached_property
    def stop(self) -> np.datetime64:
        """Time of the last line (UTC)."""
        grid = self._grid(self.swaths[0])
        seconds = grid.line_zero_time + (grid.lines - 1) * grid.line_interval
        return grid.epoch + np.timedelta64(round(seconds * 1e9), "ns")

    @cached_property
    def footprint(self) -> NDArray[np.float64]:
        """Corners of the image: longitude and latitude in degrees, shape (n, 2)."""
        parts = re.search(r"POLYGON\s*Z?\s*\(\(([^)]*)\)", self._outline)
        corners = [] if parts is None else [each.split() for each in parts[1].split(",")]
        try:
            points = np.array([[float(x) for x in corner[:2]] for corner in corners])
        except ValueError:
            points = np.empty((0, 2))
        if points.ndim != 2 or points.shape[0] < 3:
            msg = f"found the outline {self._outline!r} in {self._path}, expected POLYGON ((…))"
            raise ProductError(msg)
        return points

    def summary(self) -> list[tuple[str, str]]:
        """Describe the product as pairs of a label and a text."""
        images = [
            f"frequency {name}: {grid.lines} lines x {grid.samples} samples of "
            f"{', '.join(grid.polarisations)}"
            for name in self.swaths
            for grid in [self._grid(name)]
        ]
        start, stop = (time.astype("datetime64[us]") for time in (self.start, self.stop))
        facts = [
            (
                "what",
                f"{self._layout.group} of {self.mission or 'an unknown mission'}, {self.name}",
            ),
            ("images", "; ".join(images)),
            ("pass", self._says["orbitPassDirection"].strip(".").lower() or self._flown()),
            ("time", f"{start} to {stop} UTC"),
            ("noise", "not removed"),
        ]
        if self._outline:
            facts.insert(3, self._place())
        return facts

    def doppler(self, frequency: str = "") -> DopplerLUT:
        """Read the Doppler centroid of the acquisition.

        An RSLC is focused to zero Doppler: its centroid describes the antenna's beam. Only of
        images that were focused to it is it the geometry (`focusing` of `scene`).

        Parameters
        ----------
        frequency : str, optional
            "A" or "B"; by default the first.

        Returns
        -------
        DopplerLUT
            With times since the epoch of the grid.

        Raises
        ------
        ProductError
            If the product has none, or it is damaged.
        """
        name = self._frequency((frequency,) if frequency else ())
        folder = f"{PARAMETERS}/frequency{name}"
        with open_file(self._path) as file:
            epoch, *table = self._layout.table(file, folder, "dopplerCentroid")
        try:
            return DopplerLUT(*table).shift_time(seconds_between(self._grid(name).epoch, epoch))
        except ValueError as error:
            msg = f"the Doppler centroid of {self._path} cannot be used: {error}"
            raise ProductError(msg) from error

    def _flown(self) -> str:
        """Tell the direction of the pass by the state vectors."""
        grid, orbit = self.grid_and_orbit()
        _, velocity = orbit.state([0.5 * (grid.first_time + grid.last_time)])
        return "ascending" if velocity[0, 2] > 0.0 else "descending"

    def grid_and_orbit(
        self,
        *,
        swaths: Sequence[str] = (),
        orbit: Orbit | str | os.PathLike[str] | None = None,
        focusing: Focusing = "zero",
    ) -> tuple[RadarGrid, Orbit]:
        """Read the radar grid and the orbit, without the image; see `Product`."""
        name = self._frequency(swaths)
        grid = self._grid(name)
        if focusing == "native":
            grid = replace(grid, doppler=self.doppler(name))
        return grid, self._orbit(grid, orbit)

    def _open(self, options: ImageOptions) -> Opened:
        """Open the image, calibrated."""
        self._require_no_bursts(options)
        name = self._frequency(options.swaths)
        where, contents = f"frequency {name} of {self.name}", self._contents()
        present = self._frequencies[name]
        names = chosen_names("polarisations", options.polarisations, present, where, contents)
        grid, orbit = self.grid_and_orbit(
            swaths=(name,), orbit=options.orbit, focusing=options.focusing
        )
        grid = replace(grid, polarisations=names)
        independent = self._independent(name, grid)
        return Opened(
            self._image(name, names, grid, options.calibration),
            grid,
            orbit,
            lambda lines, samples: max(lines * samples * independent, 1.0),
        )

    def _image(
        self, frequency: str, names: tuple[str, ...], grid: RadarGrid, calibration: Calibration
    ) -> xr.DataArray:
        """Return the intensity of some polarisations, on dask."""
        layout = self._layout
        with open_file(self._path) as file:
            factor = self._factor(file, grid, calibration)
            valid = layout.valid_samples(file, frequency, grid.lines)
            for name in names:
                stored = layout.dataset(file, f"swaths/frequency{frequency}/{name}")
                if stored.shape != grid.shape:
                    msg = (
                        f"found an image {name} of {stored.shape} pixels in {self._path}, expected "
                        f"{grid.shape} as its axes say"
                    )
                    raise ProductError(msg)
                # Whole chunks of the file, which are decompressed to read any part of them.
                step = 1 if stored.chunks is None else stored.chunks[0]
        chunk = max(CHUNK_PIXELS // (step * grid.samples), 1) * step, grid.samples
        images = {}
        for name in names:
            stored = f"{layout.group}/swaths/frequency{frequency}/{name}"
            power = Intensity(self._path, stored, factor, valid)
            source = Windowed(grid.shape, power.read, np.dtype(np.float32))
            images[name] = image_on_dask(source, chunk, calibration)
        return stack_polarisations(images, self.name, {})

    def _factor(
        self,
        file: h5py.File,
        grid: RadarGrid,
        calibration: Calibration,
    ) -> Factor | None:
        """Return the factors from squared magnitude to intensity; None where all are one."""
        layout = self._layout
        if f"{layout.group}/{CALIBRATION}/{calibration}" not in file:
            if calibration == "beta0":
                return None
            msg = (
                f"found calibration {calibration!r}, and {self._path} has no table for it: pass "
                "'beta0', which reconstruction takes as well"
            )
            raise ValueError(msg)
        epoch, times, ranges, values = layout.table(file, CALIBRATION, calibration)
        if calibration != "beta0":
            *_, beta = layout.table(file, CALIBRATION, "beta0")
            if np.array_equal(beta, values):
                msg = (
                    f"found calibration {calibration!r}, and the table for it in {self._path} "
                    "equals that for beta0: it is not filled in. Pass 'beta0', which "
                    "reconstruction takes as well"
                )
                raise ValueError(msg)
        if not (np.isfinite(values).all() and (values > 0.0).all()):
            msg = f"found factors for {calibration} in {self._path} that are not above zero"
            raise ProductError(msg)
        if (values == 1.0).all():
            return None
        # The specification does not say whether tables multiply amplitude or power. In the sample
        # made of an ENVISAT image beta0 is 1 / sin(incidence) of sigma0, gamma0 1 / cos: of power.
        times = times + seconds_between(grid.epoch, epoch)
        line = (times - grid.line_zero_time) / grid.line_interval
        return Factor(line, (ranges - grid.near_range) / grid.sample_spacing, values)

    def _grid(self, frequency: str) -> RadarGrid:
        """Return the radar grid of a frequency, focused to zero Doppler."""
        side = self._says["lookDirection"].lower()
        if side not in {"left", "right"}:
            msg = f"found lookDirection {side!r} in {self._path}, expected 'left' or 'right'"
            raise ProductError(msg)
        layout, folder = self._layout, f"swaths/frequency{frequency}"
        with open_file(self._path) as file:
            first, interval, lines = layout.even_axis(file, "swaths/zeroDopplerTime")
            near, spacing, samples = layout.even_axis(file, f"{folder}/slantRange")
            return RadarGrid(
                epoch=layout.epoch(file, "swaths/zeroDopplerTime"),
                line_zero_time=first,
                line_interval=interval,
                lines=lines,
                samples=samples,
                near_range=near,
                sample_spacing=spacing,
                look_side="left" if side == "left" else "right",
                wavelength=SPEED_OF_LIGHT
                / layout.number(file, f"{folder}/processedCenterFrequency"),
                polarisations=self._frequencies[frequency],
                mission=self.mission,
                product="SLC",
                swath=frequency,
            )

    def _independent(self, frequency: str, grid: RadarGrid) -> float:
        """Return the part of the pixels that are independent: bandwidths over sampling rates."""
        found = 1.0
        with open_file(self._path) as file:
            for axis, rate in (
                ("Azimuth", 1.0 / grid.line_interval),
                ("Range", SPEED_OF_LIGHT / (2.0 * grid.sample_spacing)),
            ):
                name = f"swaths/frequency{frequency}/processed{axis}Bandwidth"
                if f"{self._layout.group}/{name}" in file:
                    found *= min(self._layout.number(file, name) / rate, 1.0)
        return found

    def _frequency(self, requested: Sequence[str]) -> str:
        """Return the requested frequency, or the first."""
        names = tuple(name.upper().removeprefix("FREQUENCY") for name in requested)
        if not names:
            return self.swaths[0]
        if len(names) > 1 or names[0] not in self._frequencies:
            msg = (
                f"found frequency {', '.join(requested)}, expected one of those that {self.name} "
                f"has: {self._contents()}"
            )
            raise ValueError(msg)
        return names[0]

    def _contents(self) -> str:
        """List frequencies and polarisations."""
        return "; ".join(
            f"frequency {name} with {', '.join(self._frequencies[name])}" for name in self.swaths
        )

    def _orbit(self, grid: RadarGrid, source: Orbit | str | os.PathLike[str] | None) -> Orbit:
        """Return an orbit with the epoch of the grid."""
        from sarheight.orbit import Orbit as Vectors

        if isinstance(source, Vectors):
            return source.with_epoch(grid.epoch)
        if source is None or str(source) == "annotation":
            with open_file(self._path) as file:
                return self._layout.orbit(file).with_epoch(grid.epoch)
        if Path(source).is_dir():
            msg = f"found the folder {source}, expected an orbit file of ESA (EOF) or an Orbit"
            raise ValueError(msg)
        window = (self.start, self.stop)
        return read_orbit_file(Path(source), window=window).with_epoch(grid.epoch)
