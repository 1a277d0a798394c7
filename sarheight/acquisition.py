"""Acquisition metadata of results, and their sampling and orbit as JSON.

A result has an attribute ``acquisition``: JSON text with one record for each pass. Its STAC item
and other metadata are derived from it.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._files import parse_json, reason
from sarheight.doppler import DopplerLUT
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.errors import DamagedFileError
from sarheight.grid import Burst, RadarGrid
from sarheight.ground_range import GroundRange
from sarheight.orbit import Orbit, parse_compact_time, seconds_between

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sarheight.scene import Scene

__all__ = [
    "ACQUISITION",
    "GEOMETRY",
    "acquisition_json",
    "acquisition_record",
    "acquisition_time",
    "acquisitions",
    "geometries",
    "geometry_json",
    "orbit_numbers",
    "relative_orbit",
]
__dir__ = __all__.copy  # `dir` lists the public names

SOURCE = "source_metadata"
"""Attribute of an image: JSON text that says how its product was processed and sampled."""
ACQUISITION = "acquisition"
"""Attribute of a result with its acquisition records."""


def acquisition_json(scenes: Iterable[Scene]) -> str:
    """Describe the acquisition of the images of a result.

    Parameters
    ----------
    scenes : iterable of Scene
        One for each pass. The orbit number is derived from the attribute ``product_name`` of an
        image: the name of its product.

    Returns
    -------
    str
        JSON: a list with a record for each scene (see `acquisition_record`).
    """
    return json.dumps(
        [
            acquisition_record(scene.grid, scene.orbit, scene.image.attrs)
            | {"calibration": scene.calibration, "polarisations": polarisation_names(scene)}
            for scene in scenes
        ]
    )


def acquisition_record(
    grid: RadarGrid, orbit: Orbit, attributes: Mapping[Any, Any] | None = None
) -> dict[str, Any]:
    """Describe the acquisition of an image.

    Parameters
    ----------
    grid, orbit : RadarGrid, Orbit
        Radar grid and orbit of the image.
    attributes : mapping, optional
        Attributes of the image, for ``product_name`` and ``source_metadata``.

    Returns
    -------
    dict
        ``mission``, ``mode``, ``product``, ``swath``, ``polarisations``, ``start`` and ``end``
        (UTC), ``look_side``, ``orbit_state``, ``orbit_source``, ``center_frequency`` (GHz),
        ``looks``; and where they are known ``product_name``, ``absolute_orbit``,
        ``relative_orbit`` and ``source``, the processing and sampling of the product. Unknown
        texts are empty.
    """
    record: dict[str, Any] = {
        name: getattr(grid, name) for name in ("mission", "mode", "product", "swath")
    }
    orbit = orbit.with_epoch(grid.epoch)
    _, velocity = orbit.state([0.5 * (grid.first_time + grid.last_time)])
    record |= {
        "polarisations": list(grid.polarisations),
        "start": _utc(orbit, grid.first_time),
        "end": _utc(orbit, grid.last_time),
        "look_side": grid.look_side,
        "orbit_state": "ascending" if velocity[0, 2] > 0.0 else "descending",
        "orbit_source": orbit.source,
        "center_frequency": round(1e-9 * SPEED_OF_LIGHT / grid.wavelength, 6),
        "looks": grid.looks,
    }
    attributes = attributes or {}
    if SOURCE in attributes:
        record["source"] = json.loads(attributes[SOURCE])
    name = str(attributes.get("product_name", ""))
    return record | ({"product_name": name} | orbit_numbers(name) if name else {})


def acquisition_time(grid: RadarGrid, orbit: Orbit) -> np.datetime64:
    """Return the middle of an acquisition: the coordinate ``time`` of results.

    Parameters
    ----------
    grid, orbit : RadarGrid, Orbit
        Radar grid and orbit of the image.

    Returns
    -------
    numpy.datetime64
        UTC, a whole number of microseconds, in nanoseconds as xarray has it.
    """
    middle = orbit.with_epoch(grid.epoch).utc(0.5 * (grid.first_time + grid.last_time))
    time: np.datetime64 = middle.astype("datetime64[us]").astype("datetime64[ns]")
    return time


def acquisitions(attributes: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Read the acquisition records of a result.

    Parameters
    ----------
    attributes : mapping
        Attributes of the result.

    Returns
    -------
    list of dict
        One for each pass; empty where the result has none.
    """
    stored = attributes.get(ACQUISITION, "[]")
    records: list[dict[str, Any]] = json.loads(stored) if isinstance(stored, str) else list(stored)
    return records


def _utc(orbit: Orbit, time: float) -> str:
    """Format a time in seconds since the orbit's epoch, to a microsecond."""
    return f"{np.datetime_as_string(orbit.utc(time), unit='us')}Z"


def polarisation_names(scene: Scene) -> list[str]:
    """Return the names of a scene's polarisations.

    Several that neither image nor grid names are called "1", "2" and so on; one has no name.
    """
    count = scene.image.sizes.get("polarisation", 1)
    if "polarisation" in scene.image.coords:
        return [str(name) for name in np.atleast_1d(scene.image["polarisation"].values)]
    if count == 1 or len(scene.grid.polarisations) == count:
        return list(scene.grid.polarisations)
    return [str(number + 1) for number in range(count)]


# The orbit numbers in the names of Sentinel-1 products.

SENTINEL_1_NAME = re.compile(
    r"(?P<mission>S1[A-D])_[A-Z0-9]{2}_[A-Z]{3}[FHM_]_\d[AS][A-Z]{2}"
    r"_(?P<start>\d{8}T\d{6})_\d{8}T\d{6}_(?P<orbit>\d{6})_[0-9A-F]{6}_[0-9A-F]{4}"
)
ORBITS_PER_CYCLE = 175
"""Orbits in the repeat cycle of 12 days."""

