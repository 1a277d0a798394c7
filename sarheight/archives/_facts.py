"""What a terrain-flattened product says of itself, and whether it can be taken back to radar.

Its times, direction of flight and orbit; the elevation model that it was flattened with; and checks
that it holds linear power, on the map on which its archive delivered it.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.acquisition import ACQUISITION, orbit_from_json
from sarheight.archives._rtc import HYP3, ORBIT
from sarheight.dem import reproject
from sarheight.errors import DemError, OrbitCoverageError, ProductError
from sarheight.illumination import ConstantGamma
from sarheight.orbit import nanoseconds, seconds_between

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.illumination import BackscatterLaw
    from sarheight.orbit import Orbit

SAMPLED = 512
"""Cells each way, at most, that tell how bright a product is."""
BRIGHTEST, MOST_NEGATIVE = 0.5, 0.05
"""Typical gamma0 of land above which values are hardly power, and the part of cells below zero from
which they are decibels: land is 0.01 to 0.3, its amplitude 0.1 to 0.55."""
LONGEST = 60.0
"""Seconds of the longest slice that archives flatten; one of Sentinel-1 takes 25, a burst 3."""
FARTHEST_LEVEL, FARTHEST_SPREAD = 10.0, 15.0
"""Metres between elevation models up to which the way back was tried: one of 90 m with an error of
4.5 m, and one of 30 m with an error of 3 m, of mountains."""
MAD_OF_NORMAL = 0.6745
"""Median absolute deviation of a normal distribution over its standard deviation."""
POSTINGS = (10.0, 20.0, 30.0)
"""Cells of the archives' maps, in metres."""


@dataclass(frozen=True)
class Facts:
    """What is known of a product and its acquisition."""

    name: str
    archive: str
    radiometry: str
    mission: str
    start: np.datetime64
    end: np.datetime64
    direction: str  # of flight; empty if it is not known

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Facts:
        """Read the attributes of a product."""
        radiometry = next((name for name in ("gamma0", "sigma0") if name in dataset), None)
        name = str(dataset.attrs.get("product_name", "the image"))
        if radiometry is None or not dataset.attrs.get("terrain_flattened", False):
            msg = (
                f"found {', '.join(map(str, dataset)) or 'nothing'} in '{name}', expected gamma0 "
                "or sigma0 of a terrain-flattened product, as sarheight.archives.open_rtc reads it"
            )
            raise ProductError(msg)
        records = json.loads(dataset.attrs.get(ACQUISITION, "[]"))
        if len(records) != 1 or not records[0].get("start"):
            msg = (
                f"found {len(records)} acquisitions with the times "
                f"{[record.get('start') for record in records]} in '{name}', expected one with its "
                "time: the files must keep the names and tags that the archive gave them"
            )
            raise ProductError(msg)
        (record,) = records
        start, end = (_time(str(record[key])) for key in ("start", "end"))
        if not 0.0 <= seconds_between(start, end) <= LONGEST:
            msg = (
                f"found '{name}' from {record['start']} to {record['end']}, expected one image of "
                f"at most {LONGEST:g} s: the pixels of a mosaic of dates or slices have no orbit"
            )
            raise ProductError(msg)
        return cls(
            name,
            str(dataset.attrs.get("source", "")),
            radiometry,
            str(record.get("mission", "")),
            start,
            end,
            str(record.get("orbit_state", "")),
        )

    @property
    def law(self) -> BackscatterLaw:
        """The law under which the product is the reflectivity: gamma0 or sigma0 of 1."""
        return ConstantGamma(1.0) if self.radiometry == "gamma0" else np.ones_like

    def require_orbit(self, orbit: Orbit) -> None:
        """Refuse an orbit of another time or another direction."""
        first, last = (seconds_between(orbit.epoch, time) for time in (self.start, self.end))
        if not orbit.time[0] <= first <= last <= orbit.stop:
            reach = " to ".join(str(orbit.utc(time))[:19] for time in (orbit.time[0], orbit.stop))
            msg = (
                f"found an orbit from {reach} ({orbit.source}), expected one that covers "
                f"'{self.name}', {str(self.start)[:19]} to {str(self.end)[:19]} UTC: "
                "sarheight.fetch.orbit fetches it"
            )
            raise OrbitCoverageError(msg)
        _, velocity = orbit.state(0.5 * (first + last))
        flown = "ascending" if velocity[2] > 0.0 else "descending"
        if self.direction and self.direction != flown:
            msg = (
                f"found an orbit that is {flown} at the time of '{self.name}', which says that it "
                f"is {self.direction}: pass the orbit of {self.mission or 'its mission'}"
            )
            raise ProductError(msg)


def _time(text: str) -> np.datetime64:
    return nanoseconds(np.datetime64(text.removesuffix("Z")))


