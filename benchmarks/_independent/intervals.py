"""How often intervals of 80 % hold the truth on other ground, with other DEMs and other images.

They are counted at the places for development, on ground with several laws, over two grounds of
each place.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from benchmarks._independent.observations import Image, Observed
from benchmarks._independent.report import PREFIX
from benchmarks._independent.scores import areas_of
from benchmarks._independent.variants import VARIANTS
from sarheight.layover import interval, reconstruct

if TYPE_CHECKING:
    from benchmarks._figures import Value
    from benchmarks._independent.observations import Archive

__all__ = ["coverage_by_variant"]

GROUNDS = ((0, 33, True), (1, 40, False))
"""Seed, incidence and direction of the grounds on which intervals are counted."""
LEVEL, RANGE = 0.8, (0.755, 0.845)
"""Probability of intervals, and what they may hold: 76 to 84 % when rounded."""
AREAS = ("layover", "outside")


def coverage_by_variant(archive: Archive, places: Sequence[str]) -> dict[str, Value]:
    """Count how often intervals of 80 % hold the truth, by form of the DEM and variant.

    Figures are means over places and grounds, and how many of these are in range.
    """
    figures: dict[str, Value] = {}
    in_range = []
    for form, name in product(PREFIX, VARIANTS):
        held = [
            _coverage(archive.observed(Image(place, "several", *ground, variant=name), form))
            for place, ground in product(places, GROUNDS)
        ]
        means = {area: fmean(each[area] for each in held) for area in AREAS}
        in_range += [RANGE[0] <= mean < RANGE[1] for mean in means.values()]
        key = f"independent.variants.{PREFIX[form]}{name or 'usual'}"
        figures |= {f"{key}.{area}": mean for area, mean in means.items()}
        print(key, means, flush=True)
    figures["independent.variants.in_range"] = float(sum(in_range))
    figures["independent.variants.all"] = float(len(in_range))
    return figures


def _coverage(observed: Observed) -> dict[str, float]:
    """Count how often intervals hold the truth in each area."""
    found = reconstruct(observed.scene, observed.dem)
    ends = interval(found, LEVEL)
    truth = observed.truth.gamma0.values
    with np.errstate(invalid="ignore"):
        holds = (truth >= ends.lower.values) & (truth <= ends.upper.values)
    known = np.isfinite(found.gamma0.values)
    (areas,) = areas_of([observed])
    return {area: float(holds[areas[area] & known].mean()) for area in AREAS}
