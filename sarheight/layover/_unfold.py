"""The work on a part of a scene, from images over a DEM to backscatter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.estimation import rcs_balance, to_backscatter

from sarheight.errors import GeometryError
from sarheight.geometry.geo2rdr import INCIDENCES
from sarheight.layover._conversation import Answer, Conversation, Question
from sarheight.layover._fit import law_of, open_cells
from sarheight.layover._masks import FOLD_COUNT, MASK
from sarheight.layover._methods import Method, Reallocation
from sarheight.layover._posterior import Estimate, measure, one_step, posterior_mean
from sarheight.layover._spread import Spread, spreads_of

if TYPE_CHECKING:
    from sarheight.geometry.pass_geometry import PixelAreas
    from sarheight.illumination import BackscatterLaw
    from sarheight.layover._fit import Look
    from sarheight.layover._frame import Frame

__all__ = ["PER_POLARISATION", "VARIABLES", "Settings", "conclusions", "unfold"]

POWER = {"units": "1"}
VARIABLES: dict[str, dict[str, Any]] = {
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
    **INCIDENCES,
    "mask": MASK,
    "fold_count": FOLD_COUNT,
    "sigma0_geocoded": {"long_name": "sigma0 on the ellipsoid, geocoded as usual", **POWER},
}
"""All variables of a result, with their attributes."""
PER_POLARISATION = ("sigma0", "gamma0", "gamma0_variance", "sigma0_geocoded")
"""Those of which there is one for each polarisation."""


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


Values = dict[str, NDArray[Any]]
"""By name the values of a variable, shape (polarisations, rows, columns) or (rows, columns)."""


def unfold(
    looks: list[Look], areas: Sequence[PixelAreas], frame: Frame, settings: Settings
) -> Conversation[list[Values]]:
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
    list of dict
        The values of the variables of each pass.
    """
    laws: list[BackscatterLaw]
    if settings.law is None:
        laws = yield Question(partial(_open_ground, looks, frame), _laws)
    else:
        laws = [settings.law] * len(looks)
    geocoded = "sigma0_geocoded" in settings.variables
    passes = [
        seen.flat.under(law, ellipsoid if geocoded else None)
        for seen, law, ellipsoid in zip(looks, laws, areas, strict=True)
    ]
    least = settings.smallest_area * frame.cell_area
    cells = looks[0].drawn(frame)
    if isinstance(settings.method, Reallocation):
        # Nothing but the variances depends on the comparison: one question will do.
        estimates, compare = one_step(passes, least, frame, cells)
        sums, spreads = yield Question(
            partial(_accounts, looks, estimates, least, compare),
            partial(_settled, least),
            last=True,
        )
        measure(estimates, spreads)
    else:
        estimates = yield from posterior_mean(passes, least, settings.method, frame, cells)
        sums, _ = yield Question(
            partial(_accounts, looks, estimates, least), partial(_settled, least), last=True
        )
    results = []
    for index, (seen, estimate) in enumerate(zip(looks, estimates, strict=True)):
        variables = _variables(seen, estimate, _factor(sums[index]), least)
        results.append({name: variables[name] for name in settings.variables})
    return results


def conclusions(
    told: Sequence[Any], settings: Settings, passes: int
) -> tuple[list[BackscatterLaw], list[dict[str, list[float]]]]:
    """Take laws and energies out of what the parts of a scene were told.

    Parameters
    ----------
    told : sequence
        All of it, in order.
    settings : Settings
        What the user has chosen.
    passes : int
        Number of images.

    Returns
    -------
    laws : list of callable
        The backscatter law of each pass.
    accounts : list of dict
        Energies in square metres by polarisation, for each pass.
    """
    laws = told[0] if settings.law is None else [settings.law] * passes
    accounts = [
        {
            "energy_cells": (_factor(sums) * sums[0]).tolist(),
            "energy_withheld": sums[1].tolist(),
            "energy_explained": sums[2].tolist(),
        }
        for sums in told[-1][0]
    ]
    return laws, accounts


def _factor(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """By what estimates are scaled so that all energy is given out, for each polarisation.

    What the reported cells hold and what the others were given is then what there was to give.
    """
    held, withheld, energy, _ = sums
    factor: NDArray[np.float64] = np.divide(
        energy - withheld, held, out=np.ones_like(held), where=held > 0.0
    )
    return factor


def _open_ground(looks: Sequence[Look], frame: Frame) -> Answer:
    """Collect the open cells of all passes."""
    samples = [sample for seen in looks for sample in open_cells(seen, frame).samples]
    return Answer(np.zeros(1), tuple(samples))


def _accounts(
    looks: Sequence[Look],
    estimates: Sequence[Estimate],
    least: float,
    compare: Callable[[], Answer] | None = None,
) -> Answer:
    """Sum up the energies of a part's core.

    The sums have shape (passes, 4, polarisations): held by cells with a value, given to the
    others, explained in all, and the number of cells with a value. The first sample is the
    largest lit area of any cell; what `compare` tells follows.
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
            rcs_balance(
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
    compared = () if compare is None else compare().samples
    return Answer(np.array(sums), (np.array([largest]), *compared))


def _laws(answer: Answer) -> list[BackscatterLaw]:
    """Fit the law of each pass."""
    return [law_of(sample) for sample in answer.samples]


def _settled(least: float, answer: Answer) -> tuple[NDArray[np.float64], list[list[Spread]]]:
    """Return the sums of `_accounts` over a whole scene, and the spreads of what was compared.

    A scene without a single value is refused.
    """
    if (answer.sums[:, 3].sum(axis=1) > 0.0).all():
        return answer.sums, spreads_of(answer.samples[1:])
    msg = (
        "found no cell of the DEM of which the image shows enough: at most "
        f"{float(answer.samples[0].max()):.3g} m2 of a cell are lit and have data, expected "
        f"{least:.3g} m2 of one at least. Pass a DEM of the image's own area whose cells are small "
        "beside the image, and check that the image has data there."
    )
    raise GeometryError(msg)


def _variables(seen: Look, estimate: Estimate, factor: NDArray[np.float64], least: float) -> Values:
    """Turn reflectivities into backscatter, in the arrays of estimate and share."""
    share = estimate.share
    view = seen.flat.geometry
    sigma = share.given
    to_backscatter(
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
    return {
        "sigma0": sigma,
        "gamma0": estimate.reflectivity,
        "gamma0_variance": estimate.relative_variance,
        "contribution_share": share.contribution,
        "projected_area": share.area,
        **{name: values for name, (values, _) in seen.angles.items()},
        "mask": seen.category,
        "fold_count": seen.fold_count,
        "sigma0_geocoded": share.geocoded,
    }
