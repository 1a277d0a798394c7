"""Sentinel-1 products as Zarr stores of ESA's Earth Observation Processing Framework (EOPF).

A store has a group for each image of a GRD, and for each burst of an SLC, with the groups
``measurements``, ``conditions`` and ``quality``, whose arrays have a dimension ``polarization``.
They are read into the types that SAFE products are read into. Stores of ESA's converter (CPM)
before version 3, in which each polarisation has groups of its own, are refused.

References
----------
ESA, EOPF Core Python Modules: mappings S01SIWGRD and S01SIWSLC from SAFE to Zarr, and their models.
EOPF Explorer, data-model: structure of a GRD and an SLC of version 3.0 (2026).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.errors import ProductError
from sarheight.orbit import nanoseconds, seconds_between
from sarheight.sentinel1._images import Channel, Form
from sarheight.sentinel1._manifest import MISSIONS, Manifest
from sarheight.sentinel1._radiometry import (
    SMALLEST_AMPLITUDE,
    AzimuthNoise,
    CalibrationVectors,
    LineVectors,
    NoiseVectors,
    Radiometry,
)
from sarheight.sentinel1.annotation import (
    Annotation,
    BurstTiming,
    GeolocationGrid,
    RangeConversion,
    Spectrum,
    StateVectors,
    SwathProcessing,
)
from sarheight.sentinel1.eopf import EXPECTED, EopfStore, Part, dims_of, open_root

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    import xarray as xr
    import zarr

    from sarheight._windows import Span

Floats = NDArray[np.float64]

SWATH = re.compile(r"[IE]W[1-5]|S[1-6]")
GROUP = re.compile(r"S01S(?P<mode>IW|EW|SM|S[1-6])(?P<kind>GR[A-Z]|SLC)_")
RADAR_FREQUENCY = 5.405000454334350e9
"""Hertz, of all annotations: early stores do not hold it."""
TABLES = {"beta0": "beta_nought", "sigma0": "sigma_nought", "gamma0": "gamma"}
"""Arrays of calibration vectors."""
LARGEST_SIDE = 2**17
"""Lines or samples of an image: five times those of a product."""
MOST_CHUNKS = 100_000
"""Chunks of an image: ESA's have hundreds."""
POINTS = (
    "slant_range_time_gcp",
    "latitude",
    "longitude",
    "height",
    "incidence_angle",
    "elevation_angle",
)
"""Arrays of the geolocation grid."""
CORNERS = ("first_azimuth_line", "last_azimuth_line", "first_range_sample", "last_range_sample")
"""Corners of a block of noise along azimuth."""


