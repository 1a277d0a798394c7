"""Orbits of Sentinel-1: from annotations, and from ESA's orbit files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Self

import numpy as np

from sarheight.errors import AnnotationError, ProductError
from sarheight.orbit import (
    FEWEST_VECTORS,
    POSITIONS_FOR_VELOCITY,
    Orbit,
    nanoseconds,
    parse_compact_time,
    seconds_between,
    whole_second,
)
from sarheight.sentinel1.annotation import (
    Annotation,
    Floats,
    StateVectors,
    read_annotation,
    vectors_of,
)
from sarheight.sentinel1.document import Document, XmlSource, leap_seconds

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.sentinel1._manifest import Manifest

STAMP_ROUNDING = 1.5e-6
"""Seconds by which the times of an annotation's state vectors differ from a steady interval: they
are rounded to a microsecond, and so is the first of them."""

ORBIT_KINDS = ("POEORB", "RESORB")
"""Precise (some 5 cm, after twenty days) and restituted (some 10 cm, after hours), best first."""

COVERAGE_MARGIN = np.timedelta64(60, "s")
"""How far an orbit file must extend beyond an image: interpolation uses neighbouring vectors."""

ANNOTATION_ORBIT = "annotation"
"""What a caller passes in place of an orbit file to use the orbit of the annotation."""

LARGEST_SEPARATION = {"Auxiliary": 5.0}
"""Metres between the annotation's orbit and that of a file, at most, by the source of the former.
One that the processor took from an orbit file ("Auxiliary") is good to decimetres."""

LARGEST_SEPARATION_DOWNLINKED = 50.0
"""The same for the other sources: the satellite's own navigation is good to some ten metres."""

ANNOTATION_TOLERANCE = 0.1, 0.1
"""Errors of a position (metres) and a velocity (metres per second) in an annotation, at most. In
real ones they are 0.7 mm and 11 mm/s where the orbit was downlinked, else 0.01 mm and 0.03 mm/s."""

FILE_TOLERANCE = 0.03, 0.03
"""The same for an orbit file: 0.01 mm and 0.05 mm/s in a real one; the thrusters, which accelerate
the satellite by 1 mm/s² at most, add some centimetres."""

OrbitSource = Orbit | str | os.PathLike[str] | None
"""An orbit, an orbit file, a folder with orbit files, `ANNOTATION_ORBIT`, or None: an orbit file
beside the product where there is one, else the orbit of the annotation."""

_ORBIT_FILE = "an orbit file of ESA (S1*_AUX_POEORB_*.EOF or S1*_AUX_RESORB_*.EOF)"
_NAME = re.compile(
    r"(?P<mission>S1[A-Z])_OPER_AUX_(?P<kind>POEORB|RESORB)_OPOD_(?P<created>\d{8}T\d{6})"
    r"_V(?P<start>\d{8}T\d{6})_(?P<stop>\d{8}T\d{6})\.EOF"
)


def read_orbit(source: XmlSource | Annotation) -> Orbit:
    """Read the orbit of a Sentinel-1 image from its annotation.

    Two corrections are applied. With them, zero Doppler meets the slant ranges of ESA's
    geolocation grids to 0.02 mm; without them, to 2 mm:

    - The annotation gives times to a microsecond, in which the satellite flies 7 mm. Times that
      differ from a steady interval of whole milliseconds by no more than that are moved to it.
    - Velocities are derived from the positions (see `sarheight.orbit.Orbit.from_positions`), as
      those of the annotation can be wrong by centimetres per second where the orbit was
      downlinked. With fewer than seven vectors they are kept.

    Parameters
    ----------
    source : str, path, bytes or Annotation
        Path of an annotation XML of a GRD or SLC, plain or compressed with xz; its contents; or
        what `read_annotation` returns.

    Returns
    -------
    Orbit
        Its epoch is the time of the image's first line, without the fraction of the second.

    Raises
    ------
    AnnotationError
        If the file is cut short, foreign, unsafe, or its vectors cannot be used.
    OSError
        If the file cannot be read.
    """
    annotation = source if isinstance(source, Annotation) else read_annotation(source)
    vectors = annotation.state_vectors
    epoch = whole_second(annotation.first_line_time)
    time = _without_rounding(_seconds(epoch, vectors))
    # Results name no folders of this machine.
    name = f"the annotation {PurePath(annotation.name).name}"
    try:
        orbit = (
            Orbit(epoch, time, vectors.position, vectors.velocity, name)
            if time.size < POSITIONS_FOR_VELOCITY
            else Orbit.from_positions(epoch, time, vectors.position, name)
        )
        orbit.require_smooth(*ANNOTATION_TOLERANCE, velocity=vectors.velocity)
    except ValueError as error:
        msg = f"{error}; expected the orbit as it was delivered, fetch the annotation again"
        raise AnnotationError(msg) from error
    return orbit


