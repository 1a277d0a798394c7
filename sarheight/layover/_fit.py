"""A backscatter law from the image itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.profiles import FORESHORTENING

from sarheight.errors import GeometryError
from sarheight.geometry._geo2rdr import angles
from sarheight.geometry._view import view
from sarheight.geometry._visibility import COMPRESSION, classify_cells
from sarheight.illumination import ConstantGamma, FittedLaw
from sarheight.illumination._operator import illuminate, lit_cells
from sarheight.layover._passes import Pass, energy_of

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.layover._result import Variables
    from sarheight.scene import Scene

__all__ = ["Look", "fit_law", "law_of", "look"]

BIN = 3.0
"""Width of a class of incidence angles in degrees."""
FEWEST_CELLS = 50


@dataclass(frozen=True, eq=False)
class Look:
    """An image over a DEM, before a law is chosen.

    Attributes
    ----------
    flat : Pass
        The image, with an operator of constant gamma0.
    category, fold_count : array, shape (rows, columns)
        From `classify_cells`.
    angles : dict
        Incidence angles in degrees and their attributes, from `angles`.
    """

    flat: Pass
    category: NDArray[np.uint8]
    fold_count: NDArray[np.uint8]
    angles: Variables


def look(scene: Scene, dem: xr.DataArray, compression: float = COMPRESSION) -> Look:
    """Look at a DEM through a radar, and find what lies in layover and shadow.

    Parameters
    ----------
    scene : Scene
        The image.
    dem : xarray.DataArray
        The DEM.
    compression : float
        Threshold of foreshortening.
    """
    seen = view(dem, scene.grid, scene.orbit)
    category, fold_count = classify_cells(seen, compression)
    operator = illuminate(seen, ConstantGamma(1.0), lit_cells(category))
    energy, valid = energy_of(scene, seen)
    return Look(Pass(energy, valid, operator), category, fold_count, angles(seen))


def law_of(seen: Look) -> FittedLaw:
    """Fit a law to the cells of a pass that lie outside layover and shadow.

    Parameters
    ----------
    seen : Look
        The image over the DEM.

    Returns
    -------
    FittedLaw
        Median gamma0 by local incidence angle, averaged over polarisations in decibels.
    """
    local_incidence = seen.angles["local_incidence"][0]
    share = seen.flat.reallocate()
    alone = (seen.category <= FORESHORTENING) & (seen.fold_count == 1)
    alone &= share.area > 0.25 * seen.flat.view.cell_area * np.cos(np.radians(local_incidence))
    gamma = share.reflectivity[:, alone]
    angle = local_incidence[alone]
    good = np.isfinite(angle) & np.isfinite(gamma).all(axis=0)
    gamma, angle = gamma[:, good], angle[good]
    index = (angle // BIN).astype(np.int64)
    centres, values, cells = [], [], []
    for k in range(int(90.0 / BIN)):
        members = index == k
        if members.sum() >= FEWEST_CELLS:
            median = np.median(gamma[:, members], axis=1)
            if (median > 0.0).all():
                centres.append(float(angle[members].mean()))
                values.append(float(np.log(median).mean()))
                cells.append(int(members.sum()))
    if len(centres) < 2:
        msg = (
            f"found {int(good.sum())} cells outside layover and shadow with data, in "
            f"{len(centres)} classes of incidence of at least {FEWEST_CELLS} cells; expected at "
            "least two classes to fit a backscatter law: pass law=, such as "
            "sarheight.illumination.Muhleman(), or a larger area"
        )
        raise GeometryError(msg)
    # Three neighbours are averaged; the ends stay as they are, and a straight line does too.
    padded = np.pad(values, 1, mode="reflect", reflect_type="odd")
    smooth = np.convolve(padded, np.full(3, 1.0 / 3.0), mode="valid")
    return FittedLaw(np.array(centres), np.exp(smooth), np.array(cells))


def fit_law(scene: Scene, dem: xr.DataArray) -> FittedLaw:
    r"""Fit a backscatter law to an image's own cells outside layover and shadow.

    Each class of local incidence angles, three degrees wide, gives the median of the
    area-projection corrected :math:`\gamma^0` of its cells. As the angles are those of the DEM
    at hand, the law is already that of its cells, flattened by the slopes it does not resolve.

    Parameters
    ----------
    scene : Scene
        The image. Of several polarisations the laws are averaged in decibels.
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.

    Returns
    -------
    FittedLaw
        The law.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap, or too few cells lie outside layover and shadow.
    """
    return law_of(look(scene, dem))
