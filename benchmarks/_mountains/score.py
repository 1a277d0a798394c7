"""One scene, one seed: what each method makes of it, and how far that is from the truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks._mountains.truth import (
    HEIGHT_ERROR,
    LAW,
    NOISE,
    Truth,
    coarse_dem,
    reflectivity,
    truth_of,
)
from sarheight.illumination import BackscatterLaw, ConstantGamma
from sarheight.layover import Reallocation, reconstruct

if TYPE_CHECKING:
    import xarray as xr

    from benchmarks._mountains.scenes import Site
    from sarheight.scene import Scene

__all__ = [
    "BOTH",
    "GEOCODED",
    "ITERATION",
    "ONE_STEP",
    "RTC",
    "SINGLE",
    "Outcome",
    "Stage",
    "estimates",
]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

GEOCODED, RTC, ONE_STEP, ITERATION = "geocoded", "rtc", "one_step", "iteration"
SINGLE, BOTH = "single_pass", "two_passes"
FLOOR = NOISE / 10.0
"""Values below a tenth of the noise are taken for it: noise removal leaves some below zero, which
have no decibels. It is the same for every method."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out of one seed.

    Attributes
    ----------
    scores : dict
        For each method, bias and RMSE in dB: of cells in layover, outside, and of all, shape
        (3, 2).
    errors : dict
        For each method on the descending pass and for two passes, the error of each cell in dB;
        NaN where it does not count.
    truth : array, shape (rows, columns)
        True gamma0 in dB.
    layover : array of bool, shape (rows, columns)
        Cells in layover by the true DEM.
    lost : float
        Part of the cells in layover that count for which some method has no value.
    cells : int
        Number of cells in layover that are compared.
    better : str
        The single pass with which two passes are compared.
    """

    scores: dict[str, Floats]
    errors: dict[str, Floats]
    truth: Floats
    layover: Mask
    lost: float
    cells: int
    better: str

    def cut(self, ours: str, other: str) -> float:
        """Return by which part one method's RMSE in layover is below another's."""
        return float(1.0 - self.scores[ours][0, 1] / self.scores[other][0, 1])

    def outside(self, ours: str, other: str) -> float:
        """Return by how many dB one method's RMSE outside layover is above another's."""
        return float(self.scores[ours][1, 1] - self.scores[other][1, 1])


def _decibels(values: Floats) -> Floats:
    return 10.0 * np.log10(np.maximum(values, FLOOR))


def _error(estimate: xr.DataArray, truth: Floats) -> Floats:
    # NaN stays NaN: no data, or a cell that does not count.
    return _decibels(estimate.values.astype(np.float64)) - _decibels(truth)


def _known(errors: Iterable[Floats]) -> Mask:
    """Tell which cells every method has a value for."""
    known: Mask = np.logical_and.reduce([np.isfinite(each) for each in errors])
    return known


def _scores(error: Floats, layover: Mask, compared: Mask) -> Floats:
    rows = []
    for members in (layover & compared, ~layover & compared, compared):
        found = error[members]
        rows.append((found.mean(), np.sqrt(np.mean(found**2))))
    return np.array(rows)


def estimates(scene: Scene, dem: xr.DataArray) -> dict[str, xr.DataArray]:
    """Reconstruct a scene in each of the ways that are compared."""
    one = reconstruct(scene, dem, method=Reallocation())
    return {
        GEOCODED: one["sigma0_geocoded"],
        RTC: reconstruct(scene, dem, law=ConstantGamma(), method=Reallocation())["gamma0"],
        ONE_STEP: one["gamma0"],
        ITERATION: reconstruct(scene, dem)["gamma0"],
    }


class Stage:
    """A site with the truth of both of its passes, ready to be simulated with any seed.

    Parameters
    ----------
    site : Site
        Where.
    law : callable
        The true backscatter law.
    """

    def __init__(self, site: Site, law: BackscatterLaw = LAW) -> None:
        self.site = site
        self.dem = site.dem
        self.descending = truth_of(self.dem, *site.descending(), law)
        self.ascending = truth_of(self.dem, *site.ascending(), law)

    def play(self, seed: int, *, height_error: float = HEIGHT_ERROR) -> Outcome:
        """Simulate with a seed, reconstruct, and compare."""
        randoms = [np.random.default_rng([seed, part]) for part in range(4)]
        ground = reflectivity(self.dem, randoms[0])
        dem = coarse_dem(self.dem, randoms[1], error=height_error)
        truths = (self.descending, self.ascending)
        scenes = [
            each.image(ground, random) for each, random in zip(truths, randoms[2:], strict=True)
        ]
        truth, layover = truths[0].gamma0(ground), truths[0].layover
        errors = {name: _error(each, truth) for name, each in estimates(scenes[0], dem).items()}
        compared = _known(errors.values())
        scores = {name: _scores(error, layover, compared) for name, error in errors.items()}
        pair, better = self._pair(truths, ground, scenes, dem, errors[ITERATION])
        folded = layover & truths[0].counts
        return Outcome(
            scores=scores | {name: score for name, (score, _) in pair.items()},
            errors={name: np.where(compared, each, np.nan) for name, each in errors.items()}
            | {BOTH: pair[BOTH][1]},
            truth=_decibels(truth),
            layover=layover,
            lost=float(1.0 - compared[folded].mean()),
            cells=int((layover & compared).sum()),
            better=better,
        )

    @staticmethod
    def _pair(
        truths: tuple[Truth, Truth],
        ground: NDArray[np.float32],
        scenes: list[Scene],
        dem: xr.DataArray,
        descending: Floats,
    ) -> tuple[dict[str, tuple[Floats, Floats]], str]:
        """Compare two passes with the better one of them, where at least one is folded."""
        ascending_truth = truths[1].gamma0(ground)
        single = [
            descending,
            _error(reconstruct(scenes[1], dem)["gamma0"], ascending_truth),
        ]
        joint = reconstruct(scenes, dem)["gamma0"]
        both = [
            _error(joint.isel(time=0), truths[0].gamma0(ground)),
            _error(joint.isel(time=1), ascending_truth),
        ]
        compared = _known([*single, *both])
        layover = truths[0].layover | truths[1].layover
        scores = [_scores(error, layover, compared) for error in single]
        better = int(scores[1][0, 1] < scores[0][0, 1])
        shown = np.where(compared, both[better], np.nan)
        return (
            {
                SINGLE: (scores[better], single[better]),
                BOTH: (_scores(both[better], layover, compared), shown),
            },
            ("descending", "ascending")[better],
        )