def read_orbit_file(
    source: XmlSource, window: tuple[np.datetime64, np.datetime64] | None = None
) -> Orbit:
    """Read an orbit file of ESA, precise (POEORB) or restituted (RESORB).

    Parameters
    ----------
    source : str, path or bytes
        Path of the EOF file, plain or compressed with xz, or its contents.
    window : pair of datetime64, optional
        First and last time (UTC) that are needed: only the vectors around them are kept. Across a
        leap second times are counted on from the first; one within the inserted second itself
        cannot be told from the second after it.

    Returns
    -------
    Orbit
        Its epoch is the first time of the window, or of the file where there is none, without
        the fraction of the second.

    Raises
    ------
    AnnotationError
        If the file is cut short, foreign, unsafe, or its vectors cannot be used.
    OrbitCoverageError
        If the file does not cover the window.
    OSError
        If the file cannot be read.
    """
    name, vectors = _read_state_vectors(source, None if window is None else window[0])
    epoch = whole_second(vectors.time[0] if window is None else nanoseconds(window[0]))
    try:
        orbit = Orbit(
            epoch,
            _seconds(epoch, vectors),
            vectors.position,
            vectors.velocity,
            f"the orbit file {PurePath(name).name}",
        )
        orbit.require_smooth(*FILE_TOLERANCE)
    except ValueError as error:
        msg = f"{error}; expected the file as it was delivered, fetch it again"
        raise AnnotationError(msg) from error
    if window is None:
        return orbit
    return orbit.crop(*(seconds_between(epoch, time) for time in window))


def _seconds(epoch: np.datetime64, vectors: StateVectors) -> Floats:
    return np.array([seconds_between(epoch, time) for time in vectors.time])


def _without_rounding(time: Floats) -> Floats:
    """Return times at a steady interval of whole milliseconds, if only rounding hides it."""
    if time.size < FEWEST_VECTORS:
        return time
    count = np.arange(time.size)
    interval = round((time[-1] - time[0]) / (time.size - 1), 3)
    steady: Floats = np.mean(time - interval * count) + interval * count
    return steady if np.abs(time - steady).max() <= STAMP_ROUNDING else time


def _read_state_vectors(
    source: XmlSource, reference: np.datetime64 | None
) -> tuple[str, StateVectors]:
    """Return the name and the state vectors of an orbit file.

    Across a leap second, times are counted on from a reference, by default the first of them.
    """
    root = Document.read(source, root="Earth_Explorer_File", kind=_ORBIT_FILE)
    header = root.element("Earth_Explorer_Header/Variable_Header")
    for name, expected in (("Ref_Frame", "EARTH_FIXED"), ("Time_Reference", "UTC")):
        if header.text(name) != expected:
            header.refuse(name, repr(header.text(name)), repr(expected))
    path = "Data_Block/List_of_OSVs"
    if reference is None and next(root.elements(f"{path}/OSV"), None) is None:
        root.refuse(path, "no state vectors", "a list of them")
    first = f"{path}/OSV/UTC"
    root = root.counting(root.leaps(first) if reference is None else leap_seconds(reference))
    return root.name, vectors_of(root, path, "OSV", "UTC", ("X", "Y", "Z"), ("VX", "VY", "VZ"))


# Which orbit file belongs to an image.