class EopfSource(EopfStore):
    """An EOPF store, and what it says; `open` makes it."""

    checks = "none: a store lists no checksums"
    unverified = ()

    def __init__(
        self, root: zarr.Group, label: str, folder: Path | None, origin: tuple[str, dict[str, Any]]
    ) -> None:
        super().__init__(root, label, folder)
        self._origin = origin
        self._kind = ""
        self._lock = threading.Lock()
        self._annotations: dict[tuple[str, str], Annotation] = {}
        with self._errors():
            self._parts = self._find_parts()
            self.manifest = self._read_manifest()

    @classmethod
    def open(
        cls, source: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
    ) -> EopfSource:
        """Open a store: a folder, a zip of one, or a URL."""
        # Zarr needs an asynchronous file system: its own.
        options = {name: it for name, it in (storage_options or {}).items() if name != "storage"}
        return cls(*open_root(str(source), options), (str(source), options))

    def __reduce__(self) -> tuple[Callable[..., EopfSource], tuple[str, dict[str, Any]]]:
        """Pickle as an instruction to open the same store again."""
        return EopfSource.open, self._origin

    @property
    def rasters(self) -> EopfSource:
        """The object that opens the measurements: the store itself."""
        return self

    @property
    def name(self) -> str:
        """Name of the product: that of the store, without its suffix."""
        name = PurePosixPath(urlsplit(self.label).path.replace("\\", "/").rstrip("/")).name
        return re.sub(r"(\.zarr)?(\.zip)?$", "", name, flags=re.IGNORECASE)

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """Swath and polarisation of each image."""
        return tuple(self._parts)

    def verify(self) -> None:
        """Refuse: a store lists no checksums."""
        msg = f"{self.label} is a Zarr store, which lists no checksums of its own"
        raise ProductError(msg)

    # Groups.

    def _find_parts(self) -> dict[tuple[str, str], list[Part]]:
        """List the groups of each image; those of bursts in order of time."""
        found: dict[tuple[str, str], list[tuple[Any, Part]]] = {}
        for name in sorted(self._root.group_keys()):
            named = GROUP.match(name)
            if named is None:
                continue
            kind = "SLC" if named["kind"] == "SLC" else "GRD"
            measured = f"{name}/measurements/{kind.lower()}"
            if measured not in self._root:
                continue
            words = name.split("_")
            swath = next((word for word in words if SWATH.fullmatch(word)), named["mode"])
            array = self._array(measured)
            if dims_of(array)[:1] != ("polarization",):
                self._refuse_early(measured, "no dimension of polarisations")
            if array.ndim != 3 or max(array.shape) > LARGEST_SIDE or array.nchunks > MOST_CHUNKS:
                msg = (
                    f"{measured} in {self.label} claims {array.shape} pixels in {array.nchunks} "
                    "chunks, expected an image"
                )
                raise ProductError(msg)
            if self.folder is not None and array.nchunks_initialized == 0:
                msg = f"{measured} in {self.label} has no chunks with pixels: copy the store again"
                raise ProductError(msg)
            self._kind = kind
            for index, label in enumerate(self._values(f"{name}/measurements/polarization")):
                part = Part(name, index)
                bursts = self._first_time(part, str(label)) if kind == "SLC" else 0
                found.setdefault((swath, str(label)), []).append((bursts, part))
        if not found:
            msg = (
                f"{self.label} has no measurements/grd and no measurements/slc of an image: found "
                f"{self._contents()}; expected {EXPECTED}"
            )
            raise ProductError(msg)
        return {
            key: [part for _, part in sorted(parts, key=lambda one: one[0])]
            for key, parts in sorted(found.items())
        }

    def _says(self, part: Part, polarisation: str) -> dict[str, Any]:
        """Return what the metadata of a group say of a polarisation."""
        metadata = self._root[part.group].attrs.get("other_metadata", {})
        return cast("dict[str, Any]", _within(cast("dict[str, Any]", metadata), polarisation) or {})

    def _first_time(self, part: Part, polarisation: str) -> np.datetime64:
        """Return the time of the first line of an image, or of a burst."""
        says = self._says(part, polarisation)
        timing = _within(says, "burst_timing", "azimuth_time")
        if timing is None and self._kind == "GRD":
            timing = _within(
                says, "image_annotation", "image_information", "product_first_line_utc_time"
            )
        if isinstance(timing, str):
            return _time(timing)
        axis = self._axis(self._table(part, "measurements"), "azimuth_time", part)
        if axis.dtype.kind != "M":
            self._refuse_early(f"{part.group}/measurements", "no times of lines")
        return nanoseconds(axis[0])

    # The product.

    def _read_manifest(self) -> Manifest:
        discovery = cast("dict[str, Any]", self._root.attrs.get("stac_discovery", {}))
        properties = cast("dict[str, Any]", discovery.get("properties", {}))
        mission = f"S1{str(properties.get('platform', ''))[-1:].upper()}"
        if mission not in MISSIONS:
            msg = (
                f"{self.label} is of {properties.get('platform', 'an unknown platform')!r}, "
                "expected sentinel-1a, -1b, -1c or -1d"
            )
            raise ProductError(msg)
        first = next(iter(self._parts.values()))[0]
        named = GROUP.match(first.group)
        mode = "" if named is None else named["mode"]
        present = {polarisation for _, polarisation in self._parts}
        listed = [str(each) for each in properties.get("sar:polarizations") or ()]
        software = properties.get("processing:software") or {}
        corners = np.array(
            discovery.get("geometry", {}).get("coordinates", [[]])[0],
            dtype=np.float64,
        )
        if corners.ndim != 2 or corners.shape[1] < 2 or not np.isfinite(corners).all():
            msg = f"{self.label} has no footprint in its attribute stac_discovery"
            raise ProductError(msg)
        return Manifest(
            mission=mission,
            mode="SM" if mode.startswith("S") else mode,
            product_type=self._kind,
            swaths=tuple(sorted({swath for swath, _ in self._parts})),
            polarisations=tuple(each for each in listed if each in present)
            or tuple(sorted(present)),
            start=_time(str(properties["start_datetime"])),
            stop=_time(str(properties["end_datetime"])),
            orbit_number=int(properties.get("sat:absolute_orbit", 0)),
            relative_orbit=int(properties.get("sat:relative_orbit", 0)),
            passing=str(properties.get("sat:orbit_state", "unknown")),
            processor_version=_number(software.get("Sentinel-1 IPF")),
            # The class description of the product, in which simulated ones are called that.
            simulated="simulated" in str(discovery.get("id", "")),
            footprint=corners[:, :2],
            files=(),
            facility=str(properties.get("processing:facility", "")),
            processed=str(properties.get("created", "")),
        )

    def annotation(self, swath: str, polarisation: str) -> Annotation:
        """Read the geometry of an image."""
        key = swath, polarisation
        if key not in self._parts:
            found = ", ".join(" ".join(each) for each in self._parts)
            msg = f"found no image of {swath} {polarisation} in {self.label}, only {found}"
            raise ProductError(msg)
        with self._lock, self._errors():
            if key not in self._annotations:
                self._annotations[key] = self._read_annotation(*key)
            return self._annotations[key]

    def _read_annotation(self, swath: str, polarisation: str) -> Annotation:
        parts = self._parts[swath, polarisation]
        first = parts[0]
        says = self._says(first, polarisation)
        image = _within(says, "image_annotation", "image_information") or {}
        processing = _within(says, "image_annotation", "processing_information") or {}
        arrays = [self._measurement(part) for part in parts]
        lines, samples = sum(array.shape[-2] for array in arrays), arrays[0].shape[-1]
        axes = self._table(first, "measurements")
        slant_range_time = _number(image.get("slant_range_time"))
        if not np.isfinite(slant_range_time) and "slant_range_time" in axes:
            slant_range_time = float(axes["slant_range_time"][0])
        rate = _number(
            says.get("range_sampling_rate")
            or _within(says, "general_annotation", "product_information", "range_sampling_rate")
        )
        if not rate > 0.0:
            rate = (samples - 1) / float(np.ptp(self._axis(axes, "slant_range_time", first)))
        interval = _number(image.get("azimuth_time_interval"))
        if not interval > 0.0 and self._kind == "SLC":
            # The coordinates of bursts are spread over one line too many.
            msg = f"{first.group} in {self.label} does not state the interval between lines"
            raise ProductError(msg)
        if not interval > 0.0:
            times = self._axis(axes, "azimuth_time", first)
            interval = seconds_between(times[0], times[-1]) / (times.size - 1)
        is_grd = self._kind == "GRD"
        start = self._first_time(first, polarisation)
        bursts = () if is_grd else tuple(self._burst(part, polarisation) for part in parts)
        return Annotation(
            name=f"{first.group} in {self.label}",
            mission=self.manifest.mission,
            product_type=self._kind,
            mode=self.manifest.mode,
            swath=swath,
            polarisation=polarisation,
            passing=self.manifest.passing.capitalize(),
            first_line_time=start,
            line_interval=interval,
            lines=lines,
            samples=samples,
            range_spacing=(
                float(np.ptp(self._axis(axes, "ground_range", first))) / (samples - 1)
                if is_grd
                else SPEED_OF_LIGHT / (2.0 * rate)
            ),
            slant_range_time=slant_range_time,
            range_sampling_rate=rate,
            radar_frequency=self._frequency(first),
            processing=_processing(processing),
            state_vectors=self._state_vectors(parts),
            geolocation=self._geolocation(parts, start, interval, image, lines),
            range_conversion=self._range_conversion(first) if is_grd else None,
            lines_per_burst=0 if is_grd else arrays[0].shape[-2],
            bursts=bursts,
            orbit_source=str(processing.get("orbit_source") or ""),
        )

    def _axis(self, table: xr.Dataset, name: str, part: Part) -> NDArray[Any]:
        if name not in table or table.sizes[name] < 2:
            self._refuse_early(f"{part.group}/measurements", f"no coordinate {name}")
        return table[name].values

    def _frequency(self, part: Part) -> float:
        discovery = self._root[part.group].attrs.get("stac_discovery", {})
        found = _number(
            _within(cast("dict[str, Any]", discovery), "properties", "sar:center_frequency")
        )
        if not found > 0.0:
            return RADAR_FREQUENCY
        # STAC has gigahertz, ESA's converter writes hertz.
        return found if found > 1e6 else 1e9 * found

    def _burst(self, part: Part, polarisation: str) -> BurstTiming:
        timing = self._says(part, polarisation).get("burst_timing", {})
        spans = [timing.get(f"{which}_valid_sample") for which in ("first", "last")]
        if None in spans:
            self._refuse_early(part.group, "no list of valid samples")
        samples = (np.asarray(each, dtype=np.float64).astype(np.int64) for each in spans)
        return BurstTiming(self._first_time(part, polarisation), *samples)

    def _state_vectors(self, parts: Sequence[Part]) -> StateVectors:
        """Return the state vectors of all groups of an image, each once."""
        tables = [self._table(part, "conditions/orbit") for part in parts]
        time = np.concatenate([table["azimuth_time"].values for table in tables])
        position, velocity = (
            np.concatenate([table[name].transpose("azimuth_time", "axis") for table in tables])
            for name in ("position", "velocity")
        )
        chosen = _latest(time.astype("datetime64[ns]"), np.isfinite(position).all(axis=1))
        return StateVectors(
            time=time[chosen].astype("datetime64[ns]"),
            position=position[chosen].astype(np.float64),
            velocity=velocity[chosen].astype(np.float64),
        )

    def _geolocation(
        self,
        parts: Sequence[Part],
        start: np.datetime64,
        interval: float,
        image: Mapping[str, Any],
        lines: int,
    ) -> GeolocationGrid:
        """Return the geolocation points of all groups of an image, each once."""
        import xarray as xr

        lines = int(image.get("number_of_lines") or lines)
        last = image.get("product_last_line_utc_time")
        first = image.get("product_first_line_utc_time")
        if isinstance(first, str) and isinstance(last, str):
            # The lines of an SLC's file, bursts one after the other, are spread over the time.
            start, interval = (
                _time(first),
                seconds_between(_time(first), _time(last)) / (lines - 1),
            )
        columns = []
        for part in parts:
            table = self._table(part, "conditions/gcp")
            line = _lines(table["azimuth_time"], start, interval)
            points = (table[name] for name in ("azimuth_time_gcp", *POINTS))
            every = xr.broadcast(line, self._pixels(table, part), *points)
            columns.append([each.values.ravel() for each in every])
        joined = [np.concatenate(each) for each in zip(*columns, strict=True)]
        place = np.stack(joined[:2], axis=1).astype(np.int64)
        values = [each.astype(np.float64) for each in joined[3:]]
        chosen = _latest(place, np.logical_and.reduce(np.isfinite(values)))
        if not chosen.size:
            msg = f"{parts[0].group}/conditions/gcp in {self.label} has no points"
            raise ProductError(msg)
        return GeolocationGrid(
            place[chosen, 0],
            place[chosen, 1],
            joined[2][chosen].astype("datetime64[ns]"),
            *(each[chosen] for each in values),
        )

    def _pixels(self, table: xr.Dataset, part: Part) -> xr.DataArray:
        """Return the samples of a table, from its coordinate in range."""
        name = "ground_range" if self._kind == "GRD" else "slant_range_time"
        axis = self._axis(self._table(part, "measurements"), name, part)
        step = (axis[-1] - axis[0]) / (axis.size - 1)
        return cast("xr.DataArray", np.rint((table[name] - axis[0]) / step))

    def _range_conversion(self, part: Part) -> RangeConversion:
        table = self._table(part, "conditions/coordinate_conversion")
        dims = ("azimuth_time", "degree")
        return RangeConversion(
            azimuth_time=table["azimuth_time"].values.astype("datetime64[ns]"),
            slant_origin=table["sr0"].values.astype(np.float64),
            slant_to_ground=_coefficients(table["srgr_coefficients"].transpose(*dims).values),
            ground_origin=table["gr0"].values.astype(np.float64),
            ground_to_slant=_coefficients(table["grsr_coefficients"].transpose(*dims).values),
        )

    # Radiometry and pixels.

    def channel(self, swath: str, polarisation: str, *, noise: bool) -> Channel:
        """Return the image of a swath and polarisation, with annotation and radiometry."""
        annotation = self.annotation(swath, polarisation)
        parts = self._parts[swath, polarisation]
        with self._errors():
            tables = [(part, self._table(part, "quality/calibration")) for part in parts]
            vectors = {
                name: self._line_vectors(tables, stored, annotation, SMALLEST_AMPLITUDE)
                for name, stored in TABLES.items()
            }
            numbers = self._line_vectors(tables, "dn", annotation, 0.0)
            radiometry = Radiometry(
                CalibrationVectors(cast("Any", vectors), float(numbers.values[0][0])),
                self._noise(parts, annotation) if noise else None,
            )
        return Channel(f"{swath}_{polarisation}", annotation, radiometry)

    def _line_vectors(
        self,
        tables: Sequence[tuple[Part, xr.Dataset]],
        name: str,
        annotation: Annotation,
        smallest: float,
    ) -> LineVectors:
        """Return vectors of all groups of an image, each line once."""
        rows: dict[float, tuple[Floats, Floats]] = {}
        for part, table in tables:
            values = table[name].transpose("azimuth_time", ...)
            line = _lines_of_file(table["azimuth_time"], annotation)
            samples = np.broadcast_to(self._pixels(table, part).values, values.shape)
            for at, row, sample in zip(line.values, values.values, samples, strict=True):
                known = np.isfinite(row)
                if known.any():
                    rows[float(at)] = (
                        sample[known].astype(np.float64),
                        row[known].astype(np.float64),
                    )
        lines = sorted(rows)
        lowest = min((float(rows[line][1].min()) for line in lines), default=-np.inf)
        if not lowest >= smallest:
            msg = (
                f"{name} of {annotation.name} has {len(lines)} lines with values down to "
                f"{lowest:g}, expected some, of at least {smallest:g}: the store is damaged"
            )
            raise ProductError(msg)
        return LineVectors(
            np.array(lines), [rows[line][0] for line in lines], [rows[line][1] for line in lines]
        )

    def _noise(self, parts: Sequence[Part], annotation: Annotation) -> NoiseVectors:
        tables = [(part, self._table(part, "quality/noise_range")) for part in parts]
        vectors = self._line_vectors(tables, "noise_range_lut", annotation, 0.0)
        if not any(values.any() for values in vectors.values):
            return NoiseVectors(None, ())
        blocks = {
            (block.first_line, block.first_sample): block
            for part in parts
            for block in self._azimuth_noise(part, annotation)
        }
        return NoiseVectors(vectors, tuple(blocks[key] for key in sorted(blocks)))

    def _azimuth_noise(self, part: Part, annotation: Annotation) -> Iterator[AzimuthNoise]:
        """Return the factors of noise along azimuth of all swaths in a group."""
        table = self._table(part, "quality/noise_azimuth")
        if "noise_azimuth_lut" not in table:
            return
        line = _lines_of_file(table["azimuth_time"], annotation).values
        order = np.argsort(line, kind="stable")
        for number in range(table.sizes.get("swath", 1)):
            own = table.isel(swath=number) if "swath" in table.dims else table
            factors = own["noise_azimuth_lut"].values.astype(np.float64)
            known = order[np.isfinite(factors[order]) & (line[order] >= 0.0)]
            corners = np.array([float(own[name].values) for name in CORNERS])
            if known.size and np.isfinite(corners).all():
                first_line, last_line, first_sample, last_sample = map(int, corners)
                yield AzimuthNoise(
                    first_line, last_line, first_sample, last_sample, line[known], factors[known]
                )

    def _measurement(self, part: Part) -> zarr.Array[Any]:
        return self._array(f"{part.group}/measurements/{self._kind.lower()}")

    def _arrays(self, name: str) -> list[tuple[zarr.Array[Any], int]]:
        """Return the arrays of a measurement, and the place of its polarisation in each.

        The bursts of an SLC follow one another, as in a SAFE product.
        """
        swath, _, polarisation = name.partition("_")
        return [(self._measurement(part), part.index) for part in self._parts[swath, polarisation]]

    def form(self, name: str) -> Form:
        """Return the form of a measurement."""
        with self._errors():
            arrays = [array for array, _ in self._arrays(name)]
            first = arrays[0]
            lines = sum(array.shape[-2] for array in arrays)
            return Form(lines, first.shape[-1], (str(first.dtype),), first.chunks[-2])

    def read_window(
        self,
        name: str,
        lines: Span,
        samples: Span,
        *,
        total: int,  # noqa: ARG002  # a store lists no checksums
    ) -> NDArray[Any]:
        """Read a window of a measurement."""
        blocks = []
        begin = 0
        with self._errors():
            for array, index in self._arrays(name):
                size = array.shape[-2]
                first, last = max(lines[0] - begin, 0), min(lines[1] - begin, size)
                if first < last:
                    blocks.append(np.asarray(array[index, first:last, slice(*samples)]))
                begin += size
        return np.concatenate(blocks)