def orbit_of(dataset: xr.Dataset, facts: Facts) -> Orbit:
    """Return the orbit that came with a product, and refuse one that has none."""
    if ORBIT not in dataset.attrs:
        msg = (
            f"'{facts.name}' of {facts.archive} holds no orbit: pass orbit= with that of "
            f"{facts.mission or 'its mission'} at {str(facts.start)[:19]} UTC; "
            "sarheight.fetch.orbit fetches it"
        )
        raise OrbitCoverageError(msg)
    return orbit_from_json(dataset.attrs[ORBIT])


def provider_heights(product: xr.Dataset) -> xr.DataArray | None:
    """Return the elevation model that a product was flattened with, where it is delivered.

    Parameters
    ----------
    product : Dataset
        As `open_rtc` returns it.

    Returns
    -------
    DataArray or None
        Heights in metres above the ellipsoid, dims (y, x): HyP3 converts those of Copernicus GLO-30
        and delivers them, rounded to metres. None where there is none; all three archives use
        Copernicus GLO-30 or one made from it, which `sarheight.fetch.dem` fetches.
    """
    if "height" not in product:
        return None
    heights: xr.DataArray = product["height"].rio.write_crs(product.rio.crs)
    return heights.assign_attrs(units="m", vertical_datum="ellipsoid")


# Checks.


def require_power(reflectivity: xr.DataArray, facts: Facts) -> None:
    """Refuse decibels, and warn of amplitudes, by some of the values."""
    steps = {name: slice(None, None, max(reflectivity.sizes[name] // SAMPLED, 1)) for name in "yx"}
    values = np.asarray(reflectivity.isel(steps).values)
    values = values[np.isfinite(values)]
    if values.size == 0 or np.mean(values < 0.0) > MOST_NEGATIVE:
        found = "no value" if values.size == 0 else f"{100 * np.mean(values < 0.0):.0f} % below 0"
        msg = (
            f"found {found} in {facts.radiometry} of '{facts.name}', expected linear power; values "
            "in decibels that are opened as power have none: pass scale= to open_rtc"
        )
        raise ProductError(msg)
    typical = float(np.median(values[values > 0.0])) if (values > 0.0).any() else 0.0
    if typical > BRIGHTEST:
        msg = (
            f"{facts.radiometry} of '{facts.name}' is typically {typical:.2f}, and that of land "
            "0.01 to 0.3: amplitudes must be opened with scale='amplitude'"
        )
        warnings.warn(msg, stacklevel=3)


def warn_of_another_ground(product: xr.Dataset, dem: xr.DataArray, facts: Facts) -> None:
    """Warn of an elevation model that is far from the one of the provider, where that is known."""
    delivered = provider_heights(product)
    if delivered is None:
        return
    steps = {name: slice(None, None, max(delivered.sizes[name] // SAMPLED, 1)) for name in "yx"}
    some = delivered.isel(steps)
    try:
        other = reproject(dem, like=some, resampling="cubic")
    except DemError:
        return
    apart = (other.values - some.values)[np.isfinite(other.values) & np.isfinite(some.values)]
    if apart.size == 0:
        return
    middle = float(np.median(apart))
    spread = float(np.median(np.abs(apart - middle))) / MAD_OF_NORMAL
    if abs(middle) > FARTHEST_LEVEL or spread > FARTHEST_SPREAD:
        msg = (
            f"the elevation model lies {middle:.0f} m from that which '{facts.name}' was flattened "
            f"with, and differs by {spread:.0f} m from place to place: check its vertical datum, "
            "or take the image back with sarheight.archives.provider_heights"
        )
        warnings.warn(msg, stacklevel=3)


def warn_of_copies(reflectivity: xr.DataArray, facts: Facts) -> None:
    """Warn of a product that is not as its archive delivers it."""
    crs, step = reflectivity.rio.crs, abs(float(reflectivity["x"][1] - reflectivity["x"][0]))
    named = HYP3.pattern.search(facts.name)
    if named is not None and named["filtered"] == "f":
        msg = (
            f"'{facts.name}' was filtered for speckle by HyP3, which correlates its pixels, so "
            "that standard deviations come out too small: order it without the filter"
        )
        warnings.warn(msg, stacklevel=3)
    altered = []
    if crs.is_geographic or not crs.is_epsg_code or not _is_of_archives(crs):
        altered.append(f"in {crs.to_string()[:40]}")
    if not any(abs(step - posting) < 1e-6 * posting for posting in POSTINGS):
        altered.append(f"with cells of {step:g}")
    if altered:
        msg = (
            f"'{facts.name}' is {' and '.join(altered)}, and archives deliver UTM or polar maps "
            "with cells of 10, 20 or 30 m: it seems to be resampled, which smooths and correlates "
            "its pixels, so that standard deviations come out too small. Use the product itself"
        )
        warnings.warn(msg, stacklevel=3)


def _is_of_archives(crs: Any) -> bool:  # noqa: ANN401  # of rasterio
    code = crs.to_epsg() or 0
    return 32601 <= code <= 32660 or 32701 <= code <= 32760 or code in {3031, 3413}