@dataclass(frozen=True)
class OrbitFileName:
    """The name of an orbit file, and what it says."""

    name: str  # ends in ".EOF"
    kind: str  # "POEORB" or "RESORB"
    mission: str  # such as "S1A"
    created: np.datetime64  # UTC, as are start and stop: the time that the file covers
    start: np.datetime64
    stop: np.datetime64

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a name, with or without folders and ``.zip``; None if it is no orbit file's."""
        parts = _NAME.search(text)
        if parts is None:
            return None
        try:
            times = [parse_compact_time(parts[name]) for name in ("created", "start", "stop")]
        except ValueError:
            return None
        return cls(parts[0], parts["kind"], parts["mission"], *times)

    def margin(self, start: np.datetime64, stop: np.datetime64) -> np.timedelta64:
        """Return how far the file extends beyond a time span, on the side where it is less."""
        return min(start - self.start, self.stop - stop)


def best_orbit_file(
    files: Iterable[OrbitFileName],
    mission: str,
    kind: str,
    start: np.datetime64,
    stop: np.datetime64,
) -> OrbitFileName | None:
    """Choose the orbit file that covers a time span best, with `COVERAGE_MARGIN`.

    An orbit solution is weakest at its ends: the file whose ends are farthest from the image is
    best; of several that cover the same time, the one created last.
    """
    suitable = [
        file
        for file in files
        if (file.mission, file.kind) == (mission, kind)
        and file.margin(start, stop) >= COVERAGE_MARGIN
    ]
    return max(suitable, key=lambda file: (file.margin(start, stop), file.created), default=None)


def find_orbit_file(
    folder: str | os.PathLike[str], mission: str, start: np.datetime64, stop: np.datetime64
) -> Path | None:
    """Find the best orbit file of an image in a folder, plain or compressed with xz."""
    paths = {}
    for path in sorted(Path(folder).glob(f"{mission}_OPER_AUX_*.EOF*")):
        file = OrbitFileName.parse(path.name)
        if file is not None and path.name.removeprefix(file.name) in {"", ".xz"}:
            paths[file] = path
    for kind in ORBIT_KINDS:
        best = best_orbit_file(paths, mission, kind, start, stop)
        if best is not None:
            return paths[best]
    return None


def product_orbit(
    source: OrbitSource,
    grid: RadarGrid,
    annotation: Annotation,
    manifest: Manifest,
    folder: Path | None,
) -> Orbit:
    """Return the orbit of a product's image, from a source or the `folder` of the product."""
    if isinstance(source, Orbit):
        return source.with_epoch(grid.epoch)
    rough = read_orbit(annotation).with_epoch(grid.epoch)
    if source == ANNOTATION_ORBIT:
        return rough
    path = folder if source is None else Path(source)
    if path is not None and path.is_dir():
        found = find_orbit_file(path, manifest.mission, manifest.start, manifest.stop)
        if found is None and source is not None:
            msg = (
                f"found no orbit file of the image in {path}, expected "
                f"{manifest.mission}_OPER_AUX_POEORB_….EOF or RESORB that covers "
                f"{manifest.start} to {manifest.stop}"
            )
            raise FileNotFoundError(msg)
        path = found
    return rough if path is None else _precise_orbit(path, grid, rough, annotation.orbit_source)


def _precise_orbit(path: Path, grid: RadarGrid, rough: Orbit, orbit_source: str) -> Orbit:
    """Read the orbit of an image from an orbit file, and compare it with the annotation's."""
    window = (rough.utc(grid.first_time), rough.utc(grid.last_time))
    orbit = read_orbit_file(path, window).with_epoch(grid.epoch)
    times = np.linspace(grid.first_time, grid.last_time, 3)
    separation = float(np.linalg.norm(orbit.state(times)[0] - rough.state(times)[0], axis=1).max())
    limit = LARGEST_SEPARATION.get(orbit_source, LARGEST_SEPARATION_DOWNLINKED)
    if not separation <= limit:
        msg = (
            f"the orbit of {path} is {separation:.0f} m away from that of the annotation, expected "
            f"at most {limit:g} m: it is the file of another satellite, or one of the two is "
            "damaged; pass the one of this mission and time"
        )
        raise ProductError(msg)
    return orbit
