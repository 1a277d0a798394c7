"""The work on a part of a scene, from images over a DEM to backscatter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.energies import divide_by_areas
from sarheight_kernels.estimates import account, finish
from sarheight_kernels.resample import sample_image

from sarheight.errors import GeometryError
from sarheight.layover._conversation import Answer, Conversation
from sarheight.layover._fit import law_of, open_cells
from sarheight.layover._masks import fold_variable, mask_variable
from sarheight.layover._methods import Method, Reallocation
from sarheight.layover._posterior import Estimate, one_step, posterior_mean

if TYPE_CHECKING:
    from sarheight.geometry._pixels import PixelAreas
    from sarheight.illumination import BackscatterLaw
    from sarheight.layover._fit import Look
    from sarheight.layover._frame import Frame
    from sarheight.layover._result import Variables

__all__ = ["VARIABLES", "Settings", "Unfolded", "unfold"]

POWER = {"units": "1"}
VARIABLES: dict[str, dict[str, str]] = {
    "sigma0": {"long_name": "reconstructed sigma0, per area of the surface", **POWER},
    "gamma0": {"long_name": "reconstructed gamma0, per projected area", **POWER},
    "gamma0_variance": {"long_name": "variance of the reconstructed gamma0", **POWER},
    "contribution_share": {
        "long_name": "mean share of the cell in the energy of its pixels",
        **POWER,
    },
    "projected_area": {
        "long_name": "lit area with data, projected along the line of sight",
        "units": "m2",
    },
    "local_incidence": {},
    "projected_incidence": {},
    "ellipsoid_incidence": {},
    "mask": {},
    "fold_count": {},
    "sigma0_geocoded": {"long_name": "sigma0 on the ellipsoid, geocoded as usual", **POWER},
}
"""All variables of a result, with the attributes of those that are made here."""


@dataclass(frozen=True)
class Settings:
    """What the user has chosen.

    Attributes
    ----------
    law : callable or None
        Backscatter law; fitted where there is none.
    method : Reallocation or PosteriorMean
        How energy is given back.
    compression : float
        Threshold of foreshortening.
    smallest_area : float
        Part of a cell's area below which it has no value.
    variables : tuple of str
        What is asked for.
    """

    law: BackscatterLaw | None
    method: Method
    compression: float
    smallest_area: float
    variables: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Unfolded:
    """What becomes of one pass.

    Attributes
    ----------
    variables : dict
        Values, shape (polarisations, rows, columns) or (rows, columns), and attributes.
    law : callable
        The backscatter law.
    account : dict
        Energies of the whole scene in square metres, by polarisation.
    """

    variables: Variables
    law: BackscatterLaw
    account: dict[str, list[float]]


def unfold(
    looks: list[Look], areas: Sequence[PixelAreas], frame: Frame, settings: Settings
) -> Conversation[list[Unfolded]]:
    """Give the energy of images back to a part of the ground.

    Parameters
    ----------
    looks : list of Look
        One or several images over the part. They are used up, to spare memory.
    areas : sequence of PixelAreas
        The areas of the pixels on the ellipsoid, for each image.
    frame : Frame
        Measures of the whole DEM.
    settings : Settings
        What the user has chosen.

    Returns
    -------
    list of Unfolded
        One for each pass.
    """
    laws: list[BackscatterLaw]
    if settings.law is None:
        told = yield partial(_open_ground, looks, frame)
        laws = [law_of(sample) for sample in told.samples]
    else:
        laws = [settings.law] * len(looks)
    passes = [seen.flat.under(law) for seen, law in zip(looks, laws, strict=True)]
    least = settings.smallest_area * frame.cell_area
    cells = looks[0].drawn(frame)
    if isinstance(settings.method, Reallocation):
        estimates = yield from one_step(passes, least, frame, cells)
    else:
        estimates = yield from posterior_mean(passes, least, settings.method, frame, cells)
    told = yield partial(_accounts, looks, estimates, least)
    require_values(told, least)
    results = []
    for index, (seen, estimate) in enumerate(zip(looks, estimates, strict=True)):
        held, withheld, energy, _ = told.sums[index]
        factor = np.divide(energy - withheld, held, out=np.ones_like(held), where=held > 0.0)
        variables = _variables(seen, estimate, factor, least)
        if "sigma0_geocoded" in settings.variables:
            variables["sigma0_geocoded"] = _geocoded(seen, areas[index])
        results.append(
            Unfolded(
                {
                    name: (variables[name][0], variables[name][1] | VARIABLES[name])
                    for name in settings.variables
                },
                laws[index],
                {
                    "energy_cells": (factor * held).tolist(),
                    "energy_withheld": withheld.tolist(),
                    "energy_explained": energy.tolist(),
                },
            )
        )
    return results


def _open_ground(looks: Sequence[Look], frame: Frame) -> Answer:
    """Collect the open cells of all passes."""
    samples = [sample for seen in looks for sample in open_cells(seen, frame).samples]
    return Answer(np.zeros(1), tuple(samples))


def _accounts(looks: Sequence[Look], estimates: Sequence[Estimate], least: float) -> Answer:
    """Sum up the energies of a part's core.

    The sums have shape (passes, 4, polarisations): held by cells with a value, given to the
    others, explained in all, and the number of cells with a value. The sample is the largest lit
    area of any cell.
    """
    sums, largest = [], 0.0
    for seen, estimate in zip(looks, estimates, strict=True):
        share = estimate.share
        polarisations, rows, columns = share.given.shape
        first, end, left, right = seen.flat.core or (0, rows, 0, columns)
        part = slice(first, end), slice(left, right)
        own = np.empty((4, polarisations))
        for p in range(polarisations):
            by_row = np.empty((end - first, 3))
            account(
                estimate.reflectivity[p][part],
                share.given[p][part],
                share.expected[part],
                share.area[part],
                least,
                by_row,
            )
            own[:, p] = (*by_row[:, :2].sum(axis=0), share.energy[p], by_row[:, 2].sum())
        sums.append(own)
        largest = max(largest, float(share.area[part].max(initial=0.0)))
    return Answer(np.array(sums), (np.array([largest]),))


def require_values(told: Answer, least: float) -> None:
    """Refuse a result without a single value."""
    if (told.sums[:, 3].sum(axis=1) > 0.0).all():
        return
    msg = (
        "found no cell of the DEM of which the image shows enough: at most "
        f"{float(told.samples[0].max()):.3g} m2 of a cell are lit and have data, expected "
        f"{least:.3g} m2 of one at least. Pass a DEM of the image's own area whose cells are small "
        "beside the image, and check that the image has data there."
    )
    raise GeometryError(msg)


def _variables(
    seen: Look, estimate: Estimate, factor: NDArray[np.float64], least: float
) -> Variables:
    """Turn reflectivities into backscatter; the arrays of the estimate are used for it."""
    share = estimate.share
    view = seen.flat.view
    sigma = np.empty_like(estimate.reflectivity)
    finish(
        factor,
        least,
        view.grid.looks,
        view.heights,
        share.expected,
        share.speckle,
        seen.angles["local_incidence"][0],
        share.area,
        share.contribution,
        estimate.reflectivity,
        estimate.relative_variance,
        sigma,
    )
    values = {
        "sigma0": sigma,
        "gamma0": estimate.reflectivity,
        "gamma0_variance": estimate.relative_variance,
        "contribution_share": share.contribution,
        "projected_area": share.area,
    }
    return {
        **{name: (array, {}) for name, array in values.items()},
        **seen.angles,
        "mask": mask_variable(seen.category),
        "fold_count": fold_variable(seen.fold_count),
    }


def _geocoded(seen: Look, areas: PixelAreas) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Sample sigma0 on the ellipsoid at the cells; the energies of the image are used up."""
    image, view = seen.flat.energy, seen.flat.view
    divide_by_areas(image, areas.lines, areas.areas)
    values = np.empty((image.shape[0], *view.heights.shape), dtype=np.float32)
    sample_image(view.ground, view.radar, view.heights, view.bounds, image, values)
    return values, {}
