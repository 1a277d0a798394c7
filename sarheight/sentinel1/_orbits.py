"""Which orbit places a product: that of its annotation, or one from an orbit file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sarheight.errors import ProductError
from sarheight.fetch.orbits import KINDS, OrbitFile, best
from sarheight.orbit import Orbit

if TYPE_CHECKING:
    from sarheight._annotation import Annotation
    from sarheight.scene import RadarGrid
    from sarheight.sentinel1._manifest import Manifest

__all__ = ["OrbitSource", "chosen_orbit", "find_orbit_file", "orbit_from_file"]

FROM_ANNOTATION = "annotation"
"""Said in place of an orbit file by whoever wants the orbit of the annotation."""

SUFFIXES = ("", ".xz")
FARTHEST = 200.0
"""Metres between the annotation's orbit and that of a file, at most: both are good to a few."""


OrbitSource = Orbit | str | os.PathLike[str] | None


def chosen_orbit(
    source: OrbitSource,
    grid: RadarGrid,
    annotation: Annotation,
    manifest: Manifest,
    beside: Path | None,
) -> Orbit:
    """Take the orbit that somebody wants for a product.

    Parameters
    ----------
    source : Orbit, path or str, optional
        An orbit, an orbit file, a folder with some, "annotation", or None.
    grid : RadarGrid
        Sampling of the image.
    annotation : Annotation
        Of the image.
    manifest : Manifest
        Of the product.
    beside : Path, optional
        Folder in which orbit files are looked for without a `source`.

    Returns
    -------
    Orbit
        With the grid's epoch.

    Raises
    ------
    FileNotFoundError
        If a folder has no orbit file of the image.
    AnnotationError, OrbitCoverageError, ProductError
        As for `orbit_from_file`.
    """
    if isinstance(source, Orbit):
        return source.with_epoch(grid.epoch)
    rough = Orbit.from_annotation(annotation).with_epoch(grid.epoch)
    if source == FROM_ANNOTATION:
        return rough
    path = beside if source is None else Path(source)
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
    return rough if path is None else orbit_from_file(path, grid, rough)


def find_orbit_file(
    folder: str | os.PathLike[str], mission: str, start: np.datetime64, stop: np.datetime64
) -> Path | None:
    """Look in a folder for the best orbit file of an image.

    Parameters
    ----------
    folder : path-like
        A folder with files of ESA's names, ``S1A_OPER_AUX_POEORB_OPOD_….EOF``, plain or ``.xz``.
    mission : str
        Such as "S1A".
    start, stop : datetime64
        First and last time of the image (UTC).

    Returns
    -------
    pathlib.Path or None
        A precise orbit before a restituted one, and of several the one that reaches farthest
        beyond the image; None where no file covers it.
    """
    found = {}
    for path in sorted(Path(folder).glob(f"{mission}_OPER_AUX_*.EOF*")):
        orbit = OrbitFile.from_name(path.name)
        if orbit is not None and path.name.removeprefix(orbit.name) in SUFFIXES:
            found[orbit] = path
    for kind in KINDS:
        chosen = best(list(found), mission, kind, start, stop)
        if chosen is not None:
            return found[chosen]
    return None


def orbit_from_file(path: str | os.PathLike[str], grid: RadarGrid, rough: Orbit) -> Orbit:
    """Read the orbit of an image from an orbit file.

    Parameters
    ----------
    path : path-like
        The file, EOF, plain or compressed with xz.
    grid : RadarGrid
        Sampling of the image.
    rough : Orbit
        The orbit of its annotation.

    Returns
    -------
    Orbit
        The part around the image, with the grid's epoch.

    Raises
    ------
    AnnotationError
        If the file is damaged.
    OrbitCoverageError
        If the file does not cover the image.
    ProductError
        If it is that of another satellite.
    """
    rough = rough.with_epoch(grid.epoch)
    window = (rough.utc(grid.first_time), rough.utc(grid.last_time))
    orbit = Orbit.from_eof(path, window=window).with_epoch(grid.epoch)
    middle = 0.5 * (grid.first_time + grid.last_time)
    apart = float(np.linalg.norm(orbit.state(middle)[0] - rough.state(middle)[0]))
    if apart > FARTHEST:
        msg = (
            f"the orbit of {path} is {apart:.0f} m away from that of the annotation, expected a "
            "few metres: it is the file of another satellite, pass the one of this mission"
        )
        raise ProductError(msg)
    return orbit