RELATIVE_ORBITS = {"S1A": 73, "S1B": 27, "S1C": 172, "S1D": 42}
"""Absolute orbit whose relative orbit is 1, by mission."""

MOVED = {"S1C": (np.datetime64("2026-06-16"), 99)}
"""Time from which a mission has another orbital position, and the same number after it."""


def orbit_numbers(product_name: str) -> dict[str, int]:
    """Return the absolute and relative orbit in the name of a Sentinel-1 product.

    Source: Sentinel-1 Product Specification, S1-RS-MDA-52-7441, naming of products.
    """
    parts = SENTINEL_1_NAME.search(product_name)
    if parts is None:
        return {}
    absolute = int(parts["orbit"])
    relative = relative_orbit(parts["mission"], absolute, parse_compact_time(parts["start"]))
    return {"absolute_orbit": absolute, "relative_orbit": relative}


def relative_orbit(mission: str, absolute: int, time: np.datetime64) -> int:
    """Return the relative orbit of an absolute orbit number at a time."""
    if mission not in RELATIVE_ORBITS:
        msg = f"found mission {mission!r}, expected one of {', '.join(RELATIVE_ORBITS)}"
        raise ValueError(msg)
    first = RELATIVE_ORBITS[mission]
    moved, later = MOVED.get(mission, (None, first))
    if moved is not None and seconds_between(moved, time) >= 0.0:
        first = later
    return (absolute - first) % ORBITS_PER_CYCLE + 1


# Sampling and orbit as JSON: fields by name, exact to the last bit.

GEOMETRY = "geometry"
"""Attribute of a result with the sampling and the orbit of its images."""
LARGEST_GEOMETRY = 200_000
"""Characters; a result does not keep a longer geometry, as of a large table of Doppler centroids,
because formats repeat attributes in each file and limit their length."""


def geometry_json(passes: Iterable[tuple[RadarGrid, Orbit]]) -> str:
    """Write the sampling and the orbit of the images of a result.

    Parameters
    ----------
    passes : iterable of (RadarGrid, Orbit)
        One for each image. The orbit is cropped to the time span of the image, in which it stays
        the same to the last bit.

    Returns
    -------
    str
        JSON: a list with a record for each image, or an empty list where that would be very long.
    """
    records = []
    for grid, orbit in passes:
        near = orbit.with_epoch(grid.epoch).crop(grid.first_time, grid.last_time)
        records.append(f'{{"radar_grid": {grid_to_json(grid)}, "orbit": {orbit_to_json(near)}}}')
    text = f"[{', '.join(records)}]"
    return text if len(text) <= LARGEST_GEOMETRY else "[]"


def geometries(attributes: Mapping[Any, Any]) -> list[tuple[RadarGrid, Orbit]]:
    """Read the sampling and the orbit of the images of a result.

    Parameters
    ----------
    attributes : mapping
        Attributes of the result.

    Returns
    -------
    list of (RadarGrid, Orbit)
        One for each pass; empty where the result has none.

    Raises
    ------
    DamagedFileError
        If they cannot be read.
    """
    stored = attributes.get(GEOMETRY, "[]")
    with _explain_unreadable("geometry"):
        records = json.loads(stored) if isinstance(stored, str) else list(stored)
        texts = [(json.dumps(each["radar_grid"]), json.dumps(each["orbit"])) for each in records]
    return [(grid_from_json(grid), orbit_from_json(orbit)) for grid, orbit in texts]


def _to_json(record: RadarGrid | Orbit) -> str:
    """Write the fields of a dataclass: arrays as lists, times in ISO 8601."""
    return json.dumps(
        asdict(record),
        default=lambda value: str(value) if isinstance(value, np.datetime64) else value.tolist(),
    )


def grid_to_json(grid: RadarGrid) -> str:
    """Write a grid as JSON, exact to the last bit."""
    return _to_json(grid)


def grid_from_json(text: str) -> RadarGrid:
    """Read a grid that `grid_to_json` has written."""
    with _explain_unreadable("radar grid"):
        values = parse_json(text, "radar grid")
        epoch, records = np.datetime64(values.pop("epoch")), values.pop("ground_range")
        ground_range = None if records is None else GroundRange(**records)
        bursts = tuple(Burst(**_tuples(burst)) for burst in values.pop("bursts"))
        table = values.pop("doppler", None)
        return RadarGrid(
            epoch=epoch,
            ground_range=ground_range,
            doppler=None if table is None else DopplerLUT(**table),
            bursts=bursts,
            **_tuples(values),
        )


def orbit_to_json(orbit: Orbit) -> str:
    """Write an orbit as JSON: epoch, state vectors and source."""
    return _to_json(orbit)


def orbit_from_json(text: str) -> Orbit:
    """Read an orbit that `orbit_to_json` has written."""
    with _explain_unreadable("orbit"):
        values = parse_json(text, "orbit")
        return Orbit(epoch=np.datetime64(values.pop("epoch")), **values)


@contextmanager
def _explain_unreadable(content: str) -> Iterator[None]:
    """Turn the errors of damaged or unknown content into one that says what to do."""
    try:
        yield
    except Exception as error:
        msg = (
            f"the file's {content} cannot be read ({reason(error)}); expected one written by this "
            "version: write the file again, or pass the annotation"
        )
        raise DamagedFileError(msg) from error


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Turn the lists of JSON into tuples."""
    return {key: tuple(item) if isinstance(item, list) else item for key, item in values.items()}
