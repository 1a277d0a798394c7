"""Masks of layover and shadow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels import profiles
from sarheight_kernels.pool import spread_rows

from sarheight.acquisition import GEOMETRY, acquisition_record, acquisition_time, geometry_json
from sarheight.dem.checked import CheckedDem, stored_like
from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.geometry.visibility import FORESHORTENING_THRESHOLD, classify_cells, classify_pixels

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

FLAGS = {
    "clear": profiles.CLEAR,
    "foreshortening": profiles.FORESHORTENING,
    "active_layover": profiles.ACTIVE_LAYOVER,
    "passive_layover": profiles.PASSIVE_LAYOVER,
    "active_shadow": profiles.ACTIVE_SHADOW,
    "passive_shadow": profiles.PASSIVE_SHADOW,
    "layover_and_shadow": profiles.LAYOVER_AND_SHADOW,
}
"""Meaning and value of each category. 255 is no-data."""

MASK = {
    "long_name": "layover and shadow",
    "flag_values": np.array(list(FLAGS.values()), dtype=np.uint8),
    "flag_meanings": " ".join(FLAGS),
    "_FillValue": np.uint8(profiles.NO_DATA),
}
FOLD_COUNT = {
    "long_name": "number of illuminated places at the same time and slant range",
    "units": "1",
    "_FillValue": np.uint8(profiles.NO_DATA),
}
"""CF attributes of masks and fold counts."""

MEANINGS = ("clear", "layover", "shadow", "layover_and_shadow")
OTHER_CODES = {
    # Codes of the meanings, and of missing data.
    "isce3": ((0, 2, 1, 3), 127),
    "opera": ((0, 2, 1, 3), 255),
    "s1ard": ((0, 1, 2, 3), 255),
    "snap": ((0, 1, 2, 3), 0),
    "dolphin": ((1, 0, 0, 0), 0),
    "mintpy": ((0, 1, 1, 1), 1),
}
"""Masks of other programs, by name."""


def convert_mask(
    mask: xr.DataArray, to: Literal["isce3", "opera", "s1ard", "snap", "dolphin", "mintpy"]
) -> xr.DataArray:
    """Convert a mask to the codes of another program.

    ======================  ====  =====  =====  =====  ====  =======  ======
    meaning                 here  isce3  OPERA  s1ard  SNAP  dolphin  MintPy
    ======================  ====  =====  =====  =====  ====  =======  ======
    clear, foreshortening   0, 1  0      0      0      0     1        0
    layover                 2, 3  2      2      1      1     0        1
    shadow                  4, 5  1      1      2      2     0        1
    layover and shadow      6     3      3      3      3     0        1
    ocean water             -     -      -      4      -     -        -
    no data                 255   127    255    255    0     0        1
    ======================  ====  =====  =====  =====  ====  =======  ======

    Parameters
    ----------
    mask : DataArray
        ``mask`` of `masks` or `reconstruct`.
    to : {"isce3", "opera", "s1ard", "snap", "dolphin", "mintpy"}
        OPERA stands for RTC-S1. s1ard can also say that a cell is water, which is not known here.
        Masks of dolphin (``layover_shadow_mask_files``) and MintPy (``shadowMask``) say which
        pixels to leave out of a stack, and have no third value: what is not known is left out.

    Returns
    -------
    DataArray
        uint8, with flags in its attributes.

    Raises
    ------
    ValueError
        If `to` is another name, or the mask has other codes than those of `FLAGS`.

    References
    ----------
    NASA JPL (2023). OPERA RTC-S1 product specification, JPL D-108758: mask layer.
    s1ard, https://github.com/SAR-ARD/s1ard: data mask.
    dolphin 0.42, https://github.com/isce-framework/dolphin: ``layover_shadow_mask_files``.
    MintPy 1.6, https://mintpy.readthedocs.io/en/latest/api/data_structure: geometry.
    """
    if to not in OTHER_CODES:
        msg = f"found to={to!r}, expected one of {', '.join(OTHER_CODES)}"
        raise ValueError(msg)
    codes, missing = OTHER_CODES[to]
    known = np.isin(mask, [*FLAGS.values(), profiles.NO_DATA])
    if not known.all():
        msg = f"found the code {np.asarray(mask)[~known][0]} in the mask, expected those of FLAGS"
        raise ValueError(msg)
    meanings: dict[int, str] = {}
    for meaning, code in zip(MEANINGS, codes, strict=True):
        meanings[code] = "layover_or_shadow" if code in meanings else meaning
    table = np.full(256, missing, dtype=np.uint8)
    for name, code in FLAGS.items():
        # Active or passive layover is in layover, and so on.
        words = [word for word in ("layover", "shadow") if word in name]
        table[code] = codes[MEANINGS.index("_and_".join(words) or "clear")]
    converted = mask.copy(data=table[np.asarray(mask, dtype=np.uint8)])
    converted.attrs = {
        "long_name": f"layover and shadow, codes of {to}",
        "flag_values": np.array(sorted(meanings), dtype=np.uint8),
        "flag_meanings": " ".join(meanings[code] for code in sorted(meanings)),
        # Some masks do not tell missing data from others.
        **({"_FillValue": np.uint8(missing)} if missing not in codes else {}),
    }
    return converted


TITLE = "Layover and shadow"

Variable = tuple[NDArray[Any], dict[str, Any]]


def in_image(category: NDArray[np.uint8], fold_count: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mark categories as no data where the image has no pixel, as fold counts are."""

    def mark(codes: NDArray[np.uint8], counts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.where(counts == profiles.NO_DATA, counts, codes)

    return spread_rows(mark, category, fold_count, dtype=np.uint8)


def in_layover(mask: xr.DataArray) -> xr.DataArray:
    """Find the cells or pixels in layover: active, passive, or in layover and shadow.

    This is the one definition of layover in the library. A cell of a slope in layover counts
    whether or not the other places of its pixel are illuminated, so that there are more of them
    than cells with a fold count above 1.

    Parameters
    ----------
    mask : DataArray
        ``mask`` of `masks` or `reconstruct`.

    Returns
    -------
    DataArray
        bool, dims of the mask; False where there is no data.
    """
    return _has(mask, "layover")


def in_shadow(mask: xr.DataArray) -> xr.DataArray:
    """Find the cells or pixels in shadow: active, passive, or in layover and shadow.

    Parameters
    ----------
    mask : DataArray
        ``mask`` of `masks` or `reconstruct`.

    Returns
    -------
    DataArray
        bool, dims of the mask; False where there is no data.
    """
    return _has(mask, "shadow")


def _has(mask: xr.DataArray, word: str) -> xr.DataArray:
    """Find the cells whose category has a word in its name."""
    found: xr.DataArray = mask.isin([code for name, code in FLAGS.items() if word in name])
    return found.assign_attrs({})


def mask_fractions(mask: xr.DataArray) -> dict[str, float]:
    """Return the fractions of a mask: ``image`` of all cells, ``layover`` and ``shadow`` of these.

    Parameters
    ----------
    mask : DataArray
        ``mask`` of `masks` or `reconstruct`.

    Returns
    -------
    dict
        ``image``, the fraction of cells that have data; ``layover`` and ``shadow``, fractions of
        these cells, 0 where there are none. Cells in both count twice.
    """
    cells = {
        "image": mask != profiles.NO_DATA,
        "layover": in_layover(mask),
        "shadow": in_shadow(mask),
    }
    # A lazy mask is read once.
    counts = xr.Dataset({name: found.sum() for name, found in cells.items()}).compute()
    known = int(counts["image"])
    parts = {name: int(counts[name]) / max(known, 1) for name in ("layover", "shadow")}
    return {"image": known / max(mask.size, 1)} | parts


def mask_variable(category: NDArray[np.uint8], fold_count: NDArray[np.uint8]) -> Variable:
    """Return the categories of cells in the image with their CF attributes."""
    return in_image(category, fold_count), dict(MASK)


def fold_variable(fold_count: NDArray[np.uint8]) -> Variable:
    """Return fold counts with their CF attributes."""
    return fold_count, dict(FOLD_COUNT)


def masks(
    dem: xr.DataArray | CheckedDem,
    grid: RadarGrid,
    orbit: Orbit,
    *,
    geometry: Literal["ground", "radar"] = "ground",
    foreshortening: float = FORESHORTENING_THRESHOLD,
) -> xr.Dataset:
    """Find layover, shadow and foreshortening.

    Each plane of zero Doppler cuts a profile out of the terrain, which is scanned outwards for
    look angles that fall back (shadow), and both ways for slant ranges that do (layover).

    ======================  =====  ======  =====
    meaning                 value  isce3   SNAP
    ======================  =====  ======  =====
    clear                   0      0       0
    foreshortening          1      0       0
    active_layover          2      2       1
    passive_layover         3      2       1
    active_shadow           4      1       2
    passive_shadow          5      1       2
    layover_and_shadow      6      3       3
    (no data)               255    127     0
    ======================  =====  ======  =====

    The last two columns are the codes of isce3 and SNAP, which contradict each other.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        State vectors that cover the image.
    geometry : {"ground", "radar"}
        Whether the masks lie on the DEM's grid or on the image's.
    foreshortening : float
        Terrain is foreshortened where its slant range grows by less than this part of what it
        would over flat ground.

    Returns
    -------
    xarray.Dataset
        ``mask``
            The category, uint8, with CF ``flag_values`` and ``flag_meanings``. On the image a
            pixel is in layover where several illuminated places lie at its slant range, and in
            shadow where none of its terrain is illuminated; as such a pixel has no slope of its
            own, it is passive.
        ``fold_count``
            The number of illuminated places, uint8.

        Dims (y, x) or (line, sample); 255 where there is no data, and outside the image. On the
        ground ``time``, the middle of the acquisition, is a scalar coordinate.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If `geometry` or `foreshortening` is not what it should be, or the DEM is not one.
    """
    if geometry not in ("ground", "radar"):
        msg = f"found geometry={geometry!r}, expected 'ground' or 'radar'"
        raise ValueError(msg)
    if not 0.0 <= foreshortening <= 1.0:
        msg = f"found foreshortening={foreshortening!r}, expected a part of 1, from 0 to 1"
        raise ValueError(msg)
    checked = CheckedDem.of(dem)
    terrain = pass_geometry(checked.north_up(), grid, orbit)
    if geometry == "ground":
        category, fold_count = classify_cells(terrain, foreshortening)
        found = terrain.dataset(
            {
                "mask": mask_variable(category, fold_count),
                "fold_count": fold_variable(fold_count),
            }
        )
        return (
            stored_like(found, checked.array)
            .assign_coords(time=acquisition_time(grid, orbit))
            .assign_attrs(
                {
                    "title": TITLE,
                    "acquisition": json.dumps([acquisition_record(grid, orbit)]),
                    GEOMETRY: geometry_json([(grid, orbit)]),
                }
            )
        )
    category, fold_count = classify_pixels(terrain, foreshortening)
    dims = ("line", "sample")
    return xr.Dataset(
        {
            "mask": (dims, *mask_variable(category, fold_count)),
            "fold_count": (dims, *fold_variable(fold_count)),
        },
        attrs={"title": TITLE},
    )
