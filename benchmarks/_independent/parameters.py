"""Choose the baselines' parameters on the places for development, which are no part of the score.

For each filter, blur and strength are chosen together: the pair with the lowest mean, over places,
incidences, passes and seeds, of the geometric mean of the RMSE in layover and outside. The ground
has several laws. What is found is written into `benchmarks._independent.methods` by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._independent.filters import lee, non_local_means, tv
from benchmarks._independent.methods import Estimate, rtc
from benchmarks._independent.observations import FORMS, Archive, Form, images
from benchmarks._independent.places import places_of
from benchmarks._independent.scores import areas_of, score

__all__ = ["main"]

Floats = NDArray[np.float64]

BLURS: dict[Form, tuple[float, ...]] = {
    "coarser": (0.1, 0.15, 0.2, 0.25, 0.3),
    "as_used": (0.2, 0.3, 0.4, 0.5, 0.7),
}
"""Postings of the DEM."""
FILTERS: dict[str, tuple[Callable[[Floats, float], Floats], tuple[float, ...]]] = {
    "no filter": (lambda gamma0, _: gamma0, (0.0,)),
    "total variation": (tv, (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)),
    "non-local means": (non_local_means, (0.2, 0.4, 0.6, 0.8, 1.0, 1.5)),
    "refined Lee": (lee, (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)),
}
"""Filters with the strengths that are tried."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the mean RMSE of each filter, strength by strength."""
    parser = argparse.ArgumentParser("python -m benchmarks._independent.parameters")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the images")
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--seeds", type=int, default=2)
    chosen = parser.parse_args(arguments)
    archive = Archive(chosen.cache, chosen.data)
    names = [place.name for place in places_of("development")]
    for form in FORMS:
        found: dict[tuple[str, float, float], list[tuple[float, float]]] = {}
        for image in images(names, ["several"], range(chosen.seeds)):
            observed = archive.observed(image, form)
            areas = areas_of([observed])
            for blur, (name, (function, strengths)) in product(BLURS[form], FILTERS.items()):
                for strength in strengths:
                    estimate = Estimate(function(rtc(observed, blur), strength))
                    (one,) = score([estimate], [observed], areas)
                    pair = one.rmse("layover"), one.rmse("outside")
                    found.setdefault((name, blur, strength), []).append(pair)
        for name in FILTERS:
            rows = []
            for (each, blur, strength), pairs in found.items():
                if each == name:
                    mean = np.exp(np.mean(np.log(pairs)))
                    layover, outside = np.mean(pairs, axis=0)
                    rows.append((mean, blur, strength, layover, outside))
            print(f"{form}, {name}")
            for mean, blur, strength, layover, outside in sorted(rows)[:6]:
                print(
                    f"  blur {blur}, strength {strength}: {mean:.3f} dB "
                    f"(layover {layover:.3f}, outside {outside:.3f})"
                )


if __name__ == "__main__":
    main()
