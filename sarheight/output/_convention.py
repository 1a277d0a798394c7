"""What files say beside the numbers, after the Climate and Forecast conventions (CF).

The tables below complete the attributes of the variables that this package makes. What a dataset
says itself is never overwritten.

References
----------
Eaton, B. et al. NetCDF Climate and Forecast (CF) Metadata Conventions, version 1.11: chapter 3
(description of the data), section 5.6 (grid mappings), section 6.1 (labels), section 7.3 (cell
methods), appendix F (grid mappings).
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

CONVENTIONS = "CF-1.11"
WEB_MERCATOR = "Popular Visualisation Pseudo Mercator"
WEB_MERCATOR_RADIUS = 6378137.0

BACKSCATTER = "surface_backwards_scattering_coefficient_of_radar_wave"
FOLDS = ("mask", "fold_count")
SHARES = ("contribution_share", "projected_area", *FOLDS)
ANCILLARY = "ancillary_variables"

VARIABLES: dict[str, dict[str, Any]] = {
    "sigma0": {"standard_name": BACKSCATTER, "cell_methods": "area: mean"},
    "sigma0_geocoded": {"standard_name": BACKSCATTER, "cell_methods": "area: mean"},
    "gamma0": {"cell_methods": "area: mean"},
    "projected_area": {"cell_methods": "area: sum"},
    "local_incidence": {"standard_name": "angle_of_incidence"},
    "ellipsoid_incidence": {"standard_name": "sensor_zenith_angle"},
    "polarisation": {"long_name": "polarisation, transmitted and received"},
    "look_azimuth": {
        "long_name": "direction from the radar to the ground, clockwise from north",
        "units": "degree",
    },
    "look_side": {"long_name": "side to which the radar looks"},
    "orbit_source": {"long_name": "source of the orbit"},
}
"""Attributes by the names of variables and coordinates."""

TRUST: dict[str, tuple[str, ...]] = {
    "gamma0": ("gamma0_variance", *SHARES),
    "sigma0": SHARES,
    "sigma0_geocoded": FOLDS,
}
"""Variables that say how far another one can be trusted."""


def completed(dataset: xr.Dataset) -> xr.Dataset:
    """Add to a dataset what the conventions ask for, where it does not say it itself.

    Parameters
    ----------
    dataset : xarray.Dataset
        Any dataset of this package.

    Returns
    -------
    xarray.Dataset
        A copy that shares the values.
    """
    dataset = dataset.copy()
    program = f"sarheight {version('sarheight')}"
    title = str(dataset.attrs.get("title") or f"Radar data of {', '.join(map(str, dataset))}")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    dataset.attrs = {
        "Conventions": CONVENTIONS,
        "title": title,
        "history": f"{now} {program}: {title}",
        "source": program,
    } | dataset.attrs
    for name in dataset.variables:
        known = VARIABLES.get(str(name), {}) | dataset[name].attrs
        beside = known.pop(ANCILLARY, " ".join(TRUST.get(str(name), ())))
        present = " ".join(other for other in beside.split() if other in dataset)
        dataset[name].attrs = known | ({ANCILLARY: present} if present else {})
    for name in {variable.encoding.get("grid_mapping") for variable in dataset.values()}:
        if name in dataset.coords:
            dataset[name].attrs = grid_mapping(dataset[name].attrs)
    return dataset


def grid_mapping(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a reference system as CF wants it: the WKT of 2015, and a grid mapping.

    Web Mercator has no grid mapping of its own in CF, but it has the coordinates of a Mercator
    projection of a sphere with the equatorial radius of WGS84, when WGS84's latitudes are taken
    for latitudes on that sphere. What reads ``crs_wkt`` finds the reference system itself.

    Parameters
    ----------
    attributes : mapping
        Of a grid mapping, with ``crs_wkt``.

    Returns
    -------
    dict
        The attributes. Of a system that CF has no grid mapping for there is only the WKT.
    """
    from pyproj import CRS

    text = attributes.get("crs_wkt")
    if text is None:
        return dict(attributes)
    crs = CRS.from_wkt(str(text))
    described = {**attributes, "crs_wkt": crs.to_wkt("WKT2_2015")}
    if crs.coordinate_operation is None or crs.coordinate_operation.method_name != WEB_MERCATOR:
        return described
    return {
        "grid_mapping_name": "mercator",
        "longitude_of_projection_origin": 0.0,
        "standard_parallel": 0.0,
        "false_easting": 0.0,
        "false_northing": 0.0,
        "earth_radius": WEB_MERCATOR_RADIUS,
    } | described
