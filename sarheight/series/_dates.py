"""Dates of a series: opened, compared with the reference, co-registered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
from sarheight_kernels.pool import thread_count

from sarheight.acquisition import acquisition_record, acquisition_time, polarisation_names
from sarheight.archives import is_rtc
from sarheight.coregistration import (
    Policy,
    Shift,
    apply_shift,
    estimate_shift,
    is_significant,
)
from sarheight.errors import SarheightError, SeriesError
from sarheight.illumination import ConstantGamma
from sarheight.output import provenance
from sarheight.output.radar_images import read_scene
from sarheight.product import is_product, open_product
from sarheight.scene import Scene

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.dem.checked import CheckedDem

SAME_DATE = 2.0
"""Seconds by which the beginnings of two products of one acquisition may differ: they may come from
other versions of the processor."""
SAME_WAVELENGTH = 1e-3
"""Relative difference of wavelengths within a series."""
TRACK = {
    "relative_orbit": "relative orbit",
    "orbit_state": "pass",
    "look_side": "look side",
    "mode": "mode",
    "product": "product type",
    "swath": "sub-swaths",
}
"""Fields of an acquisition record that are the same for all dates of a track, with their names."""
IMAGES = (".nc", ".zarr")
"""Images in radar geometry that are dates of a folder: a GeoTIFF may as well be its DEM."""
PRODUCT_FOLDER = "manifest.safe"
SHIFT_WINDOWS = 8
"""Windows of an image that are compared with their simulation."""
REGISTRATION_BYTES = 256 << 20
"""Memory that the co-registration of a date may take, blocks of its file included."""

Found = TypeVar("Found")

Coregistration = Policy
"""Policy for the shift of a date."""


def require_option(name: str, value: object, choices: object) -> None:
    """Refuse a value that is none of a `Literal`."""
    expected = get_args(choices)
    if value not in expected:
        msg = f"found {name}={value!r}, expected one of {', '.join(map(repr, expected))}"
        raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Date:
    """An image of a series, which is read lazily."""

    name: str  # of its product, file, or time
    scene: Scene
    record: Mapping[str, Any]  # see `sarheight.acquisition.acquisition_record`
    source: Path | None = None  # its file
    shift: Shift | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> np.datetime64:
        """Middle of its acquisition (UTC)."""
        return acquisition_time(self.scene.grid, self.scene.orbit)

    @property
    def start(self) -> np.datetime64:
        """Beginning of its acquisition (UTC)."""
        return np.datetime64(str(self.record["start"]).removesuffix("Z"))

    @property
    def key(self) -> str:
        """Name of a folder for it: platform and beginning, to a microsecond."""
        stamp = np.datetime_as_string(self.start, unit="us")
        return f"{self.record['mission'] or 'scene'}_{stamp.replace(':', '').replace('-', '')}"

    @property
    def polarisations(self) -> list[str]:
        """Names of its polarisations; one without a name is called "1"."""
        names = polarisation_names(self.scene)
        return names if len(names) == self.scene.image.sizes.get("polarisation", 1) else ["1"]

    def select(self, polarisations: Sequence[str]) -> Date:
        """Return the same date with some polarisations, in that order."""
        if list(polarisations) == self.polarisations:
            return self
        image, names = self.scene.image, self.polarisations
        index = [names.index(name) for name in polarisations]
        chosen = image.isel(polarisation=index if len(index) > 1 else index[0])
        grid = replace(self.scene.grid, polarisations=tuple(polarisations))
        return replace(self, scene=replace(self.scene, image=chosen, grid=grid))

    def provenance(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the sources of the date."""
        inputs = {} if self.source is None else {"image": self.source}
        return provenance(inputs, {"orbit": self.scene.orbit.source, **parameters, **self.notes})


def open_date(image: str | os.PathLike[str] | Scene, options: Mapping[str, Any]) -> Date:
    """Open an image of a series: a scene, a product of the archive, or an image of our own.

    `options` are those of `sarheight.product.Product.scene`.
    """
    if isinstance(image, Scene):
        record = acquisition_record(image.grid, image.orbit, image.image.attrs)
        name = str(record.get("product_name") or f"the scene of {record['start']}")
        return Date(name, image, record)
    source = str(image)
    if is_product(source):
        scene = open_product(source).scene(**options)
        name = str(scene.image.attrs.get("product_name", Path(source).name))
    else:
        scene = read_scene(source, polarisations=options.get("polarisations", ()), lazy=True)
        name = Path(source).name
    record = acquisition_record(scene.grid, scene.orbit, scene.image.attrs)
    return Date(name, scene, record, None if "://" in source else Path(source))


def find_dates(folder: str | os.PathLike[str]) -> list[Path]:
    """List the dates in the folder of a track.

    Parameters
    ----------
    folder : path-like
        A folder.

    Returns
    -------
    list of pathlib.Path
        Products (SAFE, their zips, EOPF stores, HDF5, terrain-flattened ones) and images in radar
        geometry (``.nc``, ``.zarr``) in it, sorted by name, without hidden ones. The list is empty
        where the path is no folder, or a product itself.
    """
    folder = Path(folder)
    if not folder.is_dir() or folder.suffix.lower() in {".safe", ".zarr"}:
        return []
    if (folder / PRODUCT_FOLDER).exists() or is_rtc(folder):
        return []
    return [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
        and (
            path.suffix.lower() in IMAGES
            or is_rtc(path)
            or (is_product(path) and (path.suffix or (path / PRODUCT_FOLDER).exists()))
        )
    ]


