"""What is compared: baselines whose parameters were chosen on the places for development, and ours.

A method takes the observations of one pass, or of two passes over the same ground, and returns an
estimate of gamma0 for each. It may use scene and DEM; the true kinds of ground where it is guided;
the true surface where it says so. `METHODS` lists them all: one line adds another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks._independent.archives import WAYS, on_cells, taken_back
from benchmarks._independent.filters import (
    FACETS,
    SMALLEST_AREA,
    lee,
    non_local_means,
    tv,
    upsampled,
)
from benchmarks._independent.heights import back_projected, on_finer, refined_heights, rtc_on_finer
from sarheight.layover import RTC, PosteriorMean, Reallocation, interval, reconstruct
from tests.worlds.scattering_ground import block_sums

if TYPE_CHECKING:
    import xarray as xr

    from benchmarks._independent.observations import Form, Observed

__all__ = ["METHODS", "Estimate", "Method", "Role", "plain_rtc", "rtc"]

Floats = NDArray[np.float64]
Interval = Callable[[float], tuple[Floats, Floats]]
Role = Literal[
    "baseline",
    "reported",
    "posterior",
    "two_passes",
    "guided",
    "heights",
    "product",
    "archive",
]


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a method makes of one pass."""

    gamma0: Floats  # Linear power, of the DEM's shape; NaN where there is no value
    # From a probability to the ends of the interval that holds the true gamma0 with it
    interval: Interval | None = None


@dataclass(frozen=True)
class Method:
    """A method by name.

    Its role is "baseline": one of those of which the best is compared with. "reported": beside them
    only. "posterior", "two_passes": ours, for one pass and for two. "guided": ours, with the true
    kinds of ground. "heights": given a finer DEM, which both passes refine, the coarse one is
    interpolated to, or is the truth. "product", "archive": a product as archives have it, and ours
    by way of one.
    """

    title: str  # As in tables
    role: Role  # What it is compared as
    # From the observations to an estimate for each
    run: Callable[[Sequence[Observed]], list[Estimate]]
    forms: tuple[Form, ...] = ("coarser", "as_used")  # DEMs that it can be given

    @property
    def passes(self) -> int:
        """How many passes it takes."""
        return 2 if self.role in {"two_passes", "heights"} else 1

    @property
    def squares(self) -> bool:
        """Whether its response to bright squares is measured."""
        return self.role not in {"heights", "product", "archive"}


# ------------------------------------------------------------------------------------- baselines


@lru_cache(maxsize=8)
def plain_rtc(observed: Observed) -> Floats:
    """RTC with a cell as one facet, without smoothing."""
    found = reconstruct(
        observed.scene,
        observed.dem,
        method=RTC(blur=0.0),
        smallest_area=SMALLEST_AREA,
        variables=("gamma0",),
        facets=1,
    )
    return found.gamma0.values.astype(np.float64)


@lru_cache(maxsize=24)
def rtc(observed: Observed, blur: float) -> Floats:
    """RTC with 3 x 3 sub-facets in a cell; the blur is in postings of the DEM."""
    found = reconstruct(
        observed.scene,
        upsampled(observed.dem),
        method=RTC(blur=FACETS * blur),
        smallest_area=0.0,
        variables=("gamma0", "projected_area"),
    )
    area = found.projected_area.values.astype(np.float64)
    # RCS and area of the sub-facets add up to those of the cell.
    rcs = block_sums(np.nan_to_num(found.gamma0.values * area), FACETS)
    area = block_sums(np.where(np.isfinite(found.gamma0.values), area, 0.0), FACETS)
    x, y = (abs(float(observed.dem[name][1] - observed.dem[name][0])) for name in ("x", "y"))
    with np.errstate(divide="ignore", invalid="ignore"):
        gamma0: Floats = np.where(area >= SMALLEST_AREA * x * y, rcs / area, np.nan)
    return gamma0


def _geocoded(observed: Observed) -> Floats:
    """Average the image on the ellipsoid over nine places in each cell, as gamma0."""
    found = reconstruct(
        observed.scene,
        upsampled(observed.dem),
        method=RTC(blur=0.0),
        variables=("sigma0_geocoded", "ellipsoid_incidence"),
    )
    gamma0 = found.sigma0_geocoded.values / np.cos(np.radians(found.ellipsoid_incidence.values))
    return block_sums(gamma0, FACETS) / FACETS**2


Chosen = dict["Form", tuple[float, float]]
"""By form of the DEM: blur of image and area before the division, in postings, and a strength."""

BLUR: Chosen = {"coarser": (0.2, 0.0), "as_used": (0.5, 0.0)}
TV: Chosen = {"coarser": (0.15, 0.3), "as_used": (0.3, 0.8)}
"""Weight of total variation in dB."""
NLM: Chosen = {"coarser": (0.2, 0.6), "as_used": (0.3, 1.5)}
"""Strength of non-local means in dB."""
LEE: Chosen = {"coarser": (0.2, 64.0), "as_used": (0.3, 16.0)}
"""Equivalent number of looks of a cell, for the refined Lee filter.

All were the best of a grid of values on the places for development."""


