"""What is known of how an image was taken, in the form in which results carry it.

A result has one record for each of its passes, as JSON text in its attribute ``acquisition``.
What describes a result to others, such as its STAC item, takes its facts from there.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._constants import SPEED_OF_LIGHT
from sarheight._time import seconds_between

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sarheight.orbit import Orbit
    from sarheight.scene import RadarGrid, Scene

__all__ = ["ACQUISITION", "acquisition_of", "acquisition_record", "acquisitions"]

ACQUISITION = "acquisition"
"""Attribute of a result."""

SENTINEL_1_NAME = re.compile(
    r"(?P<mission>S1[A-D])_[A-Z0-9]{2}_[A-Z]{3}[FHM_]_\d[AS][A-Z]{2}"
    r"_(?P<start>\d{8}T\d{6})_\d{8}T\d{6}_(?P<orbit>\d{6})_[0-9A-F]{6}_[0-9A-F]{4}"
)
ORBITS_PER_CYCLE = 175
RELATIVE_ORBITS = {"S1A": 73, "S1B": 27, "S1C": 172, "S1D": 42}
"""By mission the absolute orbit whose relative orbit is 1."""
MOVED = {"S1C": (np.datetime64("2026-06-16"), 99)}
"""The same after a mission was moved to another place in the constellation."""


def acquisition_of(scenes: Iterable[Scene]) -> str:
    """Describe how the images of a result were taken.

    Parameters
    ----------
    scenes : iterable of Scene
        One for each pass. The attribute ``product_name`` of an image, the name of the product
        that it comes from, tells the number of the orbit.

    Returns
    -------
    str
        JSON, a list with a record for each scene (see `acquisition_record`).
    """
    return json.dumps(
        [
            acquisition_record(scene.grid, scene.orbit, scene.image.attrs)
            | {"calibration": scene.calibration, "polarisations": _polarisations(scene)}
            for scene in scenes
        ]
    )


def acquisition_record(
    grid: RadarGrid, orbit: Orbit, attributes: Mapping[Any, Any] | None = None
) -> dict[str, Any]:
    """Describe how an image was taken.

    Parameters
    ----------
    grid, orbit : RadarGrid, Orbit
        Sampling and orbit of the image.
    attributes : mapping, optional
        Attributes of the image, for ``product_name``.

    Returns
    -------
    dict
        ``mission``, ``mode``, ``product``, ``swath``, ``polarisations``, ``start`` and ``end``
        (UTC), ``look_side``, ``orbit_state``, ``orbit_source``, ``center_frequency`` (GHz),
        ``looks``; and where they are known ``product_name``, ``absolute_orbit`` and
        ``relative_orbit``. Texts are empty where nothing is known.
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
    name = str((attributes or {}).get("product_name", ""))
    return record | ({"product_name": name} | orbit_numbers(name) if name else {})


def orbit_numbers(product_name: str) -> dict[str, int]:
    """Tell the number of an orbit from the name of a Sentinel-1 product.

    Parameters
    ----------
    product_name : str
        Such as ``S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_EFA4.SAFE``.

    Returns
    -------
    dict
        ``absolute_orbit`` and ``relative_orbit``; empty for other names.

    References
    ----------
    Sentinel-1 Product Specification, S1-RS-MDA-52-7441, naming of products.
    """
    found = SENTINEL_1_NAME.search(product_name)
    if found is None:
        return {}
    absolute, start = int(found["orbit"]), found["start"]
    time = np.datetime64(f"{start[:4]}-{start[4:6]}-{start[6:11]}:{start[11:13]}:{start[13:]}")
    relative = relative_orbit(found["mission"], absolute, time)
    return {"absolute_orbit": absolute, "relative_orbit": relative}


def relative_orbit(mission: str, absolute: int, time: np.datetime64) -> int:
    """Return the relative orbit number of an absolute one.

    Parameters
    ----------
    mission : str
        Such as "S1A".
    absolute : int
        Absolute orbit number.
    time : datetime64
        When (UTC).

    Returns
    -------
    int
        From 1 to 175.

    Raises
    ------
    ValueError
        If the mission is none of Sentinel-1.
    """
    if mission not in RELATIVE_ORBITS:
        msg = f"found mission {mission!r}, expected one of {', '.join(RELATIVE_ORBITS)}"
        raise ValueError(msg)
    first = RELATIVE_ORBITS[mission]
    moved, later = MOVED.get(mission, (None, first))
    if moved is not None and seconds_between(moved, time) >= 0.0:
        first = later
    return (absolute - first) % ORBITS_PER_CYCLE + 1


def acquisitions(attributes: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Read the records that a result carries.

    Parameters
    ----------
    attributes : mapping
        Those of the result.

    Returns
    -------
    list of dict
        One for each pass; empty where the result says nothing.
    """
    found = attributes.get(ACQUISITION, "[]")
    records: list[dict[str, Any]] = json.loads(found) if isinstance(found, str) else list(found)
    return records


def _utc(orbit: Orbit, time: float) -> str:
    """Write a time in seconds since the orbit's epoch, to a microsecond."""
    return f"{np.datetime_as_string(orbit.utc(time), unit='us')}Z"


def _polarisations(scene: Scene) -> list[str]:
    if "polarisation" in scene.image.coords:
        return [str(name) for name in np.atleast_1d(scene.image["polarisation"].values)]
    return list(scene.grid.polarisations)