def _within(values: Mapping[str, Any], *names: str) -> Any:  # noqa: ANN401  # of JSON
    """Return a value deep inside metadata; None where there is none."""
    found: Any = values
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _number(value: Any) -> float:  # noqa: ANN401  # of JSON
    """Return a number; NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _time(text: str) -> np.datetime64:
    return np.datetime64(text.removesuffix("Z"), "ns")


def _lines(times: xr.DataArray, start: np.datetime64, interval: float) -> xr.DataArray:
    """Return the lines of times."""
    seconds = (times - start) / np.timedelta64(1, "ns") * 1e-9
    return cast("xr.DataArray", np.rint(seconds / interval))


def _lines_of_file(times: xr.DataArray, annotation: Annotation) -> xr.DataArray:
    """Return lines of the image file: where bursts overlap, those of the later one."""
    if not annotation.bursts:
        return _lines(times, annotation.first_line_time, annotation.line_interval)
    starts = np.array([nanoseconds(burst.azimuth_time) for burst in annotation.bursts])
    burst = np.searchsorted(starts, times.values, side="right") - 1
    burst = np.clip(burst, 0, starts.size - 1)
    own = times.copy(data=starts[burst])
    seconds = (times - own) / np.timedelta64(1, "ns") * 1e-9
    lines = np.rint(seconds / annotation.line_interval)
    return cast("xr.DataArray", lines + burst * annotation.lines_per_burst)


def _coefficients(values: Floats) -> Floats:
    """Return polynomials that are filled up with zeros."""
    return np.where(np.isfinite(values), values, 0.0).astype(np.float64)


def _latest(keys: NDArray[Any], known: NDArray[Any]) -> NDArray[np.intp]:
    """Return the places of the known keys in order, the last one of each, shape (n,)."""
    places = np.flatnonzero(known)[::-1]
    _, first = np.unique(keys[places], axis=0, return_index=True)
    return places[first]


def _processing(processing: Mapping[str, Any]) -> tuple[SwathProcessing, ...]:
    """Return the parameters of each swath whose spectrum is known."""
    found = []
    for swath in processing.get("swath_proc_params_list") or ():
        spectra, looks = [], []
        for axis in ("range_processing", "azimuth_processing"):
            values = swath.get(axis) or {}
            weighted = str(values.get("window_type", "")).lower() == "hamming"
            window = _number(values.get("window_coefficient")) if weighted else 1.0
            spectra.append(Spectrum(_number(values.get("look_bandwidth")), window))
            looks.append(int(values.get("number_of_looks") or 1))
        if all(spectrum.bandwidth > 0.0 and spectrum.window > 0.0 for spectrum in spectra):
            name = str(swath.get("swath", ""))
            found.append(SwathProcessing(name, spectra[0], spectra[1], (looks[1], looks[0])))
    return tuple(found)