def _filtered(
    function: Callable[[Floats, float], Floats], chosen: Chosen
) -> Callable[[Observed], Floats]:
    """Filter RTC by a function with the chosen blur and strength."""

    def run(observed: Observed) -> Floats:
        blur, strength = chosen[observed.form]
        return function(rtc(observed, blur), strength)

    return run


def _each(function: Callable[[Observed], Floats]) -> Callable[[Sequence[Observed]], list[Estimate]]:
    """Apply a function to each pass by itself."""
    return lambda passes: [Estimate(function(observed)) for observed in passes]


_rtc_blur = _filtered(lambda gamma0, _: gamma0, BLUR)
_rtc_tv = _filtered(tv, TV)


# ------------------------------------------------------------------------------------------ ours


def _estimate(result: xr.Dataset) -> Estimate:
    """Take gamma0 of a result, with its intervals."""

    def ends(level: float) -> tuple[Floats, Floats]:
        found = interval(result, level)
        return found.lower.values.astype(np.float64), found.upper.values.astype(np.float64)

    return Estimate(result.gamma0.values.astype(np.float64), ends)


def _one_step(passes: Sequence[Observed]) -> list[Estimate]:
    return [_estimate(reconstruct(each.scene, each.dem, method=Reallocation())) for each in passes]


def _archive(name: str) -> Callable[[Sequence[Observed]], list[Estimate]]:
    """Reconstruct by way of an archive's product."""
    return lambda passes: [_estimate(taken_back(each, name)) for each in passes]


def _posterior(passes: Sequence[Observed]) -> list[Estimate]:
    return [_estimate(reconstruct(each.scene, each.dem)) for each in passes]


def _posterior_median(passes: Sequence[Observed]) -> list[Estimate]:
    method = PosteriorMean(estimate="median")
    return [_estimate(reconstruct(each.scene, each.dem, method=method)) for each in passes]


def _guided(passes: Sequence[Observed]) -> list[Estimate]:
    found = []
    for each in passes:
        # Class 0 is none.
        guide = (each.truth.kind + 1).astype(np.uint8)
        found.append(_estimate(reconstruct(each.scene, each.dem, guide=guide)))
    return found


def _two_passes(passes: Sequence[Observed]) -> list[Estimate]:
    found = reconstruct([each.scene for each in passes], passes[0].dem)
    return [_estimate(found.isel(time=index)) for index in range(len(passes))]


def _on_refined(
    function: Callable[[Observed, xr.DataArray], Floats],
) -> Callable[[Sequence[Observed]], list[Estimate]]:
    """Apply a function to each pass, with the heights that both refine together."""

    def run(passes: Sequence[Observed]) -> list[Estimate]:
        heights = refined_heights(tuple(passes))
        return [Estimate(function(each, heights)) for each in passes]

    return run


METHODS = {
    "geocoding": Method("plain geocoding", "reported", _each(_geocoded)),
    "rtc_cells": Method("RTC, a cell one facet", "reported", _each(plain_rtc)),
    "rtc": Method("RTC", "baseline", _each(lambda each: rtc(each, 0.0))),
    "rtc_blur": Method("RTC, blurred", "baseline", _each(_rtc_blur)),
    "rtc_tv": Method("RTC, blurred, TV", "baseline", _each(_rtc_tv)),
    "rtc_nlm": Method(
        "RTC, blurred, non-local means", "baseline", _each(_filtered(non_local_means, NLM))
    ),
    "rtc_lee": Method("RTC, blurred, refined Lee", "baseline", _each(_filtered(lee, LEE))),
    "one_step": Method("one step", "reported", _one_step),
    "posterior": Method("posterior", "posterior", _posterior),
    "posterior_median": Method("posterior, its median", "reported", _posterior_median),
    "guided": Method("posterior, told the kinds of ground", "guided", _guided),
    "two_passes": Method("posterior of two passes", "two_passes", _two_passes),
    "surface_posterior": Method(
        "posterior on the true surface",
        "heights",
        _each(lambda each: on_finer(each, each.ground.dem.astype(np.float32))),
        ("coarser",),
    ),
    "rtc_tv_finer": Method(
        "RTC, blurred, TV on the back-projected DEM",
        "heights",
        _each(lambda each: rtc_on_finer(each, back_projected(each))),
        ("coarser",),
    ),
    "posterior_finer": Method(
        "posterior on the back-projected DEM",
        "heights",
        _each(lambda each: on_finer(each, back_projected(each))),
        ("coarser",),
    ),
    "rtc_tv_refined": Method(
        "RTC, blurred, TV on refined heights", "heights", _on_refined(rtc_on_finer), ("coarser",)
    ),
    "posterior_refined": Method(
        "posterior on refined heights", "heights", _on_refined(on_finer), ("coarser",)
    ),
    "product_30": Method("RTC of 30 m", "product", _each(on_cells), ("coarser",)),
    "product_30_projection": Method(
        "another provider's RTC of 30 m",
        "product",
        _each(lambda each: on_cells(each, "projection")),
        ("coarser",),
    ),
    **{
        name: Method(title, "archive", _archive(name), ("coarser",))
        for name, (title, *_) in WAYS.items()
    },
}
"""All methods by name."""
