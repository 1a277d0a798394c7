"""A backscatter law from the image itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.profiles import FORESHORTENING

from sarheight.errors import GeometryError
from sarheight.geometry.geo2rdr import angles
from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.geometry.visibility import FORESHORTENING_THRESHOLD, classify_cells
from sarheight.illumination import ConstantGamma, FittedLaw
from sarheight.illumination.simulate import illuminate, is_illuminated
from sarheight.layover._check import check_intensity
from sarheight.layover._conversation import Answer, combined
from sarheight.layover._frame import Frame, cell_size, drawn_cells, frame_of
from sarheight.layover._passes import Pass, intensities

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.geometry.pass_geometry import PassGeometry
    from sarheight.layover._result import Variables
    from sarheight.scene import Scene

__all__ = ["Look", "fit_law", "frame_of_view", "law_of", "look", "open_cells"]

BIN = 3.0
"""Width of a class of incidence angles in degrees."""
FEWEST_CELLS = 50


@dataclass(frozen=True, eq=False)
class Look:
    """An image over a part of a DEM, before a law is chosen.

    Attributes
    ----------
    flat : Pass
        The image, with an operator of constant gamma0.
    category, fold_count : array, shape (rows, columns)
        From `classify_cells`.
    corner : tuple of int
        Row and column of the part's first cell in the whole DEM.
    """

    flat: Pass
    category: NDArray[np.uint8]
    fold_count: NDArray[np.uint8]
    corner: tuple[int, int] = (0, 0)

    @cached_property
    def angles(self) -> Variables:
        """Incidence angles in degrees and their attributes, from `angles`."""
        return angles(self.flat.geometry)

    def drawn(self, frame: Frame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw cells of the part's core for statistics; counted from the part's first."""
        rows, columns = self.category.shape
        first, end, left, right = self.flat.core or (0, rows, 0, columns)
        down, across = self.corner
        row, column = drawn_cells(
            frame.shape, (first + down, end + down, left + across, right + across)
        )
        return row - down, column - across


def look(
    scene: Scene, dem: xr.DataArray, compression: float = FORESHORTENING_THRESHOLD
) -> tuple[Look, NDArray[np.float64]]:
    """Look at a DEM through a radar, and find what lies in layover and shadow.

    Parameters
    ----------
    scene : Scene
        The image.
    dem : xarray.DataArray
        The DEM.
    compression : float
        Threshold of foreshortening.

    Returns
    -------
    look : Look
        The image over the DEM.
    energy : array, shape (polarisations,)
        Energy of all its pixels in square metres.
    """
    seen = pass_geometry(dem, scene.grid, scene.orbit)
    areas = pixel_areas(scene.grid, seen.radar, scene.calibration)
    image = intensities(scene.image.values)
    energy = check_intensity(image, areas)
    category, fold_count = classify_cells(seen, compression)
    operator = illuminate(seen, ConstantGamma(1.0), is_illuminated(category))
    return Look(Pass(image, areas, operator), category, fold_count), energy


def frame_of_view(*seen: PassGeometry) -> Frame:
    """Measure a DEM that several images see."""
    middle = float(0.5 * (np.nanmin(seen[0].heights) + np.nanmax(seen[0].heights)))
    sizes = tuple(cell_size(each.ground, each.radar, each.heights.shape, middle) for each in seen)
    return frame_of(seen[0].dem, seen[0].cell_area, sizes)


def open_cells(seen: Look, frame: Frame) -> Answer:
    """Collect angles and gamma0 of the cells of a part that lie open.

    Parameters
    ----------
    seen : Look
        The image over the part.
    frame : Frame
        Measures of the whole DEM.

    Returns
    -------
    Answer
        One sample of shape (1 + polarisations, n): local incidence in degrees, gamma0.
    """
    row, column = seen.drawn(frame)
    local_incidence = seen.angles["local_incidence"][0][row, column]
    alone = (seen.category[row, column] <= FORESHORTENING) & (seen.fold_count[row, column] == 1)
    row, column, angle = row[alone], column[alone], local_incidence[alone]
    wanted = np.zeros(seen.category.shape, dtype=bool)
    wanted[row, column] = True
    share = seen.flat.reallocate(wanted=wanted)
    large = share.area[row, column] > 0.25 * frame.cell_area * np.cos(np.radians(angle))
    gamma = share.reflectivity[:, row, column]
    good = large & np.isfinite(angle) & np.isfinite(gamma).all(axis=0)
    return Answer(np.zeros(1), (np.vstack((angle[None], gamma))[:, good],))


def law_of(sample: NDArray[np.float32]) -> FittedLaw:
    """Fit a law to cells that lie outside layover and shadow.

    Parameters
    ----------
    sample : array, shape (1 + polarisations, n)
        From `open_cells`, of the whole scene.

    Returns
    -------
    FittedLaw
        Median gamma0 by local incidence angle, averaged over polarisations in decibels.
    """
    angle, gamma = sample[0], sample[1:]
    index = (angle // BIN).astype(np.int64)
    centres, values, cells = [], [], []
    for k in range(int(90.0 / BIN)):
        members = index == k
        if members.sum() >= FEWEST_CELLS:
            median = np.median(gamma[:, members], axis=1)
            if (median > 0.0).all():
                centres.append(float(angle[members].mean(dtype=np.float64)))
                values.append(float(np.log(median.astype(np.float64)).mean()))
                cells.append(int(members.sum()))
    if len(centres) < 2:
        msg = (
            f"found {angle.size} cells outside layover and shadow with data, in "
            f"{len(centres)} classes of incidence of at least {FEWEST_CELLS} cells; expected at "
            "least two classes to fit a backscatter law"
        )
        advice = "pass law=, such as sarheight.illumination.Muhleman(), or a larger area"
        raise GeometryError(msg, advice, options={"law": "muhleman"})
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
    seen, _ = look(scene, dem)
    answer = combined([open_cells(seen, frame_of_view(seen.flat.geometry))])
    return law_of(answer.samples[0])