def open_dates(
    images: Iterable[str | os.PathLike[str] | Scene] | str | os.PathLike[str] | Scene,
    options: Mapping[str, Any],
    *,
    strict: bool,
) -> tuple[list[Date], dict[str, str]]:
    """Open the images of a series in the order of time; return those that could not be opened."""
    if isinstance(images, str | os.PathLike | Scene):
        images = [images]
    dates, failures = [], {}
    for image in images:
        try:
            dates.append(open_date(image, options))
        except (SarheightError, ValueError, OSError) as error:
            if strict or isinstance(image, Scene):
                raise
            failures[Path(str(image)).name] = " ".join(str(error).split())
    return sorted(dates, key=lambda date: date.start), failures


def is_same(record: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two acquisition records are of the same acquisition."""
    starts = [np.datetime64(str(each["start"]).removesuffix("Z")) for each in (record, other)]
    if record.get("product_name") and record.get("product_name") == other.get("product_name"):
        return True
    seconds = abs((starts[1] - starts[0]) / np.timedelta64(1, "us")) * 1e-6
    return record["mission"] == other["mission"] and bool(seconds < SAME_DATE)


def difference(reference: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Describe how the track of a date differs from the reference; "" where it is the same."""
    found = [
        f"{name} {other[key]} instead of {reference[key]}"
        for key, name in TRACK.items()
        if reference.get(key) and other.get(key) and reference[key] != other[key]
    ]
    frequency = reference["center_frequency"], other["center_frequency"]
    if abs(frequency[1] / frequency[0] - 1.0) > SAME_WAVELENGTH:
        found.append(f"a frequency of {frequency[1]:g} instead of {frequency[0]:g} GHz")
    return ", ".join(found)


def require_track(
    reference: Mapping[str, Any], dates: Iterable[Date], polarisations: Sequence[str]
) -> None:
    """Refuse dates of other tracks, and those that lack a polarisation.

    Where the reference is one of the dates, the track is that of most of them.

    Raises
    ------
    SeriesError
        With a list of these dates.
    """
    others, dates = [], list(dates)
    records = [date.record for date in dates]
    if reference in records:
        reference = max(
            records, key=lambda own: sum(not difference(own, other) for other in records)
        )
    for date in dates:
        reason = difference(reference, date.record)
        missing = [name for name in polarisations if name not in date.polarisations]
        if missing and not reason:
            reason = f"polarisations {', '.join(date.polarisations)}, without {', '.join(missing)}"
        if reason:
            others.append(f"{date.name}: {reason}")
    if others:
        refuse(others)


def refuse(others: Sequence[str]) -> None:
    """Refuse dates that do not belong to the track of a series."""
    msg = (
        f"found {len(others)} dates that do not belong to the track of the others "
        f"({'; '.join(others)}); expected one relative orbit, pass, look side, mode and swath: "
        "pass them to a stack of their own"
    )
    raise SeriesError(msg)


@contextmanager
def side_by_side(
    work: Callable[[Date], Found], dates: Sequence[Date], memory_limit: float
) -> Iterator[Iterator[tuple[Date, Future[Found]]]]:
    """Do the work of several dates at a time, as many as threads and memory allow.

    Yields the dates in their order, each with the future of its result; an error has a note with
    the name of its date. Dates whose work has not begun are dropped when the block ends, by an
    error or an interrupt too.
    """

    def named(date: Date) -> Found:
        with naming(date):
            return work(date)

    pool = ThreadPoolExecutor(dates_at_once(memory_limit), "sarheight-dates")
    try:
        yield zip(dates, [pool.submit(named, date) for date in dates], strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def dates_at_once(memory_limit: float) -> int:
    """Count the dates that are co-registered at a time, as many as threads and memory allow."""
    return max(int(min(memory_limit / REGISTRATION_BYTES, thread_count())), 1)


@contextmanager
def naming(date: Date) -> Iterator[None]:
    """Add a note with the name of a date to its errors."""
    try:
        yield
    except Exception as error:
        error.add_note(f"The date is {date.name}.")
        raise


def coregister(
    date: Date, dem: xr.DataArray | CheckedDem, gamma: xr.DataArray | None, *, correct: bool
) -> Date:
    """Estimate the shift of a date against its simulation, and correct a significant one.

    The simulation has the backscatter `gamma` of earlier dates, dims (y, x) of the DEM, so that
    dates are co-registered to each other. The simulation of the first date has a constant gamma0.
    """
    law = None if gamma is None else ConstantGamma(1.0)
    shift = estimate_shift(date.scene, dem, law=law, reflectivity=gamma, windows=SHIFT_WINDOWS)
    return with_shift(date, shift, correct=correct)


def with_shift(date: Date, shift: Shift, *, correct: bool) -> Date:
    """Return a date with its shift, corrected where it is significant."""
    corrected = correct and is_significant(shift)
    scene = apply_shift(date.scene, shift) if corrected else date.scene
    notes = date.notes | {"coregistration": shift.attributes(), "corrected": corrected}
    return replace(date, scene=scene, shift=shift, notes=notes)


def shift_from_json(text: str, date: Date, *, correct: bool) -> Date:
    """Return a date with a shift of which the attributes were kept, see `Shift.to_json`."""
    made = with_shift(date, Shift.from_json(text), correct=correct)
    # The number of windows is known from the text only.
    return replace(made, notes=made.notes | {"coregistration": json.loads(text)})
